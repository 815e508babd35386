//! What is said on the wire: bodies, events, signatures, problem codes.
//!
//! Knows neither service. Client requests are read strictly
//! ([`create::Create::parse`]); messages between the services tolerantly, so
//! that they can be upgraded one after the other.

pub mod alert;
pub mod callback_headers;
pub mod client;
pub mod create;
pub mod event;
pub mod nearest;
pub mod problem;
pub mod resource;
pub mod signature;
pub mod voices;

pub use alert::{Alert, Example};
pub use callback_headers::CallbackHeaders;
pub use create::Create;
pub use event::{Event, EventType};
pub use problem::{Code, FieldError, FieldErrors, Problem, without_paths};
pub use resource::{
    AUDIO_TOO_LARGE, Audio, Callback, CheckState, Delivery, DeliveryAttempt, DeliveryStatus,
    DeliveryType, Failure, Late, LateResult, Page, Progress, Recording, Remedy, Resource, Retries,
    SMALLER, Speech, SpeechStatus, Status, Subtitles, Task, TaskStatus, WaitingFor, Warning,
};

pub use voices::{Catalog, SPEAKER, VoiceItem};

/// An instant, in milliseconds since 1970, as the wire writes it: RFC 3339, UTC,
/// milliseconds.
#[must_use]
pub fn rfc3339(at: i64) -> String {
    chrono::DateTime::from_timestamp_millis(at)
        .unwrap_or_default()
        .to_rfc3339_opts(chrono::SecondsFormat::Millis, true)
}

/// Reads what [`rfc3339`] writes, and any other RFC 3339 instant.
#[must_use]
pub fn parse_rfc3339(text: &str) -> Option<i64> {
    chrono::DateTime::parse_from_rfc3339(text)
        .ok()
        .map(|at| at.timestamp_millis())
}

/// The two services. Which one speaks decides the names of a few fields:
/// `task_id` or `speech_id`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// Takes tasks from clients.
    Backend,
    /// Speaks.
    Tts,
}

impl Service {
    /// Its name: of its database, its files and its threads.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Backend => "backend",
            Self::Tts => "tts",
        }
    }

    /// The path of its collection.
    #[must_use]
    pub fn collection(self) -> &'static str {
        match self {
            Self::Backend => "/v1/tasks",
            Self::Tts => "/v1/speech",
        }
    }
}

impl std::fmt::Display for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}
