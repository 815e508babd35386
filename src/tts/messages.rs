//! What the workers and the watchdog are told by others: hints that there may be something
//! to do or to leave.
//!
//! They stand apart from the actors, so that whoever sends one need not know them.

use actix::Message;
use hoiam_supervision::clock::Millis;
use uuid::Uuid;

/// A job may be there to claim.
#[derive(Message, Clone, Copy)]
#[rtype(result = "()")]
pub struct JobQueued;

/// A job of this client may be there to claim.
#[derive(Message, Clone)]
#[rtype(result = "()")]
pub struct JobQueuedBy(pub String);

/// A long text has sentences that others can speak.
#[derive(Message, Clone, Copy)]
#[rtype(result = "()")]
pub struct HelpWanted;

/// Somebody has called this job off.
#[derive(Message, Clone, Copy)]
#[rtype(result = "()")]
pub struct JobCanceled(pub Uuid);

/// A job with this deadline waits. It carries an instant, so whoever sends it does so
/// whether the mailbox is full or not.
#[derive(Message, Clone, Copy)]
#[rtype(result = "()")]
pub struct DeadlineAdded(pub Millis);
