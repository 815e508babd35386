//! Everything at once: two processes that are killed at random, receivers that
//! behave as badly as receivers do, engines that crash and hang. Then all
//! heals, and the books must balance.
//!
//! `make test` runs it for seconds, `make torture` for ten minutes. The seed is
//! printed; `HOIAM_TORTURE_SEED` repeats the same choices.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use uuid::Uuid;

pub use crate::support::dice::{Dice, from_env};
use crate::support::rest::nothing_lies;
use crate::support::service::Setup;
use crate::support::{Chain, Client, Peer, Reaction, Request, Service, eventually};

/// Tasks that may be open at once, so that the end is not one long queue.
const MOST_OPEN: usize = 150;
/// Threads that submit as much as there is room for, with one key.
const GREEDY_THREADS: usize = 3;
const GREEDY: &str = "the-key-of-the-greedy";
/// The key of one more, which submits a task when its last one has ended.
const MODEST: &str = "the-key-of-the-modest";
/// A name that never resolves (RFC 2606).
const NOWHERE: &str = "http://nobody.invalid/hook";
/// How long nothing may change before the books are closed as they are.
const STUCK: Duration = Duration::from_secs(180);

/// What a receiver does with most of its requests until it heals.
fn bad_manners() -> Vec<(&'static str, Reaction)> {
    vec![
        ("well", Reaction::Answer(204)),
        ("500", Reaction::Answer(500)),
        (
            "429",
            Reaction::AnswerWith(429, vec![("retry-after", "1".to_owned())]),
        ),
        (
            "302",
            Reaction::AnswerWith(302, vec![("location", "http://127.0.0.1:1/".to_owned())]),
        ),
        ("silence", Reaction::Silence),
        ("half an answer", Reaction::HalfAnswer),
        ("reset", Reaction::HangUp),
        ("endless body", Reaction::EndlessBody),
    ]
}

/// Each third request to a bad receiver is answered well, so that deliveries
/// end at every number of attempts.
fn receivers() -> Vec<Peer> {
    let start = |(_, reaction): (&str, Reaction)| {
        let peer = Peer::receiver();
        peer.react(move |request| {
            let is_lucky = request.header("webhook-id").is_some_and(|id| {
                let last = id.bytes().last().unwrap_or_default();
                (usize::from(last) + request.nth) % 3 == 0
            });
            if is_lucky {
                Reaction::Answer(204)
            } else {
                reaction.clone()
            }
        });
        peer
    };
    bad_manners().into_iter().map(start).collect()
}

struct Plan {
    voice: &'static str,
    timeout_s: u32,
    /// `None` is [`NOWHERE`].
    receiver: Option<usize>,
    cancel: bool,
}

impl Plan {
    fn roll(dice: &mut Dice, receivers: usize) -> Self {
        let voice = match dice.below(100) {
            0..70 => "test/silence",
            70..80 => "test/fail",
            80..94 => "test/slow-100",
            94..97 => "test/crash",
            97..99 => "test/slow-5000",
            _ => "test/hang",
        };
        let receiver = usize::try_from(dice.below(20)).unwrap();
        Self {
            voice,
            timeout_s: if dice.below(10) == 0 { 2 } else { 600 },
            receiver: (receiver > 0).then_some(receiver % receivers),
            cancel: dice.below(20) == 0,
        }
    }
}

/// What the client side knows: of these the 202 has arrived.
type Accepted = Mutex<BTreeMap<String, Option<usize>>>;

/// When a client submits its next task.
#[derive(Clone, Copy)]
enum Appetite {
    /// While there is room.
    Greedy,
    /// When its last one has ended.
    Modest,
}

/// Submits tasks one after the other until it is told to stop.
fn submit(
    (client, appetite): (&Client, Appetite),
    receivers: &[Peer],
    dice: &mut Dice,
    stop: &AtomicBool,
    to: &Accepted,
) {
    while !stop.load(Ordering::Relaxed) {
        let plan = Plan::roll(dice, receivers.len());
        let id = Uuid::now_v7().to_string();
        let hook = plan.receiver.map_or(NOWHERE.to_owned(), |receiver| {
            receivers[receiver].url(&format!("/{id}"))
        });
        let body = json!({"text": "Xin chào.", "voice": plan.voice, "format": "wav",
            "timeout_s": plan.timeout_s, "callback_url": hook});
        let task = format!("/v1/tasks/{id}");
        // One whose answer is lost is repeated until it is answered, so that
        // what was accepted is known exactly.
        let status = until_answered(client, "PUT", &task, &body);
        assert!([200, 202].contains(&status), "{status}");
        to.lock().unwrap().insert(id, plan.receiver);
        if plan.cancel {
            let status = until_answered(client, "POST", &format!("{task}/cancel"), &Value::Null);
            assert!([200, 409].contains(&status), "{status}");
        }
        let may_go_on = || match appetite {
            Appetite::Greedy => open(client).is_some_and(|open| open < MOST_OPEN),
            Appetite::Modest => has_ended(client, &task),
        };
        while !stop.load(Ordering::Relaxed) && !may_go_on() {
            std::thread::park_timeout(Duration::from_millis(20));
        }
    }
}

