//! Entries of one kind, of which those go first that were not used for longest.
//!
//! An entry is two files, its audio and what is known of it, and both have the audio's
//! digest in their names: words are never found beside another's sound, however two
//! who keep a result under one key meet. The first one wins. Nothing here is synced or
//! missed: an entry that a crash has torn is none.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::SystemTime;

use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::super::disk::blocking;
use super::super::spool::hex;
use super::super::{FileError, Files, Stored};
use crate::locks::lock;

/// The name of an entry: 64 hexadecimal digits.
pub type CacheKey = String;

/// Entries of one kind. Cheap to clone.
#[derive(Clone)]
pub struct LruStore {
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

/// Under which names the two files of an entry are.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Name {
    key: CacheKey,
    /// Of the audio, in lower-case hex.
    sha256: String,
}

impl Name {
    /// Of a file, if it belongs to an entry, and which of its files it is.
    fn of(file: &Path) -> Option<(Self, &str)> {
        let mut parts = file.file_name()?.to_str()?.split('.');
        let (key, sha256) = (parts.next()?, parts.next()?);
        let kind = parts.next()?;
        let is_ours = sha256.len() == 64 && parts.next().is_none();
        let name = Self {
            key: key.to_owned(),
            sha256: sha256.to_owned(),
        };
        is_ours.then_some((name, kind))
    }

    fn file(&self, kind: &str) -> String {
        format!("{}.{}.{kind}", self.key, self.sha256)
    }
}

/// What is kept, the longest unused first.
#[derive(Default)]
struct Index {
    entries: HashMap<CacheKey, Entry>,
    by_use: BTreeMap<u64, CacheKey>,
    bytes: u64,
    uses: u64,
    /// What is being kept at this moment, and still wanted, each with its number.
    being_put: HashMap<CacheKey, Put>,
    puts: u64,
}

/// One that is being kept.
struct Put {
    number: u64,
    sha256: String,
}

struct Entry {
    sha256: String,
    bytes: u64,
    used: u64,
}

impl Index {
    /// Whether whoever asks may keep something under this key: not where another has,
    /// or is about to.
    fn begin(&mut self, name: &Name) -> Option<u64> {
        let key = &name.key;
        if self.entries.contains_key(key) || self.being_put.contains_key(key) {
            return None;
        }
        self.puts += 1;
        let (number, sha256) = (self.puts, name.sha256.clone());
        self.being_put.insert(key.clone(), Put { number, sha256 });
        Some(number)
    }

    /// Whether what was begun under this number is still wanted: nobody has
    /// forgotten its key since.
    fn end(&mut self, key: &str, number: u64) -> bool {
        let put = self.being_put.get(key);
        let is_wanted = put.is_some_and(|put| put.number == number);
        if is_wanted {
            self.being_put.remove(key);
        }
        is_wanted
    }

    /// Whether files of this name are, or are about to be, an entry's.
    fn has(&self, name: &Name) -> bool {
        let put = self.being_put.get(&name.key);
        let entry = self.entries.get(&name.key);
        put.is_some_and(|put| put.sha256 == name.sha256)
            || entry.is_some_and(|entry| entry.sha256 == name.sha256)
    }

    fn put(&mut self, name: Name, bytes: u64) {
        let Name { key, sha256 } = name;
        self.remove(&key);
        self.uses += 1;
        self.by_use.insert(self.uses, key.clone());
        let entry = Entry {
            sha256,
            bytes,
            used: self.uses,
        };
        self.bytes += bytes;
        self.entries.insert(key, entry);
    }

    fn name(&self, key: &str) -> Option<Name> {
        self.entries.get(key).map(|entry| Name {
            key: key.to_owned(),
            sha256: entry.sha256.clone(),
        })
    }

    /// Notes that this very entry was used.
    fn used(&mut self, name: Name) {
        if let Some(entry) = self.entries.get(&name.key)
            && entry.sha256 == name.sha256
        {
            let bytes = entry.bytes;
            self.put(name, bytes);
        }
    }

