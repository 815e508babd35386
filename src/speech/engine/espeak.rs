//! eSpeak NG as an engine: small, fast, and it speaks most languages.

use std::collections::BTreeMap;
use std::sync::Mutex;

use super::super::spoken::Spoken;
use super::super::text::{Sentence, is_blank};
use super::super::track::Tape;
use super::super::{SpeechError, Voice};
use super::alignment::{self, Event};
use super::espeak_text::EspeakText;
use super::libespeak::{self, LibEspeak, USUAL_RATE, VoiceFile, lock};
use super::mnemonics::Mnemonics;
use super::{Engine, Manner};

pub(super) const NAME: &str = "espeak";

/// The fewest and most words a minute that eSpeak takes.
const RATE_LIMITS: (f32, f32) = (80.0, 450.0);

/// eSpeak reads 800 bytes at once, and cuts what is longer anywhere, within
/// `[[…]]` too.
const MOST_BYTES: usize = 600;

/// eSpeak NG. All values share the one library of the process.
pub(super) struct Espeak {
    library: &'static Mutex<LibEspeak>,
    voices: Vec<Voice>,
    /// For each of the voices what selects it.
    identifiers: Vec<String>,
    /// The sounds of the last voice that was to say phonemes.
    sounds: Option<(String, Mnemonics)>,
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
            sounds: None,
        })
    }

    /// The sounds of a voice, of which one is kept, since asking for them takes
    /// longer than a sentence.
    fn sounds(&mut self, identifier: &str) -> Result<&Mnemonics, String> {
        let kept = self.sounds.take().filter(|(known, _)| known == identifier);
        let sounds = match kept {
            Some(kept) => kept,
            None => {
                let of_voice = Mnemonics::of(&mut lock(self.library), identifier)?;
                (identifier.to_owned(), of_voice)
            }
        };
        Ok(&self.sounds.insert(sounds).1)
    }

    /// What of a sentence is phonemes, by eSpeak's own names, at their places in
    /// the text that is read.
    fn mnemonics(&mut self, identifier: &str, spoken: &Spoken) -> Result<Sounds, SpeechError> {
        if spoken.sounds.is_empty() {
            return Ok(Sounds::new());
        }
        let sounds = self
            .sounds(identifier)
            .map_err(|detail| SpeechError::EngineFailed { detail })?;
        let named = |(at, ipa): (&usize, &String)| match sounds.of_ipa(ipa) {
            Ok(names) => Ok((*at, names)),
            Err(symbol) => Err(super::no_sound(symbol, &sounds.known(symbol))),
        };
        spoken.sounds.iter().map(named).collect()
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

    fn can_say(&mut self, voice: &Voice, phonemes: &str) -> Result<(), SpeechError> {
        let identifier = self.identifier(voice)?.to_owned();
        let spoken = Spoken {
            sounds: [(0, phonemes.to_owned())].into(),
            ..Spoken::default()
        };
        self.mnemonics(&identifier, &spoken).map(|_| ())
    }

    fn speak(
        &mut self,
        voice: &Voice,
        sentences: &[Sentence],
        manner: &Manner,
        tape: &mut dyn Tape,
    ) -> Result<(), SpeechError> {
        let identifier = self.identifier(voice)?.to_owned();
        let (slowest, fastest) = RATE_LIMITS;
        let rate = (USUAL_RATE as f32 * manner.speed)
            .round()
            .clamp(slowest, fastest) as u32;
        for sentence in sentences {
            if tape.has(sentence)? {
                continue;
            }
            let spoken = manner.spoken(sentence);
            let sounds = self.mnemonics(&identifier, &spoken)?;
            let (mut pcm, mut events) = (Vec::new(), Vec::new());
            for part in readable(&spoken, &sounds) {
                let heard = lock(self.library)
                    .speak(&identifier, rate, &part, !sounds.is_empty())
                    .map_err(|detail| SpeechError::EngineFailed { detail })?;
                events.extend(in_sentence(&part, &heard.events, pcm.len()));
                pcm.extend(heard.pcm);
            }
            let words = alignment::align(sentence, &events, pcm.len());
            tape.add(sentence, &pcm, &words)?;
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

/// Phonemes by eSpeak's own names, at their places in the text that is read.
type Sounds = BTreeMap<usize, String>;

/// A sentence as eSpeak is given it, with the names of phonemes in `[[…]]`. It is
/// one part, unless those names make it too long.
fn readable(spoken: &Spoken, sounds: &Sounds) -> Vec<EspeakText> {
    let (mut parts, mut part) = (Vec::new(), EspeakText::default());
    let mut cut_before = |part: &mut EspeakText, bytes: usize| {
        if !sounds.is_empty() && part.len() + bytes > MOST_BYTES {
            parts.push(std::mem::take(part));
        }
    };
    let mut behind_sounds = false;
    for (at, (&origin, c)) in spoken.origins.iter().zip(spoken.text.chars()).enumerate() {
        if let Some(names) = sounds.get(&at) {
            // eSpeak sees `[[` only at the start of a word.
            for word in names.split(' ') {
                cut_before(&mut part, word.len());
                part.push(' ', origin);
                part.push_phonemes(word, origin);
            }
            behind_sounds = true;
            continue;
        }
        // A mark that is parted from what it ends would end nothing.
        if std::mem::take(&mut behind_sounds) && !".,;:?!…".contains(c) {
            part.push(' ', origin);
        }
        if is_blank(c) {
            cut_before(&mut part, 0);
        }
        // What people write in brackets is text.
        let is_bracket = c == '[' && !sounds.is_empty();
        part.push(if is_bracket { '(' } else { c }, origin);
    }
    parts.push(part);
    parts
}

/// The events of a part with the positions of the sentence, those that point
/// nowhere left out; the part begins at `sample`. eSpeak counts positions from 1.
fn in_sentence(part: &EspeakText, events: &[Event], sample: usize) -> Vec<Event> {
    let moved = events.iter().filter_map(|event| {
        Some(Event {
            position: part.origin(event.position.checked_sub(1)?)?,
            sample: sample + event.sample,
        })
    });
    moved.collect()
}
