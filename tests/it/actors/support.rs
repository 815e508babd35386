//! What the tests of the actors share.

use std::collections::HashMap;
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::time::{Duration, Instant};

use actix::{Actor, Addr, Context, Handler};
use actix_tls::connect::{Resolve, Resolver};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use diesel::prelude::QueryResult;
use futures_util::future::LocalBoxFuture;
use hoiam::backend::store as tasks;
use hoiam::backend::tts_client::TtsClient;
use hoiam::backend::{ResultKnown, TaskEnded};
use hoiam::db::{Db, Tx, open};
use hoiam::delivery::DeliveryEnqueued;
use hoiam::delivery::attempt::Sender;
use hoiam::outbound::client::{Client, Timeouts};
use hoiam::outbound::guard::Policy;
use hoiam::outbound::tls;
use hoiam::resource::operations::Accepted;
use hoiam::resource::row::TableRow as _;
use hoiam::tts::store as speeches;
use hoiam_api::signature::Secret;
use hoiam_api::{CallbackHeaders, CheckState, Create, Service};
use hoiam_supervision::Tree;
use hoiam_supervision::clock::{Clock, ManualClock};
use hoiam_text::Format;
use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::watch;
use uuid::Uuid;

use crate::support::PATIENCE;

/// As many as `db::writer` has.
pub const READERS: usize = 2;

/// When the clock starts.
pub const START: i64 = 1_700_000_000_000;

/// One service's database, time and supervision tree.
pub struct World {
    pub db: Db,
    pub hand: ManualClock,
    pub tree: Tree,
    pub folder: TempDir,
}

impl World {
    pub fn new(service: Service) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (clock, hand) = Clock::manual(START);
        let db = open(&folder.path().join("test.db"))
            .unwrap()
            .start(service, clock)
            .unwrap();
        let tree = Tree::new(hoiam_supervision::Policy::default(), |reason| {
            panic!("the tree gave up: {reason}")
        });
        Self {
            db,
            hand,
            tree,
            folder,
        }
    }

    pub fn now(&self) -> i64 {
        self.db.clock().now()
    }

    pub fn advance_ms(&self, ms: i64) {
        self.hand
            .advance(Duration::from_millis(u64::try_from(ms).unwrap()));
    }

    pub fn advance_to(&self, at: i64) {
        self.advance_ms(at - self.now());
    }

    /// Lets everything go on that can go on without time or an answer from
    /// outside: several turns of the store and of this thread.
    pub async fn settle(&self) {
        for _ in 0..10 {
            self.db.write(|_| Ok(())).await.unwrap();
            self.reads_are_over().await;
            for _ in 0..20 {
                tokio::task::yield_now().await;
            }
        }
    }

    /// Waits until what was to be read before has been: each of the readers is
    /// at one of these at the same time, however little time it gets.
    async fn reads_are_over(&self) {
        let all = Arc::new(Barrier::new(READERS));
        let reads = (0..READERS).map(|_| {
            let all = Arc::clone(&all);
            self.db.read(move |_| {
                all.wait();
                Ok(())
            })
        });
        for read in futures_util::future::join_all(reads).await {
            read.unwrap();
        }
    }

    /// Moves time in small steps until the condition holds, and says how far.
    /// What is due after `most_ms` may take as long as the machine needs.
    pub async fn advance_until(
        &self,
        step_ms: i64,
        most_ms: i64,
        condition: impl Fn() -> bool,
    ) -> i64 {
        let began = self.now();
        while !condition() && self.now() - began < most_ms {
            self.advance_ms(step_ms);
            self.settle().await;
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        eventually(&format!("within {most_ms} ms"), || async { condition() }).await;
        self.now() - began
    }
}

