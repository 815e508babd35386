//! TimeoutWatchdog: asks the TTS service shortly before a deadline, and after a
//! start about everything that it was given, again and again until it answers;
//! times out at the deadline.

use std::collections::HashSet;

use actix::prelude::*;
use hoiam_supervision::clock::Millis;
use hoiam_supervision::{Drain, spawn_unit};
use uuid::Uuid;

use super::messages::{DeadlineAdded, ResultKnown, TaskEnded};
use super::store;
use super::tts_client::TtsClient;
use crate::claim_loop::{Claim, ClaimLoop, Pulse, Scan};
use crate::db::{Db, StoreError};
use crate::delivery::DeliveryEnqueued;
use crate::failpoint;

/// The most ids that the TTS service takes in one question.
const PULL_BATCH: usize = 500;
/// Questions under way at most.
const MAX_ASKING: usize = 8;
/// How long it waits after a question that was not answered; twice as long after
/// each further one, up to half a minute.
const ASK_AGAIN_MS: Millis = 1000;
/// How often that wait doubles: up to 32 s.
const ASK_AGAIN_DOUBLES: u32 = 5;

/// What the watchdog works with.
pub struct Deps {
    /// The Backend service's database.
    pub db: Db,
    /// Speaks to the TTS service.
    pub tts: TtsClient,
    /// Payload that fetches may be owed.
    pub result_known: Recipient<ResultKnown>,
    /// Payload that abandons are owed.
    pub task_ended: Recipient<TaskEnded>,
    /// Payload that callbacks are owed.
    pub dispatcher: Recipient<DeliveryEnqueued>,
    /// Shows how its deadlines stand.
    pub deadlines: Pulse,
}

/// The actor.
pub struct TimeoutWatchdog {
    deps: Deps,
    /// Its scan times out what is due.
    deadlines: ClaimLoop,
    /// Its scan reads whom to ask about; a unit asks.
    pulls: ClaimLoop<u64>,
    /// Units so far.
    asked: u64,
    /// Pulls that were due up to here have been read.
    pulled_until: Millis,
    /// Whether what had been handed over before the start was read.
    reconciled: bool,
    unanswered: Unanswered,
}

/// Tasks about which there was no answer: they are asked about again for as long
/// as they are open.
#[derive(Default)]
struct Unanswered {
    ids: HashSet<Uuid>,
    failures: u32,
    ask_at: Millis,
}

impl Unanswered {
    /// A unit has ended and left these without an answer, or none.
    fn note(&mut self, ids: Vec<Uuid>, now: Millis) {
        if ids.is_empty() {
            // It answers: whoever waits need not wait any longer.
            self.failures = 0;
            self.ask_at = now;
            return;
        }
        let wait_ms = ASK_AGAIN_MS << self.failures.min(ASK_AGAIN_DOUBLES);
        self.failures += 1;
        self.ask_at = now + wait_ms;
        self.ids.extend(ids);
    }

    /// Those whose time has come.
    fn due(&self, now: Millis) -> Vec<Uuid> {
        if self.ask_at > now {
            return Vec::new();
        }
        self.ids.iter().copied().collect()
    }

    fn next_at(&self) -> Option<Millis> {
        (!self.ids.is_empty()).then_some(self.ask_at)
    }
}

impl TimeoutWatchdog {
    /// A watchdog that looks once it is started.
    #[must_use]
    pub fn new(deps: Deps) -> Self {
        let clock = deps.db.clock();
        Self {
            deadlines: ClaimLoop::new(clock.clone(), deps.deadlines.clone()),
            pulls: ClaimLoop::new(clock.clone(), Pulse::default()),
            deps,
            asked: 0,
            pulled_until: 0,
            reconciled: false,
            unanswered: Unanswered::default(),
        }
    }

    fn now(&self) -> Millis {
        self.deps.db.clock().now()
    }

