//! Who may ask: API keys, signed links, and the Host header of an
//! unauthenticated loopback listener.

use std::sync::Arc;

use actix_web::body::MessageBody;
use actix_web::dev::{Extensions, ServiceRequest, ServiceResponse};
use actix_web::http::{Method, header};
use actix_web::middleware::Next;
use actix_web::{Error, HttpMessage, web};
use hoiam_api::client::CLIENT_HEADER;
use hoiam_api::{Code, Problem};

use super::links::{Links, Signed};
use super::problem::{Answer, no_such_path};
use super::scopes::{Need, need};
use crate::keys::{Caller, Keys, Scope, Scopes};

/// What requests are checked against.
#[derive(Clone)]
pub struct Gate {
    keys: Keys,
    /// Names that an unauthenticated loopback listener answers to.
    hosts: Option<Arc<[String]>>,
    /// Ours, by `server.public_url`: a proxy may tell us another Host than the one that
    /// pages know.
    origin: Arc<str>,
    /// Other origins whose pages may change something where no key is asked for.
    pages: Arc<[String]>,
    links: Links,
}

/// Which key a request came with: the scope of its idempotency keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotencyScope(pub String);

/// Whose requests these are: the name of the API key as it is kept, empty without
/// keys and for the first client.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Client(pub String);

/// Marks a request that may see everybody's work.
pub struct SeesAll;

/// What the gate knows of a request that it lets through.
struct Admitted {
    client: Client,
    scope: IdempotencyScope,
    sees_all: bool,
}

impl Admitted {
    /// Who is not told apart from others.
    fn unnamed(scope: &str, sees_all: bool) -> Self {
        Self {
            client: Client::default(),
            scope: IdempotencyScope(scope.to_owned()),
            sees_all,
        }
    }

    /// Notes it where handlers find it.
    fn mark(self, extensions: &mut Extensions) {
        extensions.insert(self.client);
        extensions.insert(self.scope);
        if self.sees_all {
            extensions.insert(SeesAll);
        }
    }
}

impl Gate {
    /// `hosts` is given only where the listener is on loopback: while no key is asked
    /// for, a page in a browser could otherwise reach it under a name of its own (DNS
    /// rebinding).
    /// On every listener, while no key is asked for, pages may change something only if
    /// they are the listener's own, of `origin`, or of one of the origins `pages`.
    #[must_use]
    pub fn new(
        keys: Keys,
        hosts: Option<Vec<String>>,
        origin: String,
        pages: Vec<String>,
        links: Links,
    ) -> Self {
        Self {
            keys,
            origin: origin.into(),
            pages: pages.into(),
            hosts: hosts.map(Into::into),
            links,
        }
    }

    fn check(&self, request: &ServiceRequest) -> Result<Admitted, Problem> {
        if !self.keys.are_asked_for() {
            self.check_host(request)?;
            self.check_origin(request)?;
            // Anybody may do anything, so this says no more than it is told.
            let client = self.named(request, "")?.unwrap_or_default();
            return Ok(Admitted {
                client: Client(client),
                ..Admitted::unnamed("-", true)
            });
        }
        let need = need(request.method(), request.match_info().unprocessed());
        if need == Need::Nothing {
            return Ok(Admitted::unnamed("-", false));
        }
        let signed = self.signed(request);
        // A link is good whatever key a client sends with all of its requests.
        if signed == Signed::Yes {
            return Ok(Admitted::unnamed("link", true));
        }
        match bearer(request.headers()) {
            Some(key) => self.admit(request, key, need),
            None => {
                let detail = match signed {
                    Signed::Ended => {
                        "This link has ended; GET of its task or speech makes a new one."
                    }
                    _ => "Send `Authorization: Bearer <an API key>`.",
                };
                Err(Problem::new(Code::Unauthorized, detail))
            }
        }
    }

    /// A link is for GET of the one file whose path it signs.
    fn signed(&self, request: &ServiceRequest) -> Signed {
        match *request.method() {
            Method::GET => self.links.signed(request.path(), request.query_string()),
            _ => Signed::No,
        }
    }

