//! Long texts, whose sentences workers without a job of their own speak too.
//!
//! The worker that has claimed the job speaks it from the first sentence to the last;
//! others take sentences a little ahead of it, one at a time, and look for a job of
//! their own after each. So nobody waits for a long text, and it has all the cores
//! that are idle. What is ahead is little, since the first worker's child holds it.
//! Sentences that were spoken before come from the cache in the same way.
//!
//! Where all workers are busy, a short text of another client is a guest of the worker
//! that speaks a long one: a second child of it speaks the guest, and the first one waits
//! for that at the next border of two sentences, as it would for a helper's sentence.

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hoiam_synthesizer::crashes::{At, Crashes};
use hoiam_synthesizer::parent::{Pauses, SentenceAudio, SentenceUpdate, Synthesizer};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use uuid::Uuid;

use super::job::LONG_BYTES;
use super::sentences::Sentences;
use crate::locks::lock;

/// Whether a text is so long that others help with it; a shorter one is spoken before
/// they have begun to.
pub fn is_long(request: &hoiam_text::Request) -> bool {
    request.text_bytes() >= LONG_BYTES
}

/// The sentence after the one that is being spoken may be begun before it can be
/// reserved.
const FIRST_AHEAD: u32 = 2;

/// How far ahead sentences are spoken at most.
const MOST_AHEAD: u32 = 8;

/// The long texts that are spoken, and who has nothing to do; shared by all workers.
#[derive(Clone, Default)]
pub struct LongTexts {
    texts: Arc<Mutex<Vec<Arc<LongText>>>>,
    free: Arc<Mutex<HashSet<usize>>>,
}

/// A text that is being spoken.
struct LongText {
    job: Uuid,
    request: hoiam_text::Request,
    /// Whether others may speak sentences of it.
    can_be_helped: bool,
    /// `None`: nothing of it is kept.
    sentences: Option<Sentences>,
    /// Sentences that come from the cache, in order.
    known: Vec<u32>,
    state: Mutex<State>,
    news: UnboundedSender<SentenceUpdate>,
    pauses: Pauses,
}

#[derive(Default)]
struct State {
    /// Sentences that are spoken.
    done: u32,
    /// 0 until it is known.
    total: u32,
    /// The first sentence that nobody has reserved.
    free: u32,
    /// How many were spoken when the last guest came.
    guest_at: Option<u32>,
    /// What waits for a guest who is there.
    held: Option<u32>,
}

/// A text that others may help with, for as long as this is kept.
pub struct Shared {
    texts: LongTexts,
    text: Arc<LongText>,
    news: UnboundedReceiver<SentenceUpdate>,
    /// What is still to come from the cache.
    known: VecDeque<u32>,
}

/// A sentence that somebody has reserved to speak. Dropped, it is given back.
pub struct Reservation {
    text: Arc<LongText>,
    sentence: u32,
    kept: bool,
}

impl LongTexts {
    /// Lets others help with a text, and guests in, if it is long. Voices that rehearse
    /// failures are not helped with: they mean the whole.
    pub fn share(
        &self,
        job: Uuid,
        request: &hoiam_text::Request,
        sentences: impl FnOnce() -> Sentences,
    ) -> Option<Shared> {
        if !is_long(request) {
            return None;
        }
        let rehearses = |segment: &hoiam_text::Segment| segment.voice.starts_with("test/");
        let can_be_helped = !request.segments.iter().any(rehearses);
        Some(self.list(job, request, Some(sentences()), can_be_helped))
    }

    /// Lets guests in only, while a text is salvaged.
    pub fn share_borders(&self, job: Uuid, request: &hoiam_text::Request) -> Option<Shared> {
        is_long(request).then(|| self.list(job, request, None, false))
    }

    fn list(
        &self,
        job: Uuid,
        request: &hoiam_text::Request,
        sentences: Option<Sentences>,
        can_be_helped: bool,
    ) -> Shared {
        let (sender, news) = unbounded_channel();
        let known = sentences.as_ref().map(Sentences::known);
        let known = known.unwrap_or_default();
        let text = Arc::new(LongText {
            job,
            request: request.clone(),
            can_be_helped,
            sentences,
            known: known.clone(),
            state: Mutex::default(),
            news: sender,
            pauses: Pauses::default(),
        });
        lock(&self.texts).push(Arc::clone(&text));
        Shared {
            texts: self.clone(),
            text,
            news,
            known: known.into(),
        }
    }

    /// A sentence that is worth being spoken now, of the oldest text that has one.
    pub fn reserve(&self) -> Option<Reservation> {
        let texts = lock(&self.texts);
        texts
            .iter()
            .filter(|text| text.can_be_helped)
            .find_map(|text| {
                let sentence = lock(&text.state).take(&text.known)?;
                // Whoever hears it no longer is at the end of the text.
                text.news.send(SentenceUpdate::Reserved(sentence)).ok()?;
                Some(Reservation {
                    text: Arc::clone(text),
                    sentence,
                    kept: false,
                })
            })
    }

