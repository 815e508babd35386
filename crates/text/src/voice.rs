//! What is known of a voice.

use serde::{Deserialize, Serialize};

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
