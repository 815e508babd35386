//! The writer and the readers over a real file.

use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use diesel::connection::SimpleConnection;

use super::super::history::{Whose, events_after};
use super::super::hub::News;
use super::super::testing::{START, TestDb};
use super::super::{OpenError, OpenFailure, open};
use super::*;

fn put(tx: &mut Tx<'_>, key: &str, value: &str) -> QueryResult<()> {
    diesel::insert_into(meta::table)
        .values((meta::key.eq(key), meta::value.eq(value)))
        .execute(tx.conn)
        .map(drop)
}

/// Everything but the clock's anchor.
fn keys(conn: &mut Conn) -> QueryResult<Vec<String>> {
    meta::table
        .select(meta::key)
        .filter(meta::key.ne(CLOCK_KEY))
        .order(meta::key)
        .load(conn)
}

/// The ids of the stored events that a listener to all has heard of so far.
async fn ids_heard(db: &Db, live: &mut Subscription) -> Vec<i64> {
    let subject = Uuid::now_v7();
    let last = Event::of(db.service(), subject, EventType::Progress, 0);
    db.publish(subject, last);
    let mut ids = Vec::new();
    loop {
        let News::Events(events) = live.next().await else {
            panic!("more than a listener can hear");
        };
        for event in events {
            match event.id {
                Some(id) => ids.push(id),
                None => return ids,
            }
        }
    }
}

/// Keeps the writer busy until it is dropped, so that what is sent meanwhile
/// is taken as one batch.
struct Held {
    release: std::sync::mpsc::Sender<()>,
    done: tokio::task::JoinHandle<Result<(), StoreError>>,
}

impl Held {
    async fn new(db: &Db) -> Self {
        let (release, released) = std::sync::mpsc::channel::<()>();
        let released = Mutex::new(released);
        let (tell, told) = oneshot::channel();
        let mut tell = Some(tell);
        let db = db.clone();
        let done = tokio::spawn(async move {
            db.write(move |_| {
                if let Some(tell) = tell.take() {
                    let _ = tell.send(());
                }
                let _ = released.lock().unwrap().recv();
                Ok(())
            })
            .await
        });
        told.await.unwrap();
        Self { release, done }
    }

    async fn release(self) {
        drop(self.release);
        self.done.await.unwrap().unwrap();
    }
}

/// Keeps all readers of a handle busy until it is dropped.
async fn hold_readers(db: &Db) -> Vec<std::sync::mpsc::Sender<()>> {
    let mut held = Vec::new();
    for _ in 0..READERS {
        let (release, released) = std::sync::mpsc::channel::<()>();
        let (tell, told) = oneshot::channel();
        let db = db.clone();
        tokio::spawn(async move {
            db.read(move |_| {
                let _ = tell.send(());
                let _ = released.recv();
                Ok(())
            })
            .await
        });
        told.await.unwrap();
        held.push(release);
    }
    held
}

#[tokio::test]
async fn actors_read_while_all_readers_are_busy_with_what_clients_ask() {
    let test = TestDb::new(Service::Tts);
    let _held = hold_readers(&test.db.for_clients()).await;
    assert!(test.db.read(keys).await.unwrap().is_empty());
}

