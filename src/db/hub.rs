//! Who hears of which event, off the writer's thread.
//!
//! The writer leaves the events of each commit in a queue, if anybody listens at all;
//! the hub's own thread wakes those who asked for their subjects. What a listener has
//! not taken yet is bounded, and so is the queue: who falls behind is told to look at
//! the table, where everything is.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use crossbeam_channel::{Receiver, Sender, TrySendError};
use hoiam_api::Event;
use tokio::sync::Notify;
use uuid::Uuid;

use crate::locks::lock;

/// Events that one listener may be behind before it has to look at the table.
const BACKLOG: usize = 1024;
/// Commits that the hub may be behind before all listeners have to.
const QUEUE: usize = 1024;

/// What a listener wants to hear.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interest {
    /// The events of one task or speech.
    Of(Uuid),
    /// The events of all.
    All,
    /// That one task or speech has ended.
    EndOf(Uuid),
    /// That any event was stored.
    Stored,
}

impl Interest {
    fn subject(self) -> Option<Uuid> {
        match self {
            Self::Of(subject) | Self::EndOf(subject) => Some(subject),
            Self::All | Self::Stored => None,
        }
    }

    fn wants(self, event: &Event) -> bool {
        match self {
            Self::Of(_) | Self::All => true,
            Self::EndOf(_) => event.is_end(),
            Self::Stored => event.id.is_some(),
        }
    }

    /// How many events wait for the listener; none for whom it is enough to be
    /// woken.
    fn backlog(self) -> usize {
        match self {
            Self::Of(_) | Self::All => BACKLOG,
            Self::EndOf(_) | Self::Stored => 0,
        }
    }
}

/// What a listener is told.
#[derive(Debug, PartialEq)]
pub enum News {
    /// These events, in their order.
    Events(Vec<Arc<Event>>),
    /// There is something new, and only the table knows all of it.
    InTable,
}

/// The events of one commit, each with its subject.
type Batch = Vec<(Uuid, Event)>;

/// Where events are handed in. Clones are the same hub.
#[derive(Clone)]
pub struct Hub {
    queue: Sender<Batch>,
    shared: Arc<Shared>,
}

impl Hub {
    /// A hub, and what hands its events out until the last clone is dropped: it is to
    /// run on a thread of its own.
    pub fn new() -> (Self, impl FnOnce() + Send + 'static) {
        let (queue, batches) = crossbeam_channel::bounded(QUEUE);
        let shared = Arc::<Shared>::default();
        let hub = Self {
            queue,
            shared: Arc::clone(&shared),
        };
        (hub, move || shared.hand_out(&batches))
    }

    /// Hears what is published from now on.
    #[must_use]
    pub fn subscribe(&self, interest: Interest) -> Subscription {
        let mailbox = Arc::new(Mailbox::new(interest));
        self.shared.add(&mailbox);
        Subscription {
            mailbox,
            shared: Arc::clone(&self.shared),
        }
    }

    /// Never waits, and costs the same however many listen.
    pub fn publish(&self, batch: Batch) {
        if batch.is_empty() || self.shared.listeners() == 0 {
            return;
        }
        if let Err(TrySendError::Full(_)) = self.queue.try_send(batch) {
            self.shared.overflowed.store(true, Ordering::SeqCst);
            // The queue may have been emptied meanwhile: the hub must look once more.
            let _ = self.queue.try_send(Vec::new());
        }
    }

    /// How many listen.
    #[must_use]
    pub fn listeners(&self) -> usize {
        self.shared.listeners()
    }
}

/// A listener's end, until it is dropped.
pub struct Subscription {
    mailbox: Arc<Mailbox>,
    shared: Arc<Shared>,
}

impl Subscription {
    /// Waits for what is new. Nothing is lost if this is dropped before it is ready.
    pub async fn next(&mut self) -> News {
        loop {
            if let Some(news) = self.mailbox.take() {
                return news;
            }
            self.mailbox.filled.notified().await;
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.shared.remove(&self.mailbox);
    }
}

#[derive(Default)]
struct Shared {
    /// By subject; those who hear of every subject under `None`.
    mailboxes: Mutex<HashMap<Option<Uuid>, Vec<Arc<Mailbox>>>>,
    /// How many there are, so that the writer need not wait for the lock.
    listeners: AtomicUsize,
    /// The queue was full: all have missed something.
    overflowed: AtomicBool,
}

impl Shared {
    fn hand_out(&self, batches: &Receiver<Batch>) {
        for batch in batches {
            if self.overflowed.swap(false, Ordering::SeqCst) {
                for mailbox in self.all() {
                    mailbox.miss();
                }
            }
            self.deliver(batch);
        }
    }

