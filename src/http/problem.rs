//! Problems as HTTP answers, and the middleware that gives every answer its
//! request id and every panic an answer.

use std::panic::AssertUnwindSafe;

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::error::InternalError;
use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderName, HeaderValue};
use actix_web::middleware::Next;
use actix_web::web::Data;
use actix_web::{Error, HttpResponse, ResponseError};
use futures_util::FutureExt;
use hoiam_api::{Code, FieldError, Problem};
use serde::Serialize;

use super::cors::Cors;

/// Where the codes are explained: by the service itself.
const DOCS: &str = "/problems/";
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// A problem on its way out of a handler.
#[derive(Debug)]
pub struct Answer(pub Problem);

impl From<Problem> for Answer {
    fn from(problem: Problem) -> Self {
        Self(problem)
    }
}

impl From<crate::db::StoreError> for Answer {
    fn from(error: crate::db::StoreError) -> Self {
        Self(error.into())
    }
}

impl std::fmt::Display for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl ResponseError for Answer {
    fn status_code(&self) -> StatusCode {
        StatusCode::from_u16(self.0.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// Marks the answer; [`finish`] knows the request and writes the body.
    fn error_response(&self) -> HttpResponse {
        let mut answer = HttpResponse::new(self.status_code());
        answer.extensions_mut().insert(self.0.clone());
        answer
    }
}

#[derive(Serialize)]
struct Body<'a> {
    #[serde(rename = "type")]
    kind: String,
    title: &'a str,
    status: u16,
    detail: &'a str,
    instance: &'a str,
    code: &'a str,
    request_id: &'a str,
    retryable: bool,
    #[serde(skip_serializing_if = "<[FieldError]>::is_empty")]
    errors: &'a [FieldError],
}

/// The id of an HTTP request: the caller's, or a new one.
fn request_id(request: &ServiceRequest) -> String {
    let given = request
        .headers()
        .get(REQUEST_ID)
        .and_then(|value| value.to_str().ok());
    match given {
        Some(id) if (1..=128).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic()) => {
            id.to_owned()
        }
        _ => uuid::Uuid::now_v7().to_string(),
    }
}

/// The outermost middleware but the one that paces: what every answer has is put on here.
///
/// # Errors
/// Only errors that carry their answer already.
pub async fn finish(
    cors: Data<Cors>,
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse, Error> {
    let id = request_id(&request);
    let readers = cors.readers(&request);
    // The request itself must not be held on to: the router needs it alone.
    let (method, path) = (request.method().clone(), request.path().to_owned());
    let problem = match AssertUnwindSafe(next.call(request)).catch_unwind().await {
        Ok(Ok(response)) => {
            let mut response = answered(response.map_into_boxed_body(), &path, &id);
            readers.note(response.response_mut());
            return Ok(response);
        }
        Ok(Err(error)) => problem_of(&mut error.error_response()),
        Err(_) => {
            log::error!("a handler panicked: {method} {path}");
            None
        }
    };
    let problem =
        problem.unwrap_or_else(|| Problem::new(Code::Internal, "Something failed; it is logged."));
    let mut answer = with_request_id(render(&problem, &path, &id), &id);
    readers.note(&mut answer);
    Err(InternalError::from_response(problem.to_string(), answer).into())
}

fn answered(response: ServiceResponse, path: &str, id: &str) -> ServiceResponse {
    let (request, mut response) = response.into_parts();
    if let Some(problem) = problem_of(&mut response) {
        let mut marked = response;
        response = render(&problem, path, id);
        for kept in [header::ALLOW, header::CONTENT_RANGE] {
            if let Some(value) = marked.headers_mut().remove(&kept).next() {
                response.headers_mut().insert(kept, value);
            }
        }
    }
    ServiceResponse::new(request, with_request_id(response, id))
}

fn problem_of(response: &mut HttpResponse) -> Option<Problem> {
    let ours = response.extensions_mut().remove::<Problem>();
    ours.or_else(|| foreign(response))
}

fn with_request_id(mut response: HttpResponse, id: &str) -> HttpResponse {
    if let Ok(value) = HeaderValue::from_str(id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    response
}

/// An error that actix-web made itself: no route, no such method, a bad path.
fn foreign(response: &HttpResponse) -> Option<Problem> {
    let is_ours = response.headers().contains_key(header::CONTENT_TYPE)
        && !response
            .headers()
            .get(header::CONTENT_TYPE)
            .is_some_and(|kind| kind.as_bytes().starts_with(b"text/plain"));
    let problem = match response.status().as_u16() {
        _ if is_ours => return None,
        400 => Problem::new(Code::Malformed, "The request cannot be read."),
        404 => no_such_path(),
        405 => Problem::new(
            Code::MethodNotAllowed,
            "This path does not have this method; Allow has those that it has.",
        ),
        413 => Problem::new(
            Code::TooLarge,
            "The body is over the limit (limits.body_bytes).",
        ),
        415 => Problem::new(
            Code::UnsupportedMediaType,
            "Send content-type: application/json.",
        ),
        500 => Problem::new(Code::Internal, "Something failed; it is logged."),
        _ => return None,
    };
    Some(problem)
}

/// What a path that no route has is answered.
#[must_use]
pub fn no_such_path() -> Problem {
    Problem::not_found("such path; GET / shows what is here")
}

fn render(problem: &Problem, path: &str, request_id: &str) -> HttpResponse {
    let status =
        StatusCode::from_u16(problem.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut answer = HttpResponse::build(status);
    if let Some(seconds) = problem.retry_after_s {
        answer.insert_header((header::RETRY_AFTER, seconds.to_string()));
    }
    if problem.code == Code::Unauthorized {
        answer.insert_header((header::WWW_AUTHENTICATE, "Bearer"));
    }
    answer.content_type("application/problem+json").json(Body {
        kind: format!("{DOCS}{}", problem.code.as_str()),
        title: problem.code.title(),
        status: problem.code.status(),
        detail: &problem.detail,
        instance: path,
        code: problem.code.as_str(),
        request_id,
        retryable: problem.code.retryable(),
        errors: &problem.errors,
    })
}

/// `GET /problems/{code}`: what a code means.
///
/// # Errors
/// 404 for a code that there is not.
pub async fn explain(code: actix_web::web::Path<String>) -> Result<HttpResponse, Answer> {
    let known = Code::ALL
        .iter()
        .find(|known| known.as_str() == code.as_str());
    let code = known.ok_or_else(|| Problem::not_found("such code"))?;
    let again = if code.retryable() {
        "The same request may succeed later."
    } else {
        "A repeat will not help."
    };
    let text = format!(
        "{} ({})\n\n{}. {again}\n",
        code.as_str(),
        code.status(),
        code.title()
    );
    Ok(HttpResponse::Ok()
        .content_type("text/plain; charset=utf-8")
        .body(text))
}
