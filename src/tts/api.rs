//! The TTS service's routes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use actix::{Addr, Recipient};
use actix_web::{HttpRequest, HttpResponse, web};
use hoiam_api::create::{Prepared, Rules};
use hoiam_api::{
    CallbackHeaders, CheckState, Code, Create, FieldErrors, Page, Problem, Service, Speech,
    SpeechStatus,
};
use serde::Deserialize;
use url::Url;
use uuid::Uuid;

use super::messages::DeadlineAdded;
use super::sentences::Sentences;
use super::store::{self, Accepted, Ended, New};
use super::view::View;
use super::voices::Voices;
use super::workers::Workers;
use crate::db::Db;
use crate::db::history::{Whose, is_of};
use crate::delivery::api::{self as deliveries, DeliveryState};
use crate::delivery::check::{CheckCache, Finding};
use crate::delivery::{CallbackChecker, CheckNow, CheckOwed, DeliveryOwed};
use crate::edge::admission::Admission;
use crate::edge::files::serve;
use crate::edge::pool::read_body;
use crate::edge::problem::Answer;
use crate::edge::query::Query;
use crate::edge::request;
use crate::edge::result::{Content, ResultFile, StoredResult};
use crate::edge::streams::{Streams, Wait};
use crate::files::{Cache, Files};
use crate::outbound::guard::Policy;

/// What the handlers work with.
#[derive(Clone)]
pub struct TtsState {
    /// The TTS service's database.
    pub db: Db,
    /// The TTS service's files.
    pub files: Files,
    /// What may be used again.
    pub cache: Cache,
    /// Makes the answers.
    pub view: View,
    /// What is offered.
    pub voices: Voices,
    /// `tts.pronunciations`.
    pub pronunciations: Arc<BTreeMap<String, hoiam_text::Said>>,
    /// What checks have found lately.
    pub checks: CheckCache,
    /// What callback URLs may lead to.
    pub policy: Policy,
    /// Bounds of a request.
    pub rules: Rules,
    /// `limits.body_bytes`.
    pub body_limit: usize,
    /// `limits.audio_bytes`.
    pub audio_bytes: u64,
    /// Lets texts in.
    pub admission: Admission,
    /// `callback.check_timeout_s`.
    pub check_timeout: Duration,
    /// Told of jobs.
    pub workers: Workers,
    /// Told of deadlines.
    pub deadlines: Recipient<DeadlineAdded>,
    /// Told of URLs to be checked.
    pub checker: Addr<CallbackChecker>,
    /// Told of deliveries.
    pub dispatcher: Recipient<DeliveryOwed>,
}

/// The routes of the TTS service.
pub fn routes(config: &mut web::ServiceConfig, delivery: DeliveryState) {
    config
        .service(web::resource("/v1/voices").route(web::get().to(voices)))
        .service(web::resource("/v1/callback-checks").route(web::post().to(callback_checks)))
        .service(
            web::scope("/v1/speech")
                .app_data(web::Data::new(delivery))
                .configure(deliveries::routes)
                .service(
                    web::resource("")
                        .route(web::post().to(create))
                        .route(web::get().to(list)),
                )
                .service(web::resource("/statuses").route(web::post().to(statuses)))
                .service(
                    web::resource("/{id}")
                        .route(web::put().to(create_with_id))
                        .route(web::get().to(get))
                        .route(web::delete().to(erase)),
                )
                .service(web::resource("/{id}/cancel").route(web::post().to(cancel)))
                .service(web::resource("/{id}/events").route(web::get().to(events)))
                .service(web::resource("/{id}/{file}").route(web::get().to(file))),
        );
}

type State = web::Data<TtsState>;

