//! What comes of a request: when its words are heard, or why it could not be spoken.

use serde::{Deserialize, Serialize};

/// What one [`Request`](crate::request::Request) came to, but for the audio itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Synthesis {
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

/// Why a text could not be spoken. Crashes and overruns are not here: they
/// are seen from outside the child.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "code", rename_all = "snake_case")]
pub enum SpeechError {
    /// No engine here has this voice.
    #[error("no engine here has the voice {voice}")]
    UnknownVoice {
        /// What was asked for.
        voice: String,
    },
    /// The engine refused or failed; the same request will fail again.
    #[error("{detail}")]
    EngineFailed {
        /// What the engine said, for people.
        detail: String,
    },
    /// The request has phonemes that its voice cannot say.
    #[error("{detail}")]
    UnknownPhonemes {
        /// Which, and what the voice could say.
        detail: String,
    },
    /// A library or a model that the engine needs is not there.
    #[error("{detail}")]
    EngineUnavailable {
        /// What is missing and which package has it.
        detail: String,
    },
    /// The sink asked to stop.
    #[error("it was canceled")]
    Canceled,
    /// The sink could not take the audio.
    #[error("the audio cannot be written: {detail}")]
    Output {
        /// The operating system's words.
        detail: String,
    },
}
