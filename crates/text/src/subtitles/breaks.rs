//! How good a place is to break a text at.

/// What stands between two pieces, from the best place to break to the worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Break {
    /// The end of a segment: what somebody else says is another cue.
    Segment,
    /// The end of a sentence or of a line of the source.
    Sentence,
    /// Punctuation inside a sentence.
    Clause,
    /// Before a conjunction or a preposition.
    Joint,
    /// Between two words.
    Word,
    /// Behind a small word that belongs to what follows: `the`, `của`.
    Leading,
    /// Between two words that are read as one: a number and its unit, the parts
    /// of a name or of a Vietnamese word.
    Phrase,
    /// Inside a word, or between a word and a symbol that belongs to it.
    Glued,
}
