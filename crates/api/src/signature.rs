//! How a callback and a file link prove where they come from.
//!
//! Callbacks follow Standard Webhooks, symmetric scheme `v1`
//! (<https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>):
//! HMAC-SHA256 over `id.timestamp.body`, in base64, behind `v1,`.
//!
//! File links carry an HMAC-SHA256 over their end and their path, made with a
//! key derived from the same secret. So neither kind of signature can ever be
//! passed off as the other.

use std::fmt;

use base64::Engine as _;
use base64::alphabet::STANDARD as STANDARD_ALPHABET;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

/// How far a callback's timestamp may lie from our own clock, in seconds,
/// before or after: five minutes, as the libraries of Standard Webhooks have it.
pub const TOLERANCE_S: i64 = 300;

/// How many secrets sign: the new one and the one it replaces, so that a
/// receiver who knows only one of them goes on accepting during a change.
pub const SIGNING_SECRETS: usize = 2;

const PREFIX: &str = "whsec_";
const VERSION: &str = "v1,";
const MIN_BYTES: usize = 24;
const MAX_BYTES: usize = 64;
const GENERATED_BYTES: usize = 32;

/// Names the purpose of the derived key; changing it ends every link given out.
const LINK_KEY_PURPOSE: &[u8] = b"hoiam file link v1";

/// People copy secrets with and without the padding.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &STANDARD_ALPHABET,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A shared secret: 24 to 64 bytes, written `whsec_` and base64.
///
/// It has no `Display`, and `Debug` shows nothing of it; [`Secret::reveal`] is
/// the one way to read it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

/// Why a text is no [`Secret`]. It never repeats the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// It does not begin with `whsec_`.
    #[error("a secret begins with `{PREFIX}`")]
    Prefix,
    /// What follows the prefix is not base64.
    #[error("what follows `{PREFIX}` in a secret must be base64")]
    Base64,
    /// It holds fewer than 24 or more than 64 bytes.
    #[error("a secret holds {MIN_BYTES} to {MAX_BYTES} bytes; this one holds {0}")]
    Length(usize),
}

impl Secret {
    /// Reads `whsec_` and base64, with or without padding.
    ///
    /// # Errors
    ///
    /// [`SecretError`] says which of the three rules is broken.
    pub fn parse(text: &str) -> Result<Self, SecretError> {
        let encoded = text.strip_prefix(PREFIX).ok_or(SecretError::Prefix)?;
        let bytes = LENIENT.decode(encoded).map_err(|_| SecretError::Base64)?;
        if (MIN_BYTES..=MAX_BYTES).contains(&bytes.len()) {
            Ok(Self(bytes))
        } else {
            Err(SecretError::Length(bytes.len()))
        }
    }

    /// Makes a new secret of 32 random bytes.
    ///
    /// # Errors
    ///
    /// The system has no source of randomness to offer.
    pub fn generate() -> Result<Self, getrandom::Error> {
        let mut bytes = vec![0; GENERATED_BYTES];
        getrandom::fill(&mut bytes)?;
        Ok(Self(bytes))
    }

    /// The secret as it is written into a configuration: `whsec_` and base64.
    #[must_use]
    pub fn reveal(&self) -> String {
        format!("{PREFIX}{}", STANDARD.encode(&self.0))
    }

    /// The HMAC over a callback, not yet finished.
    fn over_callback(&self, id: &str, timestamp: &str, body: &[u8]) -> Hmac<Sha256> {
        let mut mac = keyed(&self.0);
        for part in [id.as_bytes(), b".", timestamp.as_bytes(), b".", body] {
            mac.update(part);
        }
        mac
    }

    /// The HMAC over a file link, not yet finished.
    fn over_link(&self, path: &str, expires_s: i64) -> Hmac<Sha256> {
        let mut derivation = keyed(&self.0);
        derivation.update(LINK_KEY_PURPOSE);
        let mut mac = keyed(&derivation.finalize().into_bytes());
        mac.update(expires_s.to_string().as_bytes());
        mac.update(b"\n");
        mac.update(path.as_bytes());
        mac
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(hidden)")
    }
}

/// An HMAC takes a key of any length, so this cannot fail; the empty key stands
/// in for the branch that is never taken.
fn keyed(key: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).unwrap_or_else(|_| Hmac::new(&Default::default()))
}