    /// Times out what is due.
    fn scan_deadlines(&mut self, ctx: &mut Context<Self>) {
        failpoint::point(format_args!("actor.watchdog"));
        let Some(scan) = self.deadlines.begin_scan(self.now(), true) else {
            return;
        };
        let (db, watchdog) = (self.deps.db.clone(), ctx.address());
        let (dispatcher, task_ended) = (self.deps.dispatcher.clone(), self.deps.task_ended.clone());
        actix_rt::spawn(async move {
            let timed_out = db.write(store::time_out).await;
            if timed_out.as_ref().is_ok_and(|done| done.count > 0) {
                // From here and not from the actor, which may have restarted.
                let _ = dispatcher.try_send(DeliveryEnqueued);
                let _ = task_ended.try_send(TaskEnded);
            }
            let next_at = timed_out.map(|done| done.next_deadline_at);
            watchdog.do_send(DeadlinesScanned { next_at, scan });
        });
    }

    /// Reads whom to ask about: what is soon due, what was not answered, and after
    /// a start everything that had been handed over.
    fn scan_pulls(&mut self, ctx: &mut Context<Self>) {
        let now = self.now();
        let has_room = self.pulls.running() < MAX_ASKING;
        let Some(scan) = self.pulls.begin_scan(now, has_room) else {
            return;
        };
        let (db, watchdog) = (self.deps.db.clone(), ctx.address());
        let (after, reconciles) = (self.pulled_until, !self.reconciled);
        let again = self.unanswered.due(now);
        actix_rt::spawn(async move {
            let read = {
                let again = again.clone();
                db.read(move |conn| {
                    let (mut ids, next_at) = store::due_pulls(conn, after, now)?;
                    if reconciles {
                        ids.extend(store::in_progress(conn)?);
                    }
                    ids.extend(store::open_among(conn, &again)?);
                    Ok((ids, next_at))
                })
            };
            let read = read.await;
            watchdog.do_send(PullsScanned { read, again, scan });
        });
    }

    /// One task of its own for all batches: a TTS service that does not answer
    /// holds up neither deadlines nor the mailbox.
    fn ask(&mut self, ids: HashSet<Uuid>, ctx: &mut Context<Self>) {
        if ids.is_empty() {
            return;
        }
        self.asked += 1;
        let Some(claim) = self.pulls.take(self.asked) else {
            return;
        };
        let ids: Vec<Uuid> = ids.into_iter().collect();
        let (db, tts) = (self.deps.db.clone(), self.deps.tts.clone());
        let (result_known, dispatcher) =
            (self.deps.result_known.clone(), self.deps.dispatcher.clone());
        let watchdog = ctx.address();
        actix_rt::spawn(async move {
            let all = ids.clone();
            let unit = spawn_unit(async move {
                for (nth, batch) in ids.chunks(PULL_BATCH).enumerate() {
                    if !pull(&db, &tts, batch).await {
                        return ids[nth * PULL_BATCH..].to_vec();
                    }
                    let _ = result_known.try_send(ResultKnown);
                    let _ = dispatcher.try_send(DeliveryEnqueued);
                }
                Vec::new()
            });
            let unanswered = unit.await.unwrap_or_else(|failure| {
                log::error!("a pull failed: {failure}");
                all
            });
            watchdog.do_send(Asked { unanswered, claim });
        });
    }
}

impl Actor for TimeoutWatchdog {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let (watchdog, other) = (ctx.address(), ctx.address());
        self.deadlines.start(move || watchdog.do_send(DeadlineDue));
        self.pulls.start(move || other.do_send(PullDue));
        self.scan_deadlines(ctx);
        self.scan_pulls(ctx);
    }
}

impl Supervised for TimeoutWatchdog {
    fn restarting(&mut self, _: &mut Self::Context) {
        self.deadlines.restart();
        self.pulls.restart();
    }
}

impl Handler<DeadlineAdded> for TimeoutWatchdog {
    type Result = ();

    fn handle(&mut self, added: DeadlineAdded, ctx: &mut Self::Context) {
        // Most deadlines are later than the one that is waited for; those
        // cost nothing here.
        self.deadlines.wake_at(added.deadline_at);
        self.pulls.wake_at(added.pull_at);
        self.scan_deadlines(ctx);
        self.scan_pulls(ctx);
    }
}

#[derive(Message)]
#[rtype(result = "()")]
struct DeadlineDue;

impl Handler<DeadlineDue> for TimeoutWatchdog {
    type Result = ();

    fn handle(&mut self, _: DeadlineDue, ctx: &mut Self::Context) {
        self.deadlines.hint();
        self.scan_deadlines(ctx);
    }
}

