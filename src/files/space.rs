//! How much a disk still takes.
#![expect(
    unsafe_code,
    reason = "the standard library has no safe call for statvfs"
)]

use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

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
    let path = std::ffi::CString::new(path.as_os_str().as_bytes())?;
    let mut found = std::mem::MaybeUninit::<libc::statvfs>::zeroed();
    // SAFETY: `path` is a C string and `found` is writable for the whole call.
    if unsafe { libc::statvfs(path.as_ptr(), found.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: zeroed is a valid statvfs, and the call has filled it.
    let found = unsafe { found.assume_init() };
    Ok(found.f_bavail.saturating_mul(found.f_frsize))
}
