use super::super::guard::Reason;
use super::*;
use actix_tls::connect::Resolve;
use futures_util::future::LocalBoxFuture;
use std::cell::Cell;
use std::future::Future;
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

mod answers;

const SECOND: Duration = Duration::from_secs(1);
/// For things that must not happen.
const SHORT: Duration = Duration::from_millis(150);

// ---- a server by hand ----

/// Counts what its clients do.
#[derive(Default)]
struct Seen {
    accepted: Cell<usize>,
    open: Cell<usize>,
    requests: RefCell<Vec<String>>,
}

struct Server {
    address: SocketAddr,
    seen: Rc<Seen>,
}

/// One accepted connection; `number` counts from 1.
struct Peer {
    number: usize,
    stream: TcpStream,
    seen: Rc<Seen>,
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.seen.open.set(self.seen.open.get() - 1);
    }
}

impl Peer {
    /// Reads one request, body included; `None` at the end of the connection.
    async fn request(&mut self) -> Option<String> {
        let mut text = String::new();
        loop {
            let mut byte = [0];
            if self.stream.read(&mut byte).await.ok()? == 0 {
                return None;
            }
            text.push(char::from(byte[0]));
            if text.ends_with("\r\n\r\n") {
                break;
            }
        }
        let length = text
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "))
            .map_or(0, |value| value.parse().unwrap());
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).await.ok()?;
        text.push_str(&String::from_utf8(body).unwrap());
        self.seen.requests.borrow_mut().push(text.clone());
        Some(text)
    }

    async fn say(&mut self, text: &str) {
        // The client may have hung up already, which its test then sees.
        let _ = self.stream.write_all(text.as_bytes()).await;
    }

    /// Waits until the client closes.
    async fn linger(&mut self) {
        let mut rest = Vec::new();
        let _ = self.stream.read_to_end(&mut rest).await;
    }
}

impl Server {
    async fn start<F, Fut>(behaviour: F) -> Self
    where
        F: Fn(Peer) -> Fut + 'static,
        Fut: Future<Output = ()> + 'static,
    {
        Self::start_at("127.0.0.1:0", behaviour).await
    }

    async fn start_at<F, Fut>(address: &str, behaviour: F) -> Self
    where
        F: Fn(Peer) -> Fut + 'static,
        Fut: Future<Output = ()> + 'static,
    {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Rc::new(Seen::default());
        let counts = Rc::clone(&seen);
        actix_rt::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                counts.accepted.set(counts.accepted.get() + 1);
                counts.open.set(counts.open.get() + 1);
                actix_rt::spawn(behaviour(Peer {
                    number: counts.accepted.get(),
                    stream,
                    seen: Rc::clone(&counts),
                }));
            }
        });
        Self { address, seen }
    }

    /// Answers every request of a connection with the same text.
    async fn answering(answer: &'static str) -> Self {
        Self::start(move |mut peer| async move {
            while peer.request().await.is_some() {
                peer.say(answer).await;
            }
        })
        .await
    }

    fn url(&self, path: &str) -> Url {
        Url::parse(&format!("http://{}{path}", self.address)).unwrap()
    }

    fn accepted(&self) -> usize {
        self.seen.accepted.get()
    }
}

async fn until(condition: impl Fn() -> bool) {
    let waiting = async {
        while !condition() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(120 * SECOND, waiting).await.unwrap();
}

/// What comes of an attempt whose time runs out in this phase. On a machine that
/// stalls a short time may be over in an earlier one; that says nothing, and the
/// attempt is made with more time.
async fn runs_out_in(
    phase: Phase,
    attempt: impl AsyncFn(Duration) -> OutboundError,
) -> OutboundError {
    let mut limit = SHORT;
    loop {
        let error = attempt(limit).await;
        if error.phase() == phase || limit > 60 * SECOND {
            return error;
        }
        limit *= 4;
    }
}

// ---- a client for it ----

/// Long enough never to be met by a test that passes.
const TIMEOUTS: Timeouts = Timeouts {
    connect: Duration::from_secs(60),
    total: Duration::from_secs(120),
};

fn no_roots() -> Arc<ClientConfig> {
    super::super::tls::with_roots(rustls::RootCertStore::empty()).unwrap()
}

fn local() -> Policy {
    Policy::callbacks(Vec::new(), true)
}

fn client() -> Client {
    Client::new(local(), TIMEOUTS, no_roots())
}

fn post(url: Url) -> Outgoing {
    Outgoing {
        method: Method::POST,
        url,
        headers: vec![("content-type", "application/json".to_owned())],
        more_headers: Vec::new(),
        body: Bytes::from_static(b"{}"),
        total_timeout: None,
        answer_limit: 1_000,
        retry_on_stale: false,
    }
}

fn fetch(url: Url) -> Fetch {
    Fetch {
        url,
        headers: Vec::new(),
        limit: 1_000_000,
        idle_timeout: 60 * SECOND,
        total_timeout: None,
    }
}

async fn whole(mut download: Download) -> Result<Vec<u8>, OutboundError> {
    let mut body = Vec::new();
    while let Some(chunk) = download.body.next().await {
        body.extend_from_slice(&chunk?);
    }
    Ok(body)
}

/// Answers each lookup with the next list; the last one for ever.
struct Answers(RefCell<Vec<Vec<SocketAddr>>>);

impl Resolve for Answers {
    fn lookup<'a>(
        &'a self,
        _host: &'a str,
        port: u16,
    ) -> LocalBoxFuture<'a, Result<Vec<SocketAddr>, Box<dyn std::error::Error>>> {
        let mut answers = self.0.borrow_mut();
        let mut answer = if answers.len() > 1 {
            answers.remove(0)
        } else {
            answers[0].clone()
        };
        for address in &mut answer {
            address.set_port(port);
        }
        Box::pin(async move { Ok(answer) })
    }
}

