//! The callback checks, before the heavy work.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix::Addr;
use diesel::connection::SimpleConnection;
use diesel::prelude::QueryResult;
use hoiam::claim_loop::Pulse;
use hoiam::db::{Conn, Tx};
use hoiam::delivery::check::{CheckCache, Verdict};
use hoiam::delivery::check_queue::{CheckQuery, CheckQueue, ExpiredHolds, UncheckedPage};
use hoiam::delivery::held::Scope;
use hoiam::delivery::in_delivery::InDelivery;
use hoiam::delivery::open_circuits::OpenCircuits;
use hoiam::delivery::{CallbackChecker, CallbackDispatcher, CheckEnqueued};
use hoiam::delivery::{checker, dispatcher};
use hoiam::tts::Workers;
use hoiam_api::{CallbackHeaders, Service};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use uuid::Uuid;

use crate::support::{Peer, Reaction};

use super::dispatcher::Things;
use super::panics::panics;
use super::support::{
    Reply, START, Server, World, error_code, eventually, job_is, job_row, sender, unchecked_job_of,
};

const HOLD_MS: i64 = 900_000;

/// Both actors, since what a check has failed owes its callback.
fn start(world: &mut World, timeout: Duration) -> Addr<CallbackChecker> {
    let parts = parts(world, timeout);
    world.tree.start("checker", CallbackChecker::new(parts))
}

/// What a checker works with: a dispatcher that has started, too.
fn parts(world: &mut World, timeout: Duration) -> checker::Deps {
    let cache = CheckCache::new(world.db.clock().clone());
    let parts = dispatcher::Deps {
        db: world.db.clone(),
        sender: sender(world.db.clock()),
        schedule: vec![Duration::ZERO, Duration::from_secs(1)],
        subject: Arc::new(Things),
        in_delivery: InDelivery::default(),
        open_circuits: OpenCircuits::default(),
        alerts: hoiam::alerts::Reporter::default(),
        deliveries: Pulse::default(),
        own_origin: None,
        cache: Some(cache.clone()),
    };
    let dispatcher = CallbackDispatcher::new(parts);
    let dispatcher = world.tree.start("dispatcher", dispatcher);
    checker::Deps {
        db: world.db.clone(),
        sender: sender(world.db.clock()),
        queue: Arc::new(Workers::default()),
        cache,
        timeout,
        hold_ms: HOLD_MS,
        urls: Pulse::default(),
        dispatcher: dispatcher.recipient(),
    }
}

const PATIENT: Duration = Duration::from_secs(60);

async fn accept(world: &World, urls: impl IntoIterator<Item = String>) -> Vec<Uuid> {
    accept_of(world, "", urls).await
}

/// Jobs of this client.
async fn accept_of(
    world: &World,
    client: &'static str,
    urls: impl IntoIterator<Item = String>,
) -> Vec<Uuid> {
    let urls: Vec<String> = urls.into_iter().collect();
    let accepted = world.db.write(move |tx| {
        urls.iter()
            .map(|url| {
                let id = Uuid::now_v7();
                unchecked_job_of(client, id, url, 86_400)(tx)?;
                Ok(id)
            })
            .collect()
    });
    accepted.await.unwrap()
}

/// Waits until no exchange with the server is under way: eight more URLs of it
/// have all its slots then.
async fn all_slots_are_free(world: &World, checker: &Addr<CallbackChecker>, server: &Server) {
    let held = (0..8).map(|n| server.url(&format!("/held/{n}")));
    accept(world, held).await;
    checker.do_send(CheckEnqueued);
    eventually("they have all slots", || async { server.hanging() == 8 }).await;
    server.release();
    eventually("they are over", || async { server.hanging() == 0 }).await;
}

async fn all_are(world: &World, jobs: &[Uuid], status: &str) {
    eventually("the jobs have gone on", || async {
        for id in jobs {
            if !job_is(&world.db, *id, status).await {
                return false;
            }
        }
        true
    })
    .await;
}

/// The same, while time goes on.
async fn all_are_in_time(world: &World, jobs: &[Uuid], status: &str, step_ms: i64) {
    eventually("the jobs have gone on", || async {
        world.advance_ms(step_ms);
        for id in jobs {
            if !job_is(&world.db, *id, status).await {
                return false;
            }
        }
        true
    })
    .await;
}

