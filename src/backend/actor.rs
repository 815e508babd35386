//! Backend: claims due actions and runs each in a task of its own.

use std::time::Duration;

use actix::prelude::*;
use hoiam_api::Catalog;
use hoiam_supervision::clock::{Alarm, Millis};
use hoiam_supervision::{Drain, spawn_unit};
use tokio::sync::watch;
use uuid::Uuid;

use super::due::{DueQuery, DueWork, due};
use super::erase::erase;
use super::erasures;
use super::fetch::fetch;
use super::hand_over::{TtsHealth, abandon, hand_over};
use super::holds::Holds;
use super::messages::{ResultKnown, TaskEnded, TaskSubmitted, Watch};
use super::progress::{Followed, Left, Watchers, follow};
use super::slots::{Kind, Slot, Slots, UnderWay};
use super::store;
use super::task::Action;
use super::tts_client::TtsClient;
use crate::claim_loop::{Claim, ClaimLoop, Pulse, Scan};
use crate::db::{Db, StoreError, Tx};
use crate::delivery::DeliveryEnqueued;
use crate::failpoint;
use crate::files::Files;
use crate::outbound::circuit::{Allow, Circuit, Limits};
use crate::progress::ProgressBoard;

/// The longest that hand-overs are held back, whatever Retry-After says.
const LONGEST_HOLD: Duration = Duration::from_secs(60);
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

impl Handler<Watch> for Backend {
    type Result = ();

    fn handle(&mut self, Watch { id, watcher }: Watch, ctx: &mut Self::Context) {
        if self.claims.is_closed() {
            return;
        }
        if let Some(watchers) = self.followed.join(id, watcher) {
            self.follow(id, watchers, ctx);
        }
    }
}

#[derive(Message)]
#[rtype(result = "()")]
struct Unfollowed(Uuid, Left);

impl Handler<Unfollowed> for Backend {
    type Result = ();

    fn handle(&mut self, Unfollowed(id, left): Unfollowed, ctx: &mut Self::Context) {
        if let Some(watchers) = self.followed.leave(id, left) {
            self.follow(id, watchers, ctx);
        }
    }
}

/// What the Backend works with.
pub struct Deps {
    /// The Backend service's database.
    pub db: Db,
    /// The Backend service's files.
    pub files: Files,
    /// Speaks to the TTS service.
    pub tts: TtsClient,
    /// Payload what is owed.
    pub dispatcher: Recipient<DeliveryEnqueued>,
    /// Payload how far a watched synthesis is.
    pub progress: ProgressBoard,
    /// Where the voices are kept for the edge.
    pub voices: watch::Sender<Catalog>,
    /// Shows how its actions stand.
    pub actions: Pulse,
}

/// The actor.
pub struct Backend {
    deps: Deps,
    claims: ClaimLoop,
    slots: Slots,
    circuit: Circuit,
    holds: Holds,
    /// The client whose task was the last to be handed over: the next one's turn
    /// comes after it.
    last: String,
    voices_timer: Alarm,
    /// Tasks whose speech's events are being followed.
    followed: Followed,
}

impl Backend {
    /// An actor that claims once it is started.
    #[must_use]
    pub fn new(deps: Deps) -> Self {
        Self {
            claims: ClaimLoop::new(deps.db.clock().clone(), deps.actions.clone()),
            deps,
            slots: Slots::default(),
            circuit: Circuit::new(CIRCUIT),
            holds: Holds::default(),
            last: String::new(),
            voices_timer: Alarm::default(),
            followed: Followed::default(),
        }
    }

    fn now(&self) -> Millis {
        self.deps.db.clock().now()
    }

    /// How many actions may be claimed now, if there is a slot for them. While the
    /// TTS service fails, waiting is no attempt: one action is the probe, the others
    /// stay due.
    fn most(&mut self, now: Millis) -> usize {
        match self.circuit.clone().allow(now) {
            Allow::Yes => UnderWay::MOST,
            Allow::Probe => 1,
            Allow::NotBefore(at) => {
                self.claims.wake_at(at);
                0
            }
        }
    }

