//! Event streams and waits: whose events they bring, beyond what is kept in memory
//! for them, and until when.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::{Pin, pin};

use actix_web::body::{BoxBody, MessageBody};
use actix_web::test::TestRequest;
use actix_web::{App, test, web};
use hoiam::backend::store as tasks;
use hoiam::contract::{Event, EventType, Service};
use hoiam::db::Db;
use hoiam::db::history::{Whose, events_after};
use hoiam::edge::streams::{Streams, Wait, all_events};
use tokio::sync::watch;
use uuid::Uuid;

use crate::actors::support::{World, create, task, task_row};

/// More events than a stream may be behind in memory.
const MANY: i64 = 6000;

/// The ids in a piece of a stream.
fn ids(piece: &[u8]) -> Vec<i64> {
    let text = String::from_utf8_lossy(piece);
    let ids = text.lines().filter_map(|line| line.strip_prefix("id: "));
    ids.map(|id| id.parse().unwrap()).collect()
}

#[actix_rt::test]
async fn a_stream_that_is_thousands_of_events_behind_gets_every_one_of_them_in_order() {
    let world = World::new(Service::Backend);
    let (_stop, stopping) = watch::channel(false);
    let app = App::new()
        .app_data(web::Data::new(world.db.clone()))
        .app_data(web::Data::new(Streams::new(stopping)))
        .route("/v1/events", web::get().to(all_events));
    let app = test::init_service(app).await;
    let request = test::TestRequest::get()
        .uri("/v1/events")
        .insert_header(("accept", "text/event-stream"))
        .insert_header(("last-event-id", "0"))
        .to_request();
    let answer = test::call_service(&app, request).await;
    let mut body = pin!(answer.into_body());
    // It has read the history, which is empty, and listens.
    poll_fn(|cx| body.as_mut().poll_next(cx))
        .await
        .unwrap()
        .unwrap();
    for _ in 0..MANY / 500 {
        let written = world.db.write(|tx| {
            for _ in 0..500 {
                task(Uuid::now_v7(), 60)(tx)?;
            }
            Ok(())
        });
        written.await.unwrap();
    }
    let mut last = 0;
    while last < MANY {
        let piece = poll_fn(|cx| body.as_mut().poll_next(cx)).await;
        for id in ids(&piece.unwrap().unwrap()) {
            assert_eq!(id, last + 1, "none is left out, none comes twice");
            last = id;
        }
    }
}

/// A stream of these events, after the newest there is or after `last`.
async fn stream(db: &Db, stop: &watch::Sender<bool>, whose: Whose, last: Option<i64>) -> BoxBody {
    let mut request = TestRequest::get().insert_header(("accept", "text/event-stream"));
    if let Some(last) = last {
        request = request.insert_header(("last-event-id", last.to_string()));
    }
    let (request, streams) = (request.to_http_request(), Streams::new(stop.subscribe()));
    let answer = streams.answer(&request, db, whose, || Box::new(()));
    answer.await.unwrap().into_body()
}

/// The next piece of a stream, if it has not ended.
async fn piece(body: &mut BoxBody) -> Option<String> {
    let next = poll_fn(|cx| Pin::new(&mut *body).poll_next(cx)).await?;
    Some(String::from_utf8(next.unwrap().to_vec()).unwrap())
}

/// Stores a task of each of these clients, with one event each.
async fn submit_for(db: &Db, clients: &[&str]) -> Vec<Uuid> {
    let new: Vec<tasks::New> = clients.iter().map(|client| task_of(client)).collect();
    let ids = new.iter().map(|new| new.id).collect();
    let written = db.write(move |tx| {
        for new in &new {
            tasks::submit(tx, new)?;
        }
        Ok(())
    });
    written.await.unwrap();
    ids
}

fn task_of(client: &str) -> tasks::New {
    tasks::New {
        id: Uuid::now_v7(),
        client: client.to_owned(),
        idempotency_key: None,
        request: create("test/silence", None, 60).into(),
        report_to: "http://127.0.0.1:9/v1/callbacks".into(),
        retry_of: None,
    }
}

fn client(name: &str) -> Whose {
    Whose::Client(name.to_owned())
}

