//! How much a disk still takes.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use nix::sys::statvfs::statvfs;

/// Bytes of the disk that a file on its way is promised, until this is dropped.
/// What of it is written already counts twice, so a promise is kept rather too
/// well.
pub struct Room {
    promised: Arc<AtomicU64>,
    bytes: u64,
}

impl Room {
    /// Promises so many bytes, and says how many are promised with these.
    pub(super) fn promise(promised: &Arc<AtomicU64>, bytes: u64) -> (Self, u64) {
        let before = promised.fetch_add(bytes, Ordering::Relaxed);
        let room = Self {
            promised: Arc::clone(promised),
            bytes,
        };
        (room, before.saturating_add(bytes))
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.promised.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// What others than root may still write on the disk of `path`.
///
/// # Errors
/// The operating system's, when there is no such path.
pub fn free_bytes(path: &Path) -> io::Result<u64> {
    let found = statvfs(path)?;
    Ok(found
        .blocks_available()
        .saturating_mul(found.fragment_size()))
}
