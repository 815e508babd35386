//! From word times to subtitles.
//!
//! Rules, where the earlier wins: in time with the sound; no overlap; two
//! lines of at most 42 characters; 17 characters a second to read in
//! Vietnamese, 20 in other languages; at least 5/6 s and at most 7 s (Netflix
//! Timed Text Style Guides, general and Vietnamese). Cues and lines break at
//! punctuation before anything else, then before conjunctions and prepositions;
//! not after a small word that leads on, and last of all within what is read as
//! one: a name, a number and its unit, a Vietnamese word of several syllables.
//!
//! source → pieces that are not broken → the cheapest way to cut them into
//! cues → lines and times of each cue.

use std::ops::Range;

use crate::joined_text::MOST_MS;
use crate::synthesis::Word;

mod breaks;
mod compounds;
mod cost;
mod formats;
mod function_words;
mod phrases;
mod pieces;
mod write;

use breaks::Break;
pub use formats::SubtitleFormat;
use pieces::Piece;
pub use write::{to_ass, to_karaoke_vtt, to_srt, to_vtt};

/// How much a cue holds, and for how long it is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Style {
    /// The most code points of a line.
    line_chars: usize,
    /// One line or two.
    lines: usize,
    /// The most words of a cue.
    words: usize,
    /// The shortest and longest that a cue should be shown.
    shortest_ms: u64,
    longest_ms: u64,
    /// The width and height of the picture that it is for, in pixels.
    picture: (u32, u32),
}

impl Style {
    /// For films and for everything that is wider than high.
    pub const STANDARD: Self = Self {
        line_chars: 42,
        lines: 2,
        words: usize::MAX,
        shortest_ms: 833,
        longest_ms: 7000,
        picture: (1920, 1080),
    };

    /// For vertical video: one to five words at a time, as they are said.
    pub const SHORT: Self = Self {
        line_chars: 24,
        lines: 1,
        words: 5,
        shortest_ms: 300,
        longest_ms: 2500,
        picture: (1080, 1920),
    };
}

/// One subtitle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cue {
    /// Milliseconds from the start of the gapless PCM.
    pub start_ms: u64,
    /// Milliseconds from the start of the gapless PCM; not before `start_ms`.
    pub end_ms: u64,
    /// One or two lines, none of them empty.
    pub lines: Vec<String>,
    /// The same text in parts that light up one after another.
    pub parts: Vec<Part>,
}

/// A word of a cue with what touches it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// What is written.
    pub text: String,
    /// What stands between it and the part before: nothing, a blank, or the end
    /// of the upper line.
    pub before: &'static str,
    /// When it begins to be heard.
    pub start_ms: u64,
}

/// The subtitles of a text, in order and without overlap.
///
/// The text of all cues together is the source but for white space and control
/// characters: punctuation, emoji and symbols are kept. `words` are in order, as
/// [`in_whole`](crate::joined_text::in_whole) makes them.
/// The first cue starts with the first word; the last ends between the end of
/// the last word and `duration_ms`. `language` is BCP 47.
pub fn cues(
    style: Style,
    source: &str,
    words: &[Word],
    language: &str,
    duration_ms: u64,
) -> Vec<Cue> {
    let spoken_until = words.last().map_or(0, |word| word.end_ms);
    let end_ms = duration_ms.min(MOST_MS).max(spoken_until);
    let pieces = pieces::pieces(source, words, language, style.line_chars, end_ms);
    let text = Text::new(style, pieces, end_ms, reading_speed(language));
    let mut cues: Vec<Cue> = cost::cheapest_cuts(&text)
        .into_iter()
        .map(|cut| Cue {
            start_ms: text.pieces[cut.start].start_ms,
            end_ms: text.shown_until(cut.clone()),
            parts: text.parts(cut.clone()),
            lines: text.lines(cut),
        })
        .collect();
    if let Some(last) = cues.last_mut() {
        last.end_ms = last.end_ms.max(spoken_until);
    }
    cues
}

/// Characters a second that people can read.
fn reading_speed(language: &str) -> u64 {
    match language.split('-').next() {
        Some(language) if language.eq_ignore_ascii_case("vi") => 17,
        _ => 20,
    }
}

/// A text in pieces, and what is the same for all its cues.
struct Text {
    style: Style,
    pieces: Vec<Piece>,
    /// From which to which column each piece would be if the whole text were
    /// one line. Widths are asked for so often that they must be cheap.
    columns: Vec<Cut>,
    /// For each piece, how many pieces before it end a sentence.
    sentence_ends: Vec<usize>,
    end_ms: u64,
    reading_speed: u64,
}

/// A range of pieces.
type Cut = Range<usize>;

