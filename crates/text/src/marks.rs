//! Speech marks as Amazon Polly writes them: one JSON object a line, so that
//! what was made for those reads ours (docs.aws.amazon.com/polly/latest/dg,
//! "Speech mark output").

use serde::Serialize;

use crate::SaturatingFrom as _;
use crate::segmentation::{ends_alone, is_blank, is_closer};
use crate::synthesis::Word;

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
        let at = usize::saturating_from(char);
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
    let sentences = || words.chunk_by(|one, next| one.sentence == next.sentence);
    let mut next_word = sentences().skip(1).filter_map(<[Word]>::first);
    for sentence in sentences() {
        let (Some(first), Some(last)) = (sentence.first(), sentence.last()) else {
            continue;
        };
        let start = byte(first.char_start);
        let end = byte(last.char_end);
        let next = next_word
            .next()
            .map_or(source.len(), |word| byte(word.char_start));
        let tail = tail(source.get(end..next).unwrap_or_default());
        write("sentence", first.start_ms, start, end + tail);
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

/// How many bytes of what lies between a sentence's last word and the next one's first
/// belong to the sentence: the marks that end it, which have no word. Scripts without
/// blanks go on at once.
fn tail(between: &str) -> usize {
    let mut has_ended = false;
    for (at, c) in between.char_indices() {
        if is_blank(c) || (has_ended && !ends_alone(c) && !is_closer(c)) {
            return at;
        }
        has_ended |= ends_alone(c);
    }
    between.len()
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
        for mark in marks(source, &words) {
            let at = |name: &str| usize::try_from(mark[name].as_u64().unwrap()).unwrap();
            assert_eq!(source.get(at("start")..at("end")), mark["value"].as_str());
        }
        let marks = to_marks(source, &words);
        assert_eq!(marks.lines().count(), 5);
        assert!(marks.starts_with(r#"{"time":0,"type":"sentence","start":0,"end":"#));
        assert!(marks.contains(r#""value":"Đẹp \"quá\"!"}"#), "{marks}");
    }

    /// Each mark that was made, read again.
    fn marks(source: &str, words: &[Word]) -> Vec<serde_json::Value> {
        let marks = to_marks(source, words);
        marks
            .lines()
            .map(|mark| serde_json::from_str(mark).unwrap())
            .collect()
    }

    fn sentences(source: &str, words: &[Word]) -> Vec<String> {
        let marks = marks(source, words).into_iter();
        let sentences = marks.filter(|mark| mark["type"] == "sentence");
        sentences
            .map(|mark| mark["value"].as_str().unwrap().to_owned())
            .collect()
    }

    #[test]
    fn a_sentence_ends_where_the_next_begins_also_without_a_blank() {
        let source = "他说：“你好。”“再见！”我走了。好";
        let words = [
            word("他说", 0, 0, 0),
            word("你好", 1, 4, 0),
            word("再见", 2, 9, 1),
            word("我走了", 3, 13, 2),
            word("好", 4, 17, 3),
        ];
        assert_eq!(
            sentences(source, &words),
            ["他说：“你好。”", "再见！”", "我走了。", "好"]
        );
        // Nor does it take what was left out with it, or the rest of one that was cut.
        let source = "一。二二二。三四";
        let words = [
            word("一", 0, 0, 0),
            word("三", 1, 6, 2),
            word("四", 2, 7, 3),
        ];
        assert_eq!(sentences(source, &words), ["一。", "三", "四"]);
    }
}