#[actix_rt::test]
async fn many_jobs_of_one_url_are_opened_by_one_probe() {
    let mut world = World::new(Service::Tts);
    let server = Server::start(|_| Reply::Status(204));
    let jobs = accept(&world, vec![server.url("/hook"); 250]).await;
    let _dispatcher = start(&mut world, PATIENT);
    all_are(&world, &jobs, "queued").await;
    assert_eq!(server.seen().len(), 1);
    assert_eq!(server.count("OPTIONS"), 1);
}

#[actix_rt::test]
async fn at_most_eight_probes_of_an_origin_run_at_once() {
    let mut world = World::new(Service::Tts);
    let server = Server::start(|_| Reply::Hang);
    let jobs = accept(&world, (0..30).map(|n| server.url(&format!("/{n}")))).await;
    let checker = start(&mut world, PATIENT);
    eventually("eight run", || async { server.hanging() == 8 }).await;
    checker.do_send(CheckEnqueued);
    world.settle().await;
    server.release();
    all_are(&world, &jobs, "queued").await;
    assert_eq!(server.most_hanging(), 8);
}

#[actix_rt::test]
async fn the_wait_for_the_second_look_holds_no_slot() {
    let mut world = World::new(Service::Tts);
    let server = Server::start(|seen| match seen.path.split('/').nth(1) {
        Some("gone") => Reply::Status(404),
        Some("held") => Reply::Hang,
        _ => Reply::Status(204),
    });
    let gone = (0..20).map(|n| server.url(&format!("/gone/{n}")));
    let gone = accept(&world, gone).await;
    let open = accept(&world, [server.url("/open")]).await;
    let checker = start(&mut world, PATIENT);
    all_are(&world, &open, "queued").await;
    eventually("every one has had its first look", || async {
        server.count("POST") == 20
    })
    .await;
    // They wait from now on.
    all_slots_are_free(&world, &checker, &server).await;
    world.settle().await;
    for id in &gone {
        assert!(job_is(&world.db, *id, "checking").await);
    }
    world.advance_ms(5000);
    all_are(&world, &gone, "failed").await;
    let row = job_row(&world.db, gone[0]).await;
    assert_eq!(
        error_code(row.error.as_deref()).as_deref(),
        Some("callback_not_found")
    );
    assert_eq!(row.callback_check, "not_found");
    assert_eq!(row.ended_at, Some(START + 5000));
}

/// An origin that takes connections and closes them at once, until it is back
/// and answers 405.
struct Closing {
    base: String,
    /// How many there were.
    connections: Arc<AtomicUsize>,
    is_back: Arc<AtomicBool>,
}

impl Closing {
    /// How often a URL was asked: by OPTIONS, and then by a POST over another
    /// connection.
    fn probes(&self) -> usize {
        self.connections.load(Ordering::SeqCst) / 2
    }
}

async fn closes() -> Closing {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    serve(listener, false)
}

fn serve(listener: tokio::net::TcpListener, is_back: bool) -> Closing {
    let base = format!("http://{}", listener.local_addr().unwrap());
    let (connections, is_back) = (
        Arc::<AtomicUsize>::default(),
        Arc::new(AtomicBool::new(is_back)),
    );
    let (counted, answers) = (Arc::clone(&connections), Arc::clone(&is_back));
    actix_rt::spawn(async move {
        while let Ok((connection, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::SeqCst);
            if answers.load(Ordering::SeqCst) {
                actix_rt::spawn(answer_405(connection));
            }
        }
    });
    Closing {
        base,
        connections,
        is_back,
    }
}

/// Answers one request that has no body.
async fn answer_405(mut connection: tokio::net::TcpStream) {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        match connection.read_u8().await {
            Ok(byte) => request.push(byte),
            Err(_) => return,
        }
    }
    let answer = "HTTP/1.1 405 No\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
    // Whoever has hung up needs none.
    let _ = connection.write_all(answer.as_bytes()).await;
}

