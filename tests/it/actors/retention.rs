//! Retention: what is old goes, files first; what is owed, named or young
//! stays.

use std::path::PathBuf;
use std::sync::Arc;

use actix::Addr;
use bytes::Bytes;
use diesel::prelude::*;
use hoiam::db::schema::{deliveries, events, meta, speeches as rows};
use hoiam::db::{Conn, Id};
use hoiam::delivery::alerts::store as alerts;
use hoiam::delivery::store::Row;
use hoiam::files::Files;
use hoiam::resource::row::TableRow as _;
use hoiam::retention::{Deps, Retention};
use hoiam::tts::store::{self as speeches, claims};
use hoiam_api::{Alert, DeliveryType, Service};
use hoiam_supervision::clock::{Anchor, Clock};
use uuid::Uuid;

use super::support::{World, eventually, job, job_row};

const FILES_MS: i64 = 7 * 86_400_000;
const ROWS_MS: i64 = 30 * 86_400_000;
/// A pass follows another no sooner.
const GATHER_MS: i64 = 60_000;

fn files(world: &World) -> Files {
    Files::open(
        &world.folder.path().join("files"),
        Service::Tts,
        world.db.clock().clone(),
    )
    .unwrap()
}

fn start(world: &mut World) -> Addr<Retention> {
    let parts = Deps {
        db: world.db.clone(),
        files: files(world),
        cache: None,
        subjects: speeches::RETAINED,
        files_ms: FILES_MS,
        rows_ms: ROWS_MS,
        forgot: Arc::new(|| ()),
    };
    world.tree.start("retention", Retention::new(parts))
}

fn path(world: &World, key: &str) -> PathBuf {
    world.folder.path().join("files").join(key)
}

async fn stored(world: &World, key: &str) -> PathBuf {
    let mut spool = files(world).spool(key);
    spool.append(Bytes::from_static(b"sound")).await.unwrap();
    spool.store(Vec::new()).await.unwrap();
    path(world, key)
}

/// A speech that has ended now, with a real file.
async fn completed(world: &World, callback_url: Option<&str>) -> (Uuid, PathBuf) {
    let id = Uuid::now_v7();
    let mut accept = job(id, "test/silence", callback_url, 3600);
    let key = files(world).key(id, 1, "wav");
    let file = stored(world, &key).await;
    let finished = claims::Finished {
        file: key,
        audio: "{}".into(),
        words: "[]".into(),
    };
    let ended = world.db.write(move |tx| {
        accept(tx)?;
        let claimed = claims::claim(tx, Uuid::now_v7(), 1)?;
        claims::complete(tx, &claimed.jobs[0].row, &finished)
    });
    assert!(ended.await.unwrap());
    (id, file)
}

async fn read<T: Send + 'static>(
    world: &World,
    operation: impl FnOnce(&mut Conn) -> QueryResult<T> + Send + 'static,
) -> T {
    world.db.read(operation).await.unwrap()
}

async fn is_known(world: &World, id: Uuid) -> bool {
    read(world, move |conn| speeches::Row::get(conn, id))
        .await
        .is_some()
}

async fn names_a_file(world: &World, id: Uuid) -> bool {
    job_row(&world.db, id).await.file.is_some()
}

#[actix_rt::test]
async fn files_go_after_their_time_and_rows_after_theirs_and_neither_before() {
    let mut world = World::new(Service::Tts);
    let _retention = start(&mut world);
    let (id, file) = completed(&world, None).await;
    world.advance_ms(FILES_MS);
    world.settle().await;
    assert!(names_a_file(&world, id).await && file.exists());
    world.advance_ms(GATHER_MS + 1);
    eventually("the file is gone", || async { !file.exists() }).await;
    assert!(!names_a_file(&world, id).await);
    world.advance_ms(ROWS_MS - FILES_MS - GATHER_MS - 1);
    world.settle().await;
    assert!(is_known(&world, id).await);
    world.advance_ms(GATHER_MS + 1);
    eventually("the row is gone", || async { !is_known(&world, id).await }).await;
    let left = read(&world, move |conn| {
        let events: i64 = events::table
            .filter(events::subject_id.eq(Id(id)))
            .count()
            .get_result(conn)?;
        let owed: i64 = deliveries::table.count().get_result(conn)?;
        Ok((events, owed))
    });
    assert_eq!(left.await, (0, 0));
}

#[actix_rt::test]
async fn what_a_stopped_service_has_missed_is_made_up_for_in_batches() {
    let mut world = World::new(Service::Tts);
    let mut kept = Vec::new();
    for _ in 0..250 {
        kept.push(completed(&world, None).await);
    }
    world.advance_ms(FILES_MS + 1);
    let young = completed(&world, None).await;
    let _retention = start(&mut world);
    eventually("all files are gone", || async {
        kept.iter().all(|(_, file)| !file.exists())
    })
    .await;
    assert!(names_a_file(&world, young.0).await && young.1.exists());
    world.advance_ms(ROWS_MS - FILES_MS + GATHER_MS);
    eventually("all rows are gone", || async {
        let left: i64 = read(&world, |conn| rows::table.count().get_result(conn)).await;
        left == 1
    })
    .await;
    assert!(is_known(&world, young.0).await);
}

