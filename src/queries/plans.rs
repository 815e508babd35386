//! How SQLite finds the rows of each query. No statistics are ever gathered, so its
//! choice depends on the statement and the indexes alone, and not on the rows.

use std::collections::HashSet;

use hoiam_api::DeliveryAttempt;

use super::*;
use crate::backend::due::DueQuery;
use crate::db::history::{Whose, events_after, newest_event};
use crate::delivery::receivers::Turn;
use crate::delivery::shares::{Kind, Receiver};
use crate::resource::operations;
use crate::resource::row::ResourceRow;
use crate::retention::store::{Stage, Subjects};
use crate::tts::turns::Wish;

/// Indexes of what is open or owed, which may be read from one end to the other.
const OF_WHAT_IS_OPEN: [&str; 14] = [
    "tasks_open_by_deadline",
    "tasks_open_by_pull",
    "tasks_hand_overs_due",
    "tasks_fetches_due",
    "tasks_abandons_due",
    "speeches_open_by_deadline",
    "speeches_queued",
    "speeches_postponed",
    "speeches_checking",
    "speeches_checking_by_age",
    "speeches_checking_by_client",
    "speeches_leased",
    "deliveries_due_first",
    "deliveries_due_again",
];

/// The lines of plans that read a table from one end to the other.
fn scans(lines: &[String]) -> Vec<&String> {
    let tables = ["tasks", "speeches", "deliveries", "events", "erasures"];
    let is_scan = |line: &&String| {
        let words: Vec<&str> = line.split(' ').collect();
        let is_open = words.iter().any(|word| OF_WHAT_IS_OPEN.contains(word));
        words[0] == "SCAN" && tables.contains(&words[1]) && !is_open
    };
    lines.iter().filter(is_scan).collect()
}

fn assert_no_scan(name: &str, lines: &[String]) {
    assert!(!lines.is_empty(), "{name} asks nothing");
    let scans = scans(lines);
    assert!(scans.is_empty(), "{name}: {scans:?} of {lines:?}");
}

#[tokio::test]
async fn no_list_reads_a_whole_table_or_sorts_more_than_a_page() {
    let test = filled(Service::Backend, 50).await;
    let read = test.db.read(|conn| {
        for table in &TABLES {
            for filter in filters(table) {
                let lines = plan_lines(conn, |conn| table.find(conn, &filter));
                assert_no_scan(&format!("{} {filter:?}", table.table), &lines);
                // Only what ended in a span is, where that is little.
                let is_sorted = lines.iter().any(|line| line.contains("TEMP B-TREE"));
                let is_by_end = filter.ended_after.or(filter.ended_before).is_some();
                assert!(is_by_end || !is_sorted, "{filter:?}: {lines:?}");
            }
        }
        Ok(())
    });
    read.await.unwrap();
}

/// Both ends of the range are the index's, or a page would be read from the
/// beginning of the list.
#[tokio::test]
async fn a_page_is_entered_at_its_cursor() {
    let test = filled(Service::Backend, 50).await;
    let lines = test.db.read(|conn| {
        let filter = Filter {
            limit: 50,
            cursor: Some(Cursor {
                created_at: START,
                id: Uuid::now_v7(),
            }),
            created_before: Some(START + 1),
            ..Filter::default()
        };
        Ok(TABLES.map(|table| plan_lines(conn, |conn| table.find(conn, &filter))))
    });
    for (table, lines) in TABLES.iter().zip(lines.await.unwrap()) {
        let by_age = format!(
            "SEARCH {0} USING COVERING INDEX {0}_by_age ((created_at,id)>(?,?) AND (created_at,id)<(?,?))",
            table.table
        );
        assert_eq!(lines, [by_age]);
    }
}

#[tokio::test]
async fn nothing_gathers_statistics() {
    let test = TestDb::new(Service::Backend);
    let found: usize = test
        .db
        .read(|conn| {
            diesel::sql_query("SELECT 1 FROM sqlite_schema WHERE name LIKE 'sqlite_stat%'")
                .execute(conn)
        })
        .await
        .unwrap();
    assert_eq!(found, 0);
}

type Query = (&'static str, fn(&mut Tx<'_>) -> QueryResult<()>);

