//! Erasures that are owed: of what task the TTS service is still to erase the
//! speech.
//!
//! A line is written in the commit that erases the task, and goes when the
//! speech is gone. Until then its id stands for the old speech: news of it is
//! no news of a new task with the same id, and that one's action waits: it has no
//! `action_due_at`.

use diesel::prelude::*;
use hoiam_supervision::clock::Millis;
use uuid::Uuid;

use super::task;
use crate::db::schema::{erasures, tasks};
use crate::db::{Condition, Conn, Id, Tx, update, update_if};

/// How long an erasure is tried again: one day.
pub const WINDOW_MS: i64 = 86_400_000;

/// Where a task's id stands for the task itself.
pub const NONE_PENDING: Condition =
    Condition("NOT EXISTS (SELECT 1 FROM erasures WHERE erasures.id = tasks.id)");

/// A task whose action waits for the old speech of its id to be erased.
const WAITS: Condition = Condition("action IS NOT NULL AND action_due_at IS NULL");

/// One that is owed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Queryable, Selectable)]
#[diesel(table_name = erasures, check_for_backend(diesel::sqlite::Sqlite))]
#[expect(missing_docs, reason = "the migration documents the columns")]
pub struct Erasure {
    pub id: Id,
    pub asked: bool,
    pub due_at: Millis,
    pub until: Millis,
    pub attempt: i32,
}

/// Enqueues one, due at once. `asked`: a client wants it gone; else it is only old.
///
/// # Errors
/// What the database says.
pub fn enqueue(tx: &mut Tx<'_>, id: Uuid, asked: bool) -> QueryResult<()> {
    diesel::replace_into(erasures::table)
        .values((
            erasures::id.eq(Id(id)),
            erasures::asked.eq(asked),
            erasures::due_at.eq(tx.now),
            erasures::until.eq(tx.now + WINDOW_MS),
            erasures::attempt.eq(0),
        ))
        .execute(tx.conn)
        .map(drop)
}

/// The erasures due now, oldest first, and when the next one is due.
///
/// # Errors
/// What the database says.
pub fn due_erasures(
    conn: &mut Conn,
    now: Millis,
    most: i64,
) -> QueryResult<(Vec<Erasure>, Option<Millis>)> {
    let due = erasures::table
        .select(Erasure::as_select())
        .filter(erasures::due_at.le(now))
        .order(erasures::due_at)
        .limit(most)
        .load(conn)?;
    let next = erasures::table
        .select(erasures::due_at)
        .filter(erasures::due_at.gt(now))
        .order(erasures::due_at)
        .first(conn)
        .optional()?;
    Ok((due, next))
}

/// Whether one is owed of this id.
///
/// # Errors
/// What the database says.
pub fn is_pending(conn: &mut Conn, id: Uuid) -> QueryResult<bool> {
    let owed = erasures::table.find(Id(id)).select(erasures::due_at);
    Ok(owed.first::<Millis>(conn).optional()?.is_some())
}

/// The speech is gone: a new task of the id need not wait any longer.
///
/// # Errors
/// What the database says.
pub fn done(tx: &mut Tx<'_>, id: Uuid) -> QueryResult<()> {
    diesel::delete(erasures::table.find(Id(id))).execute(tx.conn)?;
    update_if(
        tx.conn,
        tasks::table,
        Id(id),
        WAITS,
        tasks::action_due_at.eq(Some(tx.now)),
    )
    .map(drop)
}

/// A try has failed. It is made again, by the schedule of actions, or given up
/// when its time is over. Returns whether it is given up.
///
/// # Errors
/// What the database says.
pub fn failed(tx: &mut Tx<'_>, id: Uuid) -> QueryResult<bool> {
    let owed: Option<Erasure> = erasures::table
        .find(Id(id))
        .select(Erasure::as_select())
        .first(tx.conn)
        .optional()?;
    let Some(owed) = owed else {
        return Ok(false);
    };
    let attempt = owed.attempt + 1;
    let due_at = tx.now + task::retry_delay_ms(attempt);
    if due_at > owed.until {
        done(tx, id)?;
        return Ok(true);
    }
    update(
        tx.conn,
        erasures::table,
        owed.id,
        (erasures::due_at.eq(due_at), erasures::attempt.eq(attempt)),
    )?;
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::testing::{TestDb, found_by};
    use hoiam_api::Service;

    #[tokio::test]
    async fn an_erasure_is_tried_again_for_a_day_and_then_given_up() {
        let test = TestDb::new(Service::Backend);
        let id = Uuid::now_v7();
        test.db
            .write(move |tx| {
                let began = tx.now;
                enqueue(tx, id, true)?;
                let mut waits = Vec::new();
                while !failed(tx, id)? {
                    let (none, next) = due_erasures(tx.conn, tx.now, 10)?;
                    assert_eq!(none, []);
                    waits.push(next.unwrap() - tx.now);
                    tx.now = next.unwrap();
                    assert_eq!(due_erasures(tx.conn, tx.now, 10)?.0.len(), 1);
                }
                assert_eq!(waits[..6], [1000, 2000, 5000, 10_000, 30_000, 30_000]);
                let took = tx.now - began;
                assert!((WINDOW_MS - 30_000..=WINDOW_MS).contains(&took), "{took}");
                assert_eq!(due_erasures(tx.conn, i64::MAX, 10)?, (vec![], None));
                Ok(())
            })
            .await
            .unwrap();
    }

    #[tokio::test]
    async fn due_erasures_are_found_by_their_index() {
        let test = TestDb::new(Service::Backend);
        let found = test
            .db
            .read(|conn| Ok(found_by(conn, |conn| due_erasures(conn, 1, 10))));
        assert_eq!(found.await.unwrap(), ["erasures_due"; 2]);
    }
}
