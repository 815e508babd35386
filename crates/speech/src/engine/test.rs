//! Voices for rehearsing what can go wrong, without any engine.

use std::path::Path;
use std::time::{Duration, Instant};

use hoiam_text::segmentation::Sentence;
use hoiam_text::{SpeechError, Voice};

use super::super::sink::SentenceSink;
use super::{Engine, SpeakOptions};

const NAME: &str = "test";

/// As eSpeak's, so that the same bit rates are valid.
const SAMPLE_RATE_HZ: u32 = 22_050;

/// One second, whatever the text is.
const SILENCE_SAMPLES: usize = SAMPLE_RATE_HZ as usize;

/// The longest that `slow-<ms>` may take.
const MAX_SLOW_MS: u64 = 600_000;

/// How soon a slow voice sees that it is not wanted any more.
const STEP: Duration = Duration::from_millis(20);

/// With a file of this name in the voices folder `test/unavailable` is available.
const REPAIRED: &str = "test.repaired";

/// Speaks silence, fails, hangs and crashes on demand.
pub(super) struct TestEngine {
    voices: Vec<Voice>,
    is_repaired: bool,
}

/// What a test voice does.
enum Behaviour {
    Silence,
    Slow(Duration),
    Fail,
    Hang,
    Crash,
    Fragile,
    Unavailable,
}

impl TestEngine {
    /// As an engine that reads its files when it is opened, and only then.
    pub(super) fn open(voices_dir: Option<&Path>) -> Self {
        let names = [
            "silence",
            "fail",
            "slow-1000",
            "hang",
            "crash",
            "fragile",
            "unavailable",
        ];
        Self {
            voices: names.map(voice).to_vec(),
            is_repaired: voices_dir.is_some_and(|folder| folder.join(REPAIRED).exists()),
        }
    }
}

impl Engine for TestEngine {
    fn name(&self) -> &'static str {
        NAME
    }

    fn voices(&self) -> &[Voice] {
        &self.voices
    }

    fn voice(&self, id: &str) -> Option<Voice> {
        let (engine, name) = id.split_once('/')?;
        (engine == NAME && behaviour(name).is_some()).then(|| voice(name))
    }

    fn can_say(&mut self, _voice: &Voice, _phonemes: &str) -> Result<(), SpeechError> {
        Ok(())
    }

    fn speak(
        &mut self,
        voice: &Voice,
        sentences: &[Sentence],
        _manner: &SpeakOptions,
        sink: &mut dyn SentenceSink,
    ) -> Result<(), SpeechError> {
        match behaviour(&voice.name) {
            Some(Behaviour::Silence) => silence(sentences, sink),
            Some(Behaviour::Slow(time)) => {
                wait(time, sink)?;
                silence(sentences, sink)
            }
            Some(Behaviour::Fail) => Err(SpeechError::EngineFailed {
                detail: "the voice test/fail always fails".into(),
            }),
            Some(Behaviour::Hang) => {
                if are_all_on(sink, sentences)? {
                    return Ok(());
                }
                loop {
                    sleep(STEP);
                }
            }
            Some(Behaviour::Crash) => match are_all_on(sink, sentences)? {
                true => Ok(()),
                false => std::process::abort(),
            },
            Some(Behaviour::Fragile) => fragile(sentences, sink),
            Some(Behaviour::Unavailable) if self.is_repaired => silence(sentences, sink),
            Some(Behaviour::Unavailable) => Err(SpeechError::EngineUnavailable {
                detail: format!("test/unavailable needs a file {REPAIRED} in the voices folder"),
            }),
            None => Err(SpeechError::UnknownVoice {
                voice: voice.id.clone(),
            }),
        }
    }
}

fn behaviour(name: &str) -> Option<Behaviour> {
    match name {
        "silence" => Some(Behaviour::Silence),
        "fail" => Some(Behaviour::Fail),
        "hang" => Some(Behaviour::Hang),
        "crash" => Some(Behaviour::Crash),
        "fragile" => Some(Behaviour::Fragile),
        "unavailable" => Some(Behaviour::Unavailable),
        _ => {
            let ms: u64 = name.strip_prefix("slow-")?.parse().ok()?;
            (ms <= MAX_SLOW_MS).then(|| Behaviour::Slow(Duration::from_millis(ms)))
        }
    }
}

fn voice(name: &str) -> Voice {
    Voice {
        id: format!("{NAME}/{name}"),
        engine: NAME.into(),
        // "No linguistic content", ISO 639-2.
        language: "zxx".into(),
        name: name.into(),
        gender: None,
        sample_rate_hz: SAMPLE_RATE_HZ,
        licence: None,
        speakers: Vec::new(),
        version: None,
        is_costly: false,
    }
}

/// One second of silence, with the words spread evenly over it.
fn silence(sentences: &[Sentence], sink: &mut dyn SentenceSink) -> Result<(), SpeechError> {
    let total: usize = sentences.iter().map(|sentence| sentence.words.len()).sum();
    let sample = |word: usize| SILENCE_SAMPLES * word / total.max(1);
    let mut spoken = 0;
    for sentence in sentences {
        let first = sample(spoken);
        let next = spoken + sentence.words.len();
        let words: Vec<_> = (spoken..next)
            .map(|word| sample(word) - first..sample(word + 1) - first)
            .collect();
        sink.add(sentence, &vec![0; sample(next) - first], &words)?;
        spoken = next;
    }
    Ok(())
}

/// Whether all sentences were spoken elsewhere; ends at the first one that was not.
fn are_all_on(sink: &mut dyn SentenceSink, sentences: &[Sentence]) -> Result<bool, SpeechError> {
    for sentence in sentences {
        if !sink.has(sentence)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// One second of silence for each sentence. It crashes where it reads a `§` or the
/// word `crash`, and hangs at the word `hang`.
fn fragile(sentences: &[Sentence], sink: &mut dyn SentenceSink) -> Result<(), SpeechError> {
    for sentence in sentences {
        if sink.has(sentence)? {
            continue;
        }
        if sentence.text.contains('§') || sentence.text.contains("crash") {
            std::process::abort();
        }
        while sentence.text.contains("hang") {
            sleep(STEP);
        }
        silence(std::slice::from_ref(sentence), sink)?;
    }
    Ok(())
}

fn wait(time: Duration, sink: &mut dyn SentenceSink) -> Result<(), SpeechError> {
    let end = Instant::now() + time;
    loop {
        sink.check_wanted()?;
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        sleep(left.min(STEP));
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the test voices exist to take time, in a child process that does nothing else"
)]
fn sleep(time: Duration) {
    std::thread::sleep(time);
}
