//! Jobs that wait for the check of their callback URL.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::iter;
use std::sync::Arc;

use diesel::prelude::*;
use diesel::sqlite::Sqlite;
use hoiam_api::{CallbackHeaders, CheckState, Failure};
use hoiam_supervision::clock::Millis;

use super::ends::end_failed;
use super::row::Row;
use crate::db::schema::speeches;
use crate::db::{Condition, Conn, Id, Tx, update};
use crate::delivery::check::Verdict;
use crate::delivery::check_queue::{CheckQuery, ExpiredHolds, Round, Unchecked, UncheckedPage};
use crate::delivery::check_room::CheckRoom;
use crate::delivery::held::Scope;
use crate::delivery::shares::Receiver;
use crate::delivery::store as deliveries;
use crate::resource::operations;
use crate::resource::row::ResourceRow as _;
use crate::tts::job::{self, Step};

/// Origins of one client that a look for unchecked URLs visits at most.
pub const MOST_ORIGINS: usize = 512;

/// Callback URLs that jobs wait for, as their `callback_target`.
///
/// # Errors
/// What the database says.
pub fn unchecked_urls(conn: &mut Conn, wanted: CheckQuery<'_>) -> QueryResult<UncheckedPage> {
    // A loose index scan: one seek for each client, each of its origins and each URL,
    // whatever the number of jobs behind them. What has no room is not looked into.
    let CheckQuery {
        after,
        running,
        room,
        again,
    } = wanted;
    let mut looked = UncheckedPage {
        found: Vec::new(),
        turns: after.clone(),
        is_cut: false,
    };
    let span = [after.client.as_deref(); 2];
    round(conn, span, next_checking, |conn, client| {
        if room.of_client(client) > 0 {
            unchecked_of(conn, client, running, room, &mut looked)?;
        }
        Ok(true)
    })?;
    add_waiting(conn, again, room, &mut looked.found)?;
    Ok(looked)
}

/// Goes on with the round of this client's origins.
fn unchecked_of(
    conn: &mut Conn,
    client: &str,
    running: &HashSet<String>,
    room: &mut CheckRoom,
    looked: &mut UncheckedPage,
) -> QueryResult<()> {
    let after = looked.turns.origins.get(client).cloned();
    let until = match looked.turns.rounds.get(client) {
        Some(Round::Over) => return Ok(()),
        Some(Round::Until(until)) => until.clone(),
        None => after.clone(),
    };
    let (mut visited, mut is_cut) = (0, false);
    let (mut last, mut last_found) = (None, None);
    let span = [after.as_deref(), until.as_deref()];
    let next = |conn: &mut Conn, last: Option<&str>| next_checking_of(conn, client, last);
    round(conn, span, next, |conn, origin| {
        is_cut = visited == MOST_ORIGINS;
        if is_cut {
            return Ok(false);
        }
        visited += 1;
        last = Some(origin.to_owned());
        let receiver = Receiver {
            client: client.into(),
            origin: origin.into(),
        };
        let before = looked.found.len();
        unchecked_at(conn, &receiver, running, room, &mut looked.found)?;
        if looked.found.len() > before {
            last_found.clone_from(&last);
        }
        Ok(room.of_client(client) > 0)
    })?;
    let turns = &mut looked.turns;
    if last_found.is_some() {
        turns.client = Some(client.to_owned());
    }
    // Of those that were all looked at, who has got something comes last.
    let went_to = if is_cut { last } else { last_found };
    if let Some(origin) = went_to {
        turns.origins.insert(client.to_owned(), origin);
    }
    let round = if is_cut {
        Round::Until(until)
    } else {
        Round::Over
    };
    turns.rounds.insert(client.to_owned(), round);
    looked.is_cut |= is_cut;
    Ok(())
}

/// Visits each that `next` finds, as long as the visit says so: those behind `after`,
/// and then on from the first, to the one that is `until` or precedes it.
fn round(
    conn: &mut Conn,
    [after, until]: [Option<&str>; 2],
    next: impl Fn(&mut Conn, Option<&str>) -> QueryResult<Option<String>>,
    mut visit: impl FnMut(&mut Conn, &str) -> QueryResult<bool>,
) -> QueryResult<()> {
    let is_behind = until > after;
    let first = (after, until.filter(|_| is_behind));
    // Without `until` what is behind `after` is all.
    let second = until
        .filter(|_| !is_behind)
        .map(|until| (None, Some(until)));
    for (after, up_to) in iter::once(first).chain(second) {
        let mut last = after.map(str::to_owned);
        while let Some(found) = next(conn, last.as_deref())? {
            let is_beyond = up_to.is_some_and(|up_to| found.as_str() > up_to);
            if is_beyond {
                break;
            }
            if !visit(conn, &found)? {
                return Ok(());
            }
            last = Some(found);
        }
    }
    Ok(())
}

