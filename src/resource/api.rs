//! The routes of tasks and of speeches.

use std::any::Any;

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};
use diesel::prelude::QueryResult;
use hoiam_api::create::{Prepared, Rules};
use hoiam_api::{Code, Create, FieldErrors, Page, Problem, Status as _};
use uuid::Uuid;

use super::operations::{self, Accepted, Ended};
use super::row::{New, ResourceRow, Shown, TableRow as _};
use super::view::View;
use crate::db::history::{Whose, is_of};
use crate::db::{Db, Tx};
use crate::delivery::api::{self as deliveries, DeliveryState};
use crate::files::Files;
use crate::http::admission::Admission;
use crate::http::files::serve;
use crate::http::methods::is_head;
use crate::http::pool::read_body;
use crate::http::problem::Answer;
use crate::http::query::Query;
use crate::http::request;
use crate::http::result::{Content, ResultFile, StoredResult};
use crate::http::streams::{Streams, Wait};
use crate::outbound::guard::Policy;

/// What the routes of a service's resources work with.
#[derive(Clone)]
pub struct Resources<R> {
    /// The service's database.
    pub db: Db,
    /// The service's files.
    pub files: Files,
    /// Makes the answers.
    pub view: View<R>,
    /// What callback URLs may lead to.
    pub policy: Policy,
    /// Bounds of a request.
    pub rules: Rules,
    /// `limits.body_bytes`.
    pub body_limit: usize,
    /// Lets texts in.
    pub admission: Admission,
}

/// A service, as these routes see it.
pub trait Served: Clone + Send + Sync + 'static {
    /// A task or a speech.
    type Row: ResourceRow;

    /// What is done to its rows.
    const OPERATIONS: Operations<Self::Row>;

    /// What all of them work with.
    fn resources(&self) -> &Resources<Self::Row>;

    /// Checks what the service itself can refuse of a request, in which `errors` were
    /// found so far, and says what is kept of it.
    ///
    /// # Errors
    /// The errors, and what the service cannot do at all just now.
    fn check(&self, create: Create, errors: FieldErrors) -> Result<Checked<Self::Row>, Problem>;

    /// Erases one that this request may erase, by [`erase`].
    ///
    /// # Errors
    /// Where it has not ended, or there is none.
    fn erase(&self, request: &HttpRequest, id: Uuid) -> impl Future<Output = Result<(), Answer>>;

    /// Tells the actors of a new one.
    fn hint_accepted(&self, row: &Self::Row);

    /// Tells the actors of one that was canceled.
    fn hint_canceled(&self, id: Uuid);

    /// Has its progress known for as long as the answer lives.
    fn watch(&self, id: Uuid) -> Box<dyn Any>;
}

