//! CallbackDispatcher: claims due deliveries and, in the TTS service, the
//! callback checks; one timer for the next due instant, no polling.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use actix::prelude::*;
use diesel::prelude::QueryResult;
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;
use url::Url;
use uuid::Uuid;

use super::attempt::{Sender, news_of};
use super::check::{CheckCache, CheckQueue, Finding, Report, probe};
use super::delivery::{Outcome, after};
use super::receivers::{MAX_PER_ORIGIN, News, Receivers, Shown};
use super::store::{self, Row, origin_of};
use crate::clock::{Alarm, Millis};
use crate::contract::Failure;
use crate::db::{Conn, Db, InFlight, StoreError, Tx};
use crate::fault;
use crate::supervision::{Drain, spawn_unit};

/// Attempts under way at most, over all receivers.
const MAX_UNITS: usize = 128;
/// Of these, kept for first attempts, so that a storm of retries cannot
/// starve new work.
const KEPT_FOR_FIRST: usize = 32;
/// Checks under way at most to one receiver.
const MAX_CHECKS_PER_ORIGIN: usize = 8;
/// URLs of one receiver that may wait for their second look meanwhile.
const MAX_WAITING_PER_ORIGIN: usize = 256;
/// Waits between the probes of an origin that cannot be reached.
const PROBE_AFTER_MS: [Millis; 5] = [1000, 2000, 5000, 10_000, 30_000];
/// An origin that nobody has asked for so long is forgotten.
const FORGET_HELD_MS: Millis = 600_000;
/// While attempts are under way, one look follows another no sooner than this,
/// so that it finds several rows and not one.
const GATHER: Duration = Duration::from_millis(3);
/// Deliveries to a receiver that does not answer are given up so many a commit.
const GIVEN_UP_A_COMMIT: i64 = 200;
/// How long the dispatcher waits after the store has failed it.
const STORE_PAUSE_MS: Millis = 1000;

/// A delivery may be due.
#[derive(Message, Clone, Copy)]
#[rtype(result = "()")]
pub struct DeliveryOwed;

/// A callback URL may have to be checked.
#[derive(Message, Clone, Copy)]
#[rtype(result = "()")]
pub struct CheckOwed;

/// What a service's callbacks carry: its resources.
pub trait Subject: Send + Sync {
    /// What this delivery tells of, with links minted now; `None` if it has
    /// been erased.
    ///
    /// # Errors
    /// What the database says.
    fn told_by(&self, conn: &mut Conn, delivery: &Row) -> QueryResult<Option<Told>>;
}

/// What a callback carries.
pub struct Told {
    /// The resource as GET answers it.
    pub json: Box<RawValue>,
    /// The code of its failure.
    pub error_code: Option<String>,
}

impl Told {
    /// Of a resource. `None` is never the answer for what this crate answers
    /// GET with: that is JSON.
    pub fn of(resource: &impl Serialize, failure: Option<&Failure>) -> Option<Self> {
        Some(Self {
            json: to_raw_value(resource).ok()?,
            error_code: failure.map(|failure| failure.code.clone()),
        })
    }
}

/// The deliveries that are being tried now, for those who show them.
#[derive(Clone, Default)]
pub struct InDelivery(Arc<Mutex<HashSet<Uuid>>>);

impl InDelivery {
    /// Whether this delivery is being tried now.
    #[must_use]
    pub fn contains(&self, id: Uuid) -> bool {
        self.ids().contains(&id)
    }

    fn ids(&self) -> MutexGuard<'_, HashSet<Uuid>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The receivers that do not answer, for those who show them.
#[derive(Clone, Default)]
pub struct ShutReceivers(Arc<Mutex<Vec<Shown>>>);

impl ShutReceivers {
    /// Those of this moment, by name.
    #[must_use]
    pub fn get(&self) -> Vec<Shown> {
        self.shown().clone()
    }

