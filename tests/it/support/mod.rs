//! What whole-service tests are written with: the real program as a child
//! process, a client for it, and peers that behave as badly as a test wants.
//!
//! Everything here blocks its thread and listens on a free port of loopback,
//! so a test is a plain function and runs beside any other. Nothing waits for
//! a fixed time: [`eventually`] and the `wait_for` methods wait for a
//! condition, and fail after [`PATIENCE`].

pub mod chain;
pub mod dice;
pub mod disk;
pub mod encrypted;
pub mod http;
pub mod peer;
pub mod preload;
pub mod rest;
pub mod service;
pub mod signed;
pub mod wall;
pub mod written;

use std::time::{Duration, Instant};

pub use chain::Chain;
pub use encrypted::Encrypted;
pub use http::{Answer, Client};
pub use peer::{Gate, Peer, Reaction, Request};
pub use service::Service;
pub use wall::Wall;

/// How long a condition may take to come true before the test fails. Far more
/// than anything needs, since many tests share few cores, and longer than a
/// service lets anybody wait for an answer.
pub const PATIENCE: Duration = Duration::from_secs(120);
/// How often a condition that nothing announces is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Looks until `condition` gives something; `None` when it never does.
pub fn look_until<T>(mut condition: impl FnMut() -> Option<T>) -> Option<T> {
    let until = Instant::now() + PATIENCE;
    loop {
        let found = condition();
        if found.is_some() || Instant::now() > until {
            return found;
        }
        std::thread::park_timeout(LOOK_EVERY);
    }
}

/// The same, and fails where it never does; `what` is for the failure.
#[track_caller]
pub fn eventually<T>(what: &str, condition: impl FnMut() -> Option<T>) -> T {
    look_until(condition).unwrap_or_else(|| panic!("it never came true: {what}"))
}
