//! What a dispatcher knows of each receiver: whether it has had its share of the
//! slots, whether it answers at all, and from when on its due rows were passed over.
//!
//! Pure: no clock, no I/O. A receiver is an origin: scheme, host and port. One
//! that is idle and has caused no trouble has no entry.

use std::collections::HashMap;
use std::time::Duration;

use super::shares::{Kind, Shares};
use crate::clock::Millis;
use crate::outbound::circuit::{Allow, Circuit, Limits, State};

/// From so many on, those that nobody has called for a while are forgotten.
const MANY: usize = 1024;
/// How long such a while is.
const FORGOTTEN_AFTER_MS: Millis = 600_000;
/// The longest that an answer's Retry-After can keep the whole receiver shut.
const LONGEST_ASKED_MS: Millis = 900_000;

/// What an attempt says of the whole receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum News {
    /// It has answered; that one URL of it fails says nothing of the others.
    Answers,
    /// Nobody answered, or somebody in front of it who cannot reach it, or who
    /// wants fewer requests and may have said for how long.
    Fails {
        /// Of the answer's Retry-After header.
        asked_ms: Millis,
    },
    /// Nothing: it was never called.
    None,
}

/// A receiver with trouble, as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Shown {
    /// Scheme, host and port.
    pub origin: String,
    /// `closed`, `open` or `half_open`.
    pub circuit: &'static str,
    /// Attempts under way.
    pub running: usize,
}

/// Every receiver that matters now.
#[derive(Debug)]
pub struct Receivers {
    limits: Limits,
    shares: Shares,
    by_origin: HashMap<String, Receiver>,
}

#[derive(Debug)]
struct Receiver {
    circuit: Circuit,
    passed_over_from: Option<Millis>,
    last_at: Millis,
}

impl Receiver {
    fn new(limits: Limits, now: Millis) -> Self {
        Self {
            circuit: Circuit::new(limits),
            passed_over_from: None,
            last_at: now,
        }
    }

    /// When it may be called next; `None`: now.
    fn shut_until(&self, now: Millis) -> Option<Millis> {
        match self.circuit.clone().allow(now) {
            Allow::NotBefore(at) => Some(at),
            Allow::Yes | Allow::Probe => None,
        }
    }
}

impl Receivers {
    /// None has an entry yet. A receiver that does not answer is tried again
    /// after no longer than the schedule waits at most.
    #[must_use]
    pub fn new(schedule: &[Duration]) -> Self {
        let longest = schedule.iter().max().copied().unwrap_or_default();
        let longest_ms = Millis::try_from(longest.as_millis()).unwrap_or(Millis::MAX);
        let of = Limits::DEFAULT;
        Self {
            limits: Limits {
                longest_wait_ms: longest_ms.clamp(of.first_wait_ms, of.longest_wait_ms),
                ..of
            },
            shares: Shares::default(),
            by_origin: HashMap::new(),
        }
    }

    /// What is under way to them.
    #[must_use]
    pub fn shares(&self) -> &Shares {
        &self.shares
    }

    /// How many attempts may begin at each receiver that does not answer: one, or
    /// none before it is tried again.
    #[must_use]
    pub fn probes(&self, now: Millis) -> HashMap<String, usize> {
        let probes = |(origin, one): (&String, &Receiver)| {
            let most = match one.circuit.clone().allow(now) {
                Allow::Yes => return None,
                Allow::Probe => 1,
                Allow::NotBefore(_) => 0,
            };
            Some((origin.clone(), most))
        };
        self.by_origin.iter().filter_map(probes).collect()
    }

    /// An attempt wants to begin; `false`: not now.
    pub fn begin(&mut self, origin: &str, kind: Kind, now: Millis) -> bool {
        let has_share = self.shares.has_share(origin);
        let circuit = &mut self.entry(origin, now).circuit;
        if !has_share || matches!(circuit.allow(now), Allow::NotBefore(_)) {
            return false;
        }
        self.shares.begin(origin, kind);
        true
    }

    /// An attempt has ended. Whether this has left the circuit open.
    pub fn end(&mut self, origin: &str, kind: Kind, news: News, now: Millis) -> bool {
        self.shares.end(origin, kind);
        let Some(one) = self.by_origin.get_mut(origin) else {
            return false;
        };
        one.last_at = now;
        match news {
            News::Answers => one.circuit.success(),
            News::Fails { asked_ms } => one
                .circuit
                .failure_until(now, now + asked_ms.clamp(0, LONGEST_ASKED_MS)),
            News::None => one.circuit.unused(),
        }
        let open = one.circuit.state() == State::Open;
        let is_untroubled = one.circuit.is_untroubled();
        let shares = &self.shares;
        let is_idle =
            |origin: &str, one: &Receiver| shares.of(origin) == 0 && one.passed_over_from.is_none();
        if is_untroubled && is_idle(origin, one) {
            self.by_origin.remove(origin);
        } else if self.by_origin.len() > MANY {
            self.by_origin.retain(|origin, one| {
                !is_idle(origin, one) || one.last_at + FORGOTTEN_AFTER_MS > now
            });
        }
        open
    }

