//! The connections to the edge: how many there may be, in all and from one address,
//! and how long a client may keep one waiting. The HTTP server bounds only the head of
//! a connection's first request.

use std::any::Any;
use std::cell::Cell;
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use actix_rt::task::JoinHandle;
use actix_web::body::{BodySize, MessageBody};
use actix_web::dev::{Extensions, ServiceRequest, ServiceResponse};
use actix_web::http::ConnectionType;
use actix_web::middleware::Next;
use actix_web::{Error, HttpMessage, ResponseError};
use bytes::Bytes;
use tokio::time::Instant;

use super::body::{Account, BodyBounds};
use super::ledger::{Address, Full, Hold, Ledger};
use super::problem::Answer;
use super::proxies::Proxies;
use crate::config::SERVER_KEEP_ALIVE;
use crate::contract::{Code, Problem};

/// How much of an answer is handed to the server at once; how long until it asks for
/// more is what shows whether the client reads.
const PIECE: usize = 32 << 10;
/// How long the head of a request may take, beyond what the server keeps an idle
/// connection.
const HEAD: Duration = Duration::from_secs(10);
/// How long a client that has had its last answer may go on sending what it has begun.
const LEAVE: Duration = Duration::from_secs(2);
/// Of each bound one address may have this part.
const SHARE: u64 = 4;

/// What connections are held to.
#[derive(Clone, Debug)]
pub struct Bounds {
    /// `limits.connections`.
    pub connections: u64,
    /// `limits.bodies_bytes`.
    pub bodies_bytes: u64,
    /// `limits.body_bytes`, which one address may always send.
    pub body_bytes: u64,
    /// `limits.body_timeout_s`.
    pub body_timeout: Duration,
    /// `limits.write_timeout_s`.
    pub write_timeout: Duration,
    /// `server.trusted_proxies`.
    pub proxies: Proxies,
}

/// The connections of a process. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Connections {
    served: Ledger,
    /// As many again are told that there are too many. More are closed at once.
    told: Ledger,
    /// Requests that trusted proxies have brought: one is as a connection of its
    /// client's own.
    forwarded: Ledger,
    bodies: BodyBounds,
    write_timeout: Duration,
    proxies: Proxies,
}

impl Connections {
    /// None yet.
    #[must_use]
    pub fn new(bounds: Bounds) -> Self {
        let most_each = bounds.connections.div_ceil(SHARE);
        let of_connections = || Ledger::new(bounds.connections, most_each);
        let bytes_each = (bounds.bodies_bytes / SHARE).max(bounds.body_bytes);
        Self {
            served: of_connections(),
            told: of_connections(),
            forwarded: Ledger::new(u64::MAX, most_each),
            bodies: BodyBounds {
                timeout: bounds.body_timeout,
                ledger: Ledger::new(bounds.bodies_bytes.max(bounds.body_bytes), bytes_each),
            },
            write_timeout: bounds.write_timeout,
            proxies: bounds.proxies,
        }
    }

    /// Takes note of a new connection: leaves a [`Connection`] in what the server keeps
    /// for it, or closes it.
    pub fn opened(&self, stream: &dyn Any, extensions: &mut Extensions) {
        let Some(stream) = stream.downcast_ref::<actix_rt::net::TcpStream>() else {
            return;
        };
        let peer = stream.peer_addr().ok().map(|peer| peer.ip());
        let address = peer.filter(|peer| !self.proxies.trust(*peer));
        let address = address.map(Address::from);
        let turn = Rc::new(Cell::new(Turn::request()));
        let mut connection = Connection {
            address,
            standing: Standing::Told(None, Full::All),
            turn: Rc::clone(&turn),
            watch: None,
        };
        // Without a descriptor to spare it cannot be watched, so it is not served.
        if let Ok(socket) = stream.as_fd().try_clone_to_owned() {
            let socket = TcpStream::from(socket);
            connection.standing = match self.served.take(address, 1) {
                Ok(hold) => Standing::Served(hold),
                Err(full) => match self.told.take(address, 1) {
                    Ok(hold) => Standing::Told(Some(hold), full),
                    Err(_) => return close(socket),
                },
            };
            let watch = watch(socket, turn, self.write_timeout);
            connection.watch = Some(actix_rt::spawn(watch));
        }
        extensions.insert(connection);
    }

    /// What one request takes, and from whom.
    fn admit(&self, connection: &Connection, request: &ServiceRequest) -> Admitted {
        let address = connection
            .address
            .or_else(|| self.proxies.client(request.headers()));
        let forwarded = connection.address.is_none() && address.is_some();
        let hold = match &connection.standing {
            Standing::Told(_, full) => Err(*full),
            Standing::Served(_) if forwarded => self.forwarded.take(address, 1).map(Some),
            Standing::Served(_) => Ok(None),
        };
        Admitted {
            account: Account {
                bounds: self.bodies.clone(),
                address,
            },
            hold,
        }
    }
}

