//! The Backend service's routes.

use std::any::Any;
use std::sync::Arc;

use actix_web::http::Method;
use actix_web::{HttpRequest, HttpResponse, web};
use hoiam_api::create::Prepared;
use hoiam_api::{Code, Create, FieldErrors, Problem};
use uuid::Uuid;

use super::callback;
use super::messages::{DeadlineAdded, TaskEnded, TaskSubmitted, Watch};
use super::progress::Watcher;
use super::state::BackendState;
use super::store::{self, New, NewTask, Row};
use crate::delivery::DeliveryEnqueued;
use crate::delivery::api::DeliveryState;
use crate::http::problem::Answer;
use crate::http::request;
use crate::http::streams::all_events;
use crate::resource::api::{self, Checked, Operations, Resources, Served};
use crate::resource::row::{ResourceRow as _, TableRow as _};

/// The routes of the Backend service.
pub fn routes(config: &mut web::ServiceConfig, delivery: DeliveryState) {
    config
        .service(
            web::resource("/v1/callbacks")
                .route(web::post().to(callback::callbacks))
                .route(web::method(Method::OPTIONS).to(callback::handshake)),
        )
        .service(
            web::resource("/v1/events")
                .app_data(web::Data::new(delivery.db.clone()))
                .route(web::get().to(all_events)),
        )
        .service(api::routes::<BackendState>(delivery, |config| {
            config.service(web::resource("/{id}/retry").route(web::post().to(retry)));
        }));
}

impl Served for BackendState {
    type Row = Row;

    const OPERATIONS: Operations<Row> = Operations {
        accept: store::submit,
        cancel: store::cancel,
        erase: store::erase,
    };

    fn resources(&self) -> &Resources<Row> {
        &self.resources
    }

    fn check(&self, create: Create, mut errors: FieldErrors) -> Result<Checked<Row>, Problem> {
        for (place, voice) in create.voices() {
            self.voices.borrow().check(&place, voice, &mut errors);
        }
        errors.into_result()?;
        let extra = NewTask {
            report_to: self.report_to.clone(),
            retry_of: None,
        };
        Ok((Prepared::from(create), extra))
    }

    async fn erase(&self, _: &HttpRequest, id: Uuid) -> Result<(), Answer> {
        let backend = self.hints.backend.clone();
        let hint = move || {
            let _ = backend.try_send(TaskEnded);
        };
        api::erase(self, id, hint).await.map(drop)
    }

    fn hint_accepted(&self, row: &Row) {
        let _ = self.hints.backend.try_send(TaskSubmitted);
        // This hint carries instants, so a full mailbox must not lose it.
        self.hints.watchdog.do_send(DeadlineAdded {
            pull_at: row.pull_at,
            deadline_at: row.deadline_at,
        });
    }

    fn hint_canceled(&self, _: Uuid) {
        let _ = self.hints.backend.try_send(TaskEnded);
        let _ = self.hints.dispatcher.try_send(DeliveryEnqueued);
    }

    fn watch(&self, id: Uuid) -> Box<dyn Any> {
        let watcher: Watcher = Arc::new(());
        self.hints.backend.do_send(Watch {
            id,
            watcher: Arc::downgrade(&watcher),
        });
        Box::new(watcher)
    }
}

async fn retry(
    state: web::Data<BackendState>,
    request: HttpRequest,
    id: web::Path<String>,
) -> Result<HttpResponse, Answer> {
    let id = request::id(&id)?;
    let found = state
        .resources
        .db
        .read(move |conn| Ok(Row::get(conn, id)?.zip(Row::text(conn, id)?)))
        .await?;
    let found = found.filter(|(row, _)| request::sees(&request, &row.client));
    let (row, text) = found.ok_or_else(api::missing::<Row>)?;
    if !row.status().is_ended() {
        let detail = "It has not ended; only ended tasks are retried.";
        return Err(Problem::new(Code::NotEnded, detail).into());
    }
    let create = row
        .request()
        .ok_or_else(|| Problem::new(Code::Internal, "The request cannot be read."))?;
    let new = New {
        id: Uuid::now_v7(),
        client: row.client.clone(),
        idempotency_key: None,
        request: create.with_source(text).into(),
        extra: NewTask {
            report_to: state.report_to.clone(),
            retry_of: Some(id),
        },
    };
    api::submit(&state, &request, new).await
}
