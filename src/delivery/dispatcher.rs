//! CallbackDispatcher: claims due deliveries and, in the TTS service, the
//! callback checks.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use hoiam_api::{CallbackHeaders, DeliveryAttempt, DeliveryStatus};
use hoiam_supervision::clock::Millis;
use hoiam_supervision::{Drain, UnitFailure, contained, spawn_unit};
use serde_json::value::RawValue;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use url::Url;
use uuid::Uuid;

use super::attempt::{Sender, news_of, not_made};
use super::check::{CheckCache, Finding, Report, Slots, probe, probe_alone};
use super::check_queue::{CheckQueue, ExpiredHolds, LastTurns, Looked, Unchecked, Wanted};
use super::check_room::{self, CheckRoom, CheckShares, CheckSlot};
use super::delivery::{Outcome, after};
use super::held::Held;
use super::in_delivery::InDelivery;
use super::look::{Look, Progress, read_due};
use super::messages::{CheckNow, CheckOwed, DeliveryOwed};
use super::receivers::{Locate, News, Receivers, Turn};
use super::shares::{Kind, Receiver, Slot};
use super::shut_receivers::ShutReceivers;
use super::store::{self, Row};
use super::subject::{Subject, Told};
use crate::alerts::Reporter;
use crate::claim_loop::{Claim, ClaimLoop, Pulse, Scan};
use crate::db::{Db, StoreError, Tx};
use crate::fault;

/// Second looks under way at most: who waits for his makes room for others, and so any
/// number of them may come at the same time.
const MAX_SECOND_LOOKS: usize = 64;
/// Of these, of one client.
const MAX_SECOND_LOOKS_OF_ONE: usize = 48;
/// While attempts are under way, one look follows another no sooner than this,
/// so that it finds several rows and not one.
const GATHER: Duration = Duration::from_millis(3);
/// Deliveries to a receiver that does not answer are given up so many a commit.
const GIVEN_UP_A_COMMIT: i64 = 200;
/// How long the dispatcher waits after the store has failed it.
const STORE_PAUSE_MS: Millis = 1000;

/// What a dispatcher works with.
pub struct Parts {
    /// The service's database.
    pub db: Db,
    /// Signs and sends.
    pub sender: Sender,
    /// The wait before each attempt.
    pub schedule: Vec<Duration>,
    /// Makes the bodies.
    pub subject: Arc<dyn Subject>,
    /// Shows what is being tried.
    pub in_delivery: InDelivery,
    /// Shows who does not answer.
    pub shut: ShutReceivers,
    /// Hears who does not answer, and that deliveries were given up.
    pub alerts: Reporter,
    /// Shows how the deliveries stand.
    pub deliveries: Pulse,
    /// The origin of the Backend in this process, which is told by slots of its own.
    pub own_origin: Option<String>,
    /// Only in the TTS service.
    pub checks: Option<CheckParts>,
}

/// What the callback checks need.
pub struct CheckParts {
    /// Where jobs wait.
    pub queue: Arc<dyn CheckQueue>,
    /// What was found lately.
    pub cache: CheckCache,
    /// `callback.check_timeout_s`.
    pub timeout: Duration,
    /// `callback.hold_s`.
    pub hold_ms: Millis,
    /// Shows how the checks stand.
    pub urls: Pulse,
}

/// The actor.
pub struct CallbackDispatcher {
    parts: Parts,
    claims: ClaimLoop,
    receivers: Receivers,
    /// What lies behind it has been seen, but for what `receivers` were passed over with.
    progress: Progress,
    /// Rows that were read while their attempt was under way: how many attempts they
    /// had, and from when on they were due.
    read_meanwhile: HashMap<Uuid, (i32, Option<Millis>)>,
    /// Rows whose attempts came to nothing that could be kept, and are not taken for a
    /// while: to whom, and from when on they were due.
    failed: HashMap<Uuid, (Receiver, Millis)>,
    /// When these are passed over instead.
    failed_until: Option<Millis>,
    last_look: Option<Instant>,
    checks: Checks,
}

/// The state of the checks; empty in the Backend.
struct Checks {
    urls: ClaimLoop<String>,
    shares: CheckShares,
    /// What each of `urls` takes of them.
    under_way: HashMap<String, CheckSlot>,
    /// Of `urls`, those that wait for their second look, and take nothing.
    waiting: HashSet<String>,
    slots: HashMap<Receiver, Rc<Semaphore>>,
    second_looks: Rc<Semaphore>,
    second_looks_of: HashMap<Arc<str>, Rc<Semaphore>>,
    held: Held,
    /// Whose turn was the last.
    turns: LastTurns,
    /// When the last look began.
    looked_at: Millis,
    /// Its scan fails the jobs that were held too long.
    hold: ClaimLoop,
}

