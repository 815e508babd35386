//! Retention: what ended long ago is removed, in small batches, files first
//! and rows later; and files that no row names are swept.
//!
//! A row stops naming its file in a commit of its own before the file is
//! removed, so a row never names a file that is not there. What a crash leaves
//! in between is a file without a name, which the sweep finds.

pub mod store;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use actix::prelude::*;
use diesel::prelude::QueryResult;
use hoiam_supervision::clock::Millis;
use hoiam_supervision::{Drain, spawn_unit};
use hoiam_text::SaturatingFrom as _;
use uuid::Uuid;

use crate::claim_loop::{ClaimLoop, Pulse, Scan};
use crate::db::{Conn, Db, StoreError, Tx};
use crate::delivery::alerts::store as alerts;
use crate::failpoint;
use crate::files::{Cache, FileError, Files};
use crate::work::Work;
use store::{Stage, Subjects};

/// Rows a commit: it holds up nobody for more than some milliseconds.
const BATCH: usize = 100;
/// Between two passes at least, so that a pass finds many and not one.
const GATHER_MS: Millis = 60_000;
/// How long after a sweep the next one is due.
const SWEEP_EVERY_MS: Millis = 24 * 3_600_000;
/// Younger files may be results that are being written.
const SWEPT_AFTER: Duration = Duration::from_secs(24 * 3600);
/// How long a pass that failed waits for its next try.
const PASS_PAUSE_MS: Millis = 60_000;

/// What retention works with.
#[derive(Clone)]
pub struct Deps {
    /// The service's database.
    pub db: Db,
    /// Its files.
    pub files: Files,
    /// What may be used again, in the TTS service.
    pub cache: Option<Cache>,
    /// Its table.
    pub subjects: Subjects,
    /// `retention.files_s`, from the end of a task or speech.
    pub files_ms: Millis,
    /// `retention.rows_s`, likewise.
    pub rows_ms: Millis,
    /// Called when rows are forgotten.
    pub forgot: Arc<dyn Fn() + Send + Sync>,
}

/// The actor. Its scan is a whole pass.
pub struct Retention {
    deps: Deps,
    claims: ClaimLoop,
    next_sweep_at: Millis,
}

impl Retention {
    /// Looks once it is started.
    #[must_use]
    pub fn new(deps: Deps) -> Self {
        Self {
            claims: ClaimLoop::new(deps.db.clock().clone(), Pulse::default()),
            deps,
            next_sweep_at: Millis::MIN,
        }
    }

    fn scan(&mut self, ctx: &mut Context<Self>) {
        let now = self.deps.db.clock().now();
        let Some(scan) = self.claims.begin_scan(now, true) else {
            return;
        };
        let pass = Pass {
            deps: self.deps.clone(),
            now,
            work: self.claims.work().clone(),
        };
        let sweeps = self.next_sweep_at <= now;
        let retention = ctx.address();
        actix_rt::spawn(async move {
            let passed = spawn_unit(pass.run(sweeps))
                .await
                .unwrap_or_else(|failure| {
                    log::error!("a retention pass failed: {failure}");
                    Err(RetentionError::Store(StoreError::Panicked))
                });
            retention.do_send(PassFinished { passed, scan });
        });
    }
}

impl Actor for Retention {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let retention = ctx.address();
        self.claims.start(move || retention.do_send(Due));
        self.scan(ctx);
    }
}

impl Supervised for Retention {
    fn restarting(&mut self, _: &mut Self::Context) {
        self.claims.restart();
    }
}

#[derive(Message)]
#[rtype(result = "()")]
struct Due;

impl Handler<Due> for Retention {
    type Result = ();

    fn handle(&mut self, _: Due, ctx: &mut Self::Context) {
        self.claims.hint();
        self.scan(ctx);
    }
}

#[derive(Message)]
#[rtype(result = "()")]
struct PassFinished {
    passed: Result<Done, RetentionError>,
    scan: Scan,
}

impl Handler<PassFinished> for Retention {
    type Result = ();

    fn handle(&mut self, PassFinished { passed, scan }: PassFinished, ctx: &mut Self::Context) {
        let Some(began_at) = self.claims.end_scan(scan) else {
            return;
        };
        match passed {
            Ok(done) => {
                done.log(&self.deps);
                if done.swept.is_some() {
                    self.next_sweep_at = began_at + SWEEP_EVERY_MS;
                }
                let gathered_at = done.next_at.max(began_at + GATHER_MS);
                self.claims.wake_at(gathered_at.min(self.next_sweep_at));
            }
            Err(trouble) => {
                log::error!("old results could not be removed: {trouble}");
                self.claims.pause(PASS_PAUSE_MS);
            }
        }
        self.scan(ctx);
    }
}

impl Handler<Drain> for Retention {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, drain: Drain, _: &mut Self::Context) -> Self::Result {
        let ended = self.claims.drain(drain.until);
        Box::pin(async move {
            ended.await;
        })
    }
}

/// Why a pass ended early; the next one goes on.
#[derive(Debug)]
enum RetentionError {
    Store(StoreError),
    Files(FileError),
}

impl std::fmt::Display for RetentionError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Store(error) => error.fmt(f),
            Self::Files(error) => error.fmt(f),
        }
    }
}

impl From<StoreError> for RetentionError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<FileError> for RetentionError {
    fn from(error: FileError) -> Self {
        Self::Files(error)
    }
}

