//! How much open work a service holds, and whose it is.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};

use crate::locks::lock;

/// Open work of one client or of all, or a change of it.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Amount {
    /// Jobs.
    pub jobs: i64,
    /// Bytes of their texts.
    pub bytes: i64,
}

impl Amount {
    const NONE: Self = Self { jobs: 0, bytes: 0 };

    fn add(&mut self, other: Self) {
        self.jobs += other.jobs;
        self.bytes += other.bytes;
    }
}

/// Amounts by the client's name; who has nothing is not in it.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct ByClient(HashMap<String, Amount>);

impl ByClient {
    /// Adds to what a client has.
    pub fn add(&mut self, client: &str, amount: Amount) {
        let Some(has) = self.0.get_mut(client) else {
            if amount != Amount::NONE {
                self.0.insert(client.to_owned(), amount);
            }
            return;
        };
        has.add(amount);
        if *has == Amount::NONE {
            self.0.remove(client);
        }
    }

    /// What a client has.
    #[must_use]
    pub fn of(&self, client: &str) -> Amount {
        self.0.get(client).copied().unwrap_or_default()
    }

    /// What all have.
    #[must_use]
    pub fn total(&self) -> Amount {
        let mut total = Amount::NONE;
        for amount in self.0.values() {
            total.add(*amount);
        }
        total
    }
}

/// How much open work a service holds, in jobs and in bytes of text. It is
/// counted with the commits that change it.
#[derive(Debug, Default)]
pub struct Load(Mutex<Held>);

#[derive(Debug, Default)]
struct Held {
    total: Amount,
    by_client: ByClient,
}

impl Load {
    /// Open jobs.
    #[must_use]
    pub fn jobs(&self) -> i64 {
        self.held().total.jobs
    }

    /// Bytes of their texts.
    #[must_use]
    pub fn bytes(&self) -> i64 {
        self.held().total.bytes
    }

    /// What all have, and what each of these clients has, at one moment.
    #[must_use]
    pub fn of<'a>(&self, clients: impl Iterator<Item = &'a String>) -> (Amount, Vec<Amount>) {
        let held = self.held();
        let each = clients.map(|client| held.by_client.of(client));
        (held.total, each.collect())
    }

    /// What each client has.
    #[must_use]
    pub fn by_client(&self) -> ByClient {
        self.held().by_client.clone()
    }

    /// Adds what a start has found in the tables, or what a commit has changed.
    pub fn add(&self, changes: &ByClient) {
        let mut held = self.held();
        for (client, amount) in &changes.0 {
            held.total.add(*amount);
            held.by_client.add(client, *amount);
        }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        lock(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_nothing_open_is_not_kept() {
        let load = Load::default();
        let change = |client: &str, jobs, bytes| {
            let mut changes = ByClient::default();
            changes.add(client, Amount { jobs, bytes });
            load.add(&changes);
        };
        change("a", 2, 20);
        change("b", 1, 5);
        change("c", 0, 0);
        let names = ["b", "c", "a"].map(str::to_owned);
        let (total, each) = load.of(names.iter());
        let amounts: Vec<_> = each.iter().map(|one| (one.jobs, one.bytes)).collect();
        assert_eq!(amounts, [(1, 5), (0, 0), (2, 20)]);
        assert_eq!((total.jobs, total.bytes), (3, 25));
        assert_eq!(load.by_client().total(), total);
        change("a", -1, -20);
        assert_eq!(load.by_client().0.len(), 2, "a text may be empty");
        change("a", -1, 0);
        change("b", -1, -5);
        assert_eq!(load.by_client(), ByClient::default());
        assert_eq!((load.jobs(), load.bytes()), (0, 0));
    }
}
