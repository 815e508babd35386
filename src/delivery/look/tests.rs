//! The law of a look, over random tables; and what it costs.

use std::collections::HashSet;

use hoiam_api::{DeliveryType, Service};
use proptest::prelude::*;
use proptest::test_runner::{TestCaseError, TestRunner};
use uuid::Uuid;

use super::super::shares::Receiver;
use super::*;
use crate::db::Tx;
use crate::db::testing::{START, TestDb, block_on};

/// Deliveries of one kind to one receiver, due one after another.
#[derive(Debug, Clone)]
struct Owed {
    client: usize,
    receiver: usize,
    kind: Kind,
    count: usize,
    /// From when on, seen from now.
    due_ms: Millis,
    /// How far they are apart.
    apart_ms: Millis,
}

#[derive(Debug, Clone)]
struct Case {
    owed: Vec<Owed>,
    from: Option<Millis>,
    /// Whose turn it is, and from when on.
    turns: Vec<(usize, usize, Kind, Millis)>,
}

fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![Just(Kind::FirstTry), Just(Kind::Retry)]
}

fn case() -> impl Strategy<Value = Case> {
    let count = prop_oneof![4 => 0..10_usize, 2 => 90..120_usize, 1 => 500..560_usize];
    let owed = (
        0..2_usize,
        0..4_usize,
        kind(),
        count,
        -400..50_i64,
        0..3_i64,
    )
        .prop_map(|(client, receiver, kind, count, due_ms, apart_ms)| Owed {
            client,
            receiver,
            kind,
            count,
            due_ms,
            apart_ms,
        });
    let turn = (0..2_usize, 0..4_usize, kind(), -400..0_i64);
    (
        prop::collection::vec(owed, 1..6),
        prop::option::of(-200..0_i64),
        prop::collection::vec(turn, 0..4),
    )
        .prop_map(|(owed, from, turns)| Case { owed, from, turns })
}

fn receiver(client: usize, number: usize) -> Receiver {
    Receiver {
        client: format!("c{client}").into(),
        origin: format!("http://r{number}").into(),
    }
}

fn put(tx: &mut Tx<'_>, owed: &[Owed]) -> QueryResult<Vec<Row>> {
    let mut rows = Vec::new();
    for of in owed {
        let receiver = receiver(of.client, of.receiver);
        for number in 0..of.count {
            let url = format!("{}/{number}", receiver.origin);
            let due_at = START + of.due_ms + Millis::try_from(number).unwrap() * of.apart_ms;
            let kind = DeliveryType::TaskCompleted;
            let row = Row {
                attempt: i32::from(of.kind == Kind::Retry),
                next_attempt_at: Some(due_at),
                client: receiver.client.to_string(),
                ..Row::pending(Uuid::now_v7(), Uuid::now_v7(), kind, &url, due_at)
            };
            store::insert(tx, row.clone())?;
            rows.push(row);
        }
    }
    Ok(rows)
}

/// Holds the law of a look against the table that it was made at.
fn check(tx: &mut Tx<'_>, case: &Case) -> Result<(), TestCaseError> {
    let rows = put(tx, &case.owed).unwrap();
    let from = case.from.map_or(Millis::MIN, |ms| START + ms);
    let turn = |(client, number, kind, ms): &(usize, usize, Kind, Millis)| Turn {
        receiver: receiver(*client, *number),
        kind: *kind,
        from: START + ms,
    };
    let turns: Vec<Turn> = case.turns.iter().map(turn).collect();
    let look = read_due(tx.conn, (from, START), &turns).unwrap();
    let is_of = |row: &Row, turn: &Turn| {
        let receiver = &turn.receiver;
        (&*row.client, &*row.origin, row.next_kind())
            == (&*receiver.client, &*receiver.origin, turn.kind)
    };
    let read: HashSet<Uuid> = look.rows.iter().map(|row| row.id.0).collect();
    for row in &rows {
        let due_at = row.next_attempt_at.unwrap();
        let is_read = read.contains(&row.id.0);
        let is_due = due_at <= START;
        let is_meant = due_at >= from
            || turns
                .iter()
                .any(|turn| is_of(row, turn) && due_at >= turn.from);
        prop_assert!(!is_read || (is_due && is_meant), "read: {row:?}");
        let is_left = look.left_from.is_some_and(|at| at <= due_at)
            || look
                .left
                .iter()
                .any(|turn| is_of(row, turn) && turn.from <= due_at);
        prop_assert!(
            !is_due || !is_meant || is_read || is_left,
            "forgotten: {row:?}"
        );
    }
    // It goes on from one look to the next.
    prop_assert!(look.left_from.is_none_or(|at| at > from));
    for left in &look.left {
        let before = turns.iter().filter(|turn| turn.receiver == left.receiver);
        let mut before = before.filter(|turn| turn.kind == left.kind);
        prop_assert!(before.any(|turn| turn.from < left.from));
    }
    let later = rows.iter().filter_map(|row| row.next_attempt_at);
    prop_assert_eq!(look.next_at, later.filter(|at| *at > START).min());
    Ok(())
}

