//! A day in minutes: the whole service in this process, on a clock that the
//! test moves, through outages, refusals, cancellations and retention. Then the
//! books must balance.
//!
//! `make test` has a day of 1,080 tasks, `make torture` (`HOIAM_DAY_TASKS`) one
//! of 100,000. The seed is printed; `HOIAM_TORTURE_SEED` repeats its choices.

use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpListener;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use diesel::connection::SimpleConnection as _;
use diesel::prelude::*;
use diesel::sql_types::BigInt;
use hoiam::app::{self, Environment};
use hoiam::config::Config;
use hoiam_supervision::clock::{Clock, ManualClock};
use serde_json::json;
use tempfile::TempDir;
use tokio::sync::oneshot;
use uuid::Uuid;

use crate::chaos::{Dice, all, from_env, told};
use crate::support::rest::nothing_lies;
use crate::support::signed::SECRET;
use crate::support::{Client, Peer, Reaction, eventually};

const START: i64 = 1_700_000_000_000;
const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
/// Longer than a callback is tried, as the configuration wants it.
const FILES_KEPT: i64 = 28 * HOUR;
const ROWS_KEPT: i64 = 4 * DAY;
const RECEIVERS: usize = 3;
const ENDS: [&str; 4] = ["completed", "failed", "timed_out", "canceled"];

// --------------------------------------------------------------- the service

/// The service on a thread of its own, and its time.
struct Running {
    address: String,
    folder: TempDir,
    hand: ManualClock,
    /// Seconds since [`START`]; receivers look at it too.
    time: Arc<AtomicI64>,
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl Running {
    fn start(to_tts: &Peer, to_backend: &Peer, time: &Arc<AtomicI64>) -> Self {
        // Another test may be given the port before the service has it.
        eventually("the service starts", || {
            Self::try_start(to_tts, to_backend, time)
        })
    }

    /// `None` where it could not start.
    fn try_start(to_tts: &Peer, to_backend: &Peer, time: &Arc<AtomicI64>) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = free.local_addr().expect("an address").to_string();
        drop(free);
        let (clock, hand) = Clock::manual(START);
        let settings = [
            ("role", "all".to_owned()),
            ("server.listen", address.clone()),
            ("data_dir", folder.path().display().to_string()),
            ("server.workers", "2".to_owned()),
            ("tts.workers", "2".to_owned()),
            ("tts.test_voices", "true".to_owned()),
            ("callback.secrets", SECRET.to_owned()),
            ("backend.tts_url", to_tts.url("")),
            ("backend.callback_base_url", to_backend.url("")),
            ("retention.files_s", FILES_KEPT.to_string()),
            ("retention.rows_s", ROWS_KEPT.to_string()),
        ];
        let settings = settings.map(|(key, value)| (key.to_owned(), value));
        let config = Config::from_sources(None, &[], &settings).expect("a configuration");
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            let around = Environment {
                clock: Box::new(|_| clock),
                program: PathBuf::from(env!("CARGO_BIN_EXE_hoiam")),
                stop: Box::pin(async move { drop(stopped.await) }),
            };
            let system = actix_web::rt::System::new();
            system.block_on(app::run(config, around)).expect("a start");
        });
        to_tts.pass_on_to(&address);
        to_backend.pass_on_to(&address);
        let client = Client::new(&address, None);
        eventually("it is ready or has failed", || {
            let answer = client.try_send("GET", "/health/ready", &[], &[]);
            let is_ready = answer.is_ok_and(|answer| answer.status == 200);
            (is_ready || thread.is_finished()).then_some(())
        });
        (!thread.is_finished()).then_some(Self {
            address,
            folder,
            hand,
            time: Arc::clone(time),
            stop,
            thread,
        })
    }

    fn client(&self) -> Client {
        Client::new(&self.address, None)
    }

    fn now(&self) -> i64 {
        self.time.load(Ordering::Relaxed)
    }

    fn advance(&self, seconds: i64) {
        self.time.fetch_add(seconds, Ordering::Relaxed);
        let seconds = u64::try_from(seconds).unwrap();
        self.hand.advance(Duration::from_secs(seconds));
    }

    fn stop(self) -> TempDir {
        self.stop.send(()).expect("it runs");
        self.thread.join().expect("an end in order");
        self.folder
    }
}

// ---------------------------------------------------------------- the faults

/// When something is away, in seconds of the day.
type Outages = Vec<Range<i64>>;

/// Six in a day, of two minutes to two hours.
fn outages(dice: &mut Dice) -> Outages {
    let roll = |_| {
        let begins = i64::try_from(dice.below(86_400)).unwrap();
        let lasts = i64::try_from(120 + dice.below(7_080)).unwrap();
        begins..begins + lasts
    };
    (0..6).map(roll).collect()
}

