//! AlertCollector: keeps what is to be told to the operator as deliveries, one
//! alert of a kind a minute.
//!
//! There is one a process. In the role `all` it reads both databases and keeps
//! its alerts in the Backend's; where the services are processes of their own,
//! each tells what it meets itself. While that database cannot be written it
//! sends `disk.failing` from memory, and keeps it, under the same ids and with
//! the attempts that were made, once it can.

use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use hoiam_api::{DeliveryStatus, DeliveryType};
use hoiam_supervision::clock::Millis;
use hoiam_supervision::{Drain, spawn_unit};
use hoiam_text::SaturatingFrom as _;
use serde_json::value::to_raw_value;
use uuid::Uuid;

use super::store::{self, New};
use crate::alerts::{Batch, Ledger, Reported, Reporter, Taken};
use crate::claim_loop::{ClaimLoop, Pulse, Scan};
use crate::db::{Db, StoreError};
use crate::delivery::DeliveryEnqueued;
use crate::delivery::attempt::{Sender, not_made};
use crate::delivery::delivery::after;
use crate::delivery::store::Row;

/// Nothing tells of a disk that others fill: it is looked at so often.
const LOOK_EVERY_MS: Millis = 10_000;
/// Exhausted deliveries a read.
const PAGE: i64 = 500;

/// The places that are written to, and what is wrong with each.
pub type Disks = Arc<dyn Fn() -> Vec<(String, Option<String>)> + Send + Sync>;

/// What the collector works with.
#[derive(Clone)]
pub struct Deps {
    /// Knows what is to be told.
    pub reporter: Reporter,
    /// `alerts.callback_url`.
    pub url: String,
    /// Keeps the alerts.
    pub db: Db,
    /// Of each service here: where deliveries are given up.
    pub dbs: Vec<Db>,
    /// Signs and sends what cannot be kept.
    pub sender: Sender,
    /// The wait before each attempt.
    pub schedule: Vec<Duration>,
    /// Payload when alerts are owed.
    pub dispatcher: Recipient<DeliveryEnqueued>,
    /// Looked at now and then.
    pub disks: Disks,
}

/// The actor. Its scan tells what is due.
pub struct AlertCollector {
    deps: Deps,
    claims: ClaimLoop,
    ledger: Ledger,
    /// Alerts that could not be kept yet.
    unkept: Vec<Unkept>,
    /// A pass is under way, maybe since before a restart: what it has taken is told
    /// or put back before another begins.
    is_telling: bool,
    /// The last pass could not keep or read what it wanted.
    has_failed: bool,
}

/// An alert that is sent from memory.
#[derive(Clone)]
struct Unkept {
    new: New,
    /// What follows its last attempt; `None`: there is no other.
    next_at: Option<Millis>,
}

/// What the databases say when alerts are switched on: what was told before, and
/// where the log of exhausted deliveries begins. `dbs` are all of the process.
///
/// # Errors
/// [`StoreError`] when it cannot be read.
pub async fn open_ledger(db: &Db, dbs: &[Db]) -> Result<Ledger, StoreError> {
    let mut ledger = db.read(store::ledger).await?;
    let before = ledger.clone();
    for db in dbs {
        let service = db.service().as_str();
        if !ledger.exhausted_to.contains_key(service) {
            let newest = db.read(store::newest_event).await?;
            ledger.exhausted_to.insert(service.to_owned(), newest);
        }
    }
    if ledger != before {
        let kept = ledger.clone();
        if let Err(error) = db.write(move |tx| store::keep_ledger(tx, &kept)).await {
            log::warn!("it could not be kept where alerts begin: {error}");
        }
    }
    Ok(ledger)
}

impl AlertCollector {
    /// One that goes on from what was told before.
    #[must_use]
    pub fn new(deps: Deps, ledger: Ledger) -> Self {
        Self {
            claims: ClaimLoop::new(deps.db.clock().clone(), Pulse::default()),
            deps,
            ledger,
            unkept: Vec::new(),
            is_telling: false,
            has_failed: false,
        }
    }

    fn scan(&mut self, ctx: &mut Context<Self>) {
        let now = self.deps.db.clock().now();
        let Some(scan) = self.claims.begin_scan(now, !self.is_telling) else {
            return;
        };
        let deps = self.deps.clone();
        let taken = deps.take_due(now);
        self.is_telling = true;
        let batches = taken.batches.clone();
        let pass = Pass {
            deps: deps.clone(),
            ledger: self.ledger.clone(),
            unkept: self.unkept.clone(),
            taken,
            now,
        };
        let unit = async move {
            let gathered = gather_exhausted(&deps).await;
            let mut outcome = pass.tell().await?;
            outcome.failed = outcome.failed.or(gathered.err());
            Ok(outcome)
        };
        let collector = ctx.address();
        actix_rt::spawn(async move {
            let told = spawn_unit(unit).await.unwrap_or_else(|failure| {
                log::error!("alerts could not be told: {failure}");
                Err(StoreError::Panicked)
            });
            collector.do_send(AlertsCommitted {
                batches,
                told,
                now,
                scan,
            });
        });
    }
}

