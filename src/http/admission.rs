//! Who is let in: nothing is accepted that there is no room for or that cannot
//! be kept. Decided before anything is stored.

use std::sync::Arc;

use hoiam_api::{Code, Problem};
use hoiam_text::SaturatingFrom as _;

use crate::db::{Amount, Db};
use crate::files::Files;
use crate::shares::{self, Share};
use crate::write_health::WriteHealth;

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

/// Whether there is room for one job more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Room {
    Enough,
    KeptForOthers,
    None,
}

impl Bounds {
    /// Where all have taken `total`, and each other client that may submit this.
    fn room(&self, total: Amount, others: &[Amount], need: Amount) -> Room {
        let clients = i64::saturating_from(others.len() + 1);
        let room = |bound: i64, of: fn(&Amount) -> i64| {
            let others = others.iter().map(|taken| Share {
                reserve: bound / clients / 2,
                taken: of(taken),
            });
            if of(&need) > shares::left(bound, of(&total), []) {
                Room::None
            } else if of(&need) > shares::left(bound, of(&total), others) {
                Room::KeptForOthers
            } else {
                Room::Enough
            }
        };
        let jobs = room(self.max_jobs, |amount| amount.jobs);
        let bytes = room(self.max_bytes, |amount| amount.bytes);
        match (jobs, bytes) {
            (Room::None, _) | (_, Room::None) => Room::None,
            (Room::Enough, Room::Enough) => Room::Enough,
            _ => Room::KeptForOthers,
        }
    }
}

/// Names the clients that may submit just now.
pub type Clients = Arc<dyn Fn() -> Arc<[String]> + Send + Sync>;

/// One service's door. Cheap to clone.
#[derive(Clone)]
pub struct Admission(Arc<Door>);

struct Door {
    db: Db,
    files: Files,
    bounds: Bounds,
    clients: Clients,
}

impl Admission {
    /// A door with these bounds. Half of each bound is divided evenly among
    /// `clients` and kept for each of them; the other half is whoever's comes
    /// first.
    #[must_use]
    pub fn new(db: Db, files: Files, bounds: Bounds, clients: Clients) -> Self {
        Self(Arc::new(Door {
            db,
            files,
            bounds,
            clients,
        }))
    }

    /// Lets a client's text in.
    ///
    /// # Errors
    /// `unavailable` while it could not be kept, `queue_full` while there is no
    /// room for it, `share_full` while what room there is is kept for others.
    pub fn admit(&self, client: &str, text: &str) -> Result<(), Problem> {
        if let Some(reason) = self.reasons().into_iter().next() {
            let detail = format!("Nothing can be kept just now: {reason}. Try again.");
            return Err(Problem::new(Code::Unavailable, detail));
        }
        let Door {
            db,
            bounds,
            clients,
            ..
        } = &*self.0;
        let need = Amount {
            jobs: 1,
            bytes: i64::saturating_from(text.len()),
        };
        let clients = clients();
        let others = clients.iter().filter(|other| *other != client);
        let (total, taken) = db.load().of(others);
        match bounds.room(total, &taken, need) {
            Room::Enough => Ok(()),
            Room::KeptForOthers => Err(Problem::new(
                Code::ShareFull,
                "What room there is in the queue is kept for other clients (queue.max_jobs, queue.max_bytes).",
            )),
            Room::None => Err(Problem::new(
                Code::QueueFull,
                "The queue is full (queue.max_jobs, queue.max_bytes).",
            )),
        }
    }

    /// Why nothing can be kept, for people; empty when it can. No path is in
    /// it, since clients read it too.
    #[must_use]
    pub fn reasons(&self) -> Vec<String> {
        let Door { db, files, .. } = &*self.0;
        let troubles = [
            db.write_health().reason(),
            files.write_health().reason(),
            self.little(),
        ];
        troubles.into_iter().flatten().collect()
    }

    /// What is written to, with what is wrong with it, if anything.
    #[must_use]
    pub fn places(&self) -> Vec<(String, Option<String>)> {
        let Door { db, files, .. } = &*self.0;
        let place =
            |write_health: &WriteHealth| (write_health.place().to_owned(), write_health.reason());
        let disk = ("the disk of the data folder".to_owned(), self.little());
        vec![place(db.write_health()), place(files.write_health()), disk]
    }

