//! What each operation leaves: its line of history, whose it is, what is kept of what was
//! asked for, and times to the millisecond.

use super::*;
use crate::db::testing::history;

fn accept_new(tx: &mut Tx<'_>, timeout_s: u32) -> Uuid {
    let id = Uuid::now_v7();
    accept(tx, &new(id, None, CheckState::Off, timeout_s)).unwrap();
    id
}

fn claim_next(tx: &mut Tx<'_>) -> Row {
    let claimed = claim(tx, Uuid::from_u128(1), 1).unwrap();
    claimed.jobs.into_iter().next().unwrap().row
}

fn now_is(tx: &mut Tx<'_>, id: Uuid) -> Row {
    Row::get(tx.conn, id).unwrap().unwrap()
}

#[tokio::test]
async fn a_speech_that_is_spoken_at_last_tells_how_it_came_to_it() {
    with_tx(|tx| {
        let id = accept_new(tx, 100);
        let accepted_at = tx.now;
        let failure = Failure::transient("engine_failed", "It fell over.");
        tx.now += 1;
        for (attempts, outcome) in [(1, "engine_failed"), (1, "stopping"), (1, "no engine")] {
            let claimed = claim_next(tx);
            assert_eq!(claimed.id, Id(id));
            let is_kept = match outcome {
                "engine_failed" => attempt_failed(tx, &claimed, &failure, 3),
                "stopping" => give_back(tx, &claimed, outcome),
                _ => postpone(tx, &claimed, outcome),
            };
            assert!(is_kept.unwrap());
            let row = now_is(tx, id);
            assert_eq!((row.attempt, row.leased_by), (attempts, None));
        }
        tx.now += FIRST_WAIT_MS;
        let claimed = claim_next(tx);
        assert!(complete(tx, &claimed, &finished()).unwrap());
        let expected = [
            "state: - > queued, accepted (api)",
            "state: queued > synthesizing, claimed (TTSWorker)",
            "state: synthesizing > queued, engine_failed (TTSWorker)",
            "state: queued > synthesizing, claimed (TTSWorker)",
            "state: synthesizing > queued, stopping (TTSWorker)",
            "state: queued > synthesizing, claimed (TTSWorker)",
            "state: synthesizing > queued, no engine (TTSWorker)",
            "state: queued > synthesizing, claimed (TTSWorker)",
            "state: synthesizing > completed, spoken (TTSWorker)",
        ];
        assert_eq!(history(tx.conn, id), expected);
        let row = now_is(tx, id);
        let times = (
            row.created_at,
            row.started_at,
            row.ended_at,
            row.deadline_at,
        );
        let (started_at, ended_at) = (Some(accepted_at + 1), Some(tx.now));
        assert_eq!(
            times,
            (accepted_at, started_at, ended_at, accepted_at + 100_000)
        );
        assert_eq!((row.claim, row.file.as_deref()), (4, Some("a")));
    })
    .await;
}

#[tokio::test]
async fn each_bad_end_has_its_reason_and_who_has_ended_it() {
    with_tx(|tx| {
        let failure = Failure::permanent("unknown_voice", "It is gone.");
        let failed = accept_new(tx, 100);
        let claimed = claim_next(tx);
        assert!(fail(tx, &claimed, &failure).unwrap());
        assert!(!fail(tx, &claimed, &failure).unwrap(), "once");
        let worn_out = accept_new(tx, 100);
        for attempt in 1..=MAX_ATTEMPTS {
            let claimed = claim_next(tx);
            let is_kept = attempt_failed(tx, &claimed, &failure, MAX_ATTEMPTS);
            assert!(is_kept.unwrap());
            assert_eq!(now_is(tx, worn_out).attempt, attempt);
        }
        let canceled = accept_new(tx, 100);
        assert!(matches!(
            operations::erase::<Row>(tx, canceled).unwrap(),
            Ended::Refused(_)
        ));
        assert!(matches!(cancel(tx, canceled).unwrap(), Ended::Done(_)));
        let late = accept_new(tx, 1);
        tx.now += 1000;
        assert_eq!(expire(tx).unwrap().count, 1);
        let last = |tx: &mut Tx<'_>, id| {
            let row = now_is(tx, id);
            assert!(row.ended_at.is_some() && row.leased_by.is_none());
            history(tx.conn, id).pop().unwrap()
        };
        for (id, line) in [
            (
                failed,
                "state: synthesizing > failed, unknown_voice (TTSWorker)",
            ),
            (
                worn_out,
                "state: synthesizing > failed, unknown_voice (TTSWorker)",
            ),
            (canceled, "state: queued > canceled, asked for (api)"),
            (
                late,
                "state: queued > failed, deadline_exceeded (TTSWorker)",
            ),
        ] {
            assert_eq!(last(tx, id), line);
        }
        assert_eq!(error_code(&now_is(tx, late)), "deadline_exceeded");
        assert!(matches!(
            operations::erase::<Row>(tx, late).unwrap(),
            Ended::Done(_)
        ));
        assert!(history(tx.conn, late).is_empty());
    })
    .await;
}

