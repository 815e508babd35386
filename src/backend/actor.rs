//! Backend: claims due errands, runs each in a task of its own, arms one
//! timer for the next.

use std::any::Any;
use std::collections::HashSet;
use std::sync::Weak;
use std::time::Duration;

use actix::prelude::*;
use tokio::sync::watch;
use uuid::Uuid;

use super::fetch::fetch;
use super::hand_over::{Health, abandon, hand_over};
use super::progress::follow;
use super::store::{self, Row};
use super::task::Errand;
use super::tts_client::TtsClient;
use super::watchdog::TimeoutWatchdog;
use crate::clock::{Alarm, Millis};
use crate::contract::Catalog;
use crate::db::{Db, InFlight, StoreError};
use crate::delivery::{CallbackDispatcher, DeliveryOwed};
use crate::fault;
use crate::files::Files;
use crate::outbound::circuit::{Allow, Circuit, Limits};
use crate::progress::ProgressBoard;
use crate::supervision::{Drain, spawn_unit};

/// Errands under way at most.
const MAX_UNITS: usize = 64;
/// How long the Backend waits after the store has failed it.
const STORE_PAUSE_MS: Millis = 1000;
/// How often the list of voices is fetched anew.
const VOICES_EVERY_MS: Millis = 60_000;
/// How soon it is tried again while there is none yet.
const VOICES_AGAIN_MS: Millis = 2_000;
/// When a TTS service that fails is left alone, and how it is probed.
const CIRCUIT: Limits = Limits {
    threshold: 3,
    first_wait_ms: 1000,
    longest_wait_ms: 30_000,
    probe_silence_ms: 60_000,
};

/// A task may owe a hand-over.
#[derive(Message, Clone, Copy)]
#[rtype(result = "()")]
pub struct TaskSubmitted;

/// A task may owe a fetch.
#[derive(Message, Clone, Copy)]
#[rtype(result = "()")]
pub struct ResultKnown;

/// A task may owe an abandon.
#[derive(Message, Clone, Copy)]
#[rtype(result = "()")]
pub struct TaskEnded;

/// Somebody streams this task's events.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Watch {
    /// The task.
    pub id: Uuid,
    /// Gone when nobody watches any more.
    pub watcher: Weak<dyn Any + Send + Sync>,
}

impl Handler<Watch> for Backend {
    type Result = ();

    fn handle(&mut self, Watch { id, watcher }: Watch, ctx: &mut Self::Context) {
        if self.draining || !self.followed.insert(id) {
            return;
        }
        let (tts, board, backend) = (
            self.parts.tts.clone(),
            self.parts.progress.clone(),
            ctx.address(),
        );
        actix_rt::spawn(async move {
            let _ = spawn_unit(follow(tts, board, id, watcher)).await;
            backend.do_send(Unfollowed(id));
        });
    }
}

#[derive(Message)]
#[rtype(result = "()")]
struct Unfollowed(Uuid);

impl Handler<Unfollowed> for Backend {
    type Result = ();

    fn handle(&mut self, Unfollowed(id): Unfollowed, _: &mut Self::Context) {
        self.followed.remove(&id);
    }
}

/// What the Backend works with.
pub struct Parts {
    /// The Backend service's database.
    pub db: Db,
    /// The Backend service's files.
    pub files: Files,
    /// Speaks to the TTS service.
    pub tts: TtsClient,
    /// Told what is owed.
    pub dispatcher: Recipient<DeliveryOwed>,
    /// Told how far a watched synthesis is.
    pub progress: ProgressBoard,
    /// Where the voices are kept for the edge.
    pub voices: watch::Sender<Catalog>,
}

/// The actor.
pub struct Backend {
    parts: Parts,
    units: InFlight<Uuid>,
    circuit: Circuit,
    paused_until: Millis,
    due: Alarm,
    voices_timer: Alarm,
    /// Tasks whose speech's events are being followed.
    followed: HashSet<Uuid>,
    life: u32,
    draining: bool,
    idle: watch::Sender<bool>,
}

