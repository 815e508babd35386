//! Texts as people write them and texts that nobody writes, spoken by the real engines
//! in real children: none of them costs a child, or the client is told of each sentence
//! that did.
//!
//! `make test` has some of each, `make check-long` 10,000, 500 by a neural voice, and
//! 100,000 random ones. The seed is printed; `HOIAM_TEXTS_SEED` repeats its texts, and
//! with `HOIAM_TEXTS_ONLY=17,4711` those of these numbers alone.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::future::pending;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hoiam::tts::salvage::{Limits, Salvage};
use hoiam_api::{Remedy, Warning};
use hoiam_synthesizer::engines;
use hoiam_synthesizer::parent::{Events, Options, SpeakError, Synthesizer};
use hoiam_text::joined_text::{self, Part};
use hoiam_text::segmentation::has_speech;
use hoiam_text::subtitles::{self, Style};
use hoiam_text::{Format, Output, Place, Request, Synthesis};
use serde_json::{Value, json};

use super::neural;
use super::support::dice::{Dice, from_env};
use super::support::written::{LANGUAGES, Written, random};

/// Long enough never to be met by a text that is spoken.
const AMPLE: Duration = Duration::from_secs(600);

/// As many at once.
const CHILDREN: usize = 2;

const MANY_FAULTS: usize = 30;

fn options() -> Options {
    Options {
        program: PathBuf::from(env!("CARGO_BIN_EXE_hoiam")),
        start_timeout: AMPLE,
        cancel_grace: AMPLE,
        ..Options::default()
    }
}

fn seed() -> u64 {
    let seed = from_env("HOIAM_TEXTS_SEED", 1);
    println!("HOIAM_TEXTS_SEED={seed}");
    seed
}

/// One text and how it is to be spoken.
struct Case {
    what: String,
    request: Request,
}

impl Case {
    fn new(what: String, text: String, voice: &str, dice: &mut Dice) -> Self {
        let format = *dice.pick(&[
            &Format::Pcm,
            &Format::Pcm,
            &Format::Pcm,
            &Format::Pcm,
            &Format::Wav,
            &Format::Mp3,
            &Format::Opus,
            &Format::Flac,
        ]);
        let plain = Output::default();
        let output = Output {
            format,
            loudness_lufs: if dice.once_in(4) {
                plain.loudness_lufs
            } else {
                0.0
            },
            sample_rate_hz: (format == Format::Pcm && dice.once_in(8)).then_some(48_000),
            ..plain
        };
        let mut request = Request::plain(text, voice, output);
        request.segments[0].speed = *dice.pick(&[&0.5, &1.0, &1.0, &1.5, &2.0, &2.0]);
        Self { what, request }
    }

    fn text(&self) -> &str {
        &self.request.segments[0].text
    }

    /// What must hold of a result, and does not.
    fn faults(&self, spoken: &Synthesis, bytes: usize, warnings: &[Warning]) -> Vec<&'static str> {
        let text: Vec<char> = self.text().chars().collect();
        let left_out: Vec<Part> = warnings
            .iter()
            .filter(|warning| warning.reason == Remedy::LeftOut)
            .map(|warning| Part {
                segment: None,
                chars: warning.char_start..warning.char_end,
            })
            .collect();
        let words = &spoken.words;
        let is_covered = |at: u32| {
            let after = words.partition_point(|word| word.char_end <= at);
            let by_word = words.get(after).is_some_and(|word| word.char_start <= at);
            by_word || left_out.iter().any(|part| part.chars.contains(&at))
        };
        let heard = joined_text::without(self.text(), &left_out);
        let cues = |style| subtitles::cues(style, &heard, words, "vi", spoken.duration_ms);
        let is_shown = |style| {
            let shown: String = cues(style)
                .iter()
                .flat_map(|cue| cue.lines.concat().chars().collect::<Vec<_>>())
                .collect();
            without_blanks(&shown) == without_blanks(&heard)
        };
        let checks = [
            ("no audio", spoken.duration_ms > 0 && bytes > 0),
            ("audio of another length", self.is_as_long(spoken, bytes)),
            (
                "a word that is not in the text",
                words.iter().all(|word| {
                    let there = text.get(word.char_start as usize..word.char_end as usize);
                    there.is_some_and(|there| word.text.chars().eq(there.iter().copied()))
                }),
            ),
            (
                "words out of order",
                words.is_sorted_by(|a, b| {
                    a.char_end <= b.char_start && a.end_ms <= b.start_ms && a.sentence <= b.sentence
                }),
            ),
            (
                "a word outside the audio",
                words
                    .iter()
                    .all(|word| word.start_ms <= word.end_ms && word.end_ms <= spoken.duration_ms),
            ),
            (
                "a letter of no word",
                (0..)
                    .zip(&text)
                    .all(|(at, c)| !has_speech(c.encode_utf8(&mut [0; 4])) || is_covered(at)),
            ),
            (
                "subtitles of another text",
                is_shown(Style::STANDARD) && is_shown(Style::SHORT),
            ),
            (
                "subtitles out of order",
                cues(Style::STANDARD)
                    .is_sorted_by(|a, b| a.start_ms <= a.end_ms && a.end_ms <= b.start_ms),
            ),
        ];
        checks
            .into_iter()
            .filter(|(_, holds)| !holds)
            .map(|(what, _)| what)
            .collect()
    }

    fn is_as_long(&self, spoken: &Synthesis, bytes: usize) -> bool {
        let samples = bytes as u64 / 2;
        let ms = samples * 1000 / u64::from(spoken.sample_rate_hz);
        self.request.output.format != Format::Pcm || ms.abs_diff(spoken.duration_ms) <= 1
    }
}

