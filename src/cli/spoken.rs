//! `hoiam spoken`: what a text is read as.

use std::io::{self, BufRead as _};
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use hoiam_text::nfc::in_one_form;
use hoiam_text::normalize::{Language, NormalizedText, all_readings};
use hoiam_text::pronunciations::Replacement;
use hoiam_text::pronunciations::{self, Dictionary};
use serde_json::json;

use super::error::CliError;
use super::{Globals, ServiceArgs};

/// The flags of `hoiam spoken`.
#[derive(Args, Clone, Debug)]
pub struct SpokenArgs {
    /// Language of the lines
    #[arg(long, alias = "language", value_name = "LANG")]
    pub lang: Lang,

    /// Under each line, what is not read as it is written, and where it stands
    #[arg(long)]
    pub map: bool,
}

/// A language that has rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Lang {
    /// Vietnamese.
    Vi,
    /// English.
    En,
}

impl Lang {
    fn tag(self) -> &'static str {
        match self {
            Self::Vi => "vi",
            Self::En => "en",
        }
    }
}

/// Reads lines until the end of standard input.
pub fn run(args: SpokenArgs, globals: Globals) -> ExitCode {
    let language = match args.lang {
        Lang::Vi => Language::Vietnamese,
        Lang::En => Language::English,
    };
    let config = match globals.load_or_explain(&ServiceArgs::default()) {
        Ok(config) => config,
        Err(code) => return code,
    };
    let configured = &config.tts.pronunciations;
    let told = io::stdin().lock().lines().try_for_each(|line| {
        let line = line.map_err(|error| {
            CliError::plain(format!("standard input is no UTF-8 text: {error}"))
        })?;
        let line = in_one_form(&line).into_owned();
        let terms = pronunciations::for_text(&line, &[], configured, "", args.lang.tag());
        let dictionary = Dictionary::new(&terms);
        let readings = all_readings(&line, Some(language), &dictionary);
        let spoken = NormalizedText::with(&line, &readings).shown();
        super::print(&match (globals.json, args.map) {
            (true, _) => in_json(&line, &spoken, &readings),
            (false, true) => with_map(&line, &spoken, &readings),
            (false, false) => format!("{spoken}\n"),
        })
    });
    super::exit(told)
}

fn source(line: &str, reading: &Replacement) -> String {
    let span = reading.span.clone();
    line.chars().skip(span.start).take(span.len()).collect()
}

fn in_json(line: &str, spoken: &str, readings: &[Replacement]) -> String {
    let map: Vec<_> = readings
        .iter()
        .map(|reading| {
            json!({
                "char_start": reading.span.start,
                "char_end": reading.span.end,
                "text": source(line, reading),
                "spoken": reading.said.to_string(),
            })
        })
        .collect();
    format!(
        "{}\n",
        json!({ "text": line, "spoken": spoken, "map": map })
    )
}

fn with_map(line: &str, spoken: &str, readings: &[Replacement]) -> String {
    let rows: Vec<[String; 3]> = readings
        .iter()
        .map(|reading| {
            [
                format!("  {}-{}", reading.span.start, reading.span.end),
                source(line, reading),
                reading.said.to_string(),
            ]
        })
        .collect();
    format!("{spoken}\n{}", super::columns(&rows))
}
