//! Speech in child processes, both ends of it.
//!
//! libespeak-ng keeps global state, aborts on some hostile texts and cannot
//! be interrupted. So every text is spoken in a child process of the same
//! binary, which can crash, hang or be killed without taking the service with
//! it.
//!
//! - [`protocol`]: what the two ends say to each other, and how it is framed;
//! - [`limits`]: what the child takes away from itself before it loads
//!   anything;
//! - [`parent`]: the service's side, one [`parent::Synthesizer`] a child;
//! - [`stats`]: what can be seen of a child from outside, also while it
//!   speaks;
//! - [`crashes`]: which engine has cost how many children, and [`releases`]: of which
//!   that is known;
//! - [`engines`], [`voice_files`]: what a child opens and reads;
//! - `process`: one child process from its start until it is reaped.

pub mod crashes;
pub mod engines;
pub mod limits;
pub mod parent;
mod process;
pub mod protocol;
pub mod releases;
pub mod stats;
pub mod voice_files;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks, also after a panic: nothing that is shared here is left half changed by one.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
