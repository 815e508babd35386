//! Points where a test has the process die or panic.
//!
//! `HOIAM_FAILPOINT=ACTION:POINT[:N]` carries out the action when the process
//! comes to the point for the N-th time, the first where N is left out:
//!
//! | action | what happens |
//! | --- | --- |
//! | `kill` | the process gets SIGKILL, as from `kill -9` or the kernel |
//! | `panic` | the thread or task panics, each time from the N-th on |
//!
//! The points; those of commits and calls have a `.before` and an `.after`:
//!
//! | point | the step |
//! | --- | --- |
//! | `commit.backend.{queued, in_progress, fetching, completed, failed, canceled, timed_out}` | the transaction that moves a task there, before COMMIT, and after it before anybody is told |
//! | `commit.tts.{checking, queued, synthesizing, completed, failed, canceled}` | the same for a speech |
//! | `commit.{tts, backend}.{delivered, pending, exhausted}` | the record of an attempt at a callback; `pending` also puts a delivery back |
//! | `commit.backend.abandon` | the record of an action |
//! | `send.hand_over`, `send.fetch`, `send.abandon`, `send.check` | a call to the TTS service, or the question to a callback URL |
//! | `send.erase` | the call that has a speech erased (`tests/it/erasures.rs`) |
//! | `send.{speech, task}.{completed, failed, canceled, timed_out}` | a callback |
//! | `retention.backend.cleared` | after an old row has stopped naming its file, before the file is removed (`tests/it/retention.rs`) |
//! | `secrets.{announced, published}` | the command that changes the callback secret, after each of the files (`tests/it/secrets.rs`) |
//! | `file.{tts, backend}.{middle, after}` | after a part of a file was written; after the whole was synced, before the commit that names it |
//! | `actor.{backend, watchdog, dispatcher, worker, deadlines}` | an actor looks for work |
//! | `outcome.spoken` | the unit that commits a result |
//!
//! They are compiled into debug builds only: in a release the functions are empty and the
//! variable is not read.

#[cfg(debug_assertions)]
pub use armed::{commit, point};

/// Does nothing in a release.
#[cfg(not(debug_assertions))]
#[inline(always)]
pub fn point(_name: std::fmt::Arguments<'_>) {}

/// Does nothing in a release.
#[cfg(not(debug_assertions))]
#[inline(always)]
pub fn commit(_when: When, _events: &[(uuid::Uuid, hoiam_api::Event)]) {}

/// On which side of a step a point is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// The step has not been taken.
    Before,
    /// It has, and nobody knows yet.
    After,
}

impl std::fmt::Display for When {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Before => "before",
            Self::After => "after",
        })
    }
}

#[cfg(debug_assertions)]
mod armed {
    use std::fmt::Arguments;
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicU32, Ordering};

    use uuid::Uuid;

    use super::When;
    use hoiam_api::Event;

    enum Action {
        Kill,
        Panic,
    }

    struct Plan {
        action: Action,
        point: String,
        /// Counts down to the one that is meant.
        left: AtomicU32,
    }

    static PLAN: LazyLock<Option<Plan>> = LazyLock::new(|| {
        std::env::var("HOIAM_FAILPOINT")
            .ok()
            .map(|plan| read(&plan))
    });

    /// A typing error in a test must not look like a point that is never
    /// reached.
    #[expect(clippy::panic, reason = "only tests set the variable")]
    fn read(plan: &str) -> Plan {
        let mut parts = plan.split(':');
        let action = match parts.next() {
            Some("kill") => Action::Kill,
            Some("panic") => Action::Panic,
            _ => panic!("HOIAM_FAILPOINT is no ACTION:POINT[:N] but `{plan}`"),
        };
        let point = parts.next().unwrap_or_default().to_owned();
        let nth = parts.next().and_then(|nth| nth.parse().ok()).unwrap_or(1);
        Plan {
            action,
            point,
            left: AtomicU32::new(nth),
        }
    }

    /// The process has come to the point of this name.
    pub fn point(name: Arguments<'_>) {
        let Some(plan) = PLAN.as_ref() else { return };
        if name.to_string() == plan.point {
            plan.come();
        }
    }

    /// The writer is at this side of the commit that keeps these events. A
    /// commit is named by what its events lead to: `commit.tts.completed.after`.
    pub fn commit(when: When, events: &[(Uuid, Event)]) {
        if PLAN.is_none() {
            return;
        }
        for (_, event) in events {
            let service = if event.speech_id.is_some() {
                "tts"
            } else {
                "backend"
            };
            let to = event.to.as_ref().or(event.from.as_ref());
            let to = to.map_or("", String::as_str);
            point(format_args!("commit.{service}.{to}.{when}"));
        }
    }

    impl Plan {
        #[expect(clippy::panic, reason = "this is what it is for")]
        fn come(&self) {
            let left = self
                .left
                .try_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
                    left.checked_sub(1)
                })
                .map_or(0, |before| before - 1);
            match self.action {
                _ if left > 0 => {}
                Action::Kill => kill(),
                Action::Panic => {
                    panic!("the panic that HOIAM_FAILPOINT asks for at {}", self.point)
                }
            }
        }
    }

    #[expect(unsafe_code, reason = "std cannot send a signal")]
    fn kill() {
        // SAFETY: kill takes numbers and touches no memory.
        unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
    }
}
