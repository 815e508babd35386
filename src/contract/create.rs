//! The body that creates a task or a speech, read strictly.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use unicode_normalization::UnicodeNormalization;

use super::problem::{Code, Faults, Problem};
use crate::speech::pronunciations::{MAX_CHARACTERS, MAX_TERMS};
use crate::speech::{Format, Pronunciation, text};

/// The largest `reference`, in characters.
const MAX_REFERENCE_CHARACTERS: usize = 200;
/// The largest `metadata`, in bytes of JSON: a callback carries it and stays
/// under 20 kB.
const MAX_METADATA_BYTES: usize = 4096;
/// The longest `timeout_s`: three days.
pub const MAX_TIMEOUT_S: u32 = 259_200;
/// Every bit rate that MPEG layer III knows, of all its sample rates; which
/// are valid for a voice is checked once the voice is known.
const ALL_BITRATES: &[u32] = &[
    8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160, 192, 224, 256, 320,
];

/// Which of the two services is asked, and its bounds.
#[derive(Debug, Clone)]
pub struct Rules {
    /// `/v1/tasks` refuses `callback_check`.
    pub takes_callback_check: bool,
    /// `tts.max_characters`.
    pub max_characters: usize,
    /// What `timeout_s` is when it is not given.
    pub default_timeout_s: u32,
}

/// What a client asks for. Serialised without nulls, it is also the body of
/// a hand-over and what the database keeps.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Create {
    /// As it was sent; 1 to 100,000 characters after NFC.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub text: String,
    /// `engine/name` or an alias.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub voice: Option<String>,
    /// BCP 47.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
    /// Container and codec.
    pub format: Format,
    /// Kilobits a second.
    pub bitrate_kbps: u32,
    /// 0.5 to 2.0.
    pub speed: f32,
    /// What is said for terms of the text.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pronunciations: Vec<Pronunciation>,
    /// Where to report.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub callback_url: Option<String>,
    /// Whether the URL is checked before the heavy work; null is true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub callback_check: Option<bool>,
    /// The caller's own id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// Comes back untouched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Value>,
    /// From acceptance to a known result.
    #[serde(default)]
    pub timeout_s: u32,
}

impl Create {
    /// Reads a body strictly. Faults of single fields go to `faults`, so that
    /// the caller can add its own before it answers with all of them.
    ///
    /// # Errors
    /// `malformed` when the body is not a JSON object.
    pub fn parse(body: &[u8], rules: &Rules, faults: &mut Faults) -> Result<Self, Problem> {
        let value: Value = serde_json::from_slice(body).map_err(|error| {
            Problem::new(Code::Malformed, format!("The body is not JSON: {error}."))
        })?;
        let Value::Object(object) = value else {
            return Err(Problem::new(
                Code::Malformed,
                "The body must be a JSON object.",
            ));
        };
        let mut fields = Fields { object, faults };
        let create = Self {
            text: fields.text(rules.max_characters),
            voice: fields.string("voice", 128),
            language: fields.language(),
            format: fields.format(),
            bitrate_kbps: fields.bitrate(),
            speed: fields.speed(),
            pronunciations: fields.pronunciations(),
            callback_url: fields.string("callback_url", 2048),
            callback_check: if rules.takes_callback_check {
                fields.boolean("callback_check")
            } else {
                None
            },
            reference: fields.string("reference", MAX_REFERENCE_CHARACTERS),
            metadata: fields.metadata(),
            timeout_s: fields.timeout(rules.default_timeout_s),
        };
        fields.refuse_the_rest(rules);
        Ok(create)
    }

    /// Tells "the same request" from "another under the same id".
    /// `timeout_s` is left out: a repeated hand-over sends what remains.
    #[must_use]
    pub fn fingerprint(&self) -> Vec<u8> {
        let same = Self {
            timeout_s: 0,
            ..self.clone()
        };
        let bytes = serde_json::to_vec(&same).unwrap_or_default();
        Sha256::digest(&bytes).to_vec()
    }

    /// Code points after NFC.
    #[must_use]
    pub fn characters(&self) -> u32 {
        u32::try_from(self.text.nfc().count()).unwrap_or(u32::MAX)
    }
}

