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
//! and the next start [resumes](Clock::resume) from it.

use std::{fmt, sync::Arc, time::Duration};

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
}

/// Tells the time. Clones are cheap and show the same time.
#[derive(Clone)]
pub struct Clock(Arc<Source>);

enum Source {
    /// It was `anchor.now_ms` when `CLOCK_BOOTTIME` was `anchor.boottime_ms`.
    System(Anchor),
    Manual(watch::Receiver<ManualTime>),
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
    /// but time never goes back before the anchor.
    pub fn resume(anchor: Option<Anchor>) -> Self {
        let boottime_ms = boottime_ms();
        let boot_id = boot_id();
        let wall_ms = system_wall().timestamp_millis();
        Self(Arc::new(Source::System(Anchor {
            now_ms: first_instant(anchor.as_ref(), wall_ms, boottime_ms, &boot_id),
            boottime_ms,
            boot_id,
        })))
    }

    /// A clock for tests, which stands still until its [`ManualClock`] is moved.
    pub fn manual(start: Millis) -> (Self, ManualClock) {
        let (sender, receiver) = watch::channel(ManualTime {
            now: start,
            wall: start,
        });
        (
            Self(Arc::new(Source::Manual(receiver))),
            ManualClock(sender),
        )
    }

    /// The instant that deadlines, schedules and leases are counted in. It
    /// never goes back.
    pub fn now(&self) -> Millis {
        match &*self.0 {
            Source::System(start) => start.now_ms + (boottime_ms() - start.boottime_ms),
            Source::Manual(time) => time.borrow().now,
        }
    }

    /// What people and other machines call the time. It may jump, so it is
    /// only for signatures, links and dates.
    pub fn wall(&self) -> DateTime<Utc> {
        match &*self.0 {
            Source::System(_) => system_wall(),
            Source::Manual(time) => {
                DateTime::from_timestamp_millis(time.borrow().wall).unwrap_or_default()
            }
        }
    }

    /// What a commit at this moment should keep.
    pub fn anchor(&self) -> Anchor {
        match &*self.0 {
            Source::System(start) => {
                let boottime_ms = boottime_ms();
                Anchor {
                    now_ms: start.now_ms + (boottime_ms - start.boottime_ms),
                    boottime_ms,
                    boot_id: start.boot_id.clone(),
                }
            }
            Source::Manual(time) => Anchor {
                now_ms: time.borrow().now,
                boottime_ms: 0,
                boot_id: String::new(),
            },
        }
    }

    /// Waits until [`Clock::now`] has reached `due`; not at all if it has.
    ///
    /// Timers of a manual clock never end once its [`ManualClock`] is gone.
    pub fn sleep_until(&self, due: Millis) -> impl Future<Output = ()> + Send + 'static {
        let clock = self.clone();
        async move {
            if let Source::Manual(time) = &*clock.0 {
                let mut time = time.clone();
                if time.wait_for(|time| time.now >= due).await.is_err() {
                    std::future::pending::<()>().await;
                }
                return;
            }
            while let Ok(left) = u64::try_from(due.saturating_sub(clock.now()))
                && left > 0
            {
                tokio::time::sleep(Duration::from_millis(left).min(LONGEST_SLEEP)).await;
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
pub struct ManualClock(watch::Sender<ManualTime>);

impl ManualClock {
    /// Lets time pass, on both clocks; timers that are due then wake.
    pub fn advance(&self, by: Duration) {
        let by = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
        self.0.send_modify(|time| {
            time.now = time.now.saturating_add(by);
            time.wall = time.wall.saturating_add(by);
        });
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

/// The instant at which a clock starts, see [`Clock::resume`].
fn first_instant(
    anchor: Option<&Anchor>,
    wall_ms: Millis,
    boottime_ms: i64,
    boot_id: &str,
) -> Millis {
    match anchor {
        None => wall_ms,
        Some(anchor) if !boot_id.is_empty() && anchor.boot_id == boot_id => {
            let passed = boottime_ms.saturating_sub(anchor.boottime_ms).max(0);
            anchor.now_ms.saturating_add(passed)
        }
        Some(anchor) => wall_ms.max(anchor.now_ms),
    }
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
        (any::<u32>(), any::<u32>(), "[a-c]?").prop_map(|(now, boottime, boot_id)| Anchor {
            now_ms: i64::from(now),
            boottime_ms: i64::from(boottime),
            boot_id,
        })
    }

    proptest! {
        #[test]
        fn time_never_goes_back_before_the_anchor(
            anchor in anchors(), wall in any::<i64>(), boottime in any::<u32>(), boot_id in "[a-c]?",
        ) {
            let start = first_instant(Some(&anchor), wall, boottime.into(), &boot_id);
            prop_assert!(start >= anchor.now_ms);
        }

        #[test]
        fn on_the_same_boot_time_goes_on_by_boot_time_whatever_the_wall_clock_says(
            anchor in anchors(), wall in any::<i64>(), passed in any::<u32>(),
        ) {
            prop_assume!(!anchor.boot_id.is_empty());
            let boottime = anchor.boottime_ms + i64::from(passed);
            let start = first_instant(Some(&anchor), wall, boottime, &anchor.boot_id);
            prop_assert_eq!(start, anchor.now_ms + i64::from(passed));
        }

        #[test]
        fn after_a_restart_of_the_machine_the_later_instant_counts(
            anchor in anchors(), wall in any::<i64>(), boottime in any::<u32>(),
        ) {
            let start = first_instant(Some(&anchor), wall, boottime.into(), "another boot");
            prop_assert_eq!(start, wall.max(anchor.now_ms));
        }
    }

    #[test]
    fn boots_without_an_id_are_never_the_same() {
        let anchor = Anchor {
            now_ms: 1_000,
            boottime_ms: 10,
            boot_id: String::new(),
        };
        assert_eq!(first_instant(Some(&anchor), 5_000, 20, ""), 5_000);
    }

    #[test]
    fn without_an_anchor_time_starts_at_the_wall_clock() {
        assert_eq!(first_instant(None, 5_000, 20, "boot"), 5_000);
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
