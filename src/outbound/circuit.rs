//! When a destination that fails is tried again.
//!
//! Pure: no clock, no I/O. One circuit stands for one origin.
//!
//! | from | to | when |
//! | --- | --- | --- |
//! | closed | open | `threshold` failures in a row; opens for the first back-off |
//! | open | half open | the back-off has passed and somebody asks: that one is the probe |
//! | half open | closed | a success |
//! | half open | open | a failure: the back-off doubles, up to its maximum |
//! | half open | half open | the probe has not reported in time: the next who asks is the probe |
//! | any | closed | a success |
//!
//! A failure reported while the circuit is open is news of a request that was
//! on its way before: it changes nothing.

use hoiam_supervision::clock::Millis;

/// The numbers of a [`Circuit`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// How many failures in a row open the circuit; 0 counts as 1.
    pub threshold: u32,
    /// The first wait before a probe.
    pub first_wait_ms: Millis,
    /// Waits double up to this.
    pub longest_wait_ms: Millis,
    /// How long a probe may stay silent (its task may have died) before another
    /// is let through. Longer than a request can take.
    pub probe_silence_ms: Millis,
}

impl Limits {
    /// Five failures in a row; waits from 1 s, doubling up to 30 s.
    pub const DEFAULT: Self = Self {
        threshold: 5,
        first_wait_ms: 1_000,
        longest_wait_ms: 30_000,
        probe_silence_ms: 60_000,
    };
}

/// What a circuit says to somebody who wants to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Allow {
    /// Send.
    Yes,
    /// Send, and report: everybody else waits for this one.
    Probe,
    /// Ask again at this instant, or when the probe has reported.
    NotBefore(Millis),
}

/// Where a circuit stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Requests pass.
    Closed,
    /// None passes.
    Open,
    /// One probe is on its way.
    HalfOpen,
}

impl State {
    /// The word that is shown.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }
}

/// One origin's circuit. It holds no timer: whoever wants to send asks it.
#[derive(Debug, Clone)]
pub struct Circuit {
    limits: Limits,
    stage: Stage,
}

#[derive(Debug, Clone, Copy)]
enum Stage {
    Closed { failures: u32 },
    Open { until: Millis, wait_ms: Millis },
    HalfOpen { until: Millis, wait_ms: Millis },
}

