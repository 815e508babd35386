//! Where jobs wait until their callback URL is checked, as the dispatcher asks it.

use std::collections::{HashMap, HashSet};

use diesel::prelude::QueryResult;
use hoiam_api::CallbackHeaders;
use hoiam_supervision::clock::Millis;

use super::check::Verdict;
use super::check_room::CheckRoom;
use super::held::Scope;
use super::shares::Receiver;
use crate::db::{Conn, Tx};

/// Whose turn was the last at a check, so that each has one.
#[derive(Debug, Clone, Default)]
pub struct LastTurns {
    /// Clients that follow this one come first.
    pub client: Option<String>,
    /// And of each client the origins that follow this one.
    pub origins: HashMap<String, String>,
    /// How far the rounds of clients are that one look did not bring to an end.
    pub rounds: HashMap<String, Round>,
}

/// One round of a client's origins, which may take several looks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Round {
    /// It ends with this origin, behind which it has begun; `None`: with the last one.
    Until(Option<String>),
    /// It has ended, or the client has no room for more.
    Over,
}

impl LastTurns {
    /// Something has changed, so each origin has to be looked at once more.
    pub fn begin_rounds(&mut self) {
        self.rounds.clear();
    }
}

/// Which unchecked URLs are wanted.
pub struct CheckQuery<'a> {
    /// Who comes first.
    pub after: &'a LastTurns,
    /// These are not.
    pub running: &'a HashSet<String>,
    /// What there is room for; what is found takes some of it.
    pub room: &'a mut CheckRoom,
    /// Beside these, of which the first of each client and origin is wanted, if a job
    /// waits for it.
    pub again: &'a [(Receiver, String)],
}

/// A URL that jobs wait for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unchecked {
    /// Its origin, and the client of one of the jobs.
    pub receiver: Receiver,
    /// With what [`CallbackHeaders::target`] adds.
    pub url: String,
}

/// What a look at the jobs that wait has found.
#[derive(Debug)]
pub struct UncheckedPage {
    /// Those that are wanted.
    pub found: Vec<Unchecked>,
    /// Where the next look goes on.
    pub turns: LastTurns,
    /// Some origins were not looked at: another look has to follow.
    pub is_cut: bool,
}

/// What of that which is held was held too long.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct ExpiredHolds {
    /// When the next job will have been held too long.
    pub next_at: Option<Millis>,
    /// For these no job waits any more.
    pub unwanted: Vec<Scope>,
}

/// Where jobs wait for their checks. Implemented by the TTS service; the
/// Backend has none.
pub trait CheckQueue: Send + Sync {
    /// URLs that jobs wait for.
    ///
    /// # Errors
    /// What the database says.
    fn unchecked(&self, conn: &mut Conn, wanted: CheckQuery<'_>) -> QueryResult<UncheckedPage>;

    /// What the jobs that wait for this one send to it; `None` if none does.
    ///
    /// # Errors
    /// What the database says.
    fn headers(&self, conn: &mut Conn, target: &str) -> QueryResult<Option<CallbackHeaders>>;

    /// Applies a verdict to the jobs that wait for `url`; `true` means that
    /// there may be more.
    ///
    /// # Errors
    /// What the database says.
    fn settle(&self, tx: &mut Tx<'_>, url: &str, verdict: &Verdict) -> QueryResult<bool>;

    /// Fails the jobs that have waited for `hold_ms` for what is held, each since
    /// the instant beside it.
    ///
    /// # Errors
    /// What the database says.
    fn expire_held(
        &self,
        tx: &mut Tx<'_>,
        held: &[(Scope, Millis)],
        hold_ms: Millis,
    ) -> QueryResult<ExpiredHolds>;

    /// Tells the workers that jobs may have become free.
    fn opened(&self);
}
