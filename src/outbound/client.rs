//! Sends one request and reads its answer, within bounds of time and size.
//!
//! A thin layer over `awc`, which knows HTTP/1.1 and keeps connections, and
//! leaves to us: how a connection is opened (`connector`), which heads of
//! answers it can read (`head_filter`), one time limit over everything, a
//! bound on idle connections, and errors that can be stored.
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
//! - The pool's key is host and port, not the policy. So there is one [`Client`]
//!   for each policy, and a connection that one policy admitted never serves
//!   another; and within it one `awc` client for each scheme. The URL that a policy
//!   exempts has connections of its own for the same reason.

use std::cell::RefCell;
use std::collections::HashMap;
use std::error::Error as _;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix_tls::connect::Resolver;
use awc::error::{ConnectError, PayloadError, SendRequestError};
use awc::http::header::{self, HeaderMap};
use awc::http::{StatusCode, Uri, Version};
use bytes::{Bytes, BytesMut};
use chrono::{DateTime, NaiveDateTime, Utc};
use futures_util::stream::{LocalBoxStream, StreamExt as _};
use hoiam_text::SaturatingFrom as _;
use rustls::ClientConfig;
use tokio::time::{Instant, timeout_at};
use url::{Position, Url};

use super::connector::{Connect, PROGRESS, Progress};
use super::error::{OutboundError, Phase};
use super::guard::Policy;
use super::names::Names;
use super::networks::Networks;

pub use awc::http::Method;

/// How long an idle connection may be used again. Shorter than the 75 s of our
/// own server, so that it is we who stop first.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// How long a pool, and with it every connection in it, lives: the longest time
/// for which the guard's last look at an address is relied on.
const POOL_LIFETIME: Duration = Duration::from_secs(60);

/// How many origins a pool keeps connections to.
const KEPT_ORIGINS: usize = 64;

/// How long the body of an answer is waited for whose head has said all.
const BODY_TO_SHOW: Duration = Duration::from_secs(2);

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
    /// Headers whose names others have chosen; none of the above.
    pub more_headers: Vec<(String, String)>,
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
    /// Whether the body has not been read to its end.
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
    /// it does not matter how far apart our clocks are; where the answer has none,
    /// from `wall`, our own. `None` for `wall` is for those who talk to a hoiam,
    /// which says seconds.
    #[must_use]
    pub fn retry_after(&self, wall: Option<DateTime<Utc>>) -> Option<Duration> {
        let value = self.get("retry-after")?.trim();
        let seconds = if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
            value.parse().unwrap_or(u64::MAX)
        } else {
            let theirs = self.get("date").and_then(unix_seconds);
            let now = theirs.or(wall.map(|wall| wall.timestamp()))?;
            u64::try_from(unix_seconds(value)? - now).unwrap_or(0)
        };
        Some(Duration::from_secs(seconds).min(LONGEST_RETRY_AFTER))
    }

    /// Whether the answer says where its body ends.
    fn has_length(&self) -> bool {
        self.0.contains_key(header::CONTENT_LENGTH)
            || self.0.contains_key(header::TRANSFER_ENCODING)
    }
}

/// Reads an HTTP date in any of its three forms (RFC 9110, section 5.6.7).
fn unix_seconds(http_date: &str) -> Option<i64> {
    const FORMS: [&str; 3] = [
        "%a, %d %b %Y %H:%M:%S GMT",
        "%A, %d-%b-%y %H:%M:%S GMT",
        "%a %b %e %H:%M:%S %Y",
    ];
    FORMS.iter().find_map(|form| {
        NaiveDateTime::parse_from_str(http_date.trim(), form)
            .ok()
            .map(|date| date.and_utc().timestamp())
    })
}

/// Sends requests under one [`Policy`]. It belongs to the thread that made it
/// and is cheap to clone there; every thread makes its own.
#[derive(Clone)]
pub struct Client {
    inner: Rc<Inner>,
    networks: Arc<Networks>,
    /// The URL that the policy exempts, with what calls it.
    exempt: Option<(Url, Rc<Inner>)>,
}

