//! As much of HTTP/1.1 as the driver needs at both of its ends: messages with a
//! Content-Length over connections that stay open. No library, because the
//! driver's own CPU time is taken from what it measures.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::Outcome;

const END_OF_HEAD: &[u8] = b"\r\n\r\n";

/// One request or answer.
pub struct Message {
    head: String,
    /// The bytes after the head.
    pub body: Vec<u8>,
}

impl Message {
    /// The first line: `POST /callback HTTP/1.1`, `HTTP/1.1 202 Accepted`.
    pub fn first_line(&self) -> &str {
        self.head.lines().next().unwrap_or_default()
    }

    /// The status of an answer; 0 when the first line has none.
    pub fn status(&self) -> u16 {
        let status = self.first_line().split(' ').nth(1);
        status.and_then(|text| text.parse().ok()).unwrap_or(0)
    }

    /// The value of a header, whatever the case of its name.
    pub fn header(&self, name: &str) -> Option<&str> {
        header(&self.head, name)
    }

    /// The body as JSON.
    pub fn json(&self) -> Outcome<serde_json::Value> {
        Ok(serde_json::from_slice(&self.body)?)
    }
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().skip(1).find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

/// One open connection, at either end.
pub struct Connection {
    stream: TcpStream,
    unread: Vec<u8>,
}

impl Connection {
    /// Connects as a client.
    pub async fn open(address: SocketAddr) -> io::Result<Self> {
        Self::over(TcpStream::connect(address).await?)
    }

    /// Takes over a stream that is connected already.
    pub fn over(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            unread: Vec::with_capacity(4096),
        })
    }

    /// The stream, for whoever is on another thread. Nothing must be left to read.
    pub fn into_std(self) -> io::Result<std::net::TcpStream> {
        self.stream.into_std()
    }

    /// Sends one request and waits for its answer.
    pub async fn exchange(&mut self, request: &[u8]) -> io::Result<Message> {
        self.write(request).await?;
        let answer = self.read().await?;
        answer.ok_or_else(|| io::Error::other("the connection was closed before the answer"))
    }

    /// Sends bytes that are a whole message.
    pub async fn write(&mut self, message: &[u8]) -> io::Result<()> {
        self.stream.write_all(message).await
    }

    /// Waits for the head of an answer whose body may have no end.
    pub async fn head(&mut self) -> io::Result<String> {
        let length = self.read_head().await?;
        let length = length.ok_or(io::ErrorKind::UnexpectedEof)?;
        let head: Vec<u8> = self.unread.drain(..length).collect();
        Ok(String::from_utf8_lossy(&head).into_owned())
    }

    /// Waits until the next head is among what is not read; how long that is.
    async fn read_head(&mut self) -> io::Result<Option<usize>> {
        loop {
            if let Some(length) = length_of_head(&self.unread) {
                return Ok(Some(length));
            }
            if self.stream.read_buf(&mut self.unread).await? == 0 {
                return Ok(None);
            }
        }
    }

    /// Waits for the next message; `None` when the other end has closed.
    pub async fn read(&mut self) -> io::Result<Option<Message>> {
        let Some(head_length) = self.read_head().await? else {
            return Ok(None);
        };
        let head = String::from_utf8_lossy(&self.unread[..head_length]).into_owned();
        let length = head_length + length_of_body(&head)?;
        while self.unread.len() < length {
            if self.stream.read_buf(&mut self.unread).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        let body = self.unread[head_length..length].to_vec();
        self.unread.drain(..length);
        Ok(Some(Message { head, body }))
    }
}

fn length_of_head(bytes: &[u8]) -> Option<usize> {
    let ends_at = bytes
        .windows(END_OF_HEAD.len())
        .position(|window| window == END_OF_HEAD)?;
    Some(ends_at + END_OF_HEAD.len())
}

fn length_of_body(head: &str) -> io::Result<usize> {
    if header(head, "transfer-encoding").is_some() {
        return Err(io::Error::other("the driver reads no chunked messages"));
    }
    let length = header(head, "content-length").map_or(Ok(0), str::parse);
    length.map_err(io::Error::other)
}

/// A POST of JSON as it goes over the wire.
pub fn post(path: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

/// A GET as it goes over the wire.
pub fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").into_bytes()
}

/// The same request with one more header, `Name: value`.
pub fn with_header(request: Vec<u8>, header: &str) -> Vec<u8> {
    let request = String::from_utf8_lossy(&request);
    request
        .replacen("\r\n", &format!("\r\n{header}\r\n"), 1)
        .into_bytes()
}
