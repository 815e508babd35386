//! What an operator is told of, from where it happens to where it is taken from
//! to be kept and sent (`delivery::alerts`). Nothing here knows an actor that
//! reports, or one that tells.

pub mod gather;
pub mod ledger;
pub mod reporter;

pub use gather::{Batch, Gather};
pub use ledger::Ledger;
pub use reporter::{Reported, Reporter, Taken};
