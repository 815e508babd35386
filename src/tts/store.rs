//! The TTS service's verbs: one verb is one transaction.
//!
//! Every change of a status asks [`job::next`] first, and every write of a
//! worker is fenced by (id, claim, leased_by).

use hoiam_api::create::Prepared;
use hoiam_api::{
    CallbackHeaders, CheckState, Create, DeliveryType, Failure, Recording, SpeechStatus,
};
use hoiam_supervision::clock::Millis;
use hoiam_text::SaturatingFrom as _;

use diesel::prelude::*;
use diesel::sqlite::Sqlite;
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::iter;
use std::sync::Arc;
use uuid::Uuid;

use super::job::{self, LONG_BYTES, Step};
use super::turns::{self, Aged, CLAIMABLE, Key, Turn, Turns, Wish};
use crate::db::list::{Cursor, Filter, Index, Listed, PageIds};
use crate::db::schema::{events, speeches};
use crate::db::{self, Amount, ByClient, Condition, Conn, Id, NewEvent, Tx, update, update_if};
use crate::delivery::check::Verdict;
use crate::delivery::check_queue::{CheckQuery, ExpiredHolds, Round, Unchecked, UncheckedPage};
use crate::delivery::check_room::CheckRoom;
use crate::delivery::held::Scope;
use crate::delivery::shares::Receiver;
use crate::delivery::store as deliveries;
use crate::retention::store::Subjects;

/// How often a job may lose its lease before it is given up.
const MAX_LOST_LEASES: i32 = 10;

/// Origins of one client that a look for unchecked URLs visits at most.
const MOST_ORIGINS: usize = 512;

/// A row of `speeches` without its long columns.
#[derive(Debug, Clone, Queryable, Selectable)]
#[diesel(table_name = speeches, check_for_backend(diesel::sqlite::Sqlite))]
#[expect(missing_docs, reason = "the migration documents the columns")]
pub struct Row {
    pub id: Id,
    pub status: String,
    pub fingerprint: Vec<u8>,
    pub reference: Option<String>,
    pub request: String,
    pub resolved_voice: String,
    pub language: String,
    pub characters: i32,
    pub text_bytes: i64,
    pub callback_url: Option<String>,
    pub callback_check: String,
    pub created_at: Millis,
    pub deadline_at: Millis,
    pub started_at: Option<Millis>,
    pub ended_at: Option<Millis>,
    pub attempt: i32,
    pub claim: i32,
    pub leased_by: Option<Id>,
    pub lost_leases: i32,
    pub error: Option<String>,
    pub file: Option<String>,
    pub audio: Option<String>,
    pub client: String,
}

impl Row {
    /// The status as a value; a word that this version does not know counts
    /// as failed, so that nothing touches the row.
    #[must_use]
    pub fn status(&self) -> SpeechStatus {
        SpeechStatus::parse(&self.status).unwrap_or(SpeechStatus::Failed)
    }

    /// What was asked for, without the text.
    #[must_use]
    pub fn request(&self) -> Option<Create> {
        serde_json::from_str(&self.request).ok()
    }

    /// What is to be spoken, or was, of this text and with these pronunciations
    /// (`tts.pronunciations`). What another version has written and this one cannot
    /// read is spoken with the defaults.
    #[must_use]
    pub fn speech(
        &self,
        text: String,
        configured: &BTreeMap<String, hoiam_text::Said>,
    ) -> hoiam_text::Request {
        let create = self.request().unwrap_or_default().with_source(text);
        create.into_speech(&self.resolved_voice, &self.language, configured)
    }

    /// What it came to, without links.
    #[must_use]
    pub fn recording(&self) -> Option<Recording> {
        self.audio
            .as_deref()
            .and_then(|json| serde_json::from_str(json).ok())
    }
}

/// A speech as the edge has checked and resolved it.
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
    /// `engine/name`.
    pub resolved_voice: String,
    /// BCP 47.
    pub language: String,
    /// `Pending` starts it in checking, everything else in queued.
    pub check: CheckState,
}

/// What came of a creation.
pub type Accepted = db::Accepted<Row>;

