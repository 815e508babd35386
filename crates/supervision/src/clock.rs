//! The only clock of the crate, and the timers that follow it.
//!
//! Deadlines, schedules and leases are counted in [`Clock::now`]: epoch
//! milliseconds that go on with `CLOCK_BOOTTIME`, which nobody can set and
//! which counts the time a suspended machine sleeps. A wall clock that is
//! corrected, forwards or backwards, therefore fires nothing and delays
//! nothing. [`Clock::wall`] is what people and other machines call the time:
//! it is for signatures, links and dates alone.
//!
//! So that time also goes on over a restart, each commit keeps an [`Anchor`],
//! and the next start [resumes](Clock::resume) from it. After a restart of the
//! machine only the wall clock knows how long it was off, and a wall clock may
//! be wrong by years. One that is more than a week ahead is not believed: a
//! [`Jump`] is held back until a person accepts it or the clock comes back.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use tokio::{sync::watch, task::JoinHandle};

/// An instant in milliseconds since 1970-01-01T00:00:00Z.
pub type Millis = i64;

/// The longest single sleep of a timer.
///
/// tokio's timers stand still while the machine is suspended and
/// [`Clock::now`] does not, so a long sleep looks at the clock now and then.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);

/// How far ahead the wall clock is believed after a restart of the machine. What is
/// kept for the shortest time, results, is kept for as long by default.
const BELIEVED_MS: Millis = 7 * 24 * 3_600_000;

/// What a commit keeps of the clock, so that the next start can go on from it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Anchor {
    /// [`Clock::now`] at the commit.
    pub now_ms: Millis,
    /// `CLOCK_BOOTTIME` at the commit, in milliseconds since the machine started.
    pub boottime_ms: i64,
    /// `/proc/sys/kernel/random/boot_id`: another one after each start of the
    /// machine. Empty where it cannot be read; it then equals no other.
    pub boot_id: String,
    /// Whether a [`Jump`] was held back, so that a restart of the process alone
    /// does not forget it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_held: bool,
}

/// A wall clock that is so far ahead that time does not follow it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Jump {
    /// [`Clock::now`], which goes on as if the machine had not been off.
    pub now_ms: Millis,
    /// What the wall clock says.
    pub wall_ms: Millis,
}

impl Jump {
    /// What a person can do.
    pub const WAY_OUT: &str =
        "if the machine's clock is right, run `hoiam clock accept`; if not, set it";
}

impl fmt::Display for Jump {
    /// Both times, and what it means; [`Jump::WAY_OUT`] is to stand with it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |ms| DateTime::from_timestamp_millis(ms).unwrap_or_default();
        write!(
            f,
            "the machine was restarted, and its clock ({}) is more than a week ahead of where the last commit left \
             time ({}), so time goes on from there, and nothing is timed out, given up or removed for the days \
             between",
            shown(self.wall_ms).format("%Y-%m-%d %H:%M UTC"),
            shown(self.now_ms).format("%Y-%m-%d %H:%M UTC"),
        )
    }
}

/// Tells the time. Clones are cheap and show the same time.
#[derive(Clone)]
pub struct Clock(Arc<Source>);

enum Source {
    System(System),
    Manual {
        time: watch::Receiver<ManualTime>,
        looks: Arc<Looks>,
    },
}

/// What has passed of a manual clock since it passes with each look.
#[derive(Default)]
struct Looks {
    ms_each: AtomicI64,
    passed: AtomicI64,
}

impl Looks {
    fn pass(&self) -> Millis {
        let ms_each = self.ms_each.load(Ordering::Relaxed);
        self.passed.fetch_add(ms_each, Ordering::Relaxed) + ms_each
    }

    fn passed(&self) -> Millis {
        self.passed.load(Ordering::Relaxed)
    }
}

/// The machine's clocks.
struct System {
    boot_id: String,
    /// Timers look at the clock again when this changes.
    course: watch::Sender<Course>,
}

/// How time follows `CLOCK_BOOTTIME`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Course {
    /// Now, when `CLOCK_BOOTTIME` was zero.
    origin_ms: Millis,
    /// Whether a jump of the wall clock is held back.
    is_held: bool,
}

