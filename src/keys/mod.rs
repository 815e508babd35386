//! API keys: what they may do, the file that keeps them, and the ones that are
//! known now.

pub mod file;
mod first;
mod hash;
mod known;
mod look;
mod scope;

pub use hash::KeyHash;
pub use known::{BackendKey, Caller, Configured, Keys};
pub use scope::{Scope, Scopes};