/// One connection, for as long as the server has it.
struct Connection {
    /// `None` for that of a trusted proxy.
    address: Option<Address>,
    standing: Standing,
    turn: Rc<Cell<Turn>>,
    watch: Option<JoinHandle<()>>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        if let Some(watch) = &self.watch {
            watch.abort();
        }
    }
}

/// Whether there is room for a connection.
enum Standing {
    Served(#[expect(dead_code, reason = "held until the connection is gone")] Hold),
    Told(
        #[expect(dead_code, reason = "held until the connection is gone")] Option<Hold>,
        Full,
    ),
}

/// Whose turn it is on a connection.
#[derive(Clone, Copy)]
enum Turn {
    /// The client is to send a request, or what it left of the last one.
    Request(Instant),
    /// A request is read, or worked on.
    Ours,
    /// The client is to read.
    Read(Instant),
    /// The client has been told that this was the last answer.
    Leave(Instant),
}

impl Turn {
    fn request() -> Self {
        Self::Request(Instant::now())
    }

    fn read() -> Self {
        Self::Read(Instant::now())
    }

    fn leave() -> Self {
        Self::Leave(Instant::now())
    }

    /// Until when a client may keep us waiting.
    fn until(self, write_timeout: Duration) -> Option<Instant> {
        match self {
            Self::Request(since) => Some(since + SERVER_KEEP_ALIVE + HEAD),
            Self::Ours => None,
            Self::Read(since) => Some(since + write_timeout),
            Self::Leave(since) => Some(since + LEAVE),
        }
    }
}

/// Closes a connection whose client has kept it waiting for too long. What the server
/// holds for it, answer and all, goes with it.
async fn watch(socket: TcpStream, turn: Rc<Cell<Turn>>, write_timeout: Duration) {
    // Whose turn it is changes with each piece, and telling of that would cost more
    // than looking does.
    let pause = write_timeout / 4;
    loop {
        let now = Instant::now();
        let until = turn.get().until(write_timeout);
        if until.is_some_and(|until| until <= now) {
            return close(socket);
        }
        let next = now + pause;
        tokio::time::sleep_until(until.map_or(next, |until| until.min(next))).await;
    }
}

/// Has the server find its connection ended. What was not sent yet is dropped, where
/// the system would keep it for a client that does not read.
fn close(socket: TcpStream) {
    let _ = socket.shutdown(Shutdown::Both);
    if let Ok(socket) = actix_rt::net::TcpStream::from_std(socket) {
        let _ = socket.set_zero_linger();
    }
}

/// What a request has been given.
struct Admitted {
    account: Account,
    hold: Result<Option<Hold>, Full>,
}

/// Marks a request that is to be refused.
struct Refusal(Full);

/// The outermost middleware: notes whose turn it is on the request's connection, and
/// for whom the request is counted.
///
/// # Errors
/// Those of the handler.
pub async fn pace(
    connections: actix_web::web::Data<Connections>,
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<Paced<impl MessageBody>>, Error> {
    let connection = request.conn_data::<Connection>();
    let turn = connection.map(|connection| Rc::clone(&connection.turn));
    let admitted = connection.map(|connection| connections.admit(connection, &request));
    let mut hold = None;
    if let Some(admitted) = admitted {
        let mut extensions = request.extensions_mut();
        extensions.insert(admitted.account);
        match admitted.hold {
            Ok(taken) => hold = taken,
            Err(full) => {
                extensions.insert(Refusal(full));
            }
        }
    }
    let is_refused = request.extensions().contains::<Refusal>();
    let mut turn = OnTurn {
        turn,
        next: Turn::request,
    };
    turn.set(Turn::Ours);
    let mut response = next.call(request).await?;
    // Of what has begun to come and is too slow or too large no more is read.
    if is_refused || [408, 413].contains(&response.status().as_u16()) {
        let head = response.response_mut().head_mut();
        head.set_connection_type(ConnectionType::Close);
        turn.next = Turn::leave;
    }
    Ok(response.map_body(|_, body| Paced {
        body: Box::pin(body),
        left: Bytes::new(),
        turn,
        _hold: hold,
    }))
}

/// The middleware that tells those for whom there is no room: 429 or 503.
///
/// # Errors
/// Those of the handler.
pub async fn refuse(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse, Error> {
    let full = request
        .extensions()
        .get::<Refusal>()
        .map(|Refusal(full)| *full);
    let problem = match full {
        None => return Ok(next.call(request).await?.map_into_boxed_body()),
        Some(Full::Address) => Problem::new(
            Code::TooManyRequests,
            "There are too many connections from this address (a quarter of limits.connections). Close some.",
        ),
        Some(Full::All) => Problem::new(
            Code::Unavailable,
            "There are too many connections (limits.connections). Try again.",
        ),
    };
    // An answer and no error, so that `pace` sees it and ends the connection.
    Ok(request.into_response(Answer(problem).error_response()))
}

/// Notes whose turn it is; the client's when it is dropped.
struct OnTurn {
    turn: Option<Rc<Cell<Turn>>>,
    /// What the client is to do then.
    next: fn() -> Turn,
}

impl OnTurn {
    fn set(&self, to: Turn) {
        if let Some(turn) = &self.turn {
            turn.set(to);
        }
    }
}

impl Drop for OnTurn {
    fn drop(&mut self) {
        self.set((self.next)());
    }
}

/// An answer's body in pieces. The server asks for the next when the client has taken
/// what was there.
pub struct Paced<B> {
    body: Pin<Box<B>>,
    /// Of what the body gave, what was not handed on yet.
    left: Bytes,
    turn: OnTurn,
    _hold: Option<Hold>,
}

impl<B: MessageBody> MessageBody for Paced<B> {
    type Error = B::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        let this = self.get_mut();
        if this.left.is_empty() {
            this.turn.set(Turn::Ours);
            match ready!(this.body.as_mut().poll_next(context)) {
                Some(Ok(bytes)) => this.left = bytes,
                end => return Poll::Ready(end),
            }
        }
        this.turn.set(Turn::read());
        let piece = this.left.split_to(this.left.len().min(PIECE));
        Poll::Ready(Some(Ok(piece)))
    }
}

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Read as _, Write as _};
    use std::net::TcpListener;