    fn remove(&mut self, key: &str) {
        if let Some(entry) = self.entries.remove(key) {
            self.by_use.remove(&entry.used);
            self.bytes -= entry.bytes;
        }
    }

    /// Takes out what has to go for the rest to fit.
    fn beyond(&mut self, max_bytes: u64) -> Vec<Name> {
        let mut gone = Vec::new();
        while self.bytes > max_bytes {
            let Some((_, key)) = self.by_use.first_key_value() else {
                break;
            };
            let key = key.clone();
            gone.extend(self.name(&key));
            self.remove(&key);
        }
        gone
    }
}

impl LruStore {
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

    /// Looks what earlier processes have kept, and removes what is no entry: what a
    /// crash has torn, and what older versions have kept, which did not say whose
    /// sound their words are beside.
    pub(super) async fn load(&self) {
        let store = self.clone();
        let loaded = blocking(move || {
            let Listed { entries, others } = read_folder(&store.folder)?;
            let mut gone = Vec::new();
            {
                let mut index = store.index();
                for FileEntry { name, bytes, .. } in entries {
                    match index.name(&name.key) {
                        None => index.put(name, bytes),
                        // Another was made since the process started.
                        Some(known) if known != name => gone.push(name),
                        Some(_) => {}
                    }
                }
                gone.extend(index.beyond(store.max_bytes));
            }
            store.remove(&gone);
            store.remove_others(others);
            Ok(())
        });
        if let Err(error) = loaded.await {
            log::warn!("what was kept to be used again is not: {error}");
        }
    }

    /// Removes files that are no entries, but not those that are about to be some.
    fn remove_others(&self, others: Vec<PathBuf>) {
        for file in others {
            let is_used = Name::of(&file).is_some_and(|(name, _)| {
                let index = self.index();
                let is_entry = index.name(&name.key).as_ref() == Some(&name);
                is_entry || index.being_put.contains_key(&name.key)
            });
            if !is_used {
                let _ = fs::remove_file(file);
            }
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
        // Its name says what is in it, and it was on disk before it had that name.
        let take = move |audio: &Path, _: &Name, now| {
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
        let read = |audio: &Path, name: &Name, now| {
            let mut file = File::open(audio)?;
            file.set_modified(now)?;
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes)?;
            // It was never synced.
            match digest(&bytes) == name.sha256 {
                true => Ok(bytes),
                false => Err(io::Error::other("it is torn")),
            }
        };
        self.used(key, read).await
    }

    /// Has an entry's audio used, and answers what was kept with it.
    async fn used<T: Send + 'static>(
        &self,
        key: &str,
        with_audio: impl FnOnce(&Path, &Name, SystemTime) -> io::Result<T> + Send + 'static,
    ) -> Option<(String, T)> {
        let name = self.index().name(key)?;
        let now = SystemTime::from(self.files.clock.wall());
        let store = self.clone();
        let used = blocking(move || {
            let used = fs::read_to_string(store.path(&name, ABOUT))
                .and_then(|about| Ok((about, with_audio(&store.path(&name, AUDIO), &name, now)?)));
            match &used {
                Ok(_) => store.index().used(name),
                Err(_) => store.drop_entry(name),
            }
            used
        });
        match used.await {
            Ok(used) => {
                self.counts.hits.fetch_add(1, Ordering::Relaxed);
                Some(used)
            }
            Err(error) => {
                log::debug!("an entry of the cache is gone: {error}");
                None
            }
        }
    }

    /// Keeps a result: one more name for its file, and what is known of it. Does
    /// nothing where something is kept under this key, or is about to be.
    pub async fn keep(&self, key: &str, result: &str, audio: &Stored, about: String) {
        let source = self.files.folder.join(result);
        let link = move |audio: &Path| fs::hard_link(&source, audio);
        let (bytes, sha256) = (audio.bytes, audio.sha256.clone());
        let key = key.to_owned();
        self.put(Name { key, sha256 }, bytes, about, link).await;
    }

