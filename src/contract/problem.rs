//! Problem answers (RFC 9457) and their stable codes.

use serde::Serialize;

/// Every code a problem answer can carry. The exhaustive matches below make
/// a new code decide its status, its title and whether a repeat can help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// The body or a header cannot be read at all.
    Malformed,
    /// No key, or not a known one.
    Unauthorized,
    /// The Host header names another host than this loopback listener.
    WrongHost,
    /// A page of this origin may change nothing on this loopback listener.
    WrongOrigin,
    /// The key is known, and may not do this.
    WrongScope,
    /// Nothing is under this id or path.
    NotFound,
    /// The path exists, the method does not.
    MethodNotAllowed,
    /// It has ended in another state than the one asked for.
    AlreadyEnded,
    /// It has to end first.
    NotEnded,
    /// The result is not there yet.
    NotReady,
    /// The result was there and is gone (retention, or it never came).
    Expired,
    /// A callback for a task that does not exist (any more).
    NoSuchTask,
    /// The body is over the limit.
    TooLarge,
    /// The body is not `application/json`.
    UnsupportedMediaType,
    /// Well-formed, but not acceptable: `errors` has every fault.
    InvalidRequest,
    /// The same key or id was used with another request.
    IdempotencyConflict,
    /// Too much is waiting already.
    QueueFull,
    /// Too much of this client's is waiting already; others may be let in.
    ShareFull,
    /// The service cannot answer just now: starting, stopping, store down.
    Unavailable,
    /// A bug of ours.
    Internal,
}

impl Code {
    /// Every code.
    pub const ALL: &'static [Self] = &[
        Self::Malformed,
        Self::Unauthorized,
        Self::WrongHost,
        Self::WrongOrigin,
        Self::WrongScope,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::AlreadyEnded,
        Self::NotEnded,
        Self::NotReady,
        Self::Expired,
        Self::NoSuchTask,
        Self::TooLarge,
        Self::UnsupportedMediaType,
        Self::InvalidRequest,
        Self::IdempotencyConflict,
        Self::QueueFull,
        Self::ShareFull,
        Self::Unavailable,
        Self::Internal,
    ];

    /// The code on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Unauthorized => "unauthorized",
            Self::WrongHost => "wrong_host",
            Self::WrongOrigin => "wrong_origin",
            Self::WrongScope => "wrong_scope",
            Self::NotFound => "not_found",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::AlreadyEnded => "already_ended",
            Self::NotEnded => "not_ended",
            Self::NotReady => "not_ready",
            Self::Expired => "expired",
            Self::NoSuchTask => "no_such_task",
            Self::TooLarge => "too_large",
            Self::UnsupportedMediaType => "unsupported_media_type",
            Self::InvalidRequest => "invalid_request",
            Self::IdempotencyConflict => "idempotency_conflict",
            Self::QueueFull => "queue_full",
            Self::ShareFull => "share_full",
            Self::Unavailable => "unavailable",
            Self::Internal => "internal",
        }
    }

    /// The HTTP status.
    #[must_use]
    pub fn status(self) -> u16 {
        match self {
            Self::Malformed => 400,
            Self::Unauthorized => 401,
            Self::WrongHost | Self::WrongOrigin | Self::WrongScope => 403,
            Self::NotFound => 404,
            Self::MethodNotAllowed => 405,
            Self::AlreadyEnded | Self::NotEnded | Self::NotReady => 409,
            Self::Expired | Self::NoSuchTask => 410,
            Self::TooLarge => 413,
            Self::UnsupportedMediaType => 415,
            Self::InvalidRequest | Self::IdempotencyConflict => 422,
            Self::QueueFull | Self::ShareFull => 429,
            Self::Unavailable => 503,
            Self::Internal => 500,
        }
    }

    /// A short title, the same for every problem of this code.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Malformed => "The request cannot be read",
            Self::Unauthorized => "An API key is needed",
            Self::WrongHost => "This listener does not serve that host",
            Self::WrongOrigin => "A page of that origin may not change anything here",
            Self::WrongScope => "The API key may not do this",
            Self::NotFound => "Nothing is here",
            Self::MethodNotAllowed => "The method is not allowed here",
            Self::AlreadyEnded => "It has already ended otherwise",
            Self::NotEnded => "It has not ended yet",
            Self::NotReady => "The result is not there yet",
            Self::Expired => "The result is gone",
            Self::NoSuchTask => "There is no such task",
            Self::TooLarge => "The body is too large",
            Self::UnsupportedMediaType => "The body must be application/json",
            Self::InvalidRequest => "The request is not acceptable",
            Self::IdempotencyConflict => "The same id or key was used with another request",
            Self::QueueFull => "Too much is waiting already",
            Self::ShareFull => "Too much of yours is waiting already",
            Self::Unavailable => "The service cannot answer just now",
            Self::Internal => "This is a bug of ours",
        }
    }

    /// Whether the same request can succeed later.
    #[must_use]
    pub fn retryable(self) -> bool {
        matches!(
            self,
            Self::NotReady
                | Self::NotEnded
                | Self::QueueFull
                | Self::ShareFull
                | Self::Unavailable
                | Self::Internal
        )
    }
}

