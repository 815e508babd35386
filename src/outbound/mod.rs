//! Every connection that hoiam opens.
//!
//! [`client`] sends a request and reads the answer within bounds; [`guard`]
//! decides, between name resolution and connect, which addresses may be
//! reached; [`circuit`] says when a destination that fails is tried again;
//! [`tls`] holds the trusted roots. Nothing else of the crate opens a connection.

pub mod circuit;
pub mod client;
mod error;
pub mod guard;
pub mod tls;

pub use circuit::{Allow, Circuit};
pub use client::{Answer, Client, Download, Fetch, Headers, Method, Outgoing, Timeouts};
pub use error::{OutboundError, Phase};
pub use guard::{Forbidden, Policy, Reason, check_url};
