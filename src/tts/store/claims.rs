//! Claims of jobs: whose turn it is, and what became of them. Every write of a worker is
//! fenced by (id, claim, leased_by).

use diesel::prelude::*;
use hoiam_api::{DeliveryType, Failure, SpeechStatus};
use hoiam_supervision::clock::Millis;
use hoiam_text::SaturatingFrom as _;
use uuid::Uuid;

use super::deadlines::{SPOKEN, end_overdue, oldest_overdue};
use super::ends::{end_failed, ended};
use super::row::Row;
use crate::db::schema::{events, speeches};
use crate::db::{Condition, Conn, Id, NewEvent, Tx, update, update_if};
use crate::resource::operations;
use crate::resource::row::ResourceRow as _;
use crate::tts::job::{self, Step};
use crate::tts::turns::{self, Aged, CLAIMABLE, Key, Turn, Turns, Wish};

/// How often a job may lose its lease before it is given up.
pub const MAX_LOST_LEASES: i32 = 10;

/// How long a job waits when no engine can be opened for it: so long at first …
pub const FIRST_WAIT_MS: Millis = 5000;
/// … then twice as long as the last time, up to this.
pub const LONGEST_WAIT_MS: Millis = 5 * 60 * 1000;

/// Queued jobs that have to wait before they may be claimed.
pub const POSTPONED: &str = "status = 'queued' AND not_before IS NOT NULL";

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
pub(super) fn wait_ms(times: i32) -> Millis {
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
    operations::moved(tx, row, status, reason, "TTSWorker")?;
    Ok(true)
}
