//! Entries of one kind, of which those go first that were not used for longest.
//!
//! An entry is two files: its audio, and beside it what is known of it. Nothing here
//! is synced or missed: an entry that a crash has torn is none.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use bytes::Bytes;

use super::super::spool::blocking;
use super::super::{FileError, Files};
use super::CacheKey;

/// Entries of one kind. Cheap to clone.
#[derive(Clone)]
pub struct Shelf {
    files: Files,
    folder: Arc<PathBuf>,
    max_bytes: u64,
    index: Arc<Mutex<Index>>,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    hits: AtomicU64,
    misses: AtomicU64,
}

/// What is kept, the longest unused first.
#[derive(Default)]
struct Index {
    entries: HashMap<CacheKey, Entry>,
    by_use: BTreeMap<u64, CacheKey>,
    bytes: u64,
    uses: u64,
}

struct Entry {
    bytes: u64,
    used: u64,
}

impl Index {
    fn put(&mut self, key: CacheKey, bytes: u64) {
        self.remove(&key);
        self.uses += 1;
        self.by_use.insert(self.uses, key.clone());
        let used = self.uses;
        self.bytes += bytes;
        self.entries.insert(key, Entry { bytes, used });
    }

    fn remove(&mut self, key: &str) {
        if let Some(entry) = self.entries.remove(key) {
            self.by_use.remove(&entry.used);
            self.bytes -= entry.bytes;
        }
    }

    /// Takes out what has to go for the rest to fit.
    fn beyond(&mut self, max_bytes: u64) -> Vec<CacheKey> {
        let mut gone = Vec::new();
        while self.bytes > max_bytes {
            let Some((_, key)) = self.by_use.first_key_value() else {
                break;
            };
            let key = key.clone();
            self.remove(&key);
            gone.push(key);
        }
        gone
    }
}

impl Shelf {
    /// The entries in a folder beside a service's files; of 0 bytes it keeps nothing.
    /// What is there already is known once [`Self::load`] is through.
    #[must_use]
    pub(super) fn new(files: &Files, folder: &str, max_bytes: u64) -> Self {
        Self {
            files: files.clone(),
            folder: Arc::new(files.folder.join(folder)),
            max_bytes,
            index: Arc::default(),
            counts: Arc::default(),
        }
    }

    /// Looks what earlier processes have kept.
    pub(super) async fn load(&self) {
        let folder = Arc::clone(&self.folder);
        match blocking(move || read_folder(&folder)).await {
            Ok(found) => {
                let gone = {
                    let mut index = self.index();
                    for (_, key, bytes) in found {
                        index.put(key, bytes);
                    }
                    index.beyond(self.max_bytes)
                };
                self.remove(gone).await;
            }
            Err(error) => log::warn!("what was kept to be used again is not: {error}"),
        }
    }

    /// Whether there is an entry, as far as is known.
    #[must_use]
    pub fn has(&self, key: &str) -> bool {
        self.index().entries.contains_key(key)
    }

