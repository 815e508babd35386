//! How much a disk still takes.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use nix::sys::statvfs::statvfs;

/// Bytes of the disk that are reserved for a file on its way, until this is dropped.
/// What of it is written already counts twice, so a reservation is kept rather too
/// well.
pub struct Room {
    reserved: Arc<AtomicU64>,
    bytes: u64,
}

impl Room {
    /// Reserves so many bytes, and says how many are reserved with these.
    pub(super) fn reserve(reserved: &Arc<AtomicU64>, bytes: u64) -> (Self, u64) {
        let before = reserved.fetch_add(bytes, Ordering::Relaxed);
        let room = Self {
            reserved: Arc::clone(reserved),
            bytes,
        };
        (room, before.saturating_add(bytes))
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.reserved.fetch_sub(self.bytes, Ordering::Relaxed);
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
