//! CallbackDispatcher: the schedule by the clock, and a fair share for all.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use actix::Addr;
use chrono::DateTime;
use diesel::connection::SimpleConnection as _;
use diesel::prelude::*;
use hoiam::alerts::Reporter;
use hoiam::claim_loop::Pulse;
use hoiam::db::schema::deliveries as table;
use hoiam::db::{Conn, Db, Id, Tx};
use hoiam::delivery::dispatcher::Deps;
use hoiam::delivery::in_delivery::InDelivery;
use hoiam::delivery::open_circuits::OpenCircuits;
use hoiam::delivery::store::{self as deliveries, Row};
use hoiam::delivery::subject::{Payload, Subject};
use hoiam::delivery::{CallbackDispatcher, DeliveryEnqueued};
use hoiam_api::{CallbackHeaders, DeliveryType, Failure, Service, parse_rfc3339};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::peer::nobody;
use crate::support::{PATIENCE, Peer, Reaction};

use super::support::{HeldWriter, Reply, START, Seen, Server, World, eventually, sender};

/// What the callbacks carry here.
pub struct Things;

impl Subject for Things {
    fn render(&self, _: &mut Conn, delivery: &Row) -> QueryResult<Option<Payload>> {
        let thing = json!({ "id": delivery.subject_id.0 });
        Ok(Payload::of(&thing, None, CallbackHeaders::default()))
    }
}

pub fn start(world: &mut World, schedule_s: &[u64]) -> Addr<CallbackDispatcher> {
    start_shown(world, schedule_s).0
}

fn start_shown(world: &mut World, schedule_s: &[u64]) -> (Addr<CallbackDispatcher>, OpenCircuits) {
    let parts = parts(world, schedule_s, Arc::new(Things));
    let open_circuits = parts.open_circuits.clone();
    let dispatcher = CallbackDispatcher::new(parts);
    (world.tree.start("dispatcher", dispatcher), open_circuits)
}

pub fn parts(world: &World, schedule_s: &[u64], subject: Arc<dyn Subject>) -> Deps {
    Deps {
        db: world.db.clone(),
        sender: sender(world.db.clock()),
        schedule: schedule_s
            .iter()
            .copied()
            .map(Duration::from_secs)
            .collect(),
        subject,
        in_delivery: InDelivery::default(),
        open_circuits: OpenCircuits::default(),
        alerts: Reporter::default(),
        deliveries: Pulse::default(),
        own_origin: None,
        cache: None,
    }
}

async fn read_all(db: &Db) -> Vec<Row> {
    let rows = |conn: &mut Conn| table::table.select(Row::as_select()).load(conn);
    db.read(rows).await.unwrap()
}

pub async fn enqueue(db: &Db, urls: Vec<String>) -> Vec<Uuid> {
    enqueue_of(db, "", urls).await
}

/// Callbacks of this client's tasks.
async fn enqueue_of(db: &Db, client: &'static str, urls: Vec<String>) -> Vec<Uuid> {
    let kind = DeliveryType::TaskCompleted;
    db.write(move |tx| {
        urls.iter()
            .map(|url| deliveries::enqueue(tx, Uuid::now_v7(), client, kind, url))
            .collect()
    })
    .await
    .unwrap()
}

/// One callback to each URL, each due a millisecond after the one before: a look stops
/// between two instants only.
pub async fn owe_one_a_ms(db: &Db, urls: Vec<String>) -> Vec<Uuid> {
    db.write(move |tx| {
        let kind = DeliveryType::TaskCompleted;
        let all_due_at = tx.now;
        let owed = (1..).zip(urls.iter().rev()).map(|(nth, url)| {
            let id = Uuid::now_v7();
            deliveries::insert(tx, Row::pending(id, id, kind, url, all_due_at - nth))
        });
        let mut ids = owed.collect::<QueryResult<Vec<_>>>()?;
        ids.reverse();
        Ok(ids)
    })
    .await
    .unwrap()
}

pub async fn row(db: &Db, id: Uuid) -> Row {
    db.read(move |conn| deliveries::get(conn, id))
        .await
        .unwrap()
        .unwrap()
}

pub async fn attempts_made(db: &Db, id: Uuid, attempts: i32) {
    eventually("the attempt is recorded", || async {
        row(db, id).await.attempts == attempts
    })
    .await;
}

#[actix_rt::test]
async fn each_attempt_comes_at_its_time_and_the_last_failure_exhausts() {
    let mut world = World::new(Service::Tts);
    let server = Server::start(|_| Reply::Status(500));
    let id = enqueue(&world.db, vec![server.url("/")]).await[0];
    let _dispatcher = start(&mut world, &[0, 1, 60]);
    let mut expected = vec![START];
    for (made, wait_ms) in [(1, 1000), (2, 60_000)] {
        attempts_made(&world.db, id, made).await;
        let now = world.now();
        let next_at = row(&world.db, id).await.next_attempt_at.unwrap();
        // Jitter is at most a tenth, and only added.
        assert!((now + wait_ms..=now + wait_ms + wait_ms / 10).contains(&next_at));
        world.settle().await;
        world.advance_to(next_at - 1);
        world.settle().await;
        assert_eq!(row(&world.db, id).await.attempts, made);
        world.advance_ms(1);
        expected.push(next_at);
    }
    attempts_made(&world.db, id, 3).await;
    let ended = row(&world.db, id).await;
    assert_eq!(ended.status, "exhausted");
    let log = world
        .db
        .read(move |conn| deliveries::attempts_of(conn, &[ended]))
        .await
        .unwrap();
    let times: Vec<i64> = log[&id]
        .iter()
        .map(|attempt| parse_rfc3339(&attempt.at).unwrap())
        .collect();
    assert_eq!(times, expected);
    world.advance_ms(86_400_000);
    world.settle().await;
    assert_eq!(server.count("POST"), 3);
}

