//! The layers of the configuration, as text: which keys there are, what each was
//! set to last, and where that was written.
//!
//! `config/default.toml` is the schema as well as the first layer: a key it does
//! not have does not exist.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{ConfigError, ConfigErrorKind};
use super::source::Source;

/// The reference: every key with its default, unit and meaning.
pub const DEFAULTS: &str = include_str!("../../config/default.toml");

/// What begins the name of every environment variable that sets a key.
pub const ENVIRONMENT_PREFIX: &str = "HOIAM__";

/// The tables whose keys people choose themselves.
const MAPS: [&str; 4] = [
    "tts.aliases",
    "tts.default_voices",
    "tts.pronunciations",
    "callback.default_headers",
];

/// A value as it was written, before anybody asked what it means.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Value {
    /// One value: a number, a truth value or a text.
    One(String),
    /// Several, in order.
    List(Vec<String>),
}

/// A value and where it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The value.
    pub value: Value,
    /// Where it was written.
    pub source: Source,
}

/// What a key holds.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    One,
    List,
    /// A table of names that people choose, each with one value.
    Map,
}

/// Every key with the value that won.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// The keys in the order of the reference.
    order: Vec<String>,
    current: BTreeMap<String, Setting>,
}

impl Settings {
    /// The keys and values of the reference.
    pub fn defaults() -> (Self, Vec<ConfigError>) {
        let mut settings = Self::default();
        let mut errors = Vec::new();
        match read_toml(DEFAULTS) {
            Ok(entries) => {
                for Entry { key, value, .. } in entries {
                    settings.order.push(key.clone());
                    settings.put(key, value, Source::Default);
                }
            }
            Err(error) => errors.push(unreadable("config/default.toml", error.to_string())),
        }
        (settings, errors)
    }

    /// Lays a configuration file over what is there.
    pub fn apply_file(&mut self, path: &Path, text: &str) -> Vec<ConfigError> {
        let entries = match read_toml(text) {
            Ok(entries) => entries,
            Err(error) => {
                return vec![unreadable(&path.display().to_string(), error.to_string())];
            }
        };
        entries
            .into_iter()
            .flat_map(|Entry { key, value, line }| {
                let path = path.to_owned();
                self.apply(&key, value, Source::File { path, line })
            })
            .collect()
    }

    /// Lays the variables that begin with `HOIAM__` over what is there. An empty
    /// one counts as not set: compose files pass on what they do not have so.
    pub fn apply_environment(&mut self, variables: &[(String, String)]) -> Vec<ConfigError> {
        variables
            .iter()
            .filter(|(_, value)| !value.trim().is_empty())
            .filter_map(|(name, value)| {
                let path = name.strip_prefix(ENVIRONMENT_PREFIX)?;
                Some((name, path.to_lowercase().replace("__", "."), value))
            })
            .flat_map(|(name, key, value)| {
                let source = Source::Environment(name.clone());
                self.apply(&key, Value::One(value.clone()), source)
            })
            .collect()
    }

    /// Lays `key=value` flags over what is there, in their order.
    pub fn apply_flags(&mut self, flags: &[(String, String)]) -> Vec<ConfigError> {
        flags
            .iter()
            .flat_map(|(key, value)| self.apply(key, Value::One(value.clone()), Source::Flag))
            .collect()
    }

    /// Notes what a value left empty comes to.
    pub fn derive(&mut self, key: &str, value: Value) {
        self.put(key.to_owned(), value, Source::Derived);
    }

    /// Replaces every text of a value that is not empty.
    pub fn mask(&mut self, key: &str, mask: &str) {
        let Some(setting) = self.current.get_mut(key) else {
            return;
        };
        let texts = match &mut setting.value {
            Value::One(text) => std::slice::from_mut(text),
            Value::List(texts) => texts.as_mut_slice(),
        };
        for text in texts.iter_mut().filter(|text| !text.is_empty()) {
            mask.clone_into(text);
        }
    }

    /// What a key is set to.
    pub fn get(&self, key: &str) -> Option<&Setting> {
        self.current.get(key)
    }

    /// Where a key's value was written.
    pub fn source(&self, key: &str) -> Option<Source> {
        self.get(key).map(|setting| setting.source.clone())
    }

    /// The entries of a table of names, without its own key before them.
    pub fn entries(&self, map: &str) -> Vec<(String, Setting)> {
        self.current
            .iter()
            .filter_map(|(key, setting)| {
                let name = key.strip_prefix(map)?.strip_prefix('.')?;
                Some((name.to_owned(), setting.clone()))
            })
            .collect()
    }