/// Each is one transaction, and fails with what the database says.
pub struct Operations<R: ResourceRow> {
    /// Behind a POST.
    pub accept: fn(&mut Tx<'_>, &NewOf<R>) -> QueryResult<Accepted<R>>,
    /// Behind a cancel.
    pub cancel: fn(&mut Tx<'_>, Uuid) -> QueryResult<Ended<R>>,
    /// Behind a DELETE.
    pub erase: fn(&mut Tx<'_>, Uuid) -> QueryResult<Ended<R>>,
}

/// A new row of this kind.
pub type NewOf<R> = New<<R as ResourceRow>::New>;

/// What is kept of a request that was found good.
pub type Checked<R> = (Prepared, <R as ResourceRow>::New);

/// The routes below the service's collection, those of its deliveries, and `more`.
pub fn routes<S: Served>(
    delivery: DeliveryState,
    more: fn(&mut web::ServiceConfig),
) -> actix_web::Scope {
    web::scope(S::Row::SERVICE.collection())
        .app_data(web::Data::new(delivery))
        .configure(deliveries::routes)
        .configure(more)
        .service(
            web::resource("")
                .route(web::post().to(create::<S>))
                .route(web::get().to(list::<S>)),
        )
        .service(
            web::resource("/{id}")
                .route(web::put().to(create_with_id::<S>))
                .route(web::get().to(get::<S>))
                .route(web::delete().to(delete::<S>)),
        )
        .service(web::resource("/{id}/cancel").route(web::post().to(cancel::<S>)))
        .service(web::resource("/{id}/events").route(web::get().to(events::<S>)))
        .service(web::resource("/{id}/{file}").route(web::get().to(file::<S>)))
}

async fn create<S: Served>(
    state: web::Data<S>,
    request: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, Answer> {
    let key = request::idempotency_key(&request)?;
    accept(&state, &request, payload, Uuid::now_v7(), key).await
}

async fn create_with_id<S: Served>(
    state: web::Data<S>,
    request: HttpRequest,
    id: web::Path<String>,
    payload: web::Payload,
) -> Result<HttpResponse, Answer> {
    accept(&state, &request, payload, request::id(&id)?, None).await
}

async fn accept<S: Served>(
    state: &web::Data<S>,
    request: &HttpRequest,
    payload: web::Payload,
    id: Uuid,
    idempotency_key: Option<String>,
) -> Result<HttpResponse, Answer> {
    let body = request::json_body(request, payload, state.resources().body_limit).await?;
    let reader = web::Data::clone(state);
    let checked = read_body(request, body, move |body| read(reader.get_ref(), body));
    let (prepared, extra) = checked.await?;
    let new = New {
        id,
        client: request::client(request),
        idempotency_key,
        request: prepared,
        extra,
    };
    submit(state, request, new).await
}

/// Reads and checks everything that can be refused, before anything is stored.
fn read<S: Served>(state: &S, body: &[u8]) -> Result<Checked<S::Row>, Problem> {
    let Resources { policy, rules, .. } = state.resources();
    let mut errors = FieldErrors::default();
    let create = Create::parse(body, rules, &mut errors)?;
    request::check_callback_url(policy, create.callback_url.as_deref(), &mut errors);
    state.check(create, errors)
}

/// The commit behind the 202, and the hints after it.
///
/// # Errors
/// Where there is no room, or the id or the key was used otherwise.
pub async fn submit<S: Served>(
    state: &web::Data<S>,
    request: &HttpRequest,
    new: NewOf<S::Row>,
) -> Result<HttpResponse, Answer> {
    let Resources {
        db,
        view,
        admission,
        ..
    } = state.resources();
    admission.admit(&new.client, &new.request.source)?;
    let wait = Wait::preferred(request);
    let waits = wait.is_some();
    let hinted = web::Data::clone(state);
    let hint = move |accepted: &Accepted<S::Row>| {
        if let Accepted::New(row) = accepted {
            hinted.hint_accepted(row);
        }
    };
    let accepted = request::commit(db, move |tx| (S::OPERATIONS.accept)(tx, &new), hint).await?;
    let (row, is_new) = accepted_row(request, accepted)?;
    let id = row.columns().id.0;
    if let Some(wait) = wait.filter(|_| !row.status().is_ended()) {
        let has_ended = async || {
            let row = db.read(move |conn| S::Row::get(conn, id)).await;
            !matches!(row, Ok(Some(row)) if !row.status().is_ended())
        };
        wait.until_ended(db, id, has_ended).await;
    }
    let resource = if is_new && !waits {
        view.of(&row, None)
    } else {
        one(state.get_ref(), request, id).await?
    };
    // 200 for what was there or has ended meanwhile.
    let mut answer = if is_new && !resource.status.is_ended() {
        HttpResponse::Accepted()
    } else {
        HttpResponse::Ok()
    };
    let location = format!("{}/{id}", S::Row::SERVICE.collection());
    answer.insert_header((header::LOCATION, location));
    Ok(answer.json(resource))
}

/// The row of a creation, and whether it is new. A repeat of what is somebody else's
/// shows nothing of it.
fn accepted_row<R: ResourceRow>(
    request: &HttpRequest,
    accepted: Accepted<R>,
) -> Result<(Box<R>, bool), Problem> {
    match accepted {
        Accepted::New(row) => Ok((row, true)),
        Accepted::Repeated(row) if request::sees(request, row.columns().client) => Ok((row, false)),
        Accepted::Repeated(_) | Accepted::Conflict => Err(Problem::new(
            Code::IdempotencyConflict,
            "This id or Idempotency-Key was used with another request; use a new one.",
        )),
    }
}

async fn one<S: Served>(
    state: &S,
    request: &HttpRequest,
    id: Uuid,
) -> Result<Shown<S::Row>, Problem> {
    let Resources { db, view, .. } = state.resources();
    let (view, client) = (view.clone(), request::seen_client(request));
    let found = db.read(move |conn| {
        let is_seen = is_of(conn, S::Row::SERVICE, id, client.as_deref())?;
        is_seen.then(|| view.read(conn, id)).transpose()
    });
    found.await?.flatten().ok_or_else(missing::<S::Row>)
}

/// There is no such task or speech, or it is somebody else's.
pub fn missing<R: ResourceRow>() -> Problem {
    Problem::not_found(R::NAMED)
}

async fn get<S: Served>(
    state: web::Data<S>,
    request: HttpRequest,
    id: web::Path<String>,
) -> Result<HttpResponse, Answer> {
    let resource = one(state.get_ref(), &request, request::id(&id)?).await?;
    Ok(HttpResponse::Ok().json(resource))
}

async fn list<S: Served>(
    state: web::Data<S>,
    request: HttpRequest,
) -> Result<HttpResponse, Answer> {
    let Resources { db, view, .. } = state.resources();
    let statuses = <S::Row as ResourceRow>::Status::ALL;
    let statuses: Vec<&str> = statuses.iter().map(|status| status.as_str()).collect();
    let mut filter = Query::of(request.query_string()).filter(&statuses)?;
    filter.client = request::seen_client(&request);
    let view = view.clone();
    let page = db.read(move |conn| {
        let (rows, next) = operations::list(conn, &filter)?;
        Ok(Page {
            items: view.with_deliveries(conn, &rows)?,
            next_cursor: next.map(|cursor| cursor.to_string()),
        })
    });
    Ok(HttpResponse::Ok().json(page.await?))
}

async fn cancel<S: Served>(
    state: web::Data<S>,
    request: HttpRequest,
    id: web::Path<String>,
) -> Result<HttpResponse, Answer> {
    let db = &state.resources().db;
    let id = request::id(&id)?;
    request::check_client(&request, db, id, S::Row::NAMED).await?;
    let hinted = web::Data::clone(&state);
    let hint = move |_: &Ended<S::Row>| hinted.hint_canceled(id);
    match request::commit(db, move |tx| (S::OPERATIONS.cancel)(tx, id), hint).await? {
        Ended::Done(_) => Ok(HttpResponse::Ok().json(one(state.get_ref(), &request, id).await?)),
        Ended::Refused(row) => {
            let detail = format!("It has already ended: {}.", row.columns().status);
            Err(Problem::new(Code::AlreadyEnded, detail).into())
        }
        Ended::Unknown => Err(missing::<S::Row>().into()),
    }
}

async fn delete<S: Served>(
    state: web::Data<S>,
    request: HttpRequest,
    id: web::Path<String>,
) -> Result<HttpResponse, Answer> {
    let id = request::id(&id)?;
    request::check_client(&request, &state.resources().db, id, S::Row::NAMED).await?;
    state.erase(&request, id).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Forgets a task or a speech with its file.
///
/// # Errors
/// Where it has not ended, or there is none.
pub async fn erase<S: Served>(
    state: &S,
    id: Uuid,
    hint: impl FnOnce() + 'static,
) -> Result<Box<S::Row>, Answer> {
    let Resources { db, files, .. } = state.resources();
    let operation = move |tx: &mut Tx<'_>| (S::OPERATIONS.erase)(tx, id);
    let row = match request::commit(db, operation, |_| hint()).await? {
        Ended::Done(row) => row,
        Ended::Refused(_) => {
            return Err(Problem::new(Code::NotEnded, "Cancel it first.").into());
        }
        Ended::Unknown => return Err(missing::<S::Row>().into()),
    };
    if let Some(file) = row.columns().file
        && let Err(error) = files.remove(file).await
    {
        log::warn!("the file of {id}, which was erased, stays behind: {error}");
    }
    Ok(row)
}

async fn events<S: Served>(
    state: web::Data<S>,
    streams: web::Data<Streams>,
    request: HttpRequest,
    id: web::Path<String>,
) -> Result<HttpResponse, Answer> {
    let id = one(state.get_ref(), &request, request::id(&id)?).await?.id;
    let guard = || match is_head(&request) {
        true => Box::new(()),
        false => state.watch(id),
    };
    let whose = Whose::Subject(id);
    streams
        .answer(&request, &state.resources().db, whose, guard)
        .await
}

async fn file<S: Served>(
    state: web::Data<S>,
    request: HttpRequest,
    path: web::Path<(String, String)>,
) -> Result<HttpResponse, Answer> {
    let Resources { db, files, .. } = state.resources();
    let (id, name) = path.into_inner();
    let id = request::id(&id)?;
    let wanted = ResultFile::parse(&name)
        .ok_or_else(|| Problem::not_found(format_args!("file `{name}`")))?;
    let row = db.read(move |conn| S::Row::get(conn, id)).await?;
    let row = row.filter(|row| request::sees(&request, row.columns().client));
    let row = row.ok_or_else(missing::<S::Row>)?;
    let columns = row.columns();
    let Some(recording) = row.recording() else {
        return Err(if row.status().is_ended() {
            let detail = format!("It has ended without a result: {}.", columns.status);
            Problem::new(Code::Expired, detail)
        } else {
            Problem::new(Code::NotReady, format!("It is {}.", columns.status))
        }
        .into());
    };
    let kept = StoredResult {
        file: columns.file.map(str::to_owned),
        audio: recording.audio,
        warnings: recording.warnings,
        language: row.result_language(),
        ended_at: columns.ended_at,
        content: Content {
            db: db.clone(),
            id,
            read: S::Row::text_and_words,
            read_words: S::Row::words,
        },
    };
    Ok(serve(&request, files, kept, wanted).await?)
}
