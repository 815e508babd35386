//! Bad input is refused with a stable code, all errors at once, and nothing
//! of it is stored.

use std::io::{Read, Write};
use std::sync::Arc;

use serde_json::{Value, json};

use super::support::Wall;
use super::support::http::Client;
use super::support::service::Service;

const KEY: &str = "a-key-of-enough-length";

fn nothing_is_stored(client: &Client) {
    for path in ["/v1/speech", "/v1/tasks"] {
        assert_eq!(
            client.get(path).expect(200).json()["items"],
            json!([]),
            "{path}"
        );
    }
}

/// The errors of a refused body, as pointer and code.
fn errors(client: &Client, path: &str, body: &Value) -> Vec<(String, String)> {
    let problem = client
        .post(path, body)
        .expect_problem(422, "invalid_request");
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let errors = problem["errors"].as_array().unwrap().iter();
    errors
        .map(|error| (text(&error["pointer"]), text(&error["code"])))
        .collect()
}

/// Whatever a body repeats, the answer stays small, and what it costs too.
#[test]
fn of_very_many_errors_the_first_are_told() {
    let service = Service::all().start();
    let client = service.client();
    let fields = (0..130_000).map(|number| (format!("field{number}"), json!(1)));
    let fields: serde_json::Map<String, Value> = fields.collect();
    let segments = vec![json!({ "text": "a", "voice": "espeak/unknown" }); 200];
    let bodies = [
        (Value::Object(fields), "129981 more"),
        (json!({ "segments": segments }), "180 more"),
        (
            json!({ "text": "a", "x".repeat(1_000_000): 1 }),
            "There is no field",
        ),
    ];
    for path in ["/v1/speech", "/v1/tasks"] {
        for (body, told) in &bodies {
            if path == "/v1/tasks" && body["segments"].is_array() {
                // It may not know the voices yet.
                continue;
            }
            let answer = client.post(path, body).expect(422);
            assert!(answer.body().len() < 64 << 10, "{}", answer.body().len());
            let problem = answer.json();
            let errors = problem["errors"].as_array().unwrap();
            assert!(errors.len() <= 20);
            let detail = problem["detail"].as_str().unwrap();
            assert!(detail.contains(told), "{detail}");
        }
        let odd = json!({ "ids": [], "x".repeat(60_000): 1 });
        let answer = client.post("/v1/speech/statuses", &odd).expect(400);
        assert!(answer.body().len() < 8 << 10);
    }
    nothing_is_stored(&client);
}

#[test]
fn every_error_of_a_body_is_told() {
    let service = Service::all().start();
    let client = service.client();
    let cases = [
        (json!({}), vec![("/text", "required")]),
        (json!({ "text": "" }), vec![("/text", "nothing_to_speak")]),
        (
            json!({ "text": " \n\t " }),
            vec![("/text", "nothing_to_speak")],
        ),
        (
            json!({ "text": "🙂 🎉 …!" }),
            vec![("/text", "nothing_to_speak")],
        ),
        (
            json!({ "text": "a".repeat(100_001) }),
            vec![("/text", "text_too_long")],
        ),
        (json!({ "text": 7 }), vec![("/text", "wrong_type")]),
        (
            json!({ "text": "a", "txet": 1 }),
            vec![("/txet", "unknown_field")],
        ),
        (
            json!({ "text": "a", "voice": "espeak/vn" }),
            vec![("/voice", "unknown_voice")],
        ),
        (
            json!({ "text": "a", "language": "v!" }),
            vec![("/language", "invalid_language")],
        ),
        (
            json!({ "text": "a", "format": "ogg" }),
            vec![("/format", "unknown_format")],
        ),
        (
            json!({ "text": "a", "bitrate_kbps": 63 }),
            vec![("/bitrate_kbps", "invalid_bitrate")],
        ),
        (
            json!({ "text": "a", "speed": 2.5 }),
            vec![("/speed", "out_of_range")],
        ),
        (
            json!({ "text": "a", "timeout_s": 259_201 }),
            vec![("/timeout_s", "out_of_range")],
        ),
        (
            json!({ "text": "a", "metadata": "x" }),
            vec![("/metadata", "wrong_type")],
        ),
        (
            json!({ "text": "a", "metadata": { "x": "y".repeat(5000) } }),
            vec![("/metadata", "too_long")],
        ),
        (
            json!({ "text": "a", "reference": "r".repeat(201) }),
            vec![("/reference", "too_long")],
        ),
        (
            json!({ "text": "a", "callback_url": "nonsense" }),
            vec![("/callback_url", "invalid_url")],
        ),
        (
            json!({ "text": "a", "callback_url": "ftp://example.com/" }),
            vec![("/callback_url", "callback_url_forbidden")],
        ),
        (
            json!({ "text": "a", "callback_url": "http://10.0.0.1/" }),
            vec![("/callback_url", "callback_url_forbidden")],
        ),
        (
            json!({ "text": "a", "callback_url": "http://[::ffff:169.254.169.254]/" }),
            vec![("/callback_url", "callback_url_forbidden")],
        ),
        (
            json!({ "text": "", "speed": "fast", "voice": "nobody/there", "x": null, "y": 1 }),
            vec![
                ("/text", "nothing_to_speak"),
                ("/speed", "wrong_type"),
                ("/x", "unknown_field"),
                ("/y", "unknown_field"),
                ("/voice", "unknown_voice"),
            ],
        ),
    ];
    for (body, expected) in cases {
        let expected: Vec<(String, String)> = expected
            .into_iter()
            .map(|(pointer, code)| (pointer.to_owned(), code.to_owned()))
            .collect();
        let mut told = errors(&client, "/v1/speech", &body);
        let mut wanted = expected.clone();
        told.sort();
        wanted.sort();
        assert_eq!(told, wanted, "{body}");
    }
    nothing_is_stored(&client);
}

