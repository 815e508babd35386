//! Reading a request: its body, its ids, its headers.

use hoiam_api::{Code, FieldErrors, Problem};
use hoiam_supervision::spawn_unit;

use actix_web::http::header;
use actix_web::{HttpMessage, HttpRequest};
use diesel::QueryResult;
use std::time::Duration;
use url::Url;
use uuid::Uuid;

use super::auth::{Client, IdempotencyScope, SeesAll};
use super::body::{self, Body};
use crate::db::history::is_of;
use crate::db::{Db, Tx};
use crate::outbound::guard::{Policy, check_url};

/// Reads a JSON body up to `limit` bytes, a byte order mark included, which is
/// left out of what comes back.
///
/// # Errors
/// 415 for another content type, 400 when it is not UTF-8 by its byte order mark,
/// and those of [`body::read`].
pub async fn json_body(
    request: &HttpRequest,
    payload: actix_web::web::Payload,
    limit: usize,
) -> Result<Body, Problem> {
    let kind = request
        .headers()
        .get(header::CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok())
        .unwrap_or_default();
    let essence = kind.split(';').next().unwrap_or_default().trim();
    if !essence.eq_ignore_ascii_case("application/json") {
        return Err(Problem::new(
            Code::UnsupportedMediaType,
            "Send the body with content-type: application/json.",
        ));
    }
    let body = body::read(request, payload, limit).await?;
    body.try_map(without_bom)
}

/// Editors and .NET begin UTF-8 with a byte order mark; RFC 8259 8.1 lets a
/// reader pass over it. UTF-16 without one is told by its zero bytes: JSON
/// begins with two ASCII characters, or is one.
fn without_bom(mut body: Vec<u8>) -> Result<Vec<u8>, Problem> {
    let encoding = match body.as_slice() {
        [0xef, 0xbb, 0xbf, ..] => {
            body.drain(..3);
            return Ok(body);
        }
        [0xff, 0xfe, 0, 0, ..] | [0, 0, 0xfe, 0xff, ..] => "UTF-32",
        [0xff, 0xfe, ..] | [b'{' | b'[', 0, ..] => "UTF-16 (little-endian)",
        [0xfe, 0xff, ..] | [0, b'{' | b'[', ..] => "UTF-16 (big-endian)",
        _ => return Ok(body),
    };
    let detail = format!("The body is in {encoding}; send JSON in UTF-8 (RFC 8259 8.1).");
    Err(Problem::new(Code::Malformed, detail))
}

/// An id out of a path.
///
/// # Errors
/// 404: a malformed id names nothing.
pub fn id(text: &str) -> Result<Uuid, Problem> {
    Uuid::try_parse(text).map_err(|_| {
        Problem::not_found(format_args!(
            "id `{}`",
            text.chars().take(64).collect::<String>()
        ))
    })
}

/// The `Idempotency-Key` with its scope, if there is one.
///
/// # Errors
/// 400 when it is neither 1 to 128 of `[A-Za-z0-9._~-]` nor as many
/// characters in quotes.
pub fn idempotency_key(request: &HttpRequest) -> Result<Option<String>, Problem> {
    let Some(value) = request.headers().get("idempotency-key") else {
        return Ok(None);
    };
    let key = value.to_str().ok().and_then(read_key).ok_or_else(|| {
        Problem::new(
            Code::Malformed,
            r#"Idempotency-Key must be 1 to 128 of A-Z a-z 0-9 . _ ~ - or, in double quotes, of any printable ASCII, with \" and \\ for " and \."#,
        )
    })?;
    let scope = request
        .extensions()
        .get::<IdempotencyScope>()
        .map_or_else(|| "-".to_owned(), |scope| scope.0.clone());
    Ok(Some(format!("{scope}/{key}")))
}

/// Whose request it is: the name of its API key, empty without keys.
#[must_use]
pub fn client(request: &HttpRequest) -> String {
    let extensions = request.extensions();
    let client = extensions.get::<Client>().cloned();
    client.unwrap_or_default().0
}

/// Whose work the request may see and change; `None` is everybody's.
#[must_use]
pub fn seen_client(request: &HttpRequest) -> Option<String> {
    let sees_all = request.extensions().contains::<SeesAll>();
    (!sees_all).then(|| client(request))
}

/// Whether the request may see and change what is this client's.
#[must_use]
pub fn sees(request: &HttpRequest, client: &str) -> bool {
    seen_client(request).is_none_or(|seen| seen == client)
}

