//! What the Backend says to the TTS service: every call to it is here.

use std::time::Duration;

use bytes::Bytes;
use hoiam_api::client::{CLIENT_HEADER, to_header};
use hoiam_api::{Catalog, Create, Speech};
use hoiam_text::Word;
use hoiam_text::output::MAX_AUDIO_BYTES;
use serde::Deserialize;
use url::Url;
use uuid::Uuid;

use crate::failpoint;
use crate::outbound::OutboundError;
use crate::outbound::client::{Answer, Client, Download, Fetch, Method, Outgoing};

/// The largest answer that is read: 500 statuses of 20 kB each at most.
const ANSWER_LIMIT: usize = 12 * 1024 * 1024;
/// The largest audio file, whatever the TTS service's own `limits.audio_bytes` is.
pub(super) const AUDIO_LIMIT: u64 = MAX_AUDIO_BYTES;
/// The longest silence inside a download.
const IDLE: Duration = Duration::from_secs(15);

/// Talks to one TTS service. One an arbiter.
#[derive(Clone)]
pub struct TtsClient {
    client: Client,
    base: Url,
    api_key: Option<String>,
}

/// Why there is no usable answer.
#[derive(Debug, Clone)]
pub enum TtsError {
    /// No answer came.
    Outbound(OutboundError),
    /// An answer came that cannot be read.
    Unreadable(String),
    /// It answered with a problem.
    Status {
        /// The HTTP status.
        status: u16,
        /// The problem's code, of its first error if it has some.
        code: Option<String>,
        /// The problem's words.
        detail: String,
        /// What Retry-After asks for.
        retry_after: Option<Duration>,
    },
}

impl std::fmt::Display for TtsError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Outbound(error) => error.fmt(f),
            Self::Unreadable(what) => {
                write!(f, "the TTS service answered what cannot be read: {what}")
            }
            Self::Status { status, detail, .. } => {
                write!(f, "the TTS service answered {status}: {detail}")
            }
        }
    }
}

#[derive(Deserialize)]
struct ProblemBody {
    code: Option<String>,
    detail: Option<String>,
    #[serde(default)]
    errors: Vec<FieldErrorBody>,
}

#[derive(Deserialize)]
struct FieldErrorBody {
    code: Option<String>,
}

#[derive(Deserialize)]
struct Items {
    items: Vec<Speech>,
}

/// Read as what they are, so that word times we could not render later are a
/// failed fetch now.
#[derive(Deserialize)]
struct WordTimes {
    words: Vec<Word>,
}

impl TtsClient {
    /// Speaks to the TTS service below `base`.
    #[must_use]
    pub fn new(client: Client, base: Url, api_key: Option<String>) -> Self {
        Self {
            client,
            base,
            api_key,
        }
    }

    /// Hands a speech over, as the work of this client.
    ///
    /// # Errors
    /// [`TtsError`]; the caller decides what may be repeated.
    pub async fn create(
        &self,
        id: Uuid,
        create: &Create,
        client: &str,
    ) -> Result<Speech, TtsError> {
        let body =
            serde_json::to_vec(create).map_err(|error| TtsError::Unreadable(error.to_string()))?;
        failpoint::point(format_args!("send.hand_over.before"));
        let path = format!("v1/speech/{id}");
        let mut headers = self.headers();
        headers.push((CLIENT_HEADER, to_header(client).to_owned()));
        let answer = self
            .send_with(Method::PUT, &path, headers, body, true)
            .await?;
        failpoint::point(format_args!("send.hand_over.after"));
        read(&answer)
    }

    /// Asks for one speech; `None` if it is not known there.
    ///
    /// # Errors
    /// [`TtsError`].
    pub async fn get(&self, id: Uuid) -> Result<Option<Speech>, TtsError> {
        let answer = self
            .send(Method::GET, &format!("v1/speech/{id}"), Vec::new(), true)
            .await?;
        if answer.status == 404 {
            return Ok(None);
        }
        read(&answer).map(Some)
    }

    /// Asks for many speeches at once, at most 500; unknown ones are left out.
    ///
    /// # Errors
    /// [`TtsError`].
    pub async fn statuses(&self, ids: &[Uuid]) -> Result<Vec<Speech>, TtsError> {
        let body = serde_json::json!({ "ids": ids }).to_string().into_bytes();
        let answer = self
            .send(Method::POST, "v1/speech/statuses", body, true)
            .await?;
        read::<Items>(&answer).map(|items| items.items)
    }

    /// Calls a speech off; the answer's status says what came of it.
    ///
    /// # Errors
    /// [`TtsError::Outbound`].
    pub async fn cancel(&self, id: Uuid) -> Result<u16, TtsError> {
        let path = format!("v1/speech/{id}/cancel");
        failpoint::point(format_args!("send.abandon.before"));
        let answer = self.send(Method::POST, &path, Vec::new(), true).await?;
        failpoint::point(format_args!("send.abandon.after"));
        Ok(answer.status)
    }

