//! `hoiam voices` and `hoiam voices list`: the voices of this machine.

use std::collections::BTreeSet;

use clap::Args;
use hoiam_api::{Catalog, VoiceItem};
use hoiam_text::segmentation::is_of;

use super::super::error::CliError;
use super::super::speaker::Speaker;
use super::super::{Globals, columns, pretty, print, tell_error};
use crate::config::Config;

/// The flags of `hoiam voices list`.
#[derive(Args, Clone, Debug, Default)]
pub struct ListArgs {
    /// Only voices of this language (BCP 47), such as vi or en
    ///
    /// en has the voices of en-us and en-gb too.
    #[arg(long)]
    pub language: Option<String>,
}

/// Lists the voices; an error when there is none.
pub async fn list(args: &ListArgs, globals: &Globals, config: &Config) -> Result<(), CliError> {
    let mut speaker = Speaker::start(config).await?;
    speaker.synthesizer.stop().await;
    for missing in speaker.missing() {
        tell_error(missing);
    }
    let all = &speaker.voices.offered().catalog.items;
    let items: Vec<VoiceItem> = all
        .iter()
        .filter(|voice| speaks(voice, args.language.as_deref()))
        .cloned()
        .collect();
    if items.is_empty() {
        return Err(CliError::plain(none_of(args.language.as_deref(), all)));
    }
    print(&if globals.json {
        // The body that GET /v1/voices answers.
        pretty(&Catalog { items })?
    } else {
        as_table(&items)
    })
}

/// A voice of `en-us` speaks `en`, a voice of `en` does not speak `en-us`.
fn speaks(voice: &VoiceItem, language: Option<&str>) -> bool {
    language.is_none_or(|language| is_of(&voice.language, language))
}

fn none_of(language: Option<&str>, all: &[VoiceItem]) -> String {
    match language {
        Some(language) if !all.is_empty() => {
            let known: BTreeSet<&str> = all
                .iter()
                .filter_map(|voice| voice.language.split('-').next())
                .collect();
            let known: Vec<&str> = known.into_iter().collect();
            format!(
                "no voice speaks {language}; there are voices for {}",
                known.join(", ")
            )
        }
        _ => "there is no voice on this machine; `hoiam doctor` tells what to install".to_owned(),
    }
}

fn as_table(items: &[VoiceItem]) -> String {
    let head = ["ID", "LANGUAGE", "NAME", "GENDER", "RATE", "ALIASES"].map(str::to_owned);
    let rows = items.iter().map(|voice| {
        [
            voice.id.clone(),
            voice.language.clone(),
            voice.name.clone(),
            voice.gender.clone().unwrap_or_else(|| "-".to_owned()),
            format!("{} Hz", voice.sample_rate_hz),
            voice.aliases.join(", "),
        ]
    });
    let rows: Vec<[String; 6]> = std::iter::once(head).chain(rows).collect();
    columns(&rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_language_has_the_voices_of_its_regions_and_of_no_other_language() {
        let voice = |language: &str| VoiceItem {
            id: "e/v".into(),
            engine: "e".into(),
            language: language.into(),
            name: "v".into(),
            gender: None,
            sample_rate_hz: 22_050,
            licence: None,
            speakers: Vec::new(),
            aliases: Vec::new(),
        };
        assert!(speaks(&voice("en-us"), Some("EN")));
        assert!(speaks(&voice("en"), Some("en")));
        assert!(!speaks(&voice("en"), Some("en-us")));
        assert!(!speaks(&voice("eno"), Some("en")));
    }
}