#[actix_rt::test]
async fn an_origin_that_cannot_be_reached_is_probed_by_the_schedule_until_the_hold_is_over() {
    let mut world = World::new(Service::Tts);
    let origin = closes().await;
    // No encrypted connection comes about, so that nothing can be asked.
    let base = origin.base.replace("http:", "https:");
    let jobs = accept(&world, (0..12).map(|n| format!("{base}/{n}"))).await;
    let _dispatcher = start(&mut world, PATIENT);
    let probes = || origin.connections.load(Ordering::SeqCst);
    eventually("the first eight are tried", || async { probes() == 8 }).await;
    for (number, wait_ms) in [(9, 1000), (10, 2000), (11, 5000), (12, 10_000)] {
        world.settle().await;
        let waited = world
            .advance_until(100, 60_000, || probes() == number)
            .await;
        assert!(
            (wait_ms..wait_ms + 1000).contains(&waited),
            "{waited} ms before probe {number}"
        );
    }
    for id in &jobs {
        assert!(job_is(&world.db, *id, "checking").await);
    }
    world.settle().await;
    world.advance_to(START + HOLD_MS - 1);
    world.settle().await;
    assert!(job_is(&world.db, jobs[0], "checking").await);
    world.advance_ms(1);
    all_are(&world, &jobs, "failed").await;
    for id in &jobs {
        let row = job_row(&world.db, *id).await;
        assert_eq!(
            error_code(row.error.as_deref()).as_deref(),
            Some("callback_unreachable")
        );
        assert_eq!(row.ended_at, Some(START + HOLD_MS));
    }
}

#[actix_rt::test]
async fn an_origin_that_comes_back_lets_all_its_jobs_go_on() {
    let mut world = World::new(Service::Tts);
    // Its port is taken, and nobody listens there yet.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let base = format!("http://{}", socket.local_addr().unwrap());
    let jobs = accept(&world, (0..12).map(|n| format!("{base}/{n}"))).await;
    let _dispatcher = start(&mut world, PATIENT);
    world.settle().await;
    for id in &jobs {
        assert!(job_is(&world.db, *id, "checking").await);
    }
    let _origin = serve(socket.listen(64).unwrap(), true);
    all_are_in_time(&world, &jobs, "queued", 100).await;
}

#[actix_rt::test]
async fn urls_that_give_no_answer_are_asked_again_and_go_on_once_they_do() {
    let mut world = World::new(Service::Tts);
    let origin = closes().await;
    let jobs = accept(&world, (0..12).map(|n| format!("{}/{n}", origin.base))).await;
    let _dispatcher = start(&mut world, PATIENT);
    eventually("each is tried", || async { origin.probes() == 12 }).await;
    world.settle().await;
    for id in &jobs {
        assert!(job_is(&world.db, *id, "checking").await);
    }
    origin.is_back.store(true, Ordering::SeqCst);
    all_are_in_time(&world, &jobs, "queued", 100).await;
}

#[actix_rt::test]
async fn urls_that_give_no_answer_do_not_hold_up_others_of_their_origin() {
    let mut world = World::new(Service::Tts);
    let receiver = Peer::receiver();
    receiver.react(|request| match request.path.starts_with("/silent") {
        true => Reaction::HangUp,
        false => Reaction::Answer(204),
    });
    let silent = (0..30).map(|n| receiver.url(&format!("/silent/{n}")));
    let silent = accept(&world, silent).await;
    let open = accept(&world, [receiver.url("/then")]).await;
    let checker = start(&mut world, PATIENT);
    all_are(&world, &open, "queued").await;
    // Nor those that come while the others are held.
    let later = accept(&world, [receiver.url("/later")]).await;
    checker.do_send(CheckEnqueued);
    all_are(&world, &later, "queued").await;
    for id in &silent {
        assert!(job_is(&world.db, *id, "checking").await);
    }
    all_are_in_time(&world, &silent, "failed", 60_000).await;
    let error = job_row(&world.db, silent[0]).await.error;
    let code = error_code(error.as_deref());
    assert_eq!(code.as_deref(), Some("callback_unreachable"));
}

