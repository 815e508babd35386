//! One look at what is due: what has come due since the last one, and what was passed
//! over of receivers that have their turn.
//!
//! Its law: *whatever is due is read, or is found again from [`Look::left_from`] or
//! [`Look::left`] on.* It costs as much as it reads: what was passed over before is not
//! read again until it is its receiver's turn.

use diesel::prelude::QueryResult;
use hoiam_supervision::clock::Millis;

use super::receivers::Turn;
use super::shares::{Kind, MOST_OF_ONE};
use super::store::{self, Row};
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

/// From where the next look reads. Whatever is due and lies before was read, or is kept
/// elsewhere.
///
/// Looks follow one another while rows are left. Of those that were being committed
/// meanwhile, some may be due before what the last look has read; so after such a pass
/// the looks go back to where the first of these can be.
#[derive(Debug)]
pub struct Progress {
    from: Millis,
    has_left: bool,
    unseen_from: Option<Millis>,
    is_hinted: bool,
}

impl Default for Progress {
    fn default() -> Self {
        Self {
            from: Millis::MIN,
            has_left: false,
            unseen_from: None,
            is_hinted: false,
        }
    }
}

impl Progress {
    /// Something was committed that may be due.
    pub fn hint(&mut self) {
        self.is_hinted = true;
    }

    /// A look begins, and reads from this instant on.
    pub fn begin(&mut self) -> Millis {
        // It sees all that was committed before, unless it reads behind that.
        self.is_hinted &= self.unseen_from.is_some();
        self.from
    }

    /// A look has ended that has seen all that was committed before `seen_until`;
    /// whether another has to follow.
    pub fn end(&mut self, left_from: Option<Millis>, seen_until: Millis) -> bool {
        self.has_left = left_from.is_some();
        if let Some(left_from) = left_from {
            self.from = left_from;
            if left_from > seen_until {
                // Later commits have a later time, so the first is the earliest.
                self.unseen_from.get_or_insert(seen_until);
            }
            return true;
        }
        let unseen_from = self.unseen_from.take();
        self.from = unseen_from.unwrap_or(seen_until);
        // Without a hint nothing was committed, and the same would be read again.
        unseen_from.is_some() && self.is_hinted
    }

    /// The last look has left rows that it did not read.
    #[must_use]
    pub fn has_left(&self) -> bool {
        self.has_left
    }
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
