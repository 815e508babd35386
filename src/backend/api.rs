//! The Backend service's routes.

use std::sync::Arc;

use actix_web::{HttpRequest, HttpResponse, web};
use hoiam_api::create::Prepared;
use hoiam_api::{Code, Create, FieldErrors, Page, Problem, Service, Task, TaskStatus};
use uuid::Uuid;

use super::callback;
use super::messages::{DeadlineAdded, TaskEnded, TaskSubmitted, Watch};
use super::progress::Watcher;
use super::state::BackendState;
use super::store::{self, Accepted, Ended, New};
use crate::db::history::{Whose, is_of};
use crate::delivery::DeliveryOwed;
use crate::delivery::api::{self as deliveries, DeliveryState};
use crate::edge::files::serve;
use crate::edge::methods::is_head;
use crate::edge::pool::read_body;
use crate::edge::problem::Answer;
use crate::edge::query::Query;
use crate::edge::request;
use crate::edge::result::{Content, ResultFile, StoredResult};
use crate::edge::streams::{Streams, Wait, all_events};

/// The routes of the Backend service.
pub fn routes(config: &mut web::ServiceConfig, delivery: DeliveryState) {
    config
        .service(
            web::resource("/v1/callbacks")
                .route(web::post().to(callback::callbacks))
                .route(web::method(actix_web::http::Method::OPTIONS).to(callback::handshake)),
        )
        .service(
            web::resource("/v1/events")
                .app_data(web::Data::new(delivery.db.clone()))
                .route(web::get().to(all_events)),
        )
        .service(
            web::scope("/v1/tasks")
                .app_data(web::Data::new(delivery))
                .configure(deliveries::routes)
                .service(
                    web::resource("")
                        .route(web::post().to(create))
                        .route(web::get().to(list)),
                )
                .service(
                    web::resource("/{id}")
                        .route(web::put().to(create_with_id))
                        .route(web::get().to(get))
                        .route(web::delete().to(erase)),
                )
                .service(web::resource("/{id}/cancel").route(web::post().to(cancel)))
                .service(web::resource("/{id}/retry").route(web::post().to(retry)))
                .service(web::resource("/{id}/events").route(web::get().to(events)))
                .service(web::resource("/{id}/{file}").route(web::get().to(file))),
        );
}

type State = web::Data<BackendState>;

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
    let reader = State::clone(state);
    let prepared = read_body(request, body, move |body| {
        Ok(Prepared::from(read(&reader, body)?))
    });
    let prepared = prepared.await?;
    submit(
        state,
        request,
        New {
            id,
            client: request::client(request),
            idempotency_key,
            request: prepared,
            report_to: state.report_to.clone(),
            retry_of: None,
        },
    )
    .await
}

/// Reads and checks everything that can be refused, before anything is
/// stored.
fn read(state: &BackendState, body: &[u8]) -> Result<Create, Problem> {
    let mut errors = FieldErrors::default();
    let create = Create::parse(body, &state.rules, &mut errors)?;
    request::check_callback_url(&state.policy, create.callback_url.as_deref(), &mut errors);
    for (place, voice) in create.voices() {
        state.voices.borrow().check(&place, voice, &mut errors);
    }
    errors.into_result()?;
    Ok(create)
}

/// The commit behind the 202, and the hints after it.
async fn submit(
    state: &BackendState,
    request: &HttpRequest,
    new: New,
) -> Result<HttpResponse, Answer> {
    state.admission.admit(&new.client, &new.request.source)?;
    let wait = Wait::preferred(request);
    let waits = wait.is_some();
    let hints = state.hints.clone();
    let hint = move |accepted: &Accepted| {
        if let Accepted::New(row) = accepted {
            let _ = hints.backend.try_send(TaskSubmitted);
            // This hint carries instants, so a full mailbox must not lose it.
            hints.watchdog.do_send(DeadlineAdded {
                pull_at: row.pull_at,
                deadline_at: row.deadline_at,
            });
        }
    };
    let accepted = request::commit(&state.db, move |tx| store::submit(tx, &new), hint).await?;
    let (row, is_new) = request::accepted(request, accepted, |row| &row.client)?;
    let id = row.id.0;
    if let Some(wait) = wait.filter(|_| !row.status().is_ended()) {
        let has_ended = async || {
            let row = state.db.read(move |conn| store::get(conn, id)).await;
            !matches!(row, Ok(Some(row)) if !row.status().is_ended())
        };
        wait.until_ended(&state.db, id, has_ended).await;
    }
    let task = if is_new && !waits {
        state.view.task(&row, None)
    } else {
        one(state, request, id).await?
    };
    let under_way = is_new && !task.status.is_ended();
    Ok(request::created(Service::Backend, id, under_way, task))
}

