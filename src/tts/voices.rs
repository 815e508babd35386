//! The voices that are offered now, and which one a request gets.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::watch;
use unicode_normalization::UnicodeNormalization;

use crate::contract::{Catalog, Create, Faults, SPEAKER, VoiceItem};
use crate::speech::{Format, encode, text};
use crate::synthesizer::protocol::Hello;

/// Shared by the workers, which learn the voices from their children, and
/// the edge, which checks requests against them.
#[derive(Clone)]
pub struct Voices {
    aliases: Arc<BTreeMap<String, String>>,
    defaults: Arc<BTreeMap<String, String>>,
    offered: watch::Sender<Offered>,
}

/// What is offered now.
#[derive(Debug, Clone, Default)]
pub struct Offered {
    /// The voices; empty before the first child has started.
    pub catalog: Arc<Catalog>,
    /// Why no child can be started, while that is so.
    pub problem: Option<String>,
    /// Engines that are not there, with the way out.
    pub unavailable: Vec<(String, String)>,
}

/// The voice that a request gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// `engine/name`.
    pub voice: String,
    /// BCP 47.
    pub language: String,
}

impl Voices {
    /// Nothing is offered yet.
    #[must_use]
    pub fn new(aliases: BTreeMap<String, String>, defaults: BTreeMap<String, String>) -> Self {
        Self {
            aliases: Arc::new(aliases),
            defaults: Arc::new(defaults),
            offered: watch::Sender::new(Offered::default()),
        }
    }

    /// A child has started and says what it can speak with.
    pub fn offer(&self, hello: &Hello) {
        self.offered.send_if_modified(|offered| {
            let catalog = self.catalog(hello);
            let changed = *offered.catalog != catalog
                || offered.problem.is_some()
                || offered.unavailable != hello.unavailable;
            if changed {
                *offered = Offered {
                    catalog: Arc::new(catalog),
                    problem: None,
                    unavailable: hello.unavailable.clone(),
                };
            }
            changed
        });
    }

    /// No child can be started just now.
    pub fn withdraw(&self, problem: &str) {
        self.offered
            .send_modify(|offered| offered.problem = Some(problem.to_owned()));
    }

    /// What is offered now.
    #[must_use]
    pub fn offered(&self) -> Offered {
        self.offered.borrow().clone()
    }

    /// Resolves once a first child has started or could not be.
    pub async fn known(&self) {
        let mut offered = self.offered.subscribe();
        let _ = offered
            .wait_for(|offered| offered.problem.is_some() || !offered.catalog.items.is_empty())
            .await;
    }

    /// The voice and the language of a request: the voice that it names, else
    /// the default of its language, else of the language that its letters
    /// show. What is wrong goes to `faults`.
    pub fn resolve(&self, create: &Create, faults: &mut Faults) -> Option<Resolved> {
        let catalog = Arc::clone(&self.offered.borrow().catalog);
        let name = match (&create.voice, &create.language) {
            (Some(voice), _) => voice.clone(),
            (None, Some(language)) => match self.default_voice(language) {
                Some(voice) => voice,
                None => {
                    let detail =
                        format!("No voice is set for the language `{language}`; name a voice.");
                    let known = self.defaults.keys().cloned().collect();
                    faults.suggest("/language", "no_voice_for_language", detail, known);
                    return None;
                }
            },
            (None, None) => {
                let composed: String = create.text.nfc().collect();
                let language = if text::looks_vietnamese(&composed) {
                    "vi"
                } else {
                    "en"
                };
                self.default_voice(language)?
            }
        };
        let Some(voice) = catalog.find(&name) else {
            catalog.check(&name, faults);
            return None;
        };
        check_bitrate(create, voice, faults);
        // Names that say more than which voice it is.
        let more = name.starts_with("test/slow-") || name.contains(SPEAKER);
        let language = create
            .language
            .clone()
            .unwrap_or_else(|| voice.language.clone());
        Some(Resolved {
            voice: if more { name } else { voice.id.clone() },
            language,
        })
    }

    /// `vi-VN` falls back to `vi`.
    fn default_voice(&self, language: &str) -> Option<String> {
        let language = language.to_lowercase();
        let primary = language.split('-').next().unwrap_or_default();
        self.defaults
            .get(&language)
            .or_else(|| self.defaults.get(primary))
            .cloned()
    }

    fn catalog(&self, hello: &Hello) -> Catalog {
        let items = hello.voices.iter().map(|voice| VoiceItem {
            id: voice.id.clone(),
            engine: voice.engine.clone(),
            language: voice.language.clone(),
            name: voice.name.clone(),
            gender: voice.gender.clone(),
            sample_rate_hz: voice.sample_rate_hz,
            licence: voice.licence.clone(),
            speakers: voice.speakers.clone(),
            aliases: self
                .aliases
                .iter()
                .filter(|(_, id)| **id == voice.id)
                .map(|(alias, _)| alias.clone())
                .collect(),
        });
        Catalog {
            items: items.collect(),
        }
    }
}

fn check_bitrate(create: &Create, voice: &VoiceItem, faults: &mut Faults) {
    let valid = encode::valid_bitrates(voice.sample_rate_hz);
    if create.format == Format::Mp3 && !valid.contains(&create.bitrate_kbps) {
        let detail = format!(
            "`bitrate_kbps` {} is not valid for the {} Hz of `{}`; {valid:?} are.",
            create.bitrate_kbps, voice.sample_rate_hz, voice.id
        );
        faults.add("/bitrate_kbps", "invalid_bitrate", detail);
    }
}
