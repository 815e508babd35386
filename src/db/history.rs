//! Reading the `events` table: a subject's history, and the feed of all.

use diesel::prelude::*;
use uuid::Uuid;

use super::schema::events;
use super::{Conn, Id};
use crate::clock::Millis;
use crate::contract::{Event, EventType, Service};

/// A row as it is read: id, at, type, subject, from, to, reason, by.
type Row = (
    i64,
    Millis,
    String,
    Id,
    Option<String>,
    Option<String>,
    Option<String>,
    Option<String>,
);

/// Stored events with an id above `after`, oldest first; of one subject, or
/// of all.
///
/// # Errors
/// What the database says.
pub fn events_after(
    conn: &mut Conn,
    service: Service,
    subject: Option<Uuid>,
    after: i64,
    most: i64,
) -> QueryResult<Vec<(Uuid, Event)>> {
    let mut query = events::table
        .select((
            events::id,
            events::at,
            events::kind,
            events::subject_id,
            events::from_status,
            events::to_status,
            events::reason,
            events::by,
        ))
        .filter(events::id.gt(after))
        .order(events::id)
        .limit(most)
        .into_boxed();
    if let Some(subject) = subject {
        query = query.filter(events::subject_id.eq(Id(subject)));
    }
    let rows: Vec<Row> = query.load(conn)?;
    Ok(rows
        .into_iter()
        .map(|(id, at, kind, subject, from, to, reason, by)| {
            let kind = EventType::parse(&kind).unwrap_or(EventType::State);
            let event = Event {
                id: Some(id),
                from,
                to,
                reason,
                by,
                ..Event::of(service, subject.0, kind, at)
            };
            (subject.0, event)
        })
        .collect())
}

/// The id of the newest event: where a feed without a `Last-Event-ID` starts.
///
/// # Errors
/// What the database says.
pub fn newest_event(conn: &mut Conn) -> QueryResult<i64> {
    let newest: Option<i64> = events::table
        .select(events::id)
        .order(events::id.desc())
        .first(conn)
        .optional()?;
    Ok(newest.unwrap_or(0))
}
