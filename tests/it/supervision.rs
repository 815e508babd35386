//! What actix itself does when an actor panics, pinned, and what the
//! supervision tree makes of it.
//!
//! Time is tokio's paused clock wherever no thread is involved: it moves on
//! when nothing else can happen, so a wait of seconds takes none.

use std::{
    process::{Command, ExitStatus},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use actix::{
    Actor, ActorContext, ActorFutureExt, Addr, AsyncContext, Context, Handler, MailboxError,
    Message, ResponseFuture, SpawnHandle, Supervised, Supervisor, SyncArbiter, SyncContext, System,
    WrapFuture, dev::SendError,
};
use hoiam_supervision::{
    Budget, ChildState, Drain, Policy, StatusBoard, Tree, UnitFailure, spawn_unit,
};
use tokio::{
    sync::oneshot,
    time::{Instant, sleep},
};

// ---------------------------------------------------------------- the actor

/// What has happened, in order.
#[derive(Clone, Default)]
struct Journal(Arc<Mutex<Vec<String>>>);

impl Journal {
    fn note(&self, what: impl Into<String>) {
        self.0.lock().unwrap().push(what.into());
    }

    fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }

    fn count(&self, what: &str) -> usize {
        self.all().iter().filter(|noted| *noted == what).count()
    }
}

/// How a [`Probe`] answers [`Drain`].
#[derive(Clone, Copy)]
enum Draining {
    AtOnce,
    After(Duration),
    Never,
    /// In the handler.
    Panics,
    /// In the future that the handler returns.
    PanicsLater,
}

/// An actor that keeps a journal and does whatever a test sends it.
struct Probe {
    name: &'static str,
    journal: Journal,
    draining: Draining,
    /// Panics that are still to come in these hooks.
    panics_in_started: usize,
    panics_in_restarting: usize,
    handle: Option<SpawnHandle>,
}

impl Probe {
    fn new(name: &'static str, journal: &Journal) -> Self {
        Self {
            name,
            journal: journal.clone(),
            draining: Draining::AtOnce,
            panics_in_started: 0,
            panics_in_restarting: 0,
            handle: None,
        }
    }

    fn draining(mut self, draining: Draining) -> Self {
        self.draining = draining;
        self
    }

    fn note(&self, what: &str) {
        self.journal.note(format!("{} {what}", self.name));
    }
}

impl Actor for Probe {
    type Context = Context<Self>;

    fn started(&mut self, _: &mut Self::Context) {
        self.note("started");
        if self.panics_in_started > 0 {
            self.panics_in_started -= 1;
            panic!("in started");
        }
    }

    fn stopped(&mut self, _: &mut Self::Context) {
        self.note("stopped");
    }
}

impl Supervised for Probe {
    fn restarting(&mut self, _: &mut Self::Context) {
        self.note("restarting");
        if self.panics_in_restarting > 0 {
            self.panics_in_restarting -= 1;
            panic!("in restarting");
        }
    }
}

/// Runs in the actor's handler.
#[derive(Message)]
#[rtype(result = "()")]
struct Do<F: FnOnce(&mut Probe, &mut Context<Probe>) + Send + 'static>(F);

impl<F: FnOnce(&mut Probe, &mut Context<Probe>) + Send + 'static> Handler<Do<F>> for Probe {
    type Result = ();

    fn handle(&mut self, Do(what): Do<F>, ctx: &mut Self::Context) {
        what(self, ctx);
    }
}

/// A message that every actor here can take, full mailbox or not.
#[derive(Message)]
#[rtype(result = "&'static str")]
struct WhoAreYou;

impl Handler<WhoAreYou> for Probe {
    type Result = actix::MessageResult<WhoAreYou>;

    fn handle(&mut self, _: WhoAreYou, _: &mut Self::Context) -> Self::Result {
        actix::MessageResult(self.name)
    }
}