    fn shown(&self) -> MutexGuard<'_, Vec<Shown>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

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
}

/// The actor.
pub struct CallbackDispatcher {
    parts: Parts,
    units: InFlight<Uuid>,
    first_tries: HashSet<Uuid>,
    receivers: Receivers,
    /// What was due before this instant has been seen, but for what
    /// `receivers` were passed over with.
    look_from: Millis,
    /// The last look has left rows that there was no room for.
    has_left: bool,
    last_look: Option<Instant>,
    due: Alarm,
    /// What `due` waits for.
    next_at: Option<Millis>,
    checks: Checks,
    life: u32,
    draining: bool,
    idle: watch::Sender<bool>,
}

/// The state of the checks; empty in the Backend.
#[derive(Default)]
struct Checks {
    urls: InFlight<String>,
    /// Of `urls`, those that wait for their second look.
    waiting: HashSet<String>,
    slots: HashMap<String, Rc<Semaphore>>,
    held: HashMap<String, Held>,
    probe: Alarm,
    hold: Alarm,
}

/// An origin that cannot be reached.
#[derive(Clone, Copy)]
struct Held {
    failures: usize,
    next_probe_at: Millis,
}

impl Checks {
    /// A probe of this origin has failed. What fails while the next probe is
    /// still to come was on its way before, and changes nothing.
    fn hold(&mut self, origin: String, now: Millis) {
        let held = self.held.entry(origin).or_insert(Held {
            failures: 0,
            next_probe_at: now,
        });
        if held.next_probe_at <= now {
            let wait = PROBE_AFTER_MS[held.failures.min(PROBE_AFTER_MS.len() - 1)];
            held.failures += 1;
            held.next_probe_at = now + wait;
        }
    }
}

impl CallbackDispatcher {
    /// A dispatcher that claims once it is started.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        Self {
            units: InFlight::default(),
            first_tries: HashSet::new(),
            receivers: Receivers::new(&parts.schedule),
            parts,
            look_from: Millis::MIN,
            has_left: false,
            last_look: None,
            due: Alarm::default(),
            next_at: None,
            checks: Checks::default(),
            life: 0,
            draining: false,
            idle: watch::Sender::new(true),
        }
    }

    fn now(&self) -> Millis {
        self.parts.db.clock().now()
    }

    /// Reads what is due and has room. Every commit makes rows due at its own
    /// time or later, so what a look has seen need not be looked at again.
    fn claim(&mut self, ctx: &mut Context<Self>) {
        fault::point(format_args!("actor.dispatcher"));
        let free = MAX_UNITS.saturating_sub(self.units.len());
        if self.draining || !self.units.begin_claim(free > 0) {
            return;
        }
        let retries_running = self.units.len() - self.first_tries.len();
        let free_for_retries = (MAX_UNITS - KEPT_FOR_FIRST).saturating_sub(retries_running);
        let now = self.now();
        // This look sees what was armed until now.
        self.next_at = self.next_at.filter(|at| *at > now);
        if let Some(from) = self.receivers.catch_up(now) {
            self.look_from = self.look_from.min(from);
            self.has_left = true;
        }
        let room = Room {
            free,
            free_for_retries,
            at_origin: self.receivers.room(now),
            running: self.units.keys(),
        };
        let (db, subject) = (self.parts.db.clone(), Arc::clone(&self.parts.subject));
        let from = self.look_from;
        let gather = !self.units.is_empty() && !self.has_left;
        let not_before = self.last_look.filter(|_| gather);
        let (dispatcher, life) = (ctx.address(), self.life);
        actix_rt::spawn(async move {
            if let Some(last_look) = not_before {
                tokio::time::sleep_until(last_look + GATHER).await;
            }
            let (seen_until, now) = (db.committed_at(), db.clock().now());
            let found = db
                .read(move |conn| read_due(conn, (from, now), room, subject.as_ref()))
                .await;
            dispatcher.do_send(Found {
                found,
                seen_until,
                life,
            });
        });
    }

    /// Looks again at this instant, or at an earlier one that is armed
    /// already: a look too many costs nothing.
    fn arm_due(&mut self, ctx: &mut Context<Self>, at: Option<Millis>) {
        let Some(at) = at else { return };
        if self.next_at.is_none_or(|armed| at < armed) {
            self.next_at = Some(at);
            let dispatcher = ctx.address();
            self.due.arm(self.parts.db.clock(), at, move || {
                dispatcher.do_send(DeliveryOwed)
            });
        }
    }

    fn try_once(&mut self, delivery: DueDelivery, ctx: &mut Context<Self>) {
        let id = delivery.row.id.0;
        if delivery.row.attempt == 0 {
            self.first_tries.insert(id);
        }
        self.parts.in_delivery.ids().insert(id);
        self.idle.send_replace(false);
        let unit = Attempt {
            db: self.parts.db.clone(),
            sender: self.parts.sender.clone(),
            schedule: self.parts.schedule.clone(),
            cache: self
                .parts
                .checks
                .as_ref()
                .map(|checks| checks.cache.clone()),
            delivery,
        };
        let (dispatcher, life, origin) =
            (ctx.address(), self.life, unit.delivery.row.origin.clone());
        actix_rt::spawn(async move {
            let (news, recorded) = spawn_unit(unit.run()).await.unwrap_or_else(|failure| {
                log::error!("an attempt failed: {failure}");
                (News::None, Err(StoreError::Panicked))
            });
            dispatcher.do_send(Tried {
                id,
                origin,
                news,
                recorded,
                life,
            });
        });
    }

    /// Waiting for a receiver that does not answer costs a delivery no attempt,
    /// but it must end some time: what has waited for as long as its whole
    /// schedule takes is exhausted.
    fn give_up(&self, origin: String) {
        let schedule: Duration = self.parts.schedule.iter().sum();
        let schedule_ms = i64::try_from(schedule.as_millis()).unwrap_or(i64::MAX);
        let due_before = self.now().saturating_sub(schedule_ms);
        let (db, running) = (self.parts.db.clone(), self.units.keys());
        actix_rt::spawn(async move {
            loop {
                let (origin, running) = (origin.clone(), running.clone());
                let verb = move |tx: &mut Tx<'_>| {
                    store::give_up(tx, &origin, due_before, &running, GIVEN_UP_A_COMMIT)
                };
                match db.write(verb).await {
                    Ok(0) => return,
                    Ok(count) => log::warn!("{count} deliveries were given up"),
                    Err(error) => return log::error!("deliveries were not given up: {error}"),
                }
            }
        });
    }

    /// Renews what is shown, if there is or may be something to show.
    fn show_shut(&self, has_changed: bool) {
        let mut shown = self.parts.shut.shown();
        if has_changed || !shown.is_empty() {
            *shown = self.receivers.shut();
        }
    }

    fn tell_if_idle(&self) {
        if self.units.is_empty() && self.checks.urls.is_empty() {
            self.idle.send_replace(true);
        }
    }
}

