//! What becomes of a task whose TTS service does not come back in time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::DateTime;
use serde_json::{Value, json};

use crate::chaos::from_env;
use crate::support::chain::submit;
use crate::support::peer::nobody;
use crate::support::signed::{SECRET, assert_signed};
use crate::support::{Chain, Gate, Peer, Reaction, Request, Service, Wall};

/// The bound: not earlier than the deadline, and this soon after it. A
/// machine that does other things besides may take longer, so this is looked at
/// with `HOIAM_TORTURE_ROUNDS` only; `actors::watchdog` has the exact instant,
/// on a clock of the test's own.
const LATE_AT_MOST_MS: i64 = 250;
/// Nobody who has missed the timer is as soon as this.
const SOON_MS: i64 = 30_000;

/// An instant of an answer in milliseconds since 1970.
pub fn ms(at: &Value) -> i64 {
    let at = at.as_str().unwrap();
    DateTime::parse_from_rfc3339(at).unwrap().timestamp_millis()
}

#[track_caller]
fn assert_timed_out_on_time(task: &Value) {
    assert_eq!(task["status"], "timed_out");
    assert_eq!(task["error"]["code"], "timed_out");
    let late = ms(&task["ended_at"]) - ms(&task["deadline_at"]);
    let at_most = match from_env("HOIAM_TORTURE_ROUNDS", 1) > 1 {
        true => LATE_AT_MOST_MS,
        false => SOON_MS,
    };
    assert!((0..=at_most).contains(&late), "{late} ms late: {task}");
}

/// Submits a task that has come as far as the test wants before its time is
/// over, and gives its path. On a machine that stalls that may take longer than
/// the first time-out; then nothing is shown, and another task gets more time.
#[track_caller]
fn submit_in_time(
    chain: &Chain,
    more: &Value,
    timeouts_s: [u32; 3],
    is_in_time: impl Fn(&str) -> bool,
) -> String {
    let submit = |timeout_s: &u32| {
        let mut more = more.clone();
        more["timeout_s"] = json!(timeout_s);
        chain.submit(more)
    };
    let mut tasks = timeouts_s.iter().map(submit);
    let task = tasks.find(|task| is_in_time(task));
    task.unwrap_or_else(|| panic!("it came too late, whatever its time: {more}"))
}

/// Waits until the TTS service has the task, or the time of it is over; whether
/// the former came first.
#[track_caller]
fn is_handed_over(chain: &Chain, task: &str) -> bool {
    let client = chain.client();
    let seen = client.wait_until(task, "handed over", |it| it["status"] != "queued");
    seen["status"] == "in_progress"
}

/// The Backend asks in vain how far its tasks are.
fn answer_no_pulls(chain: &Chain) {
    chain.to_tts.react(|request| {
        if request.is("POST", "/v1/speech/statuses") {
            Reaction::Answer(503)
        } else {
            Reaction::Pass
        }
    });
}

/// Waits for the callback of this type that tells of this task.
#[track_caller]
fn wait_for_callback_of(receiver: &Peer, kind: &str, task: &str) -> Request {
    receiver.wait_for(&format!("{kind} of {task}"), |requests| {
        callbacks_of(requests, kind, task).into_iter().next()
    })
}

/// Of these requests the callbacks of this type that tell of this task.
fn callbacks_of(requests: &[Request], kind: &str, task: &str) -> Vec<Request> {
    let (_, id) = task.rsplit_once('/').unwrap();
    let of_task = |request: &&Request| {
        request.kind().as_deref() == Some(kind) && request.json()["data"]["id"] == id
    };
    requests.iter().filter(of_task).cloned().collect()
}

#[test]
fn a_task_whose_tts_service_was_never_there_times_out_and_the_client_is_told() {
    let backend = Service::backend()
        .set("backend.tts_url", format!("http://{}", nobody()))
        .start();
    let receiver = Peer::receiver();
    let task = submit(
        &backend.client(),
        json!({"timeout_s": 2, "callback_url": receiver.url("/hook")}),
    );
    let callback = receiver.wait_for_callback("task.timed_out");
    assert_signed(&callback, SECRET);
    let told = callback.json()["data"].clone();
    assert_timed_out_on_time(&told);
    assert!(task.ends_with(told["id"].as_str().unwrap()));
}

