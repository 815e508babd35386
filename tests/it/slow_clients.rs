//! Clients that send half a request, or read nothing of an answer, and what they leave
//! to others.

use std::io::{self, BufReader, ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::sync::mpsc;

use serde_json::{Value, json};

use super::support::http::{Client, Message};
use super::support::service::Service;
use super::support::{PATIENCE, eventually};

const ID: &str = "01a20a4e-e915-71e9-a1fd-5886c68d7cb6";
const JSON: &str = "content-type: application/json\r\n";

/// A connection to the service, from this address of the machine's own.
fn connect_from(service: &Service, source: &str) -> TcpStream {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .unwrap();
    let stream = runtime.block_on(async {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        let source = format!("{source}:0").parse().unwrap();
        socket.bind(source).unwrap();
        let service = service.address().parse().unwrap();
        socket.connect(service).await.unwrap().into_std().unwrap()
    });
    stream.set_nonblocking(false).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

fn connect(service: &Service) -> TcpStream {
    connect_from(service, "127.0.0.1")
}

/// A connection on which this much of a request was sent; `headers` end in a line's end.
fn half_sent(service: &Service, request: &str, headers: &str, begun: &[u8]) -> TcpStream {
    let mut stream = connect(service);
    let head = format!("{request} HTTP/1.1\r\nhost: localhost\r\n{headers}\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(begun).unwrap();
    stream
}

/// The next answer: its status and its problem's code, if it is one.
fn answer(stream: &TcpStream) -> (String, Option<String>) {
    try_answer(stream).unwrap().expect("an answer")
}

/// `None` where the connection is closed first.
fn try_answer(stream: &TcpStream) -> io::Result<Option<(String, Option<String>)>> {
    let mut reader = BufReader::new(stream);
    let Some(mut message) = Message::read_head(&mut reader)? else {
        return Ok(None);
    };
    message.read_body(&mut reader, false)?;
    let problem: Option<Value> = serde_json::from_slice(&message.body).ok();
    let code = problem.and_then(|problem| Some(problem["code"].as_str()?.to_owned()));
    Ok(Some((message.start, code)))
}

#[track_caller]
fn expect_problem(stream: &TcpStream, status: u16, code: &str) {
    let (start, told) = answer(stream);
    assert!(start.starts_with(&format!("HTTP/1.1 {status} ")), "{start}");
    assert_eq!(told.as_deref(), Some(code), "{start}");
}

/// Fails unless the service closes the connection.
#[track_caller]
fn expect_end(mut stream: &TcpStream) {
    match stream.read(&mut [0]) {
        Ok(0) => {}
        Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
        other => panic!("it goes on: {other:?}"),
    }
}

/// Every route that reads a body, of both services.
fn routes() -> Vec<(String, String)> {
    let signature = "webhook-id: msg_1\r\nwebhook-timestamp: 1\r\nwebhook-signature: v1,aaaa\r\n";
    let mut routes = vec![("POST /v1/callbacks".to_owned(), signature.to_owned())];
    for route in [
        "POST /v1/callback-checks",
        "POST /v1/speech/statuses",
        "POST /v1/tasks",
        "POST /v1/speech",
        &format!("PUT /v1/tasks/{ID}"),
        &format!("PUT /v1/speech/{ID}"),
        "POST /v1/tasks/deliveries/redeliver",
        "POST /v1/speech/deliveries/redeliver",
    ] {
        routes.push((route.to_owned(), JSON.to_owned()));
    }
    routes
}

#[test]
fn a_half_sent_body_ends_at_its_deadline_on_every_route() {
    let service = Service::all().set("limits.body_timeout_s", 1).start();
    let mut held = Vec::new();
    for (route, headers) in routes() {
        let sized = format!("{headers}content-length: 1000\r\n");
        held.push((route.clone(), half_sent(&service, &route, &sized, b"{ ")));
        let chunked = format!("{headers}transfer-encoding: chunked\r\n");
        held.push((
            route.clone(),
            half_sent(&service, &route, &chunked, b"2\r\n{ "),
        ));
    }
    for (route, stream) in &held {
        println!("{route}");
        expect_problem(stream, 408, "body_too_slow");
        expect_end(stream);
    }
}

/// The time for bodies is as long as it can be: whoever waited for one would fail.
#[test]
fn who_asks_is_looked_at_before_there_is_a_body() {
    let service = Service::all()
        .set("limits.body_timeout_s", 3_600)
        .api_key("a-key-of-enough-length")
        .start();
    for (route, headers) in routes() {
        let headers = match headers.as_str() {
            JSON => JSON,
            _ => "webhook-id: msg_1\r\nwebhook-timestamp: 1\r\n",
        };
        let headers = format!("{headers}content-length: 1000\r\n");
        let stream = half_sent(&service, &route, &headers, b"{ ");
        println!("{route}");
        expect_problem(&stream, 401, "unauthorized");
        expect_end(&stream);
    }
}

#[test]
fn bodies_of_one_address_take_a_quarter_and_leave_the_rest_to_others() {
    const LIMIT: usize = 200_000;
    let service = Service::all()
        .set("limits.body_timeout_s", 3_600)
        .set("limits.body_bytes", LIMIT)
        .set("limits.bodies_bytes", 1_000_000)
        .set("server.trusted_proxies", "127.0.0.1")
        .start();
    let mut body = json!({ "text": "Good morning." }).to_string();
    body += &" ".repeat(LIMIT - body.len());
    let (begun, rest) = body.split_at(150_000);
    let from = |client: &str| {
        let headers = format!("{JSON}x-forwarded-for: {client}\r\ncontent-length: {LIMIT}\r\n");
        half_sent(&service, "POST /v1/tasks", &headers, begun.as_bytes())
    };
    let held = [from("192.0.2.1"), from("192.0.2.1")];
    let (answered, first) = mpsc::channel();
    for (number, stream) in held.iter().enumerate() {
        let (stream, answered) = (stream.try_clone().unwrap(), answered.clone());
        std::thread::spawn(move || {
            let _ = answered.send((number, answer(&stream)));
        });
    }
    let (refused, (start, code)) = first.recv().unwrap();
    assert!(start.starts_with("HTTP/1.1 429 "), "{start}");
    assert_eq!(code.as_deref(), Some("too_many_requests"));
    // Another's is taken, and what was taken before too.
    let mut other = from("192.0.2.2");
    other.write_all(rest.as_bytes()).unwrap();
    assert!(answer(&other).0.starts_with("HTTP/1.1 202 "));
    let mut taken = &held[1 - refused];
    taken.write_all(rest.as_bytes()).unwrap();
    let (_, (start, _)) = first.recv().unwrap();
    assert!(start.starts_with("HTTP/1.1 202 "), "{start}");
    // And nothing of it counts any more.
    let mut again = from("192.0.2.1");
    again.write_all(rest.as_bytes()).unwrap();
    assert!(answer(&again).0.starts_with("HTTP/1.1 202 "));
}

fn ask_on(mut stream: &TcpStream, headers: &str) -> io::Result<()> {
    let head = format!("GET /health/live HTTP/1.1\r\nhost: localhost\r\n{headers}\r\n");
    stream.write_all(head.as_bytes())
}

/// Whether a connection is served; one that is closed is not.
fn is_served(stream: &TcpStream) -> bool {
    let answered = ask_on(stream, "").and_then(|()| try_answer(stream));
    answered
        .ok()
        .flatten()
        .is_some_and(|(start, _)| start.starts_with("HTTP/1.1 200 "))
}

#[test]
fn connections_of_one_address_leave_room_for_others() {
    const SHARE: usize = 4;
    let service = Service::tts().set("limits.connections", 4 * SHARE).start();
    let served = || Some(connect(&service)).filter(is_served);
    // Those that looked whether it is ready may not be forgotten yet.
    let held = [(); SHARE].map(|()| eventually("there is room", served));
    for _ in 0..SHARE {
        let told = connect(&service);
        ask_on(&told, "").unwrap();
        expect_problem(&told, 429, "too_many_requests");
        expect_end(&told);
    }
    assert!(is_served(&connect_from(&service, "127.0.0.2")));
    // Those that were there before are served on.
    assert!(held.iter().all(is_served));
    drop(held);
    eventually("there is room again", served);
}

#[test]
fn behind_a_trusted_proxy_requests_count_for_whom_it_names() {
    let service = Service::all()
        .set("limits.connections", 16)
        .set("limits.body_timeout_s", 3_600)
        .set("server.trusted_proxies", "127.0.0.1")
        .start();
    let from = |client: &str| {
        let headers = format!("{JSON}x-forwarded-for: {client}\r\ncontent-length: 200000\r\n");
        // So much that it may be slow for minutes.
        let begun = [b' '; 150_000];
        half_sent(&service, "POST /v1/tasks", &headers, &begun)
    };
    let asks = |client: &str| {
        let stream = connect(&service);
        ask_on(&stream, &format!("x-forwarded-for: {client}\r\n")).unwrap();
        answer(&stream)
    };
    let held = [(); 4].map(|()| from("192.0.2.1"));
    eventually("its share is taken", || {
        let told = asks("203.0.113.7, 192.0.2.1").1;
        (told.as_deref() == Some("too_many_requests")).then_some(())
    });
    assert!(asks("192.0.2.1, 192.0.2.2").0.starts_with("HTTP/1.1 200 "));
    drop(held);
    eventually("it has room again", || {
        asks("192.0.2.1")
            .0
            .starts_with("HTTP/1.1 200 ")
            .then_some(())
    });
}

/// A speech whose file is larger than what the system keeps of an answer.
fn long_speech(client: &Client) -> String {
    let body = json!({
        "text": "One. ".repeat(400),
        "voice": "test/fragile",
        "format": "wav",
    });
    let speech = client.post("/v1/speech", &body).expect(202).json();
    let path = format!("/v1/speech/{}", speech["id"].as_str().unwrap());
    client.wait_for_status(&path, "completed");
    format!("{path}/audio.wav")
}

#[test]
fn a_reader_that_reads_nothing_loses_its_connection() {
    let service = Service::tts().set("limits.write_timeout_s", 1).start();
    let file = long_speech(&service.client());
    let reader = half_sent(&service, &format!("GET {file}"), "", b"");
    eventually("it is closed", || reader.take_error().unwrap());
}