    /// Keeps audio that no result has as a file, and what is known of it; otherwise
    /// like [`Self::keep`].
    pub async fn write(&self, key: &str, audio: Bytes, about: String) {
        let (bytes, sha256) = (audio.len() as u64, digest(&audio));
        let write = move |path: &Path| fs::write(path, audio);
        let key = key.to_owned();
        self.put(Name { key, sha256 }, bytes, about, write).await;
    }

    async fn put(
        &self,
        name: Name,
        audio_bytes: u64,
        about: String,
        make_audio: impl FnOnce(&Path) -> io::Result<()> + Send + 'static,
    ) {
        self.counts.misses.fetch_add(1, Ordering::Relaxed);
        let store = self.clone();
        // It comes to its end also when nobody waits for it any more.
        let put = blocking(move || store.put_now(name, audio_bytes, &about, make_audio));
        if let Err(error) = put.await {
            log::debug!("nothing is kept to be used again: {error}");
        }
    }

    fn put_now(
        &self,
        name: Name,
        audio_bytes: u64,
        about: &str,
        make_audio: impl FnOnce(&Path) -> io::Result<()>,
    ) -> io::Result<()> {
        let bytes = audio_bytes.saturating_add(about.len() as u64);
        if bytes > self.max_bytes {
            return Ok(());
        }
        let Some(number) = self.index().begin(&name) else {
            return Ok(());
        };
        let made = self.make_files(&name, about, make_audio);
        let gone = {
            let mut index = self.index();
            let is_wanted = index.end(&name.key, number);
            if made.is_ok() && is_wanted {
                index.put(name, bytes);
                index.beyond(self.max_bytes)
            } else if index.has(&name) {
                // Who was forgotten meanwhile has made the files of another, who came
                // after that, with the same sound.
                Vec::new()
            } else {
                vec![name]
            }
        };
        self.remove(&gone);
        made
    }

    fn make_files(
        &self,
        name: &Name,
        about: &str,
        make_audio: impl FnOnce(&Path) -> io::Result<()>,
    ) -> io::Result<()> {
        let audio = self.path(name, AUDIO);
        if let Some(folder) = audio.parent() {
            fs::create_dir_all(folder)?;
        }
        // What a crash has left.
        let _ = fs::remove_file(&audio);
        make_audio(&audio)?;
        let unfinished = self.path(name, UNFINISHED);
        fs::write(&unfinished, about)?;
        // Last: it is what makes the entry.
        fs::rename(unfinished, self.path(name, ABOUT))
    }

    /// Removes an entry, if it is there, and what is about to become one.
    pub async fn forget(&self, key: &str) {
        {
            let mut index = self.index();
            index.remove(key);
            index.being_put.remove(key);
        }
        let (folder, key) = (self.subfolder(key), key.to_owned());
        // By its key alone: it may not be known yet, or be torn.
        let removed = blocking(move || {
            for file in fs::read_dir(folder)?.flatten() {
                if is_of(&file.file_name(), &key) {
                    let _ = fs::remove_file(file.path());
                }
            }
            Ok(())
        });
        let _ = removed.await;
    }

