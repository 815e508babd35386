//! How several share one bound: each has a reserve that the others leave to it,
//! and what is left over is for whoever comes first.
//!
//! As long as nobody takes more than [`left`] says, nobody is refused below its
//! reserve, and all together stay within the bound.

/// What somebody has for certain of a bound, and has taken of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// What the others leave to it.
    pub reserve: i64,
    /// What it has taken.
    pub taken: i64,
}

/// How much more of `bound` somebody may take: what all of them, it included, have
/// not taken, less what is kept for the `others`. Below 0 where they hold more than
/// they should, since the bound or their number has changed.
#[must_use]
pub fn left(bound: i64, taken_by_all: i64, others: impl IntoIterator<Item = Share>) -> i64 {
    let kept = others.into_iter();
    let kept: i64 = kept.map(|one| (one.reserve - one.taken).max(0)).sum();
    bound.saturating_sub(taken_by_all).saturating_sub(kept)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn left_to(bound: i64, reserve: i64, taken: &[i64], who: usize) -> i64 {
        let others = taken.iter().enumerate().filter(|(other, _)| *other != who);
        let others = others.map(|(_, taken)| Share {
            reserve,
            taken: *taken,
        });
        left(bound, taken.iter().sum(), others)
    }

    proptest! {
        #[test]
        fn whatever_the_others_do_each_has_its_reserve_and_all_have_the_bound(
            bound in 0_i64..200,
            of in 1_usize..6,
            steps in prop::collection::vec((0_usize..6, -20_i64..40), 0..100),
        ) {
            let reserve = bound / (2 * i64::try_from(of).unwrap());
            let mut taken = vec![0; of];
            for (who, amount) in steps {
                let who = who % of;
                if amount <= 0 {
                    taken[who] = (taken[who] + amount).max(0);
                    continue;
                }
                let fits = amount <= left_to(bound, reserve, &taken, who);
                let within_reserve = taken[who] + amount <= reserve;
                prop_assert!(fits || !within_reserve, "{taken:?} {who} {amount}");
                if of == 1 {
                    prop_assert_eq!(fits, taken[0] + amount <= bound);
                }
                if fits {
                    taken[who] += amount;
                }
                prop_assert!(taken.iter().sum::<i64>() <= bound);
            }
        }
    }

    #[test]
    fn what_nobody_has_for_certain_is_for_one_alone() {
        // Half of 100 is kept for four; one of them may have that half's eighth
        // and all of the rest.
        assert_eq!(left_to(100, 12, &[0, 0, 0, 0], 0), 64);
        assert_eq!(left_to(100, 12, &[64, 0, 0, 0], 0), 0);
        assert_eq!(left_to(100, 12, &[64, 0, 0, 0], 1), 12);
        assert_eq!(left_to(100, 12, &[64, 12, 12, 0], 2), 0);
        // They hold more than they should.
        assert_eq!(left_to(50, 12, &[64, 0, 0, 0], 1), -38);
    }
}
