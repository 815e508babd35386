//! Sends one request and reads its answer, within bounds of time and size.
//!
//! A thin layer over `awc`, which knows HTTP/1.1 and keeps connections, and
//! leaves to us: the guard between name resolution and connect, one time limit
//! over everything, a bound on idle connections, and errors that can be stored.
//!
//! What `awc` 3.11 does, and what is done about it here:
//!
//! - Its pool forgets a connection only when the same host is asked again. So a
//!   pool lives for a minute (`POOL_LIFETIME`) and keeps connections to at most
//!   64 origins (`KEPT_ORIGINS`); other origins get a connection for one request.
//! - It takes an answer without a length for one without a body and would use
//!   the connection again, whose next bytes may still belong to that answer. Such
//!   an origin gets no second request over the same connection.
//! - A body that ends early looks complete to it. One with a `Content-Length` is
//!   counted here; a chunked one that was cut short cannot be told from a whole
//!   one, so whoever downloads compares the size or the hash it expects.
//! - The pool's key is the host, not the policy. So there is one [`Client`] for
//!   each policy, and a connection that one policy admitted never serves another.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::error::Error as _;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix_service::{IntoService as _, Service};
use actix_tls::connect::tcp::TcpConnector;
use actix_tls::connect::{ConnectError as TcpError, ConnectInfo, Connection, Resolver};
use awc::error::{ConnectError, PayloadError, SendRequestError};
use awc::http::header::{self, HeaderMap};
use awc::http::{StatusCode, Uri, Version};
use bytes::{Bytes, BytesMut};
use futures_util::stream::{LocalBoxStream, StreamExt as _};
use rustls::ClientConfig;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use url::{Position, Url};

use super::error::{OutboundError, Phase};
use super::guard::{Forbidden, Policy};

pub use awc::http::Method;

/// How long an idle connection may be used again. Shorter than the 75 s of our
/// own server, so that it is we who stop first.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// How long a pool, and with it every connection in it, lives: the longest time
/// for which the guard's last look at an address is relied on.
const POOL_LIFETIME: Duration = Duration::from_secs(60);

/// How many origins a pool keeps connections to.
const KEPT_ORIGINS: usize = 64;

/// Whoever asks for more time than this is not waited for.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(24 * 60 * 60);

const USER_AGENT: &str = concat!("hoiam/", env!("CARGO_PKG_VERSION"));

/// How long things may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// Name resolution and connect together; as long again for encryption.
    pub connect: Duration,
    /// Everything, from the first step to the last byte of the body.
    pub total: Duration,
}

/// One request. No `Debug`: it would show keys and texts.
#[derive(Clone)]
pub struct Outgoing {
    /// The method.
    pub method: Method,
    /// Where to; its fragment is not sent.
    pub url: Url,
    /// Headers beside `host`, `user-agent`, `content-length`.
    pub headers: Vec<(&'static str, String)>,
    /// The body, sent as it is.
    pub body: Bytes,
    /// Instead of [`Timeouts::total`].
    pub total_timeout: Option<Duration>,
    /// How many bytes of the answer's body are kept.
    pub answer_limit: usize,
    /// Try once more over a new connection when a kept one turns out to have
    /// been closed by the other side. Only for requests whose repetition changes
    /// nothing there: the first may have arrived after all.
    pub retry_on_stale: bool,
}

/// What is to be downloaded. No `Debug`: it would show keys.
#[derive(Clone)]
pub struct Fetch {
    /// Where from.
    pub url: Url,
    /// Headers beside `host` and `user-agent`.
    pub headers: Vec<(&'static str, String)>,
    /// The most bytes that are taken.
    pub limit: u64,
    /// The longest silence between two pieces of the body. The head has
    /// [`Timeouts::total`].
    pub idle_timeout: Duration,
    /// Head and body together; none for a stream of events.
    pub total_timeout: Option<Duration>,
}

/// An answer with the beginning of its body.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The headers.
    pub headers: Headers,
    /// At most [`Outgoing::answer_limit`] bytes of the body.
    pub body: Bytes,
    /// Whether there was more, which has not been read.
    pub truncated: bool,
}

/// An answer whose body is still coming.
pub struct Download {
    /// The status code.
    pub status: u16,
    /// The headers.
    pub headers: Headers,
    /// The body, piece by piece. Dropping it closes the connection.
    pub body: LocalBoxStream<'static, Result<Bytes, OutboundError>>,
}

/// The headers of an answer.
#[derive(Debug, Clone)]
pub struct Headers(HeaderMap);

impl Headers {
    /// The first header of that name (in any case), if it is text.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.to_str().ok()
    }

