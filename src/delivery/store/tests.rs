//! How the deliveries' operations find their rows.

use super::*;
use crate::db::testing::{TestDb, found_by, found_by_tx, history};

async fn plans<T: Send + 'static>(
    test: &TestDb,
    operation: impl FnOnce(&mut Conn) -> QueryResult<T> + Send + 'static,
) -> Vec<String> {
    test.db
        .read(move |conn| Ok(found_by(conn, operation)))
        .await
        .unwrap()
}

#[tokio::test]
async fn what_is_due_is_found_by_its_own_index_first_tries_and_retries_apart() {
    let test = TestDb::new(Service::Tts);
    let kinds = [Kind::FirstTry, Kind::Retry];
    let (first, again) = ("deliveries_due_first", "deliveries_due_again");
    for (kind, index) in kinds.into_iter().zip([first, again]) {
        let found = plans(&test, move |conn| due(conn, kind, (0, 1), 10)).await;
        assert_eq!(found, [index]);
    }
    let found = plans(&test, |conn| next_due(conn, 1)).await;
    assert_eq!(found, [first, again]);
}

#[tokio::test]
async fn what_is_due_to_one_receiver_is_found_by_it() {
    let test = TestDb::new(Service::Tts);
    let kinds = [Kind::FirstTry, Kind::Retry];
    let indexes = ["deliveries_due_first_to", "deliveries_due_again_to"];
    for (kind, index) in kinds.into_iter().zip(indexes) {
        let receiver = Receiver {
            client: "a".into(),
            origin: "http://a".into(),
        };
        let found = plans(&test, move |conn| due_to(conn, &receiver, kind, (0, 1), 10)).await;
        assert_eq!(found, [index]);
    }
}

#[tokio::test]
async fn the_newest_deliveries_and_the_attempts_are_found_by_their_subjects() {
    let test = TestDb::new(Service::Tts);
    let subjects = [Id(Uuid::now_v7()), Id(Uuid::now_v7())];
    let found = plans(&test, move |conn| newest_of(conn, &subjects)).await;
    // Sorted are the few deliveries of the subjects that were asked for.
    assert_eq!(found, ["deliveries_by_subject, sorted"]);
}

/// Between the look and the commit anybody may have it sent again.
#[tokio::test]
async fn what_was_found_to_be_sent_again_is_so_only_if_the_filter_still_means_it() {
    let test = TestDb::new(Service::Tts);
    let redelivered = test.db.write(|tx| {
        let of = |tx: &mut Tx<'_>, client: &str| {
            let kind = DeliveryType::SpeechCompleted;
            let id = enqueue_aborted(tx, Uuid::now_v7(), client, kind, "http://a/")?;
            Ok::<_, diesel::result::Error>(get(tx.conn, id)?.unwrap())
        };
        let set = |tx: &mut Tx<'_>, row: &Row, status: &str, ended_at: Option<Millis>| {
            let changes = (
                deliveries::status.eq(status),
                deliveries::ended_at.eq(ended_at),
            );
            diesel::update(deliveries::table.find(row.id))
                .set(changes)
                .execute(tx.conn)
        };
        let rows = [
            of(tx, "a")?,
            of(tx, "a")?,
            of(tx, "a")?,
            of(tx, "a")?,
            of(tx, "b")?,
        ];
        let [meant, again, delivered, later, others] = &rows;
        set(tx, again, "pending", None)?;
        set(tx, delivered, "delivered", Some(tx.now))?;
        set(tx, later, "aborted", Some(tx.now + 5))?;
        let filter = Filter {
            client: Some("a".into()),
            statuses: vec!["aborted".into()],
            ended_before: Some(tx.now + 1),
            ..Filter::default()
        };
        let found = rows.iter().map(|row| row.id).collect::<Vec<_>>();
        let count = redeliver_found(tx, &filter, &found)?;
        let rounds = [meant, again, delivered, later, others].map(|row| {
            let now = get(tx.conn, row.id.0).unwrap().unwrap();
            (now.round, now.status)
        });
        Ok((count, rounds))
    });
    let (count, rounds) = redelivered.await.unwrap();
    assert_eq!(count, 1);
    let rounds = rounds
        .each_ref()
        .map(|(round, status)| (*round, status.as_str()));
    let as_before = [
        (1, "pending"),
        (1, "delivered"),
        (1, "aborted"),
        (1, "aborted"),
    ];
    assert_eq!(rounds[0], (2, "pending"));
    assert_eq!(rounds[1..], as_before);
}

