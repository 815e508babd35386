//! TTSWorker: claims jobs, has them spoken by its synthesizer child, commits
//! their outcomes.
//!
//! The child is the bottleneck, so nothing makes it wait: while it speaks, the
//! worker writes the file of the last text and commits its outcome, and, as
//! long as texts are spoken within moments, claims the next ones ahead. What it
//! holds is begun in turns of the clients, and who has none there has one claimed.
//!
//! While it speaks a long text and no worker is free, a short one of another client is
//! its guest: a second child speaks that at once, and the first waits for it at the next
//! border of two sentences.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::pin::pin;
use std::time::Duration;

use actix::prelude::*;
use bytes::Bytes;
use hoiam_api::Progress;
use hoiam_supervision::clock::{Alarm, Millis};
use hoiam_supervision::{Drain, contained, spawn_unit};
use hoiam_synthesizer::crashes::{At, Crashes};
use hoiam_synthesizer::parent::{
    Events, Pauses, SentenceAudio, SentenceUpdate, SpeakError, Synthesizer, TimeLimits,
};
use hoiam_synthesizer::protocol::Hello;
use hoiam_synthesizer::releases;
use hoiam_synthesizer::stats::Monitor;
use hoiam_text::Place;
use tokio::sync::oneshot;
use tokio::time::Instant;
use uuid::Uuid;

use super::ahead::{Ahead, Callers};
use super::long_texts::{Borders, LongTexts, Shared, is_long};
use super::messages::{DeadlineAdded, HelpWanted, JobCanceled, JobQueued, JobQueuedBy};
use super::outcome::{Finish, Outcome, OutputCollector, Refusal, failed};
use super::salvage::{Limits, Salvage};
use super::sentences::Sentences;
use super::store::Row;
use super::store::claims::{self, Claimed, Job};
use super::turns::Wish;
use super::voices::Voices;
use super::workers::Workers;
use crate::claim_loop::{ClaimLoop, Pulse, Scan, Unit};
use crate::db::{Db, StoreError};
use crate::delivery::DeliveryEnqueued;
use crate::failpoint;
use crate::files::{Cache, CacheKey, FileError, Files, Spool};
use crate::locks::lock;
use crate::progress::ProgressBoard;

/// Outcomes that may be on their way to disk while the child speaks on.
const MAX_FINISHING: usize = 16;
/// How many texts may be claimed ahead; see also [`Settings::ahead`].
const MAX_AHEAD: usize = 32;
/// A text that was claimed ahead and is not begun for so long, because the one
/// before it takes long, is given back for others to speak.
const HELD_MS: Millis = 250;
/// A guest that takes longer than this goes on beside the long text.
const HOLD_MS: Millis = 10_000;
/// How long a worker waits after the store or a unit has failed it.
const PAUSE_MS: Millis = 1000;
/// A child is replaced for the sake of postponed jobs no more often than this.
const RENEW_EVERY_MS: Millis = 5000;

/// What a worker works with.
#[derive(Clone)]
pub struct Settings {
    /// `tts.max_attempts`.
    pub max_attempts: i32,
    /// `tts.synthesis_base_s` and `tts.synthesis_ms_per_char`.
    pub limits: Limits,
    /// `tts.pronunciations`.
    pub pronunciations: std::sync::Arc<BTreeMap<String, hoiam_text::Said>>,
    /// This boot.
    pub boot: Uuid,
    /// How many workers share the queue.
    pub workers: usize,
    /// As much speaking as this is claimed ahead.
    pub ahead: Duration,
    /// `limits.audio_bytes`.
    pub audio_bytes: u64,
}

/// Children as `/v1/system` shows them, by worker.
pub type ChildBoard = std::sync::Arc<std::sync::Mutex<Vec<Monitor>>>;

/// One worker with one child.
pub struct TtsWorker {
    deps: Deps,
    /// Taken by the unit that uses the child and given back at its end.
    synthesizer: Option<Synthesizer>,
    /// Whether there was a child when it was last seen.
    child_is_ready: bool,
    /// What the child speaks.
    current: Option<Current>,
    guest: Guest,
    /// Ends the sentence of another worker's text that the child speaks.
    helping: Option<oneshot::Sender<()>>,
    /// Claims jobs: by a commit and not in memory, so its scan is the claim.
    claims: ClaimLoop,
    /// Claimed and not begun.
    claimed: Ahead<ClaimedJob>,
    /// Who may wait of whom nothing is claimed ahead.
    newcomers: Callers,
    /// Who may wait beside a long text.
    callers: Callers,
    /// Jobs that were called off while a claim was under way, whose answer
    /// may have one of them.
    canceled_early: HashSet<Uuid>,
    /// How long a text takes to be spoken, of late.
    pace: Duration,
    begun_at: Millis,
    /// When the child was last replaced for the sake of a postponed job.
    renewed_at: Millis,
    /// Outcomes on their way to disk.
    finishing: usize,
    held: Alarm,
}

/// A claimed job as the child is asked for it.
struct ClaimedJob {
    row: Row,
    request: hoiam_text::Request,
    /// Under which name the result may be used again.
    cache_key: Option<CacheKey>,
    /// No engine could be opened for it before.
    was_postponed: bool,
}

impl ClaimedJob {
    /// Whether an attempt has failed: then it is spoken sentence by sentence.
    fn is_salvage(&self) -> bool {
        self.row.attempt > 0
    }

