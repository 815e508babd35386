//! Where jobs wait until their callback URL is checked, as the dispatcher asks it.

use std::collections::HashSet;

use diesel::prelude::QueryResult;

use super::check::Verdict;
use super::held::Scope;
use crate::clock::Millis;
use crate::contract::CallbackHeaders;
use crate::db::{Conn, Tx};

/// Which unchecked URLs are wanted.
pub struct Wanted<'a> {
    /// Origins that follow this one come first, so that each has its turn.
    pub after: &'a str,
    /// URLs at most.
    pub most: usize,
    /// These are not.
    pub running: &'a HashSet<String>,
    /// At most so many of an origin.
    pub allowance: &'a dyn Fn(&str) -> usize,
    /// Beside these, of which the first of each origin is wanted, if a job waits
    /// for it.
    pub again: &'a [String],
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
    /// URLs that jobs wait for, each with what [`CallbackHeaders::target`] adds.
    ///
    /// # Errors
    /// What the database says.
    fn unchecked(&self, conn: &mut Conn, wanted: &Wanted<'_>) -> QueryResult<Vec<String>>;

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
