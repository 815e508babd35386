//! TimeoutWatchdog: asks the TTS service shortly before a deadline, times
//! out at the deadline, and arms one timer for the next instant of either.

use actix::prelude::*;
use tokio::sync::watch;
use uuid::Uuid;

use super::actor::{ResultKnown, TaskEnded};
use super::store::{self, TimedOut};
use super::tts_client::TtsClient;
use crate::clock::{Alarm, Millis};
use crate::db::{Db, StoreError};
use crate::delivery::DeliveryOwed;
use crate::fault;
use crate::supervision::{Drain, spawn_unit};

/// The most ids that the TTS service takes in one question.
const PULL_BATCH: usize = 500;
/// How long the watchdog waits after the store has failed it.
const STORE_PAUSE_MS: Millis = 1000;

/// A task with a deadline has been accepted.
#[derive(Message, Clone, Copy)]
#[rtype(result = "()")]
pub struct DeadlineAdded {
    /// When it is to be asked about.
    pub pull_at: Millis,
    /// When it times out.
    pub deadline_at: Millis,
}

/// What the watchdog works with.
pub struct Parts {
    /// The Backend service's database.
    pub db: Db,
    /// Speaks to the TTS service.
    pub tts: TtsClient,
    /// Told that fetches may be owed.
    pub result_known: Recipient<ResultKnown>,
    /// Told that abandons are owed.
    pub task_ended: Recipient<TaskEnded>,
    /// Told that callbacks are owed.
    pub dispatcher: Recipient<DeliveryOwed>,
}

/// The actor.
pub struct TimeoutWatchdog {
    parts: Parts,
    deadline: NextInstant,
    pull: NextInstant,
    /// Pulls that were due up to here have been made.
    pulled_until: Millis,
    reconciled: bool,
    life: u32,
    draining: bool,
    busy: watch::Sender<usize>,
}

/// One timer, and whether its look is under way.
#[derive(Default)]
struct NextInstant {
    alarm: Alarm,
    at: Option<Millis>,
    looking: bool,
    again: bool,
}

impl NextInstant {
    /// Whether a look may start; else another will follow the current one.
    fn begin(&mut self) -> bool {
        self.again = self.looking;
        !std::mem::replace(&mut self.looking, true)
    }

    /// Whether `at` comes before what the timer waits for.
    fn is_earlier(&self, at: Millis) -> bool {
        self.at.is_none_or(|armed| at < armed)
    }
}

impl TimeoutWatchdog {
    /// A watchdog that looks once it is started.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        Self {
            parts,
            deadline: NextInstant::default(),
            pull: NextInstant::default(),
            pulled_until: 0,
            reconciled: false,
            life: 0,
            draining: false,
            busy: watch::Sender::new(0),
        }
    }

    /// Times out what is due.
    fn look_at_deadlines(&mut self, ctx: &mut Context<Self>) {
        fault::point(format_args!("actor.watchdog"));
        if self.draining || !self.deadline.begin() {
            return;
        }
        let (db, watchdog, life) = (self.parts.db.clone(), ctx.address(), self.life);
        actix_rt::spawn(async move {
            let timed_out = db.write(store::time_out).await;
            watchdog.do_send(Looked { timed_out, life });
        });
    }

    /// Asks about what is soon due.
    fn look_at_pulls(&mut self, ctx: &mut Context<Self>) {
        if self.draining || !self.pull.begin() {
            return;
        }
        let (db, watchdog, life) = (self.parts.db.clone(), ctx.address(), self.life);
        let (after, until) = (self.pulled_until, db.clock().now());
        actix_rt::spawn(async move {
            let due = db
                .read(move |conn| store::due_pulls(conn, after, until))
                .await;
            watchdog.do_send(Pulls { due, until, life });
        });
    }

    /// After a start, asks about everything that had been handed over.
    fn reconcile(&mut self, ctx: &mut Context<Self>) {
        if std::mem::replace(&mut self.reconciled, true) {
            return;
        }
        let (db, watchdog) = (self.parts.db.clone(), ctx.address());
        actix_rt::spawn(async move {
            match db.read(store::in_progress).await {
                Ok(ids) => watchdog.do_send(Ask(ids)),
                Err(error) => log::error!("open tasks could not be read: {error}"),
            }
        });
    }

    fn arm_deadline(&mut self, ctx: &mut Context<Self>, at: Option<Millis>) {
        let watchdog = ctx.address();
        arm(&mut self.deadline, &self.parts.db, at, move || {
            watchdog.do_send(DeadlineDue)
        });
    }

    fn arm_pull(&mut self, ctx: &mut Context<Self>, at: Option<Millis>) {
        let watchdog = ctx.address();
        arm(&mut self.pull, &self.parts.db, at, move || {
            watchdog.do_send(PullDue)
        });
    }
}

fn arm(next: &mut NextInstant, db: &Db, at: Option<Millis>, ring: impl FnOnce() + 'static) {
    next.at = at;
    match at {
        Some(at) => next.alarm.arm(db.clock(), at, ring),
        None => next.alarm.disarm(),
    }
}

impl Actor for TimeoutWatchdog {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.look_at_deadlines(ctx);
        self.look_at_pulls(ctx);
        self.reconcile(ctx);
    }
}

impl Supervised for TimeoutWatchdog {
    fn restarting(&mut self, _: &mut Self::Context) {
        self.life += 1;
        self.deadline = NextInstant::default();
        self.pull = NextInstant::default();
        self.busy.send_replace(0);
    }
}

impl Handler<DeadlineAdded> for TimeoutWatchdog {
    type Result = ();

