//! The law of a look, over random tables; and where its bounds are.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::test_runner::{TestCaseError, TestRunner};

use super::*;
use crate::contract::{CallbackHeaders, DeliveryType, Service};
use crate::db::Tx;
use crate::db::testing::{START, TestDb, block_on};

/// Bodies that say nothing, but for receivers whose subjects make us panic.
struct Bodies;

impl Subject for Bodies {
    fn told_by(&self, _: &mut Conn, delivery: &Row) -> QueryResult<Option<Told>> {
        assert!(!delivery.origin.ends_with("panics"), "as it was told to");
        Ok(Told::of(&1, None, CallbackHeaders::default()))
    }
}

/// Deliveries of one kind to one receiver, due one after another.
#[derive(Debug, Clone)]
struct Owed {
    receiver: usize,
    is_retry: bool,
    count: usize,
    /// From when on, seen from now.
    due_ms: Millis,
    /// How far they are apart.
    apart_ms: Millis,
    /// Every so many of them are being tried.
    running: usize,
}

#[derive(Debug, Clone)]
struct Case {
    owed: Vec<Owed>,
    /// Retries and first tries under way that are not in the table any more.
    others: (usize, usize),
    /// How many of the receivers may have how many probes.
    probes: Vec<usize>,
    from: Option<Millis>,
}

fn owed() -> impl Strategy<Value = Owed> {
    let count = prop_oneof![4 => 0..10_usize, 2 => 20..60_usize, 1 => 120..300_usize];
    let times = (-400..50_i64, 0..3_i64);
    (0..12_usize, any::<bool>(), count, times, 1..20_usize).prop_map(
        |(receiver, is_retry, count, (due_ms, apart_ms), running)| Owed {
            receiver,
            is_retry,
            count,
            due_ms,
            apart_ms,
            running,
        },
    )
}

fn case() -> impl Strategy<Value = Case> {
    let free = prop_oneof![2 => Just((0, 0)), 1 => (0..480_usize, 0..40_usize)];
    (
        prop::collection::vec(owed(), 1..8),
        free,
        prop::collection::vec(0..2_usize, 0..3),
        prop::option::of(-200..0_i64),
    )
        .prop_map(|(owed, others, probes, from)| Case {
            owed,
            others,
            probes,
            from,
        })
}

fn origin(receiver: usize) -> String {
    format!("http://r{receiver}")
}

/// Puts what is owed into the table, and answers the rows and those being tried.
fn put(tx: &mut Tx<'_>, owed: &[Owed]) -> QueryResult<(Vec<Row>, HashSet<Uuid>)> {
    let (mut rows, mut running) = (Vec::new(), HashSet::new());
    for of in owed {
        for number in 0..of.count {
            let url = format!("{}/{number}", origin(of.receiver));
            let due_at = START + of.due_ms + Millis::try_from(number).unwrap() * of.apart_ms;
            let kind = DeliveryType::TaskCompleted;
            let row = Row {
                attempt: of.is_retry.into(),
                next_attempt_at: Some(due_at),
                ..Row::owed(Uuid::now_v7(), Uuid::now_v7(), kind, &url, due_at)
            };
            if number % of.running == of.running - 1 {
                running.insert(row.id.0);
            }
            store::insert(tx, row.clone())?;
            rows.push(row);
        }
    }
    Ok((rows, running))
}

fn room(rows: &[Row], running: HashSet<Uuid>, (retries, first_tries): (usize, usize)) -> Room {
    let mut shares = Shares::default();
    for row in rows.iter().filter(|row| running.contains(&row.id.0)) {
        shares.begin(&row.origin, kind_of(row));
    }
    for number in 0..retries {
        shares.begin(&format!("http://retried{}", number % 40), Kind::Retry);
    }
    for number in 0..first_tries {
        shares.begin(&format!("http://new{}", number % 9), Kind::FirstTry);
    }
    Room {
        shares,
        probes: HashMap::new(),
        running,
    }
}

