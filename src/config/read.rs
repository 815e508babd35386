//! From the settings as text to the typed configuration, section by section.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZero;
use std::path::{Path, PathBuf};

use hoiam_api::callback_headers::{header_name, header_value};
use hoiam_text::output::MAX_AUDIO_BYTES;
use hoiam_text::pronunciations::{self, Said};
use url::Url;

use super::error::ConfigErrorKind;
use super::hidden::without_secrets;
use super::reader::Reader;
use super::sections::{
    Alerts, Backend, CacheSettings, Callback, Config, Limits, Links, Queue, Retention, Role,
    Server, Tts, asks_for_keys,
};
use super::settings::Value;
use super::{rules, values};

const DEFAULT_PORT: u16 = 4640;
const DEFAULT_PORT_TTS: u16 = 4641;
const YEAR_S: u64 = 366 * 86_400;

/// The whole configuration, if every value can be read; the rules that span
/// values are looked at as far as their values can be.
pub(super) fn read_config(reader: &mut Reader) -> Option<Config> {
    let role = reader.one("role", values::role);
    let data_dir = reader.one("data_dir", values::folder);
    let server = read_server(reader, role.unwrap_or_default());
    let backend = read_backend(reader, role.unwrap_or_default(), server.as_ref());
    let tts = read_tts(reader, data_dir.as_deref());
    let queue = read_queue(reader);
    let cache = reader.one("cache.max_bytes", values::bytes(0..=1_000_000_000_000_000));
    let callback = read_callback(reader);
    let alerts = reader.optional("alerts.callback_url", values::http_url);
    let links = read_links(reader);
    let retention = read_retention(reader);
    let limits = read_limits(reader);
    if let Some(server) = &server {
        let asks = match (&data_dir, &backend) {
            (Some(data_dir), Some(backend)) => {
                asks_for_keys(role.unwrap_or_default(), data_dir, server, backend)
            }
            // What is wrong there is told anyway.
            _ => true,
        };
        rules::listener_is_protected(reader, server, asks);
        rules::urls_can_be_reached(reader, role, server, backend.as_ref());
    }
    if let Some(callback) = &callback {
        rules::lone_role_has_secrets(reader, role, callback);
        rules::windows_agree(reader, callback, links.as_ref(), retention.as_ref());
    }
    Some(Config {
        role: role?,
        data_dir: data_dir?,
        server: server?,
        backend: backend?,
        tts: tts?,
        queue: queue?,
        cache: CacheSettings { max_bytes: cache? },
        callback: callback?,
        alerts: Alerts {
            callback_url: alerts?,
        },
        links: links?,
        retention: retention?,
        limits: limits?,
        settings: without_secrets(&reader.settings),
    })
}

fn read_server(reader: &mut Reader, role: Role) -> Option<Server> {
    let listen = reader.optional("server.listen", values::listener);
    let public_url = reader.optional("server.public_url", values::base_url);
    let api_keys = reader.list("server.api_keys", values::api_key);
    let allow_unauthenticated = reader.one("server.allow_unauthenticated", values::truth);
    let cors_origins = reader.list("server.cors_origins", values::origin);
    let trusted_proxies = reader.list("server.trusted_proxies", values::network);
    let workers = read_threads(reader, "server.workers");
    let shutdown_grace_s = reader.one("server.shutdown_grace_s", values::seconds(0..=3_600));

    let listen = listen?.unwrap_or_else(|| {
        let port = if role == Role::Tts {
            DEFAULT_PORT_TTS
        } else {
            DEFAULT_PORT
        };
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        reader.derive("server.listen", listen.to_string());
        listen
    });
    let public_url = own_unless_given(reader, "server.public_url", public_url, listen);
    Some(Server {
        listen,
        public_url: public_url?,
        api_keys: api_keys?,
        allow_unauthenticated: allow_unauthenticated?,
        cors_origins: cors_origins?,
        trusted_proxies: trusted_proxies?,
        workers: workers?,
        shutdown_grace_s: shutdown_grace_s?,
    })
}