impl Handler<Drain> for Probe {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, _: Drain, _: &mut Self::Context) -> Self::Result {
        self.note("drains");
        if matches!(self.draining, Draining::Panics) {
            panic!("in drain");
        }
        let (draining, name, journal) = (self.draining, self.name, self.journal.clone());
        Box::pin(async move {
            match draining {
                Draining::AtOnce => {}
                Draining::After(time) => sleep(time).await,
                Draining::Never => std::future::pending().await,
                Draining::Panics | Draining::PanicsLater => panic!("in the drain's future"),
            }
            journal.note(format!("{name} drained"));
        })
    }
}

/// Makes the actor panic in a handler.
fn crash(actor: &Addr<Probe>) {
    actor.do_send(Do(|_, _| panic!("boom")));
}

// -------------------------------------------------------------- the harness

/// Runs on an arbiter of its own whose clock stands still unless all wait. A
/// test that would wait for ever fails when a day of that clock is over.
fn in_paused_time<T>(test: impl Future<Output = T>) -> T {
    System::with_tokio_rt(|| {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .unwrap()
    })
    .block_on(async { tokio::time::timeout(Duration::from_secs(86_400), test).await })
    .unwrap()
}

/// Waits, an hour of the paused clock at most.
async fn until(what: &str, condition: impl Fn() -> bool) {
    let latest = Instant::now() + Duration::from_secs(3600);
    while !condition() {
        assert!(Instant::now() < latest, "it never came to this: {what}");
        sleep(Duration::from_millis(1)).await;
    }
}

/// A tree, and the reasons for which it has given up.
fn tree(policy: Policy) -> (Tree, Journal) {
    let given_up = Journal::default();
    let told = given_up.clone();
    (Tree::new(policy, move |reason| told.note(reason)), given_up)
}

/// So few restarts that a test can use them up.
fn strict(leaf: usize, root: usize) -> Policy {
    Policy {
        leaf: Budget {
            restarts: leaf,
            within: Duration::from_secs(30),
        },
        root: Budget {
            restarts: root,
            within: Duration::from_secs(60),
        },
        ..Policy::default()
    }
}

fn state(board: &StatusBoard, name: &str) -> ChildState {
    child(board, name).state
}

fn child(board: &StatusBoard, name: &str) -> hoiam_supervision::ChildStatus {
    board
        .children()
        .into_iter()
        .find(|child| child.name == name)
        .unwrap()
}

