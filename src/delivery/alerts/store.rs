//! The alerts' operations: an alert, its delivery and what it says of the operator's
//! knowledge are one commit.

use diesel::prelude::*;
use hoiam_api::{Alert, DeliveryAttempt, DeliveryType, Example, Service, rfc3339};
use hoiam_supervision::clock::Millis;
use uuid::Uuid;

use crate::alerts::Ledger;
use crate::db::schema::{alerts, deliveries, events, meta};
use crate::db::{Condition, Conn, Id, Tx, history};
use crate::delivery::delivery::After;
use crate::delivery::store as owed;

/// The row of `meta` that keeps the ledger.
const LEDGER_KEY: &str = "alerts";
// As the partial index has it.
const EXHAUSTED: &str = "to_status = 'exhausted' AND type <> 'alert'";

/// An alert with its delivery.
#[derive(Debug, Clone)]
pub struct New {
    /// What it is about.
    pub kind: DeliveryType,
    /// What it says.
    pub alert: Alert,
    /// What is owed for it; the subject is the alert.
    pub delivery: owed::Row,
    /// The attempts that were made while nothing could be kept.
    pub tried: Vec<(DeliveryAttempt, After)>,
}

/// What was told before; nothing where no alert has ever been sent.
///
/// # Errors
/// What the database says.
pub fn ledger(conn: &mut Conn) -> QueryResult<Ledger> {
    let kept: Option<String> = meta::table
        .find(LEDGER_KEY)
        .select(meta::value)
        .first(conn)
        .optional()?;
    let ledger = kept.and_then(|json| serde_json::from_str(&json).ok());
    Ok(ledger.unwrap_or_default())
}

/// Keeps what was told.
///
/// # Errors
/// What the database says.
pub fn keep_ledger(tx: &mut Tx<'_>, ledger: &Ledger) -> QueryResult<()> {
    let json = serde_json::to_string(ledger).unwrap_or_default();
    diesel::replace_into(meta::table)
        .values((meta::key.eq(LEDGER_KEY), meta::value.eq(json)))
        .execute(tx.conn)
        .map(drop)
}

/// Enqueues alerts with this commit, and keeps what is told with them.
///
/// # Errors
/// What the database says.
pub fn enqueue(tx: &mut Tx<'_>, new: &[New], ledger: &Ledger) -> QueryResult<()> {
    for New {
        kind,
        alert,
        delivery,
        tried,
    } in new
    {
        // A commit whose answer was an error may be there all the same.
        if get(tx.conn, alert.id)?.is_some() {
            continue;
        }
        diesel::insert_into(alerts::table)
            .values((
                alerts::id.eq(Id(alert.id)),
                alerts::kind.eq(kind.as_str()),
                alerts::created_at.eq(delivery.created_at),
                alerts::body.eq(serde_json::to_string(alert).unwrap_or_default()),
            ))
            .execute(tx.conn)?;
        // No commit makes a row due before its own time.
        let row = owed::Row {
            next_attempt_at: Some(tx.now),
            ..delivery.clone()
        };
        let id = owed::insert(tx, row)?;
        for (attempt, after) in tried {
            if let Some(row) = owed::get(tx.conn, id)? {
                owed::record(tx, &row, attempt, *after)?;
            }
        }
    }
    keep_ledger(tx, ledger)
}

/// One alert.
///
/// # Errors
/// What the database says.
pub fn get(conn: &mut Conn, id: Uuid) -> QueryResult<Option<Alert>> {
    let body: Option<String> = alerts::table
        .find(Id(id))
        .select(alerts::body)
        .first(conn)
        .optional()?;
    Ok(body.and_then(|json| serde_json::from_str(&json).ok()))
}

/// A delivery that was given up: the event that says so, when, and the example.
pub type Exhausted = (i64, Millis, Example);

/// Deliveries that were given up after this event, but not those of alerts, in the
/// order of their commits; at most `most`.
///
/// # Errors
/// What the database says.
pub fn exhausted_after(
    conn: &mut Conn,
    service: Service,
    after: i64,
    most: i64,
) -> QueryResult<Vec<Exhausted>> {
    type EventRow = (i64, Millis, Id, Option<Id>, Option<String>);
    let found: Vec<EventRow> = events::table
        .select((
            events::id,
            events::at,
            events::subject_id,
            events::delivery_id,
            events::reason,
        ))
        .filter(Condition(EXHAUSTED))
        .filter(events::id.gt(after))
        .order(events::id)
        .limit(most)
        .load(conn)?;
    let mut all = Vec::new();
    for (event, at, subject, delivery, reason) in found {
        let kept: Option<(String, String)> = match delivery {
            Some(id) => deliveries::table
                .find(id)
                .select((deliveries::kind, deliveries::origin))
                .first(conn)
                .optional()?,
            None => None,
        };
        let (kind, origin) = kept.unzip();
        let example = Example {
            at: rfc3339(at),
            origin,
            delivery_id: delivery.map(|id| id.0),
            kind: kind.as_deref().and_then(DeliveryType::parse),
            task_id: (service == Service::Backend).then_some(subject.0),
            speech_id: (service == Service::Tts).then_some(subject.0),
            error: reason.as_deref().map(crate::alerts::reporter::shortened),
            ..Example::default()
        };
        all.push((event, at, example));
    }
    Ok(all)
}

/// The newest event: what was given up before it is not told where nothing was
/// told before.
///
/// # Errors
/// What the database says.
pub fn newest_event(conn: &mut Conn) -> QueryResult<i64> {
    history::newest_event(conn)
}

/// Alerts from before this instant, oldest first, but for those that are still owed;
/// at most `most`.
///
/// # Errors
/// What the database says.
pub fn old(conn: &mut Conn, before: Millis, most: i64) -> QueryResult<Vec<Id>> {
    let is_pending = diesel::dsl::exists(
        deliveries::table
            .filter(deliveries::subject_id.eq(alerts::id))
            .filter(deliveries::status.eq("pending")),
    );
    alerts::table
        .select(alerts::id)
        .filter(alerts::created_at.lt(before))
        .filter(diesel::dsl::not(is_pending))
        .order(alerts::created_at)
        .limit(most)
        .load(conn)
}

/// Forgets [`old`] ones with their deliveries, and says how many.
///
/// # Errors
/// What the database says.
pub fn forget(tx: &mut Tx<'_>, before: Millis, most: i64) -> QueryResult<usize> {
    let old = old(tx.conn, before, most)?;
    for id in &old {
        owed::erase_of(tx, id.0)?;
        tx.erase_events(id.0)?;
        diesel::delete(alerts::table.find(*id)).execute(tx.conn)?;
    }
    Ok(old.len())
}

#[cfg(test)]
mod tests;