#[tokio::test]
async fn what_is_asked_again_is_the_same_speech_only_if_it_is_the_same_request() {
    with_tx(|tx| {
        let first = Uuid::now_v7();
        let of = |id, key: Option<&str>, text: &str| New {
            idempotency_key: key.map(str::to_owned),
            request: Create {
                text: text.to_owned(),
                reference: Some("video".into()),
                ..Create::default()
            }
            .into(),
            ..new(id, None, CheckState::Off, 10)
        };
        let mut asked = |id, key, text| {
            let accepted = accept(tx, &of(id, key, text)).unwrap();
            match accepted {
                Accepted::New(row) => ("new", Some(row.id.0)),
                Accepted::Repeated(row) => ("repeated", Some(row.id.0)),
                Accepted::Conflict => ("conflict", None),
            }
        };
        let other = Uuid::now_v7();
        assert_eq!(asked(first, Some("k"), "à"), ("new", Some(first)));
        assert_eq!(asked(first, None, "à"), ("repeated", Some(first)));
        assert_eq!(asked(first, None, "b"), ("conflict", None));
        assert_eq!(asked(other, Some("k"), "à"), ("repeated", Some(first)));
        assert_eq!(asked(other, Some("k"), "b"), ("conflict", None));
        assert_eq!(asked(other, Some("other"), "b"), ("new", Some(other)));
        let row = now_is(tx, first);
        assert_eq!(row.request().unwrap().reference, row.reference);
        assert_eq!(row.reference.as_deref(), Some("video"));
        assert_eq!((row.characters, row.text_bytes), (1, 2));
    })
    .await;
}

#[tokio::test]
async fn a_checked_url_opens_its_jobs_and_a_forbidden_one_is_never_sent_to() {
    with_tx(|tx| {
        let (open, forbidden) = (Uuid::now_v7(), Uuid::now_v7());
        let url = "http://127.0.0.1:9/";
        accept(tx, &new(open, Some(url), CheckState::Pending, 10)).unwrap();
        settle_check(tx, url, &Verdict::Open).unwrap();
        let expected = [
            "state: - > checking, accepted (api)",
            "state: checking > queued, the callback URL is open (CallbackDispatcher)",
        ];
        assert_eq!(history(tx.conn, open), expected);
        assert_eq!(now_is(tx, open).callback_check, "open");
        accept(tx, &new(forbidden, Some(url), CheckState::Pending, 10)).unwrap();
        let verdict = Verdict::Closed {
            check: CheckState::Forbidden,
            failure: Failure::permanent("callback_forbidden", "It is our own."),
        };
        settle_check(tx, url, &verdict).unwrap();
        assert_eq!(
            history(tx.conn, forbidden)[1..],
            ["state: checking > failed, callback_forbidden (CallbackDispatcher)"]
        );
        type Owed = (String, Option<Millis>, Option<Millis>);
        let owed: Owed = delivery_rows::table
            .filter(delivery_rows::subject_id.eq(Id(forbidden)))
            .select((
                delivery_rows::status,
                delivery_rows::next_attempt_at,
                delivery_rows::ended_at,
            ))
            .first(tx.conn)
            .unwrap();
        assert_eq!(owed, ("aborted".to_owned(), None, Some(tx.now)));
    })
    .await;
}

#[test]
fn waits_for_an_engine_double_from_five_seconds_up_to_five_minutes() {
    let waits = [0, 1, 2, 5, 6, 7, 40].map(wait_ms);
    let expected = [5, 10, 20, 160, 300, 300, 300].map(|seconds| seconds * 1000);
    assert_eq!(waits, expected);
}

