//! The machine: open files, the clock.

use std::fs;
use std::time::Duration;

use chrono::{DateTime, Utc};
use hoiam_supervision::clock::{Clock, Jump};

use super::check::Check;
use super::storage::databases;
use crate::config::Config;
use crate::db::kept_anchor;
use crate::open_files;

/// Enough for the callbacks of both services and for a thousand clients, beside the
/// databases and children.
const AMPLE_FILES: u64 = 4096;

/// Before this program was written (2025-01-01).
const PROGRAM_IS_YOUNGER: i64 = 1_735_689_600;

/// Receivers accept signatures whose time is that far from theirs.
const TOLERANCE: Duration = Duration::from_secs(5 * 60);

/// What a service needs of the machine.
pub fn checks(config: &Config) -> Vec<Check> {
    vec![open_files(), clock(config)]
}

fn open_files() -> Check {
    let way_out =
        "raise the hard limit: LimitNOFILE=65536 in a systemd unit, or /etc/security/limits.conf";
    match open_files::limit() {
        None => Check::ok("open files", "there is no limit"),
        Some(most) if most >= AMPLE_FILES => Check::ok("open files", format!("{most} may be open")),
        Some(most) => Check::warning(
            "open files",
            format!("only {most} may be open (ulimit -H -n); each connection is one"),
            way_out,
        ),
    }
}

fn clock(config: &Config) -> Check {
    let now = Clock::resume(None).wall();
    let shown = now.format("%Y-%m-%d %H:%M:%S UTC");
    let way_out = "set the clock, and keep it right by NTP: signatures and links carry its time";
    if now.timestamp() < PROGRAM_IS_YOUNGER {
        let detail = format!("it shows {shown}, before this program was written");
        return Check::problem("clock", detail, way_out);
    }
    match last_write(config) {
        Some(last) if last > now + TOLERANCE => Check::problem(
            "clock",
            format!("it shows {shown}, and the data folder was written later than that"),
            way_out,
        ),
        _ => match jump(config) {
            Some(jump) => Check::warning("clock", jump.to_string(), Jump::WAY_OUT),
            None => Check::ok("clock", format!("it shows {shown}")),
        },
    }
}

/// What a service holds back, or would if it were started.
fn jump(config: &Config) -> Option<Jump> {
    let anchors = databases(config)
        .into_iter()
        .filter_map(|path| kept_anchor(&path));
    let anchor = anchors.max_by_key(|anchor| anchor.now_ms);
    Clock::resume(anchor).jump()
}

/// When a file of the data folder was last written.
fn last_write(config: &Config) -> Option<DateTime<Utc>> {
    let files = fs::read_dir(&config.data_dir).ok()?.flatten();
    files
        .filter_map(|file| file.metadata().ok()?.modified().ok())
        .max()
        .map(DateTime::from)
}