/// Waits without letting anything else on this thread go on.
fn spin_until(mut condition: impl FnMut() -> bool) {
    let began = std::time::Instant::now();
    while !condition() {
        assert!(began.elapsed() < Duration::from_secs(120), "it never comes");
        std::thread::yield_now();
    }
}

/// A machine that sleeps does so between any two steps: here between the commit
/// of an attempt and the dispatcher's hearing of it, so that a look finds the
/// row due while it still counts as being tried.
#[actix_rt::test]
async fn a_retry_that_is_due_before_its_attempt_is_known_to_have_ended_is_made() {
    let mut world = World::new(Service::Tts);
    let server = Server::start(|_| Reply::Status(500));
    let id = enqueue(&world.db, vec![server.url("/")]).await[0];
    let writer = HeldWriter::new(&world.db).await;
    let dispatcher = start(&mut world, &[0, 1, 3600]);
    eventually("the record of the attempt waits for the writer", || async {
        server.count("POST") == 1 && world.db.waiting() == 1
    })
    .await;
    writer.let_go();
    // Nothing else of this thread goes on until there is a later commit.
    let path = world.folder.path().join("test.db").display().to_string();
    let mut conn = SqliteConnection::establish(&path).unwrap();
    let attempts = table::table.select(table::attempts);
    spin_until(|| attempts.first(&mut conn) == Ok(1));
    world.advance_ms(60_000);
    let mut later = Box::pin(world.db.write(|_| Ok(())));
    // Begins it; on a busy machine it may have been committed by now.
    let _ = futures_util::poll!(&mut later);
    spin_until(|| world.db.committed_at() == world.now());
    dispatcher.do_send(DeliveryEnqueued);
    attempts_made(&world.db, id, 2).await;
}

/// Here somebody has a delivery sent again before the dispatcher hears of its end.
#[actix_rt::test]
async fn what_is_to_be_sent_again_before_its_attempt_is_known_to_have_ended_is_sent() {
    let mut world = World::new(Service::Tts);
    let server = Server::start(|_| Reply::Status(500));
    let id = enqueue(&world.db, vec![server.url("/")]).await[0];
    let writer = HeldWriter::new(&world.db).await;
    let dispatcher = start(&mut world, &[0]);
    eventually("the record of the attempt waits for the writer", || async {
        server.count("POST") == 1 && world.db.waiting() == 1
    })
    .await;
    let mut again = Box::pin(world.db.write(move |tx| deliveries::redeliver(tx, id)));
    let _ = futures_util::poll!(&mut again);
    writer.let_go();
    let path = world.folder.path().join("test.db").display().to_string();
    let mut conn = SqliteConnection::establish(&path).unwrap();
    let round = table::table.select(table::round);
    spin_until(|| round.first(&mut conn) == Ok(2));
    world.advance_ms(60_000);
    let mut later = Box::pin(world.db.write(|_| Ok(())));
    let _ = futures_util::poll!(&mut later);
    spin_until(|| world.db.committed_at() == world.now());
    dispatcher.do_send(DeliveryEnqueued);
    attempts_made(&world.db, id, 2).await;
}

/// What cannot be told at first.
struct Unreadable {
    asked: Arc<AtomicUsize>,
    until_asked: usize,
}

impl Subject for Unreadable {
    fn render(&self, conn: &mut Conn, delivery: &Row) -> QueryResult<Option<Payload>> {
        if self.asked.fetch_add(1, Ordering::SeqCst) < self.until_asked {
            return Err(diesel::result::Error::BrokenTransactionManager);
        }
        Things.render(conn, delivery)
    }
}

#[actix_rt::test]
async fn what_cannot_be_read_is_read_again_after_a_while() {
    let mut world = World::new(Service::Tts);
    let server = Server::start(|_| Reply::Status(200));
    // More than may be under way, so some are passed over.
    let urls = (0..20).map(|n| server.url(&format!("/{n}"))).collect();
    enqueue(&world.db, urls).await;
    let asked = Arc::new(AtomicUsize::new(0));
    let subject = Unreadable {
        asked: Arc::clone(&asked),
        until_asked: 20,
    };
    let parts = parts(&world, &[0, 1], Arc::new(subject));
    world
        .tree
        .start("dispatcher", CallbackDispatcher::new(parts));
    eventually("each was asked for", || async {
        asked.load(Ordering::SeqCst) >= 20
    })
    .await;
    world.settle().await;
    assert_eq!(asked.load(Ordering::SeqCst), 20);
    assert_eq!(server.count("POST"), 0);
    world.advance_ms(1000);
    eventually("each is told", || async {
        undelivered(&world.db).await == 0
    })
    .await;
    assert_eq!(server.count("POST"), 20);
}

