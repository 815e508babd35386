//! The methods that every path has without a route of its own.

use std::pin::Pin;
use std::task::{Context, Poll};

use actix_web::body::{BodySize, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::{Method, header};
use actix_web::middleware::Next;
use actix_web::{Error, HttpMessage, HttpRequest};
use bytes::Bytes;

/// Marks a request that came as HEAD.
struct CameAsHead;

/// Whether a handler's answer will be sent without its body.
#[must_use]
pub fn is_head(request: &HttpRequest) -> bool {
    request.extensions().contains::<CameAsHead>()
}

/// The middleware: answers HEAD as GET would be answered, without the body.
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
    let response = next.call(request).await?;
    if head {
        return Ok(response.map_body(|_, body| Unsent(body.size()).boxed()));
    }
    Ok(response.map_into_boxed_body())
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
