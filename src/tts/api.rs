//! The TTS service's routes.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use actix::{Addr, Recipient};
use actix_web::{HttpRequest, HttpResponse, web};
use hoiam_api::create::Prepared;
use hoiam_api::{CallbackHeaders, CheckState, Code, Create, FieldErrors, Problem, SpeechStatus};
use serde::Deserialize;
use url::Url;
use uuid::Uuid;

use super::messages::DeadlineAdded;
use super::sentences::Sentences;
use super::store::{self, NewSpeech, Row};
use super::voices::Voices;
use super::workers::Workers;
use crate::db::Id;
use crate::delivery::api::DeliveryState;
use crate::delivery::check::{CheckCache, Finding};
use crate::delivery::{CallbackChecker, CheckEnqueued, CheckNow, DeliveryEnqueued};
use crate::files::Cache;
use crate::http::problem::Answer;
use crate::http::request;
use crate::resource::api::{self, Checked, Operations, Resources, Served};
use crate::resource::operations;
use crate::resource::row::{ResourceRow as _, TableRow as _};

/// What the handlers work with.
#[derive(Clone)]
pub struct TtsState {
    /// Its speeches.
    pub resources: Resources<Row>,
    /// What may be used again.
    pub cache: Cache,
    /// What is offered.
    pub voices: Voices,
    /// `tts.pronunciations`.
    pub pronunciations: Arc<BTreeMap<String, hoiam_text::Said>>,
    /// What checks have found lately.
    pub checks: CheckCache,
    /// `limits.audio_bytes`.
    pub audio_bytes: u64,
    /// `callback.check_timeout_s`.
    pub check_timeout: Duration,
    /// Payload of jobs.
    pub workers: Workers,
    /// Payload of deadlines.
    pub deadlines: Recipient<DeadlineAdded>,
    /// Payload of URLs to be checked.
    pub checker: Addr<CallbackChecker>,
    /// Payload of deliveries.
    pub dispatcher: Recipient<DeliveryEnqueued>,
}

/// The routes of the TTS service.
pub fn routes(config: &mut web::ServiceConfig, delivery: DeliveryState) {
    config
        .service(web::resource("/v1/voices").route(web::get().to(voices)))
        .service(web::resource("/v1/callback-checks").route(web::post().to(callback_checks)))
        .service(api::routes::<TtsState>(delivery, |config| {
            config.service(web::resource("/statuses").route(web::post().to(statuses)));
        }));
}

impl Served for TtsState {
    type Row = Row;

    const OPERATIONS: Operations<Row> = Operations {
        accept: store::accept,
        cancel: store::cancel,
        erase: operations::erase,
    };

    fn resources(&self) -> &Resources<Row> {
        &self.resources
    }

    fn check(&self, create: Create, mut errors: FieldErrors) -> Result<Checked<Row>, Problem> {
        let offered = self.voices.offered();
        if offered.catalog.items.is_empty() && errors.is_empty() {
            let detail = offered
                .problem
                .unwrap_or_else(|| "The voices are not known yet; the service is starting.".into());
            return Err(Problem::new(Code::Unavailable, detail));
        }
        let resolved = self.voices.resolve(&create, &mut errors);
        if let Some(resolved) = &resolved {
            create.check_audio_bytes(resolved.sample_rate_hz, self.audio_bytes, &mut errors);
        }
        errors.into_result()?;
        let resolved = resolved
            .ok_or_else(|| Problem::new(Code::Unavailable, "No voice is set for this language."))?;
        let check = match &create.callback_url {
            Some(url) if create.callback_check != Some(false) => {
                match self.checks.known(&create.callback_headers.target(url)) {
                    Some(Finding::Open) => CheckState::Open,
                    _ => CheckState::Pending,
                }
            }
            _ => CheckState::Off,
        };
        let mut prepared = Prepared::from(create);
        prepared.resolve_segments(resolved.segments);
        let extra = NewSpeech {
            resolved_voice: resolved.voice,
            language: resolved.language,
            check,
        };
        Ok((prepared, extra))
    }

    async fn erase(&self, request: &HttpRequest, id: Uuid) -> Result<(), Answer> {
        let text = self.resources.db.read(move |conn| Row::text(conn, id));
        let text = text.await?;
        // The file before the cache, which may be about to link to it.
        let row = api::erase(self, id, || ()).await?;
        // Who erases a speech wants its sound gone, and not only its name; unless
        // he only clears up what is old, and others may still use that sound.
        if request.query_string() != "cache=keep" {
            self.forget_sound(&row, text).await;
        }
        Ok(())
    }

