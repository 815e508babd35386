//! The Backend service's operations: one operation is one transaction.
//!
//! Every change of a status asks [`task::next`] first, so a repeat, a late
//! answer or a forged order of events changes nothing.

mod row;

use diesel::prelude::*;
use hoiam_api::{DeliveryType, Failure, Recording, Speech, SpeechStatus, TaskStatus};
use hoiam_supervision::clock::Millis;
use uuid::Uuid;

use super::erasures;
use super::task::{self, Action, Step};
use crate::config::FETCH_WINDOW_S;
use crate::db::schema::{events, tasks};
use crate::db::{Condition, Conn, Id, NewEvent, Tx, update};
use crate::delivery::store as deliveries;
use crate::resource::operations::{self, Accepted, Ended};
use crate::resource::row::{ResourceRow as _, TableRow as _};
use crate::retention::store::Subjects;
use row::OPEN;
pub use row::{New, NewTask, Row};

/// How long a fetch is tried again: one hour.
pub const FETCH_WINDOW_MS: i64 = FETCH_WINDOW_S.cast_signed() * 1000;
/// How long an abandon is tried again: one day.
pub const ABANDON_WINDOW_MS: i64 = 86_400_000;
/// How long a fetch waits for our own disk before it looks again.
const DISK_PAUSE_MS: i64 = 10_000;
/// What the history says of that wait: always the same, so that one wait is one
/// event.
const WAITS_FOR_DISK: &str = "it waits for our own disk";
/// The pull comes this long before the deadline, or a tenth of the time-out.
const PULL_BEFORE_MS: i64 = 10_000;

/// Accepts a task: the commit behind the 202. It owes a hand-over.
///
/// # Errors
/// What the database says.
pub fn submit(tx: &mut Tx<'_>, new: &New) -> QueryResult<Accepted<Row>> {
    let mut row = first_row(new, tx.now);
    if erasures::is_pending(tx.conn, new.id)? {
        row.action_due_at = None;
    }
    let id = row.id;
    let accepted = operations::accept(tx, new, row)?;
    if let (Accepted::New(_), Some(original)) = (&accepted, new.extra.retry_of) {
        let retried_as = tasks::retried_as.eq(Some(id));
        update(tx.conn, tasks::table, Id(original), retried_as)?;
    }
    Ok(accepted)
}

/// The row of a new task.
fn first_row(new: &New, now: Millis) -> Row {
    let create = &new.request.create;
    let timeout_ms = i64::from(create.timeout_s) * 1000;
    let row = Row::of_request(new, now);
    Row {
        status: TaskStatus::Queued.as_str().to_owned(),
        language: create.language.clone(),
        report_to: new.extra.report_to.clone(),
        pull_at: row.deadline_at - PULL_BEFORE_MS.min(timeout_ms / 10),
        action: Some(Action::HandOver.as_str().to_owned()),
        action_due_at: Some(now),
        action_until: Some(row.deadline_at),
        retry_of: new.extra.retry_of.map(Id),
        ..row
    }
}

/// Since when the oldest deadline is over, of those that are still to be kept.
///
/// # Errors
/// What the database says.
pub fn oldest_deadline(conn: &mut Conn, now: Millis) -> QueryResult<Option<Millis>> {
    tasks::table
        .select(tasks::deadline_at)
        .filter(Condition(OPEN))
        .filter(tasks::deadline_at.le(now))
        .order(tasks::deadline_at)
        .first(conn)
        .optional()
}

/// The TTS service has accepted the hand-over.
///
/// # Errors
/// What the database says.
pub fn accepted(tx: &mut Tx<'_>, id: Uuid, speech: &Speech) -> QueryResult<()> {
    let Some(row) = current(tx.conn, id)? else {
        return Ok(());
    };
    count_hand_over(tx, &row)?;
    let Some(status) = task::next(row.status(), Step::Accepted) else {
        return Ok(());
    };
    update(
        tx.conn,
        tasks::table,
        row.id,
        (
            tasks::status.eq(status.as_str()),
            tasks::started_at.eq(Some(tx.now)),
            tasks::resolved_voice.eq(&speech.resolved_voice),
            tasks::language.eq(speech.language.as_ref().or(row.language.as_ref())),
            no_action(),
        ),
    )?;
    operations::moved(tx, &row, status, "handed over", "Backend")
}

