//! Jobs that nobody waits for any more.

use diesel::prelude::*;
use hoiam_api::Failure;
use hoiam_supervision::clock::Millis;

use super::ends::end_failed;
use super::row::{OPEN, Row};
use crate::db::schema::speeches;
use crate::db::{Condition, Conn, Tx};

/// Jobs that a worker has.
pub const SPOKEN: &str = "status = 'synthesizing'";
const NOT_SPOKEN: &str = "status <> 'synthesizing'";

/// A job that is spoken is ended by its worker at its deadline. One that has not been
/// so long after it is held by nobody who will.
pub const GRACE_MS: Millis = 5 * 60 * 1000;

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
///
/// # Errors
/// What the database says.
pub fn end_overdue(tx: &mut Tx<'_>) -> QueryResult<usize> {
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
///
/// # Errors
/// What the database says.
pub fn oldest_overdue(conn: &mut Conn, now: Millis) -> QueryResult<Option<Millis>> {
    speeches::table
        .select(speeches::deadline_at)
        .filter(Condition(OPEN))
        .filter(speeches::deadline_at.le(now))
        .filter(Condition(NOT_SPOKEN).or(speeches::deadline_at.le(now - GRACE_MS)))
        .order(speeches::deadline_at)
        .first(conn)
        .optional()
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