impl System {
    /// Time as it goes on now. A jump that is held back ends with the first look at
    /// the time after the wall clock has come back, so nobody has to wait for that.
    fn course(&self) -> Course {
        let course = *self.course.borrow();
        match course.is_held && course.caught_up(false).is_some() {
            true => self.catch_up(false),
            false => course,
        }
    }

    fn catch_up(&self, is_accepted: bool) -> Course {
        let caught_up = self.course.send_if_modified(|course| {
            let caught_up = course.caught_up(is_accepted);
            *course = caught_up.unwrap_or(*course);
            caught_up.is_some()
        });
        let course = *self.course.borrow();
        if caught_up {
            let how = match is_accepted {
                true => "it was accepted",
                false => "it is within a week of it again",
            };
            let now = DateTime::from_timestamp_millis(course.now()).unwrap_or_default();
            log::warn!("time follows the machine's clock again, since {how}: {now}");
        }
        course
    }
}

impl Course {
    fn now(&self) -> Millis {
        self.origin_ms.saturating_add(boottime_ms())
    }

    /// How time goes on if the wall clock is believed again; `None` if it was all
    /// along, or is not.
    fn caught_up(self, is_accepted: bool) -> Option<Self> {
        let (now, wall) = (self.now(), system_wall().timestamp_millis());
        let is_believed = is_accepted || !is_jump(now, wall);
        (self.is_held && is_believed).then(|| Self {
            origin_ms: self.origin_ms + (wall - now).max(0),
            is_held: false,
        })
    }
}

#[derive(Clone, Copy)]
struct ManualTime {
    now: Millis,
    wall: Millis,
}

impl Clock {
    /// The clock of this machine, going on from what the last run kept.
    ///
    /// While the machine has not been restarted, time goes on from the anchor
    /// by boot time, whatever has happened to the wall clock since. After a
    /// restart of the machine only the wall clock knows how long it was off,
    /// but time never goes back before the anchor, and a [`Jump`] ahead is held
    /// back: time then goes on from the anchor.
    pub fn resume(anchor: Option<Anchor>) -> Self {
        let boottime_ms = boottime_ms();
        let boot_id = boot_id();
        let wall_ms = system_wall().timestamp_millis();
        let (now_ms, is_held) = first_instant(anchor.as_ref(), wall_ms, boottime_ms, &boot_id);
        Self(Arc::new(Source::System(System {
            boot_id,
            course: watch::Sender::new(Course {
                origin_ms: now_ms.saturating_sub(boottime_ms),
                is_held,
            }),
        })))
    }

    /// A clock for tests, which stands still until its [`ManualClock`] is moved.
    pub fn manual(start: Millis) -> (Self, ManualClock) {
        let (sender, time) = watch::channel(ManualTime {
            now: start,
            wall: start,
        });
        let looks = Arc::<Looks>::default();
        let hand = ManualClock(sender, Arc::clone(&looks));
        (Self(Arc::new(Source::Manual { time, looks })), hand)
    }

    /// The instant that deadlines, schedules and leases are counted in. It
    /// never goes back.
    pub fn now(&self) -> Millis {
        match &*self.0 {
            Source::System(system) => system.course().now(),
            Source::Manual { time, looks } => time.borrow().now + looks.pass(),
        }
    }

    /// What people and other machines call the time. It may jump, so it is
    /// only for signatures, links and dates.
    pub fn wall(&self) -> DateTime<Utc> {
        match &*self.0 {
            Source::System(_) => system_wall(),
            Source::Manual { time, .. } => {
                DateTime::from_timestamp_millis(time.borrow().wall).unwrap_or_default()
            }
        }
    }

    /// The jump of the wall clock that is held back, if one is.
    #[must_use]
    pub fn jump(&self) -> Option<Jump> {
        let Source::System(system) = &*self.0 else {
            return None;
        };
        let course = system.course();
        course.is_held.then(|| Jump {
            now_ms: course.now(),
            wall_ms: system_wall().timestamp_millis(),
        })
    }

    /// Believes the wall clock, if a jump of it is held back: time goes on from
    /// there, and timers that are due then wake.
    pub fn accept_jump(&self) {
        if let Source::System(system) = &*self.0 {
            system.catch_up(true);
        }
    }

