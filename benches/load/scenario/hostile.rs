//! What one client's requests take while others do their worst.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::net::TcpSocket;

use super::Progress;
use super::lateness::task;
use crate::figure::{Figure, Goal, Samples};
use crate::http::{self, Connection};
use crate::process;
use crate::receiver::BlackHole;
use crate::sender::NUMBER;
use crate::service::{Role, Service};
use crate::{Options, Outcome};

/// From where the neighbour asks, and so often.
const NEIGHBOUR: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 9);
const PACE: Duration = Duration::from_millis(5);
/// Of the neighbour's requests one in so many is a POST.
const POSTS: u32 = 4;
/// A crowd of connections comes from so many addresses.
const ADDRESSES: u32 = 10;
/// A slow client sends its next byte, or comes again, so often; and waits so many times
/// where it was shown out.
const BYTE_EVERY: Duration = Duration::from_secs(1);
const ROUNDS_AWAY: u32 = 2;
/// So many parts of a crowd take turns within that time, so that none comes all at once.
const PARTS: u32 = 1_000;
/// As many streams of all events as one client with a key may have.
const FEEDS: u32 = 20;
const BODY_BYTES: usize = 1_000_000;
const SENDERS: u32 = 8;
/// What is closed is gone a moment later.
const SETTLE: Duration = Duration::from_secs(2);

/// How much of it.
struct Plan {
    time: Duration,
    slow: u32,
    streams: u32,
    bodies_a_second: u32,
}

const FULL: Plan = Plan {
    time: Duration::from_secs(15),
    slow: 10_000,
    streams: 2_000,
    bodies_a_second: 100,
};

const QUICK: Plan = Plan {
    time: Duration::from_secs(3),
    slow: 1_000,
    streams: 200,
    bodies_a_second: 5,
};

/// The Backend alone, with a TTS service that never answers: a client asks for a task and
/// submits one now and then, on a connection of its own, alone and beside each crowd.
pub async fn hostile(options: &Options) -> Outcome<Vec<Figure>> {
    let plan = if options.quick { QUICK } else { FULL };
    let crowds = [
        (
            format!("{} connections of a byte a second", plan.slow),
            Kind::Slow(plan.slow),
        ),
        (
            format!("{} unread event streams", plan.streams),
            Kind::Streams(plan.streams),
        ),
        (
            format!("{} MB/s of bodies", plan.bodies_a_second),
            Kind::Bodies(plan.bodies_a_second),
        ),
    ];
    let mut seen: Vec<Seen> = crowds.iter().map(|_| Seen::default()).collect();
    for round in 0..options.rounds {
        let black_hole = BlackHole::start().await?;
        let settings = [("HOIAM__BACKEND__TTS_URL", black_hole.url.as_str())];
        let service = Service::hoiam(options, Role::Backend, &settings).await?;
        let neighbour = Neighbour::of(&service).await?;
        neighbour.waits(plan.time / 4).await?;
        for ((name, kind), seen) in crowds.iter().zip(&mut seen) {
            let progress = Progress::begin(&format!("{name}, before"), round)?;
            let quiet = neighbour.waits(plan.time).await?;
            progress.end(&told(&quiet))?;
            seen.quiet.take(&quiet);
            // The neighbour is there before the crowd, as there may be no room later.
            let connection = neighbour.connect().await?;
            let crowd = Crowd::start(*kind, &service, &neighbour).await?;
            let progress = Progress::begin(name, round)?;
            let beside = neighbour.waits_on(connection, plan.time).await?;
            let memory = process::memory(&process::family(service.id()?)?)? as f64 / 1e6;
            // Before the crowd's thread is gone, whose time is the driver's too.
            progress.end(&format!("{}; {memory:.0} MB", told(&beside)))?;
            eprintln!("  {}", crowd.end()?);
            seen.beside.take(&beside);
            seen.memory.push(memory);
            tokio::time::sleep(SETTLE).await;
        }
        service.stop().await?;
    }
    let figures = crowds.into_iter().zip(seen);
    Ok(figures
        .flat_map(|((name, _), seen)| seen.figures(&name))
        .collect())
}

fn told(waits: &Samples) -> String {
    let (median, p99) = (waits.median(), waits.percentile(99.0));
    format!("median {median:.2} ms, p99 {p99:.2} ms")
}

/// One sample of each for a round.
#[derive(Default)]
struct Waits {
    medians: Samples,
    p99s: Samples,
}

impl Waits {
    fn take(&mut self, waits: &Samples) {
        self.medians.push(waits.median());
        self.p99s.push(waits.percentile(99.0));
    }
}

/// What one crowd does to the neighbour and to the service.
#[derive(Default)]
struct Seen {
    quiet: Waits,
    beside: Waits,
    memory: Samples,
}

