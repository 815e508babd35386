//! One child process, from its start until it is reaped.
//!
//! Each process has a keeper: a thread that starts it, drains its standard
//! error, and waits for its end. The kernel tells a child of its parent's
//! death when the *thread* that started it ends; the keeper ends after its
//! process and otherwise only with the whole service, so the signal comes
//! exactly when it should. The keeper also reaps when nobody is interested in
//! the process any more.

use std::io::{self, Read};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{oneshot, watch};

use crate::lock;

/// How much of the end of its standard error is kept.
const STDERR_TAIL_BYTES: usize = 4096;

/// A killed process is gone in moments; the kernel can only hold one back in
/// a system call that cannot be interrupted. Nobody waits longer than this.
const END_LIMIT: Duration = Duration::from_secs(5);

/// How long a process that has closed its output may take to end by itself.
const OWN_END_LIMIT: Duration = Duration::from_secs(1);

/// How a process ended.
#[derive(Debug, Clone)]
pub(super) struct Ended {
    /// `None` when it could not be found out.
    pub(super) status: Option<ExitStatus>,
    /// The last 4 KiB of its standard error. It can quote the text that was
    /// spoken.
    pub(super) stderr_tail: String,
}

impl Ended {
    /// Whether it was the kernel that ended it, for `RLIMIT_CPU`.
    pub(super) fn spent_its_processor_time(&self) -> bool {
        self.status.and_then(|status| status.signal()) == Some(libc::SIGXCPU)
    }
}

/// A running process. Dropping it kills it; its keeper reaps it.
#[derive(Debug)]
pub(super) struct Process {
    handle: Arc<Mutex<std::process::Child>>,
    observed: Observed,
}

/// Sees a process without holding it: which it is, and whether it has ended.
#[derive(Debug, Clone)]
pub(super) struct Observed {
    pid: u32,
    ended: watch::Receiver<Option<Ended>>,
}

impl Observed {
    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    pub(super) fn has_ended(&self) -> bool {
        self.ended.borrow().is_some()
    }
}

/// A process that was started just now, with its ends of the pipes.
#[derive(Debug)]
pub(super) struct Started {
    pub(super) process: Process,
    pub(super) stdin: ChildStdin,
    pub(super) stdout: ChildStdout,
}

impl Process {
    /// Starts the command in a process group of its own, so that Ctrl-C in
    /// the service's terminal does not reach it. If the future is dropped, the
    /// process is killed.
    pub(super) async fn start(mut command: Command) -> io::Result<Started> {
        command
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let (tell, told) = oneshot::channel();
        std::thread::Builder::new()
            .name("synthesizer-keeper".to_owned())
            .spawn(move || keep(command, tell))?;
        told.await.map_err(io::Error::other)?
    }

    pub(super) fn observed(&self) -> &Observed {
        &self.observed
    }

    /// The handle knows when the process was reaped, so a process that got
    /// the same number later is never hit.
    fn kill(&self) {
        // The only error is that it has ended already.
        let _ = lock(&self.handle).kill();
    }

    /// Kills it and waits for its end.
    pub(super) async fn end(mut self) -> Ended {
        self.kill();
        self.ended_within(END_LIMIT).await.unwrap_or(Ended {
            status: None,
            stderr_tail: String::new(),
        })
    }

    /// The same for a process that seems to be ending: it is given a moment
    /// first, so that what is told is its own reason and not the kill.
    pub(super) async fn wait_or_kill(mut self) -> Ended {
        match self.ended_within(OWN_END_LIMIT).await {
            Some(ended) => ended,
            None => self.end().await,
        }
    }

    async fn ended_within(&mut self, limit: Duration) -> Option<Ended> {
        let ended = self.observed.ended.wait_for(Option::is_some);
        let ended = tokio::time::timeout(limit, ended).await.ok()?;
        ended.ok()?.clone()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The keeper's whole life.
fn keep(mut command: Command, tell: oneshot::Sender<io::Result<Started>>) {
    let (tell_end, ended) = watch::channel(None);
    let (started, stderr) = match start(&mut command, ended) {
        Ok(parts) => parts,
        Err(error) => {
            let _ = tell.send(Err(error));
            return;
        }
    };
    let pid = started.process.observed.pid;
    let handle = Arc::clone(&started.process.handle);
    // If nobody waits for it any more, it is dropped here, which kills it.
    let _ = tell.send(Ok(started));

    let stderr_tail = stderr.map(drain).unwrap_or_default();
    wait_without_reaping(pid);
    let status = lock(&handle).wait().ok();
    tell_end.send_replace(Some(Ended {
        status,
        stderr_tail,
    }));
}

fn start(
    command: &mut Command,
    ended: watch::Receiver<Option<Ended>>,
) -> io::Result<(Started, Option<ChildStderr>)> {
    let mut child = command.spawn()?;
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let process = Process {
        observed: Observed {
            pid: child.id(),
            ended,
        },
        handle: Arc::new(Mutex::new(child)),
    };
    match (stdin, stdout) {
        (Some(stdin), Some(stdout)) => Ok((
            Started {
                process,
                stdin,
                stdout,
            },
            stderr,
        )),
        _ => Err(io::Error::other("the child was started without pipes")),
    }
}

/// Reads to the end, so that a child that complains a lot is never blocked,
/// and keeps the last bytes.
fn drain(mut stderr: ChildStderr) -> String {
    let mut tail = Vec::new();
    let mut chunk = [0; STDERR_TAIL_BYTES];
    loop {
        match stderr.read(&mut chunk) {
            Ok(0) => break,
            Ok(read) => {
                tail.extend_from_slice(&chunk[..read]);
                let surplus = tail.len().saturating_sub(STDERR_TAIL_BYTES);
                tail.drain(..surplus);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    String::from_utf8_lossy(&tail).into_owned()
}

/// Blocks until the process has ended and leaves it as a zombie: it is reaped
/// under the handle's lock, so that nobody signals a number that is free.
#[expect(unsafe_code, reason = "std cannot wait without reaping")]
fn wait_without_reaping(pid: u32) {
    loop {
        let mut info = std::mem::MaybeUninit::<libc::siginfo_t>::zeroed();
        // SAFETY: `info` lives through the call and is the type that is
        // written; it is not read.
        let result = unsafe {
            libc::waitid(
                libc::P_PID,
                pid,
                info.as_mut_ptr(),
                libc::WEXITED | libc::WNOWAIT,
            )
        };
        let interrupted = io::Error::last_os_error().kind() == io::ErrorKind::Interrupted;
        if result == 0 || !interrupted {
            return;
        }
    }
}

/// For people: how a process ended.
pub(super) fn describe(status: Option<ExitStatus>) -> String {
    let Some(status) = status else {
        return "its end could not be observed".to_owned();
    };
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("it ended with exit status {code}"),
        (None, Some(signal)) => format!("it was ended by {}", signal_name(signal)),
        (None, None) => status.to_string(),
    }
}

fn signal_name(signal: i32) -> String {
    let name = match signal {
        libc::SIGABRT => "SIGABRT",
        libc::SIGBUS => "SIGBUS",
        libc::SIGFPE => "SIGFPE",
        libc::SIGILL => "SIGILL",
        libc::SIGKILL => "SIGKILL",
        libc::SIGSEGV => "SIGSEGV",
        libc::SIGSYS => "SIGSYS",
        libc::SIGXCPU => "SIGXCPU",
        _ => return format!("signal {signal}"),
    };
    format!("signal {signal} ({name})")
}
