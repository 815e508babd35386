//! What the operations of both services have in common. One operation is one transaction.

use diesel::prelude::QueryResult;
use hoiam_api::Status as _;
use uuid::Uuid;

use super::row::{New, ResourceRow};
use crate::db::list::{Cursor, Filter, PageIds};
use crate::db::{Amount, ByClient, Conn, NewEvent, Tx};
use crate::delivery::store as deliveries;

/// What came of a creation; `R` is the row.
#[derive(Debug, Clone)]
pub enum Accepted<R> {
    /// A new row.
    New(Box<R>),
    /// The same request was made before: the row as it is now.
    Repeated(Box<R>),
    /// The id or the key was used with another request.
    Conflict,
}

/// What came of asking for a cancel or an erasure; `R` is the row.
#[derive(Debug, Clone)]
pub enum Ended<R> {
    /// It is as asked for, now or already.
    Done(Box<R>),
    /// It ended otherwise, or has not ended: the row as it is.
    Refused(Box<R>),
    /// There is none.
    Unknown,
}

/// Keeps a new row: the commit behind a 202. What was sent before is not kept again.
///
/// # Errors
/// What the database says.
pub fn accept<R: ResourceRow>(
    tx: &mut Tx<'_>,
    new: &New<R::New>,
    row: R,
) -> QueryResult<Accepted<R>> {
    if row.insert(tx.conn, new)? == 0 {
        let same = |earlier: &R| earlier.columns().fingerprint == row.columns().fingerprint;
        return Ok(match earlier::<R>(tx.conn, new)? {
            Some(earlier) if same(&earlier) => Accepted::Repeated(Box::new(earlier)),
            _ => Accepted::Conflict,
        });
    }
    let columns = row.columns();
    tx.load(columns.client, 1, columns.text_bytes);
    tx.event(&NewEvent {
        subject: new.id,
        to: Some(columns.status),
        reason: Some("accepted"),
        by: "api",
        ..NewEvent::default()
    })?;
    Ok(Accepted::New(Box::new(row)))
}

fn earlier<R: ResourceRow>(conn: &mut Conn, new: &New<R::New>) -> QueryResult<Option<R>> {
    if let Some(row) = R::get(conn, new.id)? {
        return Ok(Some(row));
    }
    match &new.idempotency_key {
        Some(key) => R::by_key(conn, key),
        None => Ok(None),
    }
}

/// Notes that a row has come to another status.
///
/// # Errors
/// What the database says.
pub fn moved<R: ResourceRow>(
    tx: &mut Tx<'_>,
    row: &R,
    to: R::Status,
    reason: &str,
    by: &'static str,
) -> QueryResult<()> {
    let columns = row.columns();
    tx.event(&NewEvent {
        subject: columns.id.0,
        from: Some(columns.status),
        to: Some(to.as_str()),
        reason: Some(reason),
        by,
        ..NewEvent::default()
    })
}

/// Cancels what has not ended: `end` writes it, and says whether it could.
///
/// # Errors
/// What the database says.
pub fn cancel<R: ResourceRow>(
    tx: &mut Tx<'_>,
    id: Uuid,
    end: impl FnOnce(&mut Tx<'_>, &R) -> QueryResult<bool>,
) -> QueryResult<Ended<R>> {
    let Some(row) = R::get(tx.conn, id)? else {
        return Ok(Ended::Unknown);
    };
    if row.status() == R::Status::CANCELED || end(tx, &row)? {
        let after = R::get(tx.conn, id)?;
        return Ok(after.map_or(Ended::Unknown, |row| Ended::Done(Box::new(row))));
    }
    Ok(Ended::Refused(Box::new(row)))
}

/// Forgets what has ended: row, events and deliveries. The caller deletes the file that
/// the answer names.
///
/// # Errors
/// What the database says.
pub fn erase<R: ResourceRow>(tx: &mut Tx<'_>, id: Uuid) -> QueryResult<Ended<R>> {
    let Some(row) = R::get(tx.conn, id)? else {
        return Ok(Ended::Unknown);
    };
    if !row.status().is_ended() {
        return Ok(Ended::Refused(Box::new(row)));
    }
    deliveries::erase_of(tx, id)?;
    tx.erase_events(id)?;
    R::delete(tx.conn, id)?;
    Ok(Ended::Done(Box::new(row)))
}

/// Each client's open work and its bytes, counted once at start.
///
/// # Errors
/// What the database says.
pub fn open_load<R: ResourceRow>(conn: &mut Conn) -> QueryResult<ByClient> {
    let mut load = ByClient::default();
    for condition in R::OPEN {
        for (client, bytes) in R::sizes(conn, condition)? {
            load.add(&client, Amount { jobs: 1, bytes });
        }
    }
    Ok(load)
}

/// One page, newest first, and where the next one starts.
///
/// # Errors
/// What the database says.
pub fn list<R: ResourceRow>(
    conn: &mut Conn,
    filter: &Filter,
) -> QueryResult<(Vec<R>, Option<Cursor>)> {
    let PageIds { ids, next } = R::LISTED.find(conn, filter)?;
    Ok((R::get_many(conn, &ids)?, next))
}