    /// What a commit at this moment should keep.
    pub fn anchor(&self) -> Anchor {
        match &*self.0 {
            Source::System(system) => {
                let (course, boottime_ms) = (system.course(), boottime_ms());
                Anchor {
                    now_ms: course.origin_ms.saturating_add(boottime_ms),
                    boottime_ms,
                    boot_id: system.boot_id.clone(),
                    is_held: course.is_held,
                }
            }
            Source::Manual { time, looks } => Anchor {
                now_ms: time.borrow().now + looks.passed(),
                boottime_ms: 0,
                boot_id: String::new(),
                is_held: false,
            },
        }
    }

    /// Waits until [`Clock::now`] has reached `due`; not at all if it has.
    ///
    /// Timers of a manual clock never end once its [`ManualClock`] is gone.
    pub fn sleep_until(&self, due: Millis) -> impl Future<Output = ()> + Send + 'static {
        let clock = self.clone();
        async move {
            let system = match &*clock.0 {
                Source::System(system) => system,
                Source::Manual { time, looks } => {
                    let mut time = time.clone();
                    let is_due = |time: &ManualTime| time.now + looks.passed() >= due;
                    if time.wait_for(is_due).await.is_err() {
                        std::future::pending::<()>().await;
                    }
                    return;
                }
            };
            let mut course = system.course.subscribe();
            while let Ok(left) = u64::try_from(due.saturating_sub(clock.now()))
                && left > 0
            {
                let nap = Duration::from_millis(left).min(LONGEST_SLEEP);
                tokio::select! {
                    () = tokio::time::sleep(nap) => {}
                    // Time has caught up with the wall clock.
                    Ok(()) = course.changed() => {}
                }
            }
        }
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Clock").field(&self.now()).finish()
    }
}

/// Moves the time of a [`Clock::manual`].
pub struct ManualClock(watch::Sender<ManualTime>, Arc<Looks>);

impl ManualClock {
    /// Lets time pass, on both clocks; timers that are due then wake.
    pub fn advance(&self, by: Duration) {
        let by = whole_millis(by);
        self.0.send_modify(|time| {
            time.now = time.now.saturating_add(by);
            time.wall = time.wall.saturating_add(by);
        });
    }

    /// Lets [`Clock::now`] be later by so much with each look at it, as it may be on any
    /// machine: whoever looks twice sees two instants. Timers wake with the next
    /// [`Self::advance`].
    pub fn pass_with_each_look(&self, by: Duration) {
        let by = whole_millis(by);
        self.1.ms_each.store(by, Ordering::Relaxed);
    }

    /// Sets the wall clock, as a person or a time server would. [`Clock::now`]
    /// does not notice.
    pub fn set_wall(&self, wall: Millis) {
        self.0.send_modify(|time| time.wall = wall);
    }
}

/// One timer of one owner, armed anew as often as the owner likes: only the
/// last arming counts, and none once the alarm is dropped.
///
/// Actors use this and not a `SpawnHandle` of their context: an actix context
/// numbers its handles from 1 again after a restart, so a handle kept from
/// before it cancels something else.
#[derive(Debug, Default)]
pub struct Alarm(Option<JoinHandle<()>>);

impl Alarm {
    /// Calls `ring` once `clock` has reached `due`. Needs a running arbiter.
    pub fn arm(&mut self, clock: &Clock, due: Millis, ring: impl FnOnce() + 'static) {
        self.disarm();
        let sleep = clock.sleep_until(due);
        self.0 = Some(actix_rt::spawn(async move {
            sleep.await;
            ring();
        }));
    }

    /// Forgets what was armed, if it has not rung.
    pub fn disarm(&mut self) {
        if let Some(task) = self.0.take() {
            task.abort();
        }
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        self.disarm();
    }
}