    /// Whether this worker would speak a job that comes now, at the latest after a
    /// sentence that it helps with.
    pub fn set_free(&self, worker: usize, is_free: bool) {
        let mut free = lock(&self.free);
        match is_free {
            true => free.insert(worker),
            false => free.remove(&worker),
        };
    }

    /// Whether any worker would.
    pub fn is_anyone_free(&self) -> bool {
        !lock(&self.free).is_empty()
    }
}

impl State {
    /// The next sentence that nobody has spoken or reserved.
    fn take(&mut self, known: &[u32]) -> Option<u32> {
        let sentence = self.first_unknown(FIRST_AHEAD, known);
        let is_near = sentence < self.total.min(self.done + MOST_AHEAD);
        is_near.then(|| {
            self.free = sentence + 1;
            sentence
        })
    }

    /// The sentence that waits for a guest who comes now: the next one, unless it is
    /// waited for already. There need not be one.
    fn take_border(&mut self, known: &[u32]) -> u32 {
        self.guest_at = Some(self.done);
        let sentence = self.first_unknown(1, known);
        self.free = sentence + 1;
        self.held = Some(sentence);
        sentence
    }

    /// The first sentence, at least so far ahead, that nobody has spoken or reserved.
    fn first_unknown(&self, ahead: u32, known: &[u32]) -> u32 {
        let mut sentence = self.free.max(self.done + ahead);
        while known.binary_search(&sentence).is_ok() {
            sentence += 1;
        }
        sentence
    }
}

/// The borders of the sentences of a long text, at which it lets guests in.
#[derive(Clone)]
pub struct Borders(Arc<LongText>);

/// The text waits at its next border until this is dropped.
pub struct Hold {
    text: Arc<LongText>,
    sentence: u32,
}

impl Borders {
    /// Whether a guest may come: after each one the text has a sentence for itself.
    pub fn are_open(&self) -> bool {
        let state = lock(&self.0.state);
        state.guest_at.is_none_or(|at| state.done > at)
    }

    /// A guest comes.
    pub fn hold(&self) -> Hold {
        let text = Arc::clone(&self.0);
        let sentence = lock(&text.state).take_border(&text.known);
        text.pauses.begin();
        // Who hears it no longer has no border left.
        let _ = text.news.send(SentenceUpdate::Reserved(sentence));
        Hold { text, sentence }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        lock(&self.text.state).held = None;
        self.text.pauses.end();
        let _ = self.text.news.send(SentenceUpdate::Failed(self.sentence));
    }
}

impl Shared {
    /// Where it lets guests in.
    pub fn borders(&self) -> Borders {
        Borders(Arc::clone(&self.text))
    }

    /// While guests are there.
    pub fn pauses(&self) -> Pauses {
        self.text.pauses.clone()
    }

    /// Whether others may speak sentences of it.
    pub fn can_be_helped(&self) -> bool {
        self.text.can_be_helped
    }

    /// So many of so many sentences are done.
    pub fn progress(&self, done: u32, total: u32) {
        let mut state = lock(&self.text.state);
        state.done = done;
        state.total = total;
    }

    /// The sentences for which whoever speaks the text is to wait from the start: those
    /// that come from the cache, and the one that waits for a guest.
    pub fn reserved(&self) -> Vec<u32> {
        let held = lock(&self.text.state).held;
        self.text.known.iter().copied().chain(held).collect()
    }

    /// Whether what is spoken is kept, sentence by sentence.
    pub fn keeps_sentences(&self) -> bool {
        let sentences = self.text.sentences.as_ref();
        sentences.is_some_and(Sentences::are_kept)
    }

    /// Keeps a sentence for the texts to come.
    pub async fn keep(&self, sentence: u32, made: &SentenceAudio) {
        if let Some(sentences) = &self.text.sentences {
            sentences.keep(sentence, made).await;
        }
    }

