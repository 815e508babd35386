//! TTSWorker with a real child that rehearses failures.

use std::path::PathBuf;
use std::time::Duration;

use actix::Addr;
use diesel::connection::SimpleConnection;
use diesel::{ExpressionMethods, QueryDsl, RunQueryDsl};
use hoiam::claim_loop::Pulse;
use hoiam::db::history::{Whose, events_after, newest_event};
use hoiam::db::hub::Interest;
use hoiam::db::schema::speeches as rows;
use hoiam::db::{Conn, Id};
use hoiam::files::{Cache, Files};
use hoiam::progress::ProgressBoard;
use hoiam::resource::row::TableRow as _;
use hoiam::tts::deadlines::DeadlineWatchdog;
use hoiam::tts::messages::{DeadlineAdded, JobQueuedBy};
use hoiam::tts::salvage::Limits;
use hoiam::tts::voices::Voices;
use hoiam::tts::worker::{ChildBoard, Deps, Settings};
use hoiam::tts::workers::Workers;
use hoiam::tts::{JobCanceled, JobQueued, LongTexts, TtsWorker, store as speeches};
use hoiam_api::{Create, Service};
use hoiam_supervision::Drain;
use hoiam_synthesizer::crashes::Crashes;
use hoiam_synthesizer::engines;
use hoiam_synthesizer::parent::{Options, Synthesizer};
use uuid::Uuid;

use super::support::{
    Heard, HeldWriter, Probe, START, World, accepting, accepting_for, create, error_code,
    eventually, job, job_is, job_row, unchecked_job,
};

fn limits(base: Duration) -> Limits {
    Limits {
        base,
        per_character: Duration::ZERO,
    }
}

pub fn settings() -> Settings {
    Settings {
        pronunciations: std::sync::Arc::default(),
        max_attempts: 3,
        limits: limits(Duration::from_secs(60)),
        boot: Uuid::now_v7(),
        workers: 1,
        ahead: Duration::from_millis(50),
        audio_bytes: u64::MAX,
    }
}

pub fn start_with(world: &mut World, settings: Settings) -> (Addr<TtsWorker>, Heard) {
    let voices = Voices::new([].into(), [].into());
    let (worker, _, heard) = start_offering(world, settings, voices);
    (worker, heard)
}

/// A worker that tells `voices` what its children offer.
fn start_offering(
    world: &mut World,
    settings: Settings,
    voices: Voices,
) -> (Addr<TtsWorker>, Addr<DeadlineWatchdog>, Heard) {
    let (probe, heard) = Probe::start();
    let watchdog = DeadlineWatchdog::new(hoiam::tts::deadlines::Deps {
        db: world.db.clone(),
        dispatcher: probe.clone().recipient(),
        deadlines: Pulse::default(),
    });
    let watchdog = world.tree.start("watchdog", watchdog);
    let voices_dir = world.folder.path().to_owned();
    let files = Files::open(
        &world.folder.path().join("files"),
        Service::Tts,
        world.db.clock().clone(),
    )
    .unwrap();
    let parts = Deps {
        number: 0,
        db: world.db.clone(),
        cache: Cache::new(&files, 1_000_000),
        files,
        voices,
        progress: ProgressBoard::new(world.db.clone()),
        dispatcher: probe.recipient(),
        workers: Workers::default(),
        long_texts: LongTexts::default(),
        crashes: Crashes::default(),
        settings,
        children: ChildBoard::default(),
        jobs: Pulse::default(),
        deadlines: watchdog.clone().recipient(),
        make_synthesizer: Box::new(move || {
            Synthesizer::new(Options {
                program: PathBuf::from(env!("CARGO_BIN_EXE_hoiam")),
                engines: engines::Setup {
                    test_voices: true,
                    voices_dir: Some(voices_dir.clone()),
                    ..engines::Setup::default()
                },
                ..Options::default()
            })
        }),
    };
    let worker = world.tree.start("worker", TtsWorker::new(parts));
    (worker, watchdog, heard)
}

/// With the watchdog, which stands beside every worker of these tests.
fn start_watched(world: &mut World) -> (Addr<TtsWorker>, Addr<DeadlineWatchdog>, Heard) {
    let voices = Voices::new([].into(), [].into());
    start_offering(world, settings(), voices)
}

