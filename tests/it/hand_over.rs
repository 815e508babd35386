//! From the Backend to the TTS service and back: what may go wrong on the way
//! there, and with the files on the way home.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::chain::submit;
use crate::support::{Chain, Gate, Peer, Reaction, Service, eventually};

/// How many speeches the TTS service has.
#[track_caller]
fn speeches(chain: &Chain) -> usize {
    let list = chain.tts.client().get("/v1/speech").expect(200).json();
    list["items"].as_array().unwrap().len()
}

/// One speech, spoken once, and one answer to the client.
#[track_caller]
fn assert_spoken_and_told_once(chain: &Chain, task: &str, receiver: &Peer) {
    receiver.wait_for_callback("task.completed");
    chain.client().wait_until(task, "told", |task| {
        task["callback"]["status"] == "delivered"
    });
    assert_eq!(receiver.callbacks("task.completed").len(), 1);
    assert_eq!(chain.client().times_reached(task, "completed"), 1);
    assert_eq!(speeches(chain), 1);
    let speech = Chain::speech(task);
    assert_eq!(chain.tts.client().times_reached(&speech, "synthesizing"), 1);
}

#[test]
fn a_tts_service_that_is_down_gets_the_task_once_it_is_up() {
    let mut tts = Service::tts().start();
    let backend = Service::backend().set("backend.tts_url", tts.url()).start();
    let client = backend.client();
    tts.kill();
    let task = submit(&client, json!({}));
    let waiting = client.wait_until(&task, "tried", |task| task["attempt"] != 0);
    assert_eq!(waiting["status"], "queued");
    assert_eq!(waiting["waiting_for"], "tts_service");
    tts.start();
    client.wait_for_status(&task, "completed");
}

#[test]
fn a_202_that_is_lost_on_the_way_makes_no_second_job() {
    let chain = Chain::start();
    let receiver = Peer::receiver();
    chain.to_tts.react(|request| match request.method.as_str() {
        "PUT" => Reaction::LoseAnswer,
        _ => Reaction::Pass,
    });
    let task = chain.submit(json!({"callback_url": receiver.url("/hook")}));
    assert_spoken_and_told_once(&chain, &task, &receiver);
}

#[test]
fn a_hand_over_that_nothing_is_known_of_is_repeated_and_spoken_once() {
    let chain = Chain::start();
    let receiver = Peer::receiver();
    // The first 202 is lost, and so is the answer to the question after it;
    // nor does the callback arrive, so that only the repeat can tell.
    chain.to_backend.react(|_| Reaction::HangUp);
    chain
        .to_tts
        .react(|request| match (request.method.as_str(), request.nth) {
            ("PUT", 1) => Reaction::LoseAnswer,
            ("GET", 1) if request.path.starts_with("/v1/speech/") => Reaction::HangUp,
            _ => Reaction::Pass,
        });
    let task = chain.submit(json!({"callback_url": receiver.url("/hook")}));
    let speech = Chain::speech(&task);
    let (first, second) = (
        chain.to_tts.wait_for_request("PUT", &speech, 1),
        chain.to_tts.wait_for_request("PUT", &speech, 2),
    );
    chain.to_backend.react(|_| Reaction::Pass);
    assert_spoken_and_told_once(&chain, &task, &receiver);
    let (mut first, mut second) = (first.json(), second.json());
    assert!(second["timeout_s"].as_u64() <= first["timeout_s"].as_u64());
    first["timeout_s"] = json!(null);
    second["timeout_s"] = json!(null);
    assert_eq!(first, second, "the repeat is the same request");
}

#[test]
fn a_callback_that_comes_before_the_202_is_not_undone_by_it() {
    let chain = Chain::start();
    let (receiver, gate) = (Peer::receiver(), Gate::default());
    let held = gate.clone();
    chain
        .to_tts
        .react(move |request| match request.method.as_str() {
            "PUT" => Reaction::HoldAnswer(held.clone()),
            _ => Reaction::Pass,
        });
    let task = chain.submit(json!({"callback_url": receiver.url("/hook")}));
    let client = chain.client();
    let known = client.wait_until(&task, "known", |task| task["status"] != "queued");
    assert_ne!(known["status"], "in_progress");
    gate.open();
    assert_spoken_and_told_once(&chain, &task, &receiver);
    assert_eq!(client.times_reached(&task, "in_progress"), 0);
}

#[test]
fn a_tts_service_that_asks_for_a_pause_gets_one() {
    let chain = Chain::start();
    chain
        .to_tts
        .react(|request| match (request.method.as_str(), request.nth) {
            ("PUT", 1) => Reaction::AnswerWith(429, vec![("retry-after", "2".into())]),
            _ => Reaction::Pass,
        });
    let task = chain.submit(json!({}));
    let speech = Chain::speech(&task);
    let first = chain.to_tts.wait_for_request("PUT", &speech, 1);
    let second = chain.to_tts.wait_for_request("PUT", &speech, 2);
    assert!(second.at - first.at >= Duration::from_secs(2));
    chain.client().wait_for_status(&task, "completed");
}

