//! What everything in the process shares, made from its configuration.

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hoiam_api::Service;
use hoiam_api::create::Rules;
use hoiam_supervision::clock::Clock;
use hoiam_text::SaturatingFrom as _;
use rustls::ClientConfig;
use tokio::sync::watch;
use url::Url;

use crate::alerts::Reporter;
use crate::config::{Config, Role, Source};
use crate::db::OpenError;
use crate::delivery::attempt::Sender;
use crate::http::links::Links;
use crate::keys::file::KeysError;
use crate::keys::{self, BackendKey, Configured, Keys};
use crate::outbound::client::{Client, Timeouts};
use crate::outbound::guard::{Forbidden, Policy};
use crate::outbound::tls;
use crate::secrets::CallbackSecrets;
use crate::secrets::file::SecretFileError;

/// Why the service did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A database.
    #[error(transparent)]
    Database(#[from] OpenError),
    /// The API keys.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// What callbacks are signed with.
    #[error(transparent)]
    Secrets(#[from] SecretFileError),
    /// The operator would never hear of anything.
    #[error("alerts.callback_url must not be called: {0} Or leave it empty: then nobody is told")]
    AlertsUrl(Forbidden),
    /// Something else that a start needs.
    #[error("{what}: {error}")]
    Needed {
        /// What it is.
        what: String,
        /// What is wrong with it.
        error: Box<dyn Error + Send + Sync>,
    },
}

/// What makes a [`StartError`] of what is wrong with something that a start needs.
pub(super) fn failed<E>(what: impl Into<String>) -> impl FnOnce(E) -> StartError
where
    E: Error + Send + Sync + 'static,
{
    let what = what.into();
    move |error| StartError::Needed {
        what,
        error: Box::new(error),
    }
}

/// What everything in the process shares.
pub(super) struct Common {
    pub config: Config,
    pub clock: Clock,
    pub program: PathBuf,
    pub secrets: CallbackSecrets,
    pub links: Links,
    pub keys: Keys,
    /// What the Backend shows to the TTS service.
    pub tts_api_key: Option<String>,
    /// For URLs that clients name.
    pub policy: Policy,
    pub client: Client,
    pub trusted: Client,
    pub roots: Arc<ClientConfig>,
    pub alerts: Reporter,
    pub stopping: watch::Receiver<bool>,
}

/// The keys that are known, and the one that the Backend here sends.
pub(super) fn open_keys(config: &Config) -> Result<(Keys, Option<String>), StartError> {
    let reveal = |key: &crate::config::ApiKey| key.reveal().to_owned();
    let given = config.backend.tts_api_key.as_ref().map(reveal);
    let speaks_to_itself = config.source("backend.tts_url") == Some(Source::Derived);
    let (backend, sent) = match (config.role, given) {
        (Role::Tts, given) => (given.map(BackendKey::Elsewhere), None),
        (Role::All, given) if speaks_to_itself => {
            // One that is made here lives as long as the process.
            let key = given.map_or_else(keys::file::generate, Ok);
            let key = key?;
            (Some(BackendKey::Here(key.clone())), Some(key))
        }
        // The key for another host is no Backend's here.
        (_, given) => (None, given),
    };
    let keys = Keys::open(Configured {
        api_keys: config.server.api_keys.iter().map(reveal).collect(),
        backend,
        data_dir: config.data_dir.clone(),
    })?;
    Ok((keys, sent))
}

pub(super) fn common(
    config: Config,
    clock: Clock,
    program: PathBuf,
    (keys, tts_api_key): (Keys, Option<String>),
    stopping: watch::Receiver<bool>,
) -> Result<Common, StartError> {
    let secrets = CallbackSecrets::open(&config.callback.secrets, &config.data_dir, clock.clone())?;
    let ttl_s = i64::saturating_from(config.links.ttl_s);
    let links = Links::new(
        config.server.public_url.clone(),
        secrets.clone(),
        ttl_s,
        clock.clone(),
    );
    let policy = callback_policy(&config);
    let roots = tls::system_roots().map_err(failed("the TLS roots"))?;
    let timeouts = outgoing_timeouts(&config);
    let client = Client::new(policy.clone(), timeouts, Arc::clone(&roots));
    let trusted = Client::new(Policy::trusted(), timeouts, Arc::clone(&roots));
    Ok(Common {
        config,
        clock,
        program,
        secrets,
        links,
        keys,
        tts_api_key,
        policy,
        client,
        trusted,
        roots,
        alerts: Reporter::default(),
        stopping,
    })
}

/// Which callback URLs that clients name are called.
#[must_use]
pub fn callback_policy(config: &Config) -> Policy {
    // A service for this machine alone may report to this machine.
    let loopback_allowed = !config.asks_for_keys();
    Policy::callbacks(config.callback.allow_cidrs.clone(), loopback_allowed)
        .without(config.server.listen)
}

/// The same for the TTS service, which also reports to the Backend in its own process.
pub(super) fn policy_with_reports(common: &Common) -> Result<Policy, StartError> {
    let policy = common.policy.clone();
    if !common.config.role.runs_backend() {
        return Ok(policy);
    }
    let url = Url::parse(&report_to(&common.config));
    let url = url.map_err(failed("backend.callback_base_url"))?;
    Ok(policy.exempting(url))
}

/// Where the Backend has hand-overs report to.
pub(super) fn report_to(config: &Config) -> String {
    let base = config.backend.callback_base_url.as_str();
    format!("{}/v1/callbacks", base.trim_end_matches('/'))
}

/// How long an outgoing request may take.
#[must_use]
pub fn outgoing_timeouts(config: &Config) -> Timeouts {
    Timeouts {
        connect: Duration::from_secs(config.callback.connect_timeout_s),
        total: Duration::from_secs(config.callback.total_timeout_s),
    }
}

pub(super) fn sender(common: &Common, client: &Client) -> Sender {
    Sender {
        client: client.clone(),
        secrets: common.secrets.clone(),
        origin: common
            .config
            .server
            .public_url
            .host_str()
            .unwrap_or("localhost")
            .to_owned(),
        clock: common.clock.clone(),
        headers: common.config.callback.default_headers.clone(),
    }
}

pub(super) fn body_rules(common: &Common, service: Service) -> Rules {
    let default_timeout_s = match service {
        Service::Tts => common.config.tts.default_timeout_s,
        Service::Backend => common.config.backend.task_timeout_s,
    };
    Rules {
        takes_callback_check: service == Service::Tts,
        max_characters: common.config.tts.max_characters,
        default_timeout_s,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "a-key-of-the-configuration";
    const OF_BACKEND: &str = "the-key-of-the-backend";

    /// The keys that are known, and the one that the Backend sends.
    fn keys(flags: &[(&str, &str)]) -> (Keys, Option<String>) {
        let folder = tempfile::tempdir().unwrap();
        let data_dir = ("data_dir", folder.path().to_str().unwrap());
        let flags = [&[data_dir], flags].concat();
        let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        let flags: Vec<(String, String)> = flags.iter().map(owned).collect();
        open_keys(&Config::from_sources(None, &[], &flags).unwrap()).unwrap()
    }

    #[test]
    fn a_key_that_is_sent_to_another_host_is_no_backends_here() {
        let elsewhere = [
            ("backend.tts_url", "http://192.0.2.1:4641"),
            ("backend.callback_base_url", "http://192.0.2.2:4640"),
        ];
        let keys = |more: &[(&str, &str)]| keys(&[&elsewhere, more].concat());
        assert_eq!(keys(&[]).1, None);
        let of_backend = ("backend.tts_api_key", OF_BACKEND);
        let (known, sent) = keys(&[of_backend]);
        assert_eq!(sent.as_deref(), Some(OF_BACKEND));
        assert_eq!(known.caller(OF_BACKEND), None);
        let (known, sent) = keys(&[of_backend, ("server.api_keys", KEY)]);
        assert_eq!(sent.as_deref(), Some(OF_BACKEND));
        assert_eq!(known.caller(OF_BACKEND), None);
        assert_eq!(known.caller(KEY).unwrap().unnamed, None);
    }

    #[test]
    fn a_process_that_is_told_its_own_address_hands_over_to_itself() {
        for own in ["", "http://127.0.0.1:4640", "http://localhost:4640/"] {
            let flags = [("backend.tts_url", own), ("server.api_keys", KEY)];
            let (known, sent) = keys(&flags);
            let sent = sent.unwrap();
            assert_ne!(sent, KEY, "{own}");
            let caller = known.caller(&sent).unwrap();
            assert_eq!(caller.unnamed.as_deref(), Some(""), "{own}");
            let given = [&flags[..], &[("backend.tts_api_key", OF_BACKEND)]].concat();
            let (known, sent) = keys(&given);
            assert_eq!(sent.as_deref(), Some(OF_BACKEND));
            let caller = known.caller(OF_BACKEND).unwrap();
            assert_eq!(caller.unnamed.as_deref(), Some(""), "{own}");
        }
    }
}
