//! How many attempts a dispatcher has under way, and which may begin.
//!
//! Its law: *while fewer than [`OTHERS`] receivers have attempts under way, one that has
//! none may begin one at once, be it a first try or a retry,* however slow the others
//! are and however much they are owed.
//!
//! So one attempt of each receiver counts little. Each further one takes a slot of
//! those that are shared, and of these as many must be free as its receiver has taken:
//! a few receivers get [`MOST_OF_ONE`] each; of n with any appetite, each gets one
//! (n + 1)th part, and the last part is there for whoever comes next.

use std::collections::HashMap;

/// Attempts under way at most, over all receivers.
pub const MOST: usize = SHARED + OTHERS + KEPT_FOR_FIRST_TRIES;
/// Attempts under way at most to one receiver.
pub const MOST_OF_ONE: usize = 32;
/// Beyond so many, a receiver has no more than one.
const SHARED: usize = 352;
/// How many receivers there may be before one that has none under way waits.
pub const OTHERS: usize = 128;
/// Kept for first tries, so that no storm of retries can starve new work.
const KEPT_FOR_FIRST_TRIES: usize = 32;

/// What an attempt is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The first of its round.
    FirstTry,
    /// Any other.
    Retry,
}

/// The attempts under way.
#[derive(Debug, Clone, Default)]
pub struct Shares {
    retries: usize,
    all: usize,
    by_origin: HashMap<String, usize>,
}

impl Shares {
    /// How many attempts may still begin, whosever they are.
    #[must_use]
    pub fn free(&self) -> usize {
        MOST.saturating_sub(self.all)
    }

    /// How many are under way to this receiver.
    #[must_use]
    pub fn of(&self, origin: &str) -> usize {
        self.by_origin.get(origin).copied().unwrap_or_default()
    }

    /// Whether this receiver has not had its share.
    #[must_use]
    pub fn has_share(&self, origin: &str) -> bool {
        self.of(origin) < self.share()
    }

    /// Whether there is a slot for an attempt of this kind.
    #[must_use]
    pub fn has_slot(&self, kind: Kind) -> bool {
        match kind {
            Kind::FirstTry => self.all < MOST,
            Kind::Retry => self.all < MOST && self.retries < MOST - KEPT_FOR_FIRST_TRIES,
        }
    }

    /// The receivers that have their share.
    pub fn full(&self) -> impl Iterator<Item = &String> {
        let share = self.share();
        let full = self.by_origin.iter().filter(move |(_, of)| **of >= share);
        full.map(|(origin, _)| origin)
    }

    /// An attempt begins.
    pub fn begin(&mut self, origin: &str, kind: Kind) {
        self.all += 1;
        self.retries += usize::from(kind == Kind::Retry);
        *self.by_origin.entry(origin.to_owned()).or_default() += 1;
    }

    /// One that has begun ends.
    pub fn end(&mut self, origin: &str, kind: Kind) {
        let Some(of) = self.by_origin.get_mut(origin) else {
            return;
        };
        *of = of.saturating_sub(1);
        if *of == 0 {
            self.by_origin.remove(origin);
        }
        self.all = self.all.saturating_sub(1);
        let retries = usize::from(kind == Kind::Retry);
        self.retries = self.retries.saturating_sub(retries);
    }