/// Notes when it is dropped.
struct NoteOnDrop(Journal, &'static str);

impl Drop for NoteOnDrop {
    fn drop(&mut self) {
        self.0.note(self.1);
    }
}

// -------------------------------------------------------- what actix itself does

#[test]
fn under_the_supervisor_of_actix_a_panic_ends_the_actor_and_its_mailbox_but_not_the_arbiter() {
    in_paused_time(async {
        let journal = Journal::default();
        let probe = Probe::new("probe", &journal);
        let actor = Supervisor::start(|_| probe);
        crash(&actor);
        let queued = actor.send(WhoAreYou);
        assert!(matches!(queued.await, Err(MailboxError::Closed)));
        assert!(!actor.connected());
        assert!(matches!(
            actor.try_send(WhoAreYou),
            Err(SendError::Closed(_))
        ));
        assert_eq!(journal.count("probe restarting"), 0);

        let other = Probe::new("other", &journal).start();
        assert_eq!(other.send(WhoAreYou).await.unwrap(), "other");
    });
}

#[test]
fn actix_calls_stopped_on_an_actor_that_has_panicked() {
    in_paused_time(async {
        let journal = Journal::default();
        let actor = Probe::new("probe", &journal).start();
        crash(&actor);
        until("the actor is gone", || !actor.connected()).await;
        assert_eq!(journal.all(), ["probe started", "probe stopped"]);
    });
}

#[test]
fn the_17th_try_send_is_refused_but_send_is_not_and_a_clone_takes_one_more() {
    in_paused_time(async {
        let actor = Probe::new("probe", &Journal::default()).start();
        for _ in 0..16 {
            actor.try_send(WhoAreYou).unwrap();
        }
        assert!(matches!(actor.try_send(WhoAreYou), Err(SendError::Full(_))));
        let clone = actor.clone();
        clone.try_send(WhoAreYou).unwrap();
        assert!(matches!(clone.try_send(WhoAreYou), Err(SendError::Full(_))));
        assert_eq!(actor.send(WhoAreYou).await.unwrap(), "probe");
    });
}

#[test]
fn a_message_whose_send_future_is_dropped_before_its_turn_is_skipped() {
    in_paused_time(async {
        let journal = Journal::default();
        let actor = Probe::new("probe", &journal).start();
        drop(actor.send(Do(|probe, _| probe.note("was sent"))));
        actor.do_send(Do(|probe, _| probe.note("was done_sent")));
        actor.send(WhoAreYou).await.unwrap();
        assert_eq!(journal.all(), ["probe started", "probe was done_sent"]);
    });
}

/// An actor for threads.
struct Blocking;

impl Actor for Blocking {
    type Context = SyncContext<Self>;
}

impl Handler<WhoAreYou> for Blocking {
    type Result = actix::MessageResult<WhoAreYou>;

    fn handle(&mut self, _: WhoAreYou, _: &mut Self::Context) -> Self::Result {
        actix::MessageResult("blocking")
    }
}

#[derive(Message)]
#[rtype(result = "()")]
struct Fall;

impl Handler<Fall> for Blocking {
    type Result = ();

    fn handle(&mut self, _: Fall, _: &mut Self::Context) {
        panic!("boom");
    }
}

#[test]
fn a_sync_arbiter_of_two_threads_outlives_one_panic_and_not_two() {
    System::new().block_on(async {
        let actor = SyncArbiter::start(2, || Blocking);
        assert!(actor.send(Fall).await.is_err());
        assert_eq!(actor.send(WhoAreYou).await.unwrap(), "blocking");
        assert!(actor.send(Fall).await.is_err());
        // The last thread may still be unwinding when its sender is told.
        while actor.send(WhoAreYou).await.is_ok() {}
        assert!(actor.send(WhoAreYou).await.is_err());
    });
}

/// Why actors have `clock::Alarm`s and keep no `SpawnHandle`: an actor that
/// cancels its old timer when it arms a new one cancels the new one.
#[test]
fn a_handle_kept_over_a_restart_cancels_a_future_of_the_restarted_context() {
    in_paused_time(async {
        let (mut tree, _) = tree(Policy::default());
        let journal = Journal::default();
        let actor = tree.start("probe", Probe::new("probe", &journal));
        let arm = |canceled| {
            Do(move |probe: &mut Probe, ctx: &mut Context<Probe>| {
                if let Some(old) = probe.handle.take() {
                    ctx.cancel_future(old);
                }
                let guard = NoteOnDrop(probe.journal.clone(), canceled);
                let forever = async move {
                    let _guard = guard;
                    std::future::pending::<()>().await;
                };
                probe.handle = Some(ctx.spawn(forever.into_actor(probe)));
            })
        };
        actor.do_send(arm("first canceled"));
        crash(&actor);
        actor.do_send(arm("second canceled"));
        until("the new future was canceled", || {
            journal.count("second canceled") == 1
        })
        .await;
        assert_eq!(
            journal.all(),
            [
                "probe started",
                "first canceled",
                "probe restarting",
                "probe started",
                "second canceled"
            ]
        );
    });
}

/// A unit of work of its own, that is: the actor neither falls with it nor
/// cancels it by a restart.
#[test]
fn a_response_future_runs_outside_the_context() {
    in_paused_time(async {
        let journal = Journal::default();
        let probe = Probe::new("probe", &journal).draining(Draining::PanicsLater);
        let actor = probe.start();
        let drain = Drain {
            until: Instant::now(),
        };
        assert!(matches!(actor.send(drain).await, Err(MailboxError::Closed)));
        assert_eq!(actor.send(WhoAreYou).await.unwrap(), "probe");
    });
}

// -------------------------------------------------------------- one restart

#[test]
fn a_panic_restarts_the_actor_and_keeps_its_mailbox_and_its_addresses() {
    in_paused_time(async {
        let (mut tree, given_up) = tree(Policy::default());
        let journal = Journal::default();
        let actor = tree.start("probe", Probe::new("probe", &journal));
        let before = actor.clone();
        let lost = actor.send(Do(|_, _| panic!("boom")));
        let queued = actor.send(WhoAreYou);

        assert!(matches!(lost.await, Err(MailboxError::Closed)));
        assert_eq!(queued.await.unwrap(), "probe");
        assert!(before.connected());
        assert_eq!(before.send(WhoAreYou).await.unwrap(), "probe");
        assert_eq!(
            journal.all(),
            ["probe started", "probe restarting", "probe started"]
        );
        let status = child(&tree.status(), "probe");
        assert_eq!(status.state, ChildState::Running);
        assert_eq!(status.restarts, 1);
        assert_eq!(status.last_panic.as_deref(), Some("boom"));
        assert!(given_up.all().is_empty());
    });
}

#[test]
fn a_restart_cancels_the_futures_of_the_context() {
    in_paused_time(async {
        let (mut tree, _) = tree(Policy::default());
        let journal = Journal::default();
        let actor = tree.start("probe", Probe::new("probe", &journal));
        let guard = NoteOnDrop(journal.clone(), "canceled");
        actor.do_send(Do(move |probe, ctx| {
            let future = async move {
                let _guard = guard;
                std::future::pending::<()>().await;
            };
            ctx.spawn(future.into_actor(probe));
        }));
        actor.send(WhoAreYou).await.unwrap();
        assert_eq!(journal.count("canceled"), 0);
        crash(&actor);
        actor.send(WhoAreYou).await.unwrap();
        assert_eq!(
            journal.all(),
            [
                "probe started",
                "canceled",
                "probe restarting",
                "probe started"
            ]
        );
    });
}

#[test]
fn a_panic_in_a_future_of_the_context_restarts_the_actor() {
    restarts_once_after(|actor| {
        actor.do_send(Do(|probe, ctx| {
            ctx.spawn(async { panic!("in a future") }.into_actor(probe));
        }));
        "in a future"
    });
}

#[test]
fn a_panic_while_the_context_waits_restarts_the_actor() {
    restarts_once_after(|actor| {
        actor.do_send(Do(|probe, ctx| {
            ctx.wait(
                sleep(Duration::from_secs(1))
                    .into_actor(probe)
                    .map(|(), _, _| panic!("in a wait")),
            );
        }));
        "in a wait"
    });
}

#[test]
fn a_panic_in_a_timer_restarts_the_actor() {
    restarts_once_after(|actor| {
        actor.do_send(Do(|_, ctx| {
            ctx.run_later(Duration::from_secs(1), |_, _| panic!("in a timer"));
        }));
        "in a timer"
    });
}

#[test]
fn an_actor_that_stops_by_itself_has_failed_and_is_restarted() {
    restarts_once_after(|actor| {
        actor.do_send(Do(|_, ctx| ctx.stop()));
        "it ended by itself"
    });
}

fn restarts_once_after(fail: impl FnOnce(&Addr<Probe>) -> &'static str) {
    in_paused_time(async {
        let (mut tree, given_up) = tree(Policy::default());
        let board = tree.status();
        let actor = tree.start("probe", Probe::new("probe", &Journal::default()));
        let reason = fail(&actor);
        until("it was restarted", || child(&board, "probe").restarts == 1).await;
        assert_eq!(actor.send(WhoAreYou).await.unwrap(), "probe");
        assert_eq!(child(&board, "probe").last_panic.as_deref(), Some(reason));
        assert_eq!(child(&board, "probe").restarts, 1);
        assert!(given_up.all().is_empty());
    });
}

#[test]
fn panics_in_started_and_in_restarting_count_as_any_other() {
    in_paused_time(async {
        let (mut tree, given_up) = tree(Policy::default());
        let journal = Journal::default();
        let mut probe = Probe::new("probe", &journal);
        probe.panics_in_started = 2;
        probe.panics_in_restarting = 1;
        let actor = tree.start("probe", probe);
        assert_eq!(actor.send(WhoAreYou).await.unwrap(), "probe");
        assert_eq!(
            journal.all(),
            [
                "probe started",    // panics
                "probe restarting", // panics
                "probe restarting",
                "probe started", // panics
                "probe restarting",
                "probe started",
            ]
        );
        assert_eq!(child(&tree.status(), "probe").restarts, 3);
        assert!(given_up.all().is_empty());
    });
}

#[test]
fn a_panicked_actor_that_is_dropped_before_its_restart_is_not_polled_again() {
    let journal = Journal::default();
    // What is returned keeps the mailbox open while the arbiter ends.
    let _kept = in_paused_time(async {
        let (mut tree, _) = tree(Policy::default());
        let board = tree.status();
        let actor = tree.start("probe", Probe::new("probe", &journal));
        crash(&actor);
        crash(&actor);
        until("it waits for its second restart", || {
            child(&board, "probe").restarts == 1 && state(&board, "probe") == ChildState::Restarting
        })
        .await;
        actor.do_send(Do(|probe, _| probe.note("was handled")));
        (tree, actor)
    });
    assert_eq!(
        journal.all(),
        ["probe started", "probe restarting", "probe started"]
    );
}

// ------------------------------------------------------ budgets and escalation

#[test]
fn restarts_wait_longer_each_time() {
    in_paused_time(async {
        let (mut tree, _) = tree(Policy::default());
        let board = tree.status();
        let actor = tree.start("probe", Probe::new("probe", &Journal::default()));
        let mut waits = Vec::new();
        for _ in 0..5 {
            let before = Instant::now();
            crash(&actor);
            actor.send(WhoAreYou).await.unwrap();
            waits.push(before.elapsed().as_millis());
        }
        // The timer of tokio has a grain of one millisecond.
        for (wait, expected) in waits.iter().zip([0, 100, 200, 400, 800]) {
            assert!((expected..=expected + 2).contains(wait), "{waits:?}");
        }
        assert_eq!(child(&board, "probe").restarts, 5);
    });
}

#[test]
fn failures_that_are_far_enough_apart_never_escalate() {
    in_paused_time(async {
        let (mut tree, given_up) = tree(strict(5, 0));
        let board = tree.status();
        let actor = tree.start("probe", Probe::new("probe", &Journal::default()));
        for failed in 1..=40 {
            crash(&actor);
            actor.send(WhoAreYou).await.unwrap();
            assert_eq!(child(&board, "probe").restarts, failed);
            sleep(Duration::from_secs(6)).await;
        }
        assert!(given_up.all().is_empty());
    });
}

#[test]
fn the_window_slides_and_a_restart_does_not_reset_it() {
    in_paused_time(async {
        let (mut tree, given_up) = tree(strict(5, 0));
        let actor = tree.start("probe", Probe::new("probe", &Journal::default()));
        // Five at 5 s distance: the next one 5 s later finds four in the window.
        for _ in 0..5 {
            crash(&actor);
            actor.send(WhoAreYou).await.unwrap();
            sleep(Duration::from_secs(5)).await;
        }
        assert!(given_up.all().is_empty());
        // This is the sixth within 30 s, long after the actor came back whole.
        crash(&actor);
        until("it gave up", || !given_up.all().is_empty()).await;
        assert_eq!(given_up.all(), ["probe: boom"]);
    });
}

#[test]
fn a_spent_budget_escalates_once_and_restarts_what_was_started_after_the_actor() {
    in_paused_time(async {
        let (mut tree, given_up) = tree(strict(2, 3));
        let board = tree.status();
        let journal = Journal::default();
        let first = tree.start("first", Probe::new("first", &journal));
        let second = tree.start("second", Probe::new("second", &journal));
        let third = tree.start("third", Probe::new("third", &journal));
        for _ in 0..3 {
            crash(&second);
        }
        assert_eq!(second.send(WhoAreYou).await.unwrap(), "second");
        assert_eq!(third.send(WhoAreYou).await.unwrap(), "third");
        assert_eq!(first.send(WhoAreYou).await.unwrap(), "first");

        assert_eq!(child(&board, "first").restarts, 0);
        assert_eq!(child(&board, "second").restarts, 3);
        assert_eq!(child(&board, "third").restarts, 1);
        assert_eq!(journal.count("third restarting"), 1);
        assert_eq!(child(&board, "third").last_panic, None);

        // Its budget is fresh: two more are its own affair.
        crash(&second);
        crash(&second);
        assert_eq!(second.send(WhoAreYou).await.unwrap(), "second");
        assert_eq!(child(&board, "third").restarts, 1);
        assert!(given_up.all().is_empty());
    });
}

#[test]
fn a_spent_root_budget_gives_up_once_and_leaves_the_actor_failed() {
    in_paused_time(async {
        let (mut tree, given_up) = tree(strict(1, 2));
        let board = tree.status();
        let one = tree.start("one", Probe::new("one", &Journal::default()));
        let two = tree.start("two", Probe::new("two", &Journal::default()));
        // Each life of the actor takes two panics; the root allows three lives.
        for _ in 0..6 {
            crash(&one);
        }
        until("it gave up", || !given_up.all().is_empty()).await;
        assert_eq!(given_up.all(), ["one: boom"]);
        assert_eq!(state(&board, "one"), ChildState::Failed);
        assert_eq!(child(&board, "one").restarts, 5);
        crash(&two);
        crash(&two);
        until("the other failed too", || {
            state(&board, "two") == ChildState::Failed
        })
        .await;
        assert_eq!(given_up.all(), ["one: boom"]);
    });
}

#[test]
fn an_end_of_what_is_watched_gives_up_at_once() {
    in_paused_time(async {
        let (mut tree, given_up) = tree(Policy::default());
        let board = tree.status();
        let (writer, ended) = oneshot::channel::<()>();
        tree.watch("writer", async {
            let _ = ended.await;
        });
        until("it was polled", || true).await;
        assert_eq!(state(&board, "writer"), ChildState::Running);
        assert!(!board.rehearse_panic("writer"));
        drop(writer);
        until("it gave up", || !given_up.all().is_empty()).await;
        assert_eq!(given_up.all(), ["writer: it ended by itself"]);
        assert_eq!(state(&board, "writer"), ChildState::Failed);
    });
}

#[test]
fn a_panic_of_what_is_watched_gives_up_at_once() {
    in_paused_time(async {
        let (mut tree, given_up) = tree(Policy::default());
        tree.watch("writer", async { panic!("disk on fire") });
        until("it gave up", || !given_up.all().is_empty()).await;
        assert_eq!(given_up.all(), ["writer: disk on fire"]);
        let status = child(&tree.status(), "writer");
        assert_eq!(status.last_panic.as_deref(), Some("disk on fire"));
    });
}

/// The test starts itself anew in a child process, told apart by a variable.
#[test]
fn a_tree_that_gives_up_ends_its_process_with_status_70() {
    const IN_CHILD: &str = "HOIAM_TEST_GIVES_UP";
    if std::env::var_os(IN_CHILD).is_some() {
        std::process::exit(give_up_in_this_process());
    }
    let test = "supervision::a_tree_that_gives_up_ends_its_process_with_status_70";
    let status: ExitStatus = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test])
        .env(IN_CHILD, "1")
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(70));
}