/// A hand-over was tried: what `attempt` shows, and what decides whether a
/// cancel owes an abandon.
fn count_hand_over(tx: &mut Tx<'_>, row: &Row) -> QueryResult<()> {
    update(
        tx.conn,
        tasks::table,
        row.id,
        tasks::hand_overs.eq(row.hand_overs + 1),
    )
    .map(drop)
}

/// The columns of an action, set together.
type ActionColumns = (
    diesel::dsl::Eq<tasks::action, Option<&'static str>>,
    diesel::dsl::Eq<tasks::action_due_at, Option<Millis>>,
    diesel::dsl::Eq<tasks::action_until, Option<Millis>>,
    diesel::dsl::Eq<tasks::action_attempt, i32>,
);

fn no_action() -> ActionColumns {
    (
        tasks::action.eq(None::<&'static str>),
        tasks::action_due_at.eq(None::<Millis>),
        tasks::action_until.eq(None::<Millis>),
        tasks::action_attempt.eq(0),
    )
}

fn schedule(action: Action, due_at: Option<Millis>, until: Millis) -> ActionColumns {
    (
        tasks::action.eq(Some(action.as_str())),
        tasks::action_due_at.eq(due_at),
        tasks::action_until.eq(Some(until)),
        tasks::action_attempt.eq(0),
    )
}

/// The speech is to be called off: at once, or as soon as the old speech of the id
/// is gone, if the task waits for that.
fn schedule_abandon(row: &Row, now: Millis) -> ActionColumns {
    let waits = row.action.is_some() && row.action_due_at.is_none();
    let due_at = (!waits).then_some(now);
    schedule(Action::Abandon, due_at, now + ABANDON_WINDOW_MS)
}

/// What the TTS service says of a speech, by whatever way it came: callback,
/// pull, or the answer to a hand-over. Returns whether the task exists.
///
/// # Errors
/// What the database says.
pub fn result_known(tx: &mut Tx<'_>, speech: &Speech, by: &'static str) -> QueryResult<bool> {
    let Some(row) = current(tx.conn, speech.id)? else {
        return Ok(false);
    };
    match speech.status {
        SpeechStatus::Completed => completed_there(tx, &row, speech, by)?,
        SpeechStatus::Failed => {
            let failure = speech.error.clone().unwrap_or_else(|| {
                Failure::transient("speech_failed", "The TTS service gave no reason.")
            });
            // The speech has the task's own time. Where that is over it is the watchdog
            // that ends the task, however late it is itself.
            let is_timed_out = failure.code == "deadline_exceeded" && row.deadline_at <= tx.now;
            if !is_timed_out {
                end_failed(tx, &row, &failure, by)?;
            }
        }
        SpeechStatus::Canceled => {
            let failure =
                Failure::transient("speech_canceled", "It was canceled at the TTS service.");
            end_failed(tx, &row, &failure, by)?;
        }
        SpeechStatus::Checking | SpeechStatus::Queued | SpeechStatus::Synthesizing => {}
    }
    Ok(true)
}

fn completed_there(
    tx: &mut Tx<'_>,
    row: &Row,
    speech: &Speech,
    by: &'static str,
) -> QueryResult<()> {
    let Some(audio) = speech.audio.clone() else {
        return Ok(());
    };
    let recording = Recording {
        audio,
        segments: speech.segments.clone().unwrap_or_default(),
        warnings: speech.warnings.clone().unwrap_or_default(),
        cached: speech.cached.unwrap_or_default(),
        cache_key: None,
    };
    // A late result is kept once, and its fetch is not started twice.
    let late_known = row.status() == TaskStatus::TimedOut && row.result.is_some();
    let Some(status) = task::next(row.status(), Step::ResultKnown).filter(|_| !late_known) else {
        return Ok(());
    };
    update(
        tx.conn,
        tasks::table,
        row.id,
        (
            tasks::status.eq(status.as_str()),
            tasks::started_at.eq(row.started_at.or(Some(tx.now))),
            tasks::resolved_voice.eq(speech
                .resolved_voice
                .as_ref()
                .or(row.resolved_voice.as_ref())),
            tasks::language.eq(speech.language.as_ref().or(row.language.as_ref())),
            tasks::result.eq(serde_json::to_string(&recording).ok()),
            schedule(Action::Fetch, Some(tx.now), tx.now + FETCH_WINDOW_MS),
        ),
    )?;
    let reason = if status == TaskStatus::TimedOut {
        "a result came late"
    } else {
        "the result is known"
    };
    operations::moved(tx, row, status, reason, by)
}

/// What a fetch brought home.
#[derive(Debug, Clone)]
pub struct Fetched {
    /// The file store's key.
    pub file: String,
    /// JSON of the word times.
    pub words: String,
}

/// The files are here: the task is completed, or its late result is kept.
///
/// # Errors
/// What the database says.
pub fn fetched(tx: &mut Tx<'_>, id: Uuid, fetched: &Fetched) -> QueryResult<bool> {
    let Some(row) = current(tx.conn, id)? else {
        return Ok(false);
    };
    let late = row.status() == TaskStatus::TimedOut && row.file.is_none();
    let Some(status) =
        task::next(row.status(), Step::Fetched).or(late.then_some(TaskStatus::TimedOut))
    else {
        return Ok(false);
    };
    update(
        tx.conn,
        tasks::table,
        row.id,
        (
            tasks::status.eq(status.as_str()),
            tasks::ended_at.eq(row.ended_at.or(Some(tx.now))),
            tasks::file.eq(Some(&fetched.file)),
            tasks::audio.eq(&row.result),
            tasks::words.eq(Some(&fetched.words)),
            no_action(),
        ),
    )?;
    let (reason, kind) = if late {
        ("the late result is kept", DeliveryType::TaskLateResult)
    } else {
        tx.load(&row.client, -1, -row.text_bytes);
        ("fetched", DeliveryType::TaskCompleted)
    };
    tell(tx, &row, kind)?;
    operations::moved(tx, &row, status, reason, "Backend")?;
    Ok(true)
}

/// An action's try has failed and may be made again at `due_at`.
///
/// # Errors
/// What the database says.
pub fn action_failed(
    tx: &mut Tx<'_>,
    id: Uuid,
    action: Action,
    reason: &str,
    not_before: Option<Millis>,
) -> QueryResult<()> {
    let Some(row) = current(tx.conn, id)? else {
        return Ok(());
    };
    if action == Action::HandOver {
        count_hand_over(tx, &row)?;
    }
    if row.action() != Some(action) {
        return Ok(());
    }
    let attempt = row.action_attempt + 1;
    let due_at = (tx.now + task::retry_delay_ms(attempt)).max(not_before.unwrap_or(0));
    if action != Action::HandOver && row.action_until.is_some_and(|until| due_at > until) {
        return action_exhausted(tx, &row, action, reason);
    }
    update(
        tx.conn,
        tasks::table,
        row.id,
        (
            tasks::action_due_at.eq(Some(due_at)),
            tasks::action_attempt.eq(attempt),
        ),
    )?;
    tx.event(&NewEvent {
        subject: id,
        from: Some(action.as_str()),
        to: Some(action.as_str()),
        reason: Some(reason),
        by: "Backend",
        is_attempt: true,
        ..NewEvent::default()
    })
}

/// Our own disk cannot take the files. That is no attempt, and the window is
/// for the TTS service's trouble: it is counted anew from when that one is asked
/// again, however long the wait was and whether or not we were running. Returns
/// whether the wait begins with this.
///
/// # Errors
/// What the database says.
pub fn fetch_postponed(tx: &mut Tx<'_>, id: Uuid) -> QueryResult<bool> {
    let row = current(tx.conn, id)?.filter(|row| row.action() == Some(Action::Fetch));
    let Some(row) = row else {
        return Ok(false);
    };
    let due_at = tx.now + DISK_PAUSE_MS;
    update(
        tx.conn,
        tasks::table,
        row.id,
        (
            tasks::action_due_at.eq(Some(due_at)),
            tasks::action_until.eq(Some(due_at + FETCH_WINDOW_MS)),
        ),
    )?;
    if newest_reason(tx.conn, row.id)?.as_deref() == Some(WAITS_FOR_DISK) {
        return Ok(false);
    }
    tx.event(&NewEvent {
        subject: id,
        from: Some(Action::Fetch.as_str()),
        to: Some(Action::Fetch.as_str()),
        reason: Some(WAITS_FOR_DISK),
        by: "Backend",
        is_attempt: true,
        ..NewEvent::default()
    })?;
    Ok(true)
}

/// The reason that the newest event of a task gives.
fn newest_reason(conn: &mut Conn, id: Id) -> QueryResult<Option<String>> {
    let reason: Option<Option<String>> = events::table
        .filter(events::subject_id.eq(id))
        .select(events::reason)
        .order(events::id.desc())
        .first(conn)
        .optional()?;
    Ok(reason.flatten())
}

/// The window of an action is over, or a repeat cannot help.
fn action_exhausted(tx: &mut Tx<'_>, row: &Row, action: Action, reason: &str) -> QueryResult<()> {
    if action == Action::Fetch && !row.status().is_ended() {
        let failure = Failure::transient(
            "result_unavailable",
            format!("The text was spoken, but its files could not be fetched: {reason}."),
        );
        return end_failed(tx, row, &failure, "Backend").map(drop);
    }
    drop_action(tx, row, action, reason)
}

fn drop_action(tx: &mut Tx<'_>, row: &Row, action: Action, reason: &str) -> QueryResult<()> {
    update(tx.conn, tasks::table, row.id, no_action())?;
    tx.event(&NewEvent {
        subject: row.id.0,
        from: Some(action.as_str()),
        reason: Some(reason),
        by: "Backend",
        is_attempt: true,
        ..NewEvent::default()
    })
}

/// The files are gone for good over there.
///
/// # Errors
/// What the database says.
pub fn fetch_refused(tx: &mut Tx<'_>, id: Uuid, reason: &str) -> QueryResult<()> {
    let Some(row) = current(tx.conn, id)? else {
        return Ok(());
    };
    if row.action() == Some(Action::Fetch) {
        action_exhausted(tx, &row, Action::Fetch, reason)?;
    }
    Ok(())
}

/// The TTS service knows that nobody waits any more, or never knew of it.
///
/// # Errors
/// What the database says.
pub fn abandoned(tx: &mut Tx<'_>, id: Uuid, reason: &str) -> QueryResult<()> {
    let Some(row) = current(tx.conn, id)? else {
        return Ok(());
    };
    if row.action() == Some(Action::Abandon) {
        drop_action(tx, &row, Action::Abandon, reason)?;
    }
    Ok(())
}

/// The hand-over was refused for good.
///
/// # Errors
/// What the database says.
pub fn refused(tx: &mut Tx<'_>, id: Uuid, failure: &Failure) -> QueryResult<()> {
    let Some(row) = current(tx.conn, id)? else {
        return Ok(());
    };
    count_hand_over(tx, &row)?;
    end_failed(tx, &row, failure, "Backend").map(drop)
}

/// The TTS service does not know speeches that it had accepted.
///
/// # Errors
/// What the database says.
pub fn lost(tx: &mut Tx<'_>, ids: &[Uuid], asked_at: Millis) -> QueryResult<()> {
    let failure = Failure::transient(
        "speech_lost",
        "The TTS service had accepted it and does not know it any more: its data was removed, or backend.tts_url \
         leads to another one. Retry the task.",
    );
    for id in ids {
        let Some(row) = current(tx.conn, *id)? else {
            continue;
        };
        // A task that was handed over only after the question was asked
        // cannot be missed by the answer.
        let handed_over_before = row.started_at.is_some_and(|at| at < asked_at);
        if row.status() == TaskStatus::InProgress && handed_over_before {
            end_failed(tx, &row, &failure, "TimeoutWatchdog")?;
        }
    }
    Ok(())
}

fn end_failed(
    tx: &mut Tx<'_>,
    row: &Row,
    failure: &Failure,
    by: &'static str,
) -> QueryResult<bool> {
    let Some(status) = task::next(row.status(), Step::Fail) else {
        return Ok(false);
    };
    update(
        tx.conn,
        tasks::table,
        row.id,
        (
            tasks::status.eq(status.as_str()),
            tasks::ended_at.eq(Some(tx.now)),
            tasks::error_code.eq(Some(&failure.code)),
            tasks::error.eq(serde_json::to_string(failure).ok()),
            no_action(),
        ),
    )?;
    ended(tx, row, status, &failure.code, by, DeliveryType::TaskFailed)?;
    Ok(true)
}

fn ended(
    tx: &mut Tx<'_>,
    row: &Row,
    status: TaskStatus,
    reason: &str,
    by: &'static str,
    kind: DeliveryType,
) -> QueryResult<()> {
    tx.load(&row.client, -1, -row.text_bytes);
    tell(tx, row, kind)?;
    operations::moved(tx, row, status, reason, by)
}

fn tell(tx: &mut Tx<'_>, row: &Row, kind: DeliveryType) -> QueryResult<()> {
    if let Some(url) = &row.callback_url {
        deliveries::enqueue(tx, row.id.0, &row.client, kind, url)?;
    }
    Ok(())
}

/// What a look at the deadlines has done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TimedOut {
    /// How many tasks have timed out in this commit.
    pub count: usize,
    /// When the next deadline comes.
    pub next_deadline_at: Option<Millis>,
}