pub fn start(world: &mut World) -> (Addr<TtsWorker>, Heard) {
    start_with(world, settings())
}

/// A worker that has looked for work and found none.
async fn start_idle(world: &mut World) -> (Addr<TtsWorker>, Heard) {
    let (worker, heard) = start(world);
    let first = accept(world, "test/silence", 60).await;
    worker.do_send(JobQueued);
    becomes(world, first, "completed").await;
    world.settle().await;
    (worker, heard)
}

pub async fn accept(world: &World, voice: &str, timeout_s: u32) -> Uuid {
    let id = Uuid::now_v7();
    let accepted = world
        .db
        .write(job(id, voice, Some("http://127.0.0.1:9/"), timeout_s));
    accepted.await.unwrap();
    id
}

pub async fn becomes(world: &World, id: Uuid, status: &str) {
    eventually(&format!("the job is {status}"), || {
        job_is(&world.db, id, status)
    })
    .await;
}

/// Lets the tasks of this thread go on until each waits for something.
async fn turn() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

async fn failure_of(world: &World, id: Uuid) -> String {
    let row = job_row(&world.db, id).await;
    error_code(row.error.as_deref()).unwrap()
}

#[actix_rt::test]
async fn jobs_are_spoken_one_after_another_and_each_end_is_told() {
    let mut world = World::new(Service::Tts);
    let first = accept(&world, "test/silence", 60).await;
    let second = accept(&world, "test/fail", 60).await;
    let (_worker, heard) = start(&mut world);
    becomes(&world, first, "completed").await;
    becomes(&world, second, "failed").await;
    assert_eq!(failure_of(&world, second).await, "engine_failed");
    assert_eq!(job_row(&world.db, second).await.attempt, 0);
    eventually("both ends are told", || async {
        heard.count("DeliveryEnqueued") >= 2
    })
    .await;
}

#[actix_rt::test]
async fn a_hint_that_comes_during_an_empty_claim_is_followed_by_another_claim() {
    let mut world = World::new(Service::Tts);
    let (worker, _) = start_idle(&mut world).await;

    let held = HeldWriter::new(&world.db).await;
    // The claim is in the writer's queue before the job is.
    worker.send(JobQueued).await.unwrap();
    turn().await;
    let id = Uuid::now_v7();
    let accepting = actix_rt::spawn({
        let db = world.db.clone();
        async move { db.write(job(id, "test/silence", None, 60)).await }
    });
    turn().await;
    worker.send(JobQueued).await.unwrap();
    held.release().await;
    accepting.await.unwrap().unwrap();
    becomes(&world, id, "completed").await;
}

#[actix_rt::test]
async fn a_crash_costs_an_attempt_and_the_third_ends_the_job() {
    let mut world = World::new(Service::Tts);
    let id = accept(&world, "test/crash", 3600).await;
    let after = accept(&world, "test/silence", 3600).await;
    let (_worker, _) = start(&mut world);
    becomes(&world, id, "failed").await;
    let row = job_row(&world.db, id).await;
    assert_eq!((row.attempt, row.claim), (3, 3));
    assert_eq!(failure_of(&world, id).await, "engine_crashed");
    becomes(&world, after, "completed").await;
}

#[actix_rt::test]
async fn an_overrun_costs_an_attempt_and_the_third_ends_the_job() {
    let mut world = World::new(Service::Tts);
    let id = accept(&world, "test/hang", 3600).await;
    let short = Settings {
        limits: limits(Duration::from_millis(100)),
        ..settings()
    };
    let (_worker, _) = start_with(&mut world, short);
    becomes(&world, id, "failed").await;
    assert_eq!(job_row(&world.db, id).await.attempt, 3);
    assert_eq!(failure_of(&world, id).await, "synthesis_timeout");
}

#[actix_rt::test]
async fn a_long_text_that_hangs_is_given_up_after_the_time_of_two_sentences() {
    let mut world = World::new(Service::Tts);
    let id = Uuid::now_v7();
    let create = Create {
        text: "One two three. ".repeat(6000),
        ..create("test/hang", None, 3600)
    };
    let accepted = world.db.write(accepting(id, create));
    accepted.await.unwrap();
    // The whole may take 9 s, two sentences of 400 characters 80 ms.
    let short = Settings {
        max_attempts: 1,
        limits: Limits {
            base: Duration::ZERO,
            per_character: Duration::from_micros(100),
        },
        ..settings()
    };
    let (_worker, _) = start_with(&mut world, short);
    becomes(&world, id, "failed").await;
    let error = job_row(&world.db, id).await.error.unwrap();
    assert!(error.contains("synthesis_timeout"), "{error}");
    assert!(error.contains("after 0 s"), "{error}");
}