/// What an engine or the system has said, with names of files in place of their paths:
/// clients read it, and where things are on the server is none of theirs.
#[must_use]
pub fn without_paths(text: &str) -> String {
    let is_border = |c: char| c.is_whitespace() || "\"'`(),;=".contains(c);
    let mut told = String::with_capacity(text.len());
    for word in text.split_inclusive(is_border) {
        let is_path = ["/", "./", "../", "~/"]
            .iter()
            .any(|root| word.starts_with(root));
        let name = match word.rsplit_once('/') {
            Some((_, name)) if is_path => name,
            _ => word,
        };
        told.push_str(name);
    }
    told
}

/// One thing that is wrong with one field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// JSON pointer (RFC 6901) into the body, or the name of a header or a
    /// query parameter.
    pub pointer: String,
    /// Stable.
    pub code: &'static str,
    /// For people: what is wrong and what is allowed.
    pub detail: String,
    /// Nearest allowed values, best first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub suggestions: Vec<String>,
}

/// Gathers every fault of a request, so that all are told at once.
#[derive(Debug, Default)]
pub struct Faults(Vec<Fault>);

impl Faults {
    /// Notes one fault.
    pub fn add(
        &mut self,
        pointer: impl Into<String>,
        code: &'static str,
        detail: impl Into<String>,
    ) {
        self.suggest(pointer, code, detail, Vec::new());
    }

    /// Notes one fault with nearest allowed values.
    pub fn suggest(
        &mut self,
        pointer: impl Into<String>,
        code: &'static str,
        detail: impl Into<String>,
        suggestions: Vec<String>,
    ) {
        self.0.push(Fault {
            pointer: pointer.into(),
            code,
            detail: detail.into(),
            suggestions,
        });
    }

    /// Whether nothing was wrong.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// # Errors
    /// `invalid_request` with every fault, if there was one.
    pub fn into_result(self) -> Result<(), Problem> {
        if self.0.is_empty() {
            return Ok(());
        }
        let detail = self
            .0
            .iter()
            .map(|fault| fault.detail.as_str())
            .collect::<Vec<_>>()
            .join(" ");
        Err(Problem {
            errors: self.0,
            ..Problem::new(Code::InvalidRequest, detail)
        })
    }
}

/// A problem answer; the edge adds `type`, `instance` and `request_id`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Decides status, title and whether a repeat can help.
    pub code: Code,
    /// What happened here and what to do.
    pub detail: String,
    /// Seconds for the Retry-After header; 429, 503 and `not_ready` have it.
    pub retry_after_s: Option<u32>,
    /// For bad input: every fault.
    pub errors: Vec<Fault>,
}

impl Problem {
    /// A problem without faults; 429 and 503 get a Retry-After of a second.
    #[must_use]
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        let is_soon_over = matches!(
            code,
            Code::QueueFull | Code::ShareFull | Code::Unavailable | Code::NotReady
        );
        Self {
            code,
            detail: detail.into(),
            retry_after_s: is_soon_over.then_some(1),
            errors: Vec::new(),
        }
    }

    /// 404 for an id or a path.
    #[must_use]
    pub fn not_found(what: impl std::fmt::Display) -> Self {
        Self::new(Code::NotFound, format!("There is no {what}."))
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.code.as_str(), self.detail)
    }
}

impl std::error::Error for Problem {}

#[cfg(test)]
mod tests {
    use super::without_paths;

    #[test]
    fn a_path_of_the_server_is_told_by_its_last_name_and_nothing_else_changes() {
        for (said, told) in [
            (
                "/var/lib/hoiam/voices/joe.onnx is not the model of a Piper voice: no file",
                "joe.onnx is not the model of a Piper voice: no file",
            ),
            (
                "cannot open (`./data/voices/a.json`): os error 2",
                "cannot open (`a.json`): os error 2",
            ),
            (
                "libespeak-ng.so.1: '/usr/lib/x/y.so: bad'",
                "libespeak-ng.so.1: 'y.so: bad'",
            ),
            (
                "piper/en_US-joe has 1/2 of it",
                "piper/en_US-joe has 1/2 of it",
            ),
        ] {
            assert_eq!(without_paths(said), told);
        }
    }
}
