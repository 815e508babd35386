//! Alerts are kept with their deliveries, and go with them.

use hoiam_api::DeliveryStatus;

use super::*;
use crate::db::history::Whose;
use crate::db::hub::{Interest, News};
use crate::db::testing::{TestDb, found_by};

const URL: &str = "http://127.0.0.1:9/alerts";

fn new(now: Millis) -> New {
    let (id, kind) = (Uuid::now_v7(), DeliveryType::DiskFailing);
    New {
        kind,
        alert: Alert {
            id,
            count: 2,
            since: rfc3339(now),
            until: rfc3339(now),
            resolved: Some(false),
            examples: Vec::new(),
        },
        delivery: owed::Row::pending(Uuid::now_v7(), id, kind, URL, now),
        tried: Vec::new(),
    }
}

fn tried(number: u32, status: u16, after: After) -> (DeliveryAttempt, After) {
    let attempt = DeliveryAttempt {
        number,
        at: rfc3339(0),
        phase: "answer".into(),
        status: Some(status),
        body: None,
        duration_ms: 1,
    };
    (attempt, after)
}

fn ended(status: DeliveryStatus) -> After {
    After { status, wait: None }
}

/// A delivery that is given up at once, of this kind and subject.
fn give_up(tx: &mut Tx<'_>, kind: DeliveryType, subject: Uuid) -> QueryResult<Uuid> {
    let row = owed::Row::pending(Uuid::now_v7(), subject, kind, "http://a/", tx.now);
    owed::insert(tx, row.clone())?;
    let (attempt, after) = tried(1, 500, ended(DeliveryStatus::Exhausted));
    owed::record(tx, &row, &attempt, after)?;
    Ok(row.id.0)
}

#[tokio::test]
async fn an_alert_is_owed_from_the_commit_that_keeps_it_and_read_back_whole() {
    let test = TestDb::new(Service::Backend);
    let ledger = Ledger {
        exhausted_to: [("tts".to_owned(), 7)].into(),
        ..Ledger::default()
    };
    let (made, kept) = (new(test.db.clock().now() - 5000), ledger.clone());
    let written = made.clone();
    let write = test
        .db
        .write(move |tx| enqueue(tx, std::slice::from_ref(&written), &kept));
    write.await.unwrap();
    let id = made.delivery.id.0;
    let (row, alert, known) = test
        .db
        .read(move |conn| {
            let row = owed::get(conn, id)?.unwrap();
            let alert = get(conn, row.subject_id.0)?;
            Ok((row, alert, super::ledger(conn)?))
        })
        .await
        .unwrap();
    assert_eq!(alert, Some(made.alert.clone()));
    assert_eq!(known, ledger);
    // Its body has the time at which it was made; due it is from its commit on.
    assert_eq!(row.created_at, made.delivery.created_at);
    assert_eq!(row.next_attempt_at, Some(test.db.clock().now()));
    let shown = owed::resource(Service::Backend, &row, Vec::new(), false);
    assert_eq!((shown.alert_id, shown.task_id), (Some(made.alert.id), None));
}

#[tokio::test]
async fn what_was_sent_from_memory_is_kept_with_its_attempts_and_once() {
    let test = TestDb::new(Service::Tts);
    let again = After {
        status: DeliveryStatus::Pending,
        wait: Some(std::time::Duration::from_secs(1)),
    };
    let made = New {
        tried: vec![
            tried(1, 503, again),
            tried(2, 204, ended(DeliveryStatus::Delivered)),
        ],
        ..new(test.db.clock().now())
    };
    for _ in 0..2 {
        let made = made.clone();
        let write = test
            .db
            .write(move |tx| enqueue(tx, std::slice::from_ref(&made), &Ledger::default()));
        write.await.unwrap();
    }
    let id = made.delivery.id.0;
    let (row, log) = test
        .db
        .read(move |conn| {
            let row = owed::get(conn, id)?.unwrap();
            let log = owed::attempts_of(conn, std::slice::from_ref(&row))?;
            Ok((row, log))
        })
        .await
        .unwrap();
    assert_eq!((row.status.as_str(), row.attempts), ("delivered", 2));
    let statuses: Vec<_> = log[&id].iter().map(|attempt| attempt.status).collect();
    assert_eq!(statuses, [Some(503), Some(204)]);
}

