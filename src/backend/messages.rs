//! What the Backend's actors are told by others: hints that there may be something to do.
//!
//! They stand apart from the actors, so that whoever sends one need not know who hears it.

use std::any::Any;
use std::sync::Weak;

use actix::Message;
use hoiam_supervision::clock::Millis;
use uuid::Uuid;

/// A task may owe a hand-over.
#[derive(Message, Clone, Copy)]
#[rtype(result = "()")]
pub struct TaskSubmitted;

/// A task may owe a fetch.
#[derive(Message, Clone, Copy)]
#[rtype(result = "()")]
pub struct ResultKnown;

/// A task may owe an abandon, or its speech an erasure.
#[derive(Message, Clone, Copy)]
#[rtype(result = "()")]
pub struct TaskEnded;

/// Somebody streams this task's events.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Watch {
    /// The task.
    pub id: Uuid,
    /// Gone when nobody watches any more.
    pub watcher: Weak<dyn Any + Send + Sync>,
}

/// A task with a deadline has been accepted.
#[derive(Message, Clone, Copy)]
#[rtype(result = "()")]
pub struct DeadlineAdded {
    /// When it is to be asked about.
    pub pull_at: Millis,
    /// When it times out.
    pub deadline_at: Millis,
}
