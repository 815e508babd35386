//! Backend: its actions by the clock, and what it spares a TTS service.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use actix::Addr;
use hoiam::backend::actor::Deps;
use hoiam::backend::messages::Watch;
use hoiam::backend::progress::Watcher;
use hoiam::backend::tts_client::TtsClient;
use hoiam::backend::{Backend, TaskEnded, TaskSubmitted, store as tasks};
use hoiam::claim_loop::Pulse;
use hoiam::db::Tx;
use hoiam::db::hub::{Interest, News};
use hoiam::files::{Files, hex};
use hoiam::progress::ProgressBoard;
use hoiam::resource::row::ResourceRow as _;
use hoiam_api::{Catalog, Service, Speech, TaskStatus};
use serde_json::json;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use uuid::Uuid;

use super::support::{
    Heard, Probe, Reply, START, Seen, Server, World, client, eventually, task, task_row, tts_client,
};
use crate::support::PATIENCE;

pub fn start(world: &mut World, server: &Server) -> (Addr<Backend>, Heard) {
    let files = files(world);
    start_with(world, tts_client(server), files)
}

fn files(world: &World) -> Files {
    let folder = world.folder.path().join("files");
    Files::open(&folder, Service::Backend, world.db.clock().clone()).unwrap()
}

fn start_with(world: &mut World, tts: TtsClient, files: Files) -> (Addr<Backend>, Heard) {
    let (probe, heard) = Probe::start();
    let parts = Deps {
        db: world.db.clone(),
        files,
        tts,
        dispatcher: probe.recipient(),
        progress: ProgressBoard::new(world.db.clone()),
        voices: watch::Sender::new(Catalog::default()),
        actions: Pulse::default(),
    };
    (world.tree.start("backend", Backend::new(parts)), heard)
}

/// A TTS service that answers hand-overs with `hand_over`, and knows of no
/// voices and no speech.
pub fn tts(hand_over: impl Fn(&Seen) -> Reply + Send + 'static) -> Server {
    Server::start(move |seen| match seen.method.as_str() {
        "PUT" => hand_over(seen),
        _ => Reply::Status(404),
    })
}

pub fn accepts(seen: &Seen) -> Reply {
    let id = seen.path.rsplit('/').next().unwrap();
    Reply::Json(
        202,
        json!({ "id": id, "status": "queued", "format": "wav" }),
    )
}

pub async fn submit(world: &World, timeout_s: u32, many: usize) -> Vec<Uuid> {
    let submitted = world.db.write(move |tx| {
        (0..many)
            .map(|_| {
                let id = Uuid::now_v7();
                task(id, timeout_s)(tx)?;
                Ok(id)
            })
            .collect()
    });
    submitted.await.unwrap()
}

#[actix_rt::test]
async fn a_hand_over_that_fails_is_tried_again_by_the_schedule() {
    let mut world = World::new(Service::Backend);
    let server = tts(|_| Reply::Status(500));
    let id = submit(&world, 3600, 1).await[0];
    let (_backend, _) = start(&mut world, &server);
    let mut waits = Vec::new();
    for attempt in 1..=7 {
        eventually("the try is recorded", || async {
            task_row(&world.db, id).await.action_attempt == attempt
        })
        .await;
        let due_at = task_row(&world.db, id).await.action_due_at.unwrap();
        waits.push(due_at - world.now());
        world.settle().await;
        world.advance_to(due_at - 1);
        world.settle().await;
        assert_eq!(server.count("PUT"), usize::try_from(attempt).unwrap());
        world.advance_ms(1);
    }
    assert_eq!(waits, [1000, 2000, 5000, 10_000, 30_000, 30_000, 30_000]);
}

