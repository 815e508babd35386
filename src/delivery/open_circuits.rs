//! Which receivers do not answer: kept by the dispatcher for those who show them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use super::receivers::OpenCircuit;
use super::shares::Receiver;
use crate::locks::lock;

/// The receivers that do not answer, for those who show them.
#[derive(Clone, Default)]
pub struct OpenCircuits(Arc<Mutex<ByName>>);

/// By origin and client.
type ByName = BTreeMap<(Arc<str>, Arc<str>), OpenCircuit>;

impl OpenCircuits {
    /// Those of this moment, by name.
    #[must_use]
    pub fn get(&self) -> Vec<OpenCircuit> {
        self.shown().values().cloned().collect()
    }

    /// What is shown of these from now on: nothing of one that answers.
    pub(super) fn renew(&self, changes: Vec<(Receiver, Option<OpenCircuit>)>) {
        let mut shown = self.shown();
        for (receiver, change) in changes {
            let name = (receiver.origin, receiver.client);
            match change {
                Some(change) => shown.insert(name, change),
                None => shown.remove(&name),
            };
        }
    }

    /// All of them answer, as far as is known.
    pub(super) fn clear(&self) {
        self.shown().clear();
    }

    fn shown(&self) -> MutexGuard<'_, ByName> {
        lock(&self.0)
    }
}
