//! What a callback carries: its subject as GET answers it.

use diesel::prelude::QueryResult;
use hoiam_api::{CallbackHeaders, Failure};
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

use super::store::Row;
use crate::db::Conn;

/// What a service's callbacks carry: its resources.
pub trait Subject: Send + Sync {
    /// What this delivery tells of, with links minted now; `None` if it has
    /// been erased.
    ///
    /// # Errors
    /// What the database says.
    fn render(&self, conn: &mut Conn, delivery: &Row) -> QueryResult<Option<Payload>>;
}

/// What a callback carries.
pub struct Payload {
    /// The resource as GET answers it.
    pub json: Box<RawValue>,
    /// The code of its failure.
    pub error_code: Option<String>,
    /// What its receiver wants beside.
    pub headers: CallbackHeaders,
}

impl Payload {
    /// Of a resource. `None` is never the answer for what this crate answers
    /// GET with: that is JSON.
    pub fn of(
        resource: &impl Serialize,
        failure: Option<&Failure>,
        headers: CallbackHeaders,
    ) -> Option<Self> {
        Some(Self {
            json: to_raw_value(resource).ok()?,
            error_code: failure.map(|failure| failure.code.clone()),
            headers,
        })
    }
}
