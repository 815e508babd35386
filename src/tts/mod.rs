//! The TTS service: accepts a speech, has it spoken, owes the callback.

mod ahead;
pub mod api;
pub mod deadlines;
pub mod job;
mod long_texts;
pub mod messages;
mod outcome;
pub mod salvage;
mod sentences;
pub mod store;
pub mod turns;
pub mod voices;
pub mod worker;
pub mod workers;

pub use long_texts::LongTexts;
pub use messages::{JobCanceled, JobQueued};
pub use worker::TtsWorker;
pub use workers::Workers;
