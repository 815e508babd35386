//! The client's end of the load: requests over connections that stay open.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::Outcome;
use crate::http::{self, Connection};

/// Stands in a body for a number that no other body of the run has.
pub const NUMBER: &str = "{n}";

/// The numbers given out so far, in the whole run.
static NUMBERS: AtomicU64 = AtomicU64::new(0);

/// How many connections send at once, unless a scenario says otherwise.
pub const CONNECTIONS: usize = 64;

/// When to stop sending.
#[derive(Clone, Copy)]
pub enum Until {
    /// After so many requests.
    Sent(u64),
    /// After this time.
    Passed(Duration),
}

/// What to send. Every connection sends its next request when the one before is
/// answered.
pub struct Load<'a> {
    /// Where to.
    pub address: SocketAddr,
    /// The path of the POST.
    pub path: &'a str,
    /// The bodies, taken in turn; [`NUMBER`] is filled in each time.
    pub bodies: Vec<String>,
    /// The status of the only right answer.
    pub expect: u16,
    /// How many connections.
    pub connections: usize,
    /// At most so many requests a second.
    pub per_second: Option<u32>,
}

/// What came of it.
pub struct Sent {
    /// How many requests were answered as expected.
    pub answered: u64,
    /// From the first request to the last answer.
    pub took: Duration,
}

impl Sent {
    /// Requests a second.
    pub fn rate(&self) -> f64 {
        self.answered as f64 / self.took.as_secs_f64()
    }
}

impl<'a> Load<'a> {
    /// The same body, but for its number, over [`CONNECTIONS`] connections as
    /// fast as they are answered with 202.
    pub fn new(address: SocketAddr, path: &'a str, body: String) -> Self {
        Self {
            address,
            path,
            bodies: vec![body],
            expect: 202,
            connections: CONNECTIONS,
            per_second: None,
        }
    }

    /// Sends it; the first wrong answer ends everything.
    pub async fn send(self, until: Until) -> Outcome<Sent> {
        let mut open = Vec::with_capacity(self.connections);
        for _ in 0..self.connections {
            open.push(Connection::open(self.address).await?);
        }
        let started = Instant::now();
        let load = Arc::new(SharedLoad {
            path: self.path.to_owned(),
            bodies: self.bodies,
            expect: self.expect,
            per_second: self.per_second,
            until,
            started,
            sent: AtomicU64::new(0),
        });
        let mut connections = JoinSet::new();
        for connection in open {
            connections.spawn(Arc::clone(&load).send_over(connection));
        }
        let mut answered = 0;
        while let Some(connection) = connections.join_next().await {
            answered += connection??;
        }
        Ok(Sent {
            answered,
            took: started.elapsed(),
        })
    }
}

/// What the connections of one load have in common.
struct SharedLoad {
    path: String,
    bodies: Vec<String>,
    expect: u16,
    per_second: Option<u32>,
    until: Until,
    started: Instant,
    sent: AtomicU64,
}

impl SharedLoad {
    async fn send_over(self: Arc<Self>, mut connection: Connection) -> Outcome<u64> {
        let mut answered = 0;
        while let Some(turn) = self.next_turn() {
            if let Some(per_second) = self.per_second {
                let due = Duration::from_secs_f64(turn as f64 / f64::from(per_second));
                tokio::time::sleep_until(self.started + due).await;
            }
            let answer = connection.exchange(&self.request(turn)).await?;
            if answer.status() != self.expect {
                let body = String::from_utf8_lossy(&answer.body);
                return Err(format!("POST {}: {} {body}", self.path, answer.first_line()).into());
            }
            answered += 1;
        }
        Ok(answered)
    }

    fn next_turn(&self) -> Option<u64> {
        let turn = self.sent.fetch_add(1, Ordering::Relaxed);
        let go_on = match self.until {
            Until::Sent(count) => turn < count,
            Until::Passed(time) => self.started.elapsed() < time,
        };
        go_on.then_some(turn)
    }

    fn request(&self, turn: u64) -> Vec<u8> {
        let body = &self.bodies[turn as usize % self.bodies.len()];
        let number = NUMBERS.fetch_add(1, Ordering::Relaxed);
        http::post(&self.path, &body.replace(NUMBER, &number.to_string()))
    }
}