    fn handle(&mut self, added: DeadlineAdded, ctx: &mut Self::Context) {
        // Most deadlines are later than the one that is waited for; those
        // cost nothing here.
        if self.deadline.looking {
            self.deadline.again = true;
        } else if self.deadline.is_earlier(added.deadline_at) {
            self.arm_deadline(ctx, Some(added.deadline_at));
        }
        if self.pull.looking {
            self.pull.again = true;
        } else if self.pull.is_earlier(added.pull_at) {
            self.arm_pull(ctx, Some(added.pull_at));
        }
    }
}

#[derive(Message)]
#[rtype(result = "()")]
struct DeadlineDue;

impl Handler<DeadlineDue> for TimeoutWatchdog {
    type Result = ();

    fn handle(&mut self, _: DeadlineDue, ctx: &mut Self::Context) {
        self.look_at_deadlines(ctx);
    }
}

#[derive(Message)]
#[rtype(result = "()")]
struct PullDue;

impl Handler<PullDue> for TimeoutWatchdog {
    type Result = ();

    fn handle(&mut self, _: PullDue, ctx: &mut Self::Context) {
        self.look_at_pulls(ctx);
    }
}

#[derive(Message)]
#[rtype(result = "()")]
struct Looked {
    timed_out: Result<TimedOut, StoreError>,
    life: u32,
}

impl Handler<Looked> for TimeoutWatchdog {
    type Result = ();

    fn handle(&mut self, Looked { timed_out, life }: Looked, ctx: &mut Self::Context) {
        if life != self.life {
            return;
        }
        self.deadline.looking = false;
        let next = match timed_out {
            Ok(TimedOut {
                count,
                next_deadline_at,
            }) => {
                if count > 0 {
                    let _ = self.parts.dispatcher.try_send(DeliveryOwed);
                    let _ = self.parts.task_ended.try_send(TaskEnded);
                }
                next_deadline_at
            }
            Err(error) => {
                log::error!("deadlines could not be looked at: {error}");
                Some(self.parts.db.clock().now() + STORE_PAUSE_MS)
            }
        };
        self.arm_deadline(ctx, next);
        if std::mem::take(&mut self.deadline.again) {
            self.look_at_deadlines(ctx);
        }
    }
}

#[derive(Message)]
#[rtype(result = "()")]
struct Pulls {
    due: Result<(Vec<Uuid>, Option<Millis>), StoreError>,
    until: Millis,
    life: u32,
}

impl Handler<Pulls> for TimeoutWatchdog {
    type Result = ();

    fn handle(&mut self, Pulls { due, until, life }: Pulls, ctx: &mut Self::Context) {
        if life != self.life {
            return;
        }
        self.pull.looking = false;
        match due {
            Ok((ids, next)) => {
                self.pulled_until = until;
                self.ask(ids, ctx);
                self.arm_pull(ctx, next);
            }
            Err(error) => {
                log::error!("due pulls could not be read: {error}");
                self.arm_pull(ctx, Some(until + STORE_PAUSE_MS));
            }
        }
        if std::mem::take(&mut self.pull.again) {
            self.look_at_pulls(ctx);
        }
    }
}

/// Ask the TTS service about these.
#[derive(Message)]
#[rtype(result = "()")]
struct Ask(Vec<Uuid>);

impl Handler<Ask> for TimeoutWatchdog {
    type Result = ();

    fn handle(&mut self, Ask(ids): Ask, ctx: &mut Self::Context) {
        self.ask(ids, ctx);
    }
}

#[derive(Message)]
#[rtype(result = "()")]
struct Asked {
    life: u32,
}

impl TimeoutWatchdog {
    /// One task of its own for all batches: a TTS service that does not
    /// answer holds up neither deadlines nor the mailbox.
    fn ask(&mut self, ids: Vec<Uuid>, ctx: &mut Context<Self>) {
        if ids.is_empty() || self.draining {
            return;
        }
        self.busy.send_modify(|busy| *busy += 1);
        let (db, tts) = (self.parts.db.clone(), self.parts.tts.clone());
        let (result_known, dispatcher) = (
            self.parts.result_known.clone(),
            self.parts.dispatcher.clone(),
        );
        let (watchdog, life) = (ctx.address(), self.life);
        actix_rt::spawn(async move {
            let unit = spawn_unit(async move {
                for batch in ids.chunks(PULL_BATCH) {
                    pull(&db, &tts, batch).await;
                    let _ = result_known.try_send(ResultKnown);
                    let _ = dispatcher.try_send(DeliveryOwed);
                }
            });
            if let Err(failure) = unit.await {
                log::error!("a pull failed: {failure}");
            }
            watchdog.do_send(Asked { life });
        });
    }
}

impl Handler<Asked> for TimeoutWatchdog {
    type Result = ();

    fn handle(&mut self, Asked { life }: Asked, _: &mut Self::Context) {
        if life == self.life {
            self.busy.send_modify(|busy| *busy = busy.saturating_sub(1));
        }
    }
}

/// Asks about one batch and applies the answer. No answer changes nothing:
/// the deadline decides.
async fn pull(db: &Db, tts: &TtsClient, ids: &[Uuid]) {
    let asked_at = db.clock().now();
    let known = match tts.statuses(ids).await {
        Ok(known) => known,
        Err(error) => {
            log::info!("{} tasks could not be asked about: {error}", ids.len());
            return;
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
    if let Err(error) = applied {
        log::error!("what a pull showed could not be recorded: {error}");
    }
}

impl Handler<Drain> for TimeoutWatchdog {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, drain: Drain, _: &mut Self::Context) -> Self::Result {
        self.draining = true;
        self.deadline.alarm.disarm();
        self.pull.alarm.disarm();
        let mut busy = self.busy.subscribe();
        Box::pin(async move {
            let ended = async {
                let _ = busy.wait_for(|busy| *busy == 0).await;
            };
            let _ = tokio::time::timeout_at(drain.until, ended).await;
        })
    }
}