#[test]
fn tasks_given_to_a_black_hole_time_out_each_at_its_own_deadline() {
    let black_hole = Peer::receiver();
    black_hole.react(|_| Reaction::Silence);
    let backend = Service::backend()
        .set("backend.tts_url", black_hole.url(""))
        .start();
    let (client, receiver) = (backend.client(), Peer::receiver());
    // More than the Backend hands over at the same time.
    for number in 0..100 {
        let timeout_s = 2 + number % 3;
        submit(
            &client,
            json!({"timeout_s": timeout_s, "callback_url": receiver.url("/hook")}),
        );
    }
    let mut ends = Vec::new();
    for callback in receiver.wait_for_callbacks("task.timed_out", 100) {
        let told = callback.json()["data"].clone();
        assert_timed_out_on_time(&told);
        ends.push((ms(&told["deadline_at"]), ms(&told["ended_at"])));
    }
    // Whatever the machine does, none has waited for one with a later deadline.
    ends.sort_unstable();
    assert!(ends.is_sorted_by_key(|(_, ended_at)| *ended_at), "{ends:?}");
    assert!(!black_hole.requests().is_empty());
}

#[test]
fn a_tts_service_that_dies_with_the_task_in_its_hands_is_timed_out() {
    let mut chain = Chain::start();
    let (client, receiver) = (chain.client(), Peer::receiver());
    // Nor does it report anything before.
    chain
        .to_backend
        .react(|request| match request.method.as_str() {
            "POST" => Reaction::HangUp,
            _ => Reaction::Pass,
        });
    let more = json!({"voice": "test/hang", "callback_url": receiver.url("/hook")});
    let task = submit_in_time(&chain, &more, [3, 15, 60], |task| {
        is_handed_over(&chain, task)
    });
    chain.tts.kill();
    let told = wait_for_callback_of(&receiver, "task.timed_out", &task).json();
    assert_timed_out_on_time(&told["data"]);
    assert_eq!(client.times_reached(&task, "in_progress"), 1);
}

#[test]
fn a_tts_service_that_falls_silent_after_its_202_is_timed_out() {
    let chain = Chain::start();
    let (client, receiver) = (chain.client(), Peer::receiver());
    chain.to_backend.react(|_| Reaction::Silence);
    chain.to_tts.react(|request| match request.method.as_str() {
        "PUT" => Reaction::Pass,
        _ => Reaction::Silence,
    });
    let asked_about = |task: &str| {
        let (_, id) = task.rsplit_once('/').unwrap();
        let asked = chain.to_tts.requests_to("POST", "/v1/speech/statuses");
        let is_about = |asked: &&Request| String::from_utf8_lossy(asked.body()).contains(id);
        asked.iter().filter(is_about).count()
    };
    let more = json!({"callback_url": receiver.url("/hook")});
    let task = submit_in_time(&chain, &more, [3, 15, 60], |task| {
        is_handed_over(&chain, task) && {
            wait_for_callback_of(&receiver, "task.timed_out", task);
            asked_about(task) > 0
        }
    });
    let told = wait_for_callback_of(&receiver, "task.timed_out", &task).json();
    assert_timed_out_on_time(&told["data"]);
    assert_eq!(client.times_reached(&task, "in_progress"), 1);
    assert_eq!(asked_about(&task), 1, "it was asked before the deadline");
}

#[test]
fn a_deadline_that_passes_while_the_backend_is_down_is_kept_at_its_start() {
    let mut backend = Service::backend()
        .set("backend.tts_url", format!("http://{}", nobody()))
        .start();
    let (receiver, client) = (Peer::receiver(), backend.client());
    let task = submit(
        &client,
        json!({"timeout_s": 1, "callback_url": receiver.url("/hook")}),
    );
    backend.kill();
    backend.start();
    receiver.wait_for_callback("task.timed_out");
    assert_eq!(client.times_reached(&task, "timed_out"), 1);
}

