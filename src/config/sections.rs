//! The configuration as the program reads it: a struct for each section.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hoiam_api::CallbackHeaders;
use hoiam_api::signature::Secret;
use hoiam_synthesizer::engines;
use hoiam_text::Said;
use ipnet::IpNet;
use serde::Serialize;
use url::Url;

use super::settings::{Settings, Value};
use super::source::Source;
use crate::keys;

/// How long the Backend tries to fetch a result whose callback has come, in
/// seconds. Files are kept at least this much longer than callbacks are attempted.
pub const FETCH_WINDOW_S: u64 = 3_600;

/// Which services a process runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Both, on one listener.
    #[default]
    All,
    /// The Backend service alone.
    Backend,
    /// The TTS service alone.
    Tts,
}

impl Role {
    /// Whether the Backend service runs here.
    pub fn runs_backend(self) -> bool {
        self != Self::Tts
    }

    /// Whether the TTS service runs here.
    pub fn runs_tts(self) -> bool {
        self != Self::Backend
    }

    /// The name, as it is written in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Backend => "backend",
            Self::Tts => "tts",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

/// A key that clients send: at least 16 visible ASCII characters. It has no
/// `Display`, and `Debug` shows nothing of it.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey(pub(super) String);

impl ApiKey {
    /// The key itself, for the code that compares or sends it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("ApiKey(hidden)")
    }
}

/// The whole configuration, checked. See `config/default.toml` for the meaning of
/// each key; durations in fields that end in `_s` are whole seconds.
#[derive(Clone, Debug)]
pub struct Config {
    /// Which services run.
    pub role: Role,
    /// Where databases, results and the callback secret are kept; absolute.
    pub data_dir: PathBuf,
    /// The listener and who may use it.
    pub server: Server,
    /// The Backend service.
    pub backend: Backend,
    /// The TTS service.
    pub tts: Tts,
    /// How much may wait in the TTS service.
    pub queue: Queue,
    /// The section `cache`.
    pub cache: CacheSettings,
    /// Callbacks, of both services.
    pub callback: Callback,
    /// The section `alerts`.
    pub alerts: Alerts,
    /// Links for people.
    pub links: Links,
    /// How long results are kept.
    pub retention: Retention,
    /// Bounds of request bodies.
    pub limits: Limits,
    /// What was written where; secrets are already masked in it.
    pub(super) settings: Settings,
}

/// The section `server`.
#[derive(Clone, Debug)]
pub struct Server {
    /// Address and port; port 0 until [`Config::bound`] says which one it became.
    pub listen: SocketAddr,
    /// The URL others use; its path ends in `/`.
    pub public_url: Url,
    /// The keys that clients may send; empty on a listener for this machine alone.
    pub api_keys: Vec<ApiKey>,
    /// Whether other machines may use the service without a key.
    pub allow_unauthenticated: bool,
    /// Origins whose pages may use the service, as browsers write them.
    pub cors_origins: Vec<String>,
    /// Networks of proxies that are believed whom they speak for.
    pub trusted_proxies: Vec<IpNet>,
    /// Threads that serve HTTP, at least 1.
    pub workers: usize,
    /// How long work under way may take to end at shutdown.
    pub shutdown_grace_s: u64,
}

/// The section `backend`.
#[derive(Clone, Debug)]
pub struct Backend {
    /// Where the TTS service is; its path ends in `/`.
    pub tts_url: Url,
    /// The API key it asks for.
    pub tts_api_key: Option<ApiKey>,
    /// The URL under which it reaches us; its path ends in `/`.
    pub callback_base_url: Url,
    /// The timeout of a task that names none.
    pub task_timeout_s: u32,
}

/// The section `tts`.
#[derive(Clone, Debug)]
pub struct Tts {
    /// Jobs spoken at the same time, at least 1.
    pub workers: usize,
    /// Whether the voices for rehearsing failures are offered.
    pub test_voices: bool,
    /// Crashes or overruns that end a job.
    pub max_attempts: u32,
    /// The fixed part of an attempt's time limit.
    pub synthesis_base_s: u64,
    /// The part of the limit for each character, in milliseconds.
    pub synthesis_ms_per_char: u64,
    /// The longest text, in code points.
    pub max_characters: usize,
    /// The timeout of a speech that names none.
    pub default_timeout_s: u32,
    /// Where neural voices are kept; absolute.
    pub voices_dir: PathBuf,
    /// The list of voices that can be installed.
    pub voices_index: Url,
    /// Threads that speak one sentence of a neural voice, at least 1.
    pub voice_threads: usize,
    /// The library of ONNX Runtime; absolute. `None` where the loader is to find it.
    pub onnxruntime_library: Option<PathBuf>,
    /// Alias to voice id.
    pub aliases: BTreeMap<String, String>,
    /// `TERM`, `LANGUAGE:TERM` or `VOICE:TERM` to what is said.
    pub pronunciations: BTreeMap<String, Said>,
    /// Language tag to voice id.
    pub default_voices: BTreeMap<String, String>,
}

impl Tts {
    /// What a child opens its engines with.
    #[must_use]
    pub fn engines(&self) -> engines::Setup {
        engines::Setup {
            test_voices: self.test_voices,
            voices_dir: Some(self.voices_dir.clone()),
            threads: self.voice_threads,
            onnxruntime_library: self.onnxruntime_library.clone(),
        }
    }
}

