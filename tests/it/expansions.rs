//! Texts of which far more is said than is written: a child's memory bears them, nothing
//! is left out, and each word has the time in which it is said.

use std::future::pending;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use hoiam_synthesizer::engines;
use hoiam_synthesizer::parent::{Events, Options, Synthesizer};
use hoiam_text::{Format, Output, Pronunciation, Request, Said, Synthesis};

/// Long enough never to be met by a test that passes.
const AMPLE: Duration = Duration::from_secs(600);

fn synthesizer() -> Synthesizer {
    Synthesizer::new(Options {
        program: PathBuf::from(env!("CARGO_BIN_EXE_hoiam")),
        engines: engines::Setup::default(),
        start_timeout: AMPLE,
        ..Options::default()
    })
}

/// Slowly, as the voice speaks.
fn request(voice: &str, text: &str, pronunciations: Vec<Pronunciation>) -> Request {
    let output = Output {
        format: Format::Pcm,
        loudness_lufs: 0.0,
        ..Output::default()
    };
    let mut request = Request::plain(text, voice, output);
    request.segments[0].speed = 0.5;
    request.segments[0].pronunciations = pronunciations;
    request
}

/// The same with what takes the most memory: many samples a second, levelled.
fn large_request(voice: &str, text: &str) -> Request {
    let output = Output {
        format: Format::Wav,
        sample_rate_hz: Some(48_000),
        ..Output::default()
    };
    Request {
        output,
        ..request(voice, text, Vec::new())
    }
}

fn term(term: &str, said: Said) -> Vec<Pronunciation> {
    vec![Pronunciation {
        term: term.to_owned(),
        said,
        match_case: false,
    }]
}

fn say(words: &str) -> Said {
    Said::Words(words.chars().take(200).collect())
}

#[derive(Default)]
struct Heard {
    bytes: u64,
}

