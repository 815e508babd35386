//! How far each synthesis is: kept in memory, sent to streams, never stored.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use hoiam_api::{Event, EventType, Progress};
use uuid::Uuid;

use crate::db::Db;
use crate::locks::lock;

/// The progress of everything that is being spoken now.
#[derive(Clone)]
pub struct ProgressBoard {
    db: Db,
    known: Arc<Mutex<HashMap<Uuid, Progress>>>,
}

impl ProgressBoard {
    /// An empty board whose changes go to the streams of `db`.
    #[must_use]
    pub fn new(db: Db) -> Self {
        Self {
            db,
            known: Arc::default(),
        }
    }

    /// Notes progress and tells the streams.
    pub fn set(&self, id: Uuid, progress: Progress) {
        self.known().insert(id, progress);
        let event = Event {
            progress: Some(progress),
            ..Event::of(
                self.db.service(),
                id,
                EventType::Progress,
                self.db.clock().now(),
            )
        };
        self.db.publish(id, event);
    }

    /// Forgets it: it has ended, or nobody watches.
    pub fn clear(&self, id: Uuid) {
        self.known().remove(&id);
    }

    /// How far it is, if that is known.
    #[must_use]
    pub fn get(&self, id: Uuid) -> Option<Progress> {
        self.known().get(&id).copied()
    }

    fn known(&self) -> MutexGuard<'_, HashMap<Uuid, Progress>> {
        lock(&self.known)
    }
}
