//! How many checks are under way, and which may begin.
//!
//! Its law: *while fewer than eight other clients have checks under way, a client that has
//! fewer than four begins one at once, whatever the others wait for*; at an address that
//! the others ask too, beside three. A check that waits for its second look counts for
//! nothing but itself.

use std::collections::HashMap;
use std::net::IpAddr;

use hoiam_supervision::clock::Millis;

use super::bound::Bound;
use super::held::Held;
use super::receivers::Locate;
use super::shares::Receiver;

/// Checks under way at most, over all clients.
pub const MOST: usize = 96;
/// Of these, how many are kept for clients that have few.
const KEPT: usize = 32;
/// Checks under way at most to one address, whatever the name and the port.
const MOST_OF_ADDRESS: usize = 40;
/// Of these, how many are kept for clients that have few there.
const KEPT_OF_ADDRESS: usize = 16;
/// Of one client to one origin.
pub const MOST_OF_ONE: usize = 8;
/// URLs of one client and origin that may wait for their second look meanwhile.
const MOST_WAITING_OF_ONE: usize = 256;

/// What a check takes while it asks.
#[derive(Debug, Clone)]
pub struct CheckSlot {
    /// Whom it asks, for whom.
    pub receiver: Receiver,
    /// The network that is asked, if that is known before.
    pub address: Option<IpAddr>,
}

/// The checks under way.
#[derive(Debug, Clone)]
pub struct CheckShares {
    all: Bound,
    by_address: HashMap<IpAddr, Bound>,
    by_receiver: HashMap<Receiver, usize>,
    waiting: HashMap<Receiver, usize>,
}

impl Default for CheckShares {
    fn default() -> Self {
        Self {
            all: Bound::new(MOST, KEPT),
            by_address: HashMap::new(),
            by_receiver: HashMap::new(),
            waiting: HashMap::new(),
        }
    }
}

impl CheckShares {
    /// Whether a client that has none could begin one.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.all.all() < MOST
    }

    /// How many checks of this client and origin may begin.
    fn room(&self, slot: &CheckSlot) -> usize {
        let CheckSlot { receiver, address } = slot;
        let of = |counts: &HashMap<Receiver, usize>| counts.get(receiver).copied();
        if of(&self.waiting).unwrap_or_default() >= MOST_WAITING_OF_ONE {
            return 0;
        }
        let at = address.and_then(|address| self.by_address.get(&address));
        let none = Bound::new(MOST_OF_ADDRESS, KEPT_OF_ADDRESS);
        let of_address = match address {
            Some(_) => at.unwrap_or(&none).room(&receiver.client),
            None => MOST,
        };
        self.all.room(&receiver.client).min(of_address)
    }

    /// A check begins.
    pub fn begin(&mut self, slot: &CheckSlot) {
        let client = &slot.receiver.client;
        self.all.begin(client);
        *self.by_receiver.entry(slot.receiver.clone()).or_default() += 1;
        if let Some(address) = slot.address {
            let at = self.by_address.entry(address);
            at.or_insert_with(|| Bound::new(MOST_OF_ADDRESS, KEPT_OF_ADDRESS))
                .begin(client);
        }
    }

    /// One that has begun asks no more.
    pub fn end(&mut self, slot: &CheckSlot) {
        let client = &slot.receiver.client;
        self.all.end(client);
        count_down(&mut self.by_receiver, &slot.receiver);
        if let Some(address) = slot.address
            && let Some(at) = self.by_address.get_mut(&address)
        {
            at.end(client);
            if at.all() == 0 {
                self.by_address.remove(&address);
            }
        }
    }

    /// One that asks no more waits for its second look.
    pub fn wait(&mut self, receiver: &Receiver) {
        *self.waiting.entry(receiver.clone()).or_default() += 1;
    }

    /// And does so no more.
    pub fn end_wait(&mut self, receiver: &Receiver) {
        count_down(&mut self.waiting, receiver);
    }
}

fn count_down(counts: &mut HashMap<Receiver, usize>, receiver: &Receiver) {
    if let Some(count) = counts.get_mut(receiver) {
        *count -= 1;
        if *count == 0 {
            counts.remove(receiver);
        }
    }
}

/// What a look at the jobs that wait may take.
pub struct CheckRoom {
    /// What is under way, and what the look has taken.
    pub shares: CheckShares,
    /// Who did not answer.
    pub held: Held,
    /// When the look is made.
    pub now: Millis,
    /// Where origins lead.
    pub locate: Locate,
}

impl CheckRoom {
    /// How many checks of this client may begin.
    #[must_use]
    pub fn of_client(&self, client: &str) -> usize {
        self.shares.all.room(client)
    }

