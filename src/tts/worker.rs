//! TTSWorker: claims a job, has it spoken by its synthesizer child, commits
//! the outcome.
//!
//! The child is the bottleneck, so a worker claims its next job as soon as
//! the child is free, while the file of the last one is still being written
//! and its outcome committed.

use std::cell::RefCell;
use std::collections::HashSet;
use std::rc::Rc;
use std::time::Duration;

use actix::prelude::*;
use bytes::Bytes;
use tokio::sync::{oneshot, watch};
use uuid::Uuid;

use super::store::{self, Claimed, Expired, Fence, Finished, Job};
use super::voices::Voices;
use crate::clock::{Alarm, Millis};
use crate::contract::{Audio, Failure, Progress};
use crate::db::{Db, StoreError};
use crate::delivery::DeliveryOwed;
use crate::edge::links::extension;
use crate::files::{FileError, Files, Spool, Stored};
use crate::progress::ProgressBoard;
use crate::speech::{self, SpeechError, Spoken};
use crate::supervision::{Drain, spawn_unit};
use crate::synthesizer::parent::{Events, SpeakError, Synthesizer};
use crate::synthesizer::stats::Monitor;

/// Outcomes that may be on their way to disk while the child speaks on.
const MAX_FINISHING: usize = 8;
/// How long a worker waits after the store has failed it.
const STORE_PAUSE_MS: Millis = 1000;

/// A job may be there to claim.
#[derive(Message, Clone, Copy)]
#[rtype(result = "()")]
pub struct JobQueued;

/// Somebody has called this job off.
#[derive(Message, Clone, Copy)]
#[rtype(result = "()")]
pub struct JobCanceled(pub Uuid);

/// A job with this deadline waits.
#[derive(Message, Clone, Copy)]
#[rtype(result = "()")]
pub struct DeadlineAdded(pub Millis);

/// What a worker works with.
#[derive(Clone)]
pub struct Settings {
    /// `tts.max_attempts`.
    pub max_attempts: i32,
    /// `tts.synthesis_base_s`.
    pub synthesis_base: Duration,
    /// `tts.synthesis_ms_per_char`.
    pub synthesis_per_character: Duration,
    /// This boot.
    pub owner: Uuid,
}

/// Children as `/v1/system` shows them, by worker.
pub type ChildBoard = std::sync::Arc<std::sync::Mutex<Vec<Monitor>>>;

/// One worker with one child.
pub struct TtsWorker {
    number: usize,
    db: Db,
    files: Files,
    voices: Voices,
    progress: ProgressBoard,
    dispatcher: Recipient<DeliveryOwed>,
    settings: Settings,
    /// Taken by the unit that speaks and given back at its end.
    synthesizer: Option<Synthesizer>,
    make_synthesizer: Box<dyn Fn() -> Synthesizer>,
    children: ChildBoard,
    speaking: Option<oneshot::Sender<()>>,
    current: Option<Fence>,
    /// Jobs that were called off while a claim was under way, whose answer
    /// may be one of them.
    canceled_early: HashSet<Uuid>,
    /// A hint came while the unit was claiming: what it found may be old.
    again: bool,
    finishing: usize,
    /// Grows with each restart: answers to an earlier life are not heard.
    life: u32,
    draining: watch::Sender<bool>,
    idle: watch::Sender<bool>,
    retry: Alarm,
    expiry: Alarm,
    /// What `expiry` waits for.
    expiry_at: Option<Millis>,
}

/// What [`TtsWorker::new`] needs.
pub struct Parts {
    /// From 0; the first worker also watches the deadlines.
    pub number: usize,
    /// The TTS service's database.
    pub db: Db,
    /// The TTS service's files.
    pub files: Files,
    /// Told what the child offers.
    pub voices: Voices,
    /// Told how far a synthesis is.
    pub progress: ProgressBoard,
    /// Told what is owed.
    pub dispatcher: Recipient<DeliveryOwed>,
    /// Limits.
    pub settings: Settings,
    /// Where children are shown.
    pub children: ChildBoard,
    /// Makes the worker's child.
    pub make_synthesizer: Box<dyn Fn() -> Synthesizer>,
}

