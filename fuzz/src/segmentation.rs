//! Sentences and words.

use hoiam_text::segmentation::{Pause, Sentence, has_speech, looks_vietnamese, sentences};
use hoiam_text::{Output, Request, Segment, joined_text};

use super::input::Input;

/// As the program has it: what one sentence may have.
const MOST_CHARACTERS: usize = 400;
const MOST_BYTES: usize = 700;

pub fn check(data: &[u8]) {
    let input = Input::new(data);
    let text = &*input.text;
    let chars: Vec<char> = text.chars().collect();
    let found = sentences(text);
    sentences_cover_all_that_is_spoken(&found, &chars);
    words_cover_all_that_is_spoken(&found, &chars);
    for sentence in &found {
        sentence_is_within_its_bounds(sentence, &chars);
        let plain = sentence.plain();
        assert_eq!(plain.words, sentence.words);
        assert_eq!(
            plain.text.chars().count(),
            sentence.text.chars().count(),
            "{plain:?}"
        );
        assert_eq!(plain.plain(), plain);
    }
    looks_vietnamese(text);
    places_cover_all_that_is_spoken(&input);
}

fn is_spoken(c: char) -> bool {
    has_speech(c.encode_utf8(&mut [0; 4]))
}

/// Where the sentence stands in the source.
fn span(sentence: &Sentence) -> std::ops::Range<usize> {
    sentence.char_start..sentence.char_start + sentence.text.chars().count()
}

fn sentences_cover_all_that_is_spoken(found: &[Sentence], chars: &[char]) {
    let mut end = 0;
    for (number, sentence) in found.iter().enumerate() {
        let span = span(sentence);
        assert!(end <= span.start && span.end <= chars.len(), "{sentence:?}");
        assert!(!chars[end..span.start].iter().copied().any(is_spoken));
        assert!(number > 0 || sentence.pause == Pause::None);
        end = span.end;
    }
    assert!(!chars[end..].iter().copied().any(is_spoken));
}

fn words_cover_all_that_is_spoken(found: &[Sentence], chars: &[char]) {
    let mut end = 0;
    for sentence in found {
        let span = span(sentence);
        assert!(!sentence.words.is_empty());
        for word in &sentence.words {
            let place = word.char_start..word.char_end;
            assert!(span.start <= place.start && place.end <= span.end);
            assert!(end <= place.start && !place.is_empty(), "{word:?}");
            assert_eq!(word.text, chars[place].iter().collect::<String>());
            let between = &chars[end..word.char_start];
            // To Unicode a narrow blank is within a word.
            let goes_on = between.iter().all(|c| c.is_whitespace());
            assert!(!word.continues || goes_on, "{word:?}");
            assert!(!between.iter().copied().any(is_spoken), "{between:?}");
            end = word.char_end;
        }
    }
    assert!(!chars[end..].iter().copied().any(is_spoken));
}

fn sentence_is_within_its_bounds(sentence: &Sentence, chars: &[char]) {
    let source = &chars[span(sentence)];
    assert!(source.len() <= MOST_CHARACTERS, "{sentence:?}");
    let bytes: usize = source.iter().map(|c| c.len_utf8()).sum();
    assert!(bytes <= MOST_BYTES, "{sentence:?}");
    for (read, written) in sentence.text.chars().zip(source) {
        assert!(read == *written || read == ' ', "{sentence:?}");
        assert!(read == *written || !is_spoken(*written), "{sentence:?}");
    }
}

/// The same of a request, whose text may be decomposed and have terms of a dictionary.
fn places_cover_all_that_is_spoken(input: &Input) {
    let texts: Vec<&str> = joined_text::split(&input.text).collect();
    assert_eq!(joined_text::join(texts.iter().copied()), *input.text);
    let segment = |text: &&str| Segment {
        text: (*text).to_owned(),
        voice: "test/silence".to_owned(),
        speed: 1.0,
        pause_after_ms: None,
        pronunciations: input.terms.clone(),
    };
    let request = Request {
        segments: texts.iter().map(segment).collect(),
        numbered: true,
        output: Output::default(),
    };
    let places = request.places();
    let sentence_keys = request
        .segments
        .iter()
        .map(|one| one.sentence_keys().count());
    assert_eq!(sentence_keys.sum::<usize>(), places.len());
    for (number, text) in texts.iter().enumerate() {
        let chars: Vec<char> = text.chars().collect();
        let mut end = 0;
        for place in places.iter().filter(|place| place.segment == number) {
            let (from, to) = (place.char_start as usize, place.char_end as usize);
            assert!(end <= from && from <= to && to <= chars.len(), "{place:?}");
            assert!(!chars[end..from].iter().copied().any(is_spoken));
            end = to;
        }
        assert!(!chars[end..].iter().copied().any(is_spoken));
    }
}