    fn deliver(&self, batch: Batch) {
        let events: Vec<(Uuid, Arc<Event>)> = batch
            .into_iter()
            .map(|(subject, event)| (subject, Arc::new(event)))
            .collect();
        // Nobody who subscribes or leaves waits until all have been woken.
        let (of_all, of_one) = {
            let mailboxes = self.mailboxes();
            let of_all = mailboxes.get(&None).cloned().unwrap_or_default();
            let of_one: Vec<_> = events
                .iter()
                .filter_map(|(subject, event)| {
                    let mailboxes = mailboxes.get(&Some(*subject))?;
                    Some((mailboxes.clone(), event))
                })
                .collect();
            (of_all, of_one)
        };
        for (mailboxes, event) in of_one {
            for mailbox in mailboxes {
                mailbox.put(std::iter::once(event));
            }
        }
        for mailbox in of_all {
            mailbox.put(events.iter().map(|(_, event)| event));
        }
    }

    fn add(&self, mailbox: &Arc<Mailbox>) {
        let mut mailboxes = self.mailboxes();
        let same = mailboxes.entry(mailbox.interest.subject()).or_default();
        same.push(Arc::clone(mailbox));
        // Whatever is committed after this is published.
        self.listeners.fetch_add(1, Ordering::SeqCst);
    }

    fn remove(&self, mailbox: &Arc<Mailbox>) {
        let (mut mailboxes, subject) = (self.mailboxes(), mailbox.interest.subject());
        if let Some(same) = mailboxes.get_mut(&subject) {
            same.retain(|other| !Arc::ptr_eq(other, mailbox));
            if same.is_empty() {
                mailboxes.remove(&subject);
            }
        }
        self.listeners.fetch_sub(1, Ordering::SeqCst);
    }

    fn listeners(&self) -> usize {
        self.listeners.load(Ordering::SeqCst)
    }

    fn all(&self) -> Vec<Arc<Mailbox>> {
        self.mailboxes().values().flatten().cloned().collect()
    }

    fn mailboxes(&self) -> MutexGuard<'_, HashMap<Option<Uuid>, Vec<Arc<Mailbox>>>> {
        lock(&self.mailboxes)
    }
}

/// What waits for one listener.
struct Mailbox {
    interest: Interest,
    waiting: Mutex<Waiting>,
    filled: Notify,
}

#[derive(Default)]
struct Waiting {
    events: Vec<Arc<Event>>,
    /// There was more than may wait; what comes after it is in the table too.
    missed: bool,
}

impl Waiting {
    fn is_empty(&self) -> bool {
        self.events.is_empty() && !self.missed
    }

    fn add(&mut self, event: &Arc<Event>, backlog: usize) {
        if self.missed {
            return;
        }
        if self.events.len() == backlog {
            self.miss();
        } else {
            self.events.push(Arc::clone(event));
        }
    }

    fn miss(&mut self) {
        self.events = Vec::new();
        self.missed = true;
    }
}

impl Mailbox {
    fn new(interest: Interest) -> Self {
        Self {
            interest,
            waiting: Mutex::default(),
            filled: Notify::new(),
        }
    }

    fn put<'a>(&self, events: impl Iterator<Item = &'a Arc<Event>>) {
        self.fill(|waiting| {
            for event in events.filter(|event| self.interest.wants(event)) {
                waiting.add(event, self.interest.backlog());
            }
        });
    }

    fn miss(&self) {
        self.fill(Waiting::miss);
    }

    /// Wakes the listener once, however much comes before it looks.
    fn fill(&self, change: impl FnOnce(&mut Waiting)) {
        let mut waiting = self.waiting();
        let was_empty = waiting.is_empty();
        change(&mut waiting);
        let is_new = was_empty && !waiting.is_empty();
        drop(waiting);
        if is_new {
            self.filled.notify_one();
        }
    }

    fn take(&self) -> Option<News> {
        let taken = std::mem::take(&mut *self.waiting());
        if taken.missed {
            return Some(News::InTable);
        }
        (!taken.events.is_empty()).then_some(News::Events(taken.events))
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        lock(&self.waiting)
    }
}

#[cfg(test)]
mod tests;
