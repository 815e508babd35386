//! A panic in an actor: what was owed before, and what comes after, is done
//! all the same.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use actix_web::{App, test, web};
use diesel::prelude::*;
use hoiam::backend::{TaskSubmitted, store as tasks};
use hoiam::claim_loop::Pulse;
use hoiam::db::schema::events;
use hoiam::db::{Conn, Id};
use hoiam::delivery::in_delivery::InDelivery;
use hoiam::delivery::store::Row;
use hoiam::delivery::subject::{Payload, Subject};
use hoiam::delivery::{CallbackDispatcher, DeliveryEnqueued};
use hoiam::http::system::{System, system};
use hoiam::tts::JobQueued;
use hoiam_api::Service;
use serde_json::Value;
use uuid::Uuid;

use crate::support::Gate;

use super::dispatcher::Things;
use super::support::{READERS, Reply, START, Server, World, eventually, task_row, tts_client};
use super::{backend, dispatcher, worker};

/// Makes the actor panic and waits until it lives again.
pub async fn panics(world: &World, name: &str) {
    let board = world.tree.status();
    let restarts = || {
        let children = board.children();
        let actor = children.iter().find(|child| child.name == name).unwrap();
        (actor.restarts, actor.state)
    };
    let (before, _) = restarts();
    assert!(board.rehearse_panic(name));
    eventually("it is restarted", || async {
        restarts() == (before + 1, hoiam_supervision::ChildState::Running)
    })
    .await;
}

/// The restarts of an actor as `/v1/system` shows them.
async fn shown_restarts(world: &World, name: &str) -> Value {
    let state = web::Data::new(System {
        role: "all",
        started_at: START,
        board: world.tree.status(),
        dbs: vec![world.db.clone()],
        children: std::sync::Arc::new(Default::default),
        cache: None,
        crashes: None,
        shut: Vec::new(),
        due: Vec::new(),
    });
    let app = App::new()
        .app_data(state)
        .route("/v1/system", web::get().to(system));
    let app = test::init_service(app).await;
    let request = test::TestRequest::get().uri("/v1/system").to_request();
    let page: Value = test::call_and_read_body_json(&app, request).await;
    let actors = page["actors"].as_array().unwrap();
    let actor = actors.iter().find(|actor| actor["name"] == name).unwrap();
    actor["restarts"].clone()
}

#[actix_rt::test]
async fn the_dispatcher_delivers_what_was_owed_before_and_after_its_panic() {
    let mut world = World::new(Service::Tts);
    let server = Server::start(|_| Reply::Hang);
    let before = dispatcher::enqueue(&world.db, vec![server.url("/")]).await[0];
    let addr = dispatcher::start(&mut world, &[0, 1, 1]);
    eventually("it is being tried", || async { server.hanging() == 1 }).await;
    // Nobody tells the dispatcher of this one.
    let unheard = dispatcher::enqueue(&world.db, vec![server.url("/")]).await[0];
    panics(&world, "dispatcher").await;
    server.release();
    let after = dispatcher::enqueue(&world.db, vec![server.url("/")]).await[0];
    addr.do_send(DeliveryEnqueued);
    for id in [before, unheard, after] {
        eventually("it is delivered", || async {
            dispatcher::row(&world.db, id).await.status == "delivered"
        })
        .await;
        assert_eq!(dispatcher::row(&world.db, id).await.attempts, 1);
    }
    assert_eq!(shown_restarts(&world, "dispatcher").await, 1);
}

/// A dispatcher beside a backlog that takes several looks, at one receiver.
struct Backlogged {
    ids: Vec<Uuid>,
    server: Server,
    pulse: Pulse,
    in_delivery: InDelivery,
}

impl Backlogged {
    async fn start(world: &mut World, subject: Arc<dyn Subject>, reply: Reply) -> Self {
        // A look reads 512.
        const BACKLOG: usize = 1_600;
        let server = Server::start(move |_| reply.clone());
        let urls = (0..BACKLOG).map(|nth| server.url(&format!("/{nth}")));
        let ids = dispatcher::owe_one_a_ms(&world.db, urls.collect()).await;
        let parts = dispatcher::parts(world, &[0, 1, 1], subject);
        let (pulse, in_delivery) = (parts.deliveries.clone(), parts.in_delivery.clone());
        world
            .tree
            .start("dispatcher", CallbackDispatcher::new(parts));
        Self {
            ids,
            server,
            pulse,
            in_delivery,
        }
    }

