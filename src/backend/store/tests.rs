//! The Backend's operations against the pure machine of [`task`], and how they
//! find their rows.

mod history;

use std::collections::HashMap;

use hoiam_api::{Create, Service};
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use super::*;
use crate::db::schema::{deliveries as delivery_rows, events};
use crate::db::testing::{TestDb, block_on, found_by, found_by_tx};

fn create(callback_url: Option<&str>, timeout_s: u32) -> Create {
    Create {
        text: "Xin chào.".into(),
        callback_url: callback_url.map(str::to_owned),
        timeout_s,
        ..Create::default()
    }
}

fn new(id: Uuid, callback_url: Option<&str>, timeout_s: u32) -> New {
    New {
        id,
        client: String::new(),
        idempotency_key: None,
        request: create(callback_url, timeout_s).into(),
        extra: NewTask {
            report_to: "http://127.0.0.1/v1/callbacks".into(),
            retry_of: None,
        },
    }
}

fn speech(id: Uuid, status: SpeechStatus) -> Speech {
    let audio = (status == SpeechStatus::Completed).then(|| {
        serde_json::json!({
            "format": "mp3", "sample_rate_hz": 22050, "channels": 1, "duration_ms": 1000,
            "bytes": 10, "sha256": "00",
        })
    });
    serde_json::from_value(serde_json::json!({
        "id": id, "status": status, "format": "mp3", "audio": audio,
    }))
    .unwrap()
}

// ------------------------------------------------------------ state machine

/// One operation, of one of a few tasks.
#[derive(Debug, Clone)]
enum Operation {
    Submit { with_callback: bool, timeout_s: u32 },
    Accepted,
    Result(SpeechStatus),
    Fetched,
    ActionFailed(Action),
    FetchRefused,
    FetchPostponed,
    Abandoned,
    Refused,
    Lost,
    Cancel,
    TimeOut,
    Wait { ms: i64 },
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        3 => (any::<bool>(), 1_u32..4).prop_map(|(with_callback, timeout_s)| Operation::Submit {
            with_callback,
            timeout_s,
        }),
        3 => Just(Operation::Accepted),
        4 => prop::sample::select(SpeechStatus::ALL).prop_map(Operation::Result),
        3 => Just(Operation::Fetched),
        3 => prop::sample::select(Action::ALL).prop_map(Operation::ActionFailed),
        1 => Just(Operation::FetchRefused),
        1 => Just(Operation::FetchPostponed),
        1 => Just(Operation::Abandoned),
        1 => Just(Operation::Refused),
        1 => Just(Operation::Lost),
        1 => Just(Operation::Cancel),
        3 => Just(Operation::TimeOut),
        // Beyond the deadlines, and now and then beyond the fetch window.
        3 => prop_oneof![0_i64..3000, Just(FETCH_WINDOW_MS)].prop_map(|ms| Operation::Wait { ms }),
    ]
}

fn apply(tx: &mut Tx<'_>, id: Uuid, operation: &Operation) -> QueryResult<()> {
    match operation {
        Operation::Submit {
            with_callback,
            timeout_s,
        } => {
            let url = with_callback.then_some("http://127.0.0.1:9/hook");
            let client = id.as_bytes()[15] % 2;
            let new = New {
                client: client.to_string(),
                ..new(id, url, *timeout_s)
            };
            submit(tx, &new).map(drop)
        }
        Operation::Accepted => accepted(tx, id, &speech(id, SpeechStatus::Queued)),
        Operation::Result(status) => result_known(tx, &speech(id, *status), "callback").map(drop),
        Operation::Fetched => {
            let files = Fetched {
                file: "a".into(),
                words: "[]".into(),
            };
            fetched(tx, id, &files).map(drop)
        }
        Operation::ActionFailed(action) => action_failed(tx, id, *action, "no answer", None),
        Operation::FetchRefused => fetch_refused(tx, id, "gone"),
        Operation::FetchPostponed => fetch_postponed(tx, id).map(drop),
        Operation::Abandoned => abandoned(tx, id, "404"),
        Operation::Refused => refused(tx, id, &Failure::permanent("unknown_voice", "no")),
        Operation::Lost => lost(tx, &[id], tx.now + 1),
        Operation::Cancel => cancel(tx, id).map(drop),
        Operation::TimeOut => time_out(tx).map(drop),
        Operation::Wait { ms } => {
            tx.now += ms;
            Ok(())
        }
    }
}