#[test]
fn an_unknown_voice_is_refused_by_both_services_with_the_nearest_names() {
    let service = Service::all().start();
    let client = service.client();
    for path in ["/v1/speech", "/v1/tasks"] {
        // The Backend hears of the voices in the background.
        let problem = super::support::eventually("the voice is refused", || {
            let answer = client.post(path, &json!({ "text": "a", "voice": "espeak/vn" }));
            (answer.status == 422).then(|| answer.json())
        });
        assert_eq!(problem["errors"][0]["code"], "unknown_voice");
        let near = problem["errors"][0]["suggestions"].as_array().unwrap();
        assert!(near.contains(&json!("espeak/vi")), "{near:?}");
    }
}

#[test]
fn tasks_take_no_callback_check() {
    let service = Service::all().start();
    let told = errors(
        &service.client(),
        "/v1/tasks",
        &json!({ "text": "a", "callback_check": true }),
    );
    assert_eq!(
        told,
        [("/callback_check".to_owned(), "unknown_field".to_owned())]
    );
}

#[test]
fn what_is_no_json_object_of_the_right_type_and_size_is_refused() {
    let service = Service::all().start();
    let client = service.client();
    let json_type = [("content-type", "application/json")];
    let send = |body: &[u8], headers: &[(&str, &str)]| {
        client.send_bytes("POST", "/v1/speech", headers, body)
    };
    send(b"{", &json_type).expect_problem(400, "malformed");
    send(b"[]", &json_type).expect_problem(400, "malformed");
    send(b"{\"text\":\"\xff\"}", &json_type).expect_problem(400, "malformed");
    send(b"{\"text\":\"a\"}", &[("content-type", "text/plain")])
        .expect_problem(415, "unsupported_media_type");
    send(b"{\"text\":\"a\"}", &[]).expect_problem(415, "unsupported_media_type");
    send(&vec![b'a'; 3 * 1024 * 1024], &json_type).expect_problem(413, "too_large");
    nothing_is_stored(&client);
}

#[test]
fn a_byte_order_mark_is_passed_over_and_utf_16_is_named() {
    let service = Service::all().start();
    let client = service.client();
    let send = |path: &str, body: &[u8]| {
        let headers = [("content-type", "application/json")];
        client.send_bytes("POST", path, &headers, body)
    };
    let json = r#"{"text":"Chào.","voice":"test/silence"}"#;
    let utf_16 = |to_bytes: fn(u16) -> [u8; 2], mark: &str| -> Vec<u8> {
        let text = format!("{mark}{json}");
        text.encode_utf16().flat_map(to_bytes).collect()
    };
    for path in ["/v1/speech", "/v1/tasks"] {
        for mark in ["\u{feff}", ""] {
            for (to_bytes, name) in [
                (u16::to_le_bytes as fn(u16) -> [u8; 2], "little-endian"),
                (u16::to_be_bytes, "big-endian"),
            ] {
                let problem = send(path, &utf_16(to_bytes, mark)).expect_problem(400, "malformed");
                let detail = problem["detail"].as_str().unwrap();
                assert!(detail.contains("UTF-16"), "{detail}");
                assert!(detail.contains(name), "{detail}");
                assert!(detail.contains("send JSON in UTF-8"), "{detail}");
            }
        }
    }
    nothing_is_stored(&client);
    for path in ["/v1/speech", "/v1/tasks"] {
        let marked = format!("\u{feff}{json}");
        let created = send(path, marked.as_bytes()).expect(202).json();
        assert_eq!(created["characters"], 5, "{path}");
        send(path, format!("\u{feff}{marked}").as_bytes()).expect_problem(400, "malformed");
    }
}

