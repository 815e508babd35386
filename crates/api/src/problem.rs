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
    /// The body did not come in time, or too slowly.
    BodyTooSlow,
    /// The body is not `application/json`.
    UnsupportedMediaType,
    /// The range that is asked for begins behind the end.
    RangeNotSatisfiable,
    /// Well-formed, but not acceptable: `errors` has every error.
    InvalidRequest,
    /// The same key or id was used with another request.
    IdempotencyConflict,
    /// Too much is waiting already.
    QueueFull,
    /// Too much of this client's is waiting already; others may be let in.
    ShareFull,
    /// Too much is under way from this address.
    TooManyRequests,
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
        Self::BodyTooSlow,
        Self::UnsupportedMediaType,
        Self::RangeNotSatisfiable,
        Self::InvalidRequest,
        Self::IdempotencyConflict,
        Self::QueueFull,
        Self::ShareFull,
        Self::TooManyRequests,
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
            Self::BodyTooSlow => "body_too_slow",
            Self::UnsupportedMediaType => "unsupported_media_type",
            Self::RangeNotSatisfiable => "range_not_satisfiable",
            Self::InvalidRequest => "invalid_request",
            Self::IdempotencyConflict => "idempotency_conflict",
            Self::QueueFull => "queue_full",
            Self::ShareFull => "share_full",
            Self::TooManyRequests => "too_many_requests",
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
            Self::BodyTooSlow => 408,
            Self::TooLarge => 413,
            Self::UnsupportedMediaType => 415,
            Self::RangeNotSatisfiable => 416,
            Self::InvalidRequest | Self::IdempotencyConflict => 422,
            Self::QueueFull | Self::ShareFull | Self::TooManyRequests => 429,
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
            Self::BodyTooSlow => "The body took too long",
            Self::UnsupportedMediaType => "The body must be application/json",
            Self::RangeNotSatisfiable => "The file ends before that range",
            Self::InvalidRequest => "The request is not acceptable",
            Self::IdempotencyConflict => "The same id or key was used with another request",
            Self::QueueFull => "Too much is waiting already",
            Self::ShareFull => "Too much of yours is waiting already",
            Self::TooManyRequests => "Too much of yours is under way",
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
                | Self::BodyTooSlow
                | Self::TooManyRequests
                | Self::Unavailable
                | Self::Internal
        )
    }
}

/// What an engine or the system has said, with names of files in place of their paths:
/// clients read it, and where things are on the server is none of theirs.
#[must_use]
pub fn without_paths(text: &str) -> String {
    let mut told = String::with_capacity(text.len());
    let mut is_behind_path = false;
    for word in words(text) {
        // What follows a blank may belong to the name of a folder.
        let is_path = is_behind_path
            || ["/", "./", "../", "~/"]
                .iter()
                .any(|root| word.starts_with(root));
        is_behind_path = is_path && word.contains('/') && word.ends_with(' ');
        let name = match word.rsplit_once('/') {
            Some((_, name)) if is_path => name,
            _ => word,
        };
        told.push_str(name);
    }
    told
}

/// Each with the border behind it.
fn words(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let border = rest.char_indices().find(|(at, c)| match c {
            // `open:/var/x` and `file:///var/x`, but not `http://host`.
            ':' => {
                let behind = &rest[at + 1..];
                let is_host = behind.starts_with("//") && !behind.starts_with("///");
                behind.starts_with('/') && !is_host
            }
            c => c.is_whitespace() || "\"'`(),;=".contains(*c),
        });
        let end = border.map_or(rest.len(), |(at, c)| at + c.len_utf8());
        let (word, behind) = rest.split_at(end);
        rest = behind;
        (!word.is_empty()).then_some(word)
    })
}

/// One thing that is wrong with one field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FieldError {
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

/// The most errors of a request that are told one by one.
const MOST_ERRORS: usize = 20;
/// Of these, so many of the first come with suggestions: each is compared with all
/// there is to suggest.
const MOST_WITH_SUGGESTIONS: usize = 5;
/// The most code points of a pointer, and of a detail: both repeat what was sent.
const MOST_OF_POINTER: usize = 200;
const MOST_OF_DETAIL: usize = 1_000;

/// Gathers the errors of a request, so that they are told at once: the first 20, and
/// how many more there are.
#[derive(Debug, Default)]
pub struct FieldErrors {
    told: Vec<FieldError>,
    more: usize,
}

impl FieldErrors {
    /// Notes one error.
    pub fn add(
        &mut self,
        pointer: impl Into<String>,
        code: &'static str,
        detail: impl Into<String>,
    ) {
        self.suggest(pointer, code, detail, Vec::new);
    }