#[actix_rt::test]
async fn a_receiver_that_is_not_there_hears_of_it_once() {
    let mut world = World::new(Service::Tts);
    let server = Server::start(|seen| match seen.path == "/hook" {
        true => Reply::Status(404),
        false => Reply::Hang,
    });
    let jobs = accept(&world, [server.url("/hook")]).await;
    let checker = start(&mut world, PATIENT);
    eventually("the first look is made", || async {
        server.count("POST") == 1
    })
    .await;
    all_slots_are_free(&world, &checker, &server).await;
    world.settle().await;
    world.advance_ms(5000);
    all_are(&world, &jobs, "failed").await;
    eventually("its callback is tried", || async {
        server.count("POST") == 3
    })
    .await;
    let asked = server.seen().into_iter();
    let asked = asked.filter(|seen| seen.method == "OPTIONS" && seen.path == "/hook");
    assert_eq!(asked.count(), 1);
}

#[actix_rt::test]
async fn a_store_that_fails_delays_a_check_by_a_second_and_no_more() {
    let mut world = World::new(Service::Tts);
    let server = Server::start(|_| Reply::Status(204));
    let checker = start(&mut world, PATIENT);
    world.settle().await;
    let jobs = accept(&world, [server.url("/hook")]).await;
    let sql = |sql: &'static str| world.db.write(move |tx| tx.conn.batch_execute(sql));
    sql("ALTER TABLE speeches RENAME TO hidden").await.unwrap();
    checker.do_send(CheckEnqueued);
    world.settle().await;
    sql("ALTER TABLE hidden RENAME TO speeches").await.unwrap();
    world.settle().await;
    assert_eq!(server.seen().len(), 0);
    world.advance_ms(1000);
    all_are(&world, &jobs, "queued").await;
}

/// A process that was away for longer than the hold asks first.
#[actix_rt::test]
async fn a_job_whose_url_was_never_probed_is_held_from_its_first_probe_on() {
    let mut world = World::new(Service::Tts);
    let origin = closes().await;
    let jobs = accept(&world, [format!("{}/hook", origin.base)]).await;
    world.advance_ms(2 * HOLD_MS);
    let _dispatcher = start(&mut world, PATIENT);
    eventually("it is probed", || async { origin.probes() == 1 }).await;
    world.settle().await;
    assert!(job_is(&world.db, jobs[0], "checking").await);
    world.advance_ms(HOLD_MS);
    all_are(&world, &jobs, "failed").await;
    let ended_at = job_row(&world.db, jobs[0]).await.ended_at.unwrap();
    assert!(ended_at >= START + 3 * HOLD_MS, "{}", ended_at - START);
}

/// So many receivers, each at an address of its own.
fn servers(count: usize, answer: impl Fn() -> Reply + Clone + Send + 'static) -> Vec<Server> {
    let server = |number| {
        let answer = answer.clone();
        Server::at(number, move |_| answer())
    };
    (0..count).map(server).collect()
}

fn urls_of(servers: &[Server], of_each: usize) -> Vec<String> {
    let urls = |server: &Server| {
        let url = |number| server.url(&format!("/{number}"));
        (0..of_each).map(url).collect::<Vec<_>>()
    };
    servers.iter().flat_map(urls).collect()
}

#[actix_rt::test]
async fn at_most_56_probes_of_one_client_run_at_once_over_all_origins() {
    let mut world = World::new(Service::Tts);
    let servers = servers(20, || Reply::Hang);
    let jobs = accept(&world, urls_of(&servers, 8)).await;
    let checker = start(&mut world, PATIENT);
    let under_way = || servers.iter().map(Server::hanging).sum::<usize>();
    eventually("56 run", || async { under_way() == 56 }).await;
    checker.do_send(CheckEnqueued);
    world.settle().await;
    assert_eq!(under_way(), 56);
    servers.iter().for_each(Server::release);
    all_are(&world, &jobs, "queued").await;
}

