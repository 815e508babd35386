//! Text in, encoded audio and word times out.
//!
//! Pure: no actors, no HTTP, no database. All of it runs in the synthesizer child
//! ([`child`]).
//!
//! text → sentences → engine → PCM + word times → each sentence as loud as the
//! others → joined by samples → encoded once.

use std::collections::HashSet;

use hoiam_text::nfc::Composed;
use hoiam_text::normalize::Language;
use hoiam_text::pronunciations::Dictionary;
use hoiam_text::segmentation::Sentence;
use hoiam_text::{Pronunciation, Request, Said, Segment, SpeechError, Synthesis, Voice, Word};

mod assembler;
pub mod child;
pub mod encode;
pub mod engine;
pub mod loudness;
mod pauses;
mod resample;
mod sink;

pub use engine::Engines;
pub use sink::{Sink, SpokenSentence};

use assembler::Assembler;
use engine::SpeakOptions;
use sink::SentenceSink as _;

/// Speaks a text: the audio goes to the sink as it is made, the times of the
/// words and the file's first bytes are the answer. Memory does not grow with
/// the length of the audio.
///
/// The text is split into sentences; a sentence is the unit of progress, and
/// between two of them the work can be canceled.
pub fn speak(
    engines: &mut Engines,
    request: &Request,
    sink: &mut dyn Sink,
) -> Result<Synthesis, SpeechError> {
    let parts = parts(engines, request)?;
    for (part, segment) in parts.iter().zip(&request.segments) {
        part.check_phonemes(engines, segment)?;
    }
    let output = &request.output;
    let voices_hz = parts.iter().map(|part| part.voice.sample_rate_hz).max();
    let rate = output
        .sample_rate_hz
        .unwrap_or_else(|| output.format.sample_rate(voices_hz.unwrap_or_default()));
    let sentences = parts.iter().map(|part| part.sentences.len()).sum();
    let mut track = Assembler::new(sink, output, rate, sentences)?;
    track.check_wanted()?;
    for (part, segment) in parts.iter().zip(&request.segments) {
        let options = part.options(segment);
        track.begin_segment(part.voice.sample_rate_hz, segment.speed);
        engines.speak(&part.voice, &part.sentences, &options, &mut track)?;
        track.end_segment(segment.pause_after_ms);
    }
    let spoken = track.finish()?;
    let segments = match request.numbered {
        true => spoken.segments,
        false => Vec::new(),
    };
    let words = spoken.words.into_iter().filter_map(|word| {
        let segment = word.segment;
        let part = parts.get(segment.unwrap_or_default() as usize);
        let word = match part {
            Some(part) => part.composed.in_source(word)?,
            None => word,
        };
        Some(Word {
            segment: segment.filter(|_| request.numbered),
            ..word
        })
    });
    Ok(Synthesis {
        words: words.collect(),
        segments,
        ..spoken
    })
}

/// A segment, ready to be spoken.
struct Part {
    voice: Voice,
    composed: Composed,
    sentences: Vec<Sentence>,
}

impl Part {
    fn options(&self, segment: &Segment) -> SpeakOptions {
        SpeakOptions {
            speed: segment.speed,
            language: Language::of(&self.voice.language),
            dictionary: Dictionary::new(&segment.pronunciations),
        }
    }

    /// Whether the voice can say the phonemes of all terms that the text has, so
    /// that nothing is spoken in vain.
    fn check_phonemes(&self, engines: &mut Engines, segment: &Segment) -> Result<(), SpeechError> {
        let is_ipa = |known: &Pronunciation| matches!(known.said, Said::Phonemes(_));
        if !segment.pronunciations.iter().any(is_ipa) {
            return Ok(());
        }
        let mut checked: HashSet<Said> = HashSet::new();
        for found in Dictionary::new(&segment.pronunciations).find(&self.composed.text) {
            let Said::Phonemes(phonemes) = &found.said else {
                continue;
            };
            if checked.contains(&found.said) {
                continue;
            }
            engines.can_say(&self.voice, phonemes).map_err(|error| match error {
                SpeechError::UnknownPhonemes { detail } => {
                    let written = self.composed.text.chars().skip(found.span.start);
                    let term: String = written.take(found.span.len()).collect();
                    let detail = format!(
                        "{} cannot say the phonemes /{phonemes}/ of `{term}`: {detail}. Give others, or `say` in words.",
                        self.voice.id
                    );
                    SpeechError::UnknownPhonemes { detail }
                }
                other => other,
            })?;
            checked.insert(found.said);
        }
        Ok(())
    }
}

/// Speaks one sentence of a request, counted from 0 over all segments, for somebody
/// else who speaks the whole. With `plain`, letters, digits and plain marks only, and
/// no pronunciations.
pub fn speak_sentence(
    engines: &mut Engines,
    request: &Request,
    sentence: u32,
    plain: bool,
) -> Result<SpokenSentence, SpeechError> {
    let mut at = sentence as usize;
    for (part, segment) in parts(engines, request)?.iter().zip(&request.segments) {
        let Some(wanted) = part.sentences.get(at..=at) else {
            at -= part.sentences.len();
            continue;
        };
        let mut sink = None;
        let (mut options, mut wanted) = (part.options(segment), wanted.to_vec());
        if plain {
            options.dictionary = Dictionary::default();
            wanted = wanted.iter().map(Sentence::plain).collect();
        }
        engines.speak(&part.voice, &wanted, &options, &mut sink)?;
        return Ok(sink.unwrap_or_default());
    }
    Err(SpeechError::EngineFailed {
        detail: format!("the text has no sentence {sentence}"),
    })
}

fn parts(engines: &Engines, request: &Request) -> Result<Vec<Part>, SpeechError> {
    let part = |segment: &Segment| {
        let (composed, sentences) = segment.sentences();
        Ok(Part {
            voice: engines.voice(&segment.voice)?,
            sentences,
            composed,
        })
    };
    request.segments.iter().map(part).collect()
}

#[cfg(test)]
mod tests;
