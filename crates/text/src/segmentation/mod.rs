//! From a text to the sentences and words that are spoken and subtitled.
//!
//! Our own tokenizer decides what a word is; engines only say when it is
//! heard. All offsets count Unicode code points of the text as it was sent.

mod cost;
mod language;
mod sentences;
mod words;

use unicode_normalization::char::is_combining_mark;

pub use cost::{cost, cost_of};
pub use language::{is_of, looks_vietnamese};
pub use sentences::{ends_alone, is_closer};

/// One sentence: what an engine is given at a time, and the unit of progress.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sentence {
    /// What is to be read. It has exactly one character for each code point
    /// of the source; control characters and pictographs became spaces.
    pub text: String,
    /// Where it starts in the source.
    pub char_start: usize,
    /// Its words in order; there is at least one.
    pub words: Vec<Token>,
    /// What parts it from the sentence before.
    pub pause: Pause,
}

impl Sentence {
    /// The same with letters, digits and plain marks only, all in their places: for an
    /// engine that has crashed on what is written.
    #[must_use]
    pub fn plain(&self) -> Self {
        let mut behind = ' ';
        let plain = |c: char| {
            let is_letter = is_spoken(c) || is_combining_mark(c);
            let is_mark = ".,;:?!".contains(c) && is_blank(behind);
            behind = if is_letter || is_mark { c } else { ' ' };
            behind
        };
        let backwards: String = self.text.chars().rev().map(plain).collect();
        Self {
            text: backwards.chars().rev().collect(),
            ..self.clone()
        }
    }
}

/// How much of a pause a reader makes before a sentence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pause {
    /// It is the first, or the second half of one that was cut.
    None,
    /// Between two sentences.
    Sentence,
    /// Between two paragraphs, where the text has an empty line.
    Paragraph,
}

/// One word of a sentence, or the part of a word that is in this sentence:
/// a word too long for one sentence runs on into the next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// As it stands in the source.
    pub text: String,
    /// Where it starts in the source.
    pub char_start: usize,
    /// Where it ends in the source, exclusive.
    pub char_end: usize,
    /// The word began in an earlier sentence.
    pub continues: bool,
}

/// A half-open range of code points.
type Span = std::ops::Range<usize>;

/// Whether there is anything in the text that can be spoken: a letter or a
/// digit. White space, punctuation and emoji alone are not.
pub fn has_speech(text: &str) -> bool {
    text.chars().any(is_spoken)
}

/// The sentences that have something to speak, in order. Sentences longer
/// than 400 characters or 700 bytes, or of which more is said than for
/// `sentences::MAX_COST` letters, are cut, and so are words that are longer still.
pub fn sentences(text: &str) -> Vec<Sentence> {
    let costs: Vec<u32> = text.chars().map(cost).collect();
    sentences_at(text, &costs)
}

/// The same of a text of which something else is said than what is written: `costs`
/// has for each character how much that is, as [`cost()`] counts it. Of what is said as
/// one the first character has all of it and the others 0, and it is not cut there.
pub fn sentences_at(text: &str, costs: &[u32]) -> Vec<Sentence> {
    let chars: Vec<char> = text.chars().collect();
    let mut words = words::words(text).into_iter().peekable();
    let mut sentences: Vec<Sentence> = Vec::new();
    let mut spoken_until = 0;
    for span in sentences::sentences(&chars, costs) {
        let mut tokens = Vec::new();
        while let Some(word) = words.peek().filter(|word| word.start < span.end) {
            let part = word.start.max(span.start)..word.end.min(span.end);
            let continues = word.start < part.start;
            let runs_on = word.end > part.end;
            if !part.is_empty() {
                tokens.push(token(&chars, part, continues));
            }
            if runs_on {
                break;
            }
            words.next();
        }
        if !tokens.is_empty() {
            sentences.push(Sentence {
                text: chars[span.clone()].iter().copied().map(readable).collect(),
                char_start: span.start,
                words: tokens,
                pause: match sentences.is_empty() {
                    true => Pause::None,
                    false => sentences::pause(&chars, spoken_until, span.start),
                },
            });
            spoken_until = span.end;
        }
    }
    sentences
}

fn token(chars: &[char], span: Span, continues: bool) -> Token {
    Token {
        text: chars[span.clone()].iter().collect(),
        char_start: span.start,
        char_end: span.end,
        continues,
    }
}

/// White space, and control characters, which count as such.
pub fn is_blank(c: char) -> bool {
    c.is_whitespace() || c.is_control()
}

/// A letter or a digit that is not an emoji (🅰 is a letter to Unicode).
fn is_spoken(c: char) -> bool {
    c.is_alphanumeric() && !is_pictograph(c)
}

/// What an engine may see of a character. eSpeak takes some control
/// characters as commands, and reads an emoji out by its name.
fn readable(c: char) -> char {
    if is_blank(c) || is_pictograph(c) {
        ' '
    } else {
        c
    }
}

/// Whether the character is an emoji, a dingbat or a part of one, by block:
/// Miscellaneous Symbols to Dingbats, the pictographic blocks of plane 1, the
/// variation selectors, the keycap and the tags (Unicode 17, Blocks.txt), and
/// the circled M.
fn is_pictograph(c: char) -> bool {
    matches!(c,
        '\u{2600}'..='\u{27BF}'
        | '\u{24C2}'
        | '\u{1F000}'..='\u{1FAFF}'
        | '\u{FE00}'..='\u{FE0F}'
        | '\u{20E3}'
        | '\u{E0000}'..='\u{E007F}')
}

#[cfg(test)]
mod tests;