impl Circuit {
    /// A closed circuit.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            stage: Stage::Closed { failures: 0 },
        }
    }

    /// Asks to send at `now`. [`Allow::Probe`] is an undertaking to report.
    pub fn allow(&mut self, now: Millis) -> Allow {
        match self.stage {
            Stage::Closed { .. } => Allow::Yes,
            Stage::Open { until, .. } | Stage::HalfOpen { until, .. } if now < until => {
                Allow::NotBefore(until)
            }
            Stage::Open { wait_ms, .. } | Stage::HalfOpen { wait_ms, .. } => {
                self.stage = Stage::HalfOpen {
                    until: now.saturating_add(self.limits.probe_silence_ms),
                    wait_ms,
                };
                Allow::Probe
            }
        }
    }

    /// A request reached the other side and was answered.
    pub fn success(&mut self) {
        self.stage = Stage::Closed { failures: 0 };
    }

    /// A request failed at `now` in a way that speaks of the whole origin.
    pub fn failure(&mut self, now: Millis) {
        self.failure_until(now, now);
    }

    /// The same, and the origin has asked not to be called before an instant.
    pub fn failure_until(&mut self, now: Millis, not_before: Millis) {
        match self.stage {
            Stage::Closed { failures } if failures + 1 < self.limits.threshold => {
                self.stage = Stage::Closed {
                    failures: failures + 1,
                };
            }
            Stage::Closed { .. } => self.open(now, not_before, self.limits.first_wait_ms),
            Stage::HalfOpen { wait_ms, .. } => {
                self.open(now, not_before, wait_ms.saturating_mul(2));
            }
            Stage::Open { .. } => {}
        }
    }

    /// The probe that was allowed found nothing to ask with: the next request
    /// is to be the probe.
    pub fn unused(&mut self) {
        if let Stage::HalfOpen { wait_ms, .. } = self.stage {
            self.stage = Stage::Open {
                until: Millis::MIN,
                wait_ms,
            };
        }
    }

    /// Whether it has nothing to remember.
    #[must_use]
    pub fn is_untroubled(&self) -> bool {
        matches!(self.stage, Stage::Closed { failures: 0 })
    }

    /// Where it stands.
    #[must_use]
    pub fn state(&self) -> State {
        match self.stage {
            Stage::Closed { .. } => State::Closed,
            Stage::Open { .. } => State::Open,
            Stage::HalfOpen { .. } => State::HalfOpen,
        }
    }

    fn open(&mut self, now: Millis, not_before: Millis, wait_ms: Millis) {
        let wait_ms = wait_ms.min(self.limits.longest_wait_ms);
        self.stage = Stage::Open {
            until: now.saturating_add(wait_ms).max(not_before),
            wait_ms,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn opened_at(now: Millis) -> Circuit {
        let mut circuit = Circuit::new(Limits::DEFAULT);
        for _ in 0..5 {
            circuit.failure(now);
        }
        circuit
    }

    #[test]
    fn only_failures_in_a_row_open_it() {
        let mut circuit = Circuit::new(Limits::DEFAULT);
        for _ in 0..10 {
            for _ in 0..4 {
                circuit.failure(0);
            }
            circuit.success();
        }
        assert_eq!(circuit.allow(0), Allow::Yes);
        for _ in 0..5 {
            circuit.failure(0);
        }
        assert_eq!(circuit.state(), State::Open);
        assert_eq!(circuit.allow(999), Allow::NotBefore(1_000));
    }

    #[test]
    fn one_probe_passes_and_its_success_closes() {
        let mut circuit = opened_at(0);
        assert_eq!(circuit.allow(1_000), Allow::Probe);
        assert_eq!(circuit.state(), State::HalfOpen);
        assert_eq!(circuit.allow(1_000), Allow::NotBefore(61_000));
        circuit.success();
        assert_eq!(circuit.state(), State::Closed);
        assert_eq!(circuit.allow(1_001), Allow::Yes);
    }

    #[test]
    fn the_wait_doubles_from_one_to_thirty_seconds_and_starts_over_after_a_success() {
        let mut circuit = opened_at(0);
        let mut now = 0;
        let mut waits = Vec::new();
        for _ in 0..7 {
            let Allow::NotBefore(at) = circuit.allow(now) else {
                panic!("open")
            };
            waits.push(at - now);
            now = at;
            assert_eq!(circuit.allow(now), Allow::Probe);
            circuit.failure(now);
        }
        assert_eq!(waits, [1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000]);
        circuit.success();
        for _ in 0..5 {
            circuit.failure(now);
        }
        assert_eq!(circuit.allow(now), Allow::NotBefore(now + 1_000));
    }

    #[test]
    fn a_probe_that_never_reports_is_replaced() {
        let mut circuit = opened_at(0);
        assert_eq!(circuit.allow(1_000), Allow::Probe);
        assert_eq!(circuit.allow(60_999), Allow::NotBefore(61_000));
        assert_eq!(circuit.allow(61_000), Allow::Probe);
    }

    #[test]
    fn late_news_does_not_lengthen_the_wait() {
        let mut circuit = opened_at(0);
        circuit.failure(900);
        assert_eq!(circuit.allow(1_000), Allow::Probe);
    }

    #[derive(Debug, Clone)]
    enum Step {
        Ask,
        Succeed,
        Fail,
        Wait(Millis),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => Just(Step::Ask),
            1 => Just(Step::Succeed),
            4 => Just(Step::Fail),
            2 => (0_i64..40_000).prop_map(Step::Wait),
        ]
    }

    proptest! {
        #[test]
        fn it_never_locks_up_and_never_lets_two_probes_through(
            threshold in 1_u32..6,
            steps in proptest::collection::vec(step(), 0..200),
        ) {
            let limits = Limits { threshold, ..Limits::DEFAULT };
            let mut circuit = Circuit::new(limits);
            let mut now = 0;
            let mut in_a_row = 0;
            let mut probe_since: Option<Millis> = None;
            for step in steps {
                let before = circuit.state();
                match step {
                    Step::Wait(ms) => now += ms,
                    Step::Succeed => {
                        circuit.success();
                        in_a_row = 0;
                        probe_since = None;
                        prop_assert_eq!(circuit.state(), State::Closed);
                    }
                    Step::Fail => {
                        circuit.failure(now);
                        if before == State::Closed {
                            in_a_row += 1;
                            prop_assert_eq!(circuit.state() == State::Open, in_a_row >= threshold);
                        } else {
                            prop_assert_eq!(circuit.state(), State::Open);
                        }
                        if circuit.state() == State::Open {
                            in_a_row = 0;
                            probe_since = None;
                        }
                    }
                    Step::Ask => match circuit.allow(now) {
                        Allow::Yes => prop_assert_eq!(before, State::Closed),
                        Allow::Probe => {
                            prop_assert_eq!(circuit.state(), State::HalfOpen);
                            if let Some(since) = probe_since {
                                prop_assert!(now - since >= limits.probe_silence_ms);
                            }
                            probe_since = Some(now);
                        }
                        Allow::NotBefore(at) => {
                            prop_assert_ne!(before, State::Closed);
                            let longest = if before == State::Open {
                                limits.longest_wait_ms
                            } else {
                                limits.probe_silence_ms
                            };
                            prop_assert!(at > now && at - now <= longest);
                            prop_assert_eq!(circuit.clone().allow(at), Allow::Probe);
                        }
                    },
                }
            }
        }
    }
}
