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
    for path in ["/metrics", "/v1/tasks", "/nothing/here"] {
        write!(stream, "HEAD {path} HTTP/1.1\r\nhost: {host}\r\n\r\n").unwrap();
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let mut line = String::new();
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