/// What actors and clients ask of a task.
const OF_TASKS: &[Query] = &[
    ("oldest_due", |tx| {
        backend::due::oldest_due(tx.conn, tx.now).map(drop)
    }),
    ("due", |tx| {
        let wanted = DueQuery {
            now: tx.now,
            most: 64,
            ..DueQuery::default()
        };
        backend::due::due(tx.conn, wanted).map(drop)
    }),
    ("time_out", |tx| backend::store::time_out(tx).map(drop)),
    ("due_pulls", |tx| {
        backend::store::due_pulls(tx.conn, 1, tx.now).map(drop)
    }),
    ("in_progress", |tx| {
        backend::store::in_progress(tx.conn).map(drop)
    }),
    ("open_among", |tx| {
        let ids = some_ids(tx.conn)?;
        backend::store::open_among(tx.conn, &ids).map(drop)
    }),
    ("lost", |tx| {
        let ids = some_ids(tx.conn)?;
        backend::store::lost(tx, &ids, tx.now)
    }),
    ("fetch_postponed", |tx| {
        let id = some_ids(tx.conn)?[0];
        backend::store::fetch_postponed(tx, id).map(drop)
    }),
    ("cancel", |tx| {
        let id = some_ids(tx.conn)?[0];
        backend::store::cancel(tx, id).map(drop)
    }),
    ("erase", |tx| {
        let id = some_ids(tx.conn)?[0];
        backend::store::erase(tx, id).map(drop)
    }),
    ("due_erasures", |tx| {
        backend::erasures::due_erasures(tx.conn, tx.now, 10).map(drop)
    }),
    ("erasures.failed", |tx| {
        let id = some_ids(tx.conn)?[0];
        backend::erasures::failed(tx, id).map(drop)
    }),
    ("retention", |tx| retained(tx, backend::store::RETAINED)),
];

/// What is asked of a speech.
const OF_SPEECHES: &[Query] = &[
    ("oldest_due", |tx| {
        tts::store::oldest_due(tx.conn, tx.now).map(drop)
    }),
    ("expire", |tx| tts::store::deadlines::expire(tx).map(drop)),
    ("claim", |tx| {
        tts::store::claims::claim(tx, Uuid::now_v7(), 8).map(drop)
    }),
    ("claim of a guest", |tx| {
        let wish = Wish {
            except: ["a".to_owned()].into(),
            is_short: true,
            ..Wish::any(1)
        };
        tts::store::claims::claim_wished(tx, Uuid::now_v7(), &wish).map(drop)
    }),
    ("claim for newcomers", |tx| {
        let wish = Wish {
            except: ["a".to_owned()].into(),
            each: 1,
            ..Wish::any(8)
        };
        tts::store::claims::claim_wished(tx, Uuid::now_v7(), &wish).map(drop)
    }),
    ("recover", |tx| {
        tts::store::claims::recover(tx, Uuid::now_v7()).map(drop)
    }),
    ("headers_of_check", |tx| {
        tts::store::checks::headers_of_check(tx.conn, "http://a/").map(drop)
    }),
    ("cancel", |tx| {
        let id = some_ids(tx.conn)?[0];
        tts::store::cancel(tx, id).map(drop)
    }),
    ("erase", |tx| {
        let id = some_ids(tx.conn)?[0];
        operations::erase::<tts::store::Row>(tx, id).map(drop)
    }),
    ("retention", |tx| retained(tx, tts::store::RETAINED)),
];

/// What is asked of a task and of a speech in the same way.
fn of_resources<R: ResourceRow>() -> Vec<Query> {
    vec![
        ("open_load", |tx| {
            operations::open_load::<R>(tx.conn).map(drop)
        }),
        ("get_many", |tx| {
            let ids: Vec<Id> = some_ids(tx.conn)?.into_iter().map(Id).collect();
            R::get_many(tx.conn, &ids).map(drop)
        }),
        ("list", |tx| {
            let filter = Filter {
                limit: 50,
                ..Filter::default()
            };
            operations::list::<R>(tx.conn, &filter).map(drop)
        }),
        ("by_key", |tx| R::by_key(tx.conn, "a/key").map(drop)),
        ("text", |tx| {
            let id = some_ids(tx.conn)?[0];
            R::text(tx.conn, id).map(drop)
        }),
        ("words", |tx| {
            let id = some_ids(tx.conn)?[0];
            R::words(tx.conn, id).map(drop)
        }),
        ("text_and_words", |tx| {
            let id = some_ids(tx.conn)?[0];
            R::text_and_words(tx.conn, id).map(drop)
        }),
    ]
}

