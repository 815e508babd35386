//! One writer thread with group commit, and a few readers.
//!
//! The writer takes one command, drains what else has come without waiting,
//! runs all in one transaction, syncs once, and answers all. If a batch
//! fails, it is rolled back and its commands run one by one, so that each
//! gets its own answer. Operations are therefore `FnMut`: they may run twice, and
//! only the second run counts.
//!
//! If it is the disk that failed, all get the same answer, [`Db::write_health`] says
//! so, and the writer tries by itself each second whether it can write again.
//! A file that SQLite has found damaged is written no more.
//!
//! What a commit erases is overwritten in the file, but the write-ahead log has it
//! still. So within a second of it the log is emptied, between two batches; where
//! readers keep it from that, it is tried again each second.

use std::fs::File;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use diesel::connection::TransactionManager;
use diesel::prelude::*;
use diesel::result::{DatabaseErrorKind, Error as QueryError};
use hoiam_api::{DeliveryAttempt, Event, EventType, Problem, Service};
use hoiam_supervision::clock::{Clock, Millis};
use tokio::sync::{oneshot, watch};
use uuid::Uuid;

use super::Id;
use super::connection::{
    CLOCK_KEY, Conn, OpenError, OpenFailure, Opened, connect, empty_log, is_damage,
};
use super::history::{OF_ALERT, newest_event};
use super::hub::{Hub, Interest, Subscription};
use super::load::{Amount, ByClient, Load};
use super::schema::{events, meta};
use crate::failpoint::{self, When};
use crate::write_health::WriteHealth;

/// How many commands one transaction may hold: enough to spread a sync over
/// many callers, few enough to keep the first of them from waiting long.
const MAX_BATCH: usize = 256;
/// Readers a service for its actors, and as many for its clients: reads are short, and
/// two cores are the usual machine.
const READERS: usize = 2;
/// How long an outcome that could not be kept waits for its next try.
const RETRY_MS: Millis = 1000;
/// How long a writer that could not write waits for work before it tries
/// without any.
const PROBE: Duration = Duration::from_secs(1);
/// How long the log may keep what was erased, so that it is emptied once for many.
const EMPTIED_AFTER: Duration = Duration::from_secs(1);
/// The row of `meta` that keeps the id of the newest event there has been.
const LAST_EVENT_KEY: &str = "last_event";

/// Why an operation has no answer. In every case nothing of it is known to be
/// kept, and the caller answers 503 or tries again later.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The database said no: full disk, locked, damaged, or shut down.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
    /// The operation itself panicked; a bug of ours.
    #[error("the store's operation panicked")]
    Panicked,
    /// The service is stopping and the writer has ended.
    #[error("the store has been closed")]
    Closed,
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(_) | StoreError::Closed => Self::new(
                hoiam_api::Code::Unavailable,
                "The store cannot keep or read this just now. Try again.",
            ),
            StoreError::Panicked => {
                Self::new(hoiam_api::Code::Internal, "The store failed unexpectedly.")
            }
        }
    }
}

/// How many tasks or speeches, and how many deliveries, have come to each of
/// their ends since the process started. It is counted from the events.
#[derive(Debug, Default)]
pub struct Ends([AtomicU64; Ends::OF_ALL.len()]);

