//! Where a value of the configuration was written, as errors and listings say it.

use std::fmt;
use std::path::PathBuf;

/// Where a value was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// `config/default.toml`.
    Default,
    /// A line, counted from 1, of the configuration file.
    File {
        /// The path as it was given.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
    },
    /// The environment variable of this name.
    Environment(String),
    /// A flag of the command line.
    Flag,
    /// Worked out from other values.
    Derived,
}

impl fmt::Display for Source {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => out.write_str("default"),
            Self::File { path, line } => write!(out, "{}:{line}", path.display()),
            Self::Environment(name) => write!(out, "env {name}"),
            Self::Flag => out.write_str("flag"),
            Self::Derived => out.write_str("derived"),
        }
    }
}