#[test]
fn unknown_ids_paths_and_methods_are_never_500() {
    let service = Service::all().start();
    let client = service.client();
    let id = "01990000-0000-7000-8000-000000000000";
    for path in [
        "/v1/speech/nope".to_owned(),
        "/v1/tasks/..%2f..%2fetc%2fpasswd".to_owned(),
        format!("/v1/speech/{id}"),
        format!("/v1/tasks/{id}/audio.mp3"),
        format!("/v1/tasks/{id}/audio.exe"),
        format!("/v1/speech/{id}/events"),
        format!("/v1/speech/deliveries/{id}"),
        "/nothing/here".to_owned(),
    ] {
        client.get(&path).expect_problem(404, "not_found");
    }
    client
        .send("PATCH", &format!("/v1/speech/{id}"), &[], None)
        .expect_problem(405, "method_not_allowed");
    client
        .send("DELETE", "/v1/tasks", &[], None)
        .expect_problem(405, "method_not_allowed");
    client
        .get("/v1/tasks?limit=0")
        .expect_problem(422, "invalid_request");
    client
        .get("/v1/tasks?status=done")
        .expect_problem(422, "invalid_request");
    client
        .get("/v1/tasks?cursor=nonsense")
        .expect_problem(422, "invalid_request");
    client
        .get("/v1/tasks?nonsense=1")
        .expect_problem(422, "invalid_request");
}

