//! The cheapest way to cut a text into cues.
//!
//! Every way to cut has a cost, and the lowest is found exactly, from the
//! front (dynamic programming): a cue holds so little that only a few starts
//! are possible for each end.

use super::breaks::Break;
use super::{Cut, Text};

/// A cue that is shown too long costs more than any way to break it.
const TOO_LONG: u64 = 10_000;

/// Each cue costs something, so that clauses stay together while they fit.
const CUE: u64 = 100;

/// A sentence that ends inside a cue. Less than the cost of a cue that only
/// flashes up, so that only very short sentences share one.
const SENTENCE_INSIDE: u64 = 300;

/// A cue that would be shown for no time at all.
const TOO_SHORT: u64 = 600;

impl Break {
    /// What it costs to end a cue here.
    fn cue_cost(self) -> u64 {
        match self {
            Self::Segment | Self::Sentence => 0,
            Self::Clause => 50,
            Self::Joint => 960,
            Self::Word => 1000,
            Self::Leading => 1500,
            Self::Phrase => 2000,
            Self::Glued => 3000,
        }
    }

    /// What it costs to end a line here, in characters by which one line is
    /// longer than the other. That is at most a line's length, so balance only
    /// decides among equals, and between a conjunction and a blank.
    pub(super) fn line_cost(self) -> usize {
        match self {
            Self::Segment | Self::Sentence | Self::Clause => 0,
            Self::Joint => 100,
            Self::Word => 112,
            Self::Leading => 200,
            Self::Phrase => 300,
            Self::Glued => 400,
        }
    }
}

/// What it costs if the two lines of a cue break at such a place: then the text
/// is rather cut into other cues, but not within a clause.
fn inner_cost(text: &Text, cut: Cut) -> u64 {
    let line_break = text.line_break(cut);
    match line_break.map(|at| text.pieces[at - 1].after) {
        Some(Break::Leading) => 150,
        Some(Break::Phrase | Break::Glued) => 900,
        _ => 0,
    }
}

/// The ranges of pieces that make one cue each, in order, all of the text.
pub(super) fn cheapest_cuts(text: &Text) -> Vec<Cut> {
    // For each end the lowest cost of all up to it, and where its last cue
    // begins.
    let mut best: Vec<(u64, usize)> = vec![(0, 0)];
    for end in 1..=text.pieces.len() {
        let starts = (0..end).rev();
        let possible = starts.take_while(|start| *start + 1 == end || text.fits(*start..end));
        let costs = possible.map(|start| (best[start].0 + cost(text, start..end), start));
        best.push(costs.min().unwrap_or((0, end - 1)));
    }
    let mut cuts = Vec::new();
    let mut end = text.pieces.len();
    while end > 0 {
        let start = best[end].1;
        cuts.push(start..end);
        end = start;
    }
    cuts.reverse();
    with_brief_joined(text, cuts)
}

/// A cue that only flashes up goes together with its neighbour of the same sentence
/// wherever both fit one cue: however bad its line break would be.
fn with_brief_joined(text: &Text, cuts: Vec<Cut>) -> Vec<Cut> {
    let shown_ms = |cut: &Cut| text.shown_until(cut.clone()) - text.pieces[cut.start].start_ms;
    let is_brief = |cut: &Cut| shown_ms(cut) < text.style.shortest_ms;
    let mut joined: Vec<Cut> = Vec::with_capacity(cuts.len());
    for cut in cuts {
        let both = joined.last().map(|last| last.start..cut.end);
        let is_one_sentence = text.pieces[cut.start.saturating_sub(1)].after > Break::Sentence;
        match (joined.last_mut(), both) {
            (Some(last), Some(both))
                if is_one_sentence
                    && (is_brief(last) || is_brief(&cut))
                    && text.fits(both.clone())
                    && shown_ms(&both) <= text.style.longest_ms =>
            {
                *last = both;
            }
            _ => joined.push(cut),
        }
    }
    joined
}

/// What one cue costs.
fn cost(text: &Text, cut: Cut) -> u64 {
    let start_ms = text.pieces[cut.start].start_ms;
    let possible_ms = text.next_start(&cut).saturating_sub(start_ms);
    let heard_ms = text.heard_until(&cut).saturating_sub(start_ms);
    let (last, style) = (cut.end - 1, text.style);

    let sentences_inside = text.sentence_ends[last] - text.sentence_ends[cut.start];
    let too_long = match heard_ms.saturating_sub(style.longest_ms) {
        0 => 0,
        excess => TOO_LONG + excess,
    };
    let too_short = TOO_SHORT * style.shortest_ms.saturating_sub(possible_ms) / style.shortest_ms;
    let unread = text.needed_ms(cut.clone()).saturating_sub(possible_ms) / 10;
    // The square of what is missing makes cues of even length the cheapest.
    let room = (style.lines * style.line_chars).saturating_sub(text.width(cut.clone())) as u64;
    CUE + text.pieces[last].after.cue_cost()
        + SENTENCE_INSIDE * sentences_inside as u64
        + too_long
        + too_short
        + unread
        + room * room / 100
        + inner_cost(text, cut)
}
