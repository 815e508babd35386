//! From the word events of eSpeak to the times of our words.
//!
//! eSpeak's words are not ours: it reports a number once for each word that it
//! is read as, a symbol as a word of its own, and some words not at all. So
//! events only say when something is heard; which word that is, is decided
//! here, in order.

use std::ops::Range;

use super::super::text::Sentence;

/// Something begins to be heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Event {
    /// Where it stands: code points from the start of the sentence.
    pub position: usize,
    /// When it begins, in samples from the start of the sentence.
    pub sample: usize,
}

/// From which to which sample each word of the sentence is heard: one range
/// for each word, in order, without overlap, together all of `samples`.
pub(super) fn align(sentence: &Sentence, events: &[Event], samples: usize) -> Vec<Range<usize>> {
    let mut starts = reported_starts(sentence, events);
    if let Some(first) = starts.first_mut() {
        // What is heard before the first word is a symbol that belongs to it.
        *first = Some(0);
    }
    let starts = without_gaps(sentence, &starts, samples);
    let ends = starts.iter().skip(1).copied().chain([samples]);
    starts
        .iter()
        .copied()
        .zip(ends)
        .map(|(start, end)| start..end)
        .collect()
}

/// When each word begins, where the events tell.
fn reported_starts(sentence: &Sentence, events: &[Event]) -> Vec<Option<usize>> {
    let words = &sentence.words;
    let mut starts = vec![None; words.len()];
    // When a symbol before the word begins. A symbol belongs to the word
    // before it, unless the word after it has no event of its own: then eSpeak
    // has reported that word at the symbol's place.
    let mut symbols = vec![None; words.len()];
    let mut current = 0;
    for event in events {
        let position = sentence.char_start + event.position;
        let word = words.partition_point(|word| word.char_end <= position);
        if word >= words.len() || word < current {
            continue;
        }
        current = word;
        let is_inside = words[word].char_start <= position;
        let place = if is_inside || opens(sentence, word, event.position) {
            &mut starts[word]
        } else {
            &mut symbols[word]
        };
        place.get_or_insert(event.sample);
    }
    starts
        .into_iter()
        .zip(symbols)
        .map(|(start, symbol)| start.or(symbol))
        .collect()
}

/// Whether the symbol at `position` is written as part of the word after it
/// and not of the one before, as in `$20`.
fn opens(sentence: &Sentence, word: usize, position: usize) -> bool {
    let to_word = sentence.words[word].char_start - sentence.char_start - position;
    let before = match position.checked_sub(1) {
        Some(before) => sentence.text.chars().nth(before),
        None => Some(' '),
    };
    let mut between = sentence.text.chars().skip(position).take(to_word);
    before == Some(' ') && between.all(|c| c != ' ')
}

/// Fills in the starts that no event told: words share the time between their
/// neighbours in proportion to their letters.
fn without_gaps(sentence: &Sentence, starts: &[Option<usize>], samples: usize) -> Vec<usize> {
    let mut filled: Vec<usize> = Vec::with_capacity(starts.len());
    let mut known = 0;
    while known < starts.len() {
        let next = (known + 1..starts.len())
            .find(|word| starts[*word].is_some())
            .unwrap_or(starts.len());
        let at = |word: usize| starts.get(word).copied().flatten();
        let begin = at(known).unwrap_or(0).min(samples);
        let end = at(next).unwrap_or(samples).clamp(begin, samples);
        let letters = |words: Range<usize>| -> usize {
            let words = &sentence.words[words];
            words
                .iter()
                .map(|word| word.char_end - word.char_start)
                .sum()
        };
        let all = letters(known..next).max(1);
        for word in known..next {
            filled.push(begin + (end - begin) * letters(known..word) / all);
        }
        known = next;
    }
    filled
}
