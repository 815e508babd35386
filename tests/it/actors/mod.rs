//! Each actor alone: probes stand where its neighbours are, a small HTTP
//! server where it calls somebody, and time is moved by hand.

mod actions;
mod alerts;
mod backend;
mod bodies;
mod checks;
mod dispatcher;
mod panics;
mod retention;
pub mod support;
mod watchdog;
mod worker;
