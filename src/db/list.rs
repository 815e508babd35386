//! Filters and pages of lists: what all lists have in common.
//!
//! A page is found by walks along an index that is in the order of the list,
//! so that it costs the same however much has ended: a walk looks at a bounded
//! number of rows. Where filters leave fewer of them than a page holds, the
//! page is short, or empty, and the next one goes on where the walk has ended.
//!
//! The statements name their index and are never left to the planner. They are
//! put together from the program's own words, and prepared anew each time.

use std::collections::BTreeSet;

use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{BigInt, Binary, Text};
use diesel::sqlite::Sqlite;
use hoiam_supervision::clock::Millis;
use hoiam_text::SaturatingFrom as _;
use uuid::Uuid;

use super::{Conn, Id};

/// How many rows all walks of a page look at: a few milliseconds' worth, whatever
/// a row holds.
pub const MOST_ROWS: i64 = 2500;
/// What ended in a span is sorted if there are at most so many of each kind.
const FEW: i64 = 1000;

/// The order of every list.
const NEWEST_FIRST: &str = "ORDER BY created_at DESC, id DESC";

/// Which rows a list shows.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Filter {
    /// Whose they are; `None` is everybody's.
    pub client: Option<String>,
    /// Any of these; empty is all.
    pub statuses: Vec<String>,
    /// The speech or the task that deliveries tell of.
    pub subject: Option<Uuid>,
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

/// A row's place in a list. The next page starts below that of the last row that
/// was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
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

    /// Above all that was created before this instant, below all that was later.
    fn at(created_at: Millis) -> Self {
        let id = Uuid::nil();
        Self { created_at, id }
    }
}

impl std::fmt::Display for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}_{}", self.created_at, self.id.simple())
    }
}

/// What a page shows, newest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PageIds {
    /// The rows, as many as the filter's limit at most.
    pub ids: Vec<Id>,
    /// Where the next page starts; `None` at the end.
    pub next: Option<Cursor>,
}

/// An index.
#[derive(Debug, Clone, Copy)]
pub struct Index {
    /// Its name.
    pub name: &'static str,
    /// The condition of a partial one, else `TRUE`.
    pub condition: &'static str,
}

impl Index {
    /// One of all rows.
    #[must_use]
    pub const fn all(name: &'static str) -> Self {
        let condition = "TRUE";
        Self { name, condition }
    }
}

/// A table whose rows are listed, and the indexes that its lists go by. Each but
/// those by end is in the order of lists, behind the column that it is named by.
#[derive(Debug, Clone, Copy)]
pub struct Listed {
    /// Its name.
    pub table: &'static str,
    /// All rows.
    pub by_age: Index,
    /// All rows.
    pub by_client: Index,
    /// The rows of all statuses but one.
    pub by_status: Index,
    /// That one, which most rows come to.
    pub common_status: &'static str,
    /// By other columns, the one that leaves the fewest rows first.
    pub by_column: &'static [(&'static str, Index)],
    /// What has ended, in the order in which it did; no row is in two of them.
    pub by_end: &'static [Index],
}

#[derive(Debug, Clone)]
enum Value {
    Number(i64),
    Words(String),
    Id(Id),
}

/// Conditions that are to hold besides others.
#[derive(Debug, Clone, Default)]
struct Where {
    text: String,
    values: Vec<Value>,
}

impl Where {
    fn and(mut self, condition: &str, values: impl IntoIterator<Item = Value>) -> Self {
        self.text.push_str(" AND ");
        self.text.push_str(condition);
        self.values.extend(values);
        self
    }

    fn all(mut self, others: &Self) -> Self {
        self.text.push_str(&others.text);
        self.values.extend_from_slice(&others.values);
        self
    }
}

/// The columns that a filter gives values to.
fn columns(filter: &Filter) -> Vec<(&'static str, Value)> {
    let words = |column, value: &Option<String>| Some((column, Value::Words(value.clone()?)));
    let subject = filter.subject.map(|id| ("subject_id", Value::Id(Id(id))));
    let columns = [
        words("client", &filter.client),
        words("reference", &filter.reference),
        words("error_code", &filter.error_code),
        subject,
    ];
    columns.into_iter().flatten().collect()
}

