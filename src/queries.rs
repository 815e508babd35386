//! Every query against tables as they are after years: what it finds, and that no
//! page and no operation costs more when more has ended.

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use hoiam_api::Service;
use hoiam_supervision::clock::Millis;
use uuid::Uuid;

use crate::db::list::{Cursor, Filter, Listed};
use crate::db::testing::{START, TestDb, plan_lines, plan_lines_tx};
use crate::db::{Conn, Id, Tx, open};
use crate::resource::row::TableRow as _;
use crate::{backend, delivery, tts};

mod lists;
mod million;
mod plans;
mod retention;

const TABLES: [Listed; 3] = [
    backend::store::Row::LISTED,
    tts::store::Row::LISTED,
    delivery::store::LISTED,
];

/// How far the rows of [`fill`] are apart.
const APART_MS: Millis = 20;

/// Puts so many tasks, speeches and deliveries into the database, the newest created
/// at [`START`]. Of a hundred, 97 came to a good end and three failed or were canceled;
/// the newest dozen is open. Every tenth is the client `b`'s, one of a thousand is `c`'s.
fn fill(conn: &mut Conn, rows: i64) -> QueryResult<()> {
    let first = START - rows * APART_MS;
    // Every value is made from the row's number i, which is the last part of its id.
    let numbers = format!(
        "WITH RECURSIVE numbers (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM numbers WHERE i < {rows}), \
         facts AS (SELECT i, unhex(printf('%012x70008000%012x', {first} + i * {APART_MS}, i)) AS id, \
         {first} + i * {APART_MS} AS at, {first} + i * {APART_MS} + 5000 AS ended, i > {rows} - 12 AS open, \
         CASE WHEN i % 1000 = 7 THEN 'c' WHEN i % 10 = 3 THEN 'b' ELSE 'a' END AS client, \
         CASE i % 100 WHEN 50 THEN 'failed' WHEN 60 THEN 'timed_out' WHEN 70 THEN 'canceled' END AS bad \
         FROM numbers) "
    );
    let jobs = |table: &str, last: &str, open: &str, columns: &str, values: &str| {
        format!(
            "INSERT INTO {table} (id, status, fingerprint, reference, request, resolved_voice, language, \
             characters, text_bytes, created_at, deadline_at, ended_at, error_code, file, text, words, client, \
             {columns}) {numbers} \
             SELECT id, CASE WHEN open THEN '{open}' ELSE replace(coalesce(bad, 'completed'), 'timed_out', '{last}') END, \
             x'00', 'video-' || (i / 3), '{{}}', 'v', 'vi', 200, 200, at, at + 3600000, iif(open, NULL, ended), \
             iif(open OR bad IS NULL OR bad = 'canceled', NULL, bad), iif(open OR bad IS NOT NULL, NULL, 'a'), \
             printf('%0200d', i), iif(open, NULL, printf('%0200d', i)), client, {values} FROM facts"
        )
    };
    let (tasks, speeches) = (
        jobs(
            "tasks",
            "timed_out",
            "queued",
            "report_to, pull_at",
            "'', at + 3590000",
        ),
        jobs("speeches", "failed", "queued", "callback_check", "'off'"),
    );
    let deliveries = format!(
        "INSERT INTO deliveries (id, subject_id, type, url, origin, status, next_attempt_at, created_at, ended_at, \
         client) {numbers} SELECT id, id, 'task.completed', 'http://a/', 'http://a', \
         CASE WHEN open THEN 'pending' WHEN bad = 'failed' THEN 'exhausted' WHEN bad = 'canceled' THEN 'aborted' \
         ELSE 'delivered' END, iif(open, at, NULL), at, iif(open, NULL, ended), client FROM facts"
    );
    let events = format!(
        "INSERT INTO events (at, type, subject_id, to_status) {numbers} SELECT at, 'state', id, 'queued' FROM facts"
    );
    for statement in [tasks, speeches, deliveries, events] {
        conn.batch_execute(&statement)?;
    }
    Ok(())
}

async fn filled(service: Service, rows: i64) -> TestDb {
    let mut test = TestDb::new(service);
    test.db.write(move |tx| fill(tx.conn, rows)).await.unwrap();
    // The writer counts the events from those that it finds when it starts.
    test.db.close().await;
    let clock = test.db.clock().clone();
    let opened = open(&test.folder.path().join("test.db")).unwrap();
    test.db = opened.start(service, clock).unwrap();
    test
}

/// All combinations of what a list can be asked for, near the end and far away.
fn filters(table: &Listed) -> Vec<Filter> {
    let is_subject = table.table == "deliveries";
    let words = |some: &[&str]| {
        some.iter()
            .map(|word| (*word).to_owned())
            .collect::<Vec<_>>()
    };
    let statuses: &[&[&str]] = if is_subject {
        &[
            &[],
            &["pending"],
            &["exhausted", "aborted"],
            &["delivered", "exhausted"],
        ]
    } else {
        &[
            &[],
            &["queued"],
            &["failed"],
            &["failed", "canceled", "queued"],
            &["completed", "failed"],
        ]
    };
    let spans = [
        (None, None),
        (Some(START - 600), None),
        (None, Some(START - 600)),
        (Some(START - 4000), Some(START - 600)),
    ];
    let mut all = vec![Filter {
        limit: 3,
        ..Filter::default()
    }];
    let mut each = |vary: &dyn Fn(&Filter) -> Vec<Filter>| {
        all = all.iter().flat_map(vary).collect();
    };
    each(&|filter| {
        let of = |client: Option<&str>| Filter {
            client: client.map(str::to_owned),
            ..filter.clone()
        };
        [None, Some("b"), Some("c"), Some("nobody")].map(of).into()
    });
    each(&|filter| {
        let in_statuses = |some: &&[&str]| Filter {
            statuses: words(some),
            ..filter.clone()
        };
        statuses.iter().map(in_statuses).collect()
    });
    each(&|filter| {
        let column = Filter {
            reference: (!is_subject).then(|| "video-50".to_owned()),
            subject: is_subject.then(|| Uuid::from_u128(50)),
            ..filter.clone()
        };
        let code = (!is_subject).then(|| Filter {
            error_code: Some("failed".into()),
            ..filter.clone()
        });
        [filter.clone(), column].into_iter().chain(code).collect()
    });
    each(&|filter| {
        let created = |(after, before)| Filter {
            created_after: after,
            created_before: before,
            ..filter.clone()
        };
        spans.map(created).into()
    });
    each(&|filter| {
        let ended = |(after, before): (Option<Millis>, Option<Millis>)| Filter {
            ended_after: after.map(|at| at + 5000),
            ended_before: before.map(|at| at + 5000),
            ..filter.clone()
        };
        spans.map(ended).into()
    });
    all
}
