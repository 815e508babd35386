//! Where trouble is reported: one for the whole process, so that what both
//! services meet is told once.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

use actix::prelude::*;
use hoiam_api::{DeliveryType, Example, Service};
use hoiam_supervision::clock::{Clock, Millis};

use super::gather::{Batch, Gather};
use super::ledger::{Ledger, Standing};
use crate::locks::lock;

/// Bytes of an error that are told.
const MAX_ERROR_BYTES: usize = 500;
/// A service that has something for a receiver tries it again sooner than this, also
/// where a Retry-After has kept it away.
const TRIED_WITHIN_MS: u64 = 30 * 60_000;

/// Something may be to be told.
#[derive(Message, Clone, Copy)]
#[rtype(result = "()")]
pub struct Reported;

/// Hears of troubles, and remembers them until they are told. Cheap to clone; the
/// default one hears nothing.
#[derive(Clone, Default)]
pub struct Reporter(Option<Arc<Desk>>);

struct Desk {
    clock: Clock,
    /// The receiver of the alerts.
    own_origin: String,
    /// Saves the lock to the many attempts that go well.
    has_shut: AtomicBool,
    state: Mutex<State>,
    bell: OnceLock<Recipient<Reported>>,
}

/// What is to be told now, and how things stood when it was taken: what comes
/// later is not told with it.
#[derive(Debug, Clone, Default)]
pub struct Taken {
    /// One for each kind.
    pub batches: Vec<Batch>,
    standing: Standing,
    exhausted_to: BTreeMap<String, i64>,
}

impl Taken {
    /// Whether all was well, of the kinds that end.
    #[must_use]
    pub fn resolved(&self, kind: DeliveryType) -> Option<bool> {
        self.standing.resolved(kind)
    }

    /// What the operator knows once this kind is told too.
    pub fn tell(&self, ledger: &mut Ledger, kind: DeliveryType, now: Millis) {
        ledger.tell(kind, now, &self.standing, &self.exhausted_to);
    }
}

/// What is known and still to be told.
#[derive(Debug, Default)]
pub struct State {
    /// What is to be told.
    pub gather: Gather,
    /// What is wrong now.
    pub standing: Standing,
    /// Up to which event the exhausted deliveries of each service are gathered.
    pub exhausted_to: BTreeMap<String, i64>,
    /// Which services have the circuit of a shut receiver open, and when each last
    /// found it so; none where that was before the start.
    shut_by: BTreeMap<String, BTreeMap<&'static str, Millis>>,
}

impl State {
    /// Takes what is to be told now.
    pub fn take_due(&mut self, now: Millis) -> Taken {
        Taken {
            batches: self.gather.take_due(now),
            standing: self.standing.clone(),
            exhausted_to: self.exhausted_to.clone(),
        }
    }
}

impl Reporter {
    /// One that goes on from what was told before. Troubles of `own_origin`, the
    /// receiver of the alerts, are none.
    #[must_use]
    pub fn new(clock: Clock, own_origin: String, ledger: &Ledger) -> Self {
        Self(Some(Arc::new(Desk {
            clock,
            own_origin,
            has_shut: AtomicBool::new(!ledger.told.shut.is_empty()),
            state: Mutex::new(State {
                gather: Gather::new(ledger.told_at.clone()),
                standing: ledger.told.clone(),
                exhausted_to: ledger.exhausted_to.clone(),
                shut_by: BTreeMap::new(),
            }),
            bell: OnceLock::new(),
        })))
    }

    /// Who is told that there may be something to be told. Once.
    pub fn ring_at(&self, bell: Recipient<Reported>) {
        if let Some(desk) = &self.0 {
            let _ = desk.bell.set(bell);
        }
    }