/// When what a filter shows has ended.
fn ends(filter: &Filter) -> Where {
    let bounds = [
        ("ended_at > ?", filter.ended_after),
        ("ended_at < ?", filter.ended_before),
    ];
    let given = bounds
        .into_iter()
        .filter_map(|(text, at)| Some((text, at?)));
    given.fold(Where::default(), |all, (text, at)| {
        all.and(text, [Value::Number(at)])
    })
}

/// All that a filter says of other columns than this one, but of when a row was
/// created.
fn besides(filter: &Filter, column: &str) -> Where {
    let others = columns(filter)
        .into_iter()
        .filter(|(name, _)| *name != column);
    let mut all = others.fold(Where::default(), |all, (name, value)| {
        all.and(&format!("{name} = ?"), [value])
    });
    if column != "status" && !filter.statuses.is_empty() {
        let marks = vec!["?"; filter.statuses.len()].join(", ");
        let values = filter.statuses.iter().cloned().map(Value::Words);
        all = all.and(&format!("status IN ({marks})"), values);
    }
    if column != "ended_at" {
        all = all.all(&ends(filter));
    }
    all
}

#[derive(QueryableByName)]
struct Place {
    #[diesel(sql_type = BigInt)]
    created_at: Millis,
    #[diesel(sql_type = Binary)]
    id: Id,
}

fn places(conn: &mut Conn, text: String, values: Vec<Value>) -> QueryResult<Vec<Cursor>> {
    let mut query = sql_query(text).into_boxed::<Sqlite>();
    for value in values {
        query = match value {
            Value::Number(number) => query.bind::<BigInt, _>(number),
            Value::Words(words) => query.bind::<Text, _>(words),
            Value::Id(id) => query.bind::<Binary, _>(id),
        };
    }
    let found: Vec<Place> = query.load(conn)?;
    let cursor = |Place { created_at, id }| Cursor {
        created_at,
        id: id.0,
    };
    Ok(found.into_iter().map(cursor).collect())
}

/// The part of a list between two places.
#[derive(Debug, Clone, Copy)]
struct Range {
    /// Exclusive.
    below: Cursor,
    /// Inclusive.
    from: Cursor,
}

impl Range {
    fn of(filter: &Filter) -> Self {
        // What ended before an instant was created before it.
        let before = [filter.created_before, filter.ended_before];
        let below = before.into_iter().flatten().map(Cursor::at);
        let after = filter.created_after.map(|at| at.saturating_add(1));
        Self {
            below: (below.chain(filter.cursor).min()).unwrap_or(Cursor::at(Millis::MAX)),
            from: Cursor::at(after.unwrap_or(Millis::MIN)),
        }
    }

    /// One bound at each end, so that the index is entered at the one and left at
    /// the other.
    fn limit(self, conditions: Where) -> Where {
        let values = [self.below, self.from].into_iter().flat_map(|place| {
            let id = Value::Id(Id(place.id));
            [Value::Number(place.created_at), id]
        });
        conditions.and(
            "(created_at, id) < (?, ?) AND (created_at, id) >= (?, ?)",
            values,
        )
    }
}

/// One way to rows of a list: by an index, with what is to hold besides.
struct Walk {
    table: &'static str,
    index: Index,
    /// What the index is entered with.
    within: Where,
    /// What it knows nothing of.
    besides: Where,
}

impl Walk {
    /// The rows that a page shows, with one more if there is one.
    fn page(&self, conn: &mut Conn, range: Range, limit: i64) -> QueryResult<Vec<Cursor>> {
        let all = range.limit(self.within.clone()).all(&self.besides);
        self.select(conn, all, &format!("{NEWEST_FIRST} LIMIT {}", limit + 1))
    }

    /// The last row that may be looked at; `None` where the page will be full before,
    /// or the walk comes to its end.
    fn last(&self, conn: &mut Conn, range: Range, most: i64) -> QueryResult<Option<Cursor>> {
        if self.besides.text.is_empty() {
            return Ok(None);
        }
        let all = range.limit(self.within.clone());
        let nth = format!("{NEWEST_FIRST} LIMIT 1 OFFSET {}", most - 1);
        Ok(self.select(conn, all, &nth)?.pop())
    }

    /// Whether it leads to few rows.
    fn is_short(&self, conn: &mut Conn) -> QueryResult<bool> {
        let one_more = format!("LIMIT 1 OFFSET {FEW}");
        Ok(self
            .select(conn, self.within.clone(), &one_more)?
            .is_empty())
    }