impl Checks {
    fn new(parts: &Parts) -> Self {
        let (clock, checks) = (parts.db.clock(), parts.checks.as_ref());
        let shown = checks.map(|checks| checks.urls.clone()).unwrap_or_default();
        Self {
            urls: ClaimLoop::new(clock.clone(), shown),
            shares: CheckShares::default(),
            under_way: HashMap::new(),
            waiting: HashSet::new(),
            slots: HashMap::new(),
            second_looks: Rc::new(Semaphore::new(MAX_SECOND_LOOKS)),
            second_looks_of: HashMap::new(),
            held: Held::default(),
            turns: LastTurns::default(),
            looked_at: Millis::MIN,
            hold: ClaimLoop::new(clock.clone(), Pulse::default()),
        }
    }

    fn restart(&mut self) {
        self.urls.restart();
        self.turns.begin_rounds();
        self.hold.restart();
        self.shares = CheckShares::default();
        self.under_way.clear();
        self.waiting.clear();
        self.slots.clear();
        self.second_looks_of.clear();
        self.held.clear();
    }

    /// There may be room, or more to check.
    fn hint(&mut self) {
        self.turns.begin_rounds();
        self.urls.hint();
    }

    /// A look begins. What is held and may be asked since the last one has to be found
    /// wherever it is.
    fn begin_look(&mut self, now: Millis) {
        let next_at = self.held.next_probe_at(self.looked_at);
        if next_at.is_some_and(|at| at <= now) {
            self.turns.begin_rounds();
        }
        self.looked_at = now;
    }

    /// Whose turn is next after a look, which may go on.
    fn end_look(&mut self, turns: LastTurns, is_cut: bool) {
        self.turns = turns;
        if self.urls.is_hinted() {
            // By what may have come behind the look.
            self.turns.begin_rounds();
        }
        if is_cut {
            self.urls.hint();
        }
    }

    /// A check begins.
    fn begin(&mut self, url: String, slot: CheckSlot) {
        self.shares.begin(&slot);
        self.under_way.insert(url, slot);
    }

    /// One that is under way waits for its second look, and others may go on.
    fn wait(&mut self, url: String) {
        if let Some(slot) = self.under_way.get(&url)
            && self.waiting.insert(url)
        {
            self.shares.end(slot);
            self.shares.wait(&slot.receiver);
        }
    }

    /// One that is under way has ended: whom it was made for.
    fn end(&mut self, url: &str) -> Option<Receiver> {
        let slot = self.under_way.remove(url)?;
        if self.waiting.remove(url) {
            self.shares.end_wait(&slot.receiver);
        } else {
            self.shares.end(&slot);
        }
        self.slots.retain(|_, slots| Rc::strong_count(slots) > 1);
        self.second_looks_of
            .retain(|_, slots| Rc::strong_count(slots) > 1);
        Some(slot.receiver)
    }

    /// The exchanges of one client with one origin, and its second looks.
    fn slots(&mut self, of: &Receiver) -> (Rc<Semaphore>, Rc<Semaphore>) {
        let semaphore = |most| move || Rc::new(Semaphore::new(most));
        let of_one = self.slots.entry(of.clone());
        let of_one = of_one.or_insert_with(semaphore(check_room::MOST_OF_ONE));
        let of_client = self.second_looks_of.entry(Arc::clone(&of.client));
        let of_client = of_client.or_insert_with(semaphore(MAX_SECOND_LOOKS_OF_ONE));
        (Rc::clone(of_one), Rc::clone(of_client))
    }

    /// The next probe of what is held is an instant of the loop: the first after this
    /// one.
    fn wake_for_probes(&mut self, after: Millis) {
        if let Some(at) = self.held.next_probe_at(after) {
            self.urls.wake_at(at);
        }
    }
}

fn locate(sender: &Sender) -> Locate {
    let networks = sender.client.networks();
    Arc::new(move |origin| networks.of(origin))
}

