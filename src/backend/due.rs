//! What is to be done now at the TTS service: the actions of tasks, and the
//! erasures of speeches whose tasks are gone.

use diesel::prelude::QueryResult;
use hoiam_supervision::clock::Millis;
use hoiam_text::SaturatingFrom as _;
use uuid::Uuid;

use super::actions;
use super::erasures::{self, Erasure};
use super::holds::Holds;
use super::slots::{Kind, UnderWay};
use super::store::{self, Row};
use super::task::Action;
use crate::db::Conn;
use crate::delivery::store as deliveries;

/// One thing to do.
#[derive(Debug)]
pub enum DueWork {
    /// A task's action.
    Action(Action, Box<Row>),
    /// An erased task's speech.
    Erasure(Erasure),
}

impl DueWork {
    /// The task's id. Only one thing is done for it at a time, so that an
    /// erasure finds what a hand-over has left.
    #[must_use]
    pub fn id(&self) -> Uuid {
        match self {
            Self::Action(_, row) => row.id.0,
            Self::Erasure(erasure) => erasure.id.0,
        }
    }

    /// What is to be done.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Action(action, _) => Kind::Action(*action),
            Self::Erasure(_) => Kind::Erasure,
        }
    }

    /// The client, if it is one's task that is to be handed over.
    #[must_use]
    pub fn hands_over_for(&self) -> Option<&str> {
        match self {
            Self::Action(Action::HandOver, row) => Some(&row.client),
            _ => None,
        }
    }
}

/// What a scan is to find.
#[derive(Debug, Clone, Default)]
pub struct DueQuery {
    /// The instant at which it is due.
    pub now: Millis,
    /// The most of all kinds together.
    pub most: usize,
    /// What is not to be found again, and what room it leaves to each kind.
    pub under_way: UnderWay,
    /// Whose hand-overs are not wanted.
    pub holds: Holds,
    /// The client that was the last to have its turn at a hand-over.
    pub last: String,
}

/// What there is room for of what is due, and when the next of what was looked for
/// is due. Where a kind has no room it is not looked for: what is under way ends.
///
/// # Errors
/// What the database says.
pub fn due(conn: &mut Conn, mut wanted: DueQuery) -> QueryResult<(Vec<DueWork>, Option<Millis>)> {
    let (mut all, mut next_at) = (Vec::new(), None::<Millis>);
    for kind in Kind::ALL {
        let room = wanted.under_way.room(kind).min(wanted.most - all.len());
        if room == 0 {
            continue;
        }
        let (mut owed, next) = due_of(conn, kind, room, &wanted)?;
        owed.truncate(room);
        for one in &owed {
            wanted.under_way.begin(one.id(), kind);
        }
        all.extend(owed);
        next_at = next_at.into_iter().chain(next).min();
    }
    Ok((all, next_at))
}

/// At least so many of a kind, if there are.
fn due_of(
    conn: &mut Conn,
    kind: Kind,
    room: usize,
    wanted: &DueQuery,
) -> QueryResult<(Vec<DueWork>, Option<Millis>)> {
    // What is under way is still due in the store.
    let (now, most) = (wanted.now, room + wanted.under_way.count(kind));
    let (mut owed, next) = match kind {
        Kind::Action(Action::HandOver) => return hand_overs(conn, room, wanted),
        Kind::Action(action) => {
            let (rows, next) = actions::due_actions(conn, action, now, most)?;
            let of = |row| DueWork::Action(action, Box::new(row));
            (rows.into_iter().map(of).collect::<Vec<_>>(), next)
        }
        Kind::Erasure => {
            let most = i64::saturating_from(most);
            let (erasures, next) = erasures::due_erasures(conn, now, most)?;
            (erasures.into_iter().map(DueWork::Erasure).collect(), next)
        }
    };
    owed.retain(|one| !wanted.under_way.has(one.id()));
    Ok((owed, next))
}

