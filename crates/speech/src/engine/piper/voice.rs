//! What is written beside a model: which sounds it knows, and how it speaks.

use std::collections::BTreeMap;

use hoiam_text::Voice;
use hoiam_text::ipa::{self, is_shade, is_stress};
use serde::Deserialize;
use unicode_normalization::UnicodeNormalization;

/// The symbols around a sentence and between its sounds, by their names in the
/// table of each voice.
const BEGIN: &str = "^";
const END: &str = "$";
const PAD: &str = "_";

/// What a description may have: far more than those of Piper's own voices, and so
/// little that many of them together do not fill a child's memory.
const MAX_SYMBOLS: usize = 4096;
const MAX_SYMBOL_CHARS: usize = 16;
/// Numbers of a symbol, and symbols in place of one.
const MAX_PARTS: usize = 8;
const MAX_NUMBER: i32 = 65_535;
const MAX_SPEAKERS: u32 = 10_000;
/// Of all speakers together.
const MAX_SPEAKER_NAMES_BYTES: usize = 128 << 10;
const MAX_NAME_CHARS: usize = 100;
/// eSpeak NG copies the names of voices into buffers of about this size.
const MAX_ESPEAK_BYTES: usize = 40;

/// The description of a voice.
#[derive(Debug, Clone)]
pub(super) struct VoiceConfig {
    pub alphabet: Alphabet,
    sample_rate_hz: u32,
    language: String,
    quality: Option<String>,
    noise_scale: f32,
    length_scale: f32,
    noise_w: f32,
    /// The numbers of each symbol; a symbol may be several characters.
    ids: BTreeMap<String, Vec<i32>>,
    /// The longest symbol, in characters.
    longest: usize,
    /// What a symbol is replaced with before it is looked up.
    replaced: BTreeMap<String, Vec<String>>,
    speakers: BTreeMap<String, i32>,
    speaker_count: u32,
}

/// What a voice's symbols are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Alphabet {
    /// IPA, as eSpeak NG writes it with this voice.
    Espeak {
        /// Such as `en-us`.
        voice: String,
    },
    /// The letters of the text.
    Text,
}

