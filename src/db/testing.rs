//! What the tests of the stores share: a real database file in a folder of
//! its own, and a look at how SQLite answers an operation's statements.

use std::sync::{Arc, Mutex};

use diesel::connection::InstrumentationEvent;
use diesel::prelude::*;
use diesel::sql_types::Text;
use hoiam_api::Service;
use hoiam_supervision::clock::{Clock, ManualClock};
use tempfile::TempDir;
use uuid::Uuid;

use super::schema::events;
use super::{Conn, Db, Id, Tx, open};
use crate::locks::lock;

/// When the manual clock starts; far from zero, so that nothing is due by
/// accident.
pub const START: i64 = 1_700_000_000_000;

/// A service's database, whose time is moved by hand.
pub struct TestDb {
    pub db: Db,
    pub hand: ManualClock,
    pub folder: TempDir,
}

impl TestDb {
    pub fn new(service: Service) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (clock, hand) = Clock::manual(START);
        let db = open(&folder.path().join("test.db"))
            .unwrap()
            .start(service, clock)
            .unwrap();
        Self { db, hand, folder }
    }
}

/// A runtime for tests that cannot be `async` themselves.
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(future)
}

/// The events of a subject, one a line: `type: from > to, reason (by)`.
pub fn history(conn: &mut Conn, id: Uuid) -> Vec<String> {
    type Line = (
        String,
        Option<String>,
        Option<String>,
        Option<String>,
        Option<String>,
    );
    let lines: Vec<Line> = events::table
        .filter(events::subject_id.eq(Id(id)))
        .select((
            events::kind,
            events::from_status,
            events::to_status,
            events::reason,
            events::by,
        ))
        .order(events::id)
        .load(conn)
        .unwrap();
    let shown = |(kind, from, to, reason, by): Line| {
        let [from, to, reason, by] =
            [from, to, reason, by].map(|word| word.unwrap_or_else(|| "-".to_owned()));
        format!("{kind}: {from} > {to}, {reason} ({by})")
    };
    lines.into_iter().map(shown).collect()
}

/// How SQLite finds the rows of each statement that `operation` runs: the name of
/// the index, `id` for the primary key, `all of <table>` for a full scan; with
/// `, sorted` where the rows are sorted after they were found. Statements that
/// look for nothing are left out.
pub fn found_by<T>(
    conn: &mut Conn,
    operation: impl FnOnce(&mut Conn) -> QueryResult<T>,
) -> Vec<String> {
    let statements = run_by(conn, operation);
    told(conn, &statements)
}

/// The same for an operation that writes.
pub fn found_by_tx<T>(
    tx: &mut Tx<'_>,
    operation: impl FnOnce(&mut Tx<'_>) -> QueryResult<T>,
) -> Vec<String> {
    let statements = run_by_tx(tx, operation);
    told(tx.conn, &statements)
}

/// The plans of what `operation` runs, as SQLite words them.
pub fn plan_lines<T>(
    conn: &mut Conn,
    operation: impl FnOnce(&mut Conn) -> QueryResult<T>,
) -> Vec<String> {
    let statements = run_by(conn, operation);
    let of = |statement: &String| plan(conn, statement);
    statements.iter().flat_map(of).collect()
}

/// The same for an operation that writes.
pub fn plan_lines_tx<T>(
    tx: &mut Tx<'_>,
    operation: impl FnOnce(&mut Tx<'_>) -> QueryResult<T>,
) -> Vec<String> {
    let statements = run_by_tx(tx, operation);
    let of = |statement: &String| plan(tx.conn, statement);
    statements.iter().flat_map(of).collect()
}

type Statements = Arc<Mutex<Vec<String>>>;

/// Notes every statement as diesel makes it, from now on.
fn record(conn: &mut Conn) -> Statements {
    let statements = Statements::default();
    let seen = Arc::clone(&statements);
    conn.set_instrumentation(move |event: InstrumentationEvent<'_>| {
        if let InstrumentationEvent::StartQuery { query, .. } = event {
            let mut seen = lock(&seen);
            seen.push(query.to_string());
        }
    });
    statements
}

fn stop_recording(conn: &mut Conn, statements: &Statements) -> Vec<String> {
    conn.set_instrumentation(|_: InstrumentationEvent<'_>| {});
    statements.lock().unwrap().clone()
}

/// The statements that `operation` runs.
fn run_by<T>(conn: &mut Conn, operation: impl FnOnce(&mut Conn) -> QueryResult<T>) -> Vec<String> {
    let statements = record(conn);
    let result = operation(conn);
    let statements = stop_recording(conn, &statements);
    result.unwrap();
    statements
}

fn run_by_tx<T>(
    tx: &mut Tx<'_>,
    operation: impl FnOnce(&mut Tx<'_>) -> QueryResult<T>,
) -> Vec<String> {
    let statements = record(tx.conn);
    let result = operation(tx);
    let statements = stop_recording(tx.conn, &statements);
    result.unwrap();
    statements
}

fn told(conn: &mut Conn, statements: &[String]) -> Vec<String> {
    statements
        .iter()
        .filter_map(|statement| in_short(&plan(conn, statement)))
        .collect()
}

#[derive(QueryableByName)]
struct PlanLine {
    #[diesel(sql_type = Text)]
    detail: String,
}

fn plan(conn: &mut Conn, statement: &str) -> Vec<String> {
    let statement = statement
        .split_once(" -- binds:")
        .map_or(statement, |(statement, _)| statement);
    let lines: Vec<PlanLine> = diesel::sql_query(format!("EXPLAIN QUERY PLAN {statement}"))
        .load(conn)
        .unwrap();
    lines.into_iter().map(|line| line.detail).collect()
}

fn in_short(plan: &[String]) -> Option<String> {
    let mut told: Option<String> = None;
    for line in plan {
        let words: Vec<&str> = line.split(' ').collect();
        match words.as_slice() {
            ["SEARCH" | "SCAN", table, rest @ ..] => {
                let index = rest.iter().position(|word| *word == "INDEX");
                told = Some(match index.map(|at| rest[at + 1]) {
                    Some(name) if name.starts_with("sqlite_autoindex") => "id".to_owned(),
                    Some(name) => name.to_owned(),
                    None if rest.contains(&"PRIMARY") => "id".to_owned(),
                    None => format!("all of {table}"),
                });
            }
            ["USE", "TEMP", "B-TREE", ..] => {
                told = told.map(|told| format!("{told}, sorted"));
            }
            _ => {}
        }
    }
    told
}