/// The test's time stands still, so that none of these is over.
#[actix_rt::test]
async fn whatever_one_client_waits_for_anothers_check_begins_at_once() {
    let mut world = World::new(Service::Tts);
    let silent = servers(60, || Reply::Hang);
    let checker = start(&mut world, PATIENT);
    let flood = accept_of(&world, "greedy", urls_of(&silent, 3)).await;
    checker.do_send(CheckEnqueued);
    let under_way = || silent.iter().map(Server::hanging).sum::<usize>();
    eventually("it has all it can get", || async { under_way() == 56 }).await;
    let good = Server::start(|_| Reply::Status(204));
    for client in ["modest", "other"] {
        let urls = (0..20).map(|number| good.url(&format!("/{client}/{number}")));
        let jobs = accept_of(&world, client, urls).await;
        checker.do_send(CheckEnqueued);
        all_are(&world, &jobs, "queued").await;
    }
    // Also one of the flood's own URLs.
    let shared = accept_of(&world, "modest", [silent[59].url("/2")]).await;
    checker.do_send(CheckEnqueued);
    eventually("it is asked", || async { silent[59].hanging() > 0 }).await;
    assert!((56..=57).contains(&under_way()), "{}", under_way());
    silent.iter().for_each(Server::release);
    all_are(&world, &[flood, shared].concat(), "queued").await;
}

/// What a look has found, and whether another has to follow.
type Seen = (Vec<String>, bool);

/// The queue of the TTS service, which notes what each look at it has seen.
#[derive(Default)]
struct Noting {
    queue: Workers,
    looks: Arc<Mutex<Vec<Seen>>>,
}

impl CheckQueue for Noting {
    fn unchecked(&self, conn: &mut Conn, wanted: CheckQuery<'_>) -> QueryResult<UncheckedPage> {
        let page = self.queue.unchecked(conn, wanted)?;
        let found = page.found.iter().map(|one| one.url.clone()).collect();
        self.looks.lock().unwrap().push((found, page.is_cut));
        Ok(page)
    }

    fn headers(&self, conn: &mut Conn, target: &str) -> QueryResult<Option<CallbackHeaders>> {
        self.queue.headers(conn, target)
    }

    fn settle(&self, tx: &mut Tx<'_>, url: &str, verdict: &Verdict) -> QueryResult<bool> {
        self.queue.settle(tx, url, verdict)
    }

    fn expire_held(
        &self,
        tx: &mut Tx<'_>,
        held: &[(Scope, i64)],
        hold_ms: i64,
    ) -> QueryResult<ExpiredHolds> {
        self.queue.expire_held(tx, held, hold_ms)
    }

    fn opened(&self) {
        self.queue.opened();
    }
}

/// A look visits 512 origins of a client at most. The test's time stands still, so that
/// looks follow from nothing but the looks before them.
#[actix_rt::test]
async fn of_very_many_origins_each_is_asked_and_others_have_their_turn_in_between() {
    let mut world = World::new(Service::Tts);
    // Nobody listens at this port of any of them.
    let nobody = tokio::net::TcpSocket::new_v4().unwrap();
    nobody.bind("0.0.0.0:0".parse().unwrap()).unwrap();
    let port = nobody.local_addr().unwrap().port();
    let dead = |path: &str| {
        let url = |nth| format!("http://{nth}.receiver.test:{port}/{path}");
        (0..600).map(url).collect::<Vec<_>>()
    };
    accept_of(&world, "first", dead("first")).await;
    let queue = Noting::default();
    let looks = Arc::clone(&queue.looks);
    let parts = checker::Deps {
        queue: Arc::new(queue),
        ..parts(&mut world, PATIENT)
    };
    let urls = parts.urls.clone();
    let checker = world.tree.start("checker", CallbackChecker::new(parts));
    eventually("nothing is left to be asked", || async {
        !looks.lock().unwrap().is_empty() && urls.under_way() == 0
    })
    .await;
    let looks_so_far = std::mem::take(&mut *looks.lock().unwrap());
    let mut asked: Vec<String> = looks_so_far.into_iter().flat_map(|seen| seen.0).collect();
    let mut all = dead("first");
    asked.sort();
    all.sort();
    assert_eq!(asked, all);

    // All of these are held by now, but for the last one, which lies behind them.
    let (open, silent) = (
        Server::of_many(|_| Reply::Status(204)),
        Server::start(|_| Reply::Hang),
    );
    let (last, other) = (open.url_as(999, "/last"), silent.url("/other"));
    accept_of(&world, "many", dead("many")).await;
    let jobs = accept_of(&world, "many", [last.clone()]).await;
    accept_of(&world, "other", [other.clone()]).await;
    checker.do_send(CheckEnqueued);
    // The other one gives no answer meanwhile, which would be a hint.
    all_are(&world, &jobs, "queued").await;
    eventually("the other is asked", || async { silent.hanging() == 1 }).await;
    let seen = looks.lock().unwrap().clone();
    assert_eq!(seen[..2], [(vec![other], true), (vec![last], false)]);
    silent.release();
}

