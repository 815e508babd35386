//! The rules of subtitles, each as a check of any cues.
//!
//! They are worked out again from the source and its words, not from what the
//! cues were made of.

use std::ops::Range;

use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use super::super::{Cue, Part, Style};
use super::squeezed;
use crate::segmentation::is_blank;
use crate::synthesis::Word;

/// A cue, the words in it, and when the next begins or the sound ends.
type Each<'a> = (&'a Cue, &'a [Word], u64);
type Checked = Result<(), TestCaseError>;

impl Part {
    fn is_word(&self) -> bool {
        self.text.contains(char::is_alphanumeric)
    }
}

/// What stands in the source and how it was spoken, and the cues made of it.
#[derive(Debug)]
pub(super) struct Subtitled {
    pub style: Style,
    pub source: String,
    pub words: Vec<Word>,
    pub language: &'static str,
    pub duration_ms: u64,
    pub cues: Vec<Cue>,
}

impl Subtitled {
    pub fn new(
        style: Style,
        source: String,
        words: Vec<Word>,
        language: &'static str,
        duration_ms: u64,
    ) -> Self {
        let cues = super::cues(style, &source, &words, language, duration_ms);
        Self {
            style,
            source,
            words,
            language,
            duration_ms,
            cues,
        }
    }

    /// From which to which code point of the source each cue is.
    fn places(&self) -> Vec<Range<usize>> {
        let source = self.source.chars().enumerate();
        let mut source = source.filter(|(_, c)| !is_blank(*c)).map(|(at, _)| at);
        let mut places = Vec::new();
        for cue in &self.cues {
            let chars = squeezed(&cue.lines.concat()).chars().count();
            let place: Vec<usize> = source.by_ref().take(chars).collect();
            places.push(place[0]..place[chars - 1] + 1);
        }
        places
    }

    /// The words of which at least a part stands in this place.
    fn words_in(&self, place: &Range<usize>) -> &[Word] {
        let words = &self.words;
        let from = words.partition_point(|word| word.char_end as usize <= place.start);
        let to = words.partition_point(|word| (word.char_start as usize) < place.end);
        &words[from.min(to)..to]
    }

    fn each(&self) -> impl Iterator<Item = Each<'_>> {
        let places = self.places().into_iter();
        self.cues.iter().zip(places).enumerate().map(|(at, pair)| {
            let (cue, place) = pair;
            let next = self.cues.get(at + 1);
            let next_ms = next.map_or(self.duration_ms, |next| next.start_ms);
            (cue, self.words_in(&place), next_ms)
        })
    }

    /// How long it takes to read each cue, with the blanks between its words.
    fn read_ms(&self) -> impl Iterator<Item = u64> {
        let per_second = if self.language == "vi" { 17 } else { 20 };
        let source: Vec<char> = self.source.chars().collect();
        self.places().into_iter().map(move |place| {
            let words = source[place].split(|c| is_blank(*c));
            let words = words.filter(|word| !word.is_empty());
            let chars = words.map(|word| word.len() + 1).sum::<usize>() - 1;
            (chars as u64 * 1000).div_ceil(per_second)
        })
    }
}

pub(super) fn the_text_is_that_of_the_source(made: &Subtitled) -> Checked {
    let lines = made.cues.iter().flat_map(|cue| &cue.lines);
    let shown: String = lines.map(String::as_str).collect();
    prop_assert_eq!(squeezed(&shown), squeezed(&made.source));
    Ok(())
}

/// Nor are two of them joined: only what is longer than a line is broken, and
/// what is written without blanks.
pub(super) fn words_are_whole(made: &Subtitled) -> Checked {
    let is_wide = |text: &str| text.chars().any(|c| c >= '\u{3000}');
    let lines = made.cues.iter().flat_map(|cue| &cue.lines);
    let shown = lines.flat_map(|line| line.split_whitespace());
    let mut left = shown.collect::<Vec<_>>().into_iter();
    for whole in made.source.split_whitespace() {
        let mut joined = left.next().unwrap_or_default().to_owned();
        while joined != whole && (is_wide(whole) || whole.chars().count() > made.style.line_chars) {
            match left.next() {
                Some(more) => joined.push_str(more),
                None => break,
            }
        }
        prop_assert_eq!(joined, whole);
    }
    Ok(())
}

pub(super) fn no_cue_holds_more_than_its_style_allows(made: &Subtitled) -> Checked {
    for cue in &made.cues {
        prop_assert!((1..=made.style.lines).contains(&cue.lines.len()));
        for line in &cue.lines {
            let chars = line.chars().count();
            prop_assert!((1..=made.style.line_chars).contains(&chars), "{:?}", line);
            prop_assert_eq!(line.trim(), line);
        }
    }
    Ok(())
}

