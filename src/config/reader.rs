//! Reads one value at a time, and gathers what is wrong.

use std::collections::BTreeMap;

use super::error::{ConfigError, ConfigErrorKind};
use super::hidden::is_secret;
use super::settings::{Settings, Value};
use super::source::Source;
use super::values;

/// Reads typed values out of the settings and collects what is wrong with them.
/// A `None` always comes with at least one error.
pub(super) struct Reader {
    pub(super) settings: Settings,
    pub(super) errors: Vec<ConfigError>,
}

impl Reader {
    pub(super) fn one<T>(
        &mut self,
        key: &str,
        parse: impl Fn(&str) -> values::Parsed<T>,
    ) -> Option<T> {
        match self.value(key)? {
            Value::One(text) => self.parse(key, key, &text, parse),
            Value::List(_) => None,
        }
    }

    /// As [`Reader::one`], for a value that may be left empty: `Some(None)`.
    pub(super) fn optional<T>(
        &mut self,
        key: &str,
        parse: impl Fn(&str) -> values::Parsed<T>,
    ) -> Option<Option<T>> {
        match self.value(key)? {
            Value::One(text) if text.is_empty() => Some(None),
            _ => self.one(key, parse).map(Some),
        }
    }

    pub(super) fn list<T>(
        &mut self,
        key: &str,
        parse: impl Fn(&str) -> values::Parsed<T>,
    ) -> Option<Vec<T>> {
        let Value::List(items) = self.value(key)? else {
            return None;
        };
        // Every item is looked at, so that every error is found.
        let parsed: Vec<Option<T>> = items
            .iter()
            .map(|item| self.parse(key, key, item, &parse))
            .collect();
        parsed.into_iter().collect()
    }

    /// A table from names that people chose to voices.
    pub(super) fn voices(&mut self, map: &str) -> Option<BTreeMap<String, String>> {
        self.map(map, values::name, values::voice)
    }

    pub(super) fn map<T>(
        &mut self,
        map: &str,
        name_of: fn(&str) -> values::Parsed<String>,
        value_of: fn(&str) -> values::Parsed<T>,
    ) -> Option<BTreeMap<String, T>> {
        let parsed: Vec<Option<(String, T)>> = self
            .settings
            .entries(map)
            .into_iter()
            .map(|(name, setting)| {
                let key = format!("{map}.{name}");
                let Value::One(text) = setting.value else {
                    return None;
                };
                let name = self.parse(&key, map, &name, name_of);
                let value = self.parse(&key, &key, &text, value_of);
                Some((name?, value?))
            })
            .collect();
        parsed.into_iter().collect()
    }

    /// Notes a rule that spans values; the source is that of `key`.
    pub(super) fn error(&mut self, kind: ConfigErrorKind, key: &str, detail: String) {
        // What is missing was written nowhere.
        let source = match kind {
            ConfigErrorKind::MissingValue => None,
            _ => self.settings.source(key),
        };
        self.errors.push(ConfigError {
            kind,
            key: key.to_owned(),
            source,
            detail,
        });
    }

    pub(super) fn derive(&mut self, key: &str, text: impl Into<String>) {
        self.settings.derive(key, Value::One(text.into()));
    }

    pub(super) fn is_derived(&self, key: &str) -> bool {
        self.settings.source(key) == Some(Source::Derived)
    }

    fn value(&mut self, key: &str) -> Option<Value> {
        let value = self.settings.get(key).map(|setting| setting.value.clone());
        if value.is_none() {
            let detail = "the built-in reference lacks this key".to_owned();
            self.error(ConfigErrorKind::MissingValue, key, detail);
        }
        value
    }

    /// `key` is where the text was written, `meaning` what it is part of.
    pub(super) fn parse<T>(
        &mut self,
        key: &str,
        meaning: &str,
        text: &str,
        parse: impl Fn(&str) -> values::Parsed<T>,
    ) -> Option<T> {
        match parse(text) {
            Ok(value) => Some(value),
            Err(allowed) => {
                let what = if is_secret(meaning) {
                    "the value".to_owned()
                } else {
                    format!("\"{text}\"")
                };
                let detail = format!("{what} is not allowed; it must be {allowed}");
                self.error(ConfigErrorKind::InvalidValue, key, detail);
                None
            }
        }
    }
}
