//! The voices a TTS service offers, as `GET /v1/voices` answers them.

use serde::{Deserialize, Serialize};

use super::create::nearest;
use super::problem::Faults;

/// One voice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VoiceItem {
    /// `engine/name`, as requests name it.
    pub id: String,
    /// The part before the slash.
    pub engine: String,
    /// BCP 47.
    pub language: String,
    /// For people.
    pub name: String,
    /// Null where the engine does not say.
    #[serde(default)]
    pub gender: Option<String>,
    /// Samples a second.
    pub sample_rate_hz: u32,
    /// SPDX expression of the voice's data, where known.
    #[serde(default)]
    pub licence: Option<String>,
    /// Other names that requests may use.
    #[serde(default)]
    pub aliases: Vec<String>,
}

/// Every voice that is offered now.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Catalog {
    /// In the engines' own order.
    pub items: Vec<VoiceItem>,
}

/// The voice that waits as long as its name says: any number is accepted
/// where one is listed.
const SLOW: &str = "test/slow-";

impl Catalog {
    /// The voice with this id or alias.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&VoiceItem> {
        let slow = name
            .strip_prefix(SLOW)
            .is_some_and(|ms| ms.parse::<u32>().is_ok_and(|ms| ms <= 600_000));
        self.items.iter().find(|voice| {
            voice.id == name
                || voice.aliases.iter().any(|alias| alias == name)
                || (slow && voice.id.starts_with(SLOW))
        })
    }

    /// Notes an unknown voice with the nearest names. A service without any
    /// voice yet refuses nothing.
    pub fn check(&self, name: &str, faults: &mut Faults) {
        if self.items.is_empty() || self.find(name).is_some() {
            return;
        }
        let names = self
            .items
            .iter()
            .flat_map(|voice| voice.aliases.iter().chain([&voice.id]))
            .cloned();
        // The engine's name is shared by many voices; likeness is judged by
        // the whole name first and by the part after the slash second.
        let mut near = nearest(name, names, 3);
        if near.is_empty() {
            near = self
                .items
                .iter()
                .take(3)
                .map(|voice| voice.id.clone())
                .collect();
        }
        let detail = format!("There is no voice `{name}`; GET /v1/voices has them all.");
        faults.suggest("/voice", "unknown_voice", detail, near);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn voice(id: &str, aliases: &[&str]) -> VoiceItem {
        VoiceItem {
            id: id.into(),
            engine: "e".into(),
            language: "vi".into(),
            name: id.into(),
            gender: None,
            sample_rate_hz: 22_050,
            licence: None,
            aliases: aliases.iter().map(|alias| (*alias).to_owned()).collect(),
        }
    }

    #[test]
    fn voices_are_found_by_id_by_alias_and_by_any_slowness() {
        let catalog = Catalog {
            items: vec![voice("espeak/vi", &["lan"]), voice("test/slow-1000", &[])],
        };
        assert_eq!(catalog.find("lan").unwrap().id, "espeak/vi");
        assert_eq!(catalog.find("test/slow-5").unwrap().id, "test/slow-1000");
        assert!(catalog.find("test/slow-").is_none());
        assert!(catalog.find("test/slow-99999999").is_none());
    }

    #[test]
    fn an_unknown_voice_is_told_with_the_nearest_names() {
        let catalog = Catalog {
            items: vec![voice("espeak/vi", &[]), voice("espeak/en-us", &[])],
        };
        let mut faults = Faults::default();
        catalog.check("espeak/vn", &mut faults);
        let problem = faults.into_result().unwrap_err();
        assert_eq!(problem.errors[0].suggestions[0], "espeak/vi");
    }
}
