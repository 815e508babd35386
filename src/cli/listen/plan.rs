//! What a receiver for development answers, and which callbacks it fails.

use std::time::Duration;

use clap::Args;

use crate::cli::error::ArgError;

/// How the receiver misbehaves, and towards which callbacks.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Misbehave")]
pub struct Plan {
    /// Answer with this status [default: 204; 500 to those chosen below]
    #[arg(long, value_name = "CODE", value_parser = status)]
    pub status: Option<u16>,

    /// Wait this long before the answer: 500ms, 2s, 1min
    #[arg(long, value_name = "TIME", value_parser = delay)]
    pub delay: Option<Duration>,

    /// Close the connection without an answer
    #[arg(long, conflicts_with_all = ["status", "retry_after"])]
    pub drop: bool,

    /// Ask for a pause of so many seconds [status: 503 unless --status]
    #[arg(long, value_name = "SECONDS")]
    pub retry_after: Option<u32>,

    /// Do so to the first N callbacks only
    #[arg(long, value_name = "N")]
    pub fail_first: Option<u64>,

    /// Do so to every Nth callback only
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub fail_every: Option<u64>,

    /// Answer OPTIONS and callback checks with this status, without the handshake
    #[arg(long, value_name = "CODE", value_parser = status)]
    pub options: Option<u16>,
}

/// What happens to one callback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reaction {
    /// The wait before it.
    pub delay: Duration,
    /// How it ends.
    pub ending: Ending,
}

/// How a callback's request ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// With an answer.
    Answer {
        /// Its status.
        status: u16,
        /// Its `Retry-After`, in seconds.
        retry_after: Option<u32>,
    },
    /// With the connection closed.
    HangUp,
}

impl Ending {
    /// Whether the sender may take the callback for delivered.
    pub fn accepts(self) -> bool {
        matches!(
            self,
            Self::Answer {
                status: 200..=299,
                ..
            }
        )
    }

    /// The status, if there is an answer.
    pub fn status(self) -> Option<u16> {
        match self {
            Self::Answer { status, .. } => Some(status),
            Self::HangUp => None,
        }
    }
}

const ACCEPTED: u16 = 204;
const FAILED: u16 = 500;
const OVERLOADED: u16 = 503;

impl Plan {
    /// What happens to the callback of this number, counted from 1.
    pub fn reaction(&self, number: u64) -> Reaction {
        if !self.is_chosen(number) {
            return Reaction {
                delay: Duration::ZERO,
                ending: plain_answer(ACCEPTED),
            };
        }
        let delay = self.delay.unwrap_or_default();
        if self.drop {
            return Reaction {
                delay,
                ending: Ending::HangUp,
            };
        }
        let only_some = self.fail_first.is_some() || self.fail_every.is_some();
        let status = match (self.status, self.retry_after, self.delay) {
            (Some(status), ..) => status,
            (None, Some(_), _) => OVERLOADED,
            (None, None, None) if only_some => FAILED,
            (None, None, _) => ACCEPTED,
        };
        let ending = Ending::Answer {
            status,
            retry_after: self.retry_after,
        };
        Reaction { delay, ending }
    }

    /// What a callback check by POST gets: it asks whether there is a receiver.
    pub fn check_reaction(&self) -> Reaction {
        let status = self.options.unwrap_or(ACCEPTED);
        Reaction {
            delay: Duration::ZERO,
            ending: plain_answer(status),
        }
    }

    fn is_chosen(&self, number: u64) -> bool {
        match (self.fail_first, self.fail_every) {
            (None, None) => true,
            (first, every) => {
                first.is_some_and(|first| number <= first)
                    || every.is_some_and(|every| number.is_multiple_of(every))
            }
        }
    }
}

fn plain_answer(status: u16) -> Ending {
    Ending::Answer {
        status,
        retry_after: None,
    }
}

fn status(text: &str) -> Result<u16, ArgError> {
    text.parse()
        .ok()
        .filter(|status| (200..=599).contains(status))
        .ok_or(ArgError::Status)
}

fn delay(text: &str) -> Result<Duration, ArgError> {
    const UNITS: [(&str, u64); 4] = [("ms", 1), ("min", 60_000), ("s", 1_000), ("", 1_000)];
    let end = text
        .find(|character: char| !character.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let size = UNITS
        .iter()
        .find(|(name, _)| *name == unit.trim())
        .map(|(_, size)| *size);
    number
        .parse::<u64>()
        .ok()
        .zip(size)
        .and_then(|(number, size)| number.checked_mul(size))
        .map(Duration::from_millis)
        .ok_or(ArgError::Delay)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statuses(plan: &Plan) -> Vec<Option<u16>> {
        (1..=4)
            .map(|number| plan.reaction(number).ending.status())
            .collect()
    }

    #[test]
    fn without_a_plan_everything_is_accepted() {
        assert_eq!(statuses(&Plan::default()), [Some(204); 4]);
    }

    #[test]
    fn a_status_alone_is_for_all() {
        let plan = Plan {
            status: Some(410),
            ..Plan::default()
        };
        assert_eq!(statuses(&plan), [Some(410); 4]);
    }

    #[test]
    fn the_first_ones_fail_with_500_and_the_rest_is_accepted() {
        let plan = Plan {
            fail_first: Some(2),
            ..Plan::default()
        };
        assert_eq!(
            statuses(&plan),
            [Some(500), Some(500), Some(204), Some(204)]
        );
    }

    #[test]
    fn every_second_one_is_hung_up_on() {
        let plan = Plan {
            fail_every: Some(2),
            drop: true,
            ..Plan::default()
        };
        assert_eq!(statuses(&plan), [Some(204), None, Some(204), None]);
    }

    #[test]
    fn retry_after_means_overloaded_and_travels_with_the_answer() {
        let plan = Plan {
            retry_after: Some(5),
            ..Plan::default()
        };
        let ending = Ending::Answer {
            status: 503,
            retry_after: Some(5),
        };
        assert_eq!(plan.reaction(1).ending, ending);
    }

    #[test]
    fn a_delay_alone_is_slow_and_accepts() {
        let plan = Plan {
            delay: delay("2s").ok(),
            fail_first: Some(1),
            ..Plan::default()
        };
        assert_eq!(plan.reaction(1).delay, Duration::from_secs(2));
        assert!(plan.reaction(1).ending.accepts());
        assert_eq!(plan.reaction(2).delay, Duration::ZERO);
    }

    #[test]
    fn times_are_read_with_their_units() {
        assert_eq!(delay("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(delay("1min"), Ok(Duration::from_secs(60)));
        assert_eq!(delay("3"), Ok(Duration::from_secs(3)));
        assert!(delay("soon").is_err());
        assert!(delay("").is_err());
    }
}
