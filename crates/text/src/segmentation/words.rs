//! Where the words of a text are.

use unicode_normalization::char::is_combining_mark;
use unicode_segmentation::UnicodeSegmentation;

use super::sentences::is_terminator;
use super::{Span, is_blank, is_spoken};

/// The words of a text, in order, as ranges of code points. Words are those of
/// Unicode's default rules (UAX #29, section 4) that have a letter or a digit,
/// so `don't`, `3,14` and `TP.HCM` are one word each; web and mail addresses
/// are one word too, which the rules alone would cut.
pub(super) fn words(text: &str) -> Vec<Span> {
    let mut found = Vec::new();
    let mut seen = 0;
    for address in addresses(text) {
        found.extend(plain_words(text, seen..address.start));
        seen = address.end;
        found.push(address);
    }
    found.extend(plain_words(text, seen..text.len()));
    in_code_points(text, found)
}

/// Byte ranges of the words by Unicode's rules in one part of the text.
fn plain_words(text: &str, part: Span) -> impl Iterator<Item = Span> {
    segments(&text[part])
        .filter(|segment| segment.chars().any(is_spoken))
        // A combining mark makes one segment with what is before it: a blank, or
        // what ends a sentence; a narrow blank (U+202F) with what it is beside.
        .map(move |segment| {
            let is_before = |c| is_blank(c) || is_terminator(c);
            let segment = segment.trim_start_matches(is_before);
            range_of(text, segment.trim_end_matches(is_blank))
        })
}

/// The text cut where Unicode's rules do so, but before no combining mark: which ones
/// there are is not known alike to all that put marks in order and that cut.
fn segments(text: &str) -> impl Iterator<Item = &str> {
    let bounds = text.split_word_bound_indices();
    let starts = bounds.filter(|(at, segment)| *at == 0 || !segment.starts_with(is_combining_mark));
    let mut starts = starts.map(|(at, _)| at).peekable();
    std::iter::from_fn(move || {
        let start = starts.next()?;
        let end = starts.peek().copied().unwrap_or(text.len());
        Some(&text[start..end])
    })
}

/// Where a part of the text is in it, in bytes.
fn range_of(text: &str, part: &str) -> Span {
    let start = part.as_ptr().addr() - text.as_ptr().addr();
    start..start + part.len()
}

/// Byte ranges of the web and mail addresses. They are looked for in runs of
/// ASCII without spaces, since that is all they can be made of.
fn addresses(text: &str) -> impl Iterator<Item = Span> {
    text.split(|c: char| !c.is_ascii_graphic() || matches!(c, '<' | '>' | '"'))
        .filter_map(|run| {
            let run = run.trim_start_matches(|c: char| !c.is_ascii_alphanumeric());
            let run = run.trim_end_matches(|c: char| !c.is_ascii_alphanumeric() && c != '/');
            is_address(run).then(|| range_of(text, run))
        })
}

fn is_address(run: &str) -> bool {
    let is_host = |host: &str| {
        host.contains('.')
            && host.starts_with(|c: char| c.is_ascii_alphanumeric())
            && !host.contains('@')
    };
    if run.contains("://") || run.starts_with("www.") {
        return true;
    }
    match run.split_once('@') {
        Some((user, host)) => !user.is_empty() && is_host(host),
        None => false,
    }
}

/// Turns ascending byte ranges into ranges of code points in one pass.
fn in_code_points(text: &str, ranges: Vec<Span>) -> Vec<Span> {
    let mut byte = 0;
    let mut point = 0;
    let mut point_at = |target: usize| {
        point += text[byte..target].chars().count();
        byte = target;
        point
    };
    ranges
        .into_iter()
        .map(|range| point_at(range.start)..point_at(range.end))
        .collect()
}
