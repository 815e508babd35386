//! The law of the loop, in all orders of hint, scan, end, alarm and restart.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use hoiam_supervision::clock::ManualClock;
use proptest::prelude::*;

use super::*;

/// Units at a time.
const ROOM: usize = 2;

/// A message on its way to the actor.
enum Mail {
    /// A hint, or the alarm.
    Hint,
    Scanned {
        scan: Scan,
        /// `None`: the store has failed.
        read: Option<Read>,
    },
    Ended {
        claim: Claim<u8>,
        /// When it is due again.
        next_at: Option<Millis>,
    },
}

/// What a scan has read of the rows.
struct Read {
    due: Vec<u8>,
    next_at: Option<Millis>,
}

#[derive(Debug, Clone)]
enum Step {
    /// A row is due after so long, and a hint is sent.
    Add(u8, Millis),
    /// The oldest message is heard.
    Hear,
    /// The scan that has waited longest reads the rows.
    Read,
    /// It fails.
    Fail,
    /// A unit ends; its row is gone, or due again after so long.
    End(prop::sample::Index, Option<Millis>),
    Pass(Millis),
    /// For so long there is no room for anything, as while a circuit is open.
    Shut(Millis),
    Restart,
}

/// Soon, or after some looks at a clock that goes on with each.
fn afters() -> impl Strategy<Value = Millis> {
    prop_oneof![0_i64..4, 0_i64..40]
}

fn steps() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => (0_u8..6, afters()).prop_map(|(row, after)| Step::Add(row, after)),
        6 => Just(Step::Hear),
        4 => Just(Step::Read),
        1 => Just(Step::Fail),
        4 => (any::<prop::sample::Index>(), prop::option::of(afters()))
            .prop_map(|(which, again)| Step::End(which, again)),
        3 => (1_i64..4).prop_map(Step::Pass),
        1 => afters().prop_map(Step::Shut),
        1 => Just(Step::Restart),
    ]
}

/// An actor with its store, whose every step the test chooses.
struct World {
    claims: ClaimLoop<u8>,
    clock: Clock,
    hand: ManualClock,
    /// When each row is due.
    rows: BTreeMap<u8, Millis>,
    /// Scans that have not read yet, with the instant for which they read.
    scans: VecDeque<(Scan, Millis)>,
    units: Vec<Claim<u8>>,
    mail: VecDeque<Mail>,
    rung_at: Option<Millis>,
    shut_until: Millis,
}

impl World {
    /// Time stands still between two looks at the clock, or goes on by so much.
    fn new(ms_a_look: u64) -> Self {
        let (clock, hand) = Clock::manual(0);
        hand.pass_with_each_look(Duration::from_millis(ms_a_look));
        let mut world = Self {
            claims: ClaimLoop::new(clock.clone(), Pulse::default()),
            clock,
            hand,
            rows: BTreeMap::new(),
            scans: VecDeque::new(),
            units: Vec::new(),
            mail: VecDeque::new(),
            rung_at: None,
            shut_until: 0,
        };
        world.scan();
        world
    }

    fn now(&self) -> Millis {
        self.clock.now()
    }

