//! The deliveries of one service: list, one, redelivery. The same routes
//! below `/v1/speech/deliveries` and `/v1/tasks/deliveries`.

use actix::Addr;
use actix_web::{HttpRequest, HttpResponse, web};
use hoiam_api::{Code, Delivery, DeliveryStatus, Page, Problem, Service};
use uuid::Uuid;

use super::dispatcher::CallbackDispatcher;
use super::in_delivery::InDelivery;
use super::messages::DeliveryEnqueued;
use super::store::{self, LISTED, Redelivered};
use crate::db::list::Filter;
use crate::db::{Conn, Db, Tx};
use crate::http::problem::Answer;
use crate::http::query::Query;
use crate::http::request;

/// Rows that one commit of a bulk redelivery puts back.
const BULK_PAGE: i64 = 100;

/// What these handlers work with.
#[derive(Clone)]
pub struct DeliveryState {
    /// The service's database.
    pub db: Db,
    /// What is being tried now.
    pub in_delivery: InDelivery,
    /// Payload that something is owed.
    pub dispatcher: Addr<CallbackDispatcher>,
}

/// The routes, relative to the service's collection.
pub fn routes(config: &mut web::ServiceConfig) {
    config
        .service(web::resource("/deliveries").route(web::get().to(list)))
        .service(web::resource("/deliveries/redeliver").route(web::post().to(redeliver_all)))
        .service(web::resource("/deliveries/{id}").route(web::get().to(get)))
        .service(web::resource("/deliveries/{id}/redeliver").route(web::post().to(redeliver)));
}

fn subject_name(service: Service) -> &'static str {
    match service {
        Service::Backend => "task_id",
        Service::Tts => "speech_id",
    }
}

async fn list(
    state: web::Data<DeliveryState>,
    request: HttpRequest,
) -> Result<HttpResponse, Answer> {
    let service = state.db.service();
    let mut filter = Query::of(request.query_string()).delivery_filter(subject_name(service))?;
    filter.client = request::seen_client(&request);
    let in_delivery = state.in_delivery.clone();
    let page = state
        .db
        .read(move |conn| page(conn, service, &filter, &in_delivery))
        .await?;
    Ok(HttpResponse::Ok().json(page))
}

fn page(
    conn: &mut Conn,
    service: Service,
    filter: &Filter,
    in_delivery: &InDelivery,
) -> diesel::QueryResult<Page<Delivery>> {
    let (rows, next) = store::list(conn, filter)?;
    let mut attempts = store::attempts_of(conn, &rows)?;
    let items = rows.iter().map(|row| {
        let logged = attempts.remove(&row.id.0).unwrap_or_default();
        store::resource(service, row, logged, in_delivery.contains(row.id.0))
    });
    Ok(Page {
        items: items.collect(),
        next_cursor: next.map(|cursor| cursor.to_string()),
    })
}

async fn one(state: &DeliveryState, request: &HttpRequest, id: Uuid) -> Result<Delivery, Problem> {
    let (service, in_delivery) = (state.db.service(), state.in_delivery.clone());
    let client = request::seen_client(request);
    let found = state
        .db
        .read(move |conn| {
            let found = store::get(conn, id)?;
            let is_seen = |row: &store::Row| client.is_none_or(|client| row.client == client);
            let Some(row) = found.filter(is_seen) else {
                return Ok(None);
            };
            let logged = store::attempts_of(conn, std::slice::from_ref(&row))?
                .remove(&id)
                .unwrap_or_default();
            Ok(Some(store::resource(
                service,
                &row,
                logged,
                in_delivery.contains(id),
            )))
        })
        .await?;
    found.ok_or_else(|| Problem::not_found("such delivery"))
}

async fn get(
    state: web::Data<DeliveryState>,
    request: HttpRequest,
    id: web::Path<String>,
) -> Result<HttpResponse, Answer> {
    Ok(HttpResponse::Ok().json(one(&state, &request, request::id(&id)?).await?))
}

/// Tells the dispatcher after the commit.
fn owed<T>(state: &DeliveryState) -> impl FnOnce(&T) + 'static {
    let dispatcher = state.dispatcher.clone();
    move |_| {
        let _ = dispatcher.try_send(DeliveryEnqueued);
    }
}

async fn redeliver(
    state: web::Data<DeliveryState>,
    request: HttpRequest,
    id: web::Path<String>,
) -> Result<HttpResponse, Answer> {
    let id = request::id(&id)?;
    if request::seen_client(&request).is_some() {
        // Whose it is never changes, so this may be asked before.
        one(&state, &request, id).await?;
    }
    let redelivered =
        request::commit(&state.db, move |tx| store::redeliver(tx, id), owed(&state)).await?;
    match redelivered {
        Redelivered::Done => Ok(HttpResponse::Accepted().json(one(&state, &request, id).await?)),
        Redelivered::NotEnded => Err(Problem::new(
            Code::NotEnded,
            "It is still being delivered; it can be redelivered once it ends.",
        )
        .into()),
        Redelivered::Unknown => Err(Problem::not_found("such delivery").into()),
    }
}

/// Takes the list's filters; without a `status` it means the exhausted ones.
async fn redeliver_all(
    state: web::Data<DeliveryState>,
    request: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, Answer> {
    let has_body = request
        .headers()
        .get("content-length")
        .is_some_and(|length| length != "0")
        || request.headers().contains_key("transfer-encoding");
    let query = if has_body {
        Query::of_body(&request::json_body(&request, payload, 64 * 1024).await?)?
    } else {
        Query::of(request.query_string())
    };
    let mut filter = query.delivery_filter(subject_name(state.db.service()))?;
    filter.client = request::seen_client(&request);
    if filter.statuses.is_empty() {
        filter
            .statuses
            .push(DeliveryStatus::Exhausted.as_str().to_owned());
    }
    filter.limit = BULK_PAGE;
    let mut redelivered = 0;
    loop {
        // Found by a reader, so that the writer is not held up by the search.
        let page = filter.clone();
        let found = state.db.read(move |conn| LISTED.find(conn, &page)).await?;
        if !found.ids.is_empty() {
            let page = filter.clone();
            let operation = move |tx: &mut Tx<'_>| store::redeliver_found(tx, &page, &found.ids);
            redelivered += request::commit(&state.db, operation, owed(&state)).await?;
        }
        filter.cursor = found.next;
        if filter.cursor.is_none() {
            return Ok(HttpResponse::Ok().json(serde_json::json!({ "redelivered": redelivered })));
        }
    }
}
