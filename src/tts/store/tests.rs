//! The TTS service's operations against the pure machine of [`job`], and how they
//! find their rows.

mod history;
mod retention;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use hoiam_api::{Create, Failure, Service};
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use super::checks::*;
use super::claims::*;
use super::deadlines::*;
use super::*;
use crate::db::ByClient;
use crate::db::schema::{deliveries as delivery_rows, events};
use crate::db::testing::{TestDb, block_on, found_by, found_by_tx};
use crate::delivery::check::Verdict;
use crate::delivery::check_queue::{CheckQuery, ExpiredHolds, LastTurns, Unchecked};
use crate::delivery::check_room::{CheckRoom, CheckShares};
use crate::delivery::held::{Held, Scope};
use crate::delivery::shares::Receiver;
use crate::tts::job::LONG_BYTES;
use crate::tts::turns::Wish;

const MAX_ATTEMPTS: i32 = 3;
const HOLD_MS: i64 = 2000;

/// A speech as the edge would have it.
pub(crate) fn new(id: Uuid, callback_url: Option<&str>, check: CheckState, timeout_s: u32) -> New {
    New {
        id,
        client: String::new(),
        idempotency_key: None,
        request: Create {
            text: "Xin chào.".into(),
            callback_url: callback_url.map(str::to_owned),
            timeout_s,
            ..Create::default()
        }
        .into(),
        extra: NewSpeech {
            resolved_voice: "test/silence".into(),
            language: "zxx".into(),
            check,
        },
    }
}

/// What it came to.
pub(crate) fn finished() -> Finished {
    Finished {
        file: "a".into(),
        audio: "{}".into(),
        words: "[]".into(),
    }
}

/// All that is held is held since then.
fn held_since(at: Millis) -> [(Scope, Millis); 1] {
    [(Scope::Origin(deliveries::origin_of(&url_of(0))), at)]
}

fn error_code(row: &Row) -> String {
    let failure: Failure = serde_json::from_str(row.error.as_deref().unwrap()).unwrap();
    failure.code
}

fn not_before(tx: &mut Tx<'_>, id: Uuid) -> Option<Millis> {
    let row = speeches::table.find(Id(id)).select(speeches::not_before);
    row.first(tx.conn).unwrap()
}

fn url_of(which: usize) -> String {
    format!("http://127.0.0.1:9/{}", which % 2)
}

// ------------------------------------------------------------ state machine

/// One operation; where it belongs to a claim, of the claim with this number among
/// all that were ever made.
#[derive(Debug, Clone)]
enum Operation {
    Accept {
        which: usize,
        check: CheckState,
        with_callback: bool,
        timeout_s: u32,
    },
    Claim {
        most: usize,
    },
    Complete {
        claim: usize,
    },
    Fail {
        claim: usize,
    },
    AttemptFailed {
        claim: usize,
    },
    GiveBack {
        claim: usize,
    },
    Postpone {
        claim: usize,
    },
    /// The service starts anew.
    Recover,
    Cancel {
        which: usize,
    },
    Settle {
        which: usize,
        check: CheckState,
    },
    ExpireHeld,
    Expire,
    Wait {
        ms: i64,
    },
}

fn operation() -> impl Strategy<Value = Operation> {
    let check = prop::sample::select(vec![CheckState::Off, CheckState::Pending, CheckState::Open]);
    let verdict = prop::sample::select(vec![
        CheckState::Open,
        CheckState::NotFound,
        CheckState::Forbidden,
    ]);
    prop_oneof![
        4 => (0_usize..4, check, any::<bool>(), 1_u32..6).prop_map(
            |(which, check, with_callback, timeout_s)| Operation::Accept {
                which, check, with_callback, timeout_s,
            }
        ),
        5 => (1_usize..4).prop_map(|most| Operation::Claim { most }),
        2 => (0_usize..8).prop_map(|claim| Operation::Complete { claim }),
        1 => (0_usize..8).prop_map(|claim| Operation::Fail { claim }),
        3 => (0_usize..8).prop_map(|claim| Operation::AttemptFailed { claim }),
        2 => (0_usize..8).prop_map(|claim| Operation::GiveBack { claim }),
        2 => (0_usize..8).prop_map(|claim| Operation::Postpone { claim }),
        2 => Just(Operation::Recover),
        1 => (0_usize..4).prop_map(|which| Operation::Cancel { which }),
        2 => (0_usize..4, verdict).prop_map(|(which, check)| Operation::Settle { which, check }),
        1 => Just(Operation::ExpireHeld),
        1 => Just(Operation::Expire),
        2 => (0_i64..2500).prop_map(|ms| Operation::Wait { ms }),
        1 => Just(Operation::Wait { ms: GRACE_MS }),
    ]
}

/// What the operations are driven with.
struct World {
    ids: Vec<Uuid>,
    boot: Uuid,
    claims: Vec<Row>,
}

