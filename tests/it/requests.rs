//! Generated requests over the whole table of routes: in order, not quite so, and no
//! HTTP at all, while all is well, while clients hang, while the disk is full, and while
//! engines crash. Whatever comes, nothing panics, nothing is a 5xx but a 503 with its
//! reason, every 4xx is a problem with a stable code, and everybody is answered or
//! knows that he will not be.
//!
//! `make test` sends some hundreds in each round, and no texts that take long to speak;
//! `HOIAM_TORTURE_REQUESTS` says how many all rounds send together. The seed is printed; `HOIAM_TORTURE_SEED` repeats it.

mod generator;
mod json;
mod wire;

use std::collections::{BTreeMap, VecDeque};
use std::io::Write as _;
use std::net::TcpStream;

use hoiam_api::Code;
use serde_json::{Value, json};

use self::generator::{Fixtures, Generator, Keys, Route, World, routes};
use self::wire::{Answer, Request, Wire, expect_end};
use crate::chaos::from_env;
use crate::keys::{add, with};
use crate::support::chain::submit;
use crate::support::disk::Disk;
use crate::support::rest::nothing_lies;
use crate::support::service::Setup;
use crate::support::{Client, Peer, Reaction, Service, eventually};

const ROUNDS: u64 = 4;
const FULL_DISK: &str = "the disk is full";
/// Of clients that hang, so many at once.
const HANGING: usize = 200;
const BODY_BYTES: usize = 200_000;
/// The largest answer to what is refused: some of it repeats what was sent.
const MOST_OF_PROBLEM: usize = 64 << 10;

const IN_MAKE_TEST: u64 = 1_600;

fn requests() -> u64 {
    from_env("HOIAM_TORTURE_REQUESTS", IN_MAKE_TEST)
}

fn requests_of_a_round() -> u64 {
    requests().div_ceil(ROUNDS)
}

/// The longest text that is made by chance.
fn most_chars() -> usize {
    match requests() {
        ..=IN_MAKE_TEST => 5_000,
        _ => 150_000,
    }
}

fn service() -> Setup {
    Service::all()
        .set("callback.allow_cidrs", "127.0.0.0/8")
        .set("callback.schedule", "0,1")
        .set("limits.body_bytes", BODY_BYTES)
        .set("limits.body_timeout_s", 2)
        .set("limits.min_free_bytes", 0)
        .set("server.cors_origins", "https://mine.example")
}

/// A receiver that is well on some paths only.
fn receiver() -> Peer {
    let peer = Peer::receiver();
    peer.react(|request| match request.path.as_str() {
        "/gone" => Reaction::Answer(410),
        "/missing" => Reaction::Answer(404),
        "/failing" => Reaction::Answer(500),
        _ => Reaction::Answer(204),
    });
    peer
}

/// How often each status came, by route; 0 is a connection that was closed.
type Counts = BTreeMap<String, BTreeMap<u16, usize>>;

const CLOSED: u16 = 0;

/// A service, what it is asked, and what it has answered.
struct Round {
    name: &'static str,
    service: Service,
    receiver: Peer,
    routes: Vec<Route>,
    generator: Generator,
    wire: Wire,
    counts: Counts,
    /// Clients that have sent a half, or read nothing; what was not read is an answer
    /// that may be closed at any time.
    hanging: VecDeque<TcpStream>,
    /// Whether the service has said why it answers 503.
    may_be_unavailable: bool,
    /// Whether engines may be away for longer than a child may take to start, which is
    /// told of readiness alone.
    may_be_unready: bool,
    /// What was not as it should be.
    faults: Vec<String>,
    /// Who is to be served afterwards as if nothing had been.
    bystander: Client,
}