/// What a row tells beside its status must fit the status.
fn check_row(tx: &mut Tx<'_>, row: &Row) -> Result<(), TestCaseError> {
    let status = row.status();
    prop_assert_eq!(row.ended_at.is_some(), status.is_ended(), "{:?}", row);
    let actions: &[Option<Action>] = match status {
        TaskStatus::Queued => &[Some(Action::HandOver)],
        TaskStatus::InProgress | TaskStatus::Completed | TaskStatus::Failed => &[None],
        TaskStatus::Fetching => &[Some(Action::Fetch)],
        TaskStatus::TimedOut => &[None, Some(Action::Abandon), Some(Action::Fetch)],
        TaskStatus::Canceled => &[None, Some(Action::Abandon)],
    };
    prop_assert!(actions.contains(&row.action()), "{:?}", row);
    prop_assert_eq!(row.action.is_some(), row.action_due_at.is_some());

    let told: Vec<String> = delivery_rows::table
        .filter(delivery_rows::subject_id.eq(row.id))
        .select(delivery_rows::kind)
        .order(delivery_rows::id)
        .load(tx.conn)
        .unwrap();
    let mut owed: Vec<String> = Vec::new();
    if row.callback_url.is_some() && status.is_ended() {
        owed.push(format!("task.{}", row.status));
        if status == TaskStatus::TimedOut && row.file.is_some() {
            owed.push("task.late_result".into());
        }
    }
    prop_assert_eq!(told, owed);
    Ok(())
}

/// The history replays to the status of the row.
fn check_history(tx: &mut Tx<'_>, row: &Row) -> Result<(), TestCaseError> {
    let history: Vec<(Option<String>, Option<String>)> = events::table
        .filter(events::subject_id.eq(row.id))
        .filter(events::kind.eq("state"))
        .select((events::from_status, events::to_status))
        .order(events::id)
        .load(tx.conn)
        .unwrap();
    let mut at: Option<String> = None;
    for (from, to) in history {
        prop_assert_eq!(&from, &at);
        at = to;
    }
    prop_assert_eq!(at.as_deref(), Some(row.status.as_str()));
    Ok(())
}

/// Runs the operations in one commit, and checks after each of them.
fn drive(
    tx: &mut Tx<'_>,
    ids: &[Uuid],
    operations: &[(usize, Operation)],
) -> Result<(), TestCaseError> {
    let mut before: HashMap<Uuid, TaskStatus> = HashMap::new();
    for (which, operation) in operations {
        let id = ids[which % ids.len()];
        apply(tx, id, operation).unwrap();
        for id in ids {
            let Some(row) = Row::get(tx.conn, *id).unwrap() else {
                continue;
            };
            let to = row.status();
            let from = before.insert(*id, to);
            match from {
                None => prop_assert_eq!(to, TaskStatus::Queued),
                Some(from) if from != to => {
                    prop_assert!(!from.is_ended(), "{} -> {} by {:?}", from, to, operation);
                    let allowed = Step::ALL
                        .iter()
                        .any(|step| task::next(from, *step) == Some(to));
                    prop_assert!(allowed, "{} -> {} by {:?}", from, to, operation);
                }
                Some(_) => {}
            }
            check_row(tx, &row)?;
            check_history(tx, &row)?;
        }
    }
    Ok(())
}