fn has_ended(client: &Client, task: &str) -> bool {
    let answer = client.try_send("GET", task, &[], &[]);
    answer.is_ok_and(|answer| answer.status == 200 && !answer.json()["ended_at"].is_null())
}

fn until_answered(client: &Client, method: &str, path: &str, body: &Value) -> u16 {
    let bytes = body.to_string();
    let json = [("content-type", "application/json")];
    eventually("the request is answered", || {
        let answer = client.try_send(method, path, &json, bytes.as_bytes());
        Some(answer.ok()?.status).filter(|status| ![429, 503].contains(status))
    })
}

fn open(client: &Client) -> Option<usize> {
    let open = "/v1/tasks?status=queued,in_progress,fetching&limit=500";
    let answer = client.try_send("GET", open, &[], &[]).ok()?;
    (answer.status == 200).then(|| answer.json()["items"].as_array().unwrap().len())
}

/// Kills one process or both, again and again, and starts them again.
fn kill_at_random(chain: &mut Chain, dice: &mut Dice, until: Instant) -> u32 {
    let mut kills = 0;
    while Instant::now() < until {
        std::thread::park_timeout(Duration::from_millis(200 + dice.below(1500)));
        let victims = 1 + dice.below(3);
        if victims & 1 != 0 {
            chain.tts.kill();
        }
        if victims & 2 != 0 {
            chain.backend.kill();
        }
        // Sometimes one is gone for longer than the other.
        if victims & 2 != 0 {
            chain.backend.start();
        }
        if victims & 1 != 0 {
            chain.tts.start();
        }
        kills += u32::from(victims == 3) + 1;
    }
    kills
}

/// Everything of a list, over all its pages.
pub fn all(client: &Client, path: &str) -> Vec<Value> {
    let (mut items, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = client.get(&format!("{path}&limit=500{cursor}")).expect(200);
        let mut page = page.json();
        items.append(page["items"].as_array_mut().unwrap());
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return items,
        }
    }
}

/// Waits until the list is empty, as long as it shrinks.
#[track_caller]
pub fn wait_until_empty(client: &Client, what: &str, path: &str) {
    let (mut fewest, mut since) = (usize::MAX, Instant::now());
    loop {
        let left = all(client, path).len();
        if left == 0 {
            return;
        }
        if left < fewest {
            (fewest, since) = (left, Instant::now());
        }
        assert!(since.elapsed() < STUCK, "{left} {what} are stuck");
        std::thread::park_timeout(Duration::from_millis(50));
    }
}

/// The task that a callback tells of, with its type and webhook-id.
pub fn told(request: &Request) -> Option<(String, (String, String))> {
    let body: Value = serde_json::from_slice(request.body()).ok()?;
    let id = body["data"]["id"].as_str()?.to_owned();
    Some((id, (request.kind()?, request.header("webhook-id")?.into())))
}