/// Refuses what is another client's as if it were not there. Whose it is never
/// changes, so this may be asked before an operation.
///
/// # Errors
/// 404, or 503 when the store cannot say.
pub async fn check_client(
    request: &HttpRequest,
    db: &Db,
    id: Uuid,
    what: &str,
) -> Result<(), Problem> {
    let Some(client) = seen_client(request) else {
        return Ok(());
    };
    let service = db.service();
    let is_seen = db.read(move |conn| is_of(conn, service, id, Some(&client)));
    match is_seen.await? {
        true => Ok(()),
        false => Err(Problem::not_found(what)),
    }
}

/// A key as it is, or in quotes as
/// draft-ietf-httpapi-idempotency-key-header writes it; both mean the same.
fn read_key(text: &str) -> Option<String> {
    let is_bare = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'~' | b'-');
    let key = match text.strip_prefix('"') {
        Some(quoted) => unquoted(quoted)?,
        None => Some(text.to_owned()).filter(|text| text.bytes().all(is_bare))?,
    };
    (1..=128).contains(&key.len()).then_some(key)
}

/// What a string of RFC 8941 (3.3.3) says, from behind its first quote.
fn unquoted(text: &str) -> Option<String> {
    let mut said = String::new();
    let mut left = text.chars();
    loop {
        match left.next()? {
            '"' => return left.as_str().is_empty().then_some(said),
            '\\' => said.push(left.next().filter(|c| matches!(c, '"' | '\\'))?),
            c @ ' '..='~' => said.push(c),
            _ => return None,
        }
    }
}

/// How long `Prefer: wait=20` (RFC 7240 4.3) may wait, at most a minute.
#[must_use]
pub fn preferred_wait(request: &HttpRequest) -> Option<Duration> {
    let prefer = request.headers().get("prefer")?.to_str().ok()?;
    let seconds: u64 = prefer
        .split([',', ';'])
        .find_map(|part| part.trim().strip_prefix("wait=")?.parse().ok())?;
    Some(Duration::from_secs(seconds.min(60)))
}

/// Checks a callback URL as far as that is possible without asking a name
/// server.
pub fn check_callback_url(policy: &Policy, url: Option<&str>, errors: &mut FieldErrors) {
    let Some(url) = url else { return };
    let parsed = match Url::parse(url) {
        Ok(parsed) => parsed,
        Err(error) => {
            let detail = format!("`callback_url` is not a URL: {error}.");
            return errors.add("/callback_url", "invalid_url", detail);
        }
    };
    if let Err(forbidden) = check_url(policy, &parsed) {
        errors.add("/callback_url", forbidden.code(), forbidden.to_string());
    }
}

/// Runs an operation, then `hint`, to their end also when the client hangs up: a
/// commit whose hint nobody heard would wait for the next one.
///
/// # Errors
/// 503 when the store cannot take it, 500 when the operation panics.
pub async fn commit<T, F>(
    db: &Db,
    operation: F,
    hint: impl FnOnce(&T) + 'static,
) -> Result<T, Problem>
where
    T: Send + 'static,
    F: FnMut(&mut Tx<'_>) -> QueryResult<T> + Send + 'static,
{
    let db = db.clone();
    let unit = spawn_unit(async move {
        let committed = db.write(operation).await;
        committed.inspect(hint)
    });
    let committed = unit.await;
    Ok(committed.map_err(|failure| Problem::new(Code::Internal, failure.to_string()))??)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_means_the_same_in_quotes_and_without() {
        let long = "k".repeat(128);
        for (given, key) in [
            ("8e03978e-40d5", Some("8e03978e-40d5")),
            (r#""8e03978e-40d5""#, Some("8e03978e-40d5")),
            (r#""a b/c""#, Some("a b/c")),
            (r#""a\"b\\c""#, Some(r#"a"b\c"#)),
            (long.as_str(), Some(long.as_str())),
            (&format!("\"{long}\""), Some(long.as_str())),
            ("", None),
            (r#""""#, None),
            ("a b", None),
            ("a/b", None),
            (r#"""#, None),
            (r#""open"#, None),
            (r#"closed""#, None),
            (r#""a"b"#, None),
            (r#""a";p=1"#, None),
            (r#""a\b""#, None),
            (r#""a\"#, None),
            ("\"a\tb\"", None),
            (&format!("\"{long}k\""), None),
        ] {
            assert_eq!(read_key(given).as_deref(), key, "{given}");
        }
    }
}