/// Accepts a speech: the commit behind the 202.
///
/// # Errors
/// What the database says.
pub fn accept(tx: &mut Tx<'_>, new: &New) -> QueryResult<Accepted> {
    let row = first_row(new, tx.now);
    let create = &new.request.create;
    let checked = row
        .callback_url
        .as_deref()
        .filter(|_| row.status() == SpeechStatus::Checking);
    let target = checked.map(|url| create.callback_headers.target(url));
    let inserted = diesel::insert_into(speeches::table)
        .values((
            (
                speeches::id.eq(row.id),
                speeches::status.eq(&row.status),
                speeches::idempotency_key.eq(&new.idempotency_key),
                speeches::fingerprint.eq(&row.fingerprint),
                speeches::reference.eq(&row.reference),
                speeches::request.eq(&row.request),
                speeches::resolved_voice.eq(&row.resolved_voice),
                speeches::language.eq(&row.language),
                speeches::characters.eq(row.characters),
            ),
            speeches::text_bytes.eq(row.text_bytes),
            speeches::callback_url.eq(&row.callback_url),
            speeches::callback_origin.eq(row.callback_url.as_deref().map(deliveries::origin_of)),
            speeches::callback_target.eq(target),
            speeches::callback_check.eq(&row.callback_check),
            speeches::created_at.eq(row.created_at),
            speeches::deadline_at.eq(row.deadline_at),
            speeches::client.eq(&row.client),
            speeches::is_long.eq(new.request.source.len() >= LONG_BYTES),
            speeches::text.eq(&new.request.source),
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

/// The row of a new speech.
fn first_row(new: &New, now: Millis) -> Row {
    let status = if new.check == CheckState::Pending {
        SpeechStatus::Checking
    } else {
        SpeechStatus::Queued
    };
    let Prepared {
        create,
        fingerprint,
        json,
        source,
        characters,
    } = &new.request;
    Row {
        id: Id(new.id),
        status: status.as_str().to_owned(),
        fingerprint: fingerprint.clone(),
        reference: create.reference.clone(),
        request: json.clone(),
        resolved_voice: new.resolved_voice.clone(),
        language: new.language.clone(),
        characters: i32::saturating_from(*characters),
        text_bytes: i64::saturating_from(source.len()),
        callback_url: create.callback_url.clone(),
        callback_check: new.check.as_str().to_owned(),
        created_at: now,
        deadline_at: now + i64::from(create.timeout_s) * 1000,
        started_at: None,
        ended_at: None,
        attempt: 0,
        claim: 0,
        leased_by: None,
        lost_leases: 0,
        error: None,
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
    speeches::table
        .filter(speeches::idempotency_key.is_not_null())
        .filter(speeches::idempotency_key.eq(key))
        .select(Row::as_select())
        .first(conn)
        .optional()
}

/// How long a job waits when no engine can be opened for it: so long at first …
const FIRST_WAIT_MS: Millis = 5000;
/// … then twice as long as the last time, up to this.
const LONGEST_WAIT_MS: Millis = 5 * 60 * 1000;

/// Queued jobs that have to wait before they may be claimed.
const POSTPONED: &str = "status = 'queued' AND not_before IS NOT NULL";

/// A job that a worker has claimed.
#[derive(Debug, Clone, Queryable, Selectable)]
#[diesel(table_name = speeches, check_for_backend(diesel::sqlite::Sqlite))]
pub struct Job {
    /// The row as claimed. It is the fence of the claim's outcome.
    #[diesel(embed)]
    pub row: Row,
    /// The text.
    pub text: String,
    /// How often it was, whatever the reason.
    pub postponed: i32,
}

impl Aged for Job {
    fn key(&self) -> Key {
        (self.row.created_at, self.row.id)
    }
}

/// What a claim found.
#[derive(Debug, Clone, Default)]
pub struct Claimed {
    /// In the order of their turns.
    pub jobs: Vec<Job>,
    /// Whether there may be more.
    pub more: bool,
    /// How many jobs nobody waited for any more.
    pub expired: usize,
    /// When the next postponed job may be claimed.
    pub next_not_before: Option<Millis>,
}

/// Expires what nobody waits for, then claims the jobs whose turn it is, at most `most`,
/// of those that are not postponed.
///
/// # Errors
/// What the database says.
pub fn claim(tx: &mut Tx<'_>, boot: Uuid, most: usize) -> QueryResult<Claimed> {
    claim_wished(tx, boot, &Wish::any(most))
}

/// The same of some jobs only.
///
/// # Errors
/// What the database says.
pub fn claim_wished(tx: &mut Tx<'_>, boot: Uuid, wish: &Wish) -> QueryResult<Claimed> {
    let expired = match oldest_overdue(tx.conn, tx.now)? {
        Some(_) => end_overdue(tx)?,
        None => 0,
    };
    let next_not_before = end_waits(tx)?;
    let Turns { jobs, more } = turns::take(tx.conn, wish, oldest_short)?;
    let jobs = jobs
        .into_iter()
        .filter_map(|turn| claim_one(tx, turn, boot).transpose())
        .collect::<QueryResult<_>>()?;
    Ok(Claimed {
        jobs,
        more,
        expired,
        next_not_before,
    })
}

/// Lets the postponed jobs be claimed whose time has come, at most 100 a commit, and
/// says when that of the next one comes.
fn end_waits(tx: &mut Tx<'_>) -> QueryResult<Option<Millis>> {
    const MOST: usize = 100;
    let mut first = waits(tx.conn, MOST)?;
    let is_full = first.len() == MOST;
    let due: Vec<Id> = first
        .extract_if(.., |(_, at)| at.is_none_or(|at| at <= tx.now))
        .map(|(id, _)| id)
        .collect();
    for id in due {
        let is_over = speeches::not_before.eq(None::<Millis>);
        update(tx.conn, speeches::table, id, is_over)?;
    }
    if is_full && first.is_empty() {
        first = waits(tx.conn, 1)?;
    }
    Ok(first.first().and_then(|(_, at)| *at))
}

/// The postponed jobs whose time comes first, with their times.
fn waits(conn: &mut Conn, most: usize) -> QueryResult<Vec<(Id, Option<Millis>)>> {
    speeches::table
        .select((speeches::id, speeches::not_before))
        .filter(Condition(POSTPONED))
        .order(speeches::not_before)
        .limit(i64::saturating_from(most))
        .load(conn)
}

/// The oldest short jobs of a client that may be claimed.
fn oldest_short(conn: &mut Conn, client: &str, most: usize) -> QueryResult<Vec<Job>> {
    speeches::table
        .select(Job::as_select())
        .filter(Condition(CLAIMABLE))
        .filter(speeches::is_long.eq(false))
        .filter(speeches::client.eq(client))
        .order((speeches::created_at, speeches::id))
        .limit(i64::saturating_from(most))
        .load(conn)
}

fn claim_one(tx: &mut Tx<'_>, turn: Turn<Job>, boot: Uuid) -> QueryResult<Option<Job>> {
    let job = match turn {
        Turn::Short(job) => job,
        Turn::Long(id) => speeches::table
            .find(id)
            .select(Job::as_select())
            .first(tx.conn)?,
    };
    let Job {
        row,
        text,
        postponed,
    } = job;
    let Some(status) = job::next(row.status(), Step::Claim) else {
        return Ok(None);
    };
    let from = row.status.clone();
    let row = Row {
        status: status.as_str().to_owned(),
        claim: row.claim + 1,
        leased_by: Some(Id(boot)),
        started_at: row.started_at.or(Some(tx.now)),
        ..row
    };
    let changes = (
        speeches::status.eq(&row.status),
        speeches::claim.eq(row.claim),
        speeches::leased_by.eq(row.leased_by),
        speeches::started_at.eq(row.started_at),
    );
    update(tx.conn, speeches::table, row.id, changes)?;
    tx.event(&NewEvent {
        subject: row.id.0,
        from: Some(&from),
        to: Some(&row.status),
        reason: Some("claimed"),
        by: "TTSWorker",
        ..NewEvent::default()
    })?;
    Ok(Some(Job {
        row,
        text,
        postponed,
    }))
}

/// Jobs that have not ended.
const OPEN: &str = "status IN ('checking', 'queued', 'synthesizing')";
const SPOKEN: &str = "status = 'synthesizing'";
const NOT_SPOKEN: &str = "status <> 'synthesizing'";

/// A job that is spoken is ended by its worker at its deadline. One that has not been
/// so long after it is held by nobody who will.
const GRACE_MS: Millis = 5 * 60 * 1000;

/// What a look at the deadlines of open jobs has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expired {
    /// How many jobs have failed in this commit.
    pub count: usize,
    /// When the next look is due: at the next deadline, or where a job is spoken
    /// beyond its own, at the end of its grace.
    pub next_deadline_at: Option<Millis>,
}

/// Fails the jobs whose deadline has come, and those that are still spoken five minutes
/// after theirs, whoever has claimed them. At most 100 a commit.
///
/// # Errors
/// What the database says.
pub fn expire(tx: &mut Tx<'_>) -> QueryResult<Expired> {
    Ok(Expired {
        count: end_overdue(tx)?,
        next_deadline_at: next_deadline(tx)?,
    })
}

/// The same without a look at the next one; says how many have failed.
fn end_overdue(tx: &mut Tx<'_>) -> QueryResult<usize> {
    /// Few enough that a claim behind a thousand dead jobs is not held up.
    const MOST: i64 = 100;
    let rows: Vec<Row> = speeches::table
        .select(Row::as_select())
        .filter(Condition(OPEN))
        .filter(speeches::deadline_at.le(tx.now))
        .filter(Condition(NOT_SPOKEN).or(speeches::deadline_at.le(tx.now - GRACE_MS)))
        .order(speeches::deadline_at)
        .limit(MOST)
        .load(tx.conn)?;
    for row in &rows {
        end_failed(tx, row, &deadline_exceeded(), "TTSWorker")?;
    }
    Ok(rows.len())
}

/// The earliest deadline of those that [`expire`] would fail.
fn oldest_overdue(conn: &mut Conn, now: Millis) -> QueryResult<Option<Millis>> {
    speeches::table
        .select(speeches::deadline_at)
        .filter(Condition(OPEN))
        .filter(speeches::deadline_at.le(now))
        .filter(Condition(NOT_SPOKEN).or(speeches::deadline_at.le(now - GRACE_MS)))
        .order(speeches::deadline_at)
        .first(conn)
        .optional()
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

/// See [`Expired::next_deadline_at`]. A spoken job counts before its deadline too, since
/// it may wait again by then.
fn next_deadline(tx: &mut Tx<'_>) -> QueryResult<Option<Millis>> {
    let open = || {
        let open = speeches::table.select(speeches::deadline_at);
        open.filter(Condition(OPEN)).order(speeches::deadline_at)
    };
    let to_come: Option<Millis> = open()
        .filter(Condition(NOT_SPOKEN).or(speeches::deadline_at.gt(tx.now)))
        .first(tx.conn)
        .optional()?;
    let in_grace: Option<Millis> = open()
        .filter(Condition(SPOKEN))
        .filter(speeches::deadline_at.le(tx.now))
        .first(tx.conn)
        .optional()?;
    let grace_ends = in_grace.map(|deadline_at| deadline_at + GRACE_MS);
    Ok(to_come.into_iter().chain(grace_ends).min())
}

/// The failure of a job that nobody waits for any more.
#[must_use]
pub fn deadline_exceeded() -> Failure {
    Failure::transient(
        "deadline_exceeded",
        "Its timeout_s was over before it had been spoken, so the work was not done. Ask again, with a longer one.",
    )
}

/// Reads the row as it is now, if the claim still holds it: nobody has
/// canceled or claimed it since.
fn fenced(conn: &mut Conn, claimed: &Row) -> QueryResult<Option<Row>> {
    speeches::table
        .find(claimed.id)
        .filter(speeches::claim.eq(claimed.claim))
        .filter(speeches::leased_by.eq(claimed.leased_by))
        .select(Row::as_select())
        .first(conn)
        .optional()
}

/// A finished synthesis.
#[derive(Debug, Clone)]
pub struct Finished {
    /// The file store's key.
    pub file: String,
    /// JSON of the audio, without links.
    pub audio: String,
    /// JSON of the word times.
    pub words: String,
}

/// Writes the outcome of a claim, and owes its callback. `false` means that
/// the claim no longer holds the job and nothing was written.
///
/// # Errors
/// What the database says.
pub fn complete(tx: &mut Tx<'_>, claimed: &Row, finished: &Finished) -> QueryResult<bool> {
    let Some(status) = job::next(claimed.status(), Step::Complete) else {
        return Ok(false);
    };
    let is_held = speeches::claim
        .eq(claimed.claim)
        .and(speeches::leased_by.eq(claimed.leased_by));
    let changes = (
        speeches::status.eq(status.as_str()),
        speeches::leased_by.eq(None::<Id>),
        speeches::ended_at.eq(Some(tx.now)),
        speeches::file.eq(Some(&finished.file)),
        speeches::audio.eq(Some(&finished.audio)),
        speeches::words.eq(Some(&finished.words)),
    );
    if update_if(tx.conn, speeches::table, claimed.id, is_held, changes)? == 0 {
        return Ok(false);
    }
    ended(
        tx,
        claimed,
        status,
        "spoken",
        "TTSWorker",
        DeliveryType::SpeechCompleted,
    )?;
    Ok(true)
}

/// Fails the job that a claim holds. `false` means that the claim no longer
/// holds the job.
///
/// # Errors
/// What the database says.
pub fn fail(tx: &mut Tx<'_>, claimed: &Row, failure: &Failure) -> QueryResult<bool> {
    let Some(row) = fenced(tx.conn, claimed)? else {
        return Ok(false);
    };
    end_failed(tx, &row, failure, "TTSWorker")
}

/// A crash or an overrun of the child: another attempt while there are some,
/// else `failed` with `failure`.
///
/// # Errors
/// What the database says.
pub fn attempt_failed(
    tx: &mut Tx<'_>,
    claimed: &Row,
    failure: &Failure,
    max_attempts: i32,
) -> QueryResult<bool> {
    let Some(row) = fenced(tx.conn, claimed)? else {
        return Ok(false);
    };
    update(
        tx.conn,
        speeches::table,
        row.id,
        speeches::attempt.eq(row.attempt + 1),
    )?;
    if row.attempt + 1 >= max_attempts {
        return end_failed(tx, &row, failure, "TTSWorker");
    }
    requeue(tx, &row, &failure.code)
}

/// Gives the claim back without an outcome and without counting an attempt:
/// the service stops, or no child could be started.
///
/// # Errors
/// What the database says.
pub fn give_back(tx: &mut Tx<'_>, claimed: &Row, reason: &str) -> QueryResult<bool> {
    let Some(row) = fenced(tx.conn, claimed)? else {
        return Ok(false);
    };
    requeue(tx, &row, reason)
}

/// Gives the claim back without counting an attempt, and lets the job wait by itself
/// before it is claimed again: no engine could be opened for it.
///
/// # Errors
/// What the database says.
pub fn postpone(tx: &mut Tx<'_>, claimed: &Row, reason: &str) -> QueryResult<bool> {
    let Some(row) = fenced(tx.conn, claimed)? else {
        return Ok(false);
    };
    requeue_later(tx, &row, reason)
}

/// Requeues a job that waits longer each time.
fn requeue_later(tx: &mut Tx<'_>, row: &Row, reason: &str) -> QueryResult<bool> {
    let job = speeches::table.find(row.id);
    let times: i32 = job.select(speeches::postponed).first(tx.conn)?;
    let changes = (
        speeches::not_before.eq(Some(tx.now + wait_ms(times))),
        speeches::postponed.eq(times + 1),
    );
    update(tx.conn, speeches::table, row.id, changes)?;
    requeue(tx, row, reason)
}

/// Gives the claim back and lets the job wait: its own audio has filled the disk, of
/// which others may free something. As often as other attempts, then it is `failed` with
/// `failure`. It is no attempt of the engine, so the text is not spoken otherwise.
///
/// # Errors
/// What the database says.
pub fn no_room(
    tx: &mut Tx<'_>,
    claimed: &Row,
    failure: &Failure,
    max_attempts: i32,
) -> QueryResult<bool> {
    let Some(row) = fenced(tx.conn, claimed)? else {
        return Ok(false);
    };
    // Not by `postponed`, which counts what others were the reason of too.
    let before: i64 = events::table
        .filter(events::subject_id.eq(row.id))
        .filter(events::to_status.eq(SpeechStatus::Queued.as_str()))
        .filter(events::reason.eq(&failure.code))
        .count()
        .get_result(tx.conn)?;
    if before + 1 >= i64::from(max_attempts) {
        return end_failed(tx, &row, failure, "TTSWorker");
    }
    requeue_later(tx, &row, &failure.code)
}

/// How long a job waits that was postponed so many times before.
fn wait_ms(times: i32) -> Millis {
    // Seven doublings are beyond the longest wait.
    (FIRST_WAIT_MS << times.clamp(0, 7)).min(LONGEST_WAIT_MS)
}

/// At start: what an earlier boot had claimed is free again.
///
/// # Errors
/// What the database says.
pub fn recover(tx: &mut Tx<'_>, boot: Uuid) -> QueryResult<usize> {
    let lost: Vec<Row> = speeches::table
        .select(Row::as_select())
        .filter(Condition(SPOKEN))
        .filter(speeches::leased_by.ne(Some(Id(boot))))
        .load(tx.conn)?;
    for row in &lost {
        update(
            tx.conn,
            speeches::table,
            row.id,
            speeches::lost_leases.eq(row.lost_leases + 1),
        )?;
        if row.lost_leases + 1 >= MAX_LOST_LEASES {
            let failure = Failure::transient(
                "lease_lost",
                format!("The service ended {MAX_LOST_LEASES} times while it spoke this text."),
            );
            end_failed(tx, row, &failure, "start")?;
        } else {
            requeue(tx, row, "lease_lost")?;
        }
    }
    Ok(lost.len())
}

/// Each client's open jobs and their bytes, counted once at start.
///
/// # Errors
/// What the database says.
pub fn open_load(conn: &mut Conn) -> QueryResult<ByClient> {
    // By an index of open jobs: however many have ended, a start does not read them.
    let open: Vec<(String, i64)> = speeches::table
        .filter(Condition(OPEN))
        .select((speeches::client, speeches::text_bytes))
        .load(conn)?;
    let mut load = ByClient::default();
    for (client, bytes) in open {
        load.add(&client, Amount { jobs: 1, bytes });
    }
    Ok(load)
}

fn state_event(
    tx: &mut Tx<'_>,
    row: &Row,
    to: SpeechStatus,
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

fn requeue(tx: &mut Tx<'_>, row: &Row, reason: &str) -> QueryResult<bool> {
    let Some(status) = job::next(row.status(), Step::GiveBack) else {
        return Ok(false);
    };
    update(
        tx.conn,
        speeches::table,
        row.id,
        (
            speeches::status.eq(status.as_str()),
            speeches::leased_by.eq(None::<Id>),
        ),
    )?;
    state_event(tx, row, status, reason, "TTSWorker")?;
    Ok(true)
}

fn end_failed(
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
fn ended(
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
            deliveries::owe_aborted(tx, row.id.0, &row.client, kind, url)?;
        } else {
            deliveries::owe(tx, row.id.0, &row.client, kind, url)?;
        }
    }
    state_event(tx, row, status, reason, by)
}

/// What came of asking for a cancel or an erasure.
pub type Ended = db::Ended<Row>;

/// Calls a speech off.
///
/// # Errors
/// What the database says.
pub fn cancel(tx: &mut Tx<'_>, id: Uuid) -> QueryResult<Ended> {
    let Some(row) = get(tx.conn, id)? else {
        return Ok(Ended::Unknown);
    };
    if row.status() == SpeechStatus::Canceled {
        return Ok(Ended::Done(Box::new(row)));
    }
    let Some(status) = job::next(row.status(), Step::Cancel) else {
        return Ok(Ended::Refused(Box::new(row)));
    };
    let after: Row = diesel::update(speeches::table.find(row.id))
        .set((
            speeches::status.eq(status.as_str()),
            speeches::leased_by.eq(None::<Id>),
            speeches::ended_at.eq(Some(tx.now)),
        ))
        .returning(Row::as_returning())
        .get_result(tx.conn)?;
    ended(
        tx,
        &row,
        status,
        "asked for",
        "api",
        DeliveryType::SpeechCanceled,
    )?;
    Ok(Ended::Done(Box::new(after)))
}

/// Forgets an ended speech: row, events and deliveries. The caller deletes
/// the file that the answer names.
///
/// # Errors
/// What the database says.
pub fn erase(tx: &mut Tx<'_>, id: Uuid) -> QueryResult<Ended> {
    let Some(row) = get(tx.conn, id)? else {
        return Ok(Ended::Unknown);
    };
    if !row.status().is_ended() {
        return Ok(Ended::Refused(Box::new(row)));
    }
    deliveries::erase_of(tx, id)?;
    tx.erase_events(id)?;
    diesel::delete(speeches::table.find(Id(id))).execute(tx.conn)?;
    Ok(Ended::Done(Box::new(row)))
}

/// Speeches, as retention sees them.
pub const RETAINED: Subjects = Subjects {
    table: "speeches",
    settled: "NOT EXISTS (SELECT 1 FROM deliveries \
              WHERE subject_id = speeches.id AND deliveries.status = 'pending')",
    erase: |tx, id| erase(tx, id).map(drop),
};

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
fn is_waiting(conn: &mut Conn, receiver: &Receiver, url: Option<&str>) -> QueryResult<bool> {
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
    state_event(
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

/// One speech.
///
/// # Errors
/// What the database says.
pub fn get(conn: &mut Conn, id: Uuid) -> QueryResult<Option<Row>> {
    speeches::table
        .find(Id(id))
        .select(Row::as_select())
        .first(conn)
        .optional()
}

/// Several speeches; unknown ids are left out.
///
/// # Errors
/// What the database says.
pub fn get_many(conn: &mut Conn, ids: &[Uuid]) -> QueryResult<Vec<Row>> {
    let ids: Vec<Id> = ids.iter().copied().map(Id).collect();
    speeches::table
        .filter(speeches::id.eq_any(ids))
        .select(Row::as_select())
        .load(conn)
}

/// How lists of speeches are read.
pub const LISTED: Listed = Listed {
    table: "speeches",
    by_age: Index::all("speeches_by_age"),
    by_client: Index::all("speeches_by_client"),
    by_status: Index {
        name: "speeches_by_status",
        condition: "status <> 'completed'",
    },
    common_status: "completed",
    by_column: &[
        (
            "reference",
            Index {
                name: "speeches_by_reference",
                condition: "reference IS NOT NULL",
            },
        ),
        (
            "error_code",
            Index {
                name: "speeches_by_error",
                condition: "error_code IS NOT NULL",
            },
        ),
    ],
    by_end: &[
        Index {
            name: "speeches_files_by_end",
            condition: "file IS NOT NULL",
        },
        Index {
            name: "speeches_bare_by_end",
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
    let rows = speeches::table
        .filter(speeches::id.eq_any(ids))
        .order((speeches::created_at.desc(), speeches::id.desc()))
        .select(Row::as_select())
        .load(conn)?;
    Ok((rows, next))
}

/// The text and the word times.
///
/// # Errors
/// What the database says.
pub fn text_and_words(conn: &mut Conn, id: Uuid) -> QueryResult<Option<(String, Option<String>)>> {
    speeches::table
        .find(Id(id))
        .select((speeches::text, speeches::words))
        .first(conn)
        .optional()
}

/// The word times.
///
/// # Errors
/// What the database says.
pub fn words(conn: &mut Conn, id: Uuid) -> QueryResult<Option<Option<String>>> {
    let row = speeches::table.find(Id(id)).select(speeches::words);
    row.first(conn).optional()
}

/// The text of a speech.
///
/// # Errors
/// What the database says.
pub fn text(conn: &mut Conn, id: Uuid) -> QueryResult<Option<String>> {
    let row = speeches::table.find(Id(id)).select(speeches::text);
    row.first(conn).optional()
}

#[cfg(test)]
pub(crate) mod tests;
