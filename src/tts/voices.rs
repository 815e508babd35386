//! The voices that are offered now, and which one a request gets.

use std::collections::BTreeMap;
use std::sync::Arc;

use hoiam_api::create::segment::{Segment, segment_place};
use hoiam_api::{Catalog, Create, FieldErrors, SPEAKER, VoiceItem, without_paths};
use hoiam_synthesizer::protocol::Hello;
use hoiam_text::nfc::in_one_form;
use hoiam_text::segmentation;
use serde::Serialize;
use sha2::{Digest, Sha256};
use tokio::sync::watch;

use crate::alerts::Reporter;
use crate::files::{CacheKey, hex};

/// Shared by the workers, which learn the voices from their children, and
/// the edge, which checks requests against them.
#[derive(Clone)]
pub struct Voices {
    aliases: Arc<BTreeMap<String, String>>,
    defaults: Arc<BTreeMap<String, String>>,
    offered: watch::Sender<Offered>,
    alerts: Reporter,
}

/// What is offered now.
#[derive(Debug, Clone, Default)]
pub struct Offered {
    /// The voices; empty before the first child has started.
    pub catalog: Arc<Catalog>,
    versions: Arc<Versions>,
    /// Why no child can be started, while that is so.
    pub problem: Option<String>,
    /// Engines that are not there, with the way out.
    pub unavailable: Vec<(String, String)>,
}

/// The version of each voice that has one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Versions(BTreeMap<String, Version>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Version {
    name: String,
    is_costly: bool,
}

impl Versions {
    fn of_all(voices: &[hoiam_text::Voice]) -> Self {
        let version = |voice: &hoiam_text::Voice| {
            let version = Version {
                name: voice.version.clone()?,
                is_costly: voice.is_costly,
            };
            Some((voice.id.clone(), version))
        };
        Self(voices.iter().filter_map(version).collect())
    }

    fn of(&self, voice: &str) -> Option<&Version> {
        let whole = || self.0.get(voice.rsplit_once(SPEAKER)?.0);
        self.0.get(voice).or_else(whole)
    }
}

/// A name for something, which changes with all that it has.
fn name_of(made_of: &impl Serialize) -> Option<CacheKey> {
    Some(hex(&Sha256::digest(serde_json::to_vec(made_of).ok()?)))
}

/// The voices that a request gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// `engine/name`; of a dialogue, that of all segments that ask for none.
    pub voice: String,
    /// BCP 47.
    pub language: String,
    /// Voice and language of each segment.
    pub segments: Vec<(String, String)>,
    /// The highest sample rate of these voices.
    pub sample_rate_hz: u32,
}

impl Voices {
    /// Nothing is offered yet.
    #[must_use]
    pub fn new(aliases: BTreeMap<String, String>, defaults: BTreeMap<String, String>) -> Self {
        Self {
            aliases: Arc::new(aliases),
            defaults: Arc::new(defaults),
            offered: watch::Sender::new(Offered::default()),
            alerts: Reporter::default(),
        }
    }

    /// The same, and it is reported when nothing can be spoken.
    #[must_use]
    pub fn reporting_to(self, alerts: Reporter) -> Self {
        Self { alerts, ..self }
    }

    /// A child has started and says what it can speak with. Answers whether the version
    /// of any voice is another than before.
    pub fn offer(&self, hello: &Hello) -> bool {
        let unavailable = hello.unavailable.iter();
        let missing: Vec<String> = unavailable
            .map(|(engine, detail)| format!("{engine}: {detail}"))
            .collect();
        let is_silent = hello.voices.is_empty();
        self.alerts
            .engine(is_silent.then(|| missing.join("; ")).as_deref());
        let mut has_new_versions = false;
        self.offered.send_if_modified(|offered| {
            let catalog = self.catalog(hello);
            let versions = Versions::of_all(&hello.voices);
            has_new_versions = *offered.versions != versions;
            let changed = *offered.catalog != catalog
                || has_new_versions
                || offered.problem.is_some()
                || offered.unavailable != hello.unavailable;
            if changed {
                *offered = Offered {
                    catalog: Arc::new(catalog),
                    versions: Arc::new(versions),
                    problem: None,
                    unavailable: hello.unavailable.clone(),
                };
            }
            changed
        });
        has_new_versions
    }

