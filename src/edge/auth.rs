//! Who may ask: API keys, signed links, and the Host header of an
//! unauthenticated loopback listener.

use std::sync::Arc;

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header;
use actix_web::middleware::Next;
use actix_web::{Error, HttpMessage, web};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::links::{Links, Signed};
use super::problem::Answer;
use crate::contract::{Code, Problem};

/// What requests are checked against.
#[derive(Clone)]
pub struct Gate {
    keys: Arc<[[u8; 32]]>,
    /// Names that an unauthenticated loopback listener answers to.
    hosts: Option<Arc<[String]>>,
    /// Origins whose pages may change something where no key is configured.
    pages: Arc<[String]>,
    links: Links,
}

/// Which key a request came with: the scope of its idempotency keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope(pub String);

/// Whose requests these are: the name of the API key, empty without keys.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Client(pub String);

impl Gate {
    /// `hosts` is given only where no key is configured and the listener is
    /// on loopback: a page in a browser could otherwise reach it under a
    /// name of its own (DNS rebinding).
    /// Then pages may change something only if they are the listener's own or of
    /// one of the origins `pages`.
    #[must_use]
    pub fn new(
        keys: &[String],
        hosts: Option<Vec<String>>,
        pages: Vec<String>,
        links: Links,
    ) -> Self {
        Self {
            pages: pages.into(),
            keys: keys.iter().map(|key| hash(key)).collect(),
            hosts: hosts.map(Into::into),
            links,
        }
    }

    fn check(&self, request: &ServiceRequest) -> Result<Scope, Problem> {
        let path = request.path();
        self.check_host(request)?;
        self.check_origin(request)?;
        let open = matches!(path, "/" | "/v1/callbacks")
            || path.starts_with("/health/")
            || path.starts_with("/problems/");
        if self.keys.is_empty() || open {
            return Ok(Scope("-".into()));
        }
        let bearer = request
            .headers()
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, key)| key.trim());
        match bearer {
            Some(key) => self.scope_of(key),
            None => self.scope_of_link(request),
        }
    }

    /// Hashes have one length, so that neither content nor length of a key
    /// shows in the time this takes.
    fn scope_of(&self, key: &str) -> Result<Scope, Problem> {
        let given = hash(key);
        let mut found = None;
        for (number, known) in self.keys.iter().enumerate() {
            if bool::from(known.ct_eq(&given)) {
                found = Some(number);
            }
        }
        match found.and_then(|number| self.keys.get(number)) {
            Some(known) => Ok(Scope(
                known
                    .iter()
                    .take(6)
                    .map(|byte| format!("{byte:02x}"))
                    .collect(),
            )),
            None => Err(Problem::new(
                Code::Unauthorized,
                "This API key is not known here.",
            )),
        }
    }

    fn check_host(&self, request: &ServiceRequest) -> Result<(), Problem> {
        let Some(hosts) = &self.hosts else {
            return Ok(());
        };
        let given = request
            .headers()
            .get(header::HOST)
            .and_then(|host| host.to_str().ok())
            .unwrap_or_default();
        let name = given.rsplit_once(':').map_or(given, |(name, port)| {
            if port.bytes().all(|b| b.is_ascii_digit()) {
                name
            } else {
                given
            }
        });
        if hosts.iter().any(|host| host.eq_ignore_ascii_case(name)) {
            return Ok(());
        }
        let detail = "Without API keys only the loopback names are served. Set server.api_keys, or server.public_url \
                      to the name you use.";
        Err(Problem::new(Code::WrongHost, detail))
    }

    /// Without keys whoever reaches the listener may do all, and so could any page in
    /// a browser on this machine: what changes something needs no answer that the
    /// page could read. A browser names the page in `Origin`.
    fn check_origin(&self, request: &ServiceRequest) -> Result<(), Problem> {
        if self.hosts.is_none() || request.method().is_safe() {
            return Ok(());
        }
        let header = |name| {
            let value = request.headers().get(name);
            value.map(|value| value.to_str().unwrap_or_default())
        };
        let Some(origin) = header(header::ORIGIN) else {
            return Ok(());
        };
        let authority = origin.split_once("://").map(|(_, authority)| authority);
        let is_own = authority.is_some() && authority == header(header::HOST);
        if is_own || self.pages.iter().any(|page| page == origin) {
            return Ok(());
        }
        let detail = "Without API keys only pages of server.cors_origins may change anything. Add this page's origin \
                      there, or set server.api_keys.";
        Err(Problem::new(Code::WrongOrigin, detail))
    }

    fn scope_of_link(&self, request: &ServiceRequest) -> Result<Scope, Problem> {
        let detail = match self.links.signed(request.path(), request.query_string()) {
            Signed::Yes => return Ok(Scope("link".into())),
            Signed::Ended => "This link has ended; GET of its task or speech makes a new one.",
            Signed::No => "Send `Authorization: Bearer <one of server.api_keys>`.",
        };
        Err(Problem::new(Code::Unauthorized, detail))
    }
}

fn hash(key: &str) -> [u8; 32] {
    Sha256::digest(key.as_bytes()).into()
}

/// The middleware: lets a request through with its [`Scope`], or answers 401
/// or 403.
///
/// # Errors
/// The problem.
pub async fn gate(
    gate: web::Data<Gate>,
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    let scope = gate.check(&request).map_err(Answer)?;
    request.extensions_mut().insert(scope);
    next.call(request).await
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use actix_web::test::TestRequest;
    use url::Url;

    use super::*;
    use crate::clock::{Clock, ManualClock};
    use crate::contract::signature::{Secret, sign_link};

    const KEY: &str = "a-key-that-is-longer-than-any-block-of-a-hash-0123456789abcdef-and-more";

    fn gate() -> (Gate, Secret, ManualClock) {
        let (clock, hand) = Clock::manual(1_700_000_000_000);
        let secret = Secret::generate().unwrap();
        let url = Url::parse("http://127.0.0.1/").unwrap();
        let links = Links::new(url, [secret.clone()].into(), 60, clock);
        (
            Gate::new(&[KEY.to_owned()], None, Vec::new(), links),
            secret,
            hand,
        )
    }

    fn with_key(gate: &Gate, key: &str) -> bool {
        let request = TestRequest::get().uri("/v1/tasks");
        let request = request.insert_header((header::AUTHORIZATION, format!("Bearer {key}")));
        gate.check(&request.to_srv_request()).is_ok()
    }

    #[test]
    fn a_key_counts_to_its_last_byte() {
        let (gate, ..) = gate();
        assert!(with_key(&gate, KEY));
        assert!(!with_key(&gate, &format!("{KEY}0")));
        for at in 0..KEY.len() {
            let cut = &KEY[..at];
            assert!(!with_key(&gate, cut), "{cut}");
            let other = format!("{cut}#{}", &KEY[at + 1..]);
            assert!(!with_key(&gate, &other), "{other}");
        }
    }

    #[test]
    fn a_genuine_link_is_good_until_its_end_and_no_longer() {
        let (gate, secret, hand) = gate();
        let path = "/v1/tasks/x/audio.mp3";
        let ends_s = 1_700_000_060;
        let signature = sign_link(&[secret], path, ends_s);
        let link = format!("{path}?expires={ends_s}&signature={signature}");
        let is_let_in = || {
            let request = TestRequest::get().uri(&link).to_srv_request();
            gate.check(&request).is_ok()
        };
        assert!(is_let_in());
        hand.advance(Duration::from_secs(59));
        assert!(is_let_in());
        hand.advance(Duration::from_secs(2));
        assert!(!is_let_in());
    }
}