fn read_backend(reader: &mut Reader, role: Role, server: Option<&Server>) -> Option<Backend> {
    let tts_url = reader.optional("backend.tts_url", values::base_url);
    let tts_api_key = reader.optional("backend.tts_api_key", values::api_key);
    let callback_base_url = reader.optional("backend.callback_base_url", values::base_url);
    let task_timeout_s = reader.one("backend.task_timeout_s", values::timeout);

    let Server {
        listen, api_keys, ..
    } = server?;
    let tts_listen = match role {
        Role::All => *listen,
        Role::Backend | Role::Tts => SocketAddr::from((Ipv4Addr::LOCALHOST, DEFAULT_PORT_TTS)),
    };
    let tts_url = own_unless_given(reader, "backend.tts_url", tts_url, tts_listen);
    if let Some(url) = tts_url.as_ref().filter(|_| role == Role::All)
        && is_own(url, *listen)
    {
        // Else its own clients would be those of a Backend elsewhere.
        reader.derive("backend.tts_url", url.to_string());
    }
    let callback_base_url = own_unless_given(
        reader,
        "backend.callback_base_url",
        callback_base_url,
        *listen,
    );
    let tts_api_key = tts_api_key?.or_else(|| {
        // To itself a process speaks with a key that nobody else has.
        let speaks_to_another = role == Role::All && !reader.is_derived("backend.tts_url");
        let first = api_keys.first().filter(|_| speaks_to_another)?;
        reader.derive("backend.tts_api_key", first.reveal());
        Some(first.clone())
    });
    Some(Backend {
        tts_url: tts_url?,
        tts_api_key,
        callback_base_url: callback_base_url?,
        task_timeout_s: task_timeout_s?,
    })
}

fn read_tts(reader: &mut Reader, data_dir: Option<&Path>) -> Option<Tts> {
    let workers = read_threads(reader, "tts.workers");
    let test_voices = reader.one("tts.test_voices", values::truth);
    let max_attempts = reader.one("tts.max_attempts", values::whole(1..=100));
    let synthesis_base_s = reader.one("tts.synthesis_base_s", values::seconds(1..=86_400));
    let synthesis_ms_per_char = reader.one("tts.synthesis_ms_per_char", values::whole(0..=60_000));
    let max_characters = reader.one("tts.max_characters", values::count(1..=100_000));
    let default_timeout_s = reader.one("tts.default_timeout_s", values::timeout);
    let voices_dir = read_voices_dir(reader, data_dir);
    let voices_index = reader.one("tts.voices_index", values::http_url);
    let voice_threads = reader.one("tts.voice_threads", values::count(1..=64));
    let onnxruntime_library =
        reader.optional("tts.onnxruntime_library", values::onnxruntime_library);
    let aliases = reader.voices("tts.aliases");
    let pronunciations = read_pronunciations(reader);
    let default_voices = reader.voices("tts.default_voices");
    Some(Tts {
        workers: workers?,
        test_voices: test_voices?,
        max_attempts: u32::try_from(max_attempts?).ok()?,
        synthesis_base_s: synthesis_base_s?,
        synthesis_ms_per_char: synthesis_ms_per_char?,
        max_characters: max_characters?,
        default_timeout_s: default_timeout_s?,
        voices_dir: voices_dir?,
        voices_index: voices_index?,
        voice_threads: voice_threads?,
        onnxruntime_library: onnxruntime_library?,
        aliases: aliases?,
        pronunciations: pronunciations?,
        default_voices: default_voices?,
    })
}

/// Phonemes are those of a language: a voice of another one could not say them.
fn read_pronunciations(reader: &mut Reader) -> Option<BTreeMap<String, Said>> {
    const KEY: &str = "tts.pronunciations";
    let read = reader.map(KEY, values::term, values::said);
    for (name, setting) in reader.settings.entries(KEY) {
        let Value::One(text) = setting.value else {
            continue;
        };
        if let (Ok(Said::Phonemes(_)), (None, term)) =
            (values::said(&text), pronunciations::scope(&name))
        {
            let detail = format!(
                "phonemes are for one language or one voice; write it as \"vi:{term}\" or \"piper/NAME:{term}\""
            );
            reader.error(
                ConfigErrorKind::InvalidValue,
                &format!("{KEY}.{name}"),
                detail,
            );
        }
    }
    read
}

/// The folder that was given, else one in the data folder.
fn read_voices_dir(reader: &mut Reader, data_dir: Option<&Path>) -> Option<PathBuf> {
    const KEY: &str = "tts.voices_dir";
    let given = reader.one(KEY, |text| match text {
        "" => Ok(None),
        path => values::folder(path).map(Some),
    })?;
    if given.is_some() {
        return given;
    }
    let folder = data_dir?.join("voices");
    reader.derive(KEY, folder.display().to_string());
    Some(folder)
}

fn read_queue(reader: &mut Reader) -> Option<Queue> {
    let max_jobs = reader.one("queue.max_jobs", values::whole(1..=100_000_000));
    let max_bytes = reader.one(
        "queue.max_bytes",
        values::bytes(1_000_000..=1_000_000_000_000),
    );
    Some(Queue {
        max_jobs: max_jobs?,
        max_bytes: max_bytes?,
    })
}