    /// Reads which actions are due, as many as may run now.
    fn scan(&mut self, ctx: &mut Context<Self>) {
        failpoint::point(format_args!("actor.backend"));
        let now = self.now();
        let most = self.most(now);
        if let Some(at) = self.holds.end_until(now) {
            self.claims.wake_at(at);
        }
        let under_way = self.slots.under_way();
        // Each end of a unit is a hint.
        let has_room = Kind::ALL.iter().any(|kind| under_way.room(*kind) > 0);
        let Some(scan) = self.claims.begin_scan(now, most > 0 && has_room) else {
            return;
        };
        let wanted = DueQuery {
            now,
            most,
            under_way,
            holds: self.holds.clone(),
            last: self.last.clone(),
        };
        let (db, backend) = (self.deps.db.clone(), ctx.address());
        actix_rt::spawn(async move {
            let found = db.read(move |conn| due(conn, wanted)).await;
            backend.do_send(ActionsScanned { found, scan });
        });
    }

    fn run(&mut self, work: DueWork, ctx: &mut Context<Self>) {
        if self.most(self.now()) == 0 {
            return;
        }
        let (id, kind) = (work.id(), work.kind());
        let Some(slot) = self.slots.take(id, kind) else {
            return;
        };
        let Some(claim) = self.claims.take(id) else {
            return;
        };
        let client = work.hands_over_for().map(str::to_owned);
        if let Some(client) = &client {
            self.last.clone_from(client);
        }
        self.circuit.allow(self.now());
        let (db, tts, files) = (
            self.deps.db.clone(),
            self.deps.tts.clone(),
            self.deps.files.clone(),
        );
        let (backend, dispatcher) = (ctx.address(), self.deps.dispatcher.clone());
        actix_rt::spawn(async move {
            let unit = {
                let db = db.clone();
                spawn_unit(async move {
                    match work {
                        DueWork::Action(Action::HandOver, row) => hand_over(&db, &tts, &row).await,
                        DueWork::Action(Action::Fetch, row) => fetch(&db, &tts, &files, &row).await,
                        DueWork::Action(Action::Abandon, row) => abandon(&db, &tts, &row).await,
                        DueWork::Erasure(erasure) => erase(&db, &tts, &erasure).await,
                    }
                })
            };
            let health = match unit.await {
                Ok(health) => health,
                Err(failure) => {
                    log::error!("the {} of {id} failed: {failure}", kind.as_str());
                    panicked(&db, id, kind, failure.to_string()).await
                }
            };
            let health = health.map_err(|error| {
                log::error!(
                    "the {} of {id} could not be recorded: {error}",
                    kind.as_str()
                );
            });
            // A refusal or a fetch may have ended the task. From here and not from
            // the actor, which may have restarted.
            let _ = dispatcher.try_send(DeliveryEnqueued);
            let health = health.ok();
            backend.do_send(ActionFinished {
                claim,
                slot,
                client,
                health,
            });
        });
    }

    fn note(&mut self, client: Option<&str>, health: Option<TtsHealth>) {
        match health {
            Some(TtsHealth::Answers) => self.circuit.success(),
            Some(TtsHealth::Fails) => self.circuit.failure(self.now()),
            Some(TtsHealth::Busy { pause }) => {
                self.circuit.success();
                self.holds.hold_all(self.end_of(pause));
            }
            Some(TtsHealth::ShareFull { pause }) => {
                self.circuit.success();
                let until = self.end_of(pause);
                if let Some(client) = client {
                    self.holds.hold(client, until);
                }
            }
            Some(TtsHealth::Unknown) => self.circuit.unused(),
            // The outcome is not kept, so the row is still due: the whole loop
            // pauses and not just this task.
            None => {
                self.circuit.unused();
                self.claims.pause_for_store();
            }
        }
    }

    fn end_of(&self, pause: Duration) -> Millis {
        let pause_ms = pause.min(LONGEST_HOLD).as_millis();
        self.now() + i64::try_from(pause_ms).unwrap_or(1000)
    }

    fn follow(&self, id: Uuid, watchers: Watchers, ctx: &mut Context<Self>) {
        let (db, tts, board, backend) = (
            self.deps.db.clone(),
            self.deps.tts.clone(),
            self.deps.progress.clone(),
            ctx.address(),
        );
        actix_rt::spawn(async move {
            let left = spawn_unit(follow(db, tts, board, id, watchers)).await;
            backend.do_send(Unfollowed(id, left.unwrap_or(Left::Over)));
        });
    }