impl Ends {
    /// The ends of tasks and speeches.
    pub const OF_SUBJECTS: [&'static str; 4] = ["completed", "failed", "timed_out", "canceled"];
    /// The ends of deliveries.
    pub const OF_DELIVERIES: [&'static str; 3] = ["delivered", "exhausted", "aborted"];
    const OF_ALL: [&'static str; 7] = {
        let ([a, b, c, d], [e, f, g]) = (Self::OF_SUBJECTS, Self::OF_DELIVERIES);
        [a, b, c, d, e, f, g]
    };

    /// How many have come to this end; none where it is no end.
    #[must_use]
    pub fn count(&self, end: &str) -> u64 {
        self.counter(end)
            .map_or(0, |counter| counter.load(Ordering::Relaxed))
    }

    fn note(&self, event: &Event) {
        // What is noted at an end that has been reached, as a late result, is
        // not another end.
        let to = event.to.as_deref().filter(|_| event.from != event.to);
        if let Some(counter) = to.and_then(|to| self.counter(to)) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn counter(&self, end: &str) -> Option<&AtomicU64> {
        let mut all = Self::OF_ALL.iter().zip(&self.0);
        all.find_map(|(name, counter)| (*name == end).then_some(counter))
    }
}

/// One line for the `events` table.
#[derive(Debug, Default)]
pub struct NewEvent<'a> {
    /// The speech or the task.
    pub subject: Uuid,
    /// The delivery it belongs to.
    pub delivery: Option<Uuid>,
    /// The status before.
    pub from: Option<&'a str>,
    /// The status after.
    pub to: Option<&'a str>,
    /// Why, in a few words or a stable code.
    pub reason: Option<&'a str>,
    /// Which actor or edge.
    pub by: &'static str,
    /// The attempt, where the event logs one.
    pub attempt: Option<&'a DeliveryAttempt>,
    /// An attempt without a log line of its own: an action's.
    pub is_attempt: bool,
    /// The subject is an alert: kept for its delivery, and shown in no feed.
    pub is_alert: bool,
}

/// What one operation works with: the connection inside the transaction, the time
/// of the commit, and the events it leaves.
pub struct Tx<'a> {
    /// Inside the transaction.
    pub conn: &'a mut Conn,
    /// The same for everything in this commit.
    pub now: Millis,
    service: Service,
    /// The id of the newest event. There is one writer, so it need not ask
    /// SQLite for the next.
    last_event: i64,
    events: Vec<(Uuid, Event)>,
    load: ByClient,
    erases: bool,
}

impl Tx<'_> {
    /// Appends to the history.
    ///
    /// # Errors
    /// What the database says.
    pub fn event(&mut self, new: &NewEvent<'_>) -> QueryResult<()> {
        let kind = if new.attempt.is_some() || new.is_attempt {
            EventType::Attempt
        } else {
            EventType::State
        };
        let attempt = new
            .attempt
            .and_then(|attempt| serde_json::to_string(attempt).ok());
        let id = self.last_event + 1;
        diesel::insert_into(events::table)
            .values((
                events::id.eq(id),
                events::at.eq(self.now),
                events::kind.eq(if new.is_alert {
                    OF_ALERT
                } else {
                    kind.as_str()
                }),
                events::subject_id.eq(Id(new.subject)),
                events::delivery_id.eq(new.delivery.map(Id)),
                events::from_status.eq(new.from),
                events::to_status.eq(new.to),
                events::reason.eq(new.reason),
                events::by.eq(new.by),
                events::attempt.eq(attempt),
            ))
            .execute(self.conn)?;
        self.last_event = id;
        if new.is_alert {
            return Ok(());
        }
        let event = Event {
            id: Some(id),
            from: new.from.map(str::to_owned),
            to: new.to.map(str::to_owned),
            reason: new.reason.map(str::to_owned),
            by: Some(new.by.to_owned()),
            ..Event::of(self.service, new.subject, kind, self.now)
        };
        self.events.push((new.subject, event));
        Ok(())
    }

    /// Forgets the events of a subject, which is what erases one. Their ids are never
    /// given again, since a stream goes on after the last id that it has seen.
    ///
    /// # Errors
    /// What the database says.
    pub fn erase_events(&mut self, subject: Uuid) -> QueryResult<()> {
        self.erases = true;
        diesel::replace_into(meta::table)
            .values((
                meta::key.eq(LAST_EVENT_KEY),
                meta::value.eq(self.last_event.to_string()),
            ))
            .execute(self.conn)?;
        diesel::delete(events::table.filter(events::subject_id.eq(Id(subject))))
            .execute(self.conn)
            .map(drop)
    }

    /// Notes that the commit opens or ends jobs of a client.
    pub fn load(&mut self, client: &str, jobs: i64, bytes: i64) {
        self.load.add(client, Amount { jobs, bytes });
    }
}

