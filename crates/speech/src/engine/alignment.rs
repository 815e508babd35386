//! From the word events of eSpeak to the times of our words.
//!
//! eSpeak's words are not ours: it reports a number once for each word that it
//! is read as, a symbol as a word of its own, and some words not at all. So
//! events only say when something is heard; which word that is, is decided
//! here, in order.

use std::ops::Range;

use hoiam_text::segmentation::Sentence;

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
        let before = filled.last().copied().unwrap_or(0);
        let begin = at(known).unwrap_or(0).clamp(before, samples);
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use hoiam_text::segmentation::sentences;

    /// Aligns one sentence with events given as position and sample.
    fn starts(text: &str, events: &[(usize, usize)], samples: usize) -> Vec<usize> {
        let events: Vec<Event> = events
            .iter()
            .map(|(position, sample)| Event {
                position: *position,
                sample: *sample,
            })
            .collect();
        let words = align(&sentences(text)[0], &events, samples);
        words.into_iter().map(|word| word.start).collect()
    }

    #[test]
    fn a_number_reported_many_times_is_one_word() {
        // As eSpeak 1.51 reports it: later parts at shifted places.
        let events = [(0, 0), (4, 164), (5, 370), (5, 550), (5, 915), (9, 1533)];
        assert_eq!(starts("Năm 2024 có", &events, 1761), [0, 164, 1533]);
    }

    #[test]
    fn a_word_that_is_not_reported_shares_the_time_of_its_neighbours() {
        let events = [(0, 0), (4, 100), (15, 1000)];
        assert_eq!(
            starts("The red-haired man", &events, 1500),
            [0, 100, 400, 1000]
        );
    }

    #[test]
    fn a_word_reported_at_the_symbol_before_it_starts_there() {
        assert_eq!(
            starts("Hello -- world", &[(0, 0), (6, 461)], 1000),
            [0, 461]
        );
    }

    #[test]
    fn a_spoken_symbol_belongs_to_the_word_that_it_touches() {
        let slash = [(0, 0), (2, 300), (3, 600)];
        assert_eq!(starts("15/04", &slash, 900), [0, 600]);
        let dollar = [(0, 0), (4, 300), (5, 800)];
        assert_eq!(starts("giá $20", &dollar, 900), [0, 300]);
    }

    #[test]
    fn what_is_heard_first_belongs_to_the_first_word() {
        assert_eq!(
            starts("$20 đó", &[(0, 0), (1, 500), (4, 900)], 1200),
            [0, 900]
        );
    }

    #[test]
    fn without_events_words_share_the_time_by_their_letters() {
        assert_eq!(starts("a bcd", &[], 400), [0, 100]);
    }

    proptest! {
        #[test]
        fn words_are_in_order_and_fill_the_time(
            text in "[a-zơ0-9$%/., -]{0,30}[a-z][a-zơ0-9$%/., -]{0,30}",
            events in prop::collection::vec((0_usize..80, 0_usize..2000), 0..40),
            samples in 0_usize..2000,
        ) {
            let events: Vec<Event> = events
                .into_iter()
                .map(|(position, sample)| Event { position, sample })
                .collect();
            for sentence in sentences(&text) {
                let words = align(&sentence, &events, samples);
                prop_assert_eq!(words.len(), sentence.words.len());
                prop_assert_eq!((words[0].start, words[words.len() - 1].end), (0, samples));
                for pair in words.windows(2) {
                    prop_assert!(pair[0].start <= pair[0].end);
                    prop_assert_eq!(pair[0].end, pair[1].start);
                }
            }
        }
    }
}