/// How many deliveries of which kind a claim may take.
struct Room {
    free: usize,
    free_for_retries: usize,
    /// At the receivers that matter now; any other has its whole share.
    at_origin: HashMap<String, usize>,
    running: HashSet<Uuid>,
}

/// What a claim does with a row.
enum Fate {
    Taken,
    /// It is being tried.
    Running,
    /// Its receiver can take no more.
    ReceiverIsFull,
    /// There is no slot for its kind.
    NoSlot,
}

impl Room {
    fn fate(&mut self, row: &Row) -> Fate {
        if self.running.contains(&row.id.0) {
            return Fate::Running;
        }
        let entry = self.at_origin.entry(row.origin.clone());
        let at_origin = entry.or_insert(MAX_PER_ORIGIN);
        let is_retry = row.attempt > 0;
        if *at_origin == 0 {
            return Fate::ReceiverIsFull;
        }
        if self.free == 0 || (is_retry && self.free_for_retries == 0) {
            return Fate::NoSlot;
        }
        *at_origin -= 1;
        self.running.insert(row.id.0);
        self.free -= 1;
        self.free_for_retries -= usize::from(is_retry);
        Fate::Taken
    }

    /// The receivers that can take no more.
    fn full_origins(&self) -> Vec<String> {
        let full = self.at_origin.iter().filter(|(_, room)| **room == 0);
        full.map(|(origin, _)| origin.clone()).collect()
    }
}

