//! The callback secret that role `all` makes on its first start:
//! `<data_dir>/callback.secret`, one line. While it is being changed there is a second
//! file, `callback.secret.rotation`. Both are readable by their owner alone.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use hoiam_api::signature::Secret;
use hoiam_api::{parse_rfc3339, rfc3339};
use hoiam_supervision::clock::Millis;
use hoiam_text::SaturatingFrom as _;
use serde::{Deserialize, Serialize};

use crate::{failpoint, private_file};

const FILE_NAME: &str = "callback.secret";
const ROTATION_SUFFIX: &str = ".rotation";

/// Longer than any secret, and than two of them; what is longer is another file.
const MAX_FILE_BYTES: u64 = 1_024;

/// What the files say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filed {
    /// The one that receivers are given.
    pub current: Secret,
    /// The last change of it.
    pub rotation: Option<Rotation>,
}

/// A change of the secret. Its file is written before `to` becomes the current one, so
/// that both are in force before anybody can have only the new one. A process that dies
/// in between leaves the old one in force, and one beside it that nobody was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rotation {
    from: Secret,
    to: Secret,
    /// The overlap, by the wall clock.
    since: Millis,
    until: Millis,
}

/// So much a clock may be set back during an overlap. One that is before it by more was
/// wrong when the overlap began, whose end may be years ahead.
const SET_BACK_MS: Millis = 3_600_000;

impl Rotation {
    fn is_under_way(&self, wall: Millis) -> bool {
        (self.since.saturating_sub(SET_BACK_MS)..self.until).contains(&wall)
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    from: String,
    to: String,
    since: String,
    until: String,
}

impl Filed {
    /// Those that sign and are believed at this time of the wall clock: the current
    /// one, and during an overlap the other.
    #[must_use]
    pub fn in_force(&self, wall: Millis) -> Vec<Secret> {
        let mut secrets = vec![self.current.clone()];
        // One that is not of the current secret says nothing: it was replaced by hand,
        // or at once by a rotation that was cut off before it had removed the file.
        if let Some(rotation) = self.rotation.as_ref().filter(|it| it.is_under_way(wall)) {
            let Rotation { from, to, .. } = rotation;
            match &self.current {
                current if current == to => secrets.push(from.clone()),
                current if current == from => secrets.push(to.clone()),
                _ => {}
            }
            secrets.dedup();
        }
        secrets
    }

    /// Until when the secret before the current one is in force too; `None` where it
    /// is not.
    #[must_use]
    pub fn overlap_ends(&self, wall: Millis) -> Option<Millis> {
        let rotation = self.rotation.as_ref()?;
        let is_held = rotation.to == self.current && rotation.is_under_way(wall);
        is_held.then_some(rotation.until)
    }

    /// Whether a rotation was cut off before the new secret became the current one.
    #[must_use]
    pub fn is_cut_off(&self, wall: Millis) -> bool {
        self.in_force(wall).len() > 1 && self.overlap_ends(wall).is_none()
    }
}

/// Why there is no callback secret. Its text names the file and the way out.
#[derive(Debug, thiserror::Error)]
pub enum SecretFileError {
    /// The folder or file cannot be made, read or written.
    #[error("cannot {action} {}: {error}", path.display())]
    Io {
        /// What was tried, as in "cannot {action} {path}".
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// Others than its owner may read or write the file.
    #[error(
        "the callback secret {path} can be read by others (mode {mode:03o}). Close it with: \
         chmod 600 {path}. If somebody may have read it, make a new one after that: \
         `hoiam secrets rotate --overlap 0`",
        path = path.display()
    )]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file does not hold a secret.
    #[error(
        "{} does not hold a callback secret (whsec_ and the base64 of 24 to 64 \
         bytes). Put the right one back, or remove it and start again: a new one is made",
        path.display()
    )]
    NotASecret {
        /// The file.
        path: PathBuf,
    },
    /// The file beside it is not what `hoiam secrets rotate` writes.
    #[error(
        "{} is not what `hoiam secrets rotate` writes. Remove it: that ends the overlap, and the secret in \
         {FILE_NAME} is in force alone",
        path.display()
    )]
    NoRotation {
        /// The file.
        path: PathBuf,
    },
    /// There is no secret to be rotated.
    #[error(
        "{} is not there, so there is no secret to be replaced; the first start of the service makes one",
        path.display()
    )]
    Absent {
        /// The file.
        path: PathBuf,
    },
    /// The secret before this one is still in force.
    #[error(
        "the secret before this one is in force until {}. No more than two sign, so receivers that have \
         that one only would be cut off. Wait until then, or, once all receivers have the new one, end the \
         overlap by removing {}; --overlap 0 ends both at once",
        rfc3339(*until),
        path.display()
    )]
    UnderWay {
        /// The end of the overlap.
        until: Millis,
        /// The file of the rotation.
        path: PathBuf,
    },
    /// The system gives no random bytes.
    #[error("the system gives no random bytes to make a callback secret of")]
    NoRandomness,
}