async fn one(state: &BackendState, request: &HttpRequest, id: Uuid) -> Result<Task, Problem> {
    let (view, client) = (state.view.clone(), request::seen_client(request));
    let found = state.db.read(move |conn| {
        let is_seen = is_of(conn, Service::Backend, id, client.as_deref())?;
        is_seen.then(|| view.read(conn, id)).transpose()
    });
    let found = found.await?.flatten();
    found.ok_or_else(|| Problem::not_found("such task"))
}

async fn get(
    state: State,
    request: HttpRequest,
    id: web::Path<String>,
) -> Result<HttpResponse, Answer> {
    Ok(HttpResponse::Ok().json(one(&state, &request, request::id(&id)?).await?))
}

async fn list(state: State, request: HttpRequest) -> Result<HttpResponse, Answer> {
    let statuses: Vec<&str> = TaskStatus::ALL
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

async fn cancel(
    state: State,
    request: HttpRequest,
    id: web::Path<String>,
) -> Result<HttpResponse, Answer> {
    let id = request::id(&id)?;
    request::check_client(&request, &state.db, id, "such task").await?;
    let hints = state.hints.clone();
    let hint = move |_: &Ended| {
        let _ = hints.backend.try_send(TaskEnded);
        let _ = hints.dispatcher.try_send(DeliveryOwed);
    };
    let ended = request::commit(&state.db, move |tx| store::cancel(tx, id), hint).await?;
    let refused = |row: &store::Row| {
        let detail = format!("It has already ended: {}.", row.status);
        Problem::new(Code::AlreadyEnded, detail)
    };
    request::done(ended, refused, "such task")?;
    Ok(HttpResponse::Ok().json(one(&state, &request, id).await?))
}

async fn retry(
    state: State,
    request: HttpRequest,
    id: web::Path<String>,
) -> Result<HttpResponse, Answer> {
    let id = request::id(&id)?;
    let found = state
        .db
        .read(move |conn| Ok(store::get(conn, id)?.zip(store::text_and_words(conn, id)?)))
        .await?;
    let found = found.filter(|(row, _)| request::sees(&request, &row.client));
    let (row, (text, _)) = found.ok_or_else(|| Problem::not_found("such task"))?;
    if !row.status().is_ended() {
        return Err(Problem::new(
            Code::NotEnded,
            "It has not ended; only ended tasks are retried.",
        )
        .into());
    }
    let create = row
        .request()
        .ok_or_else(|| Problem::new(Code::Internal, "The request cannot be read."))?;
    let new = New {
        id: Uuid::now_v7(),
        client: row.client.clone(),
        idempotency_key: None,
        request: create.with_source(text).into(),
        report_to: state.report_to.clone(),
        retry_of: Some(id),
    };
    submit(&state, &request, new).await
}

async fn erase(
    state: State,
    request: HttpRequest,
    id: web::Path<String>,
) -> Result<HttpResponse, Answer> {
    let id = request::id(&id)?;
    request::check_client(&request, &state.db, id, "such task").await?;
    let hints = state.hints.clone();
    let hint = move |_: &Ended| {
        let _ = hints.backend.try_send(TaskEnded);
    };
    let ended = request::commit(&state.db, move |tx| store::erase(tx, id), hint).await?;
    let refused = |_: &store::Row| Problem::new(Code::NotEnded, "Cancel it first.");
    let row = request::done(ended, refused, "such task")?;
    if let Some(file) = row.file
        && let Err(error) = state.files.remove(&file).await
    {
        log::warn!("the file of an erased task stays behind: {error}");
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
    let hints = state.hints.clone();
    let will_watch = !is_head(&request);
    let guard = move || {
        let watcher: Watcher = Arc::new(());
        if will_watch {
            hints.backend.do_send(Watch {
                id,
                watcher: Arc::downgrade(&watcher),
            });
        }
        Box::new(watcher) as Box<dyn std::any::Any>
    };
    let whose = Whose::Subject(id);
    streams.answer(&request, &state.db, whose, guard).await
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
    let row = row.ok_or_else(|| Problem::not_found("such task"))?;
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
        language: row.language.unwrap_or_else(|| "en".into()),
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