#[actix_rt::test]
async fn what_cannot_be_read_is_read_again_although_others_are_due_before() {
    let mut world = World::new(Service::Tts);
    let server = Server::start(|_| Reply::Status(200));
    enqueue(&world.db, vec![server.url("/unreadable")]).await;
    let subject = Unreadable {
        asked: Arc::default(),
        until_asked: 1,
    };
    let asked = Arc::clone(&subject.asked);
    let parts = parts(&world, &[0, 1], Arc::new(subject));
    let dispatcher = CallbackDispatcher::new(parts);
    let dispatcher = world.tree.start("dispatcher", dispatcher);
    eventually("it was asked for", || async {
        asked.load(Ordering::SeqCst) == 1
    })
    .await;
    world.settle().await;
    let url = server.url("/");
    let later = move |tx: &mut Tx<'_>| {
        let (id, kind) = (Uuid::now_v7(), DeliveryType::TaskCompleted);
        deliveries::insert(tx, Row::pending(id, id, kind, &url, tx.now + 500))
    };
    let later = world.db.write(later).await.unwrap();
    dispatcher.do_send(DeliveryEnqueued);
    world.settle().await;
    world.advance_ms(500);
    attempts_made(&world.db, later, 1).await;
    world.settle().await;
    assert_eq!(undelivered(&world.db).await, 1);
    world.advance_ms(500);
    eventually("each is told", || async {
        undelivered(&world.db).await == 0
    })
    .await;
}

/// What is erased, with its delivery, after a look has read that.
struct Erased {
    path: String,
    asked: Arc<AtomicUsize>,
}

impl Subject for Erased {
    fn render(&self, _: &mut Conn, delivery: &Row) -> QueryResult<Option<Payload>> {
        let mut conn = SqliteConnection::establish(&self.path).unwrap();
        // The dispatcher's own writes may have the file for a moment.
        conn.batch_execute("PRAGMA busy_timeout = 60000")?;
        diesel::delete(table::table.find(delivery.id)).execute(&mut conn)?;
        self.asked.fetch_add(1, Ordering::SeqCst);
        Ok(None)
    }
}

#[actix_rt::test]
async fn of_what_has_been_erased_since_it_was_read_nothing_is_sent() {
    let mut world = World::new(Service::Tts);
    let server = Server::start(|_| Reply::Status(200));
    enqueue(&world.db, vec![server.url("/")]).await;
    let asked = Arc::new(AtomicUsize::new(0));
    let subject = Erased {
        path: world.folder.path().join("test.db").display().to_string(),
        asked: Arc::clone(&asked),
    };
    let parts = parts(&world, &[0, 1], Arc::new(subject));
    let pulse = parts.deliveries.clone();
    world
        .tree
        .start("dispatcher", CallbackDispatcher::new(parts));
    eventually("it was asked for and has ended", || async {
        asked.load(Ordering::SeqCst) == 1 && pulse.under_way() == 0
    })
    .await;
    assert_eq!(server.count("POST"), 0);
}

/// Here it sleeps between the begin of a look, for which the attempt still runs, and
/// its reading; the attempt has been heard to end just before.
#[actix_rt::test]
async fn a_retry_that_comes_due_during_a_look_that_began_before_its_attempt_ended_is_made() {
    let mut world = World::new(Service::Tts);
    let server = Server::start(|seen| match seen.path.as_str() {
        "/fails" => Reply::Status(500),
        _ => Reply::Hang,
    });
    let urls = vec![server.url("/fails"), server.url("/hangs")];
    let ids = enqueue(&world.db, urls).await;
    let (id, other) = (ids[0], ids[1]);
    let due_later = world.db.write(move |tx| {
        diesel::update(table::table.find(Id(other)))
            .set(table::next_attempt_at.eq(START + 10))
            .execute(tx.conn)
    });
    due_later.await.unwrap();
    let writer = HeldWriter::new(&world.db).await;
    let parts = parts(&world, &[0, 1, 3600], Arc::new(Things));
    let pulse = parts.deliveries.clone();
    let dispatcher = world
        .tree
        .start("dispatcher", CallbackDispatcher::new(parts));
    eventually("the record of the attempt waits for the writer", || async {
        server.count("POST") == 1 && world.db.waiting() == 1
    })
    .await;
    // One look begins the other delivery, and the next one waits until it is time: it
    // never is while this test does no more than yield.
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(1)).await;
    world.advance_ms(10);
    dispatcher.do_send(DeliveryEnqueued);
    dispatcher.do_send(DeliveryEnqueued);
    yield_until(|| pulse.under_way() == 3).await;
    writer.let_go();
    let path = world.folder.path().join("test.db").display().to_string();
    let mut conn = SqliteConnection::establish(&path).unwrap();
    let attempts = table::table.find(Id(id)).select(table::attempts);
    spin_until(|| attempts.first(&mut conn) == Ok(1));
    yield_until(|| pulse.under_way() == 2).await;
    world.advance_ms(60_000);
    let mut later = Box::pin(world.db.write(|_| Ok(())));
    // Begins it; on a busy machine it may have been committed by now.
    let _ = futures_util::poll!(&mut later);
    spin_until(|| world.db.committed_at() == world.now());
    tokio::time::resume();
    attempts_made(&world.db, id, 2).await;
    server.release();
}

async fn yield_until(condition: impl Fn() -> bool) {
    let began = std::time::Instant::now();
    while !condition() {
        assert!(began.elapsed() < PATIENCE, "it never comes");
        tokio::task::yield_now().await;
    }
}

