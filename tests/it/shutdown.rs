//! The end of a process in the middle of its work, asked for or not: nothing
//! that was accepted is lost, and nothing is applied twice.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use serde_json::{Value, json};

use crate::chaos::all;
use crate::support::chain::submit;
use crate::support::{Chain, Client, Gate, Peer, Reaction, Service, eventually};

/// How many tasks are on their way in each test.
const TASKS: usize = 300;
/// How many of them are told before the process is made to end.
const TOLD_BEFORE: usize = 40;
/// How many are accepted by then: more than are told and may be on the way to
/// one receiver, which are 32.
const ACCEPTED_BEFORE: usize = 120;

/// Both services, quick enough to have work in every state at once.
fn busy_service() -> Service {
    Service::all().set("tts.workers", 2).start()
}

/// Submits tasks from several threads while `meanwhile` runs. The ids of those
/// that were accepted: the answer may have been lost for others.
fn under_load(client: &Client, receiver: &Peer, meanwhile: impl FnOnce()) -> BTreeSet<String> {
    let accepted = Mutex::new(BTreeSet::new());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..TASKS / 4 {
                    let body =
                        json!({"text": "Xin chào.", "voice": "test/silence", "format": "wav",
                        "callback_url": receiver.url("/hook")})
                        .to_string();
                    let json = [("content-type", "application/json")];
                    let answer = client.try_send("POST", "/v1/tasks", &json, body.as_bytes());
                    let Ok(answer) = answer else { return };
                    if answer.status == 202 {
                        let id = answer.json()["id"].as_str().unwrap().to_owned();
                        accepted.lock().unwrap().insert(id);
                    }
                }
            });
        }
        meanwhile();
    });
    accepted.into_inner().unwrap()
}

/// A receiver that answers so many, and the others once the gate is open: so
/// there is work left however late the test is to end the process.
fn receiver_of(count: usize) -> (Peer, Gate) {
    let (receiver, gate) = (Peer::receiver(), Gate::default());
    let held = gate.clone();
    receiver.react(move |request| match request.nth <= count {
        true => Reaction::Answer(204),
        false => Reaction::After(held.clone(), Box::new(Reaction::Answer(204))),
    });
    (receiver, gate)
}

/// Waits until the process is in the middle of its work.
#[track_caller]
fn wait_for_work(client: &Client, receiver: &Peer) {
    receiver.wait_for_callbacks("task.completed", TOLD_BEFORE);
    eventually("there is more to do", || {
        let accepted = all(client, "/v1/tasks?").len();
        (accepted >= ACCEPTED_BEFORE).then_some(())
    });
}

/// Fails where the process had nothing left to do when it ended, since the
/// test would show nothing then.
#[track_caller]
fn assert_interrupted(receiver: &Peer, accepted: &BTreeSet<String>) {
    let told = receiver.callbacks("task.completed").len();
    assert!(told < accepted.len(), "{told} of {}", accepted.len());
}

/// Waits until every task has been told, and looks at what was done for it.
#[track_caller]
fn assert_all_done_once(client: &Client, receiver: &Peer, accepted: &BTreeSet<String>) {
    let mut told: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    receiver.wait_for("the callbacks of all tasks", |requests| {
        let of: BTreeSet<String> = requests.iter().filter_map(subject).collect();
        accepted.is_subset(&of).then_some(())
    });
    for callback in receiver.callbacks("task.completed") {
        let id = callback.header("webhook-id").unwrap().to_owned();
        told.entry(subject(&callback).unwrap())
            .or_default()
            .insert(id);
    }
    for id in accepted {
        let task = format!("/v1/tasks/{id}");
        assert_eq!(client.times_reached(&task, "completed"), 1, "{task}");
        let speech = format!("/v1/speech/{id}");
        assert_eq!(client.times_reached(&speech, "completed"), 1, "{speech}");
        // A callback may be sent twice, but then under the same id.
        assert_eq!(told[id].len(), 1, "{task}");
        client.get(&format!("{task}/audio.wav")).expect(200);
    }
    let open = "/v1/tasks?status=queued,in_progress,fetching";
    client.wait_until(open, "empty", |page| page["items"] == json!([]));
}

fn subject(callback: &crate::support::Request) -> Option<String> {
    let body: Value = serde_json::from_slice(callback.body()).ok()?;
    body["data"]["id"].as_str().map(str::to_owned)
}

#[test]
fn a_graceful_stop_under_load_loses_nothing_and_the_next_start_finishes_all() {
    let (mut service, (receiver, gate)) = (busy_service(), receiver_of(TOLD_BEFORE));
    let client = service.client();
    let accepted = under_load(&client, &receiver, || {
        wait_for_work(&client, &receiver);
        service.signal("-TERM");
        eventually("it is stopping", || {
            service.log().contains("stopping").then_some(())
        });
        gate.open();
        assert_eq!(service.wait().code(), Some(0));
    });
    assert!(!service.log().contains("panicked"));
    assert_interrupted(&receiver, &accepted);
    service.start();
    assert_all_done_once(&client, &receiver, &accepted);
}

