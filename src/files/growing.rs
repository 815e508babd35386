//! The results that are being written at this time, to tell which of them fills the disk.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};

use crate::locks::lock;

/// Of one service. Clones share what they know.
#[derive(Clone, Default)]
pub(super) struct Growing(Arc<Mutex<Vec<Weak<AtomicU64>>>>);

/// How large one of them is by now. It counts for as long as this is kept.
pub(super) struct Size(Arc<AtomicU64>);

impl Growing {
    /// One more, that is empty.
    pub(super) fn begin(&self) -> Size {
        let size = Arc::default();
        let mut known = lock(&self.0);
        known.retain(|size| size.strong_count() > 0);
        known.push(Arc::downgrade(&size));
        Size(size)
    }

    /// Of all of them.
    pub(super) fn largest(&self) -> u64 {
        let known = lock(&self.0);
        let sizes = known.iter().filter_map(Weak::upgrade);
        let bytes = sizes.map(|size| size.load(Ordering::Relaxed));
        bytes.max().unwrap_or(0)
    }
}

impl Size {
    pub(super) fn grow(&self, bytes: u64) {
        self.0.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::Growing;

    #[test]
    fn the_largest_is_told_of_those_that_are_still_written() {
        let growing = Growing::default();
        assert_eq!(growing.largest(), 0);
        let (small, large) = (growing.clone().begin(), growing.begin());
        small.grow(2);
        large.grow(2);
        large.grow(1);
        assert_eq!((small.bytes(), growing.largest()), (2, 3));
        drop(large);
        assert_eq!(growing.largest(), 2);
    }
}
