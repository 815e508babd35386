//! The deliveries' operations. Each works inside a transaction that the caller
//! has: a terminal state and its delivery are one commit.

use std::collections::{HashMap, HashSet};

use diesel::prelude::*;
use hoiam_api::client::OPERATOR;
use hoiam_api::{
    Callback, Delivery, DeliveryAttempt, DeliveryStatus, DeliveryType, Service, rfc3339,
};
use hoiam_supervision::clock::Millis;
use uuid::Uuid;

use super::delivery::{After, can_redeliver};
use super::in_delivery::InDelivery;
use super::shares::{Kind, Receiver};
use crate::db::list::{Cursor, Filter, Index, Listed, PageIds};
use crate::db::schema::{deliveries, events};
use crate::db::{Condition, Conn, Id, NewEvent, Tx, update, update_if};

/// A row of `deliveries`.
#[derive(Debug, Clone, Queryable, Selectable, Insertable)]
#[diesel(table_name = deliveries, check_for_backend(diesel::sqlite::Sqlite))]
pub struct Row {
    /// `msg_<id>` is the webhook id.
    pub id: Id,
    /// The speech or the task it tells of.
    pub subject_id: Id,
    /// A [`DeliveryType`].
    pub kind: String,
    /// Where to.
    pub url: String,
    /// Scheme, host and port of `url`.
    pub origin: String,
    /// A [`DeliveryStatus`].
    pub status: String,
    /// 1, and one more for each redelivery.
    pub round: i32,
    /// Attempts of this round.
    pub attempt: i32,
    /// Attempts of all rounds.
    pub attempts: i32,
    /// While it is pending.
    pub next_attempt_at: Option<Millis>,
    /// When it was first owed.
    pub created_at: Millis,
    /// When it ended, of its newest round.
    pub ended_at: Option<Millis>,
    /// Whose subject it is; an alert is [`OPERATOR`]'s.
    pub client: String,
}

impl Row {
    /// The status as a value; a word that this version does not know counts
    /// as ended.
    #[must_use]
    pub fn status(&self) -> DeliveryStatus {
        DeliveryStatus::parse(&self.status).unwrap_or(DeliveryStatus::Aborted)
    }

    /// Whether it tells the operator, and not a client.
    #[must_use]
    pub fn is_alert(&self) -> bool {
        DeliveryType::parse(&self.kind).is_some_and(DeliveryType::is_alert)
    }

    /// One that is owed from this instant on, and was not tried yet: the operator's
    /// for an alert, else the first client's.
    #[must_use]
    pub fn pending(id: Uuid, subject: Uuid, kind: DeliveryType, url: &str, now: Millis) -> Self {
        Self {
            id: Id(id),
            subject_id: Id(subject),
            kind: kind.as_str().to_owned(),
            url: url.to_owned(),
            origin: origin_of(url),
            status: DeliveryStatus::Pending.as_str().to_owned(),
            round: 1,
            attempt: 0,
            attempts: 0,
            next_attempt_at: Some(now),
            created_at: now,
            ended_at: None,
            client: if kind.is_alert() { OPERATOR } else { "" }.to_owned(),
        }
    }

    /// Whom it is to be sent to, for whom.
    #[must_use]
    pub fn receiver(&self) -> Receiver {
        Receiver {
            client: self.client.as_str().into(),
            origin: self.origin.as_str().into(),
        }
    }

    /// What its next attempt is.
    #[must_use]
    pub fn next_kind(&self) -> Kind {
        match self.attempt {
            0 => Kind::FirstTry,
            _ => Kind::Retry,
        }
    }

    /// The same, of this client.
    fn of(self, client: &str) -> Self {
        let client = client.to_owned();
        Self { client, ..self }
    }
}

/// The status that is shown: a delivery that is kept as pending may be under
/// way. One that has ended is no more, although its attempt is noted as under
/// way until a moment after the commit.
fn shown(kept: DeliveryStatus, under_way: bool) -> DeliveryStatus {
    match kept {
        DeliveryStatus::Pending if under_way => DeliveryStatus::Delivering,
        _ => kept,
    }
}

