//! Seconds of audio a second with a neural voice, and what it takes of memory.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::Value;

use super::{Progress, body, result_of, speak};
use crate::figure::{Figure, Goal, Samples};
use crate::process;
use crate::receiver::Receiver;
use crate::service::{Role, Service, peer_script};
use crate::{Options, Outcome};

/// The voice that the tests speak with; `make voice` fetches it.
pub(super) const VOICES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/target/test-voices");
pub(super) const NAME: &str = "en_US-joe-medium";

/// Where Piper's own package is, with the ONNX Runtime that runs it.
const PEER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/target/peers/venv");

/// About 14 s of speech in three sentences; no rule of reading has anything to do.
pub(super) const ENGLISH: &str = "The ferry leaves the island twice a day, early in the morning and again \
    before sunset. Most visitors stay for a night, because the water is warm and nobody is in a \
    hurry. If you miss the last boat, there is a small hotel behind the harbour with a view of \
    the whole bay.";

/// No library of ONNX Runtime: rten speaks.
const NO_LIBRARY: &str = "/nowhere/libonnxruntime.so";

/// Texts by hoiam with so many workers, each with a child of one thread, beside
/// as many processes of Piper's own Python package with one thread each. hoiam is
/// measured with ONNX Runtime too, with the library of that package.
pub async fn neural(options: &Options) -> Outcome<Vec<Figure>> {
    look_for_voice()?;
    let count = if options.quick { 2 } else { 12 };
    let library = library_of_the_peer();
    let mut figures = Vec::new();
    for workers in [1, 2] {
        let mut rten = Samples::default();
        let mut onnx_runtime = Samples::default();
        let (mut piper, mut loudness) = (Samples::default(), Samples::default());
        for round in 0..options.rounds {
            let hoiam = |library| by_hoiam(options, library, workers, count, round);
            rten.push(hoiam(None).await?);
            if let Some(library) = &library {
                onnx_runtime.push(hoiam(Some(library)).await?);
            }
            if options.peers {
                piper.push(by_peer("piper", workers, count, round).await?);
                loudness.push(by_peer("loudness", workers, count, round).await?);
            }
        }
        let name = format!("audio seconds, neural voice, {workers} at a time");
        let figure = |name, hoiam, must, aim| {
            let goal = Goal::times_the_other(Some(must), Some(aim));
            Figure::new(name, "a second", hoiam, goal).beside("piper-tts", piper.clone())
        };
        // Beside what does the most of what we do, by the runtime that it uses too.
        let (by, ours) = match &library {
            Some(_) => ("ONNX Runtime", onnx_runtime.clone()),
            None => ("rten", rten.clone()),
        };
        let beside_loudness = Figure::new(
            format!("{name}, {by}, with text preparation, word times and loudness"),
            "a second",
            ours,
            Goal::times_the_other(None, Some(1.0)),
        )
        .beside("loudness-tts", loudness);
        figures.push(figure(name.clone(), rten, 0.55, 1.0));
        if library.is_some() {
            let name = format!("{name}, ONNX Runtime");
            figures.push(figure(name, onnx_runtime, 1.0, 1.2));
        }
        figures.push(beside_loudness);
    }
    Ok(figures)
}

pub(super) fn look_for_voice() -> Outcome<()> {
    match Path::new(VOICES).join(format!("{NAME}.onnx")).exists() {
        true => Ok(()),
        false => Err("there is no voice to measure with: run make voice first".into()),
    }
}

/// What `benches/peers/setup.sh` has installed.
fn library_of_the_peer() -> Option<PathBuf> {
    let first = |folder: PathBuf, start: &str| {
        let names = fs::read_dir(folder).ok()?.flatten();
        let mut paths = names.map(|entry| entry.path());
        paths.find(|path| {
            let name = path.file_name().and_then(|name| name.to_str());
            name.is_some_and(|name| name.starts_with(start))
        })
    };
    let python = first(PathBuf::from(PEER).join("lib"), "python3")?;
    let folder = python.join("site-packages/onnxruntime/capi");
    first(folder, "libonnxruntime.so")
}

async fn by_hoiam(
    options: &Options,
    library: Option<&PathBuf>,
    workers: u32,
    count: u64,
    round: u16,
) -> Outcome<f64> {
    let workers_text = workers.to_string();
    let mut settings = vec![
        ("HOIAM__TTS__VOICES_DIR", VOICES),
        ("HOIAM__TTS__WORKERS", workers_text.as_str()),
    ];
    let path = library.map_or(Some(NO_LIBRARY), |library| library.to_str());
    settings.push((
        "HOIAM__TTS__ONNXRUNTIME_LIBRARY",
        path.ok_or("the path of the library is no text")?,
    ));
    let service = Service::hoiam(options, Role::Tts, &settings).await?;
    let receiver = Receiver::start().await?;
    let body = body(&format!("piper/{NAME}"), "wav", ENGLISH, &receiver.url);
    // The first texts load the network.
    let first = u64::from(workers) * 2;
    speak(&service, service.path, &receiver, first, body.clone()).await?;
    let by = library.map_or("rten", |_| "ONNX Runtime");
    let progress = Progress::begin(&format!("{count} texts, hoiam ({by}), {workers}"), round)?;
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
    service.stop().await?;
    Ok(rate)
}

async fn by_peer(peer: &str, processes: u32, count: u64, round: u16) -> Outcome<f64> {
    let progress = Progress::begin(&format!("{count} texts, {peer}-tts, {processes}"), round)?;
    let output = peer_script("piper.sh")
        .arg(peer)
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
    Ok(rate)
}
