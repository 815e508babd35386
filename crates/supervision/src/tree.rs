//! The tree itself: starting, watching, restarting, draining.

use std::{
    any::Any,
    cell::{Cell, RefCell},
    collections::VecDeque,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    rc::Rc,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context as TaskContext, Poll, ready},
    time::Duration,
};

use actix::{
    Actor, ActorContext, Addr, AsyncContext, Context, Handler, Message, Recipient, Supervised,
    dev::ContextFut,
};
use futures_util::{FutureExt, future::Either, future::select};
use tokio::{
    sync::mpsc,
    task::JoinHandle,
    time::{Instant, sleep, timeout_at},
};

/// How many restarts are tolerated within a sliding window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// The most restarts within the window; the next failure escalates.
    pub restarts: usize,
    /// The length of the window.
    pub within: Duration,
}

/// How failures are answered in the whole tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The budget of each actor.
    pub leaf: Budget,
    /// The budget of the root, which pays for each actor that has spent its
    /// own. The two multiply, so this one is small.
    pub root: Budget,
    /// The wait before an actor's second restart within its window; the first
    /// is at once, and each further wait is twice as long.
    pub backoff: Duration,
    /// The longest wait before a restart.
    pub longest_backoff: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            leaf: Budget {
                restarts: 5,
                within: Duration::from_secs(30),
            },
            root: Budget {
                restarts: 3,
                within: Duration::from_secs(60),
            },
            backoff: Duration::from_millis(100),
            longest_backoff: Duration::from_secs(5),
        }
    }
}

impl Policy {
    /// The wait before the `nth` restart (from 1) within the window.
    fn wait_before(&self, nth: usize) -> Duration {
        let Some(doublings) = nth.checked_sub(2) else {
            return Duration::ZERO;
        };
        let factor = u32::try_from(doublings)
            .ok()
            .and_then(|doublings| 2_u32.checked_pow(doublings))
            .unwrap_or(u32::MAX);
        self.backoff
            .saturating_mul(factor)
            .min(self.longest_backoff)
    }
}

/// Asks an actor to come to an end: claim nothing more, wait for the units
/// that run, give back what is not done by [`Drain::until`], then answer.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct Drain {
    /// When to give back what still runs. It lies a little before the moment
    /// at which the tree ends an actor that has not answered.
    pub until: Instant,
}

/// The part of the time for stopping that is kept for giving units back: one
/// tenth.
const GIVING_BACK: u32 = 10;

/// What a child of the tree is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChildState {
    /// It works.
    Running,
    /// It has failed and waits for its restart.
    Restarting,
    /// It was ended by [`Tree::stop`].
    Stopped,
    /// It has failed for good, or waits for the root's decision.
    Failed,
}

impl ChildState {
    /// `running`, `restarting`, `stopped` or `failed`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Restarting => "restarting",
            Self::Stopped => "stopped",
            Self::Failed => "failed",
        }
    }
}

impl fmt::Display for ChildState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One child as [`StatusBoard::children`] shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChildStatus {
    /// The name it was started under.
    pub name: String,
    /// What it is doing.
    pub state: ChildState,
    /// Its restarts since the tree began.
    pub restarts: u64,
    /// The message of its last panic.
    pub last_panic: Option<String>,
}

/// Shows the tree to any thread.
#[derive(Clone, Default)]
pub struct StatusBoard(Arc<Mutex<Vec<Entry>>>);

struct Entry {
    status: ChildStatus,
    orders: mpsc::UnboundedSender<Order>,
}

/// What a supervisor is told.
#[derive(Clone, Copy, Debug)]
enum Order {
    Restart,
    Panic,
    End,
}

impl StatusBoard {
    /// All children, in the order in which they were started.
    pub fn children(&self) -> Vec<ChildStatus> {
        self.entries()
            .iter()
            .map(|entry| entry.status.clone())
            .collect()
    }

