//! Delivery of callbacks, in both services alike: rows owed with a terminal
//! state, attempts on a durable schedule, and the check of a callback URL
//! before the heavy work.

pub mod alerts;
pub mod api;
pub mod attempt;
pub mod bound;
pub mod check;
pub mod check_queue;
pub mod check_room;
pub mod checker;
#[expect(
    clippy::module_inception,
    reason = "the state machine has the name of what it is about"
)]
pub mod delivery;
pub mod dispatcher;
pub mod held;
pub mod in_delivery;
pub mod look;
pub mod messages;
pub mod open_circuits;
pub mod receivers;
pub mod shares;
pub mod store;
pub mod subject;
pub mod waits;

pub use checker::CallbackChecker;
pub use dispatcher::CallbackDispatcher;
pub use messages::{CheckEnqueued, CheckNow, DeliveryEnqueued};
