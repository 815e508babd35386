//! AlertCollector: gathered by the clock, kept where it can be, and nothing lost.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use diesel::connection::SimpleConnection as _;
use diesel::prelude::*;
use hoiam::alerts::Reporter;
use hoiam::claim_loop::Pulse;
use hoiam::db::Db;
use hoiam::db::list::Filter;
use hoiam::delivery::CallbackDispatcher;
use hoiam::delivery::alerts::collector::{self, open_ledger};
use hoiam::delivery::alerts::{AlertCollector, WithAlerts};
use hoiam::delivery::dispatcher::Deps;
use hoiam::delivery::in_delivery::InDelivery;
use hoiam::delivery::open_circuits::OpenCircuits;
use hoiam::delivery::shares::Receiver;
use hoiam::delivery::store as deliveries;
use hoiam_api::{DeliveryType, Service};
use serde_json::Value;
use uuid::Uuid;

use super::dispatcher::{Things, row};
use super::panics::panics;
use super::support::{Reply, Server, World, eventually, sender};

const SCHEDULE_S: [u64; 4] = [0, 1, 5, 20];
const MINUTE_MS: i64 = 60_000;

/// A world whose operator is told.
struct Payload {
    world: World,
    operator: Server,
    reporter: Reporter,
    /// What the collector sees of the disk.
    disk: Arc<Mutex<Option<String>>>,
}

impl Payload {
    async fn start() -> Self {
        let operator = Server::start(|_| Reply::Status(204));
        Self::go_on(World::new(Service::Backend), operator).await
    }

    /// As a process that has just started.
    async fn go_on(mut world: World, operator: Server) -> Self {
        let schedule: Vec<_> = SCHEDULE_S.map(Duration::from_secs).into();
        let ledger = open_ledger(&world.db, std::slice::from_ref(&world.db));
        let ledger = ledger.await.unwrap();
        let clock = world.db.clock().clone();
        let reporter = Reporter::new(clock.clone(), operator.base.clone(), &ledger);
        let dispatcher = world.tree.start(
            "dispatcher",
            CallbackDispatcher::new(Deps {
                db: world.db.clone(),
                sender: sender(&clock),
                schedule: schedule.clone(),
                subject: Arc::new(WithAlerts(Arc::new(Things))),
                in_delivery: InDelivery::default(),
                open_circuits: OpenCircuits::default(),
                alerts: reporter.clone(),
                deliveries: Pulse::default(),
                own_origin: None,
                cache: None,
            }),
        );
        let disk = Arc::new(Mutex::new(None));
        let seen = Arc::clone(&disk);
        world.tree.start(
            "alerts",
            AlertCollector::new(
                collector::Deps {
                    reporter: reporter.clone(),
                    url: operator.url("/alerts"),
                    db: world.db.clone(),
                    dbs: vec![world.db.clone()],
                    sender: sender(&clock),
                    schedule,
                    dispatcher: dispatcher.recipient(),
                    disks: Arc::new(move || {
                        vec![("the disk".to_owned(), seen.lock().unwrap().clone())]
                    }),
                },
                ledger,
            ),
        );
        world.settle().await;
        Self {
            world,
            operator,
            reporter,
            disk,
        }
    }

    fn told(&self, kind: DeliveryType) -> Vec<Value> {
        let seen = self.operator.seen();
        let bodies = seen
            .iter()
            .map(|seen| serde_json::from_slice(&seen.body).unwrap());
        let mut told: Vec<Value> = bodies.collect();
        told.retain(|body| body["type"] == kind.as_str());
        told.into_iter().map(|body| body["data"].clone()).collect()
    }

    /// The counts of the alerts of one kind, in the order in which they came.
    fn counts(&self, kind: DeliveryType) -> Vec<u64> {
        let told = self.told(kind);
        told.iter()
            .map(|data| data["count"].as_u64().unwrap())
            .collect()
    }

    async fn comes(&self, kind: DeliveryType, counts: &[u64]) {
        eventually(&format!("{counts:?} {kind}"), || async {
            self.counts(kind) == counts
        })
        .await;
    }