#[tokio::test]
async fn clients_read_while_all_readers_of_the_actors_are_busy() {
    let test = TestDb::new(Service::Tts);
    let _held = hold_readers(&test.db).await;
    assert!(test.db.for_clients().read(keys).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_read_is_not_made_for_one_who_has_stopped_waiting() {
    let test = TestDb::new(Service::Tts);
    let held = hold_readers(&test.db).await;
    let made = Arc::new(AtomicUsize::new(0));
    let read = || {
        let made = Arc::clone(&made);
        let db = test.db.clone();
        async move {
            let count = move |_: &mut Conn| Ok(made.fetch_add(1, Ordering::Relaxed));
            db.read(count).await
        }
    };
    // Polled once, so that it is in the queue, and dropped.
    let mut gone = Box::pin(read());
    assert!(futures_util::poll!(&mut gone).is_pending());
    assert_eq!(test.db.reads.len(), 1);
    drop(gone);
    let waits = tokio::spawn(read());
    drop(held);
    assert_eq!(waits.await.unwrap(), Ok(0));
    assert_eq!(made.load(Ordering::Relaxed), 1);
}

/// Sends an operation at once, so that the order in the queue is the order of the
/// calls.
fn send<T: Send + 'static>(
    db: &Db,
    operation: impl FnMut(&mut Tx<'_>) -> QueryResult<T> + Send + 'static,
) -> oneshot::Receiver<Result<T, StoreError>> {
    let (reply, answer) = oneshot::channel();
    let call = Call {
        operation,
        value: None,
        reply,
    };
    assert!(db.commands.send(Work::Operation(Box::new(call))).is_ok());
    answer
}

#[tokio::test]
async fn everything_that_waits_is_one_commit_and_all_are_answered() {
    let test = TestDb::new(Service::Tts);
    let held = Held::new(&test.db).await;
    let answers: Vec<_> = (0..50)
        .map(|number| {
            send(&test.db, move |tx| {
                put(tx, &format!("{number:02}"), "")?;
                Ok((number, tx.now))
            })
        })
        .collect();
    // Every commit has its own time: one time is one commit.
    test.hand.advance(Duration::from_millis(7));
    held.release().await;
    for (number, answer) in answers.into_iter().enumerate() {
        assert_eq!(answer.await.unwrap(), Ok((number, START + 7)));
        test.hand.advance(Duration::from_millis(1));
    }
    assert_eq!(test.db.read(keys).await.unwrap().len(), 50);
}

#[tokio::test]
async fn a_verb_that_fails_takes_no_other_with_it_and_leaves_nothing() {
    let test = TestDb::new(Service::Tts);
    let held = Held::new(&test.db).await;
    let before = send(&test.db, |tx| put(tx, "before", ""));
    let failing = send(&test.db, |tx| {
        put(tx, "half", "")?;
        put(tx, "half", "the key is taken")
    });
    let after = send(&test.db, |tx| put(tx, "after", ""));
    held.release().await;
    assert_eq!(before.await.unwrap(), Ok(()));
    assert!(matches!(
        failing.await.unwrap(),
        Err(StoreError::Unavailable(_))
    ));
    assert_eq!(after.await.unwrap(), Ok(()));
    assert_eq!(test.db.read(keys).await.unwrap(), ["after", "before"]);
}

#[tokio::test]
async fn a_verb_that_panics_takes_no_other_with_it_and_the_writer_lives() {
    let test = TestDb::new(Service::Tts);
    let held = Held::new(&test.db).await;
    let before = send(&test.db, |tx| put(tx, "before", ""));
    let panicking = send(&test.db, |tx| -> QueryResult<()> {
        put(tx, "half", "")?;
        panic!("boom")
    });
    let after = send(&test.db, |tx| put(tx, "after", ""));
    held.release().await;
    assert_eq!(before.await.unwrap(), Ok(()));
    assert_eq!(panicking.await.unwrap(), Err(StoreError::Panicked));
    assert_eq!(after.await.unwrap(), Ok(()));
    test.db.write(|tx| put(tx, "later", "")).await.unwrap();
    let kept = test.db.read(keys).await.unwrap();
    assert_eq!(kept, ["after", "before", "later"]);
}

#[tokio::test]
async fn a_batch_that_fails_is_rolled_back_whole_and_each_verb_runs_once_more() {
    let test = TestDb::new(Service::Tts);
    let mut live = test.db.subscribe(Interest::All);
    let held = Held::new(&test.db).await;
    let runs = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&runs);
    let subject = Uuid::now_v7();
    let first = send(&test.db, move |tx| {
        let run = counted.fetch_add(1, Ordering::SeqCst);
        put(tx, "run", &run.to_string())?;
        tx.load("", 1, 10);
        tx.event(&NewEvent {
            subject,
            by: "test",
            ..NewEvent::default()
        })
    });
    let failing = send(&test.db, |_| -> QueryResult<()> {
        Err(diesel::result::Error::NotFound)
    });
    held.release().await;
    first.await.unwrap().unwrap();
    failing.await.unwrap().unwrap_err();
    assert_eq!(runs.load(Ordering::SeqCst), 2);
    let kept: String = test
        .db
        .read(|conn| meta::table.find("run").select(meta::value).first(conn))
        .await
        .unwrap();
    assert_eq!(kept, "1", "only the second run counts");
    // Neither the load nor the events of the run that was rolled back count.
    assert_eq!((test.db.load().jobs(), test.db.load().bytes()), (1, 10));
    assert_eq!(ids_heard(&test.db, &mut live).await, [1]);
}

#[tokio::test]
async fn a_read_sees_only_what_is_committed() {
    let test = TestDb::new(Service::Tts);
    test.db.write(|tx| put(tx, "old", "")).await.unwrap();
    let (release, released) = std::sync::mpsc::channel::<()>();
    let released = Mutex::new(released);
    let (tell, told) = oneshot::channel();
    let mut tell = Some(tell);
    let writing = send(&test.db, move |tx| {
        put(tx, "new", "")?;
        if let Some(tell) = tell.take() {
            let _ = tell.send(());
        }
        let _ = released.lock().unwrap().recv();
        Ok(())
    });
    told.await.unwrap();
    assert_eq!(test.db.read(keys).await.unwrap(), ["old"]);
    drop(release);
    writing.await.unwrap().unwrap();
    assert_eq!(test.db.read(keys).await.unwrap(), ["new", "old"]);
}

#[tokio::test]
async fn a_read_cannot_write_and_its_panic_is_its_own() {
    let test = TestDb::new(Service::Tts);
    let written = test
        .db
        .read(|conn| conn.batch_execute("INSERT INTO meta VALUES ('a', 'b')"))
        .await;
    assert!(matches!(written, Err(StoreError::Unavailable(_))));
    for _ in 0..2 * READERS {
        let panicked = test
            .db
            .read(|_| -> QueryResult<()> { panic!("boom") })
            .await;
        assert_eq!(panicked, Err(StoreError::Panicked));
    }
    assert!(test.db.read(keys).await.unwrap().is_empty());
}

#[tokio::test]
async fn close_commits_what_is_queued_and_refuses_what_comes_later() {
    let test = TestDb::new(Service::Tts);
    let held = Held::new(&test.db).await;
    let queued: Vec<_> = (0..2 * MAX_BATCH)
        .map(|number| send(&test.db, move |tx| put(tx, &number.to_string(), "")))
        .collect();
    let db = test.db.clone();
    let closing = tokio::spawn(async move { db.close().await });
    held.release().await;
    closing.await.unwrap();
    for answer in queued {
        assert_eq!(answer.await.unwrap(), Ok(()));
    }
    let late = test.db.write(|tx| put(tx, "late", "")).await;
    assert_eq!(late, Err(StoreError::Closed));
    assert_eq!(test.db.read(keys).await.unwrap().len(), 2 * MAX_BATCH);
}

#[tokio::test]
async fn a_file_in_use_is_locked_until_it_is_closed_and_the_holder_is_named() {
    let test = TestDb::new(Service::Tts);
    let path = test.folder.path().join("test.db");
    match open(&path) {
        Err(OpenError::Locked { holder, .. }) => assert_eq!(holder, std::process::id().to_string()),
        other => panic!("{:?}", other.err()),
    }
    test.db.close().await;
    let again = open(&path)
        .unwrap()
        .start(Service::Tts, test.db.clock().clone());
    again.unwrap().write(|tx| put(tx, "a", "")).await.unwrap();
}

#[tokio::test]
async fn a_database_that_a_newer_version_has_written_is_refused() {
    let test = TestDb::new(Service::Tts);
    let newer = "INSERT INTO __diesel_schema_migrations (version) VALUES ('99991231235959')";
    test.db
        .write(move |tx| tx.conn.batch_execute(newer))
        .await
        .unwrap();
    test.db.close().await;
    match open(&test.folder.path().join("test.db")) {
        Err(OpenError::Failed { failure, .. }) => {
            assert!(matches!(failure, OpenFailure::Newer), "{failure}")
        }
        other => panic!("{:?}", other.err()),
    }
}

#[tokio::test]
async fn the_id_of_an_event_is_never_given_again() {
    let test = TestDb::new(Service::Tts);
    let mut events = test.db.subscribe(Interest::All);
    let subject = Uuid::now_v7();
    let event = move |tx: &mut Tx<'_>| {
        tx.event(&NewEvent {
            subject,
            ..NewEvent::default()
        })
    };
    test.db.write(event).await.unwrap();
    test.db.write(event).await.unwrap();
    let erase = move |tx: &mut Tx<'_>| tx.erase_events(subject);
    test.db.write(erase).await.unwrap();
    test.db.close().await;

    let path = test.folder.path().join("test.db");
    let clock = test.db.clock().clone();
    let again = open(&path).unwrap().start(Service::Tts, clock).unwrap();
    let mut later = again.subscribe(Interest::All);
    again.write(event).await.unwrap();
    let mut ids = ids_heard(&test.db, &mut events).await;
    ids.extend(ids_heard(&again, &mut later).await);
    assert_eq!(ids, [1, 2, 3]);
}

