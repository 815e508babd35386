//! What every end of a speech writes.

use diesel::prelude::*;
use hoiam_api::{CheckState, DeliveryType, Failure, SpeechStatus};

use super::row::Row;
use crate::db::schema::speeches;
use crate::db::{Id, Tx, update};
use crate::delivery::store as deliveries;
use crate::resource::operations;
use crate::resource::row::ResourceRow as _;
use crate::tts::job::{self, Step};

/// Fails a job that has not ended; `false` means that it has.
///
/// # Errors
/// What the database says.
pub fn end_failed(
    tx: &mut Tx<'_>,
    row: &Row,
    failure: &Failure,
    by: &'static str,
) -> QueryResult<bool> {
    let Some(status) = job::next(row.status(), Step::Fail) else {
        return Ok(false);
    };
    update(
        tx.conn,
        speeches::table,
        row.id,
        (
            speeches::status.eq(status.as_str()),
            speeches::leased_by.eq(None::<Id>),
            speeches::ended_at.eq(Some(tx.now)),
            speeches::error_code.eq(Some(&failure.code)),
            speeches::error.eq(serde_json::to_string(failure).ok()),
        ),
    )?;
    ended(
        tx,
        row,
        status,
        &failure.code,
        by,
        DeliveryType::SpeechFailed,
    )?;
    Ok(true)
}

/// The event, the load, and the callback owed: the same for every end.
///
/// # Errors
/// What the database says.
pub fn ended(
    tx: &mut Tx<'_>,
    row: &Row,
    status: SpeechStatus,
    reason: &str,
    by: &'static str,
    kind: DeliveryType,
) -> QueryResult<()> {
    tx.load(&row.client, -1, -row.text_bytes);
    if let Some(url) = &row.callback_url {
        if row.callback_check == CheckState::Forbidden.as_str() {
            deliveries::enqueue_aborted(tx, row.id.0, &row.client, kind, url)?;
        } else {
            deliveries::enqueue(tx, row.id.0, &row.client, kind, url)?;
        }
    }
    operations::moved(tx, row, status, reason, by)
}