impl TtsWorker {
    /// A worker that claims once it is started.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        Self {
            number: parts.number,
            db: parts.db,
            files: parts.files,
            voices: parts.voices,
            progress: parts.progress,
            dispatcher: parts.dispatcher,
            settings: parts.settings,
            synthesizer: None,
            make_synthesizer: parts.make_synthesizer,
            children: parts.children,
            speaking: None,
            current: None,
            canceled_early: HashSet::new(),
            again: false,
            finishing: 0,
            life: 0,
            draining: watch::Sender::new(false),
            idle: watch::Sender::new(true),
            retry: Alarm::default(),
            expiry: Alarm::default(),
            expiry_at: None,
        }
    }

    /// Starts the next unit if the child is free and there is room to finish.
    fn pump(&mut self, ctx: &mut Context<Self>) {
        if *self.draining.borrow() || self.finishing >= MAX_FINISHING {
            return;
        }
        let Some(synthesizer) = self.synthesizer.take() else {
            self.again = true;
            return;
        };
        self.again = false;
        self.idle.send_replace(false);
        let (cancel, canceled) = oneshot::channel();
        self.speaking = Some(cancel);
        let unit = SpeakUnit {
            db: self.db.clone(),
            files: self.files.clone(),
            voices: self.voices.clone(),
            progress: self.progress.clone(),
            settings: self.settings.clone(),
            dispatcher: self.dispatcher.clone(),
            worker: ctx.address(),
            synthesizer,
            life: self.life,
        };
        let (worker, life) = (ctx.address(), self.life);
        actix_rt::spawn(async move {
            let done = spawn_unit(unit.run(canceled))
                .await
                .unwrap_or_else(|failure| {
                    log::error!("a speaking unit failed: {failure}");
                    Spoke {
                        synthesizer: None,
                        next: Next::Pause,
                        finish: None,
                        life,
                    }
                });
            worker.do_send(done);
        });
    }

    fn new_synthesizer(&self) -> Synthesizer {
        let synthesizer = (self.make_synthesizer)();
        let mut children = self
            .children
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if children.len() <= self.number {
            children.resize_with(self.number + 1, || synthesizer.monitor());
        }
        children[self.number] = synthesizer.monitor();
        synthesizer
    }

    fn call_off(&mut self) {
        if let Some(cancel) = self.speaking.take() {
            // The unit may have ended by itself.
            let _ = cancel.send(());
        }
    }

    fn tell_if_idle(&self) {
        if self.synthesizer.is_some() && self.finishing == 0 {
            self.idle.send_replace(true);
        }
    }

    fn arm_retry(&mut self, ctx: &mut Context<Self>, at: Millis) {
        let worker = ctx.address();
        self.retry
            .arm(self.db.clock(), at, move || worker.do_send(JobQueued));
    }

    /// Only the first worker watches the deadlines of waiting jobs. What is
    /// armed already stays if it is earlier: a claim may have been read before
    /// the newest job was committed, and a look too many costs nothing.
    fn arm_expiry(&mut self, ctx: &mut Context<Self>, at: Option<Millis>) {
        if self.number > 0 {
            return;
        }
        self.expiry_at = at.into_iter().chain(self.expiry_at).min();
        match self.expiry_at {
            Some(at) => {
                let worker = ctx.address();
                self.expiry
                    .arm(self.db.clock(), at, move || worker.do_send(Expire));
            }
            None => self.expiry.disarm(),
        }
    }
}

impl Actor for TtsWorker {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        if self.synthesizer.is_none() {
            self.synthesizer = Some(self.new_synthesizer());
        }
        self.pump(ctx);
    }
}

impl Supervised for TtsWorker {
    fn restarting(&mut self, _: &mut Self::Context) {
        // A unit of the earlier life may still speak with the old child; it
        // ends by itself, and its lease is fenced.
        self.life += 1;
        self.call_off();
        self.current = None;
        self.canceled_early.clear();
        self.expiry_at = None;
        self.finishing = 0;
        self.idle.send_replace(true);
    }
}

impl Handler<JobQueued> for TtsWorker {
    type Result = ();

    fn handle(&mut self, _: JobQueued, ctx: &mut Self::Context) {
        self.pump(ctx);
    }
}

impl Handler<JobCanceled> for TtsWorker {
    type Result = ();

