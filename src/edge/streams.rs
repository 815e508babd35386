//! Event histories, as JSON and as server-sent events.

use std::time::Duration;

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};
use bytes::Bytes;
use futures_util::stream;
use tokio::sync::watch;
use tokio::time::Instant;
use uuid::Uuid;

use super::problem::Answer;
use super::request::{preferred_wait, seen_client};
use crate::contract::{Event, EventType};
use crate::db::Db;
use crate::db::history::{Whose, events_after, newest_event};
use crate::db::hub::{Interest, News, Subscription};

/// A comment so often keeps proxies from closing a quiet stream.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// Events read at once.
const PAGE: usize = 500;

/// Ends every stream when the service stops.
#[derive(Clone)]
pub struct Streams {
    stopping: watch::Receiver<bool>,
}

impl Streams {
    /// Streams that live until `stopping` turns true.
    #[must_use]
    pub fn new(stopping: watch::Receiver<bool>) -> Self {
        Self { stopping }
    }

    /// Answers with these events, as a stream where the request accepts one;
    /// anything but a subject's events always is one. `guard` lives as long as the
    /// stream.
    ///
    /// # Errors
    /// When the history cannot be read.
    pub async fn answer(
        &self,
        request: &HttpRequest,
        db: &Db,
        whose: Whose,
        guard: impl FnOnce() -> Box<dyn std::any::Any>,
    ) -> Result<HttpResponse, Answer> {
        let service = db.service();
        let is_of_one = matches!(whose, Whose::Subject(_));
        if !wants_stream(request) && is_of_one {
            let page = db
                .read(move |conn| events_after(conn, service, &whose, 0, usize::MAX))
                .await?;
            let items = page.events;
            return Ok(
                HttpResponse::Ok().json(serde_json::json!({ "items": items, "next_cursor": null }))
            );
        }
        // Subscribed before the history is read, so that nothing falls
        // between the two.
        let live = db.subscribe(match whose {
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
            stopping: self.stopping.clone(),
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

struct Feed {
    db: Db,
    whose: Whose,
    /// Everything up to it has been sent, or is not to be.
    last_id: i64,
    live: Subscription,
    state: State,
    /// When something was sent last.
    quiet_since: Instant,
    stopping: watch::Receiver<bool>,
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
        loop {
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
                return None;
            }
        }
    }

    /// The next page of the table.
    async fn stored(&mut self) -> Option<String> {
        let (service, whose, after) = (self.db.service(), self.whose.clone(), self.last_id);
        let page = self
            .db
            .read(move |conn| events_after(conn, service, &whose, after, PAGE))
            .await
            .ok()?;
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
        let news = tokio::select! {
            _ = self.stopping.wait_for(|stopping| *stopping) => return None,
            news = tokio::time::timeout_at(self.quiet_since + HEARTBEAT, self.live.next()) => news,
        };
        let events = match news {
            Err(_) => return Some(String::new()),
            Ok(News::Events(events)) => events,
            Ok(News::InTable) => {
                self.state = State::Behind;
                let is_usual = matches!(self.whose, Whose::Client(_));
                let comment = if is_usual { "" } else { ": catching up\n\n" };
                return Some(comment.to_owned());
            }
        };
        let mut text = String::new();
        for event in events {
            if event.id.is_none_or(|id| id > self.last_id) {
                self.last_id = event.id.unwrap_or(self.last_id);
                text.push_str(&render(&event));
            }
        }
        Some(text)
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
