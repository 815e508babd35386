//! Filters and pages of lists: what both services' lists have in common.

use uuid::Uuid;

use crate::clock::Millis;

/// Which rows a list shows.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Filter {
    /// Whose they are; `None` is everybody's.
    pub client: Option<String>,
    /// Any of these; empty is all.
    pub statuses: Vec<String>,
    /// The caller's own id.
    pub reference: Option<String>,
    /// The code of the failure.
    pub error_code: Option<String>,
    /// Exclusive.
    pub created_after: Option<Millis>,
    /// Exclusive.
    pub created_before: Option<Millis>,
    /// Exclusive.
    pub ended_after: Option<Millis>,
    /// Exclusive.
    pub ended_before: Option<Millis>,
    /// Rows a page.
    pub limit: i64,
    /// Where the page before ended.
    pub cursor: Option<Cursor>,
}

/// The last row of a page: the next page starts below it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    /// Its age.
    pub created_at: Millis,
    /// Its id, which tells rows of one millisecond apart.
    pub id: Uuid,
}

impl Cursor {
    /// Reads [`Cursor`]'s display form.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (created_at, id) = text.split_once('_')?;
        Some(Self {
            created_at: created_at.parse().ok()?,
            id: Uuid::parse_str(id).ok()?,
        })
    }
}

impl std::fmt::Display for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}_{}", self.created_at, self.id.simple())
    }
}

/// Cuts what a list query has read to the page's length, and says where the
/// next page starts if there is one.
pub fn cut<R>(rows: &mut Vec<R>, limit: i64, cursor: impl Fn(&R) -> Cursor) -> Option<String> {
    let most = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = rows.len() > most;
    rows.truncate(most);
    rows.last()
        .filter(|_| more)
        .map(|row| cursor(row).to_string())
}

/// A boxed query over `$table` with `$filter` applied, newest first, one row
/// more than the page so that the caller sees whether there is a next one.
#[macro_export]
#[doc(hidden)]
macro_rules! filtered {
    ($table:ident, $row:ty, $filter:expr) => {{
        let filter: &$crate::db::list::Filter = $filter;
        let mut query = $table::table
            .select(<$row>::as_select())
            .order(($table::created_at.desc(), $table::id.desc()))
            .limit(filter.limit + 1)
            .into_boxed();
        if let Some(client) = filter.client.clone() {
            query = query.filter($table::client.eq(client));
        }
        if !filter.statuses.is_empty() {
            query = query.filter($table::status.eq_any(filter.statuses.clone()));
        }
        if let Some(reference) = filter.reference.clone() {
            query = query.filter($table::reference.eq(reference));
        }
        if let Some(code) = filter.error_code.clone() {
            query = query.filter($table::error_code.eq(code));
        }
        if let Some(at) = filter.created_after {
            query = query.filter($table::created_at.gt(at));
        }
        if let Some(at) = filter.created_before {
            query = query.filter($table::created_at.lt(at));
        }
        if let Some(at) = filter.ended_after {
            query = query.filter($table::ended_at.gt(at));
        }
        if let Some(at) = filter.ended_before {
            query = query.filter($table::ended_at.lt(at));
        }
        if let Some(cursor) = filter.cursor {
            // Said once more without OR, so that the index is entered at the
            // cursor and not read up to it.
            query = query.filter($table::created_at.le(cursor.created_at));
            query = query.filter(
                $table::created_at
                    .lt(cursor.created_at)
                    .or($table::created_at
                        .eq(cursor.created_at)
                        .and($table::id.lt($crate::db::Id(cursor.id)))),
            );
        }
        query
    }};
}
pub use filtered;
