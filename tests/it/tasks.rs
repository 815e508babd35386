//! What clients do with tasks besides submitting them: repeat, retry, wait
//! and watch.

use std::io::Write;

use serde_json::{Value, json};

use crate::support::chain::submit;
use crate::support::{Service, eventually, http::StreamEvent};

fn request(text: &str) -> Value {
    json!({"text": text, "voice": "test/silence", "format": "wav"})
}

#[test]
fn a_failed_task_is_retried_as_a_new_one_and_both_say_so() {
    let service = Service::all().start();
    let client = service.client();
    let failed = submit(&client, json!({"voice": "test/fail", "reference": "r-1"}));
    client.wait_for_status(&failed, "failed");
    let retried = client.ask(&format!("{failed}/retry")).expect(202);
    let path = retried.header("location").unwrap().to_owned();
    let (retried, original) = (retried.json(), client.get(&failed).expect(200).json());
    assert_ne!(path, failed);
    assert_eq!(retried["retry_of"], original["id"]);
    assert_eq!(original["retried_as"], retried["id"]);
    assert_eq!(retried["reference"], "r-1");
    assert_eq!(original["status"], "failed");
    // It is the same request, so it fails in the same way.
    let again = client.wait_for_status(&path, "failed");
    assert_eq!(again["error"]["code"], "engine_failed");
}

#[test]
fn a_task_that_is_open_cannot_be_retried() {
    let service = Service::all().start();
    let client = service.client();
    let open = submit(&client, json!({"voice": "test/hang"}));
    client
        .ask(&format!("{open}/retry"))
        .expect_problem(409, "not_ended");
}

#[test]
fn a_request_repeated_under_its_key_is_accepted_once() {
    let service = Service::all().start();
    let client = service.client();
    let post = |body: &Value, key: &str| {
        client.send("POST", "/v1/tasks", &[("idempotency-key", key)], Some(body))
    };
    let first = post(&request("Một."), "key-1").expect(202).json();
    let again = post(&request("Một."), "key-1").expect(200).json();
    assert_eq!(again["id"], first["id"]);
    let mut patient = request("Một.");
    patient["timeout_s"] = json!(77);
    let patient = post(&patient, "key-1").expect(200).json();
    assert_eq!(patient["id"], first["id"]);
    assert_eq!(patient["deadline_at"], first["deadline_at"]);
    post(&request("Hai."), "key-1").expect_problem(422, "idempotency_conflict");
    let other = post(&request("Một."), "key-2").expect(202).json();
    assert_ne!(other["id"], first["id"]);
    let list = client.get("/v1/tasks").expect(200).json();
    assert_eq!(list["items"].as_array().unwrap().len(), 2);
}

