//! The supervision tree: a panic costs one message or one unit of work, not
//! the service.
//!
//! | level | what panics | what happens |
//! | --- | --- | --- |
//! | unit | one action, one delivery, one store call, in its own task | [`spawn_unit`] gives its owner the panic as a value |
//! | leaf | an actor | it is restarted where it stands: mailbox and addresses live on, its context's futures are canceled |
//! | root | an actor that has spent its budget | that actor and all that were started after it are restarted; the actor gets a fresh budget |
//! | process | the root's budget is spent, or something [watched](Tree::watch) has ended | the tree gives up: the process exits and its service manager starts it anew |
//!
//! The budgets follow Erlang/OTP's "maximum restart intensity": so many
//! restarts within a sliding window
//! (<https://www.erlang.org/doc/system/sup_princ.html#maximum-restart-intensity>).
//! OTP's `rest_for_one` is what the root does.
//!
//! actix's own `Supervisor` restarts an actor that *stopped*; after a panic it
//! is gone together with its mailbox. Hence this one, over the same
//! `ContextFut`. What it asks of an actor:
//!
//! - The actor value is kept over a restart, not built anew, so
//!   `Supervised::restarting` must put the actor's own fields right.
//! - No `SpawnHandle` is kept over a restart, since their numbers start anew:
//!   timers are [`Alarm`](crate::clock::Alarm)s.
//! - `stopping` and `stopped` stay trivial.

pub mod clock;
mod tree;

pub use tree::{
    Budget, ChildState, ChildStatus, Drain, Policy, StatusBoard, Tree, Unit, UnitFailure,
    contained, spawn_unit,
};
