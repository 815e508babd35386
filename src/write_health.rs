//! Whether a place where things are kept takes them just now, and if not, why.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use crate::locks::lock;

/// What is wrong with one place, if anything. Clones are the same place.
///
/// It is told by those who write there; readiness and admission look here, so
/// that nothing is accepted that cannot be kept. The log has one line when the
/// trouble begins, or changes, and one when it is over.
#[derive(Clone, Debug)]
pub struct WriteHealth(Arc<Place>);

#[derive(Debug)]
struct Place {
    name: String,
    /// Saves the lock to the many writes that go well.
    troubled: AtomicBool,
    reason: Mutex<Option<String>>,
    observer: OnceLock<Observer>,
}

/// Called when a trouble begins, with what is wrong, and when it is over.
struct Observer(Box<Hears>);

type Hears = dyn Fn(Option<&str>) + Send + Sync;

impl std::fmt::Debug for Observer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Observer")
    }
}

impl WriteHealth {
    /// None so far, at a place of this name.
    #[must_use]
    pub fn none_at(name: impl Into<String>) -> Self {
        Self(Arc::new(Place {
            name: name.into(),
            troubled: AtomicBool::new(false),
            reason: Mutex::new(None),
            observer: OnceLock::new(),
        }))
    }

    /// The place, for people.
    #[must_use]
    pub fn place(&self) -> &str {
        &self.0.name
    }

    /// Has `observer` hear of each trouble that begins, or changes, and of each end.
    /// There is one observer, the first.
    pub fn observe(&self, observer: impl Fn(Option<&str>) + Send + Sync + 'static) {
        let _ = self.0.observer.set(Observer(Box::new(observer)));
    }

    fn tell(&self, reason: Option<&str>) {
        if let Some(Observer(observer)) = self.0.observer.get() {
            observer(reason);
        }
    }

    fn in_words(&self, reason: &str) -> String {
        format!("{} cannot be written: {reason}", self.0.name)
    }

    /// Something could not be kept. True when all was well before.
    pub fn begin(&self, reason: &str) -> bool {
        let mut known = lock(&self.0.reason);
        if known.as_deref() == Some(reason) {
            return false;
        }
        log::error!(
            "{} cannot be written: {reason}. Nothing is accepted until it can; it is tried again each second",
            self.0.name
        );
        self.0.troubled.store(true, Ordering::Release);
        let is_new = known.replace(reason.to_owned()).is_none();
        drop(known);
        self.tell(Some(&self.in_words(reason)));
        is_new
    }

    /// Something was kept.
    pub fn end(&self) {
        if !self.is_met() {
            return;
        }
        let mut known = lock(&self.0.reason);
        let was_met = known.take().is_some();
        self.0.troubled.store(false, Ordering::Release);
        drop(known);
        if was_met {
            log::info!("{} can be written again", self.0.name);
            self.tell(None);
        }
    }

    /// Whether the last write went wrong.
    #[must_use]
    pub fn is_met(&self) -> bool {
        self.0.troubled.load(Ordering::Acquire)
    }

    /// The place and what is wrong with it, for people.
    #[must_use]
    pub fn reason(&self) -> Option<String> {
        let known = lock(&self.0.reason);
        let reason = known.as_ref()?;
        Some(self.in_words(reason))
    }
}

#[cfg(test)]
mod tests {
    use super::{Arc, Mutex, WriteHealth};

    #[test]
    fn trouble_lasts_until_something_is_kept_and_tells_the_newest_reason() {
        let write_health = WriteHealth::none_at("the store");
        assert_eq!(
            (write_health.is_met(), write_health.reason()),
            (false, None)
        );
        write_health.end();
        assert!(write_health.begin("disk full"));
        assert!(!write_health.clone().begin("read-only"));
        assert!(write_health.is_met());
        let reason = write_health.reason().unwrap();
        assert_eq!(reason, "the store cannot be written: read-only");
        write_health.end();
        assert_eq!(
            (write_health.is_met(), write_health.reason()),
            (false, None)
        );
    }

    #[test]
    fn an_observer_hears_of_each_beginning_and_each_end() {
        let heard = Arc::new(Mutex::new(Vec::new()));
        let write_health = WriteHealth::none_at("the store");
        let noted = Arc::clone(&heard);
        write_health.observe(move |reason| noted.lock().unwrap().push(reason.map(str::to_owned)));
        write_health.end();
        for _ in 0..2 {
            write_health.begin("full");
        }
        write_health.end();
        write_health.end();
        let full = Some("the store cannot be written: full".to_owned());
        assert_eq!(*heard.lock().unwrap(), [full, None]);
    }
}