/// The instant at which a clock starts, and whether a jump is held back, see
/// [`Clock::resume`].
fn first_instant(
    anchor: Option<&Anchor>,
    wall_ms: Millis,
    boottime_ms: i64,
    boot_id: &str,
) -> (Millis, bool) {
    let Some(anchor) = anchor else {
        return (wall_ms, false);
    };
    let is_same_boot = !boot_id.is_empty() && anchor.boot_id == boot_id;
    let now = match is_same_boot {
        true => {
            let passed = boottime_ms.saturating_sub(anchor.boottime_ms).max(0);
            anchor.now_ms.saturating_add(passed)
        }
        false => anchor.now_ms,
    };
    match is_same_boot && !anchor.is_held {
        true => (now, false),
        false if is_jump(now, wall_ms) => (now, true),
        false => (wall_ms.max(now), false),
    }
}

/// Whether the wall clock is too far ahead of the time to be believed.
fn is_jump(now: Millis, wall_ms: Millis) -> bool {
    wall_ms.saturating_sub(now) > BELIEVED_MS
}

fn whole_millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .map(|id| id.trim().to_owned())
        .unwrap_or_default()
}

#[expect(
    clippy::disallowed_methods,
    reason = "this is the one place that reads the wall clock"
)]
fn system_wall() -> DateTime<Utc> {
    Utc::now()
}

#[expect(
    unsafe_code,
    reason = "the standard library has no safe call for CLOCK_BOOTTIME"
)]
fn boottime_ms() -> i64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is a valid, writable timespec for the whole call.
    let answer = unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &raw mut time) };
    // It fails for a bad pointer or an unknown clock only, and every kernel
    // since Linux 2.6.39 knows this one.
    debug_assert_eq!(answer, 0, "clock_gettime(CLOCK_BOOTTIME) failed");
    time.tv_sec * 1000 + time.tv_nsec / 1_000_000
}

#[cfg(test)]
mod tests {
    use std::{
        cell::Cell,
        future::Future,
        pin::pin,
        rc::Rc,
        task::{Context, Poll, Waker},
    };

    use proptest::prelude::*;

    use super::*;

    fn polled<F: Future>(future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
        future.poll(&mut Context::from_waker(Waker::noop()))
    }

    fn anchors() -> impl Strategy<Value = Anchor> {
        let any = (any::<u32>(), any::<u32>(), "[a-c]?", any::<bool>());
        any.prop_map(|(now, boottime, boot_id, is_held)| Anchor {
            now_ms: i64::from(now),
            boottime_ms: i64::from(boottime),
            boot_id,
            is_held,
        })
    }

    proptest! {
        #[test]
        fn time_never_goes_back_before_the_anchor(
            anchor in anchors(), wall in any::<i64>(), boottime in any::<u32>(), boot_id in "[a-c]?",
        ) {
            let (start, _) = first_instant(Some(&anchor), wall, boottime.into(), &boot_id);
            prop_assert!(start >= anchor.now_ms);
        }

        #[test]
        fn time_never_goes_on_more_than_a_week_beyond_what_the_machine_has_run(
            anchor in anchors(), wall in any::<i64>(), passed in any::<u32>(), boot_id in "[a-c]?",
        ) {
            let boottime = anchor.boottime_ms + i64::from(passed);
            let (start, _) = first_instant(Some(&anchor), wall, boottime, &boot_id);
            prop_assert!(start <= anchor.now_ms + i64::from(passed) + BELIEVED_MS);
        }

        #[test]
        fn on_the_same_boot_time_goes_on_by_boot_time_whatever_the_wall_clock_says(
            mut anchor in anchors(), wall in any::<i64>(), passed in any::<u32>(),
        ) {
            prop_assume!(!anchor.boot_id.is_empty());
            anchor.is_held = false;
            let boottime = anchor.boottime_ms + i64::from(passed);
            let start = first_instant(Some(&anchor), wall, boottime, &anchor.boot_id);
            prop_assert_eq!(start, (anchor.now_ms + i64::from(passed), false));
        }

        #[test]
        fn after_a_restart_of_the_machine_the_later_instant_counts_up_to_a_week_ahead(
            anchor in anchors(), ahead in i64::from(i32::MIN)..=BELIEVED_MS, boottime in any::<u32>(),
        ) {
            let wall = anchor.now_ms + ahead;
            let start = first_instant(Some(&anchor), wall, boottime.into(), "another boot");
            prop_assert_eq!(start, (wall.max(anchor.now_ms), false));
        }

        #[test]
        fn after_a_restart_of_the_machine_a_jump_of_more_than_a_week_is_held_back(
            anchor in anchors(), ahead in BELIEVED_MS + 1.., boottime in any::<u32>(),
        ) {
            let wall = anchor.now_ms.saturating_add(ahead);
            let start = first_instant(Some(&anchor), wall, boottime.into(), "another boot");
            prop_assert_eq!(start, (anchor.now_ms, true));
        }

        #[test]
        fn a_jump_stays_held_back_on_the_same_boot_until_the_wall_clock_is_back(
            mut anchor in anchors(), ahead in any::<i32>(), weeks in 0..3_i64, passed in any::<u32>(),
        ) {
            prop_assume!(!anchor.boot_id.is_empty());
            anchor.is_held = true;
            let now = anchor.now_ms + i64::from(passed);
            let wall = now + weeks * BELIEVED_MS + i64::from(ahead);
            let boottime = anchor.boottime_ms + i64::from(passed);
            let start = first_instant(Some(&anchor), wall, boottime, &anchor.boot_id);
            let expected = match wall - now > BELIEVED_MS {
                true => (now, true),
                false => (wall.max(now), false),
            };
            prop_assert_eq!(start, expected);
        }
    }

