//! Has the TTS service erase the speech of a task that is erased here.

use super::erasures::{self, Erasure};
use super::hand_over::TtsHealth;
use super::tts_client::{TtsClient, TtsError};
use crate::db::{Db, StoreError};

/// Tries an erasure once and commits what came of it.
///
/// # Errors
/// [`StoreError`] when the outcome could not be kept; a restart tries again.
pub async fn erase(db: &Db, tts: &TtsClient, owed: &Erasure) -> Result<TtsHealth, StoreError> {
    let id = owed.id.0;
    let (health, reason) = match call(tts, owed).await {
        Ok(200..=299 | 404 | 410) => {
            db.write_until_kept(move |tx| erasures::done(tx, id))
                .await?;
            return Ok(TtsHealth::Answers);
        }
        Ok(status) => {
            let health = if status >= 500 {
                TtsHealth::Fails
            } else {
                TtsHealth::Answers
            };
            (health, format!("it answered {status}"))
        }
        Err(error) => (TtsHealth::Fails, error.to_string()),
    };
    let given_up = db
        .write_until_kept(move |tx| erasures::failed(tx, id))
        .await?;
    if given_up {
        log::error!(
            "task {id} is erased, but for a day its speech could not be erased at the TTS service: {reason}. \
             DELETE /v1/speech/{id} there"
        );
    }
    Ok(health)
}

/// The status of the last answer.
async fn call(tts: &TtsClient, owed: &Erasure) -> Result<u16, TtsError> {
    let id = owed.id.0;
    let status = tts.erase(id, owed.asked).await?;
    if status != 409 {
        return Ok(status);
    }
    // It is still under way: its task was erased before the abandon was made.
    tts.cancel(id).await?;
    tts.erase(id, owed.asked).await
}
