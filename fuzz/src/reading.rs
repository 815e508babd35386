//! What is spoken in place of what is written. Options: the language, `v` or `e`.

use hoiam_text::normalize::{Language, NormalizedText, all_readings};
use hoiam_text::pronunciations::Replacement;
use hoiam_text::{Said, pronunciations::Dictionary, segmentation};

use super::input::Input;

/// Characters that are read for one sentence at most. What is counted for it before
/// (`speech::text::cost`) is bounded by 1,600, and rules say about twice that.
const MOST_SPOKEN: usize = 2 * 1_600 + 2 * 400;

/// Words that rules say for one character at most, for texts that are no sentences.
const MOST_PER_CHARACTER: usize = 200;

pub fn check(data: &[u8]) {
    let input = Input::new(data);
    let language = match input.option(0) {
        b'v' => Some(Language::Vietnamese),
        b'e' => Some(Language::English),
        _ => None,
    };
    let dictionary = Dictionary::new(&input.terms);
    read(&input.text, language, &dictionary);
    for sentence in segmentation::sentences(&input.text) {
        let none = Dictionary::default();
        let spoken = read(&sentence.text, language, &none);
        let plain = read(&sentence.plain().text, language, &none);
        for spoken in [spoken, plain] {
            let characters = spoken.origins.len();
            assert!(characters <= MOST_SPOKEN, "{characters}: {}", spoken.text);
        }
    }
}

fn read(text: &str, language: Option<Language>, dictionary: &Dictionary) -> NormalizedText {
    let source: Vec<char> = text.chars().collect();
    let readings = all_readings(text, language, dictionary);
    let spoken = NormalizedText::with(text, &readings);
    readings_are_in_order(&readings, source.len());
    each_character_stands_for_its_source(&spoken, &readings, &source);
    let said = |reading: &Replacement| match &reading.said {
        Said::Words(words) => words.chars().count(),
        Said::Phonemes(phonemes) => phonemes.chars().count(),
    };
    for reading in readings {
        let most = 200 + MOST_PER_CHARACTER * reading.span.len();
        assert!(said(&reading) <= most, "{reading:?}");
    }
    spoken.shown();
    spoken
}

fn readings_are_in_order(readings: &[Replacement], characters: usize) {
    let mut end = 0;
    for reading in readings {
        assert!(end <= reading.span.start, "{readings:?}");
        assert!(!reading.span.is_empty(), "{reading:?}");
        end = reading.span.end;
    }
    assert!(end <= characters, "{readings:?}");
}

/// What no reading covers is there as it is written, and for what one covers there is
/// what it says, at its beginning. Between two words there may be a blank more.
fn each_character_stands_for_its_source(
    spoken: &NormalizedText,
    readings: &[Replacement],
    source: &[char],
) {
    let chars: Vec<char> = spoken.text.chars().collect();
    assert_eq!(chars.len(), spoken.origins.len());
    assert!(spoken.origins.is_sorted(), "{spoken:?}");
    let mut readings = readings.iter().peekable();
    let (mut from, mut inside) = (0, 0);
    for (at, written) in source.iter().enumerate() {
        let to = from + spoken.origins[from..].partition_point(|origin| *origin <= at);
        let there: String = chars[from..to].iter().collect();
        let expected = match readings.next_if(|reading| reading.span.start == at) {
            Some(reading) => {
                inside = reading.span.end;
                match &reading.said {
                    Said::Words(words) => words.clone(),
                    Said::Phonemes(phonemes) => {
                        let sound = spoken.sounds.get(&(to - 1));
                        assert_eq!(sound, Some(phonemes));
                        chars[to - 1].to_string()
                    }
                }
            }
            None if at < inside => String::new(),
            None => written.to_string(),
        };
        let is_same = there == expected || there.strip_prefix(' ') == Some(&expected);
        assert!(is_same, "{there:?} for {expected:?} at {at}: {spoken:?}");
        from = to;
    }
    assert_eq!(from, chars.len(), "{spoken:?}");
}
