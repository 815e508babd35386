//! Headers that a receiver wants with each callback, such as `Authorization`.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::problem::FieldErrors;

/// Headers of one request at most.
const MAX_HEADERS: usize = 8;
/// The longest value, in bytes.
pub const MAX_VALUE_BYTES: usize = 1024;
/// What is shorter is no secret, and stands in any text by chance.
const SHORTEST_SECRET: usize = 4;

/// Headers that HTTP, the signature or this service owns. What begins with one
/// of `REFUSED_PREFIXES` is refused too.
const REFUSED: [&str; 14] = [
    "accept-encoding",
    "connection",
    "expect",
    "host",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "trailers",
    "transfer-encoding",
    "upgrade",
    "user-agent",
];
const REFUSED_PREFIXES: [&str; 2] = ["content-", "webhook-"];

/// Names in lower case, each with its value. Values are secrets: they are shown
/// nowhere, and `Debug` tells only the names.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CallbackHeaders(BTreeMap<String, String>);

impl fmt::Debug for CallbackHeaders {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_set().entries(self.0.keys()).finish()
    }
}

impl CallbackHeaders {
    /// Reads an object of names and values that stands at `place`, a JSON pointer,
    /// and notes every error. No detail repeats a value.
    pub fn read(given: Value, place: &str, errors: &mut FieldErrors) -> Self {
        let Value::Object(given) = given else {
            let detail = "They must be an object of header names and values.";
            errors.add(place, "wrong_type", detail);
            return Self::default();
        };
        if given.len() > MAX_HEADERS {
            let detail = format!("At most {MAX_HEADERS} headers.");
            errors.add(place, "too_many", detail);
        }
        let mut read = BTreeMap::new();
        for (given, value) in given {
            let pointer = format!("{place}/{}", given.replace('~', "~0").replace('/', "~1"));
            let name = header_name(&given);
            let value = match value {
                Value::String(text) => header_value(&text),
                _ => Err(HeaderError::NotText),
            };
            match (name, value) {
                (Ok(name), Ok(value)) => {
                    if read.insert(name, value).is_some() {
                        let detail = "It is there in another case already.";
                        errors.add(pointer, "duplicate_header", detail);
                    }
                }
                (Err(allowed), _) => {
                    let detail = format!("A header's name must be {allowed}.");
                    errors.add(pointer, "invalid_header", detail);
                }
                (_, Err(allowed)) => {
                    let detail = format!("A header's value must be {allowed}.");
                    errors.add(pointer, "invalid_header", detail);
                }
            }
        }
        Self(read)
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// These, and of `defaults` those with other names.
    #[must_use]
    pub fn over(&self, defaults: &Self) -> Self {
        let mut all = defaults.0.clone();
        all.extend(self.0.clone());
        Self(all)
    }

    /// Names and values, to be sent.
    #[must_use]
    pub fn to_vec(&self) -> Vec<(String, String)> {
        self.0.clone().into_iter().collect()
    }

    /// A receiver's text without what it was sent: a whole value, or the part of one
    /// behind its scheme, as in `Bearer …`.
    #[must_use]
    pub fn hide_in(&self, text: String) -> String {
        let whole = self.0.values().map(String::as_str);
        let behind = whole.clone().filter_map(|value| value.split_once(' '));
        let secrets = whole.chain(behind.map(|(_, secret)| secret.trim()));
        let secrets = secrets.filter(|secret| secret.len() >= SHORTEST_SECRET);
        secrets.fold(text, |text, secret| text.replace(secret, "(hidden)"))
    }

    /// Where a check asks: `url`, and behind a `#`, which is never sent, a digest
    /// of the headers if there are any.
    #[must_use]
    pub fn target(&self, url: &str) -> String {
        if self.is_empty() {
            return url.to_owned();
        }
        let digest = Sha256::digest(serde_json::to_vec(self).unwrap_or_default());
        let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{url}#{digest}")
    }
}

/// From names that were read already: those of the configuration.
impl From<BTreeMap<String, String>> for CallbackHeaders {
    fn from(headers: BTreeMap<String, String>) -> Self {
        Self(headers)
    }
}

/// What a name or a value has to be instead, as the end of a sentence that begins with
/// "must be".
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// Somebody else decides on the value of this header.
    #[error(
        "none of those that HTTP or the signature owns: {}, content-*, webhook-*",
        REFUSED.join(", ")
    )]
    Owned,
    /// It is no name of a header.
    #[error("1 to 64 letters, digits and !#$%&'*+-.^_`|~ (RFC 9110 5.6.2)")]
    Name,
    /// The value is a number or the like.
    #[error("a string")]
    NotText,
    /// It cannot be sent as a value.
    #[error("1 to {MAX_VALUE_BYTES} printable ASCII characters without spaces around them")]
    Value,
}

