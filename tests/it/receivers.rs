//! Receivers as they are: each answers in its own way, and is heard once.

use serde_json::json;

use crate::support::{Client, Peer, Reaction, Service};

/// Starts a speech for a receiver and gives its path.
#[track_caller]
fn speak_for(client: &Client, receiver: &Peer) -> String {
    let body = json!({"text": "Chào.", "voice": "test/silence", "format": "wav",
        "callback_url": receiver.url("/hook")});
    let speech = client.post("/v1/speech", &body).expect(202).json();
    format!("/v1/speech/{}", speech["id"].as_str().unwrap())
}

/// Ways to say 200 that are not the plainest, to OPTIONS and POST alike.
fn ways_to_accept() -> Vec<(&'static str, Reaction)> {
    let wait = "HTTP/1.1 100 Continue\r\n\r\n";
    let hints = "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n";
    let ok = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
    let short = "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nok";
    let chunk = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n";
    let many: String = (0..120).map(|n| format!("x-{n}: {n}\r\n")).collect();
    let with = |headers: &str| format!("HTTP/1.1 200 OK\r\n{headers}content-length: 2\r\n\r\nok");
    vec![
        ("an interim answer", Reaction::Bytes(format!("{wait}{ok}"))),
        (
            "several interim answers",
            Reaction::Bytes(format!("{wait}{hints}{hints}{ok}")),
        ),
        ("a short body", Reaction::Bytes(short.to_owned())),
        (
            "a body that hangs",
            Reaction::BytesThenSilence(short.to_owned()),
        ),
        (
            "chunks that hang",
            Reaction::BytesThenSilence(chunk.to_owned()),
        ),
        (
            "broken chunks",
            Reaction::Bytes(format!("{chunk}nonsense\r\n")),
        ),
        ("a body without end", Reaction::EndlessBody),
        ("120 headers", Reaction::Bytes(with(&many))),
        (
            "a folded header",
            Reaction::Bytes(with("x: one\r\n two\r\n")),
        ),
        (
            "two equal lengths",
            Reaction::Bytes(with("content-length: 2\r\n")),
        ),
    ]
}

#[test]
fn a_receiver_that_accepts_in_an_odd_way_is_told_once() {
    let service = Service::tts().start();
    let client = service.client();
    let told: Vec<_> = ways_to_accept()
        .into_iter()
        .map(|(way, reaction)| {
            let receiver = Peer::receiver();
            receiver.react(move |_| reaction.clone());
            (way, speak_for(&client, &receiver), receiver)
        })
        .collect();
    for (way, speech, receiver) in told {
        let speech = client.wait_until(&speech, way, |speech| {
            speech["callback"]["attempts"].as_u64() > Some(0)
        });
        let callback = &speech["callback"];
        assert_eq!(callback["check"], "open", "{way}");
        assert_eq!(callback["status"], "delivered", "{way}");
        assert_eq!(callback["attempts"], 1, "{way}");
        assert_eq!(receiver.callbacks("speech.completed").len(), 1, "{way}");
    }
}

/// Proxies are set to let GET and POST pass alone.
#[test]
fn a_receiver_that_answers_no_options_is_checked_by_a_post() {
    let service = Service::tts().set("callback.check_timeout_s", 1).start();
    let client = service.client();
    let receivers = [
        ("closes", Reaction::HangUp),
        ("hangs", Reaction::Silence),
        ("says nonsense", Reaction::Garbage),
        ("says half", Reaction::HalfAnswer),
        (
            "says wait and closes",
            Reaction::Bytes("HTTP/1.1 100 Continue\r\n\r\n".to_owned()),
        ),
    ]
    .map(|(what, to_options)| {
        let receiver = Peer::receiver();
        receiver.react(move |request| match request.method.as_str() {
            "OPTIONS" => to_options.clone(),
            _ => Reaction::Answer(200),
        });
        (what, speak_for(&client, &receiver), receiver)
    });
    for (what, speech, receiver) in receivers {
        let speech = client.wait_until(&speech, what, |speech| {
            speech["callback"]["status"] == "delivered"
        });
        assert_eq!(speech["callback"]["check"], "open", "{what}");
        let checks = receiver.callbacks("callback.check");
        assert!(!checks.is_empty(), "{what}");
        assert_eq!(receiver.callbacks("speech.completed").len(), 1, "{what}");
    }
}

#[test]
fn a_post_that_is_answered_by_404_decides_where_options_is_not_answered() {
    let service = Service::tts().start();
    let (client, receiver) = (service.client(), Peer::receiver());
    receiver.react(|request| match request.method.as_str() {
        "OPTIONS" => Reaction::HangUp,
        _ => Reaction::Answer(404),
    });
    let speech = speak_for(&client, &receiver);
    let failed = client.wait_for_status(&speech, "failed");
    assert_eq!(failed["error"]["code"], "callback_not_found");
    assert_eq!(receiver.callbacks("callback.check").len(), 2);
}