fn without_blanks(text: &str) -> String {
    text.chars()
        .filter(|c| !c.is_whitespace() && !c.is_control())
        .collect()
}

/// What became of all of them.
#[derive(Default)]
struct Tally {
    spoken: u64,
    /// By the service, before any engine: there is nothing to speak.
    refused: u64,
    audio_ms: u64,
    /// Children that a text has ended.
    lost: u64,
    /// Of each text that lost one, what its client is told: nothing, where all of it was
    /// spoken as it is written the second time.
    told: Vec<String>,
    /// Texts with a sentence of which nothing is heard.
    silent: Vec<String>,
    faults: Vec<String>,
}

impl Tally {
    fn add(&mut self, other: Self) {
        self.spoken += other.spoken;
        self.refused += other.refused;
        self.audio_ms += other.audio_ms;
        self.lost += other.lost;
        self.told.extend(other.told);
        self.silent.extend(other.silent);
        self.faults.extend(other.faults);
    }

    fn assert_none_lost(&self) {
        assert!(self.faults.is_empty() && self.lost == 0, "{self}");
    }

    fn note_silence(&mut self, case: &Case, spoken: &Synthesis) {
        let heard = spoken
            .words
            .iter()
            .filter(|word| word.end_ms > word.start_ms);
        let heard: BTreeSet<u32> = heard.map(|word| word.sentence).collect();
        let all = spoken.words.iter().map(|word| word.sentence);
        if let Some(silent) = all.clone().find(|sentence| !heard.contains(sentence)) {
            let words = spoken.words.iter().filter(|word| word.sentence == silent);
            let words: Vec<&str> = words.map(|word| &*word.text).collect();
            self.silent.push(format!("{case}: {words:?}"));
        }
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let voice = &self.request.segments[0].voice;
        let speed = self.request.segments[0].speed;
        write!(f, "{} by {voice} at {speed}: {:?}", self.what, self.text())
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} spoken ({} s of audio), {} refused, {} children lost, {} with a silent sentence",
            self.spoken,
            self.audio_ms / 1000,
            self.refused,
            self.lost,
            self.silent.len()
        )?;
        let silent = self
            .silent
            .iter()
            .take(MANY_FAULTS)
            .map(|one| ("silent", one));
        let told = self.told.iter().map(|one| ("lost", one));
        let faults = self
            .faults
            .iter()
            .take(MANY_FAULTS)
            .map(|one| ("fault", one));
        for (what, one) in silent.chain(told).chain(faults) {
            writeln!(f, "{what}: {one}")?;
        }
        Ok(())
    }
}

/// Counts what it hears.
#[derive(Default)]
struct Heard(usize);

impl Events for Heard {
    async fn audio(&mut self, bytes: Bytes) -> io::Result<()> {
        self.0 += bytes.len();
        Ok(())
    }

