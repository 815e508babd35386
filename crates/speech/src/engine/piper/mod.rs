//! Piper as an engine: neural voices, one model file each.
//!
//! sentence → words that are read → phonemes → numbers → model → samples, with
//! the time of every phoneme from the model itself.
//!
//! What a model expects is described by Piper (OHF-Voice/piper1-gpl, its
//! `docs` and `src/piper/phoneme_ids.py`).

mod files;
mod model;
mod phonemes;
mod voice;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use hoiam_synthesizer::engines::Setup;
use hoiam_synthesizer::voice_files::{closed, find};
use hoiam_text::ipa;
use hoiam_text::nfc::Composed;
use hoiam_text::normalize::{Language, NormalizedText};
use hoiam_text::pronunciations::Dictionary;
use hoiam_text::segmentation::{self, Sentence};
use hoiam_text::{SpeechError, Voice};

pub use files::{FilesError, check};
use files::{licence, read, version};
pub use model::prepared_for_onnx_runtime;

use super::super::sink::SentenceSink;
use super::alignment::{self, Event};
use super::libespeak::{self, LibEspeak, LibEspeakError, lock};
use super::{Engine, SpeakOptions, failed};
use model::{Model, Runtime};
use voice::{Alphabet, VoiceConfig};

/// The part of a voice's id before the slash.
pub const NAME: &str = "piper";

/// What is missing where neural voices are spoken by rten. Nothing else is lost by it.
pub const ONNX_RUNTIME: &str = "onnxruntime";

/// The most symbols that a network is given at once: twelve seconds or so of
/// sound. What it holds meanwhile grows with them, to 0.4 GB here.
const MOST_SYMBOLS: usize = 160;

/// The most numbers that may stand for them: two for a symbol, and more where one
/// stands for several.
const MOST_NUMBERS: usize = 512;

/// Loads the library that runs networks, if it is not built in.
pub(super) fn load_library(setup: &Setup) {
    Runtime::load_library(setup.onnxruntime_library.as_deref());
}

/// What a network is given of a text if its phonemes are those of eSpeak NG's voice of
/// this name (`vi`), sentence by sentence: symbols in NFD.
///
/// # Errors
///
/// Where the library or its voice is not there.
pub fn symbols(espeak_voice: &str, text: &str) -> Result<Vec<String>, SpeechError> {
    let voice = espeak_voice.to_owned();
    let alphabet = Alphabet::Espeak { voice };
    let reader = Reader::open(&alphabet)?;
    let language = Language::of(espeak_voice);
    let symbols = |sentence: Sentence| {
        let spoken = NormalizedText::of(&sentence.text, language, &Dictionary::default());
        let read = reader.read(&sentence, &spoken);
        Ok(read.map_err(failed)?.symbols.into_iter().collect())
    };
    let sentences = segmentation::sentences(&Composed::of(text).text).into_iter();
    sentences.map(symbols).collect()
}

/// Neural voices, of which the last one used is in memory.
pub(super) struct Piper {
    installed: Vec<Installed>,
    voices: Vec<Voice>,
    runtime: Runtime,
    threads: usize,
    loaded: Option<Loaded>,
}

struct Installed {
    model: PathBuf,
    config: VoiceConfig,
}

/// A model takes a quarter of a second to load and up to 200 MB, so one is kept
/// and no more.
struct Loaded {
    path: PathBuf,
    model: Box<dyn Model>,
}

impl Piper {
    /// The voices in a folder, and for each that cannot be used its id and why;
    /// and for ONNX Runtime, where it could not be opened for them.
    pub(super) fn open(folder: &Path, setup: &Setup) -> (Self, Vec<(String, String)>) {
        let mut piper = Self {
            installed: Vec::new(),
            voices: Vec::new(),
            runtime: Runtime::Rten,
            threads: setup.threads.max(1),
            loaded: None,
        };
        let closed = closed(folder).into_iter().map(|closed| {
            let path = &closed.path;
            let name = path.strip_prefix(folder).unwrap_or(path).display();
            let id = format!("{NAME}/{name}").trim_end_matches('/').to_owned();
            (id, closed.to_string())
        });
        let mut unavailable: Vec<(String, String)> = closed.collect();
        for files in find(folder) {
            let id = format!("{NAME}/{}", files.name);
            match read(&files) {
                Ok(config) => {
                    piper.voices.push(Voice {
                        version: version(&files),
                        ..config.describe(id, licence(&files))
                    });
                    piper.installed.push(Installed {
                        model: files.model,
                        config,
                    });
                }
                Err(error) => unavailable.push((id, error.to_string())),
            }
        }
        // It takes memory, so it is opened only for somebody.
        if !piper.installed.is_empty() {
            let (runtime, error) = Runtime::open(setup.onnxruntime_library.as_deref());
            piper.runtime = runtime;
            unavailable.extend(error.map(|detail| (ONNX_RUNTIME.to_owned(), detail)));
        }
        (piper, unavailable)
    }

    /// The voice's place in `installed`, and the number of the speaker that its
    /// id names.
    fn find(&self, id: &str) -> Option<(usize, Option<i32>)> {
        let at = |id: &str| self.voices.iter().position(|voice| voice.id == id);
        if let Some(found) = at(id) {
            let config = &self.installed.get(found)?.config;
            return Some((found, config.first_speaker()));
        }
        let (id, speaker) = id.rsplit_once(':')?;
        let found = at(id)?;
        let speaker = self.installed.get(found)?.config.speaker(speaker)?;
        Some((found, Some(speaker)))
    }

