//! TimeoutWatchdog: by the clock, whatever the order of the deadlines and
//! whatever fails meanwhile.

use actix::Addr;
use diesel::connection::SimpleConnection;
use hoiam::backend::store as tasks;
use hoiam::backend::watchdog::Deps;
use hoiam::backend::{DeadlineAdded, TimeoutWatchdog};
use hoiam::claim_loop::Pulse;
use hoiam::resource::operations::Accepted;
use hoiam_api::{Service, Speech};
use proptest::prelude::*;
use serde_json::json;
use uuid::Uuid;

use super::support::{
    Heard, Probe, Reply, START, Server, World, error_code, eventually, task, task_row, tts_client,
};

fn start(world: &mut World, server: &Server) -> (Addr<TimeoutWatchdog>, Heard) {
    let (probe, heard) = Probe::start();
    let parts = Deps {
        db: world.db.clone(),
        tts: tts_client(server),
        result_known: probe.clone().recipient(),
        task_ended: probe.clone().recipient(),
        dispatcher: probe.recipient(),
        deadlines: Pulse::default(),
    };
    let watchdog = TimeoutWatchdog::new(parts);
    (world.tree.start("watchdog", watchdog), heard)
}

/// A TTS service that knows of nothing.
fn empty() -> Server {
    Server::start(|_| Reply::Json(200, json!({ "items": [] })))
}

/// What a TTS service says that has spoken this.
fn completed(id: Uuid) -> Reply {
    let speech = json!({
        "id": id, "status": "completed", "format": "wav",
        "audio": {"format": "wav", "sample_rate_hz": 22050, "channels": 1, "duration_ms": 1,
                  "bytes": 1, "sha256": "00"},
    });
    Reply::Json(200, json!({ "items": [speech] }))
}

/// Accepts a task and tells the watchdog, as the edge does.
async fn add(world: &World, watchdog: &Addr<TimeoutWatchdog>, id: Uuid, timeout_s: u32) -> i64 {
    let accepted = world.db.write(task(id, timeout_s)).await.unwrap();
    let Accepted::New(row) = accepted else {
        panic!("{accepted:?}")
    };
    watchdog.do_send(DeadlineAdded {
        pull_at: row.pull_at,
        deadline_at: row.deadline_at,
    });
    row.deadline_at
}

async fn hand_over(world: &World, id: Uuid) {
    let speech: Speech =
        serde_json::from_value(json!({ "id": id, "status": "queued", "format": "wav" })).unwrap();
    let accepted = world.db.write(move |tx| tasks::accepted(tx, id, &speech));
    accepted.await.unwrap();
}

/// Steps through time and adds tasks in between: each has to time out in the
/// very step that reaches its deadline.
async fn all_time_out_in_time(steps: Vec<(u32, Vec<u32>)>) -> Result<(), TestCaseError> {
    let mut world = World::new(Service::Backend);
    let server = empty();
    let (watchdog, _) = start(&mut world, &server);
    let mut open: Vec<(Uuid, i64)> = Vec::new();
    let rest = [(70_000, Vec::new())];
    for (step_ms, timeouts) in steps.into_iter().chain(rest) {
        // Without waiting for the look that the last step began.
        for timeout_s in timeouts {
            let id = Uuid::now_v7();
            open.push((id, add(&world, &watchdog, id, timeout_s).await));
        }
        world.advance_ms(i64::from(step_ms));
        let now = world.now();
        let (due, later): (Vec<_>, Vec<_>) = open.into_iter().partition(|(_, at)| *at <= now);
        for (id, deadline_at) in due {
            eventually("the task times out", || async {
                task_row(&world.db, id).await.status == "timed_out"
            })
            .await;
            prop_assert_eq!(task_row(&world.db, id).await.ended_at, Some(now));
            prop_assert!(deadline_at <= now);
        }
        for (id, _) in &later {
            prop_assert_eq!(task_row(&world.db, *id).await.status, "queued");
        }
        open = later;
    }
    prop_assert!(open.is_empty());
    Ok(())
}

#[test]
fn every_deadline_fires_in_the_step_that_reaches_it_and_never_before() {
    let step = (
        prop_oneof![1_u32..3000, 3000_u32..30_000],
        prop::collection::vec(1_u32..60, 0..6),
    );
    let config = ProptestConfig::with_cases(12);
    let mut runner = proptest::test_runner::TestRunner::new(config);
    let result = runner.run(&prop::collection::vec(step, 1..8), |steps| {
        actix_rt::System::new().block_on(all_time_out_in_time(steps))
    });
    if let Err(error) = result {
        panic!("{error}");
    }
}

