//! What an operator is told: several things of one kind that have happened, in
//! one callback.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::DeliveryType;

/// The `data` of an alert's callback.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alert {
    /// Its own.
    pub id: Uuid,
    /// How many things of this kind have happened since the alert before.
    pub count: u64,
    /// When the first of them did; RFC 3339.
    pub since: String,
    /// When the last of them did; RFC 3339.
    pub until: String,
    /// Only of `disk.failing` and `engine.failing`: all was well again when the
    /// alert was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolved: Option<bool>,
    /// The first ten.
    pub examples: Vec<Example>,
}

/// One of the things that an alert tells.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Example {
    /// When it happened; RFC 3339.
    pub at: String,
    /// The receiver: scheme, host and port. A URL may hold a secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
    /// The delivery that was given up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivery_id: Option<Uuid>,
    /// What it was to tell.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<DeliveryType>,
    /// The task it was to tell of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_id: Option<Uuid>,
    /// The speech it was to tell of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub speech_id: Option<Uuid>,
    /// What cannot be written, or the engine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    /// What is wrong, for people; absent: it is well again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}