    fn new(job: Job, deps: &Deps) -> Self {
        let Job {
            row,
            text,
            postponed,
        } = job;
        let request = row.speech(text, &deps.settings.pronunciations);
        let cache_key = match deps.cache.is_on() {
            true => deps.voices.cache_key(&request),
            false => None,
        };
        Self {
            row,
            request,
            cache_key,
            was_postponed: postponed > 0,
        }
    }
}

/// A job that is being spoken.
struct Current {
    row: Row,
    /// Calls it off.
    cancel: Option<oneshot::Sender<()>>,
    /// Where it lets guests in, if it is long.
    borders: Option<Borders>,
}

impl Current {
    fn call_off(&mut self) {
        if let Some(cancel) = self.cancel.take() {
            // The unit may have ended by itself.
            let _ = cancel.send(());
        }
    }
}

/// Who is spoken beside a long text.
#[derive(Default)]
struct Guest {
    current: Option<Current>,
    /// A second child, kept from one guest to the next.
    synthesizer: Option<Synthesizer>,
    /// None comes before, since no second child could be started.
    rest_until: Millis,
}

/// What is claimed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// What is next.
    Next,
    /// One job of each of whom nothing is claimed ahead.
    Newcomers,
    /// One to be spoken beside a long text.
    Guest,
}

/// What [`TtsWorker::new`] needs.
pub struct Deps {
    /// From 0.
    pub number: usize,
    /// The TTS service's database.
    pub db: Db,
    /// The TTS service's files.
    pub files: Files,
    /// What was made before.
    pub cache: Cache,
    /// Payload what the child offers.
    pub voices: Voices,
    /// Payload how far a synthesis is.
    pub progress: ProgressBoard,
    /// Payload what is owed.
    pub dispatcher: Recipient<DeliveryEnqueued>,
    /// Payload of jobs that are given back.
    pub workers: Workers,
    /// What workers help each other with.
    pub long_texts: LongTexts,
    /// Payload of each child that is lost.
    pub crashes: Crashes,
    /// Limits.
    pub settings: Settings,
    /// Where children are shown.
    pub children: ChildBoard,
    /// Shows how its jobs stand.
    pub jobs: Pulse,
    /// Payload of deadlines of jobs that are given back.
    pub deadlines: Recipient<DeadlineAdded>,
    /// Makes the worker's child.
    pub make_synthesizer: Box<dyn Fn() -> Synthesizer>,
}

impl Deps {
    /// The sentences of a text, as the cache knows them.
    fn sentences(&self, request: &hoiam_text::Request) -> Sentences {
        Sentences::of(request, &self.voices, &self.cache)
    }

    /// Lets others help with a text, and guests in, if it is long.
    fn share(&self, claimed: &ClaimedJob) -> Option<Shared> {
        let (id, request) = (claimed.row.id.0, &claimed.request);
        if claimed.is_salvage() {
            return self.long_texts.share_borders(id, request);
        }
        let sentences = || self.sentences(request);
        self.long_texts.share(id, request, sentences)
    }
}

impl TtsWorker {
    /// A worker that claims once it is started.
    #[must_use]
    pub fn new(deps: Deps) -> Self {
        let clock = deps.db.clock();
        Self {
            pace: deps.settings.ahead,
            claims: ClaimLoop::new(clock.clone(), deps.jobs.clone()),
            deps,
            synthesizer: None,
            child_is_ready: false,
            current: None,
            guest: Guest::default(),
            helping: None,
            claimed: Ahead::default(),
            newcomers: Callers::default(),
            callers: Callers::default(),
            canceled_early: HashSet::new(),
            begun_at: 0,
            renewed_at: 0,
            finishing: 0,
            held: Alarm::default(),
        }
    }

    fn now(&self) -> Millis {
        self.deps.db.clock().now()
    }

    /// Starts what can be started now.
    fn pump(&mut self, ctx: &mut Context<Self>) {
        if self.claims.is_closed() {
            self.give_back_claimed("the service stops", ctx);
        } else if self.finishing < MAX_FINISHING && !self.claims.is_paused(self.now()) {
            if !self.child_is_ready {
                self.ready_child(ctx);
            }
            // First, since who was claimed to be a guest is one.
            self.let_in(ctx);
            self.claim(ctx);
            self.speak(ctx);
            self.note_freedom();
            self.let_in(ctx);
            self.help(ctx);
        }
        self.note_freedom();
    }

    /// Tells the others whether a job that comes now would be spoken here.
    fn note_freedom(&mut self) {
        let can_claim = !self.claims.is_closed() && !self.claims.is_paused(self.now());
        let may_begin = self.child_is_ready && can_claim && self.finishing < MAX_FINISHING;
        let is_busy = self.current.is_some() || !self.claimed.is_empty();
        let (texts, number) = (&self.deps.long_texts, self.deps.number);
        texts.set_free(number, may_begin && !is_busy);
        let next_may_be_long = self.claims.is_scanning() || !self.claimed.is_empty();
        let has_guests = match &self.current {
            Some(current) => current.borders.is_some(),
            None => next_may_be_long,
        };
        if !has_guests {
            self.guest.synthesizer = None;
        }
    }