/// Times out the open tasks whose deadline has come, at most 500 a commit.
///
/// # Errors
/// What the database says.
pub fn time_out(tx: &mut Tx<'_>) -> QueryResult<TimedOut> {
    const MOST: i64 = 500;
    let rows: Vec<Row> = tasks::table
        .select(Row::as_select())
        .filter(Condition(OPEN))
        .filter(tasks::deadline_at.le(tx.now))
        .order(tasks::deadline_at)
        .limit(MOST)
        .load(tx.conn)?;
    let failure = Failure::transient(
        "timed_out",
        "No result was known when timeout_s was over. A result that still comes is kept as late_result.",
    );
    for row in &rows {
        let Some(status) = task::next(row.status(), Step::TimeOut) else {
            continue;
        };
        update(
            tx.conn,
            tasks::table,
            row.id,
            (
                tasks::status.eq(status.as_str()),
                tasks::ended_at.eq(Some(tx.now)),
                tasks::error_code.eq(Some(&failure.code)),
                tasks::error.eq(serde_json::to_string(&failure).ok()),
                schedule_abandon(row, tx.now),
            ),
        )?;
        ended(
            tx,
            row,
            status,
            "deadline",
            "TimeoutWatchdog",
            DeliveryType::TaskTimedOut,
        )?;
    }
    let next_deadline_at = tasks::table
        .select(tasks::deadline_at)
        .filter(Condition(OPEN))
        .order(tasks::deadline_at)
        .first(tx.conn)
        .optional()?;
    Ok(TimedOut {
        count: rows.len(),
        next_deadline_at,
    })
}

