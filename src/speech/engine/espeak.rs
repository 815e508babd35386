//! eSpeak NG as an engine: small, fast, and it speaks most languages.

use std::sync::Mutex;

use super::super::spoken::Spoken;
use super::super::text::Sentence;
use super::super::track::Tape;
use super::super::{SpeechError, Voice};
use super::alignment::{self, Event};
use super::libespeak::{self, LibEspeak, USUAL_RATE, VoiceFile, lock};
use super::{Engine, Manner};

pub(super) const NAME: &str = "espeak";

/// The fewest and most words a minute that eSpeak takes.
const RATE_LIMITS: (f32, f32) = (80.0, 450.0);

/// eSpeak keeps 160 bytes of a word and silently drops the rest. Forty code
/// points are never more.
const MAX_RUN: usize = 40;

/// eSpeak NG. All values share the one library of the process.
pub(super) struct Espeak {
    library: &'static Mutex<LibEspeak>,
    voices: Vec<Voice>,
    /// For each of the voices what selects it.
    identifiers: Vec<String>,
}

impl Espeak {
    /// Opens the library and its data. The error says what is missing and
    /// which package has it.
    pub(super) fn open() -> Result<Self, String> {
        let library = libespeak::open()?;
        let library_now = lock(library);
        let sample_rate_hz = library_now.sample_rate_hz();
        let (voices, identifiers) = library_now
            .voices()
            .into_iter()
            .map(|file| {
                let voice = voice(&file, sample_rate_hz, library_now.version());
                (voice, file.identifier)
            })
            .unzip();
        Ok(Self {
            library,
            voices,
            identifiers,
        })
    }

    fn identifier(&self, voice: &Voice) -> Result<&str, SpeechError> {
        let at = self.voices.iter().position(|known| known.id == voice.id);
        match at.and_then(|at| self.identifiers.get(at)) {
            Some(identifier) => Ok(identifier),
            None => Err(SpeechError::UnknownVoice {
                voice: voice.id.clone(),
            }),
        }
    }
}

impl Engine for Espeak {
    fn name(&self) -> &'static str {
        NAME
    }

    fn voices(&self) -> &[Voice] {
        &self.voices
    }

    fn speak(
        &mut self,
        voice: &Voice,
        sentences: &[Sentence],
        manner: &Manner,
        tape: &mut dyn Tape,
    ) -> Result<(), SpeechError> {
        let identifier = self.identifier(voice)?;
        let (slowest, fastest) = RATE_LIMITS;
        let rate = (USUAL_RATE as f32 * manner.speed)
            .round()
            .clamp(slowest, fastest) as u32;
        for sentence in sentences {
            if tape.has(sentence)? {
                continue;
            }
            let readable = Readable::new(&manner.spoken(sentence));
            let heard = lock(self.library)
                .speak(identifier, rate, &readable.text)
                .map_err(|detail| SpeechError::EngineFailed { detail })?;
            let events = readable.in_sentence(&heard.events);
            let words = alignment::align(sentence, &events, heard.pcm.len());
            tape.add(sentence, &heard.pcm, &words)?;
        }
        Ok(())
    }
}

/// A voice is named after its file, `aav/vi` → `espeak/vi`: the languages that
/// files claim are not unique.
fn voice(file: &VoiceFile, sample_rate_hz: u32, version: &str) -> Voice {
    let name = file.identifier.rsplit('/').next().unwrap_or_default();
    let gender = match file.gender {
        1 => Some("male".into()),
        2 => Some("female".into()),
        _ => None,
    };
    Voice {
        id: format!("{NAME}/{}", name.to_lowercase()),
        engine: NAME.into(),
        language: super::bcp_47(&file.language),
        name: file.name.replace('_', " ").trim().to_owned(),
        gender,
        sample_rate_hz,
        licence: Some("GPL-3.0-or-later".into()),
        speakers: Vec::new(),
        version: Some(version.to_owned()),
        is_costly: false,
    }
}

/// A sentence as eSpeak may be given it: with a blank wherever more than
/// [`MAX_RUN`] letters and digits would stand together.
struct Readable {
    text: String,
    /// For each code point of `text`, which one of the sentence it is.
    origins: Vec<usize>,
}

impl Readable {
    fn new(spoken: &Spoken) -> Self {
        let mut readable = Self {
            text: String::with_capacity(spoken.text.len()),
            origins: Vec::with_capacity(spoken.origins.len()),
        };
        let mut run = 0;
        for (at, c) in spoken.origins.iter().copied().zip(spoken.text.chars()) {
            run = if c.is_alphanumeric() { run + 1 } else { 0 };
            if run > MAX_RUN {
                readable.push(' ', at);
                run = 1;
            }
            readable.push(c, at);
        }
        readable
    }

    fn push(&mut self, c: char, origin: usize) {
        self.text.push(c);
        self.origins.push(origin);
    }

    /// The events with the positions of the sentence, those that point
    /// nowhere left out. eSpeak counts positions from 1.
    fn in_sentence(&self, events: &[Event]) -> Vec<Event> {
        let moved = events.iter().filter_map(|event| {
            let position = *self.origins.get(event.position.checked_sub(1)?)?;
            Some(Event { position, ..*event })
        });
        moved.collect()
    }
}