    /// `Content-Length`.
    #[must_use]
    pub fn content_length(&self) -> Option<u64> {
        self.get("content-length")?.trim().parse().ok()
    }

    /// How long `Retry-After` asks us to wait, at most 24 hours (RFC 9110,
    /// section 10.2.3). A date is measured from the answer's own `Date`, so that
    /// it does not matter how far apart our clocks are.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        let value = self.get("retry-after")?.trim();
        let seconds = if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
            value.parse().unwrap_or(u64::MAX)
        } else {
            let wait = unix_seconds(value)? - unix_seconds(self.get("date")?)?;
            u64::try_from(wait).unwrap_or(0)
        };
        Some(Duration::from_secs(seconds).min(LONGEST_RETRY_AFTER))
    }

    /// Whether the answer says where its body ends.
    fn has_length(&self) -> bool {
        self.0.contains_key(header::CONTENT_LENGTH)
            || self.0.contains_key(header::TRANSFER_ENCODING)
    }
}

/// Reads an HTTP date in its preferred form, `Sun, 06 Nov 1994 08:49:37 GMT`.
fn unix_seconds(http_date: &str) -> Option<i64> {
    chrono::NaiveDateTime::parse_from_str(http_date.trim(), "%a, %d %b %Y %H:%M:%S GMT")
        .ok()
        .map(|date| date.and_utc().timestamp())
}

/// Sends requests under one [`Policy`]. It belongs to the thread that made it
/// and is cheap to clone there; every thread makes its own.
#[derive(Clone)]
pub struct Client {
    inner: Rc<Inner>,
}

struct Inner {
    timeouts: Timeouts,
    new_pool: Box<dyn Fn() -> awc::Client>,
    /// Keeps no connection: all its requests say that it is their last.
    single: awc::Client,
    kept: RefCell<Option<Pool>>,
}

/// An `awc` client and the origins whose connections it keeps.
struct Pool {
    client: awc::Client,
    origins: HashMap<String, Reuse>,
}

#[derive(Clone, Copy, PartialEq)]
enum Reuse {
    Keep,
    /// Its answers do not say where they end.
    Never,
}

tokio::task_local! {
    /// How far the request of this task has come; set by our connector, which
    /// `awc` runs within the task that sends.
    static PROGRESS: Rc<Progress>;
}

/// `None` as long as the connector has not been asked: while that is so, a kept
/// connection is in use.
#[derive(Default)]
struct Progress(Cell<Option<Phase>>);

impl Progress {
    fn over_kept_connection(&self) -> bool {
        self.0.get().is_none()
    }

    /// What ran out of time. Once there is a connection, the handshake cannot be
    /// told from the exchange from here, and what may have been sent counts as sent.
    fn timed_out(&self) -> OutboundError {
        let phase = match self.0.get() {
            Some(phase @ (Phase::Dns | Phase::Connect)) => phase,
            _ => Phase::Answer,
        };
        OutboundError::TimedOut {
            phase,
            status: None,
        }
    }
}

fn enter(phase: Phase) {
    // Outside of a request there is nobody to tell.
    let _ = PROGRESS.try_with(|progress| progress.0.set(Some(phase)));
}

impl Client {
    /// A client that resolves names as the system does. `tls` comes from
    /// [`super::tls`], once for the process.
    #[must_use]
    pub fn new(policy: Policy, timeouts: Timeouts, tls: Arc<ClientConfig>) -> Self {
        Self::with_resolver(policy, timeouts, tls, Resolver::default())
    }