fn failed_attempt(tx: &Tx<'_>) -> DeliveryAttempt {
    DeliveryAttempt {
        number: 1,
        at: rfc3339(tx.now),
        phase: "answer".into(),
        status: Some(500),
        body: None,
        duration_ms: 1,
    }
}

/// Another attempt follows so many seconds later.
fn again(seconds: u64) -> After {
    After {
        status: DeliveryStatus::Pending,
        wait: Some(std::time::Duration::from_secs(seconds)),
    }
}

fn owed(tx: &mut Tx<'_>) -> QueryResult<Row> {
    let kind = DeliveryType::SpeechCompleted;
    let id = enqueue(tx, Uuid::now_v7(), "", kind, "http://a/")?;
    Ok(get(tx.conn, id)?.unwrap())
}

#[tokio::test]
async fn an_attempt_is_recorded_by_the_primary_key() {
    let test = TestDb::new(Service::Tts);
    let found = test.db.write(|tx| {
        let (row, attempt) = (owed(tx)?, failed_attempt(tx));
        Ok(found_by_tx(tx, |tx| record(tx, &row, &attempt, again(1))))
    });
    assert_eq!(found.await.unwrap(), ["id"]);
}

/// An actor that was restarted sends again what its earlier life has under way,
/// and then both tell of it.
#[tokio::test]
async fn an_attempt_that_two_lives_of_the_dispatcher_tell_of_is_recorded_once() {
    let test = TestDb::new(Service::Tts);
    let (first, second, before, after) = test
        .db
        .write(|tx| {
            let (row, attempt) = (owed(tx)?, failed_attempt(tx));
            let kept = |tx: &mut Tx<'_>| -> QueryResult<_> {
                let row = get(tx.conn, row.id.0)?.unwrap();
                let attempts = attempts_of(tx.conn, std::slice::from_ref(&row))?;
                Ok((format!("{row:?}"), attempts[&row.id.0].len()))
            };
            let first = record(tx, &row, &attempt, again(1))?;
            let before = kept(tx)?;
            tx.now += 5;
            let mut second = Vec::new();
            for after in [
                again(60),
                After {
                    status: DeliveryStatus::Exhausted,
                    wait: None,
                },
            ] {
                second.push(record(tx, &row, &attempt, after)?);
            }
            Ok((first, second, before, kept(tx)?))
        })
        .await
        .unwrap();
    // Whoever comes second hears when it is due, and changes nothing.
    assert!(first.is_some());
    assert_eq!(second, [first; 2]);
    assert_eq!(before.1, 1);
    assert_eq!(after, before);
}

#[test]
fn what_has_ended_is_shown_as_ended_even_while_its_attempt_is_put_away() {
    use DeliveryStatus::{Aborted, Delivered, Delivering, Exhausted, Pending};
    assert_eq!(shown(Pending, true), Delivering);
    assert_eq!(shown(Pending, false), Pending);
    for ended in [Delivered, Exhausted, Aborted] {
        assert_eq!(shown(ended, true), ended);
    }
}

/// The type, the subject and the delivery of each event.
fn events_of(conn: &mut Conn, subject: Id) -> Vec<(String, Option<Id>)> {
    events::table
        .filter(events::subject_id.eq(subject))
        .select((events::kind, events::delivery_id))
        .order(events::id)
        .load(conn)
        .unwrap()
}

#[tokio::test]
async fn a_delivery_tells_each_attempt_its_end_and_who_has_it_made_again() {
    let test = TestDb::new(Service::Tts);
    let told = test.db.write(|tx| {
        let row = owed(tx)?;
        let mut attempt = failed_attempt(tx);
        attempt.status = Some(503);
        let at = record(tx, &row, &attempt, again(5))?;
        assert_eq!(at, Some(tx.now + 5000));
        assert_eq!(get(tx.conn, row.id.0)?.unwrap().ended_at, None);
        tx.now += 10_000;
        let late = tx.now;
        let given_up = give_up(tx, &row.receiver(), late, &HashSet::new(), 9)?;
        assert_eq!(given_up, 1);
        let ended = get(tx.conn, row.id.0)?.unwrap();
        assert_eq!(
            (ended.status(), ended.ended_at),
            (DeliveryStatus::Exhausted, Some(late))
        );
        assert_eq!(redeliver(tx, row.id.0)?, Redelivered::Done);
        assert_eq!(redeliver(tx, row.id.0)?, Redelivered::NotEnded);
        let row = get(tx.conn, row.id.0)?.unwrap();
        assert_eq!((row.round, row.attempt, row.attempts), (2, 0, 1));
        assert_eq!((row.next_attempt_at, row.ended_at), (Some(late), None));
        tx.now += 1;
        let last = After {
            status: DeliveryStatus::Delivered,
            wait: None,
        };
        attempt.status = Some(204);
        assert_eq!(record(tx, &row, &attempt, last)?, None);
        let ended = get(tx.conn, row.id.0)?.unwrap();
        assert_eq!(
            (ended.next_attempt_at, ended.ended_at),
            (None, Some(tx.now))
        );
        let of = ("attempt".to_owned(), Some(row.id));
        assert_eq!(events_of(tx.conn, row.subject_id), vec![of; 4]);
        Ok((
            row.kind.clone(),
            row.origin.clone(),
            history(tx.conn, row.subject_id.0),
        ))
    });
    let (kind, origin, told) = told.await.unwrap();
    let expected = [
        format!("attempt: delivering > pending, {kind} answered 503 (CallbackDispatcher)"),
        format!(
            "attempt: pending > exhausted, {kind}: {origin} has not answered for too long (CallbackDispatcher)"
        ),
        "attempt: exhausted > pending, redelivery asked for (api)".to_owned(),
        format!("attempt: delivering > delivered, {kind} answered 204 (CallbackDispatcher)"),
    ];
    assert_eq!(told, expected);
}

