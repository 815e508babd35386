//! `<data_dir>/keys.json`: names, scopes and hashes of keys, readable by its owner
//! alone. That it is there means that keys are asked for, also when it lists none:
//! to revoke the last key must not open the service.

use std::collections::HashSet;
use std::fs::{DirBuilder, File};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hoiam_api::client::is_client_name;
use hoiam_api::{parse_rfc3339, rfc3339};
use hoiam_supervision::clock::Millis;
use hoiam_text::SaturatingFrom as _;
use serde::{Deserialize, Serialize};

use super::hash::KeyHash;
use super::scope::Scopes;
use crate::private_file;

const FILE_NAME: &str = "keys.json";
/// Some twenty thousand keys; what is longer is another file.
const MAX_BYTES: u64 = 4 * 1024 * 1024;
const PREFIX: &str = "hoiam_";
const KEY_BYTES: usize = 32;

/// One key of the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// The client's name; no two keys have the same.
    pub name: String,
    /// What it may do.
    pub scopes: Scopes,
    /// Of the key.
    pub sha256: KeyHash,
    /// RFC 3339.
    pub created_at: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    keys: Vec<Entry>,
}

/// Why keys cannot be had or changed. Its text names the way out.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// The file or its folder cannot be made, read or written.
    #[error(
        "cannot {action} {}: {error}. Run it as the user of the service, or give that user the file",
        path.display()
    )]
    Io {
        /// What was tried, as in "cannot {action} {path}".
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The file is not what `hoiam keys` writes.
    #[error(
        "{} cannot be read as API keys: {error}. Mend it or put a copy back; to give up its keys, move \
         it away and make new ones with `hoiam keys add`",
        path.display()
    )]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        error: KeyFileError,
    },
    /// There is a key of this name.
    #[error("there is a key named {0}; `hoiam keys revoke {0}` first, or choose another name")]
    Taken(String),
    /// There is no key of this name.
    #[error("there is no key named {0}; `hoiam keys list` shows those that there are")]
    Unknown(String),
    /// The system gives no random bytes.
    #[error("the system gives no random bytes to make a key of")]
    NoRandomness,
}

/// What is wrong with the file.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// It is another file.
    #[error("it has more than {MAX_BYTES} bytes")]
    TooLarge,
    /// Nothing of what was found is told: it may be a key, and logs are read by others.
    #[error("line {line}, column {column} is not as `hoiam keys` writes it")]
    Json {
        /// Counted from 1.
        line: usize,
        /// Counted from 1.
        column: usize,
    },
    /// Of the key of this number.
    #[error("the name of key {0} is no name of a client")]
    Name(usize),
    /// Nobody could say which of them is meant.
    #[error("two keys are named {0}")]
    SameName(String),
    /// Whoever has it would be two clients.
    #[error("{0} has the same key as another")]
    SameKey(String),
    /// It would allow nothing.
    #[error("{0} has no scope")]
    NoScope(String),
    /// It is of no use to programs.
    #[error("created_at of {0} is no instant of RFC 3339")]
    CreatedAt(String),
}

/// Where the keys of a data folder are kept.
#[must_use]
pub fn path(data_dir: &Path) -> PathBuf {
    data_dir.join(FILE_NAME)
}

/// Whether the file is there, so that keys are asked for. One that cannot be looked
/// at counts: it is better to ask for too much.
#[must_use]
pub fn exists(data_dir: &Path) -> bool {
    path(data_dir).try_exists().unwrap_or(true)
}

/// The keys in the order they were added; `None` when there is no file.
///
/// # Errors
/// When it is there and cannot be read, or is faulty.
pub fn read(data_dir: &Path) -> Result<Option<Vec<Entry>>, KeysError> {
    let path = path(data_dir);
    let text = match read_text(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed("read", &path)(error)),
    };
    match parse(&text) {
        Ok(keys) => Ok(Some(keys)),
        Err(error) => Err(KeysError::Invalid { path, error }),
    }
}

fn read_text(path: &Path) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    private_file::open(path)?
        .take(MAX_BYTES + 1)
        .read_to_end(&mut text)?;
    Ok(text)
}

fn parse(text: &[u8]) -> Result<Vec<Entry>, KeyFileError> {
    if u64::saturating_from(text.len()) > MAX_BYTES {
        return Err(KeyFileError::TooLarge);
    }
    let Document { keys } = serde_json::from_slice(text).map_err(|error| KeyFileError::Json {
        line: error.line(),
        column: error.column(),
    })?;
    let (mut names, mut hashes) = (HashSet::new(), HashSet::new());
    for (at, key) in keys.iter().enumerate() {
        let name = &key.name;
        if !is_client_name(name) {
            return Err(KeyFileError::Name(at + 1));
        }
        if !names.insert(name) {
            return Err(KeyFileError::SameName(name.clone()));
        }
        if !hashes.insert(key.sha256.to_string()) {
            return Err(KeyFileError::SameKey(name.clone()));
        }
        if key.scopes.is_empty() {
            return Err(KeyFileError::NoScope(name.clone()));
        }
        if parse_rfc3339(&key.created_at).is_none() {
            return Err(KeyFileError::CreatedAt(name.clone()));
        }
    }
    Ok(keys)
}