/// Scheme, host and port of a URL: what circuits and limits are kept by.
#[must_use]
pub fn origin_of(url: &str) -> String {
    url::Url::parse(url).map_or_else(|_| url.to_owned(), |url| url.origin().ascii_serialization())
}

/// Enqueues a delivery with this commit.
///
/// # Errors
/// What the database says.
pub fn enqueue(
    tx: &mut Tx<'_>,
    subject: Uuid,
    client: &str,
    kind: DeliveryType,
    url: &str,
) -> QueryResult<Uuid> {
    let owed = Row::pending(Uuid::now_v7(), subject, kind, url, tx.now);
    insert(tx, owed.of(client))
}

/// Notes a delivery that must not be made: its URL is refused by the guard.
///
/// # Errors
/// What the database says.
pub fn enqueue_aborted(
    tx: &mut Tx<'_>,
    subject: Uuid,
    client: &str,
    kind: DeliveryType,
    url: &str,
) -> QueryResult<Uuid> {
    let row = Row::pending(Uuid::now_v7(), subject, kind, url, tx.now);
    let aborted = Row {
        status: DeliveryStatus::Aborted.as_str().to_owned(),
        next_attempt_at: None,
        ended_at: Some(tx.now),
        ..row.of(client)
    };
    insert(tx, aborted)
}

/// Keeps a row that is new, and answers its id.
///
/// # Errors
/// What the database says.
pub fn insert(tx: &mut Tx<'_>, row: Row) -> QueryResult<Uuid> {
    let id = row.id.0;
    diesel::insert_into(deliveries::table)
        .values(row)
        .execute(tx.conn)?;
    Ok(id)
}

// The partial indexes are used only where their condition stands in the
// statement as written, so these are literals and not bound values.
const FIRST_TRIES: &str = "status = 'pending' AND attempt = 0";
const RETRIES: &str = "status = 'pending' AND attempt > 0";

/// What makes a delivery one of this kind.
const fn condition_of(kind: Kind) -> &'static str {
    match kind {
        Kind::FirstTry => FIRST_TRIES,
        Kind::Retry => RETRIES,
    }
}

/// Reads what is due now and was not before `from`, at most `most` rows of a kind, in
/// the order they came due.
///
/// # Errors
/// What the database says.
pub fn due(
    conn: &mut Conn,
    kind: Kind,
    (from, now): (Millis, Millis),
    most: i64,
) -> QueryResult<Vec<Row>> {
    deliveries::table
        .select(Row::as_select())
        .filter(Condition(condition_of(kind)))
        .filter(deliveries::next_attempt_at.between(from, now))
        .order(deliveries::next_attempt_at)
        .limit(most)
        .load(conn)
}

/// The same of one receiver.
///
/// # Errors
/// What the database says.
pub fn due_to(
    conn: &mut Conn,
    receiver: &Receiver,
    kind: Kind,
    (from, now): (Millis, Millis),
    most: i64,
) -> QueryResult<Vec<Row>> {
    deliveries::table
        .select(Row::as_select())
        .filter(Condition(condition_of(kind)))
        .filter(deliveries::client.eq(&*receiver.client))
        .filter(deliveries::origin.eq(&*receiver.origin))
        .filter(deliveries::next_attempt_at.between(from, now))
        .order(deliveries::next_attempt_at)
        .limit(most)
        .load(conn)
}

/// When the earliest row that is not due yet will be.
///
/// # Errors
/// What the database says.
pub fn next_due(conn: &mut Conn, now: Millis) -> QueryResult<Option<Millis>> {
    let mut next_at: Option<Millis> = None;
    for kind in Kind::ALL {
        let next: Option<Option<Millis>> = deliveries::table
            .select(deliveries::next_attempt_at)
            .filter(Condition(condition_of(kind)))
            .filter(deliveries::next_attempt_at.gt(now))
            .order(deliveries::next_attempt_at)
            .first(conn)
            .optional()?;
        next_at = next_at.into_iter().chain(next.flatten()).min();
    }
    Ok(next_at)
}