impl CallbackDispatcher {
    /// A dispatcher that claims once it is started.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        let own = parts.own_origin.clone();
        let locate = locate(&parts.sender);
        Self {
            claims: ClaimLoop::new(parts.db.clock().clone(), parts.deliveries.clone()),
            receivers: Receivers::new(&parts.schedule, own, locate),
            checks: Checks::new(&parts),
            parts,
            progress: Progress::default(),
            read_meanwhile: HashMap::new(),
            failed: HashMap::new(),
            failed_until: None,
            last_look: None,
        }
    }

    fn now(&self) -> Millis {
        self.parts.db.clock().now()
    }

    /// Something may have been committed that is due.
    fn hint(&mut self, ctx: &mut Context<Self>) {
        self.progress.hint();
        self.claims.hint();
        self.scan(ctx);
    }

    /// Reads what is due. Every commit makes rows due at its own time or later, so what a
    /// look has read need not be looked at again, but for what was passed over.
    fn scan(&mut self, ctx: &mut Context<Self>) {
        fault::point(format_args!("actor.dispatcher"));
        let now = self.now();
        // What has no room is passed over, so a look needs none.
        let Some(scan) = self.claims.begin_scan(now, true) else {
            return;
        };
        if self.failed_until.take_if(|at| *at <= now).is_some() {
            for (receiver, due_at) in std::mem::take(&mut self.failed).into_values() {
                self.pass_over_all(&receiver, due_at, now);
            }
        }
        let from = self.progress.begin();
        // What has come last is read last, and is not to wait for these too.
        let turns = match self.progress.has_left() {
            true => Vec::new(),
            false => self.receivers.turns(now),
        };
        let gather = self.claims.running() > 0 && !self.progress.has_left();
        let not_before = self.last_look.filter(|_| gather);
        let (db, dispatcher) = (self.parts.db.clone(), ctx.address());
        actix_rt::spawn(async move {
            if let Some(last_look) = not_before {
                tokio::time::sleep_until(last_look + GATHER).await;
            }
            let (seen_until, now) = (db.committed_at(), db.clock().now());
            let wanted = turns.clone();
            let found = db.read(move |conn| read_due(conn, (from, now), &wanted));
            dispatcher.do_send(DeliveriesScanned {
                found: found.await,
                turns,
                seen_until,
                scan,
            });
        });
    }

    fn try_once(&mut self, row: Row, slot: Slot, claim: Claim, ctx: &mut Context<Self>) {
        self.parts.in_delivery.insert(row.id.0);
        let unit = Attempt {
            db: self.parts.db.clone(),
            sender: self.parts.sender.clone(),
            schedule: self.parts.schedule.clone(),
            subject: Arc::clone(&self.parts.subject),
            cache: self
                .parts
                .checks
                .as_ref()
                .map(|checks| checks.cache.clone()),
            row,
        };
        let (attempts, due_at) = (unit.row.attempts, unit.row.next_attempt_at);
        let dispatcher = ctx.address();
        actix_rt::spawn(async move {
            let tried = spawn_unit(unit.run()).await.unwrap_or_else(|failure| {
                log::error!("an attempt failed: {failure}");
                Tried::not_recorded(StoreError::Panicked)
            });
            dispatcher.do_send(AttemptFinished {
                claim,
                slot,
                attempts,
                due_at,
                tried,
            });
        });
    }

    /// A receiver whose rows were passed over may have its turn by now, or will have it;
    /// and so have rows that are not taken for a while.
    fn catch_up(&mut self, now: Millis) {
        if self.receivers.has_turn(now) {
            self.claims.hint();
        }
        let next_at = self.receivers.next_at(now).into_iter();
        for at in next_at.chain(self.failed_until) {
            self.claims.wake_at(at);
        }
    }

    /// Waiting for a receiver that does not answer costs a delivery no attempt,
    /// but it must end some time: what has waited for as long as its whole
    /// schedule takes is exhausted.
    fn give_up(&self, receiver: Receiver) {
        let schedule: Duration = self.parts.schedule.iter().sum();
        let schedule_ms = i64::try_from(schedule.as_millis()).unwrap_or(i64::MAX);
        let due_before = self.now().saturating_sub(schedule_ms);
        let (db, running) = (self.parts.db.clone(), self.claims.keys());
        let alerts = self.parts.alerts.clone();
        actix_rt::spawn(async move {
            loop {
                let (receiver, running) = (receiver.clone(), running.clone());
                let verb = move |tx: &mut Tx<'_>| {
                    store::give_up(tx, &receiver, due_before, &running, GIVEN_UP_A_COMMIT)
                };
                match db.write(verb).await {
                    Ok(0) => return,
                    Ok(count) => {
                        log::warn!("{count} deliveries were given up");
                        alerts.deliveries_exhausted();
                    }
                    Err(error) => return log::error!("deliveries were not given up: {error}"),
                }
            }
        });
    }

    /// Renews what is shown of those who do not answer.
    fn show_shut(&mut self) {
        let changes = self.receivers.changes();
        if changes.is_empty() {
            return;
        }
        self.parts.shut.renew(changes);
    }
}

