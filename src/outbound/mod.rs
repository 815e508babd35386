//! Every connection that hoiam opens.
//!
//! [`client`] sends a request and reads the answer within bounds; `connector`
//! opens a connection for it, `names` looks up the host, and [`guard`] decides there,
//! between name resolution and connect, which addresses may be reached (`own` tells it
//! which are this machine's); `stream` is
//! that connection, and `head_filter` puts what it answers into the form that `awc` can
//! read; [`circuit`] says when a destination that fails is tried again; [`tls`] holds
//! the trusted roots. Nothing else of the crate opens a connection.

pub mod circuit;
pub mod client;
mod connector;
mod error;
pub mod guard;
mod head_filter;
mod names;
pub mod networks;
mod own;
mod stream;
pub mod tls;

pub use circuit::{Allow, Circuit};
pub use client::{Answer, Client, Download, Fetch, Headers, Method, Outgoing, Timeouts};
pub use error::{OutboundError, Phase};
pub use guard::{Forbidden, Policy, Reason, check_url};