    /// The next thing that somebody has reserved or done.
    pub async fn news(&mut self) -> SentenceUpdate {
        let near = lock(&self.text.state).done + MOST_AHEAD;
        if let Some(sentence) = self.known.front().copied().filter(|known| *known < near) {
            let made = match &self.text.sentences {
                Some(sentences) => sentences.take(sentence).await,
                None => None,
            };
            // Only now: whoever has not waited for it asks again.
            self.known.pop_front();
            return match made {
                Some(made) => SentenceUpdate::Made(sentence, made),
                None => SentenceUpdate::Failed(sentence),
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
        lock(&self.texts.texts).retain(|text| !Arc::ptr_eq(text, &self.text));
    }
}

impl Reservation {
    /// Speaks the sentence and gives it to whoever speaks the text.
    pub async fn keep(mut self, synthesizer: &mut Synthesizer, limit: Duration, crashes: &Crashes) {
        let (request, sentence) = (&self.text.request, self.sentence);
        let made = synthesizer.speak_sentence(request, sentence, false, limit);
        match made.await {
            Ok(made) => {
                self.kept = true;
                let told = SentenceUpdate::Made(self.sentence, made.clone());
                let _ = self.text.news.send(told);
                if let Some(sentences) = &self.text.sentences {
                    sentences.keep(self.sentence, &made).await;
                }
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

impl Drop for Reservation {
    fn drop(&mut self) {
        if !self.kept {
            let _ = self.text.news.send(SentenceUpdate::Failed(self.sentence));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::{Cache, Files};
    use hoiam_api::Service;
    use hoiam_supervision::clock::Clock;

    fn request(text: &str, voice: &str) -> hoiam_text::Request {
        hoiam_text::Request::plain(text, voice, hoiam_text::Output::default())
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

    fn made(samples: &'static [u8]) -> SentenceAudio {
        SentenceAudio {
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
        assert_eq!(shared.reserved(), [0, 3, 4, 10]);
        shared.progress(0, 12);
        let reserved: Vec<Reservation> = std::iter::from_fn(|| texts.reserve()).collect();
        let numbers: Vec<u32> = reserved
            .iter()
            .map(|reservation| reservation.sentence)
            .collect();
        assert_eq!(numbers, [2, 5, 6, 7]);
        for near in [0, 3, 4] {
            assert_eq!(
                shared.news().await,
                SentenceUpdate::Made(near, made(b"1234"))
            );
        }
        assert_eq!(
            shared.news().await,
            SentenceUpdate::Reserved(2),
            "10 is far"
        );
        cache.sentences.forget(&format!("{:064}", 10)).await;
        shared.progress(8, 12);
        assert_eq!(
            shared.news().await,
            SentenceUpdate::Failed(10),
            "it has gone since"
        );
    }

    #[test]
    fn sentences_are_promised_once_and_only_a_little_ahead() {
        let texts = LongTexts::default();
        let shared = texts
            .share(Uuid::nil(), &request(&"a".repeat(1000), "x/y"), unkept)
            .unwrap();
        assert!(
            texts.reserve().is_none(),
            "nobody knows yet how many there are"
        );
        shared.progress(0, 11);
        let reserved: Vec<Reservation> = std::iter::from_fn(|| texts.reserve()).collect();
        let numbers: Vec<u32> = reserved
            .iter()
            .map(|reservation| reservation.sentence)
            .collect();
        assert_eq!(numbers, [2, 3, 4, 5, 6, 7]);
        shared.progress(5, 11);
        let more: Vec<u32> = std::iter::from_fn(|| texts.reserve())
            .map(|reservation| reservation.sentence)
            .collect();
        assert_eq!(more, [8, 9, 10]);
        drop(shared);
        assert!(texts.reserve().is_none());
    }

    #[tokio::test]
    async fn a_promise_that_is_not_kept_is_told() {
        let texts = LongTexts::default();
        let mut shared = texts
            .share(Uuid::nil(), &request(&"a".repeat(1000), "x/y"), unkept)
            .unwrap();
        shared.progress(0, 5);
        drop(texts.reserve());
        assert!(matches!(shared.news().await, SentenceUpdate::Reserved(2)));
        assert!(matches!(shared.news().await, SentenceUpdate::Failed(2)));
    }

    #[test]
    fn short_texts_are_not_shared_and_rehearsals_are_not_helped_with() {
        let texts = LongTexts::default();
        let share = |text: &str, voice| texts.share(Uuid::nil(), &request(text, voice), unkept);
        assert!(share("a", "x/y").is_none());
        let rehearsal = share(&"a".repeat(1000), "test/silence").unwrap();
        rehearsal.progress(0, 10);
        assert!(texts.reserve().is_none());
        let salvaged = texts.share_borders(Uuid::nil(), &request(&"a".repeat(1000), "x/y"));
        salvaged.unwrap().progress(0, 10);
        assert!(texts.reserve().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_text_waits_for_a_guest_at_its_next_border_and_then_has_a_sentence_for_itself() {
        let texts = LongTexts::default();
        let text = request(&"a".repeat(1000), "x/y");
        let mut shared = texts.share(Uuid::nil(), &text, unkept).unwrap();
        let borders = shared.borders();
        assert!(borders.are_open(), "also before its first sentence");
        shared.progress(3, 20);
        let hold = borders.hold();
        assert_eq!(shared.news().await, SentenceUpdate::Reserved(4));
        assert_eq!(shared.reserved(), [4]);
        assert!(!borders.are_open());
        let reservation = texts.reserve().unwrap();
        assert_eq!(
            reservation.sentence, 5,
            "what waits for a guest is nobody else's"
        );
        drop(hold);
        assert_eq!(shared.news().await, SentenceUpdate::Reserved(5));
        assert_eq!(shared.news().await, SentenceUpdate::Failed(4));
        assert!(shared.reserved().is_empty());
        assert!(!borders.are_open());
        shared.progress(4, 20);
        assert!(borders.are_open());
        let _hold = borders.hold();
        assert_eq!(
            shared.news().await,
            SentenceUpdate::Reserved(6),
            "5 is reserved"
        );
    }
}
