//! What a callback carries, as both services have it, and what becomes of it where its
//! subject changes or goes while it is told of.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use diesel::connection::SimpleConnection as _;
use diesel::prelude::*;
use hoiam::backend::store as tasks;
use hoiam::claim_loop::Pulse;
use hoiam::db::schema::{deliveries as table, events, speeches as speech_table};
use hoiam::db::{Conn, Id, Tx};
use hoiam::delivery::in_delivery::InDelivery;
use hoiam::delivery::store::{self as deliveries, Row};
use hoiam::delivery::subject::{Payload, Subject};
use hoiam::delivery::{CallbackDispatcher, DeliveryEnqueued};
use hoiam::http::links::Links;
use hoiam::progress::ProgressBoard;
use hoiam::resource::operations::{Ended, erase};
use hoiam::resource::row::ResourceRow;
use hoiam::resource::view::View;
use hoiam::tts::store as speeches;
use hoiam_api::Service;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{Gate, Peer, Reaction};

use super::dispatcher::{attempts_made, parts, row, undelivered};
use super::support::{World, create, eventually, job, sender};

fn links(world: &World) -> Links {
    let clock = world.db.clock().clone();
    let url = "http://127.0.0.1:9/".parse().unwrap();
    Links::new(url, sender(&clock).secrets, 3600, clock)
}

fn view<R: ResourceRow>(world: &World) -> View<R> {
    let progress = ProgressBoard::new(world.db.clone());
    View::new(links(world), progress, InDelivery::default())
}

/// A speech that was called off, so that its callback is owed; its delivery beside it.
async fn canceled_speech(world: &World, url: &str) -> (Uuid, Uuid) {
    let id = Uuid::now_v7();
    let mut accept = job(id, "test/silence", Some(url), 3600);
    let canceled = world.db.write(move |tx| {
        accept(tx)?;
        speeches::cancel(tx, id)?;
        delivery_of(tx, id)
    });
    (id, canceled.await.unwrap())
}

/// The same of a task.
async fn canceled_task(world: &World, url: &str) -> (Uuid, Uuid) {
    let id = Uuid::now_v7();
    let new = tasks::New {
        id,
        client: String::new(),
        idempotency_key: None,
        request: create("test/silence", Some(url), 3600).into(),
        extra: tasks::NewTask {
            report_to: "http://127.0.0.1:9/v1/callbacks".into(),
            retry_of: None,
        },
    };
    let canceled = world.db.write(move |tx| {
        tasks::submit(tx, &new)?;
        tasks::cancel(tx, id)?;
        delivery_of(tx, id)
    });
    (id, canceled.await.unwrap())
}

fn delivery_of(tx: &mut Tx<'_>, subject: Uuid) -> QueryResult<Uuid> {
    let newest = deliveries::newest(tx.conn, Id(subject))?;
    newest
        .map(|row| row.id.0)
        .ok_or(diesel::result::Error::NotFound)
}

/// How many deliveries and events of this subject are kept.
async fn kept_of(world: &World, subject: Uuid) -> [i64; 2] {
    let kept = world.db.read(move |conn| {
        let deliveries = table::table.filter(table::subject_id.eq(Id(subject)));
        let events = events::table.filter(events::subject_id.eq(Id(subject)));
        Ok([
            deliveries.count().get_result(conn)?,
            events.count().get_result(conn)?,
        ])
    });
    kept.await.unwrap()
}

fn data_of(receiver: &Peer) -> Vec<Value> {
    let requests = receiver.requests().into_iter();
    requests
        .map(|request| request.json()["data"].clone())
        .collect()
}

#[actix_rt::test]
async fn of_what_is_erased_while_it_is_told_nothing_is_kept_and_others_are_told() {
    // Payload, to be told again, and told for the last time.
    for (status, schedule_s) in [(204, vec![0, 1]), (500, vec![0, 1]), (500, vec![0])] {
        let mut world = World::new(Service::Tts);
        let (receiver, gate) = (Peer::receiver(), Gate::default());
        let opens = gate.clone();
        receiver.react(move |request| match request.path.as_str() {
            "/erased" => Reaction::After(opens.clone(), Box::new(Reaction::Answer(status))),
            _ => Reaction::Answer(204),
        });
        let (id, delivery) = canceled_speech(&world, &receiver.url("/erased")).await;
        let parts = parts(&world, &schedule_s, Arc::new(view::<speeches::Row>(&world)));
        let (pulse, in_delivery): (Pulse, _) =
            (parts.deliveries.clone(), parts.in_delivery.clone());
        let dispatcher = CallbackDispatcher::new(parts);
        let dispatcher = world.tree.start("dispatcher", dispatcher);
        eventually("it is being told", || async {
            receiver.requests().len() == 1
        })
        .await;
        let erased = world
            .db
            .write(move |tx| erase::<speeches::Row>(tx, id))
            .await;
        assert!(matches!(erased, Ok(Ended::Done(_))));
        gate.open();
        eventually("that is over", || async { pulse.under_way() == 0 }).await;
        assert_eq!(kept_of(&world, id).await, [0, 0]);
        assert!(!in_delivery.contains(delivery));
        assert_eq!(data_of(&receiver)[0]["id"], json!(id), "as it was read");

        let (_, other) = canceled_speech(&world, &receiver.url("/other")).await;
        dispatcher.do_send(DeliveryEnqueued);
        attempts_made(&world.db, other, 1).await;
        world.advance_ms(86_400_000);
        world.settle().await;
        assert_eq!(receiver.requests_to("POST", "/erased").len(), 1);
        assert_eq!(undelivered(&world.db).await, 0);
        assert_eq!(world.tree.status().children()[0].restarts, 0);
    }
}

