//! What has happened and is still to be told, kind by kind: at most one alert a
//! minute of each kind, none held back longer than that, and nothing lost.
//!
//! Pure: no clock, no I/O.

use std::collections::BTreeMap;

use hoiam_api::{Alert, DeliveryType, Example, rfc3339};
use hoiam_supervision::clock::Millis;
use uuid::Uuid;

/// The first alert of a kind waits so long, since troubles come in numbers.
pub const GATHER_MS: Millis = 1000;
/// From one alert of a kind to the next at least.
pub const EVERY_MS: Millis = 60_000;
/// Examples an alert.
pub const MAX_EXAMPLES: usize = 10;

/// What has happened of one kind since its last alert.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// One of [`DeliveryType::ALERTS`].
    pub kind: DeliveryType,
    /// How many things.
    pub count: u64,
    /// When the first of them happened.
    pub since: Millis,
    /// When the last of them did.
    pub until: Millis,
    /// The first few.
    pub examples: Vec<Example>,
}

impl Batch {
    /// One thing that has happened.
    #[must_use]
    pub fn one(kind: DeliveryType, at: Millis, example: Example) -> Self {
        Self {
            kind,
            count: 1,
            since: at,
            until: at,
            examples: vec![Example {
                at: rfc3339(at),
                ..example
            }],
        }
    }

    /// Adds what has happened since.
    fn append(&mut self, later: Self) {
        self.count += later.count;
        self.since = self.since.min(later.since);
        self.until = self.until.max(later.until);
        self.examples.extend(later.examples);
        self.examples.truncate(MAX_EXAMPLES);
    }

    /// The alert that tells of it.
    #[must_use]
    pub fn alert(self, id: Uuid, resolved: Option<bool>) -> Alert {
        Alert {
            id,
            count: self.count,
            since: rfc3339(self.since),
            until: rfc3339(self.until),
            resolved,
            examples: self.examples,
        }
    }
}

/// When each kind was last told.
pub type ToldAt = BTreeMap<String, Millis>;

/// Everything that is still to be told.
#[derive(Debug, Default)]
pub struct Gather {
    pending: BTreeMap<&'static str, Batch>,
    told_at: ToldAt,
}

impl Gather {
    /// Nothing is to be told, and these kinds were told before.
    #[must_use]
    pub fn new(told_at: ToldAt) -> Self {
        Self {
            pending: BTreeMap::new(),
            told_at,
        }
    }

    /// Something has happened.
    pub fn add(&mut self, batch: Batch) {
        let pending = self.pending.get_mut(batch.kind.as_str());
        match pending {
            Some(pending) => pending.append(batch),
            None => drop(self.pending.insert(batch.kind.as_str(), batch)),
        }
    }

    /// What was taken could not be told; more may have happened since.
    pub fn put_back(&mut self, batch: Batch) {
        let later = self.pending.insert(batch.kind.as_str(), batch);
        if let Some(later) = later {
            self.add(later);
        }
    }

    /// Takes what is to be told now. It is to be [told](Self::told) or
    /// [put back](Self::put_back).
    pub fn take_due(&mut self, now: Millis) -> Vec<Batch> {
        let told_at = &self.told_at;
        let due = self
            .pending
            .extract_if(.., |_, batch| due_at(told_at, batch, now) <= now);
        due.map(|(_, batch)| batch).collect()
    }

    /// An alert of this kind is kept, or has come.
    pub fn told(&mut self, kind: DeliveryType, now: Millis) {
        self.told_at.insert(kind.as_str().to_owned(), now);
    }

    /// When the next alert is due, as it looks now.
    #[must_use]
    pub fn next_at(&self, now: Millis) -> Option<Millis> {
        let pending = self.pending.values();
        pending.map(|batch| due_at(&self.told_at, batch, now)).min()
    }

    /// When each kind was last told.
    #[must_use]
    pub fn told_at(&self) -> &ToldAt {
        &self.told_at
    }
}