impl Actor for CallbackDispatcher {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let dispatcher = ctx.address();
        self.claims.start(move || dispatcher.do_send(DeliveryOwed));
        let dispatcher = ctx.address();
        self.checks
            .urls
            .start(move || dispatcher.do_send(CheckOwed));
        let dispatcher = ctx.address();
        self.checks.hold.start(move || dispatcher.do_send(HoldOver));
        self.scan(ctx);
        self.scan_checks(ctx);
    }
}

impl Supervised for CallbackDispatcher {
    fn restarting(&mut self, _: &mut Self::Context) {
        // Attempts of the time before end by themselves; what they record is
        // fenced by the row's count of attempts.
        self.claims.restart();
        self.receivers.clear();
        self.parts.shut.clear();
        self.progress = Progress::default();
        self.read_meanwhile.clear();
        self.failed.clear();
        self.failed_until = None;
        self.parts.in_delivery.clear();
        self.checks.restart();
    }
}

impl Handler<DeliveryOwed> for CallbackDispatcher {
    type Result = ();

    fn handle(&mut self, _: DeliveryOwed, ctx: &mut Self::Context) {
        self.hint(ctx);
    }
}

#[derive(Message)]
#[rtype(result = "()")]
struct DeliveriesScanned {
    found: Result<Look, StoreError>,
    /// Who had their turn.
    turns: Vec<Turn>,
    /// All that was committed before this instant was seen.
    seen_until: Millis,
    scan: Scan,
}

impl Handler<DeliveriesScanned> for CallbackDispatcher {
    type Result = ();

    fn handle(&mut self, scanned: DeliveriesScanned, ctx: &mut Self::Context) {
        if self.claims.end_scan(scanned.scan).is_none() {
            return;
        }
        self.last_look = Some(Instant::now());
        match scanned.found {
            Ok(look) => {
                if self.progress.end(look.left_from, scanned.seen_until) {
                    self.claims.hint();
                }
                self.take(look, ctx);
            }
            Err(error) => {
                log::error!("due deliveries could not be read: {error}");
                self.pass_over(&scanned.turns);
                self.claims.pause(STORE_PAUSE_MS);
            }
        }
        self.show_shut();
        self.catch_up(self.now());
        self.scan(ctx);
    }
}

impl CallbackDispatcher {
    /// Begins what a look has found and may.
    fn take(&mut self, look: Look, ctx: &mut Context<Self>) {
        let now = self.now();
        self.pass_over(&look.left);
        for row in look.rows {
            let id = row.id.0;
            if self.claims.is_running(&id) {
                let read = (row.attempts, row.next_attempt_at);
                self.read_meanwhile.insert(id, read);
                continue;
            }
            if self.claims.is_closed() || self.failed.contains_key(&id) {
                continue;
            }
            let (receiver, kind) = (row.receiver(), row.next_kind());
            let from = row.next_attempt_at.unwrap_or(Millis::MIN);
            // One that has ended since the look began may have been sent again since.
            let Some(claim) = self.claims.take(id) else {
                self.receivers.pass_over(&receiver, kind, from, now);
                continue;
            };
            if let Some(slot) = self.receivers.begin(&receiver, kind, now) {
                self.try_once(row, slot, claim, ctx);
            } else {
                self.receivers.pass_over(&receiver, kind, from, now);
                self.claims.end(claim);
            }
        }
        if let Some(at) = look.next_at {
            self.claims.wake_at(at);
        }
    }

    /// Whatever its rows are by now: somebody may have had them sent again, as a new
    /// round.
    fn pass_over_all(&mut self, receiver: &Receiver, from: Millis, now: Millis) {
        for kind in Kind::ALL {
            self.receivers.pass_over(receiver, kind, from, now);
        }
    }

    fn pass_over(&mut self, turns: &[Turn]) {
        let now = self.now();
        for turn in turns {
            self.receivers
                .pass_over(&turn.receiver, turn.kind, turn.from, now);
        }
    }
}

#[derive(Message)]
#[rtype(result = "()")]
struct AttemptFinished {
    claim: Claim,
    slot: Slot,
    /// The attempts that its row had before.
    attempts: i32,
    /// From when on it was due.
    due_at: Option<Millis>,
    tried: Tried,
}

/// What came of an attempt.
struct Tried {
    /// What it says of the receiver.
    news: News,
    /// What kept it from being answered by 2xx.
    error: Option<String>,
    /// It was the last one of its schedule.
    is_exhausted: bool,
    /// When it is due again, if it is; the error: that is not in the store.
    recorded: Result<Option<Millis>, StoreError>,
}

impl Tried {
    /// There was nothing to tell any more.
    fn erased() -> Self {
        Self {
            news: News::None,
            error: None,
            is_exhausted: false,
            recorded: Ok(None),
        }
    }

