//! The Backend service's verbs: one verb is one transaction.
//!
//! Every change of a status asks [`task::next`] first, so a repeat, a late
//! answer or a forged order of events changes nothing.

use diesel::prelude::*;
use hoiam_api::create::Prepared;
use hoiam_api::{Create, DeliveryType, Failure, Recording, Speech, SpeechStatus, TaskStatus};
use hoiam_supervision::clock::Millis;
use hoiam_text::SaturatingFrom as _;
use uuid::Uuid;

use super::erasures;
use super::task::{self, Action, Step};
use crate::config::FETCH_WINDOW_S;
use crate::db::list::{Cursor, Filter, Index, Listed, PageIds};
use crate::db::schema::{events, tasks};
use crate::db::{self, Amount, ByClient, Condition, Conn, Id, NewEvent, Tx, update};
use crate::delivery::store as deliveries;
use crate::retention::store::Subjects;

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

/// A row of `tasks` without its long columns.
#[derive(Debug, Clone, Queryable, Selectable)]
#[diesel(table_name = tasks, check_for_backend(diesel::sqlite::Sqlite))]
#[expect(missing_docs, reason = "the migration documents the columns")]
pub struct Row {
    pub id: Id,
    pub status: String,
    pub fingerprint: Vec<u8>,
    pub reference: Option<String>,
    pub request: String,
    pub resolved_voice: Option<String>,
    pub language: Option<String>,
    pub characters: i32,
    pub text_bytes: i64,
    pub callback_url: Option<String>,
    pub report_to: String,
    pub created_at: Millis,
    pub deadline_at: Millis,
    pub pull_at: Millis,
    pub started_at: Option<Millis>,
    pub ended_at: Option<Millis>,
    pub action: Option<String>,
    pub action_due_at: Option<Millis>,
    pub action_until: Option<Millis>,
    pub action_attempt: i32,
    pub hand_overs: i32,
    pub error: Option<String>,
    pub result: Option<String>,
    pub retry_of: Option<Id>,
    pub retried_as: Option<Id>,
    pub file: Option<String>,
    pub audio: Option<String>,
    pub client: String,
}

impl Row {
    /// The status as a value; a word that this version does not know counts
    /// as failed, so that nothing touches the row.
    #[must_use]
    pub fn status(&self) -> TaskStatus {
        TaskStatus::parse(&self.status).unwrap_or(TaskStatus::Failed)
    }

    /// What was asked for, without the text.
    #[must_use]
    pub fn request(&self) -> Option<Create> {
        serde_json::from_str(&self.request).ok()
    }

    /// The audio in our own files, without links.
    #[must_use]
    pub fn recording(&self) -> Option<Recording> {
        self.audio
            .as_deref()
            .and_then(|json| serde_json::from_str(json).ok())
    }

    /// The audio that is to be fetched.
    #[must_use]
    pub fn result(&self) -> Option<Recording> {
        self.result
            .as_deref()
            .and_then(|json| serde_json::from_str(json).ok())
    }

    /// The action it owes.
    #[must_use]
    pub fn action(&self) -> Option<Action> {
        self.action.as_deref().and_then(Action::parse)
    }
}

/// A task as the edge has checked it.
#[derive(Debug, Clone)]
pub struct New {
    /// Chosen by the caller or by us.
    pub id: Uuid,
    /// Whose it is: the name of an API key.
    pub client: String,
    /// Scope and key of an `Idempotency-Key`.
    pub idempotency_key: Option<String>,
    /// What was asked for.
    pub request: Prepared,
    /// The callback URL that the hand-over carries.
    pub report_to: String,
    /// The task that this one repeats.
    pub retry_of: Option<Uuid>,
}

/// What came of a creation.
pub type Accepted = db::Accepted<Row>;