/// Waits for a condition that is looked up in the database or elsewhere.
pub async fn eventually<F: Future<Output = bool>>(what: &str, mut condition: impl FnMut() -> F) {
    let start = Instant::now();
    while !condition().await {
        assert!(start.elapsed() < PATIENCE, "never: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

// --------------------------------------------------------------- neighbours

/// The names of the messages that a probe got.
#[derive(Clone, Default)]
pub struct Heard(Arc<Mutex<Vec<&'static str>>>);

impl Heard {
    pub fn count(&self, what: &str) -> usize {
        let heard = self.0.lock().unwrap();
        heard.iter().filter(|name| **name == what).count()
    }
}

/// Stands where a neighbour is.
pub struct Probe(Heard);

impl Probe {
    pub fn start() -> (Addr<Self>, Heard) {
        let heard = Heard::default();
        (Actor::start(Self(heard.clone())), heard)
    }
}

impl Actor for Probe {
    type Context = Context<Self>;
}

macro_rules! hears {
    ($($message:ident),*) => {$(
        impl Handler<$message> for Probe {
            type Result = ();

            fn handle(&mut self, _: $message, _: &mut Self::Context) {
                self.0.0.lock().unwrap().push(stringify!($message));
            }
        }
    )*};
}
hears!(DeliveryEnqueued, ResultKnown, TaskEnded);

// -------------------------------------------------------------- the outside

/// A request as the server saw it.
#[derive(Debug, Clone)]
pub struct Seen {
    pub method: String,
    pub path: String,
    pub body: web::Bytes,
}

/// What the server does with a request.
#[derive(Debug, Clone)]
pub enum Reply {
    Status(u16),
    RetryAfter(u16, u32),
    Json(u16, Value),
    /// No answer until [`Server::release`]; then 204.
    Hang,
}

type Answers = Arc<Mutex<Box<dyn Fn(&Seen) -> Reply + Send>>>;

/// An HTTP server on the loopback that answers what the test wants.
#[derive(Clone)]
pub struct Server {
    pub base: String,
    seen: Arc<Mutex<Vec<Seen>>>,
    hanging: Arc<AtomicUsize>,
    most_hanging: Arc<AtomicUsize>,
    answers: Answers,
    released: watch::Sender<bool>,
}

impl Server {
    pub fn start(answer: impl Fn(&Seen) -> Reply + Send + 'static) -> Self {
        Self::listen("127.0.0.1:0", answer)
    }

    /// One that plays others too, each at an address of its own.
    pub fn of_many(answer: impl Fn(&Seen) -> Reply + Send + 'static) -> Self {
        Self::listen("0.0.0.0:0", answer)
    }

    /// One of several that have addresses of their own.
    pub fn at(number: usize, answer: impl Fn(&Seen) -> Reply + Send + 'static) -> Self {
        let mut server = Self::of_many(answer);
        let address = format!("127.0.1.{}", number + 1);
        server.base = server.base.replace("127.0.0.1", &address);
        server
    }

    fn listen(at: &str, answer: impl Fn(&Seen) -> Reply + Send + 'static) -> Self {
        let listener = TcpListener::bind(at).unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = Self {
            base: format!("http://127.0.0.1:{port}"),
            seen: Arc::default(),
            hanging: Arc::default(),
            most_hanging: Arc::default(),
            answers: Arc::new(Mutex::new(Box::new(answer))),
            released: watch::Sender::new(false),
        };
        let shared = server.clone();
        let running = HttpServer::new(move || {
            App::new()
                .app_data(web::Data::new(shared.clone()))
                .default_service(web::to(serve))
        })
        .workers(1)
        .disable_signals()
        .listen(listener)
        .unwrap()
        .run();
        actix_rt::spawn(running);
        server
    }

    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    /// A URL of another receiver, whom this server plays too if it is [`Self::of_many`].
    pub fn url_as(&self, receiver: usize, path: &str) -> String {
        let port = self.base.rsplit(':').next().unwrap();
        format!("http://{receiver}.receiver.test:{port}{path}")
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    pub fn count(&self, method: &str) -> usize {
        let seen = self.seen.lock().unwrap();
        seen.iter().filter(|seen| seen.method == method).count()
    }

    /// How many requests have come to each path.
    pub fn count_by_path(&self) -> HashMap<String, usize> {
        let mut counts = HashMap::new();
        for seen in self.seen() {
            *counts.entry(seen.path).or_default() += 1;
        }
        counts
    }

    /// How many requests wait for an answer now.
    pub fn hanging(&self) -> usize {
        self.hanging.load(Ordering::SeqCst)
    }

    /// The most that ever waited at the same time.
    pub fn most_hanging(&self) -> usize {
        self.most_hanging.load(Ordering::SeqCst)
    }

    pub fn answers(&self, answer: impl Fn(&Seen) -> Reply + Send + 'static) {
        *self.answers.lock().unwrap() = Box::new(answer);
    }

    /// Answers what hangs and what will.
    pub fn release(&self) {
        self.released.send_replace(true);
    }
}

async fn serve(server: web::Data<Server>, request: HttpRequest, body: web::Bytes) -> HttpResponse {
    let seen = Seen {
        method: request.method().to_string(),
        path: request.path().to_owned(),
        body,
    };
    let reply = (server.answers.lock().unwrap())(&seen);
    let hangs = matches!(reply, Reply::Hang) && !*server.released.borrow();
    if hangs {
        let now = server.hanging.fetch_add(1, Ordering::SeqCst) + 1;
        server.most_hanging.fetch_max(now, Ordering::SeqCst);
    }
    server.seen.lock().unwrap().push(seen);
    let status =
        |status: u16| HttpResponse::build(actix_web::http::StatusCode::from_u16(status).unwrap());
    match reply {
        Reply::Status(code) => status(code).finish(),
        Reply::RetryAfter(code, seconds) => status(code)
            .insert_header(("retry-after", seconds.to_string()))
            .finish(),
        Reply::Json(code, body) => status(code).json(body),
        Reply::Hang => {
            let mut released = server.released.subscribe();
            let _ = released.wait_for(|released| *released).await;
            if hangs {
                server.hanging.fetch_sub(1, Ordering::SeqCst);
            }
            status(204).finish()
        }
    }
}

/// Every name is that of a server of the test.
struct Loopback;

impl Resolve for Loopback {
    fn lookup<'a>(
        &'a self,
        host: &'a str,
        port: u16,
    ) -> LocalBoxFuture<'a, Result<Vec<SocketAddr>, Box<dyn std::error::Error>>> {
        let number = host.strip_suffix(".receiver.test");
        let address = match number.and_then(|number| number.parse::<u16>().ok()) {
            Some(number) => [127, 1, number.to_be_bytes()[0], number.to_be_bytes()[1]],
            None => [127, 0, 0, 1],
        };
        Box::pin(async move { Ok(vec![SocketAddr::from((address, port))]) })
    }
}

pub fn client(total: Duration) -> Client {
    let timeouts = Timeouts {
        connect: total,
        total,
    };
    let (roots, resolver) = (tls::system_roots().unwrap(), Resolver::custom(Loopback));
    Client::with_resolver(Policy::trusted(), timeouts, roots, resolver)
}

pub fn tts_client(server: &Server) -> TtsClient {
    let base = server.base.parse().unwrap();
    TtsClient::new(client(Duration::from_secs(60)), base, None)
}

pub fn sender(clock: &Clock) -> Sender {
    Sender {
        client: client(Duration::from_secs(60)),
        secrets: vec![Secret::generate().unwrap()].into(),
        origin: "localhost".into(),
        clock: clock.clone(),
        headers: CallbackHeaders::default(),
    }
}

// --------------------------------------------------------------------- rows

pub fn create(voice: &str, callback_url: Option<&str>, timeout_s: u32) -> Create {
    Create {
        text: "One two three.".into(),
        voice: Some(voice.into()),
        format: Format::Wav,
        callback_url: callback_url.map(str::to_owned),
        timeout_s,
        ..Create::default()
    }
}

pub fn task(
    id: Uuid,
    timeout_s: u32,
) -> impl FnMut(&mut Tx<'_>) -> QueryResult<Accepted<tasks::Row>> {
    let new = tasks::New {
        id,
        client: String::new(),
        idempotency_key: None,
        request: create("test/silence", Some("http://127.0.0.1:9/"), timeout_s).into(),
        extra: tasks::NewTask {
            report_to: "http://127.0.0.1:9/v1/callbacks".into(),
            retry_of: None,
        },
    };
    move |tx| tasks::submit(tx, &new)
}

pub async fn task_row(db: &Db, id: Uuid) -> tasks::Row {
    db.read(move |conn| tasks::Row::get(conn, id))
        .await
        .unwrap()
        .unwrap()
}

pub fn job(
    id: Uuid,
    voice: &str,
    callback_url: Option<&str>,
    timeout_s: u32,
) -> impl FnMut(&mut Tx<'_>) -> QueryResult<Accepted<speeches::Row>> + use<> {
    accepting(id, create(voice, callback_url, timeout_s))
}

/// A job whose callback URL need not be checked.
pub fn accepting(
    id: Uuid,
    create: Create,
) -> impl FnMut(&mut Tx<'_>) -> QueryResult<Accepted<speeches::Row>> + use<> {
    accepting_for("", id, create)
}

/// The same of one client among others.
pub fn accepting_for(
    client: &str,
    id: Uuid,
    create: Create,
) -> impl FnMut(&mut Tx<'_>) -> QueryResult<Accepted<speeches::Row>> + use<> {
    let new = speeches::New {
        id,
        client: client.to_owned(),
        idempotency_key: None,
        extra: speeches::NewSpeech {
            resolved_voice: create.voice.clone().unwrap_or_default(),
            language: "zxx".into(),
            check: CheckState::Off,
        },
        request: create.into(),
    };
    move |tx| speeches::accept(tx, &new)
}

/// A job whose callback URL has still to be checked.
pub fn unchecked_job(
    id: Uuid,
    callback_url: &str,
    timeout_s: u32,
) -> impl FnMut(&mut Tx<'_>) -> QueryResult<Accepted<speeches::Row>> + use<> {
    unchecked_job_of("", id, callback_url, timeout_s)
}

pub fn unchecked_job_of(
    client: &str,
    id: Uuid,
    callback_url: &str,
    timeout_s: u32,
) -> impl FnMut(&mut Tx<'_>) -> QueryResult<Accepted<speeches::Row>> + use<> {
    let new = speeches::New {
        id,
        client: client.to_owned(),
        idempotency_key: None,
        request: create("test/silence", Some(callback_url), timeout_s).into(),
        extra: speeches::NewSpeech {
            resolved_voice: "test/silence".into(),
            language: "zxx".into(),
            check: CheckState::Pending,
        },
    };
    move |tx| speeches::accept(tx, &new)
}

pub async fn job_row(db: &Db, id: Uuid) -> speeches::Row {
    db.read(move |conn| speeches::Row::get(conn, id))
        .await
        .unwrap()
        .unwrap()
}

pub async fn job_is(db: &Db, id: Uuid, status: &str) -> bool {
    job_row(db, id).await.status == status
}

pub fn error_code(error: Option<&str>) -> Option<String> {
    let error: Value = serde_json::from_str(error?).unwrap();
    Some(error["code"].as_str().unwrap().to_owned())
}

/// Keeps the writer busy until it is released, so that what is sent meanwhile
/// is committed later, in the order in which it was sent.
pub struct HeldWriter {
    release: std::sync::mpsc::Sender<()>,
    done: actix_rt::task::JoinHandle<()>,
}

impl HeldWriter {
    pub async fn new(db: &Db) -> Self {
        let (release, released) = std::sync::mpsc::channel::<()>();
        let released = Mutex::new(released);
        let (tell, told) = tokio::sync::oneshot::channel();
        let mut tell = Some(tell);
        let db = db.clone();
        let done = actix_rt::spawn(async move {
            let held = db.write(move |_| {
                if let Some(tell) = tell.take() {
                    let _ = tell.send(());
                }
                let _ = released.lock().unwrap().recv();
                Ok(())
            });
            held.await.unwrap();
        });
        told.await.unwrap();
        Self { release, done }
    }

    /// Releases it and waits for nothing.
    pub fn let_go(self) {}

    pub async fn release(self) {
        drop(self.release);
        self.done.await.unwrap();
    }
}