#[test]
fn keys_are_asked_for_and_signed_links_need_none() {
    let service = Service::all().api_key(KEY).start();
    let client = service.client();
    let nobody = Client::new(service.address(), None);
    let stranger = Client::new(service.address(), Some("another-key-of-some-length"));
    nobody.get("/v1/tasks").expect_problem(401, "unauthorized");
    stranger
        .get("/v1/tasks")
        .expect_problem(401, "unauthorized");
    nobody.get("/health/ready").expect(200);
    let body = json!({ "text": "linked", "voice": "test/silence" });
    let id = client.post("/v1/speech", &body).expect(202).json()["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let speech = client.wait_for_status(&format!("/v1/speech/{id}"), "completed");
    let link = speech["audio"]["url"].as_str().unwrap();
    let path = link.strip_prefix(&service.url()).unwrap();
    nobody.get(path).expect(200);
    let other_file = path.replace("audio.mp3", "words.json");
    nobody.get(&other_file).expect_problem(401, "unauthorized");
    nobody
        .get(&path.replace("expires=1", "expires=2"))
        .expect_problem(401, "unauthorized");
}

#[test]
fn a_genuine_link_is_refused_once_its_time_is_over_and_the_file_is_still_there() {
    let wall = Arc::new(Wall::new());
    let service = Service::all().api_key(KEY).wall(&wall).start();
    let client = service.client();
    let nobody = Client::new(service.address(), None);
    let body = json!({ "text": "linked", "voice": "test/silence" });
    let id = client.post("/v1/speech", &body).expect(202).json()["id"].clone();
    let speech = format!("/v1/speech/{}", id.as_str().unwrap());
    let completed = client.wait_for_status(&speech, "completed");
    let link = completed["audio"]["url"].as_str().unwrap();
    let link = link.strip_prefix(&service.url()).unwrap();
    wall.set_off_by_hours(47);
    nobody.get(link).expect(200);
    wall.set_off_by_hours(49);
    nobody.get(link).expect_problem(401, "unauthorized");
    client.get(&format!("{speech}/audio.mp3")).expect(200);
}

#[test]
fn an_unauthenticated_loopback_listener_answers_to_its_own_names_only() {
    let service = Service::all().start();
    let status = |host: &str| {
        let mut stream = std::net::TcpStream::connect(service.address()).unwrap();
        let request =
            format!("GET /v1/tasks HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer.split(' ').nth(1).unwrap().to_owned()
    };
    assert_eq!(status("localhost:1234"), "200");
    assert_eq!(status("[::1]"), "200");
    assert_eq!(status("attacker.example"), "403");
}

#[test]
fn a_full_queue_is_answered_and_not_swallowed() {
    let service = Service::all().set("queue.max_jobs", 2).start();
    let client = service.client();
    let body = json!({ "text": "waits", "voice": "test/hang" });
    client.post("/v1/speech", &body).expect(202);
    client.post("/v1/speech", &body).expect(202);
    let full = client.post("/v1/speech", &body);
    assert!(full.header("retry-after").is_some());
    full.expect_problem(429, "queue_full");
}

#[test]
fn a_queue_is_full_when_the_texts_in_it_have_so_many_bytes() {
    let service = Service::all().set("queue.max_bytes", 1_000_000).start();
    let client = service.client();
    let submit = |text: &str| {
        let body = json!({ "text": text, "voice": "test/hang" });
        client.post("/v1/speech", &body)
    };
    let fifth = "ế ".repeat(50_000);
    assert_eq!(fifth.len(), 200_000);
    for _ in 0..4 {
        submit(&fifth).expect(202);
    }
    // One after another they are let in; it is what they are together that counts.
    submit("This one waits too.").expect(202);
    submit(&fifth).expect_problem(429, "queue_full");
    submit("And so does this.").expect(202);
}

/// A browser sends such a request without asking first, and a page needs no answer to
/// have changed something.
#[test]
fn without_keys_a_page_of_another_origin_changes_nothing() {
    let service = Service::all()
        .set("server.cors_origins", "https://mine.example")
        .start();
    let client = service.client();
    let accept = |origin: &str| {
        let path = "/v1/clock/accept";
        client.send_bytes("POST", path, &[("origin", origin)], b"")
    };
    for foreign in ["https://evil.example", "http://localhost:1", "null"] {
        accept(foreign).expect_problem(403, "wrong_origin");
    }
    for known in [&service.url(), "https://mine.example"] {
        accept(known).expect(200);
    }
    // A page can have a browser hide its name, but not how it stands to us.
    let from = |site: &str, origin: Option<&str>| {
        let mut headers = vec![("sec-fetch-site", site)];
        headers.extend(origin.map(|origin| ("origin", origin)));
        client.send_bytes("POST", "/v1/clock/accept", &headers, b"")
    };
    for site in ["cross-site", "same-site"] {
        from(site, None).expect_problem(403, "wrong_origin");
        from(site, Some(&service.url())).expect_problem(403, "wrong_origin");
        from(site, Some("https://mine.example")).expect(200);
    }
    for site in ["same-origin", "none"] {
        from(site, None).expect(200);
    }
    let reads = [
        ("origin", "https://evil.example"),
        ("sec-fetch-site", "cross-site"),
    ];
    client
        .send_bytes("GET", "/health/live", &reads, b"")
        .expect(200);
}

#[test]
fn without_keys_the_pages_of_a_proxy_that_tells_another_host_are_its_own() {
    let service = Service::all()
        .set("server.public_url", "https://app.example/voice/")
        .start();
    let accept = |origin: &str| {
        let headers = [("origin", origin), ("sec-fetch-site", "same-origin")];
        let path = "/v1/clock/accept";
        service.client().send_bytes("POST", path, &headers, b"")
    };
    accept("https://app.example").expect(200);
    // In no folder of it: an origin has none.
    accept("https://app.example/voice").expect_problem(403, "wrong_origin");
    for foreign in [
        "http://app.example",
        "https://app.example:1",
        "https://b.example",
    ] {
        accept(foreign).expect_problem(403, "wrong_origin");
    }
}

#[test]
fn an_open_listener_without_keys_is_no_more_open_to_pages() {
    let service = Service::all()
        .set("server.allow_unauthenticated", true)
        .set("server.public_url", "http://voice.example")
        .listening_everywhere()
        .start();
    let client = service.client();
    let accept =
        |origin: &str| client.send_bytes("POST", "/v1/clock/accept", &[("origin", origin)], b"");
    accept("https://evil.example").expect_problem(403, "wrong_origin");
    accept(&service.url()).expect(200);
}
