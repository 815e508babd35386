//! Event streams and waits: whose events they bring, beyond what is kept in memory
//! for them, and until when.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::time::{Duration, Instant};

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::Service as _;
use actix_web::test::TestRequest;
use actix_web::{App, HttpMessage, HttpRequest, test, web};
use hoiam::backend::store as tasks;
use hoiam::db::Db;
use hoiam::db::history::{Whose, events_after};
use hoiam::http::auth::{Client, SeesAll};
use hoiam::http::streams::{Streams, Wait, all_events};
use hoiam::keys::{Configured, Keys};
use hoiam::resource::operations::Accepted;
use hoiam::resource::row::ResourceRow as _;
use hoiam_api::{Code, Event, EventType, Service};
use tokio::sync::watch;
use uuid::Uuid;

use crate::actors::support::{World, create, task, task_row};

/// More events than a stream may be behind in memory.
const MANY: i64 = 6000;

/// Where no keys are asked for.
fn streams(stopping: watch::Receiver<bool>) -> Streams {
    Streams::new(stopping, Keys::open(Configured::default()).unwrap())
}

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
        .app_data(web::Data::new(streams(stopping)))
        .wrap_fn(|request, app| {
            request.extensions_mut().insert(SeesAll);
            app.call(request)
        })
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

/// A request for a stream, of who may see all.
fn request(last: Option<i64>) -> HttpRequest {
    let mut request = TestRequest::get().insert_header(("accept", "text/event-stream"));
    if let Some(last) = last {
        request = request.insert_header(("last-event-id", last.to_string()));
    }
    let request = request.to_http_request();
    request.extensions_mut().insert(SeesAll);
    request
}

/// The same, of a client who sees its own.
fn request_of(client: &str) -> HttpRequest {
    let request = request(None);
    request.extensions_mut().remove::<SeesAll>();
    request.extensions_mut().insert(Client(client.to_owned()));
    request
}

/// A stream of these events, after the newest there is or after `last`.
async fn stream(db: &Db, stop: &watch::Sender<bool>, whose: Whose, last: Option<i64>) -> BoxBody {
    let (request, streams) = (request(last), streams(stop.subscribe()));
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
        extra: tasks::NewTask {
            report_to: "http://127.0.0.1:9/v1/callbacks".into(),
            retry_of: None,
        },
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
async fn a_clients_feed_reads_the_table_ten_times_a_second_at_most() {
    let world = World::new(Service::Backend);
    let (stop, _) = watch::channel(false);
    let began = Instant::now();
    let mut body = stream(&world.db, &stop, client("an"), Some(0)).await;
    assert!(piece(&mut body).await.unwrap().starts_with(": hoiam"));
    for count in 1..=5 {
        submit_for(&world.db, &["an"]).await;
        assert_eq!(ids(piece(&mut body).await.unwrap().as_bytes()), [count]);
    }
    assert!(began.elapsed() >= Duration::from_millis(5 * 100));
}

#[actix_rt::test]
async fn a_client_has_twenty_feeds_at_most_and_others_theirs() {
    let world = World::new(Service::Backend);
    let (_stop, stopping) = watch::channel(false);
    let streams = streams(stopping);
    let feed = async |name: &str| {
        let request = request_of(name);
        let answer = streams.answer(&request, &world.db, client(name), || Box::new(()));
        answer.await.map(|answer| answer.into_body())
    };
    let mut open = Vec::new();
    for _ in 0..20 {
        open.push(feed("an").await.unwrap());
    }
    for _ in 0..2 {
        assert_eq!(feed("an").await.err().unwrap().0.code, Code::ShareFull);
    }
    feed("binh").await.unwrap();
    open.pop();
    open.push(feed("an").await.unwrap());
    assert!(feed("an").await.is_err());
}

/// As an id that its client gives away by erasing what is under it.
#[actix_rt::test]
async fn a_stream_of_one_ends_where_its_id_is_used_again_by_somebody_else() {
    let world = World::new(Service::Backend);
    let (stop, _) = watch::channel(false);
    let id = submit_for(&world.db, &["an"]).await[0];
    let open = async |request: HttpRequest| {
        let streams = streams(stop.subscribe());
        let answer = streams.answer(&request, &world.db, Whose::Subject(id), || Box::new(()));
        let mut body = answer.await.unwrap().into_body();
        assert_eq!(ids(piece(&mut body).await.unwrap().as_bytes()), [1]);
        body
    };
    let mut of_an = open(request_of("an")).await;
    let mut of_admin = open(request(None)).await;
    let new = tasks::New {
        id,
        ..task_of("binh")
    };
    let erased = world.db.write(move |tx| tasks::cancel(tx, id));
    erased.await.unwrap();
    for body in [&mut of_an, &mut of_admin] {
        assert_eq!(ids(piece(body).await.unwrap().as_bytes()), [2]);
    }
    let erased = world.db.write(move |tx| tasks::erase(tx, id));
    erased.await.unwrap();
    let created = world.db.write(move |tx| tasks::submit(tx, &new));
    assert!(matches!(created.await.unwrap(), Accepted::New(_)));
    assert_eq!(piece(&mut of_an).await, None);
    assert_eq!(ids(piece(&mut of_admin).await.unwrap().as_bytes()), [3]);
    // Nor is it begun anew.
    let (streams, request) = (streams(stop.subscribe()), request_of("an"));
    let answer = streams.answer(&request, &world.db, Whose::Subject(id), || Box::new(()));
    assert_eq!(piece(&mut answer.await.unwrap().into_body()).await, None);
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
        .app_data(web::Data::new(streams(stopping)))
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