    /// The paths of those that are being tried.
    fn under_way(&self) -> HashSet<String> {
        let ids = self.ids.iter().enumerate();
        let under_way = ids.filter(|(_, id)| self.in_delivery.contains(**id));
        under_way.map(|(nth, _)| format!("/{nth}")).collect()
    }

    /// Waits until each is recorded as delivered, by one attempt; how often each path was
    /// called.
    async fn are_all_told_once(&self, world: &World) -> HashMap<String, usize> {
        eventually("all are told, and nothing is under way", || async {
            dispatcher::undelivered(&world.db).await == 0 && self.pulse.under_way() == 0
        })
        .await;
        let recorded = world.db.read(|conn| {
            let attempts = events::table.filter(events::attempt.is_not_null());
            attempts
                .select(events::delivery_id)
                .load::<Option<Id>>(conn)
        });
        let recorded = recorded.await.unwrap();
        assert_eq!(recorded.len(), self.ids.len());
        assert_eq!(
            recorded.iter().collect::<HashSet<_>>().len(),
            self.ids.len()
        );
        let calls = self.server.count_by_path();
        assert_eq!(calls.len(), self.ids.len());
        calls
    }
}

#[actix_rt::test]
async fn the_backlog_that_a_panic_meets_is_told_and_only_what_was_under_way_is_sent_twice() {
    let mut world = World::new(Service::Tts);
    let all = Backlogged::start(&mut world, Arc::new(Things), Reply::Hang).await;
    let hanging = || all.server.hanging();
    eventually("no look is under way, and what has a slot is", || async {
        hanging() > 0 && hanging() == all.pulse.under_way()
    })
    .await;
    let under_way = all.under_way();
    panics(&world, "dispatcher").await;
    eventually("that is tried again", || async {
        hanging() == 2 * under_way.len()
    })
    .await;
    all.server.release();
    for (path, count) in all.are_all_told_once(&world).await {
        assert_eq!(count, 1 + usize::from(under_way.contains(&path)), "{path}");
    }
}

/// Keeps each reader that it is asked on, until the gate is open.
struct Gated {
    asked: Arc<AtomicUsize>,
    gate: Gate,
}

impl Subject for Gated {
    fn render(&self, conn: &mut Conn, delivery: &Row) -> QueryResult<Option<Payload>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        self.gate.wait();
        Things.render(conn, delivery)
    }
}

#[actix_rt::test]
async fn what_is_behind_a_look_that_a_panic_cuts_off_and_what_is_before_it_are_told() {
    let mut world = World::new(Service::Tts);
    let (asked, gate) = (Arc::<AtomicUsize>::default(), Gate::default());
    let subject = Gated {
        asked: Arc::clone(&asked),
        gate: gate.clone(),
    };
    let all = Backlogged::start(&mut world, Arc::new(subject), Reply::Status(204)).await;
    eventually("a later look waits for a reader", || async {
        let is_scanning = all.pulse.under_way() == all.under_way().len() + 1;
        asked.load(Ordering::SeqCst) == READERS && is_scanning
    })
    .await;
    let under_way = all.under_way();
    panics(&world, "dispatcher").await;
    gate.open();
    for (path, count) in all.are_all_told_once(&world).await {
        // Unless it was recorded before it was looked at.
        let most = 1 + usize::from(under_way.contains(&path));
        assert!(count <= most, "{path}: {count}");
    }
}

#[actix_rt::test]
async fn the_backend_hands_over_what_was_submitted_before_and_after_its_panic() {
    let mut world = World::new(Service::Backend);
    let server = backend::tts(|_| Reply::Hang);
    let before = backend::submit(&world, 3600, 1).await[0];
    let (addr, _) = backend::start(&mut world, &server);
    eventually("it is being handed over", || async {
        server.hanging() == 1
    })
    .await;
    let unheard = backend::submit(&world, 3600, 1).await[0];
    server.answers(|seen| match seen.method.as_str() {
        "PUT" => backend::accepts(seen),
        _ => Reply::Status(404),
    });
    panics(&world, "backend").await;
    let after = backend::submit(&world, 3600, 1).await[0];
    addr.do_send(TaskSubmitted);
    for id in [unheard, after] {
        eventually("it is handed over", || async {
            task_row(&world.db, id).await.status == "in_progress"
        })
        .await;
    }
    // What was under way may still come to something over there.
    let path = format!("/v1/speech/{before}");
    let tries = || {
        server
            .seen()
            .iter()
            .filter(|seen| seen.path == path)
            .count()
    };
    assert_eq!(tries(), 1);
    server.release();
    eventually("the try has failed", || async {
        task_row(&world.db, before).await.action_attempt == 1
    })
    .await;
    world.advance_ms(1000);
    eventually("it is handed over", || async {
        task_row(&world.db, before).await.status == "in_progress"
    })
    .await;
    assert_eq!(shown_restarts(&world, "backend").await, 1);
}