/// Since when the oldest delivery is due.
///
/// # Errors
/// What the database says.
pub fn oldest_due(conn: &mut Conn, now: Millis) -> QueryResult<Option<Millis>> {
    let mut of = |condition| -> QueryResult<Option<Millis>> {
        let oldest: Option<Option<Millis>> = deliveries::table
            .select(deliveries::next_attempt_at)
            .filter(Condition(condition))
            .filter(deliveries::next_attempt_at.le(now))
            .order(deliveries::next_attempt_at)
            .first(conn)
            .optional()?;
        Ok(oldest.flatten())
    };
    Ok(of(FIRST_TRIES)?.into_iter().chain(of(RETRIES)?).min())
}

/// Writes down an attempt and what follows it, and answers when the next one
/// is due. A row that has changed in the meantime (erased, redelivered, or an
/// attempt of it recorded elsewhere) is left alone.
///
/// # Errors
/// What the database says.
pub fn record(
    tx: &mut Tx<'_>,
    row: &Row,
    attempt: &DeliveryAttempt,
    after: After,
) -> QueryResult<Option<Millis>> {
    let wait = after
        .wait
        .map(|wait| i64::try_from(wait.as_millis()).unwrap_or(i64::MAX / 2));
    let next_at = wait.map(|wait| tx.now + wait);
    let ended = after.status != DeliveryStatus::Pending;
    let is_still_pending = deliveries::status
        .eq(DeliveryStatus::Pending.as_str())
        .and(deliveries::attempts.eq(row.attempts));
    let changes = (
        deliveries::status.eq(after.status.as_str()),
        deliveries::attempt.eq(row.attempt + 1),
        deliveries::attempts.eq(row.attempts + 1),
        deliveries::next_attempt_at.eq(next_at),
        deliveries::ended_at.eq(ended.then_some(tx.now)),
    );
    if update_if(
        tx.conn,
        deliveries::table,
        row.id,
        is_still_pending,
        changes,
    )? == 0
    {
        // Somebody else has recorded it: it is due when he says.
        let kept = get(tx.conn, row.id.0)?;
        return Ok(kept.and_then(|kept| kept.next_attempt_at));
    }
    let reason = match attempt.status {
        Some(status) => format!("{} answered {status}", row.kind),
        None => format!(
            "{}: {}",
            row.kind,
            attempt.body.as_deref().unwrap_or("no answer")
        ),
    };
    tx.event(&NewEvent {
        subject: row.subject_id.0,
        delivery: Some(row.id.0),
        from: Some(DeliveryStatus::Delivering.as_str()),
        to: Some(after.status.as_str()),
        reason: Some(&reason),
        by: "CallbackDispatcher",
        attempt: Some(attempt),
        is_attempt: true,
        is_alert: row.is_alert(),
    })?;
    Ok(next_at)
}

/// Gives up deliveries to a receiver that does not answer: those that have
/// waited for it since before `due_before`, but not those whose attempts run.
/// At most `most`; says how many there were.
///
/// # Errors
/// What the database says.
pub fn give_up(
    tx: &mut Tx<'_>,
    receiver: &Receiver,
    due_before: Millis,
    running: &HashSet<Uuid>,
    most: i64,
) -> QueryResult<usize> {
    let mut given_up = 0;
    let before = (Millis::MIN, due_before.saturating_sub(1));
    for kind in Kind::ALL {
        let waiting = due_to(tx.conn, receiver, kind, before, most)?;
        for row in waiting.iter().filter(|row| !running.contains(&row.id.0)) {
            let changes = (
                deliveries::status.eq(DeliveryStatus::Exhausted.as_str()),
                deliveries::next_attempt_at.eq(None::<Millis>),
                deliveries::ended_at.eq(Some(tx.now)),
            );
            update(tx.conn, deliveries::table, row.id, changes)?;
            let reason = format!("{}: {} has not answered for too long", row.kind, row.origin);
            tx.event(&NewEvent {
                subject: row.subject_id.0,
                delivery: Some(row.id.0),
                from: Some(DeliveryStatus::Pending.as_str()),
                to: Some(DeliveryStatus::Exhausted.as_str()),
                reason: Some(&reason),
                by: "CallbackDispatcher",
                is_attempt: true,
                is_alert: row.is_alert(),
                ..NewEvent::default()
            })?;
            given_up += 1;
        }
    }
    Ok(given_up)
}