    /// Without a child there is no use in claiming: a start-up failure costs
    /// no job an attempt.
    fn ready_child(&mut self, ctx: &mut Context<Self>) {
        let Some(mut synthesizer) = self.synthesizer.take() else {
            return;
        };
        let voices = self.deps.voices.clone();
        self.with_child(ctx, None, async move {
            let next = match synthesizer.ensure_started().await {
                Ok(child) => {
                    if child.is_new {
                        offer(&voices, child.hello);
                    }
                    Next::Pump
                }
                Err(error) => {
                    voices.withdraw(&error.to_string());
                    Next::rest(error.retry_in)
                }
            };
            (synthesizer, next, None)
        });
    }

    /// Claims what is to be spoken next.
    fn claim(&mut self, ctx: &mut Context<Self>) {
        failpoint::point(format_args!("actor.worker"));
        let (now, wanted) = (self.now(), self.wanted());
        if wanted.is_some()
            && self.claims.has_to_scan(now)
            && self.deps.files.write_health().is_met()
        {
            // What is spoken now could not be kept. The job stays queued.
            return self.claims.pause(PAUSE_MS);
        }
        let scan = self.claims.begin_scan(now, wanted.is_some());
        let (Some(scan), Some((purpose, wish))) = (scan, wanted) else {
            return;
        };
        match purpose {
            Purpose::Next => {
                self.newcomers.look(&wish.except);
                self.callers.look(&wish.except);
            }
            Purpose::Newcomers => self.newcomers.look(&wish.except),
            Purpose::Guest => self.callers.look(&wish.except),
        }
        let (db, boot, worker) = (self.deps.db.clone(), self.deps.settings.boot, ctx.address());
        actix_rt::spawn(async move {
            let most = wish.most;
            let claimed = db.write(move |tx| claims::claim_wished(tx, boot, &wish));
            worker.do_send(Claims {
                claimed: claimed.await,
                purpose,
                most,
                scan,
            });
        });
    }

    /// What to claim, if there is room for anything.
    fn wanted(&self) -> Option<(Purpose, Wish)> {
        if !self.child_is_ready {
            return None;
        }
        let ahead = self.ahead();
        let has_enough = match self.synthesizer {
            Some(_) => !self.claimed.is_empty(),
            None => self.claimed.len() * 2 >= ahead,
        };
        if !has_enough {
            let most = ahead.saturating_sub(self.claimed.len()).max(1);
            return Some((Purpose::Next, Wish::any(most)));
        }
        // What is behind a long text is given back.
        let is_long = |current: &Current| current.borders.is_some();
        let is_speaking_short = ahead > 0 && !self.current.as_ref().is_some_and(is_long);
        let has_any = self.synthesizer.is_none() && !self.claimed.is_empty();
        let is_held = |client: &str| self.claimed.has_any_of(client);
        if is_speaking_short && has_any && self.newcomers.are_others(is_held) {
            let except = self.claimed.clients();
            // Who finds no room is not far from his turn in the queue.
            let room = ahead.saturating_sub(except.len());
            if room > 0 {
                let wish = Wish {
                    each: 1,
                    except,
                    ..Wish::any(room)
                };
                return Some((Purpose::Newcomers, wish));
            }
        }
        let host = self.host()?;
        let is_host = |client: &str| client == host.row.client;
        self.callers.are_others(is_host).then(|| {
            let wish = Wish {
                except: BTreeSet::from([host.row.client.clone()]),
                is_short: true,
                ..Wish::any(1)
            };
            (Purpose::Guest, wish)
        })
    }

    /// The long text that is spoken, if a guest may come now.
    fn host(&self) -> Option<&Current> {
        let is_rested = self.now() >= self.guest.rest_until;
        let may_come = self.guest.current.is_none() && is_rested && !self.claims.is_closed();
        if !may_come || self.deps.long_texts.is_anyone_free() {
            return None;
        }
        let current = self.current.as_ref()?;
        let borders = current.borders.as_ref()?;
        borders.are_open().then_some(current)
    }

    /// How many jobs this worker may hold beside the one that is spoken: none
    /// where texts take long, and never so many that another worker would
    /// find nothing to do.
    fn ahead(&self) -> usize {
        let pace = self.pace.as_micros().max(1);
        let within =
            usize::try_from(self.deps.settings.ahead.as_micros() / pace).unwrap_or(MAX_AHEAD);
        let open = usize::try_from(self.deps.db.load().jobs()).unwrap_or(0);
        let share = open / (2 * self.deps.settings.workers.max(1));
        // One is none: it would wait for the whole of another text.
        match within.min(share).min(MAX_AHEAD) {
            0 | 1 => 0,
            ahead => ahead,
        }
    }

    /// Takes what was claimed. A job that makes us panic is a failed attempt, and not
    /// the end of this actor with all that it holds.
    fn take(&mut self, job: Job, ctx: &mut Context<Self>) {
        let row = job.row.clone();
        match contained(|| ClaimedJob::new(job, &self.deps)) {
            Ok(claimed) => {
                let client = claimed.row.client.clone();
                self.claimed.push(&client, claimed);
            }
            Err(failure) => {
                log::error!("speech {} cannot be read: {failure}", row.id.0);
                self.finish(Finish::panicked(row), ctx);
            }
        }
    }

