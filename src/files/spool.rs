//! Gathers a result of any size: in memory while it is small, then in a
//! scratch file without a name, so that memory does not grow with the text.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use object_store::path::Path as Key;
use object_store::{ObjectStore, ObjectStoreExt, WriteMultipart};
use sha2::{Digest, Sha256};

use super::FileError;

/// Up to this size a result stays in memory.
const IN_MEMORY: usize = 1024 * 1024;

/// A result that is being gathered.
pub struct Spool {
    store: Arc<dyn ObjectStore>,
    scratch: Arc<PathBuf>,
    memory: Vec<u8>,
    file: Option<File>,
}

/// What was stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Size in bytes.
    pub bytes: u64,
    /// Lower-case hex.
    pub sha256: String,
}

impl Spool {
    pub(super) fn new(store: Arc<dyn ObjectStore>, scratch: Arc<PathBuf>) -> Self {
        Self {
            store,
            scratch,
            memory: Vec::new(),
            file: None,
        }
    }

    /// Appends.
    ///
    /// # Errors
    /// What the file system says of the scratch file.
    pub async fn append(&mut self, bytes: Bytes) -> Result<(), FileError> {
        if self.file.is_none() && self.memory.len() + bytes.len() <= IN_MEMORY {
            self.memory.extend_from_slice(&bytes);
            return Ok(());
        }
        let mut file = match self.file.take() {
            Some(file) => file,
            None => new_scratch(Arc::clone(&self.scratch)).await?,
        };
        let gathered = std::mem::take(&mut self.memory);
        self.file = Some(
            blocking(move || {
                file.write_all(&gathered)?;
                file.write_all(&bytes)?;
                Ok(file)
            })
            .await?,
        );
        Ok(())
    }

    /// Puts `head` in the place of as many bytes at the start.
    ///
    /// # Errors
    /// What the file system says of the scratch file.
    pub async fn replace_head(&mut self, head: Vec<u8>) -> Result<(), FileError> {
        match self.file.take() {
            None => {
                if let Some(start) = self.memory.get_mut(..head.len()) {
                    start.copy_from_slice(&head);
                }
            }
            Some(mut file) => {
                self.file = Some(
                    blocking(move || {
                        file.seek(SeekFrom::Start(0))?;
                        file.write_all(&head)?;
                        file.seek(SeekFrom::End(0))?;
                        Ok(file)
                    })
                    .await?,
                );
            }
        }
        Ok(())
    }

    /// Writes the whole result under `key`, synced.
    ///
    /// # Errors
    /// What the file store says; nothing is under the key then.
    pub async fn store(self, key: &str) -> Result<Stored, FileError> {
        match self.file {
            None => {
                let stored = Stored {
                    bytes: self.memory.len() as u64,
                    sha256: hex(&Sha256::digest(&self.memory)),
                };
                self.store.put(&Key::from(key), self.memory.into()).await?;
                Ok(stored)
            }
            Some(file) => upload(self.store.as_ref(), &Key::from(key), file).await,
        }
    }
}

async fn upload(store: &dyn ObjectStore, key: &Key, mut file: File) -> Result<Stored, FileError> {
    file = blocking(move || {
        file.seek(SeekFrom::Start(0))?;
        Ok(file)
    })
    .await?;
    let mut upload = WriteMultipart::new(store.put_multipart(key).await?);
    let (mut hash, mut bytes) = (Sha256::new(), 0);
    loop {
        let (chunk, rest) = blocking(move || {
            let mut chunk = vec![0; IN_MEMORY];
            let read = file.read(&mut chunk)?;
            chunk.truncate(read);
            Ok((chunk, file))
        })
        .await?;
        file = rest;
        if chunk.is_empty() {
            break;
        }
        hash.update(&chunk);
        bytes += chunk.len() as u64;
        upload.wait_for_capacity(2).await?;
        upload.put(Bytes::from(chunk));
    }
    upload.finish().await?;
    Ok(Stored {
        bytes,
        sha256: hex(&hash.finalize()),
    })
}

async fn new_scratch(folder: Arc<PathBuf>) -> Result<File, FileError> {
    blocking(move || {
        let path = folder.join(uuid::Uuid::new_v4().to_string());
        let file = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&path)?;
        // Without a name it is gone with its handle, whatever happens.
        std::fs::remove_file(&path)?;
        Ok(file)
    })
    .await
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> Result<T, FileError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result.map_err(FileError::from),
        Err(error) => Err(FileError::Failed(error.to_string())),
    }
}

/// Lower-case hex.
pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}

#[cfg(test)]
mod tests {
    use futures_util::TryStreamExt;

    use crate::contract::Service;
    use crate::files::Files;
    use bytes::Bytes;

    async fn round_trip(chunks: usize, chunk: usize) {
        let folder = tempfile::tempdir().unwrap();
        let files = Files::open(folder.path(), Service::Tts).unwrap();
        let key = files.key(uuid::Uuid::now_v7(), 1, "wav");
        let mut spool = files.spool();
        for number in 0..chunks {
            spool
                .append(Bytes::from(vec![
                    u8::try_from(number % 251).unwrap();
                    chunk
                ]))
                .await
                .unwrap();
        }
        spool.replace_head(b"HEAD".to_vec()).await.unwrap();
        let stored = spool.store(&key).await.unwrap();
        assert_eq!(stored.bytes, (chunks * chunk) as u64);
        let part = files.read(&key, None).await.unwrap();
        let parts: Vec<Bytes> = part.stream.try_collect().await.unwrap();
        let whole = parts.concat();
        assert_eq!(whole.len(), chunks * chunk);
        assert!(whole.starts_with(b"HEAD"));
        assert_eq!(usize::from(*whole.last().unwrap()), (chunks - 1) % 251);
        assert_eq!(
            std::fs::read_dir(folder.path().join("scratch"))
                .unwrap()
                .count(),
            0
        );
        files.remove(&key).await.unwrap();
        files.remove(&key).await.unwrap();
    }

    #[actix_rt::test]
    async fn a_small_result_is_stored_whole_with_its_new_head() {
        round_trip(3, 1000).await;
    }

    #[actix_rt::test]
    async fn a_result_larger_than_memory_allows_is_stored_whole_with_its_new_head() {
        round_trip(90, 100_003).await;
    }
}
