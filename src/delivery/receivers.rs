//! What a dispatcher knows of each receiver: whether it has had its share of the
//! slots, whether it answers at all, and from when on its due rows were passed over.
//!
//! Pure: no clock, no I/O. One that is idle, has not answered lately and has caused no
//! trouble has no entry.
//!
//! Its law: *each receiver whose rows were passed over has its turn
//! ([`Receivers::turns`]) as soon as an attempt of it may begin.* Clients have theirs
//! one after another, and of one client's receivers at one address the one that has waited
//! longest; and it costs as much as there are clients that wait, not receivers.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use hoiam_supervision::clock::Millis;

use super::shares::{Kind, Part, Receiver, Shares, Slot};
use super::waits::{Queue, Waits};
use crate::outbound::circuit::{Allow, Circuit, Limits, State};

/// From so many on, those that nobody has called for a while are forgotten, and fewer if
/// they do not answer: nobody may ask these any more.
const MANY: usize = 4096;
/// How long such a while is.
const FORGOTTEN_AFTER_MS: Millis = 600_000;
/// How often those that do not answer are looked through for that.
const FORGET_SHUT_EACH_MS: Millis = 60_000;
/// The longest that an answer's Retry-After can keep the whole receiver shut.
const LONGEST_ASKED_MS: Millis = 900_000;
/// How many receivers have their turn at once, of one client, part and kind and of all:
/// each is a query of the look.
const MOST_TURNS_OF_ONE: usize = 16;
const MOST_TURNS: usize = MOST_TURNS_OF_ONE * Part::ALL.len() * Kind::ALL.len();

/// What an attempt says of the whole receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OriginSignal {
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

/// What the end of an attempt has left of its receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Left {
    /// It does not answer.
    pub is_shut: bool,
    /// Nor does its origin answer somebody else.
    pub is_shut_to_any: bool,
}

/// A receiver with trouble, as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct OpenCircuit {
    /// Scheme, host and port.
    pub origin: String,
    /// Whom it does not answer.
    pub client: String,
    /// `closed`, `open` or `half_open`.
    pub circuit: &'static str,
    /// Attempts under way.
    pub running: usize,
}

/// A receiver whose rows of one kind are to be looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turn {
    /// Whose.
    pub receiver: Receiver,
    /// Which of them.
    pub kind: Kind,
    /// Those that are due from this instant on.
    pub from: Millis,
}

/// Finds the network that an origin was last called at, or names itself.
pub type Locate = Arc<dyn Fn(&str) -> Option<IpAddr> + Send + Sync>;

/// Every receiver that matters now.
pub struct Receivers {
    limits: Limits,
    own: Option<String>,
    locate: Locate,
    shares: Shares,
    known: HashMap<Receiver, Known>,
    /// Who has more entries than this when an attempt ends forgets some.
    forget_at: usize,
    /// From this instant on those that are shut are looked through.
    forget_shut_at: Millis,
    /// Those whose rows were passed over.
    waiting: Waits,
    /// The client whose turn was the last.
    last_client: Arc<str>,
    shut_at: HashMap<Arc<str>, usize>,
    /// Those of whom something else may be shown now.
    changed: Vec<Receiver>,
}

#[derive(Debug)]
struct Known {
    circuit: Circuit,
    /// Its last attempt was answered.
    answers: bool,
    address: Option<IpAddr>,
    /// From when on its rows of each kind were passed over, and where it waits.
    waits: [Option<Wait>; 2],
    last_at: Millis,
}

#[derive(Debug, Clone, Copy)]
struct Wait {
    from: Millis,
    /// Where that is, once it is filed.
    filed: Option<Filed>,
}

#[derive(Debug, Clone, Copy)]
struct Filed {
    part: Part,
    address: Option<IpAddr>,
    turn_at: Millis,
}