async fn create(
    state: State,
    request: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, Answer> {
    let key = request::idempotency_key(&request)?;
    accept(&state, &request, payload, Uuid::now_v7(), key).await
}

async fn create_with_id(
    state: State,
    request: HttpRequest,
    id: web::Path<String>,
    payload: web::Payload,
) -> Result<HttpResponse, Answer> {
    accept(&state, &request, payload, request::id(&id)?, None).await
}

async fn accept(
    state: &State,
    request: &HttpRequest,
    payload: web::Payload,
    id: Uuid,
    idempotency_key: Option<String>,
) -> Result<HttpResponse, Answer> {
    let body = request::json_body(request, payload, state.body_limit).await?;
    let client = request::client(request);
    let reader = State::clone(state);
    let new = read_body(request, body, move |body| {
        read(&reader, body, id, client, idempotency_key)
    });
    let new = new.await?;
    let wait = Wait::preferred(request);
    let waits = wait.is_some();
    let (workers, checker) = (state.workers.clone(), state.checker.clone());
    let deadlines = state.deadlines.clone();
    let hint = move |accepted: &Accepted| {
        if let Accepted::New(row) = accepted {
            deadlines.do_send(DeadlineAdded(row.deadline_at));
            if row.status() == SpeechStatus::Checking {
                let _ = checker.try_send(CheckOwed);
            } else {
                workers.queued_by(&row.client);
            }
        }
    };
    let accepted = request::commit(&state.db, move |tx| store::accept(tx, &new), hint).await?;
    let (row, is_new) = request::accepted(request, accepted, |row| &row.client)?;
    let id = row.id.0;
    if let Some(wait) = wait.filter(|_| !row.status().is_ended()) {
        let has_ended = async || {
            let row = state.db.read(move |conn| store::get(conn, id)).await;
            !matches!(row, Ok(Some(row)) if !row.status().is_ended())
        };
        wait.until_ended(&state.db, id, has_ended).await;
    }
    let speech = if is_new && !waits {
        state.view.speech(&row, None)
    } else {
        one(state, request, id).await?
    };
    let under_way = is_new && !speech.status.is_ended();
    Ok(request::created(Service::Tts, id, under_way, speech))
}

/// Reads and checks everything that can be refused, before anything is
/// stored.
fn read(
    state: &TtsState,
    body: &[u8],
    id: Uuid,
    client: String,
    idempotency_key: Option<String>,
) -> Result<New, Problem> {
    let mut errors = FieldErrors::default();
    let create = Create::parse(body, &state.rules, &mut errors)?;
    request::check_callback_url(&state.policy, create.callback_url.as_deref(), &mut errors);
    let offered = state.voices.offered();
    if offered.catalog.items.is_empty() && errors.is_empty() {
        let detail = offered
            .problem
            .unwrap_or_else(|| "The voices are not known yet; the service is starting.".into());
        return Err(Problem::new(Code::Unavailable, detail));
    }
    let resolved = state.voices.resolve(&create, &mut errors);
    if let Some(resolved) = &resolved {
        create.check_audio_bytes(resolved.sample_rate_hz, state.audio_bytes, &mut errors);
    }
    errors.into_result()?;
    let resolved = resolved
        .ok_or_else(|| Problem::new(Code::Unavailable, "No voice is set for this language."))?;
    let mut prepared = Prepared::from(create);
    state.admission.admit(&client, &prepared.source)?;
    let create = &prepared.create;
    let check = match &create.callback_url {
        Some(url) if create.callback_check != Some(false) => {
            match state.checks.known(&create.callback_headers.target(url)) {
                Some(Finding::Open) => CheckState::Open,
                _ => CheckState::Pending,
            }
        }
        _ => CheckState::Off,
    };
    prepared.resolve_segments(resolved.segments);
    Ok(New {
        id,
        client,
        idempotency_key,
        request: prepared,
        resolved_voice: resolved.voice,
        language: resolved.language,
        check,
    })
}

async fn one(state: &TtsState, request: &HttpRequest, id: Uuid) -> Result<Speech, Problem> {
    let (view, client) = (state.view.clone(), request::seen_client(request));
    let found = state.db.read(move |conn| {
        let is_seen = is_of(conn, Service::Tts, id, client.as_deref())?;
        is_seen.then(|| view.read(conn, id)).transpose()
    });
    let found = found.await?.flatten();
    found.ok_or_else(|| Problem::not_found("such speech"))
}

async fn get(
    state: State,
    request: HttpRequest,
    id: web::Path<String>,
) -> Result<HttpResponse, Answer> {
    Ok(HttpResponse::Ok().json(one(&state, &request, request::id(&id)?).await?))
}

async fn list(state: State, request: HttpRequest) -> Result<HttpResponse, Answer> {
    let statuses: Vec<&str> = SpeechStatus::ALL
        .iter()
        .map(|status| status.as_str())
        .collect();
    let mut filter = Query::of(request.query_string()).filter(&statuses)?;
    filter.client = request::seen_client(&request);
    let view = state.view.clone();
    let page = state
        .db
        .read(move |conn| {
            let (rows, next) = store::list(conn, &filter)?;
            Ok(Page {
                items: view.with_deliveries(conn, &rows)?,
                next_cursor: next.map(|cursor| cursor.to_string()),
            })
        })
        .await?;
    Ok(HttpResponse::Ok().json(page))
}

/// How many statuses one question may ask for.
const MAX_IDS: usize = 500;
/// Thrice what those take.
const MAX_IDS_BYTES: usize = 64 << 10;

async fn statuses(
    state: State,
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
    let (view, client) = (state.view.clone(), request::seen_client(&request));
    let items = state
        .db
        .read(move |conn| {
            let mut rows = store::get_many(conn, &ids)?;
            rows.retain(|row| client.as_ref().is_none_or(|client| row.client == *client));
            view.with_deliveries(conn, &rows)
        })
        .await?;
    Ok(HttpResponse::Ok().json(serde_json::json!({ "items": items })))
}

async fn cancel(
    state: State,
    request: HttpRequest,
    id: web::Path<String>,
) -> Result<HttpResponse, Answer> {
    let id = request::id(&id)?;
    request::check_client(&request, &state.db, id, "such speech").await?;
    let (workers, dispatcher) = (state.workers.clone(), state.dispatcher.clone());
    let hint = move |_: &Ended| {
        workers.canceled(id);
        let _ = dispatcher.try_send(DeliveryOwed);
    };
    let ended = request::commit(&state.db, move |tx| store::cancel(tx, id), hint).await?;
    let refused = |row: &store::Row| {
        let detail = format!("It has already ended: {}.", row.status);
        Problem::new(Code::AlreadyEnded, detail)
    };
    request::done(ended, refused, "such speech")?;
    Ok(HttpResponse::Ok().json(one(&state, &request, id).await?))
}

async fn erase(
    state: State,
    request: HttpRequest,
    id: web::Path<String>,
) -> Result<HttpResponse, Answer> {
    let id = request::id(&id)?;
    request::check_client(&request, &state.db, id, "such speech").await?;
    let text = state.db.read(move |conn| store::text(conn, id)).await?;
    let ended = request::commit(&state.db, move |tx| store::erase(tx, id), |_| ()).await?;
    let refused = |_: &store::Row| Problem::new(Code::NotEnded, "Cancel it first.");
    let row = request::done(ended, refused, "such speech")?;
    // Before the cache, which may be about to link to it.
    if let Some(file) = &row.file
        && let Err(error) = state.files.remove(file).await
    {
        log::warn!("the file of an erased speech stays behind: {error}");
    }
    // Who erases a speech wants its sound gone, and not only its name; unless
    // he only clears up what is old, and others may still use that sound.
    let keeps_cache = request.query_string() == "cache=keep";
    let recording = row.recording().filter(|_| !keeps_cache);
    if let Some(key) = recording.and_then(|recording| recording.cache_key) {
        state.cache.speeches.forget(&key).await;
    }
    if let Some(text) = text.filter(|_| !keeps_cache) {
        let spoken = row.speech(text, &state.pronunciations);
        let sentences = Sentences::of(&spoken, &state.voices, &state.cache);
        sentences.forget().await;
    }
    Ok(HttpResponse::NoContent().finish())
}

async fn events(
    state: State,
    streams: web::Data<Streams>,
    request: HttpRequest,
    id: web::Path<String>,
) -> Result<HttpResponse, Answer> {
    let id = one(&state, &request, request::id(&id)?).await?.id;
    streams
        .answer(&request, &state.db, Whose::Subject(id), || Box::new(()))
        .await
}

async fn file(
    state: State,
    request: HttpRequest,
    path: web::Path<(String, String)>,
) -> Result<HttpResponse, Answer> {
    let (id, name) = path.into_inner();
    let id = request::id(&id)?;
    let wanted = ResultFile::parse(&name)
        .ok_or_else(|| Problem::not_found(format_args!("file `{name}`")))?;
    let row = state.db.read(move |conn| store::get(conn, id)).await?;
    let row = row.filter(|row| request::sees(&request, &row.client));
    let row = row.ok_or_else(|| Problem::not_found("such speech"))?;
    let Some(recording) = row.recording() else {
        return Err(if row.status().is_ended() {
            Problem::new(
                Code::Expired,
                format!("It has ended without a result: {}.", row.status),
            )
        } else {
            Problem::new(Code::NotReady, format!("It is {}.", row.status))
        }
        .into());
    };
    let kept = StoredResult {
        file: row.file,
        audio: recording.audio,
        warnings: recording.warnings,
        language: row.language,
        ended_at: row.ended_at,
        content: Content {
            db: state.db.clone(),
            id,
            read: store::text_and_words,
            read_words: store::words,
        },
    };
    Ok(serve(&request, &state.files, kept, wanted).await?)
}

async fn voices(state: State) -> HttpResponse {
    HttpResponse::Ok().json(state.voices.offered().catalog.as_ref())
}

/// A URL and some headers.
const MAX_CHECK_BYTES: usize = 64 << 10;

async fn callback_checks(
    state: State,
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
    request::check_callback_url(&state.policy, Some(&url), &mut errors);
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