    /// Rows of this receiver that are due from this instant on were not taken.
    pub fn pass_over(&mut self, origin: &str, from: Millis, now: Millis) {
        let passed = &mut self.entry(origin, now).passed_over_from;
        *passed = Some(passed.map_or(from, |earlier| earlier.min(from)));
    }

    /// Whether a receiver whose rows were passed over has room again.
    #[must_use]
    pub fn can_catch_up(&self, now: Millis) -> bool {
        let mut passed = self.passed_over();
        passed.any(|(origin, one)| self.shares.has_share(origin) && one.shut_until(now).is_none())
    }

    /// From when on the receivers that have room again are to be looked at.
    pub fn catch_up(&mut self, now: Millis) -> Option<Millis> {
        let shares = &self.shares;
        let with_room = self
            .by_origin
            .iter_mut()
            .filter(|(origin, one)| shares.has_share(origin) && one.shut_until(now).is_none());
        with_room
            .filter_map(|(_, one)| one.passed_over_from.take())
            .min()
    }

    /// When the next receiver whose rows were passed over may be called again.
    #[must_use]
    pub fn next_at(&self, now: Millis) -> Option<Millis> {
        let passed = self.passed_over();
        passed.filter_map(|(_, one)| one.shut_until(now)).min()
    }

    fn passed_over(&self) -> impl Iterator<Item = (&String, &Receiver)> {
        let all = self.by_origin.iter();
        all.filter(|(_, one)| one.passed_over_from.is_some())
    }

    /// Those that do not answer.
    #[must_use]
    pub fn shut(&self) -> Vec<Shown> {
        let shut = |one: &Receiver| one.circuit.state() != State::Closed;
        let mut shown: Vec<Shown> = self
            .by_origin
            .iter()
            .filter(|(_, one)| shut(one))
            .map(|(origin, one)| Shown {
                origin: origin.clone(),
                circuit: one.circuit.state().as_str(),
                running: self.shares.of(origin),
            })
            .collect();
        shown.sort_by(|one, other| one.origin.cmp(&other.origin));
        shown
    }

    fn entry(&mut self, origin: &str, now: Millis) -> &mut Receiver {
        let entry = self.by_origin.entry(origin.to_owned());
        entry.or_insert_with(|| Receiver::new(self.limits, now))
    }
}

#[cfg(test)]
mod tests {
    use super::super::shares::MOST_OF_ONE;
    use super::*;

    const A: &str = "http://a";
    const TRY: Kind = Kind::FirstTry;
    const FAILS: News = News::Fails { asked_ms: 0 };

    fn after_failures(count: usize) -> Receivers {
        let mut receivers = Receivers::new(&[Duration::from_secs(3600)]);
        for _ in 0..count {
            assert!(receivers.begin(A, TRY, 0));
            receivers.end(A, TRY, FAILS, 0);
        }
        receivers
    }

    #[test]
    fn a_receiver_takes_its_share_and_is_forgotten_once_it_is_idle() {
        let mut receivers = Receivers::new(&[Duration::from_secs(3600)]);
        for _ in 0..MOST_OF_ONE {
            assert!(receivers.begin(A, TRY, 0));
        }
        assert!(!receivers.begin(A, TRY, 0));
        for _ in 0..MOST_OF_ONE {
            receivers.end(A, TRY, News::Answers, 0);
        }
        assert!(receivers.by_origin.is_empty());
        assert_eq!(receivers.shares.of(A), 0);
    }

    #[test]
    fn rows_for_which_others_left_no_room_are_caught_up_with_once_these_end() {
        let mut receivers = Receivers::new(&[Duration::from_secs(3600)]);
        let others: Vec<String> = (0..400).map(|number| format!("http://{number}")).collect();
        for other in &others {
            assert!(receivers.begin(other, TRY, 0));
        }
        assert!(receivers.begin(A, TRY, 0) && !receivers.begin(A, TRY, 0));
        receivers.pass_over(A, 70, 100);
        assert_eq!(
            (receivers.can_catch_up(100), receivers.catch_up(100)),
            (false, None)
        );
        for other in &others[100..] {
            receivers.end(other, TRY, News::Answers, 100);
        }
        assert!(receivers.can_catch_up(100));
        assert_eq!(receivers.catch_up(100), Some(70));
    }