    /// It came to nothing that could be kept.
    fn not_recorded(error: StoreError) -> Self {
        Self {
            news: News::None,
            error: None,
            is_exhausted: false,
            recorded: Err(error),
        }
    }
}

impl Handler<AttemptFinished> for CallbackDispatcher {
    type Result = ();

    fn handle(&mut self, finished: AttemptFinished, ctx: &mut Self::Context) {
        let AttemptFinished {
            claim,
            slot,
            attempts,
            due_at,
            tried,
        } = finished;
        let Tried {
            news,
            error,
            is_exhausted,
            recorded,
        } = tried;
        let id = *claim.key();
        if is_exhausted && recorded.is_ok() {
            self.parts.alerts.deliveries_exhausted();
        }
        if let Ok(Some(at)) = recorded {
            // Also of an attempt that was begun before a restart.
            self.claims.wake_at(at);
        }
        if !self.claims.end(claim) {
            return self.scan(ctx);
        }
        self.parts.in_delivery.remove(id);
        let (now, receiver) = (self.now(), &slot.receiver);
        let left = self.receivers.end(&slot, news, now);
        let (service, alerts) = (self.parts.db.service(), &self.parts.alerts);
        if left.is_shut {
            alerts.receiver_shut(service, &receiver.origin, error.as_deref());
            self.give_up(receiver.clone());
        }
        if news == News::Answers && !left.is_shut_to_any {
            alerts.receiver_answers(service, &receiver.origin);
        }
        self.show_shut();
        let read = self.read_meanwhile.remove(&id);
        match recorded {
            Ok(next_at) => {
                // A look for which it still counts as running passes it over.
                // So has one, if it was long until this was heard; so may the
                // one that is under way, if it takes long: machines sleep.
                let passed = next_at.filter(|at| *at <= now || self.claims.is_scanning());
                let read = read.filter(|(before, _)| *before != attempts);
                let passed = passed.into_iter().chain(read.and_then(|(_, at)| at)).min();
                if let Some(due_at) = passed {
                    self.pass_over_all(receiver, due_at, now);
                }
            }
            Err(error) => {
                // It still looks due: without a pause it would be sent in a
                // loop.
                log::error!("the attempt of delivery {id} could not be recorded: {error}");
                let due_at = due_at.unwrap_or(Millis::MIN);
                self.failed.insert(id, (receiver.clone(), due_at));
                let at = now + STORE_PAUSE_MS;
                self.failed_until = Some(self.failed_until.map_or(at, |until| until.min(at)));
            }
        }
        self.catch_up(now);
        self.scan(ctx);
    }
}

/// One attempt, from the request to the commit of what came of it.
struct Attempt {
    db: Db,
    sender: Sender,
    schedule: Vec<Duration>,
    subject: Arc<dyn Subject>,
    cache: Option<CheckCache>,
    row: Row,
}

impl Attempt {
    /// What its body tells, if that is still there; `None`: the delivery itself has been
    /// erased since it was read. The inner error: it cannot be told.
    async fn told(&self) -> Result<Result<Option<Option<Told>>, UnitFailure>, StoreError> {
        let (subject, row) = (Arc::clone(&self.subject), self.row.clone());
        let told = self.db.read(move |conn| {
            // What panics is this delivery's trouble.
            Ok(match contained(|| subject.told_by(conn, &row)) {
                Ok(told) => {
                    let told = told?;
                    let is_erased = told.is_none() && store::get(conn, row.id.0)?.is_none();
                    Ok((!is_erased).then_some(told))
                }
                Err(failure) => Err(failure),
            })
        });
        told.await
    }

