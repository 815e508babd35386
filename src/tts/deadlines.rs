//! DeadlineWatchdog: fails the jobs whose deadline has come, and those that are still
//! spoken long after theirs.

use actix::prelude::*;
use hoiam_supervision::Drain;

use super::messages::DeadlineAdded;
use super::store::deadlines::{Expired, expire};
use crate::claim_loop::{ClaimLoop, Pulse, Scan};
use crate::db::{Db, StoreError};
use crate::delivery::DeliveryEnqueued;
use crate::failpoint;

/// What the watchdog works with.
pub struct Deps {
    /// The TTS service's database.
    pub db: Db,
    /// Payload that callbacks may be owed.
    pub dispatcher: Recipient<DeliveryEnqueued>,
    /// Shows how the deadlines stand.
    pub deadlines: Pulse,
}

/// The actor.
pub struct DeadlineWatchdog {
    deps: Deps,
    /// Its scan fails what is due.
    deadlines: ClaimLoop,
}

impl DeadlineWatchdog {
    /// A watchdog that looks once it is started.
    #[must_use]
    pub fn new(deps: Deps) -> Self {
        let deadlines = ClaimLoop::new(deps.db.clock().clone(), deps.deadlines.clone());
        Self { deps, deadlines }
    }

    fn scan(&mut self, ctx: &mut Context<Self>) {
        failpoint::point(format_args!("actor.deadlines"));
        let now = self.deps.db.clock().now();
        let Some(scan) = self.deadlines.begin_scan(now, true) else {
            return;
        };
        let (db, dispatcher) = (self.deps.db.clone(), self.deps.dispatcher.clone());
        let watchdog = ctx.address();
        actix_rt::spawn(async move {
            let expired = db.write(expire).await;
            if expired.as_ref().is_ok_and(|expired| expired.count > 0) {
                // From here and not from the actor, which may have restarted.
                let _ = dispatcher.try_send(DeliveryEnqueued);
            }
            watchdog.do_send(DeadlinesScanned { expired, scan });
        });
    }
}

impl Actor for DeadlineWatchdog {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let watchdog = ctx.address();
        self.deadlines.start(move || watchdog.do_send(DeadlineDue));
        self.scan(ctx);
    }
}

impl Supervised for DeadlineWatchdog {
    fn restarting(&mut self, _: &mut Self::Context) {
        self.deadlines.restart();
    }
}

impl Handler<DeadlineAdded> for DeadlineWatchdog {
    type Result = ();

    fn handle(&mut self, DeadlineAdded(at): DeadlineAdded, ctx: &mut Self::Context) {
        self.deadlines.wake_at(at);
        self.scan(ctx);
    }
}

/// The deadline of an open job has come.
#[derive(Message)]
#[rtype(result = "()")]
struct DeadlineDue;

impl Handler<DeadlineDue> for DeadlineWatchdog {
    type Result = ();

    fn handle(&mut self, _: DeadlineDue, ctx: &mut Self::Context) {
        self.deadlines.hint();
        self.scan(ctx);
    }
}

#[derive(Message)]
#[rtype(result = "()")]
struct DeadlinesScanned {
    expired: Result<Expired, StoreError>,
    scan: Scan,
}

impl Handler<DeadlinesScanned> for DeadlineWatchdog {
    type Result = ();

    fn handle(&mut self, scanned: DeadlinesScanned, ctx: &mut Self::Context) {
        if self.deadlines.end_scan(scanned.scan).is_none() {
            return;
        }
        match scanned.expired {
            Ok(expired) => {
                if let Some(at) = expired.next_deadline_at {
                    self.deadlines.wake_at(at);
                }
            }
            Err(error) => {
                log::error!("deadlines could not be looked at: {error}");
                self.deadlines.pause_for_store();
            }
        }
        self.scan(ctx);
    }
}

impl Handler<Drain> for DeadlineWatchdog {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, drain: Drain, _: &mut Self::Context) -> Self::Result {
        let ended = self.deadlines.drain(drain.until);
        Box::pin(async move {
            ended.await;
        })
    }
}