    /// Gives the audio of an entry one more name, a result's key, and answers what
    /// was kept with it. `None` where it is gone.
    pub async fn take(&self, key: &str, result: &str) -> Option<String> {
        let goal = self.files.folder.join(result);
        let sync_folder = self.files.sync_folders;
        let take = move |audio: &Path, now| {
            match fs::hard_link(audio, &goal) {
                // What an earlier try of the same claim has left.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    fs::remove_file(&goal)?;
                    fs::hard_link(audio, &goal)?;
                }
                linked => linked?,
            }
            let file = File::open(&goal)?;
            // It is as young as a new one to those who sweep old files.
            file.set_modified(now)?;
            file.sync_all()?;
            if let Some(folder) = goal.parent().filter(|_| sync_folder) {
                File::open(folder)?.sync_all()?;
            }
            Ok(())
        };
        self.used(key, take).await.map(|(about, ())| about)
    }

    /// What was kept of an entry, and its audio. `None` where it is gone.
    pub async fn read(&self, key: &str) -> Option<(String, Vec<u8>)> {
        let read = |audio: &Path, now| {
            let mut file = File::open(audio)?;
            file.set_modified(now)?;
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        self.used(key, read).await
    }

    /// Has an entry's audio used, and answers what was kept with it.
    async fn used<T: Send + 'static>(
        &self,
        key: &str,
        with_audio: impl FnOnce(&Path, SystemTime) -> io::Result<T> + Send + 'static,
    ) -> Option<(String, T)> {
        let (audio, about) = self.paths(key);
        let now = SystemTime::from(self.files.clock.wall());
        let used =
            blocking(move || Ok((fs::read_to_string(about)?, with_audio(&audio, now)?))).await;
        match used {
            Ok(used) => {
                let mut index = self.index();
                if let Some(bytes) = index.entries.get(key).map(|entry| entry.bytes) {
                    index.put(key.to_owned(), bytes);
                }
                self.counts.hits.fetch_add(1, Ordering::Relaxed);
                Some(used)
            }
            Err(error) => {
                log::debug!("an entry of the cache is gone: {error}");
                self.forget(key).await;
                None
            }
        }
    }

    /// Keeps a result of so many bytes: one more name for its file, and what is known
    /// of it.
    pub async fn keep(&self, key: &str, result: &str, bytes: u64, about: String) {
        let source = self.files.folder.join(result);
        let link = move |audio: &Path| fs::hard_link(&source, audio);
        self.put(key, bytes, about, link).await;
    }

    /// Keeps audio that no result has as a file, and what is known of it.
    pub async fn write(&self, key: &str, audio: Bytes, about: String) {
        let bytes = audio.len() as u64;
        let write = move |path: &Path| fs::write(path, audio);
        self.put(key, bytes, about, write).await;
    }

    async fn put(
        &self,
        key: &str,
        audio_bytes: u64,
        about: String,
        make_audio: impl FnOnce(&Path) -> io::Result<()> + Send + 'static,
    ) {
        self.counts.misses.fetch_add(1, Ordering::Relaxed);
        let bytes = audio_bytes.saturating_add(about.len() as u64);
        if bytes > self.max_bytes {
            return;
        }
        let (audio, beside) = self.paths(key);
        let put = blocking(move || {
            if let Some(folder) = audio.parent() {
                fs::create_dir_all(folder)?;
            }
            let _ = fs::remove_file(&audio);
            let unfinished = beside.with_extension("part");
            let written = fs::write(&unfinished, about);
            let written = written.and_then(|()| fs::rename(&unfinished, &beside));
            if written.is_err() {
                let _ = fs::remove_file(&unfinished);
            }
            written?;
            // Last: it is what makes the entry.
            make_audio(&audio)
        });
        match put.await {
            Ok(()) => {
                let gone = {
                    let mut index = self.index();
                    index.put(key.to_owned(), bytes);
                    index.beyond(self.max_bytes)
                };
                self.remove(gone).await;
            }
            Err(error) => log::debug!("nothing is kept to be used again: {error}"),
        }
    }

    /// Removes an entry, if it is there.
    pub async fn forget(&self, key: &str) {
        self.index().remove(key);
        self.remove(vec![key.to_owned()]).await;
    }

    /// Removes what was used last before this instant.
    ///
    /// # Errors
    /// What the file system says.
    pub(super) async fn expire(&self, before: SystemTime) -> Result<(), FileError> {
        let folder = Arc::clone(&self.folder);
        let found = blocking(move || read_folder(&folder)).await?;
        let old = found.into_iter().filter(|(used, ..)| *used < before);
        for (_, key, _) in old {
            self.forget(&key).await;
        }
        Ok(())
    }

    /// How many entries were used again, and how many were made, since the process
    /// started.
    #[must_use]
    pub fn counts(&self) -> (u64, u64) {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        (read(&self.counts.hits), read(&self.counts.misses))
    }

    /// How much is kept.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.index().bytes
    }

    /// Whether anything is ever kept.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.max_bytes > 0
    }

    fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Of the audio, and of what is known of it.
    fn paths(&self, key: &str) -> (PathBuf, PathBuf) {
        let folder = self.folder.join(key.get(..2).unwrap_or_default());
        (
            folder.join(format!("{key}.audio")),
            folder.join(format!("{key}.json")),
        )
    }

    async fn remove(&self, keys: Vec<CacheKey>) {
        let paths: Vec<_> = keys.iter().map(|key| self.paths(key)).collect();
        let removed = blocking(move || {
            for (audio, about) in paths {
                let _ = fs::remove_file(audio);
                let _ = fs::remove_file(about);
            }
            Ok(())
        });
        let _ = removed.await;
    }
}

/// The entries in a folder: when each was used last, its key and its size; the
/// longest unused first.
fn read_folder(folder: &Path) -> io::Result<Vec<(SystemTime, CacheKey, u64)>> {
    let mut found = Vec::new();
    let subfolders = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
        listed => listed?,
    };
    for subfolder in subfolders {
        for file in fs::read_dir(subfolder?.path())? {
            let about = file?.path();
            let audio = about.with_extension("audio");
            let key = about.file_stem().and_then(|stem| stem.to_str());
            let (Some(key), true) = (key, about.extension().is_some_and(|end| end == "json"))
            else {
                continue;
            };
            // What a crash has left without its audio is as old as can be.
            let (used, bytes) = match fs::metadata(audio) {
                Ok(audio) => (audio.modified()?, audio.len() + fs::metadata(&about)?.len()),
                Err(_) => (SystemTime::UNIX_EPOCH, 0),
            };
            found.push((used, key.to_owned(), bytes));
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_used_for_longest_goes_first() {
        let mut index = Index::default();
        for key in ["a", "b", "c"] {
            index.put(key.into(), 40);
        }
        index.put("a".into(), 40);
        assert_eq!(index.beyond(100), ["b"]);
        assert_eq!(index.bytes, 80);
        assert_eq!(index.beyond(0), ["c", "a"]);
        assert_eq!((index.bytes, index.by_use.len()), (0, 0));
    }
}
