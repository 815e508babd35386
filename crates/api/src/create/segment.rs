//! One part of a dialogue, and its place in the body.

use hoiam_text::Pronunciation;
use serde::{Deserialize, Serialize};

/// One part of a dialogue.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Segment {
    /// As it was sent.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub text: String,
    /// `engine/name` or an alias; null is that of its language, else that of the
    /// whole request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub voice: Option<String>,
    /// BCP 47.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
    /// Null is that of the whole request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub speed: Option<f32>,
    /// The silence after it; null is as between two sentences.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pause_after_ms: Option<u32>,
    /// What is said for terms of its text, before those of the whole request.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pronunciations: Vec<Pronunciation>,
}

/// Where the body has a segment, as a JSON pointer.
#[must_use]
pub fn segment_place(at: usize) -> String {
    format!("/segments/{at}")
}