fn client_resolving<const N: usize>(answers: [&[&str]; N]) -> Client {
    let parse = |text: &&str| SocketAddr::new(text.parse().unwrap(), 0);
    let answers = answers.map(|addresses| addresses.iter().map(parse).collect());
    let resolver = Resolver::custom(Answers(RefCell::new(answers.to_vec())));
    Client::with_resolver(local(), TIMEOUTS, no_roots(), resolver)
}

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
const NO_CONTENT: &str = "HTTP/1.1 204 No Content\r\n\r\n";

// ---- what is sent and what comes back ----

#[actix_rt::test]
async fn the_request_is_sent_as_given_and_the_answer_read() {
    let server =
        Server::answering("HTTP/1.1 422 Nope\r\nX-Why: because\r\ncontent-length: 4\r\n\r\nnope")
            .await;
    let mut request = post(server.url("/a%20b?q=1&r=%22#part"));
    request.headers.push(("webhook-id", "msg_1".to_owned()));
    let answer = client().send(request).await.unwrap();
    assert_eq!(answer.status, 422);
    assert_eq!(answer.headers.get("x-why"), Some("because"));
    assert_eq!(&answer.body[..], b"nope");
    assert!(!answer.truncated);
    let sent = server.seen.requests.borrow()[0].clone();
    let (head, body) = sent.split_once("\r\n\r\n").unwrap();
    assert_eq!(body, "{}");
    let mut lines: Vec<&str> = head.lines().collect();
    assert_eq!(lines.remove(0), "POST /a%20b?q=1&r=%22 HTTP/1.1");
    lines.retain(|line| !line.starts_with("date: "));
    lines.sort_unstable();
    assert_eq!(
        lines,
        [
            "accept-encoding: identity".to_owned(),
            "content-length: 2".to_owned(),
            "content-type: application/json".to_owned(),
            format!("host: {}", server.address),
            format!("user-agent: {USER_AGENT}"),
            "webhook-id: msg_1".to_owned(),
        ]
    );
}

#[actix_rt::test]
async fn a_get_has_no_body_and_a_port_of_the_other_scheme_is_named() {
    let url = Url::parse("http://a.example:443/x").unwrap();
    assert_eq!(host_header(&url), "a.example:443");
    let url = Url::parse("http://a.example:80/x").unwrap();
    assert_eq!(host_header(&url), "a.example");
    let server = Server::answering(OK).await;
    let mut request = post(server.url("/"));
    request.method = Method::GET;
    request.body = Bytes::new();
    client().send(request).await.unwrap();
    let sent = server.seen.requests.borrow()[0].clone();
    assert!(!sent.contains("content-length"), "{sent}");
}

#[actix_rt::test]
async fn a_redirect_is_an_answer_and_not_followed() {
    let server = Server::answering(
        "HTTP/1.1 307 Temporary Redirect\r\nlocation: /elsewhere\r\ncontent-length: 0\r\n\r\n",
    )
    .await;
    let answer = client().send(post(server.url("/"))).await.unwrap();
    assert_eq!(answer.status, 307);
    assert_eq!(server.seen.requests.borrow().len(), 1);
}

#[actix_rt::test]
async fn a_compressed_answer_is_not_decoded() {
    let server = Server::answering(
        "HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 4\r\n\r\n\x1f\x0b\x08\x00",
    )
    .await;
    let answer = client().send(post(server.url("/"))).await.unwrap();
    assert_eq!(&answer.body[..], b"\x1f\x0b\x08\x00");
}