/// A delivery with what its body tells.
struct DueDelivery {
    row: Row,
    /// `None`: what it tells of has been erased.
    told: Option<Told>,
}

/// What a claim has read.
#[derive(Default)]
struct Look {
    taken: Vec<DueDelivery>,
    /// From when on there are due rows that there was no slot for.
    left_from: Option<Millis>,
    /// From when on there are due rows of receivers that can take no more.
    passed_over: HashMap<String, Millis>,
    /// When the next row that is not due yet will be.
    next_at: Option<Millis>,
}

impl Look {
    fn leaves(&mut self, from: Millis) {
        self.left_from = Some(self.left_from.map_or(from, |earlier| earlier.min(from)));
    }

    fn passes_over(&mut self, origin: &str, from: Millis) {
        let passed = self.passed_over.entry(origin.to_owned()).or_insert(from);
        *passed = from.min(*passed);
    }
}

/// Reads what is due at `now` and was not before `from`.
fn read_due(
    conn: &mut Conn,
    (from, now): (Millis, Millis),
    mut room: Room,
    subject: &dyn Subject,
) -> QueryResult<Look> {
    let mut look = Look::default();
    let mut blocked = room.full_origins();
    for origin in &blocked {
        // Their rows are not even looked at.
        look.passes_over(origin, from);
    }
    loop {
        // Rows that are being tried still look due, so that many more are read.
        let most = room.free + room.running.len();
        let limit = i64::try_from(most).unwrap_or(i64::MAX);
        let due = store::due(conn, (from, now), limit, &blocked)?;
        look.next_at = due.next_at;
        let mut unread_from = None;
        for rows in [due.first_tries, due.retries] {
            if rows.len() == most
                && let Some(last) = rows.last()
            {
                let last_at = last.next_attempt_at.unwrap_or(from);
                unread_from = Some(unread_from.map_or(last_at, |at: Millis| at.min(last_at)));
            }
            for row in rows {
                let due_at = row.next_attempt_at.unwrap_or(from);
                match room.fate(&row) {
                    Fate::Taken => {
                        let told = subject.told_by(conn, &row)?;
                        look.taken.push(DueDelivery { row, told });
                    }
                    Fate::Running => {}
                    Fate::ReceiverIsFull => look.passes_over(&row.origin, due_at),
                    Fate::NoSlot => look.leaves(due_at),
                }
            }
        }
        let full = room.full_origins();
        if room.free == 0 || full.len() == blocked.len() {
            if let Some(unread_from) = unread_from {
                look.leaves(unread_from);
            }
            return Ok(look);
        }
        // Behind the rows of a receiver that has its share now there may be
        // some of others.
        if let Some(unread_from) = unread_from {
            for origin in full.iter().filter(|origin| !blocked.contains(origin)) {
                look.passes_over(origin, unread_from);
            }
        }
        blocked = full;
    }
}

impl Actor for CallbackDispatcher {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.claim(ctx);
        self.claim_checks(ctx);
        self.expire_held(ctx);
    }
}

