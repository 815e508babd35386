//! What is bad costs the good nothing: receivers that do not answer, and texts
//! that take the engine down.
//!
//! `make test` sees that everything ends as it should. `make torture` does more
//! of it (`HOIAM_TORTURE_ROUNDS`), and there the figures are looked at too.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::chaos::{all, from_env, wait_until_empty};
use crate::deadlines::ms;
use crate::support::chain::submit;
use crate::support::{Client, Peer, Reaction, Service, eventually};

/// Of which `make test` does one.
fn rounds() -> usize {
    usize::try_from(from_env("HOIAM_TORTURE_ROUNDS", 1)).unwrap()
}

/// Whether there is enough of it for figures to say something.
fn is_torture() -> bool {
    rounds() > 1
}

fn speech(client: &Client, voice: &str, hook: Option<&str>) -> String {
    let mut body = json!({"text": "Xin chào.", "voice": voice, "format": "wav"});
    if let Some(hook) = hook {
        body["callback_url"] = json!(hook);
        // A receiver that never answers would not be called at all.
        body["callback_check"] = json!(false);
    }
    let answer = client.post("/v1/speech", &body).expect(202).json();
    answer["id"].as_str().unwrap().to_owned()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

// ---------------------------------------------------------------- receivers

/// How far apart the speeches of one receiver are.
const PACE: Duration = Duration::from_millis(40);

/// Has speeches told to a healthy receiver and as many to each of the hostile
/// ones. The 99th percentile of the time from the request to the callback at
/// the healthy one, in milliseconds.
#[track_caller]
fn delivery_p99_ms(hostile: &[&Peer]) -> f64 {
    let count = if is_torture() { 500 } else { 60 };
    let mut service = Service::tts().set("callback.schedule", "0,1,1,2");
    if is_torture() {
        // Long enough for a machine that has nothing else to do.
        service = service
            .set("callback.connect_timeout_s", 1)
            .set("callback.total_timeout_s", 2);
    }
    let service = service.start();
    let (client, healthy) = (service.client(), Peer::receiver());
    let mut asked = HashMap::new();
    let began = Instant::now();
    for nth in 0..count {
        for peer in hostile {
            speech(&client, "test/silence", Some(&peer.url("/hook")));
        }
        let at = Instant::now();
        asked.insert(
            speech(&client, "test/silence", Some(&healthy.url("/hook"))),
            at,
        );
        let next = began + PACE * (nth + 1);
        std::thread::park_timeout(next.saturating_duration_since(Instant::now()));
    }
    let callbacks = healthy.wait_for_callbacks("speech.completed", asked.len());
    let mut took: Vec<f64> = callbacks
        .iter()
        .map(|callback| {
            let id = callback.json()["data"]["id"].as_str().unwrap().to_owned();
            let asked_at = asked.remove(&id).expect("each is told once");
            (callback.at - asked_at).as_secs_f64() * 1000.0
        })
        .collect();
    took.sort_by(f64::total_cmp);
    account(&client, &healthy, hostile, took.len());
    took[took.len() * 99 / 100]
}

/// What is owed to the healthy receiver was delivered at the first attempt, and
/// nothing of what is owed to the others is gone.
#[track_caller]
fn account(client: &Client, healthy: &Peer, hostile: &[&Peer], count: usize) {
    let hook = healthy.url("/hook");
    eventually(
        "the service knows that all were told, and owes the rest",
        || {
            let delivered = all(client, "/v1/speech/deliveries?status=delivered");
            let owed = all(client, "/v1/speech/deliveries?");
            (delivered.len() == count && owed.len() == count * (1 + hostile.len())).then_some(())
        },
    );
    let mut owed: BTreeMap<String, usize> = BTreeMap::new();
    for delivery in all(client, "/v1/speech/deliveries?") {
        let url = delivery["url"].as_str().unwrap();
        *owed.entry(url.to_owned()).or_default() += 1;
        let expected: &[&str] = match url == hook {
            true => &["delivered"],
            false => &["pending", "delivering", "exhausted"],
        };
        let status = delivery["status"].as_str().unwrap();
        assert!(expected.contains(&status), "{delivery}");
        if url == hook {
            assert_eq!(delivery["attempts"].as_array().unwrap().len(), 1);
        }
    }
    assert_eq!(owed.len(), 1 + hostile.len());
    assert!(owed.values().all(|owed| *owed == count), "{owed:?}");
}

#[test]
fn receivers_that_never_answer_or_answer_garbage_do_not_hold_up_a_healthy_one() {
    let (silent, garbled) = (Peer::receiver(), Peer::receiver());
    silent.react(|_| Reaction::Silence);
    garbled.react(|_| Reaction::Garbage);
    let mut ratios = Vec::new();
    for round in 1..=rounds() {
        let without = delivery_p99_ms(&[]);
        let with = delivery_p99_ms(&[&silent, &garbled]);
        println!(
            "round {round}: 99 % of callbacks come to a healthy receiver within {without:.1} ms; \
             with a receiver that never answers and one that answers garbage within {with:.1} ms \
             ({:.2} times)",
            with / without
        );
        ratios.push(with / without);
    }
    if is_torture() {
        let ratio = median(ratios);
        assert!(ratio <= 2.0, "{ratio:.2} times");
    }
}

// ------------------------------------------------------------------- engines

/// How many of the good go with one that is bad.
const GOOD_PER_BAD: usize = 10;
const WORKERS: u32 = 2;
/// What a text may take until its child is killed: `tts.synthesis_base_s`, and
/// `tts.synthesis_ms_per_char` for each of its nine characters.
const LIMIT: Duration = Duration::from_millis(1009);
/// `tts.max_attempts` by default.
const ATTEMPTS: u32 = 3;

/// Has all of them spoken; the time from the first request until the last good
/// one had ended, by the service's clock.
#[track_caller]
fn speak(client: &Client, good: usize, bad: usize) -> Duration {
    let mut ids = HashSet::new();
    for nth in 0..good {
        ids.insert(speech(client, "test/slow-50", None));
        if nth / GOOD_PER_BAD < bad && nth % GOOD_PER_BAD == 0 {
            let voice = ["test/crash", "test/hang"][nth / GOOD_PER_BAD % 2];
            speech(client, voice, None);
        }
    }
    wait_until_empty(client, "speeches", "/v1/speech?status=queued,synthesizing");
    let spoken = all(client, "/v1/speech?");
    let of_these = |speech: &&Value| ids.contains(speech["id"].as_str().unwrap());
    let instants = |name: &'static str| spoken.iter().filter(of_these).map(move |it| ms(&it[name]));
    let (began, ended) = (instants("created_at").min(), instants("ended_at").max());
    Duration::from_millis(u64::try_from(ended.unwrap() - began.unwrap()).unwrap())
}

/// From the last claim of a speech until its end, by the service's clock.
#[track_caller]
fn last_attempt(client: &Client, speech: &Value) -> Duration {
    let id = speech["id"].as_str().unwrap();
    let events = client.events(&format!("/v1/speech/{id}"));
    let claims = events.iter().filter(|event| event["to"] == "synthesizing");
    let began = claims.map(|event| ms(&event["at"])).max().unwrap();
    Duration::from_millis(u64::try_from(ms(&speech["ended_at"]) - began).unwrap())
}

/// How many children engines have cost.
fn lost_children(client: &Client) -> u64 {
    let metrics = client.get("/metrics").expect(200);
    let lines = metrics.text().lines();
    let counts = lines.filter_map(|line| line.strip_prefix("hoiam_engine_crashes_total{"));
    counts
        .map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap())
        .sum()
}

