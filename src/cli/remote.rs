//! A running service, as the commands that speak to one have it: each call is
//! repeated for as long as that can help.

use std::cell::Cell;
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use futures_util::stream::StreamExt as _;
use hoiam_api::Task;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::{Instant, sleep};
use url::Url;
use uuid::Uuid;

use super::error::{ArgError, CliError};
use super::submit::events::EventStream;
use crate::config;
use crate::outbound::{
    Answer, Client, Download, Fetch, Method, OutboundError, Outgoing, Policy, Timeouts, tls,
};

/// How long a service that has answered once may be away before we give up: time
/// enough for a restart.
const PATIENCE: Duration = Duration::from_secs(60);

const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
const TIMEOUTS: Timeouts = Timeouts {
    connect: Duration::from_secs(5),
    total: Duration::from_secs(30),
};

/// A task's JSON is below 20 kB; a problem that lists every error may be longer.
const MAX_ANSWER_BYTES: usize = 1 << 20;

/// The longest silence within a file.
const FILE_IDLE: Duration = Duration::from_secs(30);
/// The longest silence of an event stream; services send comments in between.
const EVENTS_IDLE: Duration = Duration::from_secs(120);
const MAX_EVENTS_BYTES: u64 = 64 << 20;

const API_KEY_VARIABLE: &str = "HOIAM_API_KEY";

/// Which service a command speaks to.
#[derive(Args, Clone, Debug)]
pub struct RemoteArgs {
    /// Where the service is
    #[arg(long, default_value = "http://127.0.0.1:4640", value_parser = base_url)]
    pub url: Url,

    /// API key of the service [also: the variable HOIAM_API_KEY]
    #[arg(long, value_name = "KEY")]
    pub api_key: Option<String>,
}

fn base_url(text: &str) -> Result<Url, ArgError> {
    Ok(config::base_url(text)?)
}

impl RemoteArgs {
    /// The service, which has not been spoken to yet.
    pub fn service(&self) -> Result<Service, CliError> {
        let api_key = self
            .api_key
            .clone()
            .or_else(|| std::env::var(API_KEY_VARIABLE).ok());
        Service::new(self.url.clone(), api_key)
    }

    /// What a call that came to nothing is told with.
    pub fn explain(&self, error: CallError) -> CliError {
        let url = self.url.clone();
        CliError::own(CallFailed { url, error })
    }
}

/// A call that came to nothing, and where.
#[derive(Debug, thiserror::Error)]
#[error("{url}: {error}")]
struct CallFailed {
    url: Url,
    error: CallError,
}

/// Why a call came to nothing.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CallError {
    /// Nobody has ever answered at that URL.
    #[error("{0} Is the service running there? Start it with: hoiam serve")]
    Unreachable(#[source] OutboundError),
    /// The service asks for an API key, or for another one.
    #[error("{} Give a key with --api-key or HOIAM_API_KEY", .0.detail)]
    NotAllowed(Refusal),
    /// The service was there before and has not been for a while.
    #[error(
        "the service has been away for {patience} s: {0} What was accepted goes on when it returns",
        patience = PATIENCE.as_secs()
    )]
    Gone(#[source] OutboundError),
    /// The service refused the request, for good or for too long.
    #[error("{}: {}", .0.code, .0.detail)]
    Refused(Refusal),
    /// What answers there is no such hoiam service.
    #[error("this is not such a service of hoiam: {0}")]
    Strange(String),
}

/// A problem answer (RFC 9457), read tolerantly.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// Our stable code, else the HTTP status.
    pub code: String,
    /// What is wrong, with every error that was named.
    pub detail: String,
}

impl CallError {
    /// A stable word for programs.
    pub fn code(&self) -> &str {
        match self {
            Self::Unreachable(error) | Self::Gone(error) => error.code(),
            Self::NotAllowed(refusal) | Self::Refused(refusal) => &refusal.code,
            Self::Strange(_) => "not_hoiam",
        }
    }

    /// Whether every other task would meet the same error.
    pub fn concerns_all(&self) -> bool {
        !matches!(self, Self::Refused(_))
    }
}