impl Seen {
    fn figures(self, name: &str) -> [Figure; 3] {
        let goal = Goal::at_most_times_the_other(3.0);
        [
            Figure::new(format!("p99 beside {name}"), "ms", self.beside.p99s, goal)
                .beside("before", self.quiet.p99s),
            Figure::new(
                format!("median beside {name}"),
                "ms",
                self.beside.medians,
                Goal::NONE,
            )
            .beside("before", self.quiet.medians),
            Figure::new(format!("memory, {name}"), "MB", self.memory, Goal::NONE),
        ]
    }
}

// ------------------------------------------------------------- the neighbour

/// The client whose requests are measured.
struct Neighbour {
    service: SocketAddr,
    /// Asks for one task.
    get: Vec<u8>,
    path: &'static str,
}

impl Neighbour {
    async fn of(service: &Service) -> Outcome<Self> {
        let mut connection = Connection::open(service.address).await?;
        let post = http::post(service.path, &task(10_800, None));
        let id = connection.exchange(&post).await?.json()?;
        let id = id["id"].as_str().ok_or("a task has no id")?;
        Ok(Self {
            service: service.address,
            get: http::get(&format!("{}/{id}", service.path)),
            path: service.path,
        })
    }

    /// A connection that has been used, so that it may wait for its next request.
    async fn connect(&self) -> Outcome<TcpStream> {
        let stream = connect_from(NEIGHBOUR, self.service).await?;
        let mut connection = Connection::over(tokio::net::TcpStream::from_std(stream)?)?;
        connection.exchange(&self.get).await?;
        Ok(connection.into_std()?)
    }

    async fn waits(&self, time: Duration) -> Outcome<Samples> {
        self.waits_on(self.connect().await?, time).await
    }

    /// From when each request was due until it was answered, in milliseconds. On a thread
    /// of its own, so that nothing else that the driver does is measured.
    async fn waits_on(&self, stream: TcpStream, time: Duration) -> Outcome<Samples> {
        let (get, path) = (self.get.clone(), self.path);
        let measured = tokio::task::spawn_blocking(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_io()
                .build()?;
            runtime.block_on(async {
                let mut connection = Connection::over(tokio::net::TcpStream::from_std(stream)?)?;
                let (began, mut waits) = (Instant::now(), Samples::default());
                for turn in 0.. {
                    let due = began + PACE * turn;
                    // What waits so long has been seen to.
                    if due > began + time || began.elapsed() > time * 2 {
                        break;
                    }
                    sleep_until(due);
                    let is_post = turn % POSTS == 0;
                    let body = task(10_800, None).replace(NUMBER, &turn.to_string());
                    let answer = match is_post {
                        true => connection.exchange(&http::post(path, &body)).await?,
                        false => connection.exchange(&get).await?,
                    };
                    if answer.status() != if is_post { 202 } else { 200 } {
                        return Err(format!("the neighbour got {}", answer.first_line()).into());
                    }
                    waits.push(due.elapsed().as_secs_f64() * 1_000.0);
                }
                Ok(waits)
            })
        });
        measured.await?
    }
}

/// More exactly than the runtime, whose timers count milliseconds.
#[expect(
    clippy::disallowed_methods,
    reason = "nothing else is on the neighbour's thread"
)]
fn sleep_until(due: Instant) {
    std::thread::sleep(due.saturating_duration_since(Instant::now()));
}

/// A connection from one of loopback's addresses. It blocks nobody.
async fn connect_from(source: Ipv4Addr, to: SocketAddr) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    // Many come from one address, so its port is chosen once it is known where to.
    socket.set_reuseaddr(true)?;
    socket.bind(SocketAddrV4::new(source, 0).into())?;
    socket.connect(to).await?.into_std()
}

/// The address of the nth of a crowd.
fn address(nth: u32) -> Ipv4Addr {
    Ipv4Addr::new(
        127,
        0,
        1,
        u8::try_from(nth % ADDRESSES).unwrap_or_default() + 1,
    )
}

// ----------------------------------------------------------------- the crowds

#[derive(Clone, Copy)]
enum Kind {
    /// Connections that send a byte a second, of a head or of a body.
    Slow(u32),
    /// Streams of events that nobody reads.
    Streams(u32),
    /// Megabytes of bodies a second, of texts that are too long.
    Bodies(u32),
}

/// Clients on a thread of their own, until it is told to end.
struct Crowd {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Outcome<String>>,
}

impl Crowd {
    /// Once all are there.
    async fn start(kind: Kind, service: &Service, neighbour: &Neighbour) -> Outcome<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let (told, there) = tokio::sync::oneshot::channel();
        let (stopped, to, get) = (Arc::clone(&stop), service.address, neighbour.get.clone());
        let path = service.path;
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            runtime.block_on(async {
                match kind {
                    Kind::Slow(count) => slow(count, to, path, &stopped, told).await,
                    Kind::Streams(count) => streams(count, to, &get, &stopped, told).await,
                    Kind::Bodies(count) => bodies(count, to, path, &stopped, told).await,
                }
            })
        });
        // Whoever ends before says why when it is joined.
        let _ = there.await;
        Ok(Self { stop, thread })
    }

    /// What has come of it.
    fn end(self) -> Outcome<String> {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.thread.join();
        ended.unwrap_or_else(|_| Err("a crowd has panicked".into()))
    }
}