    /// Every key and setting: those of the reference in its order, then names that
    /// people chose.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Setting)> {
        let known = self
            .order
            .iter()
            .filter_map(|key| Some((key.as_str(), self.current.get(key)?)));
        let chosen = self
            .current
            .iter()
            .filter(|(key, _)| !self.order.contains(key))
            .map(|(key, setting)| (key.as_str(), setting));
        known.chain(chosen)
    }

    fn put(&mut self, key: String, value: Value, source: Source) {
        self.current.insert(key, Setting { value, source });
    }

    /// Sets one key, if it exists and holds that shape of value.
    fn apply(&mut self, key: &str, value: Value, source: Source) -> Vec<ConfigError> {
        let error = |kind, detail| {
            let key = key.to_owned();
            let source = Some(source.clone());
            vec![ConfigError {
                kind,
                key,
                source,
                detail,
            }]
        };
        match (self.shape(key), value) {
            (None, _) => error(ConfigErrorKind::UnknownKey, self.unknown(key, &source)),
            (Some(Shape::One), value @ Value::One(_))
            | (Some(Shape::List), value @ Value::List(_)) => {
                self.put(key.to_owned(), value, source);
                Vec::new()
            }
            (Some(Shape::One), Value::List(_)) => error(
                ConfigErrorKind::InvalidValue,
                "is one value, not a list".to_owned(),
            ),
            (Some(Shape::List), Value::One(text)) => {
                self.put(key.to_owned(), Value::List(split(&text)), source);
                Vec::new()
            }
            (Some(Shape::Map), Value::One(text)) => {
                let mut errors = Vec::new();
                for pair in split(&text) {
                    if let Some((name, value)) = pair.split_once('=') {
                        let value = Value::One(value.trim().to_owned());
                        self.put(format!("{key}.{}", name.trim()), value, source.clone());
                    } else {
                        let detail = format!("\"{pair}\" is not of the form name=value");
                        errors.extend(error(ConfigErrorKind::InvalidValue, detail));
                    }
                }
                errors
            }
            (Some(Shape::Map), Value::List(_)) => error(
                ConfigErrorKind::InvalidValue,
                "is a table of names and values, not a list".to_owned(),
            ),
        }
    }

    fn shape(&self, key: &str) -> Option<Shape> {
        if MAPS.contains(&key) {
            return Some(Shape::Map);
        }
        if MAPS.iter().any(|map| is_entry(key, map)) {
            return Some(Shape::One);
        }
        match self.current.get(key)?.value {
            Value::One(_) => Some(Shape::One),
            Value::List(_) => Some(Shape::List),
        }
    }

    /// What to say about a key that does not exist, in the spelling of its source.
    fn unknown(&self, key: &str, source: &Source) -> String {
        let spell = |key: &str| match source {
            Source::Environment(_) => environment_name(key),
            _ => key.to_owned(),
        };
        match self.nearest(key) {
            Some(near) => format!("there is no such key; did you mean {}?", spell(near)),
            None => "there is no such key; `hoiam config` lists them all".to_owned(),
        }
    }

    /// The known key that is most like this one. Who forgot the section or took
    /// the wrong one is helped too, so the last part is compared on its own.
    fn nearest(&self, key: &str) -> Option<&str> {
        const ALIKE: f64 = 0.8;
        let last = |key: &str| key.rsplit('.').next().unwrap_or_default().to_owned();
        self.order
            .iter()
            .map(String::as_str)
            .chain(MAPS)
            .map(|known| {
                let whole = strsim::normalized_damerau_levenshtein(key, known);
                let part = strsim::normalized_damerau_levenshtein(&last(key), &last(known));
                // The whole key decides between two that end alike.
                (whole.max(part) + whole / 100.0, known)
            })
            .filter(|(likeness, _)| *likeness >= ALIKE)
            .max_by(|one, other| one.0.total_cmp(&other.0))
            .map(|(_, known)| known)
    }
}

/// The environment variable that sets a key.
pub fn environment_name(key: &str) -> String {
    format!(
        "{ENVIRONMENT_PREFIX}{}",
        key.replace('.', "__").to_uppercase()
    )
}

fn is_entry(key: &str, map: &str) -> bool {
    key.strip_prefix(map)
        .and_then(|rest| rest.strip_prefix('.'))
        .is_some_and(|name| !name.is_empty())
}

fn split(text: &str) -> Vec<String> {
    text.split(',')
        .map(str::trim)
        .filter(|item| !item.is_empty())
        .map(str::to_owned)
        .collect()
}

fn unreadable(path: &str, detail: String) -> ConfigError {
    ConfigError {
        kind: ConfigErrorKind::Unreadable,
        key: path.to_owned(),
        source: None,
        detail,
    }
}

/// One key of a TOML text, with its sections before it.
struct Entry {
    key: String,
    value: Value,
    line: usize,
}

/// Why a text is no configuration.
#[derive(Debug, thiserror::Error)]
enum TomlError {
    #[error(transparent)]
    Syntax(#[from] toml::de::Error),
    /// A date, or something within a list.
    #[error("{key} holds {kind}, which no key takes")]
    Kind { key: String, kind: &'static str },
}

/// All keys of a TOML text in the order they are written.
fn read_toml(text: &str) -> Result<Vec<Entry>, TomlError> {
    let table = DeTable::parse(text)?;
    let mut found = Vec::new();
    collect(table.get_ref(), "", &mut found)?;
    found.sort_by_key(|(start, ..)| *start);
    let line = |start: usize| {
        1 + text
            .bytes()
            .take(start)
            .filter(|byte| *byte == b'\n')
            .count()
    };
    Ok(found
        .into_iter()
        .map(|(start, key, value)| Entry {
            key,
            value,
            line: line(start),
        })
        .collect())
}

fn collect(
    table: &DeTable<'_>,
    prefix: &str,
    found: &mut Vec<(usize, String, Value)>,
) -> Result<(), TomlError> {
    for (name, value) in table {
        let key = format!("{prefix}{}", name.get_ref());
        if let Some(inner) = value.get_ref().as_table() {
            collect(inner, &format!("{key}."), found)?;
        } else {
            let Some(read) = read_value(value) else {
                let kind = value.get_ref().type_str();
                return Err(TomlError::Kind { key, kind });
            };
            found.push((name.span().start, key, read));
        }
    }
    Ok(())
}

fn read_value(value: &Spanned<DeValue<'_>>) -> Option<Value> {
    match value.get_ref() {
        DeValue::Array(items) => items
            .iter()
            .map(|item| scalar(item.get_ref()))
            .collect::<Option<_>>()
            .map(Value::List),
        single => scalar(single).map(Value::One),
    }
}

fn scalar(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Boolean(truth) => Some(truth.to_string()),
        DeValue::Float(number) => Some(number.as_str().to_owned()),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .ok()
            .map(|number| number.to_string()),
        DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => None,
    }
}
