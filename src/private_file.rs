//! Small files of the data folder that are for their owner alone: changed by one
//! process at a time, and replaced whole.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown};
use std::path::Path;

/// Locks the folder for as long as the handle lives.
///
/// # Errors
/// What the system says.
pub fn lock(folder: &Path) -> io::Result<File> {
    let folder = File::open(folder)?;
    folder.lock()?;
    Ok(folder)
}

/// Opens a file to read it.
///
/// # Errors
/// What the system says, and where it is no file: a pipe would be waited for.
pub fn open(path: &Path) -> io::Result<File> {
    match fs::metadata(path)?.is_file() {
        true => File::open(path),
        false => Err(io::Error::other("it is no file")),
    }
}

/// Replaces a file of the locked folder: whole and durable, or not at all.
///
/// # Errors
/// What the system says; the file is as it was then.
pub fn replace(folder: &File, path: &Path, content: &[u8]) -> io::Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".tmp");
    // What a process has left that was killed here.
    remove(temporary.as_ref())?;
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&temporary)?;
    // The service reads it as the folder's owner, whoever runs the command.
    let (owner, own) = (folder.metadata()?, file.metadata()?);
    if (own.uid(), own.gid()) != (owner.uid(), owner.gid()) {
        let given = fchown(&file, Some(owner.uid()), Some(owner.gid()));
        // A group alone is of no matter: only the owner may read.
        given.or_else(|error| match own.uid() == owner.uid() {
            true => Ok(()),
            false => Err(error),
        })?;
    }
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    folder.sync_all()
}

/// Removes a file that may not be there.
///
/// # Errors
/// What the system says.
pub fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
