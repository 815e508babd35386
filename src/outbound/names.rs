//! Looks up names as the system does, on threads of its own.
//!
//! getaddrinfo blocks for as long as name servers keep silent, which is many times
//! what a request waits. On the pool that writes files, names that never resolve
//! would keep files from being written.
//!
//! A name that is being looked up takes one thread, however many ask for it and for
//! however long. Threads are bounded, so names that hang can take all that they may
//! have; whose turn it is goes by what is known of a name ([`Class`]). How long an
//! asker waits is its own affair: it drops the future, and what nobody waits for any
//! more is not begun.

use std::collections::{HashMap, VecDeque};
use std::error::Error;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use actix_tls::connect::Resolve;
use futures_util::future::LocalBoxFuture;
use hoiam_supervision::contained;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::locks::lock;

/// A lookup that takes longer is slow.
const QUICK: Duration = Duration::from_secs(2);
/// How long a name whose lookups are slow counts as one that may answer again.
const ANSWERED_LATELY: Duration = Duration::from_secs(3600);
/// Of so many names it is known how their last lookup went.
const MANY: usize = 8192;

/// What is known of a name, in the order in which names have their turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Class {
    /// Its last lookup was quick, whatever the answer.
    Quick,
    /// It is new, or its last lookup was slow but an earlier one lately was not: a name
    /// server that was away takes its names with it.
    Unsure,
    /// It hangs.
    Slow,
}

impl Class {
    const ALL: [Self; 3] = [Self::Quick, Self::Unsure, Self::Slow];

    /// Lookups of this class and those behind it that may be under way, so that some
    /// threads are left to those before it.
    const fn most(self) -> usize {
        match self {
            Self::Quick => 32,
            Self::Unsure => 24,
            Self::Slow => 8,
        }
    }
}

/// The addresses of a name, without a port; `None` if there are none.
type Addresses = Option<Arc<[SocketAddr]>>;

struct Lookup {
    class: Class,
    host: String,
    began_at: Instant,
    askers: Vec<oneshot::Sender<Addresses>>,
}

impl Lookup {
    fn join(&mut self, asker: oneshot::Sender<Addresses>) {
        self.askers.retain(|asker| !asker.is_closed());
        self.askers.push(asker);
    }

    fn is_wanted(&self) -> bool {
        self.askers.iter().any(|asker| !asker.is_closed())
    }
}

/// How the last lookup of a name went.
struct Known {
    ended_at: Instant,
    was_quick: bool,
    answered_at: Option<Instant>,
}

/// Which lookups wait, and which are under way.
#[derive(Default)]
struct Queue {
    /// In the order in which they were asked for.
    waiting: VecDeque<Lookup>,
    under_way: Vec<Lookup>,
    known: HashMap<String, Known>,
}

impl Queue {
    fn class(&self, host: &str, now: Instant) -> Class {
        let Some(known) = self.known.get(host) else {
            return Class::Unsure;
        };
        let answered_lately = || {
            known
                .answered_at
                .is_some_and(|at| now < at + ANSWERED_LATELY)
        };
        if known.was_quick {
            Class::Quick
        } else if answered_lately() {
            Class::Unsure
        } else {
            Class::Slow
        }
    }

    fn ask(&mut self, host: &str, asker: oneshot::Sender<Addresses>, now: Instant) {
        self.waiting.retain(Lookup::is_wanted);
        let mut lookups = self.under_way.iter_mut().chain(&mut self.waiting);
        if let Some(lookup) = lookups.find(|lookup| lookup.host == host) {
            return lookup.join(asker);
        }
        self.waiting.push_back(Lookup {
            class: self.class(host, now),
            host: host.to_owned(),
            began_at: now,
            askers: vec![asker],
        });
    }

    fn may_begin(&self, class: Class) -> bool {
        Class::ALL.iter().take_while(|of| **of <= class).all(|of| {
            let counted = self.under_way.iter().filter(|lookup| lookup.class >= *of);
            counted.count() < of.most()
        })
    }