    fn select(&self, conn: &mut Conn, all: Where, cut: &str) -> QueryResult<Vec<Cursor>> {
        let Self { table, index, .. } = self;
        let Index { name, condition } = index;
        let Where { text, values } = all;
        let text = format!(
            "SELECT created_at, id FROM {table} INDEXED BY {name} WHERE {condition}{text} {cut}"
        );
        places(conn, text, values)
    }
}

impl Listed {
    /// Finds a page.
    ///
    /// # Errors
    /// What the database says.
    pub fn find(&self, conn: &mut Conn, filter: &Filter) -> QueryResult<PageIds> {
        self.find_within(conn, filter, MOST_ROWS)
    }

    /// Finds a page by a look at so many rows at most.
    ///
    /// # Errors
    /// What the database says.
    pub fn find_within(&self, conn: &mut Conn, filter: &Filter, most: i64) -> QueryResult<PageIds> {
        // All statements see one state.
        conn.transaction(|conn| {
            let few = self.few_by_end(conn, filter)?;
            let (mut rows, last) = match few {
                Some(rows) => (rows, None),
                None => self.walk(conn, filter, most)?,
            };
            rows.sort_unstable_by(|one, other| other.cmp(one));
            let limit = usize::saturating_from(filter.limit);
            let is_full = rows.len() > limit;
            rows.truncate(limit);
            let next = if is_full { rows.last().copied() } else { last };
            let ids = rows.into_iter().map(|row| Id(row.id)).collect();
            Ok(PageIds { ids, next })
        })
    }

    /// Goes all the walks of a filter, down to the same place, which is the second
    /// value where it is not the end.
    fn walk(
        &self,
        conn: &mut Conn,
        filter: &Filter,
        most: i64,
    ) -> QueryResult<(Vec<Cursor>, Option<Cursor>)> {
        let walks = self.walks(filter);
        let each = most / i64::try_from(walks.len()).unwrap_or(1).max(1);
        let mut range = Range::of(filter);
        let mut last = None;
        for walk in &walks {
            if let Some(place) = walk.last(conn, range, each.max(1))? {
                range.from = place;
                last = Some(place);
            }
        }
        let mut rows = Vec::new();
        for walk in &walks {
            rows.extend(walk.page(conn, range, filter.limit)?);
        }
        Ok((rows, last))
    }

    fn walks(&self, filter: &Filter) -> Vec<Walk> {
        let within = |index, column, value| Walk {
            table: self.table,
            index,
            within: Where::default().and(&format!("{column} = ?"), [value]),
            besides: besides(filter, column),
        };
        let mut columns = columns(filter);
        for (column, index) in self.by_column {
            if let Some(at) = columns.iter().position(|(name, _)| name == column) {
                return vec![within(*index, column, columns.swap_remove(at).1)];
            }
        }
        let statuses: BTreeSet<&str> = filter.statuses.iter().map(String::as_str).collect();
        if !statuses.is_empty() && !statuses.contains(self.common_status) {
            let by_status =
                |status: &str| within(self.by_status, "status", Value::Words(status.to_owned()));
            return statuses.into_iter().map(by_status).collect();
        }
        vec![match filter.client.clone() {
            Some(client) => within(self.by_client, "client", Value::Words(client)),
            None => Walk {
                table: self.table,
                index: self.by_age,
                within: Where::default(),
                besides: besides(filter, ""),
            },
        }]
    }

    /// What a filter of ends shows, where few have ended in its span: lists are not in
    /// the order of ends, so these are found and then sorted.
    fn few_by_end(&self, conn: &mut Conn, filter: &Filter) -> QueryResult<Option<Vec<Cursor>>> {
        if ends(filter).text.is_empty() || self.by_end.is_empty() {
            return Ok(None);
        }
        let by_end = self.by_end.iter().map(|index| Walk {
            table: self.table,
            index: *index,
            within: ends(filter),
            besides: besides(filter, "ended_at"),
        });
        let by_end: Vec<Walk> = by_end.collect();
        for walk in &by_end {
            if !walk.is_short(conn)? {
                return Ok(None);
            }
        }
        let mut rows = Vec::new();
        for walk in &by_end {
            rows.extend(walk.page(conn, Range::of(filter), filter.limit)?);
        }
        Ok(Some(rows))
    }
}
