//! Which files a child may open, by Landlock (landlock(7), and the kernel's
//! Documentation/userspace-api/landlock.rst).
//!
//! With it go signals to others and abstract sockets, and whatever needs the right
//! to trace another process, such as its memory below `/proc`.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use libc::{c_int, c_long};

/// `struct landlock_ruleset_attr` of linux/landlock.h. A kernel that does not know
/// the last fields takes them as long as they are zero.
#[repr(C)]
struct Ruleset {
    handled_access_fs: u64,
    handled_access_net: u64,
    scoped: u64,
}

/// `struct landlock_path_beneath_attr`.
#[repr(C, packed)]
struct PathBeneath {
    allowed_access: u64,
    parent_fd: c_int,
}

const VERSION: u32 = 1;
const PATH_BENEATH: c_int = 1;

/// `LANDLOCK_ACCESS_FS_READ_FILE` and `…_READ_DIR`.
const READ_FILE: u64 = 1 << 2;
const READ_FOLDER: u64 = 1 << 3;

/// From its version of Landlock on a kernel can refuse all below these bits: 13
/// rights to files at first, then to move them between folders, to truncate, to
/// call `ioctl` of devices.
const RIGHTS: [(c_long, u32); 4] = [(1, 13), (2, 14), (3, 15), (5, 16)];

/// To bind and to connect (TCP).
const NETWORK: (c_long, u64) = (4, 0b11);

/// Abstract sockets and signals, of processes outside.
const SCOPED: (c_long, u64) = (6, 0b11);

/// Lets this thread, and those that it starts, read these files and what is below
/// these folders, list the others, and open nothing else. What is not there, or hidden
/// from this process, is left out, and so is what the kernel has no rule for: better one
/// path too few than all of them.
pub(super) fn read_only(files: &[PathBuf], listed: &[PathBuf]) -> io::Result<()> {
    let version = version()?;
    let ruleset = ruleset(version)?;
    let read = files.iter().map(|path| (path, READ_FILE | READ_FOLDER));
    let listed = listed.iter().map(|path| (path, READ_FOLDER));
    for (path, rights) in read.chain(listed) {
        let _ = allow(&ruleset, path, rights);
    }
    // SAFETY: takes a descriptor and flags.
    check(unsafe { libc::syscall(libc::SYS_landlock_restrict_self, ruleset.as_raw_fd(), 0) })?;
    Ok(())
}

/// Of the kernel's Landlock.
fn version() -> io::Result<c_long> {
    let nothing = std::ptr::null::<Ruleset>();
    // SAFETY: asked for its version, the call reads nothing.
    check(unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, nothing, 0, VERSION) }).map_err(
        |error| match error.raw_os_error() {
            Some(libc::ENOSYS | libc::EOPNOTSUPP) => io::Error::other(
                "this kernel has no Landlock (Linux 5.13 or later with `landlock` in lsm=)",
            ),
            _ => error,
        },
    )
}

/// Everything that this version can refuse.
fn ruleset(version: c_long) -> io::Result<OwnedFd> {
    let since = |(first, bits): (c_long, u64)| if version >= first { bits } else { 0 };
    let known = RIGHTS.iter().filter(|(first, _)| version >= *first);
    let rights = known.map(|(_, rights)| *rights).max().unwrap_or(0);
    let all = Ruleset {
        handled_access_fs: (1 << rights) - 1,
        handled_access_net: since(NETWORK),
        scoped: since(SCOPED),
    };
    // SAFETY: `all` lives through the call and is as large as is said.
    let made = check(unsafe {
        let bytes = size_of::<Ruleset>();
        libc::syscall(libc::SYS_landlock_create_ruleset, &raw const all, bytes, 0)
    })?;
    owned(made)
}

/// A file has no other right than to be read.
fn allow(ruleset: &OwnedFd, path: &Path, rights: u64) -> io::Result<()> {
    let name = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: the name is a C string and is only read.
    let opened = unsafe { libc::open(name.as_ptr(), libc::O_PATH | libc::O_CLOEXEC) };
    if opened < 0 {
        return Ok(());
    }
    let opened = owned(c_long::from(opened))?;
    let possible = if path.is_dir() { !0 } else { READ_FILE };
    let rule = PathBeneath {
        allowed_access: rights & possible,
        parent_fd: opened.as_raw_fd(),
    };
    // SAFETY: `rule` lives through the call and is of the type that is named.
    check(unsafe {
        let ruleset = ruleset.as_raw_fd();
        libc::syscall(
            libc::SYS_landlock_add_rule,
            ruleset,
            PATH_BENEATH,
            &raw const rule,
            0,
        )
    })
    .map(drop)
}

/// A descriptor that was made just now.
fn owned(descriptor: c_long) -> io::Result<OwnedFd> {
    let descriptor = c_int::try_from(descriptor).map_err(io::Error::other)?;
    // SAFETY: nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

fn check(result: c_long) -> io::Result<c_long> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}
