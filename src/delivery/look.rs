//! One look at what is due: what has come due since the last one, and what was passed
//! over of receivers that have their turn.
//!
//! Its law: *whatever is due is read, or is found again from [`Look::left_from`] or
//! [`Look::left`] on.* It costs as much as it reads: what was passed over before is not
//! read again until it is its receiver's turn.

use diesel::prelude::QueryResult;

use super::receivers::Turn;
use super::shares::{Kind, MOST_OF_ONE};
use super::store::{self, Row};
use crate::clock::Millis;
use crate::db::Conn;

/// Rows of each kind that a look reads of what has come due.
const READ: i64 = 512;
/// Rows of one receiver that has its turn. All that it may have under way still look
/// due, and there is room for as many again.
const READ_OF_ONE: i64 = 3 * MOST_OF_ONE as i64;

/// What a look has read.
#[derive(Debug, Default)]
pub struct Look {
    /// Rows that are due.
    pub rows: Vec<Row>,
    /// From when on there are due rows that were not read.
    pub left_from: Option<Millis>,
    /// The same of receivers that had their turn.
    pub left: Vec<Turn>,
    /// When the next row that is not due yet will be.
    pub next_at: Option<Millis>,
}

/// Reads what is due at `now` and was not before `from`, and what was passed over of
/// those who have their turn.
///
/// # Errors
/// What the database says.
pub fn read_due(
    conn: &mut Conn,
    (from, now): (Millis, Millis),
    turns: &[Turn],
) -> QueryResult<Look> {
    let mut look = Look {
        next_at: store::next_due(conn, now)?,
        ..Look::default()
    };
    for turn in turns {
        let span = (turn.from, now);
        let (rows, left_from) = page(READ_OF_ONE, turn.from, |most| {
            store::due_to(conn, &turn.receiver, turn.kind, span, most)
        })?;
        look.left.extend(left_from.map(|from| Turn {
            from,
            ..turn.clone()
        }));
        look.rows.extend(rows);
    }
    for kind in Kind::ALL {
        let (rows, left_from) = page(READ, from, |most| store::due(conn, kind, (from, now), most))?;
        look.left_from = look.left_from.into_iter().chain(left_from).min();
        look.rows.extend(rows);
    }
    Ok(look)
}

/// Reads so many rows, or more where all of these were due at the same instant, and
/// answers from when on there may be others.
fn page(
    mut most: i64,
    from: Millis,
    mut read: impl FnMut(i64) -> QueryResult<Vec<Row>>,
) -> QueryResult<(Vec<Row>, Option<Millis>)> {
    loop {
        let rows = read(most)?;
        let is_full = usize::try_from(most).is_ok_and(|most| rows.len() == most);
        let last = rows.last().filter(|_| is_full);
        let left_from = last.map(|row| row.next_attempt_at.unwrap_or(from));
        let has_gone_on = rows.first().map(|row| row.next_attempt_at) != left_from.map(Some);
        if left_from.is_none() || has_gone_on {
            return Ok((rows, left_from));
        }
        most *= 2;
    }
}

#[cfg(test)]
mod tests;
