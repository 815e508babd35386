//! Requests as the bytes that go over the wire, and what comes back.

use std::fmt::{self, Display, Formatter};
use std::io::{self, BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};

use crate::support::PATIENCE;
use crate::support::http::Message;

/// How a request says where its body ends.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// It has no body.
    Nothing,
    Length,
    Chunked,
}

/// A request that says what it means, however odd that is.
#[derive(Clone)]
pub struct Request {
    /// The row of the table of routes that it began as.
    pub route: usize,
    pub method: String,
    pub target: String,
    /// In the order in which they are sent; not those that tell the length.
    pub headers: Vec<(String, Vec<u8>)>,
    pub body: Vec<u8>,
    pub framing: Framing,
}

impl Request {
    /// Adds a header.
    pub fn with(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.headers
            .push((name.to_owned(), value.as_ref().to_owned()));
        self
    }

    /// How many bytes come before the body.
    pub fn head_length(&self) -> usize {
        self.head().len()
    }

    fn head(&self) -> Vec<u8> {
        let mut head = format!("{} {} HTTP/1.1\r\n", self.method, self.target).into_bytes();
        for (name, value) in &self.headers {
            head.extend([name.as_bytes(), b": ", value, b"\r\n"].concat());
        }
        head.extend(match self.framing {
            Framing::Nothing => String::new().into_bytes(),
            Framing::Length => format!("content-length: {}\r\n", self.body.len()).into_bytes(),
            Framing::Chunked => b"transfer-encoding: chunked\r\n".to_vec(),
        });
        head.extend(b"\r\n");
        head
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.head();
        match self.framing {
            Framing::Nothing => {}
            Framing::Length => bytes.extend(&self.body),
            Framing::Chunked => {
                for chunk in self.body.chunks(4_096) {
                    bytes.extend(format!("{:x}\r\n", chunk.len()).as_bytes());
                    bytes.extend([chunk, b"\r\n"].concat());
                }
                bytes.extend(b"0\r\n\r\n");
            }
        }
        bytes
    }

    /// Whether it needs no room on a disk. Readiness is about just that.
    pub fn only_reads(&self) -> bool {
        ["GET", "HEAD"].contains(&self.method.as_str()) && !self.target.contains("ready")
    }

    /// Whether the layer of HTTP may not refuse it: its target has the characters of RFC
    /// 3986 alone, and its head is no longer than that layer reads.
    pub fn is_http(&self) -> bool {
        let is_of_url =
            |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:/?[]@!$&'()*+,;=%".contains(&byte);
        let is_token = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        let hosts = self.headers.iter().filter(|(name, _)| name == "host");
        self.target.starts_with('/')
            && self.target.bytes().all(is_of_url)
            && self.target.len() < 60_000
            && self.method.bytes().all(is_token)
            // RFC 9112 3.2.
            && hosts.count() == 1
            && self.headers.len() < 90
            && self.head_length() < 100_000
    }
}

impl Display for Request {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let bytes = self.bytes();
        let shown = &bytes[..bytes.len().min(3_000)];
        write!(f, "{} bytes: {}", bytes.len(), shown.escape_ascii())
    }
}

/// What a service answered.
pub struct Answer {
    pub status: u16,
    pub message: Message,
}

impl Answer {
    fn of(message: Message) -> Self {
        let status = message.start.split(' ').nth(1);
        let status = status.and_then(|status| status.parse().ok());
        Self {
            status: status.unwrap_or_else(|| panic!("no status: {:?}", message.start)),
            message,
        }
    }

    /// Whether it has no end that could be waited for.
    fn is_stream(&self) -> bool {
        self.message.header("content-type") == Some("text/event-stream")
    }

    fn is_last(&self) -> bool {
        self.message.header("connection") == Some("close")
    }

    /// Whether the layer of HTTP gave it, before any route was looked for.
    pub fn is_bare(&self) -> bool {
        let headers = self.message.headers.iter().map(|(name, _)| name.as_str());
        let of_that_layer = ["content-length", "connection", "date"];
        headers
            .into_iter()
            .all(|name| of_that_layer.contains(&name))
    }
}

impl Display for Answer {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Message {
            start,
            headers,
            body,
        } = &self.message;
        let body = &body[..body.len().min(3_000)];
        write!(f, "{start} {headers:?} {}", body.escape_ascii())
    }
}