    /// As [`Client::new`], with another resolver. Literal addresses never reach a
    /// resolver; the guard sees them all the same.
    #[must_use]
    pub fn with_resolver(
        policy: Policy,
        timeouts: Timeouts,
        tls: Arc<ClientConfig>,
        resolver: Resolver,
    ) -> Self {
        let policy = Rc::new(policy);
        let new_pool = move || new_pool(&policy, timeouts, &tls, &resolver);
        Self {
            inner: Rc::new(Inner {
                timeouts,
                single: new_pool(),
                new_pool: Box::new(new_pool),
                kept: RefCell::new(None),
            }),
        }
    }

    /// Sends a request and reads the answer, whatever its status; redirects are
    /// not followed and nothing is decompressed.
    ///
    /// # Errors
    ///
    /// [`OutboundError`] when no whole answer came. An answer longer than the
    /// limit is no error: the rest is left unread and the connection is closed.
    pub async fn send(&self, request: Outgoing) -> Result<Answer, OutboundError> {
        let limit = request.answer_limit;
        let total = request.total_timeout.unwrap_or(self.inner.timeouts.total);
        let deadline = Instant::now() + total;
        let mut opened = self.open(&request, deadline).await?;
        let mut body = BytesMut::new();
        let mut truncated = false;
        while let Some(chunk) = opened.next_before(deadline).await? {
            let room = limit - body.len();
            body.extend_from_slice(chunk.get(..room).unwrap_or(&chunk));
            if chunk.len() > room {
                truncated = true;
                break;
            }
        }
        Ok(Answer {
            status: opened.status,
            headers: opened.headers,
            body: body.freeze(),
            truncated,
        })
    }

    /// Gets a body of any length piece by piece; also a stream of server-sent
    /// events. The status may be any: the caller looks at it first.
    ///
    /// # Errors
    ///
    /// [`OutboundError`] when no head came; what fails later is an item of the
    /// body's stream, and its last.
    pub async fn download(&self, fetch: Fetch) -> Result<Download, OutboundError> {
        let request = Outgoing {
            method: Method::GET,
            url: fetch.url,
            headers: fetch.headers,
            body: Bytes::new(),
            total_timeout: fetch.total_timeout,
            answer_limit: 0,
            retry_on_stale: true,
        };
        let start = Instant::now();
        let deadline = fetch.total_timeout.map(|total| start + total);
        let head_by = deadline.unwrap_or_else(|| start + self.inner.timeouts.total);
        let opened = self.open(&request, head_by).await?;
        let (status, headers) = (opened.status, opened.headers.clone());
        if let Some(length) = headers.content_length()
            && length > fetch.limit
        {
            return Err(OutboundError::TooLarge {
                status,
                limit: fetch.limit,
            });
        }
        Ok(Download {
            status,
            headers,
            body: opened.into_stream(fetch.limit, fetch.idle_timeout, deadline),
        })
    }

    /// Sends the request, once more if a kept connection had gone stale, and
    /// waits for the head of the answer.
    async fn open(&self, request: &Outgoing, deadline: Instant) -> Result<Opened, OutboundError> {
        let origin = &request.url[..Position::BeforePath];
        let kept = self.inner.pool_for(origin);
        let progress = Rc::new(Progress::default());
        let mut outcome = self
            .exchange(kept.as_ref(), request, deadline, &progress)
            .await;
        let stale =
            progress.over_kept_connection() && matches!(outcome, Err(OutboundError::Closed { .. }));
        if stale && kept.is_some() && request.retry_on_stale {
            outcome = self.exchange(None, request, deadline, &progress).await;
        }
        let opened = outcome?;
        if !opened.leaves_connection_clean {
            self.inner.never_reuse(origin);
        }
        if opened.status < 200 {
            return Err(OutboundError::Protocol {
                phase: Phase::Answer,
                status: None,
                reason: "the answer is an interim one (1xx), which nobody asked for",
            });
        }
        Ok(opened)
    }

