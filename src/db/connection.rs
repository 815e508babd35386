//! Opening one service's database file: lock, migrations, connections. What is opened is
//! started by `writer`.

use std::error::Error;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};
use hoiam_supervision::clock::Anchor;

use super::copy::{self, CopyError};
use super::schema::meta;

/// The one kind of connection that operations see.
pub type Conn = SqliteConnection;

const MIGRATIONS: EmbeddedMigrations = embed_migrations!("migrations/sqlite");
/// The row of `meta` that keeps the clock's anchor.
pub(super) const CLOCK_KEY: &str = "clock";

const BUSY_TIMEOUT: &str = "PRAGMA busy_timeout = 5000";

/// Why a database could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process holds the folder.
    #[error(
        "another hoiam (process {holder}) uses this data folder: {} is locked. Stop it, or give this one \
         another folder with --data-dir",
        lock.display()
    )]
    Locked {
        /// The lock file.
        lock: PathBuf,
        /// What the holder wrote into it: its process id.
        holder: String,
    },
    /// The file system or the database says no.
    #[error("{} cannot be opened: {failure}{}", path.display(), way_out(failure))]
    Failed {
        /// The file.
        path: PathBuf,
        /// What was said.
        failure: OpenFailure,
    },
}

/// What keeps a database that nobody else holds from being opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenFailure {
    /// Of the lock, or of a thread.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// SQLite does not open it.
    #[error(transparent)]
    Connection(#[from] ConnectionError),
    /// SQLite opens it and answers nothing.
    #[error(transparent)]
    Query(#[from] diesel::result::Error),
    /// It could not be brought to this version.
    #[error(transparent)]
    Migration(Box<dyn Error + Send + Sync>),
    /// It could not be kept aside before.
    #[error(transparent)]
    Copy(#[from] CopyError),
    /// What SQLite's own check has found.
    #[error("malformed: {0}")]
    Malformed(String),
    /// This version does not know all that it has.
    #[error("a newer hoiam has written it; start that version, or use another data folder")]
    Newer,
}

impl OpenFailure {
    pub(super) fn of(self, path: &Path) -> OpenError {
        OpenError::Failed {
            path: path.to_owned(),
            failure: self,
        }
    }
}

fn way_out(failure: &OpenFailure) -> &'static str {
    match is_damage(&failure.to_string()) {
        true => {
            ". It is damaged: put a backup in its place, or move it away to begin with an empty one"
        }
        false => "",
    }
}

/// Whether a reason is one that passes only with another file: SQLITE_CORRUPT
/// and SQLITE_NOTADB, in the words of sqlite3_errstr.
pub(super) fn is_damage(reason: &str) -> bool {
    reason.contains("malformed") || reason.contains("not a database")
}

/// A database whose lock is held and whose schema is current.
pub struct Opened {
    pub(super) path: PathBuf,
    pub(super) writer: Conn,
    anchor: Option<Anchor>,
    pub(super) lock: File,
}

/// Takes the lock beside `path`, opens the file, and runs the migrations.
///
/// # Errors
/// [`OpenError::Locked`] while another process has it.
pub fn open(path: &Path) -> Result<Opened, OpenError> {
    let lock = take_lock(path)?;
    let (writer, anchor) = open_locked(path).map_err(|failure| failure.of(path))?;
    Ok(Opened {
        path: path.to_owned(),
        writer,
        anchor,
        lock,
    })
}

fn open_locked(path: &Path) -> Result<(Conn, Option<Anchor>), OpenFailure> {
    let mut writer = connect(path, false)?;
    if let Some(first) = next_of_an_older_version(&mut writer)? {
        let copy = copy::keep_aside(&mut writer, path, &first)?;
        log::info!(
            "{} is changed for this version; as it was it is kept as {}",
            path.display(),
            copy.display()
        );
    }
    writer
        .run_pending_migrations(MIGRATIONS)
        .map_err(OpenFailure::Migration)?;
    let anchor = anchor_in(&mut writer)?;
    Ok((writer, anchor))
}

fn anchor_in(conn: &mut Conn) -> QueryResult<Option<Anchor>> {
    let kept = meta::table.find(CLOCK_KEY).select(meta::value);
    let kept = kept.first::<String>(conn).optional()?;
    Ok(kept.and_then(|json| serde_json::from_str(&json).ok()))
}

/// What the last commit has kept of the clock, also of a database that is in use.
/// `None` where that cannot be read.
#[must_use]
pub fn kept_anchor(path: &Path) -> Option<Anchor> {
    if !path.exists() {
        return None;
    }
    anchor_in(&mut connect(path, true).ok()?).ok()?
}

/// How a database file stands to this version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// There is no file yet.
    Absent,
    /// [`open`] would change nothing.
    Current,
    /// [`open`] would run so many migrations.
    Older(usize),
}

