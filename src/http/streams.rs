//! Event histories, as JSON and as server-sent events.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};
use bytes::Bytes;
use futures_util::{FutureExt as _, stream};
use hoiam_api::{Code, Event, EventType, Problem};
use tokio::sync::watch;
use tokio::time::Instant;
use uuid::Uuid;

use super::auth::bearer;
use super::problem::Answer;
use super::request::{preferred_wait, seen_client};
use crate::db::history::{Page, Whose, events_after, newest_event, owner};
use crate::db::hub::{Interest, News, Subscription};
use crate::db::{Conn, Db, StoreError};
use crate::keys::{Caller, Keys};
use crate::locks::lock;

/// A comment so often keeps proxies from closing a quiet stream.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// Events read at once.
const PAGE: usize = 500;
/// Every commit wakes the feed of a client, which reads the table then: not more
/// often than this, so that those who listen leave the readers to others.
const REST: Duration = Duration::from_millis(100);
/// Feeds that one client may have open.
const MOST_FEEDS: usize = 20;

/// Ends every stream when the service stops, and those of a key that may read no
/// more.
#[derive(Clone)]
pub struct Streams {
    stopping: watch::Receiver<bool>,
    keys: Keys,
    feeds: Feeds,
}

impl Streams {
    /// Streams that live until `stopping` turns true.
    #[must_use]
    pub fn new(stopping: watch::Receiver<bool>, keys: Keys) -> Self {
        Self {
            stopping,
            keys,
            feeds: Feeds::default(),
        }
    }

    /// Answers with these events, as a stream where the request accepts one;
    /// anything but a subject's events always is one. `guard` lives as long as the
    /// stream.
    ///
    /// # Errors
    /// When the history cannot be read; 404 where the subject is gone, 429 where the
    /// client has too many feeds open.
    pub async fn answer(
        &self,
        request: &HttpRequest,
        db: &Db,
        whose: Whose,
        guard: impl FnOnce() -> Box<dyn std::any::Any>,
    ) -> Result<HttpResponse, Answer> {
        let is_of_one = matches!(whose, Whose::Subject(_));
        let whose = VisibleEvents {
            whose,
            client: seen_client(request),
        };
        if !wants_stream(request) && is_of_one {
            let page = whose.page(db, 0, usize::MAX).await?;
            let page = page.ok_or_else(|| Problem::not_found("task or speech of this id"))?;
            let items = page.events;
            return Ok(
                HttpResponse::Ok().json(serde_json::json!({ "items": items, "next_cursor": null }))
            );
        }
        let place = match &whose.whose {
            Whose::Client(client) => Some(self.feeds.take_place(client)?),
            _ => None,
        };
        // Subscribed before the history is read, so that nothing falls
        // between the two.
        let live = db.subscribe(match whose.whose {
            Whose::Subject(subject) => Interest::Of(subject),
            // An event does not say whose it is.
            Whose::Client(_) => Interest::Stored,
            Whose::Everybody => Interest::All,
        });
        let last = request
            .headers()
            .get("last-event-id")
            .and_then(|id| id.to_str().ok()?.parse::<i64>().ok());
        let last_id = match last {
            Some(last) => last,
            None if is_of_one => 0,
            None => db.read(newest_event).await?,
        };
        let feed = Feed {
            db: db.clone(),
            whose,
            last_id,
            live,
            state: State::New,
            quiet_since: Instant::now(),
            rested_at: None,
            stopping: self.stopping.clone(),
            listener: Listener::of(request, &self.keys),
            _place: place,
            _guard: guard(),
        };
        Ok(HttpResponse::Ok()
            .insert_header((header::CONTENT_TYPE, "text/event-stream"))
            .insert_header((header::CACHE_CONTROL, "no-store"))
            .streaming(stream::unfold(feed, Feed::next)))
    }
}

fn wants_stream(request: &HttpRequest) -> bool {
    let accept = request
        .headers()
        .get(header::ACCEPT)
        .and_then(|accept| accept.to_str().ok());
    accept.is_some_and(|accept| accept.contains("text/event-stream"))
}

/// What a request is shown of the history.
#[derive(Clone)]
struct VisibleEvents {
    whose: Whose,
    /// Who sees nothing but its own.
    client: Option<String>,
}