/// A service at one URL.
pub struct Service {
    client: Client,
    base: Url,
    authorization: Option<String>,
    /// Whether it has ever answered.
    reached: Cell<bool>,
}

impl Service {
    /// A service under `base`, whose path ends in `/`.
    fn new(base: Url, api_key: Option<String>) -> Result<Self, CliError> {
        let tls = tls::system_roots()?;
        Ok(Self {
            client: Client::new(Policy::trusted(), TIMEOUTS, tls),
            base,
            authorization: api_key.map(|key| format!("Bearer {key}")),
            reached: Cell::new(false),
        })
    }

    /// Creates the task of this id, or finds that it is there already: the id is
    /// ours, so a lost answer costs no second task.
    pub async fn submit(&self, id: Uuid, body: Value) -> Result<Task, CallError> {
        let url = self.url(&format!("v1/tasks/{id}"))?;
        let mut headers = self.headers();
        headers.push(("content-type", "application/json".to_owned()));
        self.json(Outgoing {
            headers,
            ..request(Method::PUT, url, body.to_string())
        })
        .await
    }

    /// The task as it is now.
    pub async fn get(&self, id: Uuid) -> Result<Task, CallError> {
        self.ask(Method::GET, &format!("v1/tasks/{id}")).await
    }

    /// Calls a route, such as `v1/tasks/deliveries?status=pending`, that takes
    /// no body and may be called again.
    pub async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
    ) -> Result<T, CallError> {
        let url = self.url(path)?;
        self.json(Outgoing {
            headers: self.headers(),
            ..request(method, url, String::new())
        })
        .await
    }

    /// The task's events from now on; `None` when they are not to be had, which is
    /// no error: the task can be asked for instead.
    pub async fn events(&self, id: Uuid) -> Option<EventStream> {
        let url = self.url(&format!("v1/tasks/{id}/events")).ok()?;
        let mut headers = self.headers();
        headers.push(("accept", "text/event-stream".to_owned()));
        let fetch = Fetch {
            url,
            headers,
            limit: MAX_EVENTS_BYTES,
            idle_timeout: EVENTS_IDLE,
            total_timeout: None,
        };
        let answer = self.client.download(fetch).await.ok()?;
        let is_stream = answer
            .headers
            .get("content-type")?
            .starts_with("text/event-stream");
        (answer.status == 200 && is_stream).then(|| EventStream::new(answer.body))
    }

    /// One of the files of a completed task: `audio.mp3`, `subtitles.srt` and so on.
    pub async fn file(&self, id: Uuid, name: &str, limit: u64) -> Result<Vec<u8>, CallError> {
        let url = self.url(&format!("v1/tasks/{id}/{name}"))?;
        self.repeat(|| self.file_once(url.clone(), limit)).await
    }

    async fn file_once(&self, url: Url, limit: u64) -> Result<Outcome<Vec<u8>>, OutboundError> {
        let fetch = Fetch {
            url,
            headers: self.headers(),
            limit,
            idle_timeout: FILE_IDLE,
            total_timeout: None,
        };
        let Download {
            status,
            headers,
            mut body,
        } = self.client.download(fetch).await?;
        let mut bytes = Vec::new();
        while let Some(chunk) = body.next().await {
            bytes.extend_from_slice(&chunk?);
        }
        Ok(match status {
            200 => Outcome::Done(bytes),
            _ => refused(status, &bytes, headers.retry_after(None)),
        })
    }

    async fn json<T: DeserializeOwned>(&self, request: Outgoing) -> Result<T, CallError> {
        let body = self
            .repeat(|| async {
                let Answer {
                    status,
                    headers,
                    body,
                    ..
                } = self.client.send(request.clone()).await?;
                Ok(match status {
                    200 | 202 => Outcome::Done(body),
                    _ => refused(status, &body, headers.retry_after(None)),
                })
            })
            .await?;
        serde_json::from_slice(&body).map_err(|error| CallError::Strange(error.to_string()))
    }

    /// Makes a call until it is done, refused for good, or patience is at its end.
    async fn repeat<T, Call>(&self, call: impl Fn() -> Call) -> Result<T, CallError>
    where
        Call: Future<Output = Result<Outcome<T>, OutboundError>>,
    {
        let give_up = Instant::now() + PATIENCE;
        let mut pause = FIRST_PAUSE;
        loop {
            let outcome = call().await;
            let tired = Instant::now() >= give_up;
            match outcome {
                Ok(Outcome::Done(value)) => {
                    self.reached.set(true);
                    return Ok(value);
                }
                Ok(Outcome::NotAllowed(refusal)) => return Err(CallError::NotAllowed(refusal)),
                Ok(Outcome::Final(refusal)) => {
                    self.reached.set(true);
                    return Err(CallError::Refused(refusal));
                }
                Ok(Outcome::Later(refusal, _)) if tired => return Err(CallError::Refused(refusal)),
                Ok(Outcome::Later(_, wait)) => {
                    self.reached.set(true);
                    pause = pause.max(wait.unwrap_or_default());
                }
                Err(error) if !self.reached.get() => return Err(CallError::Unreachable(error)),
                Err(error) if tired => return Err(CallError::Gone(error)),
                Err(_) => {}
            }
            sleep(pause.min(give_up.saturating_duration_since(Instant::now()))).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    fn url(&self, path: &str) -> Result<Url, CallError> {
        self.base
            .join(path)
            .map_err(|error| CallError::Strange(error.to_string()))
    }

    fn headers(&self) -> Vec<(&'static str, String)> {
        self.authorization
            .iter()
            .map(|value| ("authorization", value.clone()))
            .collect()
    }
}

/// What an answer means for the call.
enum Outcome<T> {
    Done(T),
    /// 401 or 403.
    NotAllowed(Refusal),
    /// Repeating cannot help.
    Final(Refusal),
    /// It can, after this pause if one was asked for.
    Later(Refusal, Option<Duration>),
}

fn request(method: Method, url: Url, body: String) -> Outgoing {
    Outgoing {
        method,
        url,
        headers: Vec::new(),
        more_headers: Vec::new(),
        body: Bytes::from(body),
        total_timeout: None,
        answer_limit: MAX_ANSWER_BYTES,
        // Every request here may be repeated: the ids are in their paths.
        retry_on_stale: true,
    }
}

fn refused<T>(status: u16, body: &[u8], retry_after: Option<Duration>) -> Outcome<T> {
    let refusal = read_problem(status, body);
    match status {
        401 | 403 => Outcome::NotAllowed(refusal),
        429 | 500..=599 => Outcome::Later(refusal, retry_after),
        _ => Outcome::Final(refusal),
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ProblemBody {
    code: Option<String>,
    detail: Option<String>,
    errors: Vec<FieldErrorBody>,
}

#[derive(Deserialize)]
struct FieldErrorBody {
    #[serde(default)]
    detail: String,
    #[serde(default)]
    suggestions: Vec<String>,
}

fn read_problem(status: u16, body: &[u8]) -> Refusal {
    let problem: ProblemBody = serde_json::from_slice(body).unwrap_or_default();
    let mut detail = problem
        .detail
        .unwrap_or_else(|| format!("The service answered {status}."));
    for error in problem.errors {
        detail += &format!(" {}", error.detail);
        if !error.suggestions.is_empty() {
            detail += &format!(" Did you mean {}?", error.suggestions.join(" or "));
        }
    }
    Refusal {
        code: problem.code.unwrap_or_else(|| format!("http_{status}")),
        detail,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_told_with_every_error_and_suggestion() {
        let body = br#"{"code":"invalid","detail":"Two faults.","errors":[
            {"pointer":"/voice","detail":"There is no voice `espek/vi`.","suggestions":["espeak/vi"]},
            {"pointer":"/speed","detail":"`speed` must be between 0.5 and 2.0."}]}"#;
        let refusal = read_problem(422, body);
        assert_eq!(refusal.code, "invalid");
        assert_eq!(
            refusal.detail,
            "Two faults. There is no voice `espek/vi`. Did you mean espeak/vi? \
             `speed` must be between 0.5 and 2.0."
        );
    }

    #[test]
    fn an_answer_that_is_no_problem_is_named_by_its_status() {
        let refusal = read_problem(404, b"<html>not here</html>");
        assert_eq!(refusal.code, "http_404");
    }
}
