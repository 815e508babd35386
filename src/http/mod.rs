//! What both HTTP edges share: keys, origins, limits, request ids, problem answers,
//! health, files, event streams.

pub mod admission;
pub mod auth;
pub mod body;
pub mod clock;
pub mod connections;
pub mod cors;
pub mod due;
pub mod files;
pub mod health;
pub mod ledger;
pub mod links;
pub mod methods;
pub mod metrics;
pub mod pool;
pub mod problem;
pub mod proxies;
pub mod query;
pub mod render;
pub mod request;
pub mod result;
pub mod scopes;
pub mod streams;
pub mod system;
