//! Where all workers are told, for those who have something to tell them: among these the
//! workers themselves, so their type is not named here.

use std::sync::{Arc, OnceLock};

use actix::{Actor, Addr, Context, Handler, Recipient};
use diesel::prelude::QueryResult;
use hoiam_api::CallbackHeaders;
use hoiam_supervision::clock::Millis;
use uuid::Uuid;

use super::messages::{HelpWanted, JobCanceled, JobQueued, JobQueuedBy};
use super::store::checks;
use crate::db::{Conn, Tx};
use crate::delivery::check::Verdict;
use crate::delivery::check_queue::{CheckQuery, CheckQueue, ExpiredHolds, UncheckedPage};
use crate::delivery::held::Scope;

/// Filled once, when the workers have been started: the checker, which
/// tells them of opened jobs, is started before them.
#[derive(Clone, Default)]
pub struct Workers(Arc<OnceLock<Vec<Mailbox>>>);

impl Workers {
    /// Makes the workers known.
    pub fn fill(&self, workers: impl IntoIterator<Item = impl Into<Mailbox>>) {
        let workers = workers.into_iter().map(Into::into).collect();
        // A second call would be a bug of the tree; the first one stands.
        let _ = self.0.set(workers);
    }

    /// A job of anyone may be there to claim. A mailbox that is full may have other
    /// hints only, so this one must not be lost.
    pub fn queued(&self) {
        for worker in self.0.get().into_iter().flatten() {
            worker.queued.do_send(JobQueued);
        }
    }

    /// A job of this client may be there to claim. That it is of another one than those
    /// of which a worker knows must not be lost.
    pub fn queued_by(&self, client: &str) {
        for worker in self.0.get().into_iter().flatten() {
            worker.queued_by.do_send(JobQueuedBy(client.to_owned()));
        }
    }

    /// A long text has sentences that others can speak. A worker whose mailbox is full
    /// has enough to do.
    pub fn help_wanted(&self) {
        for worker in self.0.get().into_iter().flatten() {
            let _ = worker.help_wanted.try_send(HelpWanted);
        }
    }

    /// This job is called off.
    pub fn canceled(&self, id: Uuid) {
        for worker in self.0.get().into_iter().flatten() {
            worker.canceled.do_send(JobCanceled(id));
        }
    }
}

/// Where one worker is told.
pub struct Mailbox {
    queued: Recipient<JobQueued>,
    queued_by: Recipient<JobQueuedBy>,
    help_wanted: Recipient<HelpWanted>,
    canceled: Recipient<JobCanceled>,
}

impl<W> From<Addr<W>> for Mailbox
where
    W: Actor<Context = Context<W>>
        + Handler<JobQueued>
        + Handler<JobQueuedBy>
        + Handler<HelpWanted>
        + Handler<JobCanceled>,
{
    fn from(worker: Addr<W>) -> Self {
        Self {
            queued: worker.clone().recipient(),
            queued_by: worker.clone().recipient(),
            help_wanted: worker.clone().recipient(),
            canceled: worker.recipient(),
        }
    }
}

impl CheckQueue for Workers {
    fn unchecked(&self, conn: &mut Conn, wanted: CheckQuery<'_>) -> QueryResult<UncheckedPage> {
        checks::unchecked_urls(conn, wanted)
    }

    fn headers(&self, conn: &mut Conn, target: &str) -> QueryResult<Option<CallbackHeaders>> {
        checks::headers_of_check(conn, target)
    }

    fn settle(&self, tx: &mut Tx<'_>, url: &str, verdict: &Verdict) -> QueryResult<bool> {
        checks::settle_check(tx, url, verdict)
    }

    fn expire_held(
        &self,
        tx: &mut Tx<'_>,
        held: &[(Scope, Millis)],
        hold_ms: Millis,
    ) -> QueryResult<ExpiredHolds> {
        checks::expire_held(tx, held, hold_ms)
    }

    fn opened(&self) {
        self.queued();
    }
}