    fn loaded(&mut self, path: &Path) -> Result<&dyn Model, SpeechError> {
        // Another one goes first: two do not fit in the child's memory.
        let kept = self.loaded.take().filter(|loaded| loaded.path == path);
        let loaded = match kept {
            Some(loaded) => loaded,
            None => {
                // It may be gone, or not the file that this child was let read: a child
                // that is started later knows what there is then.
                File::open(path).map_err(|error| SpeechError::EngineUnavailable {
                    detail: format!("{} cannot be opened: {error}", path.display()),
                })?;
                let model = self.runtime.load(path, self.threads);
                Loaded {
                    path: path.to_owned(),
                    model: model.map_err(failed)?,
                }
            }
        };
        Ok(self.loaded.insert(loaded).model.as_ref())
    }
}

impl Engine for Piper {
    fn name(&self) -> &'static str {
        NAME
    }

    fn voices(&self) -> &[Voice] {
        &self.voices
    }

    fn voice(&self, id: &str) -> Option<Voice> {
        let (at, _) = self.find(id)?;
        Some(Voice {
            id: id.to_owned(),
            ..self.voices.get(at)?.clone()
        })
    }

    fn can_say(&mut self, voice: &Voice, phonemes: &str) -> Result<(), SpeechError> {
        let unknown = || SpeechError::UnknownVoice {
            voice: voice.id.clone(),
        };
        let (at, _) = self.find(&voice.id).ok_or_else(unknown)?;
        let config = &self.installed.get(at).ok_or_else(unknown)?.config;
        if config.alphabet == Alphabet::Text {
            let detail = "this voice reads letters and knows no phonemes".to_owned();
            return Err(SpeechError::UnknownPhonemes { detail });
        }
        match config.unknown(&ipa::symbols(phonemes)) {
            Some(symbol) => Err(super::no_sound(symbol, &config.known())),
            None => Ok(()),
        }
    }

    fn speak(
        &mut self,
        voice: &Voice,
        sentences: &[Sentence],
        options: &SpeakOptions,
        sink: &mut dyn SentenceSink,
    ) -> Result<(), SpeechError> {
        let unknown = || SpeechError::UnknownVoice {
            voice: voice.id.clone(),
        };
        let (at, speaker) = self.find(&voice.id).ok_or_else(unknown)?;
        let installed = self.installed.get(at).ok_or_else(unknown)?;
        let (path, config) = (installed.model.clone(), installed.config.clone());
        let reader = Reader::open(&config.alphabet);
        let scales = config.scales(options.speed);
        for sentence in sentences {
            if sink.has(sentence)? {
                continue;
            }
            // Not before: who only puts together what others speak needs none.
            let model = self.loaded(&path)?;
            let reader = reader.as_ref().map_err(SpeechError::clone)?;
            let spoken = options.spoken(sentence);
            let read = reader.read(sentence, &spoken).map_err(failed)?;
            let (mut samples, mut events) = (Vec::new(), Vec::new());
            for part in read.parts(MOST_SYMBOLS) {
                let ids = config.ids(&part.symbols);
                if ids.is_silent() {
                    continue;
                }
                if ids.ids.len() > MOST_NUMBERS {
                    return Err(failed("the voice has too many numbers for its symbols"));
                }
                let made = model.speak(&ids.ids, scales, speaker).map_err(failed)?;
                events.extend(part.words.iter().filter_map(|word| {
                    Some(Event {
                        position: *spoken.origins.get(word.position)?,
                        sample: samples.len() + made.starts_at(ids.place(word.symbol)?),
                    })
                }));
                samples.extend(made.samples);
            }
            let pcm = at_full_scale(&samples);
            let words = alignment::align(sentence, &events, pcm.len());
            sink.add(sentence, &pcm, &words)?;
        }
        Ok(())
    }
}

/// What turns words into the symbols that a model knows.
enum Reader<'a> {
    Phonemes {
        library: &'static Mutex<LibEspeak>,
        voice: &'a str,
    },
    Letters,
}

impl<'a> Reader<'a> {
    fn open(alphabet: &'a Alphabet) -> Result<Self, SpeechError> {
        match alphabet {
            Alphabet::Espeak { voice } => match libespeak::open() {
                Ok(library) => Ok(Self::Phonemes { library, voice }),
                Err(error) => Err(SpeechError::EngineUnavailable {
                    detail: error.to_string(),
                }),
            },
            Alphabet::Text => Ok(Self::Letters),
        }
    }

    fn read(
        &self,
        sentence: &Sentence,
        spoken: &NormalizedText,
    ) -> Result<phonemes::Read, LibEspeakError> {
        match self {
            Self::Letters => Ok(phonemes::letters(sentence, spoken)),
            Self::Phonemes { library, voice } => {
                let mut library = lock(library);
                phonemes::read(sentence, spoken, &mut |text, mnemonics| {
                    library.phonemes(voice, text, mnemonics)
                })
            }
        }
    }
}

/// 16 bit, with the loudest sample at full scale: networks differ in how loud
/// they speak, and Piper evens it out so.
fn at_full_scale(samples: &[f32]) -> Vec<i16> {
    let loudest = samples.iter().fold(0.0_f32, |most, at| most.max(at.abs()));
    if !loudest.is_finite() || loudest < 1e-8 {
        return vec![0; samples.len()];
    }
    let scale = f32::from(i16::MAX) / loudest;
    samples
        .iter()
        .map(|sample| (sample * scale) as i16)
        .collect()
}

#[cfg(test)]
mod tests;
