//! From IPA to the names that eSpeak NG has for the sounds of a voice.
//!
//! eSpeak takes phonemes only by names of its own, which mean other sounds in
//! other languages, and tells IPA only of what it says. So it is asked: every
//! name that its data has is put into a few words of two or three sounds, and
//! the IPA of each word tells what the name is in this voice.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use hoiam_text::ipa::{self, is_shade, is_stress};
use unicode_normalization::UnicodeNormalization;

use super::libespeak::{LibEspeak, LibEspeakError};

/// Words around a name: alone, and where sounds of many languages change, which
/// are those at the end of a word, beside vowels and before the stress.
const AROUND: [(&str, &str); 5] = [("", ""), ("k", "k"), ("a", "a"), ("", "a"), ("k", "k|'|a")];

/// In so many of those words a sound is one that is not changed.
const STEADY: usize = 3;

/// The most sounds between `[[` and `]]`: eSpeak keeps 200 of them, in a buffer
/// whose end it does not look for.
const MOST_SOUNDS: usize = 40;

/// Why the sounds of a voice are not known.
#[derive(Debug, thiserror::Error)]
pub(super) enum MnemonicsError {
    /// The file with the names of all sounds cannot be read.
    #[error("{}: {source}", path.display())]
    Table { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Library(#[from] LibEspeakError),
}

/// The sounds of one voice.
pub(super) struct Mnemonics {
    /// IPA, decomposed and without stress → the name.
    names: BTreeMap<String, String>,
    /// The longest IPA of a name, in characters.
    longest: usize,
}

impl Mnemonics {
    /// Asks the library for the sounds of a voice, which takes 50 ms or so.
    pub(super) fn of(library: &mut LibEspeak, voice: &str) -> Result<Self, MnemonicsError> {
        let path = library.data_folder().join("phontab");
        let table =
            std::fs::read(&path).map_err(|source| MnemonicsError::Table { path, source })?;
        let names = names(&table);
        // How often each name is heard as this IPA.
        let mut heard: BTreeMap<String, BTreeMap<&str, usize>> = BTreeMap::new();
        let mut ipa = |names: &[&str]| -> Result<String, LibEspeakError> {
            let names: Vec<&str> = names
                .iter()
                .copied()
                .filter(|name| !name.is_empty())
                .collect();
            let word = format!("[[{}]]", names.join("|"));
            Ok(without_stress(&library.phonemes(voice, &word, true)?))
        };
        for (before, after) in AROUND {
            let [start, end] = [before, after].map(|alone| match alone.is_empty() {
                true => Ok(String::new()),
                false => ipa(&[alone]),
            });
            let (start, end) = (start?, end?);
            for name in &names {
                let word = ipa(&[before, name, after])?;
                let inside = word.strip_prefix(&start);
                let inside = inside.and_then(|rest| rest.strip_suffix(&end));
                let Some(inside) = inside.filter(|ipa| !ipa.is_empty() && !ipa.contains(' '))
                else {
                    continue;
                };
                let names = heard.entry(inside.to_owned()).or_default();
                *names.entry(name).or_default() += 1;
            }
        }
        let best = |(ipa, names): (String, BTreeMap<&str, usize>)| {
            // One that is steady, has the letter itself, or is short.
            let rank = |(name, times): &(&str, usize)| {
                (
                    STEADY.saturating_sub(*times),
                    *name != ipa,
                    name.len(),
                    name.to_string(),
                )
            };
            let (name, _) = names.into_iter().min_by_key(rank)?;
            Some((ipa, name.to_owned()))
        };
        let names: BTreeMap<String, String> = heard.into_iter().filter_map(best).collect();
        let longest = names.keys().map(|ipa| ipa.chars().count()).max();
        Ok(Self {
            longest: longest.unwrap_or_default(),
            names,
        })
    }

    /// IPA as eSpeak is given it, a word in each `[[…]]`; else the first symbol
    /// that the voice has no sound for.
    pub(super) fn of_ipa(&self, ipa: &str) -> Result<String, char> {
        let symbols = ipa::symbols(ipa);
        let words = symbols
            .split(|symbol| *symbol == ' ')
            .map(|word| self.word(word));
        Ok(words.collect::<Result<Vec<_>, _>>()?.join(" "))
    }

    fn word(&self, symbols: &[char]) -> Result<String, char> {
        let mut sounds: Vec<&str> = Vec::new();
        let mut rest = symbols;
        while let [first, others @ ..] = rest {
            match self.longest_match(rest) {
                _ if is_stress(*first) => {
                    sounds.push(if *first == 'ˈ' { "'" } else { "," });
                    rest = others;
                }
                Some((length, name)) => {
                    sounds.push(name);
                    rest = &rest[length..];
                }
                None if is_shade(*first) => rest = others,
                None => return Err(*first),
            }
        }
        let parts = sounds.chunks(MOST_SOUNDS);
        let parts = parts.map(|part| format!("[[{}]]", part.join("|")));
        Ok(parts.collect::<Vec<_>>().join(" "))
    }

    /// How many of the symbols are one sound, and its name. A vowel that the voice
    /// has only as a long one is said as that.
    fn longest_match(&self, symbols: &[char]) -> Option<(usize, &str)> {
        let name = |ipa: String| self.names.get(&ipa).map(String::as_str);
        let mut lengths = (1..=self.longest.min(symbols.len())).rev();
        let found = lengths.find_map(|length| {
            let ipa = symbols[..length].iter().collect();
            Some((length, name(ipa)?))
        });
        let first = symbols.first()?;
        found.or_else(|| Some((1, name(format!("{first}ː"))?)))
    }

    /// For people who look for another symbol: those of one character, and what
    /// begins with the one that is no sound alone.
    pub(super) fn known(&self, unknown: char) -> String {
        let fits = |ipa: &&String| ipa.chars().count() == 1 || ipa.starts_with(unknown);
        let known = self.names.keys().filter(fits);
        known.map(String::as_str).collect::<Vec<_>>().join(" ")
    }
}

/// What the library says, decomposed, without stress and the names of languages.
fn without_stress(ipa: &str) -> String {
    let mut in_name = false;
    let mut plain = String::new();
    for c in ipa.trim().nfd() {
        match c {
            '(' => in_name = true,
            ')' => in_name = false,
            c if !in_name && !is_stress(c) => plain.push(c),
            _ => {}
        }
    }
    plain
}

/// The names of sounds in eSpeak's file `phontab`: for each language how many
/// sounds it has, 3 bytes, its own name in 32, and for each sound 16 bytes that
/// begin with its name in 4. A file of another form has names that no voice
/// knows. What has a meaning of its own within `[[…]]` is left out.
fn names(table: &[u8]) -> Vec<String> {
    let mut names = Vec::new();
    let mut rest = table.get(4..).unwrap_or_default();
    while let [count, _, _, _, languages @ ..] = rest {
        let sounds = languages.get(32..).unwrap_or_default();
        let own = sounds.get(..usize::from(*count) * 16).unwrap_or_default();
        names.extend(own.chunks(16).filter_map(|sound| {
            let name = sound.split(|byte| *byte == 0).next()?;
            let name = std::str::from_utf8(name.get(..4).unwrap_or(name)).ok()?;
            let is_plain = name.bytes().all(|byte| byte.is_ascii_graphic())
                && !name.contains(['|', ']', '('])
                && !name.starts_with(['_', '\'', ',', '%', '=', '-']);
            (is_plain && !name.is_empty()).then(|| name.to_owned())
        }));
        rest = sounds.get(own.len()..).unwrap_or_default();
    }
    names.sort();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use super::super::libespeak::{self, lock};
    use super::*;

    fn phonemes(voice: &str, text: &str, mnemonics: bool) -> String {
        let heard = lock(libespeak::open().unwrap()).phonemes(voice, text, mnemonics);
        heard.unwrap().nfd().collect()
    }

    fn mnemonics(voice: &str) -> Mnemonics {
        Mnemonics::of(&mut lock(libespeak::open().unwrap()), voice).unwrap()
    }

    /// What eSpeak says for a word is, as IPA, said as that word again.
    #[test]
    fn words_of_many_languages_are_said_by_their_ipa() {
        let languages = [
            (
                "en-us",
                "hello nuclear sequel question button thought measure judge running first hour \
                 player university pronunciation choir lieutenant rhythm",
            ),
            ("en-gb-x-rp", "hello water fire poor lieutenant nurse"),
            (
                "vi",
                "xin chào các bạn hôm nay trời đẹp quá tiếng nguyễn người được không những nghiên \
                 cứu trường đại học khuya",
            ),
            (
                "fr",
                "bonjour amour vin bon grand oiseau beurre rouge gens nuit",
            ),
            (
                "de",
                "hallo Welt Straße schön ich ach Köln Zeitung Pferd heute",
            ),
            ("es", "hola mundo perro calle jamón niño"),
            ("ru", "привет хорошо жизнь щука"),
            ("pl", "cześć świat dziękuję"),
            ("tr", "dünya teşekkür"),
            ("hi", "नमस्ते"),
        ];
        for (voice, words) in languages {
            let sounds = mnemonics(voice);
            for word in words.split_whitespace() {
                let ipa = phonemes(voice, word, false);
                let named = sounds.of_ipa(&ipa).unwrap_or_else(|symbol| {
                    panic!("{voice} does not know {symbol} of {word}, {ipa}")
                });
                assert_eq!(phonemes(voice, &named, true), ipa, "{voice} {word} {named}");
            }
        }
    }

    #[test]
    fn ipa_of_dictionaries_is_understood() {
        let english = mnemonics("en-us");
        let said = |ipa: &str| phonemes("en-us", &english.of_ipa(ipa).unwrap(), true);
        assert_eq!(said("həˈloʊ ˈwɜːld"), "həlˈoʊ wˈɜːld");
        assert_eq!(said("ˈt͡ʃɜːt͡ʃ"), "tʃˈɜːtʃ", "ties are not needed");
        assert_eq!(said("ˈpʰæn"), "pˈæn", "and shades left out");
        assert_eq!(said("ˈɡeɪm"), said("ˈgeɪm"));
        assert_eq!(said("ˈbɝd"), said("ˈbɜːd"));
        assert_eq!(said("ˈkɑm"), "kˈɑːm", "there is no short one");
    }

    #[test]
    fn a_symbol_that_a_voice_has_no_sound_for_is_told() {
        let english = mnemonics("en-us");
        assert_eq!(english.of_ipa("sæː˧˥"), Err('˧'));
        assert_eq!(english.of_ipa("ʘə"), Err('ʘ'));
        assert_eq!(english.of_ipa("sa"), Err('a'), "there is only æ");
        let known = english.known('a');
        assert!(known.contains(" æ ") && known.contains(" aɪ "), "{known}");
    }

    #[test]
    fn long_words_are_said_in_parts() {
        let english = mnemonics("en-us");
        let named = english.of_ipa(&"tə".repeat(100)).unwrap();
        assert_eq!(named.matches("[[").count(), 5, "{named}");
    }

    #[test]
    fn a_file_that_is_no_table_has_no_names() {
        for table in [&b""[..], b"abc", b"\x82\0\0\0\x23", &[255; 100]] {
            assert!(names(table).len() < 2, "{table:?}");
        }
    }
}