    /// As an actor does at the end of each of its handlers.
    fn scan(&mut self) {
        let now = self.now();
        let is_shut = now < self.shut_until;
        if is_shut {
            self.claims.wake_at(self.shut_until);
        }
        let has_room = self.claims.running() < ROOM && !is_shut;
        if let Some(scan) = self.claims.begin_scan(now, has_room) {
            self.scans.push_back((scan, self.now()));
        }
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Add(row, after) => {
                let due_at = self.now() + after;
                self.rows.entry(row).or_insert(due_at);
                self.mail.push_back(Mail::Hint);
            }
            Step::Hear => self.hear(),
            Step::Read => {
                if let Some((scan, began)) = self.scans.pop_front() {
                    let read = Some(self.read(began));
                    self.mail.push_back(Mail::Scanned { scan, read });
                }
            }
            Step::Fail => {
                if let Some((scan, _)) = self.scans.pop_front() {
                    self.mail.push_back(Mail::Scanned { scan, read: None });
                }
            }
            Step::End(which, again) => {
                if !self.units.is_empty() {
                    let claim = self.units.swap_remove(which.index(self.units.len()));
                    self.commit(claim, again);
                }
            }
            Step::Pass(ms) => self.pass(ms),
            Step::Shut(ms) => self.shut_until = self.now() + ms,
            Step::Restart => {
                self.claims.restart();
                self.scan();
            }
        }
        self.ring();
    }

    /// Oldest first, and a row that is claimed already may be among them.
    fn read(&self, began: Millis) -> Read {
        let mut due: Vec<(Millis, u8)> = Vec::new();
        due.extend(self.rows.iter().map(|(row, at)| (*at, *row)));
        due.sort_unstable();
        Read {
            next_at: due.iter().map(|(at, _)| *at).find(|at| *at > began),
            due: due
                .iter()
                .filter(|(at, _)| *at <= began)
                .map(|(_, row)| *row)
                .collect(),
        }
    }

    /// An end sends no hint: it is told with the instant at which its row is due.
    fn commit(&mut self, claim: Claim<u8>, again: Option<Millis>) {
        self.rows.remove(claim.key());
        let next_at = again.map(|after| self.now() + after);
        if let Some(at) = next_at {
            self.rows.insert(*claim.key(), at);
        }
        self.mail.push_back(Mail::Ended { claim, next_at });
    }

    fn hear(&mut self) {
        match self.mail.pop_front() {
            None => return,
            Some(Mail::Hint) => self.claims.hint(),
            Some(Mail::Scanned { scan, read }) => self.scanned(scan, read),
            Some(Mail::Ended { claim, next_at }) => {
                self.claims.end(claim);
                if let Some(at) = next_at {
                    self.claims.wake_at(at);
                }
            }
        }
        self.scan();
    }

    fn scanned(&mut self, scan: Scan, read: Option<Read>) {
        if self.claims.end_scan(scan).is_none() {
            return;
        }
        let Some(read) = read else {
            return self.claims.pause(2);
        };
        for row in read.due {
            if self.claims.running() == ROOM {
                self.claims.leave();
            } else if let Some(claim) = self.claims.take(row) {
                self.units.push(claim);
            }
        }
        if let Some(at) = read.next_at {
            self.claims.wake_at(at);
        }
    }

    fn pass(&mut self, ms: Millis) {
        self.hand.advance(Duration::from_millis(ms.unsigned_abs()));
    }

    /// The alarm, once for each arming.
    fn ring(&mut self) {
        let armed = self.claims.pulse.next_scan_at();
        if armed.is_some_and(|at| at <= self.now()) && armed != self.rung_at {
            self.rung_at = armed;
            self.mail.push_back(Mail::Hint);
        }
    }

    /// Hears and reads all there is, and lets time pass to the alarm, as long as
    /// the loop wants no more than that.
    fn rest(&mut self) {
        loop {
            while !self.mail.is_empty() || !self.scans.is_empty() {
                self.take(Step::Hear);
                self.take(Step::Read);
            }
            let Some(at) = self.claims.pulse.next_scan_at() else {
                return;
            };
            self.pass((at - self.now()).max(0));
            self.ring();
            if self.mail.is_empty() {
                return;
            }
        }
    }

    /// Rows that are due and nobody works on.
    fn lying(&self) -> Vec<u8> {
        let due = self.rows.iter().filter(|(_, at)| **at <= self.now());
        let idle = due.filter(|(row, _)| !self.claims.is_running(row));
        idle.map(|(row, _)| *row).collect()
    }
}

proptest! {
    /// Whatever has happened in whatever order: once all is heard and no instant
    /// is left to wait for, nothing is due that has room.
    #[test]
    fn at_rest_nothing_that_is_due_and_has_room_is_unclaimed(
        steps in prop::collection::vec(steps(), 0..60),
        ms_a_look in 0..3_u64,
    ) {
        let mut world = World::new(ms_a_look);
        for step in steps {
            world.take(step);
        }
        world.rest();
        if world.claims.running() < ROOM {
            prop_assert!(world.lying().is_empty(), "{:?}", world.lying());
            prop_assert!(world.rows.values().all(|at| *at <= world.now()), "{:?}", world.rows);
        }
    }

    /// Room alone is enough: as units end and nothing else happens, all rows are
    /// taken.
    #[test]
    fn what_was_left_for_want_of_room_is_taken_as_units_end(
        steps in prop::collection::vec(steps(), 0..60),
        ms_a_look in 0..3_u64,
    ) {
        let mut world = World::new(ms_a_look);
        for step in steps {
            world.take(step);
        }
        world.rest();
        while let Some(claim) = world.units.pop() {
            world.commit(claim, None);
            world.rest();
        }
        prop_assert!(world.rows.is_empty(), "{:?}", world.rows);
        prop_assert_eq!(world.claims.pulse.under_way(), 0);
    }

    /// No row is worked on twice at a time, but by those that a restart has
    /// forgotten.
    #[test]
    fn no_row_is_claimed_twice(
        steps in prop::collection::vec(steps(), 0..60),
        ms_a_look in 0..3_u64,
    ) {
        let mut world = World::new(ms_a_look);
        for step in steps.into_iter().filter(|step| !matches!(step, Step::Restart)) {
            world.take(step);
            let mut rows: Vec<u8> = world.units.iter().map(|claim| *claim.key()).collect();
            rows.sort_unstable();
            prop_assert!(rows.windows(2).all(|two| two[0] != two[1]), "{rows:?}");
        }
    }
}