#[actix_rt::test]
async fn a_receivers_retry_after_is_waited_for() {
    let mut world = World::new(Service::Tts);
    let server = Server::start(|_| Reply::RetryAfter(503, 120));
    let id = enqueue(&world.db, vec![server.url("/")]).await[0];
    let _dispatcher = start(&mut world, &[0, 1, 1]);
    attempts_made(&world.db, id, 1).await;
    let next_at = row(&world.db, id).await.next_attempt_at.unwrap();
    assert!((START + 120_000..=START + 132_000).contains(&next_at));
    server.answers(|_| Reply::Status(204));
    world.settle().await;
    world.advance_to(next_at);
    attempts_made(&world.db, id, 2).await;
    assert_eq!(row(&world.db, id).await.status, "delivered");
}

#[actix_rt::test]
async fn a_date_to_retry_after_counts_by_our_wall_clock_where_the_answer_has_none() {
    const WALL: i64 = 1_800_000_000_000;
    let mut world = World::new(Service::Tts);
    world.hand.set_wall(WALL);
    let receiver = Peer::receiver();
    let at = DateTime::from_timestamp_millis(WALL + 120_000).unwrap();
    let at = at.format("%a, %d %b %Y %H:%M:%S GMT");
    receiver.react(move |_| {
        let retry_after = vec![("retry-after", at.to_string())];
        Reaction::AnswerWith(503, retry_after)
    });
    let id = enqueue(&world.db, vec![receiver.url("/")]).await[0];
    let _dispatcher = start(&mut world, &[0, 1, 1]);
    attempts_made(&world.db, id, 1).await;
    let next_at = row(&world.db, id).await.next_attempt_at.unwrap();
    assert!((START + 120_000..=START + 132_000).contains(&next_at));
}

#[actix_rt::test]
async fn a_receiver_that_is_gone_is_left_alone() {
    let mut world = World::new(Service::Tts);
    let server = Server::start(|_| Reply::Status(410));
    let id = enqueue(&world.db, vec![server.url("/")]).await[0];
    let _dispatcher = start(&mut world, &[0, 1, 1]);
    attempts_made(&world.db, id, 1).await;
    let row = row(&world.db, id).await;
    assert_eq!(
        (row.status.as_str(), row.next_attempt_at),
        ("aborted", None)
    );
}

async fn make_retries(db: &Db) {
    let retries = db.write(|tx| {
        diesel::update(table::table)
            .set(table::attempt.eq(1))
            .execute(tx.conn)
    });
    retries.await.unwrap();
}

#[actix_rt::test]
async fn a_storm_of_retries_leaves_slots_for_first_attempts() {
    let mut world = World::new(Service::Tts);
    let slow = Server::of_many(|_| Reply::Hang);
    let urls = (0..600).map(|nth| slow.url_as(nth, "/")).collect();
    enqueue(&world.db, urls).await;
    make_retries(&world.db).await;
    let dispatcher = start(&mut world, &[0, 1, 1]);
    eventually("the retries fill their slots", || async {
        slow.hanging() == 149
    })
    .await;
    let fast = Server::start(|_| Reply::Status(204));
    let new = enqueue(&world.db, vec![fast.url("/")]).await[0];
    dispatcher.do_send(DeliveryEnqueued);
    attempts_made(&world.db, new, 1).await;
    assert_eq!(row(&world.db, new).await.status, "delivered");
    assert_eq!(slow.hanging(), 149);
    slow.release();
}

/// However slow others are and however much they are owed, and be it a first try or
/// a retry.
#[actix_rt::test]
async fn who_answers_at_once_is_told_at_once_beside_127_who_are_slow() {
    let mut world = World::new(Service::Tts);
    let slow = Server::of_many(|_| Reply::Hang);
    // Some are owed far more than they get, and others come later.
    let urls = |owed: usize, of: std::ops::Range<usize>| {
        let url = |nth: usize| slow.url_as(nth, "/");
        of.flat_map(|nth| vec![url(nth); owed]).collect::<Vec<_>>()
    };
    enqueue(&world.db, urls(300, 0..4)).await;
    enqueue(&world.db, urls(40, 4..12)).await;
    make_retries(&world.db).await;
    let dispatcher = start(&mut world, &[0, 1, 1]);
    eventually("the first have much", || async { slow.hanging() > 20 }).await;
    enqueue(&world.db, urls(5, 12..127)).await;
    dispatcher.do_send(DeliveryEnqueued);
    eventually("each other has its one", || async {
        slow.hanging() > 20 + 115
    })
    .await;
    let fast = Server::start(|_| Reply::Status(204));
    for is_retry in [false, true] {
        let id = enqueue(&world.db, vec![fast.url("/")]).await[0];
        let attempt = i32::from(is_retry);
        let made = world.db.write(move |tx| {
            diesel::update(table::table.find(Id(id)))
                .set(table::attempt.eq(attempt))
                .execute(tx.conn)
        });
        made.await.unwrap();
        dispatcher.do_send(DeliveryEnqueued);
        attempts_made(&world.db, id, 1).await;
    }
    assert!(slow.hanging() > 20 + 115, "and none of these has ended");
    slow.release();
    eventually("all are told", || async {
        undelivered(&world.db).await == 0
    })
    .await;
}