/// Accepts a task: the commit behind the 202. It owes a hand-over.
///
/// # Errors
/// What the database says.
pub fn submit(tx: &mut Tx<'_>, new: &New) -> QueryResult<Accepted> {
    let mut row = first_row(new, tx.now);
    if erasures::is_owed(tx.conn, new.id)? {
        row.action_due_at = None;
    }
    let inserted = diesel::insert_into(tasks::table)
        .values((
            (
                tasks::id.eq(row.id),
                tasks::status.eq(&row.status),
                tasks::idempotency_key.eq(&new.idempotency_key),
                tasks::fingerprint.eq(&row.fingerprint),
                tasks::reference.eq(&row.reference),
                tasks::request.eq(&row.request),
                tasks::language.eq(&row.language),
                tasks::characters.eq(row.characters),
                tasks::text_bytes.eq(row.text_bytes),
                tasks::callback_url.eq(&row.callback_url),
            ),
            tasks::report_to.eq(&row.report_to),
            tasks::created_at.eq(row.created_at),
            tasks::deadline_at.eq(row.deadline_at),
            tasks::pull_at.eq(row.pull_at),
            tasks::action.eq(&row.action),
            tasks::action_due_at.eq(row.action_due_at),
            tasks::action_until.eq(row.action_until),
            tasks::retry_of.eq(row.retry_of),
            tasks::client.eq(&row.client),
            tasks::text.eq(&new.request.source),
        ))
        .on_conflict_do_nothing()
        .execute(tx.conn)?;
    if inserted == 0 {
        return Ok(match earlier(tx.conn, new)? {
            Some(earlier) if earlier.fingerprint == row.fingerprint => {
                Accepted::Repeated(Box::new(earlier))
            }
            _ => Accepted::Conflict,
        });
    }
    if let Some(original) = new.retry_of {
        update(
            tx.conn,
            tasks::table,
            Id(original),
            tasks::retried_as.eq(Some(row.id)),
        )?;
    }
    tx.load(&row.client, 1, row.text_bytes);
    tx.event(&NewEvent {
        subject: new.id,
        to: Some(&row.status),
        reason: Some("accepted"),
        by: "api",
        ..NewEvent::default()
    })?;
    Ok(Accepted::New(Box::new(row)))
}

/// The row of a new task.
fn first_row(new: &New, now: Millis) -> Row {
    let Prepared {
        create,
        fingerprint,
        json,
        source,
        characters,
    } = &new.request;
    let timeout_ms = i64::from(create.timeout_s) * 1000;
    let deadline_at = now + timeout_ms;
    Row {
        id: Id(new.id),
        status: TaskStatus::Queued.as_str().to_owned(),
        fingerprint: fingerprint.clone(),
        reference: create.reference.clone(),
        request: json.clone(),
        resolved_voice: None,
        language: create.language.clone(),
        characters: i32::saturating_from(*characters),
        text_bytes: i64::saturating_from(source.len()),
        callback_url: create.callback_url.clone(),
        report_to: new.report_to.clone(),
        created_at: now,
        deadline_at,
        pull_at: deadline_at - PULL_BEFORE_MS.min(timeout_ms / 10),
        started_at: None,
        ended_at: None,
        action: Some(Action::HandOver.as_str().to_owned()),
        action_due_at: Some(now),
        action_until: Some(deadline_at),
        action_attempt: 0,
        hand_overs: 0,
        error: None,
        result: None,
        retry_of: new.retry_of.map(Id),
        retried_as: None,
        file: None,
        audio: None,
        client: new.client.clone(),
    }
}

