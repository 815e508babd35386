//! The addresses of all workers, for those who have something to tell them.

use std::sync::{Arc, OnceLock};

use actix::Addr;
use diesel::prelude::QueryResult;
use uuid::Uuid;

use super::store;
use super::worker::{DeadlineAdded, HelpWanted, JobCanceled, JobQueued, JobQueuedBy, TtsWorker};
use crate::clock::Millis;
use crate::contract::CallbackHeaders;
use crate::db::{Conn, Tx};
use crate::delivery::check::Verdict;
use crate::delivery::check_queue::{CheckQueue, ExpiredHolds, Looked, Wanted};
use crate::delivery::held::Scope;

/// Filled once, when the workers have been started: the dispatcher, which
/// tells them of opened jobs, is started before them.
#[derive(Clone, Default)]
pub struct Workers(Arc<OnceLock<Vec<Addr<TtsWorker>>>>);

impl Workers {
    /// Makes the workers known.
    pub fn fill(&self, workers: Vec<Addr<TtsWorker>>) {
        // A second call would be a bug of the tree; the first one stands.
        let _ = self.0.set(workers);
    }

    /// A job of anyone may be there to claim. A mailbox that is full may have other
    /// hints only, so this one must not be lost.
    pub fn queued(&self) {
        for worker in self.0.get().into_iter().flatten() {
            worker.do_send(JobQueued);
        }
    }

    /// A job of this client may be there to claim. That it is of another one than those
    /// of which a worker knows must not be lost.
    pub fn queued_by(&self, client: &str) {
        for worker in self.0.get().into_iter().flatten() {
            worker.do_send(JobQueuedBy(client.to_owned()));
        }
    }

    /// A long text has sentences that others can speak. A worker whose mailbox is full
    /// has enough to do.
    pub fn help_wanted(&self) {
        for worker in self.0.get().into_iter().flatten() {
            let _ = worker.try_send(HelpWanted);
        }
    }

    /// A job with this deadline waits. The hint carries an instant, so a full
    /// mailbox must not lose it.
    pub fn deadline_added(&self, at: Millis) {
        if let Some(first) = self.0.get().and_then(|workers| workers.first()) {
            first.do_send(DeadlineAdded(at));
        }
    }

    /// This job is called off.
    pub fn canceled(&self, id: Uuid) {
        for worker in self.0.get().into_iter().flatten() {
            worker.do_send(JobCanceled(id));
        }
    }
}

impl CheckQueue for Workers {
    fn unchecked(&self, conn: &mut Conn, wanted: Wanted<'_>) -> QueryResult<Looked> {
        store::unchecked_urls(conn, wanted)
    }

    fn headers(&self, conn: &mut Conn, target: &str) -> QueryResult<Option<CallbackHeaders>> {
        store::headers_of_check(conn, target)
    }

    fn settle(&self, tx: &mut Tx<'_>, url: &str, verdict: &Verdict) -> QueryResult<bool> {
        store::settle_check(tx, url, verdict)
    }

    fn expire_held(
        &self,
        tx: &mut Tx<'_>,
        held: &[(Scope, Millis)],
        hold_ms: Millis,
    ) -> QueryResult<ExpiredHolds> {
        store::expire_held(tx, held, hold_ms)
    }

    fn opened(&self) {
        self.queued();
    }
}