/// What is asked of deliveries and events, of both services.
const OF_BOTH: &[Query] = &[
    ("due", |tx| {
        let turns = Kind::ALL.map(|kind| Turn {
            receiver: some_receiver(),
            kind,
            from: 0,
        });
        delivery::look::read_due(tx.conn, (0, tx.now), &turns).map(drop)
    }),
    ("deliveries.oldest_due", |tx| {
        delivery::store::oldest_due(tx.conn, tx.now).map(drop)
    }),
    ("give_up", |tx| {
        delivery::store::give_up(tx, &some_receiver(), tx.now, &HashSet::new(), 10).map(drop)
    }),
    ("newest_of", |tx| {
        let ids: Vec<Id> = some_ids(tx.conn)?.into_iter().map(Id).collect();
        delivery::store::newest_of(tx.conn, &ids).map(drop)
    }),
    ("newest", |tx| {
        let id = some_ids(tx.conn)?[0];
        delivery::store::newest(tx.conn, Id(id)).map(drop)
    }),
    ("deliveries.list", |tx| {
        let filter = Filter {
            limit: 50,
            ..Filter::default()
        };
        let (rows, _) = delivery::store::list(tx.conn, &filter)?;
        delivery::store::attempts_of(tx.conn, &rows).map(drop)
    }),
    ("redeliver_found", |tx| {
        let filter = Filter {
            limit: 50,
            statuses: vec!["exhausted".into()],
            ..Filter::default()
        };
        let found = delivery::store::LISTED.find(tx.conn, &filter)?;
        delivery::store::redeliver_found(tx, &filter, &found.ids).map(drop)
    }),
    ("record", |tx| {
        let id = some_ids(tx.conn)?[0];
        let Some(row) = delivery::store::get(tx.conn, id)? else {
            return Ok(());
        };
        let attempt = DeliveryAttempt {
            number: 1,
            at: String::new(),
            phase: "answer".into(),
            status: Some(200),
            body: None,
            duration_ms: 1,
        };
        let after = delivery::delivery::After {
            status: hoiam_api::DeliveryStatus::Delivered,
            wait: None,
        };
        delivery::store::record(tx, &row, &attempt, after).map(drop)
    }),
    ("erase_of", |tx| {
        let id = some_ids(tx.conn)?[0];
        delivery::store::erase_of(tx, id)?;
        tx.erase_events(id)
    }),
    ("history", |tx| {
        let id = some_ids(tx.conn)?[0];
        events_after(tx.conn, Service::Backend, &Whose::Subject(id), 0, 100).map(drop)
    }),
    ("feed", |tx| {
        events_after(tx.conn, Service::Backend, &Whose::Everybody, 100, 100).map(drop)
    }),
    ("feed of a client", |tx| {
        let whose = Whose::Client("nobody".to_owned());
        events_after(tx.conn, Service::Backend, &whose, 100, 100).map(drop)
    }),
];

fn some_receiver() -> Receiver {
    Receiver {
        client: "".into(),
        origin: "http://b".into(),
    }
}

/// The newest rows, which are open, and one that has ended.
pub(super) fn some_ids(conn: &mut Conn) -> QueryResult<Vec<Uuid>> {
    let newest = Filter {
        limit: 20,
        ..Filter::default()
    };
    let found = delivery::store::LISTED.find(conn, &newest)?;
    Ok(found.ids.into_iter().map(|id| id.0).collect())
}

fn retained(tx: &mut Tx<'_>, subjects: Subjects) -> QueryResult<()> {
    for stage in [Stage::Files, Stage::Rows] {
        let due = subjects.due(tx.conn, stage, tx.now, 10)?;
        subjects.first_end(tx.conn, stage, tx.now)?;
        subjects.clear_files(tx, &due)?;
        let files = due.iter().map(|id| (*id, "a".to_owned())).collect();
        subjects.unnamed(tx.conn, files)?;
        subjects.forget(tx, &due)?;
    }
    Ok(())
}

/// Each query of a service.
pub(super) fn queries(service: Service) -> impl Iterator<Item = Query> {
    let (of_resources, own) = match service {
        Service::Backend => (of_resources::<backend::store::Row>(), OF_TASKS),
        Service::Tts => (of_resources::<tts::store::Row>(), OF_SPEECHES),
    };
    let own = own.iter().chain(OF_BOTH).copied();
    of_resources.into_iter().chain(own)
}

#[tokio::test]
async fn no_query_reads_a_whole_table() {
    for service in [Service::Backend, Service::Tts] {
        let test = filled(service, 50).await;
        let written = test.db.write(move |tx| {
            for (name, query) in queries(service) {
                assert_no_scan(name, &plan_lines_tx(tx, query));
            }
            Ok(())
        });
        written.await.unwrap();
    }
}

/// It is one row, the last one.
#[tokio::test]
async fn the_newest_event_is_the_end_of_the_table() {
    let test = filled(Service::Backend, 50).await;
    let read = test
        .db
        .read(|conn| Ok((plan_lines(conn, newest_event), newest_event(conn)?)));
    let (lines, newest) = read.await.unwrap();
    assert_eq!(lines, ["SCAN events"], "and nothing is sorted");
    assert_eq!(newest, 50);
}
