//! One attempt of one delivery: sign, send, and say what came of it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use hoiam_api::callback_headers::MAX_VALUE_BYTES;
use hoiam_api::signature::sign;
use hoiam_api::{CallbackHeaders, DeliveryAttempt, rfc3339};
use hoiam_supervision::clock::{Clock, Millis};
use hoiam_text::SaturatingFrom as _;
use serde::Serialize;
use serde_json::value::RawValue;
use url::Url;

use super::delivery::Outcome;
use super::receivers::{Locate, OriginSignal};
use super::store::Row;
use crate::failpoint;
use crate::outbound::OutboundError;
use crate::outbound::client::{Answer, Client, Method, Outgoing};
use crate::secrets::CallbackSecrets;

/// How much of an answer is kept in the attempt log.
const KEPT_OF_ANSWER: usize = 512;

/// How much of it is read, so that a secret which begins within what is kept is seen
/// whole.
const READ_OF_ANSWER: usize = KEPT_OF_ANSWER + MAX_VALUE_BYTES;

/// The phase of an attempt that was not made: its address must not be called.
const GUARD: &str = "guard";

/// The phase of an attempt that failed on our own side, by a panic.
const INTERNAL: &str = "internal";

/// The body of a callback.
#[derive(Serialize)]
struct Body<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    timestamp: String,
    data: &'a RawValue,
}

/// Sends signed requests to callback URLs. One an arbiter.
#[derive(Clone)]
pub struct Sender {
    /// Guarded.
    pub client: Client,
    /// The first two that are in force sign.
    pub secrets: CallbackSecrets,
    /// `server.public_url`'s host: who we say we are.
    pub origin: String,
    /// For the time of each signature.
    pub clock: Clock,
    /// Sent beside our own: `callback.default_headers`, and what the receiver
    /// wants.
    pub headers: CallbackHeaders,
}

impl Sender {
    /// Where an origin led when it was last connected with.
    #[must_use]
    pub fn locate(&self) -> Locate {
        let networks = self.client.networks();
        Arc::new(move |origin| networks.of(origin))
    }

    /// One that sends a receiver's own headers too.
    #[must_use]
    pub fn with(&self, own: &CallbackHeaders) -> Self {
        Self {
            headers: own.over(&self.headers),
            ..self.clone()
        }
    }

    /// A signed POST. The status is the answer: whatever becomes of its body, a
    /// receiver that has said 200 has the callback.
    ///
    /// # Errors
    /// What kept it from being answered.
    pub async fn post(
        &self,
        url: Url,
        webhook_id: &str,
        body: Vec<u8>,
        total_timeout: Option<Duration>,
    ) -> Result<Answer, OutboundError> {
        let timestamp = self.clock.wall().timestamp();
        let headers = vec![
            ("content-type", "application/json".to_owned()),
            ("webhook-id", webhook_id.to_owned()),
            ("webhook-timestamp", timestamp.to_string()),
            (
                "webhook-signature",
                sign(&self.secrets.in_force(), webhook_id, timestamp, &body),
            ),
            ("webhook-request-origin", self.origin.clone()),
        ];
        self.client
            .send_for_head(Outgoing {
                method: Method::POST,
                url,
                headers,
                more_headers: self.headers.to_vec(),
                body: Bytes::from(body),
                total_timeout,
                answer_limit: READ_OF_ANSWER,
                // The receiver tells repeats apart by their webhook-id.
                retry_on_stale: true,
            })
            .await
    }

    /// What is kept of an answer. Receivers echo what they were sent, and the headers
    /// that are a receiver's own are its secrets.
    fn kept_of(&self, body: &[u8]) -> String {
        let text = String::from_utf8_lossy(body).replace('\0', "");
        let hidden = self.headers.hide_in(text);
        let end = hidden.floor_char_boundary(KEPT_OF_ANSWER);
        hidden[..end].to_owned()
    }

    /// Tries a delivery once. `data` is the JSON of what it tells of.
    pub async fn attempt(&self, row: &Row, data: &RawValue) -> (DeliveryAttempt, Outcome) {
        let began = self.clock.now();
        let body = Body {
            kind: &row.kind,
            timestamp: rfc3339(row.created_at),
            data,
        };
        let webhook_id = format!("msg_{}", row.id.0);
        failpoint::point(format_args!("send.{}.before", row.kind));
        let answer = match Url::parse(&row.url) {
            Ok(url) => {
                self.post(
                    url,
                    &webhook_id,
                    serde_json::to_vec(&body).unwrap_or_default(),
                    None,
                )
                .await
            }
            Err(_) => Err(OutboundError::InvalidRequest("the URL cannot be read")),
        };
        failpoint::point(format_args!("send.{}.after", row.kind));
        let duration_ms = u64::try_from(self.clock.now() - began).unwrap_or(0);
        let number = u32::try_from(row.attempts).unwrap_or(0) + 1;
        let told = |phase: &str, status, body| DeliveryAttempt {
            number,
            at: rfc3339(began),
            phase: phase.to_owned(),
            status,
            body,
            duration_ms,
        };
        match answer {
            Ok(answer) => {
                let kept = self.kept_of(&answer.body);
                let attempt = told(
                    "answer",
                    Some(answer.status),
                    (!kept.is_empty()).then_some(kept),
                );
                (attempt, outcome_of(&answer, self.clock.wall()))
            }
            Err(error @ OutboundError::Forbidden(_)) => {
                (told(GUARD, None, Some(error.to_string())), Outcome::Aborted)
            }
            Err(error) => {
                let attempt = told(
                    error.phase().as_str(),
                    error.status(),
                    Some(error.to_string()),
                );
                (attempt, Outcome::Failed { retry_after: None })
            }
        }
    }
}

/// An attempt that has panicked before there was an answer, with the reason.
pub fn not_made(row: &Row, at: Millis, reason: String) -> (DeliveryAttempt, Outcome) {
    let attempt = DeliveryAttempt {
        number: u32::try_from(row.attempts).unwrap_or(0) + 1,
        at: rfc3339(at),
        phase: INTERNAL.to_owned(),
        status: None,
        body: Some(reason),
        duration_ms: 0,
    };
    (attempt, Outcome::Failed { retry_after: None })
}

/// What an attempt says of the whole receiver. 502, 503 and 504 come from
/// somebody in front of it, 429 is meant for the caller and not for the URL.
#[must_use]
pub fn news_of(attempt: &DeliveryAttempt, outcome: Outcome) -> OriginSignal {
    match attempt.status {
        None if [GUARD, INTERNAL].contains(&attempt.phase.as_str()) => OriginSignal::None,
        None | Some(429 | 502..=504) => {
            let asked = match outcome {
                Outcome::Failed { retry_after } => retry_after.unwrap_or_default(),
                Outcome::Delivered | Outcome::Aborted => Duration::ZERO,
            };
            OriginSignal::Fails {
                asked_ms: i64::saturating_from(asked.as_millis()),
            }
        }
        Some(_) => OriginSignal::Answers,
    }
}

fn outcome_of(answer: &Answer, wall: DateTime<Utc>) -> Outcome {
    match answer.status {
        200..=299 => Outcome::Delivered,
        410 => Outcome::Aborted,
        _ => Outcome::Failed {
            retry_after: answer.headers.retry_after(Some(wall)),
        },
    }
}