/// The newest delivery of each subject that has one.
///
/// # Errors
/// What the database says.
pub fn newest_of(conn: &mut Conn, subjects: &[Id]) -> QueryResult<HashMap<Uuid, Row>> {
    let rows: Vec<Row> = deliveries::table
        .select(Row::as_select())
        .filter(deliveries::subject_id.eq_any(subjects))
        .order((deliveries::created_at, deliveries::id))
        .load(conn)?;
    Ok(rows
        .into_iter()
        .map(|row| (row.subject_id.0, row))
        .collect())
}

/// The newest delivery of one subject.
///
/// # Errors
/// What the database says.
pub fn newest(conn: &mut Conn, subject: Id) -> QueryResult<Option<Row>> {
    deliveries::table
        .select(Row::as_select())
        .filter(deliveries::subject_id.eq(subject))
        .order((deliveries::created_at.desc(), deliveries::id.desc()))
        .first(conn)
        .optional()
}

/// How lists of deliveries are read.
pub const LISTED: Listed = Listed {
    table: "deliveries",
    by_age: Index::all("deliveries_by_age"),
    by_client: Index::all("deliveries_by_client"),
    by_status: Index {
        name: "deliveries_by_status",
        condition: "status <> 'delivered'",
    },
    common_status: "delivered",
    by_column: &[("subject_id", Index::all("deliveries_by_subject"))],
    by_end: &[],
};

/// One page, newest first, and where the next one starts.
///
/// # Errors
/// What the database says.
pub fn list(conn: &mut Conn, filter: &Filter) -> QueryResult<(Vec<Row>, Option<Cursor>)> {
    let PageIds { ids, next } = LISTED.find(conn, filter)?;
    let rows = deliveries::table
        .filter(deliveries::id.eq_any(ids))
        .order((deliveries::created_at.desc(), deliveries::id.desc()))
        .select(Row::as_select())
        .load(conn)?;
    Ok((rows, next))
}

/// One delivery.
///
/// # Errors
/// What the database says.
pub fn get(conn: &mut Conn, id: Uuid) -> QueryResult<Option<Row>> {
    deliveries::table
        .find(Id(id))
        .select(Row::as_select())
        .first(conn)
        .optional()
}

/// The attempts of these deliveries, by delivery, in order.
///
/// # Errors
/// What the database says.
pub fn attempts_of(
    conn: &mut Conn,
    rows: &[Row],
) -> QueryResult<HashMap<Uuid, Vec<DeliveryAttempt>>> {
    let subjects: Vec<Id> = rows.iter().map(|row| row.subject_id).collect();
    let logged: Vec<(Option<Id>, Option<String>)> = events::table
        .select((events::delivery_id, events::attempt))
        .filter(events::subject_id.eq_any(subjects))
        .filter(events::attempt.is_not_null())
        .order(events::id)
        .load(conn)?;
    let mut by_delivery: HashMap<Uuid, Vec<DeliveryAttempt>> = HashMap::new();
    for (delivery, attempt) in logged {
        let attempt = attempt.and_then(|json| serde_json::from_str(&json).ok());
        if let (Some(delivery), Some(attempt)) = (delivery, attempt) {
            by_delivery.entry(delivery.0).or_default().push(attempt);
        }
    }
    Ok(by_delivery)
}

/// The wire's form of a row.
#[must_use]
pub fn resource(
    service: Service,
    row: &Row,
    attempts: Vec<DeliveryAttempt>,
    under_way: bool,
) -> Delivery {
    let is_alert = row.is_alert();
    Delivery {
        id: row.id.0,
        kind: DeliveryType::parse(&row.kind).unwrap_or(DeliveryType::CallbackCheck),
        task_id: (service == Service::Backend && !is_alert).then_some(row.subject_id.0),
        speech_id: (service == Service::Tts && !is_alert).then_some(row.subject_id.0),
        alert_id: is_alert.then_some(row.subject_id.0),
        url: row.url.clone(),
        status: shown(row.status(), under_way),
        round: u32::try_from(row.round).unwrap_or(1),
        next_attempt_at: row.next_attempt_at.map(rfc3339),
        attempts,
    }
}

