//! What is to be spoken.

use serde::{Deserialize, Serialize};

use crate::SaturatingFrom as _;
use crate::nfc::Composed;
use crate::output::Output;
use crate::pronunciations::{self, Dictionary, Pronunciation};
use crate::segmentation::{self, Sentence};

/// What is to be spoken: everything that decides the bytes of the result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// One after another; there is at least one.
    pub segments: Vec<Segment>,
    /// Whether the result tells segments apart. A plain text is one segment, and
    /// nobody has asked for its number.
    #[serde(default)]
    pub numbered: bool,
    /// What file is made of it.
    pub output: Output,
}

impl Request {
    /// A text in one voice.
    pub fn plain(text: impl Into<String>, voice: impl Into<String>, output: Output) -> Self {
        Self {
            segments: vec![Segment {
                text: text.into(),
                voice: voice.into(),
                speed: 1.0,
                pause_after_ms: None,
                pronunciations: Vec::new(),
            }],
            numbered: false,
            output,
        }
    }

    /// How long the text of all segments is.
    pub fn text_bytes(&self) -> usize {
        self.segments.iter().map(|segment| segment.text.len()).sum()
    }

    /// The voice of a sentence at this place; of the first one if nobody knows.
    pub fn voice_of(&self, place: Option<&Place>) -> &str {
        let segment = self.segments.get(place.map_or(0, |place| place.segment));
        segment.map_or("", |segment| &segment.voice)
    }

    /// Where each sentence stands, over all segments.
    pub fn places(&self) -> Vec<Place> {
        let of_segment = |(index, segment): (usize, &Segment)| {
            let (composed, sentences) = segment.sentences();
            let place = |sentence: Sentence| {
                let end = sentence.char_start + sentence.text.chars().count();
                let offset = |at: usize| composed.source_offset(u32::saturating_from(at));
                let terms = pronunciations::of_text(&sentence.text, &segment.pronunciations);
                Place {
                    segment: index,
                    char_start: offset(sentence.char_start),
                    char_end: offset(end),
                    is_plain: terms.is_empty() && sentence.plain() == sentence,
                }
            };
            sentences.into_iter().map(place).collect::<Vec<_>>()
        };
        self.segments
            .iter()
            .enumerate()
            .flat_map(of_segment)
            .collect()
    }
}

/// A text in one voice.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Segment {
    /// As the caller sent it; all of them have 1 to 100,000 characters after NFC.
    pub text: String,
    /// A resolved voice: `engine/name`, never an alias.
    pub voice: String,
    /// 1.0 is the voice's own speed; 0.5 to 2.0.
    pub speed: f32,
    /// The silence after it; as between two sentences if nobody says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pause_after_ms: Option<u32>,
    /// What is said for terms of the text; the earlier win.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pronunciations: Vec<Pronunciation>,
}

impl Segment {
    /// The text as it is spoken, and its sentences.
    pub fn sentences(&self) -> (Composed, Vec<Sentence>) {
        let composed = Composed::of(&self.text);
        let mut costs: Vec<u32> = composed.text.chars().map(segmentation::cost).collect();
        for term in Dictionary::new(&self.pronunciations).find(&composed.text) {
            costs[term.span.clone()].fill(0);
            costs[term.span.start] = term.said.cost();
        }
        let sentences = segmentation::sentences_at(&composed.text, &costs);
        (composed, sentences)
    }

    /// For each sentence all that its sound depends on, but for the voice's version.
    pub fn sentence_keys(&self) -> impl Iterator<Item = SentenceKey<'_>> {
        let (_, sentences) = self.sentences();
        sentences.into_iter().map(|sentence| SentenceKey {
            pronunciations: pronunciations::of_text(&sentence.text, &self.pronunciations),
            text: sentence.text,
            voice: &self.voice,
            speed: self.speed,
        })
    }
}

/// Where a sentence stands in a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// From 0.
    pub segment: usize,
    /// Offset in Unicode code points of the segment's text as it was sent.
    pub char_start: u32,
    /// Exclusive end, likewise.
    pub char_end: u32,
    /// Whether it would be spoken in the same way with letters, digits and plain marks
    /// only.
    pub is_plain: bool,
}

/// All that the sound of a sentence depends on, but for the version of its voice.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SentenceKey<'a> {
    text: String,
    voice: &'a str,
    speed: f32,
    pronunciations: Vec<&'a Pronunciation>,
}
