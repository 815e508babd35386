//! What all that waits for the disk has in common: where it waits, and from which size on a
//! result is written as it comes.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

/// Up to this size a result stays in memory.
pub(super) const IN_MEMORY: usize = 1024 * 1024;

/// Whether a result of this size is written to its file as it comes.
pub(super) fn is_large(bytes: u64) -> bool {
    bytes > IN_MEMORY as u64
}

/// Writes and removes a file as large as what is gathered in memory.
pub(super) fn try_to_write(path: &Path) -> io::Result<()> {
    let written = File::create(path).and_then(|mut file| {
        file.write_all(&vec![0; IN_MEMORY])?;
        file.sync_all()
    });
    let removed = std::fs::remove_file(path);
    written.and(removed)
}

/// Waits for the disk on a thread that may wait.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|panic| Err(io::Error::other(panic)))
}
