//! What can be seen of a child from outside, also while it speaks.

use std::sync::{Arc, Mutex, MutexGuard};

use serde::Serialize;

use crate::lock;
use crate::process::Observed;

/// What a child is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// There is no process; the next request starts one.
    Stopped,
    /// The process opens its engines.
    Starting,
    /// It waits for a request.
    Idle,
    /// It works on one.
    Speaking,
}

/// One child at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Stats {
    /// What it is doing.
    pub state: State,
    /// The running process, if there is one.
    pub pid: Option<u32>,
    /// Texts that were given to a child, over all its processes.
    pub requests: u64,
    /// Processes that were started after the first one, for whatever reason:
    /// crashes, kills and recycling.
    pub restarts: u64,
    /// Resident memory of the running process.
    pub rss_bytes: Option<u64>,
}

#[derive(Debug)]
struct Counters {
    /// What is asked of `process`; means nothing without one.
    state: State,
    process: Option<Observed>,
    requests: u64,
    starts: u64,
}

/// Asks for a child's [`Stats`] from any thread.
#[derive(Debug, Clone)]
pub struct Monitor(Arc<Mutex<Counters>>);

impl Monitor {
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(Counters {
            state: State::Stopped,
            process: None,
            requests: 0,
            starts: 0,
        })))
    }

    /// The child as it is now.
    pub fn stats(&self) -> Stats {
        let counters = self.lock();
        // A process that died while idle is found out by the next request;
        // whoever looks before then is told the truth all the same.
        let running = counters.process.as_ref().filter(|it| !it.has_ended());
        let pid = running.map(Observed::pid);
        Stats {
            state: pid.map_or(State::Stopped, |_| counters.state),
            pid,
            requests: counters.requests,
            restarts: counters.starts.saturating_sub(1),
            rss_bytes: pid.and_then(rss_bytes),
        }
    }

    pub(super) fn started(&self, process: Observed) {
        let mut counters = self.lock();
        counters.starts += 1;
        counters.process = Some(process);
        counters.state = State::Starting;
    }

    pub(super) fn idle(&self) {
        self.lock().state = State::Idle;
    }

    pub(super) fn speaking(&self) {
        let mut counters = self.lock();
        counters.requests += 1;
        counters.state = State::Speaking;
    }

    pub(super) fn stopped(&self) {
        self.lock().process = None;
    }

    fn lock(&self) -> MutexGuard<'_, Counters> {
        lock(&self.0)
    }
}

/// Resident memory of a process, in bytes: the second number of its statm file
/// (proc_pid_statm(5)); `None` when it has ended or is hidden from us.
pub(super) fn rss_bytes(pid: u32) -> Option<u64> {
    let statm = std::fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
    let pages: u64 = statm.split(' ').nth(1)?.parse().ok()?;
    Some(pages * page_bytes())
}

#[expect(unsafe_code, reason = "std does not tell the size of a page")]
fn page_bytes() -> u64 {
    // SAFETY: reads a constant of the system.
    let bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    u64::try_from(bytes).unwrap_or(4096)
}
