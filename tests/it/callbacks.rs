//! Callbacks between the services and to clients: lost, repeated, forged,
//! refused, checked beforehand and delivered again.

use chrono::DateTime;
use serde_json::{Value, json};

use crate::support::chain::submit;
use crate::support::signed::{SECRET, assert_signed, sign};
use crate::support::{Answer, Chain, Client, Gate, Peer, Reaction, Request, Service};

const OTHER_SECRET: &str = "whsec_YW5vdGhlciBzZWNyZXQgdGhhdCBub2JvZHkga25vd3M=";

/// Sends a callback to the Backend, with these headers.
#[track_caller]
fn report(client: &Client, headers: &[(&str, String)], body: &[u8]) -> Answer {
    let mut all = vec![("content-type", "application/json")];
    all.extend(headers.iter().map(|(name, value)| (*name, value.as_str())));
    client.send_bytes("POST", "/v1/callbacks", &all, body)
}

/// The Backend's clock, in seconds since 1970.
fn now_s(client: &Client) -> i64 {
    let date = client.get("/health/live").expect(200);
    let date = date.header("date").expect("a date").to_owned();
    DateTime::parse_from_rfc2822(&date).unwrap().timestamp()
}

/// What the TTS service would say of a speech that has failed.
fn failed_speech(task: &Value) -> Value {
    let mut speech = task.clone();
    speech["status"] = json!("failed");
    speech["error"] = json!({"code": "engine_failed", "detail": "It broke.", "retryable": false});
    for own in ["late_result", "retry_of", "retried_as", "callback"] {
        speech[own] = Value::Null;
    }
    json!({"type": "speech.failed", "timestamp": task["created_at"], "data": speech})
}

/// Nothing else happens after the receivers have answered that would have the service
/// look for what it still owes.
#[test]
fn what_ends_while_every_receiver_keeps_its_callbacks_waiting_is_told_once_they_answer() {
    const SPEECHES: usize = 200;
    let service = Service::tts().set("callback.total_timeout_s", 600).start();
    let client = service.client();
    let gate = Gate::default();
    let receivers: Vec<Peer> = (0..5).map(|_| Peer::receiver()).collect();
    for receiver in &receivers {
        let gate = gate.clone();
        receiver.react(move |request| match request.method.as_str() {
            "POST" => Reaction::After(gate.clone(), Reaction::Answer(200).into()),
            _ => Reaction::Answer(200),
        });
    }
    let speeches: Vec<String> = receivers
        .iter()
        .cycle()
        .take(SPEECHES)
        .map(|receiver| {
            let body = json!({"text": "Chào.", "voice": "test/silence", "format": "wav",
            "callback_url": receiver.url("/")});
            let speech = client.post("/v1/speech", &body).expect(202).json();
            format!("/v1/speech/{}", speech["id"].as_str().unwrap())
        })
        .collect();
    for speech in &speeches {
        client.wait_for_status(speech, "completed");
    }
    gate.open();
    for receiver in &receivers {
        receiver.wait_for_callbacks("speech.completed", SPEECHES / receivers.len());
    }
}

#[test]
fn a_callback_that_is_lost_is_settled_by_asking_before_the_deadline() {
    let chain = Chain::start();
    chain.to_backend.react(|_| Reaction::Answer(204));
    let client = chain.client();
    // It is asked in the last tenth of the time. A machine that stalls just then
    // is late for that, and another task gets more of it.
    let in_time = [4, 20, 90].into_iter().find_map(|timeout_s| {
        let task = chain.submit(json!({"timeout_s": timeout_s}));
        let ended = client.wait_until(&task, "ended", |it| it["ended_at"].is_string());
        let is_in_time = ended["status"] == "completed"
            && ended["ended_at"].as_str() < ended["deadline_at"].as_str();
        is_in_time.then_some(task)
    });
    let task = in_time.expect("a task that is settled before its deadline");
    let events = client.events(&task);
    let known = events.iter().find(|event| event["to"] == "fetching");
    assert_eq!(known.unwrap()["by"], "TimeoutWatchdog");
    let mut told = chain.to_backend.callbacks("speech.completed");
    told.retain(|told| task.ends_with(told.json()["data"]["id"].as_str().unwrap()));
    assert_eq!(told.len(), 1);
}

