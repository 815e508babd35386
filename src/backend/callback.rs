//! `POST /v1/callbacks`: where the TTS service reports. One signature check,
//! one commit, and hints; the fetch is an action, so that a process that
//! calls itself cannot lock itself up.

use actix_web::{HttpRequest, HttpResponse, web};
use hoiam_api::signature::{Received, SignatureError, verify};
use hoiam_api::{Code, DeliveryType, Problem, Speech};
use serde::Deserialize;

use super::messages::ResultKnown;
use super::state::BackendState;
use super::store;
use crate::db::Tx;
use crate::delivery::DeliveryEnqueued;
use crate::http::problem::Answer;
use crate::http::{body, request};

/// The largest callback that is read. One is a resource, with 4 KiB of metadata at most.
const MAX_BYTES: usize = 256 << 10;

#[derive(Deserialize)]
struct Envelope {
    #[serde(rename = "type")]
    kind: String,
    data: serde_json::Value,
}

/// Applies a signed callback; a repeat changes nothing.
///
/// # Errors
/// 401 when it is not ours, 410 when the task does not exist, 503 when the
/// store cannot take it, and those of [`body::read`].
pub async fn callbacks(
    state: web::Data<BackendState>,
    request: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, Answer> {
    let header = |name: &str| {
        request
            .headers()
            .get(name)
            .and_then(|value| value.to_str().ok())
    };
    let mut received = Received {
        id: header("webhook-id"),
        timestamp: header("webhook-timestamp"),
        signature: header("webhook-signature"),
        body: &[],
    };
    let not_ours = |error: SignatureError| {
        let detail = format!(
            "The callback's signature is not acceptable: {}.",
            error.code()
        );
        Problem::new(Code::Unauthorized, detail)
    };
    // Anybody may ask here, so whoever cannot have signed is not listened to.
    received.check_headers().map_err(not_ours)?;
    let body = body::read(&request, payload, MAX_BYTES).await?;
    received.body = &body;
    let now_s = state.resources.db.clock().wall().timestamp();
    verify(&state.secrets.in_force(), &received, now_s).map_err(not_ours)?;
    let envelope: Envelope = serde_json::from_slice(&body).map_err(|error| {
        Problem::new(
            Code::Malformed,
            format!("The callback cannot be read: {error}."),
        )
    })?;
    match DeliveryType::parse(&envelope.kind) {
        Some(DeliveryType::CallbackCheck) => return Ok(HttpResponse::NoContent().finish()),
        Some(kind) if kind.is_of_speech() => {}
        // We sign those too, and whoever may name a URL could have them sent here.
        _ => {
            let detail =
                "This takes speech.completed, speech.failed, speech.canceled and callback.check.";
            return Err(Problem::new(Code::Malformed, detail).into());
        }
    }
    let speech: Speech = serde_json::from_value(envelope.data).map_err(|error| {
        Problem::new(
            Code::Malformed,
            format!("The callback's data cannot be read: {error}."),
        )
    })?;
    let hints = state.hints.clone();
    let hint = move |_: &bool| {
        let _ = hints.backend.try_send(ResultKnown);
        let _ = hints.dispatcher.try_send(DeliveryEnqueued);
    };
    let operation = move |tx: &mut Tx<'_>| store::result_known(tx, &speech, "callback");
    let known = request::commit(&state.resources.db, operation, hint).await?;
    if !known {
        return Err(Problem::new(Code::NoSuchTask, "There is no task with this id here.").into());
    }
    Ok(HttpResponse::NoContent().finish())
}

/// The handshake of CloudEvents HTTP 1.1 Web Hooks 4: whoever asks may send.
pub async fn handshake(request: HttpRequest) -> HttpResponse {
    let mut answer = HttpResponse::Ok();
    if let Some(origin) = request.headers().get("webhook-request-origin") {
        answer.insert_header(("webhook-allowed-origin", origin.clone()));
    }
    answer.insert_header(("allow", "POST, OPTIONS")).finish()
}
