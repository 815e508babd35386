//! Text in, encoded audio and word times out.
//!
//! Pure: no actors, no HTTP, no database. Only the synthesizer child calls
//! [`speak`]; everything else of the crate uses the plain types here and
//! [`subtitles`].
//!
//! text → sentences → engine → PCM + word times → each sentence as loud as the
//! others → joined by samples → encoded once.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

pub mod composed;
pub mod encode;
pub mod engine;
pub mod ipa;
pub mod loudness;
pub mod marks;
mod pauses;
pub mod pronunciations;
mod resample;
pub mod source;
pub mod spoken;
pub mod subtitles;
pub mod text;
mod track;

pub use engine::Engines;
pub use pronunciations::{Pronunciation, Said};

use composed::Composed;
use engine::Manner;
use pronunciations::Dictionary;
use spoken::Language;
use text::Sentence;
use track::{Tape, Track};

/// What is to be spoken: everything that decides the bytes of the result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// One after another; there is at least one.
    pub segments: Vec<Segment>,
    /// Whether the result tells segments apart. A plain text is one segment, and
    /// nobody has asked for its number.
    #[serde(default)]
    pub numbered: bool,
    /// What file is made of it.
    pub output: Output,
}

impl Request {
    /// A text in one voice.
    pub fn plain(text: impl Into<String>, voice: impl Into<String>, output: Output) -> Self {
        Self {
            segments: vec![Segment {
                text: text.into(),
                voice: voice.into(),
                speed: 1.0,
                pause_after_ms: None,
                pronunciations: Vec::new(),
            }],
            numbered: false,
            output,
        }
    }

    /// How long the text of all segments is.
    pub fn text_bytes(&self) -> usize {
        self.segments.iter().map(|segment| segment.text.len()).sum()
    }

    /// The voice of a sentence at this place; of the first one if nobody knows.
    pub fn voice_of(&self, place: Option<&Place>) -> &str {
        let segment = self.segments.get(place.map_or(0, |place| place.segment));
        segment.map_or("", |segment| &segment.voice)
    }

    /// Where each sentence stands, over all segments.
    pub fn places(&self) -> Vec<Place> {
        let of_segment = |(index, segment): (usize, &Segment)| {
            let (composed, sentences) = segment.sentences();
            let place = |sentence: Sentence| {
                let end = sentence.char_start + sentence.text.chars().count();
                let offset = |at: usize| composed.source_offset(at.try_into().unwrap_or(u32::MAX));
                let terms = pronunciations::of_text(&sentence.text, &segment.pronunciations);
                Place {
                    segment: index,
                    char_start: offset(sentence.char_start),
                    char_end: offset(end),
                    is_plain: terms.is_empty() && sentence.plain() == sentence,
                }
            };
            sentences.into_iter().map(place).collect::<Vec<_>>()
        };
        self.segments
            .iter()
            .enumerate()
            .flat_map(of_segment)
            .collect()
    }
}

/// A text in one voice.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Segment {
    /// As the caller sent it; all of them have 1 to 100,000 characters after NFC.
    pub text: String,
    /// A resolved voice: `engine/name`, never an alias.
    pub voice: String,
    /// 1.0 is the voice's own speed; 0.5 to 2.0.
    pub speed: f32,
    /// The silence after it; as between two sentences if nobody says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pause_after_ms: Option<u32>,
    /// What is said for terms of the text; the earlier win.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pronunciations: Vec<Pronunciation>,
}

impl Segment {
    /// The text as it is spoken, and its sentences.
    fn sentences(&self) -> (Composed, Vec<Sentence>) {
        let composed = Composed::of(&self.text);
        let mut costs: Vec<u32> = composed.text.chars().map(text::cost).collect();
        for term in Dictionary::new(&self.pronunciations).find(&composed.text) {
            costs[term.span.clone()].fill(0);
            costs[term.span.start] = term.said.cost();
        }
        let sentences = text::sentences_at(&composed.text, &costs);
        (composed, sentences)
    }

