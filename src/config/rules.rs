//! Which values cannot hold together. Each rule says the arithmetic and the way out.

use url::{Host, Url};

use super::error::ConfigErrorKind;
use super::reader::Reader;
use super::sections::{Backend, Callback, FETCH_WINDOW_S, Links, Retention, Role, Server};
use super::values::in_words;

/// A listener that other machines reach needs API keys, or a clear word that it
/// does not.
pub(super) fn listener_is_protected(reader: &mut Reader, server: &Server, asks_for_keys: bool) {
    let local = server.listen.ip().is_loopback();
    if local || asks_for_keys || server.allow_unauthenticated {
        return;
    }
    let detail = format!(
        "{} can be reached by other machines and there is no API key. Make one with \
         `hoiam keys add NAME`, or set server.api_keys, listen on 127.0.0.1, or, if everyone who can connect may use the service, set \
         server.allow_unauthenticated = true",
        server.listen
    );
    reader.error(ConfigErrorKind::Unprotected, "server.listen", detail);
}

/// A URL that we give to others must lead here.
pub(super) fn urls_can_be_reached(
    reader: &mut Reader,
    role: Option<Role>,
    server: &Server,
    backend: Option<&Backend>,
) {
    let wildcard = server.listen.ip().is_unspecified();
    if wildcard && reader.is_derived("server.public_url") {
        let detail = format!(
            "is required, since nobody can connect to {}, a wildcard address. Set it to the URL \
             that clients use, such as http://voice.example.com:{}",
            server.listen,
            server.listen.port()
        );
        reader.error(ConfigErrorKind::MissingValue, "server.public_url", detail);
    }
    let Some(backend) = backend.filter(|_| role.is_some_and(Role::runs_backend)) else {
        return;
    };
    if !reader.is_derived("backend.callback_base_url") {
        return;
    }
    // When both services are this process, loopback is the right way between them.
    let tts_is_here = role == Some(Role::All) && reader.is_derived("backend.tts_url");
    if tts_is_here {
        return;
    }
    if wildcard {
        let detail = format!(
            "is required, since the TTS service cannot connect to {}, a wildcard address. Set it \
             to the URL under which {} reaches this process",
            server.listen, backend.tts_url
        );
        reader.error(
            ConfigErrorKind::MissingValue,
            "backend.callback_base_url",
            detail,
        );
    } else if server.listen.ip().is_loopback() && !leads_to_loopback(&backend.tts_url) {
        let detail = format!(
            "is required, since the TTS service is another machine ({}) and its callbacks to {} \
             would stay there. Listen on an address that it reaches and set this to the URL it uses",
            backend.tts_url, backend.callback_base_url
        );
        reader.error(
            ConfigErrorKind::MissingValue,
            "backend.callback_base_url",
            detail,
        );
    }
}

fn leads_to_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    }
}

/// Two processes that each made a secret of their own would reject each other's
/// callbacks, so a role that runs alone is told its secret.
pub(super) fn lone_role_has_secrets(reader: &mut Reader, role: Option<Role>, callback: &Callback) {
    let Some(role) = role.filter(|role| *role != Role::All) else {
        return;
    };
    if !callback.secrets.is_empty() {
        return;
    }
    let detail = format!(
        "is required when the role \"{role}\" runs alone, with the same value on the other side. \
         To make one: echo \"whsec_$(head -c 32 /dev/urandom | base64)\""
    );
    reader.error(ConfigErrorKind::MissingValue, "callback.secrets", detail);
}

/// What one window promises, another must not break.
pub(super) fn windows_agree(
    reader: &mut Reader,
    callback: &Callback,
    links: Option<&Links>,
    retention: Option<&Retention>,
) {
    if callback.schedule.is_empty() {
        let detail = "is empty, so no callback would ever be sent; [0] is one attempt at once";
        reader.error(
            ConfigErrorKind::InvalidValue,
            "callback.schedule",
            detail.to_owned(),
        );
    }
    if callback.total_timeout_s < callback.connect_timeout_s {
        let detail = format!(
            "is {}, shorter than callback.connect_timeout_s, which is {} and a part of it",
            in_words(callback.total_timeout_s),
            in_words(callback.connect_timeout_s)
        );
        reader.error(
            ConfigErrorKind::Contradiction,
            "callback.total_timeout_s",
            detail,
        );
    }
    let schedule = callback.schedule_total_s();
    if let Some(links) = links.filter(|links| links.ttl_s < schedule) {
        let detail = format!(
            "is {}, but the waits of callback.schedule add up to {}: links would be dead before \
             the last attempt. Raise it to {schedule} or shorten the schedule",
            in_words(links.ttl_s),
            in_words(schedule)
        );
        reader.error(ConfigErrorKind::Contradiction, "links.ttl_s", detail);
    }
    let Some(retention) = retention else { return };
    let needed = schedule + FETCH_WINDOW_S;
    if retention.files_s < needed {
        let detail = format!(
            "is {}, but callback.schedule ({}) and the time to fetch a result ({}) add up to {}: \
             files would be gone before they are fetched. Raise it to {needed} or shorten the \
             schedule",
            in_words(retention.files_s),
            in_words(schedule),
            in_words(FETCH_WINDOW_S),
            in_words(needed)
        );
        reader.error(ConfigErrorKind::Contradiction, "retention.files_s", detail);
    }
    if retention.rows_s < retention.files_s {
        let detail = format!(
            "is {}, shorter than retention.files_s, which is {}: files would be kept that no row \
             names. Raise it to {}",
            in_words(retention.rows_s),
            in_words(retention.files_s),
            retention.files_s
        );
        reader.error(ConfigErrorKind::Contradiction, "retention.rows_s", detail);
    }
}