impl Backend {
    /// An actor that claims once it is started.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        Self {
            parts,
            units: InFlight::default(),
            circuit: Circuit::new(CIRCUIT),
            paused_until: 0,
            due: Alarm::default(),
            voices_timer: Alarm::default(),
            followed: HashSet::new(),
            life: 0,
            draining: false,
            idle: watch::Sender::new(true),
        }
    }

    fn now(&self) -> Millis {
        self.parts.db.clock().now()
    }

    /// Reads which errands are due, as many as may run now.
    fn claim(&mut self, ctx: &mut Context<Self>) {
        fault::point(format_args!("actor.backend"));
        let now = self.now();
        if self.draining || self.units.len() >= MAX_UNITS {
            return;
        }
        if self.paused_until > now {
            return self.arm_due(ctx, Some(self.paused_until));
        }
        // While the TTS service fails, waiting is no attempt: one errand is
        // the probe, the others stay due.
        let room = match self.circuit.allow(now) {
            Allow::Yes => MAX_UNITS - self.units.len(),
            Allow::Probe => 1,
            Allow::NotBefore(at) => return self.arm_due(ctx, Some(at)),
        };
        if !self.units.begin_claim(true) {
            self.circuit.unused();
            return;
        }
        let running = self.units.keys();
        let (db, backend, life) = (self.parts.db.clone(), ctx.address(), self.life);
        actix_rt::spawn(async move {
            let most = i64::try_from(room + running.len()).unwrap_or(i64::MAX);
            let found = db
                .read(move |conn| {
                    let (mut rows, next_at) = store::due_errands(conn, now, most)?;
                    rows.retain(|row| !running.contains(&row.id.0));
                    rows.truncate(room);
                    Ok((rows, next_at))
                })
                .await;
            backend.do_send(Found { found, life });
        });
    }

    fn arm_due(&mut self, ctx: &mut Context<Self>, at: Option<Millis>) {
        match at {
            Some(at) => {
                let backend = ctx.address();
                self.due.arm(self.parts.db.clock(), at, move || {
                    backend.do_send(TaskSubmitted)
                });
            }
            None => self.due.disarm(),
        }
    }

    fn run(&mut self, row: Row, ctx: &mut Context<Self>) {
        let Some(errand) = row.errand() else {
            self.units.end(row.id.0);
            return;
        };
        self.idle.send_replace(false);
        let (db, tts, files) = (
            self.parts.db.clone(),
            self.parts.tts.clone(),
            self.parts.files.clone(),
        );
        let (backend, life, id) = (ctx.address(), self.life, row.id.0);
        actix_rt::spawn(async move {
            let unit = spawn_unit(async move {
                match errand {
                    Errand::HandOver => hand_over(&db, &tts, &row).await,
                    Errand::Fetch => fetch(&db, &tts, &files, &row).await,
                    Errand::Abandon => abandon(&db, &tts, &row).await,
                }
            });
            let health = match unit.await {
                Ok(Ok(health)) => Some(health),
                Ok(Err(error)) => {
                    log::error!(
                        "the {} of {id} could not be recorded: {error}",
                        errand.as_str()
                    );
                    None
                }
                Err(failure) => {
                    log::error!("the {} of {id} failed: {failure}", errand.as_str());
                    None
                }
            };
            backend.do_send(Ran { id, health, life });
        });
    }

    fn note(&mut self, health: Option<Health>) {
        let now = self.now();
        match health {
            Some(Health::Answers) => self.circuit.success(),
            Some(Health::Fails) => self.circuit.failure(now),
            Some(Health::Busy { pause }) => {
                self.circuit.success();
                let pause_ms =
                    i64::try_from(pause.min(Duration::from_secs(60)).as_millis()).unwrap_or(1000);
                self.paused_until = now + pause_ms;
            }
            // The unit has panicked or its outcome is not kept: the row is
            // still due, so the whole pump pauses and not just this task.
            None => self.paused_until = now + STORE_PAUSE_MS,
        }
    }

    fn fetch_voices(&self, ctx: &mut Context<Self>) {
        let (tts, backend) = (self.parts.tts.clone(), ctx.address());
        actix_rt::spawn(async move {
            let catalog = tts.voices().await;
            backend.do_send(Voices(
                catalog
                    .map_err(|error| log::debug!("no list of voices: {error}"))
                    .ok(),
            ));
        });
    }
}

impl Actor for Backend {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.claim(ctx);
        self.fetch_voices(ctx);
    }
}

