//! The text of a speech in one piece, where it is of several segments.

use std::borrow::Cow;
use std::ops::Range;

use crate::synthesis::Word;

/// Parts the texts of two segments: the record separator of ASCII, which no text
/// has and which counts as the end of a line.
pub const SEPARATOR: char = '\u{1E}';

/// All texts in one.
pub fn join<'a>(texts: impl Iterator<Item = &'a str>) -> String {
    let texts: Vec<&str> = texts.collect();
    texts.join(SEPARATOR.encode_utf8(&mut [0; 4]))
}

/// The texts that [`join`] was given.
pub fn split(source: &str) -> impl Iterator<Item = &str> {
    source.split(SEPARATOR)
}

/// For each segment where it begins in the whole source.
fn starts(source: &str) -> Vec<u32> {
    let lengths = split(source).map(|text| u32::try_from(text.chars().count() + 1).unwrap_or(0));
    let starts = lengths.scan(0, |next, length| {
        let start = *next;
        *next += length;
        Some(start)
    });
    starts.collect()
}

/// A part of a segment's text, or of the whole where there are no segments.
pub struct Part {
    /// From 0.
    pub segment: Option<u32>,
    /// Code points within it.
    pub chars: Range<u32>,
}

/// The same text with blanks in the place of what is not heard, so that no subtitle
/// shows it.
pub fn without<'a>(source: &'a str, unheard: &[Part]) -> Cow<'a, str> {
    if unheard.is_empty() {
        return source.into();
    }
    let starts = starts(source);
    let in_whole = |part: &Part| {
        let at = part.segment.unwrap_or(0) as usize;
        let start = starts.get(at).copied().unwrap_or(0);
        part.chars.start + start..part.chars.end + start
    };
    let mut unheard: Vec<Range<u32>> = unheard.iter().map(in_whole).collect();
    unheard.sort_by_key(|part| part.start);
    let mut unheard = unheard.into_iter().peekable();
    let heard = (0..).zip(source.chars()).map(|(at, c)| {
        while unheard.next_if(|part| part.end <= at).is_some() {}
        let is_heard = unheard.peek().is_none_or(|part| !part.contains(&at));
        if is_heard || c.is_whitespace() {
            c
        } else {
            ' '
        }
    });
    heard.collect()
}

/// No recording is longer: that of the largest file has some days.
pub const MOST_MS: u64 = u32::MAX as u64;

/// The same words with offsets in the whole source, where theirs count within
/// their segments; in order and without overlap. The child that has told them may
/// have been taken over, and who makes subtitles relies on that.
pub fn in_whole(source: &str, words: Vec<Word>) -> Vec<Word> {
    let starts = match words.iter().any(|word| word.segment.is_some()) {
        true => starts(source),
        false => Vec::new(),
    };
    let (mut char_end, mut end_ms, mut sentence) = (0, 0, 0);
    let in_order = |word: Word| {
        let at = word.segment.unwrap_or(0) as usize;
        let start = starts.get(at).copied().unwrap_or(0);
        let char_start = word.char_start.saturating_add(start).max(char_end);
        char_end = word.char_end.saturating_add(start).max(char_start);
        let start_ms = word.start_ms.clamp(end_ms, MOST_MS);
        end_ms = word.end_ms.clamp(start_ms, MOST_MS);
        sentence = word.sentence.max(sentence);
        Word {
            char_start,
            char_end,
            start_ms,
            end_ms,
            sentence,
            ..word
        }
    };
    words.into_iter().map(in_order).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_heard_leaves_blanks_and_moves_nothing() {
        let source = join(["Xin chào.\nHỏng rồi.", "Hỏng."].into_iter());
        let part = |segment, chars| Part { segment, chars };
        let parts = [part(Some(0), 10..19), part(Some(1), 0..5)];
        let blanks = " ".repeat(9);
        assert_eq!(
            without(&source, &parts),
            format!("Xin chào.\n{blanks}{SEPARATOR}     ")
        );
        assert_eq!(without("Hỏng. Xin.", &[part(None, 0..5)]), "      Xin.");
        assert_eq!(without("Xin.", &[]), "Xin.");
    }

    #[test]
    fn words_of_segments_are_found_in_the_whole_text() {
        let texts = ["Xin chào!", "Hello.", "Tạm biệt."];
        let source = join(texts.into_iter());
        assert_eq!(split(&source).collect::<Vec<_>>(), texts);
        let word = |text: &str, segment, char_start, char_end| Word {
            text: text.into(),
            start_ms: 0,
            end_ms: 1,
            char_start,
            char_end,
            sentence: 0,
            segment,
        };
        let words = vec![word("chào", Some(0), 4, 8), word("Tạm", Some(2), 0, 3)];
        let chars: Vec<char> = source.chars().collect();
        for found in in_whole(&source, words) {
            let range = found.char_start as usize..found.char_end as usize;
            assert_eq!(chars[range].iter().collect::<String>(), found.text);
        }
        let plain = vec![word("Xin", None, 0, 3)];
        assert_eq!(in_whole("Xin", plain.clone()), plain);
    }

    #[test]
    fn words_that_are_in_no_order_are_put_into_one() {
        let word = |ms: [u64; 2], chars: [u32; 2], sentence| Word {
            text: "x".into(),
            start_ms: ms[0],
            end_ms: ms[1],
            char_start: chars[0],
            char_end: chars[1],
            sentence,
            segment: Some(1),
        };
        let told = vec![
            word([500, 100], [2, 1], 7),
            word([u64::MAX, 3], [u32::MAX, 0], 2),
            word([0, 0], [0, 1], 0),
        ];
        let words = in_whole("a\u{1E}b", told);
        let times = words.iter().map(|word| [word.start_ms, word.end_ms]);
        let last_ms = [MOST_MS; 2];
        assert_eq!(times.collect::<Vec<_>>(), [[500; 2], last_ms, last_ms]);
        let places = words.iter().map(|word| [word.char_start, word.char_end]);
        let last = [u32::MAX; 2];
        assert_eq!(places.collect::<Vec<_>>(), [[4; 2], last, last]);
        assert!(words.iter().all(|word| word.sentence == 7));
    }
}