/// Adds those of `again`, one of a client and origin, that a job waits for.
fn add_waiting(
    conn: &mut Conn,
    again: &[(Receiver, String)],
    room: &mut CheckRoom,
    found: &mut Vec<Unchecked>,
) -> QueryResult<()> {
    let mut asked = HashSet::new();
    let mut by_origin: HashMap<&str, Vec<Receiver>> = HashMap::new();
    for (of, url) in again {
        if asked.contains(of) {
            continue;
        }
        let Some(client) = waiting(&of.origin, Some(url))
            .select(speeches::client)
            .first::<String>(conn)
            .optional()?
        else {
            continue;
        };
        let mut receiver = Some(Receiver {
            client: client.into(),
            origin: Arc::clone(&of.origin),
        });
        receiver = receiver.filter(|oldest| room.of_held(oldest) > 0);
        if receiver.is_none() {
            // Another client's job may wait for it too.
            let others = match by_origin.entry(&of.origin) {
                Entry::Occupied(others) => others.into_mut(),
                Entry::Vacant(others) => others.insert(waiting_at(conn, &of.origin)?),
            };
            for other in others.iter().filter(|other| room.of_held(other) > 0) {
                if is_waiting(conn, other, Some(url))? {
                    receiver = Some(other.clone());
                    break;
                }
            }
        }
        if let Some(receiver) = receiver {
            room.begin(&receiver);
            asked.insert(of);
            let url = url.clone();
            found.push(Unchecked { receiver, url });
        }
    }
    Ok(())
}

/// The clients whose jobs wait for checks at this origin.
fn waiting_at(conn: &mut Conn, origin: &Arc<str>) -> QueryResult<Vec<Receiver>> {
    let mut found = Vec::new();
    round(conn, [None; 2], next_checking, |conn, client| {
        let receiver = Receiver {
            client: client.into(),
            origin: Arc::clone(origin),
        };
        if is_waiting(conn, &receiver, None)? {
            found.push(receiver);
        }
        Ok(true)
    })?;
    Ok(found)
}

/// Whether a job of this client waits for the check of this URL, or of any URL there.
pub(super) fn is_waiting(
    conn: &mut Conn,
    receiver: &Receiver,
    url: Option<&str>,
) -> QueryResult<bool> {
    let waiting = speeches::table
        .select(speeches::id)
        .filter(Condition("status = 'checking'"))
        .filter(speeches::client.eq(&*receiver.client))
        .filter(speeches::callback_origin.eq(&*receiver.origin))
        .into_boxed();
    let waiting = match url {
        Some(url) => waiting.filter(speeches::callback_target.eq(url)),
        None => waiting,
    };
    let found: Option<Id> = waiting.first(conn).optional()?;
    Ok(found.is_some())
}

fn unchecked_at(
    conn: &mut Conn,
    receiver: &Receiver,
    running: &HashSet<String>,
    room: &mut CheckRoom,
    found: &mut Vec<Unchecked>,
) -> QueryResult<()> {
    let mut last = String::new();
    while room.of(receiver) > 0 {
        let next: Option<Option<String>> = speeches::table
            .select(speeches::callback_target)
            .filter(Condition("status = 'checking'"))
            .filter(speeches::client.eq(&*receiver.client))
            .filter(speeches::callback_origin.eq(&*receiver.origin))
            .filter(speeches::callback_target.gt(&last))
            .order(speeches::callback_target)
            .first(conn)
            .optional()?;
        let Some(url) = next.flatten() else { break };
        last.clone_from(&url);
        // Another client's job may wait for it too.
        let is_found = || found.iter().any(|one| one.url == url);
        if !running.contains(&url) && !is_found() {
            room.begin(receiver);
            let receiver = receiver.clone();
            found.push(Unchecked { receiver, url });
        }
    }
    Ok(())
}

/// The next client that has jobs which wait for a check. The first may have no name.
fn next_checking(conn: &mut Conn, after: Option<&str>) -> QueryResult<Option<String>> {
    let checking = speeches::table
        .select(speeches::client)
        .filter(Condition("status = 'checking'"))
        .order(speeches::client)
        .into_boxed();
    let behind = match after {
        Some(after) => checking.filter(speeches::client.gt(after)),
        None => checking,
    };
    behind.first(conn).optional()
}

/// The next origin that jobs of this client wait for.
fn next_checking_of(
    conn: &mut Conn,
    client: &str,
    after: Option<&str>,
) -> QueryResult<Option<String>> {
    let found: Option<Option<String>> = speeches::table
        .select(speeches::callback_origin)
        .filter(Condition("status = 'checking'"))
        .filter(speeches::client.eq(client))
        .filter(speeches::callback_origin.gt(after.unwrap_or_default()))
        .order(speeches::callback_origin)
        .first(conn)
        .optional()?;
    Ok(found.flatten())
}