    /// What is known, for whoever tells it; `None` where nobody does.
    #[must_use]
    pub fn state(&self) -> Option<MutexGuard<'_, State>> {
        self.0.as_ref().map(|desk| desk.state())
    }

    /// A receiver has not answered for so often that this service has its circuit
    /// open. It is shut until it has answered every service that has found it so within
    /// the last half hour.
    pub fn receiver_shut(&self, service: Service, origin: &str, error: Option<&str>) {
        let Some(desk) = self.0.as_ref().filter(|desk| desk.own_origin != origin) else {
            return;
        };
        let now = desk.clock.now();
        let example = Example {
            origin: Some(origin.to_owned()),
            error: Some(shortened(error.unwrap_or("no answer"))),
            ..Example::default()
        };
        let mut state = desk.state();
        desk.has_shut.store(true, Ordering::Release);
        let shut_by = state.shut_by.entry(origin.to_owned()).or_default();
        shut_by.insert(service.as_str(), now);
        let is_new = state.standing.shuts(origin, now);
        // Who is forgotten there is forgotten here.
        let State {
            standing, shut_by, ..
        } = &mut *state;
        if shut_by.len() > standing.shut.len() {
            shut_by.retain(|origin, _| standing.shut.contains_key(origin));
        }
        if is_new {
            desk.note(state, DeliveryType::ReceiverShut, now, example);
        }
    }

    /// A receiver has answered this service.
    pub fn receiver_answers(&self, service: Service, origin: &str) {
        let Some(desk) = &self.0 else { return };
        if !desk.has_shut.load(Ordering::Acquire) {
            return;
        }
        let (mut state, now) = (desk.state(), desk.clock.now());
        if let Some(shut_by) = state.shut_by.get_mut(origin) {
            shut_by.remove(service.as_str());
            // Who has nothing more for it will not find it open either.
            shut_by.retain(|_, last_at| now.abs_diff(*last_at) < TRIED_WITHIN_MS);
            if !shut_by.is_empty() {
                return;
            }
        }
        state.shut_by.remove(origin);
        if state.standing.shut.remove(origin).is_none() {
            return;
        }
        let has_shut = !state.standing.shut.is_empty();
        desk.has_shut.store(has_shut, Ordering::Release);
        let example = Example {
            origin: Some(origin.to_owned()),
            ..Example::default()
        };
        desk.note(state, DeliveryType::ReceiverOpen, now, example);
    }

    /// Deliveries were given up, and that is committed: which ones, the database
    /// knows.
    pub fn deliveries_exhausted(&self) {
        if let Some(desk) = &self.0 {
            desk.ring();
        }
    }

    /// How something that is written to stands: what is wrong with it, if anything.
    pub fn disk(&self, place: &str, problem: Option<&str>) {
        let Some(desk) = &self.0 else { return };
        let mut state = desk.state();
        let known = &mut state.standing.disk;
        let has_changed = match problem {
            // Another reason, or another number of free bytes, is no news.
            Some(problem) => {
                let problem = shortened(problem);
                known.insert(place.to_owned(), problem).is_none()
            }
            None => known.remove(place).is_some(),
        };
        if has_changed {
            let example = Example {
                place: Some(place.to_owned()),
                error: problem.map(shortened),
                ..Example::default()
            };
            desk.note(state, DeliveryType::DiskFailing, desk.clock.now(), example);
        }
    }

    /// How the engines stand: why nothing can be spoken, if that is so.
    pub fn engine(&self, problem: Option<&str>) {
        let Some(desk) = &self.0 else { return };
        let mut state = desk.state();
        let was_well = state.standing.engine.is_none();
        state.standing.engine = problem.map(shortened);
        if was_well != problem.is_none() {
            let example = Example {
                place: Some(format!("the engines of the {} service", Service::Tts)),
                error: problem.map(shortened),
                ..Example::default()
            };
            desk.note(
                state,
                DeliveryType::EngineFailing,
                desk.clock.now(),
                example,
            );
        }
    }
}

impl Desk {
    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    fn note(
        &self,
        mut state: MutexGuard<'_, State>,
        kind: DeliveryType,
        now: Millis,
        example: Example,
    ) {
        state.gather.add(Batch::one(kind, now, example));
        drop(state);
        self.ring();
    }

    fn ring(&self) {
        if let Some(bell) = self.bell.get() {
            // A full mailbox has a hint already.
            let _ = bell.try_send(Reported);
        }
    }
}

