//! What each operation leaves: its line of history, whose it is, and the action's times to
//! the millisecond.

use super::*;
use crate::db::testing::history;

/// What is owed now: the action, when it is due and until when it may be tried, seen
/// from now, and how often it was tried; and how often the task was handed over.
fn owed(tx: &mut Tx<'_>, id: Uuid) -> (Option<Action>, Option<Millis>, Option<Millis>, i32, i32) {
    let row = Row::get(tx.conn, id).unwrap().unwrap();
    (
        row.action(),
        row.action_due_at.map(|at| at - tx.now),
        row.action_until.map(|at| at - tx.now),
        row.action_attempt,
        row.hand_overs,
    )
}

fn error_code(row: &Row) -> String {
    let failure: Failure = serde_json::from_str(row.error.as_deref().unwrap()).unwrap();
    failure.code
}

async fn in_one_commit(operations: impl FnMut(&mut Tx<'_>) -> QueryResult<()> + Send + 'static) {
    let test = TestDb::new(Service::Backend);
    test.db.write(operations).await.unwrap();
}

#[tokio::test]
async fn a_task_that_is_completed_tells_how_it_came_to_it() {
    in_one_commit(|tx| {
        let id = Uuid::now_v7();
        submit(tx, &new(id, None, 100))?;
        let until = Some(100_000);
        assert_eq!(owed(tx, id), (Some(Action::HandOver), Some(0), until, 0, 0));
        action_failed(tx, id, Action::HandOver, "refused", None)?;
        assert_eq!(
            owed(tx, id),
            (Some(Action::HandOver), Some(1000), until, 1, 1)
        );
        accepted(tx, id, &speech(id, SpeechStatus::Queued))?;
        assert_eq!(owed(tx, id), (None, None, None, 0, 2));
        result_known(tx, &speech(id, SpeechStatus::Completed), "callback")?;
        let whole = Some(FETCH_WINDOW_MS);
        assert_eq!(owed(tx, id), (Some(Action::Fetch), Some(0), whole, 0, 2));
        action_failed(tx, id, Action::Fetch, "reset", None)?;
        assert_eq!(owed(tx, id), (Some(Action::Fetch), Some(1000), whole, 1, 2));
        assert!(fetch_postponed(tx, id)?);
        let after = Some(10_000 + FETCH_WINDOW_MS);
        assert_eq!(
            owed(tx, id),
            (Some(Action::Fetch), Some(10_000), after, 1, 2)
        );
        apply(tx, id, &Operation::Fetched)?;
        assert_eq!(owed(tx, id), (None, None, None, 0, 2));
        let expected = [
            "state: - > queued, accepted (api)",
            "attempt: hand_over > hand_over, refused (Backend)",
            "state: queued > in_progress, handed over (Backend)",
            "state: in_progress > fetching, the result is known (callback)",
            "attempt: fetch > fetch, reset (Backend)",
            "attempt: fetch > fetch, it waits for our own disk (Backend)",
            "state: fetching > completed, fetched (Backend)",
        ];
        assert_eq!(history(tx.conn, id), expected);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_late_result_is_told_as_one_and_a_second_one_does_not_begin_its_fetch_again() {
    in_one_commit(|tx| {
        let id = Uuid::now_v7();
        submit(tx, &new(id, None, 1))?;
        tx.now += 1000;
        time_out(tx)?;
        let window = Some(ABANDON_WINDOW_MS);
        assert_eq!(owed(tx, id), (Some(Action::Abandon), Some(0), window, 0, 0));
        let result = speech(id, SpeechStatus::Completed);
        result_known(tx, &result, "pull")?;
        action_failed(tx, id, Action::Fetch, "reset", None)?;
        result_known(tx, &result, "callback")?;
        let window = Some(FETCH_WINDOW_MS);
        assert_eq!(
            owed(tx, id),
            (Some(Action::Fetch), Some(1000), window, 1, 0)
        );
        apply(tx, id, &Operation::Fetched)?;
        let expected = [
            "state: - > queued, accepted (api)",
            "state: queued > timed_out, deadline (TimeoutWatchdog)",
            "state: timed_out > timed_out, a result came late (pull)",
            "attempt: fetch > fetch, reset (Backend)",
            "state: timed_out > timed_out, the late result is kept (Backend)",
        ];
        assert_eq!(history(tx.conn, id), expected);
        Ok(())
    })
    .await;
}

/// A repeat that would come after the window's last millisecond is not made.
#[tokio::test]
async fn an_action_is_tried_again_up_to_the_last_millisecond_of_its_window() {
    in_one_commit(|tx| {
        let (fetched, abandoned) = (Uuid::now_v7(), Uuid::now_v7());
        for id in [fetched, abandoned] {
            submit(tx, &new(id, None, 10))?;
        }
        cancel(tx, abandoned)?;
        result_known(tx, &speech(fetched, SpeechStatus::Completed), "callback")?;
        for (id, action, window) in [
            (fetched, Action::Fetch, FETCH_WINDOW_MS),
            (abandoned, Action::Abandon, ABANDON_WINDOW_MS),
        ] {
            let until = tx.now + window;
            action_failed(tx, id, action, "busy", Some(until))?;
            assert_eq!(
                owed(tx, id),
                (Some(action), Some(window), Some(window), 1, 0)
            );
            action_failed(tx, id, action, "busy", Some(until + 1))?;
            assert_eq!(owed(tx, id), (None, None, None, 0, 0));
        }
        let expected = [
            "state: - > queued, accepted (api)",
            "state: queued > canceled, asked for (api)",
            "attempt: abandon > abandon, busy (Backend)",
            "attempt: abandon > -, busy (Backend)",
        ];
        assert_eq!(history(tx.conn, abandoned), expected);
        let row = Row::get(tx.conn, fetched)?.unwrap();
        assert_eq!(row.status(), TaskStatus::Failed);
        assert_eq!(error_code(&row), "result_unavailable");
        assert_eq!(row.ended_at, Some(tx.now));
        Ok(())
    })
    .await;
}

/// A hand-over is tried until the deadline, which is the watchdog's.
#[tokio::test]
async fn a_hand_over_has_no_window_of_its_own() {
    in_one_commit(|tx| {
        let id = Uuid::now_v7();
        submit(tx, &new(id, None, 10))?;
        let late = Some(tx.now + 11_000);
        action_failed(tx, id, Action::HandOver, "busy", late)?;
        assert_eq!(
            owed(tx, id),
            (Some(Action::HandOver), Some(11_000), Some(10_000), 1, 1)
        );
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_late_result_that_cannot_be_fetched_leaves_the_task_timed_out() {
    in_one_commit(|tx| {
        let id = Uuid::now_v7();
        submit(tx, &new(id, None, 1))?;
        tx.now += 1000;
        time_out(tx)?;
        result_known(tx, &speech(id, SpeechStatus::Completed), "callback")?;
        fetch_refused(tx, id, "it is gone there")?;
        let row = Row::get(tx.conn, id)?.unwrap();
        assert_eq!(row.status(), TaskStatus::TimedOut);
        assert_eq!(error_code(&row), "timed_out");
        assert_eq!(
            history(tx.conn, id).last().unwrap(),
            "attempt: fetch > -, it is gone there (Backend)"
        );
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_fetch_that_is_refused_fails_its_task_alone_and_only_while_it_is_owed() {
    in_one_commit(|tx| {
        let (id, queued) = (Uuid::now_v7(), Uuid::now_v7());
        for id in [id, queued] {
            submit(tx, &new(id, None, 10))?;
        }
        result_known(tx, &speech(id, SpeechStatus::Completed), "callback")?;
        for id in [id, queued] {
            fetch_refused(tx, id, "gone")?;
            abandoned(tx, id, "404")?;
        }
        let expected = [
            "state: - > queued, accepted (api)",
            "state: queued > fetching, the result is known (callback)",
            "state: fetching > failed, result_unavailable (Backend)",
        ];
        assert_eq!(history(tx.conn, id), expected);
        assert_eq!(history(tx.conn, queued), expected[..1]);
        assert_eq!(owed(tx, queued).0, Some(Action::HandOver));
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_refused_hand_over_and_a_lost_speech_fail_their_tasks_by_name() {
    in_one_commit(|tx| {
        let (unknown, missing) = (Uuid::now_v7(), Uuid::now_v7());
        for id in [unknown, missing] {
            submit(tx, &new(id, None, 10))?;
        }
        apply(tx, unknown, &Operation::Refused)?;
        accepted(tx, missing, &speech(missing, SpeechStatus::Queued))?;
        lost(tx, &[missing], tx.now + 1)?;
        assert_eq!(owed(tx, unknown), (None, None, None, 0, 1));
        assert_eq!(
            history(tx.conn, unknown)[1..],
            ["state: queued > failed, unknown_voice (Backend)"]
        );
        assert_eq!(
            history(tx.conn, missing)[2..],
            ["state: in_progress > failed, speech_lost (TimeoutWatchdog)"]
        );
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn what_is_asked_again_is_the_same_task_only_if_it_is_the_same_request() {
    in_one_commit(|tx| {
        let first = Uuid::now_v7();
        let of = |id, key: Option<&str>, text: &str| New {
            idempotency_key: key.map(str::to_owned),
            request: Create {
                text: text.to_owned(),
                ..create(None, 10)
            }
            .into(),
            ..new(id, None, 10)
        };
        let mut asked = |id, key, text| {
            let accepted = submit(tx, &of(id, key, text)).unwrap();
            match accepted {
                Accepted::New(row) => ("new", Some(row.id.0)),
                Accepted::Repeated(row) => ("repeated", Some(row.id.0)),
                Accepted::Conflict => ("conflict", None),
            }
        };
        let other = Uuid::now_v7();
        assert_eq!(asked(first, Some("k"), "a"), ("new", Some(first)));
        assert_eq!(asked(first, None, "a"), ("repeated", Some(first)));
        assert_eq!(asked(first, None, "b"), ("conflict", None));
        assert_eq!(asked(other, Some("k"), "a"), ("repeated", Some(first)));
        assert_eq!(asked(other, Some("k"), "b"), ("conflict", None));
        assert_eq!(asked(other, Some("other"), "b"), ("new", Some(other)));
        Ok(())
    })
    .await;
}
