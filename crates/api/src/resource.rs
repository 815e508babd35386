//! The resources as GET answers them and as callbacks carry them in `data`.
//!
//! Read back tolerantly: fields that a newer service adds are skipped, and
//! what an older one does not send is null.

use std::collections::BTreeMap;

use hoiam_text::subtitles::SubtitleFormat;
use hoiam_text::{Format, SegmentTimes, joined_text};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

/// Declares an enum whose variants are single words on the wire and in the
/// database.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum $name {
            $($(#[$variant_doc])* #[serde(rename = $word)] $variant,)*
        }

        impl $name {
            /// Every value, in the order of a usual life.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The word on the wire and in the database.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }

            /// Reads [`Self::as_str`].
            #[must_use]
            pub fn parse(word: &str) -> Option<Self> {
                match word { $($word => Some(Self::$variant),)* _ => None }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

/// What the statuses of speeches and of tasks have in common.
pub trait Status: Copy + PartialEq + Serialize + Send + 'static {
    /// Every value, in the order of a usual life.
    const ALL: &'static [Self];
    /// It ended without a result.
    const FAILED: Self;
    /// It was called off.
    const CANCELED: Self;

    /// The word on the wire and in the database.
    fn as_str(self) -> &'static str;
    /// Reads [`Self::as_str`].
    fn parse(word: &str) -> Option<Self>;
    /// Whether nothing can change it any more.
    fn is_ended(self) -> bool;
}

macro_rules! status {
    ($name:ident) => {
        impl Status for $name {
            const ALL: &'static [Self] = Self::ALL;
            const FAILED: Self = Self::Failed;
            const CANCELED: Self = Self::Canceled;

            fn as_str(self) -> &'static str {
                self.as_str()
            }

            fn parse(word: &str) -> Option<Self> {
                Self::parse(word)
            }

            fn is_ended(self) -> bool {
                self.is_ended()
            }
        }
    };
}
status!(SpeechStatus);
status!(TaskStatus);

words! {
    /// Where a speech stands.
    SpeechStatus {
        /// The callback URL is being checked.
        Checking = "checking",
        /// It waits for a worker.
        Queued = "queued",
        /// A worker has it.
        Synthesizing = "synthesizing",
        /// The audio is there.
        Completed = "completed",
        /// It ended without a result.
        Failed = "failed",
        /// It was called off.
        Canceled = "canceled",
    }
}

impl SpeechStatus {
    /// Whether nothing can change it any more.
    #[must_use]
    pub fn is_ended(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Canceled)
    }
}

words! {
    /// Where a task stands.
    TaskStatus {
        /// It has not been handed over yet.
        Queued = "queued",
        /// The TTS service has accepted it.
        InProgress = "in_progress",
        /// The result is known, the files are being fetched.
        Fetching = "fetching",
        /// The files are here.
        Completed = "completed",
        /// It ended without a result.
        Failed = "failed",
        /// The deadline came first.
        TimedOut = "timed_out",
        /// It was called off.
        Canceled = "canceled",
    }
}

impl TaskStatus {
    /// Whether nothing can change it any more.
    #[must_use]
    pub fn is_ended(self) -> bool {
        matches!(
            self,
            Self::Completed | Self::Failed | Self::TimedOut | Self::Canceled
        )
    }
}

words! {
    /// What the callback check of a speech has found.
    CheckState {
        /// Not asked for, or there is no callback URL.
        Off = "off",
        /// Not decided yet.
        Pending = "pending",
        /// The URL answered like a receiver.
        Open = "open",
        /// The URL answered 404 or 410 to every question.
        NotFound = "not_found",
        /// No answer could be had for as long as the job was held.
        Unreachable = "unreachable",
        /// The guard refuses what the name resolves to.
        Forbidden = "forbidden",
    }
}

words! {
    /// Where a delivery stands.
    DeliveryStatus {
        /// It waits for its next attempt.
        Pending = "pending",
        /// An attempt is being made.
        Delivering = "delivering",
        /// The receiver answered 2xx.
        Delivered = "delivered",
        /// The schedule is used up.
        Exhausted = "exhausted",
        /// The receiver said 410, or the URL must not be called.
        Aborted = "aborted",
    }
}