#[actix_rt::test]
async fn a_deadline_fires_at_its_millisecond_and_the_neighbours_hear_of_it() {
    let mut world = World::new(Service::Backend);
    let server = empty();
    let (watchdog, heard) = start(&mut world, &server);
    let id = Uuid::now_v7();
    let deadline_at = add(&world, &watchdog, id, 5).await;
    world.advance_to(deadline_at - 1);
    world.settle().await;
    assert_eq!(task_row(&world.db, id).await.status, "queued");
    world.advance_ms(1);
    eventually("the neighbours hear of it", || async {
        heard.count("TaskEnded") == 1 && heard.count("DeliveryEnqueued") >= 1
    })
    .await;
    let row = task_row(&world.db, id).await;
    assert_eq!(
        (row.status.as_str(), row.ended_at),
        ("timed_out", Some(deadline_at))
    );
}

#[actix_rt::test]
async fn more_deadlines_than_one_commit_takes_all_fire() {
    let mut world = World::new(Service::Backend);
    let server = empty();
    let many = world.db.write(|tx| {
        for _ in 0..1200 {
            task(Uuid::now_v7(), 5)(tx)?;
        }
        Ok(())
    });
    many.await.unwrap();
    let (_watchdog, _) = start(&mut world, &server);
    world.settle().await;
    world.advance_ms(5000);
    eventually("all have timed out", || async {
        world.db.load().jobs() == 0
    })
    .await;
}

#[actix_rt::test]
async fn a_store_that_fails_delays_a_deadline_by_a_second_and_no_more() {
    let mut world = World::new(Service::Backend);
    let server = empty();
    let (watchdog, _) = start(&mut world, &server);
    let id = Uuid::now_v7();
    let deadline_at = add(&world, &watchdog, id, 5).await;
    world.settle().await;
    let sql = |sql: &'static str| world.db.write(move |tx| tx.conn.batch_execute(sql));
    sql("ALTER TABLE tasks RENAME TO hidden").await.unwrap();
    world.advance_to(deadline_at);
    world.settle().await;
    sql("ALTER TABLE hidden RENAME TO tasks").await.unwrap();
    world.settle().await;
    assert_eq!(task_row(&world.db, id).await.status, "queued");
    world.advance_ms(1000);
    eventually("it times out", || async {
        task_row(&world.db, id).await.status == "timed_out"
    })
    .await;
}

#[actix_rt::test]
async fn a_result_that_is_known_over_there_is_found_shortly_before_the_deadline() {
    let mut world = World::new(Service::Backend);
    let id = Uuid::now_v7();
    let server = Server::start(move |_| completed(id));
    let (watchdog, heard) = start(&mut world, &server);
    // What a start asks about is read before there is anything.
    world.settle().await;
    let deadline_at = add(&world, &watchdog, id, 50).await;
    hand_over(&world, id).await;
    world.advance_to(deadline_at - 5001);
    world.settle().await;
    assert_eq!(server.count("POST"), 0, "a tenth of the time-out before");
    world.advance_ms(1);
    eventually("the result is known", || async {
        heard.count("ResultKnown") == 1
    })
    .await;
    assert_eq!(task_row(&world.db, id).await.status, "fetching");
    world.advance_to(deadline_at);
    world.settle().await;
    assert_eq!(task_row(&world.db, id).await.status, "fetching");
    assert_eq!(server.count("POST"), 1);
}

#[actix_rt::test]
async fn what_had_been_handed_over_is_asked_about_after_a_start() {
    let mut world = World::new(Service::Backend);
    let (lost, waiting) = (Uuid::now_v7(), Uuid::now_v7());
    for id in [lost, waiting] {
        world.db.write(task(id, 60)).await.unwrap();
    }
    hand_over(&world, lost).await;
    world.advance_ms(1);
    let server = empty();
    let (_watchdog, _) = start(&mut world, &server);
    eventually("the lost one fails", || async {
        task_row(&world.db, lost).await.status == "failed"
    })
    .await;
    let row = task_row(&world.db, lost).await;
    assert_eq!(
        error_code(row.error.as_deref()).as_deref(),
        Some("speech_lost")
    );
    assert_eq!(task_row(&world.db, waiting).await.status, "queued");
}

