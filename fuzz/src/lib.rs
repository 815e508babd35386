//! What must hold whatever the input is: one module a target, each with one function
//! of bytes that panics where a law is broken.
//!
//! libFuzzer calls them (`make fuzz`), and hoiam's own tests do (`tests/it/fuzz.rs`,
//! which includes this file).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a law that is broken is a panic"
)]

pub mod frames;
mod input;
pub mod models;
pub mod reading;
pub mod requests;
pub mod segmentation;
pub mod subtitles;
pub mod urls;
pub mod voices;
