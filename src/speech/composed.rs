//! Texts that were sent decomposed (NFD, as macOS file names and some editors
//! write Vietnamese): engines want them composed, while word times belong to
//! the text as it was sent.

use std::borrow::Cow;

use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfc, is_nfc_quick};
use unicode_segmentation::UnicodeSegmentation;

use super::Word;

/// A text in NFC, with the way back to the text it was made of.
pub struct Composed {
    /// The composed text.
    pub text: String,
    /// For each character of `text`, and one past its end, where the source
    /// of its cluster begins; `None` where source and text are the same.
    source_starts: Option<Vec<u32>>,
    source: Vec<char>,
}

impl Composed {
    /// Composes a text. Nothing composes across the border of a grapheme
    /// cluster (UAX #15, UAX #29), so clusters are composed one by one.
    #[must_use]
    pub fn of(source: &str) -> Self {
        if is_nfc(source) {
            return Self {
                text: source.to_owned(),
                source_starts: None,
                source: Vec::new(),
            };
        }
        let (mut text, mut starts, mut start) = (String::new(), Vec::new(), 0_u32);
        for cluster in source.graphemes(true) {
            for composed in cluster.nfc() {
                text.push(composed);
                starts.push(start);
            }
            start += u32::try_from(cluster.chars().count()).unwrap_or(0);
        }
        starts.push(start);
        Self {
            text,
            source_starts: Some(starts),
            source: source.chars().collect(),
        }
    }

    /// Moves an offset back to the source; one within a cluster to the cluster's start.
    #[must_use]
    pub fn source_offset(&self, offset: u32) -> u32 {
        let Some(starts) = &self.source_starts else {
            return offset;
        };
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        starts.get(offset).or(starts.last()).copied().unwrap_or(0)
    }

    /// Moves the end of a word back to the source; one within a cluster, where a mark
    /// follows that is not the word's, to the cluster's end.
    fn source_end(&self, offset: u32) -> u32 {
        let Some(starts) = &self.source_starts else {
            return offset;
        };
        let last = self.source_offset(offset.saturating_sub(1));
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        let behind = starts.get(offset..).unwrap_or_default();
        let next = behind.iter().find(|start| **start > last);
        next.or(starts.last()).copied().unwrap_or(0)
    }

    /// Moves a word's offsets and its text back to the source.
    #[must_use]
    pub fn in_source(&self, word: Word) -> Word {
        if self.source_starts.is_none() {
            return word;
        }
        let char_start = self.source_offset(word.char_start);
        let char_end = self.source_end(word.char_end);
        let text = self
            .source
            .get(usize::try_from(char_start).unwrap_or(0)..usize::try_from(char_end).unwrap_or(0))
            .map_or(word.text, |chars| chars.iter().collect());
        Word {
            text,
            char_start,
            char_end,
            ..word
        }
    }
}

/// A text in NFC.
#[must_use]
pub fn in_nfc(text: &str) -> Cow<'_, str> {
    match is_nfc(text) {
        true => Cow::Borrowed(text),
        false => Cow::Owned(text.nfc().collect()),
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
        assert_eq!(composed.in_source(word("Việt", 6, 10)), word("Việt", 6, 10));
    }

    #[test]
    fn a_word_that_ends_within_a_cluster_has_all_of_it() {
        let composed = Composed::of("e\u{301} u\u{20dd}.");
        assert_eq!(composed.text, "é u\u{20dd}.");
        let found = composed.in_source(word("u", 2, 3));
        assert_eq!(found, word("u\u{20dd}", 3, 5));
        assert_eq!(composed.in_source(word("é", 0, 1)), word("e\u{301}", 0, 2));
        let composed = Composed::of("e\u{301} \u{9c7}.");
        let found = composed.in_source(word("\u{9c7}", 2, 3));
        assert_eq!(found, word(" \u{9c7}", 2, 4));
    }

    #[test]
    fn words_of_a_decomposed_text_point_into_the_text_as_it_was_sent() {
        let sent: String = "tiếng Việt".nfd().collect();
        let composed = Composed::of(&sent);
        assert_eq!(composed.text, "tiếng Việt");
        let found = composed.in_source(word("Việt", 6, 10));
        let characters: Vec<char> = sent.chars().collect();
        let range =
            usize::try_from(found.char_start).unwrap()..usize::try_from(found.char_end).unwrap();
        assert_eq!(characters[range].iter().collect::<String>(), found.text);
        assert_eq!(found.text.nfc().collect::<String>(), "Việt");
        assert_eq!(found.char_end, u32::try_from(characters.len()).unwrap());
    }
}