#[actix_rt::test]
async fn a_probe_that_was_under_way_at_the_panic_is_made_again_at_once() {
    let mut world = World::new(Service::Backend);
    let server = backend::tts(|_| Reply::Status(500));
    let ids = backend::submit(&world, 3600, 3).await;
    let (_addr, _) = backend::start(&mut world, &server);
    for id in &ids {
        eventually("all have failed", || async {
            task_row(&world.db, *id).await.action_attempt == 1
        })
        .await;
    }
    world.settle().await;
    let tried = server.count("PUT");
    server.answers(|_| Reply::Hang);
    world.advance_ms(1000);
    eventually("the probe is under way", || async {
        server.count("PUT") == tried + 1
    })
    .await;
    server.answers(backend::accepts);
    panics(&world, "backend").await;
    let handed_over = async || {
        let mut count = 0;
        for id in &ids {
            count += usize::from(task_row(&world.db, *id).await.status == "in_progress");
        }
        count
    };
    eventually("the others are handed over", || async {
        handed_over().await == ids.len() - 1
    })
    .await;
    server.release();
    world.settle().await;
    eventually("so is the one that was under way", || async {
        world.advance_ms(1000);
        handed_over().await == ids.len()
    })
    .await;
}

#[actix_rt::test]
async fn the_watchdog_keeps_deadlines_that_it_was_never_told_of() {
    let mut world = World::new(Service::Backend);
    let server = Server::start(|_| Reply::Status(500));
    let (probe, _) = super::support::Probe::start();
    let parts = hoiam::backend::watchdog::Deps {
        db: world.db.clone(),
        tts: tts_client(&server),
        result_known: probe.clone().recipient(),
        task_ended: probe.clone().recipient(),
        dispatcher: probe.recipient(),
        deadlines: Pulse::default(),
    };
    let addr = hoiam::backend::TimeoutWatchdog::new(parts);
    let addr = world.tree.start("watchdog", addr);
    world.settle().await;
    let unheard = backend::submit(&world, 5, 1).await[0];
    panics(&world, "watchdog").await;
    world.settle().await;
    let after = backend::submit(&world, 3, 1).await[0];
    let row = task_row(&world.db, after).await;
    addr.do_send(hoiam::backend::DeadlineAdded {
        pull_at: row.pull_at,
        deadline_at: row.deadline_at,
    });
    world.settle().await;
    for (id, at) in [(after, 3000), (unheard, 5000)] {
        world.advance_to(START + at);
        eventually("it times out", || async {
            task_row(&world.db, id).await.status == "timed_out"
        })
        .await;
        let row: tasks::Row = task_row(&world.db, id).await;
        assert_eq!(row.ended_at, Some(START + at));
    }
    assert_eq!(shown_restarts(&world, "watchdog").await, 1);
}

#[actix_rt::test]
async fn the_worker_speaks_what_it_was_speaking_when_it_panicked_and_what_comes_after() {
    let mut world = World::new(Service::Tts);
    let spoken = worker::accept(&world, "test/slow-600", 3600).await;
    let (addr, _) = worker::start(&mut world);
    // It may be spoken already where this thread stalls.
    eventually("it is claimed", || async {
        super::support::job_row(&world.db, spoken).await.claim > 0
    })
    .await;
    world.settle().await;
    panics(&world, "worker").await;
    worker::becomes(&world, spoken, "completed").await;
    let row = super::support::job_row(&world.db, spoken).await;
    assert_eq!(row.attempt, 0, "a panic of ours is no attempt");
    let after = worker::accept(&world, "test/silence", 3600).await;
    addr.do_send(JobQueued);
    worker::becomes(&world, after, "completed").await;
    assert_eq!(shown_restarts(&world, "worker").await, 1);
}
