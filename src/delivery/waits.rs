//! The receivers whose rows were passed over, and from when on it may be their turn.
//!
//! Pure. They wait by client, part, kind and address, since whatever has no room for an
//! attempt is one of these: so nobody need look at each of very many that wait there.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use hoiam_supervision::clock::Millis;

use super::shares::{Kind, Part, Slot};

/// All that wait.
#[derive(Debug, Default)]
pub struct Waits {
    by_client: BTreeMap<Arc<str>, BTreeMap<(Part, Kind), Queue>>,
    /// How many turns may come at each instant.
    instants: BTreeMap<Millis, usize>,
}

impl Waits {
    /// An attempt that would take this waits until its turn may come.
    pub fn insert(&mut self, slot: &Slot, turn_at: Millis) {
        let client = Arc::clone(&slot.receiver.client);
        let queues = self.by_client.entry(client).or_default();
        let queue = queues.entry((slot.part, slot.kind)).or_default();
        let entry = (turn_at, Arc::clone(&slot.receiver.origin));
        queue.change(slot.address, |origins| origins.insert(entry));
        *self.instants.entry(turn_at).or_default() += 1;
    }

    /// It waits no more.
    pub fn remove(&mut self, slot: &Slot, turn_at: Millis) {
        let Some(queues) = self.by_client.get_mut(&slot.receiver.client) else {
            return;
        };
        let of = (slot.part, slot.kind);
        if let Some(queue) = queues.get_mut(&of) {
            let entry = (turn_at, Arc::clone(&slot.receiver.origin));
            queue.change(slot.address, |origins| origins.remove(&entry));
            if queue.firsts.is_empty() {
                queues.remove(&of);
            }
        }
        if queues.is_empty() {
            self.by_client.remove(&slot.receiver.client);
        }
        if let Some(count) = self.instants.get_mut(&turn_at) {
            *count -= 1;
            if *count == 0 {
                self.instants.remove(&turn_at);
            }
        }
    }

    /// When the first turn after this instant may come.
    #[must_use]
    pub fn next_at(&self, now: Millis) -> Option<Millis> {
        self.instants.range(now + 1..).next().map(|(at, _)| *at)
    }

    /// What each client has waiting, on from the one after this one.
    pub fn from(
        &self,
        last: &Arc<str>,
    ) -> impl Iterator<Item = (&Arc<str>, &BTreeMap<(Part, Kind), Queue>)> {
        let behind = self.by_client.iter().filter(move |of| of.0 > last);
        let up_to = self.by_client.iter().filter(move |of| of.0 <= last);
        behind.chain(up_to)
    }
}

type Origins = BTreeSet<(Millis, Arc<str>)>;

/// What a client has waiting for a part of the slots, of one kind.
#[derive(Debug, Default)]
pub struct Queue {
    by_address: BTreeMap<Option<IpAddr>, Origins>,
    /// Each address, by the instant of its first.
    firsts: BTreeSet<(Millis, Option<IpAddr>)>,
}

impl Queue {
    fn change(&mut self, address: Option<IpAddr>, change: impl FnOnce(&mut Origins) -> bool) {
        let origins = self.by_address.entry(address).or_default();
        let first = |origins: &Origins| origins.first().map(|(at, _)| (*at, address));
        let before = first(origins);
        change(origins);
        let after = first(origins);
        if after.is_none() {
            self.by_address.remove(&address);
        }
        if before != after {
            before.map(|before| self.firsts.remove(&before));
            self.firsts.extend(after);
        }
    }

    /// The addresses with receivers whose turn it may be, and these: who has waited
    /// longest of each, from the address whose first has waited longest.
    pub fn due(
        &self,
        now: Millis,
    ) -> impl Iterator<Item = (Option<IpAddr>, impl Iterator<Item = &Arc<str>>)> {
        let firsts = self.firsts.iter().take_while(move |(at, _)| *at <= now);
        firsts.filter_map(move |(_, address)| {
            let origins = self.by_address.get(address)?.iter();
            let due = origins.take_while(move |(at, _)| *at <= now);
            Some((*address, due.map(|(_, origin)| origin)))
        })
    }
}