    /// One exchange: over `kept`, or over a connection of its own.
    async fn exchange(
        &self,
        kept: Option<&awc::Client>,
        request: &Outgoing,
        deadline: Instant,
        progress: &Rc<Progress>,
    ) -> Result<Opened, OutboundError> {
        let uri = target(&request.url)?;
        let mut wire = kept
            .unwrap_or(&self.inner.single)
            .request(request.method.clone(), uri)
            .insert_header((header::HOST, host_header(&request.url)))
            .insert_header((header::USER_AGENT, USER_AGENT));
        for (name, value) in &request.headers {
            wire = wire.insert_header((*name, value.as_str()));
        }
        if kept.is_none() {
            wire = wire.force_close();
        }
        let carries_body = !matches!(request.method, Method::GET | Method::HEAD | Method::OPTIONS);
        let sending = if carries_body || !request.body.is_empty() {
            wire.send_body(request.body.clone())
        } else {
            // Not `send()`: that says `content-length: 0`.
            wire.send_body(awc::body::None::new())
        };
        let exchange = PROGRESS.scope(Rc::clone(progress), sending);
        match timeout_at(deadline, exchange).await {
            Err(_) => Err(progress.timed_out()),
            Ok(Err(error)) => Err(described(error, progress, &request.url)),
            Ok(Ok(answer)) => Ok(Opened::new(answer, &request.method)),
        }
    }
}

impl Inner {
    /// The pool to use for an origin, unless it gets a connection of its own.
    fn pool_for(self: &Rc<Self>, origin: &str) -> Option<awc::Client> {
        let mut kept = self.kept.borrow_mut();
        let pool = kept.get_or_insert_with(|| {
            self.empty_later();
            Pool {
                client: (self.new_pool)(),
                origins: HashMap::new(),
            }
        });
        let reuse = match pool.origins.get(origin) {
            Some(reuse) => *reuse,
            None if pool.origins.len() < KEPT_ORIGINS => {
                pool.origins.insert(origin.to_owned(), Reuse::Keep);
                Reuse::Keep
            }
            None => Reuse::Never,
        };
        (reuse == Reuse::Keep).then(|| pool.client.clone())
    }

    fn never_reuse(&self, origin: &str) {
        if let Some(pool) = self.kept.borrow_mut().as_mut()
            && let Some(reuse) = pool.origins.get_mut(origin)
        {
            *reuse = Reuse::Never;
        }
    }

    /// Lets the pool go after its time, and its connections with it: idle ones at
    /// once, busy ones when they are done.
    fn empty_later(self: &Rc<Self>) {
        let inner = Rc::downgrade(self);
        actix_rt::spawn(async move {
            tokio::time::sleep(POOL_LIFETIME).await;
            if let Some(inner) = inner.upgrade() {
                inner.kept.borrow_mut().take();
            }
        });
    }
}

fn new_pool(
    policy: &Rc<Policy>,
    timeouts: Timeouts,
    tls: &Arc<ClientConfig>,
    resolver: &Resolver,
) -> awc::Client {
    let connector = awc::Connector::new()
        .connector(guarded(Rc::clone(policy), resolver.clone()))
        .timeout(timeouts.connect)
        .handshake_timeout(timeouts.connect)
        // 0 is no limit. A limit would count slow hosts and quick ones together;
        // whoever sends limits itself by origin.
        .limit(0)
        .conn_keep_alive(KEEP_ALIVE)
        .conn_lifetime(POOL_LIFETIME)
        .rustls_0_23(Arc::clone(tls));
    awc::Client::builder()
        .connector(connector)
        .disable_redirects()
        .disable_timeout()
        .finish()
}

