//! Tasks and speeches: what both services do with them in the same way.
//!
//! A service says what its row is ([`row::ResourceRow`]) and what it does with a
//! request ([`api::Served`]). The routes, the answers and the common part of the operations
//! are here.

pub mod api;
pub mod operations;
pub mod row;
pub mod view;