    async fn run(self) -> Tried {
        let told = match self.told().await {
            Ok(Ok(Some(told))) => Ok(told),
            Ok(Ok(None)) => return Tried::erased(),
            Ok(Err(failure)) => Err(failure),
            Err(error) => return Tried::not_recorded(error),
        };
        let row = self.row;
        let target = match &told {
            Ok(Some(told)) => told.headers.target(&row.url),
            _ => row.url.clone(),
        };
        let (error_code, sent) = match told {
            Ok(told) => {
                let error_code = told.as_ref().and_then(|told| told.error_code.clone());
                let (sender, row) = (self.sender.clone(), row.clone());
                let send = async move {
                    let sender = match &told {
                        Some(told) => sender.with(&told.headers),
                        None => sender,
                    };
                    let data = told.as_ref().map_or(RawValue::NULL, |told| &told.json);
                    sender.attempt(&row, data).await
                };
                (error_code, spawn_unit(send).await)
            }
            Err(failure) => (None, Err(failure)),
        };
        // A try that panicked is a failed try: one delivery that makes us panic
        // each time must not hold up the others.
        let (attempt, outcome) = sent.unwrap_or_else(|failure| {
            log::error!("an attempt of delivery {} failed: {failure}", row.id.0);
            not_made(&row, self.db.clock().now(), failure.to_string())
        });
        let news = news_of(&attempt, outcome);
        if outcome == Outcome::Delivered
            && let Some(cache) = &self.cache
        {
            cache.note(&target, &Finding::Open);
        }
        // The receiver has answered 404 three times already: this was the
        // one try it gets to hear of it.
        let outcome = match outcome {
            Outcome::Failed { .. } if error_code.as_deref() == Some("callback_not_found") => {
                Outcome::Aborted
            }
            outcome => outcome,
        };
        let number = usize::try_from(row.attempt).unwrap_or(0) + 1;
        let after = after(&self.schedule, number, outcome, random_share());
        let error = error_of(&attempt);
        let kept = self
            .db
            .write_until_kept(move |tx| store::record(tx, &row, &attempt, after));
        Tried {
            news,
            error,
            is_exhausted: after.status == DeliveryStatus::Exhausted,
            recorded: kept.await,
        }
    }
}

/// What kept an attempt from being accepted, without what the receiver has said.
fn error_of(attempt: &DeliveryAttempt) -> Option<String> {
    match attempt.status {
        Some(200..=299) => None,
        Some(status) => Some(format!("it answered {status}")),
        None => attempt.body.clone(),
    }
}

/// A random number between 0 and 1, for the jitter.
fn random_share() -> f64 {
    f64::from(getrandom::u32().unwrap_or(0)) / f64::from(u32::MAX)
}

impl Handler<CheckOwed> for CallbackDispatcher {
    type Result = ();

    fn handle(&mut self, _: CheckOwed, ctx: &mut Self::Context) {
        self.checks.hint();
        self.scan_checks(ctx);
    }
}

impl CallbackDispatcher {
    /// Reads which URLs jobs wait for.
    fn scan_checks(&mut self, ctx: &mut Context<Self>) {
        let Some(parts) = &self.parts.checks else {
            return;
        };
        let now = self.now();
        let has_room = self.checks.shares.has_room();
        let Some(scan) = self.checks.urls.begin_scan(now, has_room) else {
            return;
        };
        self.checks.begin_look(now);
        let held = self.checks.held.clone();
        let mut running = self.checks.urls.keys();
        // What is held by itself is asked when it is its turn.
        let again = held.due_urls(&running, now);
        running.extend(held.urls().cloned());
        let mut room = CheckRoom {
            shares: self.checks.shares.clone(),
            held,
            now,
            locate: locate(&self.parts.sender),
        };
        let after = self.checks.turns.clone();
        let (db, queue) = (self.parts.db.clone(), Arc::clone(&parts.queue));
        let dispatcher = ctx.address();
        actix_rt::spawn(async move {
            let looked = db
                .read(move |conn| {
                    let wanted = Wanted {
                        after: &after,
                        running: &running,
                        room: &mut room,
                        again: &again,
                    };
                    queue.unchecked(conn, wanted)
                })
                .await;
            dispatcher.do_send(ChecksScanned { looked, scan });
        });
    }

    fn check(&mut self, unchecked: Unchecked, ctx: &mut Context<Self>) {
        let Some(parts) = &self.parts.checks else {
            return;
        };
        let Unchecked { receiver, url } = unchecked;
        let Some(claim) = self.checks.urls.take(url.clone()) else {
            return;
        };
        let (of_one, of_client) = self.checks.slots(&receiver);
        let address = locate(&self.parts.sender)(&receiver.origin);
        self.checks
            .begin(url.clone(), CheckSlot { receiver, address });
        let unit = Check {
            db: self.parts.db.clone(),
            sender: self.parts.sender.clone(),
            queue: Arc::clone(&parts.queue),
            cache: parts.cache.clone(),
            timeout: parts.timeout,
            of_one,
            of_client,
            second_looks: Rc::clone(&self.checks.second_looks),
            url: url.clone(),
        };
        let dispatcher = ctx.address();
        let waits = {
            let dispatcher = dispatcher.clone();
            move || dispatcher.do_send(CheckWaits { url })
        };
        actix_rt::spawn(async move {
            let ending = spawn_unit(unit.run(waits)).await.unwrap_or_else(|failure| {
                log::error!("a callback check failed: {failure}");
                Ending::Failed
            });
            dispatcher.do_send(Checked { claim, ending });
        });
    }