/// A millisecond may begin between two looks at the clock.
#[test]
fn an_instant_that_comes_while_nothing_has_to_be_scanned_is_waited_for_or_a_scan() {
    for passed in 0..8 {
        let (mut claims, hand) = at_zero();
        let scan = begin_scan(&mut claims).unwrap();
        assert_eq!(claims.end_scan(scan), Some(0));
        claims.wake_at(8);
        hand.advance(Duration::from_millis(passed));
        hand.pass_with_each_look(Duration::from_millis(1));
        let begins = begin_scan(&mut claims).is_some();
        let is_waited_for = claims.pulse.next_scan_at() == Some(8);
        assert_ne!(begins, is_waited_for, "{passed} ms of 8 had passed");
    }
}

fn begin_scan(claims: &mut ClaimLoop<u8>) -> Option<Scan> {
    claims.begin_scan(claims.clock.now(), true)
}

fn at_zero() -> (ClaimLoop<u8>, ManualClock) {
    let (clock, hand) = Clock::manual(0);
    (ClaimLoop::new(clock, Pulse::default()), hand)
}

#[test]
fn a_row_that_ended_while_a_scan_read_it_is_left_to_the_next_scan() {
    let (mut claims, _hand) = at_zero();
    let scan = begin_scan(&mut claims).unwrap();
    assert_eq!(claims.end_scan(scan), Some(0));
    let claim = claims.take(1).unwrap();
    claims.hint();
    let scan = begin_scan(&mut claims).unwrap();
    claims.end(claim);
    assert_eq!(claims.end_scan(scan), Some(0));
    assert!(claims.take(1).is_none());
    let scan = begin_scan(&mut claims).expect("another scan follows");
    assert_eq!(claims.end_scan(scan), Some(0));
    assert!(claims.take(1).is_some());
}

#[test]
fn an_instant_that_comes_while_a_scan_is_under_way_is_a_hint() {
    let (mut claims, hand) = at_zero();
    let scan = begin_scan(&mut claims).unwrap();
    hand.advance(Duration::from_millis(10));
    assert_eq!(claims.end_scan(scan), Some(0));
    // The scan has read what was due at 0, and that the next row is due at 5.
    claims.wake_at(5);
    assert!(begin_scan(&mut claims).is_some());
}

#[test]
fn what_belongs_to_the_time_before_a_restart_is_not_heard() {
    let (mut claims, _hand) = at_zero();
    let scan = begin_scan(&mut claims).unwrap();
    assert_eq!(claims.end_scan(scan), Some(0));
    let claim = claims.take(1).unwrap();
    claims.hint();
    let scan = begin_scan(&mut claims).unwrap();
    claims.restart();
    assert!(!claims.end(claim));
    assert_eq!(claims.end_scan(scan), None);
    assert!(begin_scan(&mut claims).is_some());
}

#[test]
fn a_pause_keeps_hints_and_ends_by_itself() {
    let (mut claims, hand) = at_zero();
    let scan = begin_scan(&mut claims).unwrap();
    assert_eq!(claims.end_scan(scan), Some(0));
    claims.pause(100);
    claims.hint();
    assert!(begin_scan(&mut claims).is_none());
    assert_eq!(claims.pulse.next_scan_at(), Some(100));
    hand.advance(Duration::from_millis(100));
    assert!(begin_scan(&mut claims).is_some());
}