/// Counts how often a subject is read.
struct Counting<S> {
    subject: S,
    read: Arc<AtomicUsize>,
}

impl<S: Subject> Subject for Counting<S> {
    fn render(&self, conn: &mut Conn, delivery: &Row) -> QueryResult<Option<Payload>> {
        self.read.fetch_add(1, Ordering::SeqCst);
        self.subject.render(conn, delivery)
    }
}

#[actix_rt::test]
async fn each_attempt_reads_its_subject_once_and_tells_it_as_it_is_by_then() {
    let mut world = World::new(Service::Tts);
    let (receiver, gate) = (Peer::receiver(), Gate::default());
    let opens = gate.clone();
    receiver.react(move |_| Reaction::After(opens.clone(), Box::new(Reaction::Answer(503))));
    let (id, delivery) = canceled_speech(&world, &receiver.url("/")).await;
    let read = Arc::<AtomicUsize>::default();
    let subject = Counting {
        subject: view::<speeches::Row>(&world),
        read: Arc::clone(&read),
    };
    let parts = parts(&world, &[0, 1], Arc::new(subject));
    let dispatcher = CallbackDispatcher::new(parts);
    let _dispatcher = world.tree.start("dispatcher", dispatcher);
    eventually("it is being told", || async {
        receiver.requests().len() == 1
    })
    .await;
    let changed = world.db.write(move |tx| {
        diesel::update(speech_table::table.find(Id(id)))
            .set(speech_table::reference.eq("changed"))
            .execute(tx.conn)
    });
    changed.await.unwrap();
    gate.open();
    attempts_made(&world.db, delivery, 1).await;
    let failed = row(&world.db, delivery).await;
    assert_eq!(failed.status, "pending");
    receiver.react(|_| Reaction::Answer(204));
    world.settle().await;
    world.advance_to(failed.next_attempt_at.unwrap());
    attempts_made(&world.db, delivery, 2).await;
    assert_eq!(row(&world.db, delivery).await.status, "delivered");
    let told: Vec<_> = data_of(&receiver)
        .iter()
        .map(|data| {
            (
                data["reference"].clone(),
                data["callback"]["attempts"].clone(),
            )
        })
        .collect();
    let expected = [(Value::Null, json!(0)), (json!("changed"), json!(1))];
    assert_eq!(told, expected);
    assert_eq!(read.load(Ordering::SeqCst), 2);
}

/// They may be megabytes, and no callback carries them.
#[actix_rt::test]
async fn a_callback_is_made_without_reading_the_text_or_the_words() {
    for service in [Service::Tts, Service::Backend] {
        let mut world = World::new(service);
        let receiver = Peer::receiver();
        let url = receiver.url("/");
        let (subject, view, table): (_, Arc<dyn Subject>, _) = match service {
            Service::Tts => (
                canceled_speech(&world, &url).await,
                Arc::new(view::<speeches::Row>(&world)),
                "speeches",
            ),
            Service::Backend => (
                canceled_task(&world, &url).await,
                Arc::new(view::<tasks::Row>(&world)),
                "tasks",
            ),
        };
        let hidden = world.db.write(move |tx| {
            tx.conn.batch_execute(&format!(
                "ALTER TABLE {table} RENAME COLUMN text TO hidden_text;
                 ALTER TABLE {table} RENAME COLUMN words TO hidden_words;"
            ))
        });
        hidden.await.unwrap();
        let dispatcher = CallbackDispatcher::new(parts(&world, &[0, 1], view));
        let _dispatcher = world.tree.start("dispatcher", dispatcher);
        attempts_made(&world.db, subject.1, 1).await;
        assert_eq!(data_of(&receiver)[0]["id"], json!(subject.0));
    }
}
