//! A text that has crashed an engine, once more and safer: no sentence of it fails
//! the whole.
//!
//! One child puts the result together and speaks nothing. A second one speaks a
//! sentence at a time, so that it is known which one it crashes on. That one is spoken
//! once more with letters, digits and plain marks only, and left out if this crashes
//! too. Either is told with the result, as a warning.

use std::io;
use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use hoiam_api::{Remedy, Warning};
use hoiam_synthesizer::parent::{Events, SentenceAudio, SentenceUpdate, SpeakError, Synthesizer};
use hoiam_text::{Place, Request, SaturatingFrom as _, SpeechError, Synthesis};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::watch;

use super::sentences::Sentences;
use crate::config::Tts;

/// How many sentences are spoken ahead of the one that is put into its place, since the
/// child that puts it there holds their samples.
const AHEAD: u32 = 4;

/// How many sentences may take all of their time without an end.
const HANGING: u32 = 6;

/// A text that costs so many children is given up: that is no single sentence.
const MAX_LOST: u32 = 100;

/// How long speaking may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Whatever the text is.
    pub base: Duration,
    /// For each character of it.
    pub per_character: Duration,
}

impl Limits {
    /// As the configuration says.
    #[must_use]
    pub fn configured(tts: &Tts) -> Self {
        Self {
            base: Duration::from_secs(tts.synthesis_base_s),
            per_character: Duration::from_millis(tts.synthesis_ms_per_char),
        }
    }

    /// For so many characters at once.
    #[must_use]
    pub fn of(&self, characters: u32) -> Duration {
        self.base + self.per_character.saturating_mul(characters)
    }

    /// For so many characters, sentence by sentence, some of which may hang.
    #[must_use]
    pub fn of_salvage(&self, characters: u32) -> Duration {
        self.of(characters) + self.of_sentence().saturating_mul(HANGING)
    }

    /// From one piece of a text that is spoken at once to the next, whatever its length:
    /// a sentence that a helper has reserved is waited for, and then spoken after all if
    /// the helper's child has hung on it.
    #[must_use]
    pub fn of_piece(&self) -> Duration {
        self.of_sentence().saturating_mul(2)
    }

    /// For one sentence, which has at most 400 characters.
    #[must_use]
    pub fn of_sentence(&self) -> Duration {
        self.of(400)
    }
}

/// Speaks the sentences of one request, one at a time.
pub struct Salvage<'a> {
    request: &'a Request,
    places: Vec<Place>,
    /// What was spoken before, of texts whose sentences are kept.
    kept: Option<Sentences>,
    synthesizer: Synthesizer,
    limits: Limits,
    /// Payload of each child that is lost, and in which sentence.
    lost: &'a dyn Fn(&Place, u32, &SpeakError),
    warnings: Vec<Warning>,
    losses: u32,
    last_loss: Option<SpeakError>,
}

impl<'a> Salvage<'a> {
    /// Speaks nothing yet. `synthesizer` is for single sentences.
    pub fn new(
        request: &'a Request,
        kept: Option<Sentences>,
        synthesizer: Synthesizer,
        limits: Limits,
        lost: &'a dyn Fn(&Place, u32, &SpeakError),
    ) -> Self {
        Self {
            places: request.places(),
            request,
            kept,
            synthesizer,
            limits,
            lost,
            warnings: Vec::new(),
            losses: 0,
            last_loss: None,
        }
    }

    /// Speaks; `whole` puts the result together, within `limit`. Beside the result come
    /// its warnings.
    ///
    /// # Errors
    ///
    /// As [`Synthesizer::speak`]; where no sentence could be spoken, or too many
    /// children were lost, how the last one was.
    pub async fn speak(
        mut self,
        whole: &mut Synthesizer,
        limit: Duration,
        events: &mut impl Events,
        cancel: impl Future<Output = ()>,
    ) -> Result<(Synthesis, Vec<Warning>), SpeakError> {
        let request = self.request;
        let (sender, news) = unbounded_channel();
        let (tell_done, done) = watch::channel(0);
        let sentences = u32::saturating_from(self.places.len());
        let spoken = {
            let mut events = Assembled {
                events,
                news,
                sentences,
                done: tell_done,
            };
            let whole = whole.speak(request, limit, &mut events, cancel);
            let mut whole = pin!(whole);
            tokio::select! {
                spoken = &mut whole => spoken,
                each = self.speak_each(&sender, done) => match each {
                    Ok(()) => whole.await,
                    Err(error) => return Err(error),
                },
            }
        };
        let left_out = |warning: &&Warning| warning.reason == Remedy::LeftOut;
        let none_is_left = self.warnings.iter().filter(left_out).count() == self.places.len();
        match (spoken, self.last_loss) {
            (_, Some(loss)) if none_is_left => Err(loss),
            // Nothing of what was left can be heard.
            (Err(SpeakError::Engine(SpeechError::EngineFailed { .. })), Some(loss)) => Err(loss),
            (Err(error), _) => {
                log::warn!("a text could not be put together: {error}");
                Err(error)
            }
            (Ok(spoken), _) => Ok((spoken, self.warnings)),
        }
    }

