//! Reading the fields of a request one by one, noting what is wrong with each.

use hoiam_text::output;
use hoiam_text::pronunciations::{MAX_CHARACTERS, MAX_TERMS};
use hoiam_text::{Format, Pronunciation, Said, ipa, joined_text, nfc, segmentation};
use serde_json::{Map, Value};

use super::bounds::{ALL_BITRATES, MAX_METADATA_BYTES, MAX_PAUSE_MS, MAX_SEGMENTS, MAX_TIMEOUT_S};
use super::segment::{Segment, segment_place};
use crate::CallbackHeaders;
use crate::nearest::nearest;
use crate::problem::FieldErrors;

/// Takes fields out of an object one by one and notes what is wrong.
pub(super) struct Fields<'a> {
    pub object: Map<String, Value>,
    pub errors: &'a mut FieldErrors,
    /// Where the object stands in the body, as a JSON pointer.
    pub place: String,
}

impl Fields<'_> {
    /// Absent and null mean the same.
    fn take(&mut self, name: &str) -> Option<Value> {
        self.object.remove(name).filter(|value| !value.is_null())
    }

    fn error(&mut self, name: &str, code: &'static str, detail: impl Into<String>) {
        let pointer = format!("{}/{name}", self.place);
        self.errors.add(pointer, code, detail);
    }

    fn wrong_type(&mut self, name: &str, expected: &str) {
        self.error(name, "wrong_type", format!("`{name}` must be {expected}."));
    }

    pub(super) fn string(&mut self, name: &str, max_characters: usize) -> Option<String> {
        match self.take(name)? {
            Value::String(text) if text.is_empty() => {
                self.error(
                    name,
                    "empty",
                    format!("`{name}` must not be empty; leave it out."),
                );
                None
            }
            Value::String(text) if text.chars().count() > max_characters => {
                self.error(
                    name,
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

    pub(super) fn boolean(&mut self, name: &str) -> Option<bool> {
        match self.take(name)? {
            Value::Bool(value) => Some(value),
            _ => {
                self.wrong_type(name, "true or false");
                None
            }
        }
    }

    /// The text, or the segments that stand in its place.
    pub(super) fn text_or_segments(&mut self, max_characters: usize) -> (String, Vec<Segment>) {
        let Some(given) = self.take("segments") else {
            return (self.text(max_characters), Vec::new());
        };
        if self.take("text").is_some() {
            let detail = "`segments` stand in place of `text`; leave one of them out.";
            self.error("text", "text_and_segments", detail);
        }
        let Value::Array(given) = given else {
            self.wrong_type("segments", "a list of objects with `text`");
            return (String::new(), Vec::new());
        };
        if !(1..=MAX_SEGMENTS).contains(&given.len()) {
            let detail = format!("`segments` must be 1 to {MAX_SEGMENTS}.");
            self.error("segments", "out_of_range", detail);
            return (String::new(), Vec::new());
        }
        let read = given.into_iter().enumerate();
        let segments: Vec<Segment> = read
            .filter_map(|(at, one)| self.segment(at, one, max_characters))
            .collect();
        let texts = segments.iter().map(|one| one.text.as_str());
        if segments.len() > 1
            && let Some(told) = too_many_characters(texts, max_characters)
        {
            let detail = format!("`segments` have {told}. Send them in parts.");
            self.error("segments", "text_too_long", detail);
        }
        (String::new(), segments)
    }

    /// The fields of an object within this one; `detail` is what to say of anything
    /// else that stands there.
    fn of_object(&mut self, place: String, given: Value, detail: &str) -> Option<Fields<'_>> {
        let Value::Object(object) = given else {
            self.errors.add(place, "wrong_type", detail);
            return None;
        };
        Some(Fields {
            object,
            errors: self.errors,
            place,
        })
    }

    fn segment(&mut self, at: usize, given: Value, max_characters: usize) -> Option<Segment> {
        let detail = "It must be an object with `text`.";
        let mut fields = self.of_object(segment_place(at), given, detail)?;
        let segment = Segment {
            text: fields.text(max_characters),
            voice: fields.string("voice", 128),
            language: fields.language(),
            speed: fields.speed(),
            pause_after_ms: fields.pause(),
            pronunciations: fields.pronunciations(),
        };
        if segment.text.contains(joined_text::SEPARATOR) {
            let detail = "`text` of a segment must not have the control character U+001E.";
            fields.error("text", "invalid_character", detail);
        }
        let known = [
            "text",
            "voice",
            "language",
            "speed",
            "pause_after_ms",
            "pronunciations",
        ];
        fields.refuse_the_rest(&known);
        Some(segment)
    }

    fn pause(&mut self) -> Option<u32> {
        let value = self.take("pause_after_ms")?;
        let ms = value.as_u64().and_then(|ms| u32::try_from(ms).ok());
        if let Some(ms @ 0..=MAX_PAUSE_MS) = ms {
            return Some(ms);
        }
        let detail = format!("`pause_after_ms` must be a whole number from 0 to {MAX_PAUSE_MS}.");
        self.error("pause_after_ms", "out_of_range", detail);
        None
    }

    fn text(&mut self, max_characters: usize) -> String {
        match self.take("text") {
            None => self.error("text", "required", "`text` is required."),
            Some(Value::String(text)) => {
                if let Some(told) = too_many_characters([text.as_str()], max_characters) {
                    let detail = format!("`text` has {told}. Send it in parts.");
                    self.error("text", "text_too_long", detail);
                } else if !segmentation::has_speech(&text) {
                    self.error(
                        "text",
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

    pub(super) fn language(&mut self) -> Option<String> {
        let language = self.string("language", 35)?;
        if is_language_tag(&language) {
            return Some(language);
        }
        self.error(
            "language",
            "invalid_language",
            "`language` must be a BCP 47 tag such as `vi`, `en` or `en-GB`.",
        );
        None
    }

    pub(super) fn format(&mut self) -> Format {
        let names = || Format::ALL.map(|format| format.name().to_owned());
        match self.take("format") {
            None => return Format::Mp3,
            Some(Value::String(name)) => match Format::parse(&name) {
                Some(format) => return format,
                None => self.errors.suggest(
                    format!("{}/format", self.place),
                    "unknown_format",
                    format!("`format` must be one of {}.", names().join(", ")),
                    || names().to_vec(),
                ),
            },
            Some(_) => self.wrong_type("format", "a string"),
        }
        Format::Mp3
    }

    /// Whether it goes with the sample rate is seen once the voice is known.
    pub(super) fn bitrate(&mut self) -> u32 {
        const DEFAULT: u32 = 64;
        let rates = ALL_BITRATES;
        self.one_of("bitrate_kbps", rates, "invalid_bitrate")
            .unwrap_or(DEFAULT)
    }

    pub(super) fn sample_rate(&mut self, format: Format) -> Option<u32> {
        let rates = format.sample_rates();
        self.one_of("sample_rate_hz", rates, "invalid_sample_rate")
    }

    fn one_of(&mut self, name: &str, allowed: &[u32], code: &'static str) -> Option<u32> {
        let value = self.take(name)?;
        let Some(number) = value.as_u64() else {
            self.wrong_type(name, "a whole number");
            return None;
        };
        let number = u32::try_from(number).ok();
        let found = number.filter(|number| allowed.contains(number));
        if found.is_none() {
            let allowed: Vec<String> = allowed.iter().map(u32::to_string).collect();
            let detail = format!("`{name}` must be one of {}.", allowed.join(", "));
            self.error(name, code, detail);
        }
        found
    }

    fn number(&mut self, name: &str) -> Option<f32> {
        let value = self.take(name)?;
        let number = value.as_f64();
        if number.is_none() {
            self.wrong_type(name, "a number");
        }
        #[expect(clippy::cast_possible_truncation, reason = "none needs more digits")]
        number.map(|number| number as f32)
    }

    pub(super) fn speed(&mut self) -> Option<f32> {
        let speed = self.number("speed")?;
        if !(0.5..=2.0).contains(&speed) {
            let detail = "`speed` must be between 0.5 and 2.0.";
            self.error("speed", "out_of_range", detail);
        }
        Some(speed)
    }

    pub(super) fn loudness(&mut self) -> f32 {
        let Some(lufs) = self.number("loudness_lufs") else {
            return output::DEFAULT_LUFS;
        };
        if lufs != 0.0 && !output::LUFS.contains(&lufs) {
            let (quietest, loudest) = (output::LUFS.start(), output::LUFS.end());
            let detail = format!(
                "`loudness_lufs` must be between {quietest} and {loudest}, or 0 for as loud as the voice is."
            );
            self.error("loudness_lufs", "out_of_range", detail);
        }
        lufs
    }

    pub(super) fn pronunciations(&mut self) -> Vec<Pronunciation> {
        const EXPECTED: &str = "a list of objects with `term`, and `say` or `phonemes`";
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
            self.error("pronunciations", "too_long", detail);
            return Vec::new();
        }
        let read = given.into_iter().enumerate();
        read.filter_map(|(at, one)| self.pronunciation(at, one))
            .collect()
    }

    fn pronunciation(&mut self, at: usize, given: Value) -> Option<Pronunciation> {
        let place = format!("{}/pronunciations/{at}", self.place);
        let detail = "It must be an object with `term`, and `say` or `phonemes`.";
        let mut fields = self.of_object(place, given, detail)?;
        let term = fields.term("term");
        let said = fields.said();
        let match_case = fields.boolean("match_case").unwrap_or_default();
        fields.refuse_the_rest(&["term", "say", "phonemes", "match_case"]);
        Some(Pronunciation {
            term: term?,
            said: said?,
            match_case,
        })
    }

    /// Exactly one of `say` and `phonemes`.
    fn said(&mut self) -> Option<Said> {
        let has = |fields: &Self, name: &str| fields.object.get(name).is_some_and(|v| !v.is_null());
        let code = match (has(self, "say"), has(self, "phonemes")) {
            (true, false) => return self.term("say").map(Said::Words),
            (false, true) => return self.phonemes().map(Said::Phonemes),
            (true, true) => "say_and_phonemes",
            (false, false) => "required",
        };
        self.object.remove("say");
        self.object.remove("phonemes");
        let detail = "It must have either `say`, in words, or `phonemes`, in IPA.";
        self.errors.add(self.place.clone(), code, detail);
        None
    }

    fn term(&mut self, name: &str) -> Option<String> {
        let fits =
            |text: &str| text.chars().count() <= MAX_CHARACTERS && segmentation::has_speech(text);
        match self.take(name) {
            Some(Value::String(text)) if fits(&text) => return Some(text),
            None => self.error(name, "required", format!("`{name}` is required.")),
            Some(Value::String(_)) => {
                let detail = format!(
                    "`{name}` must have 1 to {MAX_CHARACTERS} characters with a letter or a digit among them."
                );
                self.error(name, "invalid_term", detail);
            }
            Some(_) => self.wrong_type(name, "a string"),
        }
        None
    }

    fn phonemes(&mut self) -> Option<String> {
        match self.take("phonemes") {
            Some(Value::String(text)) if ipa::is_ipa(&text) => return Some(text),
            Some(Value::String(_)) => {
                let detail = format!("`phonemes` must be {}.", ipa::ALLOWED);
                self.error("phonemes", "invalid_phonemes", detail);
            }
            _ => self.wrong_type("phonemes", "a string"),
        }
        None
    }

    pub(super) fn metadata(&mut self) -> Option<Value> {
        let value = self.take("metadata")?;
        if !value.is_object() {
            self.wrong_type("metadata", "an object");
        } else if serde_json::to_vec(&value).map_or(true, |bytes| bytes.len() > MAX_METADATA_BYTES)
        {
            self.error(
                "metadata",
                "too_long",
                format!("`metadata` may have at most {MAX_METADATA_BYTES} bytes of JSON."),
            );
        }
        Some(value)
    }

    pub(super) fn callback_headers(&mut self) -> CallbackHeaders {
        const NAME: &str = "callback_headers";
        let Some(given) = self.take(NAME) else {
            return CallbackHeaders::default();
        };
        if self.object.get("callback_url").is_none_or(Value::is_null) {
            let detail = "`callback_headers` are sent to `callback_url`, which is missing.";
            self.error(NAME, "no_callback_url", detail);
        }
        let place = format!("{}/{NAME}", self.place);
        CallbackHeaders::read(given, &place, self.errors)
    }

    pub(super) fn timeout(&mut self, default: u32) -> u32 {
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
        self.error(
            "timeout_s",
            "out_of_range",
            format!("`timeout_s` must be between 1 and {MAX_TIMEOUT_S}."),
        );
        default
    }

    pub(super) fn refuse_the_rest(&mut self, known: &[&str]) {
        let mut unknown = self.object.keys();
        for name in unknown.by_ref().take(self.errors.room()) {
            let pointer = name.replace('~', "~0").replace('/', "~1");
            self.errors.suggest(
                format!("{}/{pointer}", self.place),
                "unknown_field",
                format!("There is no field `{name}`."),
                || nearest(name, known.iter().map(|known| (*known).to_owned()), 1),
            );
        }
        self.errors.add_more(unknown.count());
    }
}

/// How many characters these texts have where that is more than they may have, as part
/// of a sentence. From twice as many on they are not counted.
fn too_many_characters<'a>(
    texts: impl IntoIterator<Item = &'a str>,
    most: usize,
) -> Option<String> {
    let counted = most.saturating_mul(2);
    let counts = texts.into_iter().map(|text| nfc::characters(text, counted));
    let characters = counts.sum::<usize>().min(counted);
    let or_more = match characters == counted {
        true => " or more",
        false => "",
    };
    (characters > most).then(|| format!("{characters} characters{or_more}; {most} are allowed"))
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