impl VisibleEvents {
    /// The next page of the table; `None` where the subject is gone, or is another
    /// client's now: an id may be used again once its task or speech is erased.
    async fn page(&self, db: &Db, after: i64, most: usize) -> Result<Option<Page>, StoreError> {
        let (service, shown) = (db.service(), self.clone());
        db.read(move |conn: &mut Conn| {
            let page = events_after(conn, service, &shown.whose, after, most)?;
            let Whose::Subject(subject) = shown.whose else {
                return Ok(Some(page));
            };
            // Asked last: what was read until now was still this one's.
            let owner = owner(conn, service, subject)?;
            let is_shown = |owner: String| shown.client.is_none_or(|client| client == owner);
            Ok(Some(page).filter(|_| owner.is_some_and(is_shown)))
        })
        .await
    }
}

/// Who listens, to be asked for again when the keys change.
struct Listener {
    keys: Keys,
    changes: watch::Receiver<()>,
    key: Option<String>,
    /// Whose the key was when the stream began.
    caller: Option<Caller>,
    /// As of the last change that was heard.
    is_let_in: bool,
}

impl Listener {
    fn of(request: &HttpRequest, keys: &Keys) -> Self {
        let key = bearer(request.headers()).map(str::to_owned);
        let mut listener = Self {
            changes: keys.changes(),
            caller: key.as_deref().and_then(|key| keys.caller(key)),
            keys: keys.clone(),
            key,
            is_let_in: true,
        };
        listener.is_let_in = listener.would_be_let_in();
        listener
    }

    /// Whether the gate would let it in, as the same client and with the same scopes.
    /// That compares the key with all there are, so it is asked once a change.
    fn would_be_let_in(&self) -> bool {
        if !self.keys.are_asked_for() {
            return true;
        }
        let caller = self.key.as_deref().and_then(|key| self.keys.caller(key));
        caller.is_some() && caller == self.caller
    }

    /// Waits until it is let in no more.
    async fn leaves(&mut self) {
        while self.is_let_in {
            let _ = self.changes.changed().await;
            self.is_let_in = self.would_be_let_in();
        }
    }

    /// Whether it is let in just now.
    fn stays(&mut self) -> bool {
        self.leaves().now_or_never().is_none()
    }
}

/// How many feeds each client has open.
#[derive(Clone, Default)]
struct Feeds(Arc<Mutex<HashMap<String, usize>>>);

impl Feeds {
    fn take_place(&self, client: &str) -> Result<Place, Problem> {
        let mut open = self.open();
        let count = open.entry(client.to_owned()).or_default();
        if *count == MOST_FEEDS {
            let detail = format!(
                "{MOST_FEEDS} streams of /v1/events are open for this client, which is the most; close one first."
            );
            return Err(Problem::new(Code::ShareFull, detail));
        }
        *count += 1;
        Ok(Place {
            feeds: self.clone(),
            client: client.to_owned(),
        })
    }

    fn open(&self) -> MutexGuard<'_, HashMap<String, usize>> {
        lock(&self.0)
    }
}

/// One of a client's feeds, until it is dropped.
struct Place {
    feeds: Feeds,
    client: String,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.feeds.open();
        if let Some(count) = open.get_mut(&self.client) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.client);
            }
        }
    }
}

struct Feed {
    db: Db,
    whose: VisibleEvents,
    /// Everything up to it has been sent, or is not to be.
    last_id: i64,
    live: Subscription,
    state: State,
    /// When something was sent last.
    quiet_since: Instant,
    /// When the feed of a client, which has read the table, may do so again.
    rested_at: Option<Instant>,
    stopping: watch::Receiver<bool>,
    listener: Listener,
    _place: Option<Place>,
    _guard: Box<dyn std::any::Any>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing was sent yet.
    New,
    /// The table has events that will not come live.
    Behind,
    Live,
}

impl Feed {
    async fn next(mut self) -> Option<(Result<Bytes, actix_web::Error>, Self)> {
        while self.listener.stays() {
            let mut text = match self.state {
                State::New => format!(": hoiam\n\n{}", self.stored().await?),
                State::Behind => self.stored().await?,
                State::Live => self.heard().await?,
            };
            if text.is_empty() && self.quiet_since.elapsed() >= HEARTBEAT {
                ": still here\n\n".clone_into(&mut text);
            }
            if !text.is_empty() {
                self.quiet_since = Instant::now();
                return Some((Ok(Bytes::from(text)), self));
            }
            if *self.stopping.borrow() {
                break;
            }
        }
        None
    }

