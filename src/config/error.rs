//! What is wrong with a configuration, all of it at once.

use std::fmt;

use super::source::Source;

/// What kind of error it is; [`ConfigErrorKind::code`] is stable, for scripts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigErrorKind {
    /// The file cannot be read or is not TOML, or a variable is not UTF-8.
    Unreadable,
    /// No such key.
    UnknownKey,
    /// The value is not one of those the key allows.
    InvalidValue,
    /// A value that this role or listener cannot do without.
    MissingValue,
    /// Two values that cannot both hold.
    Contradiction,
    /// Other machines could use the service without a key.
    Unprotected,
    /// A secret where others can read it.
    ShownSecret,
}

impl ConfigErrorKind {
    /// The stable name of the kind.
    pub fn code(self) -> &'static str {
        match self {
            Self::Unreadable => "unreadable",
            Self::UnknownKey => "unknown_key",
            Self::InvalidValue => "invalid_value",
            Self::MissingValue => "missing_value",
            Self::Contradiction => "contradiction",
            Self::Unprotected => "unprotected",
            Self::ShownSecret => "shown_secret",
        }
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug)]
pub struct ConfigError {
    /// What kind of error it is.
    pub kind: ConfigErrorKind,
    /// The key it is about; the path when a whole file is unreadable.
    pub key: String,
    /// Where the value was written, if it was written at all.
    pub source: Option<Source>,
    /// What is wrong and what would be right.
    pub detail: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.source {
            Some(source) => write!(out, "{} ({source}): {}", self.key, self.detail),
            None => write!(out, "{}: {}", self.key, self.detail),
        }
    }
}

/// Every error of a configuration. Never empty.
#[derive(Clone, Debug)]
pub struct ConfigErrors(pub Vec<ConfigError>);

impl fmt::Display for ConfigErrors {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.0.len();
        let noun = if count == 1 { "fault" } else { "faults" };
        write!(out, "the configuration has {count} {noun}:")?;
        for error in &self.0 {
            write!(out, "\n  {error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}
