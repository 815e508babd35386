//! What a scenario answers: samples of one measured thing, with what they are
//! compared to and what was hoped for.

use std::fmt::{self, Display, Formatter};

/// The same measurement taken several times.
#[derive(Clone, Default)]
pub struct Samples(Vec<f64>);

impl Samples {
    /// Adds one.
    pub fn push(&mut self, sample: f64) {
        self.0.push(sample);
    }

    /// In the order in which they were taken.
    pub fn values(&self) -> &[f64] {
        &self.0
    }

    /// The middle one, or the mean of the two in the middle.
    pub fn median(&self) -> f64 {
        let sorted = self.sorted();
        let middle = sorted.len() / 2;
        match sorted.len() % 2 {
            0 if sorted.is_empty() => f64::NAN,
            0 => f64::midpoint(sorted[middle - 1], sorted[middle]),
            _ => sorted[middle],
        }
    }

    /// The sample that `percent` of all do not exceed (nearest rank).
    pub fn percentile(&self, percent: f64) -> f64 {
        let sorted = self.sorted();
        let rank = (percent / 100.0 * sorted.len() as f64).ceil() as usize;
        sorted
            .get(rank.saturating_sub(1))
            .copied()
            .unwrap_or(f64::NAN)
    }

    /// The least.
    pub fn least(&self) -> f64 {
        self.0.iter().copied().fold(f64::NAN, f64::min)
    }

    /// The most.
    pub fn most(&self) -> f64 {
        self.0.iter().copied().fold(f64::NAN, f64::max)
    }

    fn sorted(&self) -> Vec<f64> {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        sorted
    }
}

impl FromIterator<f64> for Samples {
    fn from_iter<I: IntoIterator<Item = f64>>(samples: I) -> Self {
        Self(samples.into_iter().collect())
    }
}

/// What a goal is about.
#[derive(Clone, Copy)]
enum Bar {
    /// hoiam's median, divided by the other's; more is better.
    TimesTheOther,
    /// The same; less is better.
    AtMostTimesTheOther,
    /// hoiam's median; more is better.
    NoLess,
    /// hoiam's median; less is better.
    NoMore,
}

/// What the median should reach: what it must, and what is hoped for.
#[derive(Clone, Copy)]
pub struct Goal {
    bar: Bar,
    must: Option<f64>,
    aim: Option<f64>,
}

impl Goal {
    /// Shown for information.
    pub const NONE: Self = Self::new(Bar::NoLess, None, None);

    /// So many times what the other does.
    pub const fn times_the_other(must: Option<f64>, aim: Option<f64>) -> Self {
        Self::new(Bar::TimesTheOther, must, aim)
    }

    /// No more than so many times the other.
    pub const fn at_most_times_the_other(must: f64) -> Self {
        Self::new(Bar::AtMostTimesTheOther, Some(must), None)
    }

    /// At least so much.
    pub const fn no_less(must: f64, aim: f64) -> Self {
        Self::new(Bar::NoLess, Some(must), Some(aim))
    }

    /// At most so much.
    pub const fn no_more(must: f64, aim: f64) -> Self {
        Self::new(Bar::NoMore, Some(must), Some(aim))
    }

    const fn new(bar: Bar, must: Option<f64>, aim: Option<f64>) -> Self {
        Self { bar, must, aim }
    }
}

impl Display for Goal {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (sign, unit) = match self.bar {
            Bar::TimesTheOther => ("≥", " ×"),
            Bar::AtMostTimesTheOther => ("≤", " ×"),
            Bar::NoLess => ("≥", ""),
            Bar::NoMore => ("≤", ""),
        };
        let must = self.must.map(|must| format!("{sign} {must}{unit}"));
        let aim = self.aim.map(|aim| format!("aim {aim}{unit}"));
        let parts: Vec<String> = must.into_iter().chain(aim).collect();
        f.write_str(&parts.join(", "))
    }
}

/// How the median stands to its goal.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The aim is reached.
    Aim,
    /// What must be reached is reached; the aim, if there is one, is not.
    Enough,
    /// There is only an aim, and it is not reached.
    BelowAim,
    /// It falls short of what must be reached.
    Short,
    /// There is no goal, or nothing to compare with.
    Open,
}

impl Display for Verdict {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Aim => "aim",
            Self::Enough => "enough",
            Self::BelowAim => "below aim",
            Self::Short => "SHORT",
            Self::Open => "",
        })
    }
}

/// One row of the table.
pub struct Figure {
    /// What was measured.
    pub name: String,
    /// Of all samples: `a second`, `ms`, `MB`, `%`.
    pub unit: &'static str,
    /// What hoiam did, one sample a round.
    pub hoiam: Samples,
    /// What it is compared with, by name.
    pub other: Option<(&'static str, Samples)>,
    /// What hoiam should reach.
    pub goal: Goal,
}

impl Figure {
    /// A figure of hoiam alone.
    pub fn new(name: impl Into<String>, unit: &'static str, hoiam: Samples, goal: Goal) -> Self {
        Self {
            name: name.into(),
            unit,
            hoiam,
            other: None,
            goal,
        }
    }

    /// The same beside another's samples; without any it stays alone.
    pub fn beside(mut self, name: &'static str, samples: Samples) -> Self {
        self.other = (!samples.values().is_empty()).then_some((name, samples));
        self
    }

    /// hoiam's median, divided by the other's.
    pub fn ratio(&self) -> Option<f64> {
        let (_, other) = self.other.as_ref()?;
        Some(self.hoiam.median() / other.median())
    }

    /// Whether the goal is reached.
    pub fn verdict(&self) -> Verdict {
        let measured = match self.goal.bar {
            Bar::TimesTheOther | Bar::AtMostTimesTheOther => self.ratio(),
            Bar::NoLess | Bar::NoMore => Some(self.hoiam.median()),
        };
        let Some(measured) = measured else {
            return Verdict::Open;
        };
        let reached = |bar: f64| match self.goal.bar {
            Bar::TimesTheOther | Bar::NoLess => measured >= bar,
            Bar::AtMostTimesTheOther | Bar::NoMore => measured <= bar,
        };
        match (self.goal.must.map(reached), self.goal.aim.map(reached)) {
            (_, Some(true)) => Verdict::Aim,
            (Some(true), _) => Verdict::Enough,
            (Some(false), _) => Verdict::Short,
            (None, Some(false)) => Verdict::BelowAim,
            (None, None) => Verdict::Open,
        }
    }
}