    /// For each sentence all that its sound depends on, but for the voice's version.
    pub fn essences(&self) -> impl Iterator<Item = Essence<'_>> {
        let (_, sentences) = self.sentences();
        sentences.into_iter().map(|sentence| Essence {
            pronunciations: pronunciations::of_text(&sentence.text, &self.pronunciations),
            text: sentence.text,
            voice: &self.voice,
            speed: self.speed,
        })
    }
}

/// Where a sentence stands in a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// From 0.
    pub segment: usize,
    /// Offset in Unicode code points of the segment's text as it was sent.
    pub char_start: u32,
    /// Exclusive end, likewise.
    pub char_end: u32,
    /// Whether it would be spoken in the same way with letters, digits and plain marks
    /// only.
    pub is_plain: bool,
}

/// All that the sound of a sentence depends on, but for the version of its voice.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Essence<'a> {
    text: String,
    voice: &'a str,
    speed: f32,
    pronunciations: Vec<&'a Pronunciation>,
}

/// What file is made of a speech.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Output {
    /// The container and codec.
    pub format: Format,
    /// Kilobits a second, for formats that have a bit rate.
    pub bitrate_kbps: u32,
    /// Samples a second; that of the voices if nobody says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sample_rate_hz: Option<u32>,
    /// How loud every sentence is made; 0 leaves it as the voice speaks.
    pub loudness_lufs: f32,
    /// What the file says about itself.
    #[serde(default)]
    pub tags: Tags,
}

impl Default for Output {
    fn default() -> Self {
        Self {
            format: Format::Mp3,
            bitrate_kbps: 64,
            sample_rate_hz: None,
            loudness_lufs: loudness::DEFAULT_LUFS,
            tags: Tags::default(),
        }
    }
}

/// What a file says about itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tags {
    /// What players show.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// BCP 47.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
}

/// The container and codec of an audio file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// MPEG layer III, constant bit rate, with the LAME tag.
    Mp3,
    /// RIFF WAVE, 16 bit little-endian PCM.
    Wav,
    /// Opus in Ogg.
    Opus,
    /// FLAC, 16 bit.
    Flac,
    /// 16 bit little-endian PCM and nothing else.
    Pcm,
}

/// What one [`Request`] came to; the audio itself went to the [`Sink`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Spoken {
    /// Length of the gapless PCM, rounded to the nearest millisecond.
    pub duration_ms: u64,
    /// Samples a second of the result.
    pub sample_rate_hz: u32,
    /// 1: every engine so far speaks mono.
    pub channels: u16,
    /// When each word of the source text is heard, in order.
    pub words: Vec<Word>,
    /// When each segment is heard, where the request tells them apart.
    #[serde(default)]
    pub segments: Vec<SegmentTimes>,
    /// The first bytes of the file, which can be known only at its end (the
    /// LAME tag, the RIFF sizes): they replace as many bytes at offset 0.
    pub head: Vec<u8>,
}

/// One sentence, spoken and not yet on any track.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Made {
    /// As the voice has spoken it, with the voice's own sample rate.
    pub pcm: Vec<i16>,
    /// For each word of the sentence, from which to which sample it is heard.
    pub words: Vec<std::ops::Range<usize>>,
}

/// When one word of the source text is heard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Word {
    /// The word as it stands in the source.
    pub text: String,
    /// Milliseconds from the start of the gapless PCM.
    pub start_ms: u64,
    /// Milliseconds from the start of the gapless PCM.
    pub end_ms: u64,
    /// Offset in Unicode code points of the text as it was sent.
    pub char_start: u32,
    /// Exclusive end in Unicode code points.
    pub char_end: u32,
    /// Which sentence it belongs to, from 0.
    pub sentence: u32,
    /// Which segment it belongs to, from 0, where the request tells them apart;
    /// `char_start` and `char_end` count within it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub segment: Option<u32>,
}

/// When one segment is heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentTimes {
    /// From 0.
    pub index: u32,
    /// Milliseconds from the start of the gapless PCM.
    pub start_ms: u64,
    /// Before the pause that follows it.
    pub end_ms: u64,
}