#[actix_rt::test]
async fn a_tts_service_that_does_not_answer_holds_up_no_deadline() {
    let mut world = World::new(Service::Backend);
    let server = Server::start(|_| Reply::Hang);
    let (watchdog, _) = start(&mut world, &server);
    let id = Uuid::now_v7();
    let deadline_at = add(&world, &watchdog, id, 5).await;
    hand_over(&world, id).await;
    world.advance_to(deadline_at - 100);
    // The reconciliation after the start may have asked about it as well.
    eventually("it is asked", || async { server.hanging() >= 1 }).await;
    world.advance_to(deadline_at);
    eventually("it times out", || async {
        task_row(&world.db, id).await.status == "timed_out"
    })
    .await;
    assert_eq!(task_row(&world.db, id).await.ended_at, Some(START + 5000));
    server.release();
}

#[actix_rt::test]
async fn what_a_start_asks_about_is_asked_about_again_until_there_is_an_answer() {
    let mut world = World::new(Service::Backend);
    let id = Uuid::now_v7();
    world.db.write(task(id, 3600)).await.unwrap();
    hand_over(&world, id).await;
    let server = Server::start(|_| Reply::Status(503));
    let (_watchdog, _) = start(&mut world, &server);
    let asked = || server.count("POST");
    eventually("it is asked", || async { asked() == 1 }).await;
    for (again, wait_ms) in [(2, 1000), (3, 2000), (4, 4000)] {
        world.settle().await;
        // It begins when the answer is heard, which takes as long as it takes.
        let waited = world.advance_until(100, 60_000, || asked() == again).await;
        assert!(waited >= wait_ms, "{waited} ms before question {again}");
    }
    server.answers(move |_| completed(id));
    world.advance_until(100, 60_000, || asked() == 5).await;
    eventually("its result is known", || async {
        task_row(&world.db, id).await.status == "fetching"
    })
    .await;
}

#[actix_rt::test]
async fn a_pull_that_is_not_answered_is_made_again_before_the_deadline() {
    let mut world = World::new(Service::Backend);
    let server = Server::start(|_| Reply::Status(503));
    let (watchdog, _) = start(&mut world, &server);
    world.settle().await;
    let id = Uuid::now_v7();
    let deadline_at = add(&world, &watchdog, id, 100).await;
    hand_over(&world, id).await;
    world.advance_to(deadline_at - 10_000);
    eventually("it is asked", || async { server.count("POST") == 1 }).await;
    server.answers(move |_| completed(id));
    let asked = || server.count("POST");
    world.advance_until(10, 9000, || asked() == 2).await;
    eventually("its result is known", || async {
        task_row(&world.db, id).await.status == "fetching"
    })
    .await;
}

#[actix_rt::test]
async fn who_has_ended_is_not_asked_about_again() {
    let mut world = World::new(Service::Backend);
    let (ended, open) = (Uuid::now_v7(), Uuid::now_v7());
    for id in [ended, open] {
        world.db.write(task(id, 3600)).await.unwrap();
        hand_over(&world, id).await;
    }
    let server = Server::start(|_| Reply::Status(503));
    let (_watchdog, _) = start(&mut world, &server);
    eventually("they are asked about", || async {
        server.count("POST") == 1
    })
    .await;
    world
        .db
        .write(move |tx| tasks::cancel(tx, ended))
        .await
        .unwrap();
    let asked = || server.count("POST");
    world.advance_until(100, 60_000, || asked() == 2).await;
    let asked = server.seen().pop().unwrap();
    let asked = String::from_utf8_lossy(&asked.body).into_owned();
    assert!(asked.contains(&open.to_string()), "{asked}");
    assert!(!asked.contains(&ended.to_string()), "{asked}");
}

#[actix_rt::test]
async fn pulls_that_cannot_be_read_pause_whatever_is_unanswered() {
    let mut world = World::new(Service::Backend);
    let id = Uuid::now_v7();
    world.db.write(task(id, 3600)).await.unwrap();
    hand_over(&world, id).await;
    let server = Server::start(|_| Reply::Status(503));
    let (_watchdog, _) = start(&mut world, &server);
    eventually("it is asked", || async { server.count("POST") == 1 }).await;
    world.settle().await;
    let sql = |sql: &'static str| world.db.write(move |tx| tx.conn.batch_execute(sql));
    sql("ALTER TABLE tasks RENAME TO hidden").await.unwrap();
    world.advance_ms(1000);
    world.settle().await;
    sql("ALTER TABLE hidden RENAME TO tasks").await.unwrap();
    world.settle().await;
    let asked = || server.count("POST");
    assert_eq!(asked(), 1, "it pauses");
    world.advance_until(100, 60_000, || asked() == 2).await;
}