impl Known {
    /// From when on it may be called, if not always.
    fn shut_until(&self) -> Option<Millis> {
        match self.circuit.clone().allow(Millis::MIN) {
            Allow::NotBefore(at) => Some(at),
            Allow::Yes | Allow::Probe => None,
        }
    }

    fn is_shut(&self) -> bool {
        self.circuit.state() != State::Closed
    }

    fn is_waiting(&self) -> bool {
        self.waits.iter().any(Option::is_some)
    }
}

impl Receivers {
    /// None has an entry yet. A receiver that does not answer is tried again
    /// after no longer than the schedule waits at most. `own` is the origin of the
    /// Backend in this process.
    #[must_use]
    pub fn new(schedule: &[Duration], own: Option<String>, locate: Locate) -> Self {
        let longest = schedule.iter().max().copied().unwrap_or_default();
        let longest_ms = Millis::try_from(longest.as_millis()).unwrap_or(Millis::MAX);
        let of = Limits::DEFAULT;
        Self {
            limits: Limits {
                longest_wait_ms: longest_ms.clamp(of.first_wait_ms, of.longest_wait_ms),
                ..of
            },
            own,
            locate,
            shares: Shares::default(),
            known: HashMap::new(),
            forget_at: MANY,
            forget_shut_at: Millis::MIN,
            waiting: Waits::default(),
            last_client: Arc::from(""),
            shut_at: HashMap::new(),
            changed: Vec::new(),
        }
    }

    /// The actor restarts: nothing is known, and nothing under way.
    pub fn clear(&mut self) {
        self.shares = Shares::default();
        self.known.clear();
        self.forget_at = MANY;
        self.forget_shut_at = Millis::MIN;
        self.waiting = Waits::default();
        self.shut_at.clear();
        self.changed.clear();
    }

    /// What is under way to them.
    #[must_use]
    pub fn shares(&self) -> &Shares {
        &self.shares
    }

    /// An attempt wants to begin; `None`: not now.
    pub fn begin(&mut self, receiver: &Receiver, kind: Kind, now: Millis) -> Option<Slot> {
        let slot = self.slot(receiver, kind);
        if !self.shares.may_begin(&slot) {
            return None;
        }
        let one = self.entry(receiver, now);
        if matches!(one.circuit.allow(now), Allow::NotBefore(_)) {
            return None;
        }
        if one.is_shut() {
            self.changed.push(receiver.clone());
        }
        self.shares.begin(&slot);
        self.refile(receiver);
        Some(slot)
    }

    /// An attempt has ended.
    pub fn end(&mut self, slot: &Slot, news: OriginSignal, now: Millis) -> Left {
        self.shares.end(slot);
        let receiver = &slot.receiver;
        let address = (self.locate)(&receiver.origin);
        let Some(one) = self.known.get_mut(receiver) else {
            return self.left(receiver);
        };
        one.last_at = now;
        one.address = address.or(one.address);
        let was_shut = one.is_shut();
        match news {
            OriginSignal::Answers => one.circuit.success(),
            OriginSignal::Fails { asked_ms } => one
                .circuit
                .failure_until(now, now + asked_ms.clamp(0, LONGEST_ASKED_MS)),
            OriginSignal::None => one.circuit.unused(),
        }
        if news != OriginSignal::None {
            one.answers = news == OriginSignal::Answers;
        }
        if was_shut || one.is_shut() {
            self.changed.push(receiver.clone());
        }
        match (was_shut, one.is_shut()) {
            (false, true) => {
                let shut = self.shut_at.entry(Arc::clone(&receiver.origin));
                *shut.or_default() += 1;
            }
            (true, false) => forget_shut(&mut self.shut_at, &receiver.origin),
            _ => {}
        }
        let has_nothing = one.circuit.is_untroubled() && !one.answers && !one.is_waiting();
        if has_nothing && self.shares.of(receiver) == 0 {
            self.known.remove(receiver);
        } else {
            self.refile(receiver);
            self.forget(now);
        }
        self.left(receiver)
    }