    /// For rehearsals: makes the actor of this name panic. `false` if there is
    /// no such actor, or it has ended.
    pub fn rehearse_panic(&self, name: &str) -> bool {
        self.entries()
            .iter()
            .any(|entry| entry.status.name == name && entry.orders.send(Order::Panic).is_ok())
    }

    fn entries(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a child; its place in the list identifies it from then on.
    fn add(&self, name: &str) -> (usize, mpsc::UnboundedReceiver<Order>) {
        let (orders, received) = mpsc::unbounded_channel();
        let mut entries = self.entries();
        entries.push(Entry {
            status: ChildStatus {
                name: name.to_owned(),
                state: ChildState::Running,
                restarts: 0,
                last_panic: None,
            },
            orders,
        });
        (entries.len() - 1, received)
    }

    fn update(&self, child: usize, change: impl FnOnce(&mut ChildStatus)) {
        if let Some(entry) = self.entries().get_mut(child) {
            change(&mut entry.status);
        }
    }

    fn set_state(&self, child: usize, state: ChildState) {
        self.update(child, |status| status.state = state);
    }

    fn is_running(&self, child: usize) -> bool {
        self.entries()
            .get(child)
            .is_some_and(|entry| entry.status.state == ChildState::Running)
    }

    /// A child that has ended takes no orders any more, which is as well.
    fn order(&self, child: usize, order: Order) {
        if let Some(entry) = self.entries().get(child) {
            let _ = entry.orders.send(order);
        }
    }

    fn len(&self) -> usize {
        self.entries().len()
    }
}

/// The children of one process, with their root.
///
/// It lives on the arbiter that it was made on, and so do its actors. Keep it
/// until [`Tree::stop`]: without it, an actor whose address nobody holds ends.
pub struct Tree {
    root: Rc<Root>,
    actors: Vec<Child>,
}

struct Child {
    index: usize,
    name: String,
    drain: Recipient<Drain>,
    supervisor: JoinHandle<()>,
}

impl Tree {
    /// An empty tree. `on_give_up` is called at most once, with the reason,
    /// and has to end the process (`System::current().stop_with_code(70)`).
    pub fn new(policy: Policy, on_give_up: impl FnOnce(String) + 'static) -> Self {
        Self {
            root: Rc::new(Root {
                policy,
                board: StatusBoard::default(),
                restarts: RefCell::new(Restarts::new(policy.root)),
                on_give_up: Cell::new(Some(Box::new(on_give_up))),
                stopping: Cell::new(false),
            }),
            actors: Vec::new(),
        }
    }

    /// Starts an actor under supervision. It lives until [`Tree::stop`]; one
    /// that stops by itself has failed.
    pub fn start<A>(&mut self, name: impl Into<String>, actor: A) -> Addr<A>
    where
        A: Actor<Context = Context<A>> + Supervised + Handler<Drain>,
    {
        let name = name.into();
        let (index, orders) = self.root.board.add(&name);
        let context = Context::new();
        let address = context.address();
        let leaf = Leaf {
            index,
            name: name.clone(),
            actor: context.into_future(actor),
            orders,
            restarts: Restarts::new(self.root.policy.leaf),
            root: self.root.clone(),
        };
        self.actors.push(Child {
            index,
            name,
            drain: address.clone().recipient(),
            supervisor: actix_rt::spawn(leaf.supervise()),
        });
        address
    }

    /// Takes something into the tree that is no actor and cannot be restarted,
    /// as the thread that writes a database. If `ended` ends or panics before
    /// [`Tree::stop`], the tree gives up at once.
    pub fn watch(&mut self, name: impl Into<String>, ended: impl Future<Output = ()> + 'static) {
        let name = name.into();
        let (index, _) = self.root.board.add(&name);
        let root = self.root.clone();
        actix_rt::spawn(async move {
            let outcome = AssertUnwindSafe(ended).catch_unwind().await;
            if root.stopping.get() {
                root.board.set_state(index, ChildState::Stopped);
                return;
            }
            let failure = outcome.map_or_else(Failure::from, |()| Failure::Ended);
            let reason = failure.to_string();
            root.board.update(index, |status| {
                status.state = ChildState::Failed;
                status.last_panic = Some(reason.clone());
            });
            root.give_up(&name, &reason);
        });
    }