    fn admit(&self, request: &ServiceRequest, key: &str, need: Need) -> Result<Admitted, Problem> {
        let caller = self
            .keys
            .caller(key)
            .ok_or_else(|| Problem::new(Code::Unauthorized, "This API key is not known here."))?;
        check_scope(caller.scopes, need)?;
        let Caller {
            client,
            scopes,
            idempotency,
            unnamed,
        } = caller;
        let named = match unnamed {
            Some(unnamed) => self.named(request, &unnamed)?,
            None => None,
        };
        Ok(Admitted {
            client: Client(named.unwrap_or(client)),
            scope: IdempotencyScope(idempotency),
            sees_all: scopes.allow(Scope::Admin),
        })
    }

    /// The client whom a request that is believed names, if it does.
    fn named(&self, request: &ServiceRequest, unnamed: &str) -> Result<Option<String>, Problem> {
        let Some(header) = request.headers().get(CLIENT_HEADER) else {
            return Ok(None);
        };
        let header = header.to_str().unwrap_or_default();
        let named = self.keys.named(header, unnamed).ok_or_else(|| {
            Problem::new(
                Code::Malformed,
                format!("{CLIENT_HEADER} is no name of a client."),
            )
        })?;
        Ok(Some(named))
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
        let detail = "Without API keys only the loopback names are served. Make a key with `hoiam keys add`, or set \
                      server.public_url to the name you use.";
        Err(Problem::new(Code::WrongHost, detail))
    }

    /// Without keys whoever reaches the listener may do all, and so could any page in
    /// a browser that reaches it: what changes something needs no answer that the
    /// page could read. A browser names the page in `Origin`, and says in
    /// `Sec-Fetch-Site` (Fetch Metadata) how it stands to us where it hides its name.
    fn check_origin(&self, request: &ServiceRequest) -> Result<(), Problem> {
        if request.method().is_safe() {
            return Ok(());
        }
        let header = |name: &str| {
            let value = request.headers().get(name);
            value.map(|value| value.to_str().unwrap_or_default())
        };
        let origin = header("origin");
        if origin.is_some_and(|origin| self.pages.iter().any(|page| page == origin)) {
            return Ok(());
        }
        let authority = |origin: &str| origin.split_once("://").map(|(_, rest)| rest.to_owned());
        let is_own = origin.is_none_or(|origin| {
            if *origin == *self.origin {
                return true;
            }
            let authority = authority(origin);
            authority.is_some() && authority.as_deref() == header("host")
        });
        let is_from_elsewhere =
            header("sec-fetch-site").is_some_and(|site| !matches!(site, "same-origin" | "none"));
        if is_own && !is_from_elsewhere {
            return Ok(());
        }
        let detail = "Without API keys only pages of server.cors_origins may change anything. Add this page's origin \
                      there, or make a key with `hoiam keys add`.";
        Err(Problem::new(Code::WrongOrigin, detail))
    }
}

/// The key that a request comes with.
#[must_use]
pub fn bearer(headers: &header::HeaderMap) -> Option<&str> {
    let (scheme, key) = headers
        .get(header::AUTHORIZATION)?
        .to_str()
        .ok()?
        .split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
}

fn check_scope(scopes: Scopes, need: Need) -> Result<(), Problem> {
    if need.is_met_by(scopes) {
        return Ok(());
    }
    let wanted = match need {
        Need::Of(wanted) => wanted.as_str(),
        _ => return Err(no_such_path()),
    };
    let detail = format!(
        "This needs a key of scope `{wanted}`; the one sent has `{scopes}`. `hoiam keys add NAME --scope {wanted}` \
         makes one."
    );
    Err(Problem::new(Code::WrongScope, detail))
}

