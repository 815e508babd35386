//! What is due: the oldest row of each kind of work, and how the loop that is to
//! claim it stands. `/v1/system` and `/metrics` show it, so that an operator sees
//! what lies where nobody works on it.

use std::collections::BTreeMap;

use diesel::prelude::QueryResult;
use hoiam_api::{Service, rfc3339};
use hoiam_supervision::clock::Millis;
use serde::Serialize;

use crate::claim_loop::Pulse;
use crate::db::{Conn, Db, StoreError};

/// Since when the oldest row of each kind is due; `None`: none is.
pub type Oldest = Vec<(&'static str, Option<Millis>)>;

/// One service's work.
#[derive(Clone)]
pub struct Due {
    /// Its database.
    pub db: Db,
    /// Reads the oldest row of each kind that is due at an instant.
    pub oldest: fn(&mut Conn, Millis) -> QueryResult<Oldest>,
    /// The loops that claim each kind.
    pub pulses: BTreeMap<&'static str, Vec<Pulse>>,
}

/// One kind of work at this moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Kind {
    #[serde(skip)]
    oldest: Option<Millis>,
    /// Since when its oldest row is due.
    oldest_due_at: Option<String>,
    /// Units and scans under way.
    under_way: usize,
    /// When the next scan begins by itself.
    next_scan_at: Option<String>,
}

impl Kind {
    /// For how long its oldest row has been due, in seconds; 0 where none is.
    #[must_use]
    pub fn age_s(&self, now: Millis) -> i64 {
        self.oldest.map_or(0, |oldest| (now - oldest).max(0) / 1000)
    }
}

impl Due {
    /// Whose work it is.
    #[must_use]
    pub fn service(&self) -> Service {
        self.db.service()
    }

    /// All kinds by name.
    ///
    /// # Errors
    /// What the database says.
    pub async fn kinds(&self) -> Result<BTreeMap<&'static str, Kind>, StoreError> {
        let (oldest, now) = (self.oldest, self.db.clock().now());
        let oldest = self.db.read(move |conn| oldest(conn, now)).await?;
        Ok(oldest
            .into_iter()
            .map(|(name, oldest)| (name, self.kind(name, oldest)))
            .collect())
    }

    fn kind(&self, name: &str, oldest: Option<Millis>) -> Kind {
        let pulses = self.pulses.get(name).map(Vec::as_slice).unwrap_or_default();
        let next_scan_at = pulses.iter().filter_map(Pulse::next_scan_at).min();
        Kind {
            oldest,
            oldest_due_at: oldest.map(rfc3339),
            under_way: pulses.iter().map(Pulse::under_way).sum(),
            next_scan_at: next_scan_at.map(rfc3339),
        }
    }
}