/// Open tasks whose pull is due after `after` and not after `until`, and when
/// the next pull is due.
///
/// # Errors
/// What the database says.
pub fn due_pulls(
    conn: &mut Conn,
    after: Millis,
    until: Millis,
) -> QueryResult<(Vec<Uuid>, Option<Millis>)> {
    let ids: Vec<Id> = tasks::table
        .select(tasks::id)
        .filter(Condition(OPEN))
        .filter(tasks::pull_at.gt(after))
        .filter(tasks::pull_at.le(until))
        .order(tasks::pull_at)
        .load(conn)?;
    let next = tasks::table
        .select(tasks::pull_at)
        .filter(Condition(OPEN))
        .filter(tasks::pull_at.gt(until))
        .order(tasks::pull_at)
        .first(conn)
        .optional()?;
    Ok((ids.into_iter().map(|id| id.0).collect(), next))
}

/// Every task that has been handed over and is open: what a start reconciles.
///
/// # Errors
/// What the database says.
pub fn in_progress(conn: &mut Conn) -> QueryResult<Vec<Uuid>> {
    let ids: Vec<Id> = tasks::table
        .select(tasks::id)
        .filter(Condition(OPEN))
        .filter(tasks::status.eq(TaskStatus::InProgress.as_str()))
        .load(conn)?;
    Ok(ids.into_iter().map(|id| id.0).collect())
}