#[test]
fn the_job_of_a_task_that_timed_out_is_called_off() {
    let chain = Chain::start();
    // The speech has a deadline of its own, a little later. A Backend that is
    // late itself is not to hear of that first.
    chain
        .to_backend
        .react(|request| match request.method.as_str() {
            "POST" => Reaction::HangUp,
            _ => Reaction::Pass,
        });
    answer_no_pulls(&chain);
    let more = json!({"voice": "test/hang"});
    let task = submit_in_time(&chain, &more, [2, 15, 60], |task| {
        is_handed_over(&chain, task)
    });
    let ended = chain.client().wait_for_status(&task, "timed_out");
    assert_timed_out_on_time(&ended);
    let cancel = format!("{}/cancel", Chain::speech(&task));
    chain.to_tts.wait_for_request("POST", &cancel, 1);
    // Its own deadline and the call race each other; either ends it.
    chain
        .tts
        .client()
        .wait_until(&Chain::speech(&task), "ended", |speech| {
            speech["status"] == "canceled" || speech["error"]["code"] == "deadline_exceeded"
        });
}

#[test]
fn a_speech_that_the_tts_service_has_forgotten_fails_its_task_before_the_deadline() {
    let mut chain = Chain::start();
    let (client, receiver) = (chain.client(), Peer::receiver());
    let mut told = Value::Null;
    // A machine that needs the whole time for the new start, or stalls in the
    // last tenth of it, when the Backend asks, shows nothing: more time then.
    for timeout_s in [6, 30, 90] {
        let task = chain.submit(json!({"voice": "test/hang", "timeout_s": timeout_s,
            "callback_url": receiver.url("/hook")}));
        if !is_handed_over(&chain, &task) {
            continue;
        }
        chain.tts.kill();
        for file in ["tts.db", "tts.db-wal", "tts.db-shm"] {
            let _ = std::fs::remove_file(chain.tts.folder().join(file));
        }
        chain.tts.start();
        let ended = client.wait_until(&task, "ended", |it| it["ended_at"].is_string());
        if ended["status"] != "timed_out" {
            told = wait_for_callback_of(&receiver, "task.failed", &task).json()["data"].clone();
            break;
        }
    }
    assert_eq!(told["error"]["code"], "speech_lost");
    assert!(ms(&told["ended_at"]) < ms(&told["deadline_at"]), "{told}");
}

#[test]
fn a_result_that_comes_late_is_fetched_kept_once_and_told() {
    let chain = Chain::start();
    let (client, receiver, gate) = (chain.client(), Peer::receiver(), Gate::default());
    let held = gate.clone();
    chain
        .to_backend
        .react(move |request| match request.method.as_str() {
            "POST" => Reaction::After(held.clone(), Box::new(Reaction::Pass)),
            _ => Reaction::Pass,
        });
    // Nor may the Backend learn of it by asking.
    answer_no_pulls(&chain);
    let more = json!({"callback_url": receiver.url("/hook")});
    // The speech has no more time than the task.
    let task = submit_in_time(&chain, &more, [2, 15, 60], |task| {
        is_handed_over(&chain, task) && {
            let ended = |it: &Value| it["ended_at"].is_string();
            let speech = Chain::speech(task);
            let ended = chain.tts.client().wait_until(&speech, "ended", ended);
            ended["status"] == "completed"
        }
    });
    let told = wait_for_callback_of(&receiver, "task.timed_out", &task).json();
    assert_timed_out_on_time(&told["data"]);
    assert!(told["data"]["late_result"].is_null());
    gate.open();

    let callback = wait_for_callback_of(&receiver, "task.late_result", &task);
    assert_signed(&callback, SECRET);
    let told = callback.json()["data"].clone();
    assert_eq!(told["status"], "timed_out");
    assert!(told["audio"].is_null(), "{told}");
    assert!(told["late_result"]["audio"]["url"].is_string(), "{told}");
    let speech = Chain::speech(&task);
    for file in ["audio.wav", "words.json", "subtitles.srt", "subtitles.vtt"] {
        let there = chain
            .tts
            .client()
            .get(&format!("{speech}/{file}"))
            .expect(200);
        let here = client.get(&format!("{task}/{file}")).expect(200);
        assert!(here.body() == there.body(), "{file} differs");
    }

    // The deadline stays what it was, and a repeat brings nothing new.
    let history = client.events(&task);
    let report = wait_for_callback_of(&chain.to_backend, "speech.completed", &task);
    let names = [
        "content-type",
        "webhook-id",
        "webhook-timestamp",
        "webhook-signature",
    ];
    let headers = names.map(|name| (name, report.header(name).unwrap()));
    let answer = client.send_bytes("POST", "/v1/callbacks", &headers, report.body());
    assert_eq!(answer.status, 204);
    let settled = client.wait_until(&task, "told", |it| it["callback"]["status"] == "delivered");
    assert_timed_out_on_time(&settled);
    let states = |events: &[Value]| {
        events
            .iter()
            .filter(|event| event["type"] == "state")
            .count()
    };
    assert_eq!(states(&client.events(&task)), states(&history));
    let told = callbacks_of(&receiver.requests(), "task.late_result", &task);
    assert_eq!(told.len(), 1);
}