/// A request as the stores keep it. It is made before the request is given to
/// the database's writer, for which everybody waits.
#[derive(Debug, Clone, PartialEq)]
pub struct Prepared {
    /// What was asked for.
    pub create: Create,
    /// [`Create::fingerprint`].
    pub fingerprint: Vec<u8>,
    /// JSON of `create` without its text.
    pub json: String,
    /// [`Create::characters`].
    pub characters: u32,
}

impl From<Create> for Prepared {
    fn from(mut create: Create) -> Self {
        let fingerprint = create.fingerprint();
        let characters = create.characters();
        let text = std::mem::take(&mut create.text);
        let json = serde_json::to_string(&create).unwrap_or_default();
        create.text = text;
        Self {
            create,
            fingerprint,
            json,
            characters,
        }
    }
}

/// Takes fields out of an object one by one and notes what is wrong.
struct Fields<'a> {
    object: Map<String, Value>,
    faults: &'a mut Faults,
}

impl Fields<'_> {
    /// Absent and null mean the same.
    fn take(&mut self, name: &str) -> Option<Value> {
        self.object.remove(name).filter(|value| !value.is_null())
    }

    fn wrong_type(&mut self, name: &str, expected: &str) {
        self.faults.add(
            format!("/{name}"),
            "wrong_type",
            format!("`{name}` must be {expected}."),
        );
    }

    fn string(&mut self, name: &str, max_characters: usize) -> Option<String> {
        match self.take(name)? {
            Value::String(text) if text.is_empty() => {
                self.faults.add(
                    format!("/{name}"),
                    "empty",
                    format!("`{name}` must not be empty; leave it out."),
                );
                None
            }
            Value::String(text) if text.chars().count() > max_characters => {
                self.faults.add(
                    format!("/{name}"),
                    "too_long",
                    format!("`{name}` may have at most {max_characters} characters."),
                );
                None
            }
            Value::String(text) => Some(text),
            _ => {
                self.wrong_type(name, "a string");
                None
            }
        }
    }

    fn boolean(&mut self, name: &str) -> Option<bool> {
        match self.take(name)? {
            Value::Bool(value) => Some(value),
            _ => {
                self.wrong_type(name, "true or false");
                None
            }
        }
    }

    fn text(&mut self, max_characters: usize) -> String {
        match self.take("text") {
            None => self.faults.add("/text", "required", "`text` is required."),
            Some(Value::String(text)) => {
                let characters = text.nfc().count();
                if characters > max_characters {
                    self.faults.add(
                        "/text",
                        "text_too_long",
                        format!("`text` has {characters} characters; {max_characters} are allowed. Send it in parts."),
                    );
                } else if !text::has_speech(&text) {
                    self.faults.add(
                        "/text",
                        "nothing_to_speak",
                        "`text` has nothing in it that can be spoken: no letter and no digit.",
                    );
                }
                return text;
            }
            Some(_) => self.wrong_type("text", "a string"),
        }
        String::new()
    }

    fn language(&mut self) -> Option<String> {
        let language = self.string("language", 35)?;
        if is_language_tag(&language) {
            return Some(language);
        }
        self.faults.add(
            "/language",
            "invalid_language",
            "`language` must be a BCP 47 tag such as `vi`, `en` or `en-GB`.",
        );
        None
    }

    fn format(&mut self) -> Format {
        match self.take("format") {
            None => return Format::Mp3,
            Some(Value::String(name)) if name == "mp3" => return Format::Mp3,
            Some(Value::String(name)) if name == "wav" => return Format::Wav,
            Some(Value::String(_)) => self.faults.suggest(
                "/format",
                "unknown_format",
                "`format` must be `mp3` or `wav`.",
                vec!["mp3".into(), "wav".into()],
            ),
            Some(_) => self.wrong_type("format", "a string"),
        }
        Format::Mp3
    }

    fn bitrate(&mut self) -> u32 {
        const DEFAULT: u32 = 64;
        let Some(value) = self.take("bitrate_kbps") else {
            return DEFAULT;
        };
        let Some(rate) = value.as_u64() else {
            self.wrong_type("bitrate_kbps", "a whole number");
            return DEFAULT;
        };
        match u32::try_from(rate)
            .ok()
            .filter(|rate| ALL_BITRATES.contains(rate))
        {
            Some(rate) => rate,
            None => {
                self.faults.add(
                    "/bitrate_kbps",
                    "invalid_bitrate",
                    format!("`bitrate_kbps` must be one of {ALL_BITRATES:?}, and valid for the voice's sample rate."),
                );
                DEFAULT
            }
        }
    }

    fn speed(&mut self) -> f32 {
        let Some(value) = self.take("speed") else {
            return 1.0;
        };
        let Some(speed) = value.as_f64() else {
            self.wrong_type("speed", "a number");
            return 1.0;
        };
        if !(0.5..=2.0).contains(&speed) {
            self.faults.add(
                "/speed",
                "out_of_range",
                "`speed` must be between 0.5 and 2.0.",
            );
        }
        #[expect(clippy::cast_possible_truncation, reason = "a speed needs two digits")]
        let speed = speed as f32;
        speed
    }

    fn pronunciations(&mut self) -> Vec<Pronunciation> {
        const EXPECTED: &str = "a list of objects with `term` and `say`";
        let given = match self.take("pronunciations") {
            None => return Vec::new(),
            Some(Value::Array(given)) => given,
            Some(_) => {
                self.wrong_type("pronunciations", EXPECTED);
                return Vec::new();
            }
        };
        if given.len() > MAX_TERMS {
            let detail = format!("`pronunciations` may have at most {MAX_TERMS} terms.");
            self.faults.add("/pronunciations", "too_long", detail);
            return Vec::new();
        }
        let read = given.into_iter().enumerate();
        read.filter_map(|(at, one)| self.pronunciation(at, one))
            .collect()
    }

    fn pronunciation(&mut self, at: usize, given: Value) -> Option<Pronunciation> {
        let pointer = format!("/pronunciations/{at}");
        let read: Pronunciation = match serde_json::from_value(given) {
            Ok(read) => read,
            Err(error) => {
                let detail = format!("It must have `term` and `say`, both strings: {error}.");
                self.faults.add(pointer, "wrong_type", detail);
                return None;
            }
        };
        for (name, text) in [("term", &read.term), ("say", &read.say)] {
            if text.chars().count() > MAX_CHARACTERS || !text::has_speech(text) {
                let detail = format!(
                    "`{name}` must have 1 to {MAX_CHARACTERS} characters with a letter or a digit among them."
                );
                self.faults
                    .add(format!("{pointer}/{name}"), "invalid_term", detail);
            }
        }
        Some(read)
    }

    fn metadata(&mut self) -> Option<Value> {
        let value = self.take("metadata")?;
        if !value.is_object() {
            self.wrong_type("metadata", "an object");
        } else if serde_json::to_vec(&value).map_or(true, |bytes| bytes.len() > MAX_METADATA_BYTES)
        {
            self.faults.add(
                "/metadata",
                "too_long",
                format!("`metadata` may have at most {MAX_METADATA_BYTES} bytes of JSON."),
            );
        }
        Some(value)
    }

    fn timeout(&mut self, default: u32) -> u32 {
        let Some(value) = self.take("timeout_s") else {
            return default;
        };
        let Some(seconds) = value.as_u64() else {
            self.wrong_type("timeout_s", "a whole number of seconds");
            return default;
        };
        if let Ok(seconds @ 1..=MAX_TIMEOUT_S) = u32::try_from(seconds) {
            return seconds;
        }
        self.faults.add(
            "/timeout_s",
            "out_of_range",
            format!("`timeout_s` must be between 1 and {MAX_TIMEOUT_S}."),
        );
        default
    }

    fn refuse_the_rest(&mut self, rules: &Rules) {
        const KNOWN: &[&str] = &[
            "text",
            "voice",
            "language",
            "format",
            "bitrate_kbps",
            "speed",
            "callback_url",
            "callback_check",
            "reference",
            "metadata",
            "timeout_s",
        ];
        let unknown: Vec<String> = self.object.keys().cloned().collect();
        for name in unknown {
            let known = KNOWN
                .iter()
                .filter(|known| rules.takes_callback_check || **known != "callback_check");
            let near = nearest(&name, known.map(|known| (*known).to_owned()), 1);
            let pointer = format!("/{}", name.replace('~', "~0").replace('/', "~1"));
            self.faults.suggest(
                pointer,
                "unknown_field",
                format!("There is no field `{name}`."),
                near,
            );
        }
    }
}

