//! What an actor has under way: counted, so that a service that stops can wait
//! for it, and closed, so that nothing new begins.

use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

/// What one actor has under way. Clones are the same work.
#[derive(Clone)]
pub struct Work(Arc<watch::Sender<State>>);

#[derive(Clone, Copy, Default)]
struct State {
    under_way: usize,
    closed: bool,
}

/// One thing that is under way, until it is dropped; wherever that happens, and
/// also if it panics.
pub struct Ticket(Work);

impl Default for Work {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(State::default())))
    }
}

impl Work {
    /// Something begins. That what is closed begins nothing new is up to the
    /// owner: to give back what is not done is work too.
    #[must_use]
    pub fn begin(&self) -> Ticket {
        self.0.send_modify(|state| state.under_way += 1);
        Ticket(self.clone())
    }

    /// Nothing new is to begin.
    pub fn close(&self) {
        self.0.send_modify(|state| state.closed = true);
    }

    /// Whether nothing new is to begin.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.0.borrow().closed
    }

    /// How many things are under way.
    #[must_use]
    pub fn under_way(&self) -> usize {
        self.0.borrow().under_way
    }

    /// Waits until nothing is under way.
    pub fn ended(&self) -> impl Future<Output = ()> + use<> {
        let mut state = self.0.subscribe();
        async move {
            // The error is that nobody holds this any more.
            let _ = state.wait_for(|state| state.under_way == 0).await;
        }
    }

    /// The same, but not longer than this; whether it came to that.
    pub fn ended_by(&self, until: Instant) -> impl Future<Output = bool> + use<> {
        let ended = self.ended();
        async move { timeout_at(until, ended).await.is_ok() }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.0.0.send_modify(|state| state.under_way -= 1);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn on_a_paused_clock<T>(test: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build();
        runtime.unwrap().block_on(test)
    }

    #[test]
    fn work_has_ended_when_its_last_ticket_is_dropped() {
        on_a_paused_clock(async {
            let work = Work::default();
            let until = Instant::now() + Duration::from_secs(1);
            assert!(work.ended_by(until).await);
            let (one, other) = (work.begin(), work.clone().begin());
            drop(one);
            assert_eq!(work.under_way(), 1);
            assert!(!work.ended_by(until).await);
            drop(other);
            assert!(work.ended_by(until).await);
        });
    }

    #[test]
    fn what_is_closed_is_closed_for_all_who_share_it() {
        let work = Work::default();
        let other = work.clone();
        assert!(!other.is_closed());
        work.close();
        assert!(other.is_closed());
    }
}
