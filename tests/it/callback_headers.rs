//! Headers that a receiver wants: sent to it each time, and told to nobody.

use serde_json::{Value, json};

use super::support::chain::Chain;
use super::support::http::Client;
use super::support::peer::{Peer, Reaction, Request};
use super::support::service::Service;
use super::support::signed::{SECRET, assert_signed};

const TOKEN: &str = "Bearer of-mine-alone";

/// A speech that is told to `receiver`, and its path.
#[track_caller]
fn speak(client: &Client, receiver: &Peer, headers: Value) -> String {
    let body = json!({
        "text": "Xin chào.",
        "voice": "test/silence",
        "callback_url": receiver.url("/hook"),
        "callback_headers": headers,
    });
    let speech = client.post("/v1/speech", &body).expect(202).json();
    format!("/v1/speech/{}", speech["id"].as_str().unwrap())
}

fn wait_until_told(client: &Client, path: &str) -> Value {
    client.wait_until(path, "told", |it| it["callback"]["status"] == "delivered")
}

/// What a request says under this name; it must say it once.
#[track_caller]
fn only<'a>(request: &'a Request, name: &str) -> &'a str {
    let headers = request.message.headers.iter();
    let said: Vec<&str> = headers
        .filter(|(known, _)| known == name)
        .map(|(_, value)| value.as_str())
        .collect();
    assert_eq!(said.len(), 1, "{name}: {request:?}");
    said[0]
}

#[test]
fn every_check_and_every_callback_carries_them() {
    let service = Service::all().start();
    let client = service.client();
    let receiver = Peer::receiver();
    // So it is asked by POST too.
    receiver.react(|request| match request.method.as_str() {
        "OPTIONS" => Reaction::Answer(404),
        _ => Reaction::Answer(204),
    });
    let headers = json!({ "Authorization": TOKEN, "X-Api-Key": "k e y" });
    let path = speak(&client, &receiver, headers);
    wait_until_told(&client, &path);
    let requests = receiver.requests();
    let kinds: Vec<String> = requests.iter().filter_map(Request::kind).collect();
    assert_eq!(kinds, ["callback.check", "speech.completed"]);
    assert_eq!(requests.len(), 3);
    for request in &requests {
        assert_eq!(only(request, "authorization"), TOKEN);
        assert_eq!(only(request, "x-api-key"), "k e y");
    }
    assert_signed(&requests[2], SECRET);
}

#[test]
fn nobody_but_the_receiver_sees_them() {
    let service = Service::all().start();
    let client = service.client();
    let receiver = Peer::receiver();
    // As debug pages do.
    receiver.react(|request| {
        let said = only(request, "authorization");
        let token = said.trim_start_matches("Bearer ");
        let page = format!(
            "You are {said}, that is {token}. {}{token}",
            " ".repeat(420)
        );
        Reaction::Body(page.into_bytes().into())
    });
    let path = speak(&client, &receiver, json!({ "authorization": TOKEN }));
    let told = wait_until_told(&client, &path);
    let delivery = told["callback"]["delivery_id"].as_str().unwrap();
    let delivery = format!("/v1/speech/deliveries/{delivery}");
    let kept = client.get(&delivery).expect(200).json()["attempts"][0]["body"].to_string();
    assert!(
        kept.contains("You are (hidden), that is (hidden)."),
        "{kept}"
    );
    for path in [
        delivery,
        path.clone(),
        format!("{path}/events"),
        "/v1/speech".to_owned(),
        "/v1/speech/deliveries".to_owned(),
        "/v1/system".to_owned(),
    ] {
        let answer = client.get(&path).expect(200);
        assert!(!answer.text().contains("of-mine"), "{}", answer.text());
        assert!(!answer.text().contains("callback_headers"), "{path}");
    }
    let told = receiver.wait_for_callback("speech.completed");
    assert!(!String::from_utf8_lossy(told.body()).contains("of-mine"));
    assert!(!service.log().contains("of-mine"), "{}", service.log());
}

#[test]
fn those_of_a_task_are_not_handed_to_the_tts_service() {
    let chain = Chain::start();
    let receiver = Peer::receiver();
    let task = chain.submit(json!({
        "callback_url": receiver.url("/hook"),
        "callback_headers": { "authorization": TOKEN },
    }));
    wait_until_told(&chain.client(), &task);
    let told = receiver.wait_for_callback("task.completed");
    assert_eq!(only(&told, "authorization"), TOKEN);
    let between = [chain.to_tts.requests(), chain.to_backend.requests()].concat();
    assert!(!between.is_empty());
    for request in between {
        let all = format!("{:?} {}", request, String::from_utf8_lossy(request.body()));
        assert!(!all.contains("of-mine"), "{all}");
    }
}

#[test]
fn a_redelivery_after_a_restart_and_the_retry_of_a_task_send_them_again() {
    let mut service = Service::all().start();
    let client = service.client();
    let receiver = Peer::receiver();
    let body = json!({
        "text": "fails",
        "voice": "test/fail",
        "callback_url": receiver.url("/hook"),
        "callback_headers": { "authorization": TOKEN },
    });
    let task = client.post("/v1/tasks", &body).expect(202).json();
    let task = format!("/v1/tasks/{}", task["id"].as_str().unwrap());
    let told = wait_until_told(&client, &task);
    service.kill();
    service.start();
    let client = service.client();
    let delivery = told["callback"]["delivery_id"].as_str().unwrap();
    client
        .ask(&format!("/v1/tasks/deliveries/{delivery}/redeliver"))
        .expect(202);
    receiver.wait_for_callbacks("task.failed", 2);
    client.ask(&format!("{task}/retry")).expect(202);
    for told in receiver.wait_for_callbacks("task.failed", 3) {
        assert_eq!(only(&told, "authorization"), TOKEN);
    }
}

