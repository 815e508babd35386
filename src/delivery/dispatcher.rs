//! CallbackDispatcher: claims due deliveries and has them made.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use hoiam_api::{DeliveryAttempt, DeliveryStatus};
use hoiam_supervision::clock::Millis;
use hoiam_supervision::{Drain, UnitFailure, contained, spawn_unit};
use hoiam_text::SaturatingFrom as _;
use serde_json::value::RawValue;
use tokio::time::Instant;
use uuid::Uuid;

use super::attempt::{Sender, news_of, not_made};
use super::check::{CheckCache, Finding};
use super::delivery::{Outcome, after};
use super::in_delivery::InDelivery;
use super::look::{Look, Progress, read_due};
use super::messages::DeliveryEnqueued;
use super::open_circuits::OpenCircuits;
use super::receivers::{OriginSignal, Receivers, Turn};
use super::shares::{Kind, Receiver, Slot};
use super::store::{self, Row};
use super::subject::{Payload, Subject};
use crate::alerts::Reporter;
use crate::claim_loop::{Claim, ClaimLoop, Pulse, STORE_PAUSE_MS, Scan};
use crate::db::{Db, StoreError, Tx};
use crate::failpoint;

/// While attempts are under way, one look follows another no sooner than this,
/// so that it finds several rows and not one.
const GATHER: Duration = Duration::from_millis(3);
/// Deliveries to a receiver that does not answer are given up so many a commit.
const GIVEN_UP_A_COMMIT: i64 = 200;

/// What a dispatcher works with.
pub struct Deps {
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
    pub open_circuits: OpenCircuits,
    /// Hears who does not answer, and that deliveries were given up.
    pub alerts: Reporter,
    /// Shows how the deliveries stand.
    pub deliveries: Pulse,
    /// The origin of the Backend in this process, which is told by slots of its own.
    pub own_origin: Option<String>,
    /// What was found of callback URLs lately, which attempts may change. Only in the TTS
    /// service.
    pub cache: Option<CheckCache>,
}

/// The actor.
pub struct CallbackDispatcher {
    deps: Deps,
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
}

impl CallbackDispatcher {
    /// A dispatcher that claims once it is started.
    #[must_use]
    pub fn new(deps: Deps) -> Self {
        let own = deps.own_origin.clone();
        let locate = deps.sender.locate();
        Self {
            claims: ClaimLoop::new(deps.db.clock().clone(), deps.deliveries.clone()),
            receivers: Receivers::new(&deps.schedule, own, locate),
            deps,
            progress: Progress::default(),
            read_meanwhile: HashMap::new(),
            failed: HashMap::new(),
            failed_until: None,
            last_look: None,
        }
    }