impl Text {
    fn new(style: Style, pieces: Vec<Piece>, end_ms: u64, reading_speed: u64) -> Self {
        let mut columns = Vec::with_capacity(pieces.len());
        let mut sentence_ends = Vec::with_capacity(pieces.len());
        let (mut column, mut ends) = (0, 0);
        for piece in &pieces {
            sentence_ends.push(ends);
            ends += usize::from(piece.after <= Break::Sentence);
            let start = column + usize::from(piece.spaced);
            column = start + piece.chars;
            columns.push(start..column);
        }
        Self {
            style,
            pieces,
            columns,
            sentence_ends,
            end_ms,
            reading_speed,
        }
    }

    /// How many code points the pieces are on one line.
    fn width(&self, cut: Cut) -> usize {
        self.columns[cut.end - 1].end - self.columns[cut.start].start
    }

    /// Where the pieces may be cut into two lines, each short enough; the
    /// longest upper line first.
    fn line_breaks(&self, cut: Cut) -> impl Iterator<Item = usize> {
        let columns = &self.columns[cut.clone()];
        let last_column = self.columns[cut.start].start + self.style.line_chars;
        let upper = columns.partition_point(|piece| piece.end <= last_column);
        let longest = (cut.start + upper).min(cut.end - 1);
        (cut.start + 1..=longest)
            .rev()
            .take_while(move |at| self.width(*at..cut.end) <= self.style.line_chars)
    }

    fn fits(&self, cut: Cut) -> bool {
        let is_word = |piece: &&Piece| piece.end_ms.is_some();
        if self.pieces[cut.clone()].iter().filter(is_word).count() > self.style.words {
            return false;
        }
        let inner = &self.pieces[cut.start..cut.end - 1];
        if inner.iter().any(|piece| piece.after == Break::Segment) {
            return false;
        }
        let in_one_line = self.width(cut.clone()) <= self.style.line_chars;
        in_one_line || (self.style.lines == 2 && self.line_breaks(cut).next().is_some())
    }

    /// The lines of a cue: one if it is short enough, else two, broken at
    /// punctuation and of nearly the same length, the lower one longer.
    fn lines(&self, cut: Cut) -> Vec<String> {
        match self.line_break(cut.clone()) {
            Some(at) => vec![self.line(cut.start..at), self.line(at..cut.end)],
            None => vec![self.line(cut)],
        }
    }

    /// Where the lower line of a cue begins.
    fn line_break(&self, cut: Cut) -> Option<usize> {
        if self.width(cut.clone()) <= self.style.line_chars {
            return None;
        }
        self.line_breaks(cut.clone()).min_by_key(|at| {
            let upper = self.width(cut.start..*at);
            let lower = self.width(*at..cut.end);
            let uneven = upper.abs_diff(lower) + usize::from(upper > lower);
            self.pieces[at - 1].after.line_cost() + uneven
        })
    }

    fn parts(&self, cut: Cut) -> Vec<Part> {
        let line_break = self.line_break(cut.clone());
        let pieces = cut.clone().zip(&self.pieces[cut.clone()]);
        let parts = pieces.map(|(at, piece)| Part {
            text: piece.text.clone(),
            before: match piece.spaced {
                _ if at == cut.start => "",
                _ if line_break == Some(at) => "\n",
                true => " ",
                false => "",
            },
            start_ms: piece.start_ms,
        });
        parts.collect()
    }

    fn line(&self, cut: Cut) -> String {
        let mut line = String::new();
        for piece in &self.pieces[cut] {
            if piece.spaced && !line.is_empty() {
                line.push(' ');
            }
            line.push_str(&piece.text);
        }
        line
    }

    /// When the next cue starts, or the sound ends.
    fn next_start(&self, cut: &Cut) -> u64 {
        let next = self.pieces.get(cut.end);
        next.map_or(self.end_ms, |piece| piece.start_ms)
    }

    /// How long it takes to read a cue, and at least as long as one is shown.
    fn needed_ms(&self, cut: Cut) -> u64 {
        let chars = self.width(cut) as u64;
        let needed = (chars * 1000).div_ceil(self.reading_speed);
        needed.max(self.style.shortest_ms)
    }

    /// When the last sound of a cue ends.
    fn heard_until(&self, cut: &Cut) -> u64 {
        let pieces = &self.pieces[cut.clone()];
        let last = pieces.iter().rev().find_map(|piece| piece.end_ms);
        last.unwrap_or(self.pieces[cut.start].start_ms)
    }

    /// A cue stays until its last sound, and on into a pause if it could not
    /// be read so soon, but never into the next cue.
    fn shown_until(&self, cut: Cut) -> u64 {
        let start = self.pieces[cut.start].start_ms;
        let read = start + self.needed_ms(cut.clone());
        self.heard_until(&cut).max(read).min(self.next_start(&cut))
    }
}

#[cfg(test)]
mod tests;