/// One of each client that waits, from the one after the last on, and again, until
/// there is no more room.
fn hand_overs(
    conn: &mut Conn,
    room: usize,
    wanted: &DueQuery,
) -> QueryResult<(Vec<DueWork>, Option<Millis>)> {
    if wanted.holds.all() {
        return Ok((Vec::new(), None));
    }
    let clients = actions::waiting_clients(conn, wanted.now)?;
    let next_at = clients.iter().filter_map(|waiting| waiting.next_at).min();
    let due = |waiting: &&actions::Waiting| {
        waiting.due_since.is_some() && !wanted.holds.has(&waiting.client)
    };
    let mut clients: Vec<&str> = clients
        .iter()
        .filter(due)
        .map(|waiting| waiting.client.as_str())
        .collect();
    let had_their_turn = clients.partition_point(|client| *client <= wanted.last.as_str());
    clients.rotate_left(had_their_turn);
    let most = room + wanted.under_way.count(Kind::Action(Action::HandOver));
    let mut queues = Vec::new();
    for client in clients {
        let mut rows = actions::due_hand_overs(conn, client, wanted.now, most)?;
        rows.retain(|row| !wanted.under_way.has(row.id.0));
        if !rows.is_empty() {
            queues.push(rows.into_iter());
        }
        if queues.len() == room {
            break;
        }
    }
    let mut owed = Vec::new();
    while owed.len() < room && !queues.is_empty() {
        let turn = queues.iter_mut().filter_map(Iterator::next);
        owed.extend(turn.map(|row| DueWork::Action(Action::HandOver, Box::new(row))));
        queues.retain(|queue| !queue.as_slice().is_empty());
    }
    owed.truncate(room);
    Ok((owed, next_at))
}

/// Since when the oldest row of each kind of work is due.
///
/// # Errors
/// What the database says.
pub fn oldest_due(
    conn: &mut Conn,
    now: Millis,
) -> QueryResult<Vec<(&'static str, Option<Millis>)>> {
    let mut actions: Vec<Millis> = Vec::new();
    for waiting in actions::waiting_clients(conn, now)? {
        let first = actions::due_hand_overs(conn, &waiting.client, now, 1)?;
        actions.extend(first.iter().filter_map(|row| row.action_due_at));
    }
    for action in [Action::Fetch, Action::Abandon] {
        let (first, _) = actions::due_actions(conn, action, now, 1)?;
        actions.extend(first.iter().filter_map(|row| row.action_due_at));
    }
    let (erasures, _) = erasures::due_erasures(conn, now, 1)?;
    actions.extend(erasures.iter().map(|owed| owed.due_at));
    Ok(vec![
        ("errands", actions.into_iter().min()),
        ("deadlines", store::oldest_deadline(conn, now)?),
        ("deliveries", deliveries::oldest_due(conn, now)?),
    ])
}

#[cfg(test)]
mod tests {
    use diesel::prelude::*;

    use super::*;
    use crate::backend::store::{New, NewTask};
    use crate::db::schema::tasks;
    use crate::db::testing::{TestDb, plan_lines};
    use crate::db::{Id, Tx};
    use hoiam_api::{Create, Service};

    fn submit(tx: &mut Tx<'_>, client: &str) -> QueryResult<Uuid> {
        let create = Create {
            text: "Xin chào.".into(),
            timeout_s: 60,
            ..Create::default()
        };
        let id = Uuid::now_v7();
        let new = New {
            id,
            client: client.into(),
            idempotency_key: None,
            request: create.into(),
            extra: NewTask {
                report_to: "http://127.0.0.1/v1/callbacks".into(),
                retry_of: None,
            },
        };
        store::submit(tx, &new)?;
        Ok(id)
    }

    fn enqueue(tx: &mut Tx<'_>, kind: Kind) -> QueryResult<()> {
        let Kind::Action(action) = kind else {
            return erasures::enqueue(tx, Uuid::now_v7(), true);
        };
        let task = tasks::table.find(Id(submit(tx, "")?));
        let owes = tasks::action.eq(Some(action.as_str()));
        diesel::update(task).set(owes).execute(tx.conn).map(drop)
    }