#[actix_rt::test]
async fn the_backlog_that_a_panic_meets_is_checked_and_only_what_was_under_way_is_asked_twice() {
    let mut world = World::new(Service::Tts);
    let server = Server::of_many(|_| Reply::Hang);
    let urls = (0..150).map(|nth| server.url_as(nth, &format!("/{nth}")));
    let jobs = accept(&world, urls).await;
    let _checker = start(&mut world, PATIENT);
    eventually("as many as may are under way", || async {
        server.hanging() == 56
    })
    .await;
    let under_way = server.count_by_path();
    panics(&world, "checker").await;
    eventually("as many of the others are", || async {
        server.hanging() == 2 * 56
    })
    .await;
    server.release();
    all_are(&world, &jobs, "queued").await;
    let asked = server.count_by_path();
    assert_eq!(asked.len(), jobs.len());
    for (path, count) in asked {
        let most = 1 + usize::from(under_way.contains_key(&path));
        assert!(count <= most, "{path}: {count}");
    }
}

/// Its client's other checks, and others', have room.
#[actix_rt::test]
async fn silent_ports_of_one_address_take_a_part_of_the_checks() {
    let mut world = World::new(Service::Tts);
    let ports: Vec<Server> = (0..40).map(|_| Server::start(|_| Reply::Hang)).collect();
    let flood = accept_of(&world, "greedy", urls_of(&ports, 1)).await;
    let checker = start(&mut world, PATIENT);
    let under_way = || ports.iter().map(Server::hanging).sum::<usize>();
    eventually("they have all of it", || async { under_way() == 21 }).await;
    let elsewhere = servers(1, || Reply::Status(204));
    let mut jobs = accept_of(&world, "greedy", urls_of(&elsewhere, 1)).await;
    let here = Server::start(|_| Reply::Status(204));
    jobs.extend(accept_of(&world, "modest", [here.url("/")]).await);
    checker.do_send(CheckEnqueued);
    all_are(&world, &jobs, "queued").await;
    assert_eq!(under_way(), 21);
    ports.iter().for_each(Server::release);
    all_are(&world, &flood, "queued").await;
}

/// Who waits for his second look makes room for others, but all second looks may come
/// at the same time.
#[actix_rt::test]
async fn at_most_48_second_looks_of_one_client_are_under_way_at_once() {
    let mut world = World::new(Service::Tts);
    let servers: Vec<Server> = (0..12)
        .map(|_| {
            let posted = std::sync::Mutex::new(std::collections::HashSet::new());
            Server::start(move |seen| match seen.method.as_str() {
                "POST" if !posted.lock().unwrap().insert(seen.path.clone()) => Reply::Hang,
                _ => Reply::Status(404),
            })
        })
        .collect();
    let urls = servers.iter().flat_map(|server| {
        let url = |n| server.url(&format!("/{n}"));
        (0..8).map(url).collect::<Vec<_>>()
    });
    let jobs = accept(&world, urls).await;
    let _dispatcher = start(&mut world, PATIENT);
    let first_looks = || {
        servers
            .iter()
            .map(|server| server.count("POST"))
            .sum::<usize>()
    };
    eventually("all had their first look", || async { first_looks() == 96 }).await;
    let under_way = || servers.iter().map(Server::hanging).sum::<usize>();
    world
        .advance_until(500, 600_000, || under_way() == 48)
        .await;
    world.advance_ms(60_000);
    world.settle().await;
    assert_eq!(under_way(), 48);
    servers.iter().for_each(Server::release);
    all_are(&world, &jobs, "queued").await;
}