/// A command waits in the writer's queue with its answer's address.
trait Command: Send {
    fn run(&mut self, tx: &mut Tx<'_>) -> QueryResult<()>;
    fn answer(self: Box<Self>, result: Result<(), StoreError>);
}

struct Call<F, T> {
    operation: F,
    value: Option<T>,
    reply: oneshot::Sender<Result<T, StoreError>>,
}

impl<T: Send, F: FnMut(&mut Tx<'_>) -> QueryResult<T> + Send> Command for Call<F, T> {
    fn run(&mut self, tx: &mut Tx<'_>) -> QueryResult<()> {
        self.value = Some((self.operation)(tx)?);
        Ok(())
    }

    fn answer(self: Box<Self>, result: Result<(), StoreError>) {
        let Self { value, reply, .. } = *self;
        // The caller may be gone; what is committed stays committed.
        let _ = reply.send(result.and_then(|()| value.ok_or(StoreError::Panicked)));
    }
}

/// What the writer's queue holds.
enum Work {
    Operation(Box<dyn Command>),
    Close,
}

type Read = Box<dyn FnOnce(&mut Conn) + Send>;

/// A handle on one service's database. Cheap to clone, usable from every
/// thread; the writer and the readers end when the last handle is dropped.
#[derive(Clone)]
pub struct Db {
    service: Service,
    commands: Sender<Work>,
    ended: watch::Receiver<()>,
    reads: Sender<Read>,
    client_reads: Sender<Read>,
    hub: Hub,
    load: Arc<Load>,
    ends: Arc<Ends>,
    committed_at: Arc<AtomicI64>,
    write_health: WriteHealth,
    clock: Clock,
}

impl Db {
    /// Runs one operation in one transaction and answers once it is on disk. The
    /// operation is finished even if the caller stops waiting.
    ///
    /// # Errors
    /// [`StoreError`] when it could not be kept.
    pub async fn write<T, F>(&self, operation: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnMut(&mut Tx<'_>) -> QueryResult<T> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let call = Call {
            operation,
            value: None,
            reply,
        };
        self.commands
            .send(Work::Operation(Box::new(call)))
            .map_err(|_| closed())?;
        answer.await.map_err(|_| closed())?
    }

    /// As [`Self::write`], for outcomes that must not be lost while the store
    /// cannot take them: tries again each second until it can.
    ///
    /// # Errors
    /// [`StoreError::Panicked`] and [`StoreError::Closed`], which a repeat
    /// cannot mend.
    pub async fn write_until_kept<T, F>(&self, operation: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnMut(&mut Tx<'_>) -> QueryResult<T> + Clone + Send + 'static,
    {
        loop {
            match self.write(operation.clone()).await {
                Err(StoreError::Unavailable(_)) => {
                    self.clock.sleep_until(self.clock.now() + RETRY_MS).await;
                }
                result => return result,
            }
        }
    }

    /// The same for what clients ask. It has readers of its own, so that no claim
    /// waits behind their lists.
    #[must_use]
    pub fn for_clients(&self) -> Self {
        Self {
            reads: self.client_reads.clone(),
            ..self.clone()
        }
    }

    /// Reads on a reader thread; sees what is committed. Nothing is read for a caller
    /// that has stopped waiting before a reader was free.
    ///
    /// # Errors
    /// [`StoreError`] when it could not be read.
    pub async fn read<T, F>(&self, operation: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Conn) -> QueryResult<T> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let read: Read = Box::new(move |conn| {
            if reply.is_closed() {
                return;
            }
            let result = catch_unwind(AssertUnwindSafe(|| operation(conn)))
                .map_err(|_| StoreError::Panicked)
                .and_then(|result| result.map_err(|error| unavailable(&error)));
            let _ = reply.send(result);
        });
        self.reads.send(read).map_err(|_| closed())?;
        answer.await.map_err(|_| closed())?
    }

    /// Hears of every commit from now on, after it is on disk.
    #[must_use]
    pub fn subscribe(&self, interest: Interest) -> Subscription {
        self.hub.subscribe(interest)
    }

    /// Sends an event to who listens without storing it.
    pub fn publish(&self, subject: Uuid, event: Event) {
        self.hub.publish(vec![(subject, event)]);
    }

    /// How many listen to events.
    #[must_use]
    pub fn listeners(&self) -> usize {
        self.hub.listeners()
    }

    /// Which service's database this is.
    #[must_use]
    pub fn service(&self) -> Service {
        self.service
    }

    /// What keeps the writer from writing, if anything does.
    #[must_use]
    pub fn write_health(&self) -> &WriteHealth {
        &self.write_health
    }

    /// How many operations wait for the writer.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.commands.len()
    }

    /// How much open work there is.
    #[must_use]
    pub fn load(&self) -> &Load {
        &self.load
    }