impl Round {
    #[track_caller]
    fn begin(name: &'static str, setup: Setup, disk: Disk, voices: &'static [&str]) -> Self {
        let seed = from_env("HOIAM_TORTURE_SEED", 16);
        println!("{name}: seed {seed}");
        let keys = [
            ("admin", "admin"),
            ("own", "submit,read"),
            ("other", "submit,read"),
            ("bystander", "submit,read"),
        ]
        .map(|(client, scopes)| add(disk.folder(), client, scopes));
        let service = setup.known_key(&keys[0]).start_on(disk);
        let bystander = with(&service, &keys[3]);
        let receiver = receiver();
        let client = service.client();
        let hook = receiver.url("/hook");
        let fixtures = ["tasks", "speech"].map(|kind| (kind, fixtures(&client, kind, &hook)));
        let [admin, own, other, _] = keys;
        let world = World {
            keys: Keys { admin, own, other },
            receiver: receiver.url(""),
            fixtures: BTreeMap::from(fixtures),
            voices,
        };
        let routes = routes();
        Self {
            name,
            // Each round has its own.
            generator: Generator::new(seed + name.len() as u64, world, routes.clone()),
            wire: Wire::new(service.address()),
            service,
            receiver,
            routes,
            counts: Counts::new(),
            hanging: VecDeque::new(),
            may_be_unavailable: false,
            may_be_unready: false,
            faults: Vec::new(),
            bystander,
        }
    }

    /// Every route as it is meant. It depends on nothing that has come before.
    #[track_caller]
    fn ask_in_order(&mut self) {
        for route in 0..self.routes.len() {
            let request = self.generator.in_order(route);
            self.ask(&request);
        }
    }

    #[track_caller]
    fn ask_oddly(&mut self, count: u64) {
        for number in 0..count {
            if self.generator.dice.is(85) {
                let request = self.generator.odd();
                self.ask(&request);
            } else {
                self.say_what_is_broken();
            }
            if number % 100 == 0 {
                // It would keep all of them.
                self.receiver.take();
            }
        }
    }

    fn ask(&mut self, request: &Request) {
        let may_reuse = self.generator.dice.is(50);
        let answer = self.wire.ask(request, may_reuse);
        let name = self.routes[request.route].to_string();
        let status = answer.as_ref().map_or(CLOSED, |answer| answer.status);
        *self
            .counts
            .entry(name)
            .or_default()
            .entry(status)
            .or_default() += 1;
        let Some(answer) = answer else {
            // What is refused before it was read may end with the connection.
            if request.is_http() && request.body.len() <= BODY_BYTES {
                self.faults.push(format!("no answer to {request}"));
            }
            return;
        };
        if status == 503 && request.only_reads() {
            self.faults
                .push(format!("503 for what only reads: {request}"));
        }
        self.check(&answer, request.is_http(), &|| request.to_string());
        self.generator.learn(request, &answer);
    }

    fn say_what_is_broken(&mut self) {
        let bytes = self.generator.broken();
        let answers = self.wire.say(&bytes);
        let name = "(no HTTP, or half of it)".to_owned();
        let counts = self.counts.entry(name).or_default();
        let status = answers.first().map_or(CLOSED, |answer| answer.status);
        *counts.entry(status).or_default() += 1;
        let shown = || bytes[..bytes.len().min(3_000)].escape_ascii().to_string();
        for answer in answers {
            self.check(&answer, false, &shown);
        }
    }

    /// Notes what is wrong with one answer.
    fn check(&mut self, answer: &Answer, is_http: bool, asked: &dyn Fn() -> String) {
        if let Err(fault) = self.look_at(answer, is_http) {
            self.faults
                .push(format!("{fault}: {answer}\n  to {}", asked()));
        }
    }

    /// The laws for one answer.
    fn look_at(&self, answer: &Answer, is_http: bool) -> Result<(), String> {
        let status = answer.status;
        let has = |name: &str| answer.message.header(name).is_some();
        // The layer of HTTP closes what it cannot read, and what does not begin.
        let is_bare = answer.is_bare() && (!is_http || status == 408);
        // What is told of readiness is no problem.
        let is_of_readiness =
            status == 503 && answer.message.header("content-type") == Some("application/json");
        match status {
            ..400 => return Ok(()),
            503 if self.may_be_unready && is_of_readiness => {}
            503 if !self.may_be_unavailable => return Err("503 while all is well".into()),
            500..503 | 504.. => return Err("a failure of ours".into()),
            _ if is_bare => return Ok(()),
            429 | 503 if !has("retry-after") => return Err("no Retry-After".into()),
            405 if !has("allow") => return Err("no Allow".into()),
            _ => {}
        }
        match is_of_readiness {
            true => Ok(()),
            false => problem_of(answer),
        }
    }

