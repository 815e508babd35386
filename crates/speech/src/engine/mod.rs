//! What makes sound of sentences.

mod alignment;
mod espeak;
mod espeak_text;
mod libespeak;
mod mnemonics;
pub mod piper;
mod test;

use std::path::Path;

use hoiam_synthesizer::engines::{Files, Setup};
use hoiam_synthesizer::voice_files;
use hoiam_text::normalize::{Language, NormalizedText};
use hoiam_text::pronunciations::Dictionary;
use hoiam_text::segmentation::Sentence;
use hoiam_text::{SpeechError, Voice};

use super::sink::SentenceSink;

/// How a text is to be spoken.
pub(super) struct SpeakOptions {
    /// Multiplies the voice's own speed.
    pub speed: f32,
    /// Whose rules say how numbers and the like are read.
    pub language: Option<Language>,
    /// What comes before the rules.
    pub dictionary: Dictionary,
}

impl SpeakOptions {
    /// A sentence as it is read.
    fn spoken(&self, sentence: &Sentence) -> NormalizedText {
        NormalizedText::of(&sentence.text, self.language, &self.dictionary)
    }
}

/// Something that speaks. It puts each sentence on the [`SentenceSink`] as soon as
/// the sentence is spoken, and leaves out those that the sink has already.
trait Engine: Send {
    /// The part of a voice's id before the slash.
    fn name(&self) -> &'static str;

    /// Every voice worth showing in a list.
    fn voices(&self) -> &[Voice];

    /// The voice with this id, if the engine has it.
    fn voice(&self, id: &str) -> Option<Voice> {
        self.voices().iter().find(|voice| voice.id == id).cloned()
    }

    /// Whether a voice has sounds for phonemes (IPA); else
    /// [`SpeechError::UnknownPhonemes`] with why not.
    fn can_say(&mut self, voice: &Voice, phonemes: &str) -> Result<(), SpeechError>;

    /// Speaks all sentences in order.
    fn speak(
        &mut self,
        voice: &Voice,
        sentences: &[Sentence],
        options: &SpeakOptions,
        sink: &mut dyn SentenceSink,
    ) -> Result<(), SpeechError>;
}

/// Loads the libraries of these engines, and says which files they read: wherever the
/// loader finds them, and whatever they are linked with, no more of that has to be opened
/// later. It starts no thread.
#[must_use]
pub fn load_libraries(setup: &Setup) -> Files {
    let mut files = Files::default();
    files.read.extend(libespeak::load_and_find_data());
    if let Some(folder) = &setup.voices_dir {
        let voices = voice_files::find(folder);
        if !voices.is_empty() {
            piper::load_library(setup);
        }
        files
            .read
            .extend(voices.iter().flat_map(|voice| voice.all()));
        files.listed.push(folder.clone());
        // A folder of a voice's own may be a link to elsewhere.
        let own = voices.iter().filter_map(|voice| voice.model.parent());
        files.listed.extend(own.map(Path::to_owned));
    }
    files
}

/// The engines of this machine: those that could be opened, and why the others
/// could not.
pub struct Engines {
    open: Vec<Box<dyn Engine>>,
    unavailable: Vec<(String, String)>,
}

impl Engines {
    /// Opens every engine. One that cannot be opened does not keep the others
    /// from speaking.
    pub fn open(setup: &Setup) -> Self {
        let mut engines = Self {
            open: Vec::new(),
            unavailable: Vec::new(),
        };
        match espeak::Espeak::open() {
            Ok(espeak) => engines.open.push(Box::new(espeak)),
            Err(error) => engines
                .unavailable
                .push((espeak::NAME.into(), error.to_string())),
        }
        if let Some(folder) = &setup.voices_dir {
            let (piper, unavailable) = piper::Piper::open(folder, setup);
            engines.open.push(Box::new(piper));
            engines.unavailable.extend(unavailable);
        }
        if setup.test_voices {
            let voices_dir = setup.voices_dir.as_deref();
            engines
                .open
                .push(Box::new(test::TestEngine::open(voices_dir)));
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
        let mut closed = self.unavailable.iter();
        let closed = closed.find(|(name, _)| name == engine || name == id);
        Err(match closed {
            Some((_, detail)) => SpeechError::EngineUnavailable {
                detail: detail.clone(),
            },
            None => SpeechError::UnknownVoice { voice: id.into() },
        })
    }

    /// Whether the voice has sounds for phonemes.
    pub(super) fn can_say(&mut self, voice: &Voice, phonemes: &str) -> Result<(), SpeechError> {
        self.engine(voice)?.can_say(voice, phonemes)
    }

    /// Has the sentences spoken by the voice's engine.
    pub(super) fn speak(
        &mut self,
        voice: &Voice,
        sentences: &[Sentence],
        options: &SpeakOptions,
        sink: &mut dyn SentenceSink,
    ) -> Result<(), SpeechError> {
        self.engine(voice)?.speak(voice, sentences, options, sink)
    }

    fn engine(&mut self, voice: &Voice) -> Result<&mut Box<dyn Engine>, SpeechError> {
        let mut open = self.open.iter_mut();
        open.find(|engine| engine.name() == voice.engine)
            .ok_or_else(|| SpeechError::UnknownVoice {
                voice: voice.id.clone(),
            })
    }
}

/// What an engine cannot do, as its child tells it.
fn failed(why: impl std::fmt::Display) -> SpeechError {
    SpeechError::EngineFailed {
        detail: why.to_string(),
    }
}

/// A voice has no sound for a symbol of phonemes; `known` are those it has.
fn no_sound(symbol: char, known: &str) -> SpeechError {
    SpeechError::UnknownPhonemes {
        detail: format!("this voice has no sound for `{symbol}`; it has {known}"),
    }
}

/// A language tag in the case that RFC 5646, section 2.1.1, recommends: regions
/// in capitals, scripts with one, the rest small, and all small after a
/// singleton (`vi-VN-x-south`).
fn bcp_47(tag: &str) -> String {
    let mut parts: Vec<String> = tag.split('-').map(str::to_lowercase).collect();
    let plain = parts
        .iter()
        .position(|part| part.len() == 1)
        .unwrap_or(parts.len());
    for part in parts.iter_mut().take(plain).skip(1) {
        match part.len() {
            2 => part.make_ascii_uppercase(),
            4 if part.is_ascii() => part[..1].make_ascii_uppercase(),
            _ => {}
        }
    }
    parts.join("-")
}
