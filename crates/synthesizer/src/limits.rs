//! What a child takes away from itself before it loads anything: the engines
//! are large C libraries and models that are fed with text from strangers.
//!
//! A limit that this system does not have is no reason to refuse to speak:
//! the child goes on without it, and says so in its
//! [`Hello`](crate::protocol::Hello), where `hoiam doctor` reads
//! it.
#![expect(
    unsafe_code,
    reason = "prctl, setrlimit, signal and descriptors have no safe interface in std"
)]

mod filter;
mod landlock;

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd};
use std::path::PathBuf;

use crate::engines::Files;
use crate::protocol::{Limit, Setup};

/// Descriptors that a child may have open: the standard three, the private
/// output, and what an engine opens while it loads its data.
const MOST_DESCRIPTORS: libc::rlim_t = 64;

/// How much sooner than others the kernel picks a child when memory runs out;
/// the scale ends at 1000 (proc_pid_oom_score_adj(5)). Losing a child costs
/// one attempt of one job, losing the service costs everybody.
const OOM_SCORE: &str = "500";

/// Moves the real standard output to a descriptor that no library knows, and
/// points descriptor 1 at standard error: whatever a library prints cannot get
/// between the frames.
///
/// # Errors
///
/// The operating system's, when a descriptor cannot be duplicated.
pub fn private_stdout() -> io::Result<File> {
    // SAFETY: fcntl with F_DUPFD_CLOEXEC only makes a new descriptor.
    let private = check(unsafe { libc::fcntl(1, libc::F_DUPFD_CLOEXEC, 3) })?;
    // SAFETY: the descriptor was made just now and nothing else owns it.
    let output = unsafe { File::from_raw_fd(private) };
    // SAFETY: dup2 replaces descriptor 1, which std never closes or caches.
    check(unsafe { libc::dup2(2, 1) })?;
    Ok(output)
}

/// Applies every limit to this process. To be called before any other thread
/// is started, since some of them hold for the calling thread and those that
/// it starts.
pub fn apply(setup: &Setup, output: &File) -> Vec<Limit> {
    vec![
        Limit::new("few_descriptors", close_all_but(output)),
        // Before `no_core_dumps`, which hands /proc/self to root.
        Limit::new(
            "first_to_go_when_memory_runs_out",
            std::fs::write("/proc/self/oom_score_adj", OOM_SCORE),
        ),
        Limit::new("no_core_dumps", forbid_core_dumps()),
        Limit::new(
            "address_space",
            set_limit(libc::RLIMIT_AS, setup.address_space_bytes),
        ),
        Limit::new("no_signals_of_the_service", ignore_service_signals()),
        Limit::new("no_capabilities", drop_capabilities()),
        Limit::new("no_new_privileges", forbid_new_privileges()),
        // No network, no writing, no signals to others.
        Limit::new("few_system_calls", filter::install()),
    ]
}

/// What says how many processors there are, and how many of them may be used.
const MACHINE: [&str; 5] = [
    "/proc/cpuinfo",
    "/proc/self/cgroup",
    "/proc/self/mountinfo",
    "/sys/devices/system/cpu",
    "/sys/fs/cgroup",
];

/// Lets this process open nothing but these files and folders, and what tells of the
/// machine's processors, and that only to read it. To be called after libraries were
/// loaded, and before any thread is started.
pub fn read_only(files: &Files) -> Limit {
    let machine = MACHINE.iter().map(PathBuf::from);
    let readable: Vec<PathBuf> = files.read.iter().cloned().chain(machine).collect();
    let threads = std::fs::read_dir("/proc/self/task").map(Iterator::count);
    let restricted = landlock::read_only(&readable, &files.listed);
    let restricted = restricted.and_then(|()| match threads? {
        1 => Ok(()),
        threads => Err(io::Error::other(format!(
            "it holds for one of {threads} threads"
        ))),
    });
    Limit::new("reads_voices_only", restricted)
}

