//! Where state is kept: SQLite through diesel, one file a service.
//!
//! [`open`] takes the lock and migrates, [`Opened::start`] starts one writer
//! thread with group commit and a few readers. The services' own `store.rs`
//! have the operations; here is what every operation needs: a transaction with a clock
//! and a place for events ([`Tx`]), and reads off the arbiters.

mod condition;
mod connection;
mod copy;
pub mod history;
pub mod hub;
mod id;
pub mod list;
mod load;
pub mod schema;
#[cfg(test)]
pub(crate) mod testing;
mod update;
mod writer;

pub use condition::Condition;
pub use connection::{Conn, OpenError, OpenFailure, Opened, Standing, inspect, kept_anchor, open};
pub use id::Id;
pub use load::{Amount, ByClient, Load};
pub use update::{update, update_if};
pub use writer::{Db, Ends, NewEvent, StoreError, Tx};
