//! What a claim came to, and how it gets to disk.

use std::time::Duration;

use hoiam_api::{AUDIO_TOO_LARGE, Audio, Failure, Recording, SMALLER, Warning, without_paths};
use hoiam_supervision::spawn_unit;
use hoiam_synthesizer::parent::SpeakError;
use hoiam_text::{Output, SpeechError, Synthesis};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::store::Row;
use super::store::claims::{self, Finished};
use super::store::deadlines::deadline_exceeded;
use crate::db::{Db, StoreError};
use crate::failpoint;
use crate::files::{Cache, CacheKey, Files, Spool, Stored};
use crate::resource::row::ResourceRow as _;

/// What one claim came to, on its way to disk.
pub(super) struct Finish {
    /// As claimed.
    pub row: Row,
    pub outcome: Outcome,
}

pub(super) enum Outcome {
    Synthesis(Box<OutputCollector>, Spool),
    /// It was made before, and kept under this name.
    Again(CacheKey),
    Failed(Failure),
    AttemptFailed(Failure),
    /// No engine could be opened for it, or others have filled the disk; and why.
    Postpone(String),
    /// Its own audio has filled the disk.
    NoRoom(Failure),
    GiveBack {
        reason: String,
        wait: Option<Duration>,
    },
}

impl Outcome {
    fn may_queue_again(&self) -> bool {
        matches!(
            self,
            Self::AttemptFailed(_)
                | Self::Postpone(_)
                | Self::NoRoom(_)
                | Self::GiveBack { .. }
                | Self::Again(_)
        )
    }
}

/// A whole result, but for its file.
pub(super) struct OutputCollector {
    pub spoken: Synthesis,
    pub warnings: Vec<Warning>,
    pub file: String,
    /// As asked for.
    pub output: Output,
    /// Under which name it may be used again.
    pub cache_key: Option<CacheKey>,
}

/// What the cache keeps beside the audio.
#[derive(Serialize, Deserialize)]
struct CachedSpeech {
    recording: Recording,
    words: Box<RawValue>,
}

impl Finish {
    /// The unit that held this claim has panicked.
    pub(super) fn panicked(row: Row) -> Self {
        let failure = Failure::transient(
            "internal_error",
            "The worker panicked on this text each time it was tried; it is logged.",
        );
        Self {
            row,
            outcome: Outcome::AttemptFailed(failure),
        }
    }

    /// Commits in a unit of its own, and says whether the job may be queued again.
    ///
    /// A unit that panics is a failed attempt, which a second unit records. If that one
    /// panics too, the job stays claimed until the next start or its deadline.
    pub(super) async fn commit_as_unit<F>(self, commit: impl Fn(Self) -> F) -> bool
    where
        F: Future<Output = bool> + 'static,
    {
        let row = self.row.clone();
        let failure = match spawn_unit(commit(self)).await {
            Ok(may_queue_again) => return may_queue_again,
            Err(failure) => failure,
        };
        let id = row.id.0;
        log::error!("the outcome of {id} could not be committed: {failure}");
        if let Err(failure) = spawn_unit(commit(Self::panicked(row))).await {
            log::error!("nor could it be recorded as failed: {failure}");
        }
        true
    }

    /// Whether the job may be queued again.
    pub(super) async fn commit(
        self,
        db: &Db,
        files: &Files,
        cache: &Cache,
        max_attempts: i32,
    ) -> bool {
        let Self { row, outcome } = self;
        let id = row.id.0;
        let mut may_queue_again = outcome.may_queue_again();
        let result = match outcome {
            Outcome::Synthesis(mut gathered, spool) => {
                let head = std::mem::take(&mut gathered.spoken.head);
                match spool.store(head).await {
                    Ok(stored) => gathered.commit(row, stored, db, files, cache).await,
                    Err(error) => {
                        log::error!("the audio of {id} could not be kept: {error}");
                        may_queue_again = true;
                        let reason = "the file store failed";
                        db.write_until_kept(move |tx| claims::give_back(tx, &row, reason))
                            .await
                    }
                }
            }
            Outcome::Again(key) => again(row, &key, db, files, cache).await,
            Outcome::Failed(failure) => {
                db.write_until_kept(move |tx| claims::fail(tx, &row, &failure))
                    .await
            }
            Outcome::AttemptFailed(failure) => {
                db.write_until_kept(move |tx| {
                    claims::attempt_failed(tx, &row, &failure, max_attempts)
                })
                .await
            }
            Outcome::Postpone(reason) => {
                db.write_until_kept(move |tx| claims::postpone(tx, &row, &reason))
                    .await
            }
            Outcome::NoRoom(failure) => {
                db.write_until_kept(move |tx| claims::no_room(tx, &row, &failure, max_attempts))
                    .await
            }
            Outcome::GiveBack { reason, .. } => {
                db.write_until_kept(move |tx| claims::give_back(tx, &row, &reason))
                    .await
            }
        };
        if let Err(error) = result {
            log::error!("the outcome of {id} could not be committed: {error}");
        }
        may_queue_again
    }
}

