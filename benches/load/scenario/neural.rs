//! Seconds of audio a second with a neural voice, and what it takes of memory.

use std::path::Path;
use std::process::Stdio;

use serde_json::Value;

use super::{Progress, body, result_of, speak};
use crate::figure::{Figure, Goal, Samples};
use crate::process;
use crate::receiver::Receiver;
use crate::service::{Role, Service, peer_script};
use crate::{Options, Outcome};

/// The voice that the tests speak with; `make voice` fetches it.
const VOICES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/target/test-voices");
const NAME: &str = "en_US-joe-medium";

/// About 14 s of speech in three sentences; no rule of reading has anything to do.
const ENGLISH: &str = "The ferry leaves the island twice a day, early in the morning and again \
    before sunset. Most visitors stay for a night, because the water is warm and nobody is in a \
    hurry. If you miss the last boat, there is a small hotel behind the harbour with a view of \
    the whole bay.";

/// Texts by hoiam with so many workers, each with a child of one thread, beside
/// as many processes of Piper's own Python package with one thread each.
pub async fn neural(options: &Options) -> Outcome<Vec<Figure>> {
    if !Path::new(VOICES).join(format!("{NAME}.onnx")).exists() {
        return Err("there is no voice to measure with: run make voice first".into());
    }
    let count = if options.quick { 2 } else { 12 };
    let mut figures = Vec::new();
    for workers in [1, 2] {
        let (mut hoiam, mut peer) = Default::default();
        for round in 0..options.rounds {
            by_hoiam(options, workers, count, round, &mut hoiam).await?;
            if options.peers {
                by_piper(workers, count, round, &mut peer).await?;
            }
        }
        let name = format!("audio seconds, neural voice, {workers} at a time");
        let goal = Goal::times_the_other(Some(0.55), Some(1.0));
        figures.push(Figure::new(name, "a second", hoiam, goal).beside("piper-tts", peer));
    }
    Ok(figures)
}

async fn by_hoiam(
    options: &Options,
    workers: u32,
    count: u64,
    round: u16,
    samples: &mut Samples,
) -> Outcome<()> {
    let settings = [
        ("HOIAM__TTS__VOICES_DIR", VOICES),
        ("HOIAM__TTS__WORKERS", &workers.to_string()),
    ];
    let service = Service::hoiam(options, Role::Tts, &settings).await?;
    let receiver = Receiver::start().await?;
    let body = body(&format!("piper/{NAME}"), "wav", ENGLISH, &receiver.url);
    // The first texts load the network.
    let first = u64::from(workers) * 2;
    speak(&service, service.path, &receiver, first, body.clone()).await?;
    let progress = Progress::begin(&format!("{count} texts, hoiam, {workers}"), round)?;
    let spoken = speak(&service, service.path, &receiver, count, body).await?;
    let mut milliseconds = 0;
    for callback in &spoken.callbacks {
        let result = result_of(callback)?;
        let duration = result["audio"]["duration_ms"].as_u64();
        milliseconds += duration.ok_or("no audio.duration_ms")?;
    }
    let rate = milliseconds as f64 / 1000.0 / spoken.took.as_secs_f64();
    let memory = process::memory(&process::family(service.id()?)?)? / 1_000_000;
    progress.end(&format!(
        "{rate:.1} audio seconds a second, {memory} MB after"
    ))?;
    samples.push(rate);
    service.stop().await
}

async fn by_piper(processes: u32, count: u64, round: u16, samples: &mut Samples) -> Outcome<()> {
    let progress = Progress::begin(&format!("{count} texts, piper-tts, {processes}"), round)?;
    let output = peer_script("piper.sh")
        .arg(Path::new(VOICES).join(format!("{NAME}.onnx")))
        .args([processes.to_string(), count.to_string()])
        .arg(ENGLISH)
        .stderr(Stdio::inherit())
        .output()
        .await?;
    if !output.status.success() {
        return Err(format!("piper.sh ended with {}", output.status).into());
    }
    let said: Value = serde_json::from_slice(&output.stdout)?;
    let number = |name: &str| said[name].as_f64().ok_or("piper.sh says no number");
    let rate = number("audio_s")? / number("took_s")?;
    let memory = number("memory_mb")?;
    progress.end(&format!(
        "{rate:.1} audio seconds a second, {memory:.0} MB at most"
    ))?;
    samples.push(rate);
    Ok(())
}
