//! How many attempts a dispatcher has under way, and which may begin.
//!
//! A receiver is an origin (scheme, host and port) as one client calls it: what happens
//! there to others says nothing of its URLs. The slots are in three parts, so that what
//! does not answer takes nothing from what does ([`Part`]), and clients share each of
//! them ([`Bound`]). Within a client's share of a part receivers share in turn: one
//! attempt each as long as there is room, and more of each only from a portion of it.
//!
//! Retries are counted by themselves too: they leave an eighth of a client's share to
//! first tries, which keep nothing from them that is free.
//!
//! The law, whatever anybody is owed at receivers that do not answer: *while fewer than
//! 16 other clients have attempts under way in a part, a client that has fewer than four
//! begins one at once; and while fewer than eighty receivers of a client have
//! attempts under way in a part, and no other client, one of it that has none begins one
//! at once.* For what does not answer, the first half holds at each address too, beside
//! three clients.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::Arc;

use super::bound::{Bound, FEW};

/// Attempts under way at most to one receiver: each client that calls an origin has so
/// many of its own.
pub const MOST_OF_ONE: usize = 32;

/// Whom an attempt calls, and for whom.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Receiver {
    /// Whose delivery it is.
    pub client: Arc<str>,
    /// Scheme, host and port.
    pub origin: Arc<str>,
}

/// What an attempt is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// The first of its round.
    FirstTry,
    /// Any other.
    Retry,
}

impl Kind {
    /// Both.
    pub const ALL: [Self; 2] = [Self::FirstTry, Self::Retry];
}

/// A part of the slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// For the Backend in the same process.
    Own,
    /// For receivers whose last answer was one.
    Answering,
    /// For those that have not answered yet, or do not now.
    Unproven,
}

impl Part {
    /// Each of them.
    pub const ALL: [Self; 3] = [Self::Own, Self::Answering, Self::Unproven];

    /// How many slots it has.
    #[must_use]
    pub const fn most(self) -> usize {
        match self {
            Self::Own => 112,
            Self::Answering => 640,
            Self::Unproven => 256,
        }
    }

    /// Of these, how many are kept for clients that have few attempts under way.
    const KEPT: usize = 64;

    /// How many one receiver may have when another one is to begin, wherever the slots
    /// of these are. Who has not answered yet needs no more to show that he does.
    #[must_use]
    pub const fn most_of_one(self) -> usize {
        match self {
            Self::Own | Self::Answering => MOST_OF_ONE,
            Self::Unproven => 8,
        }
    }

    /// What of a client's share its receivers may take beyond one attempt each; the
    /// rest is for those that have none. In the first part there is one receiver.
    const fn for_more(self, share: usize) -> usize {
        match self {
            Self::Own => 2 * share,
            // Alone he leaves eighty for these, and what is kept for first tries.
            Self::Answering => {
                let beyond = (share - kept_for_first_tries(share)).saturating_sub(80);
                if beyond > share / 2 {
                    beyond
                } else {
                    share / 2
                }
            }
            Self::Unproven => share / 8,
        }
    }
}

/// Of a client's share, so that no storm of retries can starve new work.
const fn kept_for_first_tries(share: usize) -> usize {
    share / 8
}

/// Attempts under way at most to one address, whatever the name and the port, where it
/// has not answered.
pub const MOST_OF_ADDRESS: usize = 64;
/// Of these, how many are kept for clients that have few there.
const KEPT_OF_ADDRESS: usize = 16;

/// What an attempt takes while it is under way.
#[derive(Debug, Clone)]
pub struct Slot {
    /// Whom it calls.
    pub receiver: Receiver,
    /// What it is.
    pub kind: Kind,
    /// Where its slot is.
    pub part: Part,
    /// The network that is called, if that is known before.
    pub address: Option<IpAddr>,
}

/// The attempts under way.
#[derive(Debug, Clone)]
pub struct Shares {
    parts: [Under; 3],
    /// Of those that are unproven.
    by_address: HashMap<IpAddr, Bound>,
    /// How often somebody has asked.
    #[cfg(test)]
    pub asked: std::cell::Cell<usize>,
}

/// Those of one part.
#[derive(Debug, Clone)]
struct Under {
    bound: Bound,
    by_receiver: HashMap<Receiver, usize>,
    /// How many retries each client has.
    retries: HashMap<Arc<str>, usize>,
}