/// Why a signature is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// One of the headers, or one of the link's parameters, is not there.
    #[error("The signature is missing.")]
    Missing,
    /// They are there and cannot be read.
    #[error("The signature cannot be read.")]
    Malformed,
    /// The signature is right, but too old or from the future.
    #[error(
        "The signature is right, but its time has passed or lies ahead. \
         Ask for a new one, or compare the clocks of both machines."
    )]
    Stale,
    /// No secret of ours makes this signature.
    #[error(
        "The signature fits none of the secrets here. \
         Both sides need the same callback.secrets."
    )]
    Wrong,
}

impl SignatureError {
    /// The stable code: `missing`, `malformed`, `stale` or `wrong`.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Malformed => "malformed",
            Self::Stale => "stale",
            Self::Wrong => "wrong",
        }
    }
}

/// The value of `webhook-signature`: one `v1,…` for each of the first two
/// secrets, with a space between.
///
/// `id` is the value of `webhook-id` and must hold no dot; `timestamp_s` is the
/// time of this attempt in Unix seconds; `body` is signed exactly as it is sent.
#[must_use]
pub fn sign(secrets: &[Secret], id: &str, timestamp_s: i64, body: &[u8]) -> String {
    let timestamp = timestamp_s.to_string();
    secrets
        .iter()
        .take(SIGNING_SECRETS)
        .map(|secret| {
            let mac = secret.over_callback(id, &timestamp, body);
            format!("{VERSION}{}", STANDARD.encode(mac.finalize().into_bytes()))
        })
        .collect::<Vec<_>>()
        .join(" ")
}

/// A callback as it arrived: three headers, if they were there, and the body.
#[derive(Debug, Clone, Copy)]
pub struct Received<'a> {
    /// `webhook-id`.
    pub id: Option<&'a str>,
    /// `webhook-timestamp`: Unix seconds, in decimal.
    pub timestamp: Option<&'a str>,
    /// `webhook-signature`: signatures with spaces between; those of versions
    /// other than `v1` are passed over.
    pub signature: Option<&'a str>,
    /// The bytes of the body, unchanged.
    pub body: &'a [u8],
}

/// The three headers, read.
struct Head<'a> {
    id: &'a str,
    timestamp: &'a str,
    signed_at_s: i64,
    candidates: Vec<Vec<u8>>,
}

impl<'a> Received<'a> {
    /// Whether the headers can be those of a signed callback, which is known before
    /// there is a body.
    ///
    /// # Errors
    ///
    /// `Missing` or `Malformed`.
    pub fn check_headers(&self) -> Result<(), SignatureError> {
        self.head().map(drop)
    }

    fn head(&self) -> Result<Head<'a>, SignatureError> {
        let (Some(id), Some(timestamp), Some(signature)) =
            (self.id, self.timestamp, self.signature)
        else {
            return Err(SignatureError::Missing);
        };
        let signed_at_s = timestamp.parse().map_err(|_| SignatureError::Malformed)?;
        let candidates: Vec<Vec<u8>> = signature
            .split(' ')
            .filter_map(|one| one.strip_prefix(VERSION))
            .filter_map(|encoded| STANDARD.decode(encoded).ok())
            .collect();
        if candidates.is_empty() {
            return Err(SignatureError::Malformed);
        }
        Ok(Head {
            id,
            timestamp,
            signed_at_s,
            candidates,
        })
    }
}

/// Accepts a callback that one of `secrets` signed and whose timestamp lies
/// within [`TOLERANCE_S`] of `now_s` (Unix seconds). Compares in constant time.
///
/// # Errors
///
/// [`SignatureError`]. `Stale` is said only of a right signature, so it means
/// what it says: a replay, or clocks that differ.
pub fn verify(
    secrets: &[Secret],
    received: &Received<'_>,
    now_s: i64,
) -> Result<(), SignatureError> {
    let head = received.head()?;
    let genuine = secrets.iter().any(|secret| {
        let mac = secret.over_callback(head.id, head.timestamp, received.body);
        fits_any(&mac, &head.candidates)
    });
    if !genuine {
        return Err(SignatureError::Wrong);
    }
    if head.signed_at_s.abs_diff(now_s) > TOLERANCE_S.unsigned_abs() {
        return Err(SignatureError::Stale);
    }
    Ok(())
}