fn give_up_in_this_process() -> i32 {
    let system = System::new();
    let _tree = system.block_on(async {
        let mut tree = Tree::new(strict(2, 1), |_| System::current().stop_with_code(70));
        let actor = tree.start("probe", Probe::new("probe", &Journal::default()));
        for _ in 0..6 {
            crash(&actor);
        }
        tree
    });
    system.run_with_code().unwrap()
}

// --------------------------------------------------------------- rehearsals

#[test]
fn a_rehearsed_panic_is_a_panic_of_that_actor_alone() {
    in_paused_time(async {
        let (mut tree, _) = tree(Policy::default());
        let board = tree.status();
        let one = tree.start("one", Probe::new("one", &Journal::default()));
        let _two = tree.start("two", Probe::new("two", &Journal::default()));
        let elsewhere = board.clone();
        let asked = std::thread::spawn(move || {
            (
                elsewhere.rehearse_panic("one"),
                elsewhere.rehearse_panic("nobody"),
            )
        });
        assert_eq!(asked.join().unwrap(), (true, false));
        until("it was restarted", || child(&board, "one").restarts == 1).await;
        assert_eq!(one.send(WhoAreYou).await.unwrap(), "one");
        assert_eq!(
            child(&board, "one").last_panic.as_deref(),
            Some("rehearsed")
        );
        assert_eq!(child(&board, "two").restarts, 0);
        tree.stop(Duration::from_secs(1)).await;
        assert!(!board.rehearse_panic("one"));
    });
}