    async fn speak_each(
        &mut self,
        told: &UnboundedSender<SentenceUpdate>,
        mut done: watch::Receiver<u32>,
    ) -> Result<(), SpeakError> {
        for (sentence, place) in (0..).zip(self.places.clone()) {
            // Nobody is told any more once the whole has ended.
            let _ = done.wait_for(|done| sentence < *done + AHEAD).await;
            let news = match self.speak_one(sentence, place).await {
                Ok(made) => SentenceUpdate::Made(sentence, made),
                // Not a matter of this sentence: whoever has the whole meets the same.
                Err(SpeakError::Engine(_)) => SentenceUpdate::Failed(sentence),
                Err(error) => return Err(error),
            };
            let _ = told.send(news);
        }
        Ok(())
    }

    async fn speak_one(
        &mut self,
        sentence: u32,
        place: Place,
    ) -> Result<SentenceAudio, SpeakError> {
        if let Some(made) = self.take(sentence).await {
            return Ok(made);
        }
        match self.attempt(sentence, &place, false).await {
            Ok(made) => {
                if let Some(kept) = &self.kept {
                    kept.keep(sentence, &made).await;
                }
                return Ok(made);
            }
            Err(error) if error.has_cost_the_child() && self.losses < MAX_LOST => {}
            Err(error) => return Err(error),
        }
        if !place.is_plain {
            match self.attempt(sentence, &place, true).await {
                Ok(made) if !made.samples.is_empty() => {
                    self.warn(sentence, place, Remedy::SpokenPlainly);
                    return Ok(made);
                }
                // It is the child's start that has failed, not the sentence.
                Err(error @ SpeakError::NotStarted(_)) => return Err(error),
                _ => {}
            }
        }
        self.warn(sentence, place, Remedy::LeftOut);
        Ok(SentenceAudio {
            samples: Bytes::new(),
            words: Vec::new(),
        })
    }

    async fn take(&self, sentence: u32) -> Option<SentenceAudio> {
        self.kept.as_ref()?.take(sentence).await
    }

    async fn attempt(
        &mut self,
        sentence: u32,
        place: &Place,
        plain: bool,
    ) -> Result<SentenceAudio, SpeakError> {
        let limit = self.limits.of(place.char_end - place.char_start);
        let spoken = self
            .synthesizer
            .speak_sentence(self.request, sentence, plain, limit)
            .await;
        let loss = spoken.as_ref().err();
        if let Some(loss) = loss.filter(|error| error.has_cost_the_child()) {
            (self.lost)(place, sentence, loss);
            self.losses += 1;
            self.last_loss = Some(loss.clone());
        }
        spoken
    }

    fn warn(&mut self, sentence: u32, place: Place, reason: Remedy) {
        let how = match &self.last_loss {
            Some(SpeakError::Overran { limit }) => {
                format!("had not finished with it after {} s", limit.as_secs())
            }
            Some(SpeakError::Crashed { how, .. }) => format!("crashed on it ({how})"),
            _ => "failed on it".to_owned(),
        };
        let remedy = match reason {
            Remedy::SpokenPlainly => "it was spoken with letters, digits and plain marks only",
            Remedy::LeftOut => "it is not in the audio; write it in other words",
        };
        let segment = u32::try_from(place.segment).ok();
        self.warnings.push(Warning {
            sentence,
            segment: segment.filter(|_| self.request.numbered),
            char_start: place.char_start,
            char_end: place.char_end,
            reason,
            detail: format!("The engine {how}, so {remedy}."),
        });
    }
}

/// The events of the child that puts together what another one speaks.
struct Assembled<'a, E> {
    events: &'a mut E,
    news: UnboundedReceiver<SentenceUpdate>,
    sentences: u32,
    /// Payload how many are in their places.
    done: watch::Sender<u32>,
}

impl<E: Events> Events for Assembled<'_, E> {
    fn audio(&mut self, bytes: Bytes) -> impl Future<Output = io::Result<()>> {
        self.events.audio(bytes)
    }

    fn progress(&mut self, done: u32, total: u32) {
        self.done.send_replace(done);
        self.events.progress(done, total);
    }

    async fn prefetched(&mut self) -> SentenceUpdate {
        match self.news.recv().await {
            Some(news) => news,
            None => std::future::pending().await,
        }
    }

    fn reserved(&self) -> Vec<u32> {
        (0..self.sentences).collect()
    }
}
