//! The TTS service's operations: one operation is one transaction.
//!
//! Every change of a status asks [`job::next`] first. [`claims`] are a worker's operations,
//! [`checks`] the callback checker's, [`deadlines`] the watchdog's; those of clients are
//! here.

pub mod checks;
pub mod claims;
pub mod deadlines;
mod ends;
mod row;

use diesel::prelude::*;
use hoiam_api::{CheckState, DeliveryType, SpeechStatus};
use hoiam_supervision::clock::Millis;
use uuid::Uuid;

use super::job::{self, Step};
use super::turns;
use crate::db::schema::speeches;
use crate::db::{Condition, Conn, Id, Tx, update};
use crate::delivery::store as deliveries;
use crate::resource::operations::{self, Accepted, Ended};
use crate::resource::row::{ResourceRow as _, TableRow as _};
use crate::retention::store::Subjects;
use claims::POSTPONED;
use deadlines::oldest_overdue;
use ends::ended;
pub use row::{New, NewSpeech, Row};

/// Accepts a speech: the commit behind the 202.
///
/// # Errors
/// What the database says.
pub fn accept(tx: &mut Tx<'_>, new: &New) -> QueryResult<Accepted<Row>> {
    let NewSpeech {
        resolved_voice,
        language,
        check,
    } = &new.extra;
    let status = match check {
        CheckState::Pending => SpeechStatus::Checking,
        _ => SpeechStatus::Queued,
    };
    let row = Row {
        status: status.as_str().to_owned(),
        resolved_voice: resolved_voice.clone(),
        language: language.clone(),
        callback_check: check.as_str().to_owned(),
        ..Row::of_request(new, tx.now)
    };
    operations::accept(tx, new, row)
}

/// Calls a speech off.
///
/// # Errors
/// What the database says.
pub fn cancel(tx: &mut Tx<'_>, id: Uuid) -> QueryResult<Ended<Row>> {
    operations::cancel(tx, id, end_canceled)
}

fn end_canceled(tx: &mut Tx<'_>, row: &Row) -> QueryResult<bool> {
    let Some(status) = job::next(row.status(), Step::Cancel) else {
        return Ok(false);
    };
    let changes = (
        speeches::status.eq(status.as_str()),
        speeches::leased_by.eq(None::<Id>),
        speeches::ended_at.eq(Some(tx.now)),
    );
    update(tx.conn, speeches::table, row.id, changes)?;
    let kind = DeliveryType::SpeechCanceled;
    ended(tx, row, status, "asked for", "api", kind)?;
    Ok(true)
}

/// Since when the oldest row of each kind of work is due.
///
/// # Errors
/// What the database says.
pub fn oldest_due(
    conn: &mut Conn,
    now: Millis,
) -> QueryResult<Vec<(&'static str, Option<Millis>)>> {
    let checking: Option<Millis> = speeches::table
        .select(speeches::created_at)
        .filter(Condition("status = 'checking'"))
        .order(speeches::created_at)
        .first(conn)
        .optional()?;
    let queued = turns::oldest(conn)?;
    let postponed: Option<Option<Millis>> = speeches::table
        .select(speeches::not_before)
        .filter(Condition(POSTPONED))
        .filter(speeches::not_before.le(now))
        .order(speeches::not_before)
        .first(conn)
        .optional()?;
    let job = queued.into_iter().chain(postponed.flatten()).min();
    let deadline = oldest_overdue(conn, now)?;
    Ok(vec![
        ("checks", checking),
        ("jobs", job),
        ("deadlines", deadline),
        ("deliveries", deliveries::oldest_due(conn, now)?),
    ])
}

/// Speeches, as retention sees them.
pub const RETAINED: Subjects = Subjects {
    table: "speeches",
    settled: "NOT EXISTS (SELECT 1 FROM deliveries \
              WHERE subject_id = speeches.id AND deliveries.status = 'pending')",
    erase: |tx, id| operations::erase::<Row>(tx, id).map(drop),
};

#[cfg(test)]
pub(crate) mod tests;