#[tokio::test]
async fn deliveries_that_were_given_up_are_found_after_an_event_but_for_those_of_alerts() {
    let test = TestDb::new(Service::Backend);
    let (tasks, found, rest) = test
        .db
        .write(|tx| {
            let mut tasks = Vec::new();
            for _ in 0..3 {
                let task = Uuid::now_v7();
                give_up(tx, DeliveryType::TaskFailed, task)?;
                give_up(tx, DeliveryType::DeliveryExhausted, Uuid::now_v7())?;
                tasks.push(Some(task));
            }
            let found = exhausted_after(tx.conn, Service::Backend, 0, 2)?;
            let last = found.last().map_or(0, |(event, ..)| *event);
            let rest = exhausted_after(tx.conn, Service::Backend, last, 2)?;
            Ok((tasks, found, rest))
        })
        .await
        .unwrap();
    assert_eq!((found.len(), rest.len()), (2, 1));
    let all = found.into_iter().chain(rest);
    let told: Vec<Example> = all.map(|(.., example)| example).collect();
    let of: Vec<_> = told.iter().map(|example| example.task_id).collect();
    assert_eq!(of, tasks);
    let first = &told[0];
    assert_eq!(first.kind, Some(DeliveryType::TaskFailed));
    assert_eq!(first.origin.as_deref(), Some("http://a"));
    assert_eq!(first.error.as_deref(), Some("task.failed answered 500"));
    let plan = test.db.read(|conn| {
        Ok(found_by(conn, |conn| {
            exhausted_after(conn, Service::Backend, 9_999, 2)
        }))
    });
    assert_eq!(plan.await.unwrap(), ["events_exhausted"]);
}

#[tokio::test]
async fn no_feed_shows_what_the_deliveries_of_alerts_leave() {
    let test = TestDb::new(Service::Backend);
    let mut live = test.db.subscribe(Interest::All);
    let write = test.db.write(|tx| {
        give_up(tx, DeliveryType::ReceiverShut, Uuid::now_v7())?;
        give_up(tx, DeliveryType::TaskFailed, Uuid::now_v7())
    });
    let told = write.await.unwrap();
    let feed = test
        .db
        .read(|conn| history::events_after(conn, Service::Backend, &Whose::Everybody, 0, 10));
    assert_eq!(feed.await.unwrap().events.len(), 1, "{told}");
    let News::Events(events) = live.next().await else {
        panic!("one event is not too many")
    };
    assert_eq!(events.len(), 1);
}

#[tokio::test]
async fn old_alerts_go_with_their_deliveries_but_for_those_that_are_still_owed() {
    let test = TestDb::new(Service::Backend);
    let now = test.db.clock().now();
    let (told, still_pending, young) = (new(now - 100), new(now - 100), new(now));
    let told = New {
        tried: vec![tried(1, 204, ended(DeliveryStatus::Delivered))],
        ..told
    };
    let all = [told.clone(), still_pending.clone(), young.clone()];
    let ids = [&told, &still_pending, &young].map(|new| (new.alert.id, new.delivery.id.0));
    let (forgotten, left) = test
        .db
        .write(move |tx| {
            enqueue(tx, &all, &Ledger::default())?;
            let forgotten = forget(tx, now, 10)?;
            let mut left = Vec::new();
            for (alert, delivery) in ids {
                let is_there = (
                    get(tx.conn, alert)?.is_some(),
                    owed::get(tx.conn, delivery)?.is_some(),
                );
                left.push(is_there);
            }
            Ok((forgotten, left))
        })
        .await
        .unwrap();
    assert_eq!(forgotten, 1);
    assert_eq!(left, [(false, false), (true, true), (true, true)]);
}