/// Root reads and writes what belongs to others, and the memory of processes too,
/// by its capabilities (capabilities(7)).
fn drop_capabilities() -> io::Result<()> {
    /// `struct __user_cap_header_struct` of linux/capability.h.
    #[repr(C)]
    struct Header {
        version: u32,
        pid: libc::c_int,
    }
    /// `_LINUX_CAPABILITY_VERSION_3`: two words for each of the three sets.
    const VERSION: u32 = 0x2008_0522;
    let header = Header {
        version: VERSION,
        pid: 0,
    };
    let none = [0_u32; 6];
    // SAFETY: both live through the call and are of the size that this version has.
    match unsafe { libc::syscall(libc::SYS_capset, &raw const header, none.as_ptr()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Has the kernel kill this process when its parent ends, and tells whether
/// the parent is still there: it may have ended before this call.
///
/// What counts as the parent's end is the end of the *thread* that started
/// this process (PR_SET_PDEATHSIG(2const)).
///
/// # Errors
///
/// `NotFound` when the parent is gone; else the operating system's.
pub fn die_with_parent(parent_pid: u32) -> io::Result<()> {
    // SAFETY: PR_SET_PDEATHSIG takes a signal number and touches no memory.
    check(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) })?;
    if std::os::unix::process::parent_id() == parent_pid {
        Ok(())
    } else {
        Err(io::Error::new(
            io::ErrorKind::NotFound,
            "the process that started this one is gone",
        ))
    }
}

/// Allows `seconds` more of processor time, counted over all threads from
/// what was used so far. Past it the kernel sends `SIGXCPU`.
///
/// # Errors
///
/// The operating system's.
pub fn allow_cpu(seconds: u64) -> io::Result<()> {
    let mut used = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `used` lives through the call and is the type that is written.
    check(unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut used) })?;
    let used_s = u64::try_from(used.tv_sec).unwrap_or(0) + 1;
    // The hard limit stays, or the next request could not be given more.
    let limit = libc::rlimit {
        rlim_cur: used_s.saturating_add(seconds),
        rlim_max: libc::RLIM_INFINITY,
    };
    // SAFETY: setrlimit only reads `limit`.
    check(unsafe { libc::setrlimit(libc::RLIMIT_CPU, &raw const limit) }).map(|_| ())
}

/// Ends this process at once: no exit handlers and no destructors of a
/// library that another thread may be in the middle of.
pub fn leave(code: i32) -> ! {
    // SAFETY: _exit does not return and touches no memory of this process.
    unsafe { libc::_exit(code) }
}