#[test]
fn a_kill_under_load_loses_nothing_and_the_next_start_finishes_all() {
    let (mut service, (receiver, gate)) = (busy_service(), receiver_of(TOLD_BEFORE));
    let client = service.client();
    let accepted = under_load(&client, &receiver, || {
        wait_for_work(&client, &receiver);
        service.kill();
        gate.open();
    });
    assert_interrupted(&receiver, &accepted);
    service.start();
    assert_all_done_once(&client, &receiver, &accepted);
}

#[test]
fn kills_again_and_again_are_survived() {
    let (mut service, receiver) = (busy_service(), Peer::receiver());
    let client = service.client();
    let mut accepted = BTreeSet::new();
    for round in 1..=3 {
        accepted.extend(under_load(&client, &receiver, || {
            receiver.wait_for_callbacks("task.completed", round * 10);
            service.kill();
        }));
        service.start();
    }
    assert_all_done_once(&client, &receiver, &accepted);
}

#[test]
fn either_process_of_a_chain_may_be_killed_with_work_in_its_hands() {
    let mut chain = Chain::start();
    let (client, receiver) = (chain.client(), Peer::receiver());
    let tasks: Vec<String> = (0..40)
        .map(|_| chain.submit(json!({"callback_url": receiver.url("/hook")})))
        .collect();
    receiver.wait_for_callbacks("task.completed", 5);
    chain.tts.kill();
    chain.backend.kill();
    chain.backend.start();
    chain.tts.start();
    for task in &tasks {
        client.wait_for_status(task, "completed");
        assert_eq!(client.times_reached(task, "completed"), 1, "{task}");
        let speech = Chain::speech(task);
        assert_eq!(
            chain.tts.client().times_reached(&speech, "completed"),
            1,
            "{speech}"
        );
    }
    receiver.wait_for("the callbacks of all tasks", |requests| {
        let told: BTreeSet<String> = requests.iter().filter_map(subject).collect();
        (told.len() == tasks.len()).then_some(())
    });
}

#[test]
fn a_job_that_a_graceful_stop_interrupts_costs_it_no_attempt() {
    let mut service = Service::tts().set("server.shutdown_grace_s", 4).start();
    let client = service.client();
    let body = json!({"text": "Xin chào.", "voice": "test/hang"});
    let speech = client.post("/v1/speech", &body).expect(202);
    let path = speech.header("location").unwrap().to_owned();
    let before = client.wait_for_status(&path, "synthesizing");
    assert_eq!(service.terminate().code(), Some(0));
    service.start();
    let after = client.wait_for_status(&path, "synthesizing");
    assert_eq!(after["attempt"], before["attempt"]);
    let events = client.events(&path);
    let given_back = events.iter().filter(|event| event["to"] == "queued");
    assert_eq!(
        given_back.count(),
        2,
        "accepted, and given back: {events:#?}"
    );
}

#[test]
fn a_stopping_service_ends_its_streams_and_is_not_ready_any_more() {
    let mut service = Service::all().start();
    let client = service.client();
    submit(&client, json!({"voice": "test/slow-1000"}));
    let stream = client.stream("/v1/events", None);
    service.signal("-TERM");
    // The stream ends by itself, before the grace is over.
    assert!(stream.count() < 100);
    assert_eq!(service.wait().code(), Some(0));
}

#[test]
fn who_waits_for_an_end_is_answered_with_what_is_known_when_the_service_stops() {
    // Neither wait is over before the service cuts off who is still there.
    let mut service = Service::all()
        .set("server.shutdown_grace_s", 40)
        .set("tts.workers", 2)
        .start();
    let client = service.client();
    let body = json!({"text": "Xin chào.", "voice": "test/hang"}).to_string();
    let headers = [("content-type", "application/json"), ("prefer", "wait=60")];
    std::thread::scope(|scope| {
        let waiting = ["/v1/tasks", "/v1/speech"].map(|path| {
            let (client, body) = (&client, &body);
            scope.spawn(move || client.try_send("POST", path, &headers, body.as_bytes()))
        });
        client.wait_until("/v1/speech", "two that are spoken", |page| {
            let speeches = page["items"].as_array().unwrap();
            let spoken = speeches.iter().filter(|it| it["status"] == "synthesizing");
            spoken.count() == 2
        });
        client.wait_until("/v1/tasks", "one that is handed over", |page| {
            page["items"][0]["status"] == "in_progress"
        });
        service.signal("-TERM");
        for answer in waiting.map(|answer| answer.join().unwrap()) {
            let known = answer.expect("an answer").expect(202).json();
            let status = known["status"].as_str().unwrap();
            assert!(["in_progress", "synthesizing"].contains(&status), "{known}");
        }
    });
}

#[test]
fn a_second_signal_ends_the_process_at_once() {
    // Nobody waits for it to stop by itself.
    let mut service = Service::all().set("server.shutdown_grace_s", 600).start();
    let client = service.client();
    let task = submit(&client, json!({"voice": "test/hang"}));
    client.wait_for_status(&task, "in_progress");
    service.signal("-INT");
    eventually("it is stopping", || {
        service.log().contains("stopping").then_some(())
    });
    // It says so a moment before it listens for another one.
    eventually("it ends", || {
        let has_ended = service.has_ended();
        if !has_ended {
            service.signal("-INT");
        }
        has_ended.then_some(())
    });
    assert_eq!(service.wait().code(), Some(1));
    service.start();
    assert_eq!(
        client.get(&task).expect(200).json()["status"],
        "in_progress"
    );
}