    fn handle(&mut self, JobCanceled(id): JobCanceled, _: &mut Self::Context) {
        if self.current.is_some_and(|fence| fence.id == id) {
            self.call_off();
        } else if self.current.is_none() && self.speaking.is_some() {
            self.canceled_early.insert(id);
        }
    }
}

impl Handler<DeadlineAdded> for TtsWorker {
    type Result = ();

    fn handle(&mut self, DeadlineAdded(at): DeadlineAdded, ctx: &mut Self::Context) {
        self.arm_expiry(ctx, Some(at));
    }
}

/// The deadline of a waiting job has come.
#[derive(Message)]
#[rtype(result = "()")]
struct Expire;

impl Handler<Expire> for TtsWorker {
    type Result = ();

    fn handle(&mut self, _: Expire, ctx: &mut Self::Context) {
        self.expiry_at = None;
        let (db, worker, dispatcher) = (self.db.clone(), ctx.address(), self.dispatcher.clone());
        actix_rt::spawn(async move {
            let expired = db.write(store::expire).await;
            let _ = dispatcher.try_send(DeliveryOwed);
            worker.do_send(Looked(expired));
        });
    }
}

#[derive(Message)]
#[rtype(result = "()")]
struct Looked(Result<Expired, StoreError>);

impl Handler<Looked> for TtsWorker {
    type Result = ();

    fn handle(&mut self, Looked(expired): Looked, ctx: &mut Self::Context) {
        let next = match expired {
            Ok(expired) => expired.next_deadline_at,
            Err(error) => {
                log::error!("deadlines could not be looked at: {error}");
                Some(self.db.clock().now() + STORE_PAUSE_MS)
            }
        };
        self.arm_expiry(ctx, next);
    }
}

/// A unit has claimed this job.
#[derive(Message)]
#[rtype(result = "()")]
struct Claims {
    fence: Fence,
    next_deadline_at: Option<Millis>,
    life: u32,
}

impl Handler<Claims> for TtsWorker {
    type Result = ();

    fn handle(&mut self, claims: Claims, ctx: &mut Self::Context) {
        if claims.life == self.life {
            self.current = Some(claims.fence);
            if self.canceled_early.contains(&claims.fence.id) {
                self.call_off();
            }
        }
        self.arm_expiry(ctx, claims.next_deadline_at);
    }
}

/// The child is free again.
#[derive(Message)]
#[rtype(result = "()")]
struct Spoke {
    synthesizer: Option<Synthesizer>,
    next: Next,
    finish: Option<Finish>,
    life: u32,
}

enum Next {
    /// There may be more.
    Claim,
    /// Nothing was there.
    Wait {
        /// When the next deadline of a waiting job comes.
        next_deadline_at: Option<Millis>,
    },
    /// Something failed that is not the job's fault.
    Pause,
    /// The child could not be started; so long until it is tried again.
    Backoff(Duration),
}

impl Handler<Spoke> for TtsWorker {
    type Result = ();

    fn handle(&mut self, spoke: Spoke, ctx: &mut Self::Context) {
        let unit_panicked = spoke.synthesizer.is_none() && spoke.life == self.life;
        let finish = spoke.finish.or_else(|| {
            // The job must not stay with a unit that is no more.
            let fence = self.current.filter(|_| unit_panicked)?;
            Some(Finish::panicked(fence))
        });
        if let Some(finish) = finish {
            self.finishing += usize::from(spoke.life == self.life);
            self.finish(finish, spoke.life, ctx);
        }
        if spoke.life != self.life {
            return;
        }
        let synthesizer = spoke.synthesizer.unwrap_or_else(|| self.new_synthesizer());
        self.synthesizer = Some(synthesizer);
        self.speaking = None;
        self.current = None;
        self.canceled_early.clear();
        let now = self.db.clock().now();
        match spoke.next {
            Next::Claim => self.pump(ctx),
            Next::Wait { .. } if self.again => self.pump(ctx),
            Next::Wait { next_deadline_at } => self.arm_expiry(ctx, next_deadline_at),
            Next::Pause => self.arm_retry(ctx, now + STORE_PAUSE_MS),
            Next::Backoff(wait) => {
                self.arm_retry(
                    ctx,
                    now + i64::try_from(wait.as_millis()).unwrap_or(STORE_PAUSE_MS),
                );
            }
        }
        self.tell_if_idle();
    }
}