impl OutputCollector {
    /// The commit that names the file.
    async fn commit(
        self,
        row: Row,
        stored: Stored,
        db: &Db,
        files: &Files,
        cache: &Cache,
    ) -> Result<bool, StoreError> {
        let Self {
            spoken,
            warnings,
            file,
            output,
            cache_key,
        } = self;
        failpoint::point(format_args!("outcome.spoken"));
        let recording = Recording {
            audio: audio(&spoken, stored, &output),
            segments: spoken.segments,
            warnings,
            cached: false,
            cache_key: cache_key.clone(),
        };
        // What an engine could not speak once, it may speak the next time.
        let cache_key = cache_key.filter(|_| recording.warnings.is_empty());
        let words = serde_json::to_string(&spoken.words).unwrap_or_else(|_| "[]".into());
        let about = cache_key.as_ref().and_then(|_| {
            let (recording, words) = (
                recording.clone(),
                RawValue::from_string(words.clone()).ok()?,
            );
            serde_json::to_string(&CachedSpeech { recording, words }).ok()
        });
        let completed = complete(row, file.clone(), &recording, words, db, files).await;
        if let (Ok(true), Some(key), Some(about)) = (&completed, cache_key, about) {
            let Audio { bytes, sha256, .. } = recording.audio;
            let audio = Stored { bytes, sha256 };
            cache.speeches.keep(&key, &file, &audio, about).await;
        }
        completed
    }
}

/// Uses what was made before.
async fn again(
    row: Row,
    key: &str,
    db: &Db,
    files: &Files,
    cache: &Cache,
) -> Result<bool, StoreError> {
    let extension = row.request().unwrap_or_default().format.name();
    let file = files.key(row.id.0, row.claim, extension);
    let about = cache.speeches.take(key, &file).await;
    let kept: Option<CachedSpeech> = about.and_then(|about| serde_json::from_str(&about).ok());
    let Some(CachedSpeech { recording, words }) = kept else {
        // It is spoken when it is claimed next.
        cache.speeches.forget(key).await;
        let _ = files.remove(&file).await;
        let gone = "what was made before is gone";
        return db
            .write_until_kept(move |tx| claims::give_back(tx, &row, gone))
            .await;
    };
    let recording = Recording {
        cached: true,
        cache_key: Some(key.to_owned()),
        ..recording
    };
    complete(row, file, &recording, words.get().to_owned(), db, files).await
}

/// The commit that names a file.
async fn complete(
    row: Row,
    file: String,
    recording: &Recording,
    words: String,
    db: &Db,
    files: &Files,
) -> Result<bool, StoreError> {
    let finished = Finished {
        file: file.clone(),
        audio: serde_json::to_string(recording).unwrap_or_default(),
        words,
    };
    let completed = db
        .write_until_kept(move |tx| claims::complete(tx, &row, &finished))
        .await;
    if completed == Ok(false) {
        // Canceled or claimed anew meanwhile: nobody names it.
        let _ = files.remove(&file).await;
    }
    completed
}

fn audio(spoken: &Synthesis, stored: Stored, output: &Output) -> Audio {
    let bitrate_kbps = output.bitrate_kbps;
    Audio {
        url: String::new(),
        format: output.format,
        bitrate_kbps: output.format.is_lossy().then_some(bitrate_kbps),
        sample_rate_hz: spoken.sample_rate_hz,
        channels: spoken.channels,
        duration_ms: spoken.duration_ms,
        bytes: stored.bytes,
        sha256: stored.sha256,
        expires_at: None,
    }
}

/// Why no more of a result is taken.
#[derive(Debug, Clone, Copy)]
pub(super) enum Refusal {
    /// It is larger than `limits.audio_bytes`, which are so many.
    TooLarge(u64),
    /// The disk has no room for it.
    NoRoom {
        /// Whether it had until this result came.
        is_its_own: bool,
    },
    /// The file store failed.
    Failed,
}

impl Refusal {
    pub(super) fn outcome(self) -> Outcome {
        match self {
            Self::TooLarge(limit) => Outcome::Failed(Failure::permanent(
                AUDIO_TOO_LARGE,
                format!(
                    "The audio is larger than the {} MB that are allowed (limits.audio_bytes). {SMALLER}",
                    limit / 1_000_000
                ),
            )),
            Self::NoRoom { is_its_own: true } => Outcome::NoRoom(Failure::transient(
                "insufficient_storage",
                format!(
                    "The disk has no room for so much audio (limits.min_free_bytes). {SMALLER}"
                ),
            )),
            Self::NoRoom { is_its_own: false } => Outcome::Postpone("the disk is full".into()),
            Self::Failed => Outcome::GiveBack {
                reason: "the file store failed".into(),
                wait: Some(Duration::from_secs(1)),
            },
        }
    }
}