/// Sets the wall clock of a Backend service that has two tasks open, one for an
/// hour and one for three seconds, by six hours in both directions.
#[track_caller]
fn deadlines_stand(set: impl Fn(&mut Service, &Wall, i64)) {
    let wall = Arc::new(Wall::new());
    let mut backend = Service::backend()
        .set("backend.tts_url", format!("http://{}", nobody()))
        .set("callback.schedule", "0,1,1")
        .wall(&wall)
        .start();
    let client = backend.client();
    for hours in [6, -6] {
        let receiver = Peer::receiver();
        // The retry is counted by the same clock.
        receiver.react(|request| Reaction::Answer(if request.nth == 1 { 500 } else { 204 }));
        let hook = receiver.url("/hook");
        let of_an_hour = submit(&client, json!({"timeout_s": 3600}));
        let began = Instant::now();
        submit(&client, json!({"timeout_s": 3, "callback_url": hook}));
        set(&mut backend, &wall, hours);
        // A deadline that is frozen does not come while this waits.
        let told = receiver.wait_for_callbacks("task.timed_out", 2);
        let took = told[1].at - began;
        assert_timed_out_on_time(&told[1].json()["data"]);
        assert!(took >= Duration::from_millis(3900), "{hours} h: {took:?}");
        assert_eq!(client.get(&of_an_hour).json()["status"], "queued");
    }
}

#[test]
fn a_wall_clock_that_is_set_neither_fires_deadlines_nor_freezes_them() {
    deadlines_stand(|_, wall, hours| wall.set_off_by_hours(hours));
}

#[test]
fn a_wall_clock_that_is_set_while_the_process_is_down_neither_fires_deadlines_nor_freezes_them() {
    deadlines_stand(|backend, wall, hours| {
        backend.kill();
        wall.set_off_by_hours(hours);
        backend.start();
    });
}

/// Else the two tests above would show nothing.
#[test]
fn a_wall_clock_that_is_set_is_what_callbacks_are_signed_with() {
    let wall = Arc::new(Wall::new());
    let service = Service::all().wall(&wall).start();
    let receiver = Peer::receiver();
    wall.set_off_by_hours(6);
    let now = i64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_secs()).unwrap();
    submit(
        &service.client(),
        json!({"callback_url": receiver.url("/hook")}),
    );
    let callback = receiver.wait_for_callback("task.completed");
    let signed_at: i64 = callback
        .header("webhook-timestamp")
        .unwrap()
        .parse()
        .unwrap();
    assert!((signed_at - now - 6 * 3600).abs() < 3600, "{signed_at}");
}