#[test]
fn a_callback_that_comes_twice_is_applied_once() {
    let chain = Chain::start();
    let receiver = Peer::receiver();
    let client = chain.client();
    let task = chain.submit(json!({"callback_url": receiver.url("/hook")}));
    client.wait_until(&task, "told", |task| {
        task["callback"]["status"] == "delivered"
    });
    let callback = chain.to_backend.wait_for_callback("speech.completed");
    let (before, history) = (client.get(&task).json(), client.events(&task));
    for _ in 0..3 {
        assert_eq!(replay(&client, &callback).status, 204);
    }
    let after = client.get(&task).json();
    assert_eq!(client.events(&task), history);
    assert_eq!(after["ended_at"], before["ended_at"]);
    assert_eq!(
        after["callback"]["delivery_id"],
        before["callback"]["delivery_id"]
    );
    assert_eq!(receiver.callbacks("task.completed").len(), 1);
}

/// Sends a recorded callback once more, byte for byte.
#[track_caller]
fn replay(client: &Client, callback: &Request) -> Answer {
    let headers: Vec<(&str, String)> = ["webhook-id", "webhook-timestamp", "webhook-signature"]
        .map(|name| (name, callback.header(name).unwrap().to_owned()))
        .to_vec();
    report(client, &headers, callback.body())
}

#[test]
fn forged_stale_unsigned_and_altered_callbacks_are_refused_and_change_nothing() {
    let service = Service::all().start();
    let client = service.client();
    let task = submit(&client, json!({"voice": "test/hang"}));
    let before = client.wait_for_status(&task, "in_progress");
    let history = client.events(&task);
    let body = failed_speech(&before).to_string().into_bytes();
    let altered = [&body[..], b" "].concat();
    let now = now_s(&client);
    let signed = sign(SECRET, "msg_1", now, &body);
    let without = |left_out: usize| {
        let mut headers = signed.to_vec();
        headers.remove(left_out);
        headers
    };
    let refused = [
        ("unsigned", vec![], &body),
        ("no id", without(0), &body),
        ("no timestamp", without(1), &body),
        ("no signature", without(2), &body),
        (
            "forged",
            sign(OTHER_SECRET, "msg_1", now, &body).to_vec(),
            &body,
        ),
        (
            "stale",
            sign(SECRET, "msg_1", now - 400, &body).to_vec(),
            &body,
        ),
        (
            "of the future",
            sign(SECRET, "msg_1", now + 400, &body).to_vec(),
            &body,
        ),
        ("altered", signed.to_vec(), &altered),
    ];
    for (what, headers, body) in refused {
        let answer = report(&client, &headers, body);
        assert_eq!(answer.status, 401, "{what}: {}", answer.text());
        assert_eq!(client.get(&task).json()["status"], "in_progress", "{what}");
    }
    assert_eq!(client.events(&task), history);

    // The same words, signed well, are believed: it was the signature.
    assert_eq!(report(&client, &signed, &body).status, 204);
    let after = client.get(&task).json();
    assert_eq!(after["status"], "failed");
    assert_eq!(after["error"]["code"], "engine_failed");
}

#[test]
fn a_callback_of_an_unknown_task_is_answered_410() {
    let service = Service::all().start();
    let client = service.client();
    let task = submit(&client, json!({}));
    let mut body = failed_speech(&client.wait_for_status(&task, "completed"));
    body["data"]["id"] = json!("0199aaaa-0000-7000-8000-00000000dead");
    let body = body.to_string().into_bytes();
    let headers = sign(SECRET, "msg_1", now_s(&client), &body);
    report(&client, &headers, &body).expect_problem(410, "no_such_task");
}

/// A speech at the TTS service, reporting to `url`; its path.
#[track_caller]
fn speech(client: &Client, url: String) -> String {
    let body = json!({"text": "Xin chào.", "voice": "test/silence", "callback_url": url});
    let speech = client.post("/v1/speech", &body).expect(202).json();
    format!("/v1/speech/{}", speech["id"].as_str().unwrap())
}

#[test]
fn a_receiver_whose_route_takes_only_post_gets_its_callback() {
    let service = Service::tts().start();
    let (client, receiver) = (service.client(), Peer::receiver());
    receiver.react(|request| match request.method.as_str() {
        "POST" => Reaction::Answer(200),
        _ => Reaction::Answer(404),
    });
    let speech = speech(&client, receiver.url("/hook"));
    let check = receiver.wait_for_callback("callback.check");
    assert_signed(&check, SECRET);
    assert!(check.json()["data"]["id"].is_null());
    let callback = receiver.wait_for_callback("speech.completed");
    assert_signed(&callback, SECRET);
    let after = client.wait_until(&speech, "told", |it| {
        it["callback"]["status"] == "delivered"
    });
    assert_eq!(after["callback"]["check"], "open");
    let methods: Vec<String> = receiver
        .requests()
        .into_iter()
        .map(|it| it.method)
        .collect();
    assert_eq!(methods, ["OPTIONS", "POST", "POST"]);
}