impl World {
    /// Runs an operation of a claim and checks that only the claim that holds the
    /// job can write.
    fn fenced(
        &self,
        tx: &mut Tx<'_>,
        claim: usize,
        operation: impl FnOnce(&mut Tx<'_>, &Row) -> QueryResult<bool>,
    ) -> Result<(), TestCaseError> {
        let Some(claimed) = self.claims.get(claim) else {
            return Ok(());
        };
        let row = Row::get(tx.conn, claimed.id.0).unwrap().unwrap();
        let holds = row.status() == SpeechStatus::Synthesizing
            && row.claim == claimed.claim
            && row.leased_by == claimed.leased_by;
        prop_assert_eq!(operation(tx, claimed).unwrap(), holds);
        Ok(())
    }

    fn apply(&mut self, tx: &mut Tx<'_>, operation: &Operation) -> Result<(), TestCaseError> {
        match operation {
            Operation::Accept {
                which,
                check,
                with_callback,
                timeout_s,
            } => {
                let url = url_of(*which);
                let (url, check) = if *with_callback {
                    (Some(url.as_str()), *check)
                } else {
                    (None, CheckState::Off)
                };
                let new = New {
                    client: (which % 2).to_string(),
                    ..new(self.ids[*which], url, check, *timeout_s)
                };
                accept(tx, &new).unwrap();
            }
            Operation::Claim { most } => {
                let claimed = claim(tx, self.boot, *most).unwrap();
                prop_assert!(claimed.jobs.len() <= *most);
                for Job { row, .. } in claimed.jobs {
                    prop_assert!(row.deadline_at > tx.now);
                    prop_assert_eq!(not_before(tx, row.id.0), None);
                    self.claims.push(row);
                }
            }
            Operation::Complete { claim } => {
                self.fenced(tx, *claim, |tx, claimed| complete(tx, claimed, &finished()))?;
            }
            Operation::Fail { claim } => {
                let failure = Failure::permanent("engine_failed", "no");
                self.fenced(tx, *claim, |tx, claimed| fail(tx, claimed, &failure))?;
            }
            Operation::AttemptFailed { claim } => {
                let failure = Failure::permanent("engine_crashed", "no");
                self.fenced(tx, *claim, |tx, claimed| {
                    attempt_failed(tx, claimed, &failure, MAX_ATTEMPTS)
                })?;
            }
            Operation::GiveBack { claim } => {
                self.fenced(tx, *claim, |tx, claimed| give_back(tx, claimed, "drained"))?;
            }
            Operation::Postpone { claim } => {
                self.fenced(tx, *claim, |tx, claimed| postpone(tx, claimed, "no engine"))?;
            }
            Operation::Recover => {
                self.boot = Uuid::now_v7();
                recover(tx, self.boot).unwrap();
            }
            Operation::Cancel { which } => drop(cancel(tx, self.ids[*which]).unwrap()),
            Operation::Settle { which, check } => {
                let verdict = match check {
                    CheckState::Open => Verdict::Open,
                    check => Verdict::Closed {
                        check: *check,
                        failure: Failure::permanent("callback_not_found", "no"),
                    },
                };
                settle_check(tx, &url_of(*which), &verdict).unwrap();
            }
            Operation::ExpireHeld => drop(expire_held(tx, &held_since(0), HOLD_MS).unwrap()),
            Operation::Expire => {
                expire(tx).unwrap();
                for id in &self.ids {
                    let row = Row::get(tx.conn, *id).unwrap();
                    let Some(row) = row.filter(|row| !row.status().is_ended()) else {
                        continue;
                    };
                    let grace_ms = match row.status() {
                        SpeechStatus::Synthesizing => GRACE_MS,
                        _ => 0,
                    };
                    prop_assert!(row.deadline_at + grace_ms > tx.now, "{:?}", row);
                }
            }
            Operation::Wait { ms } => tx.now += ms,
        }
        Ok(())
    }
}

fn check_row(tx: &mut Tx<'_>, row: &Row) -> Result<(), TestCaseError> {
    let status = row.status();
    prop_assert_eq!(row.ended_at.is_some(), status.is_ended(), "{:?}", row);
    prop_assert_eq!(
        row.leased_by.is_some(),
        status == SpeechStatus::Synthesizing,
        "{:?}",
        row
    );
    prop_assert_eq!(row.file.is_some(), status == SpeechStatus::Completed);
    prop_assert_eq!(row.error.is_some(), status == SpeechStatus::Failed);
    prop_assert!(row.attempt <= MAX_ATTEMPTS && row.lost_leases <= MAX_LOST_LEASES);
    if !status.is_ended() {
        prop_assert!(row.attempt < MAX_ATTEMPTS && row.lost_leases < MAX_LOST_LEASES);
    }
    let told: Vec<(String, String)> = delivery_rows::table
        .filter(delivery_rows::subject_id.eq(row.id))
        .select((delivery_rows::kind, delivery_rows::status))
        .load(tx.conn)
        .unwrap();
    let owed = (row.callback_url.is_some() && status.is_ended()).then(|| {
        let born = match row.callback_check.as_str() {
            "forbidden" => "aborted",
            _ => "pending",
        };
        (format!("speech.{}", row.status), born.to_owned())
    });
    prop_assert_eq!(told, Vec::from_iter(owed));
    Ok(())
}

/// The history replays to the status of the row, claim by claim.
fn check_history(tx: &mut Tx<'_>, row: &Row) -> Result<(), TestCaseError> {
    let history: Vec<(Option<String>, Option<String>)> = events::table
        .filter(events::subject_id.eq(row.id))
        .filter(events::kind.eq("state"))
        .select((events::from_status, events::to_status))
        .order(events::id)
        .load(tx.conn)
        .unwrap();
    let mut at: Option<String> = None;
    let mut claims = 0;
    for (from, to) in history {
        prop_assert_eq!(&from, &at);
        claims += i32::from(to.as_deref() == Some("synthesizing"));
        at = to;
    }
    prop_assert_eq!(at.as_deref(), Some(row.status.as_str()));
    prop_assert_eq!(claims, row.claim);
    Ok(())
}

fn drive(tx: &mut Tx<'_>, operations: &[Operation]) -> Result<(), TestCaseError> {
    let mut world = World {
        ids: (0..4).map(|_| Uuid::now_v7()).collect(),
        boot: Uuid::now_v7(),
        claims: Vec::new(),
    };
    let mut before: HashMap<Uuid, (SpeechStatus, i32)> = HashMap::new();
    for operation in operations {
        world.apply(tx, operation)?;
        for id in &world.ids {
            let Some(row) = Row::get(tx.conn, *id).unwrap() else {
                continue;
            };
            let to = row.status();
            match before.insert(*id, (to, row.claim)) {
                None => prop_assert!(matches!(to, SpeechStatus::Checking | SpeechStatus::Queued)),
                Some((from, claim)) => {
                    prop_assert!(row.claim >= claim);
                    let allowed = from == to
                        || Step::ALL
                            .iter()
                            .any(|step| job::next(from, *step) == Some(to));
                    prop_assert!(allowed, "{} -> {} by {:?}", from, to, operation);
                }
            }
            check_row(tx, &row)?;
            check_history(tx, &row)?;
        }
    }
    Ok(())
}

#[test]
fn no_sequence_of_operations_leaves_the_state_machine() {
    let test = TestDb::new(Service::Tts);
    let db = test.db.clone();
    let mut runner = proptest::test_runner::TestRunner::default();
    let result = runner.run(&prop::collection::vec(operation(), 1..80), |operations| {
        // What is left is called off, so that no case finds another's jobs.
        let outcome = block_on(db.write(move |tx| {
            let outcome = drive(tx, &operations);
            let left: Vec<Id> = speeches::table
                .filter(speeches::ended_at.is_null())
                .select(speeches::id)
                .load(tx.conn)?;
            for id in left {
                cancel(tx, id.0)?;
            }
            Ok(outcome)
        }));
        outcome.unwrap()?;
        prop_assert_eq!(
            block_on(db.read(operations::open_load::<Row>)).unwrap(),
            ByClient::default()
        );
        prop_assert_eq!(db.load().by_client(), ByClient::default());
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
}

#[tokio::test]
async fn the_load_is_the_number_of_open_rows_after_each_commit() {
    let test = TestDb::new(Service::Tts);
    let ids: Vec<Uuid> = (0..3).map(|_| Uuid::now_v7()).collect();
    let (first, second, boot) = (ids[0], ids[1], Uuid::now_v7());
    let check = async |jobs: i64| {
        let open = test.db.read(operations::open_load::<Row>).await.unwrap();
        assert_eq!(open.total().jobs, jobs);
        assert_eq!(test.db.load().by_client(), open);
        assert_eq!(test.db.load().jobs(), jobs);
    };
    let accepted = test.db.write(move |tx| {
        ids.iter()
            .try_for_each(|id| accept(tx, &new(*id, None, CheckState::Off, 60)).map(drop))
    });
    accepted.await.unwrap();
    check(3).await;
    let claimed = test.db.write(move |tx| claim(tx, boot, 1));
    let claimed = claimed.await.unwrap().jobs.remove(0).row;
    assert_eq!(claimed.id.0, first);
    check(3).await;
    let completed = test.db.write(move |tx| complete(tx, &claimed, &finished()));
    assert!(completed.await.unwrap());
    check(2).await;
    let canceled = test.db.write(move |tx| cancel(tx, second).map(drop));
    canceled.await.unwrap();
    check(1).await;
}

#[tokio::test]
async fn the_tenth_start_that_finds_a_job_still_claimed_ends_it() {
    let test = TestDb::new(Service::Tts);
    let id = Uuid::now_v7();
    let started = test.db.write(move |tx| {
        accept(tx, &new(id, None, CheckState::Off, 3600))?;
        let mut seen = Vec::new();
        for _ in 0..10 {
            claim(tx, Uuid::now_v7(), 1)?;
            recover(tx, Uuid::now_v7())?;
            seen.extend(Row::get(tx.conn, id)?);
        }
        Ok(seen)
    });
    let seen = started.await.unwrap();
    for (row, lost) in seen.iter().zip(1..10) {
        assert_eq!((row.status.as_str(), row.lost_leases), ("queued", lost));
    }
    assert_eq!((seen[9].status.as_str(), seen[9].claim), ("failed", 10));
    assert_eq!(error_code(&seen[9]), "lease_lost");
}

#[tokio::test]
async fn a_postponed_job_waits_by_itself_and_longer_each_time() {
    let test = TestDb::new(Service::Tts);
    let ids = [Uuid::now_v7(), Uuid::now_v7()];
    let seen = test.db.write(move |tx| {
        for id in ids {
            accept(tx, &new(id, None, CheckState::Off, 86_400))?;
        }
        let claimed = |tx: &mut Tx<'_>, most| -> QueryResult<_> {
            let claimed = claim(tx, Uuid::now_v7(), most)?;
            let rows: Vec<Row> = claimed.jobs.into_iter().map(|job| job.row).collect();
            Ok((rows, claimed.next_not_before))
        };
        let (mut rows, _) = claimed(tx, 1)?;
        postpone(tx, &rows[0], "no engine")?;
        let (others, mut next) = claimed(tx, 2)?;
        let others: Vec<Uuid> = others.iter().map(|row| row.id.0).collect();
        let (mut waits, mut too_early) = (Vec::new(), 0);
        for _ in 0..9 {
            let at = next.unwrap();
            waits.push((at - tx.now) / 1000);
            tx.now = at - 1;
            too_early += claimed(tx, 1)?.0.len();
            tx.now = at;
            (rows, _) = claimed(tx, 1)?;
            postpone(tx, &rows[0], "no engine")?;
            (_, next) = claimed(tx, 1)?;
        }
        Ok((others, waits, too_early, Row::get(tx.conn, ids[0])?))
    });
    let (others, waits, too_early, row) = seen.await.unwrap();
    assert_eq!(others, [ids[1]], "the other one is claimed at once");
    assert_eq!(waits, [5, 10, 20, 40, 80, 160, 300, 300, 300]);
    assert_eq!(too_early, 0);
    let row = row.unwrap();
    let attempts = (row.status.as_str(), row.attempt, row.lost_leases, row.claim);
    assert_eq!(attempts, ("queued", 0, 0, 10));
}

#[tokio::test]
async fn only_its_own_fillings_of_the_disk_end_a_job_and_no_wait_for_others() {
    let test = TestDb::new(Service::Tts);
    let id = Uuid::now_v7();
    let seen = test.db.write(move |tx| {
        accept(tx, &new(id, None, CheckState::Off, 86_400))?;
        let mut seen = Vec::new();
        for outcome in ["others", "others", "own", "others", "own", "own"] {
            tx.now += LONGEST_WAIT_MS;
            let claimed = claim(tx, Uuid::now_v7(), 1)?.jobs.remove(0).row;
            match outcome {
                "own" => {
                    let failure = Failure::transient("insufficient_storage", "It is large.");
                    no_room(tx, &claimed, &failure, 3)?;
                }
                _ => drop(postpone(tx, &claimed, "the disk is full")?),
            }
            seen.push(Row::get(tx.conn, id)?.unwrap().status);
        }
        Ok(seen)
    });
    let waits = ["queued"; 5].into_iter();
    let expected: Vec<&str> = waits.chain(["failed"]).collect();
    assert_eq!(seen.await.unwrap(), expected);
}

#[tokio::test]
async fn a_postponed_job_can_be_called_off_and_fails_at_its_deadline() {
    let test = TestDb::new(Service::Tts);
    let ids = [Uuid::now_v7(), Uuid::now_v7()];
    let seen = test.db.write(move |tx| {
        for id in ids {
            accept(tx, &new(id, None, CheckState::Off, 4))?;
        }
        for job in claim(tx, Uuid::now_v7(), 2)?.jobs {
            postpone(tx, &job.row, "no engine")?;
        }
        let canceled = cancel(tx, ids[0])?;
        tx.now += 4000;
        let expired = expire(tx)?;
        tx.now += 1000;
        let claimed = claim(tx, Uuid::now_v7(), 2)?;
        Ok((canceled, expired, claimed, Row::get(tx.conn, ids[1])?))
    });
    let (canceled, expired, claimed, row) = seen.await.unwrap();
    assert!(matches!(canceled, Ended::Done(row) if row.status == "canceled"));
    assert_eq!((expired.count, expired.next_deadline_at), (1, None));
    assert_eq!(error_code(&row.unwrap()), "deadline_exceeded");
    assert_eq!((claimed.jobs.len(), claimed.next_not_before), (0, None));
    assert_eq!(test.db.load().jobs(), 0);
}

#[tokio::test]
async fn a_hundred_waits_end_in_a_commit_and_the_next_look_is_due_at_once() {
    let test = TestDb::new(Service::Tts);
    let seen = test.db.write(move |tx| {
        for _ in 0..101 {
            accept(tx, &new(Uuid::now_v7(), None, CheckState::Off, 60))?;
        }
        for job in claim(tx, Uuid::now_v7(), 101)?.jobs {
            postpone(tx, &job.row, "no engine")?;
        }
        tx.now += FIRST_WAIT_MS;
        let mut claims = Vec::new();
        for _ in 0..2 {
            let claimed = claim(tx, Uuid::now_v7(), 101)?;
            let next = claimed.next_not_before.map(|at| at - tx.now);
            claims.push((claimed.jobs.len(), next));
        }
        Ok(claims)
    });
    assert_eq!(seen.await.unwrap(), [(100, Some(0)), (1, None)]);
}

#[tokio::test]
async fn a_job_that_is_still_spoken_five_minutes_after_its_deadline_fails_and_is_fenced() {
    let test = TestDb::new(Service::Tts);
    let id = Uuid::now_v7();
    let seen = test.db.write(move |tx| {
        accept(tx, &new(id, None, CheckState::Off, 60))?;
        let deadline_at = tx.now + 60_000;
        let claimed = claim(tx, Uuid::now_v7(), 1)?;
        let mut looks = Vec::new();
        for late_ms in [-1, 0, 299_999, 300_000] {
            tx.now = deadline_at + late_ms;
            let looked = expire(tx)?;
            let next = looked.next_deadline_at.map(|at| at - deadline_at);
            looks.push((looked.count, next));
        }
        let completed = complete(tx, &claimed.jobs[0].row, &finished())?;
        Ok((looks, completed, Row::get(tx.conn, id)?))
    });
    let (looks, completed, row) = seen.await.unwrap();
    let grace_ends = Some(300_000);
    assert_eq!(
        looks,
        [(0, Some(0)), (0, grace_ends), (0, grace_ends), (1, None)]
    );
    let row = row.unwrap();
    assert_eq!((row.status.as_str(), row.leased_by), ("failed", None));
    assert_eq!(error_code(&row), "deadline_exceeded");
    assert!(!completed);
}

#[tokio::test]
async fn the_next_deadline_is_that_of_a_waiting_job_or_of_a_spoken_one() {
    let test = TestDb::new(Service::Tts);
    let seen = test.db.write(move |tx| {
        let began = tx.now;
        for timeout_s in [20, 30] {
            let id = Uuid::now_v7();
            accept(tx, &new(id, None, CheckState::Off, timeout_s))?;
        }
        let next = |tx: &mut Tx<'_>, at: i64| -> QueryResult<Option<Millis>> {
            tx.now = began + at;
            let looked = expire(tx)?;
            Ok(looked.next_deadline_at.map(|at| at - began))
        };
        let waiting = next(tx, 0)?;
        // The older one is spoken, the younger one waits.
        claim(tx, Uuid::now_v7(), 1)?;
        let spoken = next(tx, 0)?;
        let overdue = next(tx, 25_000)?;
        let alone = next(tx, 30_000)?;
        Ok([waiting, spoken, overdue, alone])
    });
    let grace_ends = 20_000 + 300_000;
    let expected = [20_000, 20_000, 30_000, grace_ends].map(Some);
    assert_eq!(seen.await.unwrap(), expected);
}

// ------------------------------------------------------------------- plans

async fn plans<T>(
    mut prepare: impl FnMut(&mut Tx<'_>) + Send + 'static,
    operation: impl Fn(&mut Tx<'_>) -> QueryResult<T> + Send + 'static,
) -> Vec<String> {
    let test = TestDb::new(Service::Tts);
    test.db
        .write(move |tx| {
            prepare(tx);
            Ok(found_by_tx(tx, |tx| operation(tx)))
        })
        .await
        .unwrap()
}

fn accept_one(check: CheckState) -> impl FnMut(&mut Tx<'_>) + Send + 'static {
    move |tx| {
        accept(tx, &new(Uuid::now_v7(), Some(&url_of(0)), check, 1)).unwrap();
    }
}

#[tokio::test]
async fn whose_turn_it_is_and_what_has_expired_are_found_by_their_indexes() {
    let boot = Uuid::now_v7();
    let found = plans(accept_one(CheckState::Off), move |tx| claim(tx, boot, 1)).await;
    let by_deadline = "speeches_open_by_deadline";
    assert_eq!(
        found,
        [
            by_deadline,
            "speeches_postponed",
            "speeches_queued",
            "speeches_queued",
            "speeches_queued",
            "speeches_queued",
            "id"
        ],
        "what has expired and what waits are looked at once; then for the clients \
         that wait and for the jobs of the only one, and the claim"
    );
    let found = plans(
        |tx| {
            accept_one(CheckState::Off)(tx);
            tx.now += 1000;
        },
        expire,
    )
    .await;
    assert_eq!(found, [by_deadline, "id", by_deadline, by_deadline]);
}

/// Nothing is under way.
fn check_room() -> CheckRoom {
    CheckRoom {
        shares: CheckShares::default(),
        held: Held::default(),
        now: 0,
        locate: Arc::new(|_| None),
    }
}

fn urls_of(found: Vec<Unchecked>) -> Vec<String> {
    found.into_iter().map(|one| one.url).collect()
}

#[tokio::test]
async fn unchecked_urls_are_found_by_one_seek_each() {
    let test = TestDb::new(Service::Tts);
    test.db
        .write(|tx| {
            for which in 0..2 {
                let url = url_of(which);
                accept(
                    tx,
                    &new(Uuid::now_v7(), Some(&url), CheckState::Pending, 60),
                )?;
            }
            Ok(())
        })
        .await
        .unwrap();
    let found = test
        .db
        .read(|conn| {
            let mut room = check_room();
            Ok(found_by(conn, |conn| {
                let wanted = CheckQuery {
                    after: &LastTurns::default(),
                    running: &HashSet::new(),
                    room: &mut room,
                    again: &[],
                };
                unchecked_urls(conn, wanted)
            }))
        })
        .await
        .unwrap();
    assert_eq!(
        found, ["speeches_checking_by_client"; 7],
        "the client, one origin, its two URLs and their end, the ends of origins and clients"
    );
}

#[tokio::test]
async fn the_jobs_that_wait_for_a_url_are_found_by_its_index() {
    let found = plans(accept_one(CheckState::Pending), |tx| {
        settle_check(tx, &url_of(0), &Verdict::Open)
    })
    .await;
    assert_eq!(found, ["speeches_checking", "id"]);
}

#[tokio::test]
async fn the_headers_of_a_check_are_found_by_its_index() {
    let found = plans(accept_one(CheckState::Pending), |tx| {
        headers_of_check(tx.conn, &url_of(0))
    })
    .await;
    assert_eq!(found, ["speeches_checking"]);
}

#[tokio::test]
async fn jobs_that_were_held_too_long_are_found_by_their_origin() {
    let found = plans(
        |tx| {
            accept_one(CheckState::Pending)(tx);
            tx.now += HOLD_MS;
        },
        |tx| expire_held(tx, &held_since(0), HOLD_MS),
    )
    .await;
    let of_origin = "speeches_checking";
    assert_eq!(found, [of_origin, "id", "id", of_origin]);
}

/// Who comes back from a crash 20 minutes later asks before it fails anything.
#[tokio::test]
async fn a_job_is_held_since_the_first_probe_of_its_origin_failed() {
    let test = TestDb::new(Service::Tts);
    let id = Uuid::now_v7();
    let held = move |tx: &mut Tx<'_>| {
        accept(tx, &new(id, Some(&url_of(0)), CheckState::Pending, 86_400))?;
        let accepted_at = tx.now;
        tx.now += 2 * HOLD_MS;
        assert_eq!(expire_held(tx, &[], HOLD_MS)?, ExpiredHolds::default());
        let failed_at = tx.now;
        let until = expire_held(tx, &held_since(failed_at), HOLD_MS)?;
        assert_eq!(until.next_at, Some(failed_at + HOLD_MS));
        let early = Row::get(tx.conn, id)?.map(|row| row.status());
        tx.now += HOLD_MS;
        let over = expire_held(tx, &held_since(failed_at), HOLD_MS)?;
        assert_eq!(over.next_at, None);
        assert_eq!(over.unwanted.len(), 1);
        let late = Row::get(tx.conn, id)?.map(|row| row.status());
        assert!(accepted_at < failed_at);
        Ok((early, late))
    };
    let (early, late) = test.db.write(held).await.unwrap();
    assert_eq!(early, Some(SpeechStatus::Checking));
    assert_eq!(late, Some(SpeechStatus::Failed));
}

#[tokio::test]
async fn a_url_that_is_held_alone_expires_alone() {
    let test = TestDb::new(Service::Tts);
    let ids = [Uuid::now_v7(), Uuid::now_v7()];
    let operation = move |tx: &mut Tx<'_>| {
        for (which, id) in ids.into_iter().enumerate() {
            let url = url_of(which);
            accept(tx, &new(id, Some(&url), CheckState::Pending, 86_400))?;
        }
        let held = [(Scope::Url(url_of(0)), tx.now)];
        tx.now += HOLD_MS;
        let expired = expire_held(tx, &held, HOLD_MS)?;
        let statuses = ids.map(|id| Row::get(tx.conn, id).unwrap().unwrap().status());
        Ok((expired, statuses))
    };
    let (expired, statuses) = test.db.write(operation).await.unwrap();
    assert_eq!(statuses, [SpeechStatus::Failed, SpeechStatus::Checking]);
    let unwanted = vec![Scope::Url(url_of(0))];
    assert_eq!(
        expired,
        ExpiredHolds {
            next_at: None,
            unwanted
        }
    );
}

#[tokio::test]
async fn of_the_urls_to_be_asked_again_the_first_of_each_client_and_origin_that_a_job_waits_for_is_wanted()
 {
    let test = TestDb::new(Service::Tts);
    let urls: Vec<String> = (0..6).map(|n| format!("http://h{}/{n}", n / 3)).collect();
    let accepted = urls.clone();
    let accepted = test.db.write(move |tx| {
        // For the first nobody waits.
        for url in &accepted[1..] {
            accept(tx, &new(Uuid::now_v7(), Some(url), CheckState::Pending, 60))?;
        }
        Ok(())
    });
    accepted.await.unwrap();
    // The last was asked for another client.
    let of = |(n, url): (usize, &String)| {
        let receiver = Receiver {
            client: if n == 5 { "b" } else { "" }.into(),
            origin: deliveries::origin_of(url).into(),
        };
        (receiver, url.clone())
    };
    let again: Vec<_> = urls.iter().enumerate().map(of).collect();
    let found = test.db.read(move |conn| {
        let wanted = CheckQuery {
            after: &LastTurns::default(),
            running: &again.iter().map(|(_, url)| url.clone()).collect(),
            room: &mut check_room(),
            again: &again,
        };
        unchecked_urls(conn, wanted)
    });
    let found = urls_of(found.await.unwrap().found);
    assert_eq!(found, [urls[1].clone(), urls[3].clone(), urls[5].clone()]);
}

/// A job of this client that waits for the check of a URL.
fn checking(tx: &mut Tx<'_>, client: &str, url: &str) -> QueryResult<()> {
    let job = New {
        client: client.to_owned(),
        ..new(Uuid::now_v7(), Some(url), CheckState::Pending, 60)
    };
    accept(tx, &job).map(drop)
}

#[tokio::test]
async fn each_client_and_each_of_its_origins_has_its_turn_at_a_check() {
    let test = TestDb::new(Service::Tts);
    let url = |client: &str, number: usize| format!("http://{client}{number:02}/");
    let accepted = test.db.write(move |tx| {
        for number in 0..80 {
            checking(tx, "a", &url("a", number))?;
        }
        checking(tx, "", &url("", 1))?;
        for number in 0..3 {
            checking(tx, "b", &url("b", number))?;
            // For which one check is enough.
            checking(tx, "b", &url("a", number))?;
        }
        Ok(())
    });
    accepted.await.unwrap();
    let mut turns = LastTurns::default();
    let mut seen: Vec<Vec<String>> = Vec::new();
    for _ in 0..2 {
        let after = turns.clone();
        let found = test.db.read(move |conn| {
            let wanted = CheckQuery {
                after: &after,
                running: &HashSet::from([url("b", 1)]),
                room: &mut check_room(),
                again: &[],
            };
            unchecked_urls(conn, wanted)
        });
        let looked = found.await.unwrap();
        turns = looked.turns;
        turns.begin_rounds();
        seen.push(urls_of(looked.found));
    }
    let of = |numbers: std::ops::Range<usize>| numbers.map(|number| url("a", number));
    let others = [url("", 1), url("b", 0), url("b", 2)];
    let first: Vec<String> = of(0..56).chain(others.clone()).collect();
    seen.iter_mut().for_each(|seen| seen.sort());
    let sorted = |mut urls: Vec<String>| {
        urls.sort();
        urls
    };
    assert_eq!(seen[0], sorted(first));
    // The one of the two who share a URL asks it whose turn it is first.
    assert!(others.iter().all(|url| seen[1].contains(url)), "{seen:?}");
    let went_on: Vec<String> = of(56..80).collect();
    assert!(went_on.iter().all(|url| seen[1].contains(url)), "{seen:?}");
}

#[tokio::test]
async fn a_held_url_is_asked_for_a_client_that_waits_for_it_and_has_room() {
    let test = TestDb::new(Service::Tts);
    let url = "http://shared/";
    let accepted = test.db.write(move |tx| {
        checking(tx, "greedy", url)?;
        checking(tx, "idle", "http://elsewhere/")?;
        checking(tx, "modest", url)
    });
    accepted.await.unwrap();
    let receiver = |client: &str| Receiver {
        client: client.into(),
        origin: "http://shared".into(),
    };
    let greedy = receiver("greedy");
    let found = test.db.read(move |conn| {
        let mut room = check_room();
        while room.of_held(&greedy) > 0 {
            room.begin(&greedy);
        }
        let wanted = CheckQuery {
            after: &LastTurns::default(),
            running: &HashSet::from([url.to_owned()]),
            room: &mut room,
            again: &[(greedy, url.to_owned())],
        };
        unchecked_urls(conn, wanted)
    });
    let mut found = found.await.unwrap().found;
    found.retain(|one| one.url == url);
    let url = url.to_owned();
    let receiver = receiver("modest");
    let asked = receiver.clone();
    let plans = test.db.read(move |conn| {
        Ok([None, Some("http://shared/")]
            .map(|url| found_by(conn, |conn| is_waiting(conn, &asked, url))))
    });
    let by_client = || vec!["speeches_checking_by_client".to_owned()];
    assert_eq!(plans.await.unwrap(), [by_client(), by_client()]);
    assert_eq!(found, [Unchecked { receiver, url }]);
}

#[tokio::test]
async fn very_many_origins_are_looked_at_in_several_looks_and_once() {
    let test = TestDb::new(Service::Tts);
    let url = |client: &str, number: usize| format!("http://{client}{number:04}/");
    let many = 2 * MOST_ORIGINS + 1;
    let accepted = test.db.write(move |tx| {
        for client in ["a", "b"] {
            for number in 0..many {
                checking(tx, client, &url(client, number))?;
            }
        }
        checking(tx, "c", &url("c", 0))
    });
    accepted.await.unwrap();
    // All but one are under way.
    let running: HashSet<String> = ["a", "b"]
        .iter()
        .flat_map(|client| (0..many).map(move |number| url(client, number)))
        .filter(|one| *one != url("a", 7))
        .collect();
    // In the midst of the round, and anew.
    for begun_behind in [None, Some(9), Some(MOST_ORIGINS + 3)] {
        let mut turns = LastTurns::default();
        let begun_behind = begun_behind.map(|number| format!("http://a{number:04}"));
        turns
            .origins
            .extend(begun_behind.map(|at| ("a".to_owned(), at)));
        let mut seen = Vec::new();
        for look in 1.. {
            let (after, running) = (turns, running.clone());
            let looked = test.db.read(move |conn| {
                let wanted = CheckQuery {
                    after: &after,
                    running: &running,
                    room: &mut check_room(),
                    again: &[],
                };
                unchecked_urls(conn, wanted)
            });
            let looked = looked.await.unwrap();
            seen.extend(urls_of(looked.found));
            turns = looked.turns;
            assert!(look <= 3);
            if !looked.is_cut {
                assert_eq!(look, 3);
                break;
            }
        }
        seen.sort();
        assert_eq!(seen, [url("a", 7), url("c", 0)]);
    }
}

#[tokio::test]
async fn a_url_with_headers_of_its_own_expires_by_its_target() {
    let test = TestDb::new(Service::Tts);
    let id = Uuid::now_v7();
    let operation = move |tx: &mut Tx<'_>| {
        accept(tx, &new(id, Some(&url_of(0)), CheckState::Pending, 86_400))?;
        let target = format!("{}#digest", url_of(0));
        diesel::update(speeches::table.find(Id(id)))
            .set(speeches::callback_target.eq(&target))
            .execute(tx.conn)?;
        let held = [(Scope::Url(target), tx.now)];
        tx.now += HOLD_MS / 2;
        let early = expire_held(tx, &held, HOLD_MS)?;
        tx.now += HOLD_MS;
        expire_held(tx, &held, HOLD_MS)?;
        Ok((early, Row::get(tx.conn, id)?.unwrap().status()))
    };
    let (early, status) = test.db.write(operation).await.unwrap();
    assert!(early.unwanted.is_empty(), "{early:?}");
    assert_eq!(status, SpeechStatus::Failed);
}

#[tokio::test]
async fn what_a_start_looks_for_is_found_among_the_open_jobs_only() {
    let boot = Uuid::now_v7();
    let found = plans(accept_one(CheckState::Off), move |tx| recover(tx, boot)).await;
    assert_eq!(found, ["speeches_leased"]);
    let found = plans(accept_one(CheckState::Off), |tx| {
        operations::open_load::<Row>(tx.conn)
    })
    .await;
    assert!(!found.contains(&"all of speeches".to_owned()), "{found:?}");
}

#[tokio::test]
async fn a_repeated_creation_is_found_by_its_id_or_its_key() {
    let with_key = || New {
        idempotency_key: Some("a:b".into()),
        ..new(Uuid::now_v7(), None, CheckState::Off, 60)
    };
    let (first, second) = (with_key(), with_key());
    let prepare = move |tx: &mut Tx<'_>| drop(accept(tx, &first).unwrap());
    let found = plans(prepare, move |tx| accept(tx, &second)).await;
    assert_eq!(found, ["id", "speeches_by_key"]);
}

// ------------------------------------------------------------------- turns

/// A job of this client that a worker may claim.
fn of_client(id: Uuid, client: &str, is_long: bool) -> New {
    let text = "Xin chào. ".repeat(if is_long { LONG_BYTES / 10 } else { 1 });
    let create = Create {
        text,
        timeout_s: 3600,
        ..Create::default()
    };
    New {
        client: client.to_owned(),
        request: create.into(),
        ..new(id, None, CheckState::Off, 3600)
    }
}

/// Accepts a job a millisecond after the last one.
fn accept_for(tx: &mut Tx<'_>, client: &str, is_long: bool) -> Uuid {
    tx.now += 1;
    let id = Uuid::now_v7();
    accept(tx, &of_client(id, client, is_long)).unwrap();
    id
}

fn claim_ids(tx: &mut Tx<'_>, wish: &Wish) -> Vec<Uuid> {
    let claimed = claim_wished(tx, Uuid::nil(), wish).unwrap();
    claimed.jobs.iter().map(|job| job.row.id.0).collect()
}

async fn with_tx(operation: impl FnMut(&mut Tx<'_>) + Send + 'static) {
    let test = TestDb::new(Service::Tts);
    let mut operation = operation;
    let done = test.db.write(move |tx| {
        operation(tx);
        Ok(())
    });
    done.await.unwrap();
}

#[tokio::test]
async fn a_claim_goes_round_the_clients_and_the_next_one_goes_on_where_it_has_ended() {
    with_tx(|tx| {
        let [a, b, c] = ["a", "b", "c"].map(|client| {
            let jobs = (0..3).map(|_| accept_for(tx, client, false));
            jobs.collect::<Vec<_>>()
        });
        assert_eq!(claim_ids(tx, &Wish::any(4)), [a[0], b[0], c[0], a[1]]);
        assert_eq!(claim_ids(tx, &Wish::any(1)), [b[1]]);
        let early = accept_for(tx, "", false);
        assert_eq!(
            claim_ids(tx, &Wish::any(9)),
            [c[1], early, a[2], b[2], c[2]]
        );
    })
    .await;
}

#[tokio::test]
async fn a_claim_that_is_rolled_back_costs_nobody_his_turn() {
    let test = TestDb::new(Service::Tts);
    let accepted = test.db.write(|tx| {
        let clients = ["a", "b", "c"];
        Ok(clients.map(|client| accept_for(tx, client, false)))
    });
    let [a, b, c] = accepted.await.unwrap();
    let failed = test.db.write(|tx| {
        claim(tx, Uuid::nil(), 2)?;
        Err::<(), _>(diesel::result::Error::RollbackTransaction)
    });
    failed.await.unwrap_err();
    let claimed = test.db.write(|tx| Ok(claim_ids(tx, &Wish::any(3))));
    assert_eq!(claimed.await.unwrap(), [a, b, c]);
}

#[tokio::test]
async fn what_is_claimed_can_be_short_and_of_other_clients_only() {
    with_tx(|tx| {
        let a = accept_for(tx, "a", false);
        accept_for(tx, "b", true);
        let c = [(); 2].map(|()| accept_for(tx, "c", false));
        let wish = Wish {
            except: ["a".to_owned()].into(),
            is_short: true,
            ..Wish::any(9)
        };
        assert_eq!(claim_ids(tx, &wish), c);
        assert!(claim_ids(tx, &wish).is_empty());
        assert_eq!(
            claim_ids(
                tx,
                &Wish {
                    is_short: true,
                    ..Wish::any(9)
                }
            ),
            [a]
        );
    })
    .await;
}

#[tokio::test]
async fn a_claim_says_whether_there_may_be_more() {
    with_tx(|tx| {
        let mut more = |most| claim(tx, Uuid::nil(), most).unwrap().more;
        assert!(!more(2));
        for _ in 0..5 {
            accept_for(tx, "a", false);
        }
        accept_for(tx, "b", false);
        let mut claimed = |most| {
            let claimed = claim(tx, Uuid::nil(), most).unwrap();
            (claimed.jobs.len(), claimed.more)
        };
        assert_eq!(
            claimed(4),
            (3, true),
            "two of one client and one of the other"
        );
        assert_eq!(claimed(4), (3, false));
    })
    .await;
}

#[tokio::test]
async fn ten_younger_short_jobs_go_before_a_long_one_of_their_client_and_then_it_is_due() {
    with_tx(|tx| {
        let long = [(); 2].map(|()| accept_for(tx, "a", true));
        let short = [(); 13].map(|()| accept_for(tx, "a", false));
        let mut order = Vec::new();
        for _ in 0..15 {
            order.extend(claim_ids(tx, &Wish::any(1)));
        }
        let expected = [&short[..10], &long[..], &short[10..]].concat();
        assert_eq!(order, expected, "also if they are claimed one by one");
    })
    .await;
}

#[tokio::test]
async fn a_guest_does_not_go_before_a_long_one_of_its_client_that_is_due() {
    with_tx(|tx| {
        let long = accept_for(tx, "a", true);
        let short = [(); 11].map(|()| accept_for(tx, "a", false));
        let wish = Wish {
            is_short: true,
            ..Wish::any(20)
        };
        assert_eq!(claim_ids(tx, &wish), short[..10]);
        assert!(claim_ids(tx, &wish).is_empty());
        assert_eq!(claim_ids(tx, &Wish::any(2)), [long, short[10]]);
    })
    .await;
}

#[tokio::test]
async fn a_client_whose_long_job_is_due_does_not_keep_guests_of_others_out() {
    with_tx(|tx| {
        let of_b = [(); 2].map(|()| accept_for(tx, "b", true));
        let before = [(); 11].map(|()| accept_for(tx, "b", false));
        let guest = Wish {
            except: ["a".to_owned()].into(),
            is_short: true,
            ..Wish::any(1)
        };
        for id in &before[..10] {
            assert_eq!(claim_ids(tx, &guest), [*id]);
        }
        let of_c = accept_for(tx, "c", false);
        assert_eq!(claim_ids(tx, &guest), [of_c]);
        assert!(claim_ids(tx, &guest).is_empty());
        assert_eq!(
            claim_ids(tx, &Wish::any(9)),
            [&of_b, &before[10..]].concat()
        );
    })
    .await;
}

#[tokio::test]
async fn guests_do_not_cost_a_client_its_turn_that_has_long_jobs_only() {
    with_tx(|tx| {
        let guest = Wish {
            is_short: true,
            ..Wish::any(1)
        };
        for client in ["a", "c"] {
            for _ in 0..4 {
                accept_for(tx, client, false);
            }
        }
        let long = accept_for(tx, "b", true);
        claim_ids(tx, &Wish::any(1));
        claim_ids(tx, &guest);
        assert_eq!(claim_ids(tx, &Wish::any(1)), [long]);
    })
    .await;
}

/// What happens at the queue.
#[derive(Debug, Clone)]
enum Move {
    Come { client: usize, is_long: bool },
    Claim(Wish),
    GiveBack { claim: usize },
}

const CLIENTS: [&str; 3] = ["", "b", "c"];

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let except = prop::collection::btree_set(prop::sample::select(&CLIENTS), 0..2);
    let each = prop::sample::select(vec![1, 2, usize::MAX]);
    let wish =
        (1_usize..7, each, except, any::<bool>()).prop_map(|(most, each, except, is_short)| Wish {
            most,
            each,
            except: except.into_iter().map(str::to_owned).collect(),
            is_short,
        });
    let one = prop_oneof![
        6 => (0_usize..3, prop::bool::weighted(0.2))
            .prop_map(|(client, is_long)| Move::Come { client, is_long }),
        2 => (1_usize..7).prop_map(|most| Move::Claim(Wish::any(most))),
        2 => wish.prop_map(Move::Claim),
        1 => any::<usize>().prop_map(|claim| Move::GiveBack { claim }),
    ];
    prop::collection::vec(one, 0..120)
}

/// The queue as the rules have it.
#[derive(Default)]
struct Waiting {
    /// Each job's client and length.
    all: HashMap<Uuid, (usize, bool)>,
    ids: BTreeSet<Uuid>,
    /// Who has overtaken any long job, by client.
    overtakers: [BTreeSet<Uuid>; 3],
}

impl Waiting {
    fn of(&self, client: usize, is_long: bool) -> impl Iterator<Item = Uuid> {
        let ids = self.ids.iter().copied();
        ids.filter(move |id| self.all[id] == (client, is_long))
    }