#[actix_rt::test]
async fn a_job_that_is_spoken_beyond_its_deadline_fails_without_a_second_attempt() {
    let mut world = World::new(Service::Tts);
    let id = accept(&world, "test/hang", 1).await;
    let (_worker, _) = start(&mut world);
    becomes(&world, id, "failed").await;
    assert_eq!(failure_of(&world, id).await, "deadline_exceeded");
    assert_eq!(job_row(&world.db, id).await.claim, 1);
}

#[actix_rt::test]
async fn a_job_whose_deadline_is_over_is_not_spoken_and_its_end_is_told() {
    let mut world = World::new(Service::Tts);
    let id = accept(&world, "test/silence", 5).await;
    world.advance_ms(5000);
    let (_worker, heard) = start(&mut world);
    becomes(&world, id, "failed").await;
    assert_eq!(failure_of(&world, id).await, "deadline_exceeded");
    assert_eq!(job_row(&world.db, id).await.claim, 0);
    eventually("its end is told", || async {
        heard.count("DeliveryEnqueued") >= 1
    })
    .await;
}

#[actix_rt::test]
async fn a_deadline_is_kept_while_the_child_speaks_another_text() {
    let mut world = World::new(Service::Tts);
    let long = accept(&world, "test/hang", 3600).await;
    let (worker, watchdog, heard) = start_watched(&mut world);
    becomes(&world, long, "synthesizing").await;
    let short = accept(&world, "test/silence", 5).await;
    worker.do_send(JobQueued);
    watchdog.do_send(DeadlineAdded(START + 5000));
    world.settle().await;
    world.advance_ms(4999);
    world.settle().await;
    assert!(job_is(&world.db, short, "queued").await);
    world.advance_ms(1);
    becomes(&world, short, "failed").await;
    assert_eq!(failure_of(&world, short).await, "deadline_exceeded");
    assert_eq!(job_row(&world.db, short).await.ended_at, Some(START + 5000));
    assert!(job_is(&world.db, long, "synthesizing").await);
    eventually("its end is told", || async {
        heard.count("DeliveryEnqueued") >= 1
    })
    .await;
}

#[actix_rt::test]
async fn a_deadline_is_kept_while_the_callback_url_is_being_checked() {
    let mut world = World::new(Service::Tts);
    let (_worker, watchdog, _) = start_watched(&mut world);
    let id = Uuid::now_v7();
    let accepted = world.db.write(unchecked_job(id, "http://127.0.0.1:9/", 5));
    accepted.await.unwrap();
    watchdog.do_send(DeadlineAdded(START + 5000));
    world.settle().await;
    world.advance_ms(5000);
    becomes(&world, id, "failed").await;
    assert_eq!(failure_of(&world, id).await, "deadline_exceeded");
}

#[actix_rt::test]
async fn a_job_that_is_canceled_while_it_is_spoken_frees_the_child() {
    let mut world = World::new(Service::Tts);
    let id = accept(&world, "test/hang", 3600).await;
    let (worker, _) = start(&mut world);
    becomes(&world, id, "synthesizing").await;
    world.settle().await;
    let next = accept(&world, "test/silence", 3600).await;
    let canceled = world.db.write(move |tx| speeches::cancel(tx, id));
    canceled.await.unwrap();
    worker.do_send(JobCanceled(id));
    becomes(&world, next, "completed").await;
    let row = job_row(&world.db, id).await;
    assert_eq!((row.status.as_str(), row.attempt), ("canceled", 0));
}

