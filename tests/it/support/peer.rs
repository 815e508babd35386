//! The other side, behaving as a test wants: a receiver of callbacks, or a
//! proxy in front of a real service. Both are a [`Peer`]: it keeps every
//! request, and asks the test's rule how to react.

use std::io::{self, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::PATIENCE;
use super::http::Message;

/// A request that came in.
#[derive(Debug, Clone)]
pub struct Request {
    pub method: String,
    /// With the query, if there is one.
    pub path: String,
    /// Which one of this method and path it is, from 1.
    pub nth: usize,
    /// When it had been read.
    pub at: Instant,
    pub message: Message,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.message.header(name)
    }

    pub fn body(&self) -> &[u8] {
        &self.message.body
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.message.body).expect("a body in JSON")
    }

    pub fn is(&self, method: &str, path: &str) -> bool {
        self.method == method && self.path == path
    }

    /// The `type` of a callback, or nothing where it is none.
    pub fn kind(&self) -> Option<String> {
        let body: Value = serde_json::from_slice(&self.message.body).ok()?;
        body["type"].as_str().map(str::to_owned)
    }
}

/// What a peer does with a request.
#[derive(Clone)]
pub enum Reaction {
    /// Answers with this status and nothing else.
    Answer(u16),
    /// The same, with headers.
    AnswerWith(u16, Vec<(&'static str, String)>),
    /// Answers 200 with this body.
    Body(Arc<Vec<u8>>),
    /// Closes the connection without an answer.
    HangUp,
    /// Keeps the connection and never answers.
    Silence,
    /// Sends half of a head and closes.
    HalfAnswer,
    /// Sends bytes that are no HTTP, and closes.
    Garbage,
    /// Answers 200 with a body that never ends.
    EndlessBody,
    /// Sends these bytes, and closes.
    Bytes(String),
    /// Sends these bytes, and keeps the connection.
    BytesThenSilence(String),
    /// Waits until the gate is open, then reacts.
    After(Gate, Box<Reaction>),
    /// Proxies only: passes request and answer on.
    Pass,
    /// Proxies only: passes the request on and loses the answer.
    LoseAnswer,
    /// Proxies only: passes the request on; the answer waits for the gate.
    HoldAnswer(Gate),
}

/// Closed until it is opened, then open for good.
#[derive(Clone, Default)]
pub struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    pub fn open(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }

    /// Waits until it is open.
    pub fn wait(&self) {
        let closed = self.0.0.lock().unwrap();
        let _open = self.0.1.wait_while(closed, |open| !*open).unwrap();
    }
}

type Rule = Arc<dyn Fn(&Request) -> Reaction + Send + Sync>;

/// A listener on a free port, until it is dropped.
pub struct Peer {
    address: String,
    state: Arc<State>,
}

struct State {
    inner: Mutex<Inner>,
    came: Condvar,
}

impl State {
    /// A test that fails while it looks must still be able to clean up.
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Inner {
    requests: Vec<Request>,
    rule: Rule,
    target: Option<String>,
    closed: bool,
}

impl Peer {
    /// A receiver that answers 204 to everything.
    pub fn receiver() -> Self {
        Self::start("127.0.0.1:0", |_| Reaction::Answer(204))
    }

    /// The same where callbacks lead that are owed already. Another run of the tests may
    /// listen there, for a moment.
    pub fn receiver_at(address: &str) -> Self {
        Self::start(address, |_| Reaction::Answer(204))
    }

    /// A proxy that passes everything on, once it has a target.
    pub fn proxy() -> Self {
        Self::start("127.0.0.1:0", |_| Reaction::Pass)
    }

    fn start(address: &str, rule: impl Fn(&Request) -> Reaction + Send + Sync + 'static) -> Self {
        let listener = super::eventually("a port is free", || TcpListener::bind(address).ok());
        let address = listener.local_addr().expect("an address").to_string();
        let state = Arc::new(State {
            inner: Mutex::new(Inner {
                requests: Vec::new(),
                rule: Arc::new(rule),
                target: None,
                closed: false,
            }),
            came: Condvar::new(),
        });
        let shared = Arc::clone(&state);
        std::thread::spawn(move || accept(&listener, &shared));
        Self { address, state }
    }