#[test]
fn after_any_number_of_kills_and_bad_receivers_the_books_balance() {
    let seconds = from_env("HOIAM_TORTURE_S", 8);
    let seed = from_env("HOIAM_TORTURE_SEED", Uuid::new_v4().as_u64_pair().1 >> 32);
    println!("HOIAM_TORTURE_SEED={seed} HOIAM_TORTURE_S={seconds}");
    let mut dice = Dice(seed);

    let quick = |setup: Setup| {
        setup
            .set("callback.schedule", "0,1,1,2")
            .set("callback.connect_timeout_s", 1)
            .set("callback.check_timeout_s", 1)
            .set("callback.total_timeout_s", 1)
    };
    let tts = quick(Service::tts())
        .set("tts.workers", 2)
        .set("tts.synthesis_base_s", 1)
        .set("tts.synthesis_ms_per_char", 1);
    let backend = quick(Service::backend())
        .set("server.api_keys", format!("{GREEDY},{MODEST}"))
        .set("callback.allow_cidrs", "127.0.0.0/8")
        .known_key(GREEDY);
    let mut chain = Chain::start_with(backend, tts);
    // What lies between the two loses an answer now and then.
    for between in [&chain.to_tts, &chain.to_backend] {
        between.react(|request| match request.message.body.len() % 37 {
            0 if !request.message.body.is_empty() => Reaction::LoseAnswer,
            _ => Reaction::Pass,
        });
    }
    let receivers = receivers();
    let (client, accepted) = (chain.client(), Accepted::default());
    let modest = Client::new(chain.backend.address(), Some(MODEST));
    let stop = AtomicBool::new(false);
    let seeds: Vec<u64> = (0..=GREEDY_THREADS).map(|_| dice.roll()).collect();
    let began = Instant::now();
    let kills = std::thread::scope(|scope| {
        for (nth, seed) in seeds.into_iter().enumerate() {
            let who = match nth {
                GREEDY_THREADS => (&modest, Appetite::Modest),
                _ => (&client, Appetite::Greedy),
            };
            let (receivers, stop, accepted) = (&receivers, &stop, &accepted);
            scope.spawn(move || submit(who, receivers, &mut Dice(seed), stop, accepted));
        }
        let until = began + Duration::from_secs(seconds);
        let kills = kill_at_random(&mut chain, &mut dice, until);
        stop.store(true, Ordering::Relaxed);
        kills
    });
    let accepted = accepted.into_inner().unwrap();

    for peer in receivers.iter().chain([&chain.to_tts, &chain.to_backend]) {
        // Nothing that is under way waits for an answer that never comes.
        let is_proxy = std::ptr::eq(peer, &raw const chain.to_tts)
            || std::ptr::eq(peer, &raw const chain.to_backend);
        peer.react(move |_| match is_proxy {
            true => Reaction::Pass,
            false => Reaction::Answer(204),
        });
    }
    // Nor does a machine that stalls let deliveries run out of time any more.
    for service in [&mut chain.tts, &mut chain.backend] {
        service.kill();
        service.set("callback.total_timeout_s", 60);
        service.start();
    }
    let open = "/v1/tasks?status=queued,in_progress,fetching";
    wait_until_empty(&client, "tasks", open);
    let pending = "/v1/tasks/deliveries?status=pending";
    wait_until_empty(&client, "deliveries", pending);
    let exhausted = "/v1/tasks/deliveries?status=exhausted";
    let given_up = all(&client, exhausted).len();
    client
        .ask("/v1/tasks/deliveries/redeliver?status=exhausted")
        .expect(200);
    wait_until_empty(&client, "deliveries", pending);
    for service in [&chain.tts, &chain.backend] {
        nothing_lies(&service.client());
    }

    balance(&client, &receivers, &accepted);
    let by_status = count(&all(&client, "/v1/tasks?"));
    let callbacks: usize = receivers.iter().map(|peer| peer.requests().len()).sum();
    println!(
        "{} tasks were accepted in {seconds} s, with {kills} kills: {by_status:?}; \
         {callbacks} attempts at callbacks came, {given_up} deliveries were given up and put back; \
         settled after {} s; nothing was lost or applied twice",
        accepted.len(),
        began.elapsed().as_secs()
    );
}

fn count(tasks: &[Value]) -> BTreeMap<String, usize> {
    let mut by_status = BTreeMap::new();
    for task in tasks {
        let status = task["status"].as_str().unwrap().to_owned();
        *by_status.entry(status).or_default() += 1;
    }
    by_status
}

/// Compares what the client knows, what the service says, and what the
/// receivers have kept.
#[track_caller]
fn balance(client: &Client, receivers: &[Peer], accepted: &BTreeMap<String, Option<usize>>) {
    const ENDS: [&str; 4] = ["completed", "failed", "timed_out", "canceled"];
    let tasks = all(client, "/v1/tasks?");
    let known: BTreeSet<&str> = tasks
        .iter()
        .filter_map(|task| task["id"].as_str())
        .collect();
    let lost: Vec<_> = accepted
        .keys()
        .filter(|id| !known.contains(&***id))
        .collect();
    assert!(lost.is_empty(), "lost: {lost:?}");
    // A task whose 202 was still to come when the client stopped would be one
    // more; every client has waited for its answer.
    assert_eq!(tasks.len(), accepted.len());

    let mut heard: BTreeMap<String, BTreeSet<(String, String)>> = BTreeMap::new();
    for request in receivers.iter().flat_map(Peer::requests) {
        let (id, what) = told(&request).expect("every request is a callback");
        heard.entry(id).or_default().insert(what);
    }
    let mut nowhere = BTreeSet::new();
    for task in &tasks {
        let (id, status) = (
            task["id"].as_str().unwrap(),
            task["status"].as_str().unwrap(),
        );
        assert!(ENDS.contains(&status), "{task}");
        let path = format!("/v1/tasks/{id}");
        let reached: usize = ENDS
            .iter()
            .map(|end| client.times_reached(&path, end))
            .sum();
        assert_eq!(reached, 1, "{path} has ended more than once");
        if status == "completed" {
            client.get(&format!("{path}/audio.wav")).expect(200);
        }
        let mut told = heard.remove(id).unwrap_or_default();
        told.retain(|(kind, _)| kind != "task.late_result");
        if accepted[id].is_some() {
            let kinds: Vec<_> = told.iter().map(|(kind, _)| kind.as_str()).collect();
            assert_eq!(kinds, [format!("task.{status}")], "what {path} has told");
            assert_eq!(task["callback"]["status"], "delivered", "{task}");
        } else {
            nowhere.insert(id.to_owned());
        }
    }
    let exhausted: BTreeSet<String> = all(client, "/v1/tasks/deliveries?status=exhausted")
        .iter()
        .map(|delivery| delivery["task_id"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(exhausted, nowhere, "given up is what has nowhere to go");
}
