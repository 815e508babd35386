//! The callback secret that role `all` makes on its first start:
//! `<data_dir>/callback.secret`, readable by its owner alone.

use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::contract::signature::Secret;

const FILE_NAME: &str = "callback.secret";

/// Longer than any secret; what is longer is another file.
const MAX_FILE_BYTES: u64 = 1_024;

/// Why there is no callback secret. Its text names the file and the way out.
#[derive(Debug)]
pub enum SecretFileError {
    /// The folder or file cannot be made, read or written.
    Io {
        /// What was tried, as in "cannot {action} {path}".
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// Others than its owner may read or write the file.
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file does not hold a secret.
    NotASecret {
        /// The file.
        path: PathBuf,
    },
    /// The system gives no random bytes.
    NoRandomness,
}

impl fmt::Display for SecretFileError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io {
                action,
                path,
                error,
            } => {
                write!(out, "cannot {action} {}: {error}", path.display())
            }
            Self::Exposed { path, mode } => write!(
                out,
                "the callback secret {path} can be read by others (mode {mode:03o}). Close it with: \
                 chmod 600 {path}. If somebody may have read it, remove it and start again: a new \
                 one is made",
                path = path.display()
            ),
            Self::NotASecret { path } => write!(
                out,
                "{path} does not hold a callback secret (whsec_ and the base64 of 24 to 64 \
                 bytes). Put the right one back, or remove it and start again: a new one is made",
                path = path.display()
            ),
            Self::NoRandomness => {
                out.write_str("the system gives no random bytes to make a callback secret of")
            }
        }
    }
}

impl std::error::Error for SecretFileError {}

/// Where the secret of a data folder is kept.
pub fn secret_path(data_dir: &Path) -> PathBuf {
    data_dir.join(FILE_NAME)
}

/// The secret of a data folder; made, with the folder, when it is not there yet.
///
/// Processes that start at the same moment all get the same secret: each writes its
/// own to a temporary file, and whoever links it to the final name first wins.
pub fn ensure_secret(data_dir: &Path) -> Result<Secret, SecretFileError> {
    let path = secret_path(data_dir);
    if let Some(secret) = read(&path)? {
        return Ok(secret);
    }
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(data_dir)
        .map_err(failed("make the folder", data_dir))?;
    publish(data_dir, &path)?;
    read(&path)?.ok_or_else(|| {
        failed("read", &path)(io::Error::new(
            ErrorKind::NotFound,
            "removed by somebody just now",
        ))
    })
}

/// `None` when there is no such file.
fn read(path: &Path) -> Result<Option<Secret>, SecretFileError> {
    let file = match File::open(path) {
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
    Secret::parse(text.trim())
        .map(Some)
        .map_err(|_| SecretFileError::NotASecret {
            path: path.to_owned(),
        })
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

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> SecretFileError {
    let path = path.to_owned();
    move |error| SecretFileError::Io {
        action,
        path,
        error,
    }
}