    fn fetch_voices(&self, ctx: &mut Context<Self>) {
        let (tts, backend) = (self.deps.tts.clone(), ctx.address());
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

/// A try that panicked is a failed try: one task that makes us panic each time
/// must not hold up the others.
async fn panicked(db: &Db, id: Uuid, kind: Kind, reason: String) -> Result<TtsHealth, StoreError> {
    let operation = move |tx: &mut Tx<'_>| match kind {
        Kind::Action(action) => store::action_failed(tx, id, action, &reason, None),
        Kind::Erasure => erasures::failed(tx, id).map(drop),
    };
    db.write_until_kept(operation).await?;
    Ok(TtsHealth::Unknown)
}

impl Actor for Backend {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let backend = ctx.address();
        self.claims.start(move || backend.do_send(TaskSubmitted));
        self.scan(ctx);
        self.fetch_voices(ctx);
    }
}

impl Supervised for Backend {
    fn restarting(&mut self, _: &mut Self::Context) {
        // Actions of the time before end by themselves, and nothing else is done for
        // their ids until then: an erasure finds what a hand-over has left.
        self.claims.restart();
        self.holds = Holds::default();
        // A probe of the time before will not be heard of.
        self.circuit.unused();
    }
}

macro_rules! claims_on {
    ($($hint:ty),*) => {$(
        impl Handler<$hint> for Backend {
            type Result = ();

            fn handle(&mut self, _: $hint, ctx: &mut Self::Context) {
                self.claims.hint();
                self.scan(ctx);
            }
        }
    )*};
}
claims_on!(TaskSubmitted, ResultKnown, TaskEnded);

#[derive(Message)]
#[rtype(result = "()")]
struct ActionsScanned {
    found: Result<(Vec<DueWork>, Option<Millis>), StoreError>,
    scan: Scan,
}

impl Handler<ActionsScanned> for Backend {
    type Result = ();

    fn handle(&mut self, ActionsScanned { found, scan }: ActionsScanned, ctx: &mut Self::Context) {
        if self.claims.end_scan(scan).is_none() {
            return;
        }
        match found {
            Ok((owed, next_at)) => {
                for one in owed {
                    self.run(one, ctx);
                }
                if let Some(at) = next_at {
                    self.claims.wake_at(at);
                }
            }
            Err(error) => {
                log::error!("due actions could not be read: {error}");
                self.claims.pause_for_store();
            }
        }
        self.scan(ctx);
    }
}

#[derive(Message)]
#[rtype(result = "()")]
struct ActionFinished {
    claim: Claim,
    slot: Slot,
    /// Whose task was handed over, if it was that.
    client: Option<String>,
    /// `None`: the outcome is not kept.
    health: Option<TtsHealth>,
}

impl Handler<ActionFinished> for Backend {
    type Result = ();

    fn handle(&mut self, ran: ActionFinished, ctx: &mut Self::Context) {
        drop(ran.slot);
        if self.claims.end(ran.claim) {
            self.note(ran.client.as_deref(), ran.health);
        }
        // There is room again, and a try that has failed is due at an instant
        // that only the store knows.
        self.claims.hint();
        self.scan(ctx);
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
            self.deps.voices.send_replace(catalog);
        }
        let known = !self.deps.voices.borrow().items.is_empty();
        let wait = if known {
            VOICES_EVERY_MS
        } else {
            VOICES_AGAIN_MS
        };
        let (backend, at) = (ctx.address(), self.now() + wait);
        self.voices_timer.arm(self.deps.db.clock(), at, move || {
            backend.do_send(FetchVoices)
        });
    }
}

impl Handler<Drain> for Backend {
    type Result = ResponseFuture<()>;

    /// Actions that are cut off are made again after the next start.
    fn handle(&mut self, drain: Drain, _: &mut Self::Context) -> Self::Result {
        self.voices_timer.disarm();
        let ended = self.claims.drain(drain.until);
        Box::pin(async move {
            ended.await;
        })
    }
}