impl Deps {
    /// Looks at the disks, and takes what is to be told.
    fn take_due(&self, now: Millis) -> Taken {
        for (place, problem) in (self.disks)() {
            self.reporter.disk(&place, problem.as_deref());
        }
        let state = self.reporter.state();
        state.map_or_else(Taken::default, |mut state| state.take_due(now))
    }
}

/// Gathers the deliveries that were given up since the last time.
async fn gather_exhausted(deps: &Deps) -> Result<(), StoreError> {
    for db in &deps.dbs {
        let service = db.service();
        loop {
            let after = match deps.reporter.state() {
                Some(state) => state.exhausted_to.get(service.as_str()).copied(),
                None => return Ok(()),
            };
            let after = after.unwrap_or_default();
            let read = move |conn: &mut _| store::exhausted_after(conn, service, after, PAGE);
            let found = db.read(read).await?;
            let is_last = i64::try_from(found.len()).is_ok_and(|found| found < PAGE);
            if let Some(mut state) = deps.reporter.state() {
                for (event, at, example) in found {
                    let kind = DeliveryType::DeliveryExhausted;
                    state.gather.add(Batch::one(kind, at, example));
                    let service = service.as_str().to_owned();
                    state.exhausted_to.insert(service, event);
                }
            }
            if is_last {
                break;
            }
        }
    }
    Ok(())
}

/// One look at what is to be told.
struct Pass {
    deps: Deps,
    ledger: Ledger,
    unkept: Vec<Unkept>,
    taken: Taken,
    now: Millis,
}

/// What a pass has come to.
struct Outcome {
    /// What is told, with what could not be kept.
    ledger: Ledger,
    /// What is sent from memory.
    unkept: Vec<Unkept>,
    /// What could be neither kept nor sent.
    put_back: Vec<Batch>,
    /// Why not.
    failed: Option<StoreError>,
}

impl Pass {
    async fn tell(self) -> Result<Outcome, StoreError> {
        let batches = self.taken.batches.clone();
        if batches.is_empty() && self.unkept.is_empty() {
            return Ok(self.outcome(Vec::new(), None));
        }
        let new: Vec<New> = batches.iter().map(|batch| self.alert(batch)).collect();
        let ledger = self.ledger_with(&new);
        let unkept = self.unkept.iter().map(|unkept| unkept.new.clone());
        let all: Vec<New> = unkept.chain(new.iter().cloned()).collect();
        let kept = ledger.clone();
        let keep = move |tx: &mut crate::db::Tx<'_>| store::enqueue(tx, &all, &kept);
        match self.deps.db.write(keep).await {
            Ok(()) => {
                let _ = self.deps.dispatcher.try_send(DeliveryEnqueued);
                Ok(Outcome {
                    ledger,
                    unkept: Vec::new(),
                    put_back: Vec::new(),
                    failed: None,
                })
            }
            Err(error @ StoreError::Unavailable(_)) => {
                Ok(self.send_from_memory(batches, new, error).await)
            }
            Err(error) => Err(error),
        }
    }

    fn outcome(self, put_back: Vec<Batch>, failed: Option<StoreError>) -> Outcome {
        Outcome {
            ledger: self.ledger,
            unkept: self.unkept,
            put_back,
            failed,
        }
    }

    fn alert(&self, batch: &Batch) -> New {
        let (kind, id) = (batch.kind, Uuid::now_v7());
        New {
            kind,
            alert: batch.clone().alert(id, self.taken.resolved(kind)),
            delivery: Row::pending(Uuid::now_v7(), id, kind, &self.deps.url, self.now),
            tried: Vec::new(),
        }
    }

    /// What the operator knows once these are kept.
    fn ledger_with(&self, new: &[New]) -> Ledger {
        let mut ledger = self.ledger.clone();
        for new in new {
            self.taken.tell(&mut ledger, new.kind, self.now);
        }
        ledger
    }