    /// How many of these may that are not held themselves.
    #[must_use]
    pub fn of(&self, receiver: &Receiver) -> usize {
        let under_way = self.shares.by_receiver.get(receiver).copied();
        let allowed = self.held.allowance(receiver, MOST_OF_ONE, self.now);
        let of_one = allowed.saturating_sub(under_way.unwrap_or_default());
        of_one.min(self.of_held(receiver))
    }

    /// How many of these may that are held and have their turn.
    #[must_use]
    pub fn of_held(&self, receiver: &Receiver) -> usize {
        self.shares.room(&self.slot(receiver))
    }

    /// One of them is taken.
    pub fn begin(&mut self, receiver: &Receiver) {
        let slot = self.slot(receiver);
        self.shares.begin(&slot);
    }

    /// What a check takes.
    #[must_use]
    pub fn slot(&self, receiver: &Receiver) -> CheckSlot {
        CheckSlot {
            receiver: receiver.clone(),
            address: (self.locate)(&receiver.origin),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;
    use proptest::sample::Index;

    use super::super::bound::FEW;
    use super::*;

    /// Every tenth number has an address with all that end alike.
    fn room() -> CheckRoom {
        let locate = |origin: &str| {
            let last = origin.as_bytes().last()?;
            (*last < b'8').then(|| [192, 0, 2, *last].into())
        };
        CheckRoom {
            shares: CheckShares::default(),
            held: Held::default(),
            now: 0,
            locate: Arc::new(locate),
        }
    }

    fn receiver(client: usize, number: usize) -> Receiver {
        Receiver {
            client: client.to_string().into(),
            origin: format!("http://{number}").into(),
        }
    }

    fn try_begin(room: &mut CheckRoom, receiver: &Receiver) -> bool {
        let may = room.of(receiver) > 0;
        if may {
            room.begin(receiver);
        }
        may
    }

    #[test]
    fn one_client_alone_has_most_of_it_and_a_part_at_one_address() {
        let mut room = room();
        let begun = |room: &mut CheckRoom, numbers: &[usize]| {
            let mut tried = numbers.iter().cycle().take(10 * numbers.len());
            let of = |number: &usize| receiver(0, *number);
            tried
                .by_ref()
                .filter(|number| try_begin(room, &of(number)))
                .count()
        };
        assert_eq!(begun(&mut room, &[1]), MOST_OF_ONE);
        let of_address: Vec<usize> = (1..200).map(|tens| tens * 10 + 1).collect();
        assert_eq!(begun(&mut room, &of_address), 21 - MOST_OF_ONE);
        let elsewhere: Vec<usize> = (0..50).map(|tens| tens * 10 + 9).collect();
        assert_eq!(begun(&mut room, &elsewhere), 56 - 21);
    }

    #[test]
    fn so_many_may_wait_for_their_second_look() {
        let (mut room, a) = (room(), receiver(0, 9));
        (0..MOST_WAITING_OF_ONE).for_each(|_| room.shares.wait(&a));
        assert_eq!((room.of(&a), room.of(&receiver(1, 9))), (0, MOST_OF_ONE));
        room.shares.end_wait(&a);
        assert_eq!(room.of(&a), MOST_OF_ONE);
    }

    proptest! {
        #[test]
        fn whatever_others_wait_for_a_client_with_few_begins_one_at_once(
            clients in 1..=7_usize,
            steps in prop::collection::vec((0..7_usize, 0..400_usize, any::<Index>(), 0..5_u8), 0..900),
        ) {
            let (mut room, mut under_way) = (room(), Vec::new());
            for (client, number, which, what) in steps {
                if what > 0 {
                    let receiver = receiver(client % clients, number);
                    let slot = room.slot(&receiver);
                    if try_begin(&mut room, &receiver) {
                        under_way.push(slot);
                    }
                } else if !under_way.is_empty() {
                    let slot = under_way.swap_remove(which.index(under_way.len()));
                    room.shares.end(&slot);
                }
                prop_assert!(room.shares.all.all() <= MOST);
            }
            let number_of_any_address = [9, if clients <= 3 { 1 } else { 9 }];
            for number in number_of_any_address {
                let before = room.shares.clone();
                for _ in 0..FEW {
                    prop_assert!(try_begin(&mut room, &receiver(99, number)));
                }
                room.shares = before;
            }
            under_way.iter().for_each(|slot| room.shares.end(slot));
            let shares = room.shares;
            prop_assert_eq!((shares.all.all(), shares.by_address.len(), shares.by_receiver.len()), (0, 0, 0));
        }
    }
}