    fn progress(&mut self, _: u32, _: u32) {}
}

/// One after another, as a worker does: a text that has cost a child once more, sentence
/// by sentence.
struct Speaker<'a> {
    options: &'a Options,
    synthesizer: Synthesizer,
    tally: Tally,
}

impl Speaker<'_> {
    async fn speak(&mut self, case: &Case) {
        if !has_speech(case.text()) {
            self.tally.refused += 1;
            return;
        }
        let mut heard = Heard::default();
        let whole = self
            .synthesizer
            .speak(&case.request, AMPLE, &mut heard, pending())
            .await;
        let spoken = match whole {
            Ok(spoken) => Ok((spoken, Vec::new())),
            Err(loss) if loss.has_cost_the_child() => {
                self.tally.lost += 1;
                heard = Heard::default();
                self.salvage(case, &loss, &mut heard).await
            }
            Err(error) => Err(error),
        };
        let (spoken, warnings) = match spoken {
            Ok(spoken) => spoken,
            Err(error) => return self.tally.faults.push(format!("{error}: {case}")),
        };
        self.tally.spoken += 1;
        self.tally.audio_ms += spoken.duration_ms;
        self.tally.note_silence(case, &spoken);
        for fault in case.faults(&spoken, heard.0, &warnings) {
            self.tally.faults.push(format!("{fault}: {case}"));
        }
    }

    async fn salvage(
        &mut self,
        case: &Case,
        first: &SpeakError,
        heard: &mut Heard,
    ) -> Result<(Synthesis, Vec<Warning>), SpeakError> {
        let lost = std::sync::Mutex::new(Vec::new());
        let note = |_: &Place, sentence: u32, _: &SpeakError| lost.lock().unwrap().push(sentence);
        let limits = Limits {
            base: AMPLE,
            per_character: Duration::ZERO,
        };
        let singles = Synthesizer::new(self.options.clone());
        let salvage = Salvage::new(&case.request, None, singles, limits, &note);
        let spoken = salvage
            .speak(&mut self.synthesizer, AMPLE, heard, pending())
            .await?;
        let lost = lost.into_inner().unwrap();
        self.tally.lost += lost.len() as u64;
        let named: BTreeSet<u32> = spoken.1.iter().map(|warning| warning.sentence).collect();
        let told: Vec<String> = spoken.1.iter().map(ToString::to_string).collect();
        self.tally.told.push(format!("{first}: {case}: {told:?}"));
        if lost.iter().any(|sentence| !named.contains(sentence)) {
            let fault = format!("children lost in {lost:?}, and told of {named:?}: {case}");
            self.tally.faults.push(fault);
        }
        Ok(spoken)
    }
}

/// Has so many cases spoken.
fn speak_all(number: u64, options: &Options, case: impl Fn(u64) -> Case + Sync) -> Tally {
    let only = std::env::var("HOIAM_TEXTS_ONLY").ok();
    let only: Option<Vec<u64>> = only.map(|numbers| {
        let numbers = numbers.split(',').map(str::parse);
        numbers.collect::<Result<_, _>>().unwrap()
    });
    let (next, began) = (AtomicU64::new(0), Instant::now());
    let speak = || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        runtime.unwrap().block_on(async {
            let mut speaker = Speaker {
                options,
                synthesizer: Synthesizer::new(options.clone()),
                tally: Tally::default(),
            };
            loop {
                let at = next.fetch_add(1, Ordering::Relaxed);
                let text = match &only {
                    Some(only) => only.get(usize::try_from(at).unwrap()).copied(),
                    None => Some(at).filter(|at| *at < number),
                };
                let Some(text) = text else {
                    return speaker.tally;
                };
                speaker.speak(&case(text)).await;
            }
        })
    };
    let tally = std::thread::scope(|scope| {
        let threads = [(); CHILDREN].map(|()| scope.spawn(speak));
        let mut all = Tally::default();
        for thread in threads {
            all.add(thread.join().unwrap());
        }
        all
    });
    println!("{} s: {tally}", began.elapsed().as_secs());
    tally
}

