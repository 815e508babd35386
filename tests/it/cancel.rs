//! Cancel, in every state, and how the TTS service hears of it.

use serde_json::json;

use crate::support::{Chain, Gate, Peer, Reaction};

#[track_caller]
fn cancel(chain: &Chain, task: &str) {
    let canceled = chain.client().ask(&format!("{task}/cancel"));
    assert_eq!(canceled.expect(200).json()["status"], "canceled");
}

/// How often the TTS service was told that nobody waits any more.
fn abandons(chain: &Chain, task: &str) -> usize {
    let path = format!("{}/cancel", Chain::speech(task));
    chain.to_tts.requests_to("POST", &path).len()
}

#[test]
fn a_queued_task_is_canceled_told_and_never_spoken() {
    let chain = Chain::start();
    let receiver = Peer::receiver();
    chain.to_tts.react(|request| match request.method.as_str() {
        "PUT" => Reaction::AnswerWith(503, vec![("retry-after", "1".into())]),
        _ => Reaction::Pass,
    });
    let task = chain.submit(json!({"callback_url": receiver.url("/hook")}));
    let client = chain.client();
    client.wait_until(&task, "tried", |task| task["attempt"] != 0);
    cancel(&chain, &task);
    let told = receiver.wait_for_callback("task.canceled").json();
    assert_eq!(told["data"]["status"], "canceled");
    let abandon = format!("{}/cancel", Chain::speech(&task));
    chain.to_tts.wait_for_request("POST", &abandon, 1);
    let speech = chain.tts.client().get(&Chain::speech(&task));
    assert_eq!(speech.status, 404, "it was handed over all the same");
}

#[test]
fn a_cancel_while_the_hand_over_is_on_its_way_reaches_the_job_that_comes_of_it() {
    let chain = Chain::start();
    let gate = Gate::default();
    let held = gate.clone();
    chain
        .to_tts
        .react(move |request| match request.method.as_str() {
            "PUT" => Reaction::HoldAnswer(held.clone()),
            _ => Reaction::Pass,
        });
    let task = chain.submit(json!({"voice": "test/hang"}));
    let tts = chain.tts.client();
    crate::support::eventually("the speech is there", || {
        (tts.get(&Chain::speech(&task)).status == 200).then_some(())
    });
    cancel(&chain, &task);
    gate.open();
    tts.wait_for_status(&Chain::speech(&task), "canceled");
    let after = chain.client().get(&task).expect(200).json();
    assert_eq!(after["status"], "canceled");
    assert_eq!(chain.client().times_reached(&task, "in_progress"), 0);
}

#[test]
fn a_task_in_progress_is_canceled_and_its_synthesis_with_it() {
    let chain = Chain::start();
    let receiver = Peer::receiver();
    let task = chain.submit(json!({"voice": "test/hang", "callback_url": receiver.url("/hook")}));
    let tts = chain.tts.client();
    chain.client().wait_for_status(&task, "in_progress");
    tts.wait_for_status(&Chain::speech(&task), "synthesizing");
    cancel(&chain, &task);
    tts.wait_for_status(&Chain::speech(&task), "canceled");
    receiver.wait_for_callback("task.canceled");
    // The only worker is free again.
    let next = chain.submit(json!({}));
    chain.client().wait_for_status(&next, "completed");
    // Its own speech.canceled has been told to the Backend and changed nothing.
    chain.to_backend.wait_for_callback("speech.canceled");
    assert_eq!(chain.client().times_reached(&task, "canceled"), 1);
    assert_eq!(receiver.callbacks("task.canceled").len(), 1);
}

#[test]
fn an_abandon_that_is_not_answered_is_made_again() {
    let chain = Chain::start();
    chain.to_tts.react(|request| {
        if request.path.ends_with("/cancel") && request.nth == 1 {
            Reaction::HangUp
        } else {
            Reaction::Pass
        }
    });
    let task = chain.submit(json!({"voice": "test/hang"}));
    chain.client().wait_for_status(&task, "in_progress");
    cancel(&chain, &task);
    chain
        .tts
        .client()
        .wait_for_status(&Chain::speech(&task), "canceled");
    assert_eq!(abandons(&chain, &task), 2);
}

#[test]
fn a_task_whose_files_are_being_fetched_is_canceled_and_nothing_is_kept() {
    let chain = Chain::start();
    let receiver = Peer::receiver();
    chain.to_tts.react(|request| {
        if request.path.ends_with("/audio.wav") {
            Reaction::Answer(503)
        } else {
            Reaction::Pass
        }
    });
    let task = chain.submit(json!({"callback_url": receiver.url("/hook")}));
    let client = chain.client();
    client.wait_for_status(&task, "fetching");
    cancel(&chain, &task);
    receiver.wait_for_callback("task.canceled");
    assert_eq!(
        abandons(&chain, &task),
        0,
        "the job has ended; nothing is to be called off"
    );
    client
        .get(&format!("{task}/audio.wav"))
        .expect_problem(410, "expired");
    assert_eq!(client.times_reached(&task, "completed"), 0);
}

#[test]
fn a_cancel_is_repeatable_and_comes_too_late_for_what_has_ended() {
    let chain = Chain::start();
    let receiver = Peer::receiver();
    let client = chain.client();
    let canceled =
        chain.submit(json!({"voice": "test/hang", "callback_url": receiver.url("/hook")}));
    for _ in 0..3 {
        cancel(&chain, &canceled);
    }
    receiver.wait_for_callback("task.canceled");
    assert_eq!(client.times_reached(&canceled, "canceled"), 1);

    let completed = chain.submit(json!({}));
    client.wait_for_status(&completed, "completed");
    let failed = chain.submit(json!({"voice": "test/fail"}));
    client.wait_for_status(&failed, "failed");
    for ended in [&completed, &failed] {
        client
            .ask(&format!("{ended}/cancel"))
            .expect_problem(409, "already_ended");
    }
    let unknown = "/v1/tasks/0199aaaa-0000-7000-8000-00000000dead/cancel";
    assert_eq!(client.ask(unknown).status, 404);
    assert_eq!(client.ask("/v1/tasks/not-an-id/cancel").status, 404);
}

#[test]
fn a_speech_that_is_canceled_at_the_tts_service_fails_its_task() {
    let chain = Chain::start();
    let task = chain.submit(json!({"voice": "test/hang"}));
    chain.client().wait_for_status(&task, "in_progress");
    let cancel = format!("{}/cancel", Chain::speech(&task));
    chain.tts.client().ask(&cancel).expect(200);
    let failed = chain.client().wait_for_status(&task, "failed");
    assert_eq!(failed["error"]["code"], "speech_canceled");
}