/// What an error of the child means for a job that had so much time until its
/// deadline.
pub(super) fn failed(error: SpeakError, remaining: Duration) -> Outcome {
    match error {
        SpeakError::Engine(SpeechError::EngineUnavailable { detail }) => {
            log::debug!("a text waits for its engine: {detail}");
            Outcome::Postpone(without_paths(&detail))
        }
        SpeakError::Engine(SpeechError::Output { detail }) => Outcome::GiveBack {
            reason: detail,
            wait: Some(Duration::from_secs(1)),
        },
        SpeakError::Engine(SpeechError::Canceled) | SpeakError::Canceled => Outcome::GiveBack {
            reason: "canceled or drained".into(),
            wait: None,
        },
        SpeakError::Engine(SpeechError::UnknownVoice { voice }) => {
            Outcome::Failed(Failure::permanent(
                "unknown_voice",
                format!("No engine here has the voice `{voice}` any more."),
            ))
        }
        SpeakError::Engine(SpeechError::UnknownPhonemes { detail }) => {
            Outcome::Failed(Failure::permanent("unknown_phonemes", detail))
        }
        SpeakError::Engine(SpeechError::EngineFailed { detail }) => {
            log::warn!("the engine failed: {detail}");
            Outcome::Failed(Failure::permanent("engine_failed", without_paths(&detail)))
        }
        SpeakError::Crashed { how, .. } => Outcome::AttemptFailed(Failure::permanent(
            "engine_crashed",
            format!("The engine crashed on this text each time it was tried ({how})."),
        )),
        SpeakError::Overran { limit } if limit >= remaining => Outcome::Failed(deadline_exceeded()),
        SpeakError::Overran { limit } => Outcome::AttemptFailed(Failure::transient(
            "synthesis_timeout",
            format!(
                "The engine had not finished after {} s, each time it was tried.",
                limit.as_secs()
            ),
        )),
        SpeakError::NotStarted(error) => Outcome::GiveBack {
            reason: without_paths(&error.to_string()),
            wait: Some(error.retry_in),
        },
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;

    use uuid::Uuid;

    use super::*;
    use crate::db::testing::TestDb;
    use crate::resource::row::TableRow as _;
    use crate::tts::store::tests::new;
    use hoiam_api::{CheckState, Service};

    async fn claimed(test: &TestDb) -> Row {
        let new = new(Uuid::now_v7(), None, CheckState::Off, 60);
        let claimed = test.db.write(move |tx| {
            crate::tts::store::accept(tx, &new)?;
            claims::claim(tx, Uuid::now_v7(), 1)
        });
        claimed.await.unwrap().jobs.remove(0).row
    }

    async fn now(test: &TestDb, row: &Row) -> Row {
        let id = row.id.0;
        let row = test.db.read(move |conn| Row::get(conn, id)).await;
        row.unwrap().unwrap()
    }

    /// Commits an outcome where so many units panic before they have committed.
    async fn commit(test: &TestDb, row: &Row, panics: u32) -> bool {
        let outcome = Outcome::GiveBack {
            reason: "drained".into(),
            wait: None,
        };
        let files = Files::open(test.folder.path(), Service::Tts, test.db.clock().clone());
        let files = files.unwrap();
        let (db, cache) = (test.db.clone(), Cache::new(&files, 0));
        let left = Rc::new(Cell::new(panics));
        let commit = move |finish: Finish| {
            let (db, files, cache) = (db.clone(), files.clone(), cache.clone());
            let left = Rc::clone(&left);
            async move {
                if left.get() > 0 {
                    left.set(left.get() - 1);
                    panic!("a rehearsal");
                }
                finish.commit(&db, &files, &cache, 3).await
            }
        };
        let row = row.clone();
        Finish { row, outcome }.commit_as_unit(commit).await
    }

    #[actix_rt::test]
    async fn a_unit_that_panics_over_an_outcome_is_recorded_as_a_failed_attempt() {
        let test = TestDb::new(Service::Tts);
        let row = claimed(&test).await;
        assert!(commit(&test, &row, 1).await);
        let row = now(&test, &row).await;
        assert_eq!((row.status.as_str(), row.attempt), ("queued", 1));
    }

    #[actix_rt::test]
    async fn two_units_that_panic_over_an_outcome_leave_the_job_claimed() {
        let test = TestDb::new(Service::Tts);
        let row = claimed(&test).await;
        commit(&test, &row, 2).await;
        let after = now(&test, &row).await;
        assert_eq!((after.status.as_str(), after.attempt), ("synthesizing", 0));
        assert_eq!((after.claim, after.leased_by), (row.claim, row.leased_by));
    }
}
