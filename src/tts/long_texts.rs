//! Long texts, whose sentences workers without a job of their own speak too.
//!
//! The worker that has claimed the job speaks it from the first sentence to the last;
//! others take sentences a little ahead of it, one at a time, and look for a job of
//! their own after each. So nobody waits for a long text, and it has all the cores
//! that are idle. What is ahead is little, since the first worker's child holds it.
//! Sentences that were spoken before come from the cache in the same way.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use uuid::Uuid;

use super::job::LONG_BYTES;
use super::sentences::Sentences;
use crate::speech;
use crate::synthesizer::crashes::{At, Crashes};
use crate::synthesizer::parent::{Made, News, Synthesizer};

/// Whether a text is so long that others help with it; a shorter one is spoken before
/// they have begun to.
pub fn is_long(request: &speech::Request) -> bool {
    request.text_bytes() >= LONG_BYTES
}

/// The sentence after the one that is being spoken may be begun before it can be
/// promised.
const FIRST_AHEAD: u32 = 2;

/// How far ahead sentences are spoken at most.
const MOST_AHEAD: u32 = 8;

/// The texts that can be helped with, shared by all workers.
#[derive(Clone, Default)]
pub struct LongTexts(Arc<Mutex<Vec<Arc<LongText>>>>);

/// A text that is being spoken.
struct LongText {
    job: Uuid,
    request: speech::Request,
    sentences: Sentences,
    /// Sentences that come from the cache, in order.
    known: Vec<u32>,
    state: Mutex<State>,
    news: UnboundedSender<News>,
}

#[derive(Default)]
struct State {
    /// Sentences that are spoken.
    done: u32,
    /// 0 until it is known.
    total: u32,
    /// The first sentence that nobody has promised.
    free: u32,
}

/// A text that others may help with, for as long as this is kept.
pub struct Shared {
    texts: LongTexts,
    text: Arc<LongText>,
    news: UnboundedReceiver<News>,
    /// What is still to come from the cache.
    known: VecDeque<u32>,
}

/// A sentence that somebody has promised to speak. Dropped, it is given back.
pub struct Promise {
    text: Arc<LongText>,
    sentence: u32,
    kept: bool,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl LongTexts {
    /// Lets others help with a text, if it is long. Voices that rehearse failures are
    /// not for sharing: they mean the whole.
    pub fn share(
        &self,
        job: Uuid,
        request: &speech::Request,
        sentences: impl FnOnce() -> Sentences,
    ) -> Option<Shared> {
        let rehearses = |segment: &speech::Segment| segment.voice.starts_with("test/");
        if !is_long(request) || request.segments.iter().any(rehearses) {
            return None;
        }
        let (sender, news) = unbounded_channel();
        let sentences = sentences();
        let known = sentences.known();
        let text = Arc::new(LongText {
            job,
            request: request.clone(),
            sentences,
            known: known.clone(),
            state: Mutex::default(),
            news: sender,
        });
        locked(&self.0).push(Arc::clone(&text));
        Some(Shared {
            texts: self.clone(),
            text,
            news,
            known: known.into(),
        })
    }

    /// A sentence that is worth being spoken now, of the oldest text that has one.
    pub fn promise(&self) -> Option<Promise> {
        let texts = locked(&self.0);
        texts.iter().find_map(|text| {
            let sentence = locked(&text.state).take(&text.known)?;
            // Whoever hears it no longer is at the end of the text.
            text.news.send(News::Promised(sentence)).ok()?;
            Some(Promise {
                text: Arc::clone(text),
                sentence,
                kept: false,
            })
        })
    }
}

impl State {
    /// The next sentence that nobody has spoken or promised.
    fn take(&mut self, known: &[u32]) -> Option<u32> {
        let mut sentence = self.free.max(self.done + FIRST_AHEAD);
        while known.binary_search(&sentence).is_ok() {
            sentence += 1;
        }
        let is_near = sentence < self.total.min(self.done + MOST_AHEAD);
        is_near.then(|| {
            self.free = sentence + 1;
            sentence
        })
    }
}

impl Shared {
    /// So many of so many sentences are done.
    pub fn progress(&self, done: u32, total: u32) {
        let mut state = locked(&self.text.state);
        state.done = done;
        state.total = total;
    }

    /// The sentences that come from the cache, for whoever speaks the text to wait
    /// for them.
    pub fn promised(&self) -> Vec<u32> {
        self.text.known.clone()
    }

    /// Whether what is spoken is kept, sentence by sentence.
    pub fn keeps_sentences(&self) -> bool {
        self.text.sentences.are_kept()
    }

    /// Keeps a sentence for the texts to come.
    pub async fn keep(&self, sentence: u32, made: &Made) {
        self.text.sentences.keep(sentence, made).await;
    }