// --------------------------------------------------------------------- stop

#[test]
fn stop_asks_all_to_drain_and_ends_them_in_reverse_order() {
    in_paused_time(async {
        let (mut tree, given_up) = tree(Policy::default());
        let board = tree.status();
        let journal = Journal::default();
        let slowly = Draining::After(Duration::from_secs(2));
        let first = tree.start("first", Probe::new("first", &journal).draining(slowly));
        tree.start("second", Probe::new("second", &journal).draining(slowly));
        tree.start("third", Probe::new("third", &journal));
        first.send(WhoAreYou).await.unwrap();
        let before = Instant::now();
        tree.stop(Duration::from_secs(20)).await;

        let took = before.elapsed();
        assert!(
            took < Duration::from_secs(3),
            "one after the other: {took:?}"
        );
        let stopped: Vec<_> = journal
            .all()
            .into_iter()
            .filter(|noted| noted.ends_with("stopped"))
            .collect();
        assert_eq!(
            stopped,
            ["third stopped", "second stopped", "first stopped"]
        );
        for name in ["first", "second", "third"] {
            assert_eq!(journal.count(&format!("{name} drained")), 1);
            assert_eq!(state(&board, name), ChildState::Stopped);
            assert_eq!(child(&board, name).restarts, 0);
        }
        assert!(!first.connected());
        assert!(given_up.all().is_empty());
    });
}

