//! The methods that every path has without a route of its own, and the list
//! of those that it has.

use std::pin::Pin;
use std::task::{Context, Poll};

use actix_web::body::{BodySize, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{self, HeaderValue};
use actix_web::http::{Method, StatusCode};
use actix_web::middleware::Next;
use actix_web::{Error, HttpMessage, HttpRequest, HttpResponse};
use bytes::Bytes;

/// Marks a request that came as HEAD.
struct CameAsHead;

/// Whether a handler's answer will be sent without its body.
#[must_use]
pub fn is_head(request: &HttpRequest) -> bool {
    request.extensions().contains::<CameAsHead>()
}

/// The middleware: answers HEAD as GET would be answered, without the body,
/// and OPTIONS with the methods that the path has; a 405 tells them too.
///
/// # Errors
/// Those of the handler.
pub async fn methods(
    mut request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse, Error> {
    let head = request.method() == Method::HEAD;
    if head {
        request.head_mut().method = Method::GET;
        // Only GET has ranges (RFC 9110 14.2).
        request.headers_mut().remove(header::RANGE);
        request.extensions_mut().insert(CameAsHead);
    }
    let options = request.method() == Method::OPTIONS;
    let response = next.call(request).await?;
    if head {
        return Ok(with_allow(
            response.map_body(|_, body| Unsent(body.size()).boxed()),
        ));
    }
    let response = with_allow(response.map_into_boxed_body());
    match allowed(&response) {
        Some(allow) if options => {
            let mut answer = HttpResponse::NoContent();
            answer.insert_header((header::ALLOW, allow));
            Ok(response.into_response(answer.finish()))
        }
        _ => Ok(response),
    }
}

/// The router's list of a path's methods, which a 405 has.
fn allowed(response: &ServiceResponse) -> Option<HeaderValue> {
    let is_405 = response.status() == StatusCode::METHOD_NOT_ALLOWED;
    is_405.then(|| response.headers().get(header::ALLOW).cloned())?
}

/// Adds to the router's list what it does not know of.
fn with_allow(mut response: ServiceResponse) -> ServiceResponse {
    let Some(known) = allowed(&response) else {
        return response;
    };
    let known = known.to_str().unwrap_or_default();
    let mut methods: Vec<&str> = known.split(',').map(str::trim).collect();
    if methods.contains(&"GET") {
        methods.push("HEAD");
    }
    if !methods.contains(&"OPTIONS") {
        methods.push("OPTIONS");
    }
    if let Ok(allow) = HeaderValue::from_str(&methods.join(", ")) {
        response.headers_mut().insert(header::ALLOW, allow);
    }
    response
}

/// A body that announces its size and sends nothing. The server would read
/// the real one to its end, and an event stream has none.
struct Unsent(BodySize);

impl MessageBody for Unsent {
    type Error = std::convert::Infallible;

    fn size(&self) -> BodySize {
        self.0
    }

    fn poll_next(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Poll::Ready(None)
    }
}