    /// What the children are doing, for any thread, now and later.
    pub fn status(&self) -> StatusBoard {
        self.root.board.clone()
    }

    /// Ends all actors within `grace`, in the reverse order of their start.
    ///
    /// All are asked to [`Drain`] at once, so that none starts new work and
    /// each has the whole time; then each is waited for and ended in turn, the
    /// last started first. Who has not answered at the end of `grace` is ended
    /// without an answer. Nothing is restarted any more. What is watched is
    /// left to its owner, and its end is no failure from here on.
    pub async fn stop(self, grace: Duration) {
        let Self { root, actors } = self;
        root.stopping.set(true);
        let deadline = Instant::now() + grace;
        let drain = Drain {
            until: deadline - grace / GIVING_BACK,
        };
        let asked: Vec<_> = actors
            .into_iter()
            .rev()
            .map(|actor| {
                if !root.board.is_running(actor.index) {
                    root.board.order(actor.index, Order::End);
                }
                let answer = actor.drain.send(drain);
                (actor, answer)
            })
            .collect();
        for (actor, answer) in asked {
            if timeout_at(deadline, answer).await.is_err() {
                log::warn!(
                    "actor {} did not end within {grace:?}; it is ended as it is",
                    actor.name
                );
            }
            root.board.order(actor.index, Order::End);
            // The supervisor runs no code of the actor's that waits, so this
            // cannot take long, and it catches every panic.
            let _ = actor.supervisor.await;
        }
    }
}

type OnGiveUp = Box<dyn FnOnce(String)>;

/// Decides what a failure costs beyond the actor that failed.
struct Root {
    policy: Policy,
    board: StatusBoard,
    restarts: RefCell<Restarts>,
    on_give_up: Cell<Option<OnGiveUp>>,
    stopping: Cell<bool>,
}

impl Root {
    /// An actor has spent its budget.
    fn escalate(&self, child: usize, name: &str, reason: &str) {
        let restart = self.restarts.borrow_mut().take(Instant::now());
        let Some(nth) = restart else {
            return self.give_up(name, reason);
        };
        log::error!(
            "actor {name} has spent its restarts; it and all started after it are restarted ({nth} of {} by the root)",
            self.policy.root.restarts
        );
        for each in child..self.board.len() {
            self.board.order(each, Order::Restart);
        }
    }

    fn give_up(&self, name: &str, reason: &str) {
        if let Some(on_give_up) = self.on_give_up.take() {
            log::error!("the supervision tree gives up because of {name}: {reason}");
            on_give_up(format!("{name}: {reason}"));
        }
    }
}

/// The restarts that still count against a budget.
struct Restarts {
    budget: Budget,
    times: VecDeque<Instant>,
}

impl Restarts {
    fn new(budget: Budget) -> Self {
        Self {
            budget,
            times: VecDeque::new(),
        }
    }

    /// Takes one restart out of the budget and says the how many-th within the
    /// window it is, or `None` if the budget is spent.
    fn take(&mut self, now: Instant) -> Option<usize> {
        self.times
            .retain(|&time| now.duration_since(time) < self.budget.within);
        if self.times.len() >= self.budget.restarts {
            return None;
        }
        self.times.push_back(now);
        Some(self.times.len())
    }