#[tokio::test]
async fn each_commit_keeps_the_time_for_the_next_start() {
    let test = TestDb::new(Service::Tts);
    test.hand.advance(Duration::from_secs(5));
    test.db.write(|tx| put(tx, "a", "")).await.unwrap();
    test.hand.advance(Duration::from_secs(5));
    // What changes nothing needs no sync, and keeps no time.
    test.db.write(|_| Ok(())).await.unwrap();
    test.db.close().await;
    let anchor = open(&test.folder.path().join("test.db")).unwrap().anchor();
    assert_eq!(anchor.map(|anchor| anchor.now_ms), Some(START + 5000));
}

/// Polls a write between several others, so that it goes as far as it can without the
/// clock.
async fn goes_on<T>(db: &Db, write: &mut (impl Future<Output = T> + Unpin)) -> Option<T> {
    for _ in 0..3 {
        tokio::select! {
            biased;
            kept = &mut *write => return Some(kept),
            // It may share a batch, and so an answer.
            _ = db.write(|_| Ok(())) => {}
        }
    }
    None
}

#[tokio::test]
async fn an_outcome_is_written_again_each_second_while_the_store_cannot_take_it() {
    let test = TestDb::new(Service::Tts);
    let tries = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&tries);
    let mut kept = Box::pin(test.db.write_until_kept(move |tx| {
        if counted.fetch_add(1, Ordering::SeqCst) < 2 {
            return Err(diesel::result::Error::BrokenTransactionManager);
        }
        put(tx, "kept", "")
    }));
    for made in 1..=2 {
        assert_eq!(goes_on(&test.db, &mut kept).await, None);
        assert_eq!(tries.load(Ordering::SeqCst), made);
        test.hand.advance(Duration::from_millis(999));
        assert_eq!(goes_on(&test.db, &mut kept).await, None);
        assert_eq!(tries.load(Ordering::SeqCst), made, "it waits a second");
        test.hand.advance(Duration::from_millis(1));
    }
    assert_eq!(kept.await, Ok(()));
    assert_eq!(tries.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn what_waits_for_the_writer_is_counted() {
    let test = TestDb::new(Service::Tts);
    let held = Held::new(&test.db).await;
    assert_eq!(test.db.waiting(), 0);
    let mut writes = [(); 3].map(|()| Box::pin(test.db.write(|_| Ok(()))));
    for (before, write) in writes.iter_mut().enumerate() {
        assert_eq!(test.db.waiting(), before);
        assert!(futures_util::poll!(write).is_pending());
    }
    assert_eq!(test.db.waiting(), 3);
    held.release().await;
    for write in writes {
        write.await.unwrap();
    }
    assert_eq!(test.db.waiting(), 0);
}

/// An event with a word in each place.
fn ended(subject: Uuid, from: &'static str, to: &'static str) -> NewEvent<'static> {
    NewEvent {
        subject,
        from: Some(from),
        to: Some(to),
        reason: Some("why"),
        by: "who",
        ..NewEvent::default()
    }
}

