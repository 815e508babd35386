//! The connections to the edge: how many there may be, in all and from one address,
//! and how long a client may keep one waiting. The HTTP server bounds only the head of
//! a connection's first request.

use std::any::Any;
use std::cell::Cell;
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsFd, AsRawFd as _};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use actix_rt::task::JoinHandle;
use actix_web::body::{BodySize, MessageBody};
use actix_web::dev::{Extensions, ServiceRequest, ServiceResponse};
use actix_web::error::InternalError;
use actix_web::http::{ConnectionType, header};
use actix_web::middleware::Next;
use actix_web::{Error, HttpMessage, HttpResponse, ResponseError};
use bytes::Bytes;
use hoiam_api::{Code, Problem};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use super::body::{Account, BodyBounds, Progress};
use super::ledger::{Address, Full, Hold, Ledger};
use super::problem::Answer;
use super::proxies::Proxies;
use crate::config::SERVER_KEEP_ALIVE;

/// How much of an answer is handed to the server at once; how long until it asks for
/// more is what shows whether the client reads.
const PIECE: usize = 32 << 10;
/// Of an answer the system takes so much more than it can send at once. Left to itself
/// it takes megabytes, and asks for more when a third of them is sent: a player that
/// takes what it plays would seem to read nothing for minutes.
const UNSENT: libc::c_int = 64 << 10;
/// So many answers without a body may follow each other on a connection: the server
/// does not look whether they are read before it answers the next request.
const MOST_BARE: u32 = 100;
/// How long the head of a request may take, beyond what the server keeps an idle
/// connection.
const HEAD: Duration = Duration::from_secs(10);
/// How long a client that has had its last answer may go on sending what it has begun.
const LEAVE: Duration = Duration::from_secs(2);
/// Of the bytes of bodies one address may have this part.
const SHARE: u64 = 4;
/// How many connections beyond those that are served are told that there is no room,
/// and those of one address. More are closed at once.
const TOLD: u64 = 64;
const TOLD_EACH: u64 = TOLD / 4;

/// What connections are held to.
#[derive(Clone, Debug)]
pub struct Bounds {
    /// How many are served; `limits.connections` at most.
    pub connections: u64,
    /// How many of one address.
    pub connections_each: u64,
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
        let each = bounds.connections_each;
        let bytes_each = (bounds.bodies_bytes / SHARE).max(bounds.body_bytes);
        Self {
            served: Ledger::new(bounds.connections, each),
            told: Ledger::new(TOLD, TOLD_EACH),
            forwarded: Ledger::new(u64::MAX, each),
            bodies: BodyBounds {
                timeout: bounds.body_timeout,
                ledger: Ledger::new(bounds.bodies_bytes.max(bounds.body_bytes), bytes_each),
            },
            write_timeout: bounds.write_timeout,
            proxies: bounds.proxies,
        }
    }

    /// Takes note of a new connection: leaves a `Connection` in what the server keeps
    /// for it, or closes it.
    pub fn opened(&self, stream: &dyn Any, extensions: &mut Extensions) {
        let Some(stream) = stream.downcast_ref::<actix_rt::net::TcpStream>() else {
            return;
        };
        let peer = stream.peer_addr().ok().map(|peer| peer.ip());
        let address = peer.filter(|peer| !self.proxies.trust(*peer));
        let address = address.map(Address::from);
        let turns = Rc::new(Turns::default());
        let mut connection = Connection {
            address,
            standing: RoomFound::Payload(None, Full::All),
            turns: Rc::clone(&turns),
            watch: None,
        };
        // Without a descriptor to spare it cannot be watched, so it is not served.
        if let Ok(socket) = stream.as_fd().try_clone_to_owned() {
            let socket = TcpStream::from(socket);
            keep_little_unsent(&socket);
            connection.standing = match self.served.take(address, 1) {
                Ok(hold) => RoomFound::Served(hold),
                Err(full) => RoomFound::Payload(self.told.take(address, 1).ok(), full),
            };
            if let RoomFound::Payload(None, _) = connection.standing {
                // The server may still read what has come on it, so it is known.
                close(socket);
            } else {
                let watch = watch(socket, turns, self.write_timeout);
                connection.watch = Some(actix_rt::spawn(watch));
            }
        }
        if connection.watch.is_none() {
            connection.turns.ended.notify_one();
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
            RoomFound::Payload(_, full) => Err(*full),
            RoomFound::Served(_) if forwarded => self.forwarded.take(address, 1).map(Some),
            RoomFound::Served(_) => Ok(None),
        };
        Admitted {
            account: Account::new(self.bodies.clone(), address),
            hold,
        }
    }
}