#[tokio::test]
async fn what_becomes_of_an_alert_is_shown_in_no_feed() {
    let test = TestDb::new(Service::Tts);
    let write = test.db.write(|tx| {
        let kind = DeliveryType::DiskFailing;
        let id = enqueue(tx, Uuid::now_v7(), OPERATOR, kind, "http://own/")?;
        let row = get(tx.conn, id)?.unwrap();
        let late = tx.now + 1;
        assert_eq!(give_up(tx, &row.receiver(), late, &HashSet::new(), 9)?, 1);
        assert_eq!(redeliver(tx, id)?, Redelivered::Done);
        let of = ("alert".to_owned(), Some(row.id));
        assert_eq!(events_of(tx.conn, row.subject_id), vec![of; 2]);
        Ok(())
    });
    write.await.unwrap();
}

#[test]
fn a_delivery_names_what_it_tells_of_by_what_that_is() {
    let subject = Uuid::now_v7();
    let ids = |service, kind| {
        let row = Row::pending(Uuid::now_v7(), subject, kind, "http://a/", 0);
        let shown = resource(service, &row, Vec::new(), false);
        [shown.task_id, shown.speech_id, shown.alert_id]
    };
    let (task, speech, alert) = (Service::Backend, Service::Tts, DeliveryType::DiskFailing);
    let some = Some(subject);
    assert_eq!(ids(task, DeliveryType::TaskCompleted), [some, None, None]);
    assert_eq!(ids(speech, DeliveryType::SpeechFailed), [None, some, None]);
    for service in [task, speech] {
        assert_eq!(ids(service, alert), [None, None, some]);
    }
}

/// Both are exclusive, as in the lists.
#[test]
fn a_span_of_ends_means_what_ended_within_it() {
    let mut row = Row::pending(
        Uuid::now_v7(),
        Uuid::now_v7(),
        DeliveryType::TaskFailed,
        "http://a/",
        0,
    );
    row.ended_at = Some(5);
    let means = |ended_after, ended_before| {
        let filter = Filter {
            ended_after,
            ended_before,
            ..Filter::default()
        };
        is_meant(&row, &filter)
    };
    assert_eq!(
        [4, 5, 6].map(|at| means(Some(at), None)),
        [true, false, false]
    );
    assert_eq!(
        [4, 5, 6].map(|at| means(None, Some(at))),
        [false, false, true]
    );
    assert!(means(Some(4), Some(6)));
}

#[tokio::test]
async fn what_is_due_to_a_receiver_is_one_clients_and_of_one_kind() {
    let test = TestDb::new(Service::Tts);
    let urls = test.db.write(|tx| {
        let owed = [
            ("a", "http://a/1"),
            ("b", "http://a/2"),
            ("a", "http://b/3"),
        ];
        for (client, url) in owed {
            enqueue(tx, Uuid::now_v7(), client, DeliveryType::TaskFailed, url)?;
        }
        let receiver = Receiver {
            client: "a".into(),
            origin: "http://a".into(),
        };
        let mut due = |kind| due_to(tx.conn, &receiver, kind, (0, tx.now), 10);
        let both = [due(Kind::FirstTry)?, due(Kind::Retry)?];
        Ok(both.map(|rows| rows.into_iter().map(|row| row.url).collect::<Vec<_>>()))
    });
    let [first, again] = urls.await.unwrap();
    assert_eq!(first, ["http://a/1"]);
    assert!(again.is_empty());
}