impl TtsWorker {
    /// Writes the file and commits the outcome while the child speaks on.
    fn finish(&self, finish: Finish, life: u32, ctx: &mut Context<Self>) {
        let (db, files, progress) = (self.db.clone(), self.files.clone(), self.progress.clone());
        let (worker, dispatcher) = (ctx.address(), self.dispatcher.clone());
        let max_attempts = self.settings.max_attempts;
        actix_rt::spawn(async move {
            let id = finish.fence.id;
            let unit = spawn_unit(async move { finish.commit(&db, &files, max_attempts).await });
            if let Err(failure) = unit.await {
                log::error!("an outcome could not be committed: {failure}");
            }
            progress.clear(id);
            let _ = dispatcher.try_send(DeliveryOwed);
            worker.do_send(FinishedOne { life });
        });
    }
}

#[derive(Message)]
#[rtype(result = "()")]
struct FinishedOne {
    life: u32,
}

impl Handler<FinishedOne> for TtsWorker {
    type Result = ();

    fn handle(&mut self, FinishedOne { life }: FinishedOne, ctx: &mut Self::Context) {
        if life == self.life {
            self.finishing = self.finishing.saturating_sub(1);
        }
        // Also what a unit of an earlier life has given back is to be claimed.
        self.pump(ctx);
        self.tell_if_idle();
    }
}

impl Handler<Drain> for TtsWorker {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, drain: Drain, ctx: &mut Self::Context) -> Self::Result {
        self.draining.send_replace(true);
        // Only a unit between claims holds the child without a job.
        let mut idle = self.idle.subscribe();
        let worker = ctx.address();
        Box::pin(async move {
            let ended = async {
                let _ = idle.wait_for(|idle| *idle).await;
            };
            if tokio::time::timeout_at(drain.until, ended).await.is_err() {
                worker.do_send(GiveBack);
                let _ = idle.wait_for(|idle| *idle).await;
            }
        })
    }
}

/// The grace is over: cancel the child, which gives the job back.
#[derive(Message)]
#[rtype(result = "()")]
struct GiveBack;

impl Handler<GiveBack> for TtsWorker {
    type Result = ();

    fn handle(&mut self, _: GiveBack, _: &mut Self::Context) {
        self.call_off();
    }
}

/// Claims one job and has it spoken.
struct SpeakUnit {
    db: Db,
    files: Files,
    voices: Voices,
    progress: ProgressBoard,
    settings: Settings,
    dispatcher: Recipient<DeliveryOwed>,
    worker: Addr<TtsWorker>,
    synthesizer: Synthesizer,
    life: u32,
}

impl SpeakUnit {
    async fn run(mut self, canceled: oneshot::Receiver<()>) -> Spoke {
        // Without a child there is no use in claiming: a start-up failure
        // costs no job an attempt.
        match self.synthesizer.ensure_started().await {
            Ok(hello) => self.voices.offer(hello),
            Err(error) => {
                self.voices.withdraw(&error.to_string());
                return self.ends(Next::Backoff(error.retry_in), None);
            }
        }
        let owner = self.settings.owner;
        let claimed = match self.db.write(move |tx| store::claim(tx, owner)).await {
            Ok(claimed) => claimed,
            Err(error) => {
                log::error!("no job could be claimed: {error}");
                return self.ends(Next::Pause, None);
            }
        };
        let Claimed {
            job,
            expired,
            next_deadline_at,
        } = claimed;
        if expired > 0 {
            let _ = self.dispatcher.try_send(DeliveryOwed);
        }
        let Some(job) = job else {
            return self.ends(Next::Wait { next_deadline_at }, None);
        };
        let fence = Fence {
            id: job.row.id.0,
            claim: job.row.claim,
            owner,
        };
        self.worker.do_send(Claims {
            fence,
            next_deadline_at,
            life: self.life,
        });
        let finish = self.speak(job, fence, canceled).await;
        let next = match &finish.outcome {
            Outcome::GiveBack {
                wait: Some(wait), ..
            } => Next::Backoff(*wait),
            _ => Next::Claim,
        };
        self.ends(next, Some(finish))
    }