words! {
    /// What a delivery tells; its word is the callback's `type`.
    DeliveryType {
        /// The audio is there.
        SpeechCompleted = "speech.completed",
        /// It ended without a result.
        SpeechFailed = "speech.failed",
        /// It was called off.
        SpeechCanceled = "speech.canceled",
        /// The files are here.
        TaskCompleted = "task.completed",
        /// It ended without a result.
        TaskFailed = "task.failed",
        /// The deadline came first.
        TaskTimedOut = "task.timed_out",
        /// It was called off.
        TaskCanceled = "task.canceled",
        /// A result came after the deadline.
        TaskLateResult = "task.late_result",
        /// Asks whether the URL is a receiver.
        CallbackCheck = "callback.check",
        /// To the operator: receivers have stopped answering.
        ReceiverShut = "receiver.shut",
        /// To the operator: they answer again.
        ReceiverOpen = "receiver.open",
        /// To the operator: deliveries were given up.
        DeliveryExhausted = "delivery.exhausted",
        /// To the operator: something cannot be written, or the disk is nearly full.
        DiskFailing = "disk.failing",
        /// To the operator: nothing can be spoken.
        EngineFailing = "engine.failing",
    }
}

impl DeliveryType {
    /// Those that are told to the operator, and not to a client.
    pub const ALERTS: [Self; 5] = [
        Self::ReceiverShut,
        Self::ReceiverOpen,
        Self::DeliveryExhausted,
        Self::DiskFailing,
        Self::EngineFailing,
    ];

    /// Whether it is what the TTS service reports of a speech.
    #[must_use]
    pub fn is_of_speech(self) -> bool {
        matches!(
            self,
            Self::SpeechCompleted | Self::SpeechFailed | Self::SpeechCanceled
        )
    }

    /// Whether it is told to the operator.
    #[must_use]
    pub fn is_alert(self) -> bool {
        Self::ALERTS.contains(&self)
    }
}

words! {
    /// What a speech or a task waits for.
    WaitingFor {
        /// The callback check.
        Callback = "callback",
        /// A free worker.
        Worker = "worker",
        /// The TTS service.
        TtsService = "tts_service",
    }
}

words! {
    /// What was done with a sentence that an engine could not speak.
    Remedy {
        /// It was spoken with letters, digits and plain marks only.
        SpokenPlainly = "spoken_plainly",
        /// It is not in the audio.
        LeftOut = "left_out",
    }
}

/// A sentence that is not in the audio as it is written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Warning {
    /// From 0, as in the list of words.
    pub sentence: u32,
    /// From 0, where the request tells segments apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub segment: Option<u32>,
    /// Offset in Unicode code points of the text (or of the segment's) as it was sent.
    pub char_start: u32,
    /// Exclusive end, likewise.
    pub char_end: u32,
    /// Stable.
    pub reason: Remedy,
    /// For people.
    pub detail: String,
}

/// For people who have the text before them.
impl std::fmt::Display for Warning {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (start, end) = (self.char_start, self.char_end);
        write!(f, "characters {start} to {end}: {}", self.detail)
    }
}

impl Warning {
    /// What of the text these sentences are, as far as they are not heard at all.
    #[must_use]
    pub fn unheard(warnings: &[Self]) -> Vec<joined_text::Part> {
        let left_out = |warning: &&Self| warning.reason == Remedy::LeftOut;
        let part = |warning: &Self| joined_text::Part {
            segment: warning.segment,
            chars: warning.char_start..warning.char_end,
        };
        warnings.iter().filter(left_out).map(part).collect()
    }
}

/// Why something ended without a result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Stable.
    pub code: String,
    /// For people.
    pub detail: String,
    /// Whether the same request may succeed if it is made again.
    #[serde(default)]
    pub retryable: bool,
}

/// The code of a text whose audio is larger than `limits.audio_bytes`, whether that is
/// known when it is sent or found out when it is spoken.
pub const AUDIO_TOO_LARGE: &str = "audio_too_large";

/// The way out of it.
pub const SMALLER: &str = "Ask for mp3 or opus, for a lower bit rate or fewer samples a second, or send the text in parts.";

impl Failure {
    /// A failure that will come again if the same is asked again.
    #[must_use]
    pub fn permanent(code: impl Into<String>, detail: impl Into<String>) -> Self {
        Self {
            code: code.into(),
            detail: detail.into(),
            retryable: false,
        }
    }

    /// A failure that a later try may not meet.
    #[must_use]
    pub fn transient(code: impl Into<String>, detail: impl Into<String>) -> Self {
        Self {
            code: code.into(),
            detail: detail.into(),
            retryable: true,
        }
    }
}

/// How far the synthesis is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Sentences spoken.
    pub sentences_done: u32,
    /// Sentences in all.
    pub sentences_total: u32,
}

/// The audio file of a result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Audio {
    /// Signed link for people; services build their own URLs from the id.
    #[serde(default)]
    pub url: String,
    /// Container and codec.
    pub format: Format,
    /// Kilobits a second; null for formats without a bit rate to choose.
    #[serde(default)]
    pub bitrate_kbps: Option<u32>,
    /// Samples a second.
    pub sample_rate_hz: u32,
    /// 1 is mono.
    pub channels: u16,
    /// Of the gapless PCM.
    pub duration_ms: u64,
    /// Size of the file.
    pub bytes: u64,
    /// Of the file, lower-case hex.
    pub sha256: String,
    /// When the link ends; RFC 3339.
    #[serde(default)]
    pub expires_at: Option<String>,
}