    /// Reacts as `rule` says from now on.
    pub fn react(&self, rule: impl Fn(&Request) -> Reaction + Send + Sync + 'static) {
        self.inner().rule = Arc::new(rule);
    }

    /// Where a proxy passes requests on to, as `host:port`.
    pub fn pass_on_to(&self, address: &str) {
        self.inner().target = Some(address.to_owned());
    }

    /// The URL of a path here.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Everything that has come so far.
    pub fn requests(&self) -> Vec<Request> {
        self.inner().requests.clone()
    }

    /// Everything that has come since it was last taken. It is forgotten, so
    /// that much can come; `nth` counts what is not.
    pub fn take(&self) -> Vec<Request> {
        std::mem::take(&mut self.inner().requests)
    }

    /// What has come with this method to this path.
    pub fn requests_to(&self, method: &str, path: &str) -> Vec<Request> {
        let mut requests = self.requests();
        requests.retain(|request| request.is(method, path));
        requests
    }

    /// The callbacks of this type that have come so far.
    pub fn callbacks(&self, kind: &str) -> Vec<Request> {
        let mut requests = self.requests();
        requests.retain(|request| request.kind().as_deref() == Some(kind));
        requests
    }

    /// Waits until `condition` finds what it wants among the requests.
    #[track_caller]
    pub fn wait_for<T>(&self, what: &str, condition: impl Fn(&[Request]) -> Option<T>) -> T {
        let until = Instant::now() + PATIENCE;
        let mut inner = self.inner();
        loop {
            if let Some(found) = condition(&inner.requests) {
                return found;
            }
            let left = until.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "{what} never came: {:#?}", inner.requests);
            inner = self.state.came.wait_timeout(inner, left).unwrap().0;
        }
    }

    /// Waits for the first callback of this type.
    #[track_caller]
    pub fn wait_for_callback(&self, kind: &str) -> Request {
        self.wait_for_callbacks(kind, 1).remove(0)
    }

    /// Waits for that many callbacks of this type.
    #[track_caller]
    pub fn wait_for_callbacks(&self, kind: &str, count: usize) -> Vec<Request> {
        self.wait_for(&format!("{count} {kind}"), |requests| {
            let of_kind = |request: &&Request| request.kind().as_deref() == Some(kind);
            let found: Vec<Request> = requests.iter().filter(of_kind).cloned().collect();
            (found.len() >= count).then_some(found)
        })
    }

    /// Waits for the `nth` request with this method to this path.
    #[track_caller]
    pub fn wait_for_request(&self, method: &str, path: &str, nth: usize) -> Request {
        self.wait_for(&format!("{method} {path} number {nth}"), |requests| {
            let wanted = |request: &&Request| request.is(method, path) && request.nth == nth;
            requests.iter().find(wanted).cloned()
        })
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.state.inner()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.inner().closed = true;
        // Wakes the listener's thread, which then ends.
        let _ = TcpStream::connect(&self.address);
    }
}

/// A `host:port` of loopback where nobody listens, nor ever will: the port is
/// taken until the tests end, so that no other test is given it.
pub fn nobody() -> String {
    let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
    let any = "127.0.0.1:0".parse().expect("an address");
    socket.bind(any).expect("a free port");
    let address = socket.local_addr().expect("an address").to_string();
    std::mem::forget(socket);
    address
}

fn accept(listener: &TcpListener, state: &Arc<State>) {
    for stream in listener.incoming() {
        if state.inner().closed {
            return;
        }
        let (Ok(stream), state) = (stream, Arc::clone(state)) else {
            return;
        };
        std::thread::spawn(move || {
            // A connection that breaks is the business of the one who called.
            let _ = serve(stream, &state);
        });
    }
}

fn serve(mut stream: TcpStream, state: &State) -> io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let Some(mut message) = Message::read_head(&mut reader)? else {
        return Ok(());
    };
    message.read_body(&mut reader, false)?;
    let (reaction, target) = note(state, message.clone());
    carry_out(reaction, &mut stream, &message, target.as_deref())
}