fn read_callback(reader: &mut Reader) -> Option<Callback> {
    let secrets = reader.list("callback.secrets", values::callback_secret);
    let allow_cidrs = reader.list("callback.allow_cidrs", values::network);
    let schedule = reader.list("callback.schedule", values::duration(0..=7 * 86_400));
    let connect_timeout_s = reader.one("callback.connect_timeout_s", values::seconds(1..=600));
    let total_timeout_s = reader.one("callback.total_timeout_s", values::seconds(1..=600));
    let check_timeout_s = reader.one("callback.check_timeout_s", values::seconds(1..=600));
    let hold_s = reader.one("callback.hold_s", values::seconds(0..=3 * 86_400));
    let default_headers = reader.map(
        "callback.default_headers",
        |text| Ok(header_name(text)?),
        |text| Ok(header_value(text)?),
    );
    Some(Callback {
        secrets: secrets?,
        allow_cidrs: allow_cidrs?,
        schedule: schedule?,
        connect_timeout_s: connect_timeout_s?,
        total_timeout_s: total_timeout_s?,
        check_timeout_s: check_timeout_s?,
        hold_s: hold_s?,
        default_headers: default_headers?.into(),
    })
}

fn read_links(reader: &mut Reader) -> Option<Links> {
    let ttl_s = reader.one("links.ttl_s", values::seconds(1..=YEAR_S))?;
    Some(Links { ttl_s })
}

fn read_retention(reader: &mut Reader) -> Option<Retention> {
    let files_s = reader.one("retention.files_s", values::seconds(1..=10 * YEAR_S));
    let rows_s = reader.one("retention.rows_s", values::seconds(1..=10 * YEAR_S));
    Some(Retention {
        files_s: files_s?,
        rows_s: rows_s?,
    })
}

fn read_limits(reader: &mut Reader) -> Option<Limits> {
    let body_bytes = reader.one("limits.body_bytes", values::bytes(16_384..=64 << 20));
    let audio_bytes = values::bytes(1_000_000..=MAX_AUDIO_BYTES);
    let audio_bytes = reader.one("limits.audio_bytes", audio_bytes);
    let body_timeout_s = reader.one("limits.body_timeout_s", values::seconds(1..=3_600));
    let write_timeout_s = reader.one("limits.write_timeout_s", values::seconds(1..=3_600));
    let connections = reader.one("limits.connections", values::whole(16..=1_000_000));
    let bodies_bytes = reader.one(
        "limits.bodies_bytes",
        values::bytes(1_000_000..=1_000_000_000_000),
    );
    let min_free_bytes = reader.one("limits.min_free_bytes", values::bytes(0..=1 << 40));
    Some(Limits {
        body_bytes: usize::try_from(body_bytes?).ok()?,
        audio_bytes: audio_bytes?,
        body_timeout_s: body_timeout_s?,
        write_timeout_s: write_timeout_s?,
        connections: connections?,
        bodies_bytes: bodies_bytes?,
        min_free_bytes: min_free_bytes?,
    })
}

/// A number of threads; 0 is one a core.
fn read_threads(reader: &mut Reader, key: &str) -> Option<usize> {
    match reader.one(key, values::count(0..=1_024))? {
        0 => {
            let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
            reader.derive(key, cores.to_string());
            Some(cores)
        }
        threads => Some(threads),
    }
}

/// The URL that was given, else that of a listener of our own.
fn own_unless_given(
    reader: &mut Reader,
    key: &str,
    given: Option<Option<Url>>,
    listener: SocketAddr,
) -> Option<Url> {
    if let Some(url) = given? {
        return Some(url);
    }
    let own = format!("http://{}/", reached(listener));
    let url = reader.parse(key, key, &own, values::base_url)?;
    reader.derive(key, url.to_string());
    Some(url)
}

/// Where this machine reaches a listener of its own: nobody can connect to a wildcard
/// address, so by loopback.
fn reached(listener: SocketAddr) -> SocketAddr {
    let ip = match listener.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, listener.port())
}

/// Whether a URL is plainly that of a listener of our own.
fn is_own(url: &Url, listener: SocketAddr) -> bool {
    let own = reached(listener);
    let names = [
        Some(own.to_string()),
        own.ip()
            .is_loopback()
            .then(|| format!("localhost:{}", own.port())),
    ];
    let mut names = names.into_iter().flatten();
    names.any(|name| Url::parse(&format!("http://{name}/")).is_ok_and(|own| own == *url))
}
