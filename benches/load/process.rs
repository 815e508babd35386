//! What running processes take, read from `/proc` (proc(5)).

use std::collections::HashMap;
use std::fs;
use std::time::Duration;

use crate::Outcome;

/// A process and everything below it.
pub fn family(root: u32) -> Outcome<Vec<u32>> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(process) = name.to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        if let Some(parent) = parent(process) {
            children.entry(parent).or_default().push(process);
        }
    }
    let mut found = vec![root];
    let mut looked_at = 0;
    while let Some(process) = found.get(looked_at) {
        found.extend(children.remove(process).unwrap_or_default());
        looked_at += 1;
    }
    Ok(found)
}

/// The fourth field of `/proc/<pid>/stat`; the second, the program's name, stands
/// in parentheses and may contain anything.
fn parent(process: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let (_, after_name) = stat.rsplit_once(") ")?;
    after_name.split(' ').nth(1)?.parse().ok()
}

/// Memory in bytes: the sum of PSS, where a page shared by n processes counts one
/// n-th in each.
pub fn memory(processes: &[u32]) -> Outcome<u64> {
    let mut kibibytes = 0;
    for process in processes {
        let rollup = fs::read_to_string(format!("/proc/{process}/smaps_rollup"))?;
        let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"));
        let size = line.and_then(|line| line.trim().strip_suffix(" kB"));
        kibibytes += size.ok_or("smaps_rollup has no Pss")?.parse::<u64>()?;
    }
    Ok(kibibytes * 1024)
}

/// CPU time so far of each thread, by its id.
///
/// From `schedstat`, in nanoseconds, because a service that does nothing takes
/// less than the 10 ms in which `utime` and `stime` count.
pub struct CpuTime(HashMap<u32, Duration>);

impl CpuTime {
    /// Reads it for all threads of these processes.
    pub fn of(processes: &[u32]) -> Outcome<Self> {
        let mut threads = HashMap::new();
        for process in processes {
            for entry in fs::read_dir(format!("/proc/{process}/task"))? {
                let entry = entry?;
                // A thread may end between the two reads.
                let Ok(schedstat) = fs::read_to_string(entry.path().join("schedstat")) else {
                    continue;
                };
                let thread = entry.file_name().to_string_lossy().parse()?;
                let nanoseconds = schedstat.split(' ').next().unwrap_or_default().parse()?;
                threads.insert(thread, Duration::from_nanos(nanoseconds));
            }
        }
        Ok(Self(threads))
    }

    /// What was taken since an earlier reading, by the threads that are here now.
    pub fn since(&self, earlier: &Self) -> Duration {
        let taken = |(thread, now): (&u32, &Duration)| {
            now.saturating_sub(earlier.0.get(thread).copied().unwrap_or_default())
        };
        self.0.iter().map(taken).sum()
    }
}

/// Time of all processors together since the machine started, in ticks: the first
/// line of `/proc/stat`.
pub struct MachineTime {
    all: u64,
    idle: u64,
}

impl MachineTime {
    /// Reads it.
    pub fn now() -> Outcome<Self> {
        let stat = fs::read_to_string("/proc/stat")?;
        let line = stat.lines().next().unwrap_or_default();
        let ticks: Vec<u64> = line
            .split_whitespace()
            .filter_map(|field| field.parse().ok())
            .collect();
        let [_, _, _, idle, waiting_for_disk, ..] = ticks[..] else {
            return Err("/proc/stat has no line of all processors".into());
        };
        Ok(Self {
            // What comes after the eighth field is contained in the first two.
            all: ticks.iter().take(8).sum(),
            idle: idle + waiting_for_disk,
        })
    }

    /// The share of the time since an earlier reading in which processors idled.
    pub fn idle_since(&self, earlier: &Self) -> f64 {
        (self.idle - earlier.idle) as f64 / (self.all - earlier.all).max(1) as f64
    }
}
