//! Signatures of callbacks, checked and made by `standardwebhooks`, which
//! shares no line with our own implementation.

use http::{HeaderMap, HeaderName, HeaderValue};
use standardwebhooks::{Webhook, WebhookError};

use super::peer::Request;

/// What both services sign with in tests, unless a test says otherwise.
pub const SECRET: &str = "whsec_dGhlIHNlY3JldCBvZiB0aGUgdGVzdHMsIDMyIGJ5dGU=";

/// Fails unless the callback is signed with `secret`, and just now.
#[track_caller]
pub fn assert_signed(callback: &Request, secret: &str) {
    if let Err(error) = verify(callback, secret) {
        panic!("{error}: {callback:?}");
    }
}

/// What a receiver that has this secret finds.
pub fn verify(callback: &Request, secret: &str) -> Result<(), WebhookError> {
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
    Webhook::new(secret)?.verify(callback.body(), &headers)
}

/// Which of the secrets signed the callback, in the order of its header; `None` is another.
pub fn signers(callback: &Request, secrets: &[&str]) -> Vec<Option<usize>> {
    let header = |name| callback.header(name).expect("a header of the signature");
    let at_s = header("webhook-timestamp").parse().expect("seconds");
    let made = |secret: &&str| {
        let webhook = Webhook::new(secret).expect("a secret");
        let made = webhook.sign(header("webhook-id"), at_s, callback.body());
        made.expect("a signature")
    };
    let made: Vec<String> = secrets.iter().map(made).collect();
    let given = header("webhook-signature").split(' ');
    given
        .map(|given| made.iter().position(|made| made == given))
        .collect()
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
