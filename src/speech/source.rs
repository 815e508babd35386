//! The text of a speech in one piece, where it is of several segments.

use super::Word;

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

/// The same words with offsets in the whole source, where theirs count within
/// their segments.
pub fn in_whole(source: &str, words: Vec<Word>) -> Vec<Word> {
    if words.iter().all(|word| word.segment.is_none()) {
        return words;
    }
    let mut start = 0_u32;
    let mut starts = Vec::new();
    for text in split(source) {
        starts.push(start);
        start += u32::try_from(text.chars().count() + 1).unwrap_or(0);
    }
    let moved = |word: Word| {
        let at = word.segment.unwrap_or(0) as usize;
        let start = starts.get(at).copied().unwrap_or(0);
        Word {
            char_start: word.char_start + start,
            char_end: word.char_end + start,
            ..word
        }
    };
    words.into_iter().map(moved).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