    async fn advance(&self, ms: i64) {
        self.world.advance_ms(ms);
        self.world.settle().await;
    }
}

/// What is given up at once.
async fn give_up(db: &Db, count: usize) {
    let operation = move |tx: &mut hoiam::db::Tx<'_>| {
        for _ in 0..count {
            let (id, kind) = (Uuid::now_v7(), DeliveryType::TaskFailed);
            let url = "http://127.0.0.1:9/a?secret";
            let row = deliveries::Row::pending(Uuid::now_v7(), id, kind, url, tx.now);
            deliveries::insert(tx, row)?;
        }
        let now = tx.now + 1;
        let none = std::collections::HashSet::new();
        let [client, origin] = ["", "http://127.0.0.1:9"].map(Into::into);
        let receiver = Receiver { client, origin };
        deliveries::give_up(tx, &receiver, now, &none, 1000)
    };
    assert_eq!(db.write(operation).await.unwrap(), count);
}

#[actix_rt::test]
async fn what_happens_within_a_minute_of_an_alert_is_the_next_one() {
    let told = Payload::start().await;
    let kind = DeliveryType::ReceiverShut;
    for host in ["a", "b"] {
        let origin = format!("http://{host}");
        told.reporter
            .receiver_shut(Service::Tts, &origin, Some("reset"));
    }
    told.advance(999).await;
    assert!(told.counts(kind).is_empty());
    told.advance(1).await;
    told.comes(kind, &[2]).await;
    for host in 0..12 {
        let origin = format!("http://{host}");
        told.reporter.receiver_shut(Service::Tts, &origin, None);
        told.advance(1000).await;
    }
    // Another kind does not wait for this one.
    told.reporter.receiver_answers(Service::Tts, "http://a");
    told.advance(1000).await;
    told.comes(DeliveryType::ReceiverOpen, &[1]).await;
    told.advance(MINUTE_MS - 13_001).await;
    assert_eq!(told.counts(kind), [2]);
    told.advance(1).await;
    told.comes(kind, &[2, 12]).await;
    let both = told.told(kind);
    let examples = both[0]["examples"].as_array().unwrap();
    assert_eq!(examples[0]["origin"], "http://a");
    assert_eq!(examples[0]["error"], "reset");
    assert_eq!(both[1]["examples"].as_array().unwrap().len(), 10);
    assert_eq!(both[1]["since"], both[1]["examples"][0]["at"]);
    told.advance(10 * MINUTE_MS).await;
    assert_eq!(told.operator.count("POST"), 3);
}

#[actix_rt::test]
async fn deliveries_that_are_given_up_are_told_once_also_by_the_next_start() {
    let kind = DeliveryType::DeliveryExhausted;
    // Before alerts were switched on.
    let world = World::new(Service::Backend);
    give_up(&world.db, 3).await;
    let told = Payload::go_on(world, Server::start(|_| Reply::Status(204))).await;
    told.advance(10 * MINUTE_MS).await;
    assert!(told.counts(kind).is_empty());
    give_up(&told.world.db, 4).await;
    told.reporter.deliveries_exhausted();
    told.world.settle().await;
    told.advance(1000).await;
    told.comes(kind, &[4]).await;
    let example = &told.told(kind)[0]["examples"][0];
    assert_eq!(example["origin"], "http://127.0.0.1:9");
    assert_eq!(example["type"], "task.failed");
    assert!(example["task_id"].is_string() && example["delivery_id"].is_string());
    // Those were gathered and not told when the process ended.
    give_up(&told.world.db, 5).await;
    told.reporter.deliveries_exhausted();
    told.world.settle().await;
    let Payload {
        mut world,
        operator,
        ..
    } = told;
    world.tree.stop(Duration::from_secs(60)).await;
    world.tree = World::new(Service::Backend).tree;
    let told = Payload::go_on(world, operator).await;
    told.advance(MINUTE_MS - 1000).await;
    told.advance(1000).await;
    told.comes(kind, &[4, 5]).await;
    told.advance(10 * MINUTE_MS).await;
    assert_eq!(told.counts(kind), [4, 5]);
}