    fn wanted(now: Millis, most: usize) -> DueQuery {
        DueQuery {
            now,
            most,
            ..DueQuery::default()
        }
    }

    /// How many of each kind are found.
    fn counts(tx: &mut Tx<'_>, wanted: DueQuery) -> QueryResult<[usize; 4]> {
        let (owed, _) = due(tx.conn, wanted)?;
        let count = |kind| owed.iter().filter(|one| one.kind() == kind).count();
        Ok(Kind::ALL.map(count))
    }

    async fn in_a_database(test: impl Fn(&mut Tx<'_>) -> QueryResult<()> + Send + 'static) {
        let database = TestDb::new(Service::Backend);
        database.db.write(test).await.unwrap();
    }

    #[tokio::test]
    async fn each_kind_is_found_for_which_there_is_room_however_much_there_is_of_another() {
        in_a_database(|tx| {
            let now = tx.now;
            assert_eq!(counts(tx, wanted(now, 64))?, [0; 4]);
            let [fetch, hand_over, abandon, erasure] = Kind::ALL;
            let expected = [
                (hand_over, [0, 48, 0, 0]),
                (erasure, [0, 48, 0, 4]),
                (abandon, [0, 48, 4, 4]),
                (fetch, [48, 8, 4, 4]),
            ];
            for (kind, found) in expected {
                for _ in 0..100 {
                    enqueue(tx, kind)?;
                }
                assert_eq!(counts(tx, wanted(now, 64))?, found);
            }
            // The probe is for whom somebody waits longest.
            assert_eq!(counts(tx, wanted(now, 1))?, [1, 0, 0, 0]);
            let mut under_way = UnderWay::default();
            for _ in 0..48 {
                under_way.begin(Uuid::now_v7(), hand_over);
            }
            let wanted = DueQuery {
                under_way,
                ..wanted(now, 64)
            };
            assert_eq!(counts(tx, wanted)?, [8, 0, 4, 4]);
            Ok(())
        })
        .await;
    }

    /// Whose tasks are to be handed over, in this order.
    fn order(tx: &mut Tx<'_>, wanted: DueQuery) -> QueryResult<String> {
        let (owed, _) = due(tx.conn, wanted)?;
        Ok(owed.iter().filter_map(DueWork::hands_over_for).collect())
    }

    #[tokio::test]
    async fn hand_overs_go_round_the_clients_that_wait() {
        in_a_database(|tx| {
            let now = tx.now;
            let first = submit(tx, "a")?;
            for client in "aaaaaaaaaaaaabccc".split("") {
                if !client.is_empty() {
                    submit(tx, client)?;
                }
            }
            let after = |most, last: &str| DueQuery {
                last: last.into(),
                ..wanted(now, most)
            };
            assert_eq!(order(tx, after(8, ""))?, "abcacaca");
            assert_eq!(order(tx, after(8, "a"))?, "bcacacaa");
            assert_eq!(order(tx, after(8, "b"))?, "cabcacaa");
            assert_eq!(order(tx, after(8, "bb"))?, "cabcacaa");
            for last in ["c", "z"] {
                assert_eq!(order(tx, after(2, last))?, "ab");
            }
            let (owed, _) = due(tx.conn, after(1, "c"))?;
            assert_eq!(owed[0].id(), first);
            let held = |hold: fn(&mut Holds)| {
                let mut wanted = after(4, "a");
                hold(&mut wanted.holds);
                wanted
            };
            assert_eq!(order(tx, held(|holds| holds.hold("b", i64::MAX)))?, "caca");
            assert_eq!(order(tx, held(|holds| holds.hold_all(i64::MAX)))?, "");
            Ok(())
        })
        .await;
    }

    #[tokio::test]
    async fn what_is_past_its_deadline_is_not_handed_over_and_what_is_behind_it_is() {
        in_a_database(|tx| {
            let before = tx.now;
            submit(tx, "a")?;
            tx.now += 60_000;
            submit(tx, "a")?;
            submit(tx, "b")?;
            let now = tx.now;
            assert_eq!(order(tx, wanted(now, 64))?, "ab");
            assert_eq!(order(tx, wanted(now - 1, 64))?, "a");
            let oldest = |tx: &mut Tx<'_>| oldest_due(tx.conn, now);
            assert_eq!(
                oldest(tx)?[..2],
                [("errands", Some(now)), ("deadlines", Some(before + 60_000))]
            );
            store::time_out(tx)?;
            assert_eq!(counts(tx, wanted(now, 64))?, [0, 2, 1, 0]);
            assert_eq!(
                oldest(tx)?[..2],
                [("errands", Some(now)), ("deadlines", None)]
            );
            Ok(())
        })
        .await;
    }

    #[tokio::test]
    async fn what_is_under_way_is_not_found_and_the_next_is_the_first_of_any_kind() {
        in_a_database(|tx| {
            let erased = Uuid::now_v7();
            erasures::enqueue(tx, erased, true)?;
            let (waiting, other) = (submit(tx, "")?, submit(tx, "other")?);
            let now = tx.now;
            let mut under_way = UnderWay::default();
            under_way.begin(erased, Kind::Erasure);
            under_way.begin(other, Kind::Action(Action::HandOver));
            let fresh = DueQuery {
                under_way,
                ..wanted(now, 64)
            };
            let (owed, next) = due(tx.conn, fresh)?;
            let ids: Vec<Uuid> = owed.iter().map(DueWork::id).collect();
            assert_eq!((ids, next), (vec![waiting], None));
            let fails = |tx: &mut Tx<'_>, id, ms| {
                store::action_failed(tx, id, Action::HandOver, "no", Some(now + ms))
            };
            fails(tx, waiting, 5000)?;
            fails(tx, other, 3000)?;
            erasures::failed(tx, erased)?;
            let next_at = |tx: &mut Tx<'_>| {
                let (owed, next) = due(tx.conn, wanted(now, 64))?;
                assert!(owed.is_empty());
                QueryResult::Ok(next.unwrap() - now)
            };
            assert_eq!(next_at(tx)?, 1000);
            erasures::done(tx, erased)?;
            assert_eq!(next_at(tx)?, 3000);
            fails(tx, other, 7000)?;
            assert_eq!(next_at(tx)?, 5000);
            Ok(())
        })
        .await;
    }

    #[tokio::test]
    async fn what_is_due_is_found_by_indexes_however_much_waits() {
        in_a_database(|tx| {
            for client in ["a", "b"] {
                submit(tx, client)?;
            }
            let now = tx.now;
            let plans = [
                plan_lines(tx.conn, |conn| due(conn, wanted(now, 64))),
                plan_lines(tx.conn, |conn| oldest_due(conn, now)),
            ];
            for index in [
                "tasks_hand_overs_due (client=? AND action_due_at<?)",
                "tasks_hand_overs_due (client=? AND action_due_at>?)",
                "tasks_hand_overs_due (client>?)",
                "tasks_fetches_due (action_due_at<?)",
                "tasks_fetches_due (action_due_at>?)",
                "tasks_abandons_due (action_due_at<?)",
                "erasures_due (due_at<?)",
            ] {
                for plan in &plans {
                    let is_used = plan.iter().any(|line| line.ends_with(index));
                    assert!(is_used, "{index}: {plan:#?}");
                }
            }
            for line in plans.iter().flatten() {
                let is_read_through = line.starts_with("SCAN") && line != "SCAN clients";
                assert!(!is_read_through && !line.contains("TEMP"), "{line}");
            }
            Ok(())
        })
        .await;
    }
}