/// The middleware: lets a request through with its [`Client`] and its
/// [`IdempotencyScope`], or answers 401, 403 or 404.
///
/// # Errors
/// The problem.
pub async fn gate(
    gate: web::Data<Gate>,
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    let admitted = gate.check(&request).map_err(Answer)?;
    admitted.mark(&mut request.extensions_mut());
    next.call(request).await
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use actix_web::test::TestRequest;
    use url::Url;

    use super::*;
    use crate::keys::{BackendKey, Configured, file};
    use hoiam_api::signature::{Secret, sign_link};
    use hoiam_supervision::clock::{Clock, ManualClock};

    const KEY: &str = "a-key-that-is-longer-than-any-block-of-a-hash-0123456789abcdef-and-more";

    fn gate() -> (Gate, Secret, ManualClock) {
        gate_of(Configured {
            api_keys: vec![KEY.to_owned()],
            ..Configured::default()
        })
    }

    fn gate_of(configured: Configured) -> (Gate, Secret, ManualClock) {
        let (clock, hand) = Clock::manual(1_700_000_000_000);
        let secret = Secret::generate().unwrap();
        let url = Url::parse("http://127.0.0.1/").unwrap();
        let links = Links::new(url, vec![secret.clone()].into(), 60, clock);
        let keys = Keys::open(configured).unwrap();
        (
            Gate::new(keys, None, String::new(), Vec::new(), links),
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
    fn a_key_counts_to_its_last_byte_wherever_it_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let (filed, _) = file::add(folder.path(), "a", Scopes::all(), 0).unwrap();
        let (gate, ..) = gate_of(Configured {
            api_keys: vec![KEY.to_owned()],
            data_dir: folder.path().to_owned(),
            ..Configured::default()
        });
        for key in [KEY, &filed] {
            assert!(with_key(&gate, key));
            assert!(!with_key(&gate, &format!("{key}0")));
            for at in 0..key.len() {
                let cut = &key[..at];
                assert!(!with_key(&gate, cut), "{cut}");
                let other = format!("{cut}#{}", &key[at + 1..]);
                assert!(!with_key(&gate, &other), "{other}");
            }
        }
    }

    /// The code of the refusal, or what the request is let through with.
    fn admitted(
        gate: &Gate,
        request: TestRequest,
        key: Option<&str>,
    ) -> Result<(String, bool), Code> {
        let bearer = key.map(|key| (header::AUTHORIZATION, format!("Bearer {key}")));
        let request = match bearer {
            Some(bearer) => request.insert_header(bearer),
            None => request,
        };
        let admitted = gate.check(&request.to_srv_request());
        admitted
            .map(|admitted| (admitted.client.0, admitted.sees_all))
            .map_err(|problem| problem.code)
    }

    #[test]
    fn a_key_opens_what_its_scopes_name_and_sees_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let add = |name, scope| {
            let added = file::add(folder.path(), name, vec![scope].into(), 0);
            added.unwrap().0
        };
        let [submit, read, admin] = [
            ("s", Scope::Submit),
            ("r", Scope::Read),
            ("a", Scope::Admin),
        ]
        .map(|(name, scope)| add(name, scope));
        let (gate, ..) = gate_of(Configured {
            data_dir: folder.path().to_owned(),
            ..Configured::default()
        });
        let ask = |method: &str, path: &str, key: Option<&str>| {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            admitted(&gate, TestRequest::default().method(method).uri(path), key)
        };
        let own = |name: &str| Ok((name.to_owned(), false));
        let all = |name: &str| Ok((name.to_owned(), true));
        let refused = Err(Code::WrongScope);
        for (method, path, by_submit, by_read) in [
            ("GET", "/v1/tasks", refused.clone(), own("r")),
            ("POST", "/v1/tasks", own("s"), refused.clone()),
            ("GET", "/metrics", own("s"), own("r")),
            ("GET", "/v1/events", refused.clone(), own("r")),
            // Escapes lead the router to the same place.
            ("GET", "/v1/%73ystem", refused.clone(), refused.clone()),
            (
                "GET",
                "/%76%31/tasks/x/audio.mp3",
                refused.clone(),
                own("r"),
            ),
            ("PATCH", "/v1/tasks", refused.clone(), refused),
            (
                "GET",
                "/health/..%2fv1/tasks",
                Err(Code::NotFound),
                Err(Code::NotFound),
            ),
            (
                "GET",
                "/v1/tasks/",
                Err(Code::NotFound),
                Err(Code::NotFound),
            ),
        ] {
            assert_eq!(ask(method, path, Some(&submit)), by_submit, "{path}");
            assert_eq!(ask(method, path, Some(&read)), by_read, "{path}");
            assert_eq!(ask(method, path, Some(&admin)), all("a"), "{path}");
            assert_eq!(ask(method, path, None), Err(Code::Unauthorized), "{path}");
        }
        assert_eq!(ask("GET", "/health/live", None), own(""));
    }

    #[test]
    fn only_the_backend_names_whose_work_it_brings() {
        let (gate, ..) = gate_of(Configured {
            api_keys: vec![KEY.to_owned()],
            backend: Some(BackendKey::Here("of-the-backend".into())),
            ..Configured::default()
        });
        let put = |key: &str, name: &str| {
            let request = TestRequest::put().uri("/v1/speech/x");
            let request = request.insert_header((CLIENT_HEADER, name));
            admitted(&gate, request, Some(key))
        };
        assert_eq!(put("of-the-backend", "web").unwrap().0, "web");
        assert_eq!(put("of-the-backend", "-").unwrap().0, "");
        assert_eq!(put("of-the-backend", "No Name"), Err(Code::Malformed));
        let own = put(KEY, "-").unwrap().0;
        assert!(own.starts_with("key:"), "{own}");
        assert_eq!(put(KEY, "web").unwrap().0, own);
        let (open, ..) = gate_of(Configured::default());
        let request = TestRequest::put().uri("/v1/speech/x");
        let request = request.insert_header((CLIENT_HEADER, "web"));
        assert_eq!(admitted(&open, request, None), Ok(("web".into(), true)));
    }

    const FILE: &str = "/v1/tasks/0199aaaa-0000-7000-8000-000000000001/audio.mp3";
    const ENDS_S: i64 = 1_700_000_060;

    /// This path with a genuine signature.
    fn signed(secret: &Secret, path: &str) -> String {
        let signature = sign_link(std::slice::from_ref(secret), path, ENDS_S);
        format!("{path}?expires={ENDS_S}&signature={signature}")
    }

    #[test]
    fn a_genuine_link_is_good_until_its_end_and_no_longer() {
        let (gate, secret, hand) = gate();
        let link = signed(&secret, FILE);
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

    /// Every receiver can sign.
    #[test]
    fn a_genuine_signature_opens_files_and_nothing_else() {
        let (gate, secret, _) = gate();
        let ask = |method: Method, path: &str| {
            let request = TestRequest::default().method(method);
            admitted(&gate, request.uri(&signed(&secret, path)), None)
        };
        let id = "0199aaaa-0000-7000-8000-000000000001";
        for collection in ["tasks", "speech"] {
            let below = |rest: &str| format!("/v1/{collection}{rest}");
            for name in ["audio.wav", "subtitles.short.srt", "words.json"] {
                let file = below(&format!("/{id}/{name}"));
                assert_eq!(ask(Method::GET, &file), Ok((String::new(), true)), "{file}");
            }
            for path in [
                "",
                &format!("/{id}"),
                &format!("/{id}/events"),
                &format!("/{id}/"),
                &format!("/{id}/audio.mp3/more"),
                &format!("/{id}/audio.exe"),
                "/deliveries",
                &format!("/deliveries/{id}"),
                "/deliveries/audio.mp3",
                "/x/audio.mp3",
                "//audio.mp3",
            ] {
                let path = below(path);
                let refused = ask(Method::GET, &path);
                assert_eq!(refused, Err(Code::Unauthorized), "{path}");
            }
        }
        for path in [
            "/v1/events",
            "/v1/system",
            "/v1/voices",
            "/metrics",
            &format!("/v1/files/{id}/audio.mp3"),
        ] {
            let refused = ask(Method::GET, path);
            assert_eq!(refused, Err(Code::Unauthorized), "{path}");
        }
        for method in [Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS] {
            assert_eq!(ask(method, FILE), Err(Code::Unauthorized));
        }
    }

    #[test]
    fn a_genuine_link_is_good_whatever_key_comes_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let scopes = vec![Scope::Submit].into();
        let (submit, _) = file::add(folder.path(), "s", scopes, 0).unwrap();
        let (gate, secret, _) = gate_of(Configured {
            data_dir: folder.path().to_owned(),
            ..Configured::default()
        });
        let link = signed(&secret, FILE);
        let forged = link.replace("signature=", "signature=x");
        for (key, alone) in [
            (submit.as_str(), Code::WrongScope),
            ("a-key-that-was-revoked", Code::Unauthorized),
        ] {
            let ask = |uri: &str| admitted(&gate, TestRequest::get().uri(uri), Some(key));
            assert_eq!(ask(&link), Ok((String::new(), true)));
            assert_eq!(ask(&forged), Err(alone));
        }
    }
}
