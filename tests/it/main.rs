//! The integration tests: one crate, so that everything is linked once.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by a panic"
)]

mod actors;
mod addresses;
mod alerts;
mod cache;
mod callback_headers;
mod callbacks;
mod cancel;
mod chain;
mod chaos;
mod cli;
mod clock;
mod cors;
mod crashes;
mod day;
mod deadlines;
mod dialogue;
mod disks;
mod erasures;
mod expansions;
mod fuzz;
mod hand_over;
mod hostile_texts;
mod installs;
mod isolation;
mod keys;
mod listen;
mod long_texts;
mod methods;
mod names;
mod neural;
mod promises;
mod receivers;
mod refusals;
mod requests;
mod results;
mod retention;
mod sandbox;
mod secrets;
mod shutdown;
mod sizes;
mod slow_clients;
mod streams;
mod submit;
mod supervision;
mod support;
mod synthesizer;
mod tasks;

mod upgrade;
mod written_texts;
