//! The callback check: is the URL a receiver at all? Asked before the heavy
//! work, so that nothing expensive is done for an answer that cannot be given.
//!
//! First `OPTIONS` (CloudEvents HTTP 1.1 Web Hooks 4), never GET. Any status
//! but 404 and 410 is open. Those two prove nothing yet, since many frameworks
//! answer them to OPTIONS on a POST-only route; nor does an OPTIONS that was sent
//! and not answered, since proxies are set to drop what is not GET or POST. A
//! signed POST `callback.check` decides then. It is sent once more, five seconds
//! later, where it is answered by 404 or 410 itself.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use hoiam_api::{CheckState, DeliveryType, Failure, rfc3339};
use hoiam_supervision::clock::{Clock, Millis};
use serde::Serialize;
use tokio::sync::Semaphore;
use url::Url;

use super::attempt::Sender;
use crate::failpoint;
use crate::locks::lock;
use crate::outbound::OutboundError;
use crate::outbound::client::{Method, Outgoing};

/// The wait before the second POST: long enough for a deployment's gap.
const SECOND_LOOK: Duration = Duration::from_secs(5);
/// How long a URL is taken to be open without another look.
const OPEN_FOR_MS: Millis = 60_000;
/// How long a URL is taken to be no receiver without another look.
const NOT_FOUND_FOR_MS: Millis = 5_000;
/// Verdicts kept at most; a service that is given ever new URLs must not grow.
const MAX_KEPT: usize = 10_000;

/// What a callback check has decided for the jobs that wait for it.
#[derive(Debug, Clone)]
pub enum Verdict {
    /// The jobs may be spoken.
    Open,
    /// The jobs fail.
    Closed {
        /// What `callback.check` says from now on.
        check: CheckState,
        /// Why.
        failure: Failure,
    },
}

/// What a probe has found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// Something answers there that may be a receiver.
    Open,
    /// 404 or 410 to both POSTs.
    NotFound {
        /// The last status.
        status: u16,
    },
    /// The guard refuses every address of the host.
    Forbidden(OutboundError),
    /// No connection, or no answer to a POST.
    Unreachable(OutboundError),
}

impl Finding {
    /// The verdict, or `None` where the jobs have to wait.
    #[must_use]
    pub fn verdict(&self) -> Option<Verdict> {
        match self {
            Self::Open => Some(Verdict::Open),
            Self::NotFound { status } => Some(Verdict::Closed {
                check: CheckState::NotFound,
                failure: Failure::permanent(
                    "callback_not_found",
                    format!(
                        "The callback_url answered {status} to two signed POSTs, so nothing was spoken for it. \
                         Correct the URL, or send callback_check: false."
                    ),
                ),
            }),
            Self::Forbidden(error) => Some(Verdict::Closed {
                check: CheckState::Forbidden,
                failure: Failure::permanent("callback_forbidden", error.to_string()),
            }),
            Self::Unreachable(_) => None,
        }
    }

    /// The word that `callback.check` and the answers use.
    #[must_use]
    pub fn state(&self) -> CheckState {
        match self {
            Self::Open => CheckState::Open,
            Self::NotFound { .. } => CheckState::NotFound,
            Self::Forbidden(_) => CheckState::Forbidden,
            Self::Unreachable(_) => CheckState::Unreachable,
        }
    }
}

/// One thing that a probe did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Step {
    /// `OPTIONS`, `POST callback.check`, `wait`.
    pub step: String,
    /// What was answered, if something was.
    pub status: Option<u16>,
    /// In words.
    pub detail: String,
    /// How long it took.
    pub duration_ms: u64,
}

/// Everything a probe did and what it found.
#[derive(Debug, Clone)]
pub struct Report {
    /// In order.
    pub steps: Vec<Step>,
    /// The outcome.
    pub finding: Finding,
}

/// Asks a URL whether it is a receiver. `slots` bounds the exchanges under
/// way; the wait between two looks holds none, and `waits` is called when it begins.
pub async fn probe(
    sender: &Sender,
    url: &Url,
    timeout: Duration,
    slots: Slots<'_>,
    waits: impl FnOnce(),
) -> Report {
    let mut probe = Probe {
        sender,
        url,
        timeout,
        slots,
        steps: Vec::new(),
    };
    let finding = probe.run(waits).await;
    Report {
        steps: probe.steps,
        finding,
    }
}

