//! Single sentences of a long text: those that were spoken before, in whatever text,
//! are not spoken again.

use std::ops::Range;

use bytes::Bytes;
use hoiam_synthesizer::parent::SentenceAudio;

use super::voices::Voices;
use crate::files::{Cache, CacheKey, LruStore};

/// What is kept with a sentence's samples: how many bytes they are, and for each word
/// from which to which sample it is heard.
type About = (usize, Vec<Range<usize>>);

/// The sentences of one text, as the cache knows them.
pub struct Sentences {
    store: LruStore,
    /// Of each sentence; `None` where it is not worth being kept.
    keys: Vec<Option<CacheKey>>,
}

impl Sentences {
    /// Of what is to be spoken, or was.
    pub fn of(request: &hoiam_text::Request, voices: &Voices, cache: &Cache) -> Self {
        let keys = match cache.is_on() {
            true => voices.sentence_keys(request),
            false => Vec::new(),
        };
        Self {
            store: cache.sentences.clone(),
            keys,
        }
    }

    /// Of a text whose sentences have these keys.
    #[cfg(test)]
    pub fn with_keys(store: LruStore, keys: Vec<Option<CacheKey>>) -> Self {
        Self { store, keys }
    }

    /// Whether any of them is ever kept.
    pub fn are_kept(&self) -> bool {
        self.keys.iter().any(Option::is_some)
    }

    /// Those that were spoken before, counted from 0.
    pub fn known(&self) -> Vec<u32> {
        let keys = (0..).zip(&self.keys);
        let known = keys.filter(|(_, key)| key.as_ref().is_some_and(|key| self.store.has(key)));
        known.map(|(sentence, _)| sentence).collect()
    }

    /// One that was spoken before, if it is still there.
    pub async fn take(&self, sentence: u32) -> Option<SentenceAudio> {
        let key = self.key(sentence)?;
        let (words, samples) = self.store.read(key).await?;
        match serde_json::from_str::<About>(&words) {
            Ok((bytes, words)) if samples.len() == bytes => Some(SentenceAudio {
                samples: samples.into(),
                words,
            }),
            _ => {
                log::debug!("a sentence in the cache is torn");
                self.store.forget(key).await;
                None
            }
        }
    }

    /// Keeps one that was spoken now.
    pub async fn keep(&self, sentence: u32, made: &SentenceAudio) {
        let SentenceAudio { samples, words } = made;
        let about = serde_json::to_string(&(samples.len(), words));
        if let (Some(key), Ok(about)) = (self.key(sentence), about) {
            self.store.write(key, Bytes::clone(samples), about).await;
        }
    }

    /// Forgets all of them.
    pub async fn forget(&self) {
        for key in self.keys.iter().flatten() {
            self.store.forget(key).await;
        }
    }

    fn key(&self, sentence: u32) -> Option<&CacheKey> {
        self.keys.get(sentence as usize)?.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::Files;
    use hoiam_api::Service;
    use hoiam_supervision::clock::Clock;

    #[actix_rt::test]
    async fn a_sentence_comes_back_as_it_was_kept_and_not_at_all_if_it_is_torn() {
        let folder = tempfile::tempdir().unwrap();
        let files = Files::open(folder.path(), Service::Tts, Clock::manual(0).0).unwrap();
        let cache = Cache::new(&files, 1_000_000);
        let key = "ab".repeat(32);
        let sentences =
            Sentences::with_keys(cache.sentences.clone(), vec![None, Some(key.clone())]);
        let made = SentenceAudio {
            samples: Bytes::from_static(b"12345678"),
            words: vec![1..3, 3..4],
        };
        sentences.keep(0, &made).await;
        sentences.keep(1, &made).await;
        assert_eq!(sentences.known(), [1]);
        assert_eq!(sentences.take(0).await, None);
        assert_eq!(sentences.take(1).await, Some(made));
        let files = std::fs::read_dir(folder.path().join("cache-sentences/ab")).unwrap();
        let mut files = files.map(|file| file.unwrap().path());
        let audio = files.find(|file| file.extension().is_some_and(|end| end == "audio"));
        std::fs::write(audio.unwrap(), b"87654321").unwrap();
        assert_eq!(sentences.take(1).await, None);
        assert_eq!(sentences.known(), Vec::<u32>::new());
    }
}