#[actix_rt::test]
async fn a_clients_feed_brings_all_of_its_own_events_and_nobody_elses() {
    let world = World::new(Service::Backend);
    let (stop, _) = watch::channel(false);
    submit_for(&world.db, &["an", "binh"].repeat(700)).await;
    let mut body = stream(&world.db, &stop, client("an"), Some(0)).await;
    let mut heard = Vec::new();
    while heard.len() < 700 {
        heard.extend(ids(piece(&mut body).await.unwrap().as_bytes()));
    }
    let own: Vec<i64> = (1..1400).step_by(2).collect();
    assert_eq!(heard, own);
    // What comes while it listens.
    let other = submit_for(&world.db, &["binh"]).await[0];
    let progress = Event::of(Service::Backend, other, EventType::Progress, 0);
    world.db.publish(other, progress);
    let mine = submit_for(&world.db, &["an"]).await[0];
    let text = piece(&mut body).await.unwrap();
    assert_eq!(ids(text.as_bytes()), [1402]);
    assert!(text.contains(&mine.to_string()));
    assert!(!text.contains(&other.to_string()));
}

#[actix_rt::test]
async fn a_clients_feed_looks_at_the_rows_of_others_once() {
    for service in [Service::Backend, Service::Tts] {
        let world = World::new(Service::Backend);
        submit_for(&world.db, &["binh"; 12]).await;
        let page = async |after| {
            let read = move |conn: &mut _| events_after(conn, service, &client("an"), after, 5);
            world.db.read(read).await.unwrap()
        };
        let looks = [
            (0, 5, true),
            (5, 10, true),
            (10, 12, false),
            (12, 12, false),
        ];
        for (after, last_id, is_full) in looks {
            let page = page(after).await;
            assert_eq!(page.events, []);
            assert_eq!((page.last_id, page.is_full), (last_id, is_full));
        }
    }
}

#[actix_rt::test]
async fn what_is_stored_while_the_history_is_read_comes_once() {
    let world = World::new(Service::Backend);
    let (stop, _) = watch::channel(false);
    for whose in [Whose::Everybody, client("an")] {
        let mut body = stream(&world.db, &stop, whose, None).await;
        let mut heard = Vec::new();
        for _ in 0..3 {
            submit_for(&world.db, &["an"]).await;
            heard.extend(ids(piece(&mut body).await.unwrap().as_bytes()));
        }
        let first = heard[0];
        assert_eq!(heard, [first, first + 1, first + 2]);
    }
}

#[actix_rt::test]
async fn a_stop_ends_every_stream_and_who_has_left_is_listened_for_no_more() {
    let world = World::new(Service::Backend);
    let (stop, _) = watch::channel(false);
    let id = submit_for(&world.db, &["an"]).await[0];
    for whose in [Whose::Subject(id), Whose::Everybody, client("an")] {
        let mut body = stream(&world.db, &stop, whose.clone(), None).await;
        assert!(piece(&mut body).await.unwrap().starts_with(": hoiam"));
        assert_eq!(world.db.listeners(), 1);
        drop(body);
        assert_eq!(world.db.listeners(), 0);
        let mut body = stream(&world.db, &stop, whose, None).await;
        piece(&mut body).await.unwrap();
        stop.send_replace(true);
        assert_eq!(piece(&mut body).await, None);
        assert_eq!(world.db.listeners(), 0);
        stop.send_replace(false);
    }
}

#[actix_rt::test]
async fn an_end_that_comes_right_after_a_look_is_heard_of_by_who_waits_for_it() {
    let world = World::new(Service::Backend);
    let (_stop, stopping) = watch::channel(false);
    let request = TestRequest::post()
        .insert_header(("prefer", "wait=60"))
        .app_data(web::Data::new(Streams::new(stopping)))
        .to_http_request();
    let [id, other] = submit_for(&world.db, &["an", "an"]).await[..] else {
        panic!("two tasks");
    };
    let looks = Cell::new(0);
    let has_ended = async || {
        let ended = task_row(&world.db, id).await.status().is_ended();
        looks.set(looks.get() + 1);
        if !ended {
            assert_eq!(world.db.listeners(), 1);
            for id in [other, id] {
                let canceled = world.db.write(move |tx| tasks::cancel(tx, id));
                canceled.await.unwrap();
            }
        }
        ended
    };
    let wait = Wait::preferred(&request).unwrap();
    wait.until_ended(&world.db, id, has_ended).await;
    assert_eq!(looks.get(), 2, "one wake, by the end of the task itself");
    assert_eq!(world.db.listeners(), 0);
}
