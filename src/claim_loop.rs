//! The loop that every actor has which finds its work in the store: a hint came,
//! scan for what is due, take what there is room for, scan again.
//!
//! Its law: *at rest, nothing that is due and has room is unclaimed.* So nothing
//! that could mean work is forgotten, at whatever moment it comes:
//!
//! | what comes | when | what is done |
//! | --- | --- | --- |
//! | a hint | a scan may begin | it begins |
//! | a hint | a scan is under way, there is no room, or the loop pauses | it is remembered until one begins |
//! | an instant | it lies ahead | the alarm rings then, which is a hint |
//! | an instant | it has come already, maybe while a scan was under way | that is a hint; unless a scan begins, the alarm rings at once |
//! | the end of a unit | the last scan has left rows for which there was no room | that is a hint |
//! | the end of a unit | a scan is under way, which may have read its row as due still | that scan does not take it, and another follows |
//! | a restart | always | that is a hint; what belongs to the time before is not heard |
//!
//! Units are claimed in memory only: a restart of the process finds their rows due.
//! A scan reads the rows that are due at the instant it begins, so the next instant
//! that it reports lies after that one, and not after its end. Whoever tells the
//! loop something asks it for a scan afterwards ([`ClaimLoop::begin_scan`]): that is
//! the one duty of the actor.
//!
//! Time passes between two looks at the clock, and what has come in between must not be
//! taken for heard. So one look is for the whole of a decision: whether there is room, and
//! whether an instant has come. The alarm is armed by what is known, whatever time it is:
//! for an instant that has passed it rings.
//!
//! Of the instants only the earliest is kept, and a scan ends it. So whoever knows others
//! than what the scan has read tells them again after each.

use std::collections::HashSet;
use std::hash::Hash;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard};

use hoiam_supervision::clock::{Alarm, Clock, Millis};
use tokio::time::Instant;
use uuid::Uuid;

use crate::locks::lock;
use crate::work::{Ticket, Work};

/// How long an actor waits after the store has failed it.
pub const STORE_PAUSE_MS: Millis = 1000;

/// The loop of one actor over one kind of work; `K` names a unit of it.
pub struct ClaimLoop<K = Uuid> {
    clock: Clock,
    pulse: Pulse,
    /// Grows with each restart of the actor.
    generation: u32,
    /// A scan has to follow.
    hinted: bool,
    /// The last scan has left rows that there was no room for.
    left: bool,
    scanning_since: Option<Millis>,
    running: HashSet<K>,
    ended_while_scanning: HashSet<K>,
    /// The earliest instant at which something comes due.
    next_at: Option<Millis>,
    paused_until: Option<Millis>,
    alarm: Alarm,
    armed_at: Option<Millis>,
    ring: Option<Rc<dyn Fn()>>,
}

/// Something that the actor has begun and will be told the end of. It counts as
/// under way until it is dropped.
pub struct Unit {
    generation: u32,
    _ticket: Ticket,
}

/// A scan that is under way.
pub struct Scan(Unit);

/// A unit that nobody else works on.
pub struct Claim<K = Uuid> {
    key: K,
    unit: Unit,
}

impl<K> Claim<K> {
    /// What was claimed.
    pub fn key(&self) -> &K {
        &self.key
    }
}

/// How a loop stands, for any thread.
#[derive(Clone, Default)]
pub struct Pulse {
    work: Work,
    next_scan_at: Arc<Mutex<Option<Millis>>>,
}

impl Pulse {
    /// How many units and scans are under way.
    #[must_use]
    pub fn under_way(&self) -> usize {
        self.work.under_way()
    }

    /// When the next scan begins by itself. While a hint waits for a unit to end,
    /// that is `None`.
    #[must_use]
    pub fn next_scan_at(&self) -> Option<Millis> {
        *self.kept()
    }

    fn kept(&self) -> MutexGuard<'_, Option<Millis>> {
        lock(&self.next_scan_at)
    }
}