/// Adds a key and gives it with its entry: the only time that it is seen.
///
/// # Errors
/// [`KeysError::Taken`], and what [`read`] and the file system say.
pub fn add(
    data_dir: &Path,
    name: &str,
    scopes: Scopes,
    now: Millis,
) -> Result<(String, Entry), KeysError> {
    let key = generate()?;
    let entry = Entry {
        name: name.to_owned(),
        scopes,
        sha256: KeyHash::of(&key),
        created_at: rfc3339(now),
    };
    let added = entry.clone();
    change(data_dir, |keys| {
        if keys.iter().any(|known| known.name == added.name) {
            return Err(KeysError::Taken(added.name));
        }
        keys.push(added);
        Ok(())
    })?;
    Ok((key, entry))
}

/// Removes a key; says how many are left.
///
/// # Errors
/// [`KeysError::Unknown`], and what [`read`] and the file system say.
pub fn revoke(data_dir: &Path, name: &str) -> Result<usize, KeysError> {
    let unknown = || KeysError::Unknown(name.to_owned());
    if !exists(data_dir) {
        return Err(unknown());
    }
    change(data_dir, |keys| {
        let before = keys.len();
        keys.retain(|key| key.name != name);
        (keys.len() < before)
            .then_some(keys.len())
            .ok_or_else(unknown)
    })
}

/// A new key: a prefix by which people and scanners know it, and 32 random bytes.
///
/// # Errors
/// [`KeysError::NoRandomness`].
pub fn generate() -> Result<String, KeysError> {
    let mut bytes = [0; KEY_BYTES];
    getrandom::fill(&mut bytes).map_err(|_| KeysError::NoRandomness)?;
    Ok(format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes)))
}

/// Reads, edits and replaces the file, one process at a time: the folder is locked
/// meanwhile.
fn change<T>(
    data_dir: &Path,
    edit: impl FnOnce(&mut Vec<Entry>) -> Result<T, KeysError>,
) -> Result<T, KeysError> {
    let make = DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(data_dir);
    make.map_err(failed("make the folder", data_dir))?;
    let folder = private_file::lock(data_dir).map_err(failed("lock", data_dir))?;
    let mut keys = read(data_dir)?.unwrap_or_default();
    let done = edit(&mut keys)?;
    write(&folder, &path(data_dir), &Document { keys })?;
    Ok(done)
}

fn write(folder: &File, path: &Path, keys: &Document) -> Result<(), KeysError> {
    let text = serde_json::to_string_pretty(keys).map_err(io::Error::other);
    let written =
        text.and_then(|text| private_file::replace(folder, path, (text + "\n").as_bytes()));
    written.map_err(failed("write", path))
}