    use tokio::time::{advance, timeout};

    use super::*;

    const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

    fn connected() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let server = listener.accept().unwrap().0;
        server.set_nonblocking(true).unwrap();
        (client, server)
    }

    /// How long a connection stays whose turn does not change.
    async fn stays(turn: fn() -> Turn) -> Duration {
        let (_client, server) = connected();
        let began = Instant::now();
        let watched = watch(server, Rc::new(Cell::new(turn())), WRITE_TIMEOUT);
        let _ = timeout(Duration::from_secs(3_600), watched).await;
        began.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_may_keep_a_connection_waiting_for_so_long() {
        for (turn, seconds) in [
            (Turn::request as fn() -> Turn, 85),
            (Turn::read, 30),
            (Turn::leave, 2),
            // The work of the service has no end here.
            (|| Turn::Ours, 3_600),
        ] {
            // The timers of tokio count whole milliseconds.
            assert_eq!(stays(turn).await.as_secs(), seconds);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_goes_on_reading_stays() {
        let (_client, server) = connected();
        let turn = Rc::new(Cell::new(Turn::read()));
        let reads = async {
            for _ in 0..100 {
                advance(WRITE_TIMEOUT - Duration::from_secs(1)).await;
                turn.set(Turn::read());
            }
        };
        let watched = watch(server, Rc::clone(&turn), WRITE_TIMEOUT);
        tokio::select! {
            biased;
            () = watched => panic!("it was closed"),
            () = reads => {}
        }
    }

    #[actix_rt::test]
    async fn an_address_has_a_quarter_and_as_many_again_are_told() {
        let connections = Connections::new(Bounds {
            connections: 8,
            bodies_bytes: 0,
            body_bytes: 0,
            body_timeout: Duration::MAX,
            write_timeout: WRITE_TIMEOUT,
            proxies: Proxies::new(vec!["127.0.0.2/32".parse().unwrap()]),
        });
        let open = || {
            let (client, server) = connected();
            let server = actix_rt::net::TcpStream::from_std(server).unwrap();
            let mut extensions = Extensions::new();
            connections.opened(&server, &mut extensions);
            let standing = match extensions.get::<Connection>().map(|one| &one.standing) {
                Some(Standing::Served(_)) => "served",
                Some(Standing::Told(_, full)) => {
                    assert_eq!(*full, Full::Address);
                    "told"
                }
                None => "closed",
            };
            (standing, client, server, extensions)
        };
        let mut opened: Vec<_> = (0..5).map(|_| open()).collect();
        let standings: Vec<&str> = opened.iter().map(|one| one.0).collect();
        assert_eq!(standings, ["served", "served", "told", "told", "closed"]);
        let (_, mut client, ..) = opened.pop().unwrap();
        let end = client.read(&mut [0]);
        assert!(matches!(end, Ok(0) | Err(_)), "{end:?}");
        opened.remove(0);
        assert_eq!(open().0, "served");
    }

    #[tokio::test]
    async fn what_a_closed_connection_holds_is_dropped() {
        let (mut client, mut server) = connected();
        let much = vec![0; 1 << 20];
        while server.write(&much).is_ok() {}
        close(server.try_clone().unwrap());
        drop(server);
        let mut buffer = vec![0; 64 << 10];
        let mut read = 0;
        let error = loop {
            match client.read(&mut buffer) {
                Ok(0) => panic!("all was kept for it: {read} bytes"),
                Ok(bytes) => read += bytes,
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    }
}