/// Of the service and its children, in MB.
fn resident_mb(service: &Service) -> f64 {
    let pid = service.pid();
    let of_children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    let of_children = of_children.unwrap_or_default();
    let pids = of_children.split_whitespace().map(str::to_owned);
    let kb: u64 = pids
        .chain([pid.to_string()])
        .filter_map(|pid| std::fs::read_to_string(format!("/proc/{pid}/status")).ok())
        .filter_map(|status| {
            let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
            line.split_whitespace().nth(1)?.parse::<u64>().ok()
        })
        .sum();
    f64::from(u32::try_from(kb).unwrap()) / 1000.0
}

#[test]
fn texts_that_crash_or_hang_the_engine_take_only_their_own_time() {
    let good = if is_torture() { 200 } else { 60 };
    let bad = good / GOOD_PER_BAD;
    let service = Service::tts()
        .set("tts.workers", WORKERS)
        .set("tts.synthesis_base_s", 1)
        .set("tts.synthesis_ms_per_char", 1)
        .start();
    let client = service.client();
    let alone = speak(&client, good, 0);
    let hangs = u32::try_from(bad / 2).unwrap();
    let held = LIMIT * ATTEMPTS * hangs / WORKERS;
    let (mut over, mut memory) = (Vec::new(), Vec::new());
    for round in 1..=rounds() {
        let before = lost_children(&client);
        let mixed = speak(&client, good, bad);
        let lost = lost_children(&client) - before;
        // Each attempt of a bad text ends its child.
        assert!(lost >= u64::from(ATTEMPTS) * bad as u64, "{lost}");
        memory.push(resident_mb(&service));
        over.push(mixed.as_secs_f64() / (alone + held).as_secs_f64());
        println!(
            "round {round}: {good} good texts take {:.1} s; with {bad} that crash or hang {:.1} s, \
             of which these hold the workers for {:.1} s; {lost} children lost; \
             {:.0} MB",
            alone.as_secs_f64(),
            mixed.as_secs_f64(),
            held.as_secs_f64(),
            memory[memory.len() - 1],
        );
    }
    let mut ended: BTreeMap<(String, String), usize> = BTreeMap::new();
    for speech in all(&client, "/v1/speech?") {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let how = (text(&speech["voice"]), text(&speech["status"]));
        *ended.entry(how).or_default() += 1;
        let codes: &[&str] = match &*text(&speech["voice"]) {
            // On a machine that stalls its time may be over before it crashes.
            "test/crash" if last_attempt(&client, &speech) >= LIMIT => {
                &["engine_crashed", "synthesis_timeout"]
            }
            "test/crash" => &["engine_crashed"],
            "test/hang" => &["synthesis_timeout"],
            _ => continue,
        };
        let code = speech["error"]["code"].as_str().unwrap();
        assert!(codes.contains(&code), "{speech}");
        assert_eq!(speech["attempt"], ATTEMPTS, "{speech}");
    }
    let expected = [
        ("test/crash", "failed", rounds() * bad / 2),
        ("test/hang", "failed", rounds() * bad / 2),
        ("test/slow-50", "completed", (1 + rounds()) * good),
    ];
    let expected = expected.map(|(voice, status, count)| ((voice.into(), status.into()), count));
    assert_eq!(ended, BTreeMap::from(expected));
    if is_torture() {
        let over = median(over);
        assert!(
            over <= 1.1,
            "{over:.2} times what the good and the bad hold"
        );
        let grown = memory[memory.len() - 1] - memory[0];
        assert!(grown < 20.0, "{grown:.0} MB more after {} rounds", rounds());
    }
}

