//! Where jobs wait until their callback URL is checked, as the dispatcher asks it.

use std::collections::{HashMap, HashSet};

use diesel::prelude::QueryResult;

use super::check::Verdict;
use super::check_room::CheckRoom;
use super::held::Scope;
use super::shares::Receiver;
use crate::clock::Millis;
use crate::contract::CallbackHeaders;
use crate::db::{Conn, Tx};

/// Whose turn was the last at a check, so that each has one.
#[derive(Debug, Clone, Default)]
pub struct LastTurns {
    /// Clients that follow this one come first.
    pub client: Option<String>,
    /// And of each client the origins that follow this one.
    pub origins: HashMap<String, String>,
}

impl LastTurns {
    /// This one has had its turn.
    pub fn note(&mut self, found: &Unchecked) {
        let receiver = &found.receiver;
        let [client, origin] = [&receiver.client, &receiver.origin].map(ToString::to_string);
        self.client = Some(client.clone());
        self.origins.insert(client, origin);
    }
}

/// Which unchecked URLs are wanted.
pub struct Wanted<'a> {
    /// Who comes first.
    pub after: &'a LastTurns,
    /// These are not.
    pub running: &'a HashSet<String>,
    /// What there is room for; what is found takes some of it.
    pub room: &'a mut CheckRoom,
    /// Beside these, of which the first of each origin is wanted, if a job waits
    /// for it.
    pub again: &'a [String],
}

/// A URL that jobs wait for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unchecked {
    /// Its origin, and the client of one of the jobs.
    pub receiver: Receiver,
    /// With what [`CallbackHeaders::target`] adds.
    pub url: String,
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
    fn unchecked(&self, conn: &mut Conn, wanted: Wanted<'_>) -> QueryResult<Vec<Unchecked>>;

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