#[actix_rt::test]
async fn a_slow_receiver_holds_up_no_other_however_much_it_is_owed() {
    let mut world = World::new(Service::Tts);
    let slow = Server::start(|_| Reply::Hang);
    enqueue(&world.db, vec![slow.url("/"); 300]).await;
    world.advance_ms(1);
    let fast = Server::start(|_| Reply::Status(204));
    let other = enqueue(&world.db, vec![fast.url("/")]).await[0];
    let _dispatcher = start(&mut world, &[0, 1, 1]);
    attempts_made(&world.db, other, 1).await;
    eventually("the slow one has its share", || async {
        slow.hanging() == 8
    })
    .await;
    world.settle().await;
    assert_eq!(slow.most_hanging(), 8);
    slow.release();
}

#[actix_rt::test]
async fn an_attempt_that_runs_is_not_made_twice_however_many_hints_come() {
    let mut world = World::new(Service::Tts);
    let server = Server::start(|_| Reply::Hang);
    let id = enqueue(&world.db, vec![server.url("/")]).await[0];
    let dispatcher = start(&mut world, &[0, 1, 1]);
    eventually("the attempt is made", || async { server.hanging() == 1 }).await;
    for _ in 0..20 {
        dispatcher.do_send(DeliveryEnqueued);
        world.settle().await;
    }
    server.release();
    attempts_made(&world.db, id, 1).await;
    world.settle().await;
    assert_eq!(server.count("POST"), 1);
    assert_eq!(row(&world.db, id).await.status, "delivered");
}

#[actix_rt::test]
async fn a_delivery_is_known_to_be_under_way_from_its_attempt_to_the_end_of_it() {
    let mut world = World::new(Service::Tts);
    let server = Server::start(|_| Reply::Hang);
    let id = enqueue(&world.db, vec![server.url("/")]).await[0];
    let parts = parts(&world, &[0, 1], Arc::new(Things));
    let in_delivery = parts.in_delivery.clone();
    assert!(!in_delivery.contains(id));
    let dispatcher = CallbackDispatcher::new(parts);
    let _dispatcher = world.tree.start("dispatcher", dispatcher);
    eventually("the attempt is made", || async { server.hanging() == 1 }).await;
    assert!(in_delivery.contains(id) && !in_delivery.contains(Uuid::now_v7()));
    server.release();
    let is_over = || async { !in_delivery.contains(id) };
    eventually("it has ended", is_over).await;
    assert_eq!(row(&world.db, id).await.status, "delivered");
}

/// Finds nothing.
struct Nothing;

impl Subject for Nothing {
    fn render(&self, _: &mut Conn, _: &Row) -> QueryResult<Option<Payload>> {
        Ok(None)
    }
}

#[actix_rt::test]
async fn a_delivery_whose_subject_alone_has_gone_is_made_and_carries_null() {
    let mut world = World::new(Service::Tts);
    let server = Server::start(|_| Reply::Status(204));
    let id = enqueue(&world.db, vec![server.url("/")]).await[0];
    let dispatcher = CallbackDispatcher::new(parts(&world, &[0, 1], Arc::new(Nothing)));
    let _dispatcher = world.tree.start("dispatcher", dispatcher);
    attempts_made(&world.db, id, 1).await;
    assert_eq!(row(&world.db, id).await.status, "delivered");
    let body: Value = serde_json::from_slice(&server.seen()[0].body).unwrap();
    assert_eq!(body.get("data"), Some(&Value::Null), "{body}");
}

/// Callbacks of jobs whose URL was not found.
struct NotFound;

impl Subject for NotFound {
    fn render(&self, _: &mut Conn, _: &Row) -> QueryResult<Option<Payload>> {
        let failure = Failure::permanent("callback_not_found", "It answered 404.");
        let headers = CallbackHeaders::default();
        Ok(Payload::of(&json!({}), Some(&failure), headers))
    }
}

#[actix_rt::test]
async fn a_receiver_that_was_not_found_by_the_check_is_told_so_once() {
    let mut world = World::new(Service::Tts);
    let answer = |seen: &Seen| Reply::Status(if seen.path == "/gone" { 404 } else { 204 });
    let server = Server::start(answer);
    let ids = enqueue(&world.db, vec![server.url("/gone"), server.url("/")]).await;
    let dispatcher = CallbackDispatcher::new(parts(&world, &[0, 1, 1], Arc::new(NotFound)));
    let _dispatcher = world.tree.start("dispatcher", dispatcher);
    for (id, status) in ids.into_iter().zip(["aborted", "delivered"]) {
        attempts_made(&world.db, id, 1).await;
        let row = row(&world.db, id).await;
        assert_eq!((row.status.as_str(), row.next_attempt_at), (status, None));
    }
}

#[actix_rt::test]
async fn what_had_no_slot_at_the_first_look_is_sent_without_another_hint() {
    let mut world = World::new(Service::Tts);
    let server = Server::start(|_| Reply::Status(200));
    let ids = enqueue(&world.db, vec![server.url("/"); 300]).await;
    let _dispatcher = start(&mut world, &[0, 60]);
    for id in ids {
        attempts_made(&world.db, id, 1).await;
    }
    assert_eq!(server.count("POST"), 300, "and none of them twice");
}

#[actix_rt::test]
async fn what_comes_while_others_are_sent_is_sent_too() {
    let mut world = World::new(Service::Tts);
    let server = Server::start(|_| Reply::Status(200));
    let dispatcher = start(&mut world, &[0, 60]);
    let mut ids = Vec::new();
    for _ in 0..50 {
        ids.extend(enqueue(&world.db, vec![server.url("/"); 3]).await);
        dispatcher.do_send(DeliveryEnqueued);
    }
    for id in ids {
        attempts_made(&world.db, id, 1).await;
    }
    assert_eq!(server.count("POST"), 150);
}