#[actix_rt::test]
async fn a_line_break_in_a_header_is_refused_unsent() {
    let server = Server::answering(OK).await;
    let mut request = post(server.url("/"));
    request.headers.push(("x-a", "b\r\nx-c: d".to_owned()));
    let error = client().send(request).await.unwrap_err();
    assert_eq!(error.code(), "invalid_request");
    assert!(!error.was_sent());
    assert_eq!(server.accepted(), 0);
}

#[test]
fn what_the_guard_lets_pass_can_be_put_on_the_wire() {
    for character in (0_u8..128).map(char::from).chain(['é', '音', '\u{202e}']) {
        for text in [
            format!("http://a{character}b.example/"),
            format!("http://a.example/x{character}y"),
            format!("http://a.example/x?y{character}z"),
        ] {
            if let Ok(url) = Url::parse(&text)
                && super::super::check_url(&local(), &url).is_ok()
            {
                let uri = target(&url).unwrap_or_else(|_| panic!("{text:?}"));
                let host = host_header(&url);
                assert_eq!(uri.host(), Some(host), "{text:?}");
            }
        }
    }
}

#[test]
fn retry_after_is_read_as_seconds_or_as_a_date_and_capped() {
    let headers = |pairs: &[(&'static str, &str)]| {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.insert(name.parse().unwrap(), value.parse().unwrap());
        }
        Headers(map)
    };
    let date = ("date", "Sun, 06 Nov 1994 08:49:37 GMT");
    for (pairs, expected) in [
        (vec![("retry-after", "7")], Some(7)),
        (vec![("retry-after", " 0 ")], Some(0)),
        (
            vec![("retry-after", "99999999999999999999999")],
            Some(86_400),
        ),
        (vec![("retry-after", "-1")], None),
        (vec![("retry-after", "+1")], None),
        (vec![("retry-after", "soon")], None),
        (vec![("retry-after", "")], None),
        (vec![], None),
        (
            vec![("retry-after", "Sun, 06 Nov 1994 08:50:07 GMT"), date],
            Some(30),
        ),
        (
            vec![("retry-after", "Sun, 06 Nov 1994 08:49:00 GMT"), date],
            Some(0),
        ),
        (
            vec![("retry-after", "Mon, 06 Nov 2094 08:49:00 GMT"), date],
            None,
        ),
        (
            vec![("retry-after", "Sat, 06 Nov 2094 08:49:00 GMT"), date],
            Some(86_400),
        ),
        (
            vec![("retry-after", "Sunday, 06-Nov-94 08:50:07 GMT"), date],
            Some(30),
        ),
        (
            vec![("retry-after", "Sun Nov  6 08:50:07 1994"), date],
            Some(30),
        ),
        (vec![("retry-after", "Sun, 06 Nov 1994 08:50:07 GMT")], None),
    ] {
        assert_eq!(
            headers(&pairs).retry_after(None),
            expected.map(Duration::from_secs),
            "{pairs:?}"
        );
    }
}

#[test]
fn a_date_to_retry_after_counts_by_our_clock_where_the_answer_has_none() {
    let headers = |date: Option<&str>| {
        let mut map = HeaderMap::new();
        let at = "Sun, 06 Nov 1994 08:50:07 GMT".parse().unwrap();
        map.insert(header::RETRY_AFTER, at);
        if let Some(date) = date {
            map.insert(header::DATE, date.parse().unwrap());
        }
        Headers(map)
    };
    let wall = |text: &str| Some(text.parse().unwrap());
    for (date, ours, expected) in [
        (None, "1994-11-06T08:50:00Z", 7),
        (None, "1994-11-06T09:00:00Z", 0),
        (Some("yesterday"), "1994-11-06T08:50:00Z", 7),
        (
            Some("Sun, 06 Nov 1994 08:50:05 GMT"),
            "1994-11-06T08:50:00Z",
            2,
        ),
    ] {
        let asked = headers(date).retry_after(wall(ours));
        assert_eq!(asked, Some(Duration::from_secs(expected)), "{date:?}");
    }
}

// ---- bounds ----

#[actix_rt::test]
async fn an_answer_too_long_is_cut_and_its_connection_not_used_again() {
    let server = Server::start(|mut peer| async move {
        while peer.request().await.is_some() {
            peer.say("HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n")
                .await;
            peer.say(&"x".repeat(100_000)).await;
        }
    })
    .await;
    let client = client();
    for expected in 1..=2 {
        let answer = client.send(post(server.url("/"))).await.unwrap();
        assert_eq!(answer.body.len(), 1_000);
        assert!(answer.truncated);
        assert_eq!(server.accepted(), expected);
    }
    until(|| server.seen.open.get() == 0).await;
}