    /// No child can be started just now.
    pub fn withdraw(&self, problem: &str) {
        self.alerts.engine(Some(problem));
        self.offered
            .send_modify(|offered| offered.problem = Some(without_paths(problem)));
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
    /// show. A segment that names neither has those of the whole. What is wrong
    /// goes to `errors`.
    pub fn resolve(&self, create: &Create, errors: &mut FieldErrors) -> Option<Resolved> {
        let own = |segment: &Segment| segment.voice.is_some() || segment.language.is_some();
        let is_asked_for = create.voice.is_some()
            || create.segments.is_empty()
            || !create.segments.iter().all(own);
        let whole = is_asked_for.then(|| {
            let (voice, language) = (create.voice.as_deref(), create.language.as_deref());
            self.find(voice, language, &create.source(), "", errors)
        });
        let segments = create.segments.iter().enumerate().map(|(at, segment)| {
            if !own(segment) {
                return whole.clone().flatten();
            }
            let (voice, language) = (segment.voice.as_deref(), segment.language.as_deref());
            self.find(voice, language, &segment.text, &segment_place(at), errors)
        });
        // All of them first: every error is told at once.
        let segments: Vec<Option<Known>> = segments.collect();
        let segments: Vec<Known> = segments.into_iter().collect::<Option<_>>()?;
        let whole = match whole {
            Some(whole) => whole?,
            None => segments.first()?.clone(),
        };
        let voices_hz = segments.iter().map(|one| one.sample_rate_hz);
        let highest = voices_hz.max().unwrap_or(whole.sample_rate_hz);
        check_bitrate(create, highest, errors);
        let segments = segments.into_iter().map(|one| (one.id, one.language));
        Some(Resolved {
            segments: segments.collect(),
            voice: whole.id,
            language: whole.language,
            sample_rate_hz: highest,
        })
    }

    /// The voice that is meant by a part of the body, or by all of it; `place` is
    /// its JSON pointer.
    fn find(
        &self,
        voice: Option<&str>,
        language: Option<&str>,
        text: &str,
        place: &str,
        errors: &mut FieldErrors,
    ) -> Option<Known> {
        let name = match voice {
            Some(voice) => voice.to_owned(),
            None => self.default_for(language, text, place, errors)?,
        };
        let catalog = Arc::clone(&self.offered.borrow().catalog);
        let Some(voice) = catalog.find(&name) else {
            catalog.check(&format!("{place}/voice"), &name, errors);
            return None;
        };
        // Names that say more than which voice it is.
        let says_more = name.starts_with("test/slow-") || name.contains(SPEAKER);
        Some(Known {
            id: if says_more { name } else { voice.id.clone() },
            language: language.unwrap_or(&voice.language).to_owned(),
            sample_rate_hz: voice.sample_rate_hz,
        })
    }

    /// The name of the default voice of a language, or of the one that the letters
    /// of a text show.
    fn default_for(
        &self,
        language: Option<&str>,
        text: &str,
        place: &str,
        errors: &mut FieldErrors,
    ) -> Option<String> {
        let language =
            language.unwrap_or_else(
                || match segmentation::looks_vietnamese(&in_one_form(text)) {
                    true => "vi",
                    false => "en",
                },
            );
        let voice = self.default_voice(language);
        if voice.is_none() {
            let detail = format!("No voice is set for the language `{language}`; name a voice.");
            let known = || self.defaults.keys().cloned().collect();
            let pointer = format!("{place}/language");
            errors.suggest(pointer, "no_voice_for_language", detail, known);
        }
        voice
    }

    /// A name for what becomes of a request, which changes with everything that it
    /// depends on. None where it is to be spoken every time.
    #[must_use]
    pub fn cache_key(&self, request: &hoiam_text::Request) -> Option<CacheKey> {
        let versions = Arc::clone(&self.offered.borrow().versions);
        let version = |segment: &hoiam_text::Segment| Some(&versions.of(&segment.voice)?.name);
        let versions: Option<Vec<&String>> = request.segments.iter().map(version).collect();
        name_of(&(env!("CARGO_PKG_VERSION"), versions?, request))
    }

    /// The same for each sentence of a request. None where it is not worth being kept;
    /// and no list at all where that is so of every sentence.
    #[must_use]
    pub fn sentence_keys(&self, request: &hoiam_text::Request) -> Vec<Option<CacheKey>> {
        let versions = Arc::clone(&self.offered.borrow().versions);
        let costly = |segment: &hoiam_text::Segment| {
            let version = versions.of(&segment.voice);
            version.filter(|version| version.is_costly)
        };
        if !request.segments.iter().any(|one| costly(one).is_some()) {
            return Vec::new();
        }
        let keys = |segment: &hoiam_text::Segment| {
            let version = costly(segment);
            let key = |key| name_of(&(env!("CARGO_PKG_VERSION"), &version?.name, key));
            segment.sentence_keys().map(key).collect::<Vec<_>>()
        };
        request.segments.iter().flat_map(keys).collect()
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

/// A voice that there is, as a request gets it.
#[derive(Debug, Clone)]
struct Known {
    id: String,
    language: String,
    sample_rate_hz: u32,
}

fn check_bitrate(create: &Create, voices_hz: u32, errors: &mut FieldErrors) {
    let format = create.format;
    let rate = create
        .sample_rate_hz
        .unwrap_or_else(|| format.sample_rate(voices_hz));
    let valid = format.bitrates(rate);
    if format.is_lossy() && !valid.contains(&create.bitrate_kbps) {
        let detail = format!(
            "`bitrate_kbps` {} is not valid for {} with {rate} Hz; {valid:?} are.",
            create.bitrate_kbps,
            format.name()
        );
        errors.add("/bitrate_kbps", "invalid_bitrate", detail);
    }
}