#[test]
fn no_sequence_of_operations_leaves_the_state_machine() {
    let test = TestDb::new(Service::Backend);
    let db = test.db.clone();
    let operations = prop::collection::vec((0_usize..3, operation()), 1..60);
    let mut runner = proptest::test_runner::TestRunner::default();
    let result = runner.run(&operations, |operations| {
        let ids: Vec<Uuid> = (0..3).map(|_| Uuid::now_v7()).collect();
        let outcome = block_on(db.write(move |tx| Ok(drive(tx, &ids, &operations))));
        outcome.unwrap()?;
        let open = block_on(db.read(operations::open_load::<Row>)).unwrap();
        prop_assert_eq!(
            (db.load().jobs(), db.load().bytes()),
            (open.total().jobs, open.total().bytes)
        );
        prop_assert_eq!(db.load().by_client(), open);
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
}

#[tokio::test]
async fn a_late_result_is_fetched_and_told_once_however_often_it_comes() {
    let test = TestDb::new(Service::Backend);
    let id = Uuid::now_v7();
    let kinds = test
        .db
        .write(move |tx| {
            submit(tx, &new(id, Some("http://127.0.0.1:9/"), 1))?;
            tx.now += 1000;
            time_out(tx)?;
            for _ in 0..3 {
                result_known(tx, &speech(id, SpeechStatus::Completed), "callback")?;
                apply(tx, id, &Operation::Fetched)?;
            }
            delivery_rows::table
                .select(delivery_rows::kind)
                .order(delivery_rows::id)
                .load::<String>(tx.conn)
        })
        .await
        .unwrap();
    assert_eq!(kinds, ["task.timed_out", "task.late_result"]);
}

#[tokio::test]
async fn a_fetch_that_waited_for_our_own_disk_for_hours_has_its_whole_window_and_one_event() {
    let test = TestDb::new(Service::Backend);
    let (polled, slept) = (Uuid::now_v7(), Uuid::now_v7());
    let hours = 2 * FETCH_WINDOW_MS;
    test.db
        .write(move |tx| {
            for id in [polled, slept] {
                submit(tx, &new(id, None, 10))?;
                result_known(tx, &speech(id, SpeechStatus::Completed), "callback")?;
                action_failed(tx, id, Action::Fetch, "no answer", None)?;
                assert!(fetch_postponed(tx, id)?);
            }
            // One is looked at each time it is due, the other not for hours.
            let until = tx.now + hours;
            while tx.now < until {
                tx.now = Row::get(tx.conn, polled)?.unwrap().action_due_at.unwrap();
                assert!(!fetch_postponed(tx, polled)?);
            }
            fetch_postponed(tx, slept)?;
            for id in [polled, slept] {
                let before = Row::get(tx.conn, id)?.unwrap();
                assert_eq!(before.action_attempt, 1);
                assert_eq!(before.action_due_at, Some(tx.now + 10_000));
                action_failed(tx, id, Action::Fetch, "no answer", None)?;
                let after = Row::get(tx.conn, id)?.unwrap();
                assert_eq!(after.status(), TaskStatus::Fetching);
                assert_eq!(after.action_attempt, 2);
                let waits: i64 = events::table
                    .filter(events::subject_id.eq(Id(id)))
                    .filter(events::reason.eq(WAITS_FOR_DISK))
                    .count()
                    .get_result(tx.conn)?;
                assert_eq!(waits, 1);
            }
            Ok(())
        })
        .await
        .unwrap();
}

/// What is said of a speech whose task is erased, by whatever way it comes.
fn late_news(tx: &mut Tx<'_>, id: Uuid) -> QueryResult<()> {
    for status in SpeechStatus::ALL {
        assert!(!result_known(tx, &speech(id, *status), "callback")?);
    }
    for action in Action::ALL {
        apply(tx, id, &Operation::ActionFailed(*action))?;
    }
    let others = [
        Operation::Accepted,
        Operation::Fetched,
        Operation::FetchRefused,
        Operation::FetchPostponed,
        Operation::Abandoned,
        Operation::Refused,
        Operation::Lost,
    ];
    others
        .iter()
        .try_for_each(|operation| apply(tx, id, operation))
}

#[tokio::test]
async fn a_new_task_of_an_erased_ones_id_is_left_alone_until_the_old_speech_is_gone() {
    let test = TestDb::new(Service::Backend);
    let id = Uuid::now_v7();
    test.db
        .write(move |tx| {
            submit(tx, &new(id, None, 10))?;
            accepted(tx, id, &speech(id, SpeechStatus::Queued))?;
            cancel(tx, id)?;
            assert!(matches!(erase(tx, id)?, Ended::Done(_)));
            late_news(tx, id)?;
            assert!(Row::get(tx.conn, id)?.is_none());

            let again = submit(tx, &new(id, None, 20))?;
            assert!(matches!(again, Accepted::New(_)));
            let before = format!("{:?}", Row::get(tx.conn, id)?);
            late_news(tx, id)?;
            assert_eq!(format!("{:?}", Row::get(tx.conn, id)?), before);
            let due_at =
                |tx: &mut Tx<'_>| QueryResult::Ok(Row::get(tx.conn, id)?.unwrap().action_due_at);
            assert_eq!(due_at(tx)?, None);

            tx.now += 1000;
            erasures::done(tx, id)?;
            assert_eq!(due_at(tx)?, Some(tx.now));
            assert!(result_known(
                tx,
                &speech(id, SpeechStatus::Completed),
                "callback"
            )?);
            let row = Row::get(tx.conn, id)?.unwrap();
            assert_eq!(row.status(), TaskStatus::Fetching);
            Ok(())
        })
        .await
        .unwrap();
}

#[tokio::test]
async fn a_task_that_ends_while_it_waits_for_an_erasure_is_abandoned_after_it() {
    let test = TestDb::new(Service::Backend);
    test.db
        .write(|tx| {
            let (canceled, late, other) = (Uuid::now_v7(), Uuid::now_v7(), Uuid::now_v7());
            for id in [canceled, late] {
                submit(tx, &new(id, None, 10))?;
                cancel(tx, id)?;
                erase(tx, id)?;
                submit(tx, &new(id, None, 10))?;
            }
            submit(tx, &new(other, None, 10))?;
            cancel(tx, canceled)?;
            tx.now += 10_000;
            time_out(tx)?;
            let action = |tx: &mut Tx<'_>, id| {
                let row = Row::get(tx.conn, id)?.unwrap();
                QueryResult::Ok((row.action(), row.action_due_at))
            };
            for id in [canceled, late] {
                assert_eq!(action(tx, id)?, (Some(Action::Abandon), None));
                erasures::done(tx, id)?;
            }
            for id in [canceled, late, other] {
                assert_eq!(action(tx, id)?, (Some(Action::Abandon), Some(tx.now)));
            }
            Ok(())
        })
        .await
        .unwrap();
}

#[tokio::test]
async fn an_erasure_is_owed_at_once_and_says_whether_a_client_asked_for_it() {
    let test = TestDb::new(Service::Backend);
    let (asked, old) = (Uuid::now_v7(), Uuid::now_v7());
    let owed = test.db.write(move |tx| {
        for id in [asked, old] {
            submit(tx, &new(id, None, 10))?;
            assert!(matches!(erase(tx, id)?, Ended::Refused(_)));
            cancel(tx, id)?;
        }
        assert_eq!(erasures::due_erasures(tx.conn, tx.now, 10)?, (vec![], None));
        erase(tx, asked)?;
        (RETAINED.erase)(tx, old)?;
        let (owed, _) = erasures::due_erasures(tx.conn, tx.now, 10)?;
        Ok(owed.iter().map(|owed| (owed.id.0, owed.asked)).collect())
    });
    let owed: HashMap<Uuid, bool> = owed.await.unwrap();
    assert_eq!(owed, HashMap::from([(asked, true), (old, false)]));
}

/// A watchdog that is late may hear of the speech's own deadline first.
#[tokio::test]
async fn a_speech_whose_time_is_over_when_the_tasks_is_leaves_it_to_time_out() {
    let test = TestDb::new(Service::Backend);
    let (id, early) = (Uuid::now_v7(), Uuid::now_v7());
    let exceeded = |id| Speech {
        error: Some(Failure::transient("deadline_exceeded", "It is over.")),
        ..speech(id, SpeechStatus::Failed)
    };
    let statuses = test.db.write(move |tx| {
        for id in [id, early] {
            submit(tx, &new(id, Some("http://127.0.0.1:9/"), 10))?;
            accepted(tx, id, &speech(id, SpeechStatus::Queued))?;
        }
        tx.now += 9_999;
        result_known(tx, &exceeded(early), "callback")?;
        tx.now += 1;
        result_known(tx, &exceeded(id), "callback")?;
        time_out(tx)?;
        let mut status = |id| Row::get(tx.conn, id).map(|row| row.map(|row| row.status()));
        Ok([status(id)?, status(early)?])
    });
    let expected = [TaskStatus::TimedOut, TaskStatus::Failed].map(Some);
    assert_eq!(statuses.await.unwrap(), expected);
}

#[tokio::test]
async fn only_a_task_that_was_handed_over_before_the_question_is_lost_by_its_answer() {
    let test = TestDb::new(Service::Backend);
    let ids @ [earlier, at_once, later, never] = [(); 4].map(|()| Uuid::now_v7());
    let statuses = test.db.write(move |tx| {
        for id in ids {
            submit(tx, &new(id, None, 60))?;
        }
        let asked_at = tx.now;
        for (id, handed_over_at) in [
            (earlier, asked_at - 1),
            (at_once, asked_at),
            (later, asked_at + 1),
        ] {
            tx.now = handed_over_at;
            accepted(tx, id, &speech(id, SpeechStatus::Queued))?;
        }
        lost(tx, &ids, asked_at)?;
        let mut status = |id| Row::get(tx.conn, id).map(|row| row.map(|row| row.status()));
        Ok([
            status(earlier)?,
            status(at_once)?,
            status(later)?,
            status(never)?,
        ])
    });
    let expected = [
        TaskStatus::Failed,
        TaskStatus::InProgress,
        TaskStatus::InProgress,
        TaskStatus::Queued,
    ];
    assert_eq!(statuses.await.unwrap(), expected.map(Some));
}

#[tokio::test]
async fn a_deadline_counts_from_its_very_millisecond_and_not_before() {
    let test = TestDb::new(Service::Backend);
    let id = Uuid::now_v7();
    test.db
        .write(move |tx| {
            submit(tx, &new(id, None, 10))?;
            let deadline_at = tx.now + 10_000;
            tx.now = deadline_at - 1;
            let early = time_out(tx)?;
            assert_eq!(
                (early.count, early.next_deadline_at),
                (0, Some(deadline_at))
            );
            tx.now = deadline_at;
            let looked = time_out(tx)?;
            assert_eq!((looked.count, looked.next_deadline_at), (1, None));
            Ok(())
        })
        .await
        .unwrap();
}

// ------------------------------------------------------------------- plans

/// How the statements of an operation find their rows, with a task of each kind
/// there.
async fn plans<T>(
    operation: impl Fn(&mut Tx<'_>) -> QueryResult<T> + Send + 'static,
) -> Vec<String> {
    let test = TestDb::new(Service::Backend);
    test.db
        .write(move |tx| {
            submit(tx, &new(Uuid::now_v7(), Some("http://127.0.0.1:9/"), 1))?;
            tx.now += 1000;
            Ok(found_by_tx(tx, |tx| operation(tx)))
        })
        .await
        .unwrap()
}

async fn read_plans<T: Send + 'static>(
    operation: impl FnOnce(&mut Conn) -> QueryResult<T> + Send + 'static,
) -> Vec<String> {
    let test = TestDb::new(Service::Backend);
    test.db
        .read(move |conn| Ok(found_by(conn, operation)))
        .await
        .unwrap()
}

#[tokio::test]
async fn due_deadlines_are_found_by_their_index() {
    let found = plans(time_out).await;
    assert_eq!(
        found,
        ["tasks_open_by_deadline", "id", "tasks_open_by_deadline"]
    );
}

#[tokio::test]
async fn due_pulls_are_found_by_their_index() {
    let found = read_plans(|conn| due_pulls(conn, 1, 2)).await;
    assert_eq!(found, ["tasks_open_by_pull"; 2]);
}

#[tokio::test]
async fn what_a_start_reconciles_is_found_among_the_open_tasks_only() {
    let found = [
        read_plans(in_progress).await,
        read_plans(operations::open_load::<Row>).await,
    ]
    .concat();
    assert!(!found.contains(&"all of tasks".to_owned()), "{found:?}");
}
