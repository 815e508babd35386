//! The files of a result: what may be asked for, and what they are made of.

use diesel::QueryResult;
use hoiam_api::{Audio, Code, Problem, Warning};
use hoiam_supervision::clock::Millis;
use hoiam_text::Format;
use hoiam_text::subtitles::SubtitleFormat;
use uuid::Uuid;

use crate::db::{Conn, Db};

/// What is asked for below `/{id}/`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResultFile {
    /// `audio.mp3` and so on.
    Audio(Format),
    /// `subtitles.srt` and so on.
    Subtitles(&'static SubtitleFormat),
    /// `marks.jsonl`.
    Marks,
    /// `words.json`.
    Words,
}

impl ResultFile {
    /// Reads the file name of a route.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let (kind, ending) = name.split_once('.')?;
        Some(match (kind, ending) {
            ("audio", format) => Self::Audio(Format::parse(format)?),
            ("subtitles", format) => Self::Subtitles(SubtitleFormat::of(format)?),
            ("marks", "jsonl") => Self::Marks,
            ("words", "json") => Self::Words,
            _ => return None,
        })
    }
}

/// The result of a task or a speech, as its row has it.
pub struct StoredResult {
    /// The file store's key; `None` after retention.
    pub file: Option<String>,
    /// Without links.
    pub audio: Audio,
    /// BCP 47.
    pub language: String,
    /// When the task or speech ended.
    pub ended_at: Option<Millis>,
    /// Sentences that are not heard as they are written.
    pub warnings: Vec<Warning>,
    /// What its row is not asked for.
    pub content: Content,
}

/// A text, and the word times of what was spoken, as JSON; none after retention.
pub type TextAndWords = (String, Option<String>);

/// Where the text and the word times of a result are: much, so they are read only when
/// something is made of them.
pub struct Content {
    /// The service's database.
    pub db: Db,
    /// The task or speech.
    pub id: Uuid,
    /// Reads both.
    pub read: fn(&mut Conn, Uuid) -> QueryResult<Option<TextAndWords>>,
    /// Reads the word times alone.
    pub read_words: fn(&mut Conn, Uuid) -> QueryResult<Option<Option<String>>>,
}

/// The answer once retention has removed a result.
#[must_use]
pub fn expired() -> Problem {
    Problem::new(
        Code::Expired,
        "The result was removed after retention.files_s.",
    )
}