#[test]
fn an_actor_that_does_not_answer_is_ended_at_the_deadline_and_the_others_have_drained() {
    in_paused_time(async {
        let (mut tree, _) = tree(Policy::default());
        let board = tree.status();
        let journal = Journal::default();
        let slowly = Draining::After(Duration::from_secs(15));
        tree.start("slow", Probe::new("slow", &journal).draining(slowly));
        tree.start(
            "stuck",
            Probe::new("stuck", &journal).draining(Draining::Never),
        );
        let before = Instant::now();
        tree.stop(Duration::from_secs(20)).await;

        let took = before.elapsed().as_millis();
        assert!((20_000..20_010).contains(&took), "{took} ms");
        assert_eq!(journal.count("slow drained"), 1);
        assert_eq!(journal.count("stuck drained"), 0);
        assert_eq!(journal.count("stuck stopped"), 1);
        assert_eq!(state(&board, "stuck"), ChildState::Stopped);
    });
}

#[test]
fn drain_says_when_to_give_back_and_leaves_a_tenth_of_the_time_for_it() {
    in_paused_time(async {
        struct Curious(Arc<Mutex<Option<Instant>>>);
        impl Actor for Curious {
            type Context = Context<Self>;
        }
        impl Supervised for Curious {}
        impl Handler<Drain> for Curious {
            type Result = ();
            fn handle(&mut self, drain: Drain, _: &mut Self::Context) {
                *self.0.lock().unwrap() = Some(drain.until);
            }
        }
        let (mut tree, _) = tree(Policy::default());
        let told = Arc::new(Mutex::new(None));
        tree.start("curious", Curious(told.clone()));
        let before = Instant::now();
        tree.stop(Duration::from_secs(20)).await;
        assert_eq!(
            *told.lock().unwrap(),
            Some(before + Duration::from_secs(18))
        );
    });
}