    /// How many of one receiver may be under way.
    fn share(&self) -> usize {
        SHARED.saturating_sub(self.all).clamp(1, MOST_OF_ONE)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::Index;

    use super::*;

    /// Whether it could begin; if so it has.
    fn try_begin(shares: &mut Shares, origin: &str, kind: Kind) -> bool {
        let may = shares.has_share(origin) && shares.has_slot(kind);
        if may {
            shares.begin(origin, kind);
        }
        may
    }

    /// Receivers with this many attempts under way want as many as they can get.
    fn all_want_more(shares: &mut Shares, receivers: usize) {
        let mut begins = true;
        while begins {
            let mut tried =
                (0..receivers).map(|of| try_begin(shares, &of.to_string(), Kind::Retry));
            begins = tried.by_ref().fold(false, |any, began| any | began);
        }
    }

    #[test]
    fn a_few_have_many_each_and_many_have_equal_parts() {
        for (receivers, share) in [(1, 32), (4, 32), (10, 32), (21, 16), (40, 9), (128, 3)] {
            let mut shares = Shares::default();
            all_want_more(&mut shares, receivers);
            for of in 0..receivers {
                let of = shares.of(&of.to_string());
                assert!(of.abs_diff(share) <= 1, "{of} of {receivers}");
            }
        }
    }

    #[test]
    fn who_has_more_than_the_share_of_today_begins_nothing_until_it_has_less() {
        let mut shares = Shares::default();
        for of in 0..11 {
            (0..32).for_each(|_| {
                try_begin(&mut shares, &of.to_string(), Kind::FirstTry);
            });
        }
        assert_eq!(shares.of("0"), 32);
        shares.end("0", Kind::FirstTry);
        assert!(!shares.has_share("0"), "31 are more than what is free");
        assert!(try_begin(&mut shares, "new", Kind::FirstTry));
    }

    #[test]
    fn no_storm_of_retries_takes_the_slots_that_are_kept_for_first_tries() {
        let mut shares = Shares::default();
        all_want_more(&mut shares, 1000);
        assert!(!shares.has_slot(Kind::Retry));
        assert!(try_begin(&mut shares, "new", Kind::FirstTry));
    }

    #[derive(Debug, Clone)]
    enum Step {
        Begin(u8, bool),
        End(Index),
    }

    fn steps() -> impl Strategy<Value = (u8, Vec<Step>)> {
        (1..=127_u8).prop_flat_map(|receivers| {
            // Mostly a few of them, whose appetite has no end.
            let any_of_them = prop_oneof![2 => 0..receivers, 1 => 0..receivers.min(24)];
            let step = prop_oneof![
                4 => (any_of_them, prop::bool::weighted(0.8)).prop_map(|(of, retry)| Step::Begin(of, retry)),
                1 => any::<Index>().prop_map(Step::End),
            ];
            (Just(receivers), prop::collection::vec(step, 0..2000))
        })
    }

    proptest! {
        #[test]
        fn a_receiver_that_has_none_begins_one_at_once_beside_127_others((_, steps) in steps()) {
            let mut shares = Shares::default();
            let mut under_way = Vec::new();
            for step in steps {
                match step {
                    Step::Begin(of, is_retry) => {
                        let kind = if is_retry { Kind::Retry } else { Kind::FirstTry };
                        if try_begin(&mut shares, &of.to_string(), kind) {
                            under_way.push((of.to_string(), kind));
                        }
                    }
                    Step::End(which) if !under_way.is_empty() => {
                        let (of, kind) = under_way.swap_remove(which.index(under_way.len()));
                        shares.end(&of, kind);
                    }
                    Step::End(_) => {}
                }
                for kind in [Kind::FirstTry, Kind::Retry] {
                    prop_assert!(try_begin(&mut shares.clone(), "new", kind), "{shares:?}");
                }
                prop_assert_eq!(shares.free(), MOST - under_way.len());
                let most_of_one = shares.by_origin.values().max().copied().unwrap_or_default();
                prop_assert!(most_of_one <= MOST_OF_ONE);
            }
            for (of, kind) in under_way {
                shares.end(&of, kind);
            }
            prop_assert_eq!((shares.all, shares.retries, shares.by_origin.len()), (0, 0, 0));
        }
    }

    #[test]
    fn a_slot_is_one_more_than_those_that_are_taken() {
        let mut shares = Shares::default();
        let mut begin = |count: usize, kind: Kind| {
            (0..count).for_each(|_| shares.begin("http://a", kind));
            [Kind::FirstTry, Kind::Retry].map(|kind| shares.has_slot(kind))
        };
        assert_eq!(
            begin(MOST - KEPT_FOR_FIRST_TRIES - 1, Kind::Retry),
            [true, true]
        );
        assert_eq!(begin(1, Kind::Retry), [true, false]);
        assert_eq!(
            begin(KEPT_FOR_FIRST_TRIES - 1, Kind::FirstTry),
            [true, false]
        );
        assert_eq!(begin(1, Kind::FirstTry), [false, false]);
        shares.end("http://a", Kind::Retry);
        assert!(shares.has_slot(Kind::FirstTry) && shares.has_slot(Kind::Retry));
    }

    #[test]
    fn first_tries_may_take_every_slot_from_retries() {
        let mut shares = Shares::default();
        for _ in 0..MOST {
            assert!(shares.has_slot(Kind::Retry));
            shares.begin("http://a", Kind::FirstTry);
        }
        assert!(!shares.has_slot(Kind::Retry) && !shares.has_slot(Kind::FirstTry));
    }
}