    fn forget(&mut self) {
        self.times.clear();
    }
}

/// Runs one actor and restarts it.
struct Leaf<A: Actor<Context = Context<A>>> {
    index: usize,
    name: String,
    actor: ContextFut<A, Context<A>>,
    orders: mpsc::UnboundedReceiver<Order>,
    restarts: Restarts,
    root: Rc<Root>,
}

/// Why a child works no more that should.
#[derive(Clone, Debug, thiserror::Error)]
enum Failure {
    #[error("it ended by itself")]
    Ended,
    /// It panicked, with this message.
    #[error("{0}")]
    Panicked(String),
}

impl From<Box<dyn Any + Send>> for Failure {
    fn from(payload: Box<dyn Any + Send>) -> Self {
        Self::Panicked(panic_message(&*payload))
    }
}

impl<A> Leaf<A>
where
    A: Actor<Context = Context<A>> + Supervised,
{
    async fn supervise(mut self) {
        let mut lived = self.live().await;
        loop {
            lived = match lived {
                Err(failure) => Ok(self.recover(failure).await),
                Ok(Order::Restart) => match self.restart() {
                    Ok(true) => self.live().await,
                    Ok(false) => Ok(Order::End),
                    Err(failure) => Err(failure),
                },
                Ok(Order::Panic) => {
                    self.actor.ctx().spawn(actix::fut::wrap_future(rehearsed()));
                    self.live().await
                }
                Ok(Order::End) => return self.end(),
            };
        }
    }

    /// Lets the actor work until there is an order, or until it fails.
    async fn live(&mut self) -> Result<Order, Failure> {
        self.root.board.set_state(self.index, ChildState::Running);
        let order = pin!(self.orders.recv());
        let work = pin!(AssertUnwindSafe(&mut self.actor).catch_unwind());
        match select(order, work).await {
            Either::Left((order, _)) => Ok(order.unwrap_or(Order::End)),
            Either::Right((Ok(()), _)) => Err(Failure::Ended),
            Either::Right((Err(payload), _)) => Err(payload.into()),
        }
    }

    /// After a failure: waits until the actor may be restarted, or must end.
    async fn recover(&mut self, failure: Failure) -> Order {
        let reason = failure.to_string();
        // A context that is dropped while it is alive polls its actor once
        // more; a terminated one does not.
        self.actor.ctx().terminate();
        let board = &self.root.board;
        board.update(self.index, |status| {
            status.state = ChildState::Restarting;
            status.last_panic = Some(reason.clone());
        });
        let nth = self.restarts.take(Instant::now());
        log::error!(
            "actor {} failed ({} restarts in {:?} before): {reason}",
            self.name,
            nth.map_or(self.restarts.budget.restarts, |nth| nth - 1),
            self.restarts.budget.within,
        );
        if self.root.stopping.get() {
            return Order::End;
        }
        match nth {
            Some(nth) => {
                let backoff = pin!(sleep(self.root.policy.wait_before(nth)));
                let order = pin!(restart_or_end(&mut self.orders));
                match select(order, backoff).await {
                    Either::Left((order, _)) => order,
                    Either::Right(_) => Order::Restart,
                }
            }
            None => {
                board.set_state(self.index, ChildState::Failed);
                self.restarts.forget();
                self.root.escalate(self.index, &self.name, &reason);
                restart_or_end(&mut self.orders).await
            }
        }
    }

    /// Cancels what the actor's context still runs and makes it start again;
    /// the mailbox and all addresses stay. `false` if nobody holds an address
    /// any more, so that there is no use in it.
    fn restart(&mut self) -> Result<bool, Failure> {
        self.root
            .board
            .update(self.index, |status| status.restarts += 1);
        catch_unwind(AssertUnwindSafe(|| self.actor.restart())).map_err(Failure::from)
    }

    /// Ends the actor: `stopping` and `stopped` are called if it was working.
    fn end(self) {
        let Self {
            actor, root, index, ..
        } = self;
        // Dropping the context calls the hooks.
        if let Err(payload) = catch_unwind(AssertUnwindSafe(|| drop(actor))) {
            log::error!(
                "actor {} panicked while it was ended: {}",
                self.name,
                panic_message(&*payload)
            );
        }
        root.board.set_state(index, ChildState::Stopped);
    }
}

/// The next order that an actor which does not work can follow.
async fn restart_or_end(orders: &mut mpsc::UnboundedReceiver<Order>) -> Order {
    loop {
        match orders.recv().await {
            Some(Order::Panic) => {}
            Some(order) => return order,
            None => return Order::End,
        }
    }
}

#[expect(
    clippy::panic,
    reason = "people who rehearse failures ask for this panic by name"
)]
async fn rehearsed() {
    panic!("rehearsed");
}