#[test]
fn a_wrong_callback_url_is_found_out_before_anything_is_spoken() {
    for status in [404, 410] {
        let service = Service::tts().start();
        let (client, receiver) = (service.client(), Peer::receiver());
        receiver.react(move |_| Reaction::Answer(status));
        let speech = speech(&client, receiver.url("/wrong"));
        let failed = client.wait_for_status(&speech, "failed");
        assert_eq!(failed["error"]["code"], "callback_not_found");
        assert_eq!(failed["callback"]["check"], "not_found");
        assert_eq!(client.times_reached(&speech, "synthesizing"), 0);
        // Its own callback is tried once and given up.
        let after = client.wait_until(&speech, "given up", |it| {
            it["callback"]["status"] == "aborted"
        });
        assert_eq!(after["callback"]["attempts"], 1);
        assert_eq!(receiver.callbacks("callback.check").len(), 2);
        assert_eq!(receiver.callbacks("speech.failed").len(), 1);
    }
}

#[test]
fn a_receiver_that_cannot_be_reached_holds_the_speech_until_it_can() {
    let service = Service::tts().start();
    let (client, receiver) = (service.client(), Peer::receiver());
    receiver.react(|request| match request.nth {
        1 => Reaction::HangUp,
        _ => Reaction::Answer(204),
    });
    let speech = speech(&client, receiver.url("/hook"));
    receiver.wait_for_request("OPTIONS", "/hook", 1);
    receiver.wait_for_callback("speech.completed");
    assert_eq!(client.times_reached(&speech, "synthesizing"), 1);
}

#[test]
fn a_receiver_that_is_never_reached_fails_the_speech_after_the_hold() {
    let service = Service::tts().set("callback.hold_s", 2).start();
    let client = service.client();
    let nobody = format!("http://{}/hook", crate::support::peer::nobody());
    let speech = speech(&client, nobody);
    let failed = client.wait_for_status(&speech, "failed");
    assert_eq!(failed["error"]["code"], "callback_unreachable");
    assert_eq!(client.times_reached(&speech, "synthesizing"), 0);
}

/// A service that gives up on a receiver after two tries.
fn impatient() -> Service {
    Service::all().set("callback.schedule", "0,1").start()
}

fn deliveries(client: &Client, filter: &str) -> Vec<Value> {
    let page = client
        .get(&format!("/v1/tasks/deliveries{filter}"))
        .expect(200)
        .json();
    page["items"].as_array().unwrap().clone()
}

#[test]
fn an_exhausted_delivery_is_made_again_when_asked_for_with_the_same_id() {
    let service = impatient();
    let (client, receiver) = (service.client(), Peer::receiver());
    receiver.react(|_| Reaction::Answer(500));
    let task = submit(&client, json!({"callback_url": receiver.url("/hook")}));
    let given_up = client.wait_until(&task, "given up", |it| {
        it["callback"]["status"] == "exhausted"
    });
    let delivery = given_up["callback"]["delivery_id"].as_str().unwrap();
    let path = format!("/v1/tasks/deliveries/{delivery}");
    let listed = client.get(&path).expect(200).json();
    assert_eq!(listed["type"], "task.completed");
    assert_eq!(listed["round"], 1);
    let attempts = listed["attempts"].as_array().unwrap();
    assert_eq!(attempts.len(), 2);
    assert!(attempts.iter().all(|attempt| attempt["status"] == 500));

    receiver.react(|_| Reaction::Answer(204));
    let again = client.ask(&format!("{path}/redeliver")).expect(202).json();
    assert_eq!(again["round"], 2);
    client.wait_until(&path, "delivered", |it| it["status"] == "delivered");
    let sent = receiver.callbacks("task.completed");
    assert_eq!(sent.len(), 3);
    for callback in &sent {
        assert_signed(callback, SECRET);
        assert_eq!(
            callback.header("webhook-id"),
            Some(&*format!("msg_{delivery}"))
        );
    }
    // What has arrived can be asked for once more, too.
    client.ask(&format!("{path}/redeliver")).expect(202);
    receiver.wait_for_callbacks("task.completed", 4);
}