fn earlier(conn: &mut Conn, new: &New) -> QueryResult<Option<Row>> {
    if let Some(row) = get(conn, new.id)? {
        return Ok(Some(row));
    }
    let Some(key) = &new.idempotency_key else {
        return Ok(None);
    };
    tasks::table
        .filter(tasks::idempotency_key.is_not_null())
        .filter(tasks::idempotency_key.eq(key))
        .select(Row::as_select())
        .first(conn)
        .optional()
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
    state_event(tx, &row, status, "handed over", "Backend")
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

fn owe(action: Action, due_at: Option<Millis>, until: Millis) -> ActionColumns {
    (
        tasks::action.eq(Some(action.as_str())),
        tasks::action_due_at.eq(due_at),
        tasks::action_until.eq(Some(until)),
        tasks::action_attempt.eq(0),
    )
}

/// The speech is to be called off: at once, or as soon as the old speech of the id
/// is gone, if the task waits for that.
fn owe_abandon(row: &Row, now: Millis) -> ActionColumns {
    let waits = row.action.is_some() && row.action_due_at.is_none();
    let due_at = (!waits).then_some(now);
    owe(Action::Abandon, due_at, now + ABANDON_WINDOW_MS)
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
            owe(Action::Fetch, Some(tx.now), tx.now + FETCH_WINDOW_MS),
        ),
    )?;
    let reason = if status == TaskStatus::TimedOut {
        "a result came late"
    } else {
        "the result is known"
    };
    state_event(tx, row, status, reason, by)
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
    state_event(tx, &row, status, reason, "Backend")?;
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
    state_event(tx, row, status, reason, by)
}

fn tell(tx: &mut Tx<'_>, row: &Row, kind: DeliveryType) -> QueryResult<()> {
    if let Some(url) = &row.callback_url {
        deliveries::owe(tx, row.id.0, &row.client, kind, url)?;
    }
    Ok(())
}

fn state_event(
    tx: &mut Tx<'_>,
    row: &Row,
    to: TaskStatus,
    reason: &str,
    by: &'static str,
) -> QueryResult<()> {
    tx.event(&NewEvent {
        subject: row.id.0,
        from: Some(&row.status),
        to: Some(to.as_str()),
        reason: Some(reason),
        by,
        ..NewEvent::default()
    })
}

const OPEN: &str = "status IN ('queued', 'in_progress')";

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
                owe_abandon(row, tx.now),
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

/// What came of asking for a cancel or an erasure.
pub type Ended = db::Ended<Row>;

/// Calls a task off.
///
/// # Errors
/// What the database says.
pub fn cancel(tx: &mut Tx<'_>, id: Uuid) -> QueryResult<Ended> {
    let Some(row) = get(tx.conn, id)? else {
        return Ok(Ended::Unknown);
    };
    if row.status() == TaskStatus::Canceled {
        return Ok(Ended::Done(Box::new(row)));
    }
    let Some(status) = task::next(row.status(), Step::Cancel) else {
        return Ok(Ended::Refused(Box::new(row)));
    };
    // A hand-over may be on its way at this moment without a trace in the
    // row, so everything whose result is not known owes an abandon; for a
    // speech that was never made, the answer is 404 and costs nothing.
    let action = if row.status() == TaskStatus::Fetching {
        no_action()
    } else {
        owe_abandon(&row, tx.now)
    };
    let after: Row = diesel::update(tasks::table.find(row.id))
        .set((
            tasks::status.eq(status.as_str()),
            tasks::ended_at.eq(Some(tx.now)),
            action,
        ))
        .returning(Row::as_returning())
        .get_result(tx.conn)?;
    ended(
        tx,
        &row,
        status,
        "asked for",
        "api",
        DeliveryType::TaskCanceled,
    )?;
    Ok(Ended::Done(Box::new(after)))
}

/// Forgets an ended task: row, events and deliveries; its speech is to be
/// erased too. The caller deletes the file that the answer names.
///
/// # Errors
/// What the database says.
pub fn erase(tx: &mut Tx<'_>, id: Uuid) -> QueryResult<Ended> {
    forget(tx, id, true)
}

fn forget(tx: &mut Tx<'_>, id: Uuid, asked: bool) -> QueryResult<Ended> {
    let Some(row) = get(tx.conn, id)? else {
        return Ok(Ended::Unknown);
    };
    if !row.status().is_ended() {
        return Ok(Ended::Refused(Box::new(row)));
    }
    deliveries::erase_of(tx, id)?;
    tx.erase_events(id)?;
    diesel::delete(tasks::table.find(Id(id))).execute(tx.conn)?;
    // Also where no hand-over is known of: one may have been on its way.
    erasures::owe(tx, id, asked)?;
    Ok(Ended::Done(Box::new(row)))
}