/// A unit of work that runs in a task of its own. It is the future of the
/// unit's value; dropping it lets the unit go on unobserved.
#[derive(Debug)]
pub struct Unit<T>(JoinHandle<T>);

/// Why a unit of work has no value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnitFailure {
    /// It panicked, with this message.
    #[error("the unit of work panicked: {0}")]
    Panicked(String),
    /// It was [aborted](Unit::abort), or its arbiter has ended.
    #[error("the unit of work was aborted")]
    Aborted,
}

/// Runs a unit of work on this arbiter in a task of its own, so that its
/// panic is its own failure, and nobody who stops waiting can undo it.
pub fn spawn_unit<F>(work: F) -> Unit<F::Output>
where
    F: Future + 'static,
    F::Output: 'static,
{
    Unit(actix_rt::spawn(work))
}

impl<T> Unit<T> {
    /// Ends the unit at its next `await`.
    pub fn abort(&self) {
        self.0.abort();
    }
}

impl<T> Future for Unit<T> {
    type Output = Result<T, UnitFailure>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        let ended = ready!(Pin::new(&mut self.0).poll(cx));
        Poll::Ready(ended.map_err(|error| match error.try_into_panic() {
            Ok(payload) => UnitFailure::Panicked(panic_message(&*payload)),
            Err(_) => UnitFailure::Aborted,
        }))
    }
}

/// What `work` answers, its panic as a value: for a part of something that goes on
/// without it.
///
/// # Errors
/// [`UnitFailure::Panicked`].
pub fn contained<T>(work: impl FnOnce() -> T) -> Result<T, UnitFailure> {
    let done = catch_unwind(AssertUnwindSafe(work));
    done.map_err(|payload| UnitFailure::Panicked(panic_message(&*payload)))
}

/// The most characters that are kept of a panic's message.
const LONGEST_MESSAGE: usize = 300;

/// What a panic said.
fn panic_message(payload: &(dyn Any + Send)) -> String {
    let message = payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("a panic without a message");
    message.chars().take(LONGEST_MESSAGE).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_first_restart_is_at_once_and_the_waits_double_up_to_the_longest() {
        let policy = Policy::default();
        let waits: Vec<_> = (1..=9)
            .map(|nth| policy.wait_before(nth).as_millis())
            .collect();
        assert_eq!(waits, [0, 100, 200, 400, 800, 1600, 3200, 5000, 5000]);
        assert_eq!(policy.wait_before(usize::MAX), policy.longest_backoff);
    }

    #[test]
    fn a_long_panic_message_is_cut_and_a_strange_payload_has_a_name() {
        assert_eq!(panic_message(&"a".repeat(10_000)).len(), LONGEST_MESSAGE);
        assert_eq!(panic_message(&"static"), "static");
        assert_eq!(panic_message(&17), "a panic without a message");
    }

    proptest! {
        /// Whatever the times of the failures: no window holds more restarts
        /// than the budget, and a restart is refused only if it is full.
        #[test]
        fn no_window_holds_more_restarts_than_the_budget(
            restarts in 1_usize..6,
            within_ms in 1_u64..1000,
            gaps_ms in prop::collection::vec(0_u64..400, 1..60),
        ) {
            let within = Duration::from_millis(within_ms);
            let mut budget = Restarts::new(Budget { restarts, within });
            let mut now = Instant::now();
            let mut granted: Vec<Instant> = Vec::new();
            for gap in gaps_ms {
                now += Duration::from_millis(gap);
                let in_window = granted.iter().filter(|&&time| now - time < within).count();
                match budget.take(now) {
                    Some(nth) => {
                        prop_assert_eq!(nth, in_window + 1);
                        prop_assert!(nth <= restarts);
                        granted.push(now);
                    }
                    None => prop_assert_eq!(in_window, restarts),
                }
            }
        }
    }
}
