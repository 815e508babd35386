//! What a dispatcher is told by others: hints that there may be something to do, and a
//! check that somebody waits for.
//!
//! They stand apart from the dispatcher, so that whoever sends one need not know it.

use std::time::Duration;

use actix::Message;
use hoiam_api::CallbackHeaders;
use url::Url;

use super::check::Report;

/// A delivery may be due.
#[derive(Message, Clone, Copy)]
#[rtype(result = "()")]
pub struct DeliveryEnqueued;

/// A callback URL may have to be checked.
#[derive(Message, Clone, Copy)]
#[rtype(result = "()")]
pub struct CheckEnqueued;

/// Check this URL now and tell each step.
#[derive(Message)]
#[rtype(result = "Report")]
pub struct CheckNow {
    /// Where to.
    pub url: Url,
    /// What is sent with each exchange.
    pub headers: CallbackHeaders,
    /// For each exchange.
    pub timeout: Duration,
}
