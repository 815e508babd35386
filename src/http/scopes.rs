//! What a key must be able to do for each route: the one table of it. What it does
//! not have is for `admin`, so that a new route is closed until it is listed.
//! For others a path that it does not have is not there.

use actix_web::http::Method;

use crate::keys::{Scope, Scopes};

/// What a route asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Not even a key.
    Nothing,
    /// A key, whatever it may do.
    Key,
    /// A key of this scope.
    Of(Scope),
    /// Of a path that is not listed: an admin's key, as if it was a route.
    Unlisted,
}

impl Need {
    /// Whether a key of these scopes is enough.
    #[must_use]
    pub fn is_met_by(self, scopes: Scopes) -> bool {
        match self {
            Self::Nothing | Self::Key => true,
            Self::Of(scope) => scopes.allow(scope),
            Self::Unlisted => scopes.allow(Scope::Admin),
        }
    }
}

const NOTHING: Need = Need::Nothing;
const KEY: Need = Need::Key;
const SUBMIT: Need = Need::Of(Scope::Submit);
const READ: Need = Need::Of(Scope::Read);
const ADMIN: Need = Need::Of(Scope::Admin);

/// Method (`*`: any), path (`{}`: one segment), need. The first that fits counts.
const ROUTES: &[(&str, &str, Need)] = &[
    ("*", "/", NOTHING),
    ("*", "/health/{}", NOTHING),
    ("*", "/problems/{}", NOTHING),
    // Its caller shows who he is by a signature.
    ("*", "/v1/callbacks", NOTHING),
    // Tells a path's methods, and does nothing.
    ("OPTIONS", "*", KEY),
    ("GET", "/metrics", KEY),
    ("GET", "/v1/voices", KEY),
    ("GET", "/v1/system", ADMIN),
    ("POST", "/v1/clock/accept", ADMIN),
    ("POST", "/v1/callback-checks", SUBMIT),
    ("GET", "/v1/events", READ),
    ("POST", "/v1/tasks", SUBMIT),
    ("GET", "/v1/tasks", READ),
    ("GET", "/v1/tasks/deliveries", READ),
    ("POST", "/v1/tasks/deliveries/redeliver", SUBMIT),
    ("GET", "/v1/tasks/deliveries/{}", READ),
    ("POST", "/v1/tasks/deliveries/{}/redeliver", SUBMIT),
    ("PUT", "/v1/tasks/{}", SUBMIT),
    ("GET", "/v1/tasks/{}", READ),
    ("DELETE", "/v1/tasks/{}", SUBMIT),
    ("POST", "/v1/tasks/{}/cancel", SUBMIT),
    ("POST", "/v1/tasks/{}/retry", SUBMIT),
    // Events and files.
    ("GET", "/v1/tasks/{}/{}", READ),
    ("POST", "/v1/speech", SUBMIT),
    ("GET", "/v1/speech", READ),
    ("POST", "/v1/speech/statuses", READ),
    ("GET", "/v1/speech/deliveries", READ),
    ("POST", "/v1/speech/deliveries/redeliver", SUBMIT),
    ("GET", "/v1/speech/deliveries/{}", READ),
    ("POST", "/v1/speech/deliveries/{}/redeliver", SUBMIT),
    ("PUT", "/v1/speech/{}", SUBMIT),
    ("GET", "/v1/speech/{}", READ),
    ("DELETE", "/v1/speech/{}", SUBMIT),
    ("POST", "/v1/speech/{}/cancel", SUBMIT),
    ("GET", "/v1/speech/{}/{}", READ),
];

/// Every row of the table: method (`*`: any) and path (`{}`: one segment, `*`: any path).
pub fn listed() -> impl Iterator<Item = (&'static str, &'static str)> {
    ROUTES.iter().map(|(method, path, _)| (*method, *path))
}

/// What a request must come with. `path` is as the router has it, with escapes undone:
/// they must not lead to a route by another need than its own.
#[must_use]
pub fn need(method: &Method, path: &str) -> Need {
    let fitting = ROUTES.iter().find(|(known, pattern, _)| {
        (*known == "*" || method.as_str() == *known) && (*pattern == "*" || fits(pattern, path))
    });
    let is_listed = || ROUTES.iter().any(|(_, pattern, _)| fits(pattern, path));
    match fitting {
        Some((_, _, need)) => *need,
        None if is_listed() => ADMIN,
        None => Need::Unlisted,
    }
}

fn fits(pattern: &str, path: &str) -> bool {
    let mut given = path.split('/');
    let fits = pattern.split('/').all(|wanted| {
        let given = given.next();
        given.is_some_and(|given| match wanted {
            "{}" => !given.is_empty(),
            _ => wanted == given,
        })
    });
    fits && given.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_needs_what_the_table_says_and_all_else_is_for_admin() {
        for (method, path, needed) in [
            ("GET", "/", NOTHING),
            ("GET", "/health/ready", NOTHING),
            ("GET", "/health/ready/more", Need::Unlisted),
            ("POST", "/v1/callbacks", NOTHING),
            ("OPTIONS", "/v1/callbacks", NOTHING),
            ("OPTIONS", "/v1/system", KEY),
            ("GET", "/v1/tasks/deliveries", READ),
            ("POST", "/v1/tasks/deliveries/redeliver", SUBMIT),
            ("POST", "/v1/speech/statuses", READ),
            ("GET", "/v1/tasks/an-id/audio.mp3", READ),
            ("POST", "/v1/tasks/an-id/audio.mp3", ADMIN),
            ("GET", "/v1/tasks/an-id/audio.mp3/more", Need::Unlisted),
            ("PATCH", "/v1/tasks/an-id", ADMIN),
            ("GET", "/v1/tasks/", Need::Unlisted),
            ("GET", "/v1/system", ADMIN),
            ("OPTIONS", "/v1/nothing", KEY),
            ("GET", "/v1/nothing", Need::Unlisted),
            ("GET", "", Need::Unlisted),
        ] {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            assert_eq!(need(&method, path), needed, "{method} {path}");
        }
    }

    #[test]
    fn no_row_is_hidden_by_one_before_it() {
        for (method, path, needed) in ROUTES.iter().filter(|(_, path, _)| *path != "*") {
            let method = Method::from_bytes(method.replace('*', "GET").as_bytes()).unwrap();
            let path = path.replace("{}", "x");
            assert_eq!(need(&method, &path), *needed, "{method} {path}");
        }
    }
}
