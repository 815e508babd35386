//! Long texts, whose sentences workers without a job of their own speak too.
//!
//! The worker that has claimed the job speaks it from the first sentence to the last;
//! others take sentences a little ahead of it, one at a time, and look for a job of
//! their own after each. So nobody waits for a long text, and it has all the cores
//! that are idle. What is ahead is little, since the first worker's child holds it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::speech;
use crate::synthesizer::parent::{News, Synthesizer};

/// Below this many bytes a text is spoken before others have begun to help.
const LONG_BYTES: usize = 800;

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
    request: speech::Request,
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
    pub fn share(&self, request: &speech::Request) -> Option<Shared> {
        let rehearses = |segment: &speech::Segment| segment.voice.starts_with("test/");
        if request.text_bytes() < LONG_BYTES || request.segments.iter().any(rehearses) {
            return None;
        }
        let (sender, news) = unbounded_channel();
        let text = Arc::new(LongText {
            request: request.clone(),
            state: Mutex::default(),
            news: sender,
        });
        locked(&self.0).push(Arc::clone(&text));
        Some(Shared {
            texts: self.clone(),
            text,
            news,
        })
    }

    /// A sentence that is worth being spoken now, of the oldest text that has one.
    pub fn promise(&self) -> Option<Promise> {
        let texts = locked(&self.0);
        texts.iter().find_map(|text| {
            let sentence = locked(&text.state).take()?;
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
    fn take(&mut self) -> Option<u32> {
        let sentence = self.free.max(self.done + FIRST_AHEAD);
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

    /// The next thing that somebody has promised or done.
    pub async fn news(&mut self) -> News {
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
    pub async fn keep(mut self, synthesizer: &mut Synthesizer, limit: Duration) {
        let made = synthesizer.speak_sentence(&self.text.request, self.sentence, limit);
        match made.await {
            Ok(made) => {
                self.kept = true;
                let _ = self.text.news.send(News::Made(self.sentence, made));
            }
            // Whoever speaks the text meets the same, and it is his job.
            Err(error) => log::debug!("a sentence of a long text is given back: {error}"),
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

    fn request(text: &str, voice: &str) -> speech::Request {
        speech::Request::plain(text, voice, speech::Output::default())
    }

    #[test]
    fn sentences_are_promised_once_and_only_a_little_ahead() {
        let texts = LongTexts::default();
        let shared = texts.share(&request(&"a".repeat(1000), "x/y")).unwrap();
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
        let mut shared = texts.share(&request(&"a".repeat(1000), "x/y")).unwrap();
        shared.progress(0, 5);
        drop(texts.promise());
        assert!(matches!(shared.news().await, News::Promised(2)));
        assert!(matches!(shared.news().await, News::Failed(2)));
    }

    #[test]
    fn short_texts_and_rehearsals_are_not_shared() {
        let texts = LongTexts::default();
        assert!(texts.share(&request("a", "x/y")).is_none());
        assert!(
            texts
                .share(&request(&"a".repeat(1000), "test/silence"))
                .is_none()
        );
    }
}