#[actix_rt::test]
async fn a_trouble_that_ends_is_told_to_be_resolved() {
    let told = Payload::start().await;
    let kind = DeliveryType::DiskFailing;
    *told.disk.lock().unwrap() = Some("it is nearly full".to_owned());
    told.reporter.engine(Some("no library"));
    // Nothing tells of the disk: it is looked at.
    told.advance(10_000).await;
    told.advance(1000).await;
    told.comes(kind, &[1]).await;
    told.comes(DeliveryType::EngineFailing, &[1]).await;
    *told.disk.lock().unwrap() = None;
    told.reporter.engine(None);
    for _ in 0..7 {
        told.advance(10_000).await;
    }
    for kind in [kind, DeliveryType::EngineFailing] {
        told.comes(kind, &[1, 1]).await;
        let both = told.told(kind);
        assert_eq!([&both[0]["resolved"], &both[1]["resolved"]], [false, true]);
        assert!(both[0]["examples"][0]["error"].is_string());
        assert!(both[1]["examples"][0]["error"].is_null());
    }
}

/// Holds the database as a process would that writes without end.
fn lock(folder: &Path) -> SqliteConnection {
    let path = folder.join("test.db").display().to_string();
    let mut other = SqliteConnection::establish(&path).unwrap();
    let statements = "PRAGMA busy_timeout = 60000; BEGIN IMMEDIATE";
    other.batch_execute(statements).unwrap();
    other
}

#[actix_rt::test]
async fn a_disk_that_keeps_nothing_is_told_at_once_and_kept_when_it_can_be() {
    let told = Payload::start().await;
    let kind = DeliveryType::DiskFailing;
    told.operator.answers(|_| Reply::Status(503));
    let other = lock(told.world.folder.path());
    told.reporter.disk("the store", Some("it is full"));
    told.reporter
        .receiver_shut(Service::Tts, "http://a", Some("reset"));
    told.world.advance_ms(1000);
    told.comes(kind, &[1]).await;
    // Tried again by the schedule, as any other.
    told.operator.answers(|_| Reply::Status(204));
    eventually("it is sent again", || async {
        told.world.advance_ms(1000);
        tokio::time::sleep(Duration::from_millis(100)).await;
        told.counts(kind) == [1, 1]
    })
    .await;
    // What is no trouble of the disk waits for it.
    assert!(told.counts(DeliveryType::ReceiverShut).is_empty());
    let (first, second) = (&told.operator.seen()[0], &told.operator.seen()[1]);
    assert_eq!(first.body, second.body);
    drop(other);
    eventually("it is kept", || async {
        told.world.advance_ms(1000);
        told.world.settle().await;
        told.counts(DeliveryType::ReceiverShut) == [1]
    })
    .await;
    let kept = Filter {
        limit: 10,
        ..Filter::default()
    };
    let (kept, _) = told
        .world
        .db
        .read(move |conn| deliveries::list(conn, &kept))
        .await
        .unwrap();
    let of_disk: Vec<_> = kept
        .iter()
        .filter(|row| row.kind == kind.as_str())
        .collect();
    assert_eq!(of_disk.len(), 1);
    let id = of_disk[0].id.0;
    eventually("it counts as delivered", || async {
        let kept = row(&told.world.db, id).await;
        (kept.status.as_str(), kept.attempts) == ("delivered", 2)
    })
    .await;
    assert_eq!(told.counts(kind), [1, 1]);
}

#[actix_rt::test]
async fn a_panic_of_the_collector_loses_nothing_and_tells_nothing_twice() {
    let told = Payload::start().await;
    let kind = DeliveryType::ReceiverShut;
    told.reporter.receiver_shut(Service::Tts, "http://a", None);
    panics(&told.world, "alerts").await;
    told.advance(1000).await;
    told.comes(kind, &[1]).await;
    told.reporter.receiver_shut(Service::Tts, "http://b", None);
    panics(&told.world, "alerts").await;
    told.advance(MINUTE_MS).await;
    told.comes(kind, &[1, 1]).await;
    told.advance(10 * MINUTE_MS).await;
    assert_eq!(told.counts(kind), [1, 1]);
}