    fn ends(self, next: Next, finish: Option<Finish>) -> Spoke {
        Spoke {
            synthesizer: Some(self.synthesizer),
            next,
            finish,
            life: self.life,
        }
    }

    async fn speak(&mut self, job: Job, fence: Fence, canceled: oneshot::Receiver<()>) -> Finish {
        let row = job.row;
        let create = row.request();
        let (format, bitrate_kbps, speed) = create
            .map_or((speech::Format::Mp3, 64, 1.0), |create| {
                (create.format, create.bitrate_kbps, create.speed)
            });
        let request = speech::Request {
            text: job.text,
            voice: row.resolved_voice.clone(),
            format,
            bitrate_kbps,
            speed,
        };
        let characters = u32::try_from(row.characters).unwrap_or(0);
        let synthesis_limit = self.settings.synthesis_base
            + self
                .settings
                .synthesis_per_character
                .saturating_mul(characters);
        let remaining_ms = u64::try_from(row.deadline_at - self.db.clock().now()).unwrap_or(0);
        let remaining = Duration::from_millis(remaining_ms);
        let mut gathered = Gather {
            id: fence.id,
            spool: Rc::new(RefCell::new(Some(self.files.spool()))),
            progress: self.progress.clone(),
        };
        let wall_limit = synthesis_limit.min(remaining);
        let canceled = async move {
            // A dropped sender is a worker that has restarted, not a cancel.
            if canceled.await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        let spoken = self
            .synthesizer
            .speak(&request, wall_limit, &mut gathered, canceled)
            .await;
        let spool = gathered.spool.borrow_mut().take();
        let outcome = match (spoken, spool) {
            (Ok(spoken), Some(spool)) => Outcome::Spoken(Box::new(Gathered {
                spoken,
                spool,
                file: self.files.key(fence.id, fence.claim, extension(format)),
                audio_format: (format, bitrate_kbps),
            })),
            (Ok(_), None) => Outcome::GiveBack {
                reason: "the file store failed".into(),
                wait: None,
            },
            (Err(error), _) => failed(error, remaining <= synthesis_limit),
        };
        Finish { fence, outcome }
    }
}

/// What an error of the child means for the job.
fn failed(error: SpeakError, deadline_was_the_limit: bool) -> Outcome {
    match error {
        SpeakError::Engine(SpeechError::EngineUnavailable { detail }) => Outcome::GiveBack {
            reason: detail,
            wait: Some(Duration::from_secs(5)),
        },
        SpeakError::Engine(SpeechError::Output { detail }) => Outcome::GiveBack {
            reason: detail,
            wait: Some(Duration::from_secs(1)),
        },
        SpeakError::Engine(SpeechError::Canceled) | SpeakError::Canceled => Outcome::GiveBack {
            reason: "canceled or drained".into(),
            wait: None,
        },
        SpeakError::Engine(SpeechError::UnknownVoice { voice }) => {
            Outcome::Failed(Failure::permanent(
                "unknown_voice",
                format!("No engine here has the voice `{voice}` any more."),
            ))
        }
        SpeakError::Engine(SpeechError::EngineFailed { detail }) => {
            Outcome::Failed(Failure::permanent("engine_failed", detail))
        }
        SpeakError::Crashed { how, .. } => Outcome::AttemptFailed(Failure::permanent(
            "engine_crashed",
            format!("The engine crashed on this text each time it was tried ({how})."),
        )),
        SpeakError::Overran { .. } if deadline_was_the_limit => {
            Outcome::Failed(store::deadline_exceeded())
        }
        SpeakError::Overran { limit } => Outcome::AttemptFailed(Failure::transient(
            "synthesis_timeout",
            format!(
                "The engine had not finished after {} s, each time it was tried.",
                limit.as_secs()
            ),
        )),
        SpeakError::NotStarted(error) => Outcome::GiveBack {
            reason: error.to_string(),
            wait: Some(error.retry_in),
        },
    }
}

/// Takes what the child sends while it speaks.
struct Gather {
    id: Uuid,
    spool: Rc<RefCell<Option<Spool>>>,
    progress: ProgressBoard,
}

impl Events for Gather {
    async fn audio(&mut self, bytes: Bytes) -> std::io::Result<()> {
        let Some(mut spool) = self.spool.borrow_mut().take() else {
            return Err(std::io::Error::other("the file store failed before"));
        };
        spool
            .append(bytes)
            .await
            .map_err(|error| std::io::Error::other(error.to_string()))?;
        *self.spool.borrow_mut() = Some(spool);
        Ok(())
    }