/// What a speech came to, as the databases keep it: without links.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recording {
    /// The file.
    #[serde(flatten)]
    pub audio: Audio,
    /// When each segment is heard; none of a plain text.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub segments: Vec<SegmentTimes>,
    /// Sentences that are not heard as they are written.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<Warning>,
    /// Whether it was made before, for another request of the same.
    #[serde(default)]
    pub cached: bool,
    /// Under which name it may be used again, in the TTS service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_key: Option<String>,
}

/// Signed links to the subtitles of a result, by the field of their format
/// ([`SubtitleFormat::field`]). A service of another version may have others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subtitles(Vec<(String, String)>);

impl Subtitles {
    /// Of every format that there is.
    #[must_use]
    pub fn of(link: impl Fn(&SubtitleFormat) -> String) -> Self {
        let links = SubtitleFormat::ALL.iter();
        Self(links.map(|one| (one.field(), link(one))).collect())
    }
}

impl Serialize for Subtitles {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(field, url)| (field, url)))
    }
}

impl<'de> Deserialize<'de> for Subtitles {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let links = BTreeMap::<String, String>::deserialize(deserializer)?;
        Ok(Self(links.into_iter().collect()))
    }
}

/// The callback of a speech or a task: its newest delivery.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Callback {
    /// As asked for.
    pub url: String,
    /// Only on a speech.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub check: Option<CheckState>,
    /// Null until something is owed.
    #[serde(default)]
    pub delivery_id: Option<Uuid>,
    /// Null until something is owed.
    #[serde(default)]
    pub status: Option<DeliveryStatus>,
    /// Attempts of the delivery so far, of all rounds.
    #[serde(default)]
    pub attempts: u32,
    /// RFC 3339.
    #[serde(default)]
    pub next_attempt_at: Option<String>,
}

/// A speech or a task. What only a task has is `Late` and `Retries`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Resource<Status, Late = (), Retries = ()> {
    /// UUID; a task and its speech have the same.
    pub id: Uuid,
    /// Where it stands.
    pub status: Status,
    /// The caller's own id.
    #[serde(default)]
    pub reference: Option<String>,
    /// The caller's, untouched.
    #[serde(default)]
    pub metadata: Option<serde_json::Value>,
    /// As asked for.
    #[serde(default)]
    pub voice: Option<String>,
    /// `engine/name`; of a task null until the TTS service has accepted it.
    #[serde(default)]
    pub resolved_voice: Option<String>,
    /// BCP 47; of a task as asked for, then as the TTS service resolved it.
    #[serde(default)]
    pub language: Option<String>,
    /// As asked for.
    pub format: Format,
    /// Code points of the text.
    #[serde(default)]
    pub characters: u32,
    /// RFC 3339.
    #[serde(default)]
    pub created_at: String,
    /// RFC 3339.
    #[serde(default)]
    pub deadline_at: String,
    /// RFC 3339; when a worker first took the speech, or the TTS service accepted the
    /// task.
    #[serde(default)]
    pub started_at: Option<String>,
    /// RFC 3339.
    #[serde(default)]
    pub ended_at: Option<String>,
    /// Tries to speak it so far, the current one included; of a task the hand-overs.
    #[serde(default)]
    pub attempt: u32,
    /// Null unless it is being spoken, and of a task while nobody watches.
    #[serde(default)]
    pub progress: Option<Progress>,
    /// Null unless it waits.
    #[serde(default)]
    pub waiting_for: Option<WaitingFor>,
    /// Null until it has completed.
    #[serde(default)]
    pub audio: Option<Audio>,
    /// Whether the audio was made before, for another request of the same; null until
    /// it has completed.
    #[serde(default)]
    pub cached: Option<bool>,
    /// Null until it has completed.
    #[serde(default)]
    pub subtitles: Option<Subtitles>,
    /// When each segment is heard; null until it has completed, and of a plain text.
    #[serde(default)]
    pub segments: Option<Vec<SegmentTimes>>,
    /// Sentences that are not heard as they are written, of which there are hardly ever
    /// any; null until it has completed.
    #[serde(default)]
    pub warnings: Option<Vec<Warning>>,
    /// Signed link to `words.json`; null until it has completed.
    #[serde(default)]
    pub words: Option<String>,
    /// Signed link to `marks.jsonl`, the same times as Amazon Polly writes them.
    #[serde(default)]
    pub marks: Option<String>,
    /// What came too late.
    #[serde(flatten)]
    pub late: Late,
    /// Null unless it has failed, or timed out.
    #[serde(default)]
    pub error: Option<Failure>,
    /// What it repeats, and what repeats it.
    #[serde(flatten)]
    pub retries: Retries,
    /// Null without a callback URL.
    #[serde(default)]
    pub callback: Option<Callback>,
}

