//! Where results are kept: one file a result, written whole and synced
//! before the commit that names it.

mod spool;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::BoxStream;
use object_store::local::LocalFileSystem;
use object_store::path::Path as Key;
use object_store::{GetOptions, GetRange, ObjectStore, ObjectStoreExt};
use uuid::Uuid;

use crate::contract::Service;

pub use spool::{Spool, Stored};

/// Why a file could not be kept or read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileError {
    /// There is none under this key.
    Missing,
    /// The store says no: full disk, no permission.
    Failed(String),
}

impl std::fmt::Display for FileError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Missing => f.write_str("the file is not there"),
            Self::Failed(detail) => write!(f, "the file store failed: {detail}"),
        }
    }
}

impl std::error::Error for FileError {}

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
    scratch: Arc<PathBuf>,
    service: Service,
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
    pub fn open(folder: &Path, service: Service) -> Result<Self, FileError> {
        for byte in 0..=u8::MAX {
            std::fs::create_dir_all(folder.join(service.as_str()).join(format!("{byte:02x}")))?;
        }
        let scratch = folder.join("scratch");
        std::fs::create_dir_all(&scratch)?;
        let store = LocalFileSystem::new_with_prefix(folder)?.with_fsync(true);
        Ok(Self {
            store: Arc::new(store),
            scratch: Arc::new(scratch),
            service,
        })
    }

    /// The key of a result. The claim's number is in it, so that two claims
    /// of one job never write the same file.
    #[must_use]
    pub fn key(&self, id: Uuid, claim: i32, extension: &str) -> String {
        let last = id.as_bytes()[15];
        format!("{}/{last:02x}/{id}-{claim}.{extension}", self.service)
    }

    /// An empty place to gather a result in.
    #[must_use]
    pub fn spool(&self) -> Spool {
        Spool::new(Arc::clone(&self.store), Arc::clone(&self.scratch))
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