/// Where the secret of a data folder is kept.
pub fn secret_path(data_dir: &Path) -> PathBuf {
    data_dir.join(FILE_NAME)
}

/// Where the last change of it is kept. `secret` may be any file of a secret.
pub fn rotation_path(secret: &Path) -> PathBuf {
    let mut path = secret.as_os_str().to_owned();
    path.push(ROTATION_SUFFIX);
    path.into()
}

/// What is in force in a data folder; `None` when no secret is there.
///
/// # Errors
/// When it is there and cannot be read, is exposed, or is faulty.
pub fn read(data_dir: &Path) -> Result<Option<Filed>, SecretFileError> {
    let path = secret_path(data_dir);
    // In this order: whoever sees a new secret sees the file that was written before it.
    let Some(current) = read_secret(&path)? else {
        return Ok(None);
    };
    let rotation = read_rotation(&rotation_path(&path))?;
    Ok(Some(Filed { current, rotation }))
}

/// The secret of a data folder, and with it one that is being replaced; made, with the
/// folder, when it is not there yet.
///
/// Processes that start at the same moment all get the same secret: each writes its
/// own to a temporary file, and whoever links it to the final name first wins.
///
/// # Errors
/// As [`read`], and what the file system says.
pub fn ensure(data_dir: &Path) -> Result<Filed, SecretFileError> {
    let path = secret_path(data_dir);
    if let Some(filed) = read(data_dir)? {
        return Ok(filed);
    }
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(data_dir)
        .map_err(failed("make the folder", data_dir))?;
    publish(data_dir, &path)?;
    read(data_dir)?.ok_or_else(|| {
        failed("read", &path)(io::Error::new(
            ErrorKind::NotFound,
            "removed by somebody just now",
        ))
    })
}

/// Replaces the secret of a data folder. For as long as `overlap` the one before it
/// stays in force beside it; without any it ends at once. Gives the end of the overlap.
///
/// `announced` is called when the new secret is in force beside the old one and has yet
/// to become the current one, which is when a running service should have seen it.
///
/// # Errors
/// [`SecretFileError::Absent`], [`SecretFileError::UnderWay`], and as [`read`].
pub fn rotate(
    data_dir: &Path,
    overlap: Duration,
    wall: Millis,
    announced: impl FnOnce(),
) -> Result<Option<Millis>, SecretFileError> {
    let path = secret_path(data_dir);
    let rotation = rotation_path(&path);
    let absent = || SecretFileError::Absent { path: path.clone() };
    let folder = match private_file::lock(data_dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Err(absent()),
        locked => locked.map_err(failed("lock", data_dir))?,
    };
    let filed = read(data_dir)?.ok_or_else(absent)?;
    let to = Secret::generate().map_err(|_| SecretFileError::NoRandomness)?;
    let line = format!("{}\n", to.reveal());
    let publish =
        || private_file::replace(&folder, &path, line.as_bytes()).map_err(failed("write", &path));
    if overlap.is_zero() {
        publish()?;
        failpoint::point(format_args!("secrets.published"));
        let removed = private_file::remove(&rotation).and_then(|()| folder.sync_all());
        removed.map_err(failed("remove", &rotation))?;
        return Ok(None);
    }
    if let Some(until) = filed.overlap_ends(wall) {
        return Err(SecretFileError::UnderWay {
            until,
            path: rotation,
        });
    }
    let overlap = i64::saturating_from(overlap.as_millis());
    let until = wall.saturating_add(overlap);
    let document = Document {
        from: filed.current.reveal(),
        to: to.reveal(),
        since: rfc3339(wall),
        until: rfc3339(until),
    };
    let text = serde_json::to_string_pretty(&document).map_err(io::Error::other);
    let written =
        text.and_then(|text| private_file::replace(&folder, &rotation, (text + "\n").as_bytes()));
    written.map_err(failed("write", &rotation))?;
    failpoint::point(format_args!("secrets.announced"));
    announced();
    publish()?;
    failpoint::point(format_args!("secrets.published"));
    Ok(Some(until))
}