    /// The next page of the table.
    async fn stored(&mut self) -> Option<String> {
        let page = self.whose.page(&self.db, self.last_id, PAGE).await;
        let page = page.ok().flatten()?;
        if self.is_of_a_client() {
            self.rested_at = Some(Instant::now() + REST);
        }
        self.last_id = page.last_id;
        self.state = if page.is_full {
            State::Behind
        } else {
            State::Live
        };
        Some(page.events.iter().map(render).collect())
    }

    /// What has come, if anything, within the time for which a stream may be quiet.
    async fn heard(&mut self) -> Option<String> {
        let (rested_at, live) = (self.rested_at, &mut self.live);
        let news = async move {
            if let Some(at) = rested_at {
                tokio::time::sleep_until(at).await;
            }
            live.next().await
        };
        let news = tokio::select! {
            _ = self.stopping.wait_for(|stopping| *stopping) => return None,
            () = self.listener.leaves() => return None,
            news = tokio::time::timeout_at(self.quiet_since + HEARTBEAT, news) => news,
        };
        let events = match news {
            Err(_) => return Some(String::new()),
            Ok(News::Events(events)) => events,
            Ok(News::InTable) => {
                self.state = State::Behind;
                let is_usual = self.is_of_a_client();
                let comment = if is_usual { "" } else { ": catching up\n\n" };
                return Some(comment.to_owned());
            }
        };
        let is_of_one = matches!(self.whose.whose, Whose::Subject(_));
        let mut text = String::new();
        for event in events {
            if is_of_one && event.is_beginning() && event.id > Some(self.last_id) {
                // The id was used again, and whose it is now the table knows.
                self.state = State::Behind;
                break;
            }
            if event.id.is_none_or(|id| id > self.last_id) {
                self.last_id = event.id.unwrap_or(self.last_id);
                text.push_str(&render(&event));
            }
        }
        Some(text)
    }

    fn is_of_a_client(&self) -> bool {
        matches!(self.whose.whose, Whose::Client(_))
    }
}

/// One event in the format of server-sent events (HTML standard 9.2).
fn render(event: &Event) -> String {
    let kind = event.kind.as_str();
    let data = serde_json::to_string(event).unwrap_or_default();
    match (event.id, event.kind) {
        (Some(id), EventType::State | EventType::Attempt) => {
            format!("id: {id}\nevent: {kind}\ndata: {data}\n\n")
        }
        _ => format!("event: {kind}\ndata: {data}\n\n"),
    }
}

/// The wait for an end that a client prefers to an answer at once.
pub struct Wait {
    limit: Duration,
    stopping: watch::Receiver<bool>,
}

impl Wait {
    /// What `Prefer: wait` of the request asks for.
    #[must_use]
    pub fn preferred(request: &HttpRequest) -> Option<Self> {
        let limit = preferred_wait(request)?;
        let streams = request.app_data::<web::Data<Streams>>()?;
        Some(Self {
            limit,
            stopping: streams.stopping.clone(),
        })
    }

    /// Waits until the subject has ended, which `has_ended` looks up, as long as
    /// was asked for, or until the service stops: then what is known is the answer.
    pub async fn until_ended(mut self, db: &Db, subject: Uuid, has_ended: impl AsyncFn() -> bool) {
        // Heard before it is looked at: it may end between the two.
        let mut live = db.subscribe(Interest::EndOf(subject));
        let ended = async {
            while !has_ended().await {
                live.next().await;
            }
        };
        tokio::select! {
            _ = self.stopping.wait_for(|stopping| *stopping) => {}
            _ = tokio::time::timeout(self.limit, ended) => {}
        }
    }
}

/// `GET /v1/events` of a service, for use as a route: all that the request's key may
/// see.
///
/// # Errors
/// When the newest event cannot be read.
pub async fn all_events(
    request: HttpRequest,
    streams: web::Data<Streams>,
    db: web::Data<Db>,
) -> Result<HttpResponse, Answer> {
    let whose = seen_client(&request).map_or(Whose::Everybody, Whose::Client);
    streams.answer(&request, &db, whose, || Box::new(())).await
}
