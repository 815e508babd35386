//! Which deliveries are being tried now: held in memory by the dispatcher, and shown by
//! whoever shows deliveries.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard};

use uuid::Uuid;

use crate::locks::lock;

/// The deliveries that are being tried now, for those who show them.
#[derive(Clone, Default)]
pub struct InDelivery(Arc<Mutex<HashSet<Uuid>>>);

impl InDelivery {
    /// Whether this delivery is being tried now.
    #[must_use]
    pub fn contains(&self, id: Uuid) -> bool {
        self.ids().contains(&id)
    }

    /// An attempt of it begins.
    pub(super) fn insert(&self, id: Uuid) {
        self.ids().insert(id);
    }

    /// Its attempt has ended.
    pub(super) fn remove(&self, id: Uuid) {
        self.ids().remove(&id);
    }

    /// None is being tried.
    pub(super) fn clear(&self) {
        self.ids().clear();
    }

    fn ids(&self) -> MutexGuard<'_, HashSet<Uuid>> {
        lock(&self.0)
    }
}
