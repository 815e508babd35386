//! The methods that every path has beside its own.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

use serde_json::json;

use super::support::chain::submit;
use super::support::http::{Answer, Client};
use super::support::service::Service;

/// What differs between any two answers.
const OF_ITS_OWN: [&str; 2] = ["date", "x-request-id"];

fn head(client: &Client, path: &str, headers: &[(&str, &str)]) -> Answer {
    let answer = client.send("HEAD", path, headers, None);
    assert_eq!(answer.text(), "", "{path} sent a body");
    answer
}

/// All headers that are to be the same; the length of what changes from one
/// moment to the next is not.
fn headers(answer: &Answer, path: &str) -> Vec<(String, String)> {
    let changes = ["/metrics", "/v1/system"].contains(&path);
    let mut headers = answer.message.headers.clone();
    headers.retain(|(name, _)| {
        let differs = changes && name == "content-length";
        !differs && !OF_ITS_OWN.contains(&name.as_str())
    });
    headers.sort();
    headers
}

#[test]
fn head_is_answered_as_get_without_the_body_on_every_path() {
    let service = Service::all().start();
    let client = service.client();
    let task = submit(&client, json!({}));
    client.wait_for_status(&task, "completed");
    let speech = task.replace("tasks", "speech");
    // From here on nothing changes any more.
    client.wait_until(&speech, "told", |speech| {
        speech["callback"]["status"] == "delivered"
    });
    let mut paths: Vec<String> = [
        "/",
        "/health/live",
        "/health/ready",
        "/metrics",
        "/problems/not_found",
        "/v1/system",
        "/v1/voices",
        "/v1/tasks",
        "/v1/speech",
        "/v1/tasks/deliveries",
        "/v1/speech/deliveries",
        "/v1/tasks/unknown",
        "/v1/callbacks",
        "/nothing/here",
    ]
    .map(str::to_owned)
    .to_vec();
    for resource in [&task, &speech] {
        paths.push(resource.clone());
        for below in ["events", "audio.wav", "audio.mp3", "subtitles.srt"] {
            paths.push(format!("{resource}/{below}"));
        }
        for below in ["subtitles.karaoke.vtt", "words.json", "marks.jsonl"] {
            paths.push(format!("{resource}/{below}"));
        }
    }
    for path in paths {
        let (get, head) = (client.get(&path), head(&client, &path, &[]));
        assert_eq!(head.status, get.status, "{path}");
        assert_eq!(headers(&head, &path), headers(&get, &path), "{path}");
        let length = head.header("content-length").expect("a length");
        assert_ne!(length, "0", "{path}");
    }
}

#[test]
fn head_of_a_part_is_answered_with_the_whole_since_only_get_has_ranges() {
    let service = Service::all().start();
    let client = service.client();
    let task = submit(&client, json!({}));
    client.wait_for_status(&task, "completed");
    let path = format!("{task}/audio.wav");
    let range = [("range", "bytes=0-9")];
    client.send("GET", &path, &range, None).expect(206);
    let whole = client.get(&path).expect(200);
    let head = head(&client, &path, &range).expect(200);
    assert_eq!(
        head.header("content-length"),
        Some(whole.body().len().to_string().as_str())
    );
    assert_eq!(head.header("accept-ranges"), Some("bytes"));
}

#[test]
fn head_of_what_is_known_already_is_not_modified() {
    let service = Service::all().start();
    let client = service.client();
    let task = submit(&client, json!({}));
    client.wait_for_status(&task, "completed");
    for file in ["audio.wav", "words.json"] {
        let path = format!("{task}/{file}");
        let tag = head(&client, &path, &[]);
        let tag = tag.header("etag").expect("a tag");
        head(&client, &path, &[("if-none-match", tag)]).expect(304);
    }
}

/// The connection ends only if the stream does: this waits for it.
#[test]
fn head_of_an_event_stream_tells_its_type_and_ends() {
    let service = Service::all().start();
    let client = service.client();
    let task = submit(&client, json!({ "voice": "test/hang" }));
    let accept = [("accept", "text/event-stream")];
    let speech = task.replace("tasks", "speech");
    client.wait_for_status(&task, "in_progress");
    for path in [
        "/v1/events".to_owned(),
        format!("{task}/events"),
        format!("{speech}/events"),
    ] {
        let head = head(&client, &path, &accept).expect(200);
        assert_eq!(head.header("content-type"), Some("text/event-stream"));
    }
    client.ask(&format!("{task}/cancel")).expect(200);
}

