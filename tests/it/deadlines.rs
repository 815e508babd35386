//! What becomes of a task whose TTS service does not come back in time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::DateTime;
use serde_json::{Value, json};

use crate::support::chain::submit;
use crate::support::peer::nobody;
use crate::support::signed::{SECRET, assert_signed};
use crate::support::{Chain, Gate, Peer, Reaction, Service, Wall};

/// The bound: not earlier than the deadline, and this soon after it.
const LATE_AT_MOST_MS: i64 = 250;

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
    assert!(
        (0..=LATE_AT_MOST_MS).contains(&late),
        "{late} ms late: {task}"
    );
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
    for callback in receiver.wait_for_callbacks("task.timed_out", 100) {
        assert_timed_out_on_time(&callback.json()["data"]);
    }
    assert!(!black_hole.requests().is_empty());
}

#[test]
fn a_tts_service_that_dies_with_the_task_in_its_hands_is_timed_out() {
    let mut chain = Chain::start();
    let (client, receiver) = (chain.client(), Peer::receiver());
    let task = chain.submit(json!({"voice": "test/hang", "timeout_s": 3,
        "callback_url": receiver.url("/hook")}));
    client.wait_for_status(&task, "in_progress");
    chain.tts.kill();
    let told = receiver.wait_for_callback("task.timed_out").json();
    assert_timed_out_on_time(&told["data"]);
}

#[test]
fn a_tts_service_that_falls_silent_after_its_202_is_timed_out() {
    let chain = Chain::start();
    let (client, receiver) = (chain.client(), Peer::receiver());
    chain.to_backend.react(|_| Reaction::Silence);
    let task = chain.submit(json!({"timeout_s": 3, "callback_url": receiver.url("/hook")}));
    client.wait_for_status(&task, "in_progress");
    chain.to_tts.react(|_| Reaction::Silence);
    let told = receiver.wait_for_callback("task.timed_out").json();
    assert_timed_out_on_time(&told["data"]);
    let asked = chain.to_tts.requests_to("POST", "/v1/speech/statuses");
    assert_eq!(asked.len(), 1, "it was asked before the deadline");
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
    let task = chain.submit(json!({"voice": "test/hang", "timeout_s": 2}));
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
    let task = chain.submit(json!({"voice": "test/hang", "timeout_s": 6,
        "callback_url": receiver.url("/hook")}));
    client.wait_for_status(&task, "in_progress");
    chain.tts.kill();
    for file in ["tts.db", "tts.db-wal", "tts.db-shm"] {
        let _ = std::fs::remove_file(chain.tts.folder().join(file));
    }
    chain.tts.start();
    let told = receiver.wait_for_callback("task.failed").json()["data"].clone();
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
    chain.to_tts.react(|request| {
        if request.is("POST", "/v1/speech/statuses") {
            Reaction::Answer(503)
        } else {
            Reaction::Pass
        }
    });
    let task = chain.submit(json!({"timeout_s": 2, "callback_url": receiver.url("/hook")}));
    let told = receiver.wait_for_callback("task.timed_out").json();
    assert_timed_out_on_time(&told["data"]);
    assert!(told["data"]["late_result"].is_null());
    gate.open();

    let callback = receiver.wait_for_callback("task.late_result");
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
    let report = chain.to_backend.wait_for_callback("speech.completed");
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
    assert_eq!(receiver.callbacks("task.late_result").len(), 1);
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
        submit(&client, json!({"timeout_s": 3, "callback_url": hook}));
        let began = Instant::now();
        set(&mut backend, &wall, hours);
        let told = receiver.wait_for_callbacks("task.timed_out", 2);
        let took = began.elapsed();
        assert_timed_out_on_time(&told[1].json()["data"]);
        let expected = Duration::from_millis(3900)..Duration::from_secs(8);
        assert!(expected.contains(&took), "{hours} h: {took:?}");
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
    assert!((signed_at - now - 6 * 3600).abs() < 60, "{signed_at}");
}