    /// Begins the next lookup that may, and says of what.
    fn begin(&mut self, now: Instant) -> Option<String> {
        self.waiting.retain(Lookup::is_wanted);
        let mut classes = Class::ALL.iter().filter(|class| self.may_begin(**class));
        let next = classes.find_map(|class| {
            let mut waiting = self.waiting.iter();
            waiting.position(|lookup| lookup.class == *class)
        })?;
        let mut lookup = self.waiting.remove(next)?;
        lookup.began_at = now;
        let host = lookup.host.clone();
        self.under_way.push(lookup);
        Some(host)
    }

    /// A lookup has ended: who waits for it.
    fn end(&mut self, host: &str, found: bool, now: Instant) -> Vec<oneshot::Sender<Addresses>> {
        let ended = self.under_way.iter().position(|one| one.host == host);
        let Some(lookup) = ended.map(|at| self.under_way.swap_remove(at)) else {
            return Vec::new();
        };
        if self.known.len() >= MANY {
            self.forget_half();
        }
        let was_quick = now.saturating_duration_since(lookup.began_at) <= QUICK;
        let before = self.known.remove(host).and_then(|known| known.answered_at);
        let known = Known {
            ended_at: now,
            was_quick,
            answered_at: if was_quick && found {
                Some(now)
            } else {
                before
            },
        };
        self.known.insert(lookup.host, known);
        lookup.askers
    }

    /// Forgets those that have not been asked for the longest time.
    fn forget_half(&mut self) {
        let mut ends: Vec<Instant> = self.known.values().map(|known| known.ended_at).collect();
        let middle = ends.len() / 2;
        let (_, middle, _) = ends.select_nth_unstable(middle);
        self.known.retain(|_, known| known.ended_at > *middle);
    }
}

type LookUp = dyn Fn(&str) -> Option<Vec<SocketAddr>> + Send + Sync;

struct Shared {
    look_up: Box<LookUp>,
    queue: Mutex<Queue>,
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        lock(&self.queue)
    }

    /// Begins what may, each on a thread that ends with it.
    fn begin(self: &Arc<Self>) {
        loop {
            let Some(host) = self.queue().begin(Instant::now()) else {
                return;
            };
            let (shared, name) = (Arc::clone(self), host.clone());
            let thread = thread::Builder::new().name("names".to_owned());
            let work = move || {
                let found = contained(|| (shared.look_up)(&name));
                shared.end(&name, found.ok().flatten());
                shared.begin();
            };
            if let Err(error) = thread.spawn(work) {
                log::error!("no thread to look up a name: {error}");
                self.end(&host, None);
            }
        }
    }

    fn end(&self, host: &str, found: Option<Vec<SocketAddr>>) {
        let found: Addresses = found.filter(|found| !found.is_empty()).map(Arc::from);
        let askers = self.queue().end(host, found.is_some(), Instant::now());
        for asker in askers {
            // Who has given up does not hear it.
            let _ = asker.send(found.clone());
        }
    }
}

/// The resolver.
#[derive(Clone)]
pub(super) struct Names(Arc<Shared>);

impl Names {
    /// The one of this process, which asks as the system does (`/etc/nsswitch.conf`).
    pub(super) fn of_system() -> Self {
        static NAMES: LazyLock<Names> =
            LazyLock::new(|| Names::new(|host| Some((host, 0).to_socket_addrs().ok()?.collect())));
        NAMES.clone()
    }

    fn new(look_up: impl Fn(&str) -> Option<Vec<SocketAddr>> + Send + Sync + 'static) -> Self {
        Self(Arc::new(Shared {
            look_up: Box::new(look_up),
            queue: Mutex::default(),
        }))
    }

    async fn find(&self, host: &str) -> Addresses {
        if let Ok(address) = host.trim_matches(['[', ']']).parse::<IpAddr>() {
            return Some([SocketAddr::new(address, 0)].into());
        }
        let (asker, found) = oneshot::channel();
        self.0.queue().ask(host, asker, Instant::now());
        self.0.begin();
        found.await.ok()?
    }
}

impl Resolve for Names {
    fn lookup<'a>(
        &'a self,
        host: &'a str,
        port: u16,
    ) -> LocalBoxFuture<'a, Result<Vec<SocketAddr>, Box<dyn Error>>> {
        Box::pin(async move {
            let found = self.find(host).await.ok_or("the name has no address")?;
            let mut addresses = found.to_vec();
            for address in &mut addresses {
                address.set_port(port);
            }
            Ok(addresses)
        })
    }
}

#[cfg(test)]
mod tests;
