//! The Backend service: takes tasks from clients, hands them over, and
//! settles each of them whatever becomes of the other side.

pub mod actions;
pub mod actor;
pub mod api;
pub mod callback;
pub mod due;
pub mod erase;
pub mod erasures;
pub mod fetch;
pub mod hand_over;
pub mod holds;
pub mod messages;
pub mod progress;
pub mod slots;
pub mod state;
pub mod store;
pub mod task;
pub mod tts_client;
pub mod watchdog;

pub use actor::Backend;
pub use messages::{DeadlineAdded, ResultKnown, TaskEnded, TaskSubmitted};
pub use watchdog::TimeoutWatchdog;