    fn now(&self) -> Millis {
        self.deps.db.clock().now()
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
        failpoint::point(format_args!("actor.dispatcher"));
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
        let (db, dispatcher) = (self.deps.db.clone(), ctx.address());
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
        self.deps.in_delivery.insert(row.id.0);
        let unit = Attempt {
            db: self.deps.db.clone(),
            sender: self.deps.sender.clone(),
            schedule: self.deps.schedule.clone(),
            subject: Arc::clone(&self.deps.subject),
            cache: self.deps.cache.clone(),
            row,
        };
        let (attempts, due_at) = (unit.row.attempts, unit.row.next_attempt_at);
        let dispatcher = ctx.address();
        actix_rt::spawn(async move {
            let tried = spawn_unit(unit.run()).await.unwrap_or_else(|failure| {
                log::error!("an attempt failed: {failure}");
                AttemptResult::not_recorded(StoreError::Panicked)
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
        let schedule: Duration = self.deps.schedule.iter().sum();
        let schedule_ms = i64::saturating_from(schedule.as_millis());
        let due_before = self.now().saturating_sub(schedule_ms);
        let (db, running) = (self.deps.db.clone(), self.claims.keys());
        let alerts = self.deps.alerts.clone();
        actix_rt::spawn(async move {
            loop {
                let (receiver, running) = (receiver.clone(), running.clone());
                let operation = move |tx: &mut Tx<'_>| {
                    store::give_up(tx, &receiver, due_before, &running, GIVEN_UP_A_COMMIT)
                };
                match db.write(operation).await {
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
        self.deps.open_circuits.renew(changes);
    }
}

impl Actor for CallbackDispatcher {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let dispatcher = ctx.address();
        self.claims
            .start(move || dispatcher.do_send(DeliveryEnqueued));
        self.scan(ctx);
    }
}

impl Supervised for CallbackDispatcher {
    fn restarting(&mut self, _: &mut Self::Context) {
        // Attempts of the time before end by themselves; what they record is
        // fenced by the row's count of attempts.
        self.claims.restart();
        self.receivers.clear();
        self.deps.open_circuits.clear();
        self.progress = Progress::default();
        self.read_meanwhile.clear();
        self.failed.clear();
        self.failed_until = None;
        self.deps.in_delivery.clear();
    }
}

impl Handler<DeliveryEnqueued> for CallbackDispatcher {
    type Result = ();

    fn handle(&mut self, _: DeliveryEnqueued, ctx: &mut Self::Context) {
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
                self.claims.pause_for_store();
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
    tried: AttemptResult,
}

/// What came of an attempt.
struct AttemptResult {
    /// What it says of the receiver.
    news: OriginSignal,
    /// What kept it from being answered by 2xx.
    error: Option<String>,
    /// It was the last one of its schedule.
    is_exhausted: bool,
    /// When it is due again, if it is; the error: that is not in the store.
    recorded: Result<Option<Millis>, StoreError>,
}

impl AttemptResult {
    /// There was nothing to tell any more.
    fn erased() -> Self {
        Self {
            news: OriginSignal::None,
            error: None,
            is_exhausted: false,
            recorded: Ok(None),
        }
    }

    /// It came to nothing that could be kept.
    fn not_recorded(error: StoreError) -> Self {
        Self {
            news: OriginSignal::None,
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
        let AttemptResult {
            news,
            error,
            is_exhausted,
            recorded,
        } = tried;
        let id = *claim.key();
        if is_exhausted && recorded.is_ok() {
            self.deps.alerts.deliveries_exhausted();
        }
        if let Ok(Some(at)) = recorded {
            // Also of an attempt that was begun before a restart.
            self.claims.wake_at(at);
        }
        if !self.claims.end(claim) {
            return self.scan(ctx);
        }
        self.deps.in_delivery.remove(id);
        let (now, receiver) = (self.now(), &slot.receiver);
        let left = self.receivers.end(&slot, news, now);
        let (service, alerts) = (self.deps.db.service(), &self.deps.alerts);
        if left.is_shut {
            alerts.receiver_shut(service, &receiver.origin, error.as_deref());
            self.give_up(receiver.clone());
        }
        if news == OriginSignal::Answers && !left.is_shut_to_any {
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
    async fn told(&self) -> Result<Result<Option<Option<Payload>>, UnitFailure>, StoreError> {
        let (subject, row) = (Arc::clone(&self.subject), self.row.clone());
        let told = self.db.read(move |conn| {
            // What panics is this delivery's trouble.
            Ok(match contained(|| subject.render(conn, &row)) {
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

    async fn run(self) -> AttemptResult {
        let told = match self.told().await {
            Ok(Ok(Some(told))) => Ok(told),
            Ok(Ok(None)) => return AttemptResult::erased(),
            Ok(Err(failure)) => Err(failure),
            Err(error) => return AttemptResult::not_recorded(error),
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
        AttemptResult {
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

impl Handler<Drain> for CallbackDispatcher {
    type Result = ResponseFuture<()>;

    /// Attempts end by themselves within their time-out; one that is cut off
    /// has counted nothing and is made again after the next start.
    fn handle(&mut self, drain: Drain, _: &mut Self::Context) -> Self::Result {
        let attempts = self.claims.drain(drain.until);
        Box::pin(async move {
            attempts.await;
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