    /// Fails the jobs that were held too long.
    fn scan_held(&mut self, ctx: &mut Context<Self>) {
        let Some(parts) = &self.parts.checks else {
            return;
        };
        let now = self.now();
        let held = self.checks.held.all();
        let Some(scan) = self.checks.hold.begin_scan(now, !held.is_empty()) else {
            return;
        };
        let (db, queue, hold_ms) = (
            self.parts.db.clone(),
            Arc::clone(&parts.queue),
            parts.hold_ms,
        );
        let dispatcher = ctx.address();
        actix_rt::spawn(async move {
            let expired = db
                .write(move |tx| queue.expire_held(tx, &held, hold_ms))
                .await;
            dispatcher.do_send(HeldScanned { expired, scan });
        });
    }
}

#[derive(Message)]
#[rtype(result = "()")]
struct ChecksScanned {
    looked: Result<Looked, StoreError>,
    scan: Scan,
}

impl Handler<ChecksScanned> for CallbackDispatcher {
    type Result = ();

    fn handle(&mut self, scanned: ChecksScanned, ctx: &mut Self::Context) {
        let Some(began_at) = self.checks.urls.end_scan(scanned.scan) else {
            return;
        };
        match scanned.looked {
            Ok(looked) => {
                self.checks.end_look(looked.turns, looked.is_cut);
                for unchecked in looked.found {
                    self.check(unchecked, ctx);
                }
            }
            Err(error) => {
                log::error!("unchecked URLs could not be read: {error}");
                self.checks.urls.pause(STORE_PAUSE_MS);
            }
        }
        // Whose turn has come since then was not looked at.
        self.checks.wake_for_probes(began_at);
        self.scan_checks(ctx);
    }
}

/// A check waits for its second look, and others may go on.
#[derive(Message)]
#[rtype(result = "()")]
struct CheckWaits {
    url: String,
}

impl Handler<CheckWaits> for CallbackDispatcher {
    type Result = ();

    fn handle(&mut self, CheckWaits { url }: CheckWaits, ctx: &mut Self::Context) {
        if self.checks.urls.is_running(&url) {
            self.checks.wait(url);
            self.checks.hint();
            self.scan_checks(ctx);
        }
    }
}

#[derive(Message)]
#[rtype(result = "()")]
struct Checked {
    claim: Claim<String>,
    ending: Ending,
}

impl Handler<Checked> for CallbackDispatcher {
    type Result = ();

    fn handle(&mut self, Checked { claim, ending }: Checked, ctx: &mut Self::Context) {
        let url = claim.key().clone();
        if self.checks.urls.end(claim) {
            let now = self.now();
            let receiver = self.checks.end(&url);
            let client = receiver.map_or_else(|| "".into(), |receiver| receiver.client);
            let held = &mut self.checks.held;
            let is_held = match &ending {
                Ending::Found(finding) => held.note((&client, &url), Some(finding), now),
                Ending::Failed => held.note((&client, &url), None, now),
                Ending::Moot => false,
            };
            if is_held {
                let running = self.checks.urls.keys();
                self.checks.held.forget(&running, now);
                self.checks.hold.hint();
            }
            self.checks.wake_for_probes(now);
            // There is room, for which others may have waited.
            self.checks.hint();
        }
        self.scan_checks(ctx);
        self.scan_held(ctx);
        // What has failed owes its callback.
        self.hint(ctx);
    }
}

#[derive(Message)]
#[rtype(result = "()")]
struct HeldScanned {
    expired: Result<ExpiredHolds, StoreError>,
    scan: Scan,
}

impl Handler<HeldScanned> for CallbackDispatcher {
    type Result = ();

    fn handle(&mut self, scanned: HeldScanned, ctx: &mut Self::Context) {
        if self.checks.hold.end_scan(scanned.scan).is_some() {
            match scanned.expired {
                Ok(expired) => {
                    if !expired.unwanted.is_empty() {
                        // Very many of them may have kept others of their origin out.
                        self.checks.held.drop_all(&expired.unwanted);
                        self.checks.hint();
                        self.scan_checks(ctx);
                    }
                    if let Some(at) = expired.next_at {
                        self.checks.hold.wake_at(at);
                    }
                }
                Err(error) => {
                    log::error!("held jobs could not be looked at: {error}");
                    self.checks.hold.pause(STORE_PAUSE_MS);
                }
            }
        }
        self.scan_held(ctx);
        // What has failed owes its callback.
        self.hint(ctx);
    }
}

/// The first held job has been held long enough.
#[derive(Message)]
#[rtype(result = "()")]
struct HoldOver;

impl Handler<HoldOver> for CallbackDispatcher {
    type Result = ();

    fn handle(&mut self, _: HoldOver, ctx: &mut Self::Context) {
        self.checks.hold.hint();
        self.scan_held(ctx);
    }
}

