//! One look at what is due: which deliveries may be tried now, and what is left for
//! later looks.
//!
//! Its law: *whatever is due is taken, is being tried, or is found again from
//! [`Look::left_from`] or [`Look::passed_over`]*; it is left only where its receiver
//! can take no more, or there is no slot for its kind.

use std::collections::{HashMap, HashSet};

use diesel::prelude::QueryResult;
use uuid::Uuid;

use super::shares::{self, Kind, Shares};
use super::store::{self, Row};
use super::subject::{Subject, Told};
use crate::clock::Millis;
use crate::db::Conn;
use crate::supervision::{UnitFailure, contained};

/// A look reads so many rows of each kind at first, and more only where these left
/// slots free: most that are due together are due to few receivers.
const FIRST_READ: usize = 128;

/// What a claim may take.
pub struct Room {
    /// What is under way.
    pub shares: Shares,
    /// How many at each receiver that does not answer.
    pub probes: HashMap<String, usize>,
    /// What is being tried.
    pub running: HashSet<Uuid>,
}

/// What a claim does with a row.
enum Fate {
    Taken,
    /// It is being tried.
    Running,
    /// Its receiver can take no more.
    ReceiverIsFull,
    /// There is no slot for its kind.
    NoSlot,
}

impl Room {
    fn fate(&mut self, row: &Row) -> Fate {
        if self.running.contains(&row.id.0) {
            return Fate::Running;
        }
        let mut probes = self.probes.get_mut(&row.origin);
        if probes.as_deref() == Some(&0) || !self.shares.has_share(&row.origin) {
            return Fate::ReceiverIsFull;
        }
        if !self.shares.has_slot(kind_of(row)) {
            return Fate::NoSlot;
        }
        if let Some(probes) = &mut probes {
            **probes -= 1;
        }
        self.running.insert(row.id.0);
        self.shares.begin(&row.origin, kind_of(row));
        Fate::Taken
    }

    /// The receivers that can take no more.
    fn full_origins(&self) -> Vec<String> {
        let shut = self.probes.iter().filter(|(_, most)| **most == 0);
        let shut = shut.map(|(origin, _)| origin);
        let full = self.shares.full();
        let full = full.filter(|origin| self.probes.get(*origin) != Some(&0));
        shut.chain(full).cloned().collect()
    }
}

/// A delivery with what its body tells.
pub struct DueDelivery {
    /// Where to, and how often it was tried.
    pub row: Row,
    /// `None`: what it tells of has been erased. The error: it cannot be told.
    pub told: Result<Option<Told>, UnitFailure>,
}

/// What a claim has read.
#[derive(Default)]
pub struct Look {
    /// What begins now.
    pub taken: Vec<DueDelivery>,
    /// From when on there are due rows that there was no slot for.
    pub left_from: Option<Millis>,
    /// From when on there are due rows of receivers that can take no more.
    pub passed_over: HashMap<String, Millis>,
    /// When the next row that is not due yet will be.
    pub next_at: Option<Millis>,
}

impl Look {
    fn leaves(&mut self, from: Millis) {
        self.left_from = Some(self.left_from.map_or(from, |earlier| earlier.min(from)));
    }

    fn passes_over(&mut self, origin: &str, from: Millis) {
        let passed = self.passed_over.entry(origin.to_owned()).or_insert(from);
        *passed = from.min(*passed);
    }
}

/// Reads what is due at `now` and was not before `from`: what has room is taken, and
/// the rest is found again from what the answer says of it.
///
/// # Errors
/// What the database says.
pub fn read_due(
    conn: &mut Conn,
    (from, now): (Millis, Millis),
    mut room: Room,
    subject: &dyn Subject,
) -> QueryResult<Look> {
    let mut look = Look::default();
    let mut blocked = room.full_origins();
    for origin in &blocked {
        // Their rows are not even looked at.
        look.passes_over(origin, from);
    }
    let mut most = FIRST_READ;
    loop {
        let limit = i64::try_from(most).unwrap_or(i64::MAX);
        let due = store::due(conn, (from, now), limit, &blocked)?;
        look.next_at = due.next_at;
        let mut unread_from = None;
        for rows in [due.first_tries, due.retries] {
            if rows.len() == most
                && let Some(last) = rows.last()
            {
                let last_at = last.next_attempt_at.unwrap_or(from);
                unread_from = Some(unread_from.map_or(last_at, |at: Millis| at.min(last_at)));
            }
            for row in rows {
                let due_at = row.next_attempt_at.unwrap_or(from);
                match room.fate(&row) {
                    Fate::Taken => {
                        // What panics is this delivery's trouble, and not that
                        // of all that are due.
                        let told = match contained(|| subject.told_by(conn, &row)) {
                            Ok(told) => Ok(told?),
                            Err(failure) => Err(failure),
                        };
                        look.taken.push(DueDelivery { row, told });
                    }
                    Fate::Running => {}
                    Fate::ReceiverIsFull => look.passes_over(&row.origin, due_at),
                    Fate::NoSlot => look.leaves(due_at),
                }
            }
        }
        let Some(unread_from) = unread_from else {
            return Ok(look);
        };
        let full = room.full_origins();
        // Rows that are being tried still look due, and those that were taken are: so
        // many say that there is no slot for more.
        let enough = shares::MOST + room.running.len();
        if room.shares.free() == 0 || (full.len() == blocked.len() && most >= enough) {
            look.leaves(unread_from);
            return Ok(look);
        }
        if full.len() == blocked.len() {
            most *= 2;
        }
        // Behind the rows of a receiver that has its share now there may be
        // some of others.
        for origin in full.iter().filter(|origin| !blocked.contains(origin)) {
            look.passes_over(origin, unread_from);
        }
        blocked = full;
    }
}

/// What the next attempt of this delivery is.
#[must_use]
pub fn kind_of(row: &Row) -> Kind {
    match row.attempt {
        0 => Kind::FirstTry,
        _ => Kind::Retry,
    }
}

#[cfg(test)]
mod tests;