    fn hint_accepted(&self, row: &Row) {
        self.deadlines.do_send(DeadlineAdded(row.deadline_at));
        if row.status() == SpeechStatus::Checking {
            let _ = self.checker.try_send(CheckEnqueued);
        } else {
            self.workers.queued_by(&row.client);
        }
    }

    fn hint_canceled(&self, id: Uuid) {
        self.workers.canceled(id);
        let _ = self.dispatcher.try_send(DeliveryEnqueued);
    }

    fn watch(&self, _: Uuid) -> Box<dyn Any> {
        Box::new(())
    }
}

impl TtsState {
    /// Clears the caches of what was spoken of this text.
    async fn forget_sound(&self, row: &Row, text: Option<String>) {
        let recording = row.recording();
        if let Some(key) = recording.and_then(|recording| recording.cache_key) {
            self.cache.speeches.forget(&key).await;
        }
        if let Some(text) = text {
            let spoken = row.speech(text, &self.pronunciations);
            Sentences::of(&spoken, &self.voices, &self.cache)
                .forget()
                .await;
        }
    }
}

/// How many statuses one question may ask for.
const MAX_IDS: usize = 500;
/// Thrice what those take.
const MAX_IDS_BYTES: usize = 64 << 10;

async fn statuses(
    state: web::Data<TtsState>,
    request: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, Answer> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Ids {
        ids: Vec<Uuid>,
    }
    let body = request::json_body(&request, payload, MAX_IDS_BYTES).await?;
    let Ids { ids } = serde_json::from_slice(&body).map_err(|error| {
        let detail = format!("The body must be {{\"ids\":[UUID, …]}}: {error}.");
        Problem::new(Code::Malformed, detail)
    })?;
    let mut errors = FieldErrors::default();
    if ids.len() > MAX_IDS {
        errors.add(
            "/ids",
            "too_many",
            format!("At most {MAX_IDS} ids at once."),
        );
    }
    errors.into_result()?;
    let ids: Vec<Id> = ids.into_iter().map(Id).collect();
    let Resources { db, view, .. } = &state.resources;
    let (view, client) = (view.clone(), request::seen_client(&request));
    let items = db.read(move |conn| {
        let mut rows = Row::get_many(conn, &ids)?;
        rows.retain(|row| client.as_ref().is_none_or(|client| row.client == *client));
        view.with_deliveries(conn, &rows)
    });
    let items = items.await?;
    Ok(HttpResponse::Ok().json(serde_json::json!({ "items": items })))
}

async fn voices(state: web::Data<TtsState>) -> HttpResponse {
    HttpResponse::Ok().json(state.voices.offered().catalog.as_ref())
}

/// A URL and some headers.
const MAX_CHECK_BYTES: usize = 64 << 10;

async fn callback_checks(
    state: web::Data<TtsState>,
    request: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, Answer> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Body {
        url: String,
        callback_headers: Option<serde_json::Value>,
    }
    let body = request::json_body(&request, payload, MAX_CHECK_BYTES).await?;
    let Body {
        url,
        callback_headers,
    } = serde_json::from_slice(&body).map_err(|error| {
        Problem::new(
            Code::Malformed,
            format!(
                "The body must be {{\"url\":\"…\"}}, with callback_headers if you like: {error}."
            ),
        )
    })?;
    let mut errors = FieldErrors::default();
    request::check_callback_url(&state.resources.policy, Some(&url), &mut errors);
    let headers = callback_headers.map_or_else(CallbackHeaders::default, |given| {
        CallbackHeaders::read(given, "/callback_headers", &mut errors)
    });
    errors.into_result()?;
    let parsed =
        Url::parse(&url).map_err(|error| Problem::new(Code::Malformed, error.to_string()))?;
    let report = state
        .checker
        .send(CheckNow {
            url: parsed,
            headers,
            timeout: state.check_timeout,
        })
        .await
        .map_err(|_| Problem::new(Code::Unavailable, "The checker is restarting. Try again."))?;
    Ok(HttpResponse::Ok().json(serde_json::json!({
        "url": url,
        "check": report.finding.state(),
        "steps": report.steps,
    })))
}