impl Supervised for CallbackDispatcher {
    fn restarting(&mut self, _: &mut Self::Context) {
        // Attempts of the earlier life end by themselves; what they record is
        // fenced by the row's count of attempts.
        self.life += 1;
        self.units = InFlight::default();
        self.first_tries.clear();
        self.receivers = Receivers::new(&self.parts.schedule);
        self.parts.shut.shown().clear();
        self.look_from = Millis::MIN;
        self.next_at = None;
        self.parts.in_delivery.ids().clear();
        self.checks = Checks::default();
        self.idle.send_replace(true);
    }
}

impl Handler<DeliveryOwed> for CallbackDispatcher {
    type Result = ();

    fn handle(&mut self, _: DeliveryOwed, ctx: &mut Self::Context) {
        self.claim(ctx);
    }
}

#[derive(Message)]
#[rtype(result = "()")]
struct Found {
    found: Result<Look, StoreError>,
    /// All that was committed before this instant was seen.
    seen_until: Millis,
    life: u32,
}

impl Handler<Found> for CallbackDispatcher {
    type Result = ();

    fn handle(&mut self, found: Found, ctx: &mut Self::Context) {
        let Found {
            found,
            seen_until,
            life,
        } = found;
        if life != self.life {
            return;
        }
        self.last_look = Some(Instant::now());
        let look = match found {
            Ok(look) => {
                self.look_from = look.left_from.unwrap_or(seen_until);
                self.has_left = look.left_from.is_some();
                look
            }
            Err(error) => {
                log::error!("due deliveries could not be read: {error}");
                Look {
                    next_at: Some(self.now() + STORE_PAUSE_MS),
                    ..Look::default()
                }
            }
        };
        let now = self.now();
        for (origin, from) in &look.passed_over {
            self.receivers.pass_over(origin, *from, now);
        }
        let (fresh, again) = self.units.take(look.taken, |delivery| delivery.row.id.0);
        for delivery in fresh {
            if self.receivers.begin(&delivery.row.origin, now) {
                self.try_once(delivery, ctx);
            } else {
                // It has stopped to answer since the look began.
                let Row {
                    id,
                    origin,
                    next_attempt_at,
                    ..
                } = &delivery.row;
                self.units.end(id.0);
                let from = next_attempt_at.unwrap_or(Millis::MIN);
                self.receivers.pass_over(origin, from, now);
            }
        }
        self.show_shut(false);
        // A retry that was armed while this look was under way, and whose time
        // has come meanwhile, may not have rung yet; arming anew would have it
        // never ring.
        let came = self.next_at.take_if(|at| *at <= now).is_some();
        self.arm_due(ctx, look.next_at);
        let receiver_at = self.receivers.next_at(now);
        self.arm_due(ctx, receiver_at);
        if again || came {
            self.claim(ctx);
        }
    }
}

#[derive(Message)]
#[rtype(result = "()")]
struct Tried {
    id: Uuid,
    origin: String,
    news: News,
    /// When it is due again, if it is; the error: that is not in the store.
    recorded: Result<Option<Millis>, StoreError>,
    life: u32,
}

impl Handler<Tried> for CallbackDispatcher {
    type Result = ();

    fn handle(&mut self, tried: Tried, ctx: &mut Self::Context) {
        let Tried {
            id,
            origin,
            news,
            recorded,
            life,
        } = tried;
        if life != self.life {
            return;
        }
        self.units.end(id);
        self.first_tries.remove(&id);
        self.parts.in_delivery.ids().remove(&id);
        let now = self.now();
        if self.receivers.end(&origin, news, now) {
            self.give_up(origin.clone());
        }
        self.show_shut(news != News::Answers);
        let receiver_at = self.receivers.next_at(now);
        self.arm_due(ctx, receiver_at);
        match recorded {
            Ok(next_at) => {
                // A look for which it still counts as running passes it over.
                // So has one, if it was long until this was heard; so may the
                // one that is under way, if it takes long: machines sleep.
                let passed = next_at.filter(|at| *at <= now || self.units.is_claiming());
                if let Some(due_at) = passed {
                    self.receivers.pass_over(&origin, due_at, now);
                }
                self.arm_due(ctx, next_at);
            }
            Err(error) => {
                // It still looks due: without a pause it would be sent in a
                // loop.
                log::error!("the attempt of delivery {id} could not be recorded: {error}");
                self.look_from = Millis::MIN;
                self.arm_due(ctx, Some(now + STORE_PAUSE_MS));
            }
        }
        if self.units.wants_claim() || self.has_left || self.receivers.can_catch_up(now) {
            self.claim(ctx);
        }
        self.tell_if_idle();
    }
}