// ------------------------------------------------------------------- clients

const GREEDY: &str = "the-key-of-the-greedy";
const MODEST: &str = "the-key-of-the-modest";
const SENTENCE: &str = "The quick brown fox jumps over the lazy dog beside the river.";

/// Has a short text spoken for this client; how long that took by the service's
/// clock, in milliseconds.
#[track_caller]
fn spoken_ms(client: &Client, number: usize) -> f64 {
    let text = format!("{SENTENCE} {number}");
    let task = submit(client, json!({"text": text, "voice": "espeak/en-us"}));
    let task = client.wait_for_status(&task, "completed");
    let took = ms(&task["ended_at"]) - ms(&task["created_at"]);
    f64::from(u32::try_from(took).unwrap())
}

#[test]
fn a_client_with_much_to_be_spoken_does_not_hold_up_one_with_little() {
    // With texts of one sentence, then of a hundred.
    let floods = match is_torture() {
        true => [(10_000, 1), (100, 100)],
        false => [(60, 1), (3, 100)],
    };
    let texts = if is_torture() { 25 } else { 3 };
    for (flood, sentences) in floods {
        let service = Service::all()
            .set("server.api_keys", format!("{GREEDY},{MODEST}"))
            .set("tts.workers", WORKERS)
            .set("cache.max_bytes", 0)
            .start();
        let [greedy, modest] =
            [GREEDY, MODEST].map(|key| Client::new(service.address(), Some(key)));
        spoken_ms(&modest, 0);
        let alone = median(
            (0..texts)
                .map(|number| spoken_ms(&modest, number))
                .collect(),
        );
        let of_flood: Vec<String> = (0..flood)
            .map(|number| {
                let text = format!("{number}. {}", [SENTENCE].repeat(sentences).join(" "));
                submit(&greedy, json!({"text": text, "voice": "espeak/en-us"}))
            })
            .collect();
        let beside = median(
            (0..texts)
                .map(|number| spoken_ms(&modest, number))
                .collect(),
        );
        let last = greedy.get(&of_flood[flood - 1]).expect(200).json();
        let is_over = !last["ended_at"].is_null();
        println!(
            "a sentence takes {alone:.0} ms alone, and {beside:.0} ms beside {flood} texts of {sentences} \
             sentences by another client ({:.2} times; their end had {}come)",
            beside / alone,
            if is_over { "" } else { "not " }
        );
        if is_torture() {
            assert!(!is_over, "the flood was too small");
            let a_sentence = if sentences > 1 { alone } else { 0.0 };
            assert!(beside <= 2.0 * alone + a_sentence);
        }
        for task in &of_flood {
            greedy.ask(&format!("{task}/cancel"));
        }
        wait_until_empty(
            &greedy,
            "tasks",
            "/v1/tasks?status=queued,in_progress,fetching",
        );
    }
}

// ------------------------------------------------- a client and its receivers

/// Receivers that take a connection and say nothing: every fourth is a port of one
/// address, the others have addresses of their own.
struct Silent {
    ports: Vec<u16>,
    open: Arc<AtomicUsize>,
}