#[test]
fn an_actor_that_panics_while_it_drains_is_not_restarted() {
    in_paused_time(async {
        let (mut tree, given_up) = tree(strict(5, 0));
        let board = tree.status();
        let journal = Journal::default();
        tree.start(
            "probe",
            Probe::new("probe", &journal).draining(Draining::Panics),
        );
        let before = Instant::now();
        tree.stop(Duration::from_secs(20)).await;
        assert!(before.elapsed() < Duration::from_secs(1));
        assert_eq!(journal.all(), ["probe started", "probe drains"]);
        let status = child(&board, "probe");
        assert_eq!(status.state, ChildState::Stopped);
        assert_eq!(status.last_panic.as_deref(), Some("in drain"));
        assert!(given_up.all().is_empty());
    });
}

#[test]
fn stop_does_not_wait_for_an_actor_that_waits_for_its_restart() {
    in_paused_time(async {
        let policy = Policy {
            backoff: Duration::from_secs(5),
            ..Policy::default()
        };
        let (mut tree, _) = tree(policy);
        let board = tree.status();
        let journal = Journal::default();
        let actor = tree.start("probe", Probe::new("probe", &journal));
        crash(&actor);
        crash(&actor);
        until("it waits for its second restart", || {
            child(&board, "probe").restarts == 1 && state(&board, "probe") == ChildState::Restarting
        })
        .await;
        let before = Instant::now();
        tree.stop(Duration::from_secs(20)).await;
        assert!(before.elapsed() < Duration::from_secs(1));
        assert_eq!(journal.count("probe started"), 2);
        assert_eq!(state(&board, "probe"), ChildState::Stopped);
    });
}