/// What SQLite's own check of a whole file has found: "ok", or what is wrong first.
#[derive(QueryableByName)]
struct QuickCheck {
    #[diesel(sql_type = diesel::sql_types::Text)]
    quick_check: String,
}

/// Looks at a database without changing it, under its lock.
///
/// # Errors
/// Those of [`open`].
pub fn inspect(path: &Path) -> Result<Standing, OpenError> {
    if !path.exists() {
        return Ok(Standing::Absent);
    }
    let _lock = take_lock(path)?;
    inspect_locked(path).map_err(|failure| failure.of(path))
}

fn inspect_locked(path: &Path) -> Result<Standing, OpenFailure> {
    let mut conn = connect(path, false)?;
    let check: QuickCheck = diesel::sql_query("PRAGMA quick_check(1)").get_result(&mut conn)?;
    if check.quick_check != "ok" {
        return Err(OpenFailure::Malformed(check.quick_check));
    }
    match outstanding(&mut conn)? {
        0 => Ok(Standing::Current),
        more => Ok(Standing::Older(more)),
    }
}

/// How many migrations of ours a database has not had yet.
fn outstanding(conn: &mut Conn) -> Result<usize, OpenFailure> {
    let had = conn.applied_migrations().map_err(OpenFailure::Migration)?;
    let ours =
        diesel::migration::MigrationSource::<diesel::sqlite::Sqlite>::migrations(&MIGRATIONS)
            .map_err(OpenFailure::Migration)?;
    ours.len().checked_sub(had.len()).ok_or(OpenFailure::Newer)
}

/// The first migration that is to be run, if an older version has written the database.
fn next_of_an_older_version(conn: &mut Conn) -> Result<Option<String>, OpenFailure> {
    let had = conn.applied_migrations().map_err(OpenFailure::Migration)?;
    if outstanding(conn)? == 0 || had.is_empty() {
        return Ok(None);
    }
    let pending = conn.pending_migrations(MIGRATIONS);
    let pending = pending.map_err(OpenFailure::Migration)?;
    Ok(pending.first().map(|one| one.name().version().to_string()))
}

impl Opened {
    /// Where the clock stood at the last commit.
    #[must_use]
    pub fn anchor(&self) -> Option<Anchor> {
        self.anchor.clone()
    }
}

fn take_lock(path: &Path) -> Result<File, OpenError> {
    let lock = path.with_extension("lock");
    let failed = |error: io::Error| OpenFailure::from(error).of(&lock);
    let mut file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(&lock)
        .map_err(failed)?;
    match file.try_lock() {
        Ok(()) => {
            file.set_len(0).map_err(failed)?;
            write!(file, "{}", std::process::id()).map_err(failed)?;
            Ok(file)
        }
        Err(TryLockError::WouldBlock) => {
            let holder = std::fs::read_to_string(&lock).unwrap_or_default();
            Err(OpenError::Locked { lock, holder })
        }
        Err(TryLockError::Error(error)) => Err(failed(error)),
    }
}

/// Opens one connection. One PRAGMA a statement, the busy timeout first, as
/// diesel's documentation of `SqliteConnection` advises.
pub(super) fn connect(path: &Path, read_only: bool) -> Result<Conn, OpenFailure> {
    let mut conn = Conn::establish(&path.to_string_lossy())?;
    conn.batch_execute(BUSY_TIMEOUT)?;
    conn.batch_execute("PRAGMA journal_mode = WAL")?;
    // A 202 means "on disk", so every commit is synced.
    conn.batch_execute("PRAGMA synchronous = FULL")?;
    conn.batch_execute("PRAGMA temp_store = MEMORY")?;
    conn.batch_execute("PRAGMA cache_size = -8000")?;
    if read_only {
        conn.batch_execute("PRAGMA query_only = ON")?;
    } else {
        // What is erased is overwritten, and does not wait in a free page.
        conn.batch_execute("PRAGMA secure_delete = ON")?;
    }
    Ok(conn)
}

/// What a checkpoint says.
#[derive(QueryableByName)]
struct Checkpoint {
    /// Whether somebody kept it from being a whole one.
    #[diesel(sql_type = diesel::sql_types::Integer)]
    busy: i32,
}