/// Errors may quote what others have sent.
#[must_use]
pub fn shortened(error: &str) -> String {
    error[..error.floor_char_boundary(MAX_ERROR_BYTES)].to_owned()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn reporter() -> Reporter {
        let (clock, _) = Clock::manual(1_700_000_000_000);
        Reporter::new(clock, "http://own".to_owned(), &Ledger::default())
    }

    /// The counts of what is to be told.
    fn counts(reporter: &Reporter) -> Vec<(&'static str, u64)> {
        let mut state = reporter.state().unwrap();
        let due = state.gather.take_due(Millis::MAX);
        let counts = due.iter().map(|batch| (batch.kind.as_str(), batch.count));
        counts.collect()
    }

    #[test]
    fn only_changes_are_news() {
        let reporter = reporter();
        for _ in 0..3 {
            reporter.receiver_shut(Service::Tts, "http://a", Some("reset"));
            reporter.disk("the store", Some("full"));
            reporter.engine(Some("no library"));
        }
        for _ in 0..2 {
            reporter.receiver_answers(Service::Tts, "http://a");
            reporter.receiver_answers(Service::Tts, "http://b");
        }
        reporter.disk("the store", Some("read-only"));
        let told = [
            ("disk.failing", 1),
            ("engine.failing", 1),
            ("receiver.open", 1),
            ("receiver.shut", 1),
        ];
        assert_eq!(counts(&reporter), told);
        reporter.disk("the store", None);
        reporter.disk("the folder", None);
        reporter.engine(None);
        assert_eq!(
            counts(&reporter),
            [("disk.failing", 1), ("engine.failing", 1)]
        );
    }

    #[test]
    fn the_receiver_of_the_alerts_is_never_told_of() {
        let reporter = reporter();
        reporter.receiver_shut(Service::Tts, "http://own", None);
        reporter.receiver_answers(Service::Tts, "http://own");
        assert_eq!(counts(&reporter), []);
    }

    #[test]
    fn one_that_both_services_find_shut_is_told_once_and_opens_with_the_last_of_them() {
        let reporter = reporter();
        for service in [Service::Tts, Service::Backend, Service::Tts] {
            reporter.receiver_shut(service, "http://a", None);
        }
        reporter.receiver_answers(Service::Tts, "http://a");
        assert_eq!(counts(&reporter), [("receiver.shut", 1)]);
        // A probe that was on its way before.
        reporter.receiver_shut(Service::Backend, "http://a", None);
        reporter.receiver_answers(Service::Backend, "http://a");
        reporter.receiver_answers(Service::Tts, "http://a");
        assert_eq!(counts(&reporter), [("receiver.open", 1)]);
    }

    #[test]
    fn one_for_which_a_service_has_nothing_more_opens_for_it_with_an_answer_to_the_other() {
        let (clock, hand) = Clock::manual(1_700_000_000_000);
        let reporter = Reporter::new(clock, "http://own".to_owned(), &Ledger::default());
        let pass = |minutes: u64| hand.advance(Duration::from_secs(minutes * 60));
        for service in [Service::Tts, Service::Backend] {
            reporter.receiver_shut(service, "http://a", None);
        }
        pass(10);
        reporter.receiver_shut(Service::Tts, "http://a", None);
        pass(29);
        reporter.receiver_answers(Service::Backend, "http://a");
        assert_eq!(counts(&reporter), [("receiver.shut", 1)]);
        pass(1);
        reporter.receiver_answers(Service::Backend, "http://a");
        assert_eq!(counts(&reporter), [("receiver.open", 1)]);
    }

    #[test]
    fn one_that_was_told_to_be_shut_before_the_start_is_told_to_answer() {
        let (clock, _) = Clock::manual(1_700_000_000_000);
        let mut ledger = Ledger::default();
        ledger.told.shuts("http://a", 1);
        let reporter = Reporter::new(clock, "http://own".to_owned(), &ledger);
        reporter.receiver_shut(Service::Tts, "http://a", None);
        reporter.receiver_answers(Service::Tts, "http://a");
        assert_eq!(counts(&reporter), [("receiver.open", 1)]);
    }

    #[test]
    fn each_of_several_shut_receivers_is_told_to_answer() {
        let reporter = reporter();
        for origin in ["http://a", "http://b"] {
            reporter.receiver_shut(Service::Tts, origin, None);
        }
        assert_eq!(counts(&reporter), [("receiver.shut", 2)]);
        for origin in ["http://b", "http://a"] {
            reporter.receiver_answers(Service::Tts, origin);
            assert_eq!(counts(&reporter), [("receiver.open", 1)]);
        }
    }

    #[test]
    fn who_has_shut_a_receiver_is_forgotten_with_the_receiver() {
        let reporter = reporter();
        for number in 0..1200 {
            reporter.receiver_shut(Service::Tts, &format!("http://{number}"), None);
        }
        let state = reporter.state().unwrap();
        let shut: Vec<_> = state.standing.shut.keys().collect();
        assert_eq!(shut.len(), 1000);
        assert!(state.shut_by.keys().eq(shut));
    }

    #[test]
    fn an_example_says_what_is_failing_and_why() {
        let reporter = reporter();
        reporter.disk("the store", Some("full"));
        reporter.engine(Some("no library"));
        let due = reporter.state().unwrap().gather.take_due(Millis::MAX);
        let examples = due.iter().flat_map(|batch| &batch.examples);
        let told: Vec<_> = examples
            .map(|example| (example.place.as_deref(), example.error.as_deref()))
            .collect();
        let expected = [
            (Some("the store"), Some("full")),
            (Some("the engines of the tts service"), Some("no library")),
        ];
        assert_eq!(told, expected);
    }
}
