//! Where results are kept: one file a result, written whole and synced
//! before the commit that names it.
//!
//! Files are read and removed through `object_store`. They are written here
//! under the name they keep: `object_store` writes under another name first,
//! which the row's claim makes needless, and that costs a sync more.

mod cache;
mod disk;
mod growing;
mod space;
mod spool;

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::SystemTime;

use bytes::Bytes;
use futures_util::TryStreamExt;
use futures_util::stream::BoxStream;
use hoiam_api::Service;
use hoiam_supervision::clock::{Clock, Millis};
use object_store::local::LocalFileSystem;
use object_store::path::Path as Key;
use object_store::{GetOptions, GetRange, ObjectStore, ObjectStoreExt};
use uuid::Uuid;

use crate::write_health::WriteHealth;

pub use cache::{Cache, CacheKey, LruStore};
use growing::Growing;
pub use space::{Room, free_bytes};
pub use spool::{Spool, Stored, hex};

/// What a large file leaves free on the disk beyond what is kept for others, so that
/// none of several that grow at the same time takes of that.
const MARGIN_BYTES: u64 = 4 << 20;

/// How long after a file could not be written it is tried with another.
const PROBE_MS: Millis = 1000;

/// Why a file could not be kept or read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FileError {
    /// There is none under this key.
    #[error("the file is not there")]
    Missing,
    /// The store says no: full disk, no permission.
    #[error("the file store failed: {0}")]
    Failed(String),
    /// It would leave less free on the disk than is kept for others.
    #[error("the disk has no room for it")]
    NoRoom {
        /// Whether the disk had that much before this file was begun, and none that is
        /// written at the same time is larger.
        is_its_own: bool,
    },
}

impl From<object_store::Error> for FileError {
    fn from(error: object_store::Error) -> Self {
        match error {
            object_store::Error::NotFound { .. } => Self::Missing,
            other => Self::Failed(other.to_string()),
        }
    }
}

impl From<std::io::Error> for FileError {
    fn from(error: std::io::Error) -> Self {
        Self::Failed(error.to_string())
    }
}

/// One service's files. Cheap to clone, usable from every thread.
#[derive(Clone)]
pub struct Files {
    store: Arc<dyn ObjectStore>,
    folder: Arc<PathBuf>,
    sync_folders: bool,
    service: Service,
    write_health: WriteHealth,
    /// Bytes that are reserved for files on their way.
    reserved: Arc<AtomicU64>,
    growing: Growing,
    /// Bytes of the disk that large files leave free.
    kept_free: u64,
    clock: Clock,
}

/// A part of a file, with what a range answer needs.
pub struct Part {
    /// First byte.
    pub start: u64,
    /// Exclusive end.
    pub end: u64,
    /// Size of the whole file.
    pub size: u64,
    /// The bytes as they are read.
    pub stream: BoxStream<'static, object_store::Result<Bytes>>,
}

impl Files {
    /// Opens the folder, and makes its subfolders, so that no write has to.
    ///
    /// # Errors
    /// When a folder cannot be made.
    pub fn open(folder: &Path, service: Service, clock: Clock) -> Result<Self, FileError> {
        for byte in 0..=u8::MAX {
            std::fs::create_dir_all(folder.join(service.as_str()).join(format!("{byte:02x}")))?;
        }
        let store = LocalFileSystem::new_with_prefix(folder)?;
        Ok(Self {
            store: Arc::new(store),
            folder: Arc::new(folder.to_owned()),
            sync_folders: !names_are_synced_with_files(folder),
            service,
            write_health: WriteHealth::none_at(format!("the {service} service's folder of files")),
            reserved: Arc::default(),
            growing: Growing::default(),
            kept_free: MARGIN_BYTES,
            clock,
        })
    }

    /// The same, where large files leave `min_free_bytes` of the disk to others.
    #[must_use]
    pub fn keeping_free(self, min_free_bytes: u64) -> Self {
        Self {
            kept_free: min_free_bytes.saturating_add(MARGIN_BYTES),
            ..self
        }
    }

    /// What keeps files from being written, if anything does.
    #[must_use]
    pub fn write_health(&self) -> &WriteHealth {
        &self.write_health
    }

    /// What is free on the disk, where that can be found out.
    #[must_use]
    pub fn free_bytes(&self) -> Option<u64> {
        free_bytes(&self.folder).ok()
    }

    /// Reserves room for a file of this size, for as long as the answer is
    /// kept. `None` while nothing can be written, or while the disk has less free
    /// than this and what is reserved already. For a small file no bytes are kept
    /// back for what else may come (`limits.min_free_bytes`): they are meant for
    /// what was accepted, and that is what asks here. A large one leaves them to others.
    #[must_use]
    pub fn room_for(&self, bytes: u64) -> Option<Room> {
        if self.write_health.is_met() {
            return None;
        }
        let (room, reserved) = Room::reserve(&self.reserved, bytes);
        let left_free = if disk::is_large(bytes) {
            self.kept_free
        } else {
            0
        };
        let needed = reserved.saturating_add(left_free);
        let has_room = self.free_bytes().is_none_or(|free| needed <= free);
        has_room.then_some(room)
    }

    /// Keeps in mind what came of writing. The first failure starts a trial
    /// each second, since those who wait for it to end send no work.
    fn note<T>(&self, written: std::io::Result<T>) -> Result<T, FileError> {
        match &written {
            Ok(_) => self.write_health.end(),
            Err(error) => {
                if self.write_health.begin(&error.to_string()) {
                    let files = self.clone();
                    actix_rt::spawn(async move { files.try_until_it_works().await });
                }
            }
        }
        Ok(written?)
    }

