//! People's own dictionary: terms, and what is said for them.
//!
//! It comes before the rules of a language (`normalize`): a place that a term has
//! taken is not read by any rule. Subtitles keep what is written.

use std::collections::BTreeMap;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::SaturatingFrom as _;
use crate::nfc::in_one_form;
use crate::segmentation::{cost_of, is_of};

/// The longest term and the longest `say`, in characters; that of phonemes is
/// in [`crate::ipa`].
pub const MAX_CHARACTERS: usize = 200;

/// The most terms of one request.
pub const MAX_TERMS: usize = 200;

/// A term and what is said for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pronunciation {
    /// What is written: whole words, 1 to [`MAX_CHARACTERS`] characters.
    pub term: String,
    /// What is said: on the wire one field, `say` or `phonemes`.
    #[serde(flatten)]
    pub said: Said,
    /// Whether `GPT` leaves `gpt` alone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub match_case: bool,
}

/// What is said in place of something written.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Said {
    /// Words, in the letters of the text's language.
    #[serde(rename = "say")]
    Words(String),
    /// Sounds, in IPA.
    #[serde(rename = "phonemes")]
    Phonemes(String),
}

impl Said {
    /// How much is said, as [`cost_of`] counts it; a little, if it is nothing.
    pub fn cost(&self) -> u32 {
        match self {
            Self::Words(words) => cost_of(words).max(1),
            Self::Phonemes(phonemes) => {
                let sounds = phonemes.chars().count().max(1);
                u32::saturating_from(sounds)
            }
        }
    }
}

/// Words as they are, phonemes between slashes, as dictionaries print them and
/// the configuration has them.
impl std::fmt::Display for Said {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Words(words) => f.write_str(words),
            Self::Phonemes(phonemes) => write!(f, "/{phonemes}/"),
        }
    }
}

/// A place of the source that is read as something else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replacement {
    /// Where it stands: code points of the source.
    pub span: Range<usize>,
    /// What is said.
    pub said: Said,
}

/// The terms for one text: the request's own, then those of the configuration
/// for its voice, its language and all languages. `configured` has `TERM`,
/// `LANGUAGE:TERM` or `VOICE:TERM` → what is said. Terms that the text cannot
/// have are left out.
pub fn for_text(
    text: &str,
    own: &[Pronunciation],
    configured: &BTreeMap<String, Said>,
    voice: &str,
    language: &str,
) -> Vec<Pronunciation> {
    let mut narrow_first: Vec<(u8, Pronunciation)> = Vec::new();
    for (key, said) in configured {
        let (scope, term) = scope(key);
        let rank = match scope {
            Some(scope) if scope == voice => 0,
            Some(scope) if is_of(language, scope) => 1,
            None => 2,
            Some(_) => continue,
        };
        let pronunciation = Pronunciation {
            term: term.to_owned(),
            said: said.clone(),
            match_case: false,
        };
        narrow_first.push((rank, pronunciation));
    }
    narrow_first.sort_by_key(|(rank, _)| *rank);
    let others = narrow_first.into_iter().map(|(_, other)| other);
    let all: Vec<Pronunciation> = own.iter().cloned().chain(others).collect();
    of_text(text, &all).into_iter().cloned().collect()
}

/// Those that a text can have.
pub fn of_text<'a>(text: &str, all: &'a [Pronunciation]) -> Vec<&'a Pronunciation> {
    if all.is_empty() {
        return Vec::new();
    }
    let text = folded(text);
    let known = all.iter();
    known
        .filter(|known| text.contains(&folded(&known.term)))
        .collect()
}

/// The language or voice that a term of the configuration is for, and the term:
/// `vi:GPT` and `piper/x:GPT` have a scope, `3:2` and `a:b:c` have none.
pub fn scope(key: &str) -> (Option<&str>, &str) {
    match key.split_once(':') {
        Some((scope, term)) if is_scope(scope) && !term.is_empty() => (Some(scope), term),
        _ => (None, key),
    }
}

fn is_scope(text: &str) -> bool {
    let language = text.split('-').next().unwrap_or_default();
    let is_language =
        (2..=3).contains(&language.len()) && language.bytes().all(|b| b.is_ascii_lowercase());
    text.contains('/') || is_language
}

fn folded(text: &str) -> String {
    in_one_form(text).chars().map(small).collect()
}

/// The same letter in lower case, where that is one character, so that places
/// stay the same.
fn small(c: char) -> char {
    let mut small = c.to_lowercase();
    match (small.next(), small.next()) {
        (Some(one), None) => one,
        _ => c,
    }
}