#[test]
fn a_closed_loop_begins_nothing_and_waits_for_no_instant() {
    let (mut claims, _hand) = at_zero();
    let scan = begin_scan(&mut claims).unwrap();
    claims.wake_at(10);
    claims.close();
    assert_eq!(claims.end_scan(scan), Some(0));
    claims.hint();
    assert!(claims.take(1).is_none() && begin_scan(&mut claims).is_none());
    assert_eq!(claims.pulse.next_scan_at(), None);
    assert_eq!(claims.pulse.under_way(), 0);
}

#[test]
fn one_scan_is_under_way_at_a_time_and_none_without_room() {
    let (mut claims, _hand) = at_zero();
    assert!(claims.begin_scan(0, false).is_none());
    let scan = begin_scan(&mut claims).expect("the hint is kept");
    claims.hint();
    assert!(begin_scan(&mut claims).is_none());
    assert_eq!(claims.end_scan(scan), Some(0));
    assert!(begin_scan(&mut claims).is_some());
}

#[test]
fn of_two_instants_the_earlier_is_waited_for() {
    let (mut claims, _hand) = at_zero();
    let scan = begin_scan(&mut claims).unwrap();
    assert_eq!(claims.end_scan(scan), Some(0));
    for (at, next) in [(20, 20), (30, 20), (10, 10)] {
        claims.wake_at(at);
        assert_eq!(claims.pulse.next_scan_at(), Some(next));
    }
}

#[test]
fn an_end_is_a_hint_only_if_the_newest_scan_has_left_something() {
    let (mut claims, _hand) = at_zero();
    for leaves in [true, false] {
        claims.hint();
        let scan = begin_scan(&mut claims).unwrap();
        assert_eq!(claims.end_scan(scan), Some(0));
        let claim = claims.take(1).unwrap();
        claims.leave();
        if !leaves {
            claims.hint();
            let scan = begin_scan(&mut claims).unwrap();
            assert_eq!(claims.end_scan(scan), Some(0));
        }
        claims.end(claim);
        assert_eq!(claims.is_hinted(), leaves);
    }
}

#[test]
fn who_was_claimed_anew_since_a_restart_is_not_freed_by_who_was_before_it() {
    let (mut claims, _hand) = at_zero();
    let mut claim = || {
        claims.hint();
        let scan = begin_scan(&mut claims).unwrap();
        assert_eq!(claims.end_scan(scan), Some(0));
        let claim = claims.take(1).unwrap();
        claims.restart();
        claim
    };
    let before = claim();
    let scan = begin_scan(&mut claims).unwrap();
    assert_eq!(claims.end_scan(scan), Some(0));
    let _now = claims.take(1).unwrap();
    assert!(!claims.end(before));
    assert!(claims.is_running(&1));
}

#[test]
fn what_is_claimed_is_known_until_it_ends() {
    let (mut claims, _hand) = at_zero();
    let scan = begin_scan(&mut claims).unwrap();
    assert_eq!(claims.pulse.under_way(), 1);
    assert_eq!(claims.end_scan(scan), Some(0));
    let [first, second] = [1, 2].map(|key| claims.take(key).unwrap());
    assert_eq!((claims.running(), claims.pulse.under_way()), (2, 2));
    assert_eq!(claims.keys(), HashSet::from([1, 2]));
    claims.end(first);
    assert_eq!(
        (claims.is_running(&1), claims.is_running(&2)),
        (false, true)
    );
    claims.end(second);
    assert_eq!((claims.running(), claims.pulse.under_way()), (0, 0));
}

#[actix_rt::test]
async fn the_alarm_rings_when_the_next_instant_or_the_end_of_a_pause_comes_and_only_then() {
    let (mut claims, hand) = at_zero();
    let (rings, mut rung) = tokio::sync::mpsc::unbounded_channel();
    claims.start(move || rings.send(()).unwrap());
    let scan = begin_scan(&mut claims).unwrap();
    assert_eq!(claims.end_scan(scan), Some(0));
    claims.wake_at(50);
    // A hint is not waited for: whoever gave it scans.
    claims.hint();
    assert_eq!(claims.pulse.next_scan_at(), Some(50));
    hand.advance(Duration::from_millis(50));
    rung.recv().await.unwrap();
    let scan = begin_scan(&mut claims).unwrap();
    assert_eq!(claims.end_scan(scan), Some(50));
    assert_eq!(claims.pulse.next_scan_at(), None);
    claims.pause(100);
    hand.advance(Duration::from_millis(100));
    rung.recv().await.unwrap();
    assert!(rung.try_recv().is_err(), "it has rung twice");
}
