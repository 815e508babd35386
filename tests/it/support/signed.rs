//! Signatures of callbacks, checked and made by `standardwebhooks`, which
//! shares no line with our own implementation.

use http::{HeaderMap, HeaderName, HeaderValue};
use standardwebhooks::Webhook;

use super::peer::Request;

/// What both services sign with in tests, unless a test says otherwise.
pub const SECRET: &str = "whsec_dGhlIHNlY3JldCBvZiB0aGUgdGVzdHMsIDMyIGJ5dGU=";

/// Fails unless the callback is signed with `secret`, and just now.
#[track_caller]
pub fn assert_signed(callback: &Request, secret: &str) {
    let headers: HeaderMap = callback
        .message
        .headers
        .iter()
        .map(|(name, value)| {
            (
                HeaderName::try_from(name).expect("a header's name"),
                HeaderValue::try_from(value).expect("a header's value"),
            )
        })
        .collect();
    let webhook = Webhook::new(secret).expect("a secret");
    if let Err(error) = webhook.verify(callback.body(), &headers) {
        panic!("{error}: {callback:?}");
    }
}

/// The three headers of a callback that says `body` and was signed at `at_s`,
/// in seconds since 1970.
pub fn sign(secret: &str, id: &str, at_s: i64, body: &[u8]) -> [(&'static str, String); 3] {
    let webhook = Webhook::new(secret).expect("a secret");
    [
        ("webhook-id", id.to_owned()),
        ("webhook-timestamp", at_s.to_string()),
        (
            "webhook-signature",
            webhook.sign(id, at_s, body).expect("a signature"),
        ),
    ]
}
