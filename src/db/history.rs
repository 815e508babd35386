//! Reading the `events` table: a subject's history, and the feeds.

use diesel::dsl::exists;
use diesel::prelude::*;
use hoiam_api::{Event, EventType, Service};
use hoiam_supervision::clock::Millis;
use hoiam_text::SaturatingFrom as _;
use uuid::Uuid;

use super::schema::{events, speeches, tasks};
use super::{Conn, Id};

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

/// The type of what the deliveries of alerts leave: it belongs to no task and no
/// speech, so no feed shows it.
pub const OF_ALERT: &str = "alert";

/// Which events are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whose {
    /// Those of one task or speech.
    Subject(Uuid),
    /// Those of all tasks or speeches of this client.
    Client(String),
    /// All of the service.
    Everybody,
}

/// Events in the order of their ids.
#[derive(Debug, PartialEq)]
pub struct Page {
    /// What was asked for.
    pub events: Vec<Event>,
    /// The id up to which it was looked at, also where that one is not among the
    /// events.
    pub last_id: i64,
    /// Whether there may be more.
    pub is_full: bool,
}

/// Stored events with an id above `after`. At most `most` rows are looked at, however
/// few of them are among the answer.
///
/// # Errors
/// What the database says.
pub fn events_after(
    conn: &mut Conn,
    service: Service,
    whose: &Whose,
    after: i64,
    most: usize,
) -> QueryResult<Page> {
    let limit = i64::saturating_from(most);
    let query = events::table
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
        .filter(events::kind.ne(OF_ALERT))
        .order(events::id)
        .limit(limit)
        .into_boxed();
    let Whose::Client(client) = whose else {
        let query = match whose {
            Whose::Subject(subject) => query.filter(events::subject_id.eq(Id(*subject))),
            _ => query,
        };
        let events = read(service, query.load(conn)?);
        return Ok(Page {
            last_id: events.last().and_then(|event| event.id).unwrap_or(after),
            is_full: events.len() == most,
            events,
        });
    };
    let looked_at: Vec<i64> = events::table
        .select(events::id)
        .filter(events::id.gt(after))
        .order(events::id)
        .limit(limit)
        .load(conn)?;
    let last_id = looked_at.last().copied().unwrap_or(after);
    let query = query.filter(events::id.le(last_id));
    let rows = match service {
        Service::Backend => query
            .filter(exists(
                tasks::table
                    .filter(tasks::id.eq(events::subject_id))
                    .filter(tasks::client.eq(client)),
            ))
            .load(conn)?,
        Service::Tts => query
            .filter(exists(
                speeches::table
                    .filter(speeches::id.eq(events::subject_id))
                    .filter(speeches::client.eq(client)),
            ))
            .load(conn)?,
    };
    Ok(Page {
        events: read(service, rows),
        last_id,
        is_full: looked_at.len() == most,
    })
}

fn read(service: Service, rows: Vec<Row>) -> Vec<Event> {
    rows.into_iter()
        .map(|(id, at, kind, subject, from, to, reason, by)| {
            let kind = EventType::parse(&kind).unwrap_or(EventType::State);
            Event {
                id: Some(id),
                from,
                to,
                reason,
                by,
                ..Event::of(service, subject.0, kind, at)
            }
        })
        .collect()
}

/// Whose this task or speech is now; `None` where there is none.
///
/// # Errors
/// What the database says.
pub fn owner(conn: &mut Conn, service: Service, subject: Uuid) -> QueryResult<Option<String>> {
    let id = Id(subject);
    let owner = match service {
        Service::Backend => tasks::table.find(id).select(tasks::client).first(conn),
        Service::Tts => speeches::table
            .find(id)
            .select(speeches::client)
            .first(conn),
    };
    owner.optional()
}

/// Whether there is such a task or speech and it is this client's. `None` is who sees
/// all, and is not told whether there is one.
///
/// # Errors
/// What the database says.
pub fn is_of(
    conn: &mut Conn,
    service: Service,
    subject: Uuid,
    client: Option<&str>,
) -> QueryResult<bool> {
    let Some(client) = client else {
        return Ok(true);
    };
    let owner = owner(conn, service, subject)?;
    Ok(owner.is_some_and(|owner| owner == client))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::testing::{TestDb, block_on, plan_lines};

    #[test]
    fn every_read_goes_by_an_index() {
        let all = [
            Whose::Subject(Uuid::nil()),
            Whose::Client("an".into()),
            Whose::Everybody,
        ];
        for service in [Service::Backend, Service::Tts] {
            let test = TestDb::new(service);
            for whose in all.clone() {
                let asked = whose.clone();
                let plans = test.db.read(move |conn| {
                    let after = |conn: &mut Conn| events_after(conn, service, &asked, 5, 10);
                    Ok(plan_lines(conn, after))
                });
                let plans = block_on(plans).unwrap();
                assert!(!plans.is_empty());
                for line in plans {
                    let is_search = line.starts_with("SEARCH") || line.contains("SUBQUERY");
                    assert!(is_search, "{whose:?}: {line}");
                }
            }
        }
    }
}