#[test]
fn a_key_in_quotes_is_the_same_key() {
    let service = Service::all().start();
    let client = service.client();
    for path in ["/v1/tasks", "/v1/speech"] {
        let post = |key: &str| {
            let body = request("Một.");
            client.send("POST", path, &[("idempotency-key", key)], Some(&body))
        };
        let first = post("8e03978e-40d5").expect(202).json();
        let quoted = post(r#""8e03978e-40d5""#).expect(200).json();
        assert_eq!(quoted["id"], first["id"]);
        let odd = post(r#""a \"b\" \\""#).expect(202).json();
        let again = post(r#""a \"b\" \\""#).expect(200).json();
        assert_eq!(again["id"], odd["id"]);
        for malformed in [r#""open"#, r#""a\b""#, "a b", r#""""#] {
            let problem = post(malformed).expect_problem(400, "malformed");
            let detail = problem["detail"].as_str().unwrap();
            assert!(detail.contains("in double quotes"), "{detail}");
        }
    }
}

#[test]
fn a_request_repeated_under_its_own_id_is_accepted_once() {
    let service = Service::all().start();
    let client = service.client();
    let path = "/v1/tasks/0199aaaa-0000-7000-8000-000000000001";
    let first = client.put(path, &request("Một.")).expect(202);
    assert_eq!(first.header("location"), Some(path));
    client.wait_for_status(path, "completed");
    let again = client.put(path, &request("Một.")).expect(200).json();
    assert_eq!(again["status"], "completed");
    client
        .put(path, &request("Hai."))
        .expect_problem(422, "idempotency_conflict");
    assert_eq!(client.times_reached(path, "completed"), 1);
    assert_eq!(
        client.put("/v1/tasks/nonsense", &request("Một.")).status,
        404
    );
}

#[test]
fn whoever_prefers_to_wait_gets_the_ended_task() {
    let service = Service::all().start();
    let client = service.client();
    let wait = |seconds: &str, body: &Value| {
        client.send("POST", "/v1/tasks", &[("prefer", seconds)], Some(body))
    };
    let ended = wait("wait=60", &request("Một.")).expect(200).json();
    assert_eq!(ended["status"], "completed");
    assert!(ended["audio"]["url"].is_string());
    let mut hanging = request("Hai.");
    hanging["voice"] = json!("test/hang");
    let open = wait("wait=1", &hanging).expect(202).json();
    assert!(["queued", "in_progress"].contains(&open["status"].as_str().unwrap()));
}

#[test]
fn a_task_can_be_erased_once_it_has_ended() {
    let service = Service::all().start();
    let client = service.client();
    let open = submit(&client, json!({"voice": "test/hang"}));
    client.delete(&open).expect_problem(409, "not_ended");
    client.ask(&format!("{open}/cancel")).expect(200);
    let ended = submit(&client, json!({}));
    client.wait_for_status(&ended, "completed");
    for task in [&open, &ended] {
        assert_eq!(client.delete(task).status, 204);
        for path in [
            task.clone(),
            format!("{task}/events"),
            format!("{task}/audio.wav"),
        ] {
            client.get(&path).expect_problem(404, "not_found");
        }
    }
    let list = client.get("/v1/tasks").expect(200).json();
    assert_eq!(list["items"], json!([]));
}

fn is_end(event: &StreamEvent) -> bool {
    event.kind == "state" && event.data["to"] == "completed"
}

#[test]
fn a_tasks_events_are_streamed_and_go_on_where_a_reader_left_off() {
    let service = Service::all().start();
    let client = service.client();
    let task = submit(&client, json!({"voice": "test/slow-1000"}));
    let events = format!("{task}/events");
    let mut seen = Vec::new();
    for event in client.stream(&events, None) {
        let end = is_end(&event);
        seen.push(event);
        if end {
            break;
        }
    }
    let stored: Vec<&StreamEvent> = seen.iter().filter(|event| event.id.is_some()).collect();
    let history = client.events(&task);
    let streamed: Vec<Value> = stored.iter().map(|event| event.data.clone()).collect();
    assert_eq!(streamed, history[..streamed.len()]);
    assert!(streamed.len() >= 4, "{streamed:#?}");

    let left_off = stored[1].id.as_deref();
    let mut rest: Vec<Value> = Vec::new();
    for event in client.stream(&events, left_off) {
        let end = is_end(&event);
        rest.push(event.data);
        if end {
            break;
        }
    }
    assert_eq!(rest, streamed[2..]);
}

#[test]
fn the_feed_of_all_tasks_brings_what_happens_from_now_on() {
    let service = Service::all().start();
    let client = service.client();
    let earlier = submit(&client, json!({}));
    client.wait_for_status(&earlier, "completed");
    let feed = client.stream("/v1/events", None);
    let task = submit(&client, json!({}));
    let id = task.strip_prefix("/v1/tasks/").unwrap();
    // The end of the earlier one may be known before it is told.
    let mut feed = feed.skip_while(|event| is_end(event) && event.data["task_id"] != id);
    let first = feed.next().unwrap();
    assert_eq!(first.data["task_id"], id);
    assert_eq!(first.data["to"], "queued");
    assert!(feed.any(|event| is_end(&event) && event.data["task_id"] == id));
}

#[test]
fn a_client_that_hangs_up_at_once_does_not_leave_its_task_waiting() {
    let service = Service::all().start();
    let client = service.client();
    let body = json!({ "text": "gone already", "voice": "test/silence" }).to_string();
    for _ in 0..50 {
        let mut stream = std::net::TcpStream::connect(service.address()).unwrap();
        let head = format!(
            "POST /v1/tasks HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(body.as_bytes()).unwrap();
    }
    // Some of the requests were heard in full before their end. Nothing but
    // GETs comes after them, which give no hints.
    eventually("what was accepted ends", || {
        let tasks = client.get("/v1/tasks").expect(200).json();
        let tasks = tasks["items"].as_array().unwrap();
        let all_end = tasks.iter().all(|task| task["status"] == "completed");
        (!tasks.is_empty() && all_end).then_some(())
    });
}
