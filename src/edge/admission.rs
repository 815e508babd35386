//! Who is let in: nothing is accepted that there is no room for or that cannot
//! be kept. Decided before anything is stored.

use std::sync::Arc;

use crate::contract::{Code, Problem};
use crate::db::Db;
use crate::files::Files;
use crate::trouble::Trouble;

/// What limits what a service accepts.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Open jobs at most.
    pub max_jobs: i64,
    /// Bytes of their texts at most.
    pub max_bytes: i64,
    /// Bytes that stay free on the disk for what is accepted already.
    pub min_free_bytes: u64,
}

/// One service's door. Cheap to clone.
#[derive(Clone)]
pub struct Admission(Arc<Door>);

struct Door {
    db: Db,
    files: Files,
    bounds: Bounds,
}

impl Admission {
    /// A door with these bounds.
    #[must_use]
    pub fn new(db: Db, files: Files, bounds: Bounds) -> Self {
        Self(Arc::new(Door { db, files, bounds }))
    }

    /// Lets a text in.
    ///
    /// # Errors
    /// `unavailable` while it could not be kept, `queue_full` while there is no
    /// room for it.
    pub fn admit(&self, text: &str) -> Result<(), Problem> {
        if let Some(reason) = self.reasons().into_iter().next() {
            let detail = format!("Nothing can be kept just now: {reason}. Try again.");
            return Err(Problem::new(Code::Unavailable, detail));
        }
        let bytes = i64::try_from(text.len()).unwrap_or(i64::MAX);
        let (load, bounds) = (self.0.db.load(), self.0.bounds);
        if load.jobs() < bounds.max_jobs && load.bytes().saturating_add(bytes) <= bounds.max_bytes {
            return Ok(());
        }
        Err(Problem::new(
            Code::QueueFull,
            "The queue is full (queue.max_jobs, queue.max_bytes).",
        ))
    }

    /// Why nothing can be kept, for people; empty when it can. No path is in
    /// it, since clients read it too.
    #[must_use]
    pub fn reasons(&self) -> Vec<String> {
        let Door { db, files, .. } = &*self.0;
        let troubles = [
            db.trouble().reason(),
            files.trouble().reason(),
            self.little(),
        ];
        troubles.into_iter().flatten().collect()
    }

    /// What is written to, with what is wrong with it, if anything.
    #[must_use]
    pub fn places(&self) -> Vec<(String, Option<String>)> {
        let Door { db, files, .. } = &*self.0;
        let place = |trouble: &Trouble| (trouble.place().to_owned(), trouble.reason());
        let disk = ("the disk of the data folder".to_owned(), self.little());
        vec![place(db.trouble()), place(files.trouble()), disk]
    }

    /// Has `observer` hear when something cannot be written, and when it can again.
    pub fn observe(&self, observer: impl Fn(&str, Option<&str>) + Clone + Send + Sync + 'static) {
        let Door { db, files, .. } = &*self.0;
        for trouble in [db.trouble(), files.trouble()] {
            let (observer, place) = (observer.clone(), trouble.place().to_owned());
            trouble.observe(move |reason| observer(&place, reason));
        }
    }

    /// Why there is too little room on the disk, if there is.
    fn little(&self) -> Option<String> {
        let Door { files, bounds, .. } = &*self.0;
        let free = files.free_bytes();
        let little = free.filter(|free| *free < bounds.min_free_bytes);
        little.map(|free| {
            format!(
                "the disk has {} MB free, of the {} MB that are kept for what was accepted before (limits.min_free_bytes)",
                free / 1_000_000,
                bounds.min_free_bytes / 1_000_000
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::Service;
    use crate::db::testing::TestDb;

    fn code_of(admitted: Result<(), Problem>) -> Option<Code> {
        admitted.err().map(|problem| problem.code)
    }

    #[test]
    fn texts_are_let_in_up_to_the_bytes_and_to_the_number_of_jobs_and_no_further() {
        let test = TestDb::new(Service::Tts);
        let clock = test.db.clock().clone();
        let files = Files::open(test.folder.path(), Service::Tts, clock).unwrap();
        let bounds = Bounds {
            max_jobs: 3,
            max_bytes: 100,
            min_free_bytes: 0,
        };
        let door = Admission::new(test.db.clone(), files, bounds);
        test.db.load().add(1, 90);
        // Bytes count, not letters.
        assert_eq!(code_of(door.admit("ếếế0")), None);
        assert_eq!(code_of(door.admit("ếếế01")), Some(Code::QueueFull));
        test.db.load().add(1, 10);
        assert_eq!(code_of(door.admit("a")), Some(Code::QueueFull));
        test.db.load().add(0, -10);
        assert_eq!(code_of(door.admit("a")), None);
        test.db.load().add(1, 0);
        assert_eq!(code_of(door.admit("a")), Some(Code::QueueFull));
    }
}