    fn left(&self, receiver: &Receiver) -> Left {
        Left {
            is_shut: (self.known.get(receiver))
                .is_some_and(|one| one.circuit.state() == State::Open),
            is_shut_to_any: self.shut_at.contains_key(&receiver.origin),
        }
    }

    /// Those that nobody has called lately: of very many, and of those that are shut.
    fn forget(&mut self, now: Millis) {
        let are_many = self.known.len() > self.forget_at;
        if !are_many && (self.shut_at.is_empty() || now < self.forget_shut_at) {
            return;
        }
        let (shares, shut_at) = (&self.shares, &mut self.shut_at);
        let changed = &mut self.changed;
        self.known.retain(|receiver, one| {
            let is_idle = shares.of(receiver) == 0 && !one.is_waiting();
            let is_wanted = !are_many && !one.is_shut();
            let is_kept = is_wanted || !is_idle || one.last_at + FORGOTTEN_AFTER_MS > now;
            if !is_kept && one.is_shut() {
                forget_shut(shut_at, &receiver.origin);
                changed.push(receiver.clone());
            }
            is_kept
        });
        // Each look at all of them has to be earned.
        self.forget_shut_at = now + FORGET_SHUT_EACH_MS;
        if are_many {
            self.forget_at = MANY.max(self.known.len() + self.known.len() / 4);
        }
    }

    /// Rows of this receiver and kind that are due from this instant on were not taken.
    pub fn pass_over(&mut self, receiver: &Receiver, kind: Kind, from: Millis, now: Millis) {
        let one = self.entry(receiver, now);
        let wait = &mut one.waits[kind as usize];
        if wait.is_some_and(|wait| wait.from <= from) {
            return;
        }
        match wait {
            Some(wait) => wait.from = from,
            None => {
                *wait = Some(Wait { from, filed: None });
            }
        }
        self.refile(receiver);
    }

    /// Who has a turn now: rows of these may be taken, and are passed over no more.
    pub fn turns(&mut self, now: Millis) -> Vec<Turn> {
        let found = self.find(now, MOST_TURNS_OF_ONE, MOST_TURNS);
        if let Some((receiver, _)) = found.last() {
            self.last_client = Arc::clone(&receiver.client);
        }
        let turn = |(receiver, kind): (Receiver, Kind)| {
            let wait = self.take_wait(&receiver, kind)?;
            Some(Turn {
                receiver,
                kind,
                from: wait.from,
            })
        };
        found.into_iter().filter_map(turn).collect()
    }

    /// Whether somebody has.
    #[must_use]
    pub fn has_turn(&self, now: Millis) -> bool {
        !self.find(now, 1, 1).is_empty()
    }

    /// When the next receiver whose rows were passed over may be called again.
    #[must_use]
    pub fn next_at(&self, now: Millis) -> Option<Millis> {
        self.waiting.next_at(now)
    }

    /// Receivers of which an attempt may begin, so many of each client, part and kind: on
    /// from the client whose turn was the last, and of each as many as there is room for.
    fn find(&self, now: Millis, of_one: usize, most: usize) -> Vec<(Receiver, Kind)> {
        let mut found = Vec::new();
        for (client, queues) in self.waiting.from(&self.last_client) {
            let of_client = queues.iter().flat_map(|((part, kind), queue)| {
                self.find_in(queue, (client, *part, *kind), now, of_one)
            });
            let of_client: Vec<_> = of_client.collect();
            if found.len() + of_client.len() > most && !found.is_empty() {
                break;
            }
            found.extend(of_client);
        }
        found.truncate(most);
        found
    }

