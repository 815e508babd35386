//! CallbackChecker: finds the callback URLs that jobs wait for, asks each whether it is
//! a receiver, and lets its jobs go on or end. In the TTS service alone.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use hoiam_api::CallbackHeaders;
use hoiam_supervision::clock::Millis;
use hoiam_supervision::{Drain, spawn_unit};
use tokio::sync::Semaphore;
use url::Url;

use super::attempt::Sender;
use super::check::{CheckCache, Finding, Report, Slots, probe, probe_alone};
use super::check_queue::{
    CheckQuery, CheckQueue, ExpiredHolds, LastTurns, Unchecked, UncheckedPage,
};
use super::check_room::{self, CheckRoom, CheckShares, CheckSlot};
use super::held::Held;
use super::messages::{CheckEnqueued, CheckNow, DeliveryEnqueued};
use super::shares::Receiver;
use crate::claim_loop::{Claim, ClaimLoop, Pulse, Scan};
use crate::db::{Db, StoreError};

/// Second looks under way at most: who waits for his makes room for others, and so any
/// number of them may come at the same time.
const MAX_SECOND_LOOKS: usize = 64;
/// Of these, of one client.
const MAX_SECOND_LOOKS_OF_ONE: usize = 48;

/// What a checker works with.
pub struct Deps {
    /// The service's database.
    pub db: Db,
    /// Signs and sends.
    pub sender: Sender,
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
    /// Payload of what has failed, which owes its callback.
    pub dispatcher: Recipient<DeliveryEnqueued>,
}

/// The actor.
pub struct CallbackChecker {
    deps: Deps,
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

impl CallbackChecker {
    /// A checker that claims once it is started.
    #[must_use]
    pub fn new(deps: Deps) -> Self {
        let clock = deps.db.clock().clone();
        Self {
            urls: ClaimLoop::new(clock.clone(), deps.urls.clone()),
            shares: CheckShares::default(),
            under_way: HashMap::new(),
            waiting: HashSet::new(),
            slots: HashMap::new(),
            second_looks: Rc::new(Semaphore::new(MAX_SECOND_LOOKS)),
            second_looks_of: HashMap::new(),
            held: Held::default(),
            turns: LastTurns::default(),
            looked_at: Millis::MIN,
            hold: ClaimLoop::new(clock, Pulse::default()),
            deps,
        }
    }

    fn now(&self) -> Millis {
        self.deps.db.clock().now()
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

impl Actor for CallbackChecker {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let checker = ctx.address();
        self.urls.start(move || checker.do_send(CheckEnqueued));
        let checker = ctx.address();
        self.hold.start(move || checker.do_send(HoldOver));
        self.scan_checks(ctx);
    }
}

impl Supervised for CallbackChecker {
    fn restarting(&mut self, _: &mut Self::Context) {
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
}

impl Handler<CheckEnqueued> for CallbackChecker {
    type Result = ();

    fn handle(&mut self, _: CheckEnqueued, ctx: &mut Self::Context) {
        self.hint();
        self.scan_checks(ctx);
    }
}

impl CallbackChecker {
    /// Reads which URLs jobs wait for.
    fn scan_checks(&mut self, ctx: &mut Context<Self>) {
        let now = self.now();
        let has_room = self.shares.has_room();
        let Some(scan) = self.urls.begin_scan(now, has_room) else {
            return;
        };
        self.begin_look(now);
        let held = self.held.clone();
        let mut running = self.urls.keys();
        // What is held by itself is asked when it is its turn.
        let again = held.due_urls(&running, now);
        running.extend(held.urls().cloned());
        let mut room = CheckRoom {
            shares: self.shares.clone(),
            held,
            now,
            locate: self.deps.sender.locate(),
        };
        let after = self.turns.clone();
        let (db, queue) = (self.deps.db.clone(), Arc::clone(&self.deps.queue));
        let checker = ctx.address();
        actix_rt::spawn(async move {
            let looked = db
                .read(move |conn| {
                    let wanted = CheckQuery {
                        after: &after,
                        running: &running,
                        room: &mut room,
                        again: &again,
                    };
                    queue.unchecked(conn, wanted)
                })
                .await;
            checker.do_send(ChecksScanned { looked, scan });
        });
    }

    fn check(&mut self, unchecked: Unchecked, ctx: &mut Context<Self>) {
        let Unchecked { receiver, url } = unchecked;
        let Some(claim) = self.urls.take(url.clone()) else {
            return;
        };
        let (of_one, of_client) = self.slots(&receiver);
        let address = (self.deps.sender.locate())(&receiver.origin);
        self.begin(url.clone(), CheckSlot { receiver, address });
        let unit = Check {
            db: self.deps.db.clone(),
            sender: self.deps.sender.clone(),
            queue: Arc::clone(&self.deps.queue),
            cache: self.deps.cache.clone(),
            timeout: self.deps.timeout,
            of_one,
            of_client,
            second_looks: Rc::clone(&self.second_looks),
            url: url.clone(),
        };
        let checker = ctx.address();
        let waits = {
            let checker = checker.clone();
            move || checker.do_send(CheckWaits { url })
        };
        actix_rt::spawn(async move {
            let ending = spawn_unit(unit.run(waits)).await.unwrap_or_else(|failure| {
                log::error!("a callback check failed: {failure}");
                Ending::Failed
            });
            checker.do_send(Checked { claim, ending });
        });
    }