/// The section `queue`.
#[derive(Clone, Debug)]
pub struct Queue {
    /// Jobs that may wait.
    pub max_jobs: u64,
    /// Bytes their requests may take.
    pub max_bytes: u64,
}

/// The section `cache`.
#[derive(Clone, Debug)]
pub struct CacheSettings {
    /// Bytes that may be kept to be used again.
    pub max_bytes: u64,
}

/// The section `callback`.
#[derive(Clone, Debug)]
pub struct Callback {
    /// The first two sign, all verify. Empty only in role `all`, which then has one in
    /// its data folder ([`crate::secrets`]).
    pub secrets: Vec<Secret>,
    /// Networks that callback URLs may lead to although they are not public.
    pub allow_cidrs: Vec<IpNet>,
    /// The wait before each attempt; never empty.
    pub schedule: Vec<Duration>,
    /// The limit to connect.
    pub connect_timeout_s: u64,
    /// The limit of a whole attempt.
    pub total_timeout_s: u64,
    /// The limit of each step of a callback check.
    pub check_timeout_s: u64,
    /// How long a job waits for a callback URL that cannot be reached.
    pub hold_s: u64,
    /// Sent to every callback URL.
    pub default_headers: CallbackHeaders,
}

impl Callback {
    /// From the end of a task to its last attempt, jitter left out, in seconds.
    pub fn schedule_total_s(&self) -> u64 {
        self.schedule.iter().map(Duration::as_secs).sum()
    }
}

/// The section `alerts`.
#[derive(Clone)]
pub struct Alerts {
    /// Where the operator is told; `None`: nowhere. It may hold a secret.
    pub callback_url: Option<Url>,
}

impl fmt::Debug for Alerts {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Alerts(hidden)")
    }
}

/// The section `links`.
#[derive(Clone, Debug)]
pub struct Links {
    /// How long a link is valid.
    pub ttl_s: u64,
}

/// The section `retention`; counted from the end of a task or speech.
#[derive(Clone, Debug)]
pub struct Retention {
    /// How long files are kept.
    pub files_s: u64,
    /// How long rows are kept.
    pub rows_s: u64,
}

/// The section `limits`.
#[derive(Clone, Debug)]
pub struct Limits {
    /// The largest request body.
    pub body_bytes: usize,
    /// The largest audio file.
    pub audio_bytes: u64,
    /// How long a request body may take, at least 1.
    pub body_timeout_s: u64,
    /// How long a client may keep the rest of its answer waiting, at least 1.
    pub write_timeout_s: u64,
    /// Connections that are served at once.
    pub connections: u64,
    /// The bytes of the bodies that are held at once.
    pub bodies_bytes: u64,
    /// What stays free on the disk for what is accepted already.
    pub min_free_bytes: u64,
}

/// One key as `hoiam config` shows it; secrets are hidden.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// The key with its section.
    pub key: String,
    /// The value as it was written, or what it was derived to be.
    pub value: Value,
    /// Where it was written: `default`, `file:line`, `env NAME`, `flag`, `derived`.
    pub source: String,
}

impl Config {
    /// The configuration once the listener is bound: the port that was taken for
    /// port 0 goes into the listener and into every URL derived from it.
    pub fn bound(mut self, listener: SocketAddr) -> Self {
        self.server.listen = listener;
        let port = listener.port();
        let tts_is_here = self.role == Role::All;
        for (key, url, own) in [
            ("server.public_url", &mut self.server.public_url, true),
            (
                "backend.callback_base_url",
                &mut self.backend.callback_base_url,
                true,
            ),
            ("backend.tts_url", &mut self.backend.tts_url, tts_is_here),
        ] {
            // A port can be set on every http URL that has a host; these have.
            let derived = self.settings.source(key) == Some(Source::Derived);
            if own && derived && url.set_port(Some(port)).is_ok() {
                self.settings.derive(key, Value::One(url.to_string()));
            }
        }
        self
    }

    /// Whether requests will have to come with a key: one is configured, or there is
    /// a file of keys.
    #[must_use]
    pub fn asks_for_keys(&self) -> bool {
        asks_for_keys(self.role, &self.data_dir, &self.server, &self.backend)
    }

    /// Every key with its value and source, secrets hidden, in the order of the
    /// reference.
    pub fn rows(&self) -> Vec<Row> {
        self.settings
            .iter()
            .map(|(key, setting)| Row {
                key: key.to_owned(),
                value: setting.value.clone(),
                source: setting.source.to_string(),
            })
            .collect()
    }

    /// Where a key's value was written; `None` for a key that does not exist.
    pub fn source(&self, key: &str) -> Option<Source> {
        self.settings.source(key)
    }
}

/// As [`Config::asks_for_keys`], before there is a whole configuration. The key of a
/// Backend elsewhere is one of the TTS service's.
pub(super) fn asks_for_keys(
    role: Role,
    data_dir: &Path,
    server: &Server,
    backend: &Backend,
) -> bool {
    let of_backend = role == Role::Tts && backend.tts_api_key.is_some();
    !server.api_keys.is_empty() || of_backend || keys::file::exists(data_dir)
}
