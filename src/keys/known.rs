//! The keys that are known now: those of the configuration, and those of the file,
//! which is looked at each second.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::{Arc, RwLock};

use hoiam_api::client::{from_header, name_by_hash};
use tokio::sync::watch;

use super::file::{self, Entry, KeysError};
use super::first;
use super::hash::KeyHash;
use super::look::{LookResult, look};
use super::scope::{Scope, Scopes};
use crate::db::{Db, StoreError};
use crate::locks::{read, write};
use crate::lookout::{self, Lookout};

/// What the configuration says of keys.
#[derive(Default)]
pub struct Configured {
    /// `server.api_keys`.
    pub api_keys: Vec<String>,
    /// The key that the Backend hands over with, where the TTS service runs here.
    pub backend: Option<BackendKey>,
    /// Where the file is.
    pub data_dir: PathBuf,
}

/// The key that may say whose work it brings.
pub enum BackendKey {
    /// Of the Backend in this process: its clients are ours.
    Here(String),
    /// Of a Backend elsewhere, which is a client like others, and the first: its
    /// first client, who has no name, must not be taken for one of ours.
    Elsewhere(String),
}

/// Who has sent a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The client's name as it is kept.
    pub client: String,
    /// What the key may do.
    pub scopes: Scopes,
    /// The scope of its idempotency keys.
    pub idempotency: String,
    /// Of the Backend: the client whom it means when it names none of its own.
    pub unnamed: Option<String>,
}

/// Which keys are known, and whose they are. Clones share what is known.
#[derive(Clone)]
pub struct Keys(Arc<Shared>);

struct Shared {
    fixed: Vec<Key>,
    data_dir: PathBuf,
    state: RwLock<State>,
}

#[derive(Clone)]
struct Key {
    hash: KeyHash,
    name: String,
    scopes: Scopes,
    backend: Option<Place>,
    /// Whether there being such a key means that all are asked for one.
    is_asked_for: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Here,
    Elsewhere,
}

/// What changes while the service runs.
#[derive(Default)]
struct State {
    /// `None` where there never was a file.
    filed: Option<Vec<Entry>>,
    /// Announces every change.
    changed: watch::Sender<()>,
    /// The client whose name is kept as an empty one.
    first: Option<String>,
    /// Why `filed` may be older than the file. It has paths in it.
    problem: Option<String>,
    /// [`Keys::clients`], which is asked for with each submission.
    clients: Arc<[String]>,
}

impl Keys {
    /// Reads the file.
    ///
    /// # Errors
    /// When it is there and cannot be read: the service must not start without the
    /// keys that it may have had, nor open to all.
    pub fn open(configured: Configured) -> Result<Self, KeysError> {
        let filed = file::read(&configured.data_dir)?;
        let keys = Self(Arc::new(Shared {
            fixed: fixed(&configured),
            data_dir: configured.data_dir,
            state: RwLock::default(),
        }));
        keys.change(|state| state.filed = filed);
        Ok(keys)
    }

    /// Finds out who the first client is, before anything is accepted.
    ///
    /// # Errors
    /// [`StoreError`] when it cannot be read or kept.
    pub async fn settle(&self, dbs: &[Db]) -> Result<(), StoreError> {
        let name = self.look(|known| first_name(known.fixed, known.filed()));
        let first = first::settle(dbs, name).await?;
        self.change(|state| state.first = first);
        Ok(())
    }

    /// Looks at the file again and again, for as long as the service runs.
    pub async fn watch(self, dbs: Vec<Db>) {
        let shared = Arc::clone(&self.0);
        let look = move |lookout: &mut Lookout| look(lookout, &shared.data_dir);
        lookout::watch(look, async |found| {
            self.heard(found, &dbs).await;
            self.problem().is_none()
        })
        .await;
    }

