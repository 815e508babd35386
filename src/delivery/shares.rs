//! How many attempts a dispatcher has under way, and which may begin.
//!
//! A receiver is an origin (scheme, host and port) as one client calls it: what happens
//! there to others says nothing of its URLs. The slots are in three parts, so that what
//! does not answer takes nothing from what does ([`Part`]), and clients share each of
//! them ([`Bound`]). Within a client's share of a part receivers share in turn: one
//! attempt each as long as there is room, and more of each only from a portion of it.
//!
//! The law, whatever anybody is owed at receivers that do not answer: *while fewer than
//! 16 other clients have attempts under way in a part, a client that has fewer than four
//! begins one at once; and while fewer than eighty receivers of a client have
//! attempts under way in a part, and no other client, one of it that has none begins one
//! at once.* For what does not answer, the first half holds at each address too, beside
//! three clients.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use super::bound::{Bound, FEW};

/// Attempts under way at most to one receiver.
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
            Self::Answering => 320,
            Self::Unproven => 256,
        }
    }

    /// Of these, how many are kept for clients that have few attempts under way.
    const KEPT: usize = 64;

    /// How many one receiver may have. Who has not answered yet needs no more to show
    /// that he does.
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
            Self::Answering => share / 2,
            Self::Unproven => share / 8,
        }
    }
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
    parts: [(Bound, HashMap<Receiver, usize>); 3],
    /// Of those that are unproven.
    by_address: HashMap<IpAddr, Bound>,
}

impl Default for Shares {
    fn default() -> Self {
        let part = |part: Part| (Bound::new(part.most(), Part::KEPT), HashMap::new());
        Self {
            parts: Part::ALL.map(part),
            by_address: HashMap::new(),
        }
    }
}

impl Shares {
    /// How many are under way in a part.
    #[must_use]
    pub fn in_part(&self, part: Part) -> usize {
        self.parts[part as usize].0.all()
    }

    /// How many are under way to this receiver.
    #[must_use]
    pub fn of(&self, receiver: &Receiver) -> usize {
        let of = |part: Part| self.in_part_of(part, receiver);
        Part::ALL.into_iter().map(of).sum()
    }

    fn in_part_of(&self, part: Part, receiver: &Receiver) -> usize {
        let of = self.parts[part as usize].1.get(receiver);
        of.copied().unwrap_or_default()
    }

    /// Whether a client may begin an attempt of this kind at some receiver.
    #[must_use]
    pub fn has_room(&self, part: Part, client: &str, kind: Kind) -> bool {
        let bound = &self.parts[part as usize].0;
        let (own, share) = (bound.of(client), bound.share(client));
        let for_this = match kind {
            Kind::FirstTry => share,
            // So that no storm of retries can starve new work.
            Kind::Retry => share - share / 8,
        };
        bound.room(client) > 0 && (own < FEW || own < for_this)
    }

    /// Whether this attempt may begin.
    #[must_use]
    pub fn may_begin(&self, slot: &Slot) -> bool {
        let client = &*slot.receiver.client;
        let of_one = self.in_part_of(slot.part, &slot.receiver);
        let has_share = || {
            let bound = &self.parts[slot.part as usize].0;
            let own = bound.of(client);
            own < FEW || own + of_one < slot.part.for_more(bound.share(client))
        };
        self.has_room(slot.part, client, slot.kind)
            && of_one < slot.part.most_of_one()
            && (of_one == 0 || has_share())
            && self.address_has_room(slot)
    }

    fn address_has_room(&self, slot: &Slot) -> bool {
        let bound = slot.address.and_then(|at| self.by_address.get(&at));
        slot.part != Part::Unproven || bound.is_none_or(|at| at.room(&slot.receiver.client) > 0)
    }

    /// An attempt begins that may.
    pub fn begin(&mut self, slot: &Slot) {
        let (bound, by_receiver) = &mut self.parts[slot.part as usize];
        bound.begin(&slot.receiver.client);
        *by_receiver.entry(slot.receiver.clone()).or_default() += 1;
        if let Some(address) = slot.address.filter(|_| slot.part == Part::Unproven) {
            let at = self.by_address.entry(address);
            at.or_insert_with(|| Bound::new(MOST_OF_ADDRESS, KEPT_OF_ADDRESS))
                .begin(&slot.receiver.client);
        }
    }

    /// One that has begun ends.
    pub fn end(&mut self, slot: &Slot) {
        let (bound, by_receiver) = &mut self.parts[slot.part as usize];
        bound.end(&slot.receiver.client);
        if let Some(of) = by_receiver.get_mut(&slot.receiver) {
            *of -= 1;
            if *of == 0 {
                by_receiver.remove(&slot.receiver);
            }
        }
        if slot.part == Part::Unproven
            && let Some(address) = slot.address
            && let Some(at) = self.by_address.get_mut(&address)
        {
            at.end(&slot.receiver.client);
            if at.all() == 0 {
                self.by_address.remove(&address);
            }
        }
    }
}

#[cfg(test)]
mod tests;