    #[test]
    fn one_that_does_not_answer_is_shut_and_tried_with_one_attempt() {
        let mut receivers = after_failures(5);
        assert_eq!(
            (receivers.probes(999)[A], receivers.begin(A, TRY, 999)),
            (0, false)
        );
        assert_eq!(receivers.shut()[0].circuit, "open");
        assert_eq!(receivers.probes(1000)[A], 1);
        assert!(receivers.begin(A, TRY, 1000));
        assert_eq!(
            (receivers.probes(1000)[A], receivers.begin(A, TRY, 1000)),
            (0, false)
        );
        receivers.end(A, TRY, News::Answers, 1001);
        assert!(receivers.probes(1001).is_empty() && receivers.shut().is_empty());
    }

    #[test]
    fn it_is_tried_again_no_later_than_the_schedule_would() {
        let mut receivers = Receivers::new(&[Duration::ZERO, Duration::from_secs(3)]);
        for _ in 0..5 {
            receivers.begin(A, TRY, 0);
            receivers.end(A, TRY, FAILS, 0);
        }
        let mut now = 0;
        for wait_ms in [1000, 2000, 3000, 3000] {
            assert_eq!(receivers.probes(now + wait_ms - 1)[A], 0);
            now += wait_ms;
            assert!(receivers.begin(A, TRY, now));
            receivers.end(A, TRY, FAILS, now);
        }
    }

    #[test]
    fn what_was_never_called_leaves_the_probe_to_the_next() {
        let mut receivers = after_failures(5);
        assert!(receivers.begin(A, TRY, 1000));
        receivers.end(A, TRY, News::None, 1000);
        assert!(receivers.begin(A, TRY, 1000));
    }

    #[test]
    fn rows_that_were_passed_over_are_caught_up_with_once_there_is_room() {
        let mut receivers = after_failures(5);
        receivers.pass_over(A, 70, 100);
        receivers.pass_over(A, 80, 100);
        assert_eq!(
            (receivers.catch_up(999), receivers.next_at(999)),
            (None, Some(1000))
        );
        assert!(receivers.can_catch_up(1000));
        assert_eq!(
            (receivers.catch_up(1000), receivers.catch_up(1000)),
            (Some(70), None)
        );
    }

    #[test]
    fn a_retry_after_keeps_it_shut_for_as_long_as_asked_within_bounds() {
        let mut receivers = after_failures(4);
        receivers.begin(A, TRY, 0);
        assert!(receivers.end(A, TRY, News::Fails { asked_ms: 90_000 }, 0));
        assert_eq!(
            (receivers.probes(89_999)[A], receivers.probes(90_000)[A]),
            (0, 1)
        );
        receivers.begin(A, TRY, 90_000);
        receivers.end(
            A,
            TRY,
            News::Fails {
                asked_ms: Millis::MAX / 2,
            },
            90_000,
        );
        assert_eq!(receivers.probes(90_000 + LONGEST_ASKED_MS)[A], 1);
    }

    #[test]
    fn names_that_are_called_once_and_fail_do_not_pile_up() {
        let mut receivers = Receivers::new(&[Duration::from_secs(3600)]);
        for number in 0..3000_i64 {
            let (origin, now) = (format!("http://{number}"), number * 1000);
            receivers.begin(&origin, TRY, now);
            receivers.end(&origin, TRY, FAILS, now);
        }
        assert!(receivers.by_origin.len() <= MANY + 1);
    }

    /// Fails once at each of so many receivers.
    fn fail_at(receivers: &mut Receivers, numbers: std::ops::Range<usize>, now: Millis) {
        for number in numbers {
            let origin = format!("http://{number}");
            assert!(receivers.begin(&origin, TRY, now));
            receivers.end(&origin, TRY, FAILS, now);
        }
    }

    #[test]
    fn of_very_many_with_trouble_those_called_lately_and_those_passed_over_are_kept() {
        let mut receivers = Receivers::new(&[]);
        fail_at(&mut receivers, 0..MANY, 0);
        receivers.pass_over("http://0", 0, 0);
        fail_at(&mut receivers, MANY - 1..MANY, 1);
        fail_at(&mut receivers, MANY - 1..MANY, FORGOTTEN_AFTER_MS);
        assert_eq!(receivers.by_origin.len(), MANY, "these are not very many");
        fail_at(&mut receivers, MANY..MANY + 1, FORGOTTEN_AFTER_MS - 1);
        assert_eq!(
            receivers.by_origin.len(),
            MANY + 1,
            "all were called lately"
        );
        fail_at(&mut receivers, MANY..MANY + 1, FORGOTTEN_AFTER_MS);
        let mut kept: Vec<_> = receivers.by_origin.keys().collect();
        kept.sort();
        let (last, new) = (format!("http://{}", MANY - 1), format!("http://{MANY}"));
        assert_eq!(kept, ["http://0", &last, &new]);
    }
}
