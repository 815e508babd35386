//! Who is held: URLs whose check got no answer, and origins that could not even
//! be connected to.
//!
//! Pure. Where no connection came about, that holds for every URL of the origin,
//! and one of them is asked for all. Where something was sent and not answered,
//! other URLs of that origin may well answer, so that URL is held alone.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use hoiam_supervision::clock::Millis;

use super::check::Finding;
use super::shares::Receiver;
use super::store::origin_of;

/// Waits between the probes of what is held.
const PROBE_AFTER_MS: [Millis; 5] = [1000, 2000, 5000, 10_000, 30_000];
/// An origin that nobody has asked for so long is forgotten.
const FORGET_MS: Millis = 600_000;
/// While so many URLs of a client and origin are held, no other URL of theirs is asked.
const MAX_URLS_OF_ONE: usize = 256;

/// What is held together.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Scope {
    /// All URLs of this origin.
    Origin(String),
    /// This URL alone.
    Url(String),
}

/// What is held, and when it is asked again.
#[derive(Debug, Clone, Default)]
pub struct Held {
    origins: HashMap<String, Hold>,
    /// By origin, then by URL.
    urls: HashMap<String, HashMap<String, Hold>>,
}

#[derive(Debug, Clone)]
struct Hold {
    /// For whom it was asked last.
    client: Option<Arc<str>>,
    /// When its first probe failed.
    since: Millis,
    failures: usize,
    next_probe_at: Millis,
}

impl Hold {
    fn new(client: Option<&Arc<str>>, now: Millis) -> Self {
        Self {
            client: client.cloned(),
            since: now,
            failures: 0,
            next_probe_at: now,
        }
    }

    /// What fails while the next probe is still to come was on its way before,
    /// and changes nothing.
    fn fail(&mut self, now: Millis) {
        if self.next_probe_at <= now {
            let wait = PROBE_AFTER_MS[self.failures.min(PROBE_AFTER_MS.len() - 1)];
            self.failures += 1;
            self.next_probe_at = now + wait;
        }
    }
}

impl Held {
    /// Nothing is held.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// A check of this URL has ended; `None` where it has panicked. Says whether
    /// it is held now.
    pub fn note(
        &mut self,
        (client, url): (&Arc<str>, &str),
        finding: Option<&Finding>,
        now: Millis,
    ) -> bool {
        let origin = origin_of(url);
        match finding {
            Some(Finding::Unreachable(error)) if !error.was_sent() => {
                let hold = self.origins.entry(origin);
                hold.or_insert_with(|| Hold::new(None, now)).fail(now);
                true
            }
            Some(Finding::Unreachable(_)) => {
                self.origins.remove(&origin);
                self.hold_url(origin, (client, url), now);
                true
            }
            None => {
                self.hold_url(origin, (client, url), now);
                true
            }
            Some(_) => {
                self.origins.remove(&origin);
                self.drop_url(&origin, url);
                false
            }
        }
    }

    fn hold_url(&mut self, origin: String, (client, url): (&Arc<str>, &str), now: Millis) {
        let urls = self.urls.entry(origin).or_default();
        let hold = urls.entry(url.to_owned());
        let hold = hold.or_insert_with(|| Hold::new(Some(client), now));
        hold.client = Some(Arc::clone(client));
        hold.fail(now);
    }

    /// For these no job waits any more.
    pub fn drop_all(&mut self, scopes: &[Scope]) {
        for scope in scopes {
            match scope {
                Scope::Origin(origin) => drop(self.origins.remove(origin)),
                Scope::Url(url) => self.drop_url(&origin_of(url), url),
            }
        }
    }

    fn drop_url(&mut self, origin: &str, url: &str) {
        if let Some(urls) = self.urls.get_mut(origin) {
            urls.remove(url);
            if urls.is_empty() {
                self.urls.remove(origin);
            }
        }
    }

    /// Forgets the origins for which no job waits any more: nobody has asked them
    /// for long, and nobody does now.
    pub fn forget(&mut self, running: &HashSet<String>, now: Millis) {
        let asked: HashSet<String> = running.iter().map(|url| origin_of(url)).collect();
        self.origins
            .retain(|origin, hold| hold.next_probe_at > now - FORGET_MS || asked.contains(origin));
    }

    /// All of it, with the instants since when.
    #[must_use]
    pub fn all(&self) -> Vec<(Scope, Millis)> {
        let origins = self.origins.iter();
        let origins = origins.map(|(origin, hold)| (Scope::Origin(origin.clone()), hold.since));
        let urls = self.urls.values().flatten();
        let urls = urls.map(|(url, hold)| (Scope::Url(url.clone()), hold.since));
        origins.chain(urls).collect()
    }

    /// When the first probe after this instant is due.
    #[must_use]
    pub fn next_probe_at(&self, after: Millis) -> Option<Millis> {
        let holds = self.origins.values();
        let holds = holds.chain(self.urls.values().flat_map(HashMap::values));
        let probes = holds.map(|hold| hold.next_probe_at);
        probes.filter(|at| *at > after).min()
    }

    /// Of how many URLs of this client and origin that are not held themselves there may
    /// be a check under way; `most` where nothing is held.
    #[must_use]
    pub fn allowance(&self, of: &Receiver, most: usize, now: Millis) -> usize {
        let held = self.urls.get(&*of.origin).into_iter().flatten();
        let held = held.filter(|(_, hold)| hold.client.as_ref() == Some(&of.client));
        let held_urls = held.count();
        match self.origins.get(&*of.origin) {
            Some(hold) if hold.next_probe_at > now => 0,
            Some(_) => 1,
            None if held_urls >= MAX_URLS_OF_ONE => 0,
            None => most,
        }
    }

    /// The URLs that are held by themselves.
    pub fn urls(&self) -> impl Iterator<Item = &String> {
        self.urls.values().flat_map(HashMap::keys)
    }

    /// Those of them whose turn it is, the one that has waited longest first, and whom
    /// it was asked for. One of a client and origin is asked at a time, so that URLs that
    /// keep silent do not take the slots of those that answer.
    #[must_use]
    pub fn due_urls(&self, running: &HashSet<String>, now: Millis) -> Vec<(Receiver, String)> {
        let mut due: Vec<(Millis, &String, Receiver)> = Vec::new();
        for (origin, urls) in &self.urls {
            let hold = self.origins.get(origin);
            if hold.is_some_and(|hold| hold.next_probe_at > now) {
                continue;
            }
            let asked = urls.iter().filter(|(url, _)| running.contains(*url));
            let asked: HashSet<_> = asked.map(|(_, hold)| &hold.client).collect();
            let urls = urls.iter().filter(|(_, hold)| hold.next_probe_at <= now);
            let urls = urls.filter(|(_, hold)| !asked.contains(&hold.client));
            due.extend(urls.map(|(url, hold)| {
                let receiver = Receiver {
                    client: hold.client.clone().unwrap_or_default(),
                    origin: origin.as_str().into(),
                };
                (hold.next_probe_at, url, receiver)
            }));
        }
        due.sort_unstable_by_key(|(at, url, _)| (*at, *url));
        let due = due.into_iter();
        due.map(|(_, url, of)| (of, url.clone())).collect()
    }
}

#[cfg(test)]
mod tests;