    /// Ends the jobs that need not be spoken, since the same was spoken before.
    fn use_again(&mut self, ctx: &mut Context<Self>) {
        let cache = &self.deps.cache.speeches;
        let known =
            |claimed: &ClaimedJob| claimed.cache_key.as_ref().is_some_and(|key| cache.has(key));
        let known = self.claimed.extract(known);
        for ClaimedJob { row, cache_key, .. } in known {
            let Some(key) = cache_key else { continue };
            let outcome = Outcome::Again(key);
            self.finish(Finish { row, outcome }, ctx);
        }
    }

    /// Gives the child its next job.
    fn speak(&mut self, ctx: &mut Context<Self>) {
        self.use_again(ctx);
        if !self.child_is_ready || self.claimed.is_empty() {
            return;
        }
        let Some(mut synthesizer) = self.synthesizer.take() else {
            return self.watch_held(ctx);
        };
        let Some(claimed) = self.claimed.pop() else {
            return;
        };
        let next = self.claimed.front().filter(|next| !next.is_salvage());
        let next = next.map(|next| &next.request);
        // What waits behind a long text is given back, or is its guest.
        let follows = |next: &&hoiam_text::Request| !is_long(next) && !is_long(&claimed.request);
        if let Some(next) = next.filter(follows) {
            synthesizer.expect(next);
        }
        self.begun_at = self.now();
        let shared = self.deps.share(&claimed);
        let borders = shared.as_ref().map(Shared::borders);
        let (current, canceled) = begin(&claimed, borders);
        self.current = Some(current);
        let unit = self.unit(&claimed, synthesizer, shared, ctx);
        let job = claimed.row.clone();
        self.with_child(ctx, Some(job), unit.run(claimed, canceled));
        self.watch_held(ctx);
    }

    /// What speaks a job by this child.
    fn unit(
        &mut self,
        claimed: &ClaimedJob,
        synthesizer: Synthesizer,
        shared: Option<Shared>,
        ctx: &mut Context<Self>,
    ) -> SpeakUnit {
        let now = self.now();
        // Many may be due at once, and all would have the same child replaced.
        let renews_child = claimed.was_postponed && now >= self.renewed_at + RENEW_EVERY_MS;
        if renews_child {
            self.renewed_at = now;
        }
        let singles = claimed.is_salvage().then(|| {
            let kept = is_long(&claimed.request).then(|| self.deps.sentences(&claimed.request));
            ((self.deps.make_synthesizer)(), kept)
        });
        SpeakUnit {
            renews_child,
            files: self.deps.files.clone(),
            progress: self.deps.progress.clone(),
            voices: self.deps.voices.clone(),
            settings: self.deps.settings.clone(),
            workers: self.deps.workers.clone(),
            worker: ctx.address(),
            crashes: self.deps.crashes.clone(),
            shared,
            singles,
            remaining_ms: u64::try_from(claimed.row.deadline_at - now).unwrap_or(0),
            synthesizer,
        }
    }

    /// Has a short text of another client spoken beside a long one.
    fn let_in(&mut self, ctx: &mut Context<Self>) {
        self.use_again(ctx);
        let Some(host) = self.host() else { return };
        let (client, borders) = (host.row.client.clone(), host.borders.clone());
        let is_guest =
            |claimed: &ClaimedJob| claimed.row.client != client && !is_long(&claimed.request);
        let Some(claimed) = self.claimed.extract_first(is_guest) else {
            return;
        };
        let child = self.guest.synthesizer.take();
        let synthesizer = child.unwrap_or_else(|| (self.deps.make_synthesizer)());
        let (current, canceled) = begin(&claimed, None);
        self.guest.current = Some(current);
        let job = claimed.row.clone();
        let unit = self.unit(&claimed, synthesizer, None, ctx);
        let speaking = unit.run(claimed, canceled);
        let hold = borders.as_ref().map(Borders::hold);
        let clock = self.deps.db.clock().clone();
        let held = async move {
            let _hold = hold;
            clock.sleep_until(clock.now() + HOLD_MS).await;
        };
        let work = async move {
            let (mut speaking, mut held) = (pin!(speaking), pin!(held));
            tokio::select! {
                spoken = &mut speaking => return spoken,
                () = &mut held => {}
            }
            speaking.await
        };
        self.with_guest(ctx, job, work);
    }

    /// Speaks a sentence of another worker's text, if there is nothing else to do.
    fn help(&mut self, ctx: &mut Context<Self>) {
        let is_idle = self.claimed.is_empty() && !self.claims.is_scanning() && self.child_is_ready;
        if !is_idle || self.synthesizer.is_none() {
            return;
        }
        let Some(reservation) = self.deps.long_texts.reserve() else {
            return;
        };
        let Some(mut synthesizer) = self.synthesizer.take() else {
            return;
        };
        self.begun_at = self.now();
        let limit = self.deps.settings.limits.of_sentence();
        let crashes = self.deps.crashes.clone();
        let (end, ended) = oneshot::channel();
        self.helping = Some(end);
        self.with_child(ctx, None, async move {
            tokio::select! {
                () = reservation.keep(&mut synthesizer, limit, &crashes) => {}
                _ = ended => {}
            }
            (synthesizer, Next::Pump, None)
        });
    }

    /// Runs a unit that has the child, for this job if it is for one.
    fn with_child(
        &self,
        ctx: &mut Context<Self>,
        job: Option<Row>,
        work: impl Future<Output = UnitEnd> + 'static,
    ) {
        let worker = ctx.address();
        let ended = run_unit(self.claims.begin_unit(), job, work);
        actix_rt::spawn(async move { worker.do_send(ended.await) });
    }