/// The shape of a BCP 47 tag: subtags of 1 to 8 letters and digits, the first
/// of letters alone and at least two of them.
fn is_language_tag(tag: &str) -> bool {
    let mut subtags = tag.split('-');
    let primary = subtags.next().unwrap_or_default();
    (2..=8).contains(&primary.len())
        && primary.bytes().all(|b| b.is_ascii_alphabetic())
        && subtags.all(|subtag| {
            (1..=8).contains(&subtag.len()) && subtag.bytes().all(|b| b.is_ascii_alphanumeric())
        })
}

/// The names most like `name`, best first, at most `most` of them. Of names
/// that are equally like it, the one that begins like it for longer comes
/// first: people err at the end of `espeak/vi` and not at its start.
#[must_use]
pub fn nearest(name: &str, among: impl Iterator<Item = String>, most: usize) -> Vec<String> {
    let name = name.to_lowercase();
    let mut near: Vec<(f64, usize, String)> = among
        .map(|candidate| {
            let lower = candidate.to_lowercase();
            let alike = name
                .chars()
                .zip(lower.chars())
                .take_while(|(a, b)| a == b)
                .count();
            (
                strsim::normalized_damerau_levenshtein(&name, &lower),
                alike,
                candidate,
            )
        })
        .filter(|(likeness, ..)| *likeness >= 0.5)
        .collect();
    near.sort_by(|a, b| b.0.total_cmp(&a.0).then(b.1.cmp(&a.1)));
    near.into_iter()
        .take(most)
        .map(|(.., candidate)| candidate)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> Rules {
        Rules {
            takes_callback_check: true,
            max_characters: 100,
            default_timeout_s: 60,
        }
    }

    fn faults_of(body: &str) -> Vec<(String, &'static str)> {
        let mut faults = Faults::default();
        Create::parse(body.as_bytes(), &rules(), &mut faults).unwrap();
        let errors = faults
            .into_result()
            .err()
            .map(|problem| problem.errors)
            .unwrap_or_default();
        errors
            .into_iter()
            .map(|fault| (fault.pointer, fault.code))
            .collect()
    }

    #[test]
    fn a_text_alone_gets_every_default() {
        let mut faults = Faults::default();
        let create = Create::parse(br#"{"text":"xin chao"}"#, &rules(), &mut faults).unwrap();
        assert!(faults.is_empty());
        assert_eq!(
            (create.format, create.bitrate_kbps, create.timeout_s),
            (Format::Mp3, 64, 60)
        );
    }

    #[test]
    fn all_faults_are_told_at_once() {
        let told = faults_of(
            r#"{"text":"🙂","speed":9,"format":"ogg","voise":"x","metadata":3,"timeout_s":0}"#,
        );
        assert_eq!(
            told,
            [
                ("/text".into(), "nothing_to_speak"),
                ("/format".into(), "unknown_format"),
                ("/speed".into(), "out_of_range"),
                ("/metadata".into(), "wrong_type"),
                ("/timeout_s".into(), "out_of_range"),
                ("/voise".into(), "unknown_field"),
            ]
        );
    }

    #[test]
    fn an_unknown_field_gets_the_nearest_name() {
        let mut faults = Faults::default();
        Create::parse(br#"{"text":"a","calback_url":"x"}"#, &rules(), &mut faults).unwrap();
        let problem = faults.into_result().unwrap_err();
        assert_eq!(problem.errors[0].suggestions, ["callback_url"]);
    }

    #[test]
    fn characters_are_counted_after_nfc() {
        let decomposed = "e\u{302}\u{301}".repeat(100);
        assert_eq!(
            faults_of(&serde_json::json!({ "text": decomposed }).to_string()),
            []
        );
    }

    #[test]
    fn the_timeout_does_not_make_it_another_request() {
        let mut faults = Faults::default();
        let one = Create::parse(br#"{"text":"a","timeout_s":5}"#, &rules(), &mut faults).unwrap();
        let other = Create::parse(br#"{"timeout_s":9,"text":"a"}"#, &rules(), &mut faults).unwrap();
        let third = Create::parse(br#"{"text":"b","timeout_s":5}"#, &rules(), &mut faults).unwrap();
        assert_eq!(one.fingerprint(), other.fingerprint());
        assert_ne!(one.fingerprint(), third.fingerprint());
    }
}
