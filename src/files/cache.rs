//! What was made before, under a name that says what it was made of.
//!
//! A whole speech is kept as one more name (a hard link) for a result's file. Whoever
//! takes an entry gets a name of his own for the audio. So neither the end of a result
//! nor that of an entry takes anything from anybody. Single sentences of long texts are
//! kept as samples.

mod lru_store;

use std::time::SystemTime;

use super::{FileError, Files};

pub use lru_store::{CacheKey, LruStore};

/// Samples take several times the space of an encoded speech, and are of less use:
/// of four bytes they have one.
const SENTENCES_SHARE: u64 = 4;

/// What may be used again, in one service. Cheap to clone.
#[derive(Clone)]
pub struct Cache {
    /// Whole results.
    pub speeches: LruStore,
    /// Sentences of long texts.
    pub sentences: LruStore,
}

impl Cache {
    /// The cache beside a service's files; of 0 bytes it keeps nothing. What is
    /// there already is known once [`Self::load`] is through.
    #[must_use]
    pub fn new(files: &Files, max_bytes: u64) -> Self {
        let of_sentences = max_bytes / SENTENCES_SHARE;
        Self {
            speeches: LruStore::new(files, "cache", max_bytes - of_sentences),
            sentences: LruStore::new(files, "cache-sentences", of_sentences),
        }
    }

    /// Looks what earlier processes have kept.
    pub async fn load(&self) {
        self.speeches.load().await;
        self.sentences.load().await;
    }

    /// Removes what was used last before this instant.
    ///
    /// # Errors
    /// What the file system says.
    pub async fn expire(&self, before: SystemTime) -> Result<(), FileError> {
        self.speeches.expire(before).await?;
        self.sentences.expire(before).await
    }

    /// How much is kept.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.speeches.bytes() + self.sentences.bytes()
    }

    /// Whether anything is ever kept.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.speeches.is_on()
    }
}
