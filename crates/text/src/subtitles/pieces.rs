//! The parts of a text that a subtitle does not break.

use unicode_segmentation::UnicodeSegmentation;

use super::breaks::Break;
use super::phrases;
use crate::joined_text;
use crate::segmentation::is_blank;
use crate::synthesis::Word;

/// A word with the punctuation that touches it, a single ideograph, or a line's
/// length of something longer.
pub(super) struct Piece {
    pub text: String,
    /// Code points of `text`.
    pub chars: usize,
    /// White space stands before it in the source.
    pub spaced: bool,
    /// When it begins to be heard.
    pub start_ms: u64,
    /// When it stops being heard; none if no word is in it.
    pub end_ms: Option<u64>,
    /// How good it is to break after it.
    pub after: Break,
}

/// A piece's place in the source, before the words are laid over it.
struct Place {
    text: String,
    start: usize,
    end: usize,
    spaced: bool,
    new_line: bool,
    new_segment: bool,
}

/// When something is heard.
#[derive(Clone, Copy)]
struct Heard {
    start_ms: u64,
    end_ms: u64,
}

/// The pieces of a text, in order, with the times of `words`. `end_ms` is when
/// all sound ends.
pub(super) fn pieces(
    source: &str,
    words: &[Word],
    language: &str,
    line_chars: usize,
    end_ms: u64,
) -> Vec<Piece> {
    let places = places(source, line_chars);
    let texts: Vec<&str> = places.iter().map(|place| &place.text[..]).collect();
    let between_words = phrases::breaks(&texts, language);
    let heard: Vec<Option<Heard>> = places.iter().map(|place| heard(place, words)).collect();
    let starts = starts(&places, &heard, end_ms);
    let is_heard = |at: usize| heard[at].is_some();
    let breaks: Vec<Break> = (0..places.len())
        .map(|at| break_after(&places, at, is_heard, words).unwrap_or(between_words[at]))
        .collect();
    let with_times = places.into_iter().zip(starts).zip(heard).zip(breaks);
    with_times
        .map(|(((place, start_ms), heard), after)| Piece {
            chars: place.end - place.start,
            text: place.text,
            spaced: place.spaced,
            start_ms,
            end_ms: heard.map(|heard| heard.end_ms),
            after,
        })
        .collect()
}

/// Cuts the source at white space and control characters, between ideographs,
/// and wherever a piece would be longer than a line.
fn places(source: &str, line_chars: usize) -> Vec<Place> {
    let mut places: Vec<Place> = Vec::new();
    let mut spaced = false;
    let (mut new_line, mut new_segment) = (false, false);
    let mut at = 0;
    for grapheme in source.graphemes(true) {
        let chars = grapheme.chars().count();
        let mut joins = !spaced
            && places.last().is_some_and(|last| {
                last.end - last.start + chars <= line_chars && !may_part(&last.text, grapheme)
            });
        // One character at a time, for the marks piled on one letter can be
        // more than a line holds.
        for c in grapheme.chars() {
            if is_blank(c) {
                spaced = true;
                new_line |= is_newline(c);
                new_segment |= c == joined_text::SEPARATOR;
                joins = false;
            } else {
                match places.last_mut() {
                    Some(last) if joins && last.end - last.start < line_chars => {
                        last.text.push(c);
                        last.end = at + 1;
                    }
                    _ => places.push(Place {
                        text: c.into(),
                        start: at,
                        end: at + 1,
                        spaced,
                        new_line,
                        new_segment,
                    }),
                }
                joins = true;
                spaced = false;
                new_line = false;
                new_segment = false;
            }
            at += 1;
        }
    }
    places
}

/// Whether two characters that touch may be parted: two ideographs, and after
/// the punctuation of such scripts. Katakana spell one word, and a small kana
/// belongs to the one before it.
fn may_part(before: &str, after: &str) -> bool {
    let (Some(before), Some(after)) = (before.chars().last(), after.chars().next()) else {
        return false;
    };
    let is_one_word = (is_katakana(before) && is_katakana(after)) || leans_back(after);
    (is_ideograph(before) || is_wide_punctuation(before)) && is_ideograph(after) && !is_one_word
}

fn heard(place: &Place, words: &[Word]) -> Option<Heard> {
    let from = words.partition_point(|word| word.char_end as usize <= place.start);
    let to = words.partition_point(|word| (word.char_start as usize) < place.end);
    let words = words.get(from..to)?;
    let (first, last) = (words.first()?, words.last()?);
    Some(Heard {
        start_ms: time_at(first, place.start),
        end_ms: time_at(last, place.end),
    })
}

/// When a word has been spoken up to a place in it, as if every character took
/// the same time.
fn time_at(word: &Word, place: usize) -> u64 {
    let (start, end) = (u64::from(word.char_start), u64::from(word.char_end));
    let place = (place as u64).clamp(start, end.max(start));
    let time = word.end_ms.saturating_sub(word.start_ms);
    word.start_ms + time * (place - start) / end.saturating_sub(start).max(1)
}

