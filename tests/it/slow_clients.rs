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

/// The time for bodies is as long as it can be: whoever waited for one would fail. Nor
/// is it read on.
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
        println!("{route}");
        for (length, begun) in [
            ("content-length: 1000", &b"{ "[..]),
            ("transfer-encoding: chunked", b"2\r\n{ "),
        ] {
            let headers = format!("{headers}{length}\r\n");
            let stream = half_sent(&service, &route, &headers, begun);
            let answer = Message::read_head(&mut BufReader::new(&stream)).unwrap();
            let answer = answer.expect("an answer");
            assert!(answer.start.starts_with("HTTP/1.1 401 "), "{answer:?}");
            assert_eq!(answer.header("connection"), Some("close"), "{answer:?}");
        }
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
        // So that the one that is refused is gone before the other is looked at.
        .set("server.workers", 1)
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

fn ask_on(stream: &TcpStream, headers: &str) -> io::Result<()> {
    ask_for("GET /", stream, headers)
}

fn ask_for(what: &str, mut stream: &TcpStream, headers: &str) -> io::Result<()> {
    let head = format!("{what} HTTP/1.1\r\nhost: localhost\r\n{headers}\r\n");
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
    // Whoever looks after the service is told how it is.
    let told = connect(&service);
    ask_for("GET /health/live", &told, "").unwrap();
    assert!(answer(&told).0.starts_with("HTTP/1.1 200 "));
    expect_end(&told);
    assert!(is_served(&connect_from(&service, "127.0.0.2")));
    // Those that were there before are served on.
    assert!(held.iter().all(is_served));
    drop(held);
    eventually("there is room again", served);
}

#[test]
fn behind_a_trusted_proxy_requests_count_for_whom_it_names() {
    let service = Service::all()
        .set("limits.connections", 64)
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
    let held = [(); 16].map(|()| from("192.0.2.1"));
    eventually("its share is taken", || {
        let told = asks("203.0.113.7, 192.0.2.1").1;
        (told.as_deref() == Some("too_many_requests")).then_some(())
    });
    // It may be told first that there is no room at all, since ends are heard later.
    let is_served = |client| {
        let (start, _) = asks(client);
        start.starts_with("HTTP/1.1 200 ").then_some(())
    };
    eventually("another is served", || is_served("192.0.2.1, 192.0.2.2"));
    drop(held);
    eventually("it has room again", || is_served("192.0.2.1"));
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

/// Sends the same request again and again and reads nothing, until the service has
/// closed the connection.
fn pipeline(mut stream: &TcpStream, request: &str) {
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    let requests = format!("{request} HTTP/1.1\r\nhost: localhost\r\n\r\n").repeat(100);
    let error = loop {
        if let Err(error) = stream.write_all(requests.as_bytes()) {
            break error.kind();
        }
    };
    let is_closed = [ErrorKind::ConnectionReset, ErrorKind::BrokenPipe].contains(&error);
    assert!(is_closed, "{request}: {error}");
}

#[test]
fn who_asks_on_and_on_and_reads_nothing_loses_its_connection() {
    let service = Service::all().set("limits.write_timeout_s", 1).start();
    // Answers that are mostly head, so that it is a head after which nothing fits.
    pipeline(&connect(&service), "GET /health/live");
    let reader = connect(&service);
    pipeline(&reader, "OPTIONS /v1/callbacks");
    let mut reader = BufReader::new(&reader);
    let heads = std::iter::from_fn(|| Message::read_head(&mut reader).ok().flatten());
    let heads: Vec<_> = heads.collect();
    assert_eq!(heads.len(), 100);
    assert_eq!(heads[99].header("connection"), Some("close"));
    assert_eq!(heads[98].header("connection"), None);
}
