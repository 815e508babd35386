//! Texts that were sent decomposed (NFD, as macOS file names and some editors
//! write Vietnamese) or in letters of another form: engines want them composed and
//! in the usual forms, while word times belong to the text as it was sent.

use std::borrow::Cow;

use unicode_normalization::char::decompose_canonical;
use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfc, is_nfc_quick};

use crate::SaturatingFrom as _;
use crate::letters::in_usual_forms;
use crate::synthesis::Word;

/// A text in its usual forms and NFC, with the way back to the text it was made of.
///
/// A place in one of them and a place in the other are the same if as many characters of
/// the decomposed text (NFD) precede them: both have as many (UAX #15), and a usual form
/// takes the place of one. So what does not overlap in one does not in the other.
pub struct Composed {
    /// The composed text.
    pub text: String,
    /// For each character of `text`, and one past its end, where it begins in the source;
    /// `None` where source and text are the same.
    source_starts: Option<Vec<u32>>,
    source: Vec<char>,
}

impl Composed {
    /// Composes a text.
    #[must_use]
    pub fn of(source: &str) -> Self {
        let text = match in_one_form(source) {
            Cow::Owned(text) => text,
            Cow::Borrowed(same) => {
                return Self {
                    text: same.to_owned(),
                    source_starts: None,
                    source: Vec::new(),
                };
            }
        };
        let (mut starts, mut start, mut before_start, mut before) = (Vec::new(), 0, 0, 0);
        let mut unread = source.chars();
        for length in text.chars().map(decomposed_length).chain([0]) {
            while before_start < before {
                before_start += unread.next().map_or(usize::MAX, decomposed_length);
                start += 1;
            }
            starts.push(start);
            before += length;
        }
        Self {
            text,
            source_starts: Some(starts),
            source: source.chars().collect(),
        }
    }

    /// Moves an offset back to the source; one within what is a single character there
    /// to that character's end.
    #[must_use]
    pub fn source_offset(&self, offset: u32) -> u32 {
        let Some(starts) = &self.source_starts else {
            return offset;
        };
        let offset = usize::saturating_from(offset);
        starts.get(offset).or(starts.last()).copied().unwrap_or(0)
    }

    /// Moves a word's offsets and its text back to the source; `None` if no character
    /// of the source begins in it.
    #[must_use]
    pub fn in_source(&self, word: Word) -> Option<Word> {
        if self.source_starts.is_none() {
            return Some(word);
        }
        let char_start = self.source_offset(word.char_start);
        let char_end = self.source_offset(word.char_end);
        let range = usize::try_from(char_start).ok()?..usize::try_from(char_end).ok()?;
        let text = self.source.get(range).filter(|text| !text.is_empty())?;
        Some(Word {
            text: text.iter().collect(),
            char_start,
            char_end,
            ..word
        })
    }
}

/// How many characters of NFD a character is.
fn decomposed_length(character: char) -> usize {
    let mut length = 0;
    decompose_canonical(character, |_| length += 1);
    length
}

/// A text in its usual forms and NFC; borrowed if it is so already.
#[must_use]
pub fn in_one_form(text: &str) -> Cow<'_, str> {
    let usual = in_usual_forms(text);
    match is_nfc(&usual) {
        true => usual,
        false => Cow::Owned(usual.nfc().collect()),
    }
}