#[actix_rt::test]
async fn a_tts_service_that_is_down_gets_one_probe_at_a_time_and_waiting_is_no_attempt() {
    let mut world = World::new(Service::Backend);
    let server = tts(|_| Reply::Status(500));
    let ids = submit(&world, 3600, 90).await;
    let (_backend, _) = start(&mut world, &server);
    let recorded = async || {
        let mut recorded = 0;
        for id in &ids {
            recorded += task_row(&world.db, *id).await.action_attempt;
        }
        usize::try_from(recorded).unwrap()
    };
    eventually("the first wave has come", || async {
        recorded().await >= 48
    })
    .await;
    // It is over once none comes any more: some took the place of the first that
    // failed, and may be on their way.
    let (mut first_wave, mut quiet) = (0, 0);
    while quiet < 10 {
        world.settle().await;
        tokio::time::sleep(Duration::from_millis(1)).await;
        let now = recorded().await;
        let is_quiet = now == first_wave && now == server.count("PUT");
        quiet = if is_quiet { quiet + 1 } else { 0 };
        first_wave = now;
    }
    assert!(first_wave < 60, "{first_wave}");
    for (probe, wait_ms) in [(1, 1000), (2, 2000), (3, 4000)] {
        world.advance_ms(wait_ms);
        // The wait for the next one begins when this one is known to have failed.
        eventually("the probe has failed", || async {
            recorded().await == first_wave + probe
        })
        .await;
        world.settle().await;
        world.settle().await;
        assert_eq!(server.count("PUT"), first_wave + probe);
    }
    let mut tries = 0;
    let mut untouched = 0;
    for id in &ids {
        let row = task_row(&world.db, *id).await;
        tries += row.action_attempt;
        untouched += usize::from(row.action_attempt == 0);
    }
    assert_eq!(usize::try_from(tries).unwrap(), first_wave + 3);
    assert!(untouched >= 90 - first_wave - 3, "{untouched}");

    server.answers(accepts);
    world.advance_ms(60_000);
    for id in &ids {
        eventually("all are handed over once it answers", || async {
            task_row(&world.db, *id).await.status == "in_progress"
        })
        .await;
    }
}

#[actix_rt::test]
async fn a_retry_after_holds_back_all_hand_overs() {
    let mut world = World::new(Service::Backend);
    let server = tts(|_| Reply::RetryAfter(429, 7));
    let first = submit(&world, 3600, 1).await[0];
    let (backend, _) = start(&mut world, &server);
    eventually("the try is recorded", || async {
        task_row(&world.db, first).await.action_attempt == 1
    })
    .await;
    world.settle().await;
    server.answers(accepts);
    let second = submit(&world, 3600, 1).await[0];
    backend.do_send(TaskSubmitted);
    world.settle().await;
    world.advance_ms(6999);
    world.settle().await;
    assert_eq!(server.count("PUT"), 1);
    world.advance_ms(1);
    for id in [first, second] {
        eventually("it is handed over", || async {
            task_row(&world.db, id).await.status == "in_progress"
        })
        .await;
    }
}

#[actix_rt::test]
async fn a_task_is_abandoned_only_once_no_hand_over_of_it_is_under_way() {
    let mut world = World::new(Service::Backend);
    let server = tts(|_| Reply::Hang);
    let id = submit(&world, 3600, 1).await[0];
    let (backend, _) = start(&mut world, &server);
    eventually("the hand-over is under way", || async {
        server.hanging() == 1
    })
    .await;
    let canceled = world.db.write(move |tx| tasks::cancel(tx, id));
    canceled.await.unwrap();
    for _ in 0..5 {
        backend.do_send(TaskEnded);
        world.settle().await;
    }
    assert!(
        !server
            .seen()
            .iter()
            .any(|seen| seen.path.ends_with("/cancel"))
    );
    server.release();
    eventually("it is abandoned", || async {
        let row = task_row(&world.db, id).await;
        row.status == "canceled" && row.action.is_none()
    })
    .await;
    let abandons = server.seen();
    let abandons = abandons
        .iter()
        .filter(|seen| seen.path == format!("/v1/speech/{id}/cancel"));
    assert_eq!(abandons.count(), 1);
}

#[actix_rt::test]
async fn a_task_whose_time_is_over_is_left_to_the_watchdog() {
    let mut world = World::new(Service::Backend);
    let server = tts(accepts);
    let id = submit(&world, 5, 1).await[0];
    world.advance_to(START + 5000);
    let (backend, heard) = start(&mut world, &server);
    for _ in 0..5 {
        backend.do_send(TaskSubmitted);
        world.settle().await;
    }
    assert_eq!(server.count("PUT"), 0);
    assert_eq!(task_row(&world.db, id).await.status, "queued");
    // Each action that has run tells the dispatcher: none has.
    assert_eq!(heard.count("DeliveryEnqueued"), 0);
}

/// The sound that [`speaks`] has made of everything.
const SOUND: &str = "sound";

/// A TTS service that has spoken all that it was ever given.
pub fn speaks(seen: &Seen) -> Reply {
    let path = seen.path.as_str();
    match path.rsplit('/').next().unwrap() {
        "words.json" => Reply::Json(200, json!({"words": []})),
        "audio.wav" => Reply::Json(200, json!(SOUND)),
        _ if seen.method == "PUT" => accepts(seen),
        _ => Reply::Status(404),
    }
}