    /// A client that sends the beginning of a request, or asks for what it does not read.
    fn hang(&mut self) {
        let mut stream = self.wire.connect();
        let (mut bytes, ends_in_head) = self.generator.cut();
        if !ends_in_head && self.generator.dice.is(50) {
            // One that only seems to go on.
            bytes.truncate(bytes.len() - 1);
        }
        // It may be refused before all has been sent.
        let _ = stream.write_all(&bytes);
        self.hanging.push_back(stream);
        while self.hanging.len() > HANGING
            && let Some(first) = self.hanging.pop_front()
        {
            expect_end(first);
        }
    }

    /// A stream of events that nobody reads.
    fn open_stream(&mut self) -> TcpStream {
        let events = self
            .routes
            .iter()
            .position(|route| route.to_string() == "GET /v1/events");
        let request = self.generator.in_order(events.expect("a route"));
        let request = request.with("accept", "text/event-stream");
        let mut stream = self.wire.connect();
        stream.write_all(&request.bytes()).unwrap();
        stream
    }

    /// The laws for what is left behind.
    #[track_caller]
    fn end(mut self) {
        self.hanging.drain(..).for_each(expect_end);
        self.print();
        let first = self.faults[..self.faults.len().min(10)].join("\n");
        assert!(first.is_empty(), "{} faults:\n{first}", self.faults.len());
        let missing: Vec<String> = self
            .routes
            .iter()
            .map(Route::to_string)
            .filter(|route| {
                let counts = self.counts.get(route);
                !counts.is_some_and(|counts| counts.keys().any(|status| status / 100 == 2))
            })
            .collect();
        assert!(missing.is_empty(), "nobody got anything from {missing:?}");
        nothing_lies(&self.service.client());
        let task = submit(&self.bystander, json!({}));
        self.bystander.wait_for_status(&task, "completed");
        self.bystander.get(&format!("{task}/audio.wav")).expect(200);
        let client = self.service.client();
        eventually("it is ready", || {
            (client.get("/health/ready").status == 200).then_some(())
        });
        // A full disk is one.
        let errors = if self.name == FULL_DISK {
            "panicked"
        } else {
            "ERROR"
        };
        let log = self.service.log();
        let lines: Vec<_> = log.lines().filter(|line| line.contains(errors)).collect();
        assert!(lines.is_empty(), "{lines:#?}");
        assert!(!self.service.has_ended());
    }

    fn print(&self) {
        let total: usize = self.counts.values().flat_map(BTreeMap::values).sum();
        println!("{}: {total} requests (0 is closed)", self.name);
        for (route, counts) in &self.counts {
            let counts: Vec<String> = counts
                .iter()
                .map(|(status, count)| format!("{status}: {count}"))
                .collect();
            println!("  {route:45} {}", counts.join(", "));
        }
    }
}

/// What is wrong with an answer that should be a problem.
fn problem_of(answer: &Answer) -> Result<(), String> {
    let header = |name: &str| answer.message.header(name);
    if header("content-type") != Some("application/problem+json") {
        return Err("no problem".into());
    }
    let body = &answer.message.body;
    if body.is_empty() {
        // Of HEAD.
        return Ok(());
    }
    if body.len() > MOST_OF_PROBLEM {
        return Err(format!("{} bytes of a problem", body.len()));
    }
    let problem: Value = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    let is_known = |code: &&Code| problem["code"] == code.as_str();
    let code = Code::ALL.iter().find(is_known);
    let is_of_head = problem["status"] == answer.status
        && problem["request_id"] == json!(header("x-request-id"))
        && code.is_some_and(|code| code.status() == answer.status);
    match is_of_head {
        true => Ok(()),
        false => Err("its code, status or request_id is not that of its head".into()),
    }
}

