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
