//! Claims that are held in memory.
//!
//! A restart finds the work pending, so nothing is written to claim it. Two
//! things could go wrong:
//!
//! - A read that started before the outcome of a unit was committed may be
//!   answered after the unit has ended: its rows would look due again. So a key
//!   that ends while a claim is being read counts as taken for that claim.
//! - A hint may come at a moment when nothing can be claimed, because a claim is
//!   being read or all slots are taken. It is remembered until a claim begins:
//!   whoever ends a unit asks [`InFlight::wants_claim`].

use std::collections::HashSet;
use std::hash::Hash;

/// The keys of the units that run now, and whether a claim is being read.
#[derive(Debug)]
pub struct InFlight<K> {
    running: HashSet<K>,
    ended_while_claiming: HashSet<K>,
    claiming: bool,
    /// A hint has come that no claim has followed yet.
    wanted: bool,
}

impl<K> Default for InFlight<K> {
    fn default() -> Self {
        Self {
            running: HashSet::new(),
            ended_while_claiming: HashSet::new(),
            claiming: false,
            wanted: false,
        }
    }
}

impl<K: Clone + Eq + Hash> InFlight<K> {
    /// Whether a claim may be read now. If not, because there is no room for what
    /// it would find or because one is being read already, it is remembered that
    /// one must follow.
    pub fn begin_claim(&mut self, has_room: bool) -> bool {
        self.wanted = self.claiming || !has_room;
        let begins = !self.wanted;
        self.claiming |= begins;
        begins
    }

    /// Whether a claim is to be read as soon as one may be.
    #[must_use]
    pub fn wants_claim(&self) -> bool {
        self.wanted
    }

    /// Ends the claim: of what was found, keeps what nobody works on and
    /// takes it. The second value says whether another claim is wanted.
    pub fn take<T>(&mut self, found: Vec<T>, key: impl Fn(&T) -> K) -> (Vec<T>, bool) {
        self.claiming = false;
        let fresh = found
            .into_iter()
            .filter(|unit| {
                !self.ended_while_claiming.contains(&key(unit)) && self.running.insert(key(unit))
            })
            .collect();
        self.wanted |= !self.ended_while_claiming.is_empty();
        self.ended_while_claiming.clear();
        (fresh, self.wanted)
    }

    /// A unit has ended and its outcome is committed.
    pub fn end(&mut self, key: K) {
        self.running.remove(&key);
        if self.claiming {
            self.ended_while_claiming.insert(key);
        }
    }

    /// Whether a claim is being read.
    #[must_use]
    pub fn is_claiming(&self) -> bool {
        self.claiming
    }

    /// How many units run.
    #[must_use]
    pub fn len(&self) -> usize {
        self.running.len()
    }

    /// Whether no unit runs.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.running.is_empty()
    }

    /// The keys of the units that run: what a claim need not read again.
    #[must_use]
    pub fn keys(&self) -> HashSet<K> {
        self.running.clone()
    }

    /// Whether a unit with this key runs.
    #[must_use]
    pub fn contains(&self, key: &K) -> bool {
        self.running.contains(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_that_runs_is_not_taken_twice() {
        let mut units = InFlight::default();
        assert!(units.begin_claim(true));
        assert_eq!(units.take(vec![1, 2], |n| *n), (vec![1, 2], false));
        assert!(units.begin_claim(true));
        assert_eq!(units.take(vec![1, 3], |n| *n), (vec![3], false));
        assert_eq!(units.len(), 3);
    }

    #[test]
    fn a_unit_that_ended_while_the_claim_was_read_is_not_taken_from_the_old_view() {
        let mut units = InFlight::default();
        units.begin_claim(true);
        units.take(vec![1], |n| *n);
        units.begin_claim(true);
        units.end(1);
        assert_eq!(units.take(vec![1], |n| *n), (vec![], true));
        units.begin_claim(true);
        assert_eq!(units.take(vec![1], |n| *n), (vec![1], false));
    }

    #[test]
    fn a_claim_asked_for_during_a_claim_follows_it() {
        let mut units = InFlight::<u8>::default();
        assert!(units.begin_claim(true));
        assert!(!units.begin_claim(true));
        assert_eq!(units.take(vec![], |n| *n), (vec![], true));
        assert!(units.begin_claim(true));
        assert_eq!(units.take(vec![], |n| *n), (vec![], false));
    }

    #[test]
    fn a_claim_asked_for_when_there_is_no_room_is_wanted_until_one_begins() {
        let mut units = InFlight::<u8>::default();
        assert!(units.begin_claim(true));
        units.take(vec![1], |n| *n);
        assert!(!units.wants_claim());
        assert!(!units.begin_claim(false));
        units.end(1);
        assert!(units.wants_claim());
        assert!(units.begin_claim(true));
        assert!(!units.wants_claim());
    }
}