/// Hangs up during the outages, and does well otherwise.
fn behave(peer: &Peer, time: &Arc<AtomicI64>, outages: Outages, well: &Reaction, ill: &Reaction) {
    let (time, well, ill) = (Arc::clone(time), well.clone(), ill.clone());
    peer.react(move |_| {
        let now = time.load(Ordering::Relaxed);
        match outages.iter().any(|outage| outage.contains(&now)) {
            true => ill.clone(),
            false => well.clone(),
        }
    });
}

/// One task as the seed wants it.
fn submit(client: &Client, dice: &mut Dice, hooks: &[String]) -> (String, Option<usize>) {
    let id = Uuid::now_v7().to_string();
    let receiver = usize::try_from(dice.below(50)).unwrap();
    // One of fifty calls back to where nobody is.
    let receiver = (receiver > 0).then_some(receiver % RECEIVERS);
    let voice = match dice.below(20) {
        0 => "test/fail",
        _ => "test/silence",
    };
    let timeout_s = match dice.below(5) {
        0 => 60 + dice.below(1_800),
        _ => 3_600,
    };
    let hook = receiver.map_or("http://127.0.0.1:1/", |receiver| &hooks[receiver]);
    let body = json!({"text": "Xin chào.", "voice": voice, "format": "wav",
        "timeout_s": timeout_s, "callback_url": hook});
    client.put(&format!("/v1/tasks/{id}"), &body).expect(202);
    if dice.below(50) == 0 {
        let answer = client.ask(&format!("/v1/tasks/{id}/cancel"));
        assert!([200, 409].contains(&answer.status), "{}", answer.text());
    }
    (id, receiver)
}

// ----------------------------------------------------------------- the books

/// What has come to the receivers: of each task, the types and ids.
#[derive(Default)]
struct Heard {
    by_task: BTreeMap<String, BTreeSet<(String, String)>>,
    attempts: usize,
}

impl Heard {
    /// Takes what has come; how much it was.
    fn take(&mut self, receivers: &[Peer]) -> usize {
        let came: Vec<_> = receivers.iter().flat_map(Peer::take).collect();
        for request in &came {
            let (id, what) = told(request).expect("every request is a callback");
            self.by_task.entry(id).or_default().insert(what);
        }
        self.attempts += came.len();
        came.len()
    }

    /// The ends of a task that were told. A late result is not one.
    fn ends(&self, id: &str) -> Vec<&str> {
        let told = self.by_task.get(id).into_iter().flatten();
        told.filter_map(|(kind, _)| kind.strip_prefix("task."))
            .filter(|kind| *kind != "late_result")
            .collect()
    }
}

/// The open work of both services as `/metrics` has it.
fn open(client: &Client) -> Vec<String> {
    let page = client.get("/metrics").expect(200);
    let lines = page.text().lines().map(str::to_owned);
    lines
        .filter(|line| line.starts_with("hoiam_open{"))
        .collect()
}