/// What each request in order is about.
#[track_caller]
fn fixtures(client: &Client, kind: &str, hook: &str) -> Fixtures {
    let collection = format!("/v1/{kind}");
    let make = |voice: &str| {
        let body = json!({"text": "Xin chào.", "voice": voice, "format": "wav",
            "callback_url": hook});
        let made = client.post(&collection, &body).expect(202).json();
        made["id"].as_str().unwrap().to_owned()
    };
    let path = |id: &str| format!("{collection}/{id}");
    // Waits, so that neither it nor a retry of it holds up anybody.
    let canceled = make("test/unavailable");
    client
        .ask(&format!("{}/cancel", path(&canceled)))
        .expect(200);
    let [completed, to_erase, failed] =
        ["silence", "silence", "fail"].map(|voice| make(&format!("test/{voice}")));
    client.wait_for_status(&path(&completed), "completed");
    client.wait_for_status(&path(&to_erase), "completed");
    client.wait_for_status(&path(&failed), "failed");
    let subject = if kind == "tasks" {
        "task_id"
    } else {
        "speech_id"
    };
    let list = format!("{collection}/deliveries?status=delivered&{subject}={completed}");
    let delivery = eventually("it was told", || {
        let listed = client.get(&list).expect(200).json();
        listed["items"][0]["id"].as_str().map(str::to_owned)
    });
    Fixtures {
        completed,
        to_erase,
        canceled,
        failed,
        delivery,
    }
}

const WELL: &[&str] = &[
    "test/silence",
    "test/silence",
    "test/silence",
    "test/slow-20",
    "test/fail",
    "test/nothing",
    "espeak/en-us",
    "nobody/there",
];

#[test]
fn whatever_is_asked_is_answered_as_it_should_be() {
    let mut round = Round::begin("all is well", service(), Disk::plain(), WELL);
    round.ask_in_order();
    round.ask_oddly(requests_of_a_round());
    round.end();
}

#[test]
fn whatever_is_asked_is_answered_while_other_clients_hang() {
    let mut round = Round::begin("clients hang", service(), Disk::plain(), WELL);
    round.ask_in_order();
    // They end when they like, or when the test does.
    let unread = [(); 20].map(|()| round.open_stream());
    for _ in 0..requests_of_a_round().div_ceil(6) {
        for _ in 0..4 {
            round.hang();
        }
        round.ask_oddly(6);
    }
    round.end();
    drop(unread);
}

#[test]
fn whatever_is_asked_is_answered_while_the_disk_is_full() {
    let requests = requests_of_a_round();
    let megabytes = u32::try_from(24 + requests / 60).unwrap();
    let disk = Disk::small(megabytes);
    let mut round = Round::begin(FULL_DISK, service(), disk, WELL);
    round.ask_in_order();
    for _ in 0..2 {
        round.ask_oddly(requests / 8);
        round.service.disk().fill();
        round.may_be_unavailable = true;
        round.ask_oddly(requests / 4);
        round.service.disk().empty();
        let client = round.service.client();
        eventually("it goes on by itself", || {
            (client.get("/health/ready").status == 200).then_some(())
        });
        round.may_be_unavailable = false;
        round.ask_oddly(requests / 8);
    }
    round.end();
}

const CRASHING: &[&str] = &[
    "test/crash",
    "test/hang",
    "test/fragile",
    "test/silence",
    "test/slow-20",
    "test/unavailable",
];

#[test]
fn whatever_is_asked_is_answered_while_engines_crash_and_hang() {
    let setup = service()
        .set("tts.synthesis_base_s", 5)
        // However long it is, what hangs is over after that.
        .set("tts.synthesis_ms_per_char", 0);
    let mut round = Round::begin("engines crash", setup, Disk::plain(), CRASHING);
    round.may_be_unready = true;
    round.ask_in_order();
    round.ask_oddly(requests_of_a_round());
    round.end();
}