    /// The same of the second child.
    fn with_guest(
        &self,
        ctx: &mut Context<Self>,
        job: Row,
        work: impl Future<Output = UnitEnd> + 'static,
    ) {
        let worker = ctx.address();
        let ended = run_unit(self.claims.begin_unit(), Some(job), work);
        actix_rt::spawn(async move { worker.do_send(GuestSpoke(ended.await)) });
    }

    /// Looks after what was claimed ahead, in case it is not begun soon.
    fn watch_held(&mut self, ctx: &mut Context<Self>) {
        if self.claimed.is_empty() {
            return self.held.disarm();
        }
        let worker = ctx.address();
        let at = self.begun_at + HELD_MS;
        self.held.arm(self.deps.db.clock(), at, move || {
            worker.do_send(PrefetchExpired)
        });
    }

    fn give_back_claimed(&mut self, reason: &'static str, ctx: &mut Context<Self>) {
        let claimed = self.claimed.extract(|_| true);
        let rows = claimed.into_iter().map(|claimed| claimed.row).collect();
        self.give_back(rows, reason, ctx);
    }

    fn give_back(&mut self, rows: Vec<Row>, reason: &'static str, ctx: &mut Context<Self>) {
        if rows.is_empty() {
            return;
        }
        self.finishing += 1;
        let (db, workers) = (self.deps.db.clone(), self.deps.workers.clone());
        let deadlines = self.deps.deadlines.clone();
        let (worker, unit) = (ctx.address(), self.claims.begin_unit());
        let deadline_at = rows.iter().map(|row| row.deadline_at).min();
        actix_rt::spawn(async move {
            let given_back = db.write_until_kept(move |tx| {
                rows.iter()
                    .try_for_each(|row| claims::give_back(tx, row, reason).map(drop))
            });
            if let Err(error) = given_back.await {
                log::error!("jobs could not be given back: {error}");
            }
            workers.queued();
            if let Some(at) = deadline_at {
                deadlines.do_send(DeadlineAdded(at));
            }
            worker.do_send(OutcomeCommitted {
                unit,
                queued_again: true,
            });
        });
    }

    fn new_synthesizer(&self) -> Synthesizer {
        let synthesizer = (self.deps.make_synthesizer)();
        let number = self.deps.number;
        let mut children = lock(&self.deps.children);
        if children.len() <= number {
            children.resize_with(number + 1, || synthesizer.monitor());
        }
        children[number] = synthesizer.monitor();
        synthesizer
    }

    fn call_off(&mut self) {
        self.helping = None;
        let spoken = self.current.iter_mut().chain(&mut self.guest.current);
        spoken.for_each(Current::call_off);
    }
}

impl Actor for TtsWorker {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        if self.synthesizer.is_none() {
            self.synthesizer = Some(self.new_synthesizer());
        }
        let worker = ctx.address();
        self.claims.start(move || worker.do_send(JobQueued));
        self.pump(ctx);
    }
}

impl Supervised for TtsWorker {
    fn restarting(&mut self, _: &mut Self::Context) {
        // A unit of the time before may still speak with the old child; it ends by
        // itself, and its lease is fenced. What was claimed and not begun is still
        // ours.
        self.claims.restart();
        self.call_off();
        self.current = None;
        self.guest = Guest::default();
        self.newcomers.call(None);
        self.callers.call(None);
        self.child_is_ready = false;
        self.deps.long_texts.set_free(self.deps.number, false);
        self.canceled_early.clear();
        self.finishing = 0;
    }
}

impl Handler<JobQueued> for TtsWorker {
    type Result = ();

    fn handle(&mut self, _: JobQueued, ctx: &mut Self::Context) {
        self.hear_of(None, ctx);
    }
}

impl Handler<JobQueuedBy> for TtsWorker {
    type Result = ();

    fn handle(&mut self, JobQueuedBy(client): JobQueuedBy, ctx: &mut Self::Context) {
        self.hear_of(Some(&client), ctx);
    }
}

impl TtsWorker {
    /// A job of this client may be there to claim, or of anyone.
    fn hear_of(&mut self, client: Option<&str>, ctx: &mut Context<Self>) {
        self.claims.hint();
        self.newcomers.call(client);
        self.callers.call(client);
        self.pump(ctx);
    }
}

impl Handler<JobCanceled> for TtsWorker {
    type Result = ();

    fn handle(&mut self, JobCanceled(id): JobCanceled, _: &mut Self::Context) {
        let spoken = self.current.iter_mut().chain(&mut self.guest.current);
        spoken
            .filter(|current| current.row.id.0 == id)
            .for_each(Current::call_off);
        self.claimed.extract(|claimed| claimed.row.id.0 == id);
        if self.claims.is_scanning() {
            self.canceled_early.insert(id);
        }
    }
}

/// What a claim has found. It is taken over a restart too: the jobs are this boot's.
#[derive(Message)]
#[rtype(result = "()")]
struct Claims {
    claimed: Result<Claimed, StoreError>,
    purpose: Purpose,
    /// As was wished.
    most: usize,
    scan: Scan,
}

impl Handler<Claims> for TtsWorker {
    type Result = ();