impl Events for Heard {
    async fn audio(&mut self, bytes: Bytes) -> io::Result<()> {
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    fn progress(&mut self, _: u32, _: u32) {}
}

/// Has it spoken by a child with a child's bounds.
async fn speak(synthesizer: &mut Synthesizer, request: &Request) -> Synthesis {
    let mut heard = Heard::default();
    let spoken = synthesizer
        .speak(request, AMPLE, &mut heard, pending())
        .await;
    let text: String = request.segments[0].text.chars().take(20).collect();
    let spoken = spoken.unwrap_or_else(|error| panic!("{text}: {error}"));
    let samples = spoken.duration_ms * u64::from(spoken.sample_rate_hz) / 1000;
    assert!(heard.bytes.abs_diff(2 * samples) < 10_000, "{text}");
    spoken
}

/// How long each word is heard, in milliseconds.
fn lengths(spoken: &Synthesis) -> Vec<u64> {
    let ordered = spoken.words.windows(2);
    for pair in ordered {
        assert!(pair[0].end_ms <= pair[1].start_ms, "{pair:?}");
    }
    let words = spoken.words.iter();
    words.map(|word| word.end_ms - word.start_ms).collect()
}

/// All of these are said alike, so each takes as long as the others.
fn assert_alike(lengths: &[u64], at_least_ms: u64) {
    for (at, length) in lengths.iter().enumerate() {
        let others = lengths[lengths.len() / 2];
        let is_alike = (others * 3 / 4..=others * 4 / 3).contains(length);
        assert!(is_alike && *length >= at_least_ms, "{at}: {lengths:?}");
    }
}

#[tokio::test]
async fn a_term_of_one_letter_that_is_said_in_two_hundred_is_said_each_time() {
    let mut synthesizer = synthesizer();
    let words = say(&"seven grey geese ".repeat(20));
    let request = request("espeak/en-us", &"x ".repeat(50), term("x", words));
    let spoken = speak(&mut synthesizer, &request).await;
    let lengths = lengths(&spoken);
    assert_eq!(lengths.len(), 50);
    assert_alike(&lengths, 12_000);
}

#[tokio::test]
async fn phonemes_that_stand_for_one_letter_are_said_each_time() {
    let mut synthesizer = synthesizer();
    let sounds = Said::Phonemes("ˈsɛvən ɡɹeɪ ˈɡiːs ".repeat(10).trim().to_owned());
    let request = request("espeak/en-us", &"x ".repeat(50), term("x", sounds));
    let lengths = lengths(&speak(&mut synthesizer, &request).await);
    assert_eq!(lengths.len(), 50);
    assert_alike(&lengths, 10_000);
}

#[tokio::test]
async fn terms_without_blanks_between_them_and_within_them_are_said() {
    let mut synthesizer = synthesizer();
    let words = say(&"我们都是朋友".repeat(40));
    let request = request("espeak/cmn", &"a%".repeat(40), term("%", words));
    let spoken = speak(&mut synthesizer, &request).await;
    assert_eq!(spoken.words.len(), 40);
    // 200 syllables, 0.2 s each at the usual speed.
    assert!(
        spoken.duration_ms > 40 * 200 * 300,
        "{}",
        spoken.duration_ms
    );
}

async fn assert_sums(voice: &str, sum: &str, request: impl Fn(&str, &str) -> Request) {
    let request = request(voice, &sum.repeat(25));
    let spoken = speak(&mut synthesizer(), &request).await;
    assert_eq!(spoken.words.len() % 25, 0);
    let each = spoken.words.len() / 25;
    let lengths = lengths(&spoken);
    let sums: Vec<u64> = lengths.chunks(each).map(|sum| sum.iter().sum()).collect();
    assert_alike(&sums, 8_000);
}

#[tokio::test]
async fn sums_of_money_are_all_said_with_a_high_sample_rate_too() {
    assert_sums("espeak/en-us", "$999,999,999.99 ", large_request).await;
}

#[tokio::test]
async fn sums_of_money_are_all_said_in_vietnamese() {
    let plain = |voice: &str, text: &str| request(voice, text, Vec::new());
    assert_sums("espeak/vi", "999.999.999,99 USD ", plain).await;
}

#[tokio::test]
async fn names_of_symbols_and_of_letters_of_other_scripts_are_borne() {
    let mut synthesizer = synthesizer();
    for voice in ["espeak/en-us", "espeak/vi", "espeak/cmn"] {
        for written in ["ሀ", "中", "ع", "ɸ", "7 ", "≥a", "%a ", "a⠿ "] {
            let text: String = written.repeat(400).chars().take(400).collect();
            speak(&mut synthesizer, &request(voice, &text, Vec::new())).await;
        }
    }
    // Minutes of one sentence, with a high sample rate.
    let longest = large_request("espeak/en-us", &"ก ".repeat(175));
    let spoken = speak(&mut synthesizer, &longest).await;
    assert!(spoken.duration_ms > 100_000, "{}", spoken.duration_ms);
}

/// A sentence that somebody else speaks is held by the service too.
#[tokio::test]
async fn one_sentence_is_never_more_than_the_service_takes() {
    let mut synthesizer = synthesizer();
    let worst = say(&"ሀ".repeat(200));
    for (text, pronunciations) in [
        ("ሀ".repeat(400), Vec::new()),
        ("ก".repeat(400), Vec::new()),
        ("x ".repeat(50), term("x", worst)),
        ("a%".repeat(200), term("%", say(&"one ".repeat(50)))),
    ] {
        let request = request("espeak/en-us", &text, pronunciations);
        let spoken = synthesizer.speak_sentence(&request, 0, false, AMPLE).await;
        let text: String = text.chars().take(5).collect();
        let made = spoken.unwrap_or_else(|error| panic!("{text}: {error}"));
        assert!(made.samples.len() > 1_000_000, "{}", made.samples.len());
    }
}
