//! `hoiam config`: every key, its value and where it comes from.

use std::process::ExitCode;

use clap::Args;

use super::{Globals, ServiceArgs};
use crate::config::{Config, DEFAULTS, Value};

/// The flags of `hoiam config`.
#[derive(Args, Clone, Debug, Default)]
pub struct ConfigArgs {
    /// What `serve` would be started with.
    #[command(flatten)]
    pub service: ServiceArgs,

    /// Print the commented reference with the defaults instead
    #[arg(long, conflicts_with = "json")]
    pub reference: bool,
}

/// Prints the configuration; exit code 2 and every error when it has any.
pub fn run(args: ConfigArgs, globals: Globals) -> ExitCode {
    let text = if args.reference {
        Ok(DEFAULTS.to_owned())
    } else {
        match globals.load_or_explain(&args.service) {
            // One array of `{"key", "value", "source"}`; a list is an array of texts.
            Ok(config) if globals.json => super::pretty(&config.rows()),
            Ok(config) => Ok(as_table(&config)),
            Err(code) => return code,
        }
    };
    super::exit(text.and_then(|text| super::print(&text)))
}

/// Three columns: key, value, source.
fn as_table(config: &Config) -> String {
    let rows: Vec<[String; 3]> = config
        .rows()
        .into_iter()
        .map(|row| [row.key, in_one_line(&row.value), row.source])
        .collect();
    super::columns(&rows)
}

fn in_one_line(value: &Value) -> String {
    match value {
        Value::One(text) if text.is_empty() => "(none)".to_owned(),
        Value::One(text) => text.clone(),
        Value::List(items) if items.is_empty() => "(none)".to_owned(),
        Value::List(items) => items.join(", "),
    }
}