#[actix_rt::test]
async fn waiting_for_a_receiver_that_does_not_answer_costs_no_attempt() {
    let mut world = World::new(Service::Tts);
    let dead = format!("http://{}/", nobody());
    enqueue(&world.db, vec![dead.clone(); 200]).await;
    let hour = 3600;
    let (_dispatcher, open_circuits) = start_shown(&mut world, &[0, hour, hour]);
    let attempts = async || {
        let rows = read_all(&world.db).await;
        rows.iter().map(|row| row.attempts).sum::<i32>()
    };
    eventually("it is shut", || async { !open_circuits.get().is_empty() }).await;
    // Those that were on their way when it was found out still fail.
    let all_failed = || async { open_circuits.get()[0].running == 0 };
    eventually("all that had begun has failed", all_failed).await;
    world.settle().await;
    let before = attempts().await;
    assert!((8..16).contains(&before), "{before}");
    assert_eq!(open_circuits.get()[0].circuit, "open");
    // One at a time, after 1, 2, 4 … seconds.
    for (probes, wait_ms) in [(1, 1000), (2, 2000), (3, 4000), (4, 8000)] {
        world.advance_ms(wait_ms - 1);
        world.settle().await;
        assert_eq!(attempts().await, before + probes - 1);
        world.advance_ms(1);
        eventually("the probe has failed", || async {
            attempts().await == before + probes
        })
        .await;
        world.settle().await;
    }
}

#[actix_rt::test]
async fn a_receiver_that_answers_again_gets_all_that_waited_for_it() {
    let mut world = World::new(Service::Tts);
    let server = Server::start(|_| Reply::Status(503));
    enqueue(&world.db, vec![server.url("/"); 200]).await;
    let (_dispatcher, open_circuits) = start_shown(&mut world, &[0, 3600, 3600]);
    eventually("it is shut", || async { !open_circuits.get().is_empty() }).await;
    let all_failed = || async { open_circuits.get()[0].running == 0 };
    eventually("all that had begun has failed", all_failed).await;
    let failed = server.count("POST");
    server.answers(|_| Reply::Status(204));
    world.settle().await;
    world.advance_ms(1000);
    eventually("those that waited are delivered", || async {
        let rows = read_all(&world.db).await;
        rows.iter().filter(|row| row.status == "delivered").count() == 200 - failed
    })
    .await;
    assert_eq!(open_circuits.get(), []);
}

#[actix_rt::test]
async fn a_dead_receiver_with_much_owed_holds_up_no_other() {
    let mut world = World::new(Service::Tts);
    let dead = format!("http://{}/", nobody());
    let server = Server::start(|_| Reply::Status(204));
    enqueue(&world.db, vec![dead; 1000]).await;
    let (dispatcher, open_circuits) = start_shown(&mut world, &[0, 3600]);
    eventually("it is shut", || async { !open_circuits.get().is_empty() }).await;
    for _ in 0..20 {
        let id = enqueue(&world.db, vec![server.url("/")]).await[0];
        dispatcher.do_send(DeliveryEnqueued);
        eventually("it is delivered", || async {
            row(&world.db, id).await.status == "delivered"
        })
        .await;
    }
}

#[actix_rt::test]
async fn a_url_that_fails_shuts_no_other_url_of_its_receiver() {
    let mut world = World::new(Service::Tts);
    let server = Server::start(|seen| Reply::Status(if seen.path == "/bad" { 500 } else { 204 }));
    let bad = vec![server.url("/bad"); 50];
    let good = vec![server.url("/good"); 50];
    enqueue(&world.db, [bad, good].concat()).await;
    let (_dispatcher, open_circuits) = start_shown(&mut world, &[0, 3600]);
    eventually("each is tried", || async { server.count("POST") == 100 }).await;
    assert_eq!(open_circuits.get(), []);
}

#[actix_rt::test]
async fn what_has_waited_as_long_as_its_whole_schedule_is_given_up() {
    let mut world = World::new(Service::Tts);
    enqueue(&world.db, vec![nobody(); 500]).await;
    let (_dispatcher, _) = start_shown(&mut world, &[0, 10, 20]);
    let pending = async || {
        let rows = read_all(&world.db).await;
        rows.iter().filter(|row| row.status == "pending").count()
    };
    for second in 0..200 {
        world.settle().await;
        let left = pending().await;
        assert!(second > 30 || left == 500, "given up after {second} s");
        if left == 0 {
            break;
        }
        world.advance_ms(1000);
    }
    let rows = read_all(&world.db).await;
    assert!(rows.iter().all(|row| row.status == "exhausted"));
    let never_tried = rows.iter().filter(|row| row.attempts == 0).count();
    assert!(never_tried > 400, "{never_tried}");
}