/// The callback part that tasks and speeches have in common.
#[must_use]
pub fn callback_of(url: &str, delivery: Option<&Row>, in_delivery: &InDelivery) -> Callback {
    Callback {
        url: url.to_owned(),
        check: None,
        delivery_id: delivery.map(|row| row.id.0),
        status: delivery.map(|row| shown(row.status(), in_delivery.contains(row.id.0))),
        attempts: delivery.map_or(0, |row| u32::try_from(row.attempts).unwrap_or(0)),
        next_attempt_at: delivery.and_then(|row| row.next_attempt_at).map(rfc3339),
    }
}

/// What came of asking for a redelivery.
#[derive(Debug, PartialEq, Eq)]
pub enum Redelivered {
    /// It is pending again, as a new round.
    Done,
    /// It has not ended.
    NotEnded,
    /// There is none.
    Unknown,
}

/// Puts one ended delivery back to pending.
///
/// # Errors
/// What the database says.
pub fn redeliver(tx: &mut Tx<'_>, id: Uuid) -> QueryResult<Redelivered> {
    let Some(row) = get(tx.conn, id)? else {
        return Ok(Redelivered::Unknown);
    };
    if !can_redeliver(row.status()) {
        return Ok(Redelivered::NotEnded);
    }
    update(
        tx.conn,
        deliveries::table,
        row.id,
        (
            deliveries::status.eq(DeliveryStatus::Pending.as_str()),
            deliveries::round.eq(row.round + 1),
            deliveries::attempt.eq(0),
            deliveries::next_attempt_at.eq(Some(tx.now)),
            deliveries::ended_at.eq(None::<Millis>),
        ),
    )?;
    tx.event(&NewEvent {
        subject: row.subject_id.0,
        delivery: Some(id),
        from: Some(&row.status),
        to: Some(DeliveryStatus::Pending.as_str()),
        reason: Some("redelivery asked for"),
        by: "api",
        is_attempt: true,
        is_alert: row.is_alert(),
        ..NewEvent::default()
    })?;
    Ok(Redelivered::Done)
}

/// Puts those of these deliveries back to pending that the filter still means, and
/// says how many: they were found before this commit.
///
/// # Errors
/// What the database says.
pub fn redeliver_found(tx: &mut Tx<'_>, filter: &Filter, found: &[Id]) -> QueryResult<usize> {
    let mut redelivered = 0;
    for id in found {
        let row = get(tx.conn, id.0)?.filter(|row| is_meant(row, filter));
        if row.is_some() && redeliver(tx, id.0)? == Redelivered::Done {
            redelivered += 1;
        }
    }
    Ok(redelivered)
}

/// Whether a filter still means a row that it meant before: what of it can change
/// or comes from the request.
fn is_meant(row: &Row, filter: &Filter) -> bool {
    let is_in_status = filter.statuses.is_empty() || filter.statuses.contains(&row.status);
    let is_theirs = filter
        .client
        .as_ref()
        .is_none_or(|client| *client == row.client);
    let is_after = |at: Millis| row.ended_at.is_some_and(|ended_at| ended_at > at);
    let is_before = |at: Millis| row.ended_at.is_some_and(|ended_at| ended_at < at);
    is_in_status
        && is_theirs
        && filter.ended_after.is_none_or(is_after)
        && filter.ended_before.is_none_or(is_before)
}

/// Forgets every delivery of a subject.
///
/// # Errors
/// What the database says.
pub fn erase_of(tx: &mut Tx<'_>, subject: Uuid) -> QueryResult<()> {
    diesel::delete(deliveries::table.filter(deliveries::subject_id.eq(Id(subject))))
        .execute(tx.conn)?;
    Ok(())
}

#[cfg(test)]
mod tests;
