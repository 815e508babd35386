//! What makes sound of sentences.

use super::text::Sentence;
use super::track::Track;
use super::{SpeechError, Voice};

mod alignment;
mod espeak;
mod libespeak;
mod test;

/// Something that speaks. It puts each sentence on the [`Track`] as soon as
/// the sentence is spoken.
trait Engine: Send {
    /// The part of a voice's id before the slash.
    fn name(&self) -> &'static str;

    /// Every voice worth showing in a list.
    fn voices(&self) -> &[Voice];

    /// The voice with this id, if the engine has it.
    fn voice(&self, id: &str) -> Option<Voice> {
        self.voices().iter().find(|voice| voice.id == id).cloned()
    }

    /// Speaks all sentences in order. `speed` multiplies the voice's own.
    fn speak(
        &mut self,
        voice: &Voice,
        sentences: &[Sentence],
        speed: f32,
        track: &mut Track<'_>,
    ) -> Result<(), SpeechError>;
}

/// The engines of this machine: those that could be opened, and why the others
/// could not.
pub struct Engines {
    open: Vec<Box<dyn Engine>>,
    unavailable: Vec<(String, String)>,
}

impl Engines {
    /// Opens every engine. One that cannot be opened does not keep the others
    /// from speaking. `test_voices` adds the voices for rehearsing failures.
    pub fn open(test_voices: bool) -> Self {
        let mut engines = Self {
            open: Vec::new(),
            unavailable: Vec::new(),
        };
        match espeak::Espeak::open() {
            Ok(espeak) => engines.open.push(Box::new(espeak)),
            Err(detail) => engines.unavailable.push((espeak::NAME.into(), detail)),
        }
        if test_voices {
            engines.open.push(Box::new(test::TestEngine::new()));
        }
        engines
    }

    /// The voices of all engines that are open.
    pub fn voices(&self) -> Vec<Voice> {
        let all = self.open.iter().flat_map(|engine| engine.voices());
        all.cloned().collect()
    }

    /// The engines that could not be opened, by name, each with what is
    /// missing and which package has it.
    pub fn unavailable(&self) -> Vec<(String, String)> {
        self.unavailable.clone()
    }

    /// The voice with this id.
    pub(super) fn voice(&self, id: &str) -> Result<Voice, SpeechError> {
        if let Some(voice) = self.open.iter().find_map(|engine| engine.voice(id)) {
            return Ok(voice);
        }
        let engine = id.split('/').next().unwrap_or_default();
        let closed = self.unavailable.iter().find(|(name, _)| name == engine);
        Err(match closed {
            Some((_, detail)) => SpeechError::EngineUnavailable {
                detail: detail.clone(),
            },
            None => SpeechError::UnknownVoice { voice: id.into() },
        })
    }

    /// Has the sentences spoken by the voice's engine.
    pub(super) fn speak(
        &mut self,
        voice: &Voice,
        sentences: &[Sentence],
        speed: f32,
        track: &mut Track<'_>,
    ) -> Result<(), SpeechError> {
        let mut open = self.open.iter_mut();
        match open.find(|engine| engine.name() == voice.engine) {
            Some(engine) => engine.speak(voice, sentences, speed, track),
            None => Err(SpeechError::UnknownVoice {
                voice: voice.id.clone(),
            }),
        }
    }
}
