//! One line of a task's or a speech's history.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::resource::{Progress, SpeechStatus, TaskStatus};
use super::{Service, rfc3339};

/// What kind of thing happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventType {
    /// The status changed.
    State,
    /// A call was tried: a hand-over, a fetch, a delivery.
    Attempt,
    /// So many sentences are done; sent to streams, never stored.
    Progress,
}

impl EventType {
    /// The word on the wire and in the database.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::State => "state",
            Self::Attempt => "attempt",
            Self::Progress => "progress",
        }
    }

    /// Reads [`Self::as_str`].
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::State, Self::Attempt, Self::Progress]
            .into_iter()
            .find(|kind| kind.as_str() == text)
    }
}

/// One event, as GET answers it and as server-sent events carry it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Grows within one service; absent for progress, which is not stored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<i64>,
    /// RFC 3339.
    pub at: String,
    /// What kind of thing happened.
    #[serde(rename = "type")]
    pub kind: EventType,
    /// The task it belongs to, in the Backend service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task_id: Option<Uuid>,
    /// The speech it belongs to, in the TTS service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub speech_id: Option<Uuid>,
    /// The status before.
    pub from: Option<String>,
    /// The status after.
    pub to: Option<String>,
    /// Why, in a few words or a stable code.
    pub reason: Option<String>,
    /// Which actor or edge did it.
    pub by: Option<String>,
    /// Only in progress events.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress: Option<Progress>,
}

impl Event {
    /// An event of this kind for this subject, with nothing else said.
    #[must_use]
    pub fn of(service: Service, subject: Uuid, kind: EventType, at: i64) -> Self {
        Self {
            id: None,
            at: rfc3339(at),
            kind,
            task_id: (service == Service::Backend).then_some(subject),
            speech_id: (service == Service::Tts).then_some(subject),
            from: None,
            to: None,
            reason: None,
            by: None,
            progress: None,
        }
    }

    /// The task or the speech it belongs to.
    #[must_use]
    pub fn subject_id(&self) -> Option<Uuid> {
        self.task_id.or(self.speech_id)
    }

    /// Whether the task or the speech has begun with it.
    #[must_use]
    pub fn is_beginning(&self) -> bool {
        self.kind == EventType::State && self.from.is_none()
    }

    /// Whether the task or the speech has ended with it.
    #[must_use]
    pub fn is_end(&self) -> bool {
        let to = self.to.as_deref().filter(|_| self.kind == EventType::State);
        to.is_some_and(|to| {
            if self.task_id.is_some() {
                TaskStatus::parse(to).is_some_and(TaskStatus::is_ended)
            } else {
                SpeechStatus::parse(to).is_some_and(SpeechStatus::is_ended)
            }
        })
    }
}
