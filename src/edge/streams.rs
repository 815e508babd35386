//! Event histories, as JSON and as server-sent events.

use std::time::Duration;

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};
use bytes::Bytes;
use futures_util::stream;
use tokio::sync::{broadcast, watch};
use uuid::Uuid;

use super::problem::Answer;
use super::request::preferred_wait;
use crate::contract::{Event, EventType};
use crate::db::Db;
use crate::db::history::{events_after, newest_event};

/// A comment so often keeps proxies from closing a quiet stream.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// Events read at once.
const PAGE: i64 = 500;

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

    /// Answers with a subject's events, or with the feed of all where
    /// `subject` is `None`; as a stream where the request accepts one.
    /// `guard` lives as long as the stream.
    ///
    /// # Errors
    /// When the history cannot be read.
    pub async fn answer(
        &self,
        request: &HttpRequest,
        db: &Db,
        subject: Option<Uuid>,
        guard: impl FnOnce() -> Box<dyn std::any::Any>,
    ) -> Result<HttpResponse, Answer> {
        let service = db.service();
        if !wants_stream(request) && subject.is_some() {
            let events = db
                .read(move |conn| events_after(conn, service, subject, 0, i64::MAX))
                .await?;
            let items: Vec<Event> = events.into_iter().map(|(_, event)| event).collect();
            return Ok(
                HttpResponse::Ok().json(serde_json::json!({ "items": items, "next_cursor": null }))
            );
        }
        // Subscribed before the history is read, so that nothing falls
        // between the two.
        let live = db.subscribe();
        let last = request
            .headers()
            .get("last-event-id")
            .and_then(|id| id.to_str().ok()?.parse::<i64>().ok());
        let last_id = match (last, subject) {
            (Some(last), _) => last,
            (None, Some(_)) => 0,
            (None, None) => db.read(newest_event).await?,
        };
        let feed = Feed {
            db: db.clone(),
            subject,
            last_id,
            live,
            behind: true,
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
    subject: Option<Uuid>,
    last_id: i64,
    live: broadcast::Receiver<(Uuid, Event)>,
    /// The table has events that the live channel will not bring.
    behind: bool,
    stopping: watch::Receiver<bool>,
    _guard: Box<dyn std::any::Any>,
}

impl Feed {
    async fn next(mut self) -> Option<(Result<Bytes, actix_web::Error>, Self)> {
        if self.behind {
            let (service, subject, after) = (self.db.service(), self.subject, self.last_id);
            let read = self
                .db
                .read(move |conn| events_after(conn, service, subject, after, PAGE))
                .await
                .ok()?;
            self.behind = i64::try_from(read.len()).unwrap_or(0) == PAGE;
            let text: String = read.iter().map(|(_, event)| render(event)).collect();
            self.last_id = read
                .last()
                .and_then(|(_, event)| event.id)
                .unwrap_or(self.last_id);
            return Some((Ok(Bytes::from(format!(": hoiam\n\n{text}"))), self));
        }
        loop {
            let received = tokio::select! {
                _ = self.stopping.wait_for(|stopping| *stopping) => return None,
                received = tokio::time::timeout(HEARTBEAT, self.live.recv()) => received,
            };
            let text = match received {
                Err(_) => ": still here\n\n".to_owned(),
                Ok(Err(broadcast::error::RecvError::Closed)) => return None,
                Ok(Err(broadcast::error::RecvError::Lagged(_))) => {
                    self.behind = true;
                    String::from(": catching up\n\n")
                }
                Ok(Ok((subject, event))) => {
                    let is_old = event.id.is_some_and(|id| id <= self.last_id);
                    if is_old || self.subject.is_some_and(|wanted| wanted != subject) {
                        continue;
                    }
                    self.last_id = event.id.unwrap_or(self.last_id);
                    render(&event)
                }
            };
            return Some((Ok(Bytes::from(text)), self));
        }
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
    live: broadcast::Receiver<(Uuid, Event)>,
    limit: Duration,
    stopping: watch::Receiver<bool>,
}

impl Wait {
    /// What `Prefer: wait` of the request asks for. It hears everything from
    /// now on, so it is made before the commit whose end it waits for.
    #[must_use]
    pub fn preferred(request: &HttpRequest, db: &Db) -> Option<Self> {
        let limit = preferred_wait(request)?;
        let streams = request.app_data::<web::Data<Streams>>()?;
        Some(Self {
            live: db.subscribe(),
            limit,
            stopping: streams.stopping.clone(),
        })
    }

    /// Waits until the subject has ended, as long as was asked for, or until
    /// the service stops: then what is known is the answer.
    pub async fn until_ended(self, subject: Uuid, ended: impl Fn(&str) -> bool) {
        let Self {
            live,
            limit,
            mut stopping,
        } = self;
        tokio::select! {
            _ = stopping.wait_for(|stopping| *stopping) => {}
            _ = tokio::time::timeout(limit, end_of(live, subject, ended)) => {}
        }
    }
}

async fn end_of(
    mut live: broadcast::Receiver<(Uuid, Event)>,
    subject: Uuid,
    ended: impl Fn(&str) -> bool,
) {
    loop {
        match live.recv().await {
            Ok((id, event)) if id == subject && event.kind == EventType::State => {
                if event.to.as_deref().is_some_and(&ended) {
                    return;
                }
            }
            Ok(_) => {}
            // The caller looks at the row itself after this.
            Err(_) => return,
        }
    }
}

/// `GET /v1/events` of a service, for use as a route.
///
/// # Errors
/// When the newest event cannot be read.
pub async fn all_events(
    request: HttpRequest,
    streams: web::Data<Streams>,
    db: web::Data<Db>,
) -> Result<HttpResponse, Answer> {
    streams.answer(&request, &db, None, || Box::new(())).await
}