type Payload = tokio::sync::oneshot::Sender<()>;

/// A client that sends a byte a second, where it has a connection.
struct Slow {
    connection: Option<TcpStream>,
    away: u32,
}

/// Half of them never end a head, half of them never a body.
async fn slow(
    count: u32,
    to: SocketAddr,
    path: &str,
    stop: &AtomicBool,
    told: Payload,
) -> Outcome<String> {
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n\
         Content-Length: 1000\r\n\r\n"
    );
    let mut clients: Vec<Slow> = (0..count)
        .map(|_| Slow {
            connection: None,
            away: 0,
        })
        .collect();
    let (mut told, mut shown_out) = (Some(told), 0_u64);
    let part = clients.len().div_ceil(PARTS as usize);
    let mut next = Instant::now();
    for turn in 0_u32.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        // All were there once, and those that are shown out have been.
        if turn == PARTS * 2 {
            told.take().map(|told| told.send(()));
        }
        let first = (turn % PARTS) as usize * part;
        for nth in first..(first + part).min(clients.len()) {
            let client = &mut clients[nth];
            if client.away > 0 {
                client.away -= 1;
                continue;
            }
            let Some(connection) = &mut client.connection else {
                let begun: &[u8] = if nth % 2 == 0 { b"P" } else { head.as_bytes() };
                let connection = connect_from(address(nth as u32), to).await;
                client.connection = connection.ok().filter(|mut it| it.write_all(begun).is_ok());
                continue;
            };
            let is_shown_out = match connection.read(&mut [0; 512]) {
                Err(error) => error.kind() != io::ErrorKind::WouldBlock,
                Ok(_) => true,
            };
            if is_shown_out || connection.write_all(b" ").is_err() {
                shown_out += 1;
                (client.connection, client.away) = (None, ROUNDS_AWAY);
            }
        }
        next += BYTE_EVERY / PARTS;
        tokio::time::sleep(next.saturating_duration_since(Instant::now())).await;
    }
    let there = clients.iter().filter(|client| client.connection.is_some());
    Ok(format!(
        "{} connected, {shown_out} times one was shown out",
        there.count()
    ))
}

/// As many of all events as a client may have, the others of one task.
async fn streams(
    count: u32,
    to: SocketAddr,
    get: &[u8],
    stop: &AtomicBool,
    told: Payload,
) -> Outcome<String> {
    let of_one = String::from_utf8_lossy(get).replacen(" HTTP/1.1", "/events HTTP/1.1", 1);
    let mut open = Vec::new();
    for nth in 0..count {
        let request = match nth < FEEDS {
            true => http::get("/v1/events"),
            false => of_one.clone().into_bytes(),
        };
        let mut stream = connect_from(address(nth), to).await?;
        stream.write_all(&http::with_header(request, "Accept: text/event-stream"))?;
        open.push(stream);
    }
    // Each has got its head, which is not read either.
    for stream in &open {
        while let Err(error) = stream.peek(&mut [0]) {
            match error.kind() {
                io::ErrorKind::WouldBlock => tokio::time::sleep(Duration::from_millis(5)).await,
                _ => return Err(error.into()),
            }
        }
    }
    let _ = told.send(());
    while !stop.load(Ordering::Relaxed) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(format!("{} streams", open.len()))
}

/// Each is read, understood and refused.
async fn bodies(
    a_second: u32,
    to: SocketAddr,
    path: &str,
    stop: &AtomicBool,
    told: Payload,
) -> Outcome<String> {
    let text = "Xin chào các bạn. ".repeat(BODY_BYTES / 23);
    let request: Arc<[u8]> = http::post(path, &json!({ "text": text }).to_string()).into();
    let (sent, began) = (AtomicUsize::new(0), Instant::now());
    let _ = told.send(());
    let senders = (0..SENDERS).map(|nth| {
        let (request, sent) = (Arc::clone(&request), &sent);
        async move {
            let stream = connect_from(address(nth), to).await?;
            let mut connection = Connection::over(tokio::net::TcpStream::from_std(stream)?)?;
            for turn in 0_u32.. {
                let due = began + Duration::from_secs(1) * (turn * SENDERS + nth) / a_second;
                tokio::time::sleep(due.saturating_duration_since(Instant::now())).await;
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                let answer = connection.exchange(&request).await?;
                if answer.status() != 422 {
                    return Err(format!("a body got {}", answer.first_line()).into());
                }
                sent.fetch_add(request.len(), Ordering::Relaxed);
            }
            Outcome::Ok(())
        }
    });
    futures_util::future::try_join_all(senders).await?;
    let rate = sent.into_inner() as f64 / 1e6 / began.elapsed().as_secs_f64();
    Ok(format!("{rate:.0} MB/s"))
}