    /// Notes one error with nearest allowed values, which are looked for only where
    /// they are told.
    pub fn suggest(
        &mut self,
        pointer: impl Into<String>,
        code: &'static str,
        detail: impl Into<String>,
        suggestions: impl FnOnce() -> Vec<String>,
    ) {
        if self.room() == 0 {
            return self.add_more(1);
        }
        let has_suggestions = self.told.len() < MOST_WITH_SUGGESTIONS;
        self.told.push(FieldError {
            pointer: shortened(pointer.into(), MOST_OF_POINTER),
            code,
            detail: shortened(detail.into(), MOST_OF_DETAIL),
            suggestions: has_suggestions.then(suggestions).unwrap_or_default(),
        });
    }

    /// How many more errors will be told.
    #[must_use]
    pub fn room(&self) -> usize {
        MOST_ERRORS - self.told.len()
    }

    /// Notes that there are so many more, beyond those that are told.
    pub fn add_more(&mut self, more: usize) {
        self.more += more;
    }

    /// Whether nothing was wrong.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.told.is_empty()
    }

    /// # Errors
    /// `invalid_request` with the errors, if there was one.
    pub fn into_result(self) -> Result<(), Problem> {
        if self.told.is_empty() {
            return Ok(());
        }
        let details = self.told.iter().map(|error| error.detail.clone());
        let more = (self.more > 0).then(|| format!("There are {} more faults.", self.more));
        let details: Vec<String> = details.chain(more).collect();
        Err(Problem {
            detail: details.join(" "),
            errors: self.told,
            ..Problem::new(Code::InvalidRequest, "")
        })
    }
}

/// The text, cut if it has more code points than that.
fn shortened(mut text: String, most: usize) -> String {
    if let Some((end, _)) = text.char_indices().nth(most) {
        text.truncate(end);
        text.push('…');
    }
    text
}

/// A problem answer; the edge adds `type`, `instance` and `request_id`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {detail}", code.as_str())]
pub struct Problem {
    /// Decides status, title and whether a repeat can help.
    pub code: Code,
    /// What happened here and what to do.
    pub detail: String,
    /// Seconds for the Retry-After header; 429, 503 and `not_ready` have it.
    pub retry_after_s: Option<u32>,
    /// For bad input: the errors.
    pub errors: Vec<FieldError>,
}

impl Problem {
    /// A problem without errors; 429 and 503 get a Retry-After of a second.
    #[must_use]
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        let is_soon_over = matches!(
            code,
            Code::QueueFull
                | Code::ShareFull
                | Code::TooManyRequests
                | Code::Unavailable
                | Code::NotReady
        );
        Self {
            code,
            // Some repeat what was sent.
            detail: shortened(detail.into(), MOST_OF_DETAIL),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_errors_are_told_and_the_others_counted() {
        let mut errors = FieldErrors::default();
        let mut looked_for = 0;
        for number in 0..25 {
            errors.suggest(format!("/{number}"), "unknown", "No.", || {
                looked_for += 1;
                vec!["near".into()]
            });
        }
        errors.add_more(100);
        let problem = errors.into_result().unwrap_err();
        assert_eq!(looked_for, MOST_WITH_SUGGESTIONS);
        assert_eq!(problem.errors.len(), MOST_ERRORS);
        assert_eq!(problem.errors[19].pointer, "/19");
        let suggested = problem
            .errors
            .iter()
            .filter(|one| !one.suggestions.is_empty());
        assert_eq!(suggested.count(), MOST_WITH_SUGGESTIONS);
        assert!(problem.detail.ends_with("No. There are 105 more faults."));
    }

    #[test]
    fn what_was_sent_is_repeated_up_to_a_length() {
        let long = "ư".repeat(1_000_000);
        let mut errors = FieldErrors::default();
        errors.add(&long, "unknown", format!("There is no `{long}`."));
        let problem = errors.into_result().unwrap_err();
        let chars = |text: &str| text.chars().count();
        assert_eq!(chars(&problem.errors[0].pointer), MOST_OF_POINTER + 1);
        assert_eq!(chars(&problem.detail), MOST_OF_DETAIL + 1);
        assert!(problem.detail.ends_with('…'));
        assert_eq!(chars(&Problem::not_found(&long).detail), MOST_OF_DETAIL + 1);
    }

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
                "open:/var/lib/x: no file, file:///var/lib/y",
                "open:x: no file, file:y",
            ),
            (
                "/srv/my voices/joe.onnx is not a/b",
                "my joe.onnx is not a/b",
            ),
            ("see http://host/a/b", "see http://host/a/b"),
            (
                "piper/en_US-joe has 1/2 of it",
                "piper/en_US-joe has 1/2 of it",
            ),
        ] {
            assert_eq!(without_paths(said), told);
        }
    }
}