#[test]
fn exhausted_deliveries_are_made_again_by_filter() {
    let service = impatient();
    let (client, receiver) = (service.client(), Peer::receiver());
    receiver.react(|_| Reaction::Answer(500));
    let tasks: Vec<String> = (0..3)
        .map(|_| submit(&client, json!({"callback_url": receiver.url("/hook")})))
        .collect();
    for task in &tasks {
        client.wait_until(task, "given up", |it| {
            it["callback"]["status"] == "exhausted"
        });
    }
    assert_eq!(deliveries(&client, "?status=exhausted").len(), 3);
    receiver.react(|_| Reaction::Answer(204));

    let one = tasks[0].strip_prefix("/v1/tasks/").unwrap();
    let answer = client
        .ask(&format!("/v1/tasks/deliveries/redeliver?task_id={one}"))
        .expect(200);
    assert_eq!(answer.json(), json!({"redelivered": 1}));
    client.wait_until(&tasks[0], "told", |it| {
        it["callback"]["status"] == "delivered"
    });

    let all = client.post(
        "/v1/tasks/deliveries/redeliver",
        &json!({"status": "exhausted"}),
    );
    assert_eq!(all.expect(200).json(), json!({"redelivered": 2}));
    for task in &tasks {
        client.wait_until(task, "told", |it| it["callback"]["status"] == "delivered");
    }
    assert!(deliveries(&client, "?status=exhausted").is_empty());
    let unknown = client.post("/v1/tasks/deliveries/redeliver", &json!({"colour": "red"}));
    assert!((400..500).contains(&unknown.status), "{}", unknown.text());
}

#[test]
fn a_receiver_that_says_410_is_not_called_again() {
    let service = impatient();
    let (client, receiver) = (service.client(), Peer::receiver());
    receiver.react(|_| Reaction::Answer(410));
    let task = submit(&client, json!({"callback_url": receiver.url("/hook")}));
    let after = client.wait_until(&task, "given up", |it| {
        it["callback"]["status"] == "aborted"
    });
    assert_eq!(after["status"], "completed");
    assert_eq!(after["callback"]["attempts"], 1);
}

#[test]
fn a_redirect_is_a_failure_and_is_not_followed() {
    let service = impatient();
    let (client, receiver, elsewhere) = (service.client(), Peer::receiver(), Peer::receiver());
    let location = elsewhere.url("/hook");
    receiver.react(move |_| Reaction::AnswerWith(307, vec![("location", location.clone())]));
    let task = submit(&client, json!({"callback_url": receiver.url("/hook")}));
    client.wait_until(&task, "given up", |it| {
        it["callback"]["status"] == "exhausted"
    });
    assert!(elsewhere.requests().is_empty());
}

#[test]
fn a_callback_that_panics_each_time_is_a_failed_try_and_is_told_once_it_does_not() {
    let fault = "panic:send.task.completed.before";
    let schedule = format!("0,1,1{}", ",5".repeat(60));
    let mut service = Service::all()
        .set("callback.schedule", schedule)
        .failpoint(fault)
        .start();
    let (client, receiver) = (service.client(), Peer::receiver());
    let task = submit(&client, json!({"callback_url": receiver.url("/hook")}));
    let tried = |task: &Value| task["callback"]["attempts"].as_u64() >= Some(3);
    let task = client.wait_until(&task, "tried three times", tried);
    let delivery = task["callback"]["delivery_id"].as_str().unwrap();
    let delivery = format!("/v1/tasks/deliveries/{delivery}");
    let attempts = client.get(&delivery).expect(200).json()["attempts"].clone();
    for attempt in attempts.as_array().unwrap() {
        assert_eq!(attempt["phase"], "internal", "{attempt}");
    }
    service.kill();
    service.heal();
    service.start();
    client.wait_for_status(&delivery, "delivered");
    assert_eq!(receiver.callbacks("task.completed").len(), 1);
}

/// Whoever may name a callback URL could otherwise have the Backend's own callbacks, or
/// its alerts, sent here with a genuine signature.
#[test]
fn the_backend_is_told_of_speeches_and_of_nothing_else() {
    let service = Service::backend()
        .set("backend.tts_url", "http://127.0.0.1:9")
        .start();
    let client = service.client();
    let task = client
        .post(
            "/v1/tasks",
            &json!({"text": "Chào.", "voice": "test/silence"}),
        )
        .expect(202)
        .json();
    let path = format!("/v1/tasks/{}", task["id"].as_str().unwrap());
    let told = |kind: &str| {
        let mut body = failed_speech(&task);
        body["type"] = json!(kind);
        let body = body.to_string();
        let headers = sign(SECRET, "msg_1", now_s(&client), body.as_bytes());
        report(&client, &headers, body.as_bytes())
    };
    for kind in [
        "task.failed",
        "task.completed",
        "task.late_result",
        "receiver.shut",
        "disk.failing",
        "speech.begun",
        "speech.",
        "",
    ] {
        told(kind).expect_problem(400, "malformed");
    }
    told("callback.check").expect(204);
    assert_ne!(client.get(&path).json()["status"], "failed");
    told("speech.failed").expect(204);
    assert_eq!(client.get(&path).json()["status"], "failed");
}