    fn find_in(
        &self,
        queue: &Queue,
        (client, part, kind): (&Arc<str>, Part, Kind),
        now: Millis,
        most: usize,
    ) -> Vec<(Receiver, Kind)> {
        let most = self.shares.room(part, client, kind).min(most);
        let mut found = Vec::new();
        for (address, origins) in queue.due(now) {
            let room = (most - found.len()).min(self.shares.room_at(part, address, client));
            let may_begin = origins.filter_map(|origin| {
                let slot = Slot {
                    receiver: Receiver {
                        client: Arc::clone(client),
                        origin: Arc::clone(origin),
                    },
                    kind,
                    part,
                    address,
                };
                (self.shares.may_begin(&slot)).then_some((slot.receiver, kind))
            });
            found.extend(may_begin.take(room));
            if found.len() == most {
                break;
            }
        }
        found
    }

    /// What an attempt would take now.
    fn slot(&self, receiver: &Receiver, kind: Kind) -> Slot {
        let known = self.known.get(receiver);
        let part = self.part_of(receiver, known);
        let address = known.and_then(|one| one.address);
        // A name may have been resolved for another port of it, or another client.
        let locate = || (self.locate)(&receiver.origin);
        Slot {
            receiver: receiver.clone(),
            kind,
            part,
            address: match part {
                Part::Unproven => address.or_else(locate),
                Part::Own | Part::Answering => None,
            },
        }
    }

    fn part_of(&self, receiver: &Receiver, known: Option<&Known>) -> Part {
        if self.own.as_deref() == Some(&*receiver.origin) {
            Part::Own
        } else if known.is_some_and(|one| one.answers && !one.is_shut()) {
            Part::Answering
        } else {
            Part::Unproven
        }
    }

    /// Has a receiver wait where it belongs now.
    fn refile(&mut self, receiver: &Receiver) {
        for kind in Kind::ALL {
            let Some(Wait { from, .. }) = self.take_wait(receiver, kind) else {
                continue;
            };
            let slot = self.slot(receiver, kind);
            let Some(one) = self.known.get_mut(receiver) else {
                continue;
            };
            let turn_at = one.shut_until().map_or(from, |until| until.max(from));
            one.waits[kind as usize] = Some(Wait {
                from,
                filed: Some(Filed {
                    part: slot.part,
                    address: slot.address,
                    turn_at,
                }),
            });
            self.waiting.insert(&slot, turn_at);
        }
    }

    fn take_wait(&mut self, receiver: &Receiver, kind: Kind) -> Option<Wait> {
        let wait = self.known.get_mut(receiver)?.waits[kind as usize].take()?;
        if let Some(filed) = wait.filed {
            let slot = Slot {
                receiver: receiver.clone(),
                kind,
                part: filed.part,
                address: filed.address,
            };
            self.waiting.remove(&slot, filed.turn_at);
        }
        Some(wait)
    }

    /// What is shown of each receiver of whom something else may be since the last time:
    /// nothing of one that answers.
    pub fn changes(&mut self) -> Vec<(Receiver, Option<OpenCircuit>)> {
        let changed = std::mem::take(&mut self.changed).into_iter();
        let shown = changed.map(|receiver| {
            let one = self.known.get(&receiver).filter(|one| one.is_shut());
            let shown = one.map(|one| OpenCircuit {
                origin: receiver.origin.to_string(),
                client: receiver.client.to_string(),
                circuit: one.circuit.state().as_str(),
                running: self.shares.of(&receiver),
            });
            (receiver, shown)
        });
        shown.collect()
    }

    fn entry(&mut self, receiver: &Receiver, now: Millis) -> &mut Known {
        let (limits, locate) = (self.limits, &self.locate);
        let entry = self.known.entry(receiver.clone());
        entry.or_insert_with(|| Known {
            circuit: Circuit::new(limits),
            answers: false,
            address: locate(&receiver.origin),
            waits: [None; 2],
            last_at: now,
        })
    }
}

fn forget_shut(shut_at: &mut HashMap<Arc<str>, usize>, origin: &Arc<str>) {
    if let Some(count) = shut_at.get_mut(origin) {
        *count -= 1;
        if *count == 0 {
            shut_at.remove(origin);
        }
    }
}

#[cfg(test)]
mod tests;
