//! The action `hand_over`: gives a task's text to the TTS service, and the
//! action `abandon`, which takes it back.

use std::time::Duration;

use hoiam_api::{CallbackHeaders, Code, Create, Failure, Speech};
use hoiam_supervision::clock::Millis;

use super::store::{self, Row};
use super::task::Action;
use super::tts_client::{TtsClient, TtsError};
use crate::db::{Db, StoreError};
use crate::resource::row::{ResourceRow as _, TableRow as _};

/// What an action has shown about the TTS service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TtsHealth {
    /// It answers.
    Answers,
    /// It does not answer, or only with 5xx.
    Fails,
    /// It answers, and takes no new work for a while.
    Busy {
        /// What Retry-After said.
        pause: Duration,
    },
    /// It answers, and takes no new work of this task's client for a while.
    ShareFull {
        /// What Retry-After said.
        pause: Duration,
    },
    /// Nothing: it was not asked, or the trouble is our own.
    Unknown,
}

/// Tries a hand-over once and commits what came of it.
///
/// # Errors
/// [`StoreError`] when the outcome could not be kept; a restart tries again.
pub async fn hand_over(db: &Db, tts: &TtsClient, row: &Row) -> Result<TtsHealth, StoreError> {
    let id = row.id.0;
    let now = db.clock().now();
    let Some(create) = request(db, row, now).await? else {
        let failure = Failure::permanent(
            "request_unreadable",
            "What was asked for cannot be read any more.",
        );
        db.write_until_kept(move |tx| store::refused(tx, id, &failure))
            .await?;
        return Ok(TtsHealth::Answers);
    };
    match tts.create(id, &create, &row.client).await {
        Ok(speech) => accepted(db, speech).await,
        Err(error) => match judge(&error) {
            Judgement::Refused(failure) => {
                db.write_until_kept(move |tx| store::refused(tx, id, &failure))
                    .await?;
                Ok(TtsHealth::Answers)
            }
            Judgement::Ambiguous => ask(db, tts, row, &error).await,
            Judgement::Again(health) => again(db, row, Action::HandOver, &error, health).await,
        },
    }
}

/// The body as it was stored, with the time that remains, rounded up: our
/// own clock ends first.
async fn request(db: &Db, row: &Row, now: Millis) -> Result<Option<Create>, StoreError> {
    let id = row.id.0;
    let Some(text) = db.read(move |conn| Row::text(conn, id)).await? else {
        return Ok(None);
    };
    let remaining_s = u32::try_from((row.deadline_at - now + 999) / 1000).unwrap_or(0);
    let create = row.request().map(|create| create.with_source(text));
    Ok(create.map(|create| Create {
        callback_url: Some(row.report_to.clone()),
        // They are for the client's receiver, and the report is for us.
        callback_headers: CallbackHeaders::default(),
        callback_check: None,
        // None at all would be refused, and it is the watchdog that ends the task.
        timeout_s: remaining_s.max(1),
        ..create
    }))
}

async fn accepted(db: &Db, speech: Speech) -> Result<TtsHealth, StoreError> {
    let ended = speech.status.is_ended();
    db.write_until_kept(move |tx| {
        store::accepted(tx, speech.id, &speech)?;
        // A repeat of an ended speech is answered with its result.
        if ended {
            store::result_known(tx, &speech, "Backend")?;
        }
        Ok(())
    })
    .await?;
    Ok(TtsHealth::Answers)
}

/// It may have been accepted: only asking can tell.
async fn ask(
    db: &Db,
    tts: &TtsClient,
    row: &Row,
    error: &TtsError,
) -> Result<TtsHealth, StoreError> {
    match tts.get(row.id.0).await {
        Ok(Some(speech)) => accepted(db, speech).await,
        Ok(None) => again(db, row, Action::HandOver, error, TtsHealth::Answers).await,
        Err(_) => again(db, row, Action::HandOver, error, TtsHealth::Fails).await,
    }
}

pub(super) async fn again(
    db: &Db,
    row: &Row,
    action: Action,
    error: &TtsError,
    health: TtsHealth,
) -> Result<TtsHealth, StoreError> {
    let (id, reason) = (row.id.0, error.to_string());
    let not_before = match health {
        TtsHealth::Busy { pause } | TtsHealth::ShareFull { pause } => {
            Some(db.clock().now() + i64::try_from(pause.as_millis()).unwrap_or(1000))
        }
        TtsHealth::Answers | TtsHealth::Fails | TtsHealth::Unknown => None,
    };
    db.write_until_kept(move |tx| store::action_failed(tx, id, action, &reason, not_before))
        .await?;
    Ok(health)
}

enum Judgement {
    Refused(Failure),
    Ambiguous,
    Again(TtsHealth),
}

/// What an error of a hand-over means. 408, 429, 5xx and connection errors are
/// tried again; whatever may have been accepted is asked for; everything
/// else will be answered the same next time.
fn judge(error: &TtsError) -> Judgement {
    match error {
        TtsError::Outbound(error) if error.was_sent() => Judgement::Ambiguous,
        TtsError::Outbound(_) => Judgement::Again(TtsHealth::Fails),
        TtsError::Unreadable(_) | TtsError::Status { status: 409, .. } => Judgement::Ambiguous,
        TtsError::Status {
            status: 429 | 503,
            code,
            retry_after,
            ..
        } => {
            let pause = retry_after.unwrap_or(Duration::from_secs(1));
            let is_share = code.as_deref() == Some(Code::ShareFull.as_str());
            Judgement::Again(if is_share {
                TtsHealth::ShareFull { pause }
            } else {
                TtsHealth::Busy { pause }
            })
        }
        TtsError::Status {
            status: 408 | 500..=599,
            ..
        } => Judgement::Again(TtsHealth::Fails),
        TtsError::Status {
            status,
            code,
            detail,
            ..
        } => Judgement::Refused(Failure {
            code: code.clone().unwrap_or_else(|| "hand_over_refused".into()),
            detail: format!("The TTS service refused it with {status}: {detail}"),
            retryable: matches!(status, 401 | 403 | 404 | 405),
        }),
    }
}

/// Tries once to call the speech off over there.
///
/// # Errors
/// [`StoreError`] when the outcome could not be kept.
pub async fn abandon(db: &Db, tts: &TtsClient, row: &Row) -> Result<TtsHealth, StoreError> {
    let id = row.id.0;
    match tts.cancel(id).await {
        Ok(status @ (200..=299 | 404 | 409 | 410)) => {
            let reason = format!("the TTS service answered {status}");
            db.write_until_kept(move |tx| store::abandoned(tx, id, &reason))
                .await?;
            Ok(TtsHealth::Answers)
        }
        Ok(status) => {
            let error = TtsError::Status {
                status,
                code: None,
                detail: "not canceled".into(),
                retry_after: None,
            };
            let health = if status >= 500 {
                TtsHealth::Fails
            } else {
                TtsHealth::Answers
            };
            again(db, row, Action::Abandon, &error, health).await
        }
        Err(error) => again(db, row, Action::Abandon, &error, TtsHealth::Fails).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_taken_next_time_is_sent_again() {
        let judged = |status| {
            judge(&TtsError::Status {
                status,
                code: None,
                detail: String::new(),
                retry_after: None,
            })
        };
        for status in [408, 429, 500, 503] {
            assert!(matches!(judged(status), Judgement::Again(_)), "{status}");
        }
        for status in [401, 413, 422] {
            assert!(matches!(judged(status), Judgement::Refused(_)), "{status}");
        }
    }
}