/// Terms, ready to be looked for.
#[derive(Debug, Clone, Default)]
pub struct Dictionary {
    /// The longest first; among equals, the order in which they were given.
    entries: Vec<Entry>,
}

#[derive(Debug, Clone)]
struct Entry {
    term: Vec<char>,
    said: Said,
    match_case: bool,
}

impl Dictionary {
    /// Of terms of which the earlier win.
    pub fn new(terms: &[Pronunciation]) -> Self {
        let entry = |known: &Pronunciation| Entry {
            term: match known.match_case {
                true => in_one_form(&known.term).chars().collect(),
                false => folded(&known.term).chars().collect(),
            },
            said: known.said.clone(),
            match_case: known.match_case,
        };
        let mut entries: Vec<Entry> = terms.iter().map(entry).collect();
        entries.retain(|entry| !entry.term.is_empty());
        entries.sort_by_key(|entry| std::cmp::Reverse(entry.term.len()));
        Self { entries }
    }

    /// Where its terms stand as whole words, in order and without overlap.
    pub fn find(&self, text: &str) -> Vec<Replacement> {
        let mut found = Vec::new();
        if self.entries.is_empty() {
            return found;
        }
        let written: Vec<char> = text.chars().collect();
        let small: Vec<char> = written.iter().copied().map(small).collect();
        let mut at = 0;
        while at < written.len() {
            let here = self.entries.iter().find(|entry| {
                let text = if entry.match_case { &written } else { &small };
                text[at..].starts_with(&entry.term) && is_whole(text, at, entry.term.len())
            });
            match here {
                Some(entry) => {
                    let end = at + entry.term.len();
                    found.push(Replacement {
                        span: at..end,
                        said: entry.said.clone(),
                    });
                    at = end;
                }
                None => at += 1,
            }
        }
        found
    }
}

/// Neither end of the match is within a word.
fn is_whole(text: &[char], start: usize, length: usize) -> bool {
    let parts = |left: Option<&char>, right: Option<&char>| match (left, right) {
        (Some(left), Some(right)) => !(left.is_alphanumeric() && right.is_alphanumeric()),
        _ => true,
    };
    let end = start + length;
    let before = start.checked_sub(1).and_then(|at| text.get(at));
    parts(before, text.get(start)) && parts(text.get(end - 1), text.get(end))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{sounds, term};

    #[test]
    fn on_the_wire_a_pronunciation_has_say_or_phonemes() {
        let (say, phonemes) = (
            r#"{"term":"GPT","say":"gi pi ti"}"#,
            r#"{"term":"SQL","phonemes":"siː"}"#,
        );
        assert_eq!(
            serde_json::to_string(&term("GPT", "gi pi ti")).unwrap(),
            say
        );
        assert_eq!(
            serde_json::to_string(&sounds("SQL", "siː")).unwrap(),
            phonemes
        );
        let read = |text| serde_json::from_str::<Pronunciation>(text).unwrap();
        assert_eq!(read(say), term("GPT", "gi pi ti"));
        assert_eq!(read(phonemes), sounds("SQL", "siː"));
    }

    #[test]
    fn the_request_wins_over_the_voice_the_language_and_all() {
        let configured: BTreeMap<String, Said> = [
            ("GPT", "all"),
            ("vi:GPT", "language"),
            ("piper/x:GPT", "voice"),
            ("en:SQL", "sequel"),
            ("URL", "absent"),
        ]
        .map(|(key, say)| (key.to_owned(), Said::Words(say.to_owned())))
        .into();
        let says = |own: &[Pronunciation], voice: &str, language: &str| {
            let terms = for_text("gpt sql", own, &configured, voice, language);
            let said = terms.into_iter().map(|term| term.said.to_string());
            said.collect::<Vec<_>>()
        };
        assert_eq!(says(&[], "piper/y", "de"), ["all"]);
        assert_eq!(says(&[], "piper/y", "vi-VN"), ["language", "all"]);
        assert_eq!(says(&[], "piper/x", "vi"), ["voice", "language", "all"]);
        assert_eq!(says(&[], "piper/y", "en-US"), ["sequel", "all"]);
        let own = [term("GPT", "own")];
        assert_eq!(says(&own, "piper/y", "de"), ["own", "all"]);
    }

    #[test]
    fn a_scope_is_a_language_or_a_voice() {
        assert_eq!(scope("vi:GPT"), (Some("vi"), "GPT"));
        assert_eq!(scope("en-US:SQL"), (Some("en-US"), "SQL"));
        assert_eq!(scope("3:2"), (None, "3:2"));
        assert_eq!(scope("Note:x"), (None, "Note:x"));
    }
}