fn read_secret(path: &Path) -> Result<Option<Secret>, SecretFileError> {
    let Some(text) = read_private(path)? else {
        return Ok(None);
    };
    let secret = Secret::parse(text.trim()).map_err(|_| SecretFileError::NotASecret {
        path: path.to_owned(),
    })?;
    Ok(Some(secret))
}

/// The change that a file tells of; `None` when there is no such file.
///
/// # Errors
/// As [`read`].
pub fn read_rotation(path: &Path) -> Result<Option<Rotation>, SecretFileError> {
    let Some(text) = read_private(path)? else {
        return Ok(None);
    };
    // Nothing of what was found is told: it may be a secret, and logs are read by others.
    let parsed = || {
        let document: Document = serde_json::from_str(&text).ok()?;
        Some(Rotation {
            from: Secret::parse(&document.from).ok()?,
            to: Secret::parse(&document.to).ok()?,
            since: parse_rfc3339(&document.since)?,
            until: parse_rfc3339(&document.until)?,
        })
    };
    let rotation = parsed().ok_or_else(|| SecretFileError::NoRotation {
        path: path.to_owned(),
    })?;
    Ok(Some(rotation))
}

/// `None` when there is no such file.
fn read_private(path: &Path) -> Result<Option<String>, SecretFileError> {
    let file = match private_file::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed("read", path)(error)),
    };
    // Asked of the open file, so that it cannot be another one than is read.
    let mode = file
        .metadata()
        .map_err(failed("read", path))?
        .permissions()
        .mode()
        & 0o777;
    if mode & 0o077 != 0 {
        return Err(SecretFileError::Exposed {
            path: path.to_owned(),
            mode,
        });
    }
    let mut text = String::new();
    file.take(MAX_FILE_BYTES)
        .read_to_string(&mut text)
        .map_err(failed("read", path))?;
    Ok(Some(text))
}

/// Writes a new secret whole and durably under a name of its own, then links it to
/// its final name unless somebody else was first. A link, not a rename: a rename
/// would replace the secret that the first process already signs with.
fn publish(data_dir: &Path, path: &Path) -> Result<(), SecretFileError> {
    let temporary = data_dir.join(format!(
        "{FILE_NAME}.{:016x}.tmp",
        getrandom::u64().map_err(|_| SecretFileError::NoRandomness)?
    ));
    let written = write_new(&temporary)
        .map_err(failed("write", &temporary))
        .and_then(|()| match fs::hard_link(&temporary, path) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => {
                Err(failed("write", path)(error))
            }
            _ => Ok(()),
        });
    let removed = fs::remove_file(&temporary);
    written?;
    removed.map_err(failed("remove", &temporary))?;
    File::open(data_dir)
        .and_then(|folder| folder.sync_all())
        .map_err(failed("write", data_dir))
}

fn write_new(path: &Path) -> io::Result<()> {
    let secret = Secret::generate().map_err(io::Error::other)?;
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    writeln!(file, "{}", secret.reveal())?;
    file.sync_all()
}

pub(super) fn failed(
    action: &'static str,
    path: &Path,
) -> impl FnOnce(io::Error) -> SecretFileError {
    let path = path.to_owned();
    move |error| SecretFileError::Io {
        action,
        path,
        error,
    }
}

#[cfg(test)]
mod tests;
