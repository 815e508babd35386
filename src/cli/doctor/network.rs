//! The listener, whom we trust, and the TTS service.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::time::Duration;

use bytes::Bytes;
use hoiam_api::CallbackHeaders;
use serde::Deserialize;
use url::Url;

use super::super::check_callback::{report, way_to_reach};
use super::check::Check;
use crate::app::outgoing_timeouts;
use crate::backend::tts_client::{TtsClient, TtsError};
use crate::config::Config;
use crate::delivery::check::Finding;
use crate::outbound::{Client, Method, Outgoing, Policy, tls};

/// Health answers are immediate and small.
const HEALTH_LIMIT: Duration = Duration::from_secs(5);
const HEALTH_BYTES: usize = 64 * 1024;

/// What a service needs of the network. `running` says that a service runs on
/// the data folder: it should be the one that listens.
pub async fn checks(config: &Config, running: bool) -> Vec<Check> {
    let mut checks = vec![roots()];
    let client = match tls::system_roots() {
        Ok(roots) => Client::new(Policy::trusted(), outgoing_timeouts(config), roots),
        Err(error) => {
            let way_out = "this build has no encryption that works; build it anew";
            checks.push(Check::problem("encryption", error.to_string(), way_out));
            return checks;
        }
    };
    checks.push(listener(config.server.listen, &client, running).await);
    if !config.role.runs_tts() {
        checks.push(tts_service(config, client).await);
    }
    if let Some(url) = &config.alerts.callback_url {
        checks.push(alerts(config, url).await);
    }
    checks
}

/// Whether the operator would be told.
async fn alerts(config: &Config, url: &Url) -> Check {
    let problem = |detail: String, way_out: &str| Check::problem("alerts", detail, way_out);
    // The rest of it may be a secret.
    let origin = url.origin().ascii_serialization();
    let report = match report(config, url, CallbackHeaders::default()).await {
        Ok(report) => report,
        Err(error) => return problem(error.to_string(), "mend what it says"),
    };
    match report.finding {
        Finding::Open => Check::ok("alerts", format!("{origin} answers")),
        Finding::NotFound { status } => problem(
            format!("two signed POSTs to {origin} were answered by {status}"),
            "correct the path of alerts.callback_url, or have the route answer POST with another status",
        ),
        Finding::Forbidden(error) => problem(
            format!("a service with this configuration does not call {origin}. {error}"),
            "name another in alerts.callback_url, or leave it empty",
        ),
        Finding::Unreachable(error) => problem(
            format!("{origin} is not reached: {error}"),
            way_to_reach(&error),
        ),
    }
}

fn roots() -> Check {
    match tls::trusted_by_the_system() {
        0 => Check::warning(
            "encryption",
            "the system trusts no certificate; Mozilla's list, built in, is used and grows old",
            "install the package ca-certificates",
        ),
        roots => Check::ok(
            "encryption",
            format!("the system trusts {roots} certificates"),
        ),
    }
}

async fn listener(address: SocketAddr, client: &Client, running: bool) -> Check {
    match TcpListener::bind(address) {
        Ok(_) => Check::ok("listener", format!("{address} is free")),
        Err(error) if error.kind() == ErrorKind::AddrInUse => {
            who_is_there(address, client, running).await
        }
        Err(error) => Check::problem(
            "listener",
            format!("{address} cannot be listened on: {error}"),
            "choose an address of this machine, and a port from 1024 up, with --listen",
        ),
    }
}

/// What `/health/ready` answers.
#[derive(Deserialize)]
struct ReadyAnswer {
    status: String,
    #[serde(default)]
    reasons: Vec<String>,
}

async fn who_is_there(address: SocketAddr, client: &Client, running: bool) -> Check {
    let there = match ask_health(address, client).await {
        Some(health) => health,
        None => {
            return Check::problem(
                "listener",
                format!("another program listens on {address}"),
                "stop it, or choose another port with --listen",
            );
        }
    };
    if !running {
        return Check::warning(
            "listener",
            format!("a hoiam listens on {address} that does not use this data folder"),
            "name its folder with --data-dir, or give this one another port with --listen",
        );
    }
    if there.status == "ready" {
        return Check::ok(
            "listener",
            format!("a hoiam listens on {address} and is ready"),
        );
    }
    Check::problem(
        "listener",
        format!(
            "a hoiam listens on {address} and is not ready: {}",
            there.reasons.join("; ")
        ),
        "mend what it says, or wait if it is starting",
    )
}

/// `None` when it is no hoiam that listens there.
async fn ask_health(address: SocketAddr, client: &Client) -> Option<ReadyAnswer> {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    let address = SocketAddr::new(ip, address.port());
    let request = Outgoing {
        method: Method::GET,
        url: Url::parse(&format!("http://{address}/health/ready")).ok()?,
        headers: Vec::new(),
        more_headers: Vec::new(),
        body: Bytes::new(),
        total_timeout: Some(HEALTH_LIMIT),
        answer_limit: HEALTH_BYTES,
        retry_on_stale: true,
    };
    let answer = client.send(request).await.ok()?;
    let health: ReadyAnswer = serde_json::from_slice(&answer.body).ok()?;
    matches!(health.status.as_str(), "ready" | "not_ready").then_some(health)
}

/// Asks for its voices, which shows that the API key is right too.
async fn tts_service(config: &Config, client: Client) -> Check {
    let url = &config.backend.tts_url;
    let api_key = config.backend.tts_api_key.as_ref();
    let api_key = api_key.map(|key| key.reveal().to_owned());
    let problem = |detail: String, way_out: &str| Check::problem("TTS service", detail, way_out);
    match TtsClient::new(client, url.clone(), api_key).voices().await {
        Ok(catalog) if catalog.items.is_empty() => problem(
            format!("{url} answers and has no voice"),
            "run `hoiam doctor --role tts` on its machine",
        ),
        Ok(catalog) => Check::ok(
            "TTS service",
            format!("{url} answers and has {} voices", catalog.items.len()),
        ),
        Err(error @ TtsError::Status { status: 401, .. }) => problem(
            format!("{url}: {error}"),
            "set backend.tts_api_key to a key that it knows",
        ),
        Err(TtsError::Outbound(error)) => problem(
            format!("{url} is not reached: {error}"),
            "start it with `hoiam serve --role tts`, or correct backend.tts_url",
        ),
        Err(error) => problem(format!("{url}: {error}"), "correct backend.tts_url"),
    }
}
