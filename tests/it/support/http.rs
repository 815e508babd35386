//! HTTP/1.1 as far as the tests need it: one request a connection, so that a
//! process that was killed leaves no stale connection behind.

use std::io::{self, BufRead, BufReader, Read as _, Write as _};
use std::net::TcpStream;

use serde_json::Value;

use super::{PATIENCE, look_until};

/// A request or an answer as it came over the wire.
#[derive(Debug, Clone, Default)]
pub struct Message {
    /// The request line or the status line.
    pub start: String,
    /// In the order they came, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The whole body, without chunk marks.
    pub body: Vec<u8>,
}

impl Message {
    /// Reads up to the blank line; `None` when the other side closed first.
    pub fn read_head(reader: &mut impl BufRead) -> io::Result<Option<Self>> {
        let mut message = Self {
            start: read_line(reader)?,
            ..Self::default()
        };
        if message.start.is_empty() {
            return Ok(None);
        }
        loop {
            let line = read_line(reader)?;
            let Some((name, value)) = line.split_once(':') else {
                return Ok(Some(message));
            };
            let name = name.trim().to_ascii_lowercase();
            message.headers.push((name, value.trim().to_owned()));
        }
    }

    /// The header's value, if it is there.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    /// Reads the body that the head announces. `to_end`: a body without an
    /// announced length lasts until the connection closes, as answers may.
    pub fn read_body(&mut self, reader: &mut impl BufRead, to_end: bool) -> io::Result<()> {
        if self.header("transfer-encoding") == Some("chunked") {
            while let Some(chunk) = read_chunk(reader)? {
                self.body.extend(chunk);
            }
            return Ok(());
        }
        match self.header("content-length").map(str::parse) {
            Some(Ok(length)) => {
                self.body = vec![0; length];
                reader.read_exact(&mut self.body)
            }
            _ if to_end => reader.read_to_end(&mut self.body).map(drop),
            _ => Ok(()),
        }
    }

    /// The message as it is sent: its body has a length, the connection ends.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut head = format!("{}\r\n", self.start);
        for (name, value) in &self.headers {
            if !["connection", "content-length", "transfer-encoding"].contains(&name.as_str()) {
                head += &format!("{name}: {value}\r\n");
            }
        }
        head += &format!(
            "content-length: {}\r\nconnection: close\r\n\r\n",
            self.body.len()
        );
        [head.as_bytes(), &self.body].concat()
    }
}

fn read_line(reader: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    reader.read_line(&mut line)?;
    Ok(line.trim_end().to_owned())
}

/// One chunk of a chunked body; `None` after the last.
fn read_chunk(reader: &mut impl BufRead) -> io::Result<Option<Vec<u8>>> {
    let length = usize::from_str_radix(&read_line(reader)?, 16)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    let mut chunk = vec![0; length];
    reader.read_exact(&mut chunk)?;
    read_line(reader)?;
    Ok((length > 0).then_some(chunk))
}

/// Speaks to one service.
#[derive(Debug, Clone)]
pub struct Client {
    address: String,
    api_key: Option<String>,
}

/// What a service answered.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub message: Message,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.message.header(name)
    }

    pub fn body(&self) -> &[u8] {
        &self.message.body
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.message.body).expect("a body in UTF-8")
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.message.body)
            .unwrap_or_else(|error| panic!("no JSON ({error}): {}", self.text()))
    }

    /// Fails unless this is the status; the whole answer is in the failure.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "the answer was: {}", self.text());
        self
    }

    /// Fails unless this is a problem with this status and code.
    #[track_caller]
    pub fn expect_problem(self, status: u16, code: &str) -> Value {
        let problem = self.expect(status).json();
        assert_eq!(problem["code"], code, "{problem}");
        problem
    }
}

impl Client {
    /// For the service at `host:port`.
    pub fn new(address: &str, api_key: Option<&str>) -> Self {
        Self {
            address: address.to_owned(),
            api_key: api_key.map(str::to_owned),
        }
    }