    /// A disk that fails keeps no delivery, and whoever could mend it would hear of
    /// it too late. Everything else waits until it can be kept.
    async fn send_from_memory(
        mut self,
        batches: Vec<Batch>,
        new: Vec<New>,
        error: StoreError,
    ) -> Outcome {
        let mut put_back = Vec::new();
        for (batch, new) in batches.into_iter().zip(new) {
            if new.kind == DeliveryType::DiskFailing {
                self.ledger = self.ledger_with(std::slice::from_ref(&new));
                self.unkept.push(Unkept {
                    new,
                    next_at: Some(self.now),
                });
            } else {
                put_back.push(batch);
            }
        }
        let mut unkept = std::mem::take(&mut self.unkept);
        for unkept in &mut unkept {
            if unkept.next_at.is_some_and(|at| at <= self.now) {
                self.attempt(unkept).await;
            }
        }
        self.unkept = unkept;
        self.outcome(put_back, Some(error))
    }

    /// Tries once, as the dispatcher would.
    async fn attempt(&self, unkept: &mut Unkept) {
        let new = &mut unkept.new;
        let number = new.tried.len();
        let tried = i32::saturating_from(number);
        let row = Row {
            attempt: tried,
            attempts: tried,
            ..new.delivery.clone()
        };
        let (sender, alert) = (self.deps.sender.clone(), new.alert.clone());
        let sent = spawn_unit({
            let row = row.clone();
            async move {
                let data = to_raw_value(&alert).unwrap_or_default();
                sender.attempt(&row, &data).await
            }
        });
        let clock = self.deps.db.clock();
        let (attempt, outcome) = sent.await.unwrap_or_else(|failure| {
            log::error!("an alert could not be sent: {failure}");
            not_made(&row, clock.now(), failure.to_string())
        });
        let after = after(&self.deps.schedule, number + 1, outcome, 0.0);
        let wait = after
            .wait
            .filter(|_| after.status == DeliveryStatus::Pending);
        unkept.next_at = wait.map(|wait| {
            let wait_ms = Millis::try_from(wait.as_millis()).unwrap_or(Millis::MAX / 2);
            clock.now() + wait_ms
        });
        new.tried.push((attempt, after));
    }
}

impl Actor for AlertCollector {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.deps.reporter.ring_at(ctx.address().recipient());
        let collector = ctx.address();
        self.claims.start(move || collector.do_send(Reported));
        self.scan(ctx);
    }
}

impl Supervised for AlertCollector {
    fn restarting(&mut self, _: &mut Self::Context) {
        self.claims.restart();
    }
}

impl Handler<Reported> for AlertCollector {
    type Result = ();

    fn handle(&mut self, _: Reported, ctx: &mut Self::Context) {
        self.claims.hint();
        self.scan(ctx);
    }
}

#[derive(Message)]
#[rtype(result = "()")]
struct AlertsCommitted {
    batches: Vec<Batch>,
    told: Result<Outcome, StoreError>,
    now: Millis,
    scan: Scan,
}

impl Handler<AlertsCommitted> for AlertCollector {
    type Result = ();

    fn handle(&mut self, told: AlertsCommitted, ctx: &mut Self::Context) {
        self.is_telling = false;
        let (put_back, failed) = match told.told {
            Ok(outcome) => {
                self.ledger = outcome.ledger;
                self.unkept = outcome.unkept;
                (outcome.put_back, outcome.failed)
            }
            Err(error) => (told.batches.clone(), Some(error)),
        };
        if let Some(mut state) = self.deps.reporter.state() {
            for batch in told.batches {
                if !put_back.iter().any(|back| back.kind == batch.kind) {
                    state.gather.told(batch.kind, told.now);
                }
            }
            for batch in put_back {
                state.gather.put_back(batch);
            }
        }
        // Whether or not it is of the time before a restart.
        let _ = self.claims.end_scan(told.scan);
        if let Some(error) = &failed {
            if !self.has_failed {
                log::error!("alerts wait until they can be kept: {error}");
            }
            self.claims.pause_for_store();
        }
        self.has_failed = failed.is_some();
        self.claims.wake_at(told.now + LOOK_EVERY_MS);
        self.wake_for_alerts();
        self.scan(ctx);
    }
}

impl AlertCollector {
    fn wake_for_alerts(&mut self) {
        let now = self.deps.db.clock().now();
        let state = self.deps.reporter.state();
        if let Some(at) = state.and_then(|state| state.gather.next_at(now)) {
            self.claims.wake_at(at);
        }
    }
}

impl Handler<Drain> for AlertCollector {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, drain: Drain, _: &mut Self::Context) -> Self::Result {
        let ended = self.claims.drain(drain.until);
        Box::pin(async move {
            ended.await;
        })
    }
}