#[actix_rt::test]
async fn a_cancel_in_the_same_commit_as_the_claim_frees_the_child() {
    let mut world = World::new(Service::Tts);
    let (worker, _) = start_idle(&mut world).await;

    let id = accept(&world, "test/hang", 3600).await;
    let next = accept(&world, "test/silence", 3600).await;
    let held = HeldWriter::new(&world.db).await;
    worker.send(JobQueued).await.unwrap();
    turn().await;
    let canceling = actix_rt::spawn({
        let db = world.db.clone();
        async move { db.write(move |tx| speeches::cancel(tx, id)).await }
    });
    turn().await;
    // The edge may be quicker than the worker to hear of the commit.
    worker.send(JobCanceled(id)).await.unwrap();
    held.release().await;
    canceling.await.unwrap().unwrap();
    becomes(&world, next, "completed").await;
    let row = job_row(&world.db, id).await;
    assert_eq!((row.status.as_str(), row.claim), ("canceled", 1));
}

#[actix_rt::test]
async fn draining_gives_the_job_back_without_counting_an_attempt() {
    let mut world = World::new(Service::Tts);
    let id = accept(&world, "test/slow-60000", 3600).await;
    let (worker, _) = start(&mut world);
    becomes(&world, id, "synthesizing").await;
    let until = tokio::time::Instant::now();
    worker.send(Drain { until }).await.unwrap();
    let row = job_row(&world.db, id).await;
    assert_eq!(
        (row.status.as_str(), row.attempt, row.claim, row.lost_leases),
        ("queued", 0, 1, 0)
    );
}

#[actix_rt::test]
async fn a_store_that_fails_delays_an_expiry_by_a_second_and_no_more() {
    let mut world = World::new(Service::Tts);
    let long = accept(&world, "test/slow-60000", 3600).await;
    let (_worker, watchdog, _) = start_watched(&mut world);
    becomes(&world, long, "synthesizing").await;
    let short = accept(&world, "test/silence", 5).await;
    watchdog.do_send(DeadlineAdded(START + 5000));
    world.settle().await;
    let sql = |sql: &'static str| world.db.write(move |tx| tx.conn.batch_execute(sql));
    sql("ALTER TABLE speeches RENAME TO hidden").await.unwrap();
    world.advance_ms(5000);
    world.settle().await;
    sql("ALTER TABLE hidden RENAME TO speeches").await.unwrap();
    world.settle().await;
    assert!(job_is(&world.db, short, "queued").await);
    world.advance_ms(1000);
    becomes(&world, short, "failed").await;
    assert_eq!(failure_of(&world, short).await, "deadline_exceeded");
}

#[actix_rt::test]
async fn what_was_claimed_ahead_of_a_text_that_takes_long_is_given_back_for_others() {
    let mut world = World::new(Service::Tts);
    let accept_many = async |number| {
        let mut ids = Vec::new();
        for _ in 0..number {
            ids.push(accept(&world, "test/silence", 3600).await);
        }
        ids
    };
    let quick = accept_many(30).await;
    let long = accept(&world, "test/slow-600000", 3600).await;
    let behind = accept_many(10).await;
    // A machine that is slow today is no reason to claim nothing ahead.
    let patient = Settings {
        ahead: Duration::from_secs(600),
        ..settings()
    };
    let (worker, _) = start_with(&mut world, patient);
    for id in quick {
        becomes(&world, id, "completed").await;
    }
    becomes(&world, behind[0], "synthesizing").await;
    world.advance_ms(250);
    for id in &behind {
        becomes(&world, *id, "queued").await;
    }
    let row = job_row(&world.db, behind[0]).await;
    assert_eq!((row.claim, row.attempt, row.lost_leases), (1, 0, 0));
    assert!(job_is(&world.db, long, "synthesizing").await);

    let canceled = world.db.write(move |tx| speeches::cancel(tx, long));
    canceled.await.unwrap();
    worker.do_send(JobCanceled(long));
    for id in behind {
        becomes(&world, id, "completed").await;
    }
}

/// Waits until the job has been postponed after this claim, and says for how long.
async fn postponed(world: &World, id: Uuid, claim: i32) -> i64 {
    eventually("it is postponed", || async {
        let row = job_row(&world.db, id).await;
        (row.status.as_str(), row.claim) == ("queued", claim)
    })
    .await;
    let not_before = world.db.read(move |conn| {
        let row = rows::table.find(Id(id)).select(rows::not_before);
        row.first::<Option<i64>>(conn)
    });
    not_before.await.unwrap().unwrap() - world.now()
}