    /// Removes what was used last before this instant.
    ///
    /// # Errors
    /// What the file system says.
    pub(super) async fn expire(&self, before: SystemTime) -> Result<(), FileError> {
        let folder = Arc::clone(&self.folder);
        let found = blocking(move || read_folder(&folder)).await?.entries;
        let old = found.into_iter().filter(|found| found.used < before);
        for FileEntry { name, .. } in old {
            self.forget(&name.key).await;
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
        lock(&self.index)
    }

    fn subfolder(&self, key: &str) -> PathBuf {
        self.folder.join(key.get(..2).unwrap_or_default())
    }

    fn path(&self, name: &Name, kind: &str) -> PathBuf {
        self.subfolder(&name.key).join(name.file(kind))
    }

    /// Removes an entry that cannot be used, but not another that has come in its place.
    fn drop_entry(&self, name: Name) {
        {
            let mut index = self.index();
            if index.name(&name.key).as_ref() == Some(&name) {
                index.remove(&name.key);
            }
        }
        self.remove(&[name]);
    }

    fn remove(&self, names: &[Name]) {
        for name in names {
            for kind in [ABOUT, AUDIO, UNFINISHED] {
                let _ = fs::remove_file(self.path(name, kind));
            }
        }
    }
}

/// What a file of an entry is, as its name ends.
const AUDIO: &str = "audio";
const ABOUT: &str = "json";
const UNFINISHED: &str = "part";

fn digest(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// Whether a file is one of those under this key, whole or not.
fn is_of(file: &OsString, key: &str) -> bool {
    let behind_key = file.to_str().and_then(|name| name.strip_prefix(key));
    behind_key.is_some_and(|rest| rest.starts_with('.'))
}

/// An entry on disk.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct FileEntry {
    used: SystemTime,
    name: Name,
    bytes: u64,
}

/// What is in a folder.
#[derive(Default)]
struct Listed {
    /// The longest unused first.
    entries: Vec<FileEntry>,
    /// Files that are none of theirs.
    others: Vec<PathBuf>,
}

fn read_folder(folder: &Path) -> io::Result<Listed> {
    let mut listed = Listed::default();
    let subfolders = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(listed),
        subfolders => subfolders?,
    };
    for subfolder in subfolders {
        for file in fs::read_dir(subfolder?.path())? {
            let file = file?.path();
            let Some((name, kind)) = Name::of(&file) else {
                listed.others.push(file);
                continue;
            };
            let beside = |kind| fs::metadata(file.with_extension(kind));
            match (kind, beside(ABOUT), beside(AUDIO)) {
                (ABOUT, Ok(about), Ok(audio)) => listed.entries.push(FileEntry {
                    used: audio.modified()?,
                    name,
                    bytes: audio.len() + about.len(),
                }),
                (AUDIO, Ok(_), Ok(_)) => {}
                _ => listed.others.push(file),
            }
        }
    }
    listed.entries.sort();
    Ok(listed)
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;
    use hoiam_api::Service;
    use hoiam_supervision::clock::Clock;

    const KEY: &str = "abcdef";

    fn store() -> (LruStore, TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let files = Files::open(folder.path(), Service::Tts, Clock::manual(0).0).unwrap();
        (LruStore::new(&files, "store", 1_000_000), folder)
    }

    /// As another process finds it.
    async fn reopened(store: &LruStore) -> LruStore {
        let again = LruStore::new(&store.files, "store", store.max_bytes);
        again.load().await;
        again
    }

    fn name_of(sound: &str) -> Name {
        Name {
            key: KEY.to_owned(),
            sha256: digest(sound.as_bytes()),
        }
    }

    /// Keeps a sound with its own words, and does something else in the midst of it.
    fn put(store: &LruStore, sound: &str, midst: [&dyn Fn(); 2]) {
        try_to_put(store, sound, midst).unwrap();
    }

    fn try_to_put(
        store: &LruStore,
        sound: &str,
        [before, after]: [&dyn Fn(); 2],
    ) -> io::Result<()> {
        let about = format!("the words of {sound}");
        let make_audio = |path: &Path| {
            before();
            fs::write(path, sound)?;
            after();
            Ok(())
        };
        let bytes = sound.len() as u64;
        store.put_now(name_of(sound), bytes, &about, make_audio)
    }

    /// What is taken, as words and sound.
    async fn taken(store: &LruStore) -> Option<(String, String)> {
        let words = store.take(KEY, "taken").await?;
        let sound = fs::read_to_string(store.files.folder.join("taken")).unwrap();
        Some((words, sound))
    }

    fn pair(sound: &str) -> Option<(String, String)> {
        Some((format!("the words of {sound}"), sound.to_owned()))
    }

    fn files_of(store: &LruStore) -> Vec<PathBuf> {
        let listed = fs::read_dir(store.subfolder(KEY));
        let files = listed.into_iter().flatten();
        files.map(|file| file.unwrap().path()).collect()
    }

    fn nothing() {}