#[actix_rt::test]
async fn an_answer_of_exactly_the_limit_is_whole() {
    let server = Server::answering("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n12345").await;
    let client = client();
    for (limit, body, truncated) in [(5, "12345", false), (4, "1234", true), (0, "", true)] {
        let mut request = post(server.url("/"));
        request.answer_limit = limit;
        let answer = client.send(request).await.unwrap();
        assert_eq!(&answer.body[..], body.as_bytes());
        assert_eq!(answer.truncated, truncated);
    }
}

#[actix_rt::test]
async fn a_slow_head_and_a_slow_body_run_out_of_time() {
    let silent = Server::start(|mut peer| async move {
        peer.request().await;
        peer.linger().await;
    })
    .await;
    let halting = Server::start(|mut peer| async move {
        peer.request().await;
        peer.say("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n12345")
            .await;
        peer.linger().await;
    })
    .await;
    for (server, phase, status) in [
        (&silent, Phase::Answer, None),
        (&halting, Phase::Body, Some(200)),
    ] {
        let error = runs_out_in(phase, async |limit| {
            let mut request = post(server.url("/"));
            request.total_timeout = Some(limit);
            client().send(request).await.unwrap_err()
        });
        let error = error.await;
        assert_eq!(error, OutboundError::TimedOut { phase, status });
        assert!(error.was_sent());
        assert_eq!(error.status(), status);
        until(|| server.seen.open.get() == 0).await;
    }
}

#[actix_rt::test]
async fn a_name_server_and_a_host_that_keep_silent_run_out_of_time_unsent() {
    struct Silent;
    impl Resolve for Silent {
        fn lookup<'a>(
            &'a self,
            _: &'a str,
            _: u16,
        ) -> LocalBoxFuture<'a, Result<Vec<SocketAddr>, Box<dyn std::error::Error>>> {
            Box::pin(std::future::pending())
        }
    }
    // Connections beyond the backlog are not answered.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let full = socket.listen(1).unwrap();
    let full_at = full.local_addr().unwrap();
    let _first = TcpStream::connect(full_at).await.unwrap();
    let _second = TcpStream::connect(full_at).await.unwrap();
    let quick = Timeouts {
        connect: SHORT,
        ..TIMEOUTS
    };
    let client = Client::with_resolver(local(), quick, no_roots(), Resolver::custom(Silent));
    for (url, phase) in [
        ("http://silent.example/".to_owned(), Phase::Dns),
        (format!("http://{full_at}/"), Phase::Connect),
    ] {
        let url = Url::parse(&url).unwrap();
        let by_connect_timeout = client.send(post(url.clone())).await.unwrap_err();
        let mut hurried = post(url);
        hurried.total_timeout = Some(SHORT / 3);
        let by_total_timeout = client.send(hurried).await.unwrap_err();
        for error in [by_connect_timeout, by_total_timeout] {
            let status = None;
            assert_eq!(error, OutboundError::TimedOut { phase, status });
            assert!(!error.was_sent());
        }
    }
}

// ---- what goes wrong ----

#[actix_rt::test]
async fn a_port_without_a_listener_is_no_connection_and_nothing_sent() {
    // Taken, so that no other test is given it.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let taken = socket.local_addr().unwrap();
    let url = Url::parse(&format!("http://{taken}/")).unwrap();
    let error = client().send(post(url)).await.unwrap_err();
    assert_eq!(error.code(), "connect_failed");
    assert_eq!(error.phase(), Phase::Connect);
    assert!(!error.was_sent());
}

#[actix_rt::test]
async fn a_name_without_an_address_is_told_by_the_name() {
    let error = client()
        .send(post(Url::parse("http://nowhere.invalid/").unwrap()))
        .await
        .unwrap_err();
    assert_eq!(error.code(), "dns_failed");
    assert!(!error.was_sent());
    assert_eq!(
        error.to_string(),
        "The name nowhere.invalid could not be resolved to an address."
    );
}

#[actix_rt::test]
async fn a_broken_connection_and_a_broken_answer_are_protocol_errors() {
    let resetting = Server::start(|mut peer| async move {
        peer.request().await;
        peer.stream.set_zero_linger().unwrap();
    })
    .await;
    let closing = Server::start(|mut peer| async move {
        peer.request().await;
    })
    .await;
    let broken = |answer: &'static str| {
        Server::start(move |mut peer| async move {
            peer.request().await;
            peer.say(answer).await;
        })
    };
    let cases = [
        (resetting, Phase::Answer, None),
        (closing, Phase::Answer, None),
        (broken("SSH-2.0-OpenSSH_9.2\r\n").await, Phase::Answer, None),
        (
            broken("HTTP/1.1 200 OK\r\nx-half").await,
            Phase::Answer,
            None,
        ),
        (
            broken("HTTP/1.1 103 Early Hints\r\n\r\n").await,
            Phase::Answer,
            None,
        ),
        (
            broken("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nshort").await,
            Phase::Body,
            Some(200),
        ),
    ];
    for (number, (server, phase, status)) in cases.into_iter().enumerate() {
        let mut request = post(server.url("/"));
        request.retry_on_stale = true;
        let error = client().send(request).await.unwrap_err();
        assert_eq!(error.code(), "protocol_error", "case {number}");
        assert_eq!(error.phase(), phase, "case {number}");
        assert_eq!(error.status(), status, "case {number}");
        assert!(error.was_sent());
        assert_eq!(server.accepted(), 1, "a new connection is not tried twice");
    }
}