/// Resolve, guard, connect: the only way from here to another machine.
fn guarded(
    policy: Rc<Policy>,
    resolver: Resolver,
) -> impl Service<ConnectInfo<Uri>, Response = Connection<Uri, TcpStream>, Error = TcpError>
+ Clone
+ 'static {
    let connect = move |wanted: ConnectInfo<Uri>| {
        let policy = Rc::clone(&policy);
        let resolver = resolver.service();
        async move {
            enter(Phase::Dns);
            let resolved = resolver.call(wanted).await?;
            let admitted = policy
                .admit(resolved.hostname(), resolved.port(), resolved.addrs())
                .map_err(|forbidden| TcpError::Resolver(Box::new(forbidden)))?;
            enter(Phase::Connect);
            let connection = TcpConnector::default()
                .service()
                .call(resolved.set_addrs(admitted))
                .await?;
            // Head and body are short: do not wait for more to send.
            connection
                .io_ref()
                .set_nodelay(true)
                .map_err(TcpError::Io)?;
            let encrypted = connection.request().scheme_str() == Some("https");
            enter(if encrypted { Phase::Tls } else { Phase::Send });
            Ok(connection)
        }
    };
    connect.into_service()
}

/// The URL as `awc` takes it.
fn target(url: &Url) -> Result<Uri, OutboundError> {
    url[..Position::AfterQuery]
        .parse()
        .map_err(|_| OutboundError::InvalidRequest("its URL is too long or not usable"))
}

/// The host and a port that is not the scheme's own. `awc` would leave out 80 and
/// 443 for both schemes.
fn host_header(url: &Url) -> &str {
    &url[Position::BeforeHost..Position::AfterPort]
}

/// An answer whose head has come.
struct Opened {
    status: u16,
    headers: Headers,
    payload: awc::ClientResponse,
    /// Bytes of the body that have not come, if that is known.
    outstanding: Option<u64>,
    leaves_connection_clean: bool,
}

impl Opened {
    fn new(answer: awc::ClientResponse, method: &Method) -> Self {
        let status = answer.status();
        let headers = Headers(answer.headers().clone());
        let bodiless = *method == Method::HEAD
            || status == StatusCode::NO_CONTENT
            || status == StatusCode::NOT_MODIFIED;
        // HTTP/1.0 closes the connection by itself, unless it gives a length.
        let ends_clearly = bodiless || headers.has_length() || answer.version() == Version::HTTP_10;
        Self {
            status: status.as_u16(),
            outstanding: headers.content_length().filter(|_| !bodiless),
            headers,
            leaves_connection_clean: ends_clearly && !status.is_informational(),
            payload: answer,
        }
    }

    async fn next_before(&mut self, deadline: Instant) -> Result<Option<Bytes>, OutboundError> {
        match timeout_at(deadline, self.payload.next()).await {
            Ok(next) => self.counted(next),
            Err(_) => Err(self.timed_out()),
        }
    }

    /// Counts a piece of the body, and does not take its end for the end of the
    /// answer when more was announced.
    fn counted(
        &mut self,
        next: Option<Result<Bytes, PayloadError>>,
    ) -> Result<Option<Bytes>, OutboundError> {
        match next {
            Some(Ok(chunk)) => {
                let length = u64::try_from(chunk.len()).unwrap_or(u64::MAX);
                self.outstanding = self.outstanding.map(|left| left.saturating_sub(length));
                Ok(Some(chunk))
            }
            None if self.outstanding.is_none_or(|left| left == 0) => Ok(None),
            None | Some(Err(_)) => Err(OutboundError::Protocol {
                phase: Phase::Body,
                status: Some(self.status),
                reason: "the connection ended before the answer was complete",
            }),
        }
    }

    fn timed_out(&self) -> OutboundError {
        OutboundError::TimedOut {
            phase: Phase::Body,
            status: Some(self.status),
        }
    }

    fn into_stream(
        self,
        limit: u64,
        idle: Duration,
        deadline: Option<Instant>,
    ) -> LocalBoxStream<'static, Result<Bytes, OutboundError>> {
        let start = (self, limit);
        futures_util::stream::try_unfold(start, move |(mut opened, room)| async move {
            let until = Instant::now() + idle;
            let until = deadline.map_or(until, |deadline| deadline.min(until));
            let Some(chunk) = opened.next_before(until).await? else {
                return Ok(None);
            };
            let length = u64::try_from(chunk.len()).unwrap_or(u64::MAX);
            let room = room.checked_sub(length).ok_or(OutboundError::TooLarge {
                status: opened.status,
                limit,
            })?;
            Ok(Some((chunk, (opened, room))))
        })
        .boxed_local()
    }
}