#[test]
fn a_connection_goes_on_after_an_answer_to_head() {
    let service = Service::all().start();
    let mut stream = TcpStream::connect(service.address()).unwrap();
    let host = service.address();
    for (path, status) in [
        ("/metrics", "200 OK"),
        ("/v1/tasks", "200 OK"),
        ("/v1/tasks/unknown", "404 Not Found"),
        ("/nothing/here", "404 Not Found"),
    ] {
        write!(stream, "HEAD {path} HTTP/1.1\r\nhost: {host}\r\n\r\n").unwrap();
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        assert_eq!(line, format!("HTTP/1.1 {status}\r\n"), "{path}");
        while line != "\r\n" {
            line.clear();
            reader.read_line(&mut line).unwrap();
        }
        assert_eq!(reader.buffer(), b"", "{path}");
    }
    let last = "GET /health/live HTTP/1.1\r\nconnection: close\r\n";
    write!(stream, "{last}host: {host}\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.ends_with(r#"{"status":"live"}"#), "{answer}");
}

/// The methods that an answer allows, in alphabetical order.
fn allowed(answer: &Answer, what: &str) -> Vec<String> {
    let allow = answer.header("allow");
    let allow = allow.unwrap_or_else(|| panic!("no Allow: {what}"));
    let mut methods: Vec<String> = allow.split(", ").map(str::to_owned).collect();
    methods.sort();
    methods
}

#[test]
fn a_405_and_an_answer_to_options_tell_the_methods_of_the_path() {
    let service = Service::all().start();
    let client = service.client();
    let id = "01990000-0000-7000-8000-000000000000";
    let read = vec!["GET", "HEAD", "OPTIONS"];
    let act = vec!["OPTIONS", "POST"];
    let list = vec!["GET", "HEAD", "OPTIONS", "POST"];
    let one = vec!["DELETE", "GET", "HEAD", "OPTIONS", "PUT"];
    let mut cases = vec![
        ("/".to_owned(), &read),
        ("/health/live".to_owned(), &read),
        ("/health/ready".to_owned(), &read),
        ("/metrics".to_owned(), &read),
        ("/problems/expired".to_owned(), &read),
        ("/v1/system".to_owned(), &read),
        ("/v1/voices".to_owned(), &read),
        ("/v1/events".to_owned(), &read),
        ("/v1/callback-checks".to_owned(), &act),
        ("/v1/speech/statuses".to_owned(), &act),
        (format!("/v1/tasks/{id}/retry"), &act),
    ];
    for below in ["/v1/tasks", "/v1/speech"] {
        cases.extend([
            (below.to_owned(), &list),
            (format!("{below}/{id}"), &one),
            (format!("{below}/{id}/cancel"), &act),
            (format!("{below}/{id}/events"), &read),
            (format!("{below}/{id}/audio.mp3"), &read),
            (format!("{below}/{id}/words.json"), &read),
            (format!("{below}/deliveries"), &read),
            (format!("{below}/deliveries/redeliver"), &act),
            (format!("{below}/deliveries/{id}"), &read),
            (format!("{below}/deliveries/{id}/redeliver"), &act),
        ]);
    }
    for (path, methods) in cases {
        let refused = client.send("PATCH", &path, &[], None);
        assert_eq!(&allowed(&refused, &path), methods, "{path}");
        refused.expect_problem(405, "method_not_allowed");
        let told = client.send("OPTIONS", &path, &[], None).expect(204);
        assert_eq!(&allowed(&told, &path), methods, "{path}");
        assert!(told.header("x-request-id").is_some(), "{path}");
    }
    let head = head(&client, "/v1/callback-checks", &[]).expect(405);
    assert_eq!(allowed(&head, "HEAD of what has no GET"), act);
    client
        .send("OPTIONS", "/nothing/here", &[], None)
        .expect_problem(404, "not_found");
}

#[test]
fn the_callbacks_of_the_backend_keep_their_own_answer_to_options() {
    let service = Service::all().start();
    let client = service.client();
    let path = "/v1/callbacks";
    let origin = [("webhook-request-origin", "voice.example.com")];
    let handshake = client.send("OPTIONS", path, &origin, None).expect(200);
    assert!(handshake.header("webhook-allowed-origin").is_some());
    let refused = client.get(path);
    assert_eq!(allowed(&refused, path), ["OPTIONS", "POST"]);
    refused.expect_problem(405, "method_not_allowed");
}

#[test]
fn the_methods_of_a_path_are_told_to_who_has_a_key() {
    let service = Service::all().api_key("a-key-of-enough-length").start();
    let nobody = Client::new(service.address(), None);
    let ask = |client: &Client| client.send("OPTIONS", "/v1/tasks", &[], None);
    ask(&nobody).expect_problem(401, "unauthorized");
    ask(&service.client()).expect(204);
}
