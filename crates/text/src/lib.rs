//! Everything about texts that needs no voice: from a text to sentences, words and what
//! is said for them, and from the times of words to subtitles and marks.
//!
//! Pure: no actors, no HTTP, no database, no native code.
//!
//! | module | what is there |
//! | --- | --- |
//! | [`request`], [`output`], [`voice`], [`synthesis`] | what is asked for, and what comes of it |
//! | [`letters`], [`nfc`], [`segmentation`] | the text in one form, its sentences and words |
//! | [`normalize`], [`pronunciations`], [`ipa`] | what is said for them |
//! | [`subtitles`], [`marks`], [`joined_text`] | what shows them, in time with the sound |
//! | [`saturating`] | numbers that a type has no room for |

pub mod ipa;
pub mod joined_text;
pub mod letters;
pub mod marks;
pub mod nfc;
pub mod normalize;
pub mod output;
pub mod pronunciations;
pub mod request;
pub mod saturating;
pub mod segmentation;
pub mod subtitles;
pub mod synthesis;
#[cfg(test)]
mod testing;
pub mod voice;

pub use output::{Format, Output, Tags};
pub use pronunciations::{Pronunciation, Said};
pub use request::{Place, Request, Segment};
pub use saturating::SaturatingFrom;
pub use synthesis::{SegmentTimes, SpeechError, Synthesis, Word};
pub use voice::Voice;
