//! A database as it was, kept aside before this version changes its form: whoever has to
//! go back to the older version puts it in place.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use diesel::prelude::*;
use diesel::sql_types::Text;

/// Between the database's name and the migration that a copy was made before.
const BEFORE: &str = ".before-";

/// Why the database is left as it is.
#[derive(Debug, thiserror::Error)]
#[error(
    "it is to be changed for this version and cannot be copied to {} before: {reason}",
    copy.display()
)]
pub struct CopyError {
    /// Where the copy was to be.
    copy: PathBuf,
    reason: Reason,
}

#[derive(Debug, thiserror::Error)]
#[error(transparent)]
enum Reason {
    Query(#[from] diesel::result::Error),
    Io(#[from] io::Error),
}

/// Writes what the database has into `NAME.before-MIGRATION` beside it, whole and synced,
/// and removes what earlier upgrades have left.
///
/// # Errors
/// What the database or the file system says, as when the disk has no room for it.
pub(super) fn keep_aside(
    conn: &mut SqliteConnection,
    database: &Path,
    migration: &str,
) -> Result<PathBuf, CopyError> {
    let copy = copy_of(database, migration);
    match write(conn, database, &copy) {
        Ok(()) => Ok(copy),
        Err(reason) => Err(CopyError { copy, reason }),
    }
}

fn write(conn: &mut SqliteConnection, database: &Path, copy: &Path) -> Result<(), Reason> {
    // Of a start that was killed.
    remove(copy)?;
    diesel::sql_query("VACUUM INTO ?")
        .bind::<Text, _>(copy.to_string_lossy())
        .execute(conn)?;
    File::open(copy)?.sync_all()?;
    for older in copies_of(database)?.iter().filter(|older| *older != copy) {
        remove(older)?;
    }
    Ok(())
}

fn copy_of(database: &Path, migration: &str) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(BEFORE);
    name.push(migration);
    name.into()
}

fn copies_of(database: &Path) -> io::Result<Vec<PathBuf>> {
    let start = copy_of(database, "");
    let is_copy = |path: &PathBuf| {
        let (path, start) = (path.to_string_lossy(), start.to_string_lossy());
        path.starts_with(&*start)
    };
    let folder = fs::read_dir(database.parent().unwrap_or(Path::new(".")))?;
    let paths = folder.map(|entry| Ok(entry?.path()));
    let paths: io::Result<Vec<PathBuf>> = paths.collect();
    Ok(paths?.into_iter().filter(is_copy).collect())
}

fn remove(copy: &Path) -> io::Result<()> {
    match fs::remove_file(copy) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
