//! How many things the Backend does at a time, and of what kind: each kind has
//! some slots for certain, so that none waits behind ten thousand of another.

use hoiam_text::SaturatingFrom as _;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use uuid::Uuid;

use super::task::Action;
use crate::locks::lock;
use crate::shares::{self, Share};

/// What is done at the TTS service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A task's action.
    Action(Action),
    /// An erased task's speech is erased.
    Erasure,
}

impl Kind {
    /// Every kind. What no kind has for certain goes to the first of them that has
    /// something to do: clients wait for results first, and for an erasure last.
    pub const ALL: [Self; 4] = [
        Self::Action(Action::Fetch),
        Self::Action(Action::HandOver),
        Self::Action(Action::Abandon),
        Self::Erasure,
    ];

    /// The slots that it has for certain.
    const fn reserve(self) -> i64 {
        match self {
            Self::Action(Action::Fetch | Action::HandOver) => 8,
            Self::Action(Action::Abandon) | Self::Erasure => 4,
        }
    }

    /// Its word in the log.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Action(action) => action.as_str(),
            Self::Erasure => "erasure",
        }
    }
}

/// What is under way, by the task's id: one thing for an id at a time.
#[derive(Debug, Clone, Default)]
pub struct UnderWay(HashMap<Uuid, Kind>);

impl UnderWay {
    /// Slots in all.
    pub const MOST: usize = 64;

    /// How many more of this kind may begin.
    #[must_use]
    pub fn room(&self, kind: Kind) -> usize {
        let others = Kind::ALL.into_iter().filter(|other| *other != kind);
        let others = others.map(|other| Share {
            reserve: other.reserve(),
            taken: as_i64(self.count(other)),
        });
        let left = shares::left(as_i64(Self::MOST), as_i64(self.0.len()), others);
        usize::try_from(left).unwrap_or(0)
    }

    /// How many of this kind are under way.
    #[must_use]
    pub fn count(&self, kind: Kind) -> usize {
        self.0.values().filter(|other| **other == kind).count()
    }

    /// Whether something is done for this id.
    #[must_use]
    pub fn has(&self, id: Uuid) -> bool {
        self.0.contains_key(&id)
    }

    /// Something begins.
    pub fn begin(&mut self, id: Uuid, kind: Kind) {
        self.0.insert(id, kind);
    }
}

fn as_i64(count: usize) -> i64 {
    i64::saturating_from(count)
}

/// The slots. What was begun before the actor's restart has its slot until it ends,
/// as it may still come to something over there.
#[derive(Clone, Default)]
pub struct Slots(Arc<Mutex<UnderWay>>);

/// One thing that is under way until it is dropped.
pub struct Slot {
    slots: Slots,
    id: Uuid,
}

impl Slots {
    /// A slot, if there is one for this kind and nothing is done for this id.
    #[must_use]
    pub fn take(&self, id: Uuid, kind: Kind) -> Option<Slot> {
        let mut under_way = self.lock();
        if under_way.has(id) || under_way.room(kind) == 0 {
            return None;
        }
        under_way.begin(id, kind);
        let slots = self.clone();
        Some(Slot { slots, id })
    }

    /// What is under way now.
    #[must_use]
    pub fn under_way(&self) -> UnderWay {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, UnderWay> {
        lock(&self.0)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.slots.lock().0.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_some_slots_for_certain_and_the_rest_is_for_whoever_comes() {
        let reserves = || Kind::ALL.into_iter().map(Kind::reserve);
        let all: i64 = reserves().sum();
        for (kind, reserve) in Kind::ALL.into_iter().zip(reserves()) {
            let mut under_way = UnderWay::default();
            let most = 64 - (all - reserve);
            assert_eq!(as_i64(under_way.room(kind)), most);
            for _ in 0..most {
                under_way.begin(Uuid::now_v7(), kind);
            }
            assert_eq!(under_way.room(kind), 0);
            for other in Kind::ALL.into_iter().filter(|other| *other != kind) {
                assert_eq!(as_i64(under_way.room(other)), other.reserve());
            }
        }
        assert_eq!(all, 24);
    }

    #[test]
    fn each_kind_has_a_word_of_its_own() {
        let words = Kind::ALL.map(Kind::as_str);
        assert_eq!(words, ["fetch", "hand_over", "abandon", "erasure"]);
    }

    #[test]
    fn an_id_has_one_slot_which_is_free_when_it_is_dropped() {
        let slots = Slots::default();
        let id = Uuid::now_v7();
        let taken = slots.take(id, Kind::ALL[0]).unwrap();
        assert!(slots.take(id, Kind::Erasure).is_none());
        assert_eq!(slots.under_way().count(Kind::ALL[0]), 1);
        drop(taken);
        let erasures = || slots.take(Uuid::now_v7(), Kind::Erasure);
        let all: Vec<Slot> = std::iter::from_fn(erasures).collect();
        assert_eq!(all.len(), 44);
        assert!(slots.take(id, Kind::Erasure).is_none());
        drop(all);
        assert!(slots.take(id, Kind::Erasure).is_some());
    }
}