    /// Has a speech erased; the answer's status says what came of it.
    /// `with_cache`: its sound is not to be used again either. Without, what
    /// others' speeches are made of stays.
    ///
    /// # Errors
    /// [`TtsError::Outbound`].
    pub async fn erase(&self, id: Uuid, with_cache: bool) -> Result<u16, TtsError> {
        let query = if with_cache { "" } else { "?cache=keep" };
        let path = format!("v1/speech/{id}{query}");
        failpoint::point(format_args!("send.erase.before"));
        let answer = self.send(Method::DELETE, &path, Vec::new(), true).await?;
        failpoint::point(format_args!("send.erase.after"));
        Ok(answer.status)
    }

    /// The voices it offers.
    ///
    /// # Errors
    /// [`TtsError`].
    pub async fn voices(&self) -> Result<Catalog, TtsError> {
        read(
            &self
                .send(Method::GET, "v1/voices", Vec::new(), true)
                .await?,
        )
    }

    /// The word times of a speech, as JSON.
    ///
    /// # Errors
    /// [`TtsError`].
    pub async fn words(&self, id: Uuid) -> Result<String, TtsError> {
        let answer = self
            .send(
                Method::GET,
                &format!("v1/speech/{id}/words.json"),
                Vec::new(),
                true,
            )
            .await?;
        let times: WordTimes = read(&answer)?;
        serde_json::to_string(&times.words).map_err(|error| TtsError::Unreadable(error.to_string()))
    }

    /// Starts the download of an audio file.
    ///
    /// # Errors
    /// [`TtsError`], also when the answer is not 200.
    pub async fn audio(&self, id: Uuid, extension: &str) -> Result<Download, TtsError> {
        let download = self
            .download(
                &format!("v1/speech/{id}/audio.{extension}"),
                Some(Duration::from_secs(900)),
            )
            .await?;
        if download.status == 200 {
            return Ok(download);
        }
        Err(TtsError::Status {
            status: download.status,
            code: None,
            detail: "the audio cannot be had".into(),
            retry_after: download.headers.retry_after(None),
        })
    }

    /// Starts to follow the events of a speech.
    ///
    /// # Errors
    /// [`TtsError`].
    pub async fn events(&self, id: Uuid) -> Result<Download, TtsError> {
        self.download(&format!("v1/speech/{id}/events"), None).await
    }

    async fn download(
        &self,
        path: &str,
        total_timeout: Option<Duration>,
    ) -> Result<Download, TtsError> {
        let mut headers = self.headers();
        if total_timeout.is_none() {
            headers.push(("accept", "text/event-stream".into()));
        }
        let fetch = Fetch {
            url: self.url(path)?,
            headers,
            limit: AUDIO_LIMIT,
            idle_timeout: if total_timeout.is_none() {
                Duration::from_secs(60)
            } else {
                IDLE
            },
            total_timeout,
        };
        self.client
            .download(fetch)
            .await
            .map_err(TtsError::Outbound)
    }

    fn url(&self, path: &str) -> Result<Url, TtsError> {
        let base = self.base.as_str().trim_end_matches('/');
        Url::parse(&format!("{base}/{path}"))
            .map_err(|error| TtsError::Unreadable(error.to_string()))
    }

    fn headers(&self) -> Vec<(&'static str, String)> {
        let authorization = self
            .api_key
            .as_ref()
            .map(|key| ("authorization", format!("Bearer {key}")));
        authorization.into_iter().collect()
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Vec<u8>,
        retry_on_stale: bool,
    ) -> Result<Answer, TtsError> {
        let headers = self.headers();
        self.send_with(method, path, headers, body, retry_on_stale)
            .await
    }

    async fn send_with(
        &self,
        method: Method,
        path: &str,
        mut headers: Vec<(&'static str, String)>,
        body: Vec<u8>,
        retry_on_stale: bool,
    ) -> Result<Answer, TtsError> {
        if !body.is_empty() {
            headers.push(("content-type", "application/json".into()));
        }
        let request = Outgoing {
            method,
            url: self.url(path)?,
            headers,
            more_headers: Vec::new(),
            body: Bytes::from(body),
            total_timeout: None,
            answer_limit: ANSWER_LIMIT,
            retry_on_stale,
        };
        self.client.send(request).await.map_err(TtsError::Outbound)
    }
}

fn read<T: serde::de::DeserializeOwned>(answer: &Answer) -> Result<T, TtsError> {
    if (200..300).contains(&answer.status) {
        return serde_json::from_slice(&answer.body)
            .map_err(|error| TtsError::Unreadable(error.to_string()));
    }
    let problem = serde_json::from_slice::<ProblemBody>(&answer.body).ok();
    let (code, detail) = problem.map_or((None, None), |problem| {
        let code = problem.errors.into_iter().find_map(|error| error.code);
        (code.or(problem.code), problem.detail)
    });
    Err(TtsError::Status {
        status: answer.status,
        code,
        detail: detail.unwrap_or_else(|| "without saying why".into()),
        retry_after: answer.headers.retry_after(None),
    })
}