impl<K: Clone + Eq + Hash> ClaimLoop<K> {
    /// A loop whose first scan may begin at once.
    #[must_use]
    pub fn new(clock: Clock, pulse: Pulse) -> Self {
        Self {
            clock,
            pulse,
            generation: 0,
            hinted: true,
            left: false,
            scanning_since: None,
            running: HashSet::new(),
            ended_while_scanning: HashSet::new(),
            next_at: None,
            paused_until: None,
            alarm: Alarm::default(),
            armed_at: None,
            ring: None,
        }
    }

    /// The actor has started: `ring` is to send it a message upon which it
    /// [hints](Self::hint) and scans. Needs a running arbiter.
    pub fn start(&mut self, ring: impl Fn() + 'static) {
        self.ring = Some(Rc::new(ring));
        self.settle();
    }

    /// The actor restarts.
    pub fn restart(&mut self) {
        self.generation += 1;
        self.hinted = true;
        self.left = false;
        self.scanning_since = None;
        self.running.clear();
        self.ended_while_scanning.clear();
        self.next_at = None;
        self.paused_until = None;
        self.settle();
    }

    /// What is under way, also of the time before a restart.
    #[must_use]
    pub fn work(&self) -> &Work {
        &self.pulse.work
    }

    /// The actor is to begin nothing more.
    pub fn close(&mut self) {
        self.work().close();
        self.settle();
    }

    /// The same, and waits for what is under way, but not longer than this;
    /// whether all of it has ended.
    pub fn drain(&mut self, until: Instant) -> impl Future<Output = bool> + use<K> {
        self.close();
        self.work().ended_by(until)
    }