/// The voices of eSpeak.
fn voices() -> Vec<String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.unwrap().block_on(async {
        let mut synthesizer = Synthesizer::new(options());
        let hello = synthesizer.ensure_started().await.unwrap().hello.clone();
        let voices = hello
            .voices
            .into_iter()
            .filter(|voice| voice.engine == "espeak");
        voices.map(|voice| voice.id).collect()
    })
}

/// Most are read by a voice of their language, and some by another one.
fn voice_for(written: &Written, all: &[String], dice: &mut Dice) -> String {
    let language = match dice.below(8) {
        0 => return all[dice.index(all.len())].clone(),
        1 => &LANGUAGES[dice.index(LANGUAGES.len())],
        _ => written.language,
    };
    format!("espeak/{}", dice.pick(language.voices))
}

#[test]
fn texts_as_people_write_them_are_spoken_and_cost_no_child() {
    let (seed, all) = (seed(), voices());
    let tally = speak_all(from_env("HOIAM_WRITTEN_TEXTS", 80), &options(), |number| {
        let written = Written::of(seed, number);
        let mut dice = Dice(seed ^ Dice(!number).roll());
        let voice = voice_for(&written, &all, &mut dice);
        let what = format!("{number}, {} in {}", written.form, written.language.tag);
        Case::new(what, written.text, &voice, &mut dice)
    });
    tally.assert_none_lost();
    assert!(tally.spoken > tally.refused, "{tally}");
}

#[test]
fn texts_that_nobody_writes_cost_sentences_that_the_client_is_told_of() {
    let (seed, all) = (seed(), voices());
    let tally = speak_all(from_env("HOIAM_RANDOM_TEXTS", 100), &options(), |number| {
        let mut dice = Dice(seed ^ Dice(!number).roll());
        let voice = &all[dice.index(all.len())];
        Case::new(
            number.to_string(),
            random::text(seed, number),
            voice,
            &mut dice,
        )
    });
    assert!(tally.faults.is_empty(), "{tally}");
}

/// By a voice that crashes at the word `crash`.
#[test]
fn a_text_that_costs_children_is_told_of_and_the_rest_of_it_is_spoken() {
    let options = Options {
        engines: engines::Setup {
            test_voices: true,
            ..engines::Setup::default()
        },
        ..options()
    };
    let tally = speak_all(3, &options, |number| {
        let text = "Fine. A crash. Fine.".to_owned();
        Case::new(number.to_string(), text, "test/fragile", &mut Dice(number))
    });
    assert!(tally.faults.is_empty(), "{tally}");
    assert_eq!((tally.spoken, tally.lost, tally.told.len()), (3, 6, 3));
}

/// A folder with the voice of the tests, and with one that has its network and the
/// phonemes of Vietnamese.
fn neural_voices(folder: &Path) -> [&'static str; 2] {
    let source = |ending: &str| neural::voices().join(format!("{}.{ending}", neural::NAME));
    let config = fs::read_to_string(source("onnx.json")).unwrap();
    let mut config: Value = serde_json::from_str(&config).unwrap();
    for (name, language) in [("joe", "en-us"), ("vi-test", "vi")] {
        config["espeak"]["voice"] = json!(language);
        symlink(source("onnx"), folder.join(format!("{name}.onnx"))).unwrap();
        fs::write(folder.join(format!("{name}.onnx.json")), config.to_string()).unwrap();
    }
    ["piper/joe", "piper/vi-test"]
}

#[test]
fn texts_as_people_write_them_are_spoken_by_a_neural_voice_and_cost_no_child() {
    let folder = tempfile::tempdir().unwrap();
    let voices = neural_voices(folder.path());
    let options = Options {
        engines: engines::Setup {
            voices_dir: Some(folder.path().to_owned()),
            ..engines::Setup::default()
        },
        address_space_bytes: 2 << 30,
        recycle_above_rss_bytes: 1 << 30,
        ..options()
    };
    let seed = seed();
    let tally = speak_all(from_env("HOIAM_NEURAL_TEXTS", 3), &options, |number| {
        let written = Written::of(seed, number);
        let mut dice = Dice(seed ^ Dice(!number).roll());
        let what = format!("{number}, {} in {}", written.form, written.language.tag);
        let voice = voices[usize::from(written.language.tag == "vi")];
        Case::new(what, written.text, voice, &mut dice)
    });
    tally.assert_none_lost();
}