    #[test]
    fn what_was_not_used_for_longest_goes_first() {
        let mut index = Index::default();
        let name = |key: &str| Name {
            key: key.into(),
            sha256: String::new(),
        };
        for key in ["a", "b", "c"] {
            index.put(name(key), 40);
        }
        index.used(name("a"));
        assert_eq!(index.beyond(100), [name("b")]);
        assert_eq!(index.bytes, 80);
        assert_eq!(index.beyond(0), [name("c"), name("a")]);
        assert_eq!((index.bytes, index.by_use.len()), (0, 0));
    }

    #[actix_rt::test]
    async fn of_two_that_are_kept_under_one_key_at_once_the_first_wins_whole() {
        for nested_first in [true, false] {
            let (store, _folder) = store();
            let other = || put(&store, "second", [&nothing, &nothing]);
            let midst: [&dyn Fn(); 2] = match nested_first {
                true => [&other, &nothing],
                false => [&nothing, &other],
            };
            put(&store, "first", midst);
            put(&store, "third", [&nothing, &nothing]);
            assert_eq!(taken(&store).await, pair("first"));
            assert_eq!(files_of(&store).len(), 2);
            assert_eq!(store.bytes(), "the words of firstfirst".len() as u64);
            assert_eq!(taken(&reopened(&store).await).await, pair("first"));
        }
    }

    /// Many threads, each keeping and taking: whatever comes of it, pairs fit.
    #[test]
    fn what_is_taken_while_others_keep_and_forget_it_is_always_a_pair() {
        let (store, _folder) = store();
        let sounds: Vec<String> = (0..4).map(|number| format!("sound {number}")).collect();
        std::thread::scope(|scope| {
            for sound in &sounds {
                let store = &store;
                scope.spawn(move || {
                    actix_rt::System::new().block_on(async {
                        for _ in 0..50 {
                            // Another may take the files away while they are made.
                            let _ = try_to_put(store, sound, [&nothing, &nothing]);
                            if let Some((words, read)) = store.read(KEY).await {
                                let read = String::from_utf8(read).unwrap();
                                assert_eq!(Some((words, read.clone())), pair(&read));
                            }
                            store.forget(KEY).await;
                        }
                    });
                });
            }
        });
    }

    #[actix_rt::test]
    async fn what_is_forgotten_while_it_is_being_kept_is_not_kept() {
        let (store, _folder) = store();
        let forget = || {
            let store = store.clone();
            let forgotten = std::thread::spawn(move || {
                actix_rt::System::new().block_on(store.forget(KEY));
            });
            forgotten.join().unwrap();
        };
        for midst in [[&forget as &dyn Fn(), &nothing], [&nothing, &forget]] {
            put(&store, "first", midst);
            assert!(!store.has(KEY));
            assert_eq!(files_of(&store), Vec::<PathBuf>::new());
        }
        put(&store, "second", [&nothing, &nothing]);
        assert_eq!(taken(&store).await, pair("second"));
    }

    /// Somebody forgets it and somebody else keeps it anew, in the midst of it.
    #[actix_rt::test]
    async fn what_is_kept_anew_after_it_was_forgotten_is_kept_by_the_second_alone() {
        for sound in ["second", "first"] {
            let (store, _folder) = store();
            let forget_and_keep = || {
                let (store, sound) = (store.clone(), sound.to_owned());
                let done = std::thread::spawn(move || {
                    actix_rt::System::new().block_on(store.forget(KEY));
                    put(&store, &sound, [&nothing, &nothing]);
                });
                done.join().unwrap();
            };
            put(&store, "first", [&nothing, &forget_and_keep]);
            assert_eq!(taken(&store).await, pair(sound));
            assert_eq!(files_of(&store).len(), 2);
            assert!(store.index().being_put.is_empty());
        }
    }

