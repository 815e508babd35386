//! The measurements. Each starts fresh processes for every round and takes turns
//! with the peer, so that a machine that slows down does so for both.

mod footprint;
mod hostile;
mod latency;
mod lateness;
mod long;
mod neural;
mod throughput;
mod waiters;

use std::time::Duration;

use clap::ValueEnum;
use serde_json::json;

use crate::figure::Figure;
use crate::process::{CpuTime, MachineTime};
use crate::receiver::{Callback, Receiver};
use crate::sender::{Load, NUMBER, Until};
use crate::service::{SECRET, Service};
use crate::{Options, Outcome};

/// How the peer is called in the table.
const PEER: &str = "FastAPI + Celery";

/// What can be measured. The order is the order of the table.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Scenario {
    /// Durable submissions a second.
    Submissions,
    /// The same with a thousand who wait for news, the Backend alone.
    Waiters,
    /// Speeches a second, the TTS service alone.
    Speeches,
    /// Tasks a second through both services.
    Chain,
    /// Audio seconds a second, espeak to mp3.
    Espeak,
    /// Audio seconds a second, a neural voice to wav.
    Neural,
    /// A long text by a neural voice on an idle service.
    Long,
    /// One short text on an idle service.
    Short,
    /// How late deadlines fire amid 100,000 open tasks.
    Deadlines,
    /// Memory with 100,000 open tasks.
    Memory,
    /// CPU time of a service with nothing to do.
    Idle,
    /// One client's requests while others do their worst.
    Hostile,
}

/// Those that were named, or all.
pub fn chosen(named: &[Scenario]) -> &[Scenario] {
    match named {
        [] => Scenario::value_variants(),
        named => named,
    }
}

impl Scenario {
    /// Takes the measurement.
    pub async fn run(self, options: &Options) -> Outcome<Vec<Figure>> {
        match self {
            Self::Submissions => throughput::submissions(options).await,
            Self::Waiters => waiters::waiters(options).await,
            Self::Speeches => throughput::speeches(options).await,
            Self::Chain => throughput::chain(options).await,
            Self::Espeak => throughput::espeak(options).await,
            Self::Neural => neural::neural(options).await,
            Self::Long => long::long(options).await,
            Self::Short => latency::short(options).await,
            Self::Deadlines => lateness::deadlines(options).await,
            Self::Memory => footprint::memory(options).await,
            Self::Idle => footprint::idle(options).await,
            Self::Hostile => hostile::hostile(options).await,
        }
    }
}

/// A body that each service understands: what only hoiam knows, the peer ignores.
fn body(voice: &str, format: &str, text: &str, callback_url: &str) -> String {
    json!({
        "text": text, "voice": voice, "format": format,
        "callback_url": callback_url, "reference": NUMBER,
    })
    .to_string()
}

/// One second of silence, in words that no other body has.
fn silence(callback_url: &str) -> String {
    let text = format!("Câu số {NUMBER} không ai đọc cả.");
    body("test/silence", "wav", &text, callback_url)
}

/// What came back for a load of speeches.
struct Spoken {
    /// From the first request to the last callback.
    took: Duration,
    callbacks: Vec<Callback>,
}

/// Sends so many speeches and waits until each has called back, successfully.
async fn speak(
    service: &Service,
    path: &str,
    receiver: &Receiver,
    count: u64,
    body: String,
) -> Outcome<Spoken> {
    receiver.take();
    let started = std::time::Instant::now();
    Load::new(service.address, path, body)
        .send(Until::Sent(count))
        .await?;
    receiver.wait_for(usize::try_from(count)?).await?;
    let received = receiver.take();
    if received.repeated > 0 {
        eprintln!("  {} callbacks came more than once", received.repeated);
    }
    let last = received.first.last().ok_or("no callback came")?.at;
    for callback in &received.first {
        result_of(callback)?;
    }
    Ok(Spoken {
        took: last - started,
        callbacks: received.first,
    })
}

/// The speech or task that a callback brings; anything but a completed one is an error.
fn result_of(callback: &Callback) -> Outcome<serde_json::Value> {
    let mut event = callback.open(SECRET)?;
    let kind = event["type"].as_str().unwrap_or_default();
    if !kind.ends_with(".completed") {
        return Err(format!("a callback says {event}").into());
    }
    Ok(event["data"].take())
}

/// Tells how a round went, with the driver's own share of the machine, and the
/// share of its time in which no processor had anything to do.
struct Progress {
    what: String,
    driver: CpuTime,
    machine: MachineTime,
    started: std::time::Instant,
}

impl Progress {
    fn begin(what: &str, round: u16) -> Outcome<Self> {
        Ok(Self {
            what: format!("round {}, {what}", round + 1),
            driver: CpuTime::of(&[std::process::id()])?,
            machine: MachineTime::now()?,
            started: std::time::Instant::now(),
        })
    }

    fn end(self, outcome: &str) -> Outcome<()> {
        let driver = CpuTime::of(&[std::process::id()])?.since(&self.driver);
        let share = 100.0 * driver.as_secs_f64() / self.started.elapsed().as_secs_f64();
        let idle = 100.0 * MachineTime::now()?.idle_since(&self.machine);
        eprintln!(
            "{}: {outcome} (the driver took {share:.0} % of a core; idle {idle:.0} %)",
            self.what
        );
        Ok(())
    }
}