/// Holds the law of a look against the table that it was made at.
fn check(tx: &mut Tx<'_>, case: &Case) -> Result<(), TestCaseError> {
    let (rows, running) = put(tx, &case.owed).unwrap();
    let room = Room {
        probes: (case.probes.iter().enumerate())
            .map(|(receiver, most)| (origin(receiver), *most))
            .collect(),
        ..room(&rows, running.clone(), case.others)
    };
    let before = (room.shares.clone(), room.probes.clone());
    let from = case.from.map_or(Millis::MIN, |ms| START + ms);
    let look = read_due(tx.conn, (from, START), room, &Bodies).unwrap();

    let (mut shares, mut probes) = before;
    let mut taken = HashSet::new();
    for delivery in &look.taken {
        let row = &delivery.row;
        prop_assert!(taken.insert(row.id.0) && !running.contains(&row.id.0));
        shares.begin(&row.origin, kind_of(row));
        if let Some(most) = probes.get_mut(&row.origin) {
            prop_assert!(*most > 0, "{} is not to be asked", row.origin);
            *most -= 1;
        }
    }
    let can_take = |row: &Row| {
        probes.get(&row.origin) != Some(&0)
            && shares.has_share(&row.origin)
            && shares.has_slot(kind_of(row))
    };
    let mut next_at: BTreeMap<Millis, ()> = BTreeMap::new();
    for row in &rows {
        let due_at = row.next_attempt_at.unwrap();
        if due_at > START {
            next_at.insert(due_at, ());
        }
        let is_due = (from..=START).contains(&due_at);
        let is_taken = taken.contains(&row.id.0);
        prop_assert!(is_due || !is_taken, "taken and not due: {row:?}");
        if !is_due || is_taken || running.contains(&row.id.0) {
            continue;
        }
        let passed = look
            .passed_over
            .get(&row.origin)
            .is_some_and(|at| *at <= due_at);
        let left = look.left_from.is_some_and(|at| at <= due_at);
        prop_assert!(passed || left, "forgotten: {row:?}");
        prop_assert!(!can_take(row), "there was room: {row:?}");
    }
    prop_assert_eq!(look.next_at, next_at.keys().next().copied());
    // Who is passed over is one that can take no more.
    for origin in look.passed_over.keys() {
        let can_take = probes.get(origin) != Some(&0) && shares.has_share(origin);
        prop_assert!(!can_take, "{} was passed over", origin);
    }
    if look.left_from.is_some() {
        prop_assert!(!shares.has_slot(Kind::Retry), "left, and there are slots");
    }
    Ok(())
}

#[test]
fn what_is_due_is_taken_or_found_again_and_left_only_where_there_is_no_room() {
    let mut runner = TestRunner::default();
    let result = runner.run(&case(), |case| {
        let test = TestDb::new(Service::Tts);
        let outcome = test.db.write(move |tx| Ok(check(tx, &case)));
        block_on(outcome).unwrap()
    });
    if let Err(error) = result {
        panic!("{error}");
    }
}

/// One look of all at these.
async fn look(owed: Vec<Owed>, others: (usize, usize)) -> Look {
    let test = TestDb::new(Service::Tts);
    let look = test.db.write(move |tx| {
        let (rows, running) = put(tx, &owed)?;
        let room = room(&rows, running, others);
        read_due(tx.conn, (Millis::MIN, START), room, &Bodies)
    });
    look.await.unwrap()
}

fn many(receiver: usize, is_retry: bool, count: usize) -> Owed {
    Owed {
        receiver,
        is_retry,
        count,
        due_ms: -1000,
        apart_ms: 1,
        running: usize::MAX,
    }
}

#[tokio::test]
async fn receivers_of_few_are_found_behind_one_that_is_owed_very_much() {
    let mut owed = vec![many(0, false, 700)];
    owed.extend((1..6).map(|receiver| many(receiver, receiver % 2 == 0, 3)));
    for of in &mut owed[1..] {
        of.due_ms = -1;
        of.apart_ms = 0;
    }
    let look = look(owed, (0, 0)).await;
    let taken = |receiver| {
        let of = look.taken.iter();
        of.filter(|one| one.row.origin == origin(receiver)).count()
    };
    assert_eq!(
        [0, 1, 2, 3, 4, 5].map(taken),
        [shares::MOST_OF_ONE, 3, 3, 3, 3, 3]
    );
    assert_eq!(look.left_from, None);
    let passed: Vec<_> = look.passed_over.keys().collect();
    assert_eq!(passed, ["http://r0"]);
}

/// The first read ends with the last row that each of them may have.
#[tokio::test]
async fn what_lies_behind_the_first_read_of_receivers_that_are_full_now_is_found_again() {
    let mut owed: Vec<Owed> = (0..4).map(|receiver| many(receiver, false, 32)).collect();
    owed.push(Owed {
        due_ms: -5,
        ..many(0, false, 3)
    });
    let look = look(owed, (0, 0)).await;
    assert_eq!(look.taken.len(), FIRST_READ);
    let from = look.passed_over.get("http://r0").copied();
    assert!(from.is_some_and(|from| from <= START - 5), "{from:?}");
}

/// So many that several reads would be needed for all; there is a slot for one.
#[tokio::test]
async fn a_look_ends_with_the_slots() {
    let owed = (0..200).map(|receiver| many(receiver, false, 1)).collect();
    let look = look(owed, (shares::MOST - 32, 31)).await;
    assert_eq!(look.taken.len(), 1);
    assert_eq!(look.left_from, Some(START - 1000));
}

#[tokio::test]
async fn a_body_that_panics_is_the_trouble_of_its_delivery_alone() {
    let test = TestDb::new(Service::Tts);
    let look = test.db.write(|tx| {
        for url in ["http://panics/", "http://a/"] {
            let kind = DeliveryType::TaskCompleted;
            store::owe(tx, Uuid::now_v7(), "", kind, url)?;
        }
        let room = room(&[], HashSet::new(), (0, 0));
        read_due(tx.conn, (Millis::MIN, tx.now), room, &Bodies)
    });
    let look = look.await.unwrap();
    let told = look
        .taken
        .iter()
        .map(|one| (one.row.origin.as_str(), one.told.is_ok()));
    let told: BTreeMap<_, _> = told.collect();
    assert_eq!(
        told,
        BTreeMap::from([("http://a", true), ("http://panics", false)])
    );
}
