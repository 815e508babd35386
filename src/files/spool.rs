//! Gathers a result of any size: in memory while it is small, else in its file,
//! so that memory does not grow with the text.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::PathBuf;

use bytes::Bytes;
use hoiam_api::Service;
use sha2::{Digest, Sha256};

use super::disk::{IN_MEMORY, blocking};
use super::growing::Size;
use super::{FileError, Files};
use crate::failpoint;

/// A result that is being gathered. Dropping it leaves nothing behind; what a
/// killed process leaves is named by no row.
pub struct Spool {
    files: Files,
    place: Place,
    memory: Vec<Bytes>,
    bytes_in_memory: usize,
    /// All that has come.
    bytes: u64,
    file: Option<(Unfinished, Size)>,
}

/// Where a result is written.
#[derive(Clone)]
struct Place {
    path: PathBuf,
    /// Whose results.
    service: Service,
    /// Whether the file's own sync leaves its name open to a power failure.
    sync_folder: bool,
}

/// What was stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Size in bytes.
    pub bytes: u64,
    /// Lower-case hex.
    pub sha256: String,
}

impl Files {
    /// An empty place to gather the result with this key in.
    #[must_use]
    pub fn spool(&self, key: &str) -> Spool {
        let place = Place {
            path: self.folder.join(key),
            service: self.service,
            sync_folder: self.sync_folders,
        };
        Spool::new(self.clone(), place)
    }
}

impl Spool {
    fn new(files: Files, place: Place) -> Self {
        Self {
            files,
            place,
            memory: Vec::new(),
            bytes_in_memory: 0,
            bytes: 0,
            file: None,
        }
    }

    /// How many bytes have been appended.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Appends.
    ///
    /// # Errors
    /// What the file system says; [`FileError::NoRoom`] where a large result would leave
    /// less of the disk free than [`Files::keeping_free`] says.
    pub async fn append(&mut self, bytes: Bytes) -> Result<(), FileError> {
        self.bytes += bytes.len() as u64;
        self.bytes_in_memory += bytes.len();
        self.memory.push(bytes);
        if self.file.is_none() && self.bytes_in_memory <= IN_MEMORY {
            return Ok(());
        }
        let gathered = std::mem::take(&mut self.memory);
        let next = std::mem::take(&mut self.bytes_in_memory) as u64;
        let (place, file) = (self.place.clone(), self.file.take());
        let files = self.files.clone();
        let append = move || {
            if let Some(free) = files.free_bytes()
                && free < files.kept_free.saturating_add(next)
            {
                // The file goes with this closure.
                let written = file.as_ref().map_or(0, |(_, size)| size.bytes());
                let largest = files.growing.largest();
                let is_its_own = has_filled(free, files.kept_free, written, largest);
                return Ok(Err(FileError::NoRoom { is_its_own }));
            }
            let begin = || Ok::<_, io::Error>((Unfinished::create(place)?, files.growing.begin()));
            let (mut file, size) = file.map_or_else(begin, Ok)?;
            gathered
                .iter()
                .try_for_each(|bytes| file.handle.write_all(bytes))?;
            size.grow(next);
            Ok(Ok((file, size)))
        };
        match blocking(append).await {
            Ok(Err(no_room)) => Err(no_room),
            Ok(Ok(file)) => {
                self.file = Some(self.files.note(Ok(file))?);
                Ok(())
            }
            Err(error) => self.files.note(Err(error)),
        }
    }

    /// Puts `head` in the place of as many bytes at the start, and has the
    /// whole result on disk under its key.
    ///
    /// # Errors
    /// What the file system says; nothing is under the key then.
    pub async fn store(self, head: Vec<u8>) -> Result<Stored, FileError> {
        let Self {
            files,
            place,
            memory,
            file,
            ..
        } = self;
        let stored = blocking(move || match file {
            None => store_memory(place, memory, &head),
            Some((file, _size)) => store_file(file, &head),
        });
        files.note(stored.await)
    }
}

/// Whether it is this file that has filled the disk: without what is `written` of it
/// there would be as much free as is kept, and none that is being written is larger.
fn has_filled(free: u64, kept_free: u64, written: u64, largest: u64) -> bool {
    free.saturating_add(written) >= kept_free && written >= largest
}

