//! Which keys hold secrets: they are never shown, and no flag may set them.

use super::error::{ConfigError, ConfigErrorKind};
use super::settings::{Settings, environment_name};
use super::source::Source;

/// The keys that must never be shown, and what is shown instead.
const SECRET_KEYS: [(&str, &str); 5] = [
    ("server.api_keys", "(hidden)"),
    ("backend.tts_api_key", "(hidden)"),
    ("callback.secrets", "whsec_…(hidden)"),
    ("callback.default_headers", "(hidden)"),
    // The URLs of chat services are their keys.
    ("alerts.callback_url", "(hidden)"),
];

pub(super) fn is_secret(key: &str) -> bool {
    let is_entry = |map: &str| {
        key.strip_prefix(map)
            .is_some_and(|name| name.starts_with('.'))
    };
    SECRET_KEYS
        .iter()
        .any(|(secret, _)| *secret == key || is_entry(secret))
}

/// What is wrong with a flag that shows a secret to whoever may list processes.
pub(super) fn shown_secret((key, value): &(String, String)) -> Option<ConfigError> {
    if value.is_empty() || !is_secret(key) {
        return None;
    }
    let own = match key.as_str() {
        "server.api_keys" => "Make a key with `hoiam keys add NAME`, or set",
        _ => "Set",
    };
    Some(ConfigError {
        kind: ConfigErrorKind::ShownSecret,
        key: key.clone(),
        source: Some(Source::Flag),
        detail: format!(
            "is a secret, and everybody on this machine can read command lines. {own} the variable {}, or write it \
             into a configuration file that you alone can read",
            environment_name(map_of(key))
        ),
    })
}

/// The table that a key is an entry of, or the key itself: an environment variable sets
/// a whole table.
fn map_of(key: &str) -> &str {
    SECRET_KEYS
        .iter()
        .map(|(secret, _)| *secret)
        .find(|secret| key.starts_with(secret))
        .unwrap_or(key)
}

/// The settings as they may be kept for listings.
pub(super) fn without_secrets(settings: &Settings) -> Settings {
    let mut settings = settings.clone();
    for (key, mask) in SECRET_KEYS {
        settings.mask(key, mask);
        for (name, _) in settings.entries(key) {
            settings.mask(&format!("{key}.{name}"), mask);
        }
    }
    settings
}