/// When each piece starts. The first starts with the first word; others
/// without a word follow the last word before them, and share the time until
/// the next word by their length, but none takes any of the word's own time.
fn starts(places: &[Place], heard: &[Option<Heard>], end_ms: u64) -> Vec<u64> {
    let with_words = heard.iter().enumerate();
    let mut known: Vec<(usize, u64)> = with_words
        .filter_map(|(at, heard)| Some((at, heard.as_ref()?.start_ms)))
        .collect();
    match known.first_mut() {
        Some((at, _)) => *at = 0,
        None => known.push((0, 0)),
    }
    known.push((places.len(), end_ms));

    let mut starts = Vec::with_capacity(places.len());
    for pair in known.windows(2) {
        let ((from, start_ms), (to, next_ms)) = (pair[0], pair[1]);
        let chars = |places: &[Place]| -> usize {
            places.iter().map(|place| place.end - place.start).sum()
        };
        let all = chars(&places[from..to]).max(1) as u64;
        let (mut before, mut heard_until) = (0, start_ms);
        for (place, heard) in places[from..to].iter().zip(&heard[from..to]) {
            let share = start_ms + next_ms.saturating_sub(start_ms) * before / all;
            starts.push(share.max(heard_until.min(next_ms)));
            before += (place.end - place.start) as u64;
            heard_until = heard.map_or(heard_until, |heard| heard.end_ms);
        }
    }
    starts
}

/// How good it is to break after the piece at `at`, if more than a blank tells.
fn break_after(
    places: &[Place],
    at: usize,
    is_heard: impl Fn(usize) -> bool,
    words: &[Word],
) -> Option<Break> {
    let (Some(before), Some(after)) = (places.get(at), places.get(at + 1)) else {
        return Some(Break::Sentence);
    };
    if after.new_segment {
        return Some(Break::Segment);
    }
    let sentence = |word: Option<usize>| Some(words.get(word?)?.sentence);
    let ends_sentence = |end: usize| {
        let next_word = words.partition_point(|word| (word.char_start as usize) < end);
        let next = sentence(Some(next_word));
        next.is_some() && sentence(next_word.checked_sub(1)) != next
    };
    // `Đi đâu? — Về nhà.`
    let begins_speech = |at: usize| {
        let before = at.checked_sub(1).and_then(|before| places.get(before));
        is_dash(&places[at].text)
            && before.is_some_and(|before| ends_clearly(&before.text) && ends_sentence(before.end))
    };
    let leads = |at: usize| !is_heard(at) && (leads_on(&places[at], at == 0) || begins_speech(at));
    let follows = |at: usize| !is_heard(at) && !leads(at);
    let parted = after.spaced || may_part(&before.text, &after.text);
    if !parted || leads(at) || follows(at + 1) {
        return Some(Break::Glued);
    }
    if ends_sentence(before.end) {
        Some(Break::Sentence)
    } else if ends_clause(&before.text) {
        Some(Break::Clause)
    } else {
        None
    }
}

/// Whether a piece without a word belongs to what comes after it: it begins a
/// line (`- `, `* `), or it opens something.
fn leads_on(place: &Place, is_first: bool) -> bool {
    is_first
        || place.new_line
        || place
            .text
            .starts_with(['«', '“', '‘', '(', '[', '{', '¿', '¡'])
}

fn is_dash(piece: &str) -> bool {
    matches!(piece, "-" | "–" | "—" | "―")
}

/// Whether a piece ends as sentences do.
fn ends_clearly(piece: &str) -> bool {
    piece.ends_with(['.', '!', '?', '…', '"', '”', '»', ')'])
}

/// Whether a piece ends with punctuation at which a reader pauses. A full stop
/// that ends no sentence is not such.
fn ends_clause(piece: &str) -> bool {
    piece.ends_with(|c| {
        is_wide_punctuation(c)
            || matches!(
                c,
                ',' | ';'
                    | ':'
                    | '!'
                    | '?'
                    | '…'
                    | '–'
                    | '—'
                    | '-'
                    | ')'
                    | ']'
                    | '}'
                    | '”'
                    | '"'
                    | '»'
                    | '،'
                    | '؛'
            )
    })
}

fn is_newline(c: char) -> bool {
    matches!(
        c,
        '\n' | '\r' | joined_text::SEPARATOR | '\u{85}' | '\u{2028}' | '\u{2029}'
    )
}

/// Kana and the unified ideographs of planes 0, 2 and 3.
fn is_ideograph(c: char) -> bool {
    matches!(c, '\u{3040}'..='\u{30FF}' | '\u{3400}'..='\u{9FFF}' | '\u{F900}'..='\u{FAFF}' | '\u{20000}'..='\u{3FFFF}')
}

/// With the sign of a long vowel, but without the middle dot.
fn is_katakana(c: char) -> bool {
    matches!(c, '\u{30A1}'..='\u{30FA}' | '\u{30FC}'..='\u{30FE}')
}

/// Small kana and the signs that repeat: none of them begins a line (JIS X 4051).
fn leans_back(c: char) -> bool {
    "ぁぃぅぇぉっゃゅょゎァィゥェォッャュョヮヵヶー々ゝゞヽヾ".contains(c)
}

fn is_wide_punctuation(c: char) -> bool {
    matches!(
        c,
        '，' | '。' | '、' | '！' | '？' | '；' | '：' | '」' | '』' | '）' | '】'
    )
}