/// The signature of a file link, made with the first secret: 43 characters that
/// need no escaping in a URL. Empty when there is no secret.
///
/// `path` is the path of the URL without its query; `expires_s` is the last Unix
/// second at which the link is good. The host is left out, so that a link
/// survives a proxy that changes it.
#[must_use]
pub fn sign_link(secrets: &[Secret], path: &str, expires_s: i64) -> String {
    secrets.first().map_or_else(String::new, |secret| {
        let mac = secret.over_link(path, expires_s);
        URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes())
    })
}

/// Accepts a link that one of `secrets` signed and that has not ended at
/// `now_s` (Unix seconds). Compares in constant time.
///
/// # Errors
///
/// [`SignatureError`]; `Stale` is a genuine link that has ended.
pub fn verify_link(
    secrets: &[Secret],
    path: &str,
    expires_s: i64,
    signature: &str,
    now_s: i64,
) -> Result<(), SignatureError> {
    if signature.is_empty() {
        return Err(SignatureError::Missing);
    }
    let candidate = URL_SAFE_NO_PAD
        .decode(signature)
        .map_err(|_| SignatureError::Malformed)?;
    let candidates = [candidate];
    if !secrets
        .iter()
        .any(|secret| fits_any(&secret.over_link(path, expires_s), &candidates))
    {
        return Err(SignatureError::Wrong);
    }
    if now_s > expires_s {
        return Err(SignatureError::Stale);
    }
    Ok(())
}