    async fn try_until_it_works(&self) {
        let trial = self.folder.join(format!("{}/.trial", self.service));
        while self.write_health.is_met() {
            let due = self.clock.now() + PROBE_MS;
            self.clock.sleep_until(due).await;
            let trial = trial.clone();
            match disk::blocking(move || disk::try_to_write(&trial)).await {
                Ok(()) => self.write_health.end(),
                Err(error) => log::debug!("files still cannot be written: {error}"),
            }
        }
    }

    /// The key of a result. The number of the claim is in it, so that two
    /// claims of one job never write the same file.
    #[must_use]
    pub fn key(&self, id: Uuid, claim: impl std::fmt::Display, extension: &str) -> String {
        let last = id.as_bytes()[15];
        format!("{}/{last:02x}/{id}-{claim}.{extension}", self.service)
    }

    /// Reads a file or a part of it.
    ///
    /// # Errors
    /// [`FileError::Missing`] when there is none.
    pub async fn read(&self, key: &str, range: Option<GetRange>) -> Result<Part, FileError> {
        let options = GetOptions {
            range,
            ..GetOptions::default()
        };
        let found = self.store.get_opts(&Key::from(key), options).await?;
        let (range, size) = (found.range.clone(), found.meta.size);
        Ok(Part {
            start: range.start,
            end: range.end,
            size,
            stream: found.into_stream(),
        })
    }

    /// The files in one of the subfolders that were last written to before
    /// this instant, with the ids that they are named after. What is not named
    /// as [`Self::key`] names results is none of ours.
    ///
    /// # Errors
    /// What the store says.
    pub async fn older_than(
        &self,
        folder: u8,
        before: SystemTime,
    ) -> Result<Vec<(Uuid, String)>, FileError> {
        let prefix = Key::from(format!("{}/{folder:02x}", self.service));
        let listed = self.store.list(Some(&prefix)).try_filter_map(|file| {
            let old = SystemTime::from(file.last_modified) < before;
            let id = id_in(&file.location).filter(|_| old);
            std::future::ready(Ok(id.map(|id| (id, file.location.to_string()))))
        });
        Ok(listed.try_collect().await?)
    }

    /// Removes a file; one that is not there is no error.
    ///
    /// # Errors
    /// What the store says.
    pub async fn remove(&self, key: &str) -> Result<(), FileError> {
        match self
            .store
            .delete(&Key::from(key))
            .await
            .map_err(FileError::from)
        {
            Err(FileError::Missing) | Ok(()) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// The id that a result's file is named after.
fn id_in(key: &Key) -> Option<Uuid> {
    let name = key.filename()?;
    let (id, claim) = name.split_at_checked(uuid::fmt::Hyphenated::LENGTH)?;
    let id = Uuid::try_parse(id).ok()?;
    claim.starts_with('-').then_some(id)
}

/// Whether the sync of a new file has its name on disk too, so that its folder
/// needs no sync of its own, which costs as much again. In general it does not
/// (fsync(2)). ext4 does: with a journal, file and name are one transaction,
/// and without one the parent is synced (`ext4_sync_parent` in the kernel's
/// fs/ext4/fsync.c).
fn names_are_synced_with_files(folder: &Path) -> bool {
    let Ok(mounts) = std::fs::read_to_string("/proc/self/mountinfo") else {
        return false;
    };
    let Ok(metadata) = std::fs::metadata(folder) else {
        return false;
    };
    let device = metadata.dev();
    let device = format!("{}:{}", libc::major(device), libc::minor(device));
    mounts
        .lines()
        .any(|line| is_ext4(line, &device).unwrap_or(false))
}

/// Whether a line of mountinfo (proc_pid_mountinfo(5)) says that this device
/// is an ext4.
fn is_ext4(line: &str, device: &str) -> Option<bool> {
    let (mount, file_system) = line.split_once(" - ")?;
    let mounted = mount.split(' ').nth(2)?;
    let kind = file_system.split(' ').next()?;
    Some(mounted == device && kind == "ext4")
}

#[cfg(test)]
mod tests {
    use super::{Files, is_ext4};
    use hoiam_api::Service;
    use hoiam_supervision::clock::Clock;

    #[actix_rt::test]
    async fn room_is_promised_once_and_free_again_when_the_promise_is_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let files = Files::open(folder.path(), Service::Backend, Clock::manual(0).0).unwrap();
        assert!(files.room_for(u64::MAX).is_none());
        // Others write on this disk too, so all of it is far from what is asked.
        let most = files.free_bytes().unwrap() / 4 * 3;
        let room = files.room_for(most);
        assert!(room.is_some());
        assert!(files.clone().room_for(most).is_none());
        drop(room);
        let room = files.room_for(most);
        assert!(room.is_some());
    }

    #[actix_rt::test]
    async fn there_is_no_room_where_nothing_can_be_written() {
        let folder = tempfile::tempdir().unwrap();
        let files = Files::open(folder.path(), Service::Backend, Clock::manual(0).0).unwrap();
        files.write_health().begin("full");
        assert!(files.room_for(1).is_none());
        files.write_health().end();
        assert!(files.room_for(1).is_some());
    }

    #[test]
    fn only_the_devices_own_line_tells_its_file_system() {
        let line = "36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext4 /dev/root rw";
        assert_eq!(is_ext4(line, "98:0"), Some(true));
        assert_eq!(is_ext4(line, "98:1"), Some(false));
        assert_eq!(is_ext4(&line.replace("ext4", "ext2"), "98:0"), Some(false));
        assert_eq!(is_ext4("36 35", "98:0"), None);
    }
}