pub(super) fn cues_are_in_order_and_never_overlap(made: &Subtitled) -> Checked {
    for cue in &made.cues {
        prop_assert!(cue.start_ms <= cue.end_ms);
    }
    for pair in made.cues.windows(2) {
        prop_assert!(pair[0].end_ms <= pair[1].start_ms, "{:?}", pair);
    }
    Ok(())
}

/// Whatever is heard is shown from its first sound until its last.
pub(super) fn cues_are_in_time_with_the_sound(made: &Subtitled) -> Checked {
    let places = made.places();
    for word in &made.words {
        let place = word.char_start as usize..word.char_end as usize;
        // Several, if the word is broken.
        let from = places.partition_point(|cue| cue.end <= place.start);
        let to = places.partition_point(|cue| cue.start < place.end);
        let (first, last) = (&made.cues[from], &made.cues[to - 1]);
        prop_assert!(first.start_ms <= word.start_ms, "{:?} {:?}", word, first);
        prop_assert!(word.end_ms <= last.end_ms, "{:?} {:?}", word, last);
    }
    for (cue, words, _) in made.each() {
        prop_assert!(cue.end_ms <= made.duration_ms);
        // A cue that begins with a word begins with its sound.
        let begins_with_a_word = cue.parts[0].is_word();
        let is_broken = |word: &Word| word.text.chars().count() > made.style.line_chars;
        if let Some(first) = words.first()
            && begins_with_a_word
            && !is_broken(first)
        {
            prop_assert!(cue.start_ms == first.start_ms, "{:?} {:?}", first, cue);
        }
    }
    Ok(())
}

/// A cue goes only where the next one comes or the sound ends, before there was
/// time to read it; and once there was, it goes with its last sound.
pub(super) fn there_is_time_to_read(made: &Subtitled) -> Checked {
    for ((cue, words, next_ms), read_ms) in made.each().zip(made.read_ms()) {
        let until = cue.start_ms + read_ms;
        let is_read = cue.end_ms >= until;
        prop_assert!(is_read || cue.end_ms == next_ms, "{:?}", cue);
        let shortest_ms = cue.start_ms + made.style.shortest_ms;
        let heard_ms = words.last().map_or(0, |word| word.end_ms);
        let needed_ms = until.max(shortest_ms).max(heard_ms);
        prop_assert!(cue.end_ms <= needed_ms, "{:?} {}", cue, needed_ms);
    }
    Ok(())
}

pub(super) fn no_cue_is_shown_too_long(made: &Subtitled) -> Checked {
    for cue in &made.cues {
        let shown_ms = cue.end_ms - cue.start_ms;
        let is_kept = shown_ms <= made.style.longest_ms;
        let words = cue.parts.iter().filter(|part| part.is_word()).count();
        prop_assert!(is_kept || words == 1, "{:?}", cue);
    }
    Ok(())
}

/// A cue that goes before 5/6 s are over is followed by another at once, with
/// which it could not have been one.
pub(super) fn no_cue_flashes_up_without_need(made: &Subtitled) -> Checked {
    let each: Vec<_> = made.each().collect();
    for (cue, _, next_ms) in &each {
        let is_brief = cue.end_ms - cue.start_ms < made.style.shortest_ms;
        prop_assert!(!is_brief || cue.end_ms == *next_ms, "{:?}", cue);
    }
    for pair in each.windows(2) {
        let [(cue, words, _), (next, next_words, _)] = pair else {
            continue;
        };
        let sentence = |word: Option<&Word>| word.map(|word| word.sentence);
        let is_one_sentence = sentence(words.last()) == sentence(next_words.first());
        let shown_ms = |cue: &Cue| cue.end_ms - cue.start_ms;
        let briefest_ms = shown_ms(cue).min(shown_ms(next));
        // What ends a sentence is kept apart as long as each can be seen at all.
        let allowed_ms = match is_one_sentence {
            true => made.style.shortest_ms,
            false => made.style.shortest_ms / 2,
        };
        let can_be_one = could_be_one(made, &[cue, next]);
        prop_assert!(briefest_ms >= allowed_ms || !can_be_one, "{:?}", pair);
    }
    Ok(())
}

/// Whether such cues in a row would make one that no rule forbids.
fn could_be_one(made: &Subtitled, cues: &[&Cue]) -> bool {
    let parts = cues.iter().flat_map(|cue| {
        let parts = cue.parts.iter().enumerate();
        // As if a blank stood between two cues, which may only be too long.
        parts.map(|(at, part)| (usize::from(at == 0 || !part.before.is_empty()), part))
    });
    let mut ends = vec![0];
    for (blank, part) in parts {
        let end = ends[ends.len() - 1] + blank + part.text.chars().count();
        ends.push(end);
    }
    let (all, most) = (ends[ends.len() - 1], made.style.line_chars + 1);
    let in_two = || ends.iter().any(|end| *end <= most && all - end <= most);
    let (first, last) = (cues[0], cues[cues.len() - 1]);
    (all <= most || (made.style.lines == 2 && in_two()))
        && ends.len() - 1 <= made.style.words
        && last.end_ms - first.start_ms <= made.style.longest_ms
}

