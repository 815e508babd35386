//! The voices a TTS service offers, as `GET /v1/voices` answers them.

use serde::{Deserialize, Serialize};

use super::nearest::nearest;
use super::problem::FieldErrors;

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
    /// The licence of the voice's data, where known.
    #[serde(default)]
    pub licence: Option<String>,
    /// Who can be asked for as `id:speaker`, where the voice is of several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub speakers: Vec<String>,
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

/// What parts the id of a voice from one of its speakers.
pub const SPEAKER: char = ':';

impl Catalog {
    /// The voice with this id or alias, or one of its speakers.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&VoiceItem> {
        let speaker = name.rsplit_once(SPEAKER);
        let slow = name
            .strip_prefix(SLOW)
            .is_some_and(|ms| ms.parse::<u32>().is_ok_and(|ms| ms <= 600_000));
        self.items.iter().find(|voice| {
            voice.id == name
                || voice.aliases.iter().any(|alias| alias == name)
                || (slow && voice.id.starts_with(SLOW))
                || speaker.is_some_and(|(id, speaker)| {
                    voice.id == id && voice.speakers.iter().any(|known| known == speaker)
                })
        })
    }

    /// Notes an unknown voice with the nearest names; `place` is where in the body
    /// it is asked for. A service without any voice yet refuses nothing.
    pub fn check(&self, place: &str, name: &str, errors: &mut FieldErrors) {
        if self.items.is_empty() || self.find(name).is_some() {
            return;
        }
        let detail = format!("There is no voice `{name}`; GET /v1/voices has them all.");
        errors.suggest(place, "unknown_voice", detail, || self.nearest(name));
    }
}

impl Catalog {
    /// At most three names like this one; the first voices where none is.
    fn nearest(&self, name: &str) -> Vec<String> {
        let names = || self.items.iter().flat_map(VoiceItem::names).cloned();
        let near = nearest(name, names(), 3);
        if !near.is_empty() {
            return near;
        }
        // Whoever leaves the engine out means one of its voices.
        let asked = after_engine(name);
        let near = nearest(asked, names().map(|id| after_engine(&id).to_owned()), 3);
        let whole = |part: &String| names().find(|id| after_engine(id) == part);
        let near: Vec<String> = near.iter().filter_map(whole).collect();
        if !near.is_empty() {
            return near;
        }
        names().take(3).collect()
    }
}

impl VoiceItem {
    /// Every name that requests may use.
    fn names(&self) -> impl Iterator<Item = &String> {
        self.aliases.iter().chain([&self.id])
    }
}

/// The name of a voice without that of its engine, which many voices share.
fn after_engine(id: &str) -> &str {
    id.rsplit('/').next().unwrap_or(id)
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
            speakers: Vec::new(),
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
    fn speakers_of_a_voice_are_found_and_others_are_not() {
        let many = VoiceItem {
            speakers: vec!["p1".into(), "p2".into()],
            ..voice("piper/many", &[])
        };
        let catalog = Catalog { items: vec![many] };
        assert_eq!(catalog.find("piper/many:p2").unwrap().id, "piper/many");
        assert!(catalog.find("piper/many:p3").is_none());
    }

    #[test]
    fn an_unknown_voice_is_told_with_the_nearest_names() {
        let catalog = Catalog {
            items: vec![voice("espeak/vi", &[]), voice("espeak/en-us", &[])],
        };
        let mut errors = FieldErrors::default();
        catalog.check("/voice", "espeak/vn", &mut errors);
        let problem = errors.into_result().unwrap_err();
        assert_eq!(problem.errors[0].suggestions[0], "espeak/vi");
    }

    #[test]
    fn among_names_that_are_equally_like_the_one_that_begins_the_same_is_nearer() {
        let ids = ["espeak/an", "espeak/bn", "espeak/cv", "espeak/vi"];
        let catalog = Catalog {
            items: ids.map(|id| voice(id, &[])).to_vec(),
        };
        assert_eq!(catalog.nearest("espeak/vn")[0], "espeak/vi");
    }

    #[test]
    fn a_voice_without_its_engine_is_found_by_the_rest_of_its_name() {
        let ids = ["espeak/af", "espeak/am", "espeak/an", "espeak/vi"];
        let catalog = Catalog {
            items: ids.map(|id| voice(id, &[])).to_vec(),
        };
        assert_eq!(catalog.nearest("vi")[0], "espeak/vi");
        assert_eq!(
            catalog.nearest("zz"),
            ["espeak/af", "espeak/am", "espeak/an"]
        );
    }
}