/// A hint that comes while all slots are taken finds nobody who looks; whatever it
/// was about must be found when there is a slot again.
#[actix_rt::test]
async fn what_becomes_due_while_all_slots_are_taken_is_told_once_there_is_room() {
    let mut world = World::new(Service::Tts);
    let server = Server::of_many(|_| Reply::Hang);
    let dispatcher = start(&mut world, &[0, 1, 1]);
    let urls = (0..160).map(|nth| server.url_as(nth, "/")).collect();
    enqueue(&world.db, urls).await;
    dispatcher.do_send(DeliveryEnqueued);
    eventually("most slots are taken", || async { server.hanging() == 160 }).await;
    // One after another: a look that finds as many as it could take knows that it may
    // have left some.
    for nth in 160..170 {
        world.advance_ms(1);
        enqueue(&world.db, vec![server.url_as(nth, "/")]).await;
        dispatcher.do_send(DeliveryEnqueued);
        eventually("it is sent", || async { server.hanging() == nth + 1 }).await;
    }
    world.advance_ms(1);
    let more = (170..240).map(|nth| server.url_as(nth, "/"));
    enqueue(&world.db, more.collect()).await;
    dispatcher.do_send(DeliveryEnqueued);
    world.settle().await;
    assert_eq!(server.hanging(), 170);
    server.release();
    eventually("all are told", || async {
        undelivered(&world.db).await == 0
    })
    .await;
}

pub async fn undelivered(db: &Db) -> usize {
    let rows = read_all(db).await.into_iter();
    rows.filter(|row| row.status != "delivered").count()
}

/// One thing that happens to a dispatcher from outside.
#[derive(Debug, Clone)]
enum Step {
    /// So many callbacks become due at receivers from this one on, and it is told.
    Owe { receiver: usize, count: usize },
    /// The same, one after another.
    Trickle { receiver: usize, count: usize },
    /// This receiver answers what it was asked, and all that it will be.
    Answer { receiver: usize },
    /// All that can go on goes on.
    Settle,
}

fn steps() -> impl Strategy<Value = (usize, Vec<Step>)> {
    let some = || (0..40_usize, 1..60_usize);
    let step = prop_oneof![
        2 => some().prop_map(|(receiver, count)| Step::Owe { receiver, count }),
        3 => some().prop_map(|(receiver, count)| Step::Trickle { receiver, count }),
        1 => (0..40_usize).prop_map(|receiver| Step::Answer { receiver }),
        1 => Just(Step::Settle),
    ];
    (2..=40_usize, proptest::collection::vec(step, 1..20))
}

/// Whatever comes in whatever order: once every receiver answers, everything is told
/// without any further hint and without the clock.
#[test]
fn a_dispatcher_at_rest_has_told_all_that_was_due() {
    let mut runner = TestRunner::new(ProptestConfig {
        cases: 24,
        // Each failure takes as long as it is waited for.
        max_shrink_iters: 0,
        ..ProptestConfig::default()
    });
    let tried = runner.run(&steps(), |(receivers, steps)| {
        actix_rt::System::new().block_on(run_steps(receivers, steps));
        Ok(())
    });
    tried.unwrap();
}

async fn run_steps(receivers: usize, steps: Vec<Step>) {
    let mut world = World::new(Service::Tts);
    let servers: Vec<Server> = (0..receivers)
        .map(|number| Server::at(number, |_| Reply::Hang))
        .collect();
    let dispatcher = start(&mut world, &[0, 1, 1]);
    let enqueue_some = async |receiver: usize, count: usize| {
        world.advance_ms(1);
        let url = |nth: usize| servers[(receiver + nth) % receivers].url("/");
        enqueue(&world.db, (0..count).map(url).collect()).await;
        dispatcher.do_send(DeliveryEnqueued);
    };
    for step in steps {
        match step {
            Step::Owe { receiver, count } => enqueue_some(receiver, count).await,
            Step::Trickle { receiver, count } => {
                for nth in receiver..receiver + count {
                    let server = &servers[nth % receivers];
                    let before = server.count("POST");
                    enqueue_some(nth, 1).await;
                    // What a client alone may have where nobody has answered yet, as
                    // `delivery::shares` has it: who has answered answers at once.
                    let is_full = || {
                        let of_one = server.hanging();
                        let all = servers.iter().map(Server::hanging).sum::<usize>();
                        let shares = all < 4 || all + of_one < 170 / 8;
                        of_one >= 8 || of_one > 0 && !shares
                    };
                    let is_sent = async || server.count("POST") > before || is_full();
                    eventually("it is sent, if there is a slot", is_sent).await;
                }
            }
            Step::Answer { receiver } => servers[receiver % receivers].release(),
            Step::Settle => world.settle().await,
        }
    }
    servers.iter().for_each(Server::release);
    let told = async || undelivered(&world.db).await == 0;
    eventually("all are told", told).await;
}

/// Cannot tell of one of them.
struct Panics(Uuid);

impl Subject for Panics {
    fn render(&self, conn: &mut Conn, delivery: &Row) -> QueryResult<Option<Payload>> {
        assert_ne!(delivery.id.0, self.0, "this one cannot be told of");
        Things.render(conn, delivery)
    }
}

