//! How the deliveries' verbs find their rows.

use super::*;
use crate::db::testing::{TestDb, found_by, found_by_tx};

async fn plans<T: Send + 'static>(
    test: &TestDb,
    verb: impl FnOnce(&mut Conn) -> QueryResult<T> + Send + 'static,
) -> Vec<String> {
    test.db
        .read(move |conn| Ok(found_by(conn, verb)))
        .await
        .unwrap()
}

#[tokio::test]
async fn what_is_due_is_found_by_its_own_index_first_tries_and_retries_apart() {
    let test = TestDb::new(Service::Tts);
    let blocked = vec!["http://a".to_owned(), "http://b".to_owned()];
    for blocked in [Vec::new(), blocked] {
        let found = plans(&test, move |conn| due(conn, (0, 1), 10, &blocked)).await;
        let first = "deliveries_due_first";
        let again = "deliveries_due_again";
        assert_eq!(found, [first, first, again, again]);
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

#[tokio::test]
async fn a_page_of_deliveries_is_read_in_the_order_of_an_index() {
    let test = TestDb::new(Service::Tts);
    let page = |filter: Filter| plans(&test, move |conn| list(conn, &filter));
    let all = Filter {
        limit: 50,
        ..Filter::default()
    };
    assert_eq!(page(all.clone()).await, ["id"]);
    let next_page = Filter {
        cursor: Some(Uuid::now_v7()),
        ..all.clone()
    };
    assert_eq!(page(next_page).await, ["id"]);
    let of_one = Filter {
        subject: Some(Uuid::now_v7()),
        ..all
    };
    let found = page(of_one).await;
    assert_eq!(found, ["deliveries_by_subject, sorted"]);
}

#[tokio::test]
async fn an_attempt_is_recorded_by_the_primary_key_and_only_once() {
    let test = TestDb::new(Service::Tts);
    let (found, attempts) = test
        .db
        .write(|tx| {
            let id = owe(
                tx,
                Uuid::now_v7(),
                DeliveryType::SpeechCompleted,
                "http://a/",
            )?;
            let row = get(tx.conn, id)?.unwrap();
            let attempt = DeliveryAttempt {
                number: 1,
                at: rfc3339(tx.now),
                phase: "answer".into(),
                status: Some(500),
                body: None,
                duration_ms: 1,
            };
            let after = After {
                status: DeliveryStatus::Pending,
                wait: Some(std::time::Duration::from_secs(1)),
            };
            let found = found_by_tx(tx, |tx| record(tx, &row, &attempt, after));
            // The attempt of an actor's earlier life, which saw the same row.
            record(tx, &row, &attempt, after)?;
            Ok((found, get(tx.conn, id)?.unwrap().attempts))
        })
        .await
        .unwrap();
    assert_eq!((found, attempts), (vec!["id".to_owned()], 1));
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
