//! The configuration: embedded defaults, then a file, then the environment, then
//! flags. It is read once, checked as a whole, and every error is told at once.
//!
//! * `settings` knows the layers and the keys, as text, and `source` where each was
//!   written.
//! * `values` knows what one text means and what is allowed.
//! * `sections` has what becomes of them, the [`Config`].
//! * `reader` makes the values of the texts, one by one, and `read` the whole.
//! * `rules` knows which values contradict each other, and `hidden` which are secrets.
//!
//! The reference for people is `config/default.toml`.

mod error;
mod hidden;
mod read;
mod reader;
mod rules;
mod sections;
mod settings;
mod source;
mod values;

use std::path::{Path, PathBuf};
use std::time::Duration;

pub use error::{ConfigError, ConfigErrorKind, ConfigErrors};
pub use sections::{
    Alerts, ApiKey, Backend, CacheSettings, Callback, Config, FETCH_WINDOW_S, Limits, Links, Queue,
    Retention, Role, Row, Server, Tts,
};
pub use settings::{DEFAULTS, ENVIRONMENT_PREFIX, Value};
pub use source::Source;
pub use values::{MustBe, base_url, in_words, seconds};

use hidden::shown_secret;
use read::read_config;
use reader::Reader;
use settings::Settings;

/// The variable that names the configuration file when `--config` does not.
pub const FILE_VARIABLE: &str = "HOIAM_CONFIG";

/// How long our server keeps an idle connection. Longer than our own client does
/// (15 s, `outbound::client`), so that a client of ours never writes into a
/// connection that is being closed: that would cost a delivery an attempt.
pub const SERVER_KEEP_ALIVE: Duration = Duration::from_secs(75);

impl Config {
    /// Reads the file (that of `HOIAM_CONFIG` when none is given), the process's
    /// environment and the `(key, value)` flags over the defaults. Flags may hold no
    /// secret.
    pub fn load(file: Option<&Path>, flags: &[(String, String)]) -> Result<Self, ConfigErrors> {
        let mut errors: Vec<ConfigError> = flags.iter().filter_map(shown_secret).collect();
        let mut environment = Vec::new();
        for (name, value) in std::env::vars_os() {
            let Some(name) = name
                .to_str()
                .filter(|name| name.starts_with(ENVIRONMENT_PREFIX))
            else {
                continue;
            };
            match value.into_string() {
                Ok(value) => environment.push((name.to_owned(), value)),
                Err(_) => errors.push(ConfigError {
                    kind: ConfigErrorKind::Unreadable,
                    key: name.to_owned(),
                    source: None,
                    detail: "its value is not UTF-8".to_owned(),
                }),
            }
        }
        let named = std::env::var_os(FILE_VARIABLE).filter(|path| !path.is_empty());
        let path = file.map(Path::to_owned).or(named.map(PathBuf::from));
        let text = path
            .as_ref()
            .and_then(|path| match std::fs::read_to_string(path) {
                Ok(text) => Some((path.as_path(), text)),
                Err(error) => {
                    errors.push(ConfigError {
                        kind: ConfigErrorKind::Unreadable,
                        key: path.display().to_string(),
                        source: None,
                        detail: format!("the configuration file cannot be read: {error}"),
                    });
                    None
                }
            });
        let file = text.as_ref().map(|(path, text)| (*path, text.as_str()));
        Self::assemble(file, &environment, flags, errors)
    }

    /// As [`Config::load`], from sources that are given instead of the process's.
    pub fn from_sources(
        file: Option<(&Path, &str)>,
        environment: &[(String, String)],
        flags: &[(String, String)],
    ) -> Result<Self, ConfigErrors> {
        Self::assemble(file, environment, flags, Vec::new())
    }

    fn assemble(
        file: Option<(&Path, &str)>,
        environment: &[(String, String)],
        flags: &[(String, String)],
        mut errors: Vec<ConfigError>,
    ) -> Result<Self, ConfigErrors> {
        let (mut settings, defaults) = Settings::defaults();
        errors.extend(defaults);
        if let Some((path, text)) = file {
            errors.extend(settings.apply_file(path, text));
        }
        errors.extend(settings.apply_environment(environment));
        errors.extend(settings.apply_flags(flags));
        let mut reader = Reader { settings, errors };
        let config = read_config(&mut reader);
        let mut errors = reader.errors;
        match config {
            Some(config) if errors.is_empty() => Ok(config),
            _ => {
                // One wrong list gives one error for each of its items.
                errors.dedup_by(|one, other| one.key == other.key && one.detail == other.detail);
                Err(ConfigErrors(errors))
            }
        }
    }
}

#[cfg(test)]
mod tests;