    pub fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], None)
    }

    pub fn post(&self, path: &str, body: &Value) -> Answer {
        self.send("POST", path, &[], Some(body))
    }

    /// A POST without a body.
    pub fn ask(&self, path: &str) -> Answer {
        self.send("POST", path, &[], None)
    }

    pub fn put(&self, path: &str, body: &Value) -> Answer {
        self.send("PUT", path, &[], Some(body))
    }

    pub fn delete(&self, path: &str) -> Answer {
        self.send("DELETE", path, &[], None)
    }

    /// Any request with headers of its own and a JSON body.
    #[track_caller]
    pub fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Answer {
        let bytes = body.map(Value::to_string).unwrap_or_default();
        let mut all = headers.to_vec();
        if body.is_some() {
            all.push(("content-type", "application/json"));
        }
        self.send_bytes(method, path, &all, bytes.as_bytes())
    }

    /// Any request with any bytes; nothing but `host` and the key is added.
    #[track_caller]
    pub fn send_bytes(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Answer {
        self.try_send(method, path, headers, body)
            .unwrap_or_else(|error| panic!("{method} {path} was not answered: {error}"))
    }

    /// The same, for a service that may not be there.
    pub fn try_send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> io::Result<Answer> {
        let mut reader = self.open(method, path, headers, body)?;
        let mut message = read_answer_head(&mut reader)?;
        if method == "HEAD" {
            // Whatever follows, though nothing should.
            reader.read_to_end(&mut message.body)?;
        } else {
            message.read_body(&mut reader, true)?;
        }
        Ok(Answer {
            status: status_of(&message),
            message,
        })
    }

    /// Sends a request and gives the connection, with the answer unread.
    fn open(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> io::Result<BufReader<TcpStream>> {
        let own = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        let mut request = Message {
            start: format!("{method} {path} HTTP/1.1"),
            headers: vec![own(("host", &self.address))],
            body: body.to_vec(),
        };
        request.headers.extend(headers.iter().copied().map(own));
        if let Some(key) = &self.api_key {
            let bearer = format!("Bearer {key}");
            request.headers.push(own(("authorization", &bearer)));
        }
        let mut stream = TcpStream::connect(&self.address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(&request.to_bytes())?;
        Ok(BufReader::new(stream))
    }

    /// Follows server-sent events, after `last_event_id` if there is one.
    #[track_caller]
    pub fn stream(&self, path: &str, last_event_id: Option<&str>) -> EventStream {
        let mut headers = vec![("accept", "text/event-stream")];
        headers.extend(last_event_id.map(|id| ("last-event-id", id)));
        let mut reader = self.open("GET", path, &headers, &[]).expect("a stream");
        let head = read_answer_head(&mut reader).expect("the head of a stream");
        assert_eq!(status_of(&head), 200, "{head:?}");
        assert_eq!(head.header("content-type"), Some("text/event-stream"));
        EventStream {
            reader,
            text: String::new(),
        }
    }

    /// Asks for `path` until its object fulfils `condition`.
    #[track_caller]
    pub fn wait_until(
        &self,
        path: &str,
        what: &str,
        mut condition: impl FnMut(&Value) -> bool,
    ) -> Value {
        let mut last = Value::Null;
        let found = look_until(|| {
            last = self.get(path).expect(200).json();
            condition(&last).then(|| last.clone())
        });
        found.unwrap_or_else(|| panic!("{path} never became {what}: {last:#}"))
    }

    /// Waits until the task or speech at `path` has this status.
    #[track_caller]
    pub fn wait_for_status(&self, path: &str, status: &str) -> Value {
        self.wait_until(path, status, |object| object["status"] == status)
    }

    /// The history of the task or speech at `path`.
    #[track_caller]
    pub fn events(&self, path: &str) -> Vec<Value> {
        let history = self.get(&format!("{path}/events")).expect(200).json();
        history["items"].as_array().expect("a list").clone()
    }

    /// How often the history of `path` leads to `status`.
    #[track_caller]
    pub fn times_reached(&self, path: &str, status: &str) -> usize {
        let reached = |event: &Value| {
            event["type"] == "state" && event["to"] == status && event["from"] != status
        };
        self.events(path)
            .iter()
            .filter(|event| reached(event))
            .count()
    }
}

fn read_answer_head(reader: &mut impl BufRead) -> io::Result<Message> {
    Message::read_head(reader)?.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}

fn status_of(head: &Message) -> u16 {
    let status = head.start.split(' ').nth(1);
    status
        .and_then(|status| status.parse().ok())
        .unwrap_or_else(|| panic!("no status: {}", head.start))
}

/// Server-sent events, one after the other, until the service ends them.
pub struct EventStream {
    reader: BufReader<TcpStream>,
    text: String,
}

/// One server-sent event.
#[derive(Debug, Clone)]
pub struct StreamEvent {
    /// Progress has none.
    pub id: Option<String>,
    pub kind: String,
    pub data: Value,
}

impl Iterator for EventStream {
    type Item = StreamEvent;

    fn next(&mut self) -> Option<StreamEvent> {
        loop {
            while let Some((block, rest)) = self.text.split_once("\n\n") {
                let event = read_event(block);
                self.text = rest.to_owned();
                if event.is_some() {
                    return event;
                }
            }
            let chunk = read_chunk(&mut self.reader).ok().flatten()?;
            self.text += &String::from_utf8(chunk).expect("events in UTF-8");
        }
    }
}

/// `None` for a comment.
fn read_event(block: &str) -> Option<StreamEvent> {
    let field = |name: &str| {
        block
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    };
    Some(StreamEvent {
        id: field("id").map(str::to_owned),
        kind: field("event")?.to_owned(),
        data: serde_json::from_str(field("data")?).expect("data in JSON"),
    })
}