/// Copies the write-ahead log into the file and empties it, since it has what was
/// erased, too. Waits no longer than a moment for readers of older states; whether it
/// was done.
pub(super) fn empty_log(conn: &mut Conn) -> QueryResult<bool> {
    conn.batch_execute("PRAGMA busy_timeout = 20")?;
    let done = diesel::sql_query("PRAGMA wal_checkpoint(TRUNCATE)").get_result::<Checkpoint>(conn);
    conn.batch_execute(BUSY_TIMEOUT)?;
    Ok(done?.busy == 0)
}

#[cfg(test)]
mod tests {
    use diesel::migration::MigrationSource;

    use super::*;

    #[derive(QueryableByName)]
    struct Target {
        #[diesel(sql_type = diesel::sql_types::Nullable<diesel::sql_types::Text>)]
        callback_target: Option<String>,
    }

    /// Of two with one version only one is ever run.
    #[test]
    fn no_two_migrations_have_the_same_version() {
        let source: &dyn MigrationSource<diesel::sqlite::Sqlite> = &MIGRATIONS;
        let all = source.migrations().unwrap();
        let versions = all.iter().map(|one| one.name().version().to_string());
        let versions: std::collections::BTreeSet<String> = versions.collect();
        assert_eq!(versions.len(), all.len());
    }

    /// The names of the copies in a folder.
    fn kept(folder: &Path) -> Vec<String> {
        let names = std::fs::read_dir(folder).unwrap();
        let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.contains(".before-")).collect()
    }

    #[test]
    fn the_database_of_an_older_version_is_kept_aside_and_the_copy_before_goes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("test.db");
        drop(open(&path).unwrap());
        assert_eq!(kept(folder.path()), [""; 0], "a new one is not copied");
        for back in [2, 1] {
            let mut conn = connect(&path, false).unwrap();
            for _ in 0..back {
                conn.revert_last_migration(MIGRATIONS).unwrap();
            }
            let had = conn.applied_migrations().unwrap();
            let first = conn.pending_migrations(MIGRATIONS).unwrap()[0]
                .name()
                .version()
                .to_string();
            drop(conn);
            drop(open(&path).unwrap());
            assert_eq!(kept(folder.path()), [format!("test.db.before-{first}")]);
            let copy = folder.path().join(format!("test.db.before-{first}"));
            let mut copy = connect(&copy, true).unwrap();
            assert_eq!(copy.applied_migrations().unwrap(), had);
        }
        let copies = kept(folder.path());
        drop(open(&path).unwrap());
        assert_eq!(kept(folder.path()), copies, "and stays");
    }

    #[test]
    fn a_database_that_cannot_be_copied_is_left_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("test.db");
        drop(open(&path).unwrap());
        let mut conn = connect(&path, false).unwrap();
        let last = conn.revert_last_migration(MIGRATIONS).unwrap();
        std::fs::create_dir(folder.path().join(format!("test.db.before-{last}"))).unwrap();
        let Err(error) = open(&path) else {
            panic!("it was changed");
        };
        let error = error.to_string();
        assert!(error.contains("cannot be copied to"), "{error}");
        assert_eq!(outstanding(&mut conn).unwrap(), 1);
    }

    #[test]
    fn a_job_that_an_older_version_left_unchecked_is_checked_by_its_url() {
        let folder = tempfile::tempdir().unwrap();
        let mut conn = connect(&folder.path().join("test.db"), false).unwrap();
        conn.run_pending_migrations(MIGRATIONS).unwrap();
        let added_by = "20261130000004";
        while conn.revert_last_migration(MIGRATIONS).unwrap().to_string() != added_by {}
        for (id, status) in [(1, "checking"), (2, "completed")] {
            let job = format!(
                "INSERT INTO speeches (id, status, fingerprint, request, resolved_voice, language, characters, \
                 text_bytes, callback_url, callback_check, created_at, deadline_at, text) \
                 VALUES (x'0{id}', '{status}', x'00', '{{}}', 'v', 'vi', 1, 1, 'http://a/', 'pending', 1, 2, 't')"
            );
            conn.batch_execute(&job).unwrap();
        }
        conn.run_pending_migrations(MIGRATIONS).unwrap();
        let targets: Vec<Target> =
            diesel::sql_query("SELECT callback_target FROM speeches ORDER BY id")
                .load(&mut conn)
                .unwrap();
        let targets: Vec<Option<&str>> = targets
            .iter()
            .map(|target| target.callback_target.as_deref())
            .collect();
        assert_eq!(targets, [Some("http://a/"), None]);
    }
}