impl Default for Shares {
    fn default() -> Self {
        let part = |part: Part| Under {
            bound: Bound::new(part.most(), Part::KEPT),
            by_receiver: HashMap::new(),
            retries: HashMap::new(),
        };
        Self {
            parts: Part::ALL.map(part),
            by_address: HashMap::new(),
            #[cfg(test)]
            asked: std::cell::Cell::default(),
        }
    }
}

impl Shares {
    /// How many are under way in a part.
    #[must_use]
    pub fn in_part(&self, part: Part) -> usize {
        self.parts[part as usize].bound.all()
    }

    /// How many are under way to this receiver.
    #[must_use]
    pub fn of(&self, receiver: &Receiver) -> usize {
        let of = |part: Part| self.in_part_of(part, receiver);
        Part::ALL.into_iter().map(of).sum()
    }

    fn in_part_of(&self, part: Part, receiver: &Receiver) -> usize {
        let of = self.parts[part as usize].by_receiver.get(receiver);
        of.copied().unwrap_or_default()
    }

    /// How many attempts of this kind a client may begin at receivers that have room, as
    /// long as nothing else begins.
    #[must_use]
    pub fn room(&self, part: Part, client: &str, kind: Kind) -> usize {
        let Under { bound, retries, .. } = &self.parts[part as usize];
        let room = bound.room(client);
        match kind {
            Kind::FirstTry => room,
            Kind::Retry => {
                let share = bound.share(client);
                let most = (share - kept_for_first_tries(share)).max(FEW);
                let retries = retries.get(client).copied().unwrap_or_default();
                room.min(most.saturating_sub(retries))
            }
        }
    }

    /// Whether this attempt may begin.
    #[must_use]
    pub fn may_begin(&self, slot: &Slot) -> bool {
        #[cfg(test)]
        self.asked.set(self.asked.get() + 1);
        let client = &*slot.receiver.client;
        let of_one = self.in_part_of(slot.part, &slot.receiver);
        let has_share = || {
            let bound = &self.parts[slot.part as usize].bound;
            let own = bound.of(client);
            own < FEW || own + of_one < slot.part.for_more(bound.share(client))
        };
        self.room(slot.part, client, slot.kind) > 0
            && self.of(&slot.receiver) < slot.part.most_of_one()
            && (of_one == 0 || has_share())
            && self.room_at(slot.part, slot.address, client) > 0
    }

    /// How many a client may begin at an address, as far as that is concerned.
    #[must_use]
    pub fn room_at(&self, part: Part, address: Option<IpAddr>, client: &str) -> usize {
        match address.filter(|_| part == Part::Unproven) {
            Some(address) => match self.by_address.get(&address) {
                Some(at) => at.room(client),
                None => Bound::new(MOST_OF_ADDRESS, KEPT_OF_ADDRESS).room(client),
            },
            None => usize::MAX,
        }
    }

    /// An attempt begins that may.
    pub fn begin(&mut self, slot: &Slot) {
        let client = &slot.receiver.client;
        let part = &mut self.parts[slot.part as usize];
        part.bound.begin(client);
        *part.by_receiver.entry(slot.receiver.clone()).or_default() += 1;
        if slot.kind == Kind::Retry {
            *part.retries.entry(Arc::clone(client)).or_default() += 1;
        }
        if let Some(address) = slot.address.filter(|_| slot.part == Part::Unproven) {
            let at = self.by_address.entry(address);
            at.or_insert_with(|| Bound::new(MOST_OF_ADDRESS, KEPT_OF_ADDRESS))
                .begin(client);
        }
    }

    /// One that has begun ends.
    pub fn end(&mut self, slot: &Slot) {
        let client = &slot.receiver.client;
        let part = &mut self.parts[slot.part as usize];
        part.bound.end(client);
        count_down(&mut part.by_receiver, &slot.receiver);
        if slot.kind == Kind::Retry {
            count_down(&mut part.retries, client);
        }
        if slot.part == Part::Unproven
            && let Some(address) = slot.address
            && let Some(at) = self.by_address.get_mut(&address)
        {
            at.end(client);
            if at.all() == 0 {
                self.by_address.remove(&address);
            }
        }
    }
}

fn count_down<K: Hash + Eq>(counts: &mut HashMap<K, usize>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}

#[cfg(test)]
mod tests;