#[derive(Message)]
#[rtype(result = "()")]
struct PullDue;

impl Handler<PullDue> for TimeoutWatchdog {
    type Result = ();

    fn handle(&mut self, _: PullDue, ctx: &mut Self::Context) {
        self.pulls.hint();
        self.scan_pulls(ctx);
    }
}

#[derive(Message)]
#[rtype(result = "()")]
struct DeadlinesScanned {
    /// When the next deadline comes.
    next_at: Result<Option<Millis>, StoreError>,
    scan: Scan,
}

impl Handler<DeadlinesScanned> for TimeoutWatchdog {
    type Result = ();

    fn handle(&mut self, scanned: DeadlinesScanned, ctx: &mut Self::Context) {
        if self.deadlines.end_scan(scanned.scan).is_none() {
            return;
        }
        match scanned.next_at {
            Ok(Some(at)) => self.deadlines.wake_at(at),
            Ok(None) => {}
            Err(error) => {
                log::error!("deadlines could not be looked at: {error}");
                self.deadlines.pause_for_store();
            }
        }
        self.scan_deadlines(ctx);
    }
}

#[derive(Message)]
#[rtype(result = "()")]
struct PullsScanned {
    /// Whom to ask about, and when the next pull is due.
    read: Result<(Vec<Uuid>, Option<Millis>), StoreError>,
    /// Those that had not been answered before. Who is still open is among those
    /// that are read.
    again: Vec<Uuid>,
    scan: Scan,
}

impl Handler<PullsScanned> for TimeoutWatchdog {
    type Result = ();

    fn handle(&mut self, scanned: PullsScanned, ctx: &mut Self::Context) {
        let Some(began_at) = self.pulls.end_scan(scanned.scan) else {
            return;
        };
        match scanned.read {
            Ok((ids, next_at)) => {
                self.pulled_until = began_at;
                self.reconciled = true;
                for id in scanned.again {
                    self.unanswered.ids.remove(&id);
                }
                self.ask(ids.into_iter().collect(), ctx);
                let next_at = next_at.into_iter().chain(self.unanswered.next_at());
                next_at.for_each(|at| self.pulls.wake_at(at));
            }
            Err(error) => {
                log::error!("due pulls could not be read: {error}");
                self.pulls.pause_for_store();
            }
        }
        self.scan_pulls(ctx);
    }
}

#[derive(Message)]
#[rtype(result = "()")]
struct Asked {
    unanswered: Vec<Uuid>,
    claim: Claim<u64>,
}

impl Handler<Asked> for TimeoutWatchdog {
    type Result = ();

    fn handle(&mut self, Asked { unanswered, claim }: Asked, ctx: &mut Self::Context) {
        // Nobody else knows of them, so they are kept over a restart too.
        self.pulls.end(claim);
        self.unanswered.note(unanswered, self.now());
        if let Some(at) = self.unanswered.next_at() {
            self.pulls.wake_at(at);
        }
        self.scan_pulls(ctx);
    }
}

/// Asks about one batch and applies the answer. `false`: there was none, or it
/// could not be kept.
async fn pull(db: &Db, tts: &TtsClient, ids: &[Uuid]) -> bool {
    let asked_at = db.clock().now();
    let known = match tts.statuses(ids).await {
        Ok(known) => known,
        Err(error) => {
            log::info!("{} tasks could not be asked about: {error}", ids.len());
            return false;
        }
    };
    let missing: Vec<Uuid> = ids
        .iter()
        .copied()
        .filter(|id| !known.iter().any(|speech| speech.id == *id))
        .collect();
    let applied = db
        .write(move |tx| {
            for speech in &known {
                store::result_known(tx, speech, "TimeoutWatchdog")?;
            }
            store::lost(tx, &missing, asked_at)
        })
        .await;
    if let Err(error) = &applied {
        log::error!("what a pull showed could not be recorded: {error}");
    }
    applied.is_ok()
}

impl Handler<Drain> for TimeoutWatchdog {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, drain: Drain, _: &mut Self::Context) -> Self::Result {
        let deadlines = self.deadlines.drain(drain.until);
        let pulls = self.pulls.drain(drain.until);
        Box::pin(async move {
            deadlines.await;
            pulls.await;
        })
    }
}
