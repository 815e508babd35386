//! `hoiam listen` as a process: what senders get and what people see.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use hoiam::secrets::file;
use hoiam_api::signature::{Secret, sign};
use hoiam_supervision::clock::Clock;
use serde_json::{Value, json};

/// A running `hoiam listen --json`, killed when the test ends.
struct Listener {
    process: Child,
    lines: BufReader<ChildStdout>,
    address: String,
}

impl Listener {
    fn start(flags: &[&str]) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_hoiam"))
            .args(["listen", "--json", "--port", "0"])
            .args(flags)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap());
        let first = read_line(&mut lines);
        let url = first["listening"].as_str().unwrap();
        let address = url.strip_prefix("http://").unwrap().to_owned();
        Self {
            process,
            lines,
            address,
        }
    }

    /// The next line it prints.
    fn line(&mut self) -> Value {
        read_line(&mut self.lines)
    }

    fn end(mut self) -> ExitStatus {
        self.process.wait().unwrap()
    }

    /// The whole answer to a request, as it comes over the wire.
    fn send(&self, method: &str, headers: &[(&str, &str)], body: &str) -> String {
        let mut request = format!("{method} /hook HTTP/1.1\r\nhost: {}\r\n", self.address);
        for (name, value) in headers {
            request += &format!("{name}: {value}\r\n");
        }
        request += &format!(
            "connection: close\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        let mut connection = TcpStream::connect(&self.address).unwrap();
        connection.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).unwrap();
        answer
    }

    /// The status of the answer to a callback.
    fn callback(&self, id: &str) -> String {
        let answer = self.send("POST", &[("webhook-id", id)], &body());
        answer.split(' ').nth(1).unwrap_or("none").to_owned()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // It has ended already where the test waited for that.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn read_line(lines: &mut impl BufRead) -> Value {
    let mut line = String::new();
    lines.read_line(&mut line).unwrap();
    serde_json::from_str(&line).unwrap()
}

fn body() -> String {
    json!({"type": "task.completed", "data": {"status": "completed"}}).to_string()
}

#[test]
fn signatures_are_told_apart() {
    let secret = Secret::generate().unwrap();
    let mut listener = Listener::start(&["--secret", &secret.reveal(), "--exit-after", "3"]);
    let now_s = Clock::resume(None).wall().timestamp();
    let signed = |id: &str, at_s: i64| {
        let signature = sign(std::slice::from_ref(&secret), id, at_s, body().as_bytes());
        let timestamp = at_s.to_string();
        let headers = [
            ("webhook-id", id),
            ("webhook-timestamp", timestamp.as_str()),
            ("webhook-signature", signature.as_str()),
        ];
        listener.send("POST", &headers, &body())
    };
    assert!(signed("msg_1", now_s).starts_with("HTTP/1.1 204"));
    signed("msg_2", now_s - 3_600);
    listener.callback("msg_3");
    let told: Vec<Value> = (0..3)
        .map(|_| listener.line()["signature"].clone())
        .collect();
    assert_eq!(told, ["valid", "stale", "missing"]);
    assert_eq!(listener.end().code(), Some(0), "three callbacks have come");
}

#[test]
fn both_secrets_of_an_overlap_are_taken_from_the_file_of_the_new_one() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    let [old, new] = {
        let old = file::ensure(data).unwrap().current;
        let now = Clock::resume(None).wall().timestamp_millis();
        file::rotate(data, Duration::from_hours(1), now, || {}).unwrap();
        [old, file::ensure(data).unwrap().current]
    };
    let path = file::secret_path(data);
    let mut listener = Listener::start(&["--secret-file", path.to_str().unwrap()]);
    let now_s = Clock::resume(None).wall().timestamp();
    for secret in [new, old, Secret::generate().unwrap()] {
        let signature = sign(&[secret], "msg_1", now_s, body().as_bytes());
        let timestamp = now_s.to_string();
        let headers = [
            ("webhook-id", "msg_1"),
            ("webhook-timestamp", timestamp.as_str()),
            ("webhook-signature", signature.as_str()),
        ];
        listener.send("POST", &headers, &body());
    }
    let told: Vec<Value> = (0..3)
        .map(|_| listener.line()["signature"].clone())
        .collect();
    assert_eq!(told, ["valid", "valid", "wrong"]);
}

