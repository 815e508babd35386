//! What a text is read as: dates, times, money, units and abbreviations as the
//! words that a reader says.
//!
//! Engines read letter by letter what people read as words (`8h30`, `5kg`,
//! `TP.HCM`). The rules of a language find such places; everything else stays
//! as it is. Each reading keeps where it stands in the source, so that subtitles
//! show what was written, at the time when it is heard.

mod english;
mod rules;
mod vietnamese;

use std::collections::BTreeMap;

use crate::pronunciations::{Dictionary, Replacement, Said};

/// A language that has rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    /// `vi` and its regions.
    Vietnamese,
    /// `en` and its regions.
    English,
}

impl Language {
    /// By a BCP 47 tag; `None` for a language that has no rules.
    pub fn of(tag: &str) -> Option<Self> {
        match tag.split('-').next().unwrap_or_default() {
            tag if tag.eq_ignore_ascii_case("vi") => Some(Self::Vietnamese),
            tag if tag.eq_ignore_ascii_case("en") => Some(Self::English),
            _ => None,
        }
    }
}

/// The places of the text that are not read as they are written, in order and
/// without overlap.
pub fn readings(text: &str, language: Language) -> Vec<Replacement> {
    rules::apply(
        text,
        match language {
            Language::Vietnamese => vietnamese::rules(),
            Language::English => english::rules(),
        },
    )
}

/// Those of the dictionary, and those of the language where they leave room.
pub fn all_readings(
    text: &str,
    language: Option<Language>,
    dictionary: &Dictionary,
) -> Vec<Replacement> {
    let mut all = dictionary.find(text);
    let by_rules = language.map_or_else(Vec::new, |language| readings(text, language));
    let is_free = |reading: &Replacement| {
        let overlaps = |own: &Replacement| {
            own.span.start < reading.span.end && reading.span.start < own.span.end
        };
        !all.iter().any(overlaps)
    };
    let free: Vec<Replacement> = by_rules.into_iter().filter(is_free).collect();
    all.extend(free);
    all.sort_by_key(|reading| reading.span.start);
    all
}

/// What stands for phonemes in the text that is read: a letter, so that it is a
/// word to whoever looks for words.
const SOUNDS: char = 'ə';

/// A text as it is read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NormalizedText {
    /// What an engine is given.
    pub text: String,
    /// For each code point of `text`, which one of the source it stands for;
    /// it never goes back.
    pub origins: Vec<usize>,
    /// Places of `text`, by code point, where an engine says phonemes (IPA)
    /// in place of the letter that is there.
    pub sounds: BTreeMap<usize, String>,
}

impl NormalizedText {
    /// The text as the dictionary and then its language read it.
    pub fn of(text: &str, language: Option<Language>, dictionary: &Dictionary) -> Self {
        Self::with(text, &all_readings(text, language, dictionary))
    }

    /// The text with these readings in place.
    pub fn with(text: &str, readings: &[Replacement]) -> Self {
        let mut spoken = Self::default();
        let mut readings = readings.iter().peekable();
        let mut inside = 0..0;
        for (at, c) in text.chars().enumerate() {
            if let Some(reading) = readings.next_if(|reading| reading.span.start == at) {
                spoken.say(&reading.said, at);
                inside = reading.span.clone();
            }
            if !inside.contains(&at) {
                // A reading and a word that it touches are two words.
                let touches = inside.end == at && inside.end > 0 && c.is_alphanumeric();
                if touches && !spoken.text.ends_with(' ') {
                    spoken.push(' ', at);
                }
                spoken.push(c, at);
            }
        }
        spoken
    }

    /// The text for people: phonemes between slashes.
    pub fn shown(&self) -> String {
        let shown = |(at, c): (usize, char)| match self.sounds.get(&at) {
            Some(phonemes) => Said::Phonemes(phonemes.clone()).to_string(),
            None => c.to_string(),
        };
        self.text.chars().enumerate().map(shown).collect()
    }

    fn say(&mut self, said: &Said, at: usize) {
        if self
            .text
            .chars()
            .next_back()
            .is_some_and(char::is_alphanumeric)
        {
            self.push(' ', at);
        }
        match said {
            Said::Words(words) => words.chars().for_each(|c| self.push(c, at)),
            Said::Phonemes(phonemes) => {
                self.sounds.insert(self.origins.len(), phonemes.clone());
                self.push(SOUNDS, at);
            }
        }
    }

    fn push(&mut self, c: char, origin: usize) {
        self.text.push(c);
        self.origins.push(origin);
    }
}

#[cfg(test)]
mod tests;