fn store_memory(place: Place, memory: Vec<Bytes>, head: &[u8]) -> io::Result<Stored> {
    let mut file = Unfinished::create(place)?;
    let mut hash = Sha256::new();
    let mut bytes = 0;
    let mut behind_head = head.len();
    let rest = memory.iter().map(|part| {
        let skipped = behind_head.min(part.len());
        behind_head -= skipped;
        &part[skipped..]
    });
    for part in std::iter::once(head).chain(rest) {
        file.handle.write_all(part)?;
        failpoint::point(format_args!("file.{}.middle", file.place.service));
        hash.update(part);
        bytes += part.len() as u64;
    }
    file.keep()?;
    Ok(Stored {
        bytes,
        sha256: hex(&hash.finalize()),
    })
}

fn store_file(mut file: Unfinished, head: &[u8]) -> io::Result<Stored> {
    file.handle.seek(SeekFrom::Start(0))?;
    file.handle.write_all(head)?;
    file.handle.seek(SeekFrom::Start(0))?;
    let mut hash = Sha256::new();
    let mut chunk = vec![0; IN_MEMORY];
    let mut bytes = 0;
    loop {
        let read = file.handle.read(&mut chunk)?;
        if read == 0 {
            break;
        }
        hash.update(&chunk[..read]);
        bytes += read as u64;
    }
    file.keep()?;
    Ok(Stored {
        bytes,
        sha256: hex(&hash.finalize()),
    })
}

/// A file that is removed again unless it is kept.
struct Unfinished {
    place: Place,
    handle: File,
    kept: bool,
}

impl Unfinished {
    /// A new file: no result is ever written over another.
    fn create(place: Place) -> io::Result<Self> {
        let handle = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&place.path)?;
        Ok(Self {
            place,
            handle,
            kept: false,
        })
    }

    /// Has the file on disk, and its name.
    fn keep(mut self) -> io::Result<()> {
        self.handle.sync_all()?;
        if self.place.sync_folder
            && let Some(folder) = self.place.path.parent()
        {
            File::open(folder)?.sync_all()?;
        }
        self.kept = true;
        failpoint::point(format_args!("file.{}.after", self.place.service));
        Ok(())
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if !self.kept {
            // Where even that fails, the file is named by no row.
            let _ = std::fs::remove_file(&self.place.path);
        }
    }
}

/// Lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
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
    use std::path::Path;

    use bytes::Bytes;
    use futures_util::TryStreamExt;

    use super::{FileError, IN_MEMORY, has_filled};
    use crate::files::Files;
    use hoiam_api::Service;
    use hoiam_supervision::clock::Clock;

    fn chunk(number: usize, size: usize) -> Bytes {
        Bytes::from(vec![u8::try_from(number % 251).unwrap(); size])
    }

    fn file_count(folder: &Path) -> usize {
        let entries = std::fs::read_dir(folder).unwrap();
        entries
            .map(|entry| {
                let path = entry.unwrap().path();
                if path.is_dir() { file_count(&path) } else { 1 }
            })
            .sum()
    }

    async fn round_trip(chunks: usize, size: usize) {
        let folder = tempfile::tempdir().unwrap();
        let files = Files::open(folder.path(), Service::Tts, Clock::manual(0).0).unwrap();
        let key = files.key(uuid::Uuid::now_v7(), 1, "wav");
        let mut spool = files.spool(&key);
        for number in 0..chunks {
            spool.append(chunk(number, size)).await.unwrap();
        }
        let stored = spool.store(b"HEAD".to_vec()).await.unwrap();
        assert_eq!(stored.bytes, (chunks * size) as u64);
        let part = files.read(&key, None).await.unwrap();
        let parts: Vec<Bytes> = part.stream.try_collect().await.unwrap();
        let whole = parts.concat();
        assert_eq!(whole.len(), chunks * size);
        assert!(whole.starts_with(b"HEAD"));
        assert_eq!(usize::from(*whole.last().unwrap()), (chunks - 1) % 251);
        files.remove(&key).await.unwrap();
        files.remove(&key).await.unwrap();
        assert_eq!(file_count(folder.path()), 0);
    }

    #[actix_rt::test]
    async fn a_small_result_is_stored_whole_with_its_new_head() {
        round_trip(3, 1000).await;
    }

    #[actix_rt::test]
    async fn a_result_larger_than_memory_allows_is_stored_whole_with_its_new_head() {
        round_trip(90, 100_003).await;
    }

    #[actix_rt::test]
    async fn a_large_result_that_is_given_up_leaves_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let files = Files::open(folder.path(), Service::Tts, Clock::manual(0).0).unwrap();
        let mut spool = files.spool(&files.key(uuid::Uuid::now_v7(), 1, "wav"));
        for number in 0..12 {
            spool.append(chunk(number, 100_003)).await.unwrap();
        }
        assert_eq!(file_count(folder.path()), 1);
        drop(spool);
        assert_eq!(file_count(folder.path()), 0);
    }

    #[actix_rt::test]
    async fn a_large_result_leaves_free_what_is_kept_for_others_and_a_small_one_need_not() {
        let folder = tempfile::tempdir().unwrap();
        let files = Files::open(folder.path(), Service::Tts, Clock::manual(0).0).unwrap();
        let files = files.keeping_free(u64::MAX / 2);
        let key = files.key(uuid::Uuid::now_v7(), 1, "wav");
        let mut spool = files.spool(&key);
        spool.append(chunk(0, IN_MEMORY)).await.unwrap();
        let more = spool.append(chunk(1, 1)).await;
        assert_eq!(more, Err(FileError::NoRoom { is_its_own: false }));
        drop(spool);
        assert_eq!(file_count(folder.path()), 0);
        assert!(!files.write_health().is_met());
        assert!(files.room_for(1000).is_some());
        assert!(files.room_for(2 * IN_MEMORY as u64).is_none());
        let mut small = files.spool(&key);
        small.append(chunk(0, IN_MEMORY)).await.unwrap();
        small.store(Vec::new()).await.unwrap();
    }

    #[test]
    fn of_several_that_fill_the_disk_together_only_the_largest_has_filled_it() {
        // 10 are kept free, and 9 are left by one of 3000 and one of 8.
        assert!(has_filled(9, 10, 3000, 3000));
        assert!(!has_filled(9, 10, 8, 3000));
        assert!(has_filled(9, 10, 8, 8));
        // Others, which are whole, have filled it.
        assert!(!has_filled(1, 10, 8, 8));
        assert!(!has_filled(9, 10, 0, 0));
    }

    #[actix_rt::test]
    async fn a_result_counts_as_one_that_grows_until_it_is_given_up_or_stored() {
        let folder = tempfile::tempdir().unwrap();
        let files = Files::open(folder.path(), Service::Tts, Clock::manual(0).0).unwrap();
        let key = files.key(uuid::Uuid::now_v7(), 1, "wav");
        for is_stored in [false, true] {
            let mut spool = files.spool(&key);
            spool.append(chunk(0, IN_MEMORY)).await.unwrap();
            assert_eq!(files.growing.largest(), 0, "none of it is on the disk");
            spool.append(chunk(1, 1)).await.unwrap();
            spool.append(chunk(2, 1)).await.unwrap();
            assert_eq!(files.growing.largest(), IN_MEMORY as u64 + 2);
            if is_stored {
                spool.store(Vec::new()).await.unwrap();
            } else {
                drop(spool);
            }
            assert_eq!(files.growing.largest(), 0);
        }
    }

    #[actix_rt::test]
    async fn a_result_is_never_written_over_another() {
        let folder = tempfile::tempdir().unwrap();
        let files = Files::open(folder.path(), Service::Tts, Clock::manual(0).0).unwrap();
        let key = files.key(uuid::Uuid::now_v7(), 1, "wav");
        for allowed in [true, false] {
            let mut spool = files.spool(&key);
            spool.append(chunk(1, 10)).await.unwrap();
            assert_eq!(spool.store(Vec::new()).await.is_ok(), allowed);
        }
        assert_eq!(file_count(folder.path()), 1);
    }
}
