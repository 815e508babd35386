//! Speech marks as Amazon Polly writes them: one JSON object a line, so that
//! what was made for those reads ours (docs.aws.amazon.com/polly/latest/dg,
//! "Speech mark output").

use serde::Serialize;

use super::Word;
use super::text::is_blank;

#[derive(Serialize)]
struct Mark<'a> {
    /// Milliseconds from the start of the audio.
    time: u64,
    #[serde(rename = "type")]
    kind: &'static str,
    /// Bytes of the text as it was sent, not characters.
    start: usize,
    /// Exclusive.
    end: usize,
    value: &'a str,
}

/// The marks of all sentences and words, in order of time.
pub fn to_marks(source: &str, words: &[Word]) -> String {
    let bytes: Vec<usize> = source.char_indices().map(|(at, _)| at).collect();
    let byte = |char: u32| {
        let at = usize::try_from(char).unwrap_or(usize::MAX);
        bytes.get(at).copied().unwrap_or(source.len())
    };
    let mut lines = String::new();
    let mut write = |kind, time, start: usize, end: usize| {
        let value = source.get(start..end).unwrap_or_default();
        let mark = Mark {
            time,
            kind,
            start,
            end,
            value,
        };
        if let Ok(line) = serde_json::to_string(&mark) {
            lines.push_str(&line);
            lines.push('\n');
        }
    };
    for sentence in words.chunk_by(|one, next| one.sentence == next.sentence) {
        let (Some(first), Some(last)) = (sentence.first(), sentence.last()) else {
            continue;
        };
        let start = byte(first.char_start);
        // What ends a sentence has no word: up to the next white space.
        let rest = &source[byte(last.char_end)..];
        let tail = rest.find(is_blank).unwrap_or(rest.len());
        write(
            "sentence",
            first.start_ms,
            start,
            byte(last.char_end) + tail,
        );
        for word in sentence {
            write(
                "word",
                word.start_ms,
                byte(word.char_start),
                byte(word.char_end),
            );
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(text: &str, start_ms: u64, char_start: u32, sentence: u32) -> Word {
        Word {
            text: text.into(),
            start_ms,
            end_ms: start_ms + 100,
            char_start,
            char_end: char_start + u32::try_from(text.chars().count()).unwrap(),
            sentence,
            segment: None,
        }
    }

    #[test]
    fn sentences_and_words_are_marked_with_bytes_of_the_source() {
        let source = "Đẹp \"quá\"! Ừ.";
        let words = [
            word("Đẹp", 0, 0, 0),
            word("quá", 300, 5, 0),
            word("Ừ", 900, 11, 1),
        ];
        let marks = to_marks(source, &words);
        for mark in marks.lines() {
            let mark: serde_json::Value = serde_json::from_str(mark).unwrap();
            let at = |name: &str| usize::try_from(mark[name].as_u64().unwrap()).unwrap();
            assert_eq!(source.get(at("start")..at("end")), mark["value"].as_str());
        }
        assert_eq!(marks.lines().count(), 5);
        assert!(marks.starts_with(r#"{"time":0,"type":"sentence","start":0,"end":"#));
        assert!(marks.contains(r#""value":"Đẹp \"quá\"!"}"#), "{marks}");
    }
}