/// The same for somebody who asks for this one check, and waits for it.
pub async fn probe_alone(sender: &Sender, url: &Url, timeout: Duration) -> Report {
    let [of_one, of_client, of_second_looks] = [(); 3].map(|()| Semaphore::new(1));
    let slots = Slots {
        of_one: &of_one,
        of_client: &of_client,
        of_second_looks: &of_second_looks,
    };
    probe(sender, url, timeout, slots, || {}).await
}

/// What bounds the exchanges under way.
#[derive(Clone, Copy)]
pub struct Slots<'a> {
    /// Those of one client with one origin.
    pub of_one: &'a Semaphore,
    /// Second looks of one client, fewer than all.
    pub of_client: &'a Semaphore,
    /// Second looks at all origins: who waits for his makes room for others, and so
    /// any number of them may come to an end at the same time.
    pub of_second_looks: &'a Semaphore,
}

struct Probe<'a> {
    sender: &'a Sender,
    url: &'a Url,
    timeout: Duration,
    slots: Slots<'a>,
    steps: Vec<Step>,
}

impl Probe<'_> {
    async fn run(&mut self, waits: impl FnOnce()) -> Finding {
        let mut waits = Some(waits);
        for exchange in [Exchange::Options, Exchange::FirstPost, Exchange::SecondPost] {
            if exchange == Exchange::SecondPost {
                if let Some(waits) = waits.take() {
                    waits();
                }
                self.wait().await;
            }
            match self.exchange(exchange).await {
                Ok(404 | 410) if exchange != Exchange::SecondPost => {}
                Ok(status @ (404 | 410)) => return Finding::NotFound { status },
                Ok(_) => return Finding::Open,
                Err(error @ OutboundError::Forbidden(_)) => return Finding::Forbidden(error),
                Err(error) if exchange == Exchange::Options && error.was_sent() => {}
                Err(error) => return Finding::Unreachable(error),
            }
        }
        Finding::Open
    }

    async fn wait(&mut self) {
        let clock = &self.sender.clock;
        let ms = i64::try_from(SECOND_LOOK.as_millis()).unwrap_or(5000);
        clock.sleep_until(clock.now() + ms).await;
        self.steps.push(Step {
            step: "wait".into(),
            status: None,
            detail: "A second look, in case the receiver was just being replaced.".into(),
            duration_ms: 5000,
        });
    }

    async fn exchange(&mut self, exchange: Exchange) -> Result<u16, OutboundError> {
        // The semaphores are never closed.
        let _slot = self.slots.of_one.acquire().await;
        let _second = match exchange {
            Exchange::Options | Exchange::FirstPost => None,
            Exchange::SecondPost => {
                let of_client = self.slots.of_client.acquire().await.ok();
                let of_all = self.slots.of_second_looks.acquire().await.ok();
                Some((of_client, of_all))
            }
        };
        let clock = &self.sender.clock;
        let began = clock.now();
        failpoint::point(format_args!("send.check.before"));
        let answer = match exchange {
            Exchange::Options => self.options().await,
            Exchange::FirstPost | Exchange::SecondPost => self.post().await,
        };
        failpoint::point(format_args!("send.check.after"));
        let (status, detail) = match &answer {
            Ok(status @ (404 | 410)) => (Some(*status), format!("answered {status}")),
            Ok(status) => (
                Some(*status),
                format!("answered {status}: something is there"),
            ),
            Err(error) => (error.status(), error.to_string()),
        };
        self.steps.push(Step {
            step: exchange.as_str().to_owned(),
            status,
            detail,
            duration_ms: u64::try_from(clock.now() - began).unwrap_or(0),
        });
        answer
    }

    async fn options(&self) -> Result<u16, OutboundError> {
        let request = Outgoing {
            method: Method::OPTIONS,
            url: self.url.clone(),
            headers: vec![("webhook-request-origin", self.sender.origin.clone())],
            more_headers: self.sender.headers.to_vec(),
            body: Bytes::new(),
            total_timeout: Some(self.timeout),
            answer_limit: 0,
            retry_on_stale: true,
        };
        self.sender
            .client
            .send_for_head(request)
            .await
            .map(|answer| answer.status)
    }

    async fn post(&self) -> Result<u16, OutboundError> {
        let body = serde_json::json!({
            "type": DeliveryType::CallbackCheck.as_str(),
            "timestamp": rfc3339(self.sender.clock.now()),
            "data": {},
        });
        let body = serde_json::to_vec(&body).unwrap_or_default();
        let webhook_id = format!("msg_{}", uuid::Uuid::now_v7());
        let answer = self
            .sender
            .post(self.url.clone(), &webhook_id, body, Some(self.timeout))
            .await?;
        Ok(answer.status)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Exchange {
    Options,
    FirstPost,
    SecondPost,
}

impl Exchange {
    fn as_str(self) -> &'static str {
        match self {
            Self::Options => "OPTIONS",
            Self::FirstPost | Self::SecondPost => "POST callback.check",
        }
    }
}