    #[test]
    fn boots_without_an_id_are_never_the_same() {
        let anchor = Anchor {
            now_ms: 1_000,
            boottime_ms: 10,
            boot_id: String::new(),
            is_held: false,
        };
        assert_eq!(first_instant(Some(&anchor), 5_000, 20, ""), (5_000, false));
    }

    #[test]
    fn without_an_anchor_time_starts_at_the_wall_clock() {
        assert_eq!(first_instant(None, 5_000, 20, "boot"), (5_000, false));
        let clock = Clock::resume(None);
        assert!((clock.wall().timestamp_millis() - clock.now()).abs() < 60_000);
    }

    #[test]
    fn a_clock_resumes_where_the_anchor_of_this_boot_left_it() {
        let minute = 60_000;
        let mut anchor = Clock::resume(None).anchor();
        assert!(!anchor.boot_id.is_empty());
        anchor.now_ms += 1_000 * minute;
        let resumed = Clock::resume(Some(anchor.clone()));
        assert!((anchor.now_ms..anchor.now_ms + minute).contains(&resumed.now()));
        assert!(resumed.anchor().now_ms >= anchor.now_ms);
        assert_eq!(resumed.anchor().boot_id, anchor.boot_id);
    }

    const DAY: i64 = 86_400_000;

    /// A clock whose machine was started anew, so many days after the last commit.
    fn started_anew(days: i64) -> Clock {
        Clock::resume(Some(Anchor {
            now_ms: system_wall().timestamp_millis() - days * DAY,
            boot_id: "another boot".into(),
            ..Clock::resume(None).anchor()
        }))
    }

    fn days_behind(clock: &Clock) -> i64 {
        // A day is far more than this test takes, and than a clock that is set differs.
        (clock.wall().timestamp_millis() - clock.now() + DAY / 2) / DAY
    }

    #[test]
    fn a_jump_is_told_and_kept_until_it_is_accepted() {
        let clock = started_anew(1000);
        assert_eq!(days_behind(&clock), 1000);
        let jump = clock.jump().unwrap();
        assert_eq!((jump.wall_ms - jump.now_ms + DAY / 2) / DAY, 1000);
        // So do the processes after it that run on the same boot.
        let next = Clock::resume(Some(clock.anchor()));
        assert_eq!(days_behind(&next), 1000);
        assert!(next.jump().is_some());

        next.accept_jump();
        assert_eq!((days_behind(&next), next.jump()), (0, None));
        let after = Clock::resume(Some(next.anchor()));
        assert_eq!((days_behind(&after), after.jump()), (0, None));
    }

    #[test]
    fn without_a_jump_there_is_nothing_to_accept() {
        for clock in [started_anew(6), started_anew(0), started_anew(-1000)] {
            assert_eq!(clock.jump(), None);
            let before = clock.now();
            clock.accept_jump();
            assert!((before..before + DAY / 2).contains(&clock.now()));
        }
    }