    fn handle(&mut self, claims: Claims, ctx: &mut Self::Context) {
        let Claims {
            claimed,
            purpose,
            most,
            scan,
        } = claims;
        let _ = self.claims.end_scan(scan);
        if purpose != Purpose::Next {
            // It has not looked for whatever is next.
            self.claims.hint();
        }
        let canceled = std::mem::take(&mut self.canceled_early);
        match claimed {
            Ok(Claimed {
                jobs,
                more,
                expired,
                next_not_before,
            }) => {
                if more {
                    self.note_more(purpose, &jobs, most);
                }
                let jobs = jobs.into_iter();
                let wanted = jobs.filter(|job| !canceled.contains(&job.row.id.0));
                for job in wanted {
                    self.take(job, ctx);
                }
                if let Some(at) = next_not_before {
                    self.claims.wake_at(at);
                }
                if expired > 0 {
                    let _ = self.deps.dispatcher.try_send(DeliveryEnqueued);
                }
            }
            Err(error) => {
                log::error!("no job could be claimed: {error}");
                self.newcomers.call(None);
                self.callers.call(None);
                self.claims.pause(PAUSE_MS);
            }
        }
        self.pump(ctx);
    }
}

impl TtsWorker {
    /// A claim of at most so many has left jobs like these.
    fn note_more(&mut self, purpose: Purpose, claimed: &[Job], most: usize) {
        self.claims.hint();
        match purpose {
            Purpose::Next | Purpose::Guest => self.callers.call(None),
            Purpose::Newcomers => {
                for job in claimed {
                    self.newcomers.call(Some(&job.row.client));
                }
                if claimed.len() == most {
                    self.newcomers.call(None);
                }
            }
        }
    }
}

/// A sentence of the long text is done: a guest may come.
#[derive(Message)]
#[rtype(result = "()")]
struct SentenceDone;

impl Handler<SentenceDone> for TtsWorker {
    type Result = ();

    fn handle(&mut self, _: SentenceDone, ctx: &mut Self::Context) {
        self.pump(ctx);
    }
}

impl Handler<HelpWanted> for TtsWorker {
    type Result = ();

    fn handle(&mut self, _: HelpWanted, ctx: &mut Self::Context) {
        if !self.claims.is_closed() && self.current.is_none() {
            self.help(ctx);
        }
    }
}

/// What was claimed ahead may have waited too long.
#[derive(Message)]
#[rtype(result = "()")]
struct PrefetchExpired;

impl Handler<PrefetchExpired> for TtsWorker {
    type Result = ();

    fn handle(&mut self, _: PrefetchExpired, ctx: &mut Self::Context) {
        if self.now() < self.begun_at + HELD_MS {
            return self.watch_held(ctx);
        }
        // Nothing more is claimed ahead of this text.
        self.pace = self.deps.settings.ahead;
        self.claims.hint();
        self.give_back_claimed("the text before it takes long", ctx);
    }
}

/// The child is free again.
#[derive(Message)]
#[rtype(result = "()")]
struct Spoke {
    /// `None`: the unit panicked.
    synthesizer: Option<Synthesizer>,
    next: Next,
    finish: Option<Finish>,
    took: Duration,
    unit: Unit,
}

enum Next {
    /// Go on.
    Pump,
    /// Something failed that is not the job's fault; go on after so long.
    Rest(Millis),
}

impl Next {
    fn rest(wait: Duration) -> Self {
        Self::Rest(Millis::try_from(wait.as_millis()).unwrap_or(PAUSE_MS))
    }
}

type UnitEnd = (Synthesizer, Next, Option<Finish>);

/// Offers what a new child can speak with. Of several workers the first one logs which
/// release of eSpeak NG that is, if texts are known to crash it.
fn offer(voices: &Voices, hello: &Hello) {
    let has_new_versions = voices.offer(hello);
    let release = releases::espeak_release(&hello.voices).filter(|_| has_new_versions);
    if let Some((release, known)) = release.and_then(|it| Some((it, releases::known_crashes(it)?)))
    {
        log::warn!("eSpeak NG {release}: {}; {}", known.detail, known.way_out);
    }
}

/// Runs a unit that has a child, for this job if it is for one.
async fn run_unit(
    unit: Unit,
    job: Option<Row>,
    work: impl Future<Output = UnitEnd> + 'static,
) -> Spoke {
    let began = Instant::now();
    let (synthesizer, next, finish) = match spawn_unit(work).await {
        Ok((synthesizer, next, finish)) => (Some(synthesizer), next, finish),
        Err(failure) => {
            log::error!("a speaking unit failed: {failure}");
            // The job must not stay with a unit that is no more.
            (None, Next::Rest(PAUSE_MS), job.map(Finish::panicked))
        }
    };
    Spoke {
        synthesizer,
        next,
        finish,
        took: began.elapsed(),
        unit,
    }
}

/// A job that is spoken from now on, and how its unit hears that it is called off.
fn begin(claimed: &ClaimedJob, borders: Option<Borders>) -> (Current, oneshot::Receiver<()>) {
    let (cancel, canceled) = oneshot::channel();
    let current = Current {
        row: claimed.row.clone(),
        cancel: Some(cancel),
        borders,
    };
    (current, canceled)
}

/// The second child is free again.
#[derive(Message)]
#[rtype(result = "()")]
struct GuestSpoke(Spoke);

