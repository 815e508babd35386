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
use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::sentences::Sentences;
use crate::config::Tts;
use crate::contract::{Remedy, Warning};
use crate::speech::{Place, Request, Spoken};
use crate::synthesizer::parent::{Events, Made, News, SpeakError, Synthesizer};

/// How many sentences are spoken ahead of the one that is put into its place.
const AHEAD: usize = 4;

/// How much longer than usual the whole may take: each sentence that hangs takes its
/// own limit twice.
const PATIENCE: u32 = 3;

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
}

/// Speaks the sentences of one request, one at a time.
pub struct Salvage<'a> {
    request: &'a Request,
    places: Vec<Place>,
    /// What was spoken before, of texts whose sentences are kept.
    kept: Option<Sentences>,
    synthesizer: Synthesizer,
    limits: Limits,
    /// Told of each child that is lost, and in which sentence.
    lost: &'a dyn Fn(u32, &SpeakError),
    warnings: Vec<Warning>,
    last_loss: Option<SpeakError>,
}

impl<'a> Salvage<'a> {
    /// Speaks nothing yet. `synthesizer` is for single sentences.
    pub fn new(
        request: &'a Request,
        kept: Option<Sentences>,
        synthesizer: Synthesizer,
        limits: Limits,
        lost: &'a dyn Fn(u32, &SpeakError),
    ) -> Self {
        Self {
            places: request.places(),
            request,
            kept,
            synthesizer,
            limits,
            lost,
            warnings: Vec::new(),
            last_loss: None,
        }
    }

    /// Speaks; `whole` puts the result together, within `PATIENCE` times `limit`.
    /// Beside the result come its warnings.
    ///
    /// # Errors
    ///
    /// As [`Synthesizer::speak`]; where no sentence could be spoken, how the last one
    /// has ended.
    pub async fn speak(
        mut self,
        whole: &mut Synthesizer,
        limit: Duration,
        events: &mut impl Events,
        cancel: impl Future<Output = ()>,
    ) -> Result<(Spoken, Vec<Warning>), SpeakError> {
        let request = self.request;
        let (sender, news) = channel(AHEAD);
        let sentences = u32::try_from(self.places.len()).unwrap_or(u32::MAX);
        let spoken = {
            let mut events = Assembled {
                events,
                news,
                sentences,
            };
            let whole = whole.speak(request, limit * PATIENCE, &mut events, cancel);
            let mut whole = pin!(whole);
            tokio::select! {
                spoken = &mut whole => spoken,
                () = self.speak_each(sender) => whole.await,
            }
        };
        let left_out = |warning: &&Warning| warning.reason == Remedy::LeftOut;
        let none_is_left = self.warnings.iter().filter(left_out).count() == self.places.len();
        match self.last_loss {
            Some(loss) if none_is_left => Err(loss),
            _ => spoken.map(|spoken| (spoken, self.warnings)),
        }
    }

    async fn speak_each(&mut self, told: Sender<News>) {
        for (sentence, place) in (0..).zip(self.places.clone()) {
            let news = match self.speak_one(sentence, place).await {
                Some(made) => News::Made(sentence, made),
                // Not a matter of this sentence: whoever has the whole meets the same.
                None => News::Failed(sentence),
            };
            if told.send(news).await.is_err() {
                return;
            }
        }
    }

    async fn speak_one(&mut self, sentence: u32, place: Place) -> Option<Made> {
        if let Some(made) = self.take(sentence).await {
            return Some(made);
        }
        match self.attempt(sentence, place, false).await {
            Ok(made) => {
                if let Some(kept) = &self.kept {
                    kept.keep(sentence, &made).await;
                }
                return Some(made);
            }
            Err(error) if error.has_cost_the_child() => {}
            Err(_) => return None,
        }
        if !place.is_plain
            && let Ok(made) = self.attempt(sentence, place, true).await
        {
            self.warn(sentence, place, Remedy::SpokenPlainly);
            return Some(made);
        }
        self.warn(sentence, place, Remedy::LeftOut);
        Some(Made {
            samples: Bytes::new(),
            words: Vec::new(),
        })
    }

    async fn take(&self, sentence: u32) -> Option<Made> {
        self.kept.as_ref()?.take(sentence).await
    }

    async fn attempt(
        &mut self,
        sentence: u32,
        place: Place,
        plain: bool,
    ) -> Result<Made, SpeakError> {
        let limit = self.limits.of(place.char_end - place.char_start);
        let spoken = self
            .synthesizer
            .speak_sentence(self.request, sentence, plain, limit)
            .await;
        let loss = spoken.as_ref().err();
        if let Some(loss) = loss.filter(|error| error.has_cost_the_child()) {
            (self.lost)(sentence, loss);
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
    news: Receiver<News>,
    sentences: u32,
}

impl<E: Events> Events for Assembled<'_, E> {
    fn audio(&mut self, bytes: Bytes) -> impl Future<Output = io::Result<()>> {
        self.events.audio(bytes)
    }

    fn progress(&mut self, done: u32, total: u32) {
        self.events.progress(done, total);
    }

    async fn elsewhere(&mut self) -> News {
        match self.news.recv().await {
            Some(news) => news,
            None => std::future::pending().await,
        }
    }

    fn promised(&self) -> Vec<u32> {
        (0..self.sentences).collect()
    }
}