/// Waits until the other end of a pipe is closed, whatever is still in it.
///
/// # Errors
///
/// The operating system's.
pub fn wait_for_hang_up(pipe: impl AsRawFd) -> io::Result<()> {
    loop {
        match poll(&pipe, 0, -1) {
            Ok(0) => {}
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Whether a read would not block, be it for data or for the end.
pub fn is_readable(source: &impl AsRawFd) -> bool {
    poll(source, libc::POLLIN, 0).is_ok_and(|events| events != 0)
}

/// What has happened to a descriptor, of `events` and of what is always told.
fn poll(
    source: &impl AsRawFd,
    events: libc::c_short,
    timeout_ms: i32,
) -> io::Result<libc::c_short> {
    let mut polled = libc::pollfd {
        fd: source.as_raw_fd(),
        events,
        revents: 0,
    };
    // SAFETY: `polled` is one pollfd and lives through the call.
    check(unsafe { libc::poll(&raw mut polled, 1, timeout_ms) })?;
    Ok(polled.revents)
}

/// Closes every inherited descriptor but the standard three and `output`, and
/// lets only few be opened.
fn close_all_but(output: &File) -> io::Result<()> {
    let kept = output.as_raw_fd().unsigned_abs();
    close_range(3, kept - 1)?;
    close_range(kept + 1, u32::MAX)?;
    set_limit(libc::RLIMIT_NOFILE, MOST_DESCRIPTORS)
}

fn close_range(first: u32, last: u32) -> io::Result<()> {
    if first > last {
        return Ok(());
    }
    // SAFETY: called before anything but `output` has been opened, so no
    // owner of a descriptor in this range exists in this process.
    match unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// `RLIMIT_CORE` stops core files; only "not dumpable" also stops the dumps
/// that the kernel pipes to a program (core(5)). Texts are private.
fn forbid_core_dumps() -> io::Result<()> {
    set_limit(libc::RLIMIT_CORE, 0)?;
    // SAFETY: PR_SET_DUMPABLE takes a number and touches no memory.
    check(unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0) }).map(|_| ())
}

/// A service manager sends SIGTERM to the whole control group, a closed
/// terminal SIGHUP to its session. The child ends when the service says so:
/// by closing its input, or by killing it.
fn ignore_service_signals() -> io::Result<()> {
    for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP] {
        // SAFETY: ignoring a signal installs no handler.
        if unsafe { libc::signal(signal, libc::SIG_IGN) } == libc::SIG_ERR {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

fn forbid_new_privileges() -> io::Result<()> {
    // SAFETY: PR_SET_NO_NEW_PRIVS takes numbers and touches no memory.
    check(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }).map(|_| ())
}

/// glibc names the resource by an enumeration of its own, other C libraries
/// by a plain integer.
#[cfg(target_env = "gnu")]
type Resource = libc::__rlimit_resource_t;
#[cfg(not(target_env = "gnu"))]
type Resource = libc::c_int;

fn set_limit(resource: Resource, value: libc::rlim_t) -> io::Result<()> {
    let limit = libc::rlimit {
        rlim_cur: value,
        rlim_max: value,
    };
    // SAFETY: setrlimit only reads `limit`.
    check(unsafe { libc::setrlimit(resource, &raw const limit) }).map(|_| ())
}

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::ErrorKind::PermissionDenied;
    use std::io::Write;
    use std::net::{TcpListener, UdpSocket};
    use std::os::unix::net::UnixStream;
    use std::process::Command;

    #[test]
    fn a_filtered_thread_reaches_no_network_and_starts_no_program() {
        let filtered = std::thread::spawn(|| {
            forbid_new_privileges().unwrap();
            filter::install().unwrap();
            let stream = std::thread::spawn(|| UnixStream::pair().unwrap_err().kind());
            [
                TcpListener::bind("127.0.0.1:0").unwrap_err().kind(),
                UdpSocket::bind("127.0.0.1:0").unwrap_err().kind(),
                UnixStream::connect("/nowhere").unwrap_err().kind(),
                Command::new("true").status().unwrap_err().kind(),
                stream.join().unwrap(),
            ]
        });
        assert_eq!(filtered.join().unwrap(), [PermissionDenied; 5]);
        assert!(TcpListener::bind("127.0.0.1:0").is_ok(), "others still can");
    }

    #[test]
    fn a_path_that_no_rule_can_be_made_for_takes_nothing_away_from_the_others() {
        let read = std::thread::spawn(|| {
            forbid_new_privileges().unwrap();
            let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
            let allowed = here.join("Cargo.toml");
            // A file has no names to list.
            let (no_folder, no_name) = (here.join("src/lib.rs"), PathBuf::from("a\0b"));
            landlock::read_only(
                &[no_name, allowed.clone()],
                std::slice::from_ref(&no_folder),
            )
            .unwrap();
            [allowed, no_folder].map(|path| File::open(path).is_ok())
        });
        assert_eq!(read.join().unwrap(), [true, false]);
    }

    #[test]
    fn processor_time_is_granted_on_top_of_what_was_used() {
        let granted = || {
            let mut limit = libc::rlimit {
                rlim_cur: 0,
                rlim_max: 0,
            };
            // SAFETY: `limit` lives through the call.
            check(unsafe { libc::getrlimit(libc::RLIMIT_CPU, &raw mut limit) }).unwrap();
            limit.rlim_cur
        };
        allow_cpu(50_000).unwrap();
        let first = granted();
        assert!((50_000..51_000).contains(&first), "{first}");
        allow_cpu(100_000).unwrap();
        let second = granted();
        assert!((100_000..101_000).contains(&second), "{second}");
        allow_cpu(u64::MAX).unwrap();
    }

    #[test]
    fn a_parent_that_is_gone_is_noticed() {
        // On a thread of its own would be the same; the signal never comes,
        // since whoever started the test outlives it.
        let parent = std::os::unix::process::parent_id();
        assert_eq!(
            die_with_parent(parent + 1).unwrap_err().kind(),
            io::ErrorKind::NotFound
        );
    }

    /// Named in the environment of the second process of the next test.
    const ROLE: &str = "HOIAM_TEST_ROLE";

    /// Plays both parts: run by the harness it starts itself again as the
    /// process that gives its standard output away.
    #[test]
    fn what_a_library_prints_does_not_reach_the_private_output() {
        if std::env::var_os(ROLE).is_some() {
            let mut private = private_stdout().unwrap();
            // What the harness itself would print goes the same way.
            io::stdout().write_all(b"noise of a library\n").unwrap();
            private.write_all(b"a frame\n").unwrap();
            return;
        }
        let name = "what_a_library_prints_does_not_reach_the_private_output";
        let path = format!("{}::{name}", module_path!().split_once("::").unwrap().1);
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", &path, "--nocapture"])
            .env(ROLE, "child")
            .output()
            .unwrap();
        let (stdout, stderr) = (output.stdout, output.stderr);
        let has = |bytes: &[u8], what| String::from_utf8_lossy(bytes).contains(what);
        assert!(has(&stdout, "a frame"));
        assert!(!has(&stdout, "noise"));
        assert!(has(&stderr, "noise of a library"));
    }
}