/// Sends one request after the other, over the same connection while it lasts.
pub struct Wire {
    address: String,
    kept: Option<BufReader<TcpStream>>,
}

impl Wire {
    pub fn new(address: &str) -> Self {
        Self {
            address: address.to_owned(),
            kept: None,
        }
    }

    /// A connection that nobody else uses.
    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.address).expect("a connection");
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// The answer; `None` where the connection was closed instead.
    #[track_caller]
    pub fn ask(&mut self, request: &Request, may_reuse: bool) -> Option<Answer> {
        let kept = self.kept.take().filter(|_| may_reuse);
        // One that was kept may have been closed meanwhile, and then nothing comes.
        kept.and_then(|kept| self.ask_on(kept, request))
            .or_else(|| self.ask_on(BufReader::new(self.connect()), request))
    }

    /// The answer; `None` where the connection was closed before a byte of one.
    #[track_caller]
    fn ask_on(&mut self, mut on: BufReader<TcpStream>, request: &Request) -> Option<Answer> {
        // Whoever is refused early may be unable to send all.
        let sent = on.get_mut().write_all(&request.bytes());
        let begun = on.fill_buf().map(|first| !first.is_empty());
        if !closed_or(begun.map(Some), || request.to_string()).unwrap_or(false) {
            return None;
        }
        let answer = read_answer(&mut on, &request.method);
        let answer = answer.ok().flatten();
        let answer = answer.unwrap_or_else(|| panic!("half of an answer to {request}"));
        if sent.is_ok() && !answer.is_last() && !answer.is_stream() {
            let more = on.buffer().escape_ascii();
            assert_eq!(more.to_string(), "", "behind {answer} to {request}");
            self.kept = Some(on);
        }
        Some(answer)
    }

    /// All that is answered to these bytes, behind which nothing more comes.
    #[track_caller]
    pub fn say(&self, bytes: &[u8]) -> Vec<Answer> {
        let mut stream = self.connect();
        let _ = stream.write_all(bytes);
        let _ = stream.shutdown(Shutdown::Write);
        let mut answers = Vec::new();
        let mut reader = BufReader::new(stream);
        let what = || bytes[..bytes.len().min(3_000)].escape_ascii().to_string();
        let method = if bytes.starts_with(b"HEAD ") {
            "HEAD"
        } else {
            ""
        };
        while let Some(answer) = closed_or(read_answer(&mut reader, method), what) {
            let is_stream = answer.is_stream();
            answers.push(answer);
            if is_stream {
                break;
            }
        }
        answers
    }
}

fn read_answer(reader: &mut BufReader<TcpStream>, method: &str) -> io::Result<Option<Answer>> {
    loop {
        let Some(head) = Message::read_head(reader)? else {
            return Ok(None);
        };
        let mut answer = Answer::of(head);
        if (100..200).contains(&answer.status) {
            continue;
        }
        let has_body = method != "HEAD" && ![204, 304].contains(&answer.status);
        if has_body && !answer.is_stream() {
            answer.message.read_body(reader, true)?;
        }
        return Ok(Some(answer));
    }
}

/// Fails where nothing came at all, nor an end.
#[track_caller]
fn closed_or<T>(answer: io::Result<Option<T>>, what: impl FnOnce() -> String) -> Option<T> {
    match answer {
        Ok(answer) => answer,
        Err(error) => {
            assert!(is_end(&error), "{error}, after {}", what());
            None
        }
    }
}

fn is_end(error: &io::Error) -> bool {
    [ErrorKind::ConnectionReset, ErrorKind::BrokenPipe].contains(&error.kind())
}

/// Fails unless the service closes what was left half sent, or answers it as a stream of
/// events, for which a head is enough.
#[track_caller]
pub fn expect_end(stream: TcpStream) {
    let mut reader = BufReader::new(stream);
    let what = || "half of a request".to_owned();
    let answer = closed_or(read_answer(&mut reader, "HEAD"), what);
    if answer.is_some_and(|answer| !answer.is_stream()) {
        let rest = reader.read_to_end(&mut Vec::new());
        closed_or(rest.map(Some), what);
    }
}