#[actix_rt::test]
async fn a_job_that_no_engine_can_be_opened_for_waits_by_itself() {
    let mut world = World::new(Service::Tts);
    let broken = accept(&world, "test/unavailable", 3600).await;
    let behind = accept(&world, "test/silence", 3600).await;
    let (_worker, _) = start(&mut world);
    // Time stands still: the worker does not rest.
    becomes(&world, behind, "completed").await;
    assert_eq!(postponed(&world, broken, 1).await, 5000);
    world.settle().await;
    world.advance_ms(4999);
    world.settle().await;
    assert_eq!(job_row(&world.db, broken).await.claim, 1);
    world.advance_ms(1);
    assert_eq!(postponed(&world, broken, 2).await, 10_000);
    assert_eq!(job_row(&world.db, broken).await.attempt, 0);
}

#[actix_rt::test]
async fn a_job_whose_engine_was_mended_is_spoken_by_a_new_child_at_the_end_of_its_wait() {
    let mut world = World::new(Service::Tts);
    let id = accept(&world, "test/unavailable", 3600).await;
    let voices = Voices::new([].into(), [].into());
    let (_worker, _, _) = start_offering(&mut world, settings(), voices.clone());
    postponed(&world, id, 1).await;
    std::fs::write(world.folder.path().join("test.repaired"), "").unwrap();
    voices.withdraw("until a new child tells its voices");
    world.advance_ms(5000);
    becomes(&world, id, "completed").await;
    assert_eq!(job_row(&world.db, id).await.claim, 2);
    assert_eq!(voices.offered().problem, None);
}

#[actix_rt::test]
async fn a_job_that_no_engine_can_be_opened_for_fails_at_its_deadline() {
    let mut world = World::new(Service::Tts);
    let id = accept(&world, "test/unavailable", 4).await;
    let (_worker, _) = start(&mut world);
    postponed(&world, id, 1).await;
    world.advance_ms(4000);
    becomes(&world, id, "failed").await;
    assert_eq!(failure_of(&world, id).await, "deadline_exceeded");
}

// ------------------------------------------------------------------ clients

/// A job of one client among others.
async fn accept_for(world: &World, client: &str, voice: &str, text: &str) -> Uuid {
    let id = Uuid::now_v7();
    let create = Create {
        text: text.to_owned(),
        ..create(voice, None, 3600)
    };
    let accepted = world.db.write(accepting_for(client, id, create));
    accepted.await.unwrap();
    id
}

/// A long text, sentence by sentence.
async fn accept_long(world: &World, client: &str, end: &str) -> Uuid {
    let text = "One two three. ".repeat(60) + end;
    accept_for(world, client, "test/fragile", &text).await
}

async fn call_off(world: &World, worker: &Addr<TtsWorker>, id: Uuid) {
    let canceled = world.db.write(move |tx| speeches::cancel(tx, id));
    canceled.await.unwrap();
    worker.do_send(JobCanceled(id));
}

/// A worker that claims ahead, since texts were spoken within moments. A machine that is
/// slow today is no reason for it not to.
async fn start_quick(world: &mut World) -> Addr<TtsWorker> {
    let patient = Settings {
        ahead: Duration::from_secs(600),
        ..settings()
    };
    let mut quick = Vec::new();
    for _ in 0..30 {
        quick.push(accept_for(world, "a", "test/silence", "One.").await);
    }
    let (worker, _) = start_with(world, patient);
    for id in quick {
        becomes(world, id, "completed").await;
    }
    world.settle().await;
    worker
}

/// Accepts jobs in one commit: client, voice and text of each.
async fn accept_all(world: &World, jobs: Vec<(&'static str, &'static str, String)>) -> Vec<Uuid> {
    let accepted = world.db.write(move |tx| {
        let mut ids = Vec::new();
        for (client, voice, text) in &jobs {
            let id = Uuid::now_v7();
            let create = Create {
                text: text.clone(),
                ..create(voice, None, 3600)
            };
            accepting_for(client, id, create)(tx)?;
            ids.push(id);
        }
        Ok(ids)
    });
    accepted.await.unwrap()
}