/// One attempt, from the request to the commit of what came of it.
struct Attempt {
    db: Db,
    sender: Sender,
    schedule: Vec<Duration>,
    cache: Option<CheckCache>,
    delivery: DueDelivery,
}

impl Attempt {
    /// What it says of the receiver, and when it is due again, if it is.
    async fn run(self) -> (News, Result<Option<Millis>, StoreError>) {
        let DueDelivery { row, told } = self.delivery;
        let data = told.as_ref().map_or(RawValue::NULL, |told| &told.json);
        let (attempt, outcome) = self.sender.attempt(&row, data).await;
        let news = news_of(&attempt, outcome);
        if outcome == Outcome::Delivered
            && let Some(cache) = &self.cache
        {
            cache.note(&row.url, &Finding::Open);
        }
        // The receiver has answered 404 three times already: this was the
        // one try it gets to hear of it.
        let error_code = told.as_ref().and_then(|told| told.error_code.as_deref());
        let outcome = match outcome {
            Outcome::Failed { .. } if error_code == Some("callback_not_found") => Outcome::Aborted,
            outcome => outcome,
        };
        let number = usize::try_from(row.attempt).unwrap_or(0) + 1;
        let after = after(&self.schedule, number, outcome, random_share());
        let kept = self
            .db
            .write_until_kept(move |tx| store::record(tx, &row, &attempt, after));
        (news, kept.await)
    }
}

/// A random number between 0 and 1, for the jitter.
fn random_share() -> f64 {
    f64::from(getrandom::u32().unwrap_or(0)) / f64::from(u32::MAX)
}

impl Handler<CheckOwed> for CallbackDispatcher {
    type Result = ();

    fn handle(&mut self, _: CheckOwed, ctx: &mut Self::Context) {
        self.claim_checks(ctx);
    }
}

impl CallbackDispatcher {
    /// Reads which URLs jobs wait for.
    fn claim_checks(&mut self, ctx: &mut Context<Self>) {
        let Some(checks) = &self.parts.checks else {
            return;
        };
        if self.draining || !self.checks.urls.begin_claim(true) {
            return;
        }
        let now = self.now();
        let held = self.checks.held.clone();
        let mut waiting: HashMap<String, usize> = HashMap::new();
        for url in &self.checks.waiting {
            *waiting.entry(origin_of(url)).or_default() += 1;
        }
        let (db, queue) = (self.parts.db.clone(), Arc::clone(&checks.queue));
        let (dispatcher, life) = (ctx.address(), self.life);
        actix_rt::spawn(async move {
            let found = db
                .read(move |conn| {
                    queue.unchecked(conn, &|origin| match held.get(origin) {
                        Some(held) if held.next_probe_at > now => 0,
                        Some(_) => 1,
                        // Those that wait are found again and must leave room.
                        None => {
                            let waiting = waiting.get(origin).copied().unwrap_or(0);
                            MAX_CHECKS_PER_ORIGIN + waiting.min(MAX_WAITING_PER_ORIGIN)
                        }
                    })
                })
                .await;
            dispatcher.do_send(FoundChecks { found, life });
        });
    }