/// What the module's documentation warns of. Should this fail one day, `awc` has
/// learned it and the warning can go.
#[actix_rt::test]
async fn awc_takes_a_chunked_body_cut_short_for_a_whole_one() {
    let server = Server::start(|mut peer| async move {
        peer.request().await;
        peer.say("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nff\r\nshort")
            .await;
    })
    .await;
    let answer = client().send(post(server.url("/"))).await.unwrap();
    assert_eq!(&answer.body[..], b"short");
}

// ---- kept connections ----

#[actix_rt::test]
async fn a_connection_is_used_again() {
    for answer in [
        OK,
        NO_CONTENT,
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    ] {
        let server = Server::answering(answer).await;
        let client = client();
        for _ in 0..3 {
            client.send(post(server.url("/"))).await.unwrap();
        }
        assert_eq!(server.accepted(), 1, "{answer}");
    }
}

#[actix_rt::test]
async fn more_requests_than_any_pool_limit_are_under_way_at_once() {
    let server = Server::start(|mut peer| async move {
        peer.request().await;
        let seen = Rc::clone(&peer.seen);
        until(|| seen.accepted.get() == 150).await;
        peer.say(OK).await;
    })
    .await;
    let client = client();
    let all = (0..150).map(|_| client.send(post(server.url("/"))));
    for answer in futures_util::future::join_all(all).await {
        assert_eq!(answer.unwrap().status, 200);
    }
}

/// Answers once, and hangs up on the second request of the first connection.
async fn server_with_a_stale_connection(hang_up: fn(&Peer)) -> Server {
    Server::start(move |mut peer| async move {
        peer.request().await;
        peer.say(OK).await;
        if peer.number == 1 {
            peer.request().await;
            hang_up(&peer);
        } else {
            peer.linger().await;
        }
    })
    .await
}

#[actix_rt::test]
async fn a_stale_connection_is_tried_once_more_when_the_caller_says_so() {
    let close: fn(&Peer) = |_| {};
    let reset: fn(&Peer) = |peer| peer.stream.set_zero_linger().unwrap();
    for hang_up in [close, reset] {
        let server = server_with_a_stale_connection(hang_up).await;
        let client = client();
        let mut request = post(server.url("/"));
        request.retry_on_stale = true;
        client.send(request.clone()).await.unwrap();
        assert_eq!(client.send(request).await.unwrap().status, 200);
        assert_eq!(server.accepted(), 2);
        assert_eq!(server.seen.requests.borrow().len(), 3);

        let server = server_with_a_stale_connection(hang_up).await;
        client.send(post(server.url("/"))).await.unwrap();
        let error = client.send(post(server.url("/"))).await.unwrap_err();
        assert_eq!(error.code(), "protocol_error");
        assert!(error.was_sent());
        assert_eq!(server.accepted(), 1);
    }
}

#[actix_rt::test]
async fn an_answer_without_a_length_ends_its_connection() {
    let server = Server::answering("HTTP/1.1 200 OK\r\n\r\n").await;
    let client = client();
    for expected in 1..=3 {
        client.send(post(server.url("/"))).await.unwrap();
        assert_eq!(server.accepted(), expected);
    }
}

#[actix_rt::test]
async fn a_thousand_hosts_leave_few_connections_behind() {
    let server = Server::answering(OK).await;
    let client = client_resolving([&["127.0.0.1"]]);
    let began = std::time::Instant::now();
    for number in 0..1_000 {
        let host = format!("h{number}.example:{}", server.address.port());
        let url = Url::parse(&format!("http://{host}/")).unwrap();
        assert_eq!(client.send(post(url)).await.unwrap().status, 200);
    }
    assert_eq!(server.accepted(), 1_000);
    until(|| server.seen.open.get() <= KEPT_ORIGINS).await;
    let again = Url::parse(&format!("http://h0.example:{}/", server.address.port())).unwrap();
    client.send(post(again)).await.unwrap();
    // On a machine that took longer they were too old to be used again.
    if began.elapsed() < KEEP_ALIVE {
        assert_eq!(server.accepted(), 1_000, "the first hosts keep theirs");
    }
    let descriptors = std::fs::read_dir("/proc/self/fd").unwrap().count();
    assert!(descriptors < 1_000, "{descriptors} descriptors");
}