    /// How much has ended, and how.
    #[must_use]
    pub fn ends(&self) -> &Ends {
        &self.ends
    }

    /// The clock whose time the commits carry.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Keeps where the clock stands, as every commit does.
    ///
    /// # Errors
    /// [`StoreError`] when it could not be kept.
    pub async fn keep_clock(&self) -> Result<(), StoreError> {
        let clock = self.clock.clone();
        self.write(move |tx| keep_anchor(tx.conn, &clock)).await
    }

    /// The time of the newest commit that every read from now on sees. All
    /// later commits have this time or a later one.
    #[must_use]
    pub fn committed_at(&self) -> Millis {
        self.committed_at.load(Ordering::Acquire)
    }

    /// Resolves when the writer thread has ended, asked to or by a panic.
    pub async fn writer_ended(&self) {
        let mut ended = self.ended.clone();
        // The thread holds the sender and never uses it.
        while ended.changed().await.is_ok() {}
    }

    /// Commits what is queued, ends the writer, and lets go of the lock.
    /// Operations that come later are refused.
    pub async fn close(&self) {
        drop(self.commands.send(Work::Close));
        self.writer_ended().await;
    }
}

fn closed() -> StoreError {
    StoreError::Closed
}

fn unavailable(error: &QueryError) -> StoreError {
    log::error!("the database refuses an operation: {error}");
    StoreError::Unavailable(error.to_string())
}

/// What SQLite says when not the operation was at fault but the file or the disk
/// under it: SQLITE_FULL, _IOERR, _READONLY, _BUSY, _CORRUPT, _NOTADB and
/// _CANTOPEN, in the words of sqlite3_errstr. diesel passes on no codes.
const DISK_ERRORS: [&str; 7] = [
    "database or disk is full",
    "disk I/O error",
    "attempt to write a readonly database",
    "database is locked",
    "database disk image is malformed",
    "file is not a database",
    "unable to open database file",
];

fn disk_error(error: &QueryError) -> Option<String> {
    match error {
        QueryError::DatabaseError(DatabaseErrorKind::Unknown, said) => {
            let said = said.message();
            let known = DISK_ERRORS.iter().any(|known| said.starts_with(known));
            known.then(|| said.to_owned())
        }
        QueryError::RollbackErrorOnCommit { commit_error, .. } => disk_error(commit_error),
        QueryError::BrokenTransactionManager => Some(error.to_string()),
        _ => None,
    }
}

impl Opened {
    /// Starts the writer and the readers.
    ///
    /// # Errors
    /// [`OpenError::Failed`] when a reader cannot be opened.
    pub fn start(self, service: Service, clock: Clock) -> Result<Db, OpenError> {
        let path = self.path.clone();
        start(service, self.path, self.writer, self.lock, clock)
            .map_err(|failure| failure.of(&path))
    }
}

/// Starts the threads. The lock lives as long as the writer.
fn start(
    service: Service,
    path: PathBuf,
    mut writer: Conn,
    lock: File,
    clock: Clock,
) -> Result<Db, OpenFailure> {
    let (commands, queue) = crossbeam_channel::unbounded();
    let (hub, hand_out) = Hub::new();
    spawn(format!("{service}-events"), hand_out)?;
    let (alive, ended) = watch::channel(());
    let load = Arc::new(Load::default());
    let ends = Arc::new(Ends::default());
    let committed_at = Arc::new(AtomicI64::new(Millis::MIN));
    let write_health = WriteHealth::none_at(format!("the {service} service's database"));
    let last_event = last_event(&mut writer)?;
    let reads = start_readers(&format!("{service}-reader"), &path)?;
    let client_reads = start_readers(&format!("{service}-client"), &path)?;
    let thread = Writer {
        service,
        path,
        conn: writer,
        clock: clock.clone(),
        hub: hub.clone(),
        load: Arc::clone(&load),
        ends: Arc::clone(&ends),
        committed_at: Arc::clone(&committed_at),
        last_event,
        write_health: write_health.clone(),
        damage: None,
        // A process that was killed may have left it so.
        empty_log_at: Some(Instant::now()),
        _lock: lock,
        _alive: alive,
    };
    spawn(format!("{service}-writer"), move || thread.run(&queue))?;
    Ok(Db {
        service,
        commands,
        ended,
        reads,
        client_reads,
        hub,
        load,
        ends,
        committed_at,
        write_health,
        clock,
    })
}

/// Starts readers that work through one queue until its last sender is dropped.
fn start_readers(name: &str, path: &Path) -> Result<Sender<Read>, OpenFailure> {
    let (reads, queue) = crossbeam_channel::unbounded::<Read>();
    for number in 0..READERS {
        let conn = connect(path, true)?;
        let queue = queue.clone();
        spawn(format!("{name}-{number}"), move || {
            read_until_closed(conn, &queue)
        })?;
    }
    Ok(reads)
}

/// The highest id that an event has ever had.
fn last_event(conn: &mut Conn) -> QueryResult<i64> {
    let kept: Option<String> = meta::table
        .find(LAST_EVENT_KEY)
        .select(meta::value)
        .first(conn)
        .optional()?;
    let kept = kept.and_then(|id| id.parse().ok()).unwrap_or(0);
    Ok(newest_event(conn)?.max(kept))
}

fn spawn(name: String, body: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let thread = std::thread::Builder::new().name(name);
    thread.spawn(body).map(drop)
}

fn read_until_closed(mut conn: Conn, queue: &Receiver<Read>) {
    while let Ok(read) = queue.recv() {
        read(&mut conn);
    }
}

struct Writer {
    service: Service,
    path: PathBuf,
    conn: Conn,
    clock: Clock,
    hub: Hub,
    load: Arc<Load>,
    ends: Arc<Ends>,
    committed_at: Arc<AtomicI64>,
    last_event: i64,
    write_health: WriteHealth,
    /// Nothing is written after this was found.
    damage: Option<String>,
    /// When the log is to be emptied of what was erased.
    empty_log_at: Option<Instant>,
    _lock: File,
    _alive: watch::Sender<()>,
}

/// What a transaction writes of its own.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Keep {
    /// Nothing if its operations change nothing.
    Changes,
    /// The clock's anchor, to see whether anything can be written.
    Anchor,
}