/// How many code points a text has in NFC. No more than `most` are counted: to compose
/// costs ten times what it costs to see that nothing has to be composed.
#[must_use]
pub fn characters(text: &str, most: usize) -> usize {
    match is_nfc_quick(text.chars()) {
        IsNormalized::Yes => text.chars().take(most).count(),
        IsNormalized::No | IsNormalized::Maybe => text.nfc().take(most).count(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn characters_are_those_of_the_composed_text_up_to_a_bound() {
        for text in ["", "Tiếng Việt", "한국어", "a\u{323}\u{302}b\u{20dd}"] {
            for text in [text.to_owned(), text.nfd().collect()] {
                let all = text.nfc().count();
                for most in 0..all + 2 {
                    assert_eq!(characters(&text, most), all.min(most), "{text}");
                }
            }
        }
    }

    fn word(text: &str, char_start: u32, char_end: u32) -> Word {
        Word {
            text: text.into(),
            start_ms: 0,
            end_ms: 1,
            char_start,
            char_end,
            sentence: 0,
            segment: None,
        }
    }

    #[test]
    fn a_composed_text_stays_as_it_is() {
        let composed = Composed::of("tiếng Việt");
        assert_eq!(composed.text, "tiếng Việt");
        let found = composed.in_source(word("Việt", 6, 10));
        assert_eq!(found, Some(word("Việt", 6, 10)));
    }

    #[test]
    fn words_that_share_a_cluster_have_their_own_characters_of_it() {
        // A Khmer cluster of two words for eSpeak, beside a letter that is to be composed.
        let composed = Composed::of("o\u{301}\u{1781}\u{17d2}\u{1798}\u{17c2}");
        assert_eq!(composed.text, "ó\u{1781}\u{17d2}\u{1798}\u{17c2}");
        let first = composed.in_source(word("ó\u{1781}\u{17d2}", 0, 3));
        assert_eq!(first, Some(word("o\u{301}\u{1781}\u{17d2}", 0, 4)));
        let second = composed.in_source(word("\u{1798}\u{17c2}", 3, 5));
        assert_eq!(second, Some(word("\u{1798}\u{17c2}", 4, 6)));
    }

    #[test]
    fn a_word_that_ends_before_a_mark_keeps_its_last_letter() {
        let composed = Composed::of("e\u{301} u\u{20dd}.");
        assert_eq!(composed.text, "é u\u{20dd}.");
        assert_eq!(composed.in_source(word("u", 2, 3)), Some(word("u", 3, 4)));
        let found = composed.in_source(word("é", 0, 1));
        assert_eq!(found, Some(word("e\u{301}", 0, 2)));
    }

    #[test]
    fn a_part_of_what_was_one_character_is_no_word() {
        // The composition exclusion U+0958 becomes two characters.
        let composed = Composed::of("\u{958}a");
        assert_eq!(composed.text, "\u{915}\u{93c}a");
        let letter = composed.in_source(word("\u{915}", 0, 1));
        assert_eq!(letter, Some(word("\u{958}", 0, 1)));
        assert_eq!(composed.in_source(word("\u{93c}", 1, 2)), None);
        assert_eq!(composed.in_source(word("a", 2, 3)), Some(word("a", 1, 2)));
    }

    #[test]
    fn words_in_other_forms_of_letters_are_those_of_the_source() {
        let composed = Composed::of("ｔｏ\u{302}ｉ 𝗔");
        assert_eq!(composed.text, "tôi A");
        let first = composed.in_source(word("tôi", 0, 3));
        assert_eq!(first, Some(word("ｔｏ\u{302}ｉ", 0, 4)));
        assert_eq!(composed.in_source(word("A", 4, 5)), Some(word("𝗔", 5, 6)));
    }

    proptest! {
        /// Letters and marks that compose, that are put in another order, that fall
        /// apart, and that have another form: Vietnamese, Indic, Tibetan, Hangul and
        /// Khmer among them.
        #[test]
        fn what_follows_each_other_does_so_in_the_source(
            source in "[a-eou \u{300}-\u{345}đếø한가\u{1100}-\u{1112}\u{1161}-\u{1175}\u{11a8}\
                \u{915}\u{93c}\u{958}\u{9c7}\u{9be}\u{f71}-\u{f75}\u{f81}\u{fb1f}\u{2adc}\u{20dd}\
                \u{1781}\u{17d2}\u{212b}\u{1d15e}\u{1f600}Ａｅ，ｶﾞ\u{1d5f2}]{0,24}",
            cuts in prop::collection::btree_set(0..50_u32, 0..8),
        ) {
            let composed = Composed::of(&source);
            let usual = in_usual_forms(&source);
            prop_assert_eq!(&composed.text, &usual.nfc().collect::<String>());
            let characters: Vec<char> = composed.text.chars().collect();
            let end = u32::try_from(characters.len()).unwrap();
            let mut cuts: Vec<u32> = cuts.into_iter().filter(|at| *at < end).collect();
            cuts.push(end);
            let (mut from, mut found) = (0, String::new());
            for to in cuts {
                let text = characters[from as usize..to as usize].iter().collect::<String>();
                if let Some(word) = composed.in_source(word(&text, from, to)) {
                    prop_assert_eq!(word.char_start as usize, found.chars().count());
                    found.push_str(&word.text);
                    prop_assert_eq!(word.char_end as usize, found.chars().count());
                }
                from = to;
            }
            prop_assert_eq!(found, source);
        }
    }

    #[test]
    fn words_of_a_decomposed_text_point_into_the_text_as_it_was_sent() {
        let sent: String = "tiếng Việt".nfd().collect();
        let composed = Composed::of(&sent);
        assert_eq!(composed.text, "tiếng Việt");
        let found = composed.in_source(word("Việt", 6, 10)).unwrap();
        let characters: Vec<char> = sent.chars().collect();
        let range =
            usize::try_from(found.char_start).unwrap()..usize::try_from(found.char_end).unwrap();
        assert_eq!(characters[range].iter().collect::<String>(), found.text);
        assert_eq!(found.text.nfc().collect::<String>(), "Việt");
        assert_eq!(found.char_end, u32::try_from(characters.len()).unwrap());
    }
}