/// One voice that an engine offers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Voice {
    /// `engine/name`, as requests name it.
    pub id: String,
    /// The engine's name, the part before the slash.
    pub engine: String,
    /// BCP 47.
    pub language: String,
    /// For people.
    pub name: String,
    /// `female`, `male`, or null where the engine does not say.
    pub gender: Option<String>,
    /// Samples a second that the voice speaks with.
    pub sample_rate_hz: u32,
    /// The licence of the voice's data, where known.
    pub licence: Option<String>,
    /// Who can be asked for as `id:speaker`, where the voice is of several.
    pub speakers: Vec<String>,
    /// Changes whenever the same text may come to sound otherwise. None of a voice
    /// that is to be asked every time.
    #[serde(default)]
    pub version: Option<String>,
    /// Whether speaking costs so much that single sentences are worth being kept.
    #[serde(default)]
    pub is_costly: bool,
}

/// Where [`speak`] sends what it makes while it makes it.
pub trait Sink {
    /// The next bytes of the file. An error ends the work.
    fn audio(&mut self, bytes: &[u8]) -> std::io::Result<()>;
    /// So many of so many sentences are done. `false` ends the work as
    /// [`SpeechError::Canceled`].
    fn progress(&mut self, done: u32, total: u32) -> bool;
    /// A sentence, counted from 0, that somebody else has spoken; waits for one
    /// that somebody else is speaking. `None` where it is ours.
    fn elsewhere(&mut self, _sentence: u32) -> Option<Made> {
        None
    }
    /// A sentence, counted from 0, that was spoken here: its samples, and for each of
    /// its words from which to which of them it is heard.
    fn sentence(&mut self, _sentence: u32, _pcm: &[i16], _words: &[std::ops::Range<usize>]) {}
}

/// Why a text could not be spoken. Crashes and overruns are not here: they
/// are seen from outside the child.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "code", rename_all = "snake_case")]
pub enum SpeechError {
    /// No engine here has this voice.
    UnknownVoice {
        /// What was asked for.
        voice: String,
    },
    /// The engine refused or failed; the same request will fail again.
    EngineFailed {
        /// What the engine said, for people.
        detail: String,
    },
    /// The request has phonemes that its voice cannot say.
    UnknownPhonemes {
        /// Which, and what the voice could say.
        detail: String,
    },
    /// A library or a model that the engine needs is not there.
    EngineUnavailable {
        /// What is missing and which package has it.
        detail: String,
    },
    /// The sink asked to stop.
    Canceled,
    /// The sink could not take the audio.
    Output {
        /// The operating system's words.
        detail: String,
    },
}

impl std::fmt::Display for SpeechError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::UnknownVoice { voice } => write!(f, "no engine here has the voice {voice}"),
            Self::EngineFailed { detail }
            | Self::EngineUnavailable { detail }
            | Self::UnknownPhonemes { detail } => f.write_str(detail),
            Self::Canceled => f.write_str("it was canceled"),
            Self::Output { detail } => write!(f, "the audio cannot be written: {detail}"),
        }
    }
}

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
) -> Result<Spoken, SpeechError> {
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
    let mut track = Track::new(sink, output, rate, sentences)?;
    track.check_wanted()?;
    for (part, segment) in parts.iter().zip(&request.segments) {
        let manner = part.manner(segment);
        track.begin_segment(part.voice.sample_rate_hz, segment.speed);
        engines.speak(&part.voice, &part.sentences, &manner, &mut track)?;
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
    Ok(Spoken {
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
    fn manner(&self, segment: &Segment) -> Manner {
        Manner {
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
) -> Result<Made, SpeechError> {
    let mut at = sentence as usize;
    for (part, segment) in parts(engines, request)?.iter().zip(&request.segments) {
        let Some(wanted) = part.sentences.get(at..=at) else {
            at -= part.sentences.len();
            continue;
        };
        let mut tape = None;
        let (mut manner, mut wanted) = (part.manner(segment), wanted.to_vec());
        if plain {
            manner.dictionary = Dictionary::default();
            wanted = wanted.iter().map(Sentence::plain).collect();
        }
        engines.speak(&part.voice, &wanted, &manner, &mut tape)?;
        return Ok(tape.unwrap_or_default());
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
