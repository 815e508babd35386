//! A synthesizer child, its engines, its limits, and one sentence a voice.

use std::collections::{BTreeMap, BTreeSet};
use std::future::pending;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use hoiam_api::Create;
use hoiam_speech::engine::piper;
use hoiam_synthesizer::parent::Events;
use hoiam_synthesizer::releases;
use tokio::time::Instant;

use super::check::Check;
use crate::cli::speaker::{Speaker, not_started};
use crate::config::Config;

/// For a sentence of two words, which takes some milliseconds.
const SENTENCE_LIMIT: Duration = Duration::from_secs(20);

/// What speaking needs.
pub async fn checks(config: &Config) -> Vec<Check> {
    let began = Instant::now();
    let mut speaker = match Speaker::start(config).await {
        Ok(speaker) => speaker,
        Err(error) => {
            return vec![Check::problem(
                "synthesizer",
                not_started(&error),
                "what it said names the cause; without a word it was killed: look at the \
                 memory of this machine and at `ulimit -v`",
            )];
        }
    };
    let started = format!("a child starts in {} ms", began.elapsed().as_millis());
    let mut checks = vec![Check::ok("synthesizer", started)];
    checks.extend(engines(config, &speaker));
    checks.extend(library(&speaker));
    checks.extend(limits(&speaker));
    checks.extend(aliases(config, &speaker));
    // Of an engine that is missing, that has been told.
    let missing = speaker.hello.unavailable.clone();
    let is_missing = |voice: &str| missing.iter().any(|(engine, _)| engine_of(voice) == engine);
    let defaults: BTreeSet<&String> = config.tts.default_voices.values().collect();
    for voice in defaults.into_iter().filter(|voice| !is_missing(voice)) {
        checks.push(sentence(&mut speaker, voice).await);
    }
    speaker.synthesizer.stop().await;
    checks
}

fn engine_of(voice: &str) -> &str {
    voice.split('/').next().unwrap_or_default()
}

/// The engines that are there; one that is missing matters when a voice of it
/// is configured.
fn engines(config: &Config, speaker: &Speaker) -> Vec<Check> {
    let mut voices: BTreeMap<&str, usize> = BTreeMap::new();
    for voice in &speaker.hello.voices {
        *voices.entry(&voice.engine).or_default() += 1;
    }
    let networks = networks_by(speaker);
    let there = voices.iter().map(|(engine, voices)| {
        let told = format!("{engine}: {voices} voices");
        Check::ok(
            "engine",
            match *engine {
                piper::NAME => format!("{told}, whose networks {networks} runs"),
                _ => told,
            },
        )
    });
    let configured = || {
        let tts = &config.tts;
        tts.default_voices.values().chain(tts.aliases.values())
    };
    let missing = speaker.hello.unavailable.iter().map(|(name, detail)| {
        let wanted = configured().any(|voice| engine_of(voice) == name || voice == name);
        let told = format!("{name}: {detail}");
        // One voice, or a whole engine.
        let (check, way_out) = match name.strip_prefix("piper/") {
            Some(voice) => (
                "voice",
                format!("`hoiam voices remove {voice}`, and add it anew"),
            ),
            None if name == piper::ONNX_RUNTIME => {
                ("engine", "set tts.onnxruntime_library".to_owned())
            }
            None if name == piper::NAME => (
                "engine",
                "let the service's user read the folder of voices".to_owned(),
            ),
            None => ("engine", "install the package that it names".to_owned()),
        };
        if wanted {
            Check::problem(check, told, way_out)
        } else {
            let way_out = format!("{way_out}, or do without it");
            Check::warning(check, told, way_out)
        }
    });
    there.chain(missing).collect()
}

/// The release of the library of eSpeak NG, and what texts are known to do to it.
fn library(speaker: &Speaker) -> Option<Check> {
    let release = releases::espeak_release(&speaker.hello.voices)?;
    let name = format!("eSpeak NG {release}");
    Some(match releases::known_crashes(release) {
        Some(known) => {
            let told = format!("{name}: {}", known.detail);
            Check::warning("library", told, known.way_out)
        }
        None => Check::ok("library", name),
    })
}

/// What runs the networks of neural voices.
fn networks_by(speaker: &Speaker) -> &'static str {
    let mut missing = speaker.hello.unavailable.iter();
    let is_missing = missing.any(|(name, _)| name == piper::ONNX_RUNTIME);
    if is_missing { "rten" } else { "ONNX Runtime" }
}

/// What the child has taken away from itself.
fn limits(speaker: &Speaker) -> Vec<Check> {
    let limits = &speaker.hello.limits;
    let kept = limits.iter().filter(|limit| limit.error.is_none());
    let kept: Vec<&str> = kept.map(|limit| limit.name.as_str()).collect();
    let failed = limits.iter().filter_map(|limit| {
        let error = limit.error.as_ref()?;
        Some(Check::warning(
            "child limit",
            format!("{} did not take effect: {error}", limit.name),
            "speech works without it; a container or an old kernel may forbid it",
        ))
    });
    let told = format!("in force: {}", kept.join(", "));
    std::iter::once(Check::ok("child limit", told))
        .chain(failed)
        .collect()
}

/// Aliases that lead nowhere: requests with them are refused.
fn aliases(config: &Config, speaker: &Speaker) -> Vec<Check> {
    let catalog = speaker.voices.offered().catalog;
    let lost = config.tts.aliases.iter();
    lost.filter(|(_, voice)| catalog.find(voice).is_none())
        .map(|(alias, voice)| {
            Check::warning(
                "alias",
                format!("{alias} stands for {voice}, which no engine here has"),
                format!("correct tts.aliases.{alias}; `hoiam voices` lists the voices"),
            )
        })
        .collect()
}

/// Has a default voice speak.
async fn sentence(speaker: &mut Speaker, voice: &str) -> Check {
    let way_out = "correct tts.default_voices, or mend the engine; `hoiam voices` lists the voices";
    let create = Create {
        text: "Xin chào.".to_owned(),
        ..Create::default()
    };
    let request = create.into_speech(voice, "vi", &BTreeMap::new());
    let began = Instant::now();
    let spoken = speaker
        .synthesizer
        .speak(&request, SENTENCE_LIMIT, &mut Unheard, pending())
        .await;
    match spoken {
        Ok(spoken) if !spoken.words.is_empty() => Check::ok(
            "test sentence",
            format!(
                "{voice} speaks: {} ms of audio in {} ms",
                spoken.duration_ms,
                began.elapsed().as_millis()
            ),
        ),
        Ok(_) => Check::problem("test sentence", format!("{voice} says nothing"), way_out),
        Err(error) => Check::problem("test sentence", format!("{voice}: {error}"), way_out),
    }
}

/// Only that it can be made matters.
struct Unheard;

impl Events for Unheard {
    async fn audio(&mut self, _: Bytes) -> io::Result<()> {
        Ok(())
    }

    fn progress(&mut self, _: u32, _: u32) {}
}