fn note(state: &State, message: Message) -> (Reaction, Option<String>) {
    let mut words = message.start.split(' ').map(str::to_owned);
    let (method, path) = (
        words.next().unwrap_or_default(),
        words.next().unwrap_or_default(),
    );
    let mut inner = state.inner();
    let same = |request: &&Request| request.is(&method, &path);
    let nth = inner.requests.iter().filter(same).count() + 1;
    let request = Request {
        method,
        path,
        nth,
        at: Instant::now(),
        message,
    };
    inner.requests.push(request.clone());
    state.came.notify_all();
    let (rule, target) = (Arc::clone(&inner.rule), inner.target.clone());
    drop(inner);
    (rule(&request), target)
}

fn carry_out(
    reaction: Reaction,
    stream: &mut TcpStream,
    request: &Message,
    target: Option<&str>,
) -> io::Result<()> {
    match reaction {
        Reaction::Answer(status) => answer(stream, status, Vec::new()),
        Reaction::AnswerWith(status, headers) => answer(stream, status, headers),
        Reaction::Body(body) => {
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
            stream.write_all(head.as_bytes())?;
            stream.write_all(&body)
        }
        Reaction::HangUp => stream.shutdown(Shutdown::Both),
        Reaction::Silence => keep_silent(stream),
        Reaction::Bytes(bytes) => stream.write_all(bytes.as_bytes()),
        Reaction::BytesThenSilence(bytes) => {
            stream.write_all(bytes.as_bytes())?;
            keep_silent(stream)
        }
        Reaction::HalfAnswer => stream.write_all(b"HTTP/1.1 200 O"),
        Reaction::Garbage => stream.write_all(b"\x16\x03garbage\x00\xff\n\n\n"),
        Reaction::EndlessBody => {
            stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")?;
            loop {
                stream.write_all(b"11\r\nand so on and on.\r\n")?;
            }
        }
        Reaction::After(gate, then) => {
            gate.wait();
            carry_out(*then, stream, request, target)
        }
        Reaction::Pass => io::copy(&mut pass_on(request, target)?, stream).map(drop),
        Reaction::LoseAnswer => {
            pass_on(request, target)?.read_to_end(&mut Vec::new())?;
            stream.shutdown(Shutdown::Both)
        }
        Reaction::HoldAnswer(gate) => {
            let mut held = Vec::new();
            pass_on(request, target)?.read_to_end(&mut held)?;
            gate.wait();
            stream.write_all(&held)
        }
    }
}

/// Until the caller gives up.
fn keep_silent(stream: &mut TcpStream) -> io::Result<()> {
    io::copy(stream, &mut io::sink()).map(drop)
}

fn answer(
    stream: &mut TcpStream,
    status: u16,
    headers: Vec<(&'static str, String)>,
) -> io::Result<()> {
    let own = |(name, value): (&str, String)| (name.to_owned(), value);
    let message = Message {
        start: format!("HTTP/1.1 {status} Scripted"),
        headers: headers.into_iter().map(own).collect(),
        body: Vec::new(),
    };
    stream.write_all(&message.to_bytes())
}

/// The connection on which the target answers, to its end.
fn pass_on(request: &Message, target: Option<&str>) -> io::Result<TcpStream> {
    let target = target.ok_or(io::ErrorKind::NotConnected)?;
    let mut upstream = TcpStream::connect(target)?;
    upstream.set_read_timeout(Some(PATIENCE + Duration::from_secs(30)))?;
    upstream.write_all(&request.to_bytes())?;
    Ok(upstream)
}
