//! The other ends that a service calls: a receiver of callbacks, and a service
//! that never answers.

use std::collections::HashSet;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::Outcome;
use crate::http::{Connection, Message};

/// How long nothing may come before a run counts as failed.
const PATIENCE: Duration = Duration::from_secs(30);

/// Answers OPTIONS with 200 and POST with 204, and keeps what was posted.
pub struct Receiver {
    /// The callback_url to give to a service.
    pub url: String,
    inbox: Arc<Inbox>,
    listening: JoinHandle<()>,
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

#[derive(Default)]
struct Inbox {
    callbacks: Mutex<Callbacks>,
    arrived: Notify,
}

/// Callbacks in the order of their arrival; a repeated `webhook-id` is only counted.
#[derive(Default)]
pub struct Callbacks {
    /// The first callback of each `webhook-id`.
    pub first: Vec<Callback>,
    /// How many came again.
    pub repeated: usize,
    ids: HashSet<String>,
}

/// One callback, unread: checking it comes after the measurement.
pub struct Callback {
    /// When it was received.
    pub at: Instant,
    message: Message,
}

impl Receiver {
    /// Listens on a free port of loopback.
    pub async fn start() -> Outcome<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}/callback", listener.local_addr()?);
        let inbox = Arc::new(Inbox::default());
        let listening = tokio::spawn(receive(listener, Arc::clone(&inbox)));
        Ok(Self {
            url,
            inbox,
            listening,
        })
    }

    /// Waits until so many different callbacks are here.
    pub async fn wait_for(&self, count: usize) -> Outcome<()> {
        loop {
            let here = self.inbox.lock().first.len();
            if here >= count {
                return Ok(());
            }
            let next = tokio::time::timeout(PATIENCE, self.inbox.arrived.notified());
            if next.await.is_err() {
                let waited = PATIENCE.as_secs();
                return Err(
                    format!("{here} of {count} callbacks came, then none for {waited} s").into(),
                );
            }
        }
    }

    /// Takes everything that has come.
    pub fn take(&self) -> Callbacks {
        std::mem::take(&mut *self.inbox.lock())
    }
}

impl Inbox {
    fn lock(&self) -> MutexGuard<'_, Callbacks> {
        self.callbacks
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, message: Message) {
        let at = Instant::now();
        let id = message.header("webhook-id").unwrap_or_default().to_owned();
        let mut callbacks = self.lock();
        if callbacks.ids.insert(id) {
            callbacks.first.push(Callback { at, message });
        } else {
            callbacks.repeated += 1;
        }
        drop(callbacks);
        self.arrived.notify_one();
    }
}

async fn receive(listener: TcpListener, inbox: Arc<Inbox>) {
    while let Ok((stream, _)) = listener.accept().await {
        let inbox = Arc::clone(&inbox);
        tokio::spawn(async move {
            match answer(stream, &inbox).await {
                // A service that is stopped leaves its connections like this.
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {}
                Err(error) => eprintln!("receiver: {error}"),
                Ok(()) => {}
            }
        });
    }
}

async fn answer(stream: TcpStream, inbox: &Inbox) -> io::Result<()> {
    let mut connection = Connection::over(stream)?;
    while let Some(message) = connection.read().await? {
        if message.first_line().starts_with("POST ") {
            inbox.put(message);
            connection.write(b"HTTP/1.1 204 No Content\r\n\r\n").await?;
        } else {
            connection
                .write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nWebHook-Allowed-Origin: *\r\n\r\n")
                .await?;
        }
    }
    Ok(())
}

impl Callback {
    /// Reads the body, once the signature (Standard Webhooks, `v1`) has proved right.
    pub fn open(&self, secret: &str) -> Outcome<serde_json::Value> {
        let header = |name| self.message.header(name).unwrap_or_default();
        let key = BASE64.decode(secret.trim_start_matches("whsec_"))?;
        let mut mac = Hmac::<Sha256>::new_from_slice(&key)?;
        for part in [header("webhook-id"), ".", header("webhook-timestamp"), "."] {
            mac.update(part.as_bytes());
        }
        mac.update(&self.message.body);
        let expected = format!("v1,{}", BASE64.encode(mac.finalize().into_bytes()));
        let signed = header("webhook-signature")
            .split(' ')
            .any(|signature| signature == expected);
        if !signed {
            return Err("a callback came without a right signature".into());
        }
        self.message.json()
    }
}

/// A service that takes every connection and never answers.
pub struct BlackHole {
    /// Where it listens: `http://127.0.0.1:…`.
    pub url: String,
    listening: JoinHandle<()>,
}

impl Drop for BlackHole {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

impl BlackHole {
    /// Listens on a free port of loopback.
    pub async fn start() -> Outcome<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let listening = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(swallow(stream));
            }
        });
        Ok(Self { url, listening })
    }
}

/// Reads until the other end gives up, so that no descriptor is kept for longer.
async fn swallow(mut stream: TcpStream) {
    let mut buffer = [0; 4096];
    while let Ok(1..) = stream.read(&mut buffer).await {}
}
