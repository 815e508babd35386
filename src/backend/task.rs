//! The life of a task, as pure code: which step leads where, and which
//! action the task owes then.
//!
//! | from | step | to | owes |
//! | --- | --- | --- | --- |
//! | queued | `Accepted` | in_progress | |
//! | queued, in_progress | `ResultKnown` | fetching | fetch |
//! | timed_out | `ResultKnown` | timed_out | fetch, of the late result |
//! | fetching | `Fetched` | completed | |
//! | queued, in_progress, fetching | `Fail` | failed | |
//! | queued, in_progress | `TimeOut` | timed_out | abandon |
//! | queued, in_progress, fetching | `Cancel` | canceled | abandon, if a hand-over was ever tried and no result is known |
//!
//! completed, failed, timed_out and canceled absorb everything else. A late
//! result is kept once: see [`next`].

use hoiam_api::TaskStatus::{
    self, Canceled, Completed, Failed, Fetching, InProgress, Queued, TimedOut,
};

/// The one outgoing call that a task owes now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Give the text to the TTS service.
    HandOver,
    /// Get the files of a known result.
    Fetch,
    /// Tell the TTS service that nobody waits any more.
    Abandon,
}

impl Action {
    /// Every action.
    pub const ALL: &'static [Self] = &[Self::HandOver, Self::Fetch, Self::Abandon];

    /// Its word in the database and in events.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::HandOver => "hand_over",
            Self::Fetch => "fetch",
            Self::Abandon => "abandon",
        }
    }

    /// Reads [`Self::as_str`].
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .copied()
            .find(|action| action.as_str() == word)
    }
}

/// What can happen to a task after it was accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The hand-over was answered 2xx.
    Accepted,
    /// A completed result is known, by callback, pull, or a hand-over's answer.
    ResultKnown,
    /// Audio and words are in our own files.
    Fetched,
    /// It cannot be had: refused, failed over there, lost, or not to be fetched.
    Fail,
    /// The deadline has come.
    TimeOut,
    /// The client asked for it.
    Cancel,
}

impl Step {
    /// Every step.
    pub const ALL: &'static [Self] = &[
        Self::Accepted,
        Self::ResultKnown,
        Self::Fetched,
        Self::Fail,
        Self::TimeOut,
        Self::Cancel,
    ];
}

/// Where `step` leads from `from`, or `None` where the table has no arrow.
#[must_use]
pub fn next(from: TaskStatus, step: Step) -> Option<TaskStatus> {
    match (from, step) {
        (Queued, Step::Accepted) => Some(InProgress),
        (Queued | InProgress, Step::ResultKnown) => Some(Fetching),
        (TimedOut, Step::ResultKnown) => Some(TimedOut),
        (Fetching, Step::Fetched) => Some(Completed),
        (Queued | InProgress | Fetching, Step::Fail) => Some(Failed),
        (Queued | InProgress, Step::TimeOut) => Some(TimedOut),
        (Queued | InProgress | Fetching, Step::Cancel) => Some(Canceled),
        _ => None,
    }
}

/// Seconds between the tries of an action: at once, then these, then the
/// last one again and again inside the action's window.
const RETRY_AFTER_S: [i64; 5] = [1, 2, 5, 10, 30];

/// How long to wait after the try with this number, from 1, has failed; in
/// milliseconds.
#[must_use]
pub fn retry_delay_ms(attempt: i32) -> i64 {
    let index = usize::try_from(attempt.max(1) - 1)
        .unwrap_or(0)
        .min(RETRY_AFTER_S.len() - 1);
    RETRY_AFTER_S[index] * 1000
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The arrows of the design's table, written down once more by hand.
    const ARROWS: &[(TaskStatus, TaskStatus)] = &[
        (Queued, InProgress),
        (Queued, Fetching),
        (InProgress, Fetching),
        (Fetching, Completed),
        (Fetching, Failed),
        (Queued, Failed),
        (InProgress, Failed),
        (Queued, TimedOut),
        (InProgress, TimedOut),
        (Queued, Canceled),
        (InProgress, Canceled),
        (Fetching, Canceled),
        (TimedOut, TimedOut),
    ];

    #[test]
    fn every_arrow_of_the_table_can_be_walked_and_no_other() {
        for from in TaskStatus::ALL {
            for to in TaskStatus::ALL {
                let walked = Step::ALL.iter().any(|step| next(*from, *step) == Some(*to));
                assert_eq!(walked, ARROWS.contains(&(*from, *to)), "{from} -> {to}");
            }
        }
    }

    proptest! {
        #[test]
        fn terminal_states_absorb_any_sequence_of_steps(
            steps in prop::collection::vec(prop::sample::select(Step::ALL), 0..40),
        ) {
            let mut status = Queued;
            for step in steps {
                let after = next(status, step);
                if status.is_ended() {
                    prop_assert_eq!(after.unwrap_or(status), status);
                }
                status = after.unwrap_or(status);
            }
        }
    }

    #[test]
    fn the_schedule_ends_in_its_last_step() {
        let delays: Vec<i64> = (1..8).map(retry_delay_ms).collect();
        assert_eq!(delays, [1000, 2000, 5000, 10_000, 30_000, 30_000, 30_000]);
    }
}