#[test]
fn a_fetch_and_an_abandon_go_through_while_hundreds_are_refused() {
    let chain = Chain::start();
    let client = chain.client();
    let told = Gate::default();
    chain.to_backend.react({
        let told = told.clone();
        move |request| match request.method.as_str() {
            "POST" => Reaction::After(told.clone(), Box::new(Reaction::Pass)),
            _ => Reaction::Pass,
        }
    });
    let spoken = chain.submit(json!({}));
    client.wait_for_status(&spoken, "in_progress");
    chain
        .tts
        .client()
        .wait_for_status(&Chain::speech(&spoken), "completed");
    let called_off = chain.submit(json!({"voice": "test/hang"}));
    client.wait_for_status(&called_off, "in_progress");
    chain.to_tts.react(|request| match request.method.as_str() {
        "PUT" => Reaction::AnswerWith(429, vec![("retry-after", "60".into())]),
        _ => Reaction::Pass,
    });
    for _ in 0..300 {
        chain.submit(json!({}));
    }
    // The third hand-over is the first that is refused.
    chain.to_tts.wait_for("a refusal", |requests| {
        let mut hand_overs = requests.iter().filter(|request| request.method == "PUT");
        hand_overs.nth(2).map(drop)
    });
    told.open();
    client.ask(&format!("{called_off}/cancel")).expect(200);
    client.wait_for_status(&spoken, "completed");
    let cancel = format!("{}/cancel", Chain::speech(&called_off));
    chain.to_tts.wait_for_request("POST", &cancel, 1);
}

#[test]
fn a_refusal_fails_the_task_at_once_with_the_reason() {
    let chain = Chain::start();
    let receiver = Peer::receiver();
    let client = chain.client();
    // A speech with this id and another text is there already.
    let id = "0199aaaa-0000-7000-8000-000000000001";
    let other = json!({"text": "Something else.", "voice": "test/silence"});
    chain
        .tts
        .client()
        .put(&format!("/v1/speech/{id}"), &other)
        .expect(202);
    let body = json!({"text": "Xin chào.", "voice": "test/silence", "callback_url": receiver.url("/hook")});
    client.put(&format!("/v1/tasks/{id}"), &body).expect(202);
    let told = receiver.wait_for_callback("task.failed").json();
    assert_eq!(told["data"]["error"]["code"], "idempotency_conflict");
    let speech = format!("/v1/speech/{id}");
    assert_eq!(chain.to_tts.requests_to("PUT", &speech).len(), 1);
}

#[test]
fn files_that_cannot_be_had_for_a_while_are_fetched_later() {
    let chain = Chain::start();
    chain.to_tts.react(|request| {
        let is_audio = request.path.ends_with("/audio.wav");
        let is_words = request.path.ends_with("/words.json");
        match request.nth {
            1 if is_words => Reaction::Answer(404),
            1 if is_audio => Reaction::Answer(503),
            2 if is_audio => Reaction::HangUp,
            _ => Reaction::Pass,
        }
    });
    let task = chain.submit(json!({}));
    let client = chain.client();
    client.wait_for_status(&task, "completed");
    assert_eq!(client.times_reached(&task, "fetching"), 1);
    let tries = client
        .events(&task)
        .iter()
        .filter(|event| event["type"] == "attempt" && event["from"] == "fetch")
        .count();
    assert_eq!(tries, 3);
    let speech = Chain::speech(&task);
    let there = chain.tts.client().get(&format!("{speech}/audio.wav"));
    let here = client.get(&format!("{task}/audio.wav"));
    assert!(here.expect(200).body() == there.expect(200).body());
}

#[test]
fn files_that_are_gone_for_good_end_the_task_as_result_unavailable() {
    let chain = Chain::start();
    let receiver = Peer::receiver();
    chain.to_tts.react(|request| {
        let is_file = request.path.ends_with("/audio.wav");
        if is_file {
            Reaction::Answer(410)
        } else {
            Reaction::Pass
        }
    });
    chain.submit(json!({"callback_url": receiver.url("/hook")}));
    let told = receiver.wait_for_callback("task.failed").json();
    assert_eq!(told["data"]["error"]["code"], "result_unavailable");
}

/// What panics each time it is tried is tried again by the schedule, and the others
/// go on meanwhile.
#[test]
fn a_fetch_that_panics_each_time_is_a_failed_try_and_holds_up_no_hand_over() {
    let mut service = Service::all().failpoint("panic:send.fetch.before").start();
    let client = service.client();
    let tasks: Vec<String> = (0..5).map(|_| submit(&client, json!({}))).collect();
    for task in &tasks {
        client.wait_for_status(task, "fetching");
    }
    let is_recorded = |task: &String| {
        let panicked = |event: &Value| {
            let reason = event["reason"].as_str().unwrap_or_default();
            event["from"] == "fetch" && reason.contains("panicked")
        };
        client
            .events(task)
            .iter()
            .filter(|event| panicked(event))
            .count()
            >= 2
    };
    for task in &tasks {
        eventually("its tries are recorded", || is_recorded(task).then_some(()));
    }
    service.kill();
    service.heal();
    service.start();
    for task in &tasks {
        client.wait_for_status(task, "completed");
    }
}