pub(super) fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> KeysError {
    let path = path.to_owned();
    move |error| KeysError::Io {
        action,
        path,
        error,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use proptest::prelude::*;

    use super::*;
    use crate::keys::Scope;

    const NOW: Millis = 1_700_000_000_000;

    fn names(folder: &Path) -> Vec<String> {
        let keys = read(folder).unwrap().unwrap();
        keys.into_iter().map(|key| key.name).collect()
    }

    #[test]
    fn what_is_added_is_kept_hashed_in_order_and_for_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(read(folder.path()).unwrap(), None);
        let scopes: Scopes = vec![Scope::Read].into();
        let (key, entry) = add(folder.path(), "b", scopes, NOW).unwrap();
        add(folder.path(), "a", Scopes::all(), NOW).unwrap();
        assert!(key.starts_with("hoiam_") && key.len() == 6 + 43, "{key}");
        assert_eq!(read(folder.path()).unwrap().unwrap()[0], entry);
        assert_eq!(names(folder.path()), ["b", "a"]);
        let file = path(folder.path());
        let text = fs::read_to_string(&file).unwrap();
        assert!(!text.contains(&key) && text.contains(&KeyHash::of(&key).to_string()));
        assert_eq!(
            fs::metadata(&file).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert_eq!(
            fs::read_dir(folder.path()).unwrap().count(),
            1,
            "nothing is left"
        );
    }

    #[test]
    fn a_name_is_taken_until_it_is_revoked_and_the_file_stays_without_keys() {
        let folder = tempfile::tempdir().unwrap();
        let add = |name| super::add(folder.path(), name, Scopes::all(), NOW);
        assert!(matches!(
            revoke(folder.path(), "a"),
            Err(KeysError::Unknown(_))
        ));
        assert!(!exists(folder.path()), "a wrong name makes no file");
        let (first, _) = add("a").unwrap();
        assert!(matches!(add("a"), Err(KeysError::Taken(_))));
        assert!(matches!(
            revoke(folder.path(), "b"),
            Err(KeysError::Unknown(_))
        ));
        assert_eq!(revoke(folder.path(), "a").unwrap(), 0);
        assert!(exists(folder.path()) && names(folder.path()).is_empty());
        let (second, _) = add("a").unwrap();
        assert_ne!(first, second);
    }

    #[test]
    fn no_key_is_lost_where_many_are_added_at_once() {
        let folder = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            for number in 0..16 {
                let folder = folder.path();
                scope
                    .spawn(move || add(folder, &format!("n{number}"), Scopes::all(), NOW).unwrap());
            }
        });
        assert_eq!(names(folder.path()).len(), 16);
    }

    #[test]
    fn a_file_is_refused_whole_with_what_is_wrong_in_it() {
        let hash = KeyHash::of("a").to_string();
        let other = KeyHash::of("b").to_string();
        let key = |name: &str, scopes: &str, hash: &str, at: &str| {
            format!(
                r#"{{"name":"{name}","scopes":[{scopes}],"sha256":"{hash}","created_at":"{at}"}}"#
            )
        };
        let at = "2026-11-30T00:00:00Z";
        let good = key("a", r#""read""#, &hash, at);
        let told = |keys: &str| parse(format!(r#"{{"keys":[{keys}]}}"#).as_bytes());
        assert_eq!(told("").unwrap(), []);
        assert_eq!(told(&good).unwrap().len(), 1);
        let elsewhere = r#""sha":"hoiam_found""#;
        for (keys, why) in [
            (key("Hoiam_found", r#""read""#, &hash, at), "key 1"),
            (key("a", r#""hoiam_found""#, &hash, at), "line 1, column"),
            (key("a", "", &hash, at), "no scope"),
            (key("a", r#""read""#, "hoiam_found", at), "line 1, column"),
            (
                key("a", r#""read""#, &hash.to_uppercase(), at),
                "line 1, column",
            ),
            (key("a", r#""read""#, &hash, "hoiam_found"), "created_at"),
            (
                format!("{good},{}", key("a", r#""read""#, &other, at)),
                "two keys",
            ),
            (
                format!("{good},{}", key("b", r#""read""#, &hash, at)),
                "the same key",
            ),
            (good.replace('}', r#","hoiam_found":1}"#), "line 1, column"),
            (
                good.replace('{', &format!("{{{elsewhere},")),
                "line 1, column",
            ),
            (r#""hoiam_found"#.to_owned(), "line 1, column"),
        ] {
            let detail = told(&keys).unwrap_err().to_string();
            assert!(detail.contains(why), "{why}: {detail}");
            // A key may have come to where it does not belong.
            assert!(!detail.to_lowercase().contains("found"), "{detail}");
        }
        assert!(parse(br#"{"keys":[],"more":1}"#).is_err());
        assert!(parse(b"").is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(text in prop::collection::vec(any::<u8>(), 0..200), cut in 0..400_usize) {
            let _ = parse(&text);
            let entry = Entry {
                name: "a".into(),
                scopes: Scopes::all(),
                sha256: KeyHash::of("a"),
                created_at: rfc3339(NOW),
            };
            let mut whole = serde_json::to_vec(&Document { keys: vec![entry] }).unwrap();
            whole.truncate(cut);
            let _ = parse(&whole);
            whole.extend(text);
            let _ = parse(&whole);
        }
    }

    #[test]
    fn a_file_of_the_largest_size_is_read_and_one_of_a_byte_more_is_faulty() {
        let folder = tempfile::tempdir().unwrap();
        add(folder.path(), "a", Scopes::all(), NOW).unwrap();
        let file = path(folder.path());
        let mut text = fs::read(&file).unwrap();
        text.resize(usize::try_from(MAX_BYTES).unwrap(), b' ');
        fs::write(&file, &text).unwrap();
        assert_eq!(names(folder.path()), ["a"]);
        text.push(b' ');
        fs::write(&file, &text).unwrap();
        let error = read(folder.path()).unwrap_err();
        let detail = format!("more than {MAX_BYTES} bytes");
        assert!(error.to_string().contains(&detail), "{error}");
    }

    /// Who may not look must not take it for nothing.
    #[test]
    fn a_file_that_cannot_be_reached_is_no_missing_one() {
        let folder = tempfile::tempdir().unwrap();
        let no_folder = folder.path().join("a file");
        fs::write(&no_folder, "").unwrap();
        assert!(matches!(read(&no_folder), Err(KeysError::Io { .. })));
        assert_eq!(read(&folder.path().join("nothing")).unwrap(), None);
    }
}