pub fn spoken(id: Uuid) -> Speech {
    let sound = json!(SOUND).to_string();
    let speech = json!({"id": id, "status": "completed", "format": "wav", "audio": {
        "format": "wav", "sample_rate_hz": 22050, "channels": 1, "duration_ms": 1,
        "bytes": sound.len(), "sha256": hex(&Sha256::digest(&sound)),
    }});
    serde_json::from_value(speech).unwrap()
}

#[actix_rt::test]
async fn what_our_own_disk_cannot_take_is_no_attempt_and_shuts_nobody_out() {
    let mut world = World::new(Service::Backend);
    let server = Server::start(speaks);
    let id = submit(&world, 3600, 1).await[0];
    let known = move |tx: &mut Tx<'_>| tasks::result_known(tx, &spoken(id), "test");
    assert!(world.db.write(known).await.unwrap());
    let files = files(&world);
    // A file stands where its folder has to be.
    let folder = files.key(id, "", "");
    let folder = world.folder.path().join("files").join(&folder[..10]);
    std::fs::remove_dir(&folder).unwrap();
    std::fs::write(&folder, "").unwrap();
    let (backend, _) = start_with(&mut world, tts_client(&server), files.clone());
    let due_at = async || task_row(&world.db, id).await.action_due_at.unwrap();
    let downloads = || {
        let seen = server.seen();
        let audio = seen.iter().filter(|seen| seen.path.ends_with("/audio.wav"));
        audio.count()
    };
    // More often than failures in a row would shut the TTS service out.
    for round in 1..=4 {
        eventually("it was downloaded and could not be kept", || async {
            downloads() == round && due_at().await > world.now()
        })
        .await;
        assert_eq!(due_at().await, world.now() + 10_000);
        // The trial that ends the trouble comes after a second.
        world.settle().await;
        world.advance_ms(1000);
        eventually("files can be written", || async {
            !files.write_health().is_met()
        })
        .await;
        if round < 4 {
            world.advance_to(due_at().await);
        }
    }
    assert_eq!(task_row(&world.db, id).await.action_attempt, 0);
    let other = submit(&world, 3600, 1).await[0];
    backend.do_send(TaskSubmitted);
    eventually("another is handed over meanwhile", || async {
        task_row(&world.db, other).await.status == "in_progress"
    })
    .await;
    std::fs::remove_file(&folder).unwrap();
    std::fs::create_dir(&folder).unwrap();
    world.advance_ms(10_000);
    eventually("it is kept", || async {
        task_row(&world.db, id).await.status == "completed"
    })
    .await;
}

/// A TTS service that has events only, and those of every speech. Each stream of them
/// is the test's to write to.
fn streams() -> (String, mpsc::UnboundedReceiver<TcpStream>) {
    let (base, mut calls) = calls(Arc::new(AtomicBool::new(true)));
    let (tell, told) = mpsc::unbounded_channel();
    actix_rt::spawn(async move {
        while let Some((_, mut stream)) = calls.recv().await {
            open_stream(&mut stream).await;
            tell.send(stream).unwrap();
        }
    });
    (base, told)
}

/// A TTS service whose hand-overs are the test's to answer, and so are streams of
/// events once `has_speech` is set; with the method of each. There is nothing else.
fn calls(has_speech: Arc<AtomicBool>) -> (String, mpsc::UnboundedReceiver<(String, TcpStream)>) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let listener = TcpListener::from_std(listener).unwrap();
    let (tell, told) = mpsc::unbounded_channel();
    actix_rt::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            let head = String::from_utf8(head).unwrap();
            let is_stream = head.contains("/events ") && has_speech.load(Ordering::SeqCst);
            if is_stream || head.starts_with("PUT") {
                let method = head.split(' ').next().unwrap().to_owned();
                tell.send((method, stream)).unwrap();
            } else {
                let answer =
                    "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        }
    });
    (base, told)
}

async fn open_stream(stream: &mut TcpStream) {
    let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
}

async fn accept_hand_over(stream: &mut TcpStream, id: Uuid) {
    let speech = json!({ "id": id, "status": "queued", "format": "wav" }).to_string();
    let answer = format!(
        "HTTP/1.1 202 Accepted\r\ncontent-type: application/json\r\n\
         content-length: {}\r\nconnection: close\r\n\r\n{speech}",
        speech.len()
    );
    stream.write_all(answer.as_bytes()).await.unwrap();
}

/// Tells the stream how far its speech is.
async fn tell_progress(stream: &mut TcpStream, id: Uuid, sentences_done: u32) {
    let event = json!({"type": "progress", "at": "2026-01-01T00:00:00Z", "speech_id": id,
        "progress": {"sentences_done": sentences_done, "sentences_total": 9}});
    let text = format!("event: progress\ndata: {event}\n\n");
    let chunk = format!("{:x}\r\n{text}\r\n", text.len());
    stream.write_all(chunk.as_bytes()).await.unwrap();
}

