//! The action `fetch`: brings audio and word times into our own files.

use futures_util::StreamExt;
use hoiam_api::{Audio, Recording};
use uuid::Uuid;

use super::hand_over::{TtsHealth, again};
use super::store::{self, Fetched, Row};
use super::task::Action;
use super::tts_client::{AUDIO_LIMIT, TtsClient, TtsError};
use crate::db::{Db, StoreError};
use crate::failpoint;
use crate::files::{FileError, Files, Stored};

/// Why a try has brought nothing.
enum Missed {
    /// The TTS service's answer, or none.
    There(TtsError),
    /// Our own disk.
    Here(FileError),
}

impl From<TtsError> for Missed {
    fn from(error: TtsError) -> Self {
        Self::There(error)
    }
}

impl From<FileError> for Missed {
    fn from(error: FileError) -> Self {
        Self::Here(error)
    }
}

/// Tries a fetch once and commits what came of it.
///
/// # Errors
/// [`StoreError`] when the outcome could not be kept; a restart tries again.
pub async fn fetch(
    db: &Db,
    tts: &TtsClient,
    files: &Files,
    row: &Row,
) -> Result<TtsHealth, StoreError> {
    let id = row.id.0;
    let Some(Recording {
        audio: expected, ..
    }) = row.result()
    else {
        db.write_until_kept(move |tx| store::fetch_refused(tx, id, "the result cannot be read"))
            .await?;
        return Ok(TtsHealth::Answers);
    };
    // Asked before the download begins, so that a full disk does not have it
    // made again and again. What is larger than any download waits for none.
    let Some(_room) = files.room_for(expected.bytes.min(AUDIO_LIMIT)) else {
        wait_for_disk(db, id, "there is no room for them").await?;
        return Ok(TtsHealth::Unknown);
    };
    // A number of its own for each try: one that was cut off, or that runs on
    // after its actor was restarted, has another file.
    let key = files.key(id, Uuid::new_v4().simple(), expected.format.name());
    let words = match bring(tts, files, row, &expected, &key).await {
        Ok(words) => words,
        Err(Missed::Here(error)) => {
            wait_for_disk(db, id, error).await?;
            return Ok(TtsHealth::Answers);
        }
        Err(Missed::There(TtsError::Status {
            status: 410,
            detail,
            ..
        })) => {
            db.write_until_kept(move |tx| store::fetch_refused(tx, id, &detail))
                .await?;
            return Ok(TtsHealth::Answers);
        }
        Err(Missed::There(error)) => {
            let answers = matches!(&error, TtsError::Status { status, .. } if *status < 500);
            let health = if answers {
                TtsHealth::Answers
            } else {
                TtsHealth::Fails
            };
            return again(db, row, Action::Fetch, &error, health).await;
        }
    };
    let fetched = Fetched {
        file: key.clone(),
        words,
    };
    let kept = db
        .write_until_kept(move |tx| store::fetched(tx, id, &fetched))
        .await?;
    if !kept && let Err(error) = files.remove(&key).await {
        log::warn!("a file that nobody needs any more stays behind: {error}");
    }
    Ok(TtsHealth::Answers)
}

/// What our own disk cannot take is no failure of the TTS service, and no
/// attempt either.
async fn wait_for_disk(
    db: &Db,
    id: Uuid,
    reason: impl std::fmt::Display,
) -> Result<(), StoreError> {
    let begins = db
        .write_until_kept(move |tx| store::fetch_postponed(tx, id))
        .await?;
    if begins {
        log::warn!("the files of task {id} wait for our own disk: {reason}");
    }
    Ok(())
}

/// Words first, since they are small; then the audio, compared with what the
/// result says of it.
async fn bring(
    tts: &TtsClient,
    files: &Files,
    row: &Row,
    expected: &Audio,
    key: &str,
) -> Result<String, Missed> {
    failpoint::point(format_args!("send.fetch.before"));
    let words = tts.words(row.id.0).await?;
    let mut download = tts.audio(row.id.0, expected.format.name()).await?;
    let mut spool = files.spool(key);
    while let Some(bytes) = download.body.next().await {
        spool.append(bytes.map_err(TtsError::Outbound)?).await?;
    }
    failpoint::point(format_args!("send.fetch.after"));
    let stored = spool.store(Vec::new()).await?;
    let whole = Stored {
        bytes: expected.bytes,
        sha256: expected.sha256.clone(),
    };
    if stored != whole {
        let _ = files.remove(key).await;
        let detail = format!(
            "{} of {} bytes came, or not the right ones",
            stored.bytes, expected.bytes
        );
        return Err(TtsError::Unreadable(detail).into());
    }
    Ok(words)
}