impl Supervised for Backend {
    fn restarting(&mut self, _: &mut Self::Context) {
        // Errands of the earlier life end by themselves; repeating one of
        // them changes nothing, since each is idempotent over there.
        self.life += 1;
        self.units = InFlight::default();
        // A probe of the earlier life will not be heard of.
        self.circuit.unused();
        self.idle.send_replace(true);
    }
}

macro_rules! claims_on {
    ($($hint:ty),*) => {$(
        impl Handler<$hint> for Backend {
            type Result = ();

            fn handle(&mut self, _: $hint, ctx: &mut Self::Context) {
                self.claim(ctx);
            }
        }
    )*};
}
claims_on!(TaskSubmitted, ResultKnown, TaskEnded);

#[derive(Message)]
#[rtype(result = "()")]
struct Found {
    found: Result<(Vec<Row>, Option<Millis>), StoreError>,
    life: u32,
}

impl Handler<Found> for Backend {
    type Result = ();

    fn handle(&mut self, Found { found, life }: Found, ctx: &mut Self::Context) {
        if life != self.life {
            return;
        }
        let (rows, next_at) = match found {
            Ok(found) => found,
            Err(error) => {
                log::error!("due errands could not be read: {error}");
                (Vec::new(), Some(self.now() + STORE_PAUSE_MS))
            }
        };
        let (fresh, again) = self.units.take(rows, |row| row.id.0);
        if fresh.is_empty() {
            // A probe that found nothing to ask with has shown nothing; the
            // next errand is to be the probe.
            self.circuit.unused();
        }
        for row in fresh {
            self.run(row, ctx);
        }
        self.arm_due(ctx, next_at);
        if again {
            self.claim(ctx);
        }
    }
}

#[derive(Message)]
#[rtype(result = "()")]
struct Ran {
    id: Uuid,
    health: Option<Health>,
    life: u32,
}

impl Handler<Ran> for Backend {
    type Result = ();

    fn handle(&mut self, Ran { id, health, life }: Ran, ctx: &mut Self::Context) {
        if life != self.life {
            return;
        }
        self.units.end(id);
        self.note(health);
        // A refusal or a fetch may have ended the task.
        let _ = self.parts.dispatcher.try_send(DeliveryOwed);
        self.claim(ctx);
        if self.units.is_empty() {
            self.idle.send_replace(true);
        }
    }
}

#[derive(Message)]
#[rtype(result = "()")]
struct Voices(Option<Catalog>);

#[derive(Message)]
#[rtype(result = "()")]
struct FetchVoices;

impl Handler<FetchVoices> for Backend {
    type Result = ();

    fn handle(&mut self, _: FetchVoices, ctx: &mut Self::Context) {
        self.fetch_voices(ctx);
    }
}

impl Handler<Voices> for Backend {
    type Result = ();

    fn handle(&mut self, Voices(catalog): Voices, ctx: &mut Self::Context) {
        if let Some(catalog) = catalog {
            self.parts.voices.send_replace(catalog);
        }
        let known = !self.parts.voices.borrow().items.is_empty();
        let wait = if known {
            VOICES_EVERY_MS
        } else {
            VOICES_AGAIN_MS
        };
        let (backend, at) = (ctx.address(), self.now() + wait);
        self.voices_timer.arm(self.parts.db.clock(), at, move || {
            backend.do_send(FetchVoices)
        });
    }
}

impl Handler<Drain> for Backend {
    type Result = ResponseFuture<()>;

    /// Errands that are cut off are made again after the next start.
    fn handle(&mut self, drain: Drain, _: &mut Self::Context) -> Self::Result {
        self.draining = true;
        self.voices_timer.disarm();
        let mut idle = self.idle.subscribe();
        Box::pin(async move {
            let ended = async {
                let _ = idle.wait_for(|idle| *idle).await;
            };
            let _ = tokio::time::timeout_at(drain.until, ended).await;
        })
    }
}

/// The addresses that the Backend's edge sends hints to.
#[derive(Clone)]
pub struct Hints {
    /// Runs errands.
    pub backend: Addr<Backend>,
    /// Watches deadlines.
    pub watchdog: Addr<TimeoutWatchdog>,
    /// Delivers.
    pub dispatcher: Addr<CallbackDispatcher>,
}