/// 80 jobs of client `a`; the first holds the child until it is called off.
async fn flood_of_a(world: &World) -> Vec<Uuid> {
    let mut jobs = vec![("a", "test/slow-600000", "One.".to_owned())];
    jobs.resize(80, ("a", "test/silence", "One.".to_owned()));
    accept_all(world, jobs).await
}

#[actix_rt::test]
async fn who_comes_while_much_is_claimed_ahead_for_another_waits_for_two_texts_at_most() {
    let mut world = World::new(Service::Tts);
    let worker = start_quick(&mut world).await;
    let flood = flood_of_a(&world).await;
    let before = world.db.read(newest_event).await.unwrap();
    worker.do_send(JobQueuedBy("a".into()));
    becomes(&world, flood[20], "synthesizing").await;
    world.settle().await;
    let late = accept_for(&world, "b", "test/silence", "One.").await;
    worker.do_send(JobQueuedBy("b".into()));
    becomes(&world, late, "synthesizing").await;
    assert!(job_is(&world.db, flood[79], "queued").await);
    call_off(&world, &worker, flood[0]).await;
    becomes(&world, flood[79], "completed").await;
    becomes(&world, late, "completed").await;
    let since = move |conn: &mut Conn| {
        let page = events_after(conn, Service::Tts, &Whose::Everybody, before, usize::MAX)?;
        Ok(page.events)
    };
    let events = world.db.read(since).await.unwrap();
    let mut ended = events
        .iter()
        .filter(|event| event.to.as_deref() == Some("completed"));
    let place = ended.position(|event| event.speech_id == Some(late));
    let place = place.unwrap();
    // Outcomes are committed side by side, so one may overtake those before it.
    assert!(place < 16, "{place}");
}

/// How many jobs have this status.
async fn count(world: &World, status: &'static str) -> i64 {
    let found = world.db.read(move |conn| {
        let found = rows::table.filter(rows::status.eq(status));
        found.count().get_result(conn)
    });
    found.await.unwrap()
}

#[actix_rt::test]
async fn whoever_comes_has_one_job_claimed_ahead_and_no_more() {
    let mut world = World::new(Service::Tts);
    let worker = start_quick(&mut world).await;
    let flood = flood_of_a(&world).await;
    worker.do_send(JobQueuedBy("a".into()));
    becomes(&world, flood[31], "synthesizing").await;
    for client in ["b", "c", "d", "e", "f"] {
        let jobs = vec![(client, "test/silence", "One.".to_owned()); 40];
        let jobs = accept_all(&world, jobs).await;
        worker.do_send(JobQueuedBy(client.into()));
        becomes(&world, jobs[0], "synthesizing").await;
        world.settle().await;
    }
    assert_eq!(count(&world, "synthesizing").await, 32 + 5);
    call_off(&world, &worker, flood[0]).await;
    let over = || async { count(&world, "completed").await == 30 + 79 + 200 };
    eventually("all are spoken", over).await;
}

#[actix_rt::test]
async fn a_hint_of_anyone_is_heard_behind_any_number_of_others() {
    let mut world = World::new(Service::Tts);
    let worker = start_quick(&mut world).await;
    let flood = flood_of_a(&world).await;
    let workers = Workers::default();
    workers.fill(vec![worker.clone()]);
    workers.queued_by("a");
    becomes(&world, flood[31], "synthesizing").await;
    world.settle().await;
    let late = accept_for(&world, "b", "test/silence", "One.").await;
    for _ in 0..100 {
        workers.queued_by("a");
    }
    workers.help_wanted();
    workers.queued();
    becomes(&world, late, "synthesizing").await;
    let spoken = job_row(&world.db, flood[0]).await;
    assert_eq!(spoken.attempt, 0, "not given up");
    call_off(&world, &worker, flood[0]).await;
    becomes(&world, late, "completed").await;
}

#[actix_rt::test]
async fn a_guest_whose_text_was_spoken_before_is_not_spoken_again() {
    let mut world = World::new(Service::Tts);
    let (worker, _) = start(&mut world);
    let before = accept_for(&world, "b", "espeak/en-us", "One.").await;
    worker.do_send(JobQueuedBy("b".into()));
    becomes(&world, before, "completed").await;
    let long = accept_long(&world, "a", "They hang.").await;
    worker.do_send(JobQueuedBy("a".into()));
    becomes(&world, long, "synthesizing").await;
    let guest = accept_for(&world, "b", "espeak/en-us", "One.").await;
    worker.do_send(JobQueuedBy("b".into()));
    becomes(&world, guest, "completed").await;
    let audio = job_row(&world.db, guest).await.audio.unwrap();
    assert!(audio.contains("\"cached\":true"), "{audio}");
    call_off(&world, &worker, long).await;
}