    /// Whether a client can have a turn of such a claim.
    fn may_go(&self, client: usize, wish: &Wish) -> bool {
        if wish.except.contains(CLIENTS[client]) {
            return false;
        }
        let oldest_long = self.of(client, true).next();
        let is_due =
            oldest_long.is_some_and(|long| self.overtakers[client].range(long..).count() >= 10);
        let has_short = self.of(client, false).next().is_some();
        match wish.is_short {
            true => has_short && !is_due,
            false => has_short || oldest_long.is_some(),
        }
    }
}

/// Drives the queue and holds each claim against the rules: nobody who can have a turn
/// is passed over twice by another, and no long job is overtaken an eleventh time.
fn drive_turns(tx: &mut Tx<'_>, moves: &[Move]) -> Result<(), TestCaseError> {
    let mut waiting = Waiting::default();
    let mut overtaken: HashMap<Uuid, HashSet<Uuid>> = HashMap::new();
    // Guests have a round of their own.
    let mut rounds = [[[0; 3]; 3]; 2];
    let mut claims = Vec::new();
    let end = vec![Move::Claim(Wish::any(1)); 150];
    for one in moves.iter().chain(&end) {
        match one {
            Move::Come { client, is_long } => {
                let id = accept_for(tx, CLIENTS[*client], *is_long);
                waiting.all.insert(id, (*client, *is_long));
                waiting.ids.insert(id);
            }
            Move::Claim(wish) => {
                let claimed = claim_wished(tx, Uuid::nil(), wish).unwrap();
                prop_assert!(claimed.jobs.len() <= wish.most);
                for client in CLIENTS {
                    let of_client = claimed.jobs.iter().filter(|job| job.row.client == client);
                    prop_assert!(of_client.count() <= wish.each);
                }
                let turns_since = &mut rounds[usize::from(wish.is_short)];
                for Job { row, .. } in claimed.jobs {
                    let id = row.id.0;
                    let (client, is_long) = waiting.all[&id];
                    prop_assert!(waiting.may_go(client, wish));
                    prop_assert!(!(is_long && wish.is_short));
                    prop_assert!(waiting.ids.remove(&id));
                    for (other, turns) in turns_since.iter_mut().enumerate() {
                        turns[client] += 1;
                        if other == client || !waiting.may_go(other, wish) {
                            *turns = [0; 3];
                        }
                        prop_assert!(turns.iter().all(|turns| *turns <= 1));
                    }
                    if !is_long {
                        let passed = waiting.of(client, true).filter(|long| *long < id);
                        for long in passed.collect::<Vec<_>>() {
                            waiting.overtakers[client].insert(id);
                            let by = overtaken.entry(long).or_default();
                            by.insert(id);
                            prop_assert!(by.len() <= 10);
                        }
                    }
                    claims.push(row);
                }
                let is_over = (0..3).all(|client| !waiting.may_go(client, wish));
                prop_assert!(claimed.more || is_over);
            }
            Move::GiveBack { claim } if !claims.is_empty() => {
                let row = claims.swap_remove(claim % claims.len());
                prop_assert!(give_back(tx, &row, "").unwrap());
                waiting.ids.insert(row.id.0);
            }
            Move::GiveBack { .. } => {}
        }
    }
    prop_assert!(waiting.ids.is_empty());
    Ok(())
}

#[test]
fn no_order_of_arrivals_and_claims_starves_a_client_or_a_long_job() {
    let test = TestDb::new(Service::Tts);
    proptest!(|(moves in moves())| {
        let moves = moves.clone();
        // Each case is rolled back.
        let outcome = std::sync::Arc::new(std::sync::Mutex::new(None));
        let told = std::sync::Arc::clone(&outcome);
        let operation = test.db.write(move |tx| {
            *told.lock().unwrap() = Some(drive_turns(tx, &moves));
            Err::<(), _>(diesel::result::Error::RollbackTransaction)
        });
        block_on(operation).unwrap_err();
        outcome.lock().unwrap().take().unwrap()?;
    });
}

#[tokio::test]
async fn a_claim_costs_no_more_seeks_where_more_clients_wait() {
    let looks = async |clients: usize| {
        let prepare = move |tx: &mut Tx<'_>| {
            for client in 0..clients {
                accept_for(tx, &format!("{client:03}"), client % 2 == 1);
            }
            claim(tx, Uuid::nil(), 1).unwrap();
        };
        let found = plans(prepare, |tx| claim(tx, Uuid::nil(), 2)).await;
        assert!(
            found
                .iter()
                .all(|how| !how.contains("all of") && !how.contains("sorted"))
        );
        found.len()
    };
    assert_eq!(looks(6).await, looks(200).await);
}