    fn check(&mut self, url: String, ctx: &mut Context<Self>) {
        let Some(parts) = &self.parts.checks else {
            return;
        };
        self.idle.send_replace(false);
        let slots = self
            .checks
            .slots
            .entry(origin_of(&url))
            .or_insert_with(|| Rc::new(Semaphore::new(MAX_CHECKS_PER_ORIGIN)));
        let unit = Check {
            db: self.parts.db.clone(),
            sender: self.parts.sender.clone(),
            queue: Arc::clone(&parts.queue),
            cache: parts.cache.clone(),
            timeout: parts.timeout,
            slots: Rc::clone(slots),
            url: url.clone(),
        };
        let (dispatcher, life) = (ctx.address(), self.life);
        let waits = {
            let (dispatcher, url) = (dispatcher.clone(), url.clone());
            move || dispatcher.do_send(CheckWaits { url, life })
        };
        actix_rt::spawn(async move {
            let finding = spawn_unit(unit.run(waits)).await.unwrap_or_else(|failure| {
                log::error!("a callback check failed: {failure}");
                None
            });
            dispatcher.do_send(Checked { url, finding, life });
        });
    }

    /// Fails the jobs that were held too long, and waits for the next.
    fn expire_held(&mut self, ctx: &mut Context<Self>) {
        let Some(checks) = &self.parts.checks else {
            return;
        };
        let (db, queue, hold_ms) = (
            self.parts.db.clone(),
            Arc::clone(&checks.queue),
            checks.hold_ms,
        );
        let (dispatcher, life) = (ctx.address(), self.life);
        actix_rt::spawn(async move {
            let next = db
                .write(move |tx| queue.expire_held(tx, hold_ms))
                .await
                .unwrap_or_else(|error| {
                    log::error!("held jobs could not be looked at: {error}");
                    Some(db.clock().now() + STORE_PAUSE_MS)
                });
            dispatcher.do_send(HeldUntil { next, life });
        });
    }
}

#[derive(Message)]
#[rtype(result = "()")]
struct FoundChecks {
    found: Result<Vec<String>, StoreError>,
    life: u32,
}

impl Handler<FoundChecks> for CallbackDispatcher {
    type Result = ();

    fn handle(&mut self, FoundChecks { found, life }: FoundChecks, ctx: &mut Self::Context) {
        if life != self.life {
            return;
        }
        let found = found.unwrap_or_else(|error| {
            log::error!("unchecked URLs could not be read: {error}");
            let at = self.now() + STORE_PAUSE_MS;
            self.arm_checks(ctx, at);
            Vec::new()
        });
        let (fresh, again) = self.checks.urls.take(found, String::clone);
        for url in fresh {
            self.check(url, ctx);
        }
        if again {
            self.claim_checks(ctx);
        }
    }
}

/// A check waits for its second look, and others may go on.
#[derive(Message)]
#[rtype(result = "()")]
struct CheckWaits {
    url: String,
    life: u32,
}

impl Handler<CheckWaits> for CallbackDispatcher {
    type Result = ();

    fn handle(&mut self, CheckWaits { url, life }: CheckWaits, ctx: &mut Self::Context) {
        if life == self.life {
            self.checks.waiting.insert(url);
            self.claim_checks(ctx);
        }
    }
}

#[derive(Message)]
#[rtype(result = "()")]
struct Checked {
    url: String,
    finding: Option<Finding>,
    life: u32,
}

impl Handler<Checked> for CallbackDispatcher {
    type Result = ();

    fn handle(&mut self, Checked { url, finding, life }: Checked, ctx: &mut Self::Context) {
        if life != self.life {
            return;
        }
        let origin = origin_of(&url);
        self.checks.waiting.remove(&url);
        self.checks.urls.end(url);
        self.checks
            .slots
            .retain(|_, slots| Rc::strong_count(slots) > 1);
        if matches!(finding, Some(Finding::Unreachable(_)) | None) {
            self.checks.hold(origin, self.parts.db.clock().now());
            self.expire_held(ctx);
        } else {
            self.checks.held.remove(&origin);
        }
        self.arm_probe(ctx);
        self.claim_checks(ctx);
        // What has failed owes its callback.
        self.claim(ctx);
        self.tell_if_idle();
    }
}