#[actix_rt::test]
async fn a_short_text_of_another_client_is_the_guest_of_a_long_one() {
    let mut world = World::new(Service::Tts);
    let long = accept_long(&world, "a", "They hang.").await;
    let (worker, _) = start(&mut world);
    becomes(&world, long, "synthesizing").await;
    let own = accept_for(&world, "a", "test/silence", "One.").await;
    worker.do_send(JobQueuedBy("a".into()));
    let other_long = accept_long(&world, "b", "").await;
    worker.do_send(JobQueuedBy("b".into()));
    let guest = accept_for(&world, "b", "test/silence", "One.").await;
    worker.do_send(JobQueuedBy("b".into()));
    becomes(&world, guest, "completed").await;
    assert!(job_is(&world.db, long, "synthesizing").await);
    assert!(job_is(&world.db, own, "queued").await);
    assert!(job_is(&world.db, other_long, "queued").await);
    call_off(&world, &worker, long).await;
    becomes(&world, own, "completed").await;
    becomes(&world, other_long, "completed").await;
    assert_eq!(job_row(&world.db, guest).await.claim, 1);
}

#[actix_rt::test]
async fn a_long_text_waits_for_its_guest_but_not_for_long_and_sounds_as_without() {
    let mut world = World::new(Service::Tts);
    let worker = start_quick(&mut world).await;
    let text = "One two three. ".repeat(60);
    let mut jobs = vec![
        ("b", "test/fragile", text.clone()),
        ("c", "test/hang", "One.".to_owned()),
    ];
    // So many wait that the guest is claimed together with the long text.
    for client in ["d", "e", "f"] {
        jobs.push((client, "test/fragile", format!("{text} They hang.")));
    }
    let ids = accept_all(&world, jobs).await;
    let (long, guest) = (ids[0], ids[1]);
    worker.do_send(JobQueued);
    becomes(&world, guest, "synthesizing").await;
    // For as long as the same takes alone, and longer.
    let mut alone = World::new(Service::Tts);
    let same = accept_for(&alone, "a", "test/fragile", &text).await;
    let (_worker, _) = start(&mut alone);
    becomes(&alone, same, "completed").await;
    world.settle().await;
    world.advance_ms(9_999);
    world.settle().await;
    assert!(job_is(&world.db, long, "synthesizing").await);
    world.advance_ms(1);
    becomes(&world, long, "completed").await;
    assert!(job_is(&world.db, guest, "synthesizing").await);
    call_off(&world, &worker, guest).await;
    let row = job_row(&world.db, long).await;
    assert_eq!((row.claim, row.attempt), (1, 0));

    assert_eq!(job_row(&alone.db, same).await.audio, row.audio);
    let words = async |world: &World, id| {
        let words = world
            .db
            .read(move |conn| speeches::Row::text_and_words(conn, id));
        words.await.unwrap().unwrap().1
    };
    assert_eq!(words(&alone, same).await, words(&world, long).await);
}

#[actix_rt::test]
async fn a_guest_that_crashes_costs_the_long_text_nothing() {
    let mut world = World::new(Service::Tts);
    let long = accept_long(&world, "a", "They hang.").await;
    let (worker, _) = start(&mut world);
    becomes(&world, long, "synthesizing").await;
    let guest = accept_for(&world, "b", "test/crash", "One.").await;
    worker.do_send(JobQueuedBy("b".into()));
    eventually("the guest has lost an attempt", || async {
        job_row(&world.db, guest).await.attempt > 0
    })
    .await;
    let row = job_row(&world.db, long).await;
    assert_eq!((row.status.as_str(), row.attempt), ("synthesizing", 0));
    call_off(&world, &worker, long).await;
    becomes(&world, guest, "failed").await;
    assert_eq!(job_row(&world.db, guest).await.attempt, 3);
}