impl Handler<GuestSpoke> for TtsWorker {
    type Result = ();

    fn handle(&mut self, GuestSpoke(spoke): GuestSpoke, ctx: &mut Self::Context) {
        if let Some(finish) = spoke.finish {
            self.finish(finish, ctx);
        }
        if !self.claims.is_current(&spoke.unit) {
            return;
        }
        self.guest.current = None;
        self.guest.synthesizer = spoke.synthesizer;
        if let Next::Rest(wait_ms) = spoke.next {
            self.guest.rest_until = self.now() + wait_ms;
        }
        self.pump(ctx);
    }
}

impl Handler<Spoke> for TtsWorker {
    type Result = ();

    fn handle(&mut self, spoke: Spoke, ctx: &mut Self::Context) {
        if let Some(finish) = spoke.finish {
            // In any case: nobody else knows of it.
            self.finish(finish, ctx);
        }
        if !self.claims.is_current(&spoke.unit) {
            return;
        }
        if self.current.take().is_some() {
            // Slower at once, quicker by and by.
            self.pace = spoke.took.max((self.pace * 3 + spoke.took) / 4);
        }
        let synthesizer = spoke.synthesizer.unwrap_or_else(|| self.new_synthesizer());
        self.child_is_ready = synthesizer.has_child();
        self.synthesizer = Some(synthesizer);
        if let Next::Rest(wait_ms) = spoke.next {
            self.claims.pause(wait_ms);
        }
        self.pump(ctx);
    }
}

impl TtsWorker {
    /// Writes the file and commits the outcome while the child speaks on.
    fn finish(&mut self, finish: Finish, ctx: &mut Context<Self>) {
        self.finishing += 1;
        let unit = self.claims.begin_unit();
        let (db, files) = (self.deps.db.clone(), self.deps.files.clone());
        let (cache, progress) = (self.deps.cache.clone(), self.deps.progress.clone());
        let (worker, dispatcher) = (ctx.address(), self.deps.dispatcher.clone());
        let (workers, deadlines) = (self.deps.workers.clone(), self.deps.deadlines.clone());
        let max_attempts = self.deps.settings.max_attempts;
        actix_rt::spawn(async move {
            let (id, deadline_at) = (finish.row.id.0, finish.row.deadline_at);
            let commit = |finish: Finish| {
                let (db, files, cache) = (db.clone(), files.clone(), cache.clone());
                async move { finish.commit(&db, &files, &cache, max_attempts).await }
            };
            let queued_again = finish.commit_as_unit(commit).await;
            progress.clear(id);
            let _ = dispatcher.try_send(DeliveryEnqueued);
            if queued_again {
                workers.queued();
                // Who waits again may be beyond his deadline.
                deadlines.do_send(DeadlineAdded(deadline_at));
            }
            worker.do_send(OutcomeCommitted { unit, queued_again });
        });
    }
}

#[derive(Message)]
#[rtype(result = "()")]
struct OutcomeCommitted {
    unit: Unit,
    /// The job may be there to claim again.
    queued_again: bool,
}

impl Handler<OutcomeCommitted> for TtsWorker {
    type Result = ();

    fn handle(&mut self, finished: OutcomeCommitted, ctx: &mut Self::Context) {
        if self.claims.is_current(&finished.unit) {
            self.finishing = self.finishing.saturating_sub(1);
        }
        if finished.queued_again {
            self.claims.hint();
        }
        self.pump(ctx);
    }
}

