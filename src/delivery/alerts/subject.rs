//! What the callbacks of a service carry, alerts among them.

use std::sync::Arc;

use diesel::prelude::QueryResult;
use hoiam_api::CallbackHeaders;

use super::store;
use crate::db::Conn;
use crate::delivery::store::Row;
use crate::delivery::subject::{Payload, Subject};

/// A service's resources, and the alerts that its database keeps.
pub struct WithAlerts(pub Arc<dyn Subject>);

impl Subject for WithAlerts {
    fn render(&self, conn: &mut Conn, delivery: &Row) -> QueryResult<Option<Payload>> {
        if !delivery.is_alert() {
            return self.0.render(conn, delivery);
        }
        let alert = store::get(conn, delivery.subject_id.0)?;
        Ok(alert.and_then(|alert| Payload::of(&alert, None, CallbackHeaders::default())))
    }
}