    fn progress(&mut self, done: u32, total: u32) {
        // A single sentence is over before anybody could look.
        if total > 1 {
            self.progress.set(
                self.id,
                Progress {
                    sentences_done: done,
                    sentences_total: total,
                },
            );
        }
    }
}

/// What one claim came to, on its way to disk.
struct Finish {
    fence: Fence,
    outcome: Outcome,
}

enum Outcome {
    Spoken(Box<Gathered>),
    Failed(Failure),
    AttemptFailed(Failure),
    GiveBack {
        reason: String,
        wait: Option<Duration>,
    },
}

/// A whole result that is not stored yet.
struct Gathered {
    spoken: Spoken,
    spool: Spool,
    file: String,
    /// With the bit rate that was asked for.
    audio_format: (speech::Format, u32),
}

impl Finish {
    /// The unit that held this claim has panicked.
    fn panicked(fence: Fence) -> Self {
        let failure = Failure::transient(
            "internal_error",
            "The worker panicked on this text each time it was tried; it is logged.",
        );
        Self {
            fence,
            outcome: Outcome::AttemptFailed(failure),
        }
    }

    async fn commit(self, db: &Db, files: &Files, max_attempts: i32) {
        let fence = self.fence;
        let result = match self.outcome {
            Outcome::Spoken(gathered) => gathered.commit(fence, db, files).await,
            Outcome::Failed(failure) => {
                db.write_until_kept(move |tx| store::fail(tx, fence, &failure))
                    .await
            }
            Outcome::AttemptFailed(failure) => {
                db.write_until_kept(move |tx| {
                    store::attempt_failed(tx, fence, &failure, max_attempts)
                })
                .await
            }
            Outcome::GiveBack { reason, .. } => {
                db.write_until_kept(move |tx| store::give_back(tx, fence, &reason))
                    .await
            }
        };
        if let Err(error) = result {
            log::error!(
                "the outcome of {} could not be committed: {error}",
                fence.id
            );
        }
    }
}

impl Gathered {
    /// Writes the file, then the commit that names it.
    async fn commit(self, fence: Fence, db: &Db, files: &Files) -> Result<bool, StoreError> {
        let Self {
            spoken,
            spool,
            file,
            audio_format,
        } = self;
        let stored = match keep(spoken.head.clone(), spool, &file).await {
            Ok(stored) => stored,
            Err(error) => {
                log::error!("the audio of {} could not be kept: {error}", fence.id);
                return db
                    .write_until_kept(move |tx| {
                        store::give_back(tx, fence, "the file store failed")
                    })
                    .await;
            }
        };
        let finished = finished(&spoken, stored, file.clone(), audio_format);
        let committed = db
            .write_until_kept(move |tx| store::complete(tx, fence, &finished))
            .await;
        if committed == Ok(false) {
            // Canceled or claimed anew meanwhile: nobody names it.
            let _ = files.remove(&file).await;
        }
        committed
    }
}

async fn keep(head: Vec<u8>, mut spool: Spool, file: &str) -> Result<Stored, FileError> {
    spool.replace_head(head).await?;
    spool.store(file).await
}

fn finished(
    spoken: &Spoken,
    stored: Stored,
    file: String,
    (format, bitrate_kbps): (speech::Format, u32),
) -> Finished {
    let audio = Audio {
        url: String::new(),
        format,
        bitrate_kbps: (format == speech::Format::Mp3).then_some(bitrate_kbps),
        sample_rate_hz: spoken.sample_rate_hz,
        channels: spoken.channels,
        duration_ms: spoken.duration_ms,
        bytes: stored.bytes,
        sha256: stored.sha256,
        expires_at: None,
    };
    Finished {
        file,
        audio,
        words: serde_json::to_string(&spoken.words).unwrap_or_else(|_| "[]".into()),
    }
}