#[test]
fn an_end_of_what_is_watched_is_no_failure_once_the_tree_was_stopped() {
    in_paused_time(async {
        let (mut tree, given_up) = tree(Policy::default());
        let board = tree.status();
        let (writer, ended) = oneshot::channel::<()>();
        tree.watch("writer", async {
            let _ = ended.await;
        });
        tree.stop(Duration::from_secs(1)).await;
        assert_eq!(state(&board, "writer"), ChildState::Running);
        drop(writer);
        until("its end was seen", || {
            state(&board, "writer") == ChildState::Stopped
        })
        .await;
        assert!(given_up.all().is_empty());
    });
}

// -------------------------------------------------------------------- units

#[test]
fn a_unit_gives_its_value_or_its_panic_or_says_that_it_was_aborted() {
    in_paused_time(async {
        assert_eq!(spawn_unit(async { 7 }).await, Ok(7));
        let panicked = spawn_unit(async { panic!("boom {}", 1) }).await;
        assert_eq!(
            panicked.map(|()| 0),
            Err(UnitFailure::Panicked("boom 1".to_owned()))
        );
        let unit = spawn_unit(std::future::pending::<()>());
        unit.abort();
        assert_eq!(unit.await, Err(UnitFailure::Aborted));
    });
}

#[test]
fn a_unit_goes_on_when_nobody_waits_for_it_any_more() {
    in_paused_time(async {
        let done = Arc::new(AtomicUsize::new(0));
        let counted = done.clone();
        drop(spawn_unit(async move {
            sleep(Duration::from_secs(1)).await;
            counted.fetch_add(1, Ordering::Relaxed);
        }));
        until("it was done", || done.load(Ordering::Relaxed) == 1).await;
    });
}