/// What a pass has done.
struct Done {
    files: usize,
    rows: usize,
    /// Files without a name; `None` where it did not look for any.
    swept: Option<usize>,
    /// When the next row will have ended long enough ago.
    next_at: Millis,
}

impl Done {
    fn log(&self, deps: &Deps) {
        let service = deps.db.service();
        if self.files + self.rows > 0 {
            log::info!(
                "{service}: the files of {} old results and {} old rows are removed",
                self.files,
                self.rows
            );
        }
        if let Some(swept) = self.swept.filter(|swept| *swept > 0) {
            log::info!("{service}: {swept} files that no row named are removed");
        }
    }
}

/// One look at everything that may be old.
struct Pass {
    deps: Deps,
    now: Millis,
    /// Tells it to stop after its batch.
    work: Work,
}

impl Pass {
    async fn run(self, sweeps: bool) -> Result<Done, RetentionError> {
        let files = self.remove_files().await?;
        let rows = self.forget_rows().await?;
        self.forget_alerts().await?;
        let swept = if sweeps {
            Some(self.sweep().await?)
        } else {
            None
        };
        Ok(Done {
            files,
            rows,
            swept,
            next_at: self.next_at().await?,
        })
    }

    fn stopping(&self) -> bool {
        self.work.is_closed()
    }

    async fn due(&self, stage: Stage, kept_ms: Millis) -> Result<Vec<Uuid>, RetentionError> {
        if self.stopping() {
            return Ok(Vec::new());
        }
        let (subjects, before) = (self.deps.subjects, self.now - kept_ms);
        let due = move |conn: &mut _| subjects.due(conn, stage, before, BATCH);
        Ok(self.deps.db.read(due).await?)
    }

    async fn remove_files(&self) -> Result<usize, RetentionError> {
        let Deps {
            db,
            files,
            subjects,
            files_ms,
            ..
        } = &self.deps;
        let subjects = *subjects;
        let mut removed = 0;
        loop {
            let ids = self.due(Stage::Files, *files_ms).await?;
            if ids.is_empty() {
                return Ok(removed);
            }
            let cleared = db.write(move |tx| subjects.clear_files(tx, &ids)).await?;
            failpoint::point(format_args!("retention.{}.cleared", db.service()));
            for file in &cleared {
                files.remove(file).await?;
            }
            removed += cleared.len();
        }
    }

    async fn forget_rows(&self) -> Result<usize, RetentionError> {
        let Deps {
            db,
            subjects,
            rows_ms,
            ..
        } = &self.deps;
        let subjects = *subjects;
        let mut forgotten = 0;
        loop {
            let ids = self.due(Stage::Rows, *rows_ms).await?;
            if ids.is_empty() {
                return Ok(forgotten);
            }
            forgotten += db.write(move |tx| subjects.forget(tx, &ids)).await?;
            (self.deps.forgot)();
        }
    }

    /// Alerts are few, and no pass is made for them alone.
    async fn forget_alerts(&self) -> Result<(), RetentionError> {
        let before = self.now - self.deps.rows_ms;
        let most = i64::saturating_from(BATCH);
        while !self.stopping() {
            let old = move |conn: &mut Conn| alerts::old(conn, before, most);
            if self.deps.db.read(old).await?.is_empty() {
                break;
            }
            let forget = move |tx: &mut Tx<'_>| alerts::forget(tx, before, most);
            self.deps.db.write(forget).await?;
        }
        Ok(())
    }

    /// Removes files that no row names and that are old enough not to be on
    /// their way.
    async fn sweep(&self) -> Result<usize, RetentionError> {
        let Deps {
            db,
            files,
            subjects,
            cache,
            files_ms,
            ..
        } = &self.deps;
        let subjects = *subjects;
        // At least once a day, so that a machine that was off for a moment is not
        // taken for one that was off for weeks.
        db.keep_clock().await?;
        if db.clock().jump().is_some() {
            // How old a file is would be told by a clock that is not believed.
            return Ok(0);
        }
        let now = SystemTime::from(db.clock().wall());
        if let Some(cache) = cache {
            let kept = Duration::from_millis(u64::try_from(*files_ms).unwrap_or(0));
            cache.expire(now - kept).await?;
        }
        let before = now - SWEPT_AFTER;
        let mut swept = 0;
        for folder in 0..=u8::MAX {
            let old = files.older_than(folder, before).await?;
            for batch in old.chunks(BATCH) {
                if self.stopping() {
                    return Ok(swept);
                }
                let batch = batch.to_vec();
                let unnamed = db.read(move |conn| subjects.unnamed(conn, batch)).await?;
                for file in unnamed {
                    files.remove(&file).await?;
                    swept += 1;
                }
            }
        }
        Ok(swept)
    }

    async fn next_at(&self) -> Result<Millis, RetentionError> {
        let Deps {
            db,
            subjects,
            files_ms,
            rows_ms,
            ..
        } = &self.deps;
        let (subjects, now) = (*subjects, self.now);
        let (files_ms, rows_ms) = (*files_ms, *rows_ms);
        let next = move |conn: &mut _| -> QueryResult<Millis> {
            let mut first_of = |stage, kept_ms| {
                let first = subjects.first_end(conn, stage, now - kept_ms)?;
                // What has not ended yet will be old in so long at the soonest.
                QueryResult::Ok(first.map_or(now + kept_ms, |at| at + kept_ms + 1))
            };
            Ok(first_of(Stage::Files, files_ms)?.min(first_of(Stage::Rows, rows_ms)?))
        };
        Ok(db.read(next).await?)
    }
}