/// What a commit leaves for the time after it.
struct Committed {
    /// Whether the disk has taken it.
    wrote: bool,
    at: Millis,
    last_event: i64,
    events: Vec<(Uuid, Event)>,
    load: ByClient,
    erases: bool,
}

impl Writer {
    fn run(mut self, queue: &Receiver<Work>) {
        let mut open = true;
        while open {
            let first = match self.next(queue) {
                Ok(first) => first,
                Err(RecvTimeoutError::Timeout) => {
                    if self.write_health.is_met() {
                        // The answer is in `write_health`.
                        let _ = self.attempt(&mut [], Keep::Anchor);
                    }
                    self.empty_log_if_due();
                    continue;
                }
                Err(RecvTimeoutError::Disconnected) => break,
            };
            let mut batch = Vec::new();
            for work in std::iter::once(first).chain(queue.try_iter().take(MAX_BATCH - 1)) {
                match work {
                    Work::Operation(command) => batch.push(command),
                    Work::Close => open = false,
                }
            }
            self.commit(batch);
            self.empty_log_if_due();
        }
        // Leaves a short file behind for backups and for the next start.
        let _ = diesel::sql_query("PRAGMA wal_checkpoint(TRUNCATE)").execute(&mut self.conn);
    }

    fn next(&self, queue: &Receiver<Work>) -> Result<Work, RecvTimeoutError> {
        match self.empty_log_at {
            _ if self.write_health.is_met() => queue.recv_timeout(PROBE),
            Some(at) => queue.recv_deadline(at),
            None => queue.recv().map_err(|_| RecvTimeoutError::Disconnected),
        }
    }

    fn empty_log_if_due(&mut self) {
        let now = Instant::now();
        if self.empty_log_at.is_none_or(|at| now < at) || self.write_health.is_met() {
            return;
        }
        // A disk that fails is found by the next commit, which is told to somebody.
        let is_empty = empty_log(&mut self.conn).unwrap_or(false);
        self.empty_log_at = (!is_empty).then(|| now + EMPTIED_AFTER);
    }