/// One connection, for as long as the server has it.
struct Connection {
    /// `None` for that of a trusted proxy.
    address: Option<Address>,
    standing: RoomFound,
    turns: Rc<Turns>,
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
enum RoomFound {
    Served(#[expect(dead_code, reason = "held until the connection is gone")] Hold),
    Payload(
        /// Held until the connection is gone; `None` for one that is closed at once.
        Option<Hold>,
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

/// Whose turn it is, and what that depends on.
struct Turns {
    now: Cell<Turn>,
    /// Wakes the watch where it would look too late.
    hurry: Notify,
    /// Has been told when there is no watch any more.
    ended: Notify,
    /// An answer has said that it is the last.
    is_over: Cell<bool>,
    /// How many answers without a body have followed each other.
    bare: Cell<u32>,
}

impl Default for Turns {
    fn default() -> Self {
        Self {
            now: Cell::new(Turn::request()),
            hurry: Notify::new(),
            ended: Notify::new(),
            is_over: Cell::default(),
            bare: Cell::default(),
        }
    }
}

impl Turns {
    fn set(&self, turn: Turn) {
        self.now.set(turn);
        if matches!(turn, Turn::Leave(_)) {
            self.hurry.notify_one();
        }
    }

    /// Waits until the connection is closed.
    async fn end(&self) {
        self.ended.notified().await;
        // Whoever asks next is to know too.
        self.ended.notify_one();
    }
}

/// Closes a connection whose client has kept it waiting for too long. What the server
/// holds for it, answer and all, goes with it.
async fn watch(socket: TcpStream, turns: Rc<Turns>, write_timeout: Duration) {
    // Whose turn it is changes with each piece, and telling of that would cost more
    // than looking does.
    let pause = write_timeout / 4;
    loop {
        let now = Instant::now();
        let until = turns.now.get().until(write_timeout);
        if until.is_some_and(|until| until <= now) {
            close(socket);
            return turns.ended.notify_one();
        }
        let next = now + pause;
        let next = until.map_or(next, |until| until.min(next));
        let _ = timeout_at(next, turns.hurry.notified()).await;
    }
}

/// Has the system take little of an answer that it cannot send (tcp(7),
/// `TCP_NOTSENT_LOWAT`). Where it does not know that, it takes what it likes.
#[expect(unsafe_code, reason = "there is no safe call for it in std")]
fn keep_little_unsent(socket: &TcpStream) {
    let bytes = UNSENT;
    // SAFETY: the descriptor is open, and `bytes` is a readable int of that size.
    unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_NOTSENT_LOWAT,
            (&raw const bytes).cast(),
            size_of_val(&bytes) as libc::socklen_t,
        );
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
    let turns = connection.map(|connection| Rc::clone(&connection.turns));
    // What a client sends after its last answer is not looked at.
    if let Some(turns) = turns.as_ref().filter(|turns| turns.is_over.get()) {
        turns.end().await;
        return Err(Answer(Problem::new(Code::Unavailable, "The connection has ended.")).into());
    }
    let admitted = connection.map(|connection| connections.admit(connection, &request));
    let mut turn = OnTurn {
        turns,
        next: Turn::request,
    };
    turn.set(Turn::Ours);
    let Some(Admitted { account, hold }) = admitted else {
        let response = next.call(request).await?;
        return Ok(response.map_body(|_, body| Paced::new(body, turn, None)));
    };
    let is_chunked = request.headers().contains_key(header::TRANSFER_ENCODING);
    let is_refused = hold.is_err();
    let read = account.read.clone();
    request.extensions_mut().insert(account);
    let hold = match hold {
        Ok(hold) => hold,
        Err(full) => {
            request.extensions_mut().insert(Refusal(full));
            None
        }
    };
    let answered = next.call(request).await;
    // Of what has begun to come and is not wanted no more is read. The server sees to
    // that itself where a body that has a length was not asked for.
    let is_left = match read.get() {
        Progress::None => is_chunked,
        Progress::Begun => true,
        Progress::Whole => false,
    };
    let leaves = is_refused || is_left;
    if leaves {
        turn.end_with(Turn::leave);
    }
    let mut response = match answered {
        Err(error) if leaves => return Err(last(&error)),
        answered => answered?,
    };
    let size = response.response().body().size();
    let is_bare = matches!(size, BodySize::None | BodySize::Sized(0));
    if is_bare && turn.is_one_bare_too_many() {
        turn.end_with(Turn::read);
    }
    if turn.is_last() {
        let head = response.response_mut().head_mut();
        head.set_connection_type(ConnectionType::Close);
    }
    turn.set(Turn::read());
    Ok(response.map_body(|_, body| Paced::new(body, turn, hold)))
}

/// The error's answer, as the last on its connection.
fn last(error: &Error) -> Error {
    let mut answer: HttpResponse = error.error_response();
    let head = answer.head_mut();
    head.set_connection_type(ConnectionType::Close);
    InternalError::from_response(error.to_string(), answer).into()
}

/// The middleware that tells those for whom there is no room: 429 or 503. Whoever asks
/// whether the service is alive or ready is told that.
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
    let is_of_health = request.path().starts_with("/health/");
    let problem = match full.filter(|_| !is_of_health) {
        None => return Ok(next.call(request).await?.map_into_boxed_body()),
        Some(Full::Address) => Problem::new(
            Code::TooManyRequests,
            "There are too many connections from this address (a quarter of limits.connections at most). Close some.",
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
    turns: Option<Rc<Turns>>,
    /// What the client is to do then.
    next: fn() -> Turn,
}

impl OnTurn {
    fn set(&self, to: Turn) {
        if let Some(turns) = &self.turns {
            turns.set(to);
        }
    }

    /// Makes this answer the last, after which it is the client's turn to do this.
    fn end_with(&mut self, next: fn() -> Turn) {
        self.next = next;
        if let Some(turns) = &self.turns {
            turns.is_over.set(true);
        }
    }

    fn is_last(&self) -> bool {
        self.turns.as_ref().is_some_and(|turns| turns.is_over.get())
    }

    /// Counts an answer without a body.
    fn is_one_bare_too_many(&self) -> bool {
        self.turns.as_ref().is_some_and(|turns| {
            turns.bare.update(|bare| bare + 1);
            turns.bare.get() >= MOST_BARE
        })
    }

    /// The server asks for more of a body, so it has little to send.
    fn asked_for_more(&self) {
        if let Some(turns) = &self.turns {
            turns.bare.set(0);
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

impl<B> Paced<B> {
    fn new(body: B, turn: OnTurn, hold: Option<Hold>) -> Self {
        Self {
            body: Box::pin(body),
            left: Bytes::new(),
            turn,
            _hold: hold,
        }
    }
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
        this.turn.asked_for_more();
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

    use tokio::io::AsyncReadExt as _;
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

    /// How long a connection stays whose turn changes to this and no more, while its
    /// watch sleeps.
    async fn stays(turn: fn() -> Turn) -> Duration {
        let (_client, server) = connected();
        let turns = Rc::new(Turns::default());
        turns.set(Turn::Ours);
        let watched = watch(server, Rc::clone(&turns), WRITE_TIMEOUT);
        let began = Instant::now();
        let begins = async {
            tokio::task::yield_now().await;
            turns.set(turn());
        };
        let both = async { tokio::join!(watched, begins) };
        let _ = timeout(Duration::from_secs(3_600), both).await;
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
        let turns = Rc::new(Turns::default());
        turns.set(Turn::read());
        let reads = async {
            for _ in 0..100 {
                advance(WRITE_TIMEOUT - Duration::from_secs(1)).await;
                turns.set(Turn::read());
            }
        };
        let watched = watch(server, Rc::clone(&turns), WRITE_TIMEOUT);
        tokio::select! {
            biased;
            () = watched => panic!("it was closed"),
            () = reads => {}
        }
    }

    fn connections(connections: u64, connections_each: u64) -> Connections {
        Connections::new(Bounds {
            connections,
            connections_each,
            bodies_bytes: 0,
            body_bytes: 0,
            body_timeout: Duration::MAX,
            write_timeout: WRITE_TIMEOUT,
            proxies: Proxies::new(vec!["127.0.0.2/32".parse().unwrap()]),
        })
    }

    /// The client's end, and the other with what is kept for it.
    fn open(connections: &Connections) -> (TcpStream, actix_rt::net::TcpStream, Extensions) {
        let (client, server) = connected();
        let server = actix_rt::net::TcpStream::from_std(server).unwrap();
        let mut extensions = Extensions::new();
        connections.opened(&server, &mut extensions);
        (client, server, extensions)
    }

    #[actix_rt::test]
    async fn an_address_has_its_part_and_a_few_more_are_told() {
        let connections = connections(8, 2);
        let standing = |opened: &(_, _, Extensions)| {
            // Whatever may still be read from it.
            match &opened.2.get::<Connection>().expect("it is known").standing {
                RoomFound::Served(_) => "served",
                RoomFound::Payload(hold, full) => {
                    assert_eq!(*full, Full::Address);
                    hold.as_ref().map_or("closed", |_| "told")
                }
            }
        };
        let most = 2 + usize::try_from(TOLD_EACH).unwrap();
        let mut opened: Vec<_> = (0..=most).map(|_| open(&connections)).collect();
        let standings: Vec<&str> = opened.iter().map(standing).collect();
        assert_eq!(standings[..3], ["served", "served", "told"]);
        assert_eq!(standings[most - 1..], ["told", "closed"]);
        let (mut client, ..) = opened.pop().unwrap();
        let end = client.read(&mut [0]);
        assert!(matches!(end, Ok(0) | Err(_)), "{end:?}");
        opened.remove(0);
        assert_eq!(standing(&open(&connections)), "served");
    }

    #[actix_rt::test]
    async fn whoever_takes_256_kib_of_an_answer_is_given_more() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = tokio::net::TcpSocket::new_v4().unwrap();
        // As it stays for one that reads slowly.
        client.set_recv_buffer_size(64 << 10).unwrap();
        let client = client.connect(listener.local_addr().unwrap()).await;
        let mut client = client.unwrap();
        let server = listener.accept().unwrap().0;
        server.set_nonblocking(true).unwrap();
        let server = actix_rt::net::TcpStream::from_std(server).unwrap();
        let mut extensions = Extensions::new();
        connections(1, 1).opened(&server, &mut extensions);
        let (given, more) = (Cell::new(0), Notify::new());
        let gives = async {
            let much = vec![0; 1 << 20];
            loop {
                server.writable().await.unwrap();
                while let Ok(bytes) = server.try_write(&much) {
                    given.update(|given| given + bytes);
                    more.notify_one();
                }
            }
        };
        let takes = async {
            let mut taken = vec![0; 256 << 10];
            for _ in 0..40 {
                let before = given.get();
                client.read_exact(&mut taken).await.unwrap();
                while given.get() == before {
                    let more = timeout(Duration::from_secs(60), more.notified());
                    more.await.expect("there is room again");
                }
            }
        };
        tokio::select! {
            () = gives => {}
            () = takes => {}
        }
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
