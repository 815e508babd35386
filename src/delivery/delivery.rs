//! The life of a delivery, as pure code.
//!
//! `pending → delivering → delivered | pending (next attempt) | exhausted |
//! aborted`; redelivering puts an ended one back to pending as a new round.
//! `delivering` is held in memory: a restart finds the row pending.

use std::time::Duration;

use hoiam_api::DeliveryStatus::{self, Aborted, Delivered, Exhausted, Pending};

/// The longest wait that a receiver's Retry-After can ask for.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(24 * 3600);
/// Jitter is only ever added, at most this share of the wait.
const JITTER: f64 = 0.1;

/// What one attempt came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// 2xx.
    Delivered,
    /// 410, or an address that must not be called.
    Aborted,
    /// Anything else; the receiver may have said when to come back.
    Failed {
        /// Of the answer's Retry-After header.
        retry_after: Option<Duration>,
    },
}

/// Where a pending delivery stands after an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct After {
    /// The new status.
    pub status: DeliveryStatus,
    /// How long to wait, where it is pending again.
    pub wait: Option<Duration>,
}

/// What follows the attempt with this number (from 1, within its round).
/// `schedule` has the wait before each attempt, the first one included;
/// `jitter` is between 0 and 1.
#[must_use]
pub fn after(schedule: &[Duration], attempt: usize, outcome: Outcome, jitter: f64) -> After {
    match outcome {
        Outcome::Delivered => After {
            status: Delivered,
            wait: None,
        },
        Outcome::Aborted => After {
            status: Aborted,
            wait: None,
        },
        Outcome::Failed { retry_after } => match schedule.get(attempt) {
            None => After {
                status: Exhausted,
                wait: None,
            },
            Some(scheduled) => {
                let floor = retry_after
                    .unwrap_or_default()
                    .min(MAX_RETRY_AFTER)
                    .max(*scheduled);
                After {
                    status: Pending,
                    wait: Some(floor + floor.mul_f64(JITTER * jitter.clamp(0.0, 1.0))),
                }
            }
        },
    }
}

/// Whether a delivery can be put back to pending as a new round.
#[must_use]
pub fn can_redeliver(status: DeliveryStatus) -> bool {
    matches!(status, Delivered | Exhausted | Aborted)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SCHEDULE: [Duration; 3] = [
        Duration::ZERO,
        Duration::from_secs(1),
        Duration::from_secs(5),
    ];

    proptest! {
        #[test]
        fn a_wait_is_never_shorter_than_the_schedule_or_the_receivers_wish(
            attempt in 1_usize..3, asked in 0_u64..100_000, jitter in 0.0_f64..1.0,
        ) {
            let outcome = Outcome::Failed { retry_after: Some(Duration::from_secs(asked)) };
            let wait = after(&SCHEDULE, attempt, outcome, jitter).wait.unwrap();
            let floor = SCHEDULE[attempt].max(Duration::from_secs(asked).min(MAX_RETRY_AFTER));
            prop_assert!(wait >= floor && wait <= floor.mul_f64(1.101));
        }

        #[test]
        fn a_delivery_that_only_fails_is_exhausted_after_the_whole_schedule(length in 1_usize..20) {
            let schedule = vec![Duration::from_secs(1); length];
            let failed = Outcome::Failed { retry_after: None };
            for attempt in 1..length {
                prop_assert_eq!(after(&schedule, attempt, failed, 0.5).status, Pending);
            }
            prop_assert_eq!(after(&schedule, length, failed, 0.5).status, Exhausted);
        }
    }

    #[test]
    fn only_ended_deliveries_can_be_redelivered() {
        let ended: Vec<_> = DeliveryStatus::ALL
            .iter()
            .filter(|status| can_redeliver(**status))
            .collect();
        assert_eq!(ended, [&Delivered, &Exhausted, &Aborted]);
    }
}
