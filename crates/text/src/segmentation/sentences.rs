//! Where the sentences of a text end.

use super::{Pause, Span, is_blank, is_spoken};

/// The most code points that one sentence may have. It keeps the engine's
/// answer to one sentence small, and progress and cancelling lively.
pub(super) const MAX_CHARS: usize = 400;

/// The most bytes that one sentence may have: eSpeak NG cuts a clause after
/// 800 bytes or 300 words of source, wherever that is. 400 characters cannot
/// hold more than 200 words with spaces between them, nor 700 bytes more than
/// 234 ideographs.
pub(super) const MAX_BYTES: usize = 700;

/// The most that may be said for one sentence, as [`super::cost()`] counts it: two
/// minutes or so at the usual speed, and five where a voice reads out the names of
/// another script's letters. As much as the bounds above allow of any script, so that
/// what people write in sentences is cut by those; numbers, symbols and pronunciations
/// are cut by this one.
pub(super) const MAX_COST: u32 = 1600;

/// Words whose full stop does not end a sentence, in lower case.
const ABBREVIATIONS: &[&str] = &[
    // Vietnamese: places, titles, degrees, streets.
    "tp", "tx", "tt", "q", "p", "đ", "gs", "pgs", "ts", "ths", "bs", "cn", "ks", "ls", "nxb", "stt",
    // English: titles, references, companies, months.
    "mr", "mrs", "ms", "dr", "prof", "sr", "jr", "st", "vs", "no", "nos", "vol", "fig", "ch", "pp",
    "ed", "cf", "e.g", "i.e", "approx", "inc", "ltd", "co", "corp", "gen", "col", "sgt", "lt",
    "capt", "rev", "hon", "dept", "jan", "feb", "aug", "sept", "oct", "nov", "dec",
];

/// The sentences, in order and without the white space around them. Together
/// they cover everything but white space.
pub(super) fn sentences(chars: &[char], costs: &[u32]) -> Vec<Span> {
    let mut found = Vec::new();
    let mut start = 0;
    while start < chars.len() {
        let end = sentence_end(chars, start);
        cut(chars, costs, start..end, &mut found);
        start = end;
    }
    found
}

/// The pause between a sentence that ends at `end` and the next, which begins at
/// `start`. What lies between them may be sentences without a word.
pub(super) fn pause(chars: &[char], end: usize, start: usize) -> Pause {
    let between = &chars[end..start];
    let newlines = between.iter().filter(|c| is_newline(**c)).count();
    // A line of Windows ends with two characters.
    let returns = between.iter().filter(|c| **c == '\r').count();
    let ends = |c: &char| is_terminator(*c) || is_closer(*c);
    match newlines - returns.min(newlines / 2) {
        0 if !chars[..end].last().is_some_and(ends) => Pause::None,
        0 | 1 => Pause::Sentence,
        _ => Pause::Paragraph,
    }
}

/// Where the sentence that begins at `start` ends: after `.`, `!` or `?` (and
/// what closes with it) before white space, after an ideographic full stop,
/// and at the end of a line. This is the sense of UAX #29, section 5, with
/// what it leaves to tailoring: abbreviations, numbered lines, ellipses, and
/// lines that only wrap.
fn sentence_end(chars: &[char], start: usize) -> usize {
    let mut at = start;
    while at < chars.len() {
        if is_terminator(chars[at]) {
            let mut after = at + 1;
            while chars
                .get(after)
                .is_some_and(|c| is_terminator(*c) || is_closer(*c))
            {
                after += 1;
            }
            if ends_sentence(chars, start, at..after) {
                return after;
            }
            at = after;
        } else if is_newline(chars[at]) {
            let after = skip_blank(chars, at);
            if !line_only_wraps(chars, at..after) {
                return after;
            }
            at = after;
        } else {
            at += 1;
        }
    }
    chars.len()
}

/// Whether the run of terminators and closers at `run` ends the sentence that
/// began at `start`.
fn ends_sentence(chars: &[char], start: usize, run: Span) -> bool {
    let marks = &chars[run.clone()];
    if marks.iter().copied().any(ends_alone) {
        return true;
    }
    match chars.get(run.end) {
        None => return true,
        Some(next) if !is_blank(*next) => return false,
        Some(_) => {}
    }
    let next_is_lower = chars
        .get(skip_blank(chars, run.end))
        .is_some_and(|c| c.is_lowercase());
    match marks {
        ['.'] => !next_is_lower && !is_abbreviation(chars, start, run.start),
        // `"Why?" he asked` and `well... yes` go on.
        _ if marks
            .iter()
            .any(|c| is_closer(*c) || matches!(c, '.' | '…')) =>
        {
            !next_is_lower
        }
        _ => true,
    }
}

