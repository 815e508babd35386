//! The life of a speech, as pure code: which step leads where.
//!
//! | from | step | to |
//! | --- | --- | --- |
//! | checking | `Open` | queued |
//! | checking, queued, synthesizing | `Fail` | failed |
//! | queued | `Claim` | synthesizing |
//! | synthesizing | `Complete` | completed |
//! | synthesizing | `GiveBack` | queued |
//! | checking, queued, synthesizing | `Cancel` | canceled |
//!
//! completed, failed and canceled absorb everything.

use hoiam_api::SpeechStatus::{self, Canceled, Checking, Completed, Failed, Queued, Synthesizing};

/// A text of so many bytes is long: workers without a job help with it, and short ones
/// go before it.
pub const LONG_BYTES: usize = 800;

/// What can happen to a speech after it was accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The callback URL is open.
    Open,
    /// A worker takes it; needs a new claim number.
    Claim,
    /// The outcome of the claim that holds it.
    Complete,
    /// It cannot be had: refused, expired, or out of attempts.
    Fail,
    /// The claim that holds it ends without an outcome.
    GiveBack,
    /// Somebody asked for it.
    Cancel,
}

impl Step {
    /// Every step.
    pub const ALL: &'static [Self] = &[
        Self::Open,
        Self::Claim,
        Self::Complete,
        Self::Fail,
        Self::GiveBack,
        Self::Cancel,
    ];
}

/// Where `step` leads from `from`, or `None` where the table has no arrow.
#[must_use]
pub fn next(from: SpeechStatus, step: Step) -> Option<SpeechStatus> {
    match (from, step) {
        (Checking, Step::Open) | (Synthesizing, Step::GiveBack) => Some(Queued),
        (Queued, Step::Claim) => Some(Synthesizing),
        (Synthesizing, Step::Complete) => Some(Completed),
        (Checking | Queued | Synthesizing, Step::Fail) => Some(Failed),
        (Checking | Queued | Synthesizing, Step::Cancel) => Some(Canceled),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The arrows of the design's table, written down once more by hand.
    const ARROWS: &[(SpeechStatus, SpeechStatus)] = &[
        (Checking, Queued),
        (Checking, Failed),
        (Queued, Synthesizing),
        (Queued, Failed),
        (Synthesizing, Completed),
        (Synthesizing, Failed),
        (Synthesizing, Queued),
        (Checking, Canceled),
        (Queued, Canceled),
        (Synthesizing, Canceled),
    ];

    #[test]
    fn every_arrow_of_the_table_can_be_walked_and_no_other() {
        for from in SpeechStatus::ALL {
            for to in SpeechStatus::ALL {
                let walked = Step::ALL.iter().any(|step| next(*from, *step) == Some(*to));
                assert_eq!(walked, ARROWS.contains(&(*from, *to)), "{from} -> {to}");
            }
        }
    }

    proptest! {
        #[test]
        fn terminal_states_absorb_any_sequence_of_steps(
            first in prop::sample::select(vec![Checking, Queued]),
            steps in prop::collection::vec(prop::sample::select(Step::ALL), 0..40),
        ) {
            let mut status = first;
            for step in steps {
                let after = next(status, step);
                if status.is_ended() {
                    prop_assert_eq!(after, None);
                }
                status = after.unwrap_or(status);
            }
        }
    }
}