/// One accepted speech request.
pub type Speech = Resource<SpeechStatus>;

/// Text to be spoken for a client.
pub type Task = Resource<TaskStatus, Late, Retries>;

/// What of a task's result came too late.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Late {
    /// What came after the deadline, if it did.
    #[serde(default)]
    pub late_result: Option<LateResult>,
}

/// How a task belongs to others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retries {
    /// The task this one repeats.
    #[serde(default)]
    pub retry_of: Option<Uuid>,
    /// The newest task that repeats this one.
    #[serde(default)]
    pub retried_as: Option<Uuid>,
}

/// A result that came after the deadline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LateResult {
    /// The file.
    pub audio: Audio,
    /// Signed links.
    pub subtitles: Subtitles,
    /// When each segment is heard; null of a plain text.
    #[serde(default)]
    pub segments: Option<Vec<SegmentTimes>>,
    /// Sentences that are not heard as they are written.
    #[serde(default)]
    pub warnings: Vec<Warning>,
    /// Signed link.
    pub words: String,
    /// Signed link.
    #[serde(default)]
    pub marks: String,
}

/// One callback owed, with its attempts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    /// UUID; `msg_<id>` is the webhook id.
    pub id: Uuid,
    /// What it tells.
    #[serde(rename = "type")]
    pub kind: DeliveryType,
    /// The task it tells of, in the Backend service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_id: Option<Uuid>,
    /// The speech it tells of, in the TTS service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub speech_id: Option<Uuid>,
    /// The alert it carries, where it tells the operator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alert_id: Option<Uuid>,
    /// Where to.
    pub url: String,
    /// Where it stands.
    pub status: DeliveryStatus,
    /// 1, and one more for each redelivery.
    pub round: u32,
    /// RFC 3339.
    #[serde(default)]
    pub next_attempt_at: Option<String>,
    /// All rounds, in order.
    #[serde(default)]
    pub attempts: Vec<DeliveryAttempt>,
}

/// One try of a delivery.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeliveryAttempt {
    /// From 1, over all rounds.
    pub number: u32,
    /// RFC 3339.
    pub at: String,
    /// How far it came: `dns`, `connect`, `tls`, `send`, `answer`, `body`, or
    /// `guard` where the address is refused, or `internal` where we panicked.
    pub phase: String,
    /// The receiver's status, if it answered.
    #[serde(default)]
    pub status: Option<u16>,
    /// The first bytes of the answer, or what went wrong.
    #[serde(default)]
    pub body: Option<String>,
    /// From the first byte out to the last byte in.
    pub duration_ms: u64,
}

/// One page of a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Page<T> {
    /// Newest first; fewer than the limit, or none, also where the list goes on.
    pub items: Vec<T>,
    /// Give it as `cursor` to get the next page; null at the end and only there.
    pub next_cursor: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is written of one that says nothing but this, and an unknown field.
    fn written<S, L, R>(status: &str) -> String
    where
        Resource<S, L, R>: Serialize + for<'a> Deserialize<'a>,
    {
        let id = Uuid::nil();
        let said = format!(
            r#"{{"new":[1],"format":"mp3","status":"{status}","id":"{id}","retry_of":"{id}"}}"#
        );
        let read: Resource<S, L, R> = serde_json::from_str(&said).unwrap();
        let json = serde_json::to_string(&read).unwrap();
        json.replace(&id.to_string(), "0")
    }

    #[test]
    fn a_speech_has_no_field_of_a_task_and_the_fields_of_both_stand_in_the_same_order() {
        let common = r#""reference":null,"metadata":null,"voice":null,"resolved_voice":null,"language":null,"format":"mp3","characters":0,"created_at":"","deadline_at":"","started_at":null,"ended_at":null,"attempt":0,"progress":null,"waiting_for":null,"audio":null,"cached":null,"subtitles":null,"segments":null,"warnings":null,"words":null,"marks":null"#;
        assert_eq!(
            written::<SpeechStatus, (), ()>("queued"),
            format!(r#"{{"id":"0","status":"queued",{common},"error":null,"callback":null}}"#)
        );
        assert_eq!(
            written::<TaskStatus, Late, Retries>("fetching"),
            format!(
                r#"{{"id":"0","status":"fetching",{common},"late_result":null,"error":null,"retry_of":"0","retried_as":null,"callback":null}}"#
            )
        );
    }
}