    #[test]
    fn an_anchor_of_an_older_version_can_be_read() {
        let kept = r#"{"now_ms":5,"boottime_ms":1,"boot_id":"b"}"#;
        let anchor: Anchor = serde_json::from_str(kept).unwrap();
        assert!(!anchor.is_held);
        assert_eq!(serde_json::to_string(&anchor).unwrap(), kept);
    }

    #[tokio::test]
    async fn a_timer_wakes_when_the_jump_that_it_waits_behind_is_accepted() {
        let clock = started_anew(1000);
        let mut in_a_week = pin!(clock.sleep_until(clock.now() + 7 * DAY));
        let mut in_years = pin!(clock.sleep_until(clock.now() + 2000 * DAY));
        assert!(polled(in_a_week.as_mut()).is_pending());
        assert!(polled(in_years.as_mut()).is_pending());
        clock.accept_jump();
        assert!(polled(in_a_week.as_mut()).is_ready());
        assert!(polled(in_years.as_mut()).is_pending());
    }

    #[test]
    fn a_manual_timer_wakes_when_time_has_reached_it_and_not_before() {
        let (clock, hand) = Clock::manual(1_000);
        let mut timer = pin!(clock.sleep_until(1_500));
        assert!(polled(timer.as_mut()).is_pending());
        hand.advance(Duration::from_millis(499));
        assert!(polled(timer.as_mut()).is_pending());
        hand.advance(Duration::from_millis(1));
        assert!(polled(timer.as_mut()).is_ready());
        assert_eq!(clock.now(), 1_500);
    }

    #[test]
    fn what_is_due_already_does_not_wait() {
        let (clock, _hand) = Clock::manual(1_000);
        assert!(polled(pin!(clock.sleep_until(1_000))).is_ready());
        assert!(polled(pin!(clock.sleep_until(i64::MIN))).is_ready());
        let system = Clock::resume(None);
        assert!(polled(pin!(system.sleep_until(i64::MIN))).is_ready());
    }

    #[test]
    fn a_jump_of_the_wall_clock_fires_nothing() {
        let (clock, hand) = Clock::manual(1_000);
        let mut timer = pin!(clock.sleep_until(1_500));
        hand.set_wall(1_000_000);
        assert!(polled(timer.as_mut()).is_pending());
        assert_eq!(clock.now(), 1_000);
        assert_eq!(clock.wall().timestamp_millis(), 1_000_000);
        hand.set_wall(0);
        hand.advance(Duration::from_millis(500));
        assert!(polled(timer).is_ready());
    }

    #[test]
    fn a_manual_timer_never_ends_once_nobody_can_move_its_clock() {
        let (clock, hand) = Clock::manual(0);
        let mut timer = pin!(clock.sleep_until(1));
        drop(hand);
        assert!(polled(timer.as_mut()).is_pending());
        assert_eq!(clock.now(), 0);
    }

    /// tokio's clock is paused here: its sleeps end at once and 20 ms of the
    /// machine's time do not, as for a sleep that is shorter than what is left.
    #[test]
    fn a_system_timer_that_wakes_early_looks_at_the_clock_again() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        let clock = Clock::resume(None);
        let due = clock.now() + 20;
        runtime.block_on(clock.sleep_until(due));
        assert!(clock.now() >= due);
    }

    #[test]
    fn only_the_last_arming_of_an_alarm_rings() {
        actix_rt::System::new().block_on(async {
            let (clock, hand) = Clock::manual(0);
            let rung = Rc::new(Cell::new(0));
            let ring = |with: i32| {
                let rung = rung.clone();
                move || rung.set(rung.get() + with)
            };
            let mut alarm = Alarm::default();
            alarm.arm(&clock, 10, ring(1));
            alarm.arm(&clock, 20, ring(100));
            let mut dropped = Alarm::default();
            dropped.arm(&clock, 10, ring(1));
            drop(dropped);
            let (rang, heard) = tokio::sync::oneshot::channel();
            let mut last = Alarm::default();
            last.arm(&clock, 30, move || rang.send(()).unwrap());
            hand.advance(Duration::from_millis(30));
            heard.await.unwrap();
            assert_eq!(rung.get(), 100);
        });
    }
}
