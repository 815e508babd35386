//! Alerts as deliveries: kept, with a body of their own, and sent to
//! `alerts.callback_url` by the dispatcher like any other.

pub mod collector;
pub mod store;
pub mod subject;

pub use collector::AlertCollector;
pub use subject::WithAlerts;