/// One check of one URL, from the first question to the commit.
struct Check {
    db: Db,
    sender: Sender,
    queue: Arc<dyn CheckQueue>,
    cache: CheckCache,
    timeout: Duration,
    of_one: Rc<Semaphore>,
    of_client: Rc<Semaphore>,
    second_looks: Rc<Semaphore>,
    url: String,
}

/// How a check has ended.
enum Ending {
    /// What it has found is kept.
    Found(Finding),
    /// It has panicked, or what it found could not be kept.
    Failed,
    /// No job waits for it any more, so nothing was asked.
    Moot,
}

impl Check {
    /// What the jobs that wait for this check send; `None` if none does any more.
    async fn headers(&self) -> Result<Option<CallbackHeaders>, StoreError> {
        let (queue, target) = (Arc::clone(&self.queue), self.url.clone());
        self.db.read(move |conn| queue.headers(conn, &target)).await
    }

    async fn run(self, waits: impl FnOnce()) -> Ending {
        let Ok(url) = Url::parse(&self.url) else {
            return Ending::Failed;
        };
        let finding = match self.cache.known(&self.url) {
            Some(finding) => finding,
            None => {
                let headers = match self.headers().await {
                    Ok(Some(headers)) => headers,
                    // Without them it would ask something else, whose answer is not
                    // that of jobs still to come.
                    Ok(None) => return Ending::Moot,
                    Err(error) => {
                        log::error!("headers of a check could not be read: {error}");
                        return Ending::Failed;
                    }
                };
                let sender = self.sender.with(&headers);
                let slots = Slots {
                    of_one: &self.of_one,
                    of_client: &self.of_client,
                    of_second_looks: &self.second_looks,
                };
                probe(&sender, &url, self.timeout, slots, waits)
                    .await
                    .finding
            }
        };
        self.cache.note(&self.url, &finding);
        let Some(verdict) = finding.verdict() else {
            return Ending::Found(finding);
        };
        loop {
            let (queue, url, verdict) =
                (Arc::clone(&self.queue), self.url.clone(), verdict.clone());
            let more = self
                .db
                .write_until_kept(move |tx| queue.settle(tx, &url, &verdict))
                .await;
            self.queue.opened();
            match more {
                Ok(true) => {}
                Ok(false) => return Ending::Found(finding),
                Err(error) => {
                    log::error!("the check of a callback URL could not be recorded: {error}");
                    return Ending::Failed;
                }
            }
        }
    }
}

impl Handler<Drain> for CallbackDispatcher {
    type Result = ResponseFuture<()>;

    /// Attempts end by themselves within their time-out; one that is cut off
    /// has counted nothing and is made again after the next start.
    fn handle(&mut self, drain: Drain, _: &mut Self::Context) -> Self::Result {
        let attempts = self.claims.drain(drain.until);
        let checks = self.checks.urls.drain(drain.until);
        let hold = self.checks.hold.drain(drain.until);
        Box::pin(async move {
            attempts.await;
            checks.await;
            hold.await;
        })
    }
}

impl Handler<CheckNow> for CallbackDispatcher {
    type Result = ResponseFuture<Report>;

    fn handle(
        &mut self,
        CheckNow {
            url,
            headers,
            timeout,
        }: CheckNow,
        _: &mut Self::Context,
    ) -> Self::Result {
        let sender = self.parts.sender.with(&headers);
        let cache = self
            .parts
            .checks
            .as_ref()
            .map(|checks| checks.cache.clone());
        Box::pin(async move {
            let report = probe_alone(&sender, &url, timeout).await;
            if let Some(cache) = cache {
                cache.note(&headers.target(url.as_str()), &report.finding);
            }
            report
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_says_the_status_or_why_there_is_none() {
        let error = |status: Option<u16>, body: &str| {
            error_of(&DeliveryAttempt {
                number: 1,
                at: String::new(),
                phase: "answer".into(),
                status,
                body: Some(body.into()),
                duration_ms: 1,
            })
        };
        assert_eq!(error(Some(204), "fine"), None);
        assert_eq!(error(Some(500), "a secret").unwrap(), "it answered 500");
        assert_eq!(error(None, "refused").unwrap(), "refused");
    }

    #[test]
    fn shares_are_spread_over_the_whole_of_it() {
        let mut shares: Vec<f64> = (0..1000).map(|_| random_share()).collect();
        shares.sort_by(f64::total_cmp);
        assert!(shares[0] >= 0.0 && shares[999] <= 1.0);
        // By chance one of them is wrong once in 2^100 runs or less.
        assert!(shares[100] < 0.5 && shares[900] > 0.5, "{shares:?}");
    }
}