#[actix_rt::test]
async fn a_pool_lets_its_connections_go_after_its_time() {
    let server = Server::answering(OK).await;
    let client = client();
    client.send(post(server.url("/"))).await.unwrap();
    assert_eq!(server.seen.open.get(), 1);
    tokio::time::pause();
    tokio::time::advance(POOL_LIFETIME).await;
    tokio::time::resume();
    until(|| server.seen.open.get() == 0).await;
    client.send(post(server.url("/"))).await.unwrap();
    assert_eq!(server.accepted(), 2);
}

// ---- the guard, below the resolver ----

#[actix_rt::test]
async fn of_several_addresses_only_the_allowed_ones_are_connected_to() {
    let server = Server::answering(OK).await;
    let client = client_resolving([&["10.255.255.1", "fd00::1", "127.0.0.1"]]);
    let url = Url::parse(&format!("http://mixed.example:{}/", server.address.port())).unwrap();
    assert_eq!(client.send(post(url)).await.unwrap().status, 200);
}

#[actix_rt::test]
async fn a_name_that_turns_to_a_forbidden_address_is_refused() {
    let server =
        Server::answering("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
            .await;
    let client = client_resolving([&["127.0.0.1"], &["10.0.0.1", "169.254.169.254"]]);
    let url = Url::parse(&format!(
        "http://turning.example:{}/",
        server.address.port()
    ))
    .unwrap();
    assert_eq!(client.send(post(url.clone())).await.unwrap().status, 200);
    let error = client.send(post(url)).await.unwrap_err();
    assert_eq!(error.code(), "forbidden_address");
    assert!(!error.was_sent());
    assert!(!error.to_string().contains("10.0.0.1"), "{error}");
    assert_eq!(server.accepted(), 1);
}

#[actix_rt::test]
async fn literal_addresses_pass_the_guard_too() {
    let server = Server::answering(OK).await;
    let port = server.address.port();
    let strict = Client::new(Policy::callbacks(Vec::new(), false), TIMEOUTS, no_roots());
    for host in [
        "127.0.0.1",
        "2130706433",
        "[::ffff:127.0.0.1]",
        "[::1]",
        "localhost",
    ] {
        let url = Url::parse(&format!("http://{host}:{port}/")).unwrap();
        match strict.send(post(url)).await.unwrap_err() {
            OutboundError::Forbidden(forbidden) => {
                assert_eq!(forbidden.reason, Reason::Loopback, "{host}");
            }
            other => panic!("{host}: {other}"),
        }
    }
    assert_eq!(server.accepted(), 0);
    let trusted = Client::new(Policy::trusted(), TIMEOUTS, no_roots());
    let url = Url::parse("http://169.254.169.254/latest/meta-data/").unwrap();
    let error = trusted.send(post(url)).await.unwrap_err();
    assert_eq!(error.code(), "forbidden_address");
}

#[actix_rt::test]
async fn one_url_is_exempt_and_lends_its_connection_to_no_other() {
    let server = Server::answering(OK).await;
    let own = server.url("/v1/callbacks");
    let policy = Policy::callbacks(Vec::new(), false)
        .without(server.address)
        .exempting(own.clone());
    let client = Client::new(policy, TIMEOUTS, no_roots());
    for _ in 0..2 {
        assert_eq!(client.send(post(own.clone())).await.unwrap().status, 200);
        for path in ["/", "/v1/callbacks/", "/v1/callbacks?x", "/v1/tasks"] {
            let error = client.send(post(server.url(path))).await.unwrap_err();
            assert_eq!(error.code(), "forbidden_address", "{path}");
        }
    }
    assert_eq!(server.seen.requests.borrow().len(), 2);
    assert_eq!(server.accepted(), 1);
}

const INSIDE: &str = "HOIAM_TEST_INSIDE_OWN_NETWORK";

/// Starts itself again in a network of its own, where foreign addresses can be
/// given to the loopback interface and nothing can leave.
#[test]
fn the_guard_holds_between_real_addresses() {
    if std::env::var_os(INSIDE).is_some() {
        actix_rt::System::new().block_on(between_real_addresses());
        return;
    }
    // 8.8.8.8 is a secondary address, 8.8.6.1 only a route. 9.9.9.9 is another machine's
    // to the eyes of the guard: what is sent there comes from another address.
    let network = "ip link set lo up && for a in 10.1.2.3/32 169.254.169.254/32 8.8.8.7/24 8.8.8.8/24; \
                   do ip addr add $a dev lo || exit 125; done && ip route add local 8.8.6.1 dev lo && \
                   ip route add local 9.9.9.9 dev lo src 10.1.2.3";
    let unshare = |script: &str| {
        std::process::Command::new("unshare")
            .args(["-n", "sh", "-c", script])
            .env(INSIDE, "1")
            .arg(std::env::current_exe().unwrap())
            .output()
    };
    if !unshare(network).is_ok_and(|output| output.status.success()) {
        println!("skipped: no network of its own to be had here (unshare -n, ip)");
        return;
    }
    let name = "outbound::client::tests::the_guard_holds_between_real_addresses";
    let output = unshare(&format!("{network} && exec \"$0\" --exact {name}")).unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{told}");
    assert!(told.contains("1 passed"), "{told}");
}

async fn between_real_addresses() {
    let ranges = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
    let strict = Policy::callbacks(Vec::new(), false);
    let opened = Policy::callbacks(ranges(&["10.0.0.0/8"]), false);
    let wide_open = Policy::callbacks(ranges(&["0.0.0.0/0", "::/0"]), true);
    let trusted = Policy::trusted();
    for (address, [by_strict, by_opened, by_wide_open, by_trusted]) in [
        ("9.9.9.9:0", [true, true, true, true]),
        ("8.8.8.8:0", [false, false, true, true]),
        ("8.8.6.1:0", [false, false, true, true]),
        ("10.1.2.3:0", [false, true, true, true]),
        ("127.0.0.1:0", [false, false, true, true]),
        ("169.254.169.254:0", [false, false, false, false]),
    ] {
        let server = Server::start_at(address, |mut peer| async move {
            peer.request().await;
            peer.say(OK).await;
        })
        .await;
        let mut reached = 0;
        for (policy, expected) in [
            (&strict, by_strict),
            (&opened, by_opened),
            (&wide_open, by_wide_open),
            (&trusted, by_trusted),
        ] {
            let client = Client::new(policy.clone(), TIMEOUTS, no_roots());
            let outcome = client.send(post(server.url("/"))).await;
            reached += usize::from(expected);
            assert_eq!(server.accepted(), reached, "{address}");
            match outcome {
                Ok(answer) => assert_eq!(answer.status, 200),
                Err(error) => assert_eq!(error.code(), "forbidden_address"),
            }
        }
    }
}

// ---- encryption ----

/// A server with a certificate of its own; answers each connection once.
fn encrypted_server(names: &[&str], until_year: i32) -> (SocketAddr, rustls::RootCertStore) {
    encrypted_server_doing(names, until_year, |mut stream| {
        answer_encrypted(&mut stream, OK);
    })
}

type Encrypted = rustls::StreamOwned<rustls::ServerConnection, std::net::TcpStream>;

/// Answers the first request of a connection. A client that refuses the
/// certificate hangs up before.
fn answer_encrypted(stream: &mut Encrypted, answer: &str) {
    let mut some = [0; 4_096];
    if std::io::Read::read(stream, &mut some).is_ok_and(|length| length > 0) {
        assert_eq!(stream.conn.alpn_protocol(), Some(&b"http/1.1"[..]));
        std::io::Write::write_all(stream, answer.as_bytes()).unwrap();
    }
}

fn encrypted_server_doing(
    names: &[&str],
    until_year: i32,
    serve: impl Fn(Encrypted) + Send + 'static,
) -> (SocketAddr, rustls::RootCertStore) {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut parameters = rcgen::CertificateParams::new(names).unwrap();
    parameters.not_after = rcgen::date_time_ymd(until_year, 1, 1);
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = parameters.self_signed(&key).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let private = rustls::pki_types::PrivatePkcs8KeyDer::from(key.serialize_der());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], private.into())
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let config = Arc::new(config);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        while let Ok((socket, _)) = listener.accept() {
            let connection = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
            serve(rustls::StreamOwned::new(connection, socket));
        }
    });
    (address, roots)
}