/// Of the places where a cue of two lines can be broken, it is one at
/// punctuation if there is any.
pub(super) fn lines_break_at_punctuation_first(made: &Subtitled) -> Checked {
    for cue in &made.cues {
        let Some(broken) = cue.parts.iter().position(|part| part.before == "\n") else {
            continue;
        };
        let width = |parts: &[Part]| -> usize {
            let chars = |part: &Part| part.before.len() + part.text.chars().count();
            parts.iter().map(chars).sum::<usize>() - parts[0].before.len()
        };
        let is_possible = |at: &usize| {
            let (upper, lower) = cue.parts.split_at(*at);
            width(upper).max(width(lower)) <= made.style.line_chars
        };
        let ends = |part: &Part| part.text.ends_with(|c: char| !c.is_alphanumeric());
        let at_punctuation = |at: &usize| is_after_punctuation(&cue.parts, *at);
        let better = (1..cue.parts.len())
            .filter(is_possible)
            .find(at_punctuation);
        prop_assert!(
            ends(&cue.parts[broken - 1]) || better.is_none(),
            "{:?} could be broken after {:?}",
            cue.lines,
            better.map(|at| &cue.parts[at - 1].text)
        );
    }
    Ok(())
}

/// Where a reader pauses within or after a sentence. A full stop may be that of
/// an abbreviation, so it is not looked at.
fn closes(text: &str) -> bool {
    text.ends_with([
        ',', ';', ':', '!', '?', '…', '–', '—', ')', '"', '”', '»', '、', '。', '！', '？', '」',
        '』', '）',
    ])
}

/// Whether lines may be broken here, and a reader pauses.
fn is_after_punctuation(parts: &[Part], at: usize) -> bool {
    // Without blanks, only what is written in ideographs is broken.
    let is_ideograph = |c: char| c >= '\u{3040}' && c.is_alphabetic();
    let may_break = !parts[at].before.is_empty() || parts[at].text.starts_with(is_ideograph);
    // A dash or a sign that stands alone may belong to what follows.
    parts[at - 1].is_word() && parts[at].is_word() && may_break && closes(&parts[at - 1].text)
}

/// A cue ends within a clause only if the clause is more than one cue holds.
pub(super) fn cues_break_at_punctuation_first(made: &Subtitled) -> Checked {
    let sentence = |word: Option<&Word>| word.map(|word| word.sentence);
    let last_text = |cue: &Cue| cue.parts[cue.parts.len() - 1].text.clone();
    let is_end = |(cue, words, _): Each, (_, next_words, _): Each| {
        closes(&last_text(cue)) || sentence(words.last()) != sentence(next_words.first())
    };
    let each: Vec<Each> = made.each().collect();
    for (at, pair) in each.windows(2).enumerate() {
        let (cue, next) = (pair[0].0, pair[1].0);
        let may_be_end = last_text(cue).ends_with(|c: char| !c.is_alphanumeric());
        if may_be_end || is_end(pair[0], pair[1]) {
            continue;
        }
        // The clause goes from the last punctuation before to the first after.
        let mut parts = cue.parts.clone();
        parts.extend(next.parts.iter().cloned());
        // As if a blank stood between two cues, which may only be too long.
        parts[cue.parts.len()].before = " ";
        let middle = cue.parts.len();
        let begins = at == 0 || is_end(each[at - 1], each[at]);
        // A sign that stands alone may belong to either side, so it is counted to
        // the clause at both.
        let is_end_of_word = |at: &usize| parts[at - 1].is_word() && closes(&parts[at - 1].text);
        let with_signs = |at: usize| {
            let signs = parts[at..].iter().take_while(|part| !part.is_word());
            at + signs.count()
        };
        let from = (1..middle).rev().find(is_end_of_word);
        let to = (middle + 1..=parts.len())
            .find(is_end_of_word)
            .map(with_signs);
        let ends = each
            .get(at + 2)
            .is_none_or(|after| is_end(each[at + 1], *after));
        let from = from.or(begins.then_some(0));
        let to = to.or(ends.then_some(parts.len()));
        let (Some(from), Some(to)) = (from, to) else {
            // It is more than what stands in these two cues.
            continue;
        };
        let clause = Cue {
            start_ms: parts[from].start_ms,
            end_ms: parts.get(to).map_or(next.end_ms, |part| part.start_ms),
            lines: Vec::new(),
            parts: parts[from..to].to_vec(),
        };
        prop_assert!(!could_be_one(made, &[&clause]), "{:?} {:?}", cue, next);
    }
    Ok(())
}