/// How many sentences are done, by the one event that has come.
fn progress_of(news: News) -> u32 {
    let News::Events(events) = news else {
        panic!("no events");
    };
    assert_eq!(events.len(), 1);
    events[0].progress.unwrap().sentences_done
}

async fn in_time<T>(what: &str, wanted: impl Future<Output = T>) -> T {
    let came = tokio::time::timeout(PATIENCE, wanted).await;
    came.unwrap_or_else(|_| panic!("it never came: {what}"))
}

#[actix_rt::test]
async fn a_task_is_followed_until_its_last_watcher_has_gone_whoever_came_first() {
    let mut world = World::new(Service::Backend);
    let (base, mut streams) = streams();
    let tts = TtsClient::new(client(Duration::from_secs(60)), base.parse().unwrap(), None);
    let files = files(&world);
    let (backend, _) = start_with(&mut world, tts, files);
    let id = Uuid::now_v7();
    let mut live = world.db.subscribe(Interest::Of(id));
    let mut heard = async || progress_of(in_time("progress", live.next()).await);
    let watch = async || {
        let watcher: Watcher = Arc::new(());
        let hint = Watch {
            id,
            watcher: Arc::downgrade(&watcher),
        };
        backend.send(hint).await.unwrap();
        watcher
    };
    let first = watch().await;
    let mut stream = in_time("a stream", streams.recv()).await.unwrap();
    tell_progress(&mut stream, id, 1).await;
    assert_eq!(heard().await, 1);
    let second = watch().await;
    drop(first);
    tell_progress(&mut stream, id, 2).await;
    assert_eq!(heard().await, 2);
    drop(second);
    tell_progress(&mut stream, id, 3).await;
    // Nobody reads on: the stream is closed over there.
    let mut byte = [0];
    let read = in_time("the close", stream.read(&mut byte)).await;
    assert_eq!(read.unwrap_or(0), 0);
    let _third = watch().await;
    let mut stream = in_time("a new stream", streams.recv()).await.unwrap();
    tell_progress(&mut stream, id, 4).await;
    assert_eq!(heard().await, 4);
}

#[actix_rt::test]
async fn who_watches_a_task_before_its_hand_over_hears_of_its_progress() {
    let mut world = World::new(Service::Backend);
    let id = submit(&world, 3600, 1).await[0];
    let has_speech = Arc::new(AtomicBool::new(false));
    let (base, mut calls) = calls(Arc::clone(&has_speech));
    let tts = TtsClient::new(client(Duration::from_secs(60)), base.parse().unwrap(), None);
    let files = files(&world);
    let (backend, _) = start_with(&mut world, tts, files);
    let (method, mut hand_over) = in_time("the hand-over", calls.recv()).await.unwrap();
    assert_eq!(method, "PUT");
    let watcher: Watcher = Arc::new(());
    let watch = Watch {
        id,
        watcher: Arc::downgrade(&watcher),
    };
    backend.send(watch).await.unwrap();
    world.settle().await;
    has_speech.store(true, Ordering::SeqCst);
    accept_hand_over(&mut hand_over, id).await;
    let (method, mut stream) = in_time("a stream", calls.recv()).await.unwrap();
    assert_eq!(method, "GET");
    let is_handed_over = task_row(&world.db, id).await.status() == TaskStatus::InProgress;
    assert!(is_handed_over, "nothing is asked for before");
    let mut live = world.db.subscribe(Interest::Of(id));
    open_stream(&mut stream).await;
    tell_progress(&mut stream, id, 1).await;
    assert_eq!(progress_of(in_time("progress", live.next()).await), 1);
}

#[actix_rt::test]
async fn what_the_hand_over_carries_is_the_time_that_remains() {
    let mut world = World::new(Service::Backend);
    let server = tts(accepts);
    submit(&world, 60, 1).await;
    world.advance_ms(10_001);
    let (_backend, _) = start(&mut world, &server);
    eventually("it is handed over", || async { server.count("PUT") == 1 }).await;
    let put = server.seen().into_iter().find(|seen| seen.method == "PUT");
    let body: serde_json::Value = serde_json::from_slice(&put.unwrap().body).unwrap();
    assert_eq!(body["timeout_s"], 50, "rounded up");
    assert_eq!(body["callback_url"], "http://127.0.0.1:9/v1/callbacks");
}