    /// Has `observer` hear when something cannot be written, and when it can again.
    pub fn observe(&self, observer: impl Fn(&str, Option<&str>) + Clone + Send + Sync + 'static) {
        let Door { db, files, .. } = &*self.0;
        for write_health in [db.write_health(), files.write_health()] {
            let (observer, place) = (observer.clone(), write_health.place().to_owned());
            write_health.observe(move |reason| observer(&place, reason));
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
    use crate::db::ByClient;
    use crate::db::testing::TestDb;
    use hoiam_api::Service;

    fn code_of(admitted: Result<(), Problem>) -> Option<Code> {
        admitted.err().map(|problem| problem.code)
    }

    /// A door that these clients may come through.
    fn door(test: &TestDb, max_jobs: i64, max_bytes: i64, clients: &[&str]) -> Admission {
        let clock = test.db.clock().clone();
        let files = Files::open(test.folder.path(), Service::Tts, clock).unwrap();
        let bounds = Bounds {
            max_jobs,
            max_bytes,
            min_free_bytes: 0,
        };
        let clients: Arc<[String]> = clients.iter().map(|&name| name.to_owned()).collect();
        let clients: Clients = Arc::new(move || Arc::clone(&clients));
        Admission::new(test.db.clone(), files, bounds, clients)
    }

    fn open(test: &TestDb, client: &str, jobs: i64, bytes: i64) {
        let mut change = ByClient::default();
        change.add(client, Amount { jobs, bytes });
        test.db.load().add(&change);
    }

    #[test]
    fn texts_are_let_in_up_to_the_bytes_and_to_the_number_of_jobs_and_no_further() {
        let test = TestDb::new(Service::Tts);
        let door = door(&test, 3, 100, &[""]);
        open(&test, "", 1, 90);
        // Bytes count, not letters.
        assert_eq!(code_of(door.admit("", "ếếế0")), None);
        assert_eq!(code_of(door.admit("", "ếếế01")), Some(Code::QueueFull));
        open(&test, "", 1, 10);
        assert_eq!(code_of(door.admit("", "a")), Some(Code::QueueFull));
        open(&test, "", 0, -10);
        assert_eq!(code_of(door.admit("", "a")), None);
        open(&test, "", 1, 0);
        assert_eq!(code_of(door.admit("", "a")), Some(Code::QueueFull));
    }

    #[test]
    fn half_of_each_bound_is_kept_for_the_clients_and_the_other_half_is_for_anyone() {
        let test = TestDb::new(Service::Tts);
        let door = door(&test, 8, 800, &["a", "b"]);
        let admitted = |client, text: &str| code_of(door.admit(client, text));
        // Of eight jobs two are kept for each.
        open(&test, "a", 5, 5);
        assert_eq!(admitted("a", "x"), None);
        open(&test, "a", 1, 1);
        assert_eq!(admitted("a", "x"), Some(Code::ShareFull));
        assert_eq!(admitted("b", "x"), None);
        open(&test, "b", 1, 1);
        assert_eq!(admitted("a", "x"), Some(Code::ShareFull));
        assert_eq!(admitted("b", "x"), None);
        open(&test, "b", 1, 1);
        for client in ["a", "b"] {
            assert_eq!(admitted(client, "x"), Some(Code::QueueFull));
        }
        // Of 800 bytes 200 are kept for each; there are jobs enough.
        open(&test, "a", -5, 590);
        assert_eq!(admitted("a", "xxxx"), None);
        assert_eq!(admitted("a", "xxxxx"), Some(Code::ShareFull));
        assert_eq!(admitted("b", &"x".repeat(198)), None);
        assert_eq!(admitted("b", &"x".repeat(203)), Some(Code::QueueFull));
    }

    #[test]
    fn who_may_not_submit_has_nothing_kept_but_is_no_less_welcome() {
        let test = TestDb::new(Service::Tts);
        let door = door(&test, 12, 1200, &["a", "b"]);
        let admitted = |client| code_of(door.admit(client, "x"));
        // As one of three he leaves two jobs to each of the two others.
        open(&test, "gone", 7, 7);
        assert_eq!(admitted("gone"), None);
        open(&test, "gone", 1, 1);
        assert_eq!(admitted("gone"), Some(Code::ShareFull));
        assert_eq!(admitted("a"), None);
        open(&test, "a", 1, 1);
        // Between the two three are kept for each.
        assert_eq!(admitted("a"), Some(Code::ShareFull));
        assert_eq!(admitted("b"), None);
    }

    #[test]
    fn a_disk_with_less_free_than_is_kept_is_a_reason_and_one_with_as_much_is_none() {
        let test = TestDb::new(Service::Tts);
        let mut admission = door(&test, 8, 800, &[""]);
        let free = Arc::get_mut(&mut admission.0).unwrap();
        let bound_to = |door: &mut Door, bytes| door.bounds.min_free_bytes = bytes;
        bound_to(free, u64::MAX);
        let places = admission.places();
        let wrong: Vec<_> = places.iter().map(|(_, reason)| reason.is_some()).collect();
        assert_eq!(wrong, [false, false, true]);
        assert_eq!(places[2].0, "the disk of the data folder");
        assert_eq!(admission.reasons().len(), 1);
        assert!(admission.reasons()[0].starts_with("the disk has "));
        assert_eq!(code_of(admission.admit("", "a")), Some(Code::Unavailable));
        bound_to(Arc::get_mut(&mut admission.0).unwrap(), 1);
        assert!(
            admission
                .places()
                .iter()
                .all(|(_, reason)| reason.is_none())
        );
    }

    #[test]
    fn who_observes_hears_of_the_trouble_of_each_place_and_of_its_end() {
        let test = TestDb::new(Service::Tts);
        let door = door(&test, 8, 800, &[""]);
        let heard = Arc::new(std::sync::Mutex::new(Vec::new()));
        let notes = Arc::clone(&heard);
        door.observe(move |place, reason| {
            let line = (place.to_owned(), reason.map(str::to_owned));
            notes.lock().unwrap().push(line);
        });
        for write_health in [door.0.db.write_health(), door.0.files.write_health()] {
            let _ = write_health.begin("full");
            write_health.end();
        }
        let places = door.places();
        let expected = places[..2].iter().flat_map(|(place, _)| {
            let reason = format!("{place} cannot be written: full");
            [(place.clone(), Some(reason)), (place.clone(), None)]
        });
        assert!(heard.lock().unwrap().iter().cloned().eq(expected));
    }
}
