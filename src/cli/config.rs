//! `hoiam config`: every key, its value and where it comes from.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Args;

use super::{EXIT_FAILED, Globals, ServiceArgs};
use crate::config::{Config, DEFAULTS, Row, Value};

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

/// Prints the configuration; exit code 2 and every fault when it has any.
pub fn run(args: ConfigArgs, globals: Globals) -> ExitCode {
    let text = if args.reference {
        Ok(DEFAULTS.to_owned())
    } else {
        match globals.load_or_explain(&args.service) {
            Ok(config) if globals.json => as_json(&config.rows()),
            Ok(config) => Ok(as_table(&config)),
            Err(code) => return code,
        }
    };
    let printed = text.and_then(|text| io::stdout().write_all(text.as_bytes()));
    match printed {
        Ok(()) => ExitCode::SUCCESS,
        // Who reads only the first lines (`| head`) has what they wanted.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("hoiam: cannot print the configuration: {error}");
            ExitCode::from(EXIT_FAILED)
        }
    }
}

/// One JSON array of `{"key", "value", "source"}`; a list is an array of texts.
fn as_json(rows: &[Row]) -> io::Result<String> {
    let mut text = serde_json::to_string_pretty(rows)?;
    text.push('\n');
    Ok(text)
}

/// Three columns: key, value, source.
fn as_table(config: &Config) -> String {
    let rows: Vec<[String; 3]> = config
        .rows()
        .into_iter()
        .map(|row| [row.key, in_one_line(&row.value), row.source])
        .collect();
    let width = |column: usize| {
        rows.iter()
            .map(|row| row[column].chars().count())
            .max()
            .unwrap_or_default()
    };
    let (keys, values) = (width(0), width(1));
    rows.iter()
        .map(|[key, value, source]| format!("{key:keys$}  {value:values$}  {source}\n"))
        .collect()
}

fn in_one_line(value: &Value) -> String {
    match value {
        Value::One(text) if text.is_empty() => "(none)".to_owned(),
        Value::One(text) => text.clone(),
        Value::List(items) if items.is_empty() => "(none)".to_owned(),
        Value::List(items) => items.join(", "),
    }
}