#[test]
fn what_is_due_is_read_or_found_again() {
    // Each case has a database of its own.
    let cases = ProptestConfig::default().cases.div_ceil(8);
    let mut runner = TestRunner::new(ProptestConfig::with_cases(cases));
    let result = runner.run(&case(), |case| {
        let test = TestDb::new(Service::Tts);
        let outcome = test.db.write(move |tx| Ok(check(tx, &case)));
        block_on(outcome).unwrap()
    });
    if let Err(error) = result {
        panic!("{error}");
    }
}

/// However much is due to others that had their turn before.
#[tokio::test]
async fn a_look_reads_nothing_of_what_was_passed_over_and_has_no_turn() {
    let test = TestDb::new(Service::Tts);
    let look = test.db.write(|tx| {
        let of = |client, receiver, count, due_ms| Owed {
            client,
            receiver,
            kind: Kind::Retry,
            count,
            due_ms,
            apart_ms: 0,
        };
        put(
            tx,
            &[
                of(0, 0, 5000, -100),
                of(0, 1, 3, -50),
                of(1, 1, 2, -50),
                of(0, 2, 1, -1),
            ],
        )?;
        let turn = Turn {
            receiver: receiver(0, 1),
            kind: Kind::Retry,
            from: START - 50,
        };
        read_due(tx.conn, (START - 10, START), &[turn])
    });
    let look = look.await.unwrap();
    let read = look.rows.iter().map(Row::receiver);
    let expected = [(0, 1), (0, 1), (0, 1), (0, 2)].map(|(of, number)| receiver(of, number));
    assert_eq!(read.collect::<Vec<_>>(), expected);
    assert_eq!((look.left_from, look.left), (None, Vec::new()));
}

/// A transaction has its time before its commit is seen.
#[tokio::test]
async fn what_is_committed_between_looks_is_read_although_later_rows_were() {
    let test = TestDb::new(Service::Tts);
    let read = test.db.write(|tx| {
        let of = |receiver, count, due_ms, apart_ms| Owed {
            client: 0,
            receiver,
            kind: Kind::FirstTry,
            count,
            due_ms,
            apart_ms,
        };
        put(tx, &[of(0, 600, -1000, 1)])?;
        let (mut progress, mut read, mut looks) = (Progress::default(), 0, 0);
        // The newest commit that is seen has an older time.
        let seen_until = START - 900;
        loop {
            looks += 1;
            let look = read_due(tx.conn, (progress.begin(), START), &[])?;
            let late = receiver(0, 1);
            read += look
                .rows
                .iter()
                .filter(|row| row.receiver() == late)
                .count();
            if looks == 1 {
                put(tx, &[of(1, 1, -800, 0)])?;
                progress.hint();
            }
            if !progress.end(look.left_from, seen_until) {
                break;
            }
        }
        // However often it is read, without a hint there is no end of a pass but one.
        let mut idle = 0;
        loop {
            idle += 1;
            let look = read_due(tx.conn, (progress.begin(), START), &[])?;
            if !progress.end(look.left_from, seen_until) || idle > 9 {
                break;
            }
        }
        Ok((read, looks, idle))
    });
    assert_eq!(read.await.unwrap(), (1, 3, 1));
}
