//! Whether a place where things are kept takes them just now, and if not, why.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// What is wrong with one place, if anything. Clones are the same place.
///
/// It is told by those who write there; readiness and admission look here, so
/// that nothing is accepted that cannot be kept. The log has one line when the
/// trouble begins, or changes, and one when it is over.
#[derive(Clone, Debug)]
pub struct Trouble(Arc<Place>);

#[derive(Debug)]
struct Place {
    name: String,
    /// Saves the lock to the many writes that go well.
    troubled: AtomicBool,
    reason: Mutex<Option<String>>,
}

impl Trouble {
    /// None so far, at a place of this name.
    #[must_use]
    pub fn none_at(name: impl Into<String>) -> Self {
        Self(Arc::new(Place {
            name: name.into(),
            troubled: AtomicBool::new(false),
            reason: Mutex::new(None),
        }))
    }

    /// Something could not be kept. True when all was well before.
    pub fn begin(&self, reason: &str) -> bool {
        let mut known = self.0.reason.lock().unwrap_or_else(PoisonError::into_inner);
        if known.as_deref() == Some(reason) {
            return false;
        }
        log::error!(
            "{} cannot be written: {reason}. Nothing is accepted until it can; it is tried again each second",
            self.0.name
        );
        self.0.troubled.store(true, Ordering::Release);
        known.replace(reason.to_owned()).is_none()
    }

    /// Something was kept.
    pub fn end(&self) {
        if !self.is_met() {
            return;
        }
        let mut known = self.0.reason.lock().unwrap_or_else(PoisonError::into_inner);
        if known.take().is_some() {
            log::info!("{} can be written again", self.0.name);
        }
        self.0.troubled.store(false, Ordering::Release);
    }

    /// Whether the last write went wrong.
    #[must_use]
    pub fn is_met(&self) -> bool {
        self.0.troubled.load(Ordering::Acquire)
    }

    /// The place and what is wrong with it, for people.
    #[must_use]
    pub fn reason(&self) -> Option<String> {
        let known = self.0.reason.lock().unwrap_or_else(PoisonError::into_inner);
        let reason = known.as_ref()?;
        Some(format!("{} cannot be written: {reason}", self.0.name))
    }
}

#[cfg(test)]
mod tests {
    use super::Trouble;

    #[test]
    fn trouble_lasts_until_something_is_kept_and_tells_the_newest_reason() {
        let trouble = Trouble::none_at("the store");
        assert_eq!((trouble.is_met(), trouble.reason()), (false, None));
        trouble.end();
        assert!(trouble.begin("disk full"));
        assert!(!trouble.clone().begin("read-only"));
        assert!(trouble.is_met());
        let reason = trouble.reason().unwrap();
        assert_eq!(reason, "the store cannot be written: read-only");
        trouble.end();
        assert_eq!((trouble.is_met(), trouble.reason()), (false, None));
    }
}