#[actix_rt::test]
async fn a_guest_that_is_canceled_frees_the_second_child_and_draining_gives_the_other_back() {
    let mut world = World::new(Service::Tts);
    let long = accept_long(&world, "a", "They hang.").await;
    let (worker, _) = start(&mut world);
    becomes(&world, long, "synthesizing").await;
    let guest = accept_for(&world, "b", "test/slow-600000", "One.").await;
    worker.do_send(JobQueuedBy("b".into()));
    becomes(&world, guest, "synthesizing").await;
    call_off(&world, &worker, guest).await;
    let until = tokio::time::Instant::now();
    worker.send(Drain { until }).await.unwrap();
    let row = job_row(&world.db, long).await;
    assert_eq!((row.status.as_str(), row.attempt), ("queued", 0));
    let row = job_row(&world.db, guest).await;
    assert_eq!((row.status.as_str(), row.claim), ("canceled", 1));
}

#[actix_rt::test]
async fn draining_gives_a_guest_back_too() {
    let mut world = World::new(Service::Tts);
    let long = accept_long(&world, "a", "They hang.").await;
    let (worker, _) = start(&mut world);
    becomes(&world, long, "synthesizing").await;
    let guest = accept_for(&world, "b", "test/slow-600000", "One.").await;
    worker.do_send(JobQueuedBy("b".into()));
    becomes(&world, guest, "synthesizing").await;
    let until = tokio::time::Instant::now();
    worker.send(Drain { until }).await.unwrap();
    for id in [long, guest] {
        let row = job_row(&world.db, id).await;
        assert_eq!((row.status.as_str(), row.attempt), ("queued", 0));
    }
}

/// How long a short text takes alone and behind floods, of its own client as before
/// there were turns, and of another one. By hand:
/// `cargo test --release --test it -- how_long_a_short_text_takes --ignored --nocapture`.
#[actix_rt::test]
#[ignore = "a figure and no test"]
async fn how_long_a_short_text_takes() {
    const SHORT: &str = "The second client waits for one short sentence.";
    let times = async |flood: Option<(&str, usize, usize)>| {
        let mut world = World::new(Service::Tts);
        let (worker, _) = start(&mut world);
        let warm = accept_for(&world, "b", "espeak/en-us", "One.").await;
        worker.do_send(JobQueuedBy("b".into()));
        becomes(&world, warm, "completed").await;
        if let Some((client, texts, times)) = flood {
            let of = client.to_owned();
            let accepted = world.db.write(move |tx| {
                for number in 0..texts {
                    let create = Create {
                        text: format!("Number {number} is spoken now. ").repeat(times),
                        ..create("espeak/en-us", None, 36_000)
                    };
                    accepting_for(&of, Uuid::now_v7(), create)(tx)?;
                }
                Ok(())
            });
            accepted.await.unwrap();
            let ends = || world.db.ends().count("completed");
            let before = ends();
            worker.do_send(JobQueuedBy(client.to_owned()));
            // Until it speaks as fast as it can.
            let speaks = || async { texts < 1000 || ends() > before + 200 };
            eventually("the flood is under way", speaks).await;
        }
        let mut took = Vec::new();
        for number in 0..15 {
            let began = std::time::Instant::now();
            let text = format!("{SHORT} {number}");
            let id = accept_for(&world, "b", "espeak/en-us", &text).await;
            worker.do_send(JobQueuedBy("b".into()));
            let mut end = world.db.subscribe(Interest::EndOf(id));
            let limit = Duration::from_secs(10);
            let ended = tokio::time::timeout(limit, async {
                while !job_is(&world.db, id, "completed").await {
                    end.next().await;
                }
            });
            let is_over = ended.await.is_ok();
            took.push(began.elapsed());
            if !is_over {
                break;
            }
        }
        took.sort();
        took[took.len() / 2]
    };
    let alone = times(None).await;
    println!("alone: {alone:?}");
    for (name, client, texts, length) in [
        ("20,000 short ones of its own client", "b", 20_000, 1),
        ("20,000 short ones of another", "a", 20_000, 1),
        ("50 long ones of another", "a", 50, 2000),
    ] {
        let took = times(Some((client, texts, length))).await;
        let ratio = took.as_secs_f64() / alone.as_secs_f64();
        println!("behind {name}: {took:?}, {ratio:.2} times (10 s: given up)");
    }
}