/// What checks have found lately, shared by the edge and the dispatcher.
#[derive(Clone)]
pub struct CheckCache {
    clock: Clock,
    kept: Arc<Mutex<HashMap<String, (Finding, Millis)>>>,
}

impl CheckCache {
    /// An empty cache.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        Self {
            clock,
            kept: Arc::default(),
        }
    }

    /// What is known of this URL without asking.
    #[must_use]
    pub fn known(&self, url: &str) -> Option<Finding> {
        let now = self.clock.now();
        let kept = self.kept();
        [without_query(url), url.to_owned()].iter().find_map(|key| {
            kept.get(key)
                .filter(|(_, until)| *until > now)
                .map(|(finding, _)| finding.clone())
        })
    }

    /// Keeps a finding: `open` by URL without its query, since receivers put
    /// ids there; not found by the whole URL, since a query may choose the route.
    pub fn note(&self, url: &str, finding: &Finding) {
        let now = self.clock.now();
        let (key, until) = match finding {
            Finding::Open => (without_query(url), now + OPEN_FOR_MS),
            Finding::NotFound { .. } => (url.to_owned(), now + NOT_FOUND_FOR_MS),
            Finding::Forbidden(_) | Finding::Unreachable(_) => return,
        };
        let mut kept = self.kept();
        if kept.len() >= MAX_KEPT {
            kept.retain(|_, (_, until)| *until > now);
            if kept.len() >= MAX_KEPT {
                kept.clear();
            }
        }
        kept.insert(key, (finding.clone(), until));
    }

    fn kept(&self) -> MutexGuard<'_, HashMap<String, (Finding, Millis)>> {
        lock(&self.kept)
    }
}

/// What is open with one receiver's headers is not so with another's.
fn without_query(target: &str) -> String {
    let (url, digest) = target.split_once('#').unwrap_or((target, ""));
    let url = url.split('?').next().unwrap_or(url);
    format!("{url}#{digest}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_is_known_whatever_the_query_and_only_for_a_minute() {
        let (clock, hand) = Clock::manual(0);
        let cache = CheckCache::new(clock);
        cache.note("http://a/hook?id=1", &Finding::Open);
        assert_eq!(cache.known("http://a/hook?id=2"), Some(Finding::Open));
        assert_eq!(cache.known("http://a/other"), None);
        hand.advance(Duration::from_secs(61));
        assert_eq!(cache.known("http://a/hook?id=2"), None);
    }

    #[test]
    fn not_found_is_known_for_that_very_url_and_shortly() {
        let (clock, hand) = Clock::manual(0);
        let cache = CheckCache::new(clock);
        cache.note("http://a/hook?id=1", &Finding::NotFound { status: 404 });
        assert_eq!(cache.known("http://a/hook?id=2"), None);
        assert_eq!(
            cache.known("http://a/hook?id=1"),
            Some(Finding::NotFound { status: 404 })
        );
        hand.advance(Duration::from_secs(6));
        assert_eq!(cache.known("http://a/hook?id=1"), None);
    }

    #[test]
    fn the_cache_does_not_grow_without_bound() {
        let (clock, _hand) = Clock::manual(0);
        let cache = CheckCache::new(clock);
        for number in 0..2 * MAX_KEPT {
            cache.note(&format!("http://a/{number}"), &Finding::Open);
        }
        assert!(cache.kept().len() <= MAX_KEPT);
    }
}