#[tokio::test]
async fn who_listens_hears_what_the_history_says() {
    let test = TestDb::new(Service::Tts);
    let subject = Uuid::now_v7();
    let mut live = test.db.subscribe(Interest::All);
    assert_eq!(test.db.listeners(), 1);
    let write = test.db.write(move |tx| tx.event(&ended(subject, "a", "b")));
    write.await.unwrap();
    let News::Events(heard) = live.next().await else {
        panic!("more than a listener can hear");
    };
    let read = test.db.read(move |conn| {
        let whose = Whose::Subject(subject);
        events_after(conn, Service::Tts, &whose, 0, 10)
    });
    let heard: Vec<&Event> = heard.iter().map(AsRef::as_ref).collect();
    let kept = read.await.unwrap().events;
    assert!(heard.into_iter().eq(&kept), "{kept:?}");
    assert_eq!(kept.len(), 1);
    drop(live);
    assert_eq!(test.db.listeners(), 0);
}

#[tokio::test]
async fn an_end_is_counted_once_and_what_is_noted_at_it_is_no_other() {
    let test = TestDb::new(Service::Tts);
    let ways = [
        ("queued", "failed"),
        ("synthesizing", "completed"),
        ("completed", "completed"),
        ("fetching", "completed"),
        ("queued", "synthesizing"),
    ];
    let write = test.db.write(move |tx| {
        let mut ways = ways.iter();
        ways.try_for_each(|(from, to)| tx.event(&ended(Uuid::now_v7(), from, to)))
    });
    write.await.unwrap();
    let count = |end: &&str| test.db.ends().count(end);
    assert_eq!(Ends::OF_SUBJECTS.each_ref().map(count), [2, 1, 0, 0]);
    assert_eq!(Ends::OF_DELIVERIES.each_ref().map(count), [0, 0, 0]);
    assert_eq!(test.db.ends().count("synthesizing"), 0);
}