    /// Whether it is to begin nothing more.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.work().is_closed()
    }

    /// Something may have come due.
    pub fn hint(&mut self) {
        self.hinted = true;
        self.settle();
    }

    /// Something comes due at this instant, or may begin then. A scan too many
    /// costs nothing, so an earlier instant that is known stays, unless it has come:
    /// that is a hint by now.
    pub fn wake_at(&mut self, at: Millis) {
        self.note_what_came(self.clock.now());
        self.next_at = Some(self.next_at.map_or(at, |earlier| earlier.min(at)));
        self.settle();
    }

    /// Something has failed that is no unit's fault: no scan begins for so long,
    /// and then one does.
    pub fn pause(&mut self, for_ms: Millis) {
        let until = self.clock.now().saturating_add(for_ms);
        self.paused_until = self.paused_until.max(Some(until));
        self.hint();
    }

    /// The same, because the store has failed the actor.
    pub fn pause_for_store(&mut self) {
        self.pause(STORE_PAUSE_MS);
    }

    /// The last scan has left rows that there was no room for: the end of a unit
    /// is a hint.
    pub fn leave(&mut self) {
        self.left = true;
    }

    /// Whether a scan has to begin at this instant.
    #[must_use]
    pub fn has_to_scan(&self, now: Millis) -> bool {
        self.hinted || self.next_at.is_some_and(|at| at <= now)
    }

    /// Whether a hint waits for a scan.
    #[must_use]
    pub fn is_hinted(&self) -> bool {
        self.hinted
    }

    /// Whether a scan is under way.
    #[must_use]
    pub fn is_scanning(&self) -> bool {
        self.scanning_since.is_some()
    }

    /// Whether the loop pauses.
    #[must_use]
    pub fn is_paused(&self, now: Millis) -> bool {
        self.paused_until.is_some_and(|until| now < until)
    }

    /// A scan, if one has to begin and may. `now` is the instant at which there was room:
    /// what keeps it away until some instant has told that ([`Self::wake_at`]).
    #[must_use]
    pub fn begin_scan(&mut self, now: Millis, has_room: bool) -> Option<Scan> {
        self.note_what_came(now);
        self.paused_until.take_if(|until| *until <= now);
        let is_free = !self.is_scanning() && self.paused_until.is_none();
        let may = has_room && is_free && !self.is_closed();
        if !self.hinted || !may {
            self.settle();
            return None;
        }
        self.hinted = false;
        self.left = false;
        self.ended_while_scanning.clear();
        self.scanning_since = Some(now);
        let scan = Scan(self.begin_unit());
        self.settle();
        Some(scan)
    }

    /// A scan has ended and what it has read is to be [taken](Self::take). The
    /// instant at which it began; `None`: it belongs to the time before a restart.
    #[must_use]
    pub fn end_scan(&mut self, Scan(unit): Scan) -> Option<Millis> {
        if !self.is_current(&unit) {
            return None;
        }
        let began = self.scanning_since.take();
        drop(unit);
        // What has ended may be due again, or have made room.
        self.hinted |= !self.ended_while_scanning.is_empty();
        self.settle();
        began
    }

    /// Claims a row that the scan which has just ended has read; `None` if
    /// somebody works on it, or has ended it while the scan was under way, or if
    /// nothing is to begin any more.
    #[must_use]
    pub fn take(&mut self, key: K) -> Option<Claim<K>> {
        if self.is_closed() || self.ended_while_scanning.contains(&key) {
            return None;
        }
        if !self.running.insert(key.clone()) {
            return None;
        }
        let unit = self.begin_unit();
        self.settle();
        Some(Claim { key, unit })
    }

    /// A unit has ended and its outcome is committed; `false`: it belongs to the
    /// time before a restart.
    pub fn end(&mut self, Claim { key, unit }: Claim<K>) -> bool {
        let is_current = self.is_current(&unit);
        drop(unit);
        if is_current {
            self.running.remove(&key);
            if self.is_scanning() {
                self.ended_while_scanning.insert(key);
            }
            self.hinted |= std::mem::take(&mut self.left);
        }
        self.settle();
        is_current
    }

    /// Begins something that has no row to claim.
    #[must_use]
    pub fn begin_unit(&self) -> Unit {
        Unit {
            generation: self.generation,
            _ticket: self.work().begin(),
        }
    }

    /// Whether it was begun since the last restart.
    #[must_use]
    pub fn is_current(&self, unit: &Unit) -> bool {
        unit.generation == self.generation
    }

    /// How many rows are claimed.
    #[must_use]
    pub fn running(&self) -> usize {
        self.running.len()
    }

    /// Which rows are claimed: a scan need not read them again.
    #[must_use]
    pub fn keys(&self) -> HashSet<K> {
        self.running.clone()
    }

    /// Whether this row is claimed.
    #[must_use]
    pub fn is_running(&self, key: &K) -> bool {
        self.running.contains(key)
    }

    /// When the alarm is to ring, so that nothing is left lying. A hint, without
    /// which no loop pauses, needs it until the pause is over only: otherwise what
    /// keeps a scan from beginning is a scan or a unit, whose end is heard, or an
    /// instant that is known.
    fn alarm_at(&self) -> Option<Millis> {
        if self.is_closed() {
            return None;
        }
        let pause_ends = self.paused_until.filter(|_| self.hinted);
        pause_ends.or(self.next_at)
    }

    /// An instant that has come is a hint, whether its alarm was heard or not.
    fn note_what_came(&mut self, now: Millis) {
        self.hinted |= self.next_at.take_if(|at| *at <= now).is_some();
    }

    /// Arms the alarm and shows how the loop stands.
    fn settle(&mut self) {
        let at = self.alarm_at();
        if let Some(ring) = self.ring.as_ref().filter(|_| at != self.armed_at) {
            match at {
                Some(at) => {
                    let ring = Rc::clone(ring);
                    self.alarm.arm(&self.clock, at, move || ring());
                }
                None => self.alarm.disarm(),
            }
            self.armed_at = at;
        }
        *self.pulse.kept() = at;
    }
}

#[cfg(test)]
mod tests;