/// The name in lower case.
///
/// # Errors
/// [`HeaderError::Owned`] and [`HeaderError::Name`].
pub fn header_name(text: &str) -> Result<String, HeaderError> {
    let is_token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    let name = text.to_ascii_lowercase();
    let is_refused = REFUSED.contains(&name.as_str())
        || REFUSED_PREFIXES
            .iter()
            .any(|prefix| name.starts_with(prefix));
    if is_refused {
        return Err(HeaderError::Owned);
    }
    if (1..=64).contains(&name.len()) && name.bytes().all(is_token) {
        return Ok(name);
    }
    Err(HeaderError::Name)
}

/// The value as it is sent.
///
/// # Errors
/// [`HeaderError::Value`].
pub fn header_value(text: &str) -> Result<String, HeaderError> {
    let fits = (1..=MAX_VALUE_BYTES).contains(&text.len())
        && text.bytes().all(|b| matches!(b, b' '..=b'~'))
        && text.trim() == text;
    fits.then(|| text.to_owned()).ok_or(HeaderError::Value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(given: Value) -> (CallbackHeaders, Vec<(String, &'static str)>) {
        let mut errors = FieldErrors::default();
        let headers = CallbackHeaders::read(given, "/callback_headers", &mut errors);
        let problem = errors.into_result().err();
        let told = problem.map_or_else(Vec::new, |problem| problem.errors);
        let told = told.into_iter().map(|error| (error.pointer, error.code));
        (headers, told.collect())
    }

    #[test]
    fn names_are_read_in_any_case_and_values_as_they_are() {
        let (headers, errors) = read(json!({ "X-Api-Key": "a b", "authorization": "Bearer t" }));
        assert_eq!(errors, []);
        let pair = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        let sent = [("authorization", "Bearer t"), ("x-api-key", "a b")].map(pair);
        assert_eq!(headers.to_vec(), sent);
    }

    #[test]
    fn what_http_or_the_signature_owns_is_refused_and_so_is_what_would_break_a_head() {
        let names = [
            "Host",
            "content-type",
            "Content-Length",
            "Webhook-Signature",
            "webhook-request-origin",
            "Transfer-Encoding",
            "Connection",
            "TE",
            "Expect",
            "User-Agent",
            "",
            "x y",
            "x:y",
            "x\r\ny",
            "tên",
        ];
        for name in names {
            let (_, errors) = read(json!({ name: "v" }));
            assert_eq!(errors.len(), 1, "{name}");
            assert_eq!(errors[0].1, "invalid_header", "{name}");
        }
        let long = "v".repeat(1025);
        for value in [
            "",
            " v",
            "v ",
            "a\r\nb: c",
            "a\nb",
            "a\tb",
            "ê",
            "\0",
            &long,
        ] {
            let (_, errors) = read(json!({ "x/~y": value, "x-y": value }));
            let pointers = ["/callback_headers/x-y", "/callback_headers/x~1~0y"];
            assert_eq!(errors.len(), 2, "{value}");
            for ((pointer, code), expected) in errors.iter().zip(pointers) {
                assert_eq!((pointer.as_str(), *code), (expected, "invalid_header"));
            }
        }
        let (headers, errors) = read(json!({ "x-y": "v".repeat(1024) }));
        assert_eq!((headers.is_empty(), errors), (false, vec![]));
    }

    #[test]
    fn too_many_the_same_twice_and_other_types_are_refused() {
        let at = |code| vec![("/callback_headers".to_owned(), code)];
        assert_eq!(read(json!("x: y")).1, at("wrong_type"));
        let many: BTreeMap<String, &str> = (0..9).map(|n| (format!("x-{n}"), "v")).collect();
        assert_eq!(read(json!(many)).1, at("too_many"));
        let twice = read(json!({ "X-Y": "1", "x-y": "2" })).1;
        assert_eq!(twice[0].1, "duplicate_header");
        assert_eq!(read(json!({ "x-y": 1 })).1[0].1, "invalid_header");
    }

    #[test]
    fn no_value_shows_where_headers_are_printed() {
        let (headers, _) = read(json!({ "authorization": "Bearer secret" }));
        assert_eq!(format!("{headers:?}"), r#"{"authorization"}"#);
        assert!(!headers.target("http://a/").contains("secret"));
    }

    #[test]
    fn a_request_s_own_header_wins_over_a_default_one() {
        let of = |given| read(given).0;
        let defaults = of(json!({ "x-a": "default", "x-b": "default" }));
        let all = of(json!({ "X-A": "own" })).over(&defaults);
        assert_eq!(all, of(json!({ "x-a": "own", "x-b": "default" })));
    }
}