/// Due is what could be worked on now, and since when.
#[tokio::test]
async fn what_is_due_is_told_by_kind_with_its_oldest() {
    with_tx(|tx| {
        let due = |tx: &mut Tx<'_>| {
            let due = oldest_due(tx.conn, tx.now).unwrap();
            due.into_iter().map(|(_, at)| at).collect::<Vec<_>>()
        };
        assert_eq!(due(tx), [None; 4]);
        let first_at = tx.now;
        accept_new(tx, 10);
        let claimed = claim_next(tx);
        postpone(tx, &claimed, "no engine").unwrap();
        tx.now = first_at + FIRST_WAIT_MS - 1;
        assert_eq!(due(tx), [None; 4], "it waits by itself");
        tx.now = first_at + FIRST_WAIT_MS;
        assert_eq!(due(tx), [None, Some(tx.now), None, None]);
        tx.now += 1;
        let url = Some("http://127.0.0.1:9/");
        accept(tx, &new(Uuid::now_v7(), url, CheckState::Pending, 100)).unwrap();
        let (checked_at, job_at) = (Some(tx.now), Some(first_at + FIRST_WAIT_MS));
        tx.now += 1;
        assert_eq!(due(tx), [checked_at, job_at, None, None]);
        accept_new(tx, 100);
        tx.now = first_at + 10_000;
        assert_eq!(due(tx), [checked_at, job_at, Some(tx.now), None]);
        expire(tx).unwrap();
        let young_at = checked_at.map(|at| at + 1);
        assert_eq!(due(tx), [checked_at, young_at, None, None]);
    })
    .await;
}

#[tokio::test]
async fn a_postponed_job_may_be_claimed_in_the_very_millisecond_it_waits_for() {
    with_tx(|tx| {
        let id = accept_new(tx, 100);
        let claimed = claim_next(tx);
        postpone(tx, &claimed, "no engine").unwrap();
        let at = tx.now + FIRST_WAIT_MS;
        tx.now = at - 1;
        let early = claim(tx, Uuid::from_u128(1), 1).unwrap();
        assert_eq!((early.jobs.len(), early.next_not_before), (0, Some(at)));
        tx.now = at;
        assert_eq!(claim_next(tx).id, Id(id));
    })
    .await;
}

#[tokio::test]
async fn a_hold_ends_in_its_last_millisecond_and_says_when_the_next_does() {
    with_tx(|tx| {
        let since = tx.now;
        let (old, young) = (Uuid::now_v7(), Uuid::now_v7());
        for id in [old, young] {
            accept(tx, &new(id, Some(&url_of(0)), CheckState::Pending, 100)).unwrap();
            tx.now += 7;
        }
        let mut expire_at = |after_ms| {
            tx.now = since + after_ms;
            let expired = expire_held(tx, &held_since(since), HOLD_MS).unwrap();
            let is_held = |row: Row| row.status() == SpeechStatus::Checking;
            let held = [old, young].map(|id| is_held(now_is(tx, id)));
            (held, expired.next_at, expired.unwanted.len())
        };
        let first_at = Some(since + HOLD_MS);
        let second_at = first_at.map(|at| at + 7);
        assert_eq!(expire_at(HOLD_MS - 1), ([true, true], first_at, 0));
        assert_eq!(expire_at(HOLD_MS), ([false, true], second_at, 0));
        assert_eq!(expire_at(HOLD_MS + 6), ([false, true], second_at, 0));
        assert_eq!(expire_at(HOLD_MS + 7), ([false, false], None, 1));
        assert_eq!(
            history(tx.conn, old)[1..],
            ["state: checking > failed, callback_unreachable (CallbackDispatcher)"]
        );
    })
    .await;
}

/// Within the grace it is its worker's to end it.
#[tokio::test]
async fn a_job_that_is_still_spoken_is_due_to_end_when_its_grace_is_over() {
    with_tx(|tx| {
        accept_new(tx, 10);
        claim_next(tx);
        let deadline_at = tx.now + 10_000;
        let mut overdue_at = |at| {
            tx.now = at;
            let due = oldest_due(tx.conn, tx.now).unwrap();
            due.into_iter()
                .find(|(kind, _)| *kind == "deadlines")
                .unwrap()
                .1
        };
        assert_eq!(overdue_at(deadline_at + GRACE_MS - 1), None);
        assert_eq!(overdue_at(deadline_at + GRACE_MS), Some(deadline_at));
    })
    .await;
}