    /// The next thing that somebody has promised or done.
    pub async fn news(&mut self) -> News {
        let near = locked(&self.text.state).done + MOST_AHEAD;
        if let Some(sentence) = self.known.front().copied().filter(|known| *known < near) {
            let made = self.text.sentences.take(sentence).await;
            // Only now: whoever has not waited for it asks again.
            self.known.pop_front();
            return match made {
                Some(made) => News::Made(sentence, made),
                None => News::Failed(sentence),
            };
        }
        match self.news.recv().await {
            Some(news) => news,
            // The text itself has a sender, so there is always one.
            None => std::future::pending().await,
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        locked(&self.texts.0).retain(|text| !Arc::ptr_eq(text, &self.text));
    }
}

impl Promise {
    /// Speaks the sentence and gives it to whoever speaks the text.
    pub async fn keep(mut self, synthesizer: &mut Synthesizer, limit: Duration, crashes: &Crashes) {
        let (request, sentence) = (&self.text.request, self.sentence);
        let made = synthesizer.speak_sentence(request, sentence, false, limit);
        match made.await {
            Ok(made) => {
                self.kept = true;
                let told = News::Made(self.sentence, made.clone());
                let _ = self.text.news.send(told);
                self.text.sentences.keep(self.sentence, &made).await;
            }
            // Whoever speaks the text meets the same, and it is his job.
            Err(error) if !error.has_cost_the_child() => {
                log::debug!("a sentence of a long text is given back: {error}");
            }
            Err(error) => {
                let places = request.places();
                let voice = request.voice_of(places.get(sentence as usize));
                crashes.note(self.text.job, voice, At::Sentence(sentence), &error);
            }
        }
    }
}

impl Drop for Promise {
    fn drop(&mut self) {
        if !self.kept {
            let _ = self.text.news.send(News::Failed(self.sentence));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::contract::Service;
    use crate::files::{Cache, Files};

    fn request(text: &str, voice: &str) -> speech::Request {
        speech::Request::plain(text, voice, speech::Output::default())
    }

    /// A cache in a folder of its own.
    fn cache() -> (Cache, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let files = Files::open(folder.path(), Service::Tts, Clock::manual(0).0).unwrap();
        (Cache::new(&files, 1_000_000), folder)
    }

    fn unkept() -> Sentences {
        Sentences::with_keys(cache().0.sentences, Vec::new())
    }

    fn made(samples: &'static [u8]) -> Made {
        Made {
            samples: samples.into(),
            words: vec![0..1, 1..2],
        }
    }

    #[actix_rt::test]
    async fn what_was_spoken_before_is_promised_to_nobody_and_comes_a_little_ahead() {
        let (cache, _folder) = cache();
        let keys = (0..12).map(|number| Some(format!("{number:064}")));
        let sentences = || Sentences::with_keys(cache.sentences.clone(), keys.clone().collect());
        for known in [0, 3, 4, 10] {
            sentences().keep(known, &made(b"1234")).await;
        }
        let texts = LongTexts::default();
        let text = request(&"a".repeat(1000), "x/y");
        let mut shared = texts.share(Uuid::nil(), &text, sentences).unwrap();
        assert_eq!(shared.promised(), [0, 3, 4, 10]);
        shared.progress(0, 12);
        let promised: Vec<Promise> = std::iter::from_fn(|| texts.promise()).collect();
        let numbers: Vec<u32> = promised.iter().map(|promise| promise.sentence).collect();
        assert_eq!(numbers, [2, 5, 6, 7]);
        for near in [0, 3, 4] {
            assert_eq!(shared.news().await, News::Made(near, made(b"1234")));
        }
        assert_eq!(shared.news().await, News::Promised(2), "10 is far");
        cache.sentences.forget(&format!("{:064}", 10)).await;
        shared.progress(8, 12);
        assert_eq!(shared.news().await, News::Failed(10), "it has gone since");
    }

    #[test]
    fn sentences_are_promised_once_and_only_a_little_ahead() {
        let texts = LongTexts::default();
        let shared = texts
            .share(Uuid::nil(), &request(&"a".repeat(1000), "x/y"), unkept)
            .unwrap();
        assert!(
            texts.promise().is_none(),
            "nobody knows yet how many there are"
        );
        shared.progress(0, 11);
        let promised: Vec<Promise> = std::iter::from_fn(|| texts.promise()).collect();
        let numbers: Vec<u32> = promised.iter().map(|promise| promise.sentence).collect();
        assert_eq!(numbers, [2, 3, 4, 5, 6, 7]);
        shared.progress(5, 11);
        let more: Vec<u32> = std::iter::from_fn(|| texts.promise())
            .map(|promise| promise.sentence)
            .collect();
        assert_eq!(more, [8, 9, 10]);
        drop(shared);
        assert!(texts.promise().is_none());
    }

    #[tokio::test]
    async fn a_promise_that_is_not_kept_is_told() {
        let texts = LongTexts::default();
        let mut shared = texts
            .share(Uuid::nil(), &request(&"a".repeat(1000), "x/y"), unkept)
            .unwrap();
        shared.progress(0, 5);
        drop(texts.promise());
        assert!(matches!(shared.news().await, News::Promised(2)));
        assert!(matches!(shared.news().await, News::Failed(2)));
    }

    #[test]
    fn short_texts_and_rehearsals_are_not_shared() {
        let texts = LongTexts::default();
        assert!(
            texts
                .share(Uuid::nil(), &request("a", "x/y"), unkept)
                .is_none()
        );
        assert!(
            texts
                .share(
                    Uuid::nil(),
                    &request(&"a".repeat(1000), "test/silence"),
                    unkept
                )
                .is_none()
        );
    }
}
