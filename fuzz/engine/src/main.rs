//! Gives texts to eSpeak NG as a child of the service would: through all that is made of
//! a text before, by `espeak_Synth` for its own voices and by `espeak_TextToPhonemes` for
//! neural ones.
//!
//! An input is a line that says how and with which voice, and then the text:
//!
//! | first word | what is done |
//! | --- | --- |
//! | `speak` | spoken by `espeak/VOICE` |
//! | `plain` | the same as the salvage of a crash does: letters, digits, plain marks |
//! | `named` | the same with terms of it said by phonemes |
//! | `symbols` | phonemes for a neural voice that names VOICE |
//!
//! The library that is loaded has been built by `fuzz/libespeak-asan.sh`: it ends the
//! process where it reads or writes what is not its own, and its counters lead libFuzzer.

#![no_main]

mod texts;

use std::cell::RefCell;
use std::io;

use hoiam_speech::engine::piper;
use hoiam_speech::{Engines, Sink};
use hoiam_synthesizer::engines::Setup;
use hoiam_text::{Format, Output, Pronunciation, Request, Said, segmentation};

use libfuzzer_sys::{Corpus, fuzz_mutator, fuzz_target, fuzzer_mutate};
use texts::Random;

/// More is a book; a text of so many characters has several sentences.
const MOST_CHARACTERS: usize = 1200;

const WAYS: &[&str] = &[
    "speak", "speak", "symbols", "symbols", "symbols", "plain", "named",
];

/// Words to be said by phonemes, which many voices have.
const NAMED: &[(&str, &str)] = &[("a", "ˈama"), ("the", "mˈam"), ("g", "ki"), ("1", "sˈi")];

thread_local! {
    static SPEAKER: RefCell<Speaker> = RefCell::new(Speaker::open());
}

struct Speaker {
    engines: Engines,
    /// The part of each voice's id behind the slash.
    voices: Vec<String>,
}

impl Speaker {
    fn open() -> Self {
        let engines = Engines::open(&Setup::default());
        let voices = engines.voices().into_iter();
        let names = voices.filter_map(|voice| Some(voice.id.strip_prefix("espeak/")?.to_owned()));
        let voices: Vec<String> = names.collect();
        assert!(!voices.is_empty(), "{:?}", engines.unavailable());
        Self { engines, voices }
    }

    fn say(&mut self, way: &str, voice: &str, text: &str) -> Corpus {
        if !self.voices.iter().any(|known| known == voice) || !segmentation::has_speech(text) {
            return Corpus::Reject;
        }
        if way == "symbols" {
            let _ = piper::symbols(voice, text);
            return Corpus::Keep;
        }
        let mut request = request(voice, text);
        if way == "named" {
            let named = NAMED.iter().map(|(term, ipa)| Pronunciation {
                term: (*term).to_owned(),
                said: Said::Phonemes((*ipa).to_owned()),
                match_case: false,
            });
            request.segments[0].pronunciations = named.collect();
        }
        // What a voice refuses it has refused before it was spoken.
        if way == "plain" {
            let _ = hoiam_speech::speak_sentence(&mut self.engines, &request, 0, true);
        } else {
            let _ = hoiam_speech::speak(&mut self.engines, &request, &mut Nowhere);
        }
        Corpus::Keep
    }
}

fn request(voice: &str, text: &str) -> Request {
    let output = Output {
        format: Format::Pcm,
        loudness_lufs: 0.0,
        ..Output::default()
    };
    let mut request = Request::plain(text, format!("espeak/{voice}"), output);
    // The sooner it has been said.
    request.segments[0].speed = 2.0;
    request
}

struct Nowhere;

impl Sink for Nowhere {
    fn audio(&mut self, _: &[u8]) -> io::Result<()> {
        Ok(())
    }

    fn progress(&mut self, _: u32, _: u32) -> bool {
        true
    }
}

/// The way, the voice and the text.
fn parts(input: &[u8]) -> Option<(&str, &str, &str)> {
    let (head, text) = std::str::from_utf8(input).ok()?.split_once('\n')?;
    let (way, voice) = head.split_once(' ')?;
    Some((way, voice, text))
}

fuzz_target!(init: SPEAKER.with(|_| ()), |input: &[u8]| -> Corpus {
    match parts(input) {
        Some((way, voice, text)) if text.chars().count() <= MOST_CHARACTERS => {
            SPEAKER.with_borrow_mut(|speaker| speaker.say(way, voice, text))
        }
        _ => Corpus::Reject,
    }
});

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let mut random = Random::new(seed.into());
    let made = SPEAKER.with_borrow(|speaker| {
        let any = || (WAYS[0], speaker.voices[0].as_str(), "a");
        let (mut way, mut voice, text) = parts(&data[..size]).unwrap_or_else(any);
        if random.below(10) == 0 {
            way = WAYS[random.below(WAYS.len())];
        }
        if random.below(6) == 0 {
            voice = &speaker.voices[random.below(speaker.voices.len())];
        }
        let text = match random.below(8) {
            // What libFuzzer itself would try, with what it has seen compared.
            0 => by_libfuzzer(text, max_size),
            1 => texts::text(&mut random, 12),
            _ => texts::changed(text, &mut random),
        };
        format!("{way} {voice}\n{text}")
    });
    let mut end = made.len().min(max_size);
    while !made.is_char_boundary(end) {
        end -= 1;
    }
    data[..end].copy_from_slice(&made.as_bytes()[..end]);
    end
});

fn by_libfuzzer(text: &str, max_size: usize) -> String {
    let mut bytes = text.as_bytes().to_vec();
    let size = bytes.len();
    bytes.resize(max_size.max(size), 0);
    let size = fuzzer_mutate(&mut bytes, size, max_size);
    String::from_utf8_lossy(&bytes[..size]).into_owned()
}
