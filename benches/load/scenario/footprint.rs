//! What the service takes while it waits.

use std::time::Duration;

use super::lateness::open_tasks;
use super::throughput::VIETNAMESE;
use super::{Progress, body, speak};
use crate::figure::{Figure, Goal, Samples};
use crate::process::{self, CpuTime};
use crate::receiver::{BlackHole, Receiver};
use crate::service::{Role, Service};
use crate::{Options, Outcome};

/// Memory is read each second for so long after the last 202, and the most counts.
const WATCHED_S: u32 = 5;

/// Both services and their children, which have spoken and are idle, while tasks
/// are open that a TTS service without an answer keeps open.
pub async fn memory(options: &Options) -> Outcome<Vec<Figure>> {
    let open = if options.quick { 2_000 } else { 100_000 };
    let (mut empty, mut full): (Samples, Samples) = Default::default();
    for round in 0..options.rounds {
        let black_hole = BlackHole::start().await?;
        let settings = [("HOIAM__BACKEND__TTS_URL", black_hole.url.as_str())];
        let service = Service::hoiam(options, Role::All, &settings).await?;
        use_every_child(&service).await?;
        let progress = Progress::begin(&format!("memory, {open} open tasks"), round)?;
        let before = megabytes(&service)?;
        open_tasks(&service, open).await?;
        let mut after = megabytes(&service)?;
        for _ in 0..WATCHED_S {
            tokio::time::sleep(Duration::from_secs(1)).await;
            after = after.max(megabytes(&service)?);
        }
        progress.end(&format!("{after:.0} MB, {before:.0} MB before the first"))?;
        empty.push(before);
        full.push(after);
        service.stop().await?;
    }
    Ok(vec![
        Figure::new("memory, no open task", "MB", empty, Goal::NONE),
        Figure::new(
            format!("memory, {open} open tasks"),
            "MB",
            full,
            Goal::no_more(150.0, 60.0),
        ),
    ])
}

/// Both services and their children, which have spoken and have nothing to do.
pub async fn idle(options: &Options) -> Outcome<Vec<Figure>> {
    let time = Duration::from_secs(if options.quick { 3 } else { 20 });
    let mut shares = Samples::default();
    for round in 0..options.rounds {
        let service = Service::hoiam(options, Role::All, &[]).await?;
        use_every_child(&service).await?;
        // What follows the last callback is no idleness yet.
        tokio::time::sleep(Duration::from_secs(5)).await;
        let progress = Progress::begin("idle", round)?;
        let processes = process::family(service.id()?)?;
        let before = CpuTime::of(&processes)?;
        tokio::time::sleep(time).await;
        let taken = CpuTime::of(&processes)?.since(&before);
        let share = 100.0 * taken.as_secs_f64() / time.as_secs_f64();
        let count = processes.len();
        progress.end(&format!("{share:.3} % of a core, {count} processes"))?;
        shares.push(share);
        service.stop().await?;
    }
    let goal = Goal::no_more(0.5, 0.1);
    Ok(vec![Figure::new(
        "CPU when idle",
        "% of a core",
        shares,
        goal,
    )])
}

/// Has some speeches spoken, so that every child has loaded what it needs. Asked
/// of the TTS service itself: the Backend may have no way to it.
async fn use_every_child(service: &Service) -> Outcome<()> {
    let receiver = Receiver::start().await?;
    let body = body("espeak/vi", "mp3", VIETNAMESE, &receiver.url);
    speak(service, "/v1/speech", &receiver, 8, body).await?;
    Ok(())
}

fn megabytes(service: &Service) -> Outcome<f64> {
    let processes = process::family(service.id()?)?;
    Ok(process::memory(&processes)? as f64 / 1e6)
}