/// Tasks, as retention sees them.
pub const RETAINED: Subjects = Subjects {
    table: "tasks",
    settled: "action IS NULL AND NOT EXISTS (SELECT 1 FROM deliveries \
              WHERE subject_id = tasks.id AND deliveries.status = 'pending')",
    erase: |tx, id| forget(tx, id, false).map(drop),
};

/// Each client's open tasks and their bytes, counted once at start.
///
/// # Errors
/// What the database says.
pub fn open_load(conn: &mut Conn) -> QueryResult<ByClient> {
    // One look for each index that holds open tasks: however many have ended,
    // a start does not read them. A task that is fetching owes its fetch.
    let mut load = ByClient::default();
    for condition in [OPEN, "action = 'fetch' AND status = 'fetching'"] {
        let open: Vec<(String, i64)> = tasks::table
            .filter(Condition(condition))
            .select((tasks::client, tasks::text_bytes))
            .load(conn)?;
        for (client, bytes) in open {
            load.add(&client, Amount { jobs: 1, bytes });
        }
    }
    Ok(load)
}

/// One task.
///
/// # Errors
/// What the database says.
pub fn get(conn: &mut Conn, id: Uuid) -> QueryResult<Option<Row>> {
    tasks::table
        .find(Id(id))
        .select(Row::as_select())
        .first(conn)
        .optional()
}

/// The task that news from the TTS service is about. While the speech of an
/// erased task may still be there, news of its id are of that one, and not of a
/// new task with the same id.
fn current(conn: &mut Conn, id: Uuid) -> QueryResult<Option<Row>> {
    tasks::table
        .find(Id(id))
        .filter(erasures::NONE_OWED)
        .select(Row::as_select())
        .first(conn)
        .optional()
}

/// How lists of tasks are read.
pub const LISTED: Listed = Listed {
    table: "tasks",
    by_age: Index::all("tasks_by_age"),
    by_client: Index::all("tasks_by_client"),
    by_status: Index {
        name: "tasks_by_status",
        condition: "status <> 'completed'",
    },
    common_status: "completed",
    by_column: &[
        (
            "reference",
            Index {
                name: "tasks_by_reference",
                condition: "reference IS NOT NULL",
            },
        ),
        (
            "error_code",
            Index {
                name: "tasks_by_error",
                condition: "error_code IS NOT NULL",
            },
        ),
    ],
    by_end: &[
        Index {
            name: "tasks_files_by_end",
            condition: "file IS NOT NULL",
        },
        Index {
            name: "tasks_bare_by_end",
            condition: "file IS NULL AND ended_at IS NOT NULL",
        },
    ],
};

/// One page, newest first, and where the next one starts.
///
/// # Errors
/// What the database says.
pub fn list(conn: &mut Conn, filter: &Filter) -> QueryResult<(Vec<Row>, Option<Cursor>)> {
    let PageIds { ids, next } = LISTED.find(conn, filter)?;
    let rows = tasks::table
        .filter(tasks::id.eq_any(ids))
        .order((tasks::created_at.desc(), tasks::id.desc()))
        .select(Row::as_select())
        .load(conn)?;
    Ok((rows, next))
}

/// The text and the word times.
///
/// # Errors
/// What the database says.
pub fn text_and_words(conn: &mut Conn, id: Uuid) -> QueryResult<Option<(String, Option<String>)>> {
    tasks::table
        .find(Id(id))
        .select((tasks::text, tasks::words))
        .first(conn)
        .optional()
}

/// The word times.
///
/// # Errors
/// What the database says.
pub fn words(conn: &mut Conn, id: Uuid) -> QueryResult<Option<Option<String>>> {
    let row = tasks::table.find(Id(id)).select(tasks::words);
    row.first(conn).optional()
}

#[cfg(test)]
mod tests;
