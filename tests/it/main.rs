//! The integration tests: one crate, so that everything is linked once.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by a panic"
)]

mod callbacks;
mod cancel;
mod chain;
<<<<<<< HEAD
mod deadlines;
mod hand_over;
=======
mod cli;
>>>>>>> c7c3d39307f166bc952e616fc830667f5d35aead
mod listen;
mod refusals;
mod results;
mod shutdown;
mod submit;
mod supervision;
mod support;
mod synthesizer;
mod tasks;