#[tokio::test]
async fn since_when_the_oldest_job_waits_is_found_by_a_seek_for_each_client() {
    let prepare = |tx: &mut Tx<'_>| {
        for client in ["a", "b"] {
            accept_for(tx, client, true);
        }
    };
    let found = plans(prepare, |tx| super::super::turns::oldest(tx.conn)).await;
    assert_eq!(found, ["speeches_queued"; 6]);
    with_tx(move |tx| {
        prepare(tx);
        accept_for(tx, "", false);
        let oldest = super::super::turns::oldest(tx.conn).unwrap();
        assert_eq!(oldest, Some(tx.now - 2));
    })
    .await;
}

// ------------------------------------------------------------------- figures

/// What a claim costs the writer. By hand:
/// `cargo test --release --lib -- what_a_claim_costs --ignored --nocapture`.
#[tokio::test]
#[ignore = "a figure and no test"]
async fn what_a_claim_costs() {
    for most in [1, 16] {
        let test = TestDb::new(Service::Tts);
        let took = test.db.write(move |tx| {
            for _ in 0..20_000 {
                accept(tx, &new(Uuid::now_v7(), None, CheckState::Off, 3600))?;
            }
            let boot = Uuid::now_v7();
            let mut took = Vec::new();
            while took.len() * most < 20_000 {
                let began = std::time::Instant::now();
                assert_eq!(claim(tx, boot, most)?.jobs.len(), most);
                took.push(began.elapsed());
            }
            Ok(took)
        });
        let mut took = took.await.unwrap();
        took.sort();
        let median = took[took.len() / 2];
        let (sum, jobs) = (took.iter().sum::<std::time::Duration>(), 20_000);
        println!("{most} at once: median {median:?}, {:?} a job", sum / jobs);
    }
}