    fn commit(&mut self, mut batch: Vec<Box<dyn Command>>) {
        match self.attempt(&mut batch, Keep::Changes) {
            Ok(committed) => {
                failpoint::commit(When::After, &committed.events);
                self.publish(committed);
                for command in batch {
                    command.answer(Ok(()));
                }
            }
            // No operation is to blame, so none would do better alone.
            Err(error) if batch.len() == 1 || self.write_health.is_met() => {
                for command in batch {
                    command.answer(Err(error.clone()));
                }
            }
            Err(_) => {
                for command in batch {
                    self.commit(vec![command]);
                }
            }
        }
    }

    /// One transaction over the whole batch.
    fn attempt(
        &mut self,
        batch: &mut [Box<dyn Command>],
        keep: Keep,
    ) -> Result<Committed, StoreError> {
        self.reopen_if_broken()?;
        let service = self.service;
        let now = self.clock.now();
        let last_event = self.last_event;
        let attempt = catch_unwind(AssertUnwindSafe(|| {
            self.conn.immediate_transaction(|conn| {
                let before = total_changes_of(conn)?;
                let mut tx = Tx {
                    conn,
                    now,
                    service,
                    last_event,
                    events: Vec::new(),
                    load: ByClient::default(),
                    erases: false,
                };
                for command in batch.iter_mut() {
                    command.run(&mut tx)?;
                }
                let Tx {
                    last_event,
                    events,
                    load,
                    erases,
                    ..
                } = tx;
                // A batch that changed nothing must not cost a sync.
                let wrote = keep == Keep::Anchor || total_changes_of(conn)? != before;
                if wrote {
                    keep_anchor(conn, &self.clock)?;
                }
                failpoint::commit(When::Before, &events);
                Ok(Committed {
                    wrote,
                    at: now,
                    last_event,
                    events,
                    load,
                    erases,
                })
            })
        }));
        match attempt {
            Ok(Ok(committed)) => {
                if committed.wrote {
                    self.write_health.end();
                }
                Ok(committed)
            }
            Ok(Err(error)) => Err(self.failed(&error)),
            Err(_) => {
                // The statement in hand is in an unknown state.
                self.reopen()?;
                Err(StoreError::Panicked)
            }
        }
    }

    fn failed(&mut self, error: &QueryError) -> StoreError {
        match disk_error(error) {
            Some(reason) => self.unavailable(reason),
            None => unavailable(error),
        }
    }

    fn unavailable(&mut self, reason: String) -> StoreError {
        let _ = self.write_health.begin(&reason);
        if is_damage(&reason) {
            self.damage = Some(reason.clone());
        }
        StoreError::Unavailable(reason)
    }

    fn reopen_if_broken(&mut self) -> Result<(), StoreError> {
        use diesel::connection::AnsiTransactionManager as Manager;
        if let Some(reason) = &self.damage {
            return Err(StoreError::Unavailable(reason.clone()));
        }
        let in_doubt =
            <Manager as TransactionManager<Conn>>::is_broken_transaction_manager(&mut self.conn);
        if in_doubt {
            self.reopen()?;
        }
        Ok(())
    }

    fn reopen(&mut self) -> Result<(), StoreError> {
        match connect(&self.path, false) {
            Ok(conn) => {
                self.conn = conn;
                Ok(())
            }
            Err(error) => Err(self.unavailable(error.to_string())),
        }
    }

    fn publish(&mut self, committed: Committed) {
        self.last_event = committed.last_event;
        self.committed_at.store(committed.at, Ordering::Release);
        self.load.add(&committed.load);
        if committed.erases {
            let soon = Instant::now() + EMPTIED_AFTER;
            self.empty_log_at.get_or_insert(soon);
        }
        for (_, event) in &committed.events {
            self.ends.note(event);
        }
        self.hub.publish(committed.events);
    }
}

#[diesel::declare_sql_function]
extern "SQL" {
    /// SQLite's count of rows changed since the connection was opened.
    fn total_changes() -> diesel::sql_types::BigInt;
}

fn total_changes_of(conn: &mut Conn) -> QueryResult<i64> {
    diesel::select(total_changes()).get_result(conn)
}

fn keep_anchor(conn: &mut Conn, clock: &Clock) -> QueryResult<()> {
    let anchor = serde_json::to_string(&clock.anchor()).unwrap_or_default();
    diesel::replace_into(meta::table)
        .values((meta::key.eq(CLOCK_KEY), meta::value.eq(anchor)))
        .execute(conn)
        .map(drop)
}

#[cfg(test)]
mod tests;