async fn over_tls(
    address: SocketAddr,
    roots: rustls::RootCertStore,
    connect: Duration,
) -> Result<Answer, OutboundError> {
    let tls = super::super::tls::with_roots(roots).unwrap();
    let timeouts = Timeouts {
        connect,
        ..TIMEOUTS
    };
    let url = Url::parse(&format!("https://localhost:{}/", address.port())).unwrap();
    Client::new(local(), timeouts, tls).send(post(url)).await
}

#[actix_rt::test]
async fn a_trusted_certificate_is_accepted_over_http_1_1() {
    let (address, roots) = encrypted_server(&["localhost"], 4000);
    let answer = over_tls(address, roots, 60 * SECOND).await.unwrap();
    assert_eq!(&answer.body[..], b"ok");
}

#[actix_rt::test]
async fn a_certificate_that_is_not_good_is_told_and_nothing_sent() {
    let plain = Server::start(|mut peer| async move {
        peer.say("HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")
            .await;
        peer.linger().await;
    })
    .await;
    let (good, _) = encrypted_server(&["localhost"], 4000);
    let (misnamed, of_misnamed) = encrypted_server(&["other.example"], 4000);
    let (expired, of_expired) = encrypted_server(&["localhost"], 2001);
    let none = rustls::RootCertStore::empty;
    for (address, roots, reason) in [
        (good, none(), "the certificate's issuer is not trusted here"),
        (misnamed, of_misnamed, "the certificate is for another name"),
        (expired, of_expired, "the certificate has expired"),
        (
            plain.address,
            none(),
            "the other side does not speak TLS at this port",
        ),
    ] {
        let error = over_tls(address, roots, 60 * SECOND).await.unwrap_err();
        assert_eq!(error, OutboundError::TlsFailed(reason));
        assert_eq!(error.phase(), Phase::Tls);
        assert!(!error.was_sent());
    }
}