    /// Fails the jobs that were held too long.
    fn scan_held(&mut self, ctx: &mut Context<Self>) {
        let now = self.now();
        let held = self.held.all();
        let Some(scan) = self.hold.begin_scan(now, !held.is_empty()) else {
            return;
        };
        let (db, queue, hold_ms) = (
            self.deps.db.clone(),
            Arc::clone(&self.deps.queue),
            self.deps.hold_ms,
        );
        let checker = ctx.address();
        actix_rt::spawn(async move {
            let expired = db
                .write(move |tx| queue.expire_held(tx, &held, hold_ms))
                .await;
            checker.do_send(HeldScanned { expired, scan });
        });
    }
}

#[derive(Message)]
#[rtype(result = "()")]
struct ChecksScanned {
    looked: Result<UncheckedPage, StoreError>,
    scan: Scan,
}

impl Handler<ChecksScanned> for CallbackChecker {
    type Result = ();

    fn handle(&mut self, scanned: ChecksScanned, ctx: &mut Self::Context) {
        let Some(began_at) = self.urls.end_scan(scanned.scan) else {
            return;
        };
        match scanned.looked {
            Ok(looked) => {
                self.end_look(looked.turns, looked.is_cut);
                for unchecked in looked.found {
                    self.check(unchecked, ctx);
                }
            }
            Err(error) => {
                log::error!("unchecked URLs could not be read: {error}");
                self.urls.pause_for_store();
            }
        }
        // Whose turn has come since then was not looked at.
        self.wake_for_probes(began_at);
        self.scan_checks(ctx);
    }
}

/// A check waits for its second look, and others may go on.
#[derive(Message)]
#[rtype(result = "()")]
struct CheckWaits {
    url: String,
}

impl Handler<CheckWaits> for CallbackChecker {
    type Result = ();

    fn handle(&mut self, CheckWaits { url }: CheckWaits, ctx: &mut Self::Context) {
        if self.urls.is_running(&url) {
            self.wait(url);
            self.hint();
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

impl Handler<Checked> for CallbackChecker {
    type Result = ();

    fn handle(&mut self, Checked { claim, ending }: Checked, ctx: &mut Self::Context) {
        let url = claim.key().clone();
        if self.urls.end(claim) {
            let now = self.now();
            let receiver = self.end(&url);
            let client = receiver.map_or_else(|| "".into(), |receiver| receiver.client);
            let held = &mut self.held;
            let is_held = match &ending {
                Ending::Found(finding) => held.note((&client, &url), Some(finding), now),
                Ending::Failed => held.note((&client, &url), None, now),
                Ending::Moot => false,
            };
            if is_held {
                let running = self.urls.keys();
                self.held.forget(&running, now);
                self.hold.hint();
            }
            self.wake_for_probes(now);
            // There is room, for which others may have waited.
            self.hint();
        }
        self.scan_checks(ctx);
        self.scan_held(ctx);
        // What has failed owes its callback.
        let _ = self.deps.dispatcher.try_send(DeliveryEnqueued);
    }
}

#[derive(Message)]
#[rtype(result = "()")]
struct HeldScanned {
    expired: Result<ExpiredHolds, StoreError>,
    scan: Scan,
}

impl Handler<HeldScanned> for CallbackChecker {
    type Result = ();

    fn handle(&mut self, scanned: HeldScanned, ctx: &mut Self::Context) {
        if self.hold.end_scan(scanned.scan).is_some() {
            match scanned.expired {
                Ok(expired) => {
                    if !expired.unwanted.is_empty() {
                        // Very many of them may have kept others of their origin out.
                        self.held.drop_all(&expired.unwanted);
                        self.hint();
                        self.scan_checks(ctx);
                    }
                    if let Some(at) = expired.next_at {
                        self.hold.wake_at(at);
                    }
                }
                Err(error) => {
                    log::error!("held jobs could not be looked at: {error}");
                    self.hold.pause_for_store();
                }
            }
        }
        self.scan_held(ctx);
        // What has failed owes its callback.
        let _ = self.deps.dispatcher.try_send(DeliveryEnqueued);
    }
}

/// The first held job has been held long enough.
#[derive(Message)]
#[rtype(result = "()")]
struct HoldOver;

impl Handler<HoldOver> for CallbackChecker {
    type Result = ();

    fn handle(&mut self, _: HoldOver, ctx: &mut Self::Context) {
        self.hold.hint();
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

impl Handler<CheckNow> for CallbackChecker {
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
        let sender = self.deps.sender.with(&headers);
        let cache = self.deps.cache.clone();
        Box::pin(async move {
            let report = probe_alone(&sender, &url, timeout).await;
            cache.note(&headers.target(url.as_str()), &report.finding);
            report
        })
    }
}

impl Handler<Drain> for CallbackChecker {
    type Result = ResponseFuture<()>;

    /// A check that is cut off has settled nothing and is made again after the next start.
    fn handle(&mut self, drain: Drain, _: &mut Self::Context) -> Self::Result {
        let checks = self.urls.drain(drain.until);
        let hold = self.hold.drain(drain.until);
        Box::pin(async move {
            checks.await;
            hold.await;
        })
    }
}
