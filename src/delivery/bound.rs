//! How clients share one bound on what is under way.
//!
//! Its law: *while fewer than `kept / FEW` others have something under way, a client that
//! has less than [`FEW`] begins one more at once*, whatever the others are owed.
//!
//! Beyond those few, a client may have eight ninths of what the others have left of the
//! rest: alone nearly all of it, and of n with any appetite each about one n-th. Who has
//! more than that, since he came first, begins nothing until he has less.

use std::collections::HashMap;
use std::sync::Arc;

/// What a client may have of the part that is kept for those who have few.
pub const FEW: usize = 4;

/// What is under way, by client, and how much there may be.
#[derive(Debug, Clone)]
pub struct Bound {
    most: usize,
    /// Of these, for clients that have few.
    kept: usize,
    all: usize,
    by_client: HashMap<Arc<str>, usize>,
}

impl Bound {
    /// Nothing is under way yet.
    #[must_use]
    pub fn new(most: usize, kept: usize) -> Self {
        Self {
            most,
            kept,
            all: 0,
            by_client: HashMap::new(),
        }
    }

    /// How much is under way.
    #[must_use]
    pub fn all(&self) -> usize {
        self.all
    }

    /// How much of this client is.
    #[must_use]
    pub fn of(&self, client: &str) -> usize {
        self.by_client.get(client).copied().unwrap_or_default()
    }

    /// How much of this client may be, beyond [`FEW`].
    #[must_use]
    pub fn share(&self, client: &str) -> usize {
        let others = self.all - self.of(client);
        let left = (self.most - self.kept).saturating_sub(others);
        left * 8 / 9
    }

    /// How much more of this client may begin, as long as nothing else does.
    #[must_use]
    pub fn room(&self, client: &str) -> usize {
        let own = self.of(client);
        let few = FEW.saturating_sub(own).min(self.most - self.all);
        self.share(client).saturating_sub(own).max(few)
    }

    /// Something of this client begins, for which there is room.
    pub fn begin(&mut self, client: &Arc<str>) {
        self.all += 1;
        *self.by_client.entry(Arc::clone(client)).or_default() += 1;
    }

    /// Something of this client that has begun ends.
    pub fn end(&mut self, client: &str) {
        let Some(own) = self.by_client.get_mut(client) else {
            return;
        };
        *own -= 1;
        self.all -= 1;
        if *own == 0 {
            self.by_client.remove(client);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn client(number: usize) -> Arc<str> {
        number.to_string().into()
    }

    fn try_begin(bound: &mut Bound, number: usize) -> bool {
        let may = bound.room(&client(number)) > 0;
        if may {
            bound.begin(&client(number));
        }
        may
    }

    /// Each begins as many as it can, by turns.
    fn all_want_more(bound: &mut Bound, clients: usize) {
        let mut begins = true;
        while begins {
            begins = (0..clients).fold(false, |any, number| try_begin(bound, number) | any);
        }
    }

    #[test]
    fn one_alone_has_nearly_all_and_many_have_equal_parts() {
        for (clients, share) in [(1, 170), (2, 90), (3, 61), (6, 31), (40, 6)] {
            let mut bound = Bound::new(256, 64);
            all_want_more(&mut bound, clients);
            for number in 0..clients {
                let own = bound.of(&client(number));
                assert!(own.abs_diff(share) <= 2, "{own} of {clients}");
            }
        }
    }

    #[test]
    fn who_came_first_gives_way_as_what_it_has_ends() {
        let mut bound = Bound::new(256, 64);
        all_want_more(&mut bound, 1);
        let before = bound.of("0");
        for _ in 0..before {
            bound.end("0");
            assert!(try_begin(&mut bound, 1) || bound.of("1") > 60);
            try_begin(&mut bound, 0);
        }
        assert!(bound.of("0").abs_diff(bound.of("1")) < 12, "{bound:?}");
    }

    #[test]
    fn room_is_what_may_begin() {
        let mut bound = Bound::new(64, 16);
        for number in [0, 1, 0, 2] {
            let room = bound.room(&client(number));
            (0..room).for_each(|_| assert!(try_begin(&mut bound, number)));
            assert!(!try_begin(&mut bound, number));
        }
    }

    proptest! {
        #[test]
        fn whatever_the_others_do_a_client_with_few_begins_one_at_once(
            (most, kept) in prop_oneof![Just((256, 64)), Just((64, 16)), Just((112, 64))],
            // Of which those beyond `kept / FEW` are left out.
            steps in prop::collection::vec((0..15_usize, prop::bool::weighted(0.7)), 0..2000),
        ) {
            let mut bound = Bound::new(most, kept);
            let others = kept / FEW - 1;
            for (number, begins) in steps {
                let number = number % others;
                if !begins {
                    bound.end(&client(number));
                } else {
                    let has_few = bound.of(&client(number)) < FEW;
                    prop_assert!(try_begin(&mut bound, number) || !has_few, "{bound:?}");
                }
                prop_assert!(bound.all() <= most);
                let mut later = bound.clone();
                for _ in 0..FEW {
                    prop_assert!(try_begin(&mut later, others), "{bound:?}");
                }
            }
            for number in 0..others {
                (0..most).for_each(|_| bound.end(&client(number)));
            }
            prop_assert_eq!((bound.all(), bound.by_client.len()), (0, 0));
        }
    }
}