impl CallbackDispatcher {
    fn arm_probe(&mut self, ctx: &mut Context<Self>) {
        let now = self.now();
        self.checks
            .held
            .retain(|_, held| held.next_probe_at > now - FORGET_HELD_MS);
        let next = self
            .checks
            .held
            .values()
            .map(|held| held.next_probe_at)
            .filter(|at| *at > now)
            .min();
        match next {
            Some(at) => self.arm_checks(ctx, at),
            None => self.checks.probe.disarm(),
        }
    }

    fn arm_checks(&mut self, ctx: &mut Context<Self>, at: Millis) {
        let dispatcher = ctx.address();
        self.checks.probe.arm(self.parts.db.clock(), at, move || {
            dispatcher.do_send(CheckOwed)
        });
    }
}

#[derive(Message)]
#[rtype(result = "()")]
struct HeldUntil {
    next: Option<Millis>,
    life: u32,
}

impl Handler<HeldUntil> for CallbackDispatcher {
    type Result = ();

    fn handle(&mut self, HeldUntil { next, life }: HeldUntil, ctx: &mut Self::Context) {
        if life != self.life {
            return;
        }
        if let Some(at) = next {
            let dispatcher = ctx.address();
            self.checks.hold.arm(self.parts.db.clock(), at, move || {
                dispatcher.do_send(HoldOver)
            });
        }
        self.claim(ctx);
    }
}

/// The first held job has been held long enough.
#[derive(Message)]
#[rtype(result = "()")]
struct HoldOver;

impl Handler<HoldOver> for CallbackDispatcher {
    type Result = ();

    fn handle(&mut self, _: HoldOver, ctx: &mut Self::Context) {
        self.expire_held(ctx);
    }
}

/// One check of one URL, from the first question to the commit.
struct Check {
    db: Db,
    sender: Sender,
    queue: Arc<dyn CheckQueue>,
    cache: CheckCache,
    timeout: Duration,
    slots: Rc<Semaphore>,
    url: String,
}

impl Check {
    async fn run(self, waits: impl FnOnce()) -> Option<Finding> {
        let url = Url::parse(&self.url).ok()?;
        let finding = match self.cache.known(&self.url) {
            Some(finding) => finding,
            None => {
                probe(&self.sender, &url, self.timeout, &self.slots, waits)
                    .await
                    .finding
            }
        };
        self.cache.note(&self.url, &finding);
        let Some(verdict) = finding.verdict() else {
            return Some(finding);
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
                Ok(false) => return Some(finding),
                Err(error) => {
                    log::error!("the check of a callback URL could not be recorded: {error}");
                    return None;
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
        self.draining = true;
        let mut idle = self.idle.subscribe();
        Box::pin(async move {
            let ended = async {
                let _ = idle.wait_for(|idle| *idle).await;
            };
            let _ = tokio::time::timeout_at(drain.until, ended).await;
        })
    }
}

/// Check this URL now and tell each step.
#[derive(Message)]
#[rtype(result = "Report")]
pub struct CheckNow {
    /// Where to.
    pub url: Url,
    /// For each exchange.
    pub timeout: Duration,
}

impl Handler<CheckNow> for CallbackDispatcher {
    type Result = ResponseFuture<Report>;

    fn handle(
        &mut self,
        CheckNow { url, timeout }: CheckNow,
        _: &mut Self::Context,
    ) -> Self::Result {
        let sender = self.parts.sender.clone();
        let cache = self
            .parts
            .checks
            .as_ref()
            .map(|checks| checks.cache.clone());
        Box::pin(async move {
            let report = probe(&sender, &url, timeout, &Semaphore::new(1), || {}).await;
            if let Some(cache) = cache {
                cache.note(url.as_str(), &report.finding);
            }
            report
        })
    }
}