    /// Takes over what the file says now; keeps what it last said where it says
    /// nothing.
    async fn heard(&self, found: LookResult, dbs: &[Db]) {
        let had_file = self.look(|known| known.state.filed.is_some());
        match found {
            LookResult::Unchanged => {}
            LookResult::Keys(keys) => self.take_over(keys, dbs).await,
            LookResult::Nothing if !had_file => self.is_well(),
            LookResult::Nothing => {
                let path = file::path(&self.0.data_dir);
                self.keep(format!("{} has gone", path.display()));
            }
            LookResult::Unreadable(error) => self.keep(error.to_string()),
            // A disk or a folder that fails is no file of keys: to ask for keys for
            // good because of it would shut all out until a restart.
            LookResult::Unknown(error) if !had_file => self.note(error.to_string()),
            LookResult::Unknown(error) => self.keep(error.to_string()),
        }
    }

    async fn take_over(&self, keys: Vec<Entry>, dbs: &[Db]) {
        if self.look(|known| known.state.first.is_none()) {
            // Whose the work without a name is has to be kept before any is taken on
            // under a name.
            let name = self.look(|known| first_name(known.fixed, &keys));
            match first::settle(dbs, name).await {
                Ok(first) => self.change(|state| state.first = first),
                Err(error) => {
                    return self.keep(format!("the first client cannot be kept: {error}"));
                }
            }
        }
        if self.look(|known| known.state.filed.as_ref() != Some(&keys)) {
            let (count, had_keys) = (keys.len(), self.are_asked_for());
            self.change(|state| state.filed = Some(keys));
            log::info!("the API keys have changed: there are {count} in keys.json");
            if !had_keys {
                log::warn!(
                    "from now on requests need an API key; callback URLs of this machine are called until the next start"
                );
            }
        }
        self.is_well();
    }

    fn is_well(&self) {
        if self.problem().is_some() {
            log::info!("the API keys can be read again");
            self.change(|state| state.problem = None);
        }
    }

    /// Goes on with the keys there are. A file that has come and cannot be read asks
    /// for keys all the same.
    fn keep(&self, problem: String) {
        self.change(|state| {
            state.filed.get_or_insert_default();
        });
        self.note(format!(
            "{problem}; the keys known before are still in force"
        ));
    }

    fn note(&self, problem: String) {
        if self.problem().as_ref() != Some(&problem) {
            log::error!("{problem}");
            self.change(|state| state.problem = Some(problem));
        }
    }

    fn problem(&self) -> Option<String> {
        self.look(|known| known.state.problem.clone())
    }

    /// What a person should see to when the keys in force may not be those of the
    /// file. Anybody may read it.
    #[must_use]
    pub fn warning(&self) -> Option<&'static str> {
        const WARNING: &str = "what keys.json says cannot be taken over; the log says why";
        self.problem().map(|_| WARNING)
    }

    /// Whether a request has to come with a key.
    #[must_use]
    pub fn are_asked_for(&self) -> bool {
        self.look(|known| known.are_asked_for())
    }

    /// Who sends this key; `None` for one that is not known. All are compared with,
    /// so that the time tells nothing of which one it is.
    #[must_use]
    pub fn caller(&self, key: &str) -> Option<Caller> {
        let given = KeyHash::of(key);
        self.look(|known| {
            let mut caller = None;
            for key in known.filed() {
                if key.sha256.is(&given) {
                    caller = Some(Caller {
                        client: known.kept(&key.name),
                        scopes: key.scopes,
                        idempotency: given.short(),
                        unnamed: None,
                    });
                }
            }
            for key in known.fixed {
                if key.hash.is(&given) {
                    let client = known.kept(&key.name);
                    let unnamed = key.backend.map(|place| match place {
                        Place::Here => String::new(),
                        Place::Elsewhere => client.clone(),
                    });
                    caller = Some(Caller {
                        client,
                        scopes: key.scopes,
                        idempotency: given.short(),
                        unnamed,
                    });
                }
            }
            caller
        })
    }

    /// Hears of every change after which [`Self::caller`] may answer otherwise.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<()> {
        self.look(|known| known.state.changed.subscribe())
    }

    /// The client whom the Backend names in a header, as he is kept; `None` for what
    /// is no name. `unnamed` is its [`Caller::unnamed`].
    #[must_use]
    pub fn named(&self, header: &str, unnamed: &str) -> Option<String> {
        match from_header(header)? {
            "" => Some(unnamed.to_owned()),
            name => Some(self.look(|known| known.kept(name))),
        }
    }

    /// The clients that may submit, as they are kept, each once; one without a name
    /// where no keys are asked for. A Backend elsewhere brings clients that are not
    /// known here.
    #[must_use]
    pub fn clients(&self) -> Arc<[String]> {
        self.look(|known| Arc::clone(&known.state.clients))
    }

    fn look<T>(&self, look: impl FnOnce(Known<'_>) -> T) -> T {
        let state = read(&self.0.state);
        look(Known {
            fixed: &self.0.fixed,
            state: &state,
        })
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = write(&self.0.state);
        change(&mut state);
        let known = Known {
            fixed: &self.0.fixed,
            state: &state,
        };
        state.clients = known.clients().into();
        state.changed.send_replace(());
    }
}