/// Whether the full stop at `dot` belongs to what stands before it: an
/// abbreviation, an initial, or the number of a line (`1. First`).
fn is_abbreviation(chars: &[char], start: usize, dot: usize) -> bool {
    let first = chars[start..dot]
        .iter()
        .rposition(|c| !c.is_alphanumeric() && *c != '.')
        .map_or(start, |before| start + before + 1);
    let token = &chars[first..dot];
    match token {
        [] => false,
        [initial] if initial.is_uppercase() => true,
        _ if token.iter().all(char::is_ascii_digit) => {
            token.len() <= 3 && !chars[start..first].iter().copied().any(is_spoken)
        }
        // `U.S`, `a.m`
        _ if token.len() >= 3 && token.iter().skip(1).step_by(2).all(|c| *c == '.') => true,
        // Longer than any of the list: not worth building a string for.
        _ if token.len() > 8 => false,
        _ => {
            let token: String = token.iter().flat_map(|c| c.to_lowercase()).collect();
            ABBREVIATIONS.contains(&token.as_str())
        }
    }
}

/// Whether the white space at `blank`, which begins with a line's end, is only
/// where a line was wrapped: one line's end, and the text goes on in lower
/// case.
fn line_only_wraps(chars: &[char], blank: Span) -> bool {
    let ends = chars[blank.clone()]
        .iter()
        .filter(|c| is_newline(**c))
        .count();
    let one_line = ends == 1 || (ends == 2 && chars[blank.start..].starts_with(&['\r', '\n']));
    one_line && chars.get(blank.end).is_some_and(|c| c.is_lowercase())
}

/// Puts a sentence into `found`, in pieces if it is too long.
fn cut(chars: &[char], costs: &[u32], sentence: Span, found: &mut Vec<Span>) {
    let mut rest = trim(chars, sentence);
    while !rest.is_empty() {
        let limit = longest(chars, costs, rest.clone());
        let end = if limit < rest.end {
            cut_point(chars, costs, rest.start..limit)
        } else {
            limit
        };
        found.push(trim(chars, rest.start..end));
        rest = trim(chars, end..rest.end);
    }
}

/// How far a sentence that begins where `rest` does may go: what is said as one at
/// least, however much that is.
fn longest(chars: &[char], costs: &[u32], rest: Span) -> usize {
    let (mut bytes, mut cost) = (0, 0);
    let mut end = rest.start;
    while end < rest.end && end - rest.start < MAX_CHARS {
        bytes += chars[end].len_utf8();
        let said = costs.get(end).copied().unwrap_or_default();
        cost += said;
        let is_too_much = cost > MAX_COST && said > 0 && end > rest.start;
        if bytes > MAX_BYTES || is_too_much {
            break;
        }
        end += 1;
    }
    end
}

/// The best place to cut in `window`, which is not the end of the text: after the last
/// punctuation of its second half, else at its last white space, else at its end,
/// inside a word. What is said as one stays whole where it fits.
fn cut_point(chars: &[char], costs: &[u32], window: Span) -> usize {
    let half = window.start + window.len() / 2;
    let is_whole = |at: &usize| costs.get(*at).is_none_or(|cost| *cost > 0);
    let after_punctuation = (half..window.end - 1).rev().find(|at| {
        let is_end = is_wide_comma(chars[*at]) || (is_pause(chars[*at]) && is_blank(chars[at + 1]));
        is_end && is_whole(&(at + 1))
    });
    let at_blank = || {
        (window.start + 1..window.end)
            .rev()
            .find(|at| is_blank(chars[*at]) && is_whole(at))
    };
    let between = || (window.start + 1..=window.end).rev().find(is_whole);
    match after_punctuation {
        Some(at) => at + 1,
        None => at_blank().or_else(between).unwrap_or(window.end),
    }
}

fn trim(chars: &[char], mut span: Span) -> Span {
    while !span.is_empty() && is_blank(chars[span.start]) {
        span.start += 1;
    }
    while !span.is_empty() && is_blank(chars[span.end - 1]) {
        span.end -= 1;
    }
    span
}

fn skip_blank(chars: &[char], mut at: usize) -> usize {
    while chars.get(at).is_some_and(|c| is_blank(*c)) {
        at += 1;
    }
    at
}

fn is_newline(c: char) -> bool {
    matches!(
        c,
        '\n' | '\r' | '\u{0B}' | '\u{0C}' | '\u{85}' | '\u{2028}' | '\u{2029}'
    )
}

pub(super) fn is_terminator(c: char) -> bool {
    matches!(
        c,
        '.' | '!'
            | '?'
            | '…'
            | '。'
            | '！'
            | '？'
            | '．'
            | '｡'
            | '؟'
            | '۔'
            | '।'
            | '॥'
            | '‼'
            | '⁇'
            | '⁈'
            | '⁉'
    )
}

/// Whether it ends a sentence also where no white space follows.
pub fn ends_alone(c: char) -> bool {
    matches!(c, '。' | '！' | '？' | '．' | '｡')
}

/// Whether it closes a quotation or a bracket.
pub fn is_closer(c: char) -> bool {
    matches!(
        c,
        '"' | '\'' | ')' | ']' | '}' | '”' | '’' | '»' | '›' | '」' | '』' | '）' | '】'
    )
}

/// Punctuation at which a reader pauses inside a sentence.
fn is_pause(c: char) -> bool {
    is_terminator(c) || is_closer(c) || matches!(c, ',' | ';' | ':' | '–' | '—' | '،' | '؛')
}

fn is_wide_comma(c: char) -> bool {
    matches!(c, '，' | '、' | '；' | '：')
}