#[test]
fn they_make_another_request() {
    let service = Service::all().start();
    let client = service.client();
    let receiver = Peer::receiver();
    // A task hands its id on to its speech.
    for path in [
        "/v1/tasks/0199aaaa-0000-7000-8000-000000000001",
        "/v1/speech/0199aaaa-0000-7000-8000-000000000002",
    ] {
        let put = |headers: Value| {
            let body = json!({
                "text": "Một.",
                "voice": "test/silence",
                "callback_url": receiver.url("/hook"),
                "callback_headers": headers,
            });
            client.put(path, &body)
        };
        put(json!({ "X-A": "1", "x-b": "2" })).expect(202);
        put(json!({ "x-B": "2", "x-a": "1" })).expect(200);
        put(json!({ "x-a": "1", "x-b": "3" })).expect_problem(422, "idempotency_conflict");
        put(json!(null)).expect_problem(422, "idempotency_conflict");
    }
}

/// Only with the right key this receiver says that it is one.
fn behind_a_gateway() -> Peer {
    let receiver = Peer::receiver();
    receiver.react(|request| match request.header("authorization") {
        Some(TOKEN) => Reaction::Answer(204),
        _ => Reaction::Answer(404),
    });
    receiver
}

#[test]
fn jobs_with_different_headers_are_checked_each_with_its_own() {
    let service = Service::all().start();
    let client = service.client();
    let receiver = behind_a_gateway();
    let wrong = speak(&client, &receiver, json!({ "authorization": "Bearer x" }));
    let none = speak(&client, &receiver, json!({}));
    let right = speak(&client, &receiver, json!({ "authorization": TOKEN }));
    wait_until_told(&client, &right);
    let later = speak(&client, &receiver, json!({ "authorization": "Bearer y" }));
    for refused in [wrong, none, later] {
        let speech = client.wait_for_status(&refused, "failed");
        assert_eq!(speech["error"]["code"], "callback_not_found");
    }
    client.wait_for_status(&right, "completed");
}

#[test]
fn a_check_on_demand_sends_what_it_is_given() {
    let service = Service::all().start();
    let client = service.client();
    let receiver = behind_a_gateway();
    let check = |headers: Value| {
        let body = json!({ "url": receiver.url("/hook"), "callback_headers": headers });
        client.post("/v1/callback-checks", &body)
    };
    let checked = check(json!({ "Authorization": TOKEN })).expect(200).json();
    assert_eq!(checked["check"], "open");
    let checked = check(json!({})).expect(200).json();
    assert_eq!(checked["check"], "not_found");
    check(json!({ "host": "elsewhere" })).expect_problem(422, "invalid_request");
}

#[test]
fn default_headers_go_to_every_receiver_and_a_request_s_own_win() {
    let service = Service::all()
        .set("callback.default_headers.x-gateway", "open, sesame")
        .set("callback.default_headers.x-hoiam", "yes")
        .start();
    let client = service.client();
    let (plain, own) = (Peer::receiver(), Peer::receiver());
    speak(&client, &plain, json!(null));
    speak(&client, &own, json!({ "X-Gateway": "mine" }));
    for (receiver, gateway) in [(plain, "open, sesame"), (own, "mine")] {
        receiver.wait_for_callback("speech.completed");
        for request in receiver.requests() {
            assert_eq!(only(&request, "x-gateway"), gateway);
            assert_eq!(only(&request, "x-hoiam"), "yes");
        }
    }
    assert!(!service.log().contains("sesame"), "{}", service.log());
}

#[test]
fn headers_that_are_not_for_a_request_to_choose_are_refused_without_their_values() {
    let service = Service::all().start();
    let client = service.client();
    for path in ["/v1/tasks", "/v1/speech"] {
        let body = json!({
            "text": "Một.",
            "callback_url": "http://127.0.0.1:1/",
            "callback_headers": {
                "Host": "secret-of-mine",
                "webhook-signature": "secret-of-mine",
                "x-split": "secret-of-mine\r\nx-more: 1",
            },
        });
        let refused = client.post(path, &body);
        assert!(!refused.text().contains("secret-of-mine"));
        let problem = refused.expect_problem(422, "invalid_request");
        let errors = problem["errors"].as_array().unwrap().iter();
        let pointers: Vec<&str> = errors
            .map(|error| error["pointer"].as_str().unwrap())
            .collect();
        for name in ["Host", "webhook-signature", "x-split"] {
            let pointer = format!("/callback_headers/{name}");
            assert!(pointers.contains(&pointer.as_str()), "{pointers:?}");
        }
        let body = json!({ "text": "Một.", "callback_headers": { "x-a": "1" } });
        let problem = client
            .post(path, &body)
            .expect_problem(422, "invalid_request");
        assert_eq!(problem["errors"][0]["code"], "no_callback_url");
        assert_eq!(client.get(path).json()["items"], json!([]));
    }
}