#[test]
fn without_a_secret_signatures_are_unchecked() {
    let mut listener = Listener::start(&[]);
    listener.callback("msg_1");
    let line = listener.line();
    assert_eq!(line["signature"], "unchecked");
    assert_eq!(
        (&line["type"], &line["webhook_id"]),
        (&json!("task.completed"), &json!("msg_1"))
    );
    assert_eq!(line["body"]["data"]["status"], "completed");
}

#[test]
fn the_first_ones_fail_and_only_accepted_ones_count_towards_the_end() {
    let mut listener = Listener::start(&["--fail-first", "2", "--exit-after", "1"]);
    let statuses: Vec<String> = (0..3).map(|_| listener.callback("msg_1")).collect();
    assert_eq!(statuses, ["500", "500", "204"]);
    let attempts: Vec<Value> = (0..3).map(|_| listener.line()["attempt"].clone()).collect();
    assert_eq!(attempts, [1, 2, 3]);
    assert_eq!(listener.end().code(), Some(0));
}

#[test]
fn the_same_callback_twice_counts_once() {
    let listener = Listener::start(&["--exit-after", "2"]);
    for id in ["msg_1", "msg_1", "msg_1", "msg_2"] {
        assert_eq!(listener.callback(id), "204");
    }
    assert_eq!(listener.end().code(), Some(0));
}

#[test]
fn drop_closes_the_connection_without_an_answer() {
    let mut listener = Listener::start(&["--drop"]);
    assert_eq!(
        listener.send("POST", &[("webhook-id", "msg_1")], &body()),
        ""
    );
    assert_eq!(listener.line()["answer"], Value::Null);
}

#[test]
fn delay_keeps_the_sender_waiting() {
    let listener = Listener::start(&["--delay", "300ms"]);
    let start = Instant::now();
    assert_eq!(listener.callback("msg_1"), "204");
    assert!(start.elapsed() >= Duration::from_millis(300));
}

#[test]
fn retry_after_is_said_with_503() {
    let listener = Listener::start(&["--retry-after", "7"]);
    let answer = listener.send("POST", &[], &body());
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    assert!(
        answer.to_lowercase().contains("retry-after: 7\r\n"),
        "{answer}"
    );
}

#[test]
fn the_handshake_allows_the_origin_that_asks() {
    let mut listener = Listener::start(&[]);
    let answer = listener.send("OPTIONS", &[("webhook-request-origin", "tts.example")], "");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(
        answer
            .to_lowercase()
            .contains("webhook-allowed-origin: tts.example\r\n"),
        "{answer}"
    );
    assert_eq!(listener.line()["method"], "OPTIONS");
}

#[test]
fn a_url_that_acts_as_if_it_were_not_there_answers_both_kinds_of_check_so() {
    let listener = Listener::start(&["--options", "404"]);
    let answer = listener.send("OPTIONS", &[("webhook-request-origin", "tts.example")], "");
    assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
    assert!(
        !answer.to_lowercase().contains("webhook-allowed-origin"),
        "{answer}"
    );
    let check = listener.send("POST", &[], r#"{"type":"callback.check","data":{}}"#);
    assert!(check.starts_with("HTTP/1.1 404"), "{check}");
    assert_eq!(
        listener.callback("msg_1"),
        "204",
        "callbacks are not checks"
    );
}

#[test]
fn bodies_are_saved_under_names_that_nobody_outside_chooses() {
    let folder = tempfile::tempdir().unwrap();
    let save = folder.path().join("bodies");
    let listener = Listener::start(&["--save", save.to_str().unwrap()]);
    listener.callback("../../msg_1");
    listener.send(
        "POST",
        &[("webhook-id", "msg_2")],
        r#"{"type":"../../evil"}"#,
    );
    let mut names: Vec<String> = std::fs::read_dir(&save)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(
        names,
        ["000001-task.completed.json", "000002-callback.json"]
    );
    assert_eq!(
        std::fs::read_to_string(save.join(&names[0])).unwrap(),
        body()
    );
}