/// Those of these tasks whose result is not known yet.
///
/// # Errors
/// What the database says.
pub fn open_among(conn: &mut Conn, ids: &[Uuid]) -> QueryResult<Vec<Uuid>> {
    /// Ids a statement: far below what SQLite can bind.
    const A_STATEMENT: usize = 500;
    let mut open = Vec::new();
    for some in ids.chunks(A_STATEMENT) {
        let found: Vec<(Id, String)> = tasks::table
            .filter(tasks::id.eq_any(some.iter().copied().map(Id)))
            .select((tasks::id, tasks::status))
            .load(conn)?;
        let is_open = |status: &str| {
            let status = TaskStatus::parse(status);
            matches!(status, Some(TaskStatus::Queued | TaskStatus::InProgress))
        };
        let found = found.iter().filter(|(_, status)| is_open(status));
        open.extend(found.map(|(id, _)| id.0));
    }
    Ok(open)
}

/// Calls a task off.
///
/// # Errors
/// What the database says.
pub fn cancel(tx: &mut Tx<'_>, id: Uuid) -> QueryResult<Ended<Row>> {
    operations::cancel(tx, id, end_canceled)
}

fn end_canceled(tx: &mut Tx<'_>, row: &Row) -> QueryResult<bool> {
    let Some(status) = task::next(row.status(), Step::Cancel) else {
        return Ok(false);
    };
    // A hand-over may be on its way at this moment without a trace in the
    // row, so everything whose result is not known owes an abandon; for a
    // speech that was never made, the answer is 404 and costs nothing.
    let action = if row.status() == TaskStatus::Fetching {
        no_action()
    } else {
        schedule_abandon(row, tx.now)
    };
    let changes = (
        tasks::status.eq(status.as_str()),
        tasks::ended_at.eq(Some(tx.now)),
        action,
    );
    update(tx.conn, tasks::table, row.id, changes)?;
    let kind = DeliveryType::TaskCanceled;
    ended(tx, row, status, "asked for", "api", kind)?;
    Ok(true)
}