impl Silent {
    fn new(count: usize) -> Self {
        let open = Arc::<AtomicUsize>::default();
        let listen = |_| {
            let listener = TcpListener::bind("0.0.0.0:0").unwrap();
            let port = listener.local_addr().unwrap().port();
            let open = Arc::clone(&open);
            std::thread::spawn(move || {
                for stream in listener.incoming() {
                    let (Ok(mut stream), open) = (stream, Arc::clone(&open)) else {
                        return;
                    };
                    std::thread::spawn(move || {
                        open.fetch_add(1, Ordering::SeqCst);
                        let _ = std::io::copy(&mut stream, &mut std::io::sink());
                        open.fetch_sub(1, Ordering::SeqCst);
                    });
                }
            });
            port
        };
        Self {
            ports: (0..count.div_ceil(4)).map(listen).collect(),
            open,
        }
    }

    fn url(&self, number: usize) -> String {
        let [high, low] = u16::try_from(number).unwrap().to_be_bytes();
        match number % 4 {
            0 => format!("http://127.0.0.2:{}/hook", self.ports[number / 4]),
            _ => format!("http://127.1.{high}.{low}:{}/hook", self.ports[0]),
        }
    }

    /// How many connections it has now.
    fn open(&self) -> usize {
        self.open.load(Ordering::SeqCst)
    }
}

#[test]
fn receivers_of_one_client_that_never_answer_hold_up_no_other_client() {
    let count = usize::try_from(from_env("HOIAM_SILENT_RECEIVERS", 600)).unwrap();
    let silent = Silent::new(count);
    let service = Service::all()
        .set("server.api_keys", format!("{GREEDY},{MODEST}"))
        .set("callback.allow_cidrs", "127.0.0.0/8")
        .set("callback.total_timeout_s", 300)
        .set("callback.check_timeout_s", 300)
        .start();
    let [greedy, modest] = [GREEDY, MODEST].map(|key| Client::new(service.address(), Some(key)));
    let speech = |client: &Client, hook: &str, is_checked: bool| {
        let body = json!({"text": "Xin chào.", "voice": "test/silence", "format": "wav",
            "callback_url": hook, "callback_check": is_checked});
        client.post("/v1/speech", &body).expect(202);
    };
    let receiver = Peer::receiver();
    let told = |client: &Client, path: &str| {
        let task = submit(client, json!({"callback_url": receiver.url(path)}));
        receiver.wait_for_request("POST", path, 1);
        client.wait_for_status(&task, "completed");
    };
    // The receiver has answered this client.
    told(&greedy, "/before");
    for number in 0..count {
        speech(&greedy, &silent.url(number), false);
        if number % 3 == 0 {
            let hook = format!("{}/checked", silent.url(number));
            speech(&greedy, &hook, true);
        }
    }
    let to_be_spoken = "/v1/speech?status=queued,synthesizing";
    wait_until_empty(&greedy, "speeches", to_be_spoken);
    eventually("the flood has begun", || {
        (silent.open() > 200).then_some(())
    });
    let began = Instant::now();
    told(&modest, "/task");
    let of_task = began.elapsed();
    speech(&modest, &receiver.url("/speech"), true);
    receiver.wait_for_request("POST", "/speech", 1);
    told(&greedy, "/after");
    println!(
        "beside {count} receivers that never answer, of which {} are called, another client's \
         task is told within {:.0} ms",
        silent.open(),
        of_task.as_secs_f64() * 1000.0
    );
    assert!(silent.open() > 200, "and the flood has not ended");
}

/// Every one of them is a descriptor while it is asked.
#[test]
fn callback_urls_to_be_checked_leave_descriptors_for_those_who_connect() {
    let count = usize::try_from(from_env("HOIAM_SILENT_RECEIVERS", 600)).unwrap() * 2;
    let silent = Silent::new(count);
    let service = Service::tts().set("callback.check_timeout_s", 300).start();
    let pid = service.pid().to_string();
    let limited = Command::new("prlimit")
        .args(["--nofile=1024:1024", "--pid", &pid])
        .status();
    assert!(limited.expect("prlimit").success());
    let client = service.client();
    for number in 0..count {
        let body = json!({"text": "Xin chào.", "voice": "test/silence", "format": "wav",
            "callback_url": silent.url(number)});
        client.post("/v1/speech", &body).expect(202);
    }
    eventually("they are asked", || (silent.open() >= 50).then_some(()));
    let connections: Vec<TcpStream> = (0..200)
        .map(|_| TcpStream::connect(service.address()).unwrap())
        .collect();
    client.get("/health/live").expect(200);
    drop(connections);
    assert!(silent.open() < 100, "{}", silent.open());
    let log = service.log();
    assert!(!log.contains("Too many open files"), "{log}");
}