/// What is known at one moment.
struct Known<'a> {
    fixed: &'a [Key],
    state: &'a State,
}

impl Known<'_> {
    fn filed(&self) -> &[Entry] {
        self.state.filed.as_deref().unwrap_or_default()
    }

    fn are_asked_for(&self) -> bool {
        self.state.filed.is_some() || self.fixed.iter().any(|key| key.is_asked_for)
    }

    fn clients(&self) -> Vec<String> {
        if !self.are_asked_for() {
            return vec![String::new()];
        }
        let fixed = self.fixed.iter().filter(|key| key.is_asked_for);
        let filed = self.filed().iter();
        let filed = filed.filter(|key| key.scopes.allow(Scope::Submit));
        let names = fixed.map(|key| &key.name).chain(filed.map(|key| &key.name));
        let mut seen = HashSet::new();
        let once = names.filter(|name| seen.insert(*name));
        once.map(|name| self.kept(name)).collect()
    }

    fn kept(&self, name: &str) -> String {
        match self.state.first.as_deref() == Some(name) {
            true => String::new(),
            false => name.to_owned(),
        }
    }
}

fn first_name(fixed: &[Key], filed: &[Entry]) -> Option<String> {
    let fixed = fixed.iter().find(|key| key.is_asked_for);
    let filed = || filed.first().map(|key| key.name.clone());
    fixed.map(|key| key.name.clone()).or_else(filed)
}

fn fixed(configured: &Configured) -> Vec<Key> {
    let key_of = |key: &str, backend, is_asked_for| {
        let hash = KeyHash::of(key);
        Key {
            name: name_by_hash(&hash.short()),
            hash,
            scopes: Scopes::all(),
            backend,
            is_asked_for,
        }
    };
    let api_keys = configured.api_keys.iter();
    let mut keys: Vec<Key> = api_keys.map(|key| key_of(key, None, true)).collect();
    let (key, place) = match &configured.backend {
        None => return keys,
        Some(BackendKey::Here(key)) => (key, Place::Here),
        Some(BackendKey::Elsewhere(key)) => (key, Place::Elsewhere),
    };
    let is_elsewhere = place == Place::Elsewhere;
    let mut backend = key_of(key, Some(place), is_elsewhere);
    if let Some(same) = keys.iter().position(|key| key.hash.is(&backend.hash)) {
        if !is_elsewhere {
            keys[same].backend = Some(place);
            return keys;
        }
        keys.remove(same);
        backend.is_asked_for = true;
    }
    let at = if is_elsewhere { 0 } else { keys.len() };
    keys.insert(at, backend);
    keys
}

#[cfg(test)]
mod tests;