/// What is wrong with a description.
#[derive(Debug, thiserror::Error)]
pub enum VoiceConfigError {
    /// Another file, or one that was cut off.
    #[error("not the description of a Piper voice: {0}")]
    NotOne(#[from] serde_json::Error),
    /// Of something that is counted.
    #[error("more than {most} {what}")]
    TooMany {
        /// Of what, for people.
        what: &'static str,
        /// How many there may be.
        most: usize,
    },
    /// The text of this key is longer than any that is shown.
    #[error("more than {MAX_NAME_CHARS} characters in `{0}`")]
    LongText(&'static str),
    /// The text of this key would change the terminal that it is shown in.
    #[error("`{0}` has control characters")]
    ControlCharacters(&'static str),
    /// One of the three scales.
    #[error("`inference` is beyond what any voice speaks with")]
    Inference,
    /// No network takes it.
    #[error("a symbol's number is not one of 0 to {MAX_NUMBER}")]
    SymbolNumber,
    /// Nobody could ask for the speaker.
    #[error("the name of a speaker has `:`, which parts it from the voice's")]
    SpeakerName,
    /// A name stands for a number that no speaker has.
    #[error("there is no speaker {0}")]
    NoSpeaker(i32),
    /// One that every sentence needs.
    #[error("`phoneme_id_map` has no `{0}`")]
    NoSymbol(&'static str),
    /// In hertz.
    #[error("a sample rate of {0} Hz is not supported")]
    SampleRate(u32),
    /// Nothing says how to make phonemes.
    #[error("`espeak.voice` is missing")]
    NoEspeakVoice,
    /// Of another kind than those that can be made here.
    #[error("symbols of the type `{0}` are not supported; `espeak` and `text` are")]
    SymbolType(String),
}

use VoiceConfigError::TooMany;

/// The file as it is written; what is not used here is left out.
#[derive(Deserialize)]
struct File {
    audio: Audio,
    #[serde(default)]
    espeak: Option<EspeakVoice>,
    #[serde(default)]
    language: Option<LanguageCode>,
    #[serde(default)]
    inference: Inference,
    #[serde(default)]
    phoneme_type: Option<String>,
    #[serde(default)]
    phoneme_map: BTreeMap<String, Vec<String>>,
    phoneme_id_map: BTreeMap<String, Vec<i32>>,
    #[serde(default)]
    num_speakers: u32,
    #[serde(default)]
    speaker_id_map: BTreeMap<String, i32>,
}

#[derive(Deserialize)]
struct Audio {
    sample_rate: u32,
    quality: Option<String>,
}

#[derive(Deserialize)]
struct EspeakVoice {
    voice: String,
}

#[derive(Deserialize)]
struct LanguageCode {
    code: String,
}

impl File {
    /// A description may come from anywhere.
    fn check_bounds(&self) -> Result<(), VoiceConfigError> {
        check_symbols(self)?;
        check_speakers(self)?;
        let Inference {
            noise_scale,
            length_scale,
            noise_w,
        } = self.inference;
        let is_usable = |scale, most| (0.0..=most).contains(&scale);
        let are_usable = is_usable(noise_scale, 10.0) && is_usable(noise_w, 10.0);
        if !are_usable || !(0.1..=10.0).contains(&length_scale) {
            return Err(VoiceConfigError::Inference);
        }
        let texts = [
            ("audio.quality", &self.audio.quality),
            ("phoneme_type", &self.phoneme_type),
        ];
        for (key, text) in texts {
            check_name(key, text.as_deref().unwrap_or_default())?;
        }
        if let Some(language) = &self.language {
            check_name("language.code", &language.code)?;
        }
        match &self.espeak {
            Some(espeak) if espeak.voice.len() > MAX_ESPEAK_BYTES => Err(TooMany {
                what: "bytes in `espeak.voice`",
                most: MAX_ESPEAK_BYTES,
            }),
            Some(espeak) => check_name("espeak.voice", &espeak.voice),
            None => Ok(()),
        }
    }
}

fn check_symbols(file: &File) -> Result<(), VoiceConfigError> {
    let too_many = |what, most| Err(TooMany { what, most });
    let (ids, replaced) = (&file.phoneme_id_map, &file.phoneme_map);
    if ids.len() > MAX_SYMBOLS || replaced.len() > MAX_SYMBOLS {
        return too_many("symbols", MAX_SYMBOLS);
    }
    let parts = ids.values().map(Vec::len);
    if parts.chain(replaced.values().map(Vec::len)).max() > Some(MAX_PARTS) {
        return too_many("parts of one symbol", MAX_PARTS);
    }
    let symbols = ids.keys().chain(replaced.keys());
    let mut symbols = symbols.chain(replaced.values().flatten());
    if symbols.any(|symbol| symbol.chars().count() > MAX_SYMBOL_CHARS) {
        return too_many("characters in one symbol", MAX_SYMBOL_CHARS);
    }
    let mut numbers = ids.values().flatten();
    if numbers.any(|number| !(0..=MAX_NUMBER).contains(number)) {
        return Err(VoiceConfigError::SymbolNumber);
    }
    Ok(())
}

fn check_speakers(file: &File) -> Result<(), VoiceConfigError> {
    let too_many = |what, most| Err(TooMany { what, most });
    let speakers = &file.speaker_id_map;
    if file.num_speakers > MAX_SPEAKERS || speakers.len() > MAX_SPEAKERS as usize {
        return too_many("speakers", MAX_SPEAKERS as usize);
    }
    for (name, number) in speakers {
        check_name("speaker_id_map", name)?;
        if name.contains(':') {
            return Err(VoiceConfigError::SpeakerName);
        }
        let is_known = u32::try_from(*number).is_ok_and(|number| number < file.num_speakers);
        if file.num_speakers > 1 && !is_known {
            return Err(VoiceConfigError::NoSpeaker(*number));
        }
    }
    if speakers.keys().map(String::len).sum::<usize>() > MAX_SPEAKER_NAMES_BYTES {
        return too_many("bytes of speakers' names", MAX_SPEAKER_NAMES_BYTES);
    }
    Ok(())
}

/// What is shown in lists, in terminals and in logs.
fn check_name(key: &'static str, name: &str) -> Result<(), VoiceConfigError> {
    if name.chars().count() > MAX_NAME_CHARS {
        return Err(VoiceConfigError::LongText(key));
    }
    if name.chars().any(char::is_control) {
        return Err(VoiceConfigError::ControlCharacters(key));
    }
    Ok(())
}

/// The defaults are Piper's own.
#[derive(Deserialize)]
#[serde(default)]
struct Inference {
    noise_scale: f32,
    length_scale: f32,
    noise_w: f32,
}

impl Default for Inference {
    fn default() -> Self {
        Self {
            noise_scale: 0.667,
            length_scale: 1.0,
            noise_w: 0.8,
        }
    }
}

impl VoiceConfig {
    /// Reads a description.
    pub(super) fn parse(text: &str) -> Result<Self, VoiceConfigError> {
        let file: File = serde_json::from_str(text)?;
        file.check_bounds()?;
        for symbol in [BEGIN, END, PAD] {
            if !file.phoneme_id_map.contains_key(symbol) {
                return Err(VoiceConfigError::NoSymbol(symbol));
            }
        }
        if !(8_000..=48_000).contains(&file.audio.sample_rate) {
            return Err(VoiceConfigError::SampleRate(file.audio.sample_rate));
        }
        let voice = file.espeak.map(|espeak| espeak.voice);
        let alphabet = match (file.phoneme_type.as_deref(), &voice) {
            (None | Some("espeak"), Some(voice)) => Alphabet::Espeak {
                voice: voice.clone(),
            },
            (None | Some("espeak"), None) => return Err(VoiceConfigError::NoEspeakVoice),
            (Some("text"), _) => Alphabet::Text,
            (Some(other), _) => return Err(VoiceConfigError::SymbolType(other.to_owned())),
        };
        let code = file.language.map(|language| language.code);
        let language = code.or(voice).unwrap_or_else(|| "und".to_owned());
        let longest = file.phoneme_id_map.keys().map(|key| key.chars().count());
        Ok(Self {
            alphabet,
            sample_rate_hz: file.audio.sample_rate,
            language: super::super::bcp_47(&language.replace('_', "-")),
            quality: file.audio.quality,
            noise_scale: file.inference.noise_scale,
            length_scale: file.inference.length_scale,
            noise_w: file.inference.noise_w,
            longest: longest.max().unwrap_or(1),
            ids: file.phoneme_id_map,
            replaced: file.phoneme_map,
            speakers: file.speaker_id_map,
            speaker_count: file.num_speakers,
        })
    }

    /// As it is shown in lists.
    pub(super) fn describe(&self, id: String, licence: Option<String>) -> Voice {
        // `vi_VN-vais1000-medium` is the voice of vais1000.
        let own = id.split('-').nth(1).unwrap_or(&id).replace('_', " ");
        let mut name = match &self.quality {
            Some(quality) => format!("{own}, {quality}"),
            None => own,
        };
        if self.speaker_count > 1 {
            name = format!("{name}, {} speakers", self.speaker_count);
        }
        Voice {
            id,
            engine: super::NAME.to_owned(),
            language: self.language.clone(),
            name,
            gender: None,
            sample_rate_hz: self.sample_rate_hz,
            licence,
            speakers: self.speaker_names(),
            version: None,
            is_costly: true,
        }
    }

    /// By number where they have no names; none for a voice of one speaker.
    fn speaker_names(&self) -> Vec<String> {
        if self.speaker_count <= 1 {
            return Vec::new();
        }
        if self.speakers.is_empty() {
            return (0..self.speaker_count)
                .map(|number| number.to_string())
                .collect();
        }
        let mut names: Vec<(&String, &i32)> = self.speakers.iter().collect();
        names.sort_by_key(|(_, number)| **number);
        names.into_iter().map(|(name, _)| name.clone()).collect()
    }

    /// Who speaks where nobody is named; `None` for a voice of one speaker,
    /// whose model does not ask.
    pub(super) fn first_speaker(&self) -> Option<i32> {
        (self.speaker_count > 1).then(|| self.speakers.values().min().copied().unwrap_or(0))
    }

    /// The number of one of the [`Self::speaker_names`].
    pub(super) fn speaker(&self, name: &str) -> Option<i32> {
        if !self.speaker_names().iter().any(|known| known == name) {
            return None;
        }
        let by_name = self.speakers.get(name).copied();
        by_name.or_else(|| name.parse().ok())
    }

    /// Noise, length and noise of the length, in the order in which a model
    /// takes them.
    pub(super) fn scales(&self, speed: f32) -> [f32; 3] {
        [self.noise_scale, self.length_scale / speed, self.noise_w]
    }

    /// The numbers that stand for these symbols: begin, pad, then each symbol
    /// followed by a pad, then end. Symbols that the voice does not know are
    /// left out.
    pub(super) fn ids(&self, symbols: &[char]) -> Ids {
        let none = Vec::new();
        let own = |symbol: &str| self.ids.get(symbol).unwrap_or(&none);
        let mut ids = [own(BEGIN).as_slice(), own(PAD).as_slice()].concat();
        let mut places = Vec::with_capacity(symbols.len());
        let mut known = 0;
        let mut at = 0;
        while at < symbols.len() {
            let (length, found) = self.longest_match(&symbols[at..]);
            places.extend(std::iter::repeat_n(ids.len(), length));
            known += usize::from(!found.is_empty() && symbols[at] != ' ');
            for id in found {
                ids.push(id);
                ids.extend(own(PAD));
            }
            at += length;
        }
        ids.extend(own(END));
        Ids { ids, places, known }
    }

    /// The first symbol that is neither in the table nor can be done without.
    pub(super) fn unknown(&self, symbols: &[char]) -> Option<char> {
        let mut rest = symbols;
        while let Some(first) = rest.first() {
            let (length, found) = self.longest_match(rest);
            if found.is_empty() && !is_shade(*first) && !is_stress(*first) && *first != ' ' {
                return Some(*first);
            }
            rest = &rest[length..];
        }
        None
    }

    /// The letters of the table, for people who look for another one.
    pub(super) fn known(&self) -> String {
        let letters = self.ids.keys().filter(|symbol| ipa::is_ipa(symbol));
        letters.map(String::as_str).collect::<Vec<_>>().join(" ")
    }

    /// How many of the symbols are one in the table, and its numbers.
    fn longest_match(&self, symbols: &[char]) -> (usize, Vec<i32>) {
        for length in (1..=self.longest.min(symbols.len())).rev() {
            let symbol: String = symbols[..length].iter().collect();
            if let Some(parts) = self.replaced.get(&symbol) {
                let ids = parts.iter().filter_map(|part| self.ids.get(part));
                return (length, ids.flatten().copied().collect());
            }
            let small = || {
                self.ids
                    .get(&symbol.to_lowercase().nfd().collect::<String>())
            };
            if let Some(ids) = self.ids.get(&symbol).or_else(small) {
                return (length, ids.clone());
            }
        }
        (1, Vec::new())
    }
}

/// A sentence in numbers.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Ids {
    /// What a model is given.
    pub ids: Vec<i32>,
    /// For each symbol where its numbers begin.
    places: Vec<usize>,
    /// How many symbols the voice knew, blanks left out.
    known: usize,
}

impl Ids {
    /// Nothing of the sentence has a sound in this voice.
    pub(super) fn is_silent(&self) -> bool {
        self.known == 0
    }

    /// Where the numbers of this symbol begin.
    pub(super) fn place(&self, symbol: usize) -> Option<usize> {
        self.places.get(symbol).copied()
    }
}