#[test]
fn a_disk_that_fails_is_told_from_a_verb_that_does() {
    let database = |said: &str| {
        let said: Box<dyn diesel::result::DatabaseErrorInformation + Send + Sync> =
            Box::new(said.to_owned());
        QueryError::DatabaseError(DatabaseErrorKind::Unknown, said)
    };
    let at_commit = |commit_error| QueryError::RollbackErrorOnCommit {
        rollback_error: Box::new(QueryError::NotInTransaction),
        commit_error: Box::new(commit_error),
    };
    let full = "database or disk is full";
    assert_eq!(disk_error(&database(full)).as_deref(), Some(full));
    assert_eq!(
        disk_error(&at_commit(database(full))).as_deref(),
        Some(full)
    );
    assert!(disk_error(&QueryError::BrokenTransactionManager).is_some());
    for other in [
        database("no such table: speeches"),
        at_commit(QueryError::NotFound),
        QueryError::NotFound,
    ] {
        assert_eq!(disk_error(&other), None, "{other}");
    }
}

#[test]
fn what_goes_wrong_has_words_of_its_own() {
    let all = [
        StoreError::Unavailable("full".into()),
        StoreError::Panicked,
        StoreError::Closed,
    ];
    let words = [
        "the store is unavailable: full",
        "the store's operation panicked",
        "the store has been closed",
    ];
    assert_eq!(all.map(|error| error.to_string()), words);
}