/// What the jobs that wait for this `callback_target` send to it; `None` if none does.
///
/// # Errors
/// What the database says.
pub fn headers_of_check(conn: &mut Conn, target: &str) -> QueryResult<Option<CallbackHeaders>> {
    let row: Option<Row> = speeches::table
        .select(Row::as_select())
        .filter(Condition("status = 'checking'"))
        .filter(speeches::callback_origin.eq(deliveries::origin_of(target)))
        .filter(speeches::callback_target.eq(target))
        .first(conn)
        .optional()?;
    Ok(row.map(|row| row.request().unwrap_or_default().callback_headers))
}

/// Applies a verdict to the jobs that wait for `url`, at most 200 a commit;
/// `true` means that there may be more.
///
/// # Errors
/// What the database says.
pub fn settle_check(tx: &mut Tx<'_>, url: &str, verdict: &Verdict) -> QueryResult<bool> {
    const MOST: usize = 200;
    let rows: Vec<Row> = speeches::table
        .select(Row::as_select())
        .filter(Condition("status = 'checking'"))
        .filter(speeches::callback_origin.eq(deliveries::origin_of(url)))
        .filter(speeches::callback_target.eq(url))
        .order(speeches::created_at)
        .limit(200)
        .load(tx.conn)?;
    for row in &rows {
        match verdict {
            Verdict::Open => open(tx, row)?,
            Verdict::Closed { check, failure } => close(tx, row, *check, failure)?,
        }
    }
    Ok(rows.len() == MOST)
}

fn close(tx: &mut Tx<'_>, row: &Row, check: CheckState, failure: &Failure) -> QueryResult<()> {
    update(
        tx.conn,
        speeches::table,
        row.id,
        speeches::callback_check.eq(check.as_str()),
    )?;
    let row = Row {
        callback_check: check.as_str().to_owned(),
        ..row.clone()
    };
    end_failed(tx, &row, failure, "CallbackDispatcher").map(drop)
}

fn open(tx: &mut Tx<'_>, row: &Row) -> QueryResult<()> {
    let Some(status) = job::next(row.status(), Step::Open) else {
        return Ok(());
    };
    update(
        tx.conn,
        speeches::table,
        row.id,
        (
            speeches::status.eq(status.as_str()),
            speeches::callback_check.eq(CheckState::Open.as_str()),
        ),
    )?;
    operations::moved(
        tx,
        row,
        status,
        "the callback URL is open",
        "CallbackDispatcher",
    )
}

/// Fails the jobs whose callback URL could not be checked for `hold_ms`, at most
/// 200 of an origin or a URL a commit. A job is held since it came, or since the
/// first probe failed of what it is held with, whichever was later: nothing fails
/// that was never asked.
///
/// # Errors
/// What the database says.
pub fn expire_held(
    tx: &mut Tx<'_>,
    held: &[(Scope, Millis)],
    hold_ms: i64,
) -> QueryResult<ExpiredHolds> {
    let mut expired = ExpiredHolds::default();
    for (scope, since) in held {
        let at = if since + hold_ms > tx.now {
            Some(since + hold_ms)
        } else {
            expire_held_in(tx, scope, hold_ms)?
        };
        match at {
            Some(at) => expired.next_at = Some(expired.next_at.map_or(at, |next| next.min(at))),
            None => expired.unwanted.push(scope.clone()),
        }
    }
    Ok(expired)
}

fn expire_held_in(tx: &mut Tx<'_>, scope: &Scope, hold_ms: i64) -> QueryResult<Option<Millis>> {
    let failure = Failure::transient(
        "callback_unreachable",
        "The callback_url could not be reached for as long as the job was held, so nothing was spoken for it.",
    );
    let (origin, url) = match scope {
        Scope::Origin(origin) => (origin.clone(), None),
        Scope::Url(url) => (deliveries::origin_of(url), Some(url.as_str())),
    };
    let held = waiting(&origin, url)
        .select(Row::as_select())
        .filter(speeches::created_at.le(tx.now - hold_ms))
        .limit(200);
    let held: Vec<Row> = held.load(tx.conn)?;
    for row in &held {
        close(tx, row, CheckState::Unreachable, &failure)?;
    }
    let next = first_waiting(tx.conn, &origin, url)?;
    Ok(next.map(|created_at| created_at + hold_ms))
}

/// The jobs that wait for the check of this URL, or of any URL of this origin.
fn waiting<'a>(origin: &'a str, url: Option<&'a str>) -> speeches::BoxedQuery<'a, Sqlite> {
    let of_origin = speeches::table
        .filter(Condition("status = 'checking'"))
        .filter(speeches::callback_origin.eq(origin))
        .into_boxed();
    match url {
        Some(url) => of_origin.filter(speeches::callback_target.eq(url)),
        None => of_origin,
    }
}

/// When the oldest job came that waits for the check of this URL, or of any URL of
/// this origin.
fn first_waiting(conn: &mut Conn, origin: &str, url: Option<&str>) -> QueryResult<Option<Millis>> {
    waiting(origin, url)
        .select(diesel::dsl::min(speeches::created_at))
        .first(conn)
}