/// Waits until nothing happens any more without time, or for a second: time
/// goes on anyway, and what is under way then is late.
fn settle(client: &Client, peers: &[Peer], between: [&Peer; 2], heard: &mut Heard) {
    let until = Instant::now() + Duration::from_secs(1);
    let mut before = Vec::new();
    while Instant::now() < until {
        let passed: usize = between.iter().map(|peer| peer.take().len()).sum();
        let now = open(client);
        if heard.take(peers) + passed == 0 && now == before {
            return nothing_lies(client);
        }
        before = now;
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

#[derive(QueryableByName)]
struct Count {
    #[diesel(sql_type = BigInt)]
    count: i64,
}

/// What the database of a stopped service answers.
fn ask(folder: &Path, service: &str, question: &str) -> i64 {
    let path = folder.join(format!("{service}.db")).display().to_string();
    let mut conn = SqliteConnection::establish(&path).expect("the database");
    // The service may be writing.
    let patience = "PRAGMA busy_timeout = 30000";
    conn.batch_execute(patience).expect(patience);
    let rows: Vec<Count> = diesel::sql_query(question).load(&mut conn).expect(question);
    rows[0].count
}

fn files(folder: &Path) -> usize {
    let entries = std::fs::read_dir(folder).expect("a folder");
    let below = entries.map(|entry| {
        let path = entry.expect("an entry").path();
        match path.is_dir() {
            true => files(&path),
            false => 1,
        }
    });
    below.sum()
}

#[test]
fn after_a_day_of_outages_on_a_clock_of_the_tests_own_the_books_balance() {
    let tasks = i64::try_from(from_env("HOIAM_DAY_TASKS", 1_080)).unwrap();
    let seed = from_env("HOIAM_TORTURE_SEED", Uuid::new_v4().as_u64_pair().1 >> 32);
    println!("HOIAM_TORTURE_SEED={seed} HOIAM_DAY_TASKS={tasks}");
    let (mut dice, time, began) = (Dice(seed), Arc::new(AtomicI64::new(0)), Instant::now());
    let (to_tts, to_backend) = (Peer::proxy(), Peer::proxy());
    let receivers: Vec<Peer> = (0..RECEIVERS).map(|_| Peer::receiver()).collect();
    let day = Running::start(&to_tts, &to_backend, &time);
    for between in [&to_tts, &to_backend] {
        let outages = outages(&mut dice);
        behave(between, &time, outages, &Reaction::Pass, &Reaction::HangUp);
    }
    for receiver in &receivers {
        let outages = outages(&mut dice);
        let (well, ill) = (Reaction::Answer(204), Reaction::Answer(500));
        behave(receiver, &time, outages, &well, &ill);
    }
    let hooks: Vec<String> = receivers.iter().map(|peer| peer.url("/hook")).collect();

    let (client, mut heard, mut accepted) = (day.client(), Heard::default(), BTreeMap::new());
    let between = [&to_tts, &to_backend];
    // Three tasks a step in a small day, seventy in a large one.
    let step = if tasks > 10_000 { MINUTE } else { 4 * MINUTE };
    while day.now() < DAY {
        let due = tasks * (day.now() + step) / DAY;
        while i64::try_from(accepted.len()).unwrap() < due {
            let (id, receiver) = submit(&client, &mut dice, &hooks);
            accepted.insert(id, receiver);
        }
        settle(&client, &receivers, between, &mut heard);
        day.advance(step);
    }
    // The last retries of the last task are over, also of one that has waited
    // for its receiver as long as a whole schedule takes, and no row has been
    // erased yet.
    while day.now() < 3 * DAY + 12 * HOUR {
        settle(&client, &receivers, between, &mut heard);
        day.advance(20 * MINUTE);
    }
    let pending = "/v1/tasks/deliveries?status=pending";
    while !all(&client, pending).is_empty() && day.now() < ROWS_KEPT - HOUR {
        settle(&client, &receivers, between, &mut heard);
        day.advance(10 * MINUTE);
    }
    settle(&client, &receivers, between, &mut heard);
    let by_status = balance(&client, &heard, &accepted);

    while day.now() < 2 * DAY + ROWS_KEPT {
        settle(&client, &receivers, between, &mut heard);
        day.advance(HOUR);
    }
    let kept = day.folder.path().join("files");
    let rows = |service, subject| {
        let question = format!("SELECT count(*) AS count FROM {subject}");
        usize::try_from(ask(day.folder.path(), service, &question)).unwrap()
    };
    // A hundred thousand take their time, and get fewer all the while.
    let mut left = usize::MAX;
    while left > 0 {
        left = eventually("less and less is left", || {
            day.advance(HOUR);
            let now = rows("backend", "tasks") + rows("tts", "speeches") + files(&kept);
            (now < left).then_some(now)
        });
    }
    let folder = day.stop();
    for (service, subject) in [("backend", "tasks"), ("tts", "speeches")] {
        for table in [subject, "deliveries", "events"] {
            let question = format!("SELECT count(*) AS count FROM {table}");
            assert_eq!(
                ask(folder.path(), service, &question),
                0,
                "{service} {table}"
            );
        }
    }
    println!(
        "{} tasks in a day that took {} s: {by_status:?}; {} attempts came to receivers, of whom \
         each was away six times, as were the services for each other; nothing was lost or applied \
         twice, and a few days later nothing was left",
        accepted.len(),
        began.elapsed().as_secs(),
        heard.attempts
    );
}

/// Compares what the client knows, what the service says, and what the
/// receivers have kept. How many ended how.
#[track_caller]
fn balance(
    client: &Client,
    heard: &Heard,
    accepted: &BTreeMap<String, Option<usize>>,
) -> BTreeMap<String, usize> {
    let mut by_status: BTreeMap<String, usize> = BTreeMap::new();
    let mut nowhere = BTreeSet::new();
    for task in all(client, "/v1/tasks?") {
        let id = task["id"].as_str().unwrap();
        let status = task["status"].as_str().unwrap();
        assert!(ENDS.contains(&status), "{task}");
        match accepted.get(id).expect("a task that was accepted") {
            Some(_) => {
                assert_eq!(heard.ends(id), [status], "{task}");
                assert_eq!(task["callback"]["status"], "delivered", "{task}");
            }
            None => drop(nowhere.insert(id.to_owned())),
        }
        *by_status.entry(status.to_owned()).or_default() += 1;
    }
    assert_eq!(by_status.values().sum::<usize>(), accepted.len());
    // Many that wait for the same dead receiver take long: each that is the
    // probe has its next attempt, and waits again.
    let undelivered = all(client, "/v1/tasks/deliveries?status=exhausted,pending");
    let undelivered: BTreeSet<String> = undelivered
        .iter()
        .map(|delivery| delivery["task_id"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(
        undelivered, nowhere,
        "only what has nowhere to go is not delivered"
    );
    let metrics = client.get("/metrics").expect(200);
    for end in ENDS {
        let counted = by_status.get(end).copied().unwrap_or_default();
        let line = format!("hoiam_ended_total{{service=\"backend\",status=\"{end}\"}} {counted}\n");
        assert!(metrics.text().contains(&line), "{line}{}", metrics.text());
    }
    by_status
}