impl Handler<Drain> for TtsWorker {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, drain: Drain, ctx: &mut Self::Context) -> Self::Result {
        let in_time = self.claims.drain(drain.until);
        self.pump(ctx);
        let (ended, worker) = (self.claims.work().ended(), ctx.address());
        Box::pin(async move {
            if !in_time.await {
                worker.do_send(GiveBack);
                ended.await;
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

/// Has one job spoken.
struct SpeakUnit {
    /// Whether to replace the child first, for a job that was postponed.
    renews_child: bool,
    files: Files,
    progress: ProgressBoard,
    voices: Voices,
    settings: Settings,
    workers: Workers,
    worker: Addr<TtsWorker>,
    crashes: Crashes,
    /// A long text, with which others may help.
    shared: Option<Shared>,
    /// What a text that has crashed an engine is spoken with.
    singles: Option<(Synthesizer, Option<Sentences>)>,
    /// Until the job's deadline.
    remaining_ms: u64,
    synthesizer: Synthesizer,
}

impl SpeakUnit {
    async fn run(
        mut self,
        claimed: ClaimedJob,
        canceled: oneshot::Receiver<()>,
    ) -> (Synthesizer, Next, Option<Finish>) {
        if self.renews_child {
            self.renew_child().await;
        }
        let finish = self.speak(claimed, canceled).await;
        let next = match &finish.outcome {
            Outcome::GiveBack {
                wait: Some(wait), ..
            } => Next::rest(*wait),
            _ => Next::Pump,
        };
        (self.synthesizer, next, Some(finish))
    }

    /// Replaces the child: only a new one sees what was mended since the old one has
    /// opened its engines.
    async fn renew_child(&mut self) {
        self.synthesizer.stop().await;
        // Where none can be started, the attempt to speak tells it.
        if let Ok(child) = self.synthesizer.ensure_started().await {
            offer(&self.voices, child.hello);
        }
    }

    async fn speak(&mut self, claimed: ClaimedJob, canceled: oneshot::Receiver<()>) -> Finish {
        let ClaimedJob {
            row,
            request,
            cache_key,
            ..
        } = claimed;
        let characters = u32::try_from(row.characters).unwrap_or(0);
        let limits = self.settings.limits;
        let synthesis_limit = match self.singles {
            Some(_) => limits.of_salvage(characters),
            None => limits.of(characters),
        };
        let remaining = Duration::from_millis(self.remaining_ms);
        let file = self
            .files
            .key(row.id.0, row.claim, request.output.format.name());
        let mut gathered = Gather {
            id: row.id.0,
            spool: Some(self.files.spool(&file)),
            audio_bytes: self.settings.audio_bytes,
            refusal: None,
            progress: self.progress.clone(),
            shared: self.shared.take(),
            workers: self.workers.clone(),
            worker: self.worker.clone(),
            done: 0,
        };
        let wall_limit = synthesis_limit.min(remaining);
        let canceled = async move {
            // A dropped sender is a worker that has restarted, not a cancel.
            if canceled.await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        let spoken = match self.singles.take() {
            None => {
                let synthesizer = &mut self.synthesizer;
                let limits = TimeLimits {
                    whole: synthesis_limit,
                    piece: limits.of_piece(),
                    deadline: remaining,
                };
                let spoken = synthesizer
                    .speak(&request, limits, &mut gathered, canceled)
                    .await;
                if let Err(error) = &spoken
                    && error.has_cost_the_child()
                {
                    let (done, places) = (gathered.done, request.places());
                    let voice = request.voice_of(places.get(done as usize));
                    let at = At::SoonAfter(done);
                    self.crashes.note(row.id.0, voice, at, error);
                }
                spoken.map(|spoken| (spoken, Vec::new()))
            }
            Some((singles, kept)) => {
                let lost = |place: &Place, sentence: u32, error: &SpeakError| {
                    let (voice, at) = (request.voice_of(Some(place)), At::Sentence(sentence));
                    self.crashes.note(row.id.0, voice, at, error);
                };
                let salvage = Salvage::new(&request, kept, singles, limits, &lost);
                let synthesizer = &mut self.synthesizer;
                salvage
                    .speak(synthesizer, wall_limit, &mut gathered, canceled)
                    .await
            }
        };
        let outcome = match (spoken, gathered.spool) {
            (Ok((spoken, warnings)), Some(spool)) => {
                let gathered = OutputCollector {
                    spoken,
                    warnings,
                    file,
                    output: request.output,
                    cache_key,
                };
                Outcome::Synthesis(Box::new(gathered), spool)
            }
            (Ok(_), None) => gathered.refusal.unwrap_or(Refusal::Failed).outcome(),
            (Err(error), _) => match gathered.refusal {
                Some(refusal) => refusal.outcome(),
                None => failed(error, remaining),
            },
        };
        Finish { row, outcome }
    }
}

/// Takes what the child sends while it speaks.
struct Gather {
    id: Uuid,
    /// `None` after it has taken no more.
    spool: Option<Spool>,
    /// The most that is taken.
    audio_bytes: u64,
    /// Why nothing more was.
    refusal: Option<Refusal>,
    progress: ProgressBoard,
    /// A long text, with which others may help.
    shared: Option<Shared>,
    workers: Workers,
    worker: Addr<TtsWorker>,
    /// Sentences that are known to be done.
    done: u32,
}

impl Events for Gather {
    async fn audio(&mut self, bytes: Bytes) -> std::io::Result<()> {
        let Some(mut spool) = self.spool.take() else {
            return Err(std::io::Error::other("no more is taken"));
        };
        let refusal = match spool.append(bytes).await {
            Ok(()) if spool.bytes() > self.audio_bytes => Refusal::TooLarge(self.audio_bytes),
            Ok(()) => {
                self.spool = Some(spool);
                return Ok(());
            }
            Err(FileError::NoRoom { is_its_own }) => Refusal::NoRoom { is_its_own },
            Err(error) => {
                log::debug!("audio could not be gathered: {error}");
                Refusal::Failed
            }
        };
        self.refusal = Some(refusal);
        Err(std::io::Error::other("no more is taken"))
    }

    async fn prefetched(&mut self) -> SentenceUpdate {
        match &mut self.shared {
            Some(shared) => shared.news().await,
            None => std::future::pending().await,
        }
    }

    fn reserved(&self) -> Vec<u32> {
        let shared = self.shared.as_ref();
        shared.map(Shared::reserved).unwrap_or_default()
    }

    fn pauses(&self) -> Pauses {
        let shared = self.shared.as_ref();
        shared.map(Shared::pauses).unwrap_or_default()
    }

    fn wants_sentences(&self) -> bool {
        self.shared.as_ref().is_some_and(Shared::keeps_sentences)
    }

    async fn sentence(&mut self, sentence: u32, made: SentenceAudio) {
        if let Some(shared) = &self.shared {
            shared.keep(sentence, &made).await;
        }
    }

    fn progress(&mut self, done: u32, total: u32) {
        self.done = done;
        if let Some(shared) = &self.shared {
            shared.progress(done, total);
            if shared.can_be_helped() {
                self.workers.help_wanted();
            }
            self.worker.do_send(SentenceDone);
        }
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
