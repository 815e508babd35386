//! Text in, encoded audio and word times out.
//!
//! Pure: no actors, no HTTP, no database. Only the synthesizer child calls
//! [`speak`]; everything else of the crate uses the plain types here and
//! [`subtitles`].
//!
//! text → sentences → engine → PCM + word times → joined by samples →
//! encoded once.

use serde::{Deserialize, Serialize};

mod composed;
pub mod encode;
pub mod engine;
pub mod marks;
pub mod pronunciations;
pub mod spoken;
pub mod subtitles;
pub mod text;
mod track;

pub use engine::Engines;
pub use pronunciations::Pronunciation;

use composed::Composed;
use encode::Encoder;
use engine::Manner;
use pronunciations::Dictionary;
use spoken::Language;
use track::Track;

/// What is to be spoken: everything that decides the bytes of the result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// The text as the caller sent it, 1 to 100,000 characters after NFC.
    pub text: String,
    /// A resolved voice: `engine/name`, never an alias.
    pub voice: String,
    /// The container and codec of the result.
    pub format: Format,
    /// Kilobits a second, for formats that have a bit rate.
    pub bitrate_kbps: u32,
    /// 1.0 is the voice's own speed; 0.5 to 2.0.
    pub speed: f32,
    /// What is said for terms of the text; the earlier win.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pronunciations: Vec<Pronunciation>,
}

/// The container and codec of an audio file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// MPEG layer III, constant bit rate, with the LAME tag.
    Mp3,
    /// RIFF WAVE, 16 bit little-endian PCM.
    Wav,
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
    /// The first bytes of the file, which can be known only at its end (the
    /// LAME tag, the RIFF sizes): they replace as many bytes at offset 0.
    pub head: Vec<u8>,
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
}

/// Where [`speak`] sends what it makes while it makes it.
pub trait Sink {
    /// The next bytes of the file. An error ends the work.
    fn audio(&mut self, bytes: &[u8]) -> std::io::Result<()>;
    /// So many of so many sentences are done. `false` ends the work as
    /// [`SpeechError::Canceled`].
    fn progress(&mut self, done: u32, total: u32) -> bool;
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
            Self::EngineFailed { detail } | Self::EngineUnavailable { detail } => {
                f.write_str(detail)
            }
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
    let voice = engines.voice(&request.voice)?;
    let rate = voice.sample_rate_hz;
    let encoder = Encoder::new(request.format, rate, request.bitrate_kbps)?;
    let composed = Composed::of(&request.text);
    let sentences = text::sentences(&composed.text);
    let total = u32::try_from(sentences.len()).unwrap_or(u32::MAX);
    let mut track = Track::new(sink, encoder, rate, total, request.speed);
    track.check_wanted()?;
    let manner = Manner {
        speed: request.speed,
        language: Language::of(&voice.language),
        dictionary: Dictionary::new(&request.pronunciations),
    };
    engines.speak(&voice, &sentences, &manner, &mut track)?;
    let spoken = track.finish()?;
    let words = spoken
        .words
        .into_iter()
        .map(|word| composed.in_source(word))
        .collect();
    Ok(Spoken { words, ..spoken })
}

#[cfg(test)]
mod tests;