/// Translates `awc`'s error, which cannot be stored and speaks of the machine's
/// own affairs, into ours.
fn described(error: SendRequestError, progress: &Progress, url: &Url) -> OutboundError {
    match error {
        SendRequestError::Url(_) | SendRequestError::Http(_) => {
            OutboundError::InvalidRequest("its URL or one of its headers is not usable")
        }
        SendRequestError::Connect(ConnectError::Disconnected) => OutboundError::Closed {
            phase: Phase::Answer,
        },
        SendRequestError::Connect(error) => not_connected(error, progress, url),
        SendRequestError::Send(_) => OutboundError::Closed { phase: Phase::Send },
        SendRequestError::Response(error) if error.source().is_some_and(is_hang_up) => {
            OutboundError::Closed {
                phase: Phase::Answer,
            }
        }
        SendRequestError::Timeout => progress.timed_out(),
        _ => OutboundError::Protocol {
            phase: Phase::Answer,
            status: None,
            reason: "the answer is not HTTP/1.1, or its head is too large",
        },
    }
}

/// Only the kinds that a closed connection has: an end within the head is an
/// error of the answer, and proof that the request had arrived.
fn is_hang_up(error: &(dyn std::error::Error + 'static)) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    error.downcast_ref::<io::Error>().is_some_and(|error| {
        matches!(
            error.kind(),
            BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof
        )
    })
}

fn not_connected(error: ConnectError, progress: &Progress, url: &Url) -> OutboundError {
    let host = || url.host_str().unwrap_or_default().to_owned();
    let phase = progress.0.get().unwrap_or(Phase::Connect);
    match error {
        ConnectError::Resolver(error) => match error.downcast::<Forbidden>() {
            Ok(forbidden) => OutboundError::Forbidden(*forbidden),
            Err(_) => OutboundError::DnsFailed { host: host() },
        },
        ConnectError::NoRecords | ConnectError::Unresolved => {
            OutboundError::DnsFailed { host: host() }
        }
        ConnectError::Timeout => OutboundError::TimedOut {
            phase,
            status: None,
        },
        ConnectError::Io(error) if phase == Phase::Tls => {
            OutboundError::TlsFailed(tls_reason(&error))
        }
        ConnectError::Io(error) => OutboundError::ConnectFailed(connect_reason(&error)),
        _ => OutboundError::ConnectFailed("the connection could not be opened"),
    }
}

fn connect_reason(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "nothing listens at that address and port",
        io::ErrorKind::HostUnreachable => "the host cannot be reached",
        io::ErrorKind::NetworkUnreachable => "there is no way to that network",
        io::ErrorKind::ConnectionReset => "the connection was reset while it was being opened",
        io::ErrorKind::TimedOut => "the host does not answer",
        _ => "the connection could not be opened",
    }
}

fn tls_reason(error: &io::Error) -> &'static str {
    use rustls::{CertificateError, Error};
    let cause = error.get_ref().and_then(|inner| inner.downcast_ref());
    match cause {
        Some(Error::InvalidCertificate(problem)) => match problem {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "the certificate has expired"
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                "the certificate is not valid yet"
            }
            CertificateError::UnknownIssuer => "the certificate's issuer is not trusted here",
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                "the certificate is for another name"
            }
            CertificateError::Revoked => "the certificate has been revoked",
            _ => "the certificate is not valid",
        },
        Some(Error::AlertReceived(_)) => "the other side refused the handshake",
        Some(Error::InvalidMessage(_)) => "the other side does not speak TLS at this port",
        _ => "the handshake failed",
    }
}

#[cfg(test)]
mod tests;