struct Inner {
    timeouts: Timeouts,
    new_clients: Box<dyn Fn() -> Clients>,
    /// Keeps no connection: all its requests say that it is their last.
    single: Clients,
    kept: RefCell<Option<Pool>>,
}

/// One `awc` client for each scheme. Both take their connection for plain text.
#[derive(Clone)]
struct Clients {
    plain: awc::Client,
    encrypted: awc::Client,
}

impl Clients {
    fn for_url(&self, url: &Url) -> &awc::Client {
        match url.scheme() {
            "https" => &self.encrypted,
            _ => &self.plain,
        }
    }
}

/// `awc` clients and the origins whose connections they keep.
struct Pool {
    clients: Clients,
    origins: HashMap<String, Reuse>,
}

#[derive(Clone, Copy, PartialEq)]
enum Reuse {
    Keep,
    /// Its answers do not say where they end.
    Never,
}

impl Client {
    /// A client that resolves names as the system does, on threads that all clients
    /// share. `tls` comes from [`super::tls`], once for the process.
    #[must_use]
    pub fn new(policy: Policy, timeouts: Timeouts, tls: Arc<ClientConfig>) -> Self {
        Self::with_resolver(policy, timeouts, tls, Resolver::custom(Names::of_system()))
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
        let exempt = policy.exempt().cloned();
        let networks = Arc::<Networks>::default();
        let inner = |policy| Inner::new(policy, timeouts, &tls, (&resolver, &networks));
        Self {
            exempt: exempt.map(|url| (url, inner(Policy::trusted()))),
            inner: inner(policy),
            networks,
        }
    }

    /// Where names led when this client called them last.
    #[must_use]
    pub fn networks(&self) -> Arc<Networks> {
        Arc::clone(&self.networks)
    }

    fn inner_for(&self, url: &Url) -> &Rc<Inner> {
        match &self.exempt {
            Some((exempt, inner)) if exempt == url => inner,
            _ => &self.inner,
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
        let deadline = self.deadline(&request);
        let opened = self.open(&request, deadline).await?;
        let (answer, ended) = opened.read(request.answer_limit, deadline).await;
        ended.map(|()| answer)
    }

    /// As [`Client::send`], for whom the status and the headers are the answer. A
    /// body that is short, late, broken or without end changes nothing: what comes
    /// of it within the limit and 2 s is there to be shown.
    ///
    /// # Errors
    ///
    /// [`OutboundError`] when no head came.
    pub async fn send_for_head(&self, request: Outgoing) -> Result<Answer, OutboundError> {
        let deadline = self.deadline(&request);
        let opened = self.open(&request, deadline).await?;
        let until = deadline.min(Instant::now() + BODY_TO_SHOW);
        let (mut answer, ended) = opened.read(request.answer_limit, until).await;
        answer.truncated |= ended.is_err();
        Ok(answer)
    }

    fn deadline(&self, request: &Outgoing) -> Instant {
        Instant::now() + request.total_timeout.unwrap_or(self.inner.timeouts.total)
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
            more_headers: Vec::new(),
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
        let inner = self.inner_for(&request.url);
        let kept = inner.pool_for(origin);
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
            inner.never_reuse(origin);
        }
        if opened.status < 200 {
            return Err(OutboundError::Protocol {
                phase: Phase::Answer,
                status: None,
                reason: "the answer changes to another protocol (101), which nobody asked for",
            });
        }
        Ok(opened)
    }

    /// One exchange: over `kept`, or over a connection of its own.
    async fn exchange(
        &self,
        kept: Option<&Clients>,
        request: &Outgoing,
        deadline: Instant,
        progress: &Rc<Progress>,
    ) -> Result<Opened, OutboundError> {
        let uri = target(&request.url)?;
        let mut wire = kept
            .unwrap_or(&self.inner_for(&request.url).single)
            .for_url(&request.url)
            .request(request.method.clone(), uri)
            .insert_header((header::HOST, host_header(&request.url)))
            .insert_header((header::USER_AGENT, USER_AGENT));
        for (name, value) in &request.headers {
            wire = wire.insert_header((*name, value.as_str()));
        }
        for (name, value) in &request.more_headers {
            wire = wire.insert_header((name.as_str(), value.as_str()));
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
            Ok(Err(error)) => Err(described(error, progress)),
            Ok(Ok(answer)) => Ok(Opened::new(answer, &request.method)),
        }
    }
}