#[actix_rt::test]
async fn a_handshake_that_does_not_come_runs_out_of_time_unsent() {
    let silent = Server::start(|mut peer| async move { peer.linger().await }).await;
    let none = rustls::RootCertStore::empty();
    let (phase, status) = (Phase::Tls, None);
    let error = runs_out_in(phase, async |limit| {
        let outcome = over_tls(silent.address, none.clone(), limit);
        outcome.await.unwrap_err()
    });
    let error = error.await;
    assert_eq!(error, OutboundError::TimedOut { phase, status });
    assert!(!error.was_sent());
}

// ---- downloads ----

#[actix_rt::test]
async fn a_download_comes_piece_by_piece() {
    let server = Server::start(|mut peer| async move {
        peer.request().await;
        peer.say("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n")
            .await;
        let mut go_on = [0];
        peer.stream.read_exact(&mut go_on).await.unwrap_err();
    })
    .await;
    let mut download = client()
        .download(fetch(server.url("/events")))
        .await
        .unwrap();
    assert_eq!(download.status, 200);
    let first = download.body.next().await.unwrap().unwrap();
    assert_eq!(&first[..], b"first", "while the answer goes on");
    drop(download);
    until(|| server.seen.open.get() == 0).await;
}

#[actix_rt::test]
async fn a_whole_download_keeps_its_connection() {
    let server = Server::answering("HTTP/1.1 206 Partial\r\ncontent-length: 5\r\n\r\n12345").await;
    let client = client();
    for _ in 0..2 {
        let download = client.download(fetch(server.url("/"))).await.unwrap();
        assert_eq!(download.status, 206);
        assert_eq!(whole(download).await.unwrap(), b"12345");
    }
    assert_eq!(server.accepted(), 1);
}

#[actix_rt::test]
async fn a_download_that_breaks_off_or_stops_or_grows_too_large_is_an_error() {
    let server = Server::start(|mut peer| async move {
        let request = peer.request().await.unwrap();
        if request.contains("/chunks") {
            peer.say("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\n12345\r\n3\r\n678\r\n0\r\n\r\n").await;
        } else {
            peer.say("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n12345").await;
        }
        if request.contains("/stops") {
            peer.linger().await;
        }
    })
    .await;
    let client = client();

    let broken = client.download(fetch(server.url("/breaks"))).await.unwrap();
    let error = whole(broken).await.unwrap_err();
    assert_eq!(
        (error.code(), error.phase()),
        ("protocol_error", Phase::Body)
    );

    for by_idling in [true, false] {
        let error = runs_out_in(Phase::Body, async |limit| {
            let stopping = match by_idling {
                true => Fetch {
                    idle_timeout: limit,
                    ..fetch(server.url("/stops"))
                },
                false => Fetch {
                    total_timeout: Some(limit),
                    ..fetch(server.url("/stops"))
                },
            };
            match client.download(stopping).await {
                Ok(download) => whole(download).await.unwrap_err(),
                Err(error) => error,
            }
        });
        let error = error.await;
        assert_eq!((error.code(), error.phase()), ("timed_out", Phase::Body));
    }

    let announced = Fetch {
        limit: 8,
        ..fetch(server.url("/breaks"))
    };
    let error = client.download(announced).await.err().unwrap();
    assert_eq!(error.code(), "too_large");

    for (limit, large) in [(7, true), (8, false)] {
        let growing = Fetch {
            limit,
            ..fetch(server.url("/chunks"))
        };
        let outcome = whole(client.download(growing).await.unwrap()).await;
        assert_eq!(
            outcome.is_err_and(|error| error.code() == "too_large"),
            large
        );
    }
}