    /// Found out when it is used, or by the next process.
    #[actix_rt::test]
    async fn what_a_crash_has_torn_is_not_used_and_is_made_anew() {
        let damages = ["no audio", "no words", "another's audio", "half the audio"];
        for (damage, by_next) in damages.iter().flat_map(|it| [(it, false), (it, true)]) {
            let (mut store, _folder) = store();
            put(&store, "first", [&nothing, &nothing]);
            let path = |sound, kind| store.path(&name_of(sound), kind);
            let (audio, about) = (path("first", AUDIO), path("first", ABOUT));
            match *damage {
                "no audio" => fs::remove_file(audio),
                "no words" => fs::rename(about, path("first", UNFINISHED)),
                "another's audio" => fs::rename(audio, path("second", AUDIO)),
                _ => fs::write(audio, "fir"),
            }
            .unwrap();
            if by_next {
                store = reopened(&store).await;
            }
            assert_eq!(store.read(KEY).await, None, "{damage}");
            assert!(!store.has(KEY), "{damage}");
            put(&store, "third", [&nothing, &nothing]);
            assert_eq!(taken(&store).await, pair("third"), "{damage}");
            if by_next {
                assert_eq!(files_of(&store).len(), 2, "{damage}");
            }
        }
    }

    #[actix_rt::test]
    async fn of_two_entries_that_are_found_under_one_key_one_stays() {
        let (store, _folder) = store();
        put(&store, "first", [&nothing, &nothing]);
        for (kind, text) in [(AUDIO, "second"), (ABOUT, "the words of second")] {
            fs::write(store.path(&name_of("second"), kind), text).unwrap();
        }
        let store = reopened(&store).await;
        let taken = taken(&store).await;
        assert!(taken == pair("first") || taken == pair("second"));
        assert_eq!(files_of(&store).len(), 2);
    }

    #[actix_rt::test]
    async fn what_an_older_version_has_kept_is_dropped() {
        let (store, _folder) = store();
        fs::create_dir_all(store.subfolder(KEY)).unwrap();
        for kind in [AUDIO, ABOUT, UNFINISHED] {
            let file = store.subfolder(KEY).join(format!("{KEY}.{kind}"));
            fs::write(file, "old").unwrap();
        }
        let store = reopened(&store).await;
        assert_eq!(taken(&store).await, None);
        assert_eq!(files_of(&store), Vec::<PathBuf>::new());
    }

    #[actix_rt::test]
    async fn what_is_being_kept_while_the_folder_is_looked_through_stays() {
        let (store, _folder) = store();
        let load = || {
            let store = store.clone();
            let loaded = std::thread::spawn(move || {
                actix_rt::System::new().block_on(store.load());
            });
            loaded.join().unwrap();
        };
        put(&store, "first", [&nothing, &load]);
        assert_eq!(taken(&store).await, pair("first"));
    }

    #[actix_rt::test]
    async fn what_cannot_be_made_leaves_nothing_and_is_tried_again() {
        let (store, _folder) = store();
        let fails = |path: &Path| {
            fs::write(path, "fir")?;
            Err(io::Error::other("the disk is full"))
        };
        let put_now = store.put_now(name_of("first"), 5, "words", fails);
        assert!(put_now.is_err());
        assert_eq!(files_of(&store), Vec::<PathBuf>::new());
        put(&store, "second", [&nothing, &nothing]);
        assert_eq!(taken(&store).await, pair("second"));
    }

    /// Whoever asked for it to be kept may be gone before it is.
    #[actix_rt::test]
    async fn keeping_comes_to_its_end_although_nobody_waits_for_it() {
        let (store, _folder) = store();
        let (told, hear) = std::sync::mpsc::channel();
        let make_audio = move |path: &Path| {
            // The caller is gone by now.
            hear.recv().unwrap();
            fs::write(path, "first")
        };
        let about = "the words of first".to_owned();
        let kept = store.put(name_of("first"), 5, about, make_audio);
        let mut kept = Box::pin(kept);
        let waited = futures_util::poll!(kept.as_mut());
        assert!(waited.is_pending());
        drop(kept);
        told.send(()).unwrap();
        let index = Arc::clone(&store.index);
        let ended = tokio::task::spawn_blocking(move || {
            // This one, and the store's.
            while Arc::strong_count(&index) > 2 {
                std::thread::yield_now();
            }
        });
        ended.await.unwrap();
        assert_eq!(taken(&store).await, pair("first"));
        assert!(store.index().being_put.is_empty());
    }
}