impl Inner {
    fn new(
        policy: Policy,
        timeouts: Timeouts,
        tls: &Arc<ClientConfig>,
        (resolver, networks): (&Resolver, &Arc<Networks>),
    ) -> Rc<Self> {
        let connect = Connect {
            policy: Rc::new(policy),
            resolver: resolver.clone(),
            networks: Arc::clone(networks),
            tls: None,
            limit: timeouts.connect,
        };
        let tls = Arc::clone(tls);
        let new_clients = move || new_clients(&connect, &tls);
        Rc::new(Self {
            timeouts,
            single: new_clients(),
            new_clients: Box::new(new_clients),
            kept: RefCell::new(None),
        })
    }

    /// The pool to use for an origin, unless it gets a connection of its own.
    fn pool_for(self: &Rc<Self>, origin: &str) -> Option<Clients> {
        let mut kept = self.kept.borrow_mut();
        let pool = kept.get_or_insert_with(|| {
            self.empty_later();
            Pool {
                clients: (self.new_clients)(),
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
        (reuse == Reuse::Keep).then(|| pool.clients.clone())
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

fn new_clients(connect: &Connect, tls: &Arc<ClientConfig>) -> Clients {
    let client = |tls| {
        let connect = Connect {
            tls,
            ..connect.clone()
        };
        let connector = awc::Connector::new()
            // Never met: the connector has limits of its own.
            .timeout(connect.limit.saturating_mul(3))
            // 0 is no limit. A limit would count slow hosts and quick ones together;
            // whoever sends limits itself by origin.
            .limit(0)
            .conn_keep_alive(KEEP_ALIVE)
            .conn_lifetime(POOL_LIFETIME)
            .connector(connect.into_connector());
        awc::Client::builder()
            .connector(connector)
            .disable_redirects()
            .disable_timeout()
            .finish()
    };
    Clients {
        plain: client(None),
        encrypted: client(Some(Arc::clone(tls))),
    }
}

/// The URL as `awc` takes it: it would choose encryption by the scheme, and the
/// port too, so that one is always named.
fn target(url: &Url) -> Result<Uri, OutboundError> {
    let host = &url[Position::BeforeHost..Position::AfterHost];
    let port = url.port_or_known_default().unwrap_or_default();
    let path = &url[Position::BeforePath..Position::AfterQuery];
    format!("http://{host}:{port}{path}")
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

    /// What comes of the body within these bounds, and whether it ended well.
    async fn read(mut self, limit: usize, until: Instant) -> (Answer, Result<(), OutboundError>) {
        let mut body = BytesMut::new();
        let mut truncated = false;
        let ended = loop {
            let chunk = match self.next_before(until).await {
                Ok(Some(chunk)) => chunk,
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            };
            let room = limit - body.len();
            body.extend_from_slice(chunk.get(..room).unwrap_or(&chunk));
            if chunk.len() > room {
                truncated = true;
                break Ok(());
            }
        };
        let answer = Answer {
            status: self.status,
            headers: self.headers,
            body: body.freeze(),
            truncated,
        };
        (answer, ended)
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
                let length = u64::saturating_from(chunk.len());
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
            let length = u64::saturating_from(chunk.len());
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
fn described(error: SendRequestError, progress: &Progress) -> OutboundError {
    match error {
        SendRequestError::Url(_) | SendRequestError::Http(_) => {
            OutboundError::InvalidRequest("its URL or one of its headers is not usable")
        }
        SendRequestError::Connect(ConnectError::Disconnected) => OutboundError::Closed {
            phase: Phase::Answer,
        },
        SendRequestError::Connect(error) => not_connected(error),
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

/// What the connector has said.
fn not_connected(error: ConnectError) -> OutboundError {
    let told = match error {
        ConnectError::Resolver(error) => error.downcast::<OutboundError>().ok(),
        _ => None,
    };
    told.map_or(
        OutboundError::ConnectFailed("the connection could not be opened"),
        |error| *error,
    )
}

#[cfg(test)]
mod tests;
