//! Which pages of other origins may read an answer (CORS, Fetch standard 3.2).
//! Any page may read what it has a signed link to, since whoever has the link
//! can have the file; everything else is for `server.cors_origins`.

use std::sync::Arc;

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::http::header::{self, HeaderValue};
use actix_web::middleware::Next;
use actix_web::web::Data;
use actix_web::{Error, HttpResponse};

use super::links::{Links, Signed};

const METHODS: &str = "GET, HEAD, POST, PUT, DELETE";
/// The request headers that mean something here.
const REQUEST_HEADERS: &str = "authorization, content-type, idempotency-key, if-none-match, if-range, \
                               last-event-id, prefer, range, x-request-id";
/// The answer headers that a script sees beside those that it always sees.
const EXPOSED: &str = "accept-ranges, allow, content-length, content-range, etag, location, retry-after, x-request-id";
/// How long a browser need not ask again, in seconds; none remembers it for more.
const MAX_AGE_S: &str = "7200";

/// The pages that may read.
#[derive(Clone)]
pub struct Cors {
    origins: Arc<[String]>,
    links: Links,
}

/// Who may read the answers to one request.
#[derive(Debug)]
pub struct Readers {
    who: Who,
    /// Whether another origin could get another answer.
    by_origin: bool,
}

#[derive(Debug)]
enum Who {
    /// Pages of the service's own origin, which need no word from us.
    Own,
    /// Pages of this one too.
    Origin(HeaderValue),
    /// All pages.
    All,
    /// All pages, if it fails: the link has ended, and the page is to learn it.
    AllIfItFails,
}

impl Cors {
    /// `origins` are those of `server.cors_origins`.
    #[must_use]
    pub fn new(origins: Vec<String>, links: Links) -> Self {
        Self {
            origins: origins.into(),
            links,
        }
    }

    /// Who may read the answers to this request.
    #[must_use]
    pub fn readers(&self, request: &ServiceRequest) -> Readers {
        let signed = self.links.signed(request.path(), request.query_string());
        let who = match (signed, self.origin(request)) {
            (Signed::Yes, _) => Who::All,
            (_, Some(origin)) => Who::Origin(origin),
            (Signed::Ended, None) => Who::AllIfItFails,
            (Signed::No, None) => Who::Own,
        };
        Readers {
            by_origin: signed != Signed::Yes && !self.origins.is_empty(),
            who,
        }
    }

    /// The request's origin, if it is a configured one.
    fn origin(&self, request: &ServiceRequest) -> Option<HeaderValue> {
        let origin = request.headers().get(header::ORIGIN)?;
        let known = self.origins.iter().any(|known| origin == known.as_str());
        known.then(|| origin.clone())
    }
}

impl Readers {
    /// Says in an answer who may read it.
    pub fn note(&self, answer: &mut HttpResponse) {
        let fails = answer.status().is_client_error() || answer.status().is_server_error();
        let headers = answer.headers_mut();
        if self.by_origin {
            headers.append(header::VARY, HeaderValue::from_static("origin"));
        }
        let is_preflight = headers.contains_key(header::ACCESS_CONTROL_ALLOW_METHODS);
        let origin = match &self.who {
            Who::Origin(origin) => origin.clone(),
            Who::All => HeaderValue::from_static("*"),
            Who::AllIfItFails if fails || is_preflight => HeaderValue::from_static("*"),
            Who::AllIfItFails | Who::Own => return,
        };
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        if !is_preflight {
            let exposed = HeaderValue::from_static(EXPOSED);
            headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
        }
    }
}

/// The middleware: answers a browser that asks, before it sends a request,
/// whether a page may send it. It asks without the key, so this comes before
/// the gate; what it then sends has to pass the gate.
///
/// # Errors
/// Those of the handler.
pub async fn preflight(
    cors: Data<Cors>,
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse, Error> {
    if is_preflight(&request) && !matches!(cors.readers(&request).who, Who::Own) {
        let answer = HttpResponse::NoContent()
            .insert_header((header::ACCESS_CONTROL_ALLOW_METHODS, METHODS))
            .insert_header((header::ACCESS_CONTROL_ALLOW_HEADERS, REQUEST_HEADERS))
            .insert_header((header::ACCESS_CONTROL_MAX_AGE, MAX_AGE_S))
            .finish();
        return Ok(request.into_response(answer));
    }
    Ok(next.call(request).await?.map_into_boxed_body())
}

fn is_preflight(request: &ServiceRequest) -> bool {
    let has = |name| request.headers().contains_key(name);
    request.method() == Method::OPTIONS
        && has(header::ORIGIN)
        && has(header::ACCESS_CONTROL_REQUEST_METHOD)
}