#[actix_rt::test]
async fn what_a_delivery_has_still_to_tell_of_is_kept() {
    let mut world = World::new(Service::Tts);
    let (id, file) = completed(&world, Some("http://127.0.0.1:9/")).await;
    world.advance_ms(ROWS_MS + FILES_MS);
    let _retention = start(&mut world);
    world.settle().await;
    assert!(names_a_file(&world, id).await && file.exists());
    let told = world.db.write(move |tx| {
        diesel::update(deliveries::table)
            .set(deliveries::status.eq("delivered"))
            .execute(tx.conn)
    });
    assert_eq!(told.await.unwrap(), 1);
    // Looked at again with the daily sweep.
    world.advance_ms(86_400_000);
    eventually("it is forgotten", || async { !is_known(&world, id).await }).await;
    assert!(!file.exists());
}

#[actix_rt::test]
async fn old_files_that_no_row_names_are_swept_and_no_others() {
    let mut world = World::new(Service::Tts);
    let (named, named_file) = completed(&world, None).await;
    let key = |id, claim| files(&world).key(id, claim, "wav");
    // An earlier claim of a job that ended, and one that has no row.
    let left = stored(&world, &key(named, 0)).await;
    let orphan = stored(&world, &key(Uuid::now_v7(), 1)).await;
    // A job that may be about to name it.
    let open = Uuid::now_v7();
    world
        .db
        .write(job(open, "test/silence", None, 30 * 86_400))
        .await
        .unwrap();
    let of_open = stored(&world, &key(open, 1)).await;
    let foreign = path(&world, "tts/00/notes.txt");
    std::fs::write(&foreign, "mine").unwrap();

    // Files are as old as the file system says, so this wall is the real one.
    let real = Clock::resume(None).wall().timestamp_millis();
    let hours = |hours: i64| real + hours * 3_600_000;
    world.hand.set_wall(hours(23));
    let _retention = start(&mut world);
    world.settle().await;
    assert!(left.exists() && orphan.exists(), "they are too young");
    world.advance_ms(86_400_000);
    world.hand.set_wall(hours(25));
    eventually("they are swept", || async {
        !left.exists() && !orphan.exists()
    })
    .await;
    assert!(named_file.exists() && of_open.exists() && foreign.exists());
}

/// Else a machine that was off for a moment would seem to have been off for weeks.
#[actix_rt::test]
async fn a_service_without_work_keeps_once_a_day_where_its_clock_stands() {
    let mut world = World::new(Service::Tts);
    let _retention = start(&mut world);
    for _ in 0..3 {
        let now = world.db.clock().now();
        eventually("it is kept", || async {
            let kept: Option<String> = read(&world, |conn| {
                let kept = meta::table.find("clock").select(meta::value);
                kept.first(conn).optional()
            })
            .await;
            let kept = kept.and_then(|kept| serde_json::from_str::<Anchor>(&kept).ok());
            kept.is_some_and(|kept| kept.now_ms == now)
        })
        .await;
        world.advance_ms(86_400_000);
    }
}

#[actix_rt::test]
async fn an_alert_goes_when_it_is_old() {
    let mut world = World::new(Service::Tts);
    let (id, kind) = (Uuid::now_v7(), DeliveryType::DiskFailing);
    let alert = Alert {
        id,
        count: 1,
        since: String::new(),
        until: String::new(),
        resolved: None,
        examples: Vec::new(),
    };
    let url = "http://127.0.0.1:9/";
    let new = alerts::New {
        kind,
        alert,
        delivery: Row::pending(Uuid::now_v7(), id, kind, url, world.now()),
        tried: Vec::new(),
    };
    let owe = world.db.write(move |tx| {
        alerts::enqueue(tx, std::slice::from_ref(&new), &Default::default())?;
        let none = (
            deliveries::status.eq("aborted"),
            deliveries::next_attempt_at.eq(None::<i64>),
        );
        diesel::update(deliveries::table).set(none).execute(tx.conn)
    });
    owe.await.unwrap();
    let db = world.db.clone();
    let is_there = || async {
        let both = db.read(move |conn| {
            let owed: i64 = deliveries::table.count().get_result(conn)?;
            Ok((alerts::get(conn, id)?.is_some(), owed))
        });
        let (is_there, owed) = both.await.unwrap();
        assert_eq!(i64::from(is_there), owed);
        is_there
    };
    world.advance_ms(ROWS_MS);
    assert!(is_there().await);
    let _retention = start(&mut world);
    world.settle().await;
    assert!(is_there().await);
    // At the latest with the sweep of the next day.
    world.advance_ms(86_400_000);
    eventually("it is gone", || async { !is_there().await }).await;
}