/// `verify_slice` compares in constant time.
fn fits_any(mac: &Hmac<Sha256>, candidates: &[Vec<u8>]) -> bool {
    candidates
        .iter()
        .any(|candidate| mac.clone().verify_slice(candidate).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW_S: i64 = 1_795_330_800;

    fn secret(byte: u8) -> Secret {
        Secret::parse(&format!("whsec_{}", STANDARD.encode([byte; 32]))).unwrap()
    }

    fn received<'a>(id: &'a str, timestamp: &'a str, signature: &'a str) -> Received<'a> {
        Received {
            id: Some(id),
            timestamp: Some(timestamp),
            signature: Some(signature),
            body: b"{}",
        }
    }

    #[test]
    fn the_published_test_vector_comes_out() {
        let secrets = [Secret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap()];
        let signature = sign(
            &secrets,
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1_614_265_330,
            br#"{"test": 2432232314}"#,
        );
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn the_first_two_secrets_sign_and_all_verify() {
        let secrets = [secret(1), secret(2), secret(3)];
        let both = sign(&secrets, "msg_1", NOW_S, b"{}");
        let each: Vec<&str> = both.split(' ').collect();
        assert_eq!(each.len(), 2);
        assert_eq!(each[0], sign(&secrets[..1], "msg_1", NOW_S, b"{}"));
        assert_eq!(each[1], sign(&secrets[1..2], "msg_1", NOW_S, b"{}"));
        let by_the_third = sign(&secrets[2..], "msg_1", NOW_S, b"{}");
        let timestamp = NOW_S.to_string();
        for signature in [each[0], each[1], &by_the_third] {
            let received = received("msg_1", &timestamp, signature);
            assert_eq!(verify(&secrets, &received, NOW_S), Ok(()));
        }
    }

    #[test]
    fn what_cannot_be_signed_is_known_before_there_is_a_body() {
        let good = received("msg_1", "1", "v1,aaaa");
        assert_eq!(good.check_headers(), Ok(()));
        for (received, error) in [
            (Received { id: None, ..good }, SignatureError::Missing),
            (
                Received {
                    timestamp: None,
                    ..good
                },
                SignatureError::Missing,
            ),
            (
                Received {
                    signature: None,
                    ..good
                },
                SignatureError::Missing,
            ),
            (
                received("msg_1", "now", "v1,aaaa"),
                SignatureError::Malformed,
            ),
            (received("msg_1", "1", "v2,aaaa"), SignatureError::Malformed),
            (received("msg_1", "1", "v1,-"), SignatureError::Malformed),
        ] {
            assert_eq!(received.check_headers(), Err(error), "{received:?}");
        }
    }

    #[test]
    fn five_minutes_off_is_accepted_and_one_second_more_is_stale() {
        let secrets = [secret(1)];
        for (offset, expected) in [
            (-301, Err(SignatureError::Stale)),
            (-300, Ok(())),
            (300, Ok(())),
            (301, Err(SignatureError::Stale)),
        ] {
            let signed_at = NOW_S + offset;
            let signature = sign(&secrets, "msg_1", signed_at, b"{}");
            let timestamp = signed_at.to_string();
            let received = received("msg_1", &timestamp, &signature);
            assert_eq!(verify(&secrets, &received, NOW_S), expected, "{offset}");
        }
    }

    #[test]
    fn a_forged_timestamp_is_wrong_and_not_stale() {
        let secrets = [secret(1)];
        let signature = sign(&secrets, "msg_1", NOW_S, b"{}");
        let received = received("msg_1", "1", &signature);
        assert_eq!(
            verify(&secrets, &received, NOW_S),
            Err(SignatureError::Wrong)
        );
    }

    #[test]
    fn what_is_missing_malformed_or_wrong_is_told_apart() {
        let secrets = [secret(1)];
        let timestamp = NOW_S.to_string();
        let good = sign(&secrets, "msg_1", NOW_S, b"{}");
        let foreign = sign(&[secret(9)], "msg_1", NOW_S, b"{}");
        let cases = [
            ("msg_1", "soon", good.as_str(), SignatureError::Malformed),
            ("msg_1", &timestamp, "", SignatureError::Malformed),
            ("msg_1", &timestamp, "v1,@@", SignatureError::Malformed),
            ("msg_1", &timestamp, "v1a,AAAA", SignatureError::Malformed),
            ("msg_1", &timestamp, &foreign, SignatureError::Wrong),
            ("msg_2", &timestamp, &good, SignatureError::Wrong),
            ("msg_1", &timestamp, "v1,AAAA", SignatureError::Wrong),
        ];
        for (id, timestamp, signature, expected) in cases {
            let received = received(id, timestamp, signature);
            assert_eq!(
                verify(&secrets, &received, NOW_S),
                Err(expected),
                "{signature}"
            );
        }
        let whole = received("msg_1", &timestamp, &good);
        for incomplete in [
            Received { id: None, ..whole },
            Received {
                timestamp: None,
                ..whole
            },
            Received {
                signature: None,
                ..whole
            },
        ] {
            assert_eq!(
                verify(&secrets, &incomplete, NOW_S),
                Err(SignatureError::Missing)
            );
        }
        assert_eq!(
            verify(&[], &whole, NOW_S),
            Err(SignatureError::Wrong),
            "without a secret nothing is genuine"
        );
    }

    #[test]
    fn signatures_of_other_versions_are_passed_over() {
        let secrets = [secret(1)];
        let timestamp = NOW_S.to_string();
        let mixed = format!("v1a,AAAA {} v2,x", sign(&secrets, "msg_1", NOW_S, b"{}"));
        let received = received("msg_1", &timestamp, &mixed);
        assert_eq!(verify(&secrets, &received, NOW_S), Ok(()));
    }

    #[test]
    fn secrets_are_parsed_strictly_and_never_shown() {
        let of = |bytes: usize| format!("whsec_{}", STANDARD.encode(vec![7; bytes]));
        for (text, expected) in [
            (of(23), SecretError::Length(23)),
            (of(65), SecretError::Length(65)),
            ("whsec_?".to_owned(), SecretError::Base64),
            (of(32).replace("whsec_", ""), SecretError::Prefix),
        ] {
            assert_eq!(Secret::parse(&text), Err(expected), "{text}");
        }
        for bytes in [24, 32, 64] {
            let text = of(bytes);
            let secret = Secret::parse(&text).unwrap();
            assert_eq!(secret.reveal(), text);
            assert_eq!(Secret::parse(text.trim_end_matches('=')).unwrap(), secret);
            assert_eq!(format!("{secret:?}"), "Secret(hidden)");
        }
    }

    #[test]
    fn generated_secrets_differ_and_can_be_read_back() {
        let (one, other) = (Secret::generate().unwrap(), Secret::generate().unwrap());
        assert_ne!(one, other);
        assert_eq!(Secret::parse(&one.reveal()).unwrap(), one);
    }

    #[test]
    fn a_link_holds_for_its_path_and_its_time_only() {
        let (old, new) = (secret(1), secret(2));
        let path = "/v1/speech/0199/audio.mp3";
        let link = sign_link(std::slice::from_ref(&old), path, NOW_S);
        assert_eq!(link.len(), 43);
        let secrets = [new, old];
        let verdict = |path, expires_s, signature: &str, now_s| {
            verify_link(&secrets, path, expires_s, signature, now_s)
        };
        assert_eq!(verdict(path, NOW_S, &link, NOW_S), Ok(()));
        assert_eq!(
            verdict(path, NOW_S, &link, NOW_S + 1),
            Err(SignatureError::Stale)
        );
        assert_eq!(
            verdict(path, NOW_S + 60, &link, NOW_S),
            Err(SignatureError::Wrong),
            "its end cannot be moved"
        );
        assert_eq!(
            verdict("/v1/speech/0199/words.json", NOW_S, &link, NOW_S),
            Err(SignatureError::Wrong)
        );
        assert_eq!(
            verdict(path, NOW_S, "", NOW_S),
            Err(SignatureError::Missing)
        );
        assert_eq!(
            verdict(path, NOW_S, "a b", NOW_S),
            Err(SignatureError::Malformed)
        );
    }

    #[test]
    fn a_webhook_key_cannot_make_a_link_signature() {
        // The same bytes under the undivided secret give another signature.
        let secret = secret(1);
        let mut undivided = keyed(&secret.0);
        undivided.update(format!("{NOW_S}\n/a").as_bytes());
        let forged = URL_SAFE_NO_PAD.encode(undivided.finalize().into_bytes());
        assert_eq!(
            verify_link(&[secret], "/a", NOW_S, &forged, NOW_S),
            Err(SignatureError::Wrong)
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn the_reference_library_makes_the_same_signature(
            bytes in proptest::collection::vec(any::<u8>(), 24..=64),
            id in "[A-Za-z0-9_-]{1,40}",
            timestamp in 0_i64..4_000_000_000,
            body in ".{0,200}",
        ) {
            let text = format!("whsec_{}", STANDARD.encode(&bytes));
            let theirs = standardwebhooks::Webhook::new(&text).unwrap()
                .sign(&id, timestamp, body.as_bytes()).unwrap();
            let ours = sign(&[Secret::parse(&text).unwrap()], &id, timestamp, body.as_bytes());
            prop_assert_eq!(ours, theirs);
        }

        #[test]
        fn a_changed_body_is_never_accepted(
            body in proptest::collection::vec(any::<u8>(), 1..100),
            at in any::<prop::sample::Index>(),
            flip in 1_u8..,
        ) {
            let secrets = [secret(1)];
            let timestamp = NOW_S.to_string();
            let signature = sign(&secrets, "msg_1", NOW_S, &body);
            let mut changed = body.clone();
            changed[at.index(body.len())] ^= flip;
            let mut received = received("msg_1", &timestamp, &signature);
            received.body = &changed;
            prop_assert_eq!(verify(&secrets, &received, NOW_S), Err(SignatureError::Wrong));
            received.body = &body;
            prop_assert_eq!(verify(&secrets, &received, NOW_S), Ok(()));
        }
    }

    #[test]
    fn what_is_not_accepted_says_what_is_wrong_with_it() {
        use SignatureError::{Malformed, Missing, Stale, Wrong};
        let codes = [Missing, Malformed, Stale, Wrong].map(|error| {
            let words = error.to_string();
            assert!(words.starts_with("The signature "), "{words}");
            error.code()
        });
        assert_eq!(codes, ["missing", "malformed", "stale", "wrong"]);
        let secrets = ["secret", "whsec_!", "whsec_AAAA"].map(|text| {
            let error = Secret::parse(text).unwrap_err();
            error.to_string()
        });
        let words = [
            "a secret begins with `whsec_`",
            "what follows `whsec_` in a secret must be base64",
            "a secret holds 24 to 64 bytes; this one holds 3",
        ];
        assert_eq!(secrets, words);
    }
}