/// A kind that was told in a future that the clock has taken back waits no
/// longer than any other.
fn due_at(told_at: &ToldAt, batch: &Batch, now: Millis) -> Millis {
    let gathered_at = batch.since + GATHER_MS;
    let Some(last_at) = told_at.get(batch.kind.as_str()) else {
        return gathered_at;
    };
    // What happened before the last alert may be noted after it.
    let from = if *last_at > now {
        batch.since
    } else {
        *last_at
    };
    gathered_at.max(from + EVERY_MS)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone)]
    enum Step {
        /// So many things of this kind are noted, so long after they have happened.
        Happens(usize, u64, Millis),
        /// Time passes, and whoever tells looks.
        Passes(Millis),
        /// The same, and what is due cannot be kept.
        Fails(Millis),
        /// The process starts anew after what was told is kept; what is gathered
        /// is reported again.
        Restarts,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (0..5_usize, 1..30_u64, late())
                .prop_map(|(kind, count, late)| Step::Happens(kind, count, late)),
            4 => (0..90_000_i64).prop_map(Step::Passes),
            2 => (0..90_000_i64).prop_map(Step::Fails),
            1 => Just(Step::Restarts),
        ]
    }

    fn late() -> impl Strategy<Value = Millis> {
        prop_oneof![3 => Just(0), 1 => 0..200_000_i64]
    }

    fn happened(kind: DeliveryType, at: Millis, number: u64) -> Batch {
        let origin = Some(format!("http://{number}"));
        let example = Example {
            origin,
            ..Example::default()
        };
        Batch::one(kind, at, example)
    }

    proptest! {
        #[test]
        fn all_that_happens_is_told_within_a_minute_and_no_kind_twice_in_one(
            steps in proptest::collection::vec(step(), 1..60),
        ) {
            let (mut now, mut gather) = (1_700_000_000_000, Gather::default());
            let mut told: Vec<(Batch, Millis)> = Vec::new();
            let mut counts = [0_u64; 5];
            let mut noted_from: BTreeMap<&str, Millis> = BTreeMap::new();
            let mut noted_late = [false; 5];
            for step in steps {
                match step {
                    Step::Happens(kind, count, late) => {
                        for number in 0..count {
                            let number = counts[kind] + number;
                            gather.add(happened(DeliveryType::ALERTS[kind], now - late, number));
                        }
                        counts[kind] += count;
                        noted_late[kind] |= late > 0;
                        noted_from.entry(DeliveryType::ALERTS[kind].as_str()).or_insert(now);
                    }
                    Step::Passes(ms) => {
                        // The loop wakes when something is due, at the latest.
                        let until = now + ms;
                        while let Some(at) = gather.next_at(now).filter(|at| *at <= until) {
                            now = now.max(at);
                            for batch in gather.take_due(now) {
                                gather.told(batch.kind, now);
                                noted_from.remove(batch.kind.as_str());
                                told.push((batch, now));
                            }
                        }
                        now = until;
                    }
                    Step::Fails(ms) => {
                        now += ms;
                        for batch in gather.take_due(now) {
                            gather.put_back(batch);
                        }
                    }
                    Step::Restarts => {
                        let mut anew = Gather::new(gather.told_at().clone());
                        for batch in std::mem::take(&mut gather.pending).into_values() {
                            anew.add(batch);
                        }
                        gather = anew;
                    }
                }
                // Nothing that is noted is due later than a minute after.
                for batch in gather.pending.values() {
                    let due_at = due_at(&gather.told_at, batch, now);
                    prop_assert!(due_at >= batch.since + GATHER_MS);
                    prop_assert!(due_at <= noted_from[batch.kind.as_str()] + EVERY_MS);
                }
            }
            now += EVERY_MS;
            for batch in gather.take_due(now) {
                told.push((batch, now));
            }
            prop_assert_eq!(gather.next_at(now), None);
            for ((kind, count), is_late) in DeliveryType::ALERTS.iter().zip(counts).zip(noted_late) {
                let of_kind: Vec<_> = told.iter().filter(|(batch, _)| batch.kind == *kind).collect();
                prop_assert_eq!(of_kind.iter().map(|(batch, _)| batch.count).sum::<u64>(), count);
                for pair in of_kind.windows(2) {
                    prop_assert!(pair[1].1 - pair[0].1 >= EVERY_MS);
                    prop_assert!(is_late || pair[1].0.since >= pair[0].0.until);
                }
                for (batch, _) in of_kind {
                    let shown = batch.count.min(MAX_EXAMPLES as u64);
                    prop_assert_eq!(batch.examples.len() as u64, shown);
                    prop_assert!(is_late || batch.examples[0].at == rfc3339(batch.since));
                }
            }
        }
    }

    #[test]
    fn a_time_that_the_clock_has_taken_back_silences_nobody() {
        let kind = DeliveryType::DiskFailing;
        let mut gather = Gather::default();
        gather.told(kind, 10 * EVERY_MS);
        gather.add(happened(kind, 0, 0));
        assert_eq!(gather.next_at(0), Some(EVERY_MS));
    }

    /// What happened before it and is noted after it waits like anything else.
    #[test]
    fn a_kind_that_is_told_this_moment_waits_its_minute_from_now() {
        let now = 1_700_000_000_000;
        let mut gather = Gather::default();
        gather.told(DeliveryType::ReceiverShut, now);
        gather.add(happened(DeliveryType::ReceiverShut, now - 50_000, 1));
        assert_eq!(gather.next_at(now), Some(now + EVERY_MS));
    }
}