/// Forgets an ended task; its speech is to be erased too.
///
/// # Errors
/// What the database says.
pub fn erase(tx: &mut Tx<'_>, id: Uuid) -> QueryResult<Ended<Row>> {
    forget(tx, id, true)
}

fn forget(tx: &mut Tx<'_>, id: Uuid, asked: bool) -> QueryResult<Ended<Row>> {
    let erased = operations::erase(tx, id)?;
    if let Ended::Done(_) = erased {
        // Also where no hand-over is known of: one may have been on its way.
        erasures::enqueue(tx, id, asked)?;
    }
    Ok(erased)
}

/// Tasks, as retention sees them.
pub const RETAINED: Subjects = Subjects {
    table: "tasks",
    settled: "action IS NULL AND NOT EXISTS (SELECT 1 FROM deliveries \
              WHERE subject_id = tasks.id AND deliveries.status = 'pending')",
    erase: |tx, id| forget(tx, id, false).map(drop),
};

/// The task that news from the TTS service is about. While the speech of an
/// erased task may still be there, news of its id are of that one, and not of a
/// new task with the same id.
fn current(conn: &mut Conn, id: Uuid) -> QueryResult<Option<Row>> {
    tasks::table
        .find(Id(id))
        .filter(erasures::NONE_PENDING)
        .select(Row::as_select())
        .first(conn)
        .optional()
}

#[cfg(test)]
mod tests;