#[actix_rt::test]
async fn a_delivery_that_panics_each_time_is_a_failed_try_and_holds_up_no_other() {
    let mut world = World::new(Service::Tts);
    let server = Server::start(|_| Reply::Status(204));
    let ids = enqueue(&world.db, vec![server.url("/"); 3]).await;
    let dispatcher = CallbackDispatcher::new(parts(&world, &[0, 10, 10], Arc::new(Panics(ids[1]))));
    let dispatcher = world.tree.start("dispatcher", dispatcher);
    let attempts = async || row(&world.db, ids[1]).await.attempts;
    eventually("it is tried", || async { attempts().await == 1 }).await;
    let more = enqueue(&world.db, vec![server.url("/")]).await;
    dispatcher.do_send(DeliveryEnqueued);
    for id in [ids[0], ids[2], more[0]] {
        eventually("the others are told", || async {
            row(&world.db, id).await.status == "delivered"
        })
        .await;
    }
    for number in [2, 3] {
        world.advance_ms(11_000);
        eventually("it is tried again", || async { attempts().await == number }).await;
        world.settle().await;
    }
    assert_eq!(row(&world.db, ids[1]).await.status, "exhausted");
    let tried = row(&world.db, ids[1]).await;
    let logged = world
        .db
        .read(move |conn| deliveries::attempts_of(conn, &[tried]))
        .await
        .unwrap();
    let logged = &logged[&ids[1]];
    assert!(logged.iter().all(|attempt| attempt.phase == "internal"));
    let said = logged[0].body.clone().unwrap();
    assert!(said.contains("this one cannot be told of"), "{said}");
}

// ------------------------------------------------------------------ clients

/// The test's time stands still, so that none of these is over.
#[actix_rt::test]
async fn whatever_a_client_is_owed_others_and_those_who_have_answered_are_told_at_once() {
    let mut world = World::new(Service::Tts);
    let (silent, good) = (
        Server::of_many(|_| Reply::Hang),
        Server::start(|_| Reply::Status(204)),
    );
    let dispatcher = start(&mut world, &[0, 1, 1]);
    let tell = async |client: &'static str, url: String| {
        let id = enqueue_of(&world.db, client, vec![url]).await[0];
        dispatcher.do_send(DeliveryEnqueued);
        attempts_made(&world.db, id, 1).await;
    };
    tell("greedy", good.url("/")).await;
    let flood = (0..600).map(|nth| silent.url_as(nth, "/"));
    enqueue_of(&world.db, "greedy", flood.collect()).await;
    dispatcher.do_send(DeliveryEnqueued);
    eventually("the flood has all it can get", || async {
        silent.hanging() == 170
    })
    .await;
    let new = Server::start(|_| Reply::Status(204));
    for nth in 0..20 {
        tell("modest", new.url(&format!("/{nth}"))).await;
        tell("greedy", good.url(&format!("/{nth}"))).await;
    }
    // Also if they do not answer either, up to four at a time.
    let others = Server::of_many(|_| Reply::Hang);
    for client in ["c1", "c2", "c3", "c4", "c5"] {
        let urls = (0..4).map(|nth| others.url_as(nth, "/"));
        enqueue_of(&world.db, client, urls.collect()).await;
    }
    dispatcher.do_send(DeliveryEnqueued);
    eventually("each has its four", || async { others.hanging() == 20 }).await;
    assert_eq!(silent.hanging(), 170);
    silent.release();
    others.release();
    let told = async || undelivered(&world.db).await == 0;
    eventually("all are told", told).await;
}

#[actix_rt::test]
async fn silent_ports_of_one_address_take_a_part_of_what_their_client_may_have() {
    let mut world = World::new(Service::Tts);
    let ports: Vec<Server> = (0..60).map(|_| Server::start(|_| Reply::Hang)).collect();
    let dispatcher = start(&mut world, &[0, 1, 1]);
    let flood = ports.iter().map(|port| port.url("/"));
    enqueue(&world.db, flood.collect()).await;
    dispatcher.do_send(DeliveryEnqueued);
    let hanging = || ports.iter().map(Server::hanging).sum::<usize>();
    eventually("they have all of it", || async { hanging() == 42 }).await;
    // It is the address that is full, for this client.
    let elsewhere = Server::of_many(|_| Reply::Status(204));
    let mut ids = enqueue(&world.db, vec![elsewhere.url_as(1, "/")]).await;
    let here = Server::start(|_| Reply::Status(204));
    ids.extend(enqueue_of(&world.db, "other", vec![here.url("/")]).await);
    dispatcher.do_send(DeliveryEnqueued);
    for id in ids {
        attempts_made(&world.db, id, 1).await;
    }
    world.settle().await;
    assert_eq!(hanging(), 42);
    ports.iter().for_each(Server::release);
    let told = async || undelivered(&world.db).await == 0;
    eventually("all are told", told).await;
}

/// However many clients there are whose receivers do not answer.
#[actix_rt::test]
async fn the_backend_in_this_process_is_told_by_slots_of_its_own() {
    let mut world = World::new(Service::Tts);
    let (silent, backend) = (
        Server::of_many(|_| Reply::Hang),
        Server::start(|_| Reply::Status(204)),
    );
    let parts = Deps {
        own_origin: Some(backend.base.clone()),
        ..parts(&world, &[0, 1, 1], Arc::new(Things))
    };
    for client in (0..80).map(|nth| &*format!("c{nth}").leak()) {
        let urls = (0..20).map(|nth| silent.url_as(nth, "/"));
        enqueue_of(&world.db, client, urls.collect()).await;
    }
    let dispatcher = CallbackDispatcher::new(parts);
    let dispatcher = world.tree.start("dispatcher", dispatcher);
    eventually("they have all slots", || async { silent.hanging() == 256 }).await;
    let id = enqueue_of(&world.db, "new", vec![backend.url("/")]).await[0];
    dispatcher.do_send(DeliveryEnqueued);
    attempts_made(&world.db, id, 1).await;
    silent.release();
}
