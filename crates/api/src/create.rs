//! The body that creates a task or a speech, read strictly.

use std::borrow::Cow;
use std::collections::BTreeMap;

use hoiam_text::output;
use hoiam_text::{
    Format, Pronunciation, Said, SaturatingFrom as _, joined_text, nfc, pronunciations,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::callback_headers::CallbackHeaders;
use super::problem::{Code, FieldErrors, Problem};
use super::resource::{AUDIO_TOO_LARGE, SMALLER};

pub mod bounds;
mod fields;
pub mod segment;

use bounds::{MAX_REFERENCE_CHARACTERS, MAX_TITLE_CHARACTERS};
use fields::Fields;
use segment::{Segment, segment_place};

/// No voice says a letter of a word or a digit in less time at the usual speed: a third
/// of what eSpeak NG takes for English. Other letters may have no sound of their own.
const LEAST_MS_PER_LETTER: f64 = 20.0;

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
    /// As it was sent; 1 to 100,000 characters after NFC. Empty where there are
    /// segments.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub text: String,
    /// What stands in place of the text: parts in several voices.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub segments: Vec<Segment>,
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
    /// Samples a second; null is those of the voices.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sample_rate_hz: Option<u32>,
    /// How loud it is made; 0 leaves it as the voice is. What older versions have
    /// written has none.
    #[serde(default = "default_lufs", skip_serializing_if = "is_default_lufs")]
    pub loudness_lufs: f32,
    /// 0.5 to 2.0.
    pub speed: f32,
    /// What players show for the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// What is said for terms of the text.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pronunciations: Vec<Pronunciation>,
    /// Where to report.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub callback_url: Option<String>,
    /// What is sent to that URL with each callback and check. Not shown, and not
    /// part of a hand-over, whose callbacks go elsewhere.
    #[serde(default, skip_serializing_if = "CallbackHeaders::is_empty")]
    pub callback_headers: CallbackHeaders,
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

/// What an empty request would be, if it had a text.
impl Default for Create {
    fn default() -> Self {
        Self {
            text: String::new(),
            segments: Vec::new(),
            voice: None,
            language: None,
            format: Format::Mp3,
            bitrate_kbps: 64,
            sample_rate_hz: None,
            loudness_lufs: output::DEFAULT_LUFS,
            speed: 1.0,
            title: None,
            pronunciations: Vec::new(),
            callback_url: None,
            callback_headers: CallbackHeaders::default(),
            callback_check: None,
            reference: None,
            metadata: None,
            timeout_s: 0,
        }
    }
}

fn default_lufs() -> f32 {
    output::DEFAULT_LUFS
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_default_lufs(lufs: &f32) -> bool {
    *lufs == output::DEFAULT_LUFS
}

impl Create {
    /// Reads a body strictly. Errors of single fields go to `errors`, so that
    /// the caller can add its own before it answers with all of them.
    ///
    /// # Errors
    /// `malformed` when the body is not a JSON object.
    pub fn parse(body: &[u8], rules: &Rules, errors: &mut FieldErrors) -> Result<Self, Problem> {
        let value: Value = serde_json::from_slice(body).map_err(|error| {
            Problem::new(Code::Malformed, format!("The body is not JSON: {error}."))
        })?;
        let Value::Object(object) = value else {
            return Err(Problem::new(
                Code::Malformed,
                "The body must be a JSON object.",
            ));
        };
        let mut fields = Fields {
            object,
            errors,
            place: String::new(),
        };
        let (text, segments) = fields.text_or_segments(rules.max_characters);
        let format = fields.format();
        let create = Self {
            text,
            segments,
            voice: fields.string("voice", 128),
            language: fields.language(),
            format,
            bitrate_kbps: fields.bitrate(),
            sample_rate_hz: fields.sample_rate(format),
            loudness_lufs: fields.loudness(),
            speed: fields.speed().unwrap_or(1.0),
            title: fields.string("title", MAX_TITLE_CHARACTERS),
            pronunciations: fields.pronunciations(),
            callback_headers: fields.callback_headers(),
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
        let known: Vec<&str> = FIELDS
            .iter()
            .copied()
            .filter(|known| rules.takes_callback_check || *known != "callback_check")
            .collect();
        fields.refuse_the_rest(&known);
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
        let texts = self.segments.iter().map(|segment| &segment.text);
        let count = texts
            .chain([&self.text])
            .map(|text| nfc::characters(text, usize::MAX));
        u32::saturating_from(count.sum::<usize>())
    }

    /// Adds an error if the audio is sure to have more bytes than this. `voices_hz` is the
    /// highest sample rate of the voices.
    pub fn check_audio_bytes(&self, voices_hz: u32, most: u64, errors: &mut FieldErrors) {
        let least = self.least_audio_bytes(voices_hz);
        if least > most {
            let pointer = match self.segments.is_empty() {
                true => "/text",
                false => "/segments",
            };
            let detail = format!(
                "The audio would have {} MB or more; {} are allowed (limits.audio_bytes). {SMALLER}",
                least / 1_000_000,
                most / 1_000_000
            );
            errors.add(pointer, AUDIO_TOO_LARGE, detail);
        }
    }

    /// The fewest bytes that the audio can have; 0 where the format does not tell.
    fn least_audio_bytes(&self, voices_hz: u32) -> u64 {
        let format = self.format;
        let rate = self.sample_rate_hz;
        let rate = rate.unwrap_or_else(|| format.sample_rate(voices_hz));
        let bytes_per_s = match format {
            Format::Wav | Format::Pcm => 2 * u64::from(rate),
            Format::Mp3 => u64::from(self.bitrate_kbps) * 125,
            Format::Opus | Format::Flac => 0,
        };
        let least_ms = |text: &str, speed: f32| {
            let letters = text.bytes().filter(u8::is_ascii_alphanumeric).count();
            letters as f64 * LEAST_MS_PER_LETTER / f64::from(speed)
        };
        let segments = self.segments.iter().map(|segment| {
            let pause = f64::from(segment.pause_after_ms.unwrap_or_default());
            pause + least_ms(&segment.text, segment.speed.unwrap_or(self.speed))
        });
        let ms = segments.sum::<f64>() + least_ms(&self.text, self.speed);
        // A speed that is refused may be 0.
        (ms as u64).saturating_mul(bytes_per_s) / 1000
    }

    /// Every voice that is asked for, each with the place of its name in the body.
    pub fn voices(&self) -> impl Iterator<Item = (String, &str)> {
        let whole = self.voice.as_deref();
        let segments = self
            .segments
            .iter()
            .enumerate()
            .filter_map(|(at, segment)| {
                Some((
                    format!("{}/voice", segment_place(at)),
                    segment.voice.as_deref()?,
                ))
            });
        whole
            .map(|voice| ("/voice".to_owned(), voice))
            .into_iter()
            .chain(segments)
    }

    /// All of the text in one, as [`joined_text::join`] has it.
    #[must_use]
    pub fn source(&self) -> Cow<'_, str> {
        match self.segments.as_slice() {
            [] => Cow::Borrowed(&self.text),
            segments => Cow::Owned(joined_text::join(
                segments.iter().map(|one| one.text.as_str()),
            )),
        }
    }

    /// Takes all of the text out, for those who keep it elsewhere.
    fn take_source(&mut self) -> String {
        if self.segments.is_empty() {
            return std::mem::take(&mut self.text);
        }
        let source = self.source().into_owned();
        for segment in &mut self.segments {
            segment.text.clear();
        }
        source
    }

    /// A request that was kept without its text, with it again.
    #[must_use]
    pub fn with_source(self, source: String) -> Self {
        if self.segments.is_empty() {
            return Self {
                text: source,
                ..self
            };
        }
        let texts = joined_text::split(&source);
        let with = |(segment, text): (Segment, &str)| Segment {
            text: text.to_owned(),
            ..segment
        };
        Self {
            segments: self.segments.into_iter().zip(texts).map(with).collect(),
            ..self
        }
    }

    /// What a synthesizer is asked for. The voices are resolved: that of the whole
    /// is `voice`, and the segments have none or their own. `configured` is
    /// `tts.pronunciations`.
    #[must_use]
    pub fn into_speech(
        self,
        voice: &str,
        language: &str,
        configured: &BTreeMap<String, Said>,
    ) -> hoiam_text::Request {
        let (speed, of_all) = (self.speed, self.pronunciations);
        let numbered = !self.segments.is_empty();
        let segments = match numbered {
            true => self.segments,
            false => vec![Segment {
                text: self.text,
                ..Segment::default()
            }],
        };
        let segment = |segment: Segment| {
            let language = segment.language.as_deref().unwrap_or(language);
            let voice = segment.voice.unwrap_or_else(|| voice.to_owned());
            let text = &segment.text;
            let own = [segment.pronunciations, of_all.clone()].concat();
            hoiam_text::Segment {
                pronunciations: pronunciations::for_text(text, &own, configured, &voice, language),
                text: segment.text,
                voice,
                speed: segment.speed.unwrap_or(speed),
                pause_after_ms: segment.pause_after_ms,
            }
        };
        hoiam_text::Request {
            segments: segments.into_iter().map(segment).collect(),
            numbered,
            output: hoiam_text::Output {
                format: self.format,
                bitrate_kbps: self.bitrate_kbps,
                sample_rate_hz: self.sample_rate_hz,
                loudness_lufs: self.loudness_lufs,
                tags: hoiam_text::Tags {
                    title: self.title,
                    language: Some(language.to_owned()),
                },
            },
        }
    }
}

/// Every field of a request.
const FIELDS: &[&str] = &[
    "text",
    "segments",
    "voice",
    "language",
    "format",
    "bitrate_kbps",
    "sample_rate_hz",
    "loudness_lufs",
    "speed",
    "title",
    "pronunciations",
    "callback_url",
    "callback_headers",
    "callback_check",
    "reference",
    "metadata",
    "timeout_s",
];

/// A request as the stores keep it. It is made before the request is given to
/// the database's writer, for which everybody waits.
#[derive(Debug, Clone, PartialEq)]
pub struct Prepared {
    /// What was asked for, without its text.
    pub create: Create,
    /// [`Create::fingerprint`].
    pub fingerprint: Vec<u8>,
    /// JSON of `create` without its text.
    pub json: String,
    /// [`Create::source`].
    pub source: String,
    /// [`Create::characters`].
    pub characters: u32,
}

impl From<Create> for Prepared {
    fn from(mut create: Create) -> Self {
        let fingerprint = create.fingerprint();
        let characters = create.characters();
        let source = create.take_source();
        Self {
            json: serde_json::to_string(&create).unwrap_or_default(),
            create,
            fingerprint,
            source,
            characters,
        }
    }
}

impl Prepared {
    /// Fixes the voices of the segments, so that a later change of the aliases is
    /// none of the request. It stays the same request.
    pub fn resolve_segments(&mut self, resolved: Vec<(String, String)>) {
        if resolved.is_empty() {
            return;
        }
        for (segment, (voice, language)) in self.create.segments.iter_mut().zip(resolved) {
            segment.voice = Some(voice);
            segment.language = Some(language);
        }
        self.json = serde_json::to_string(&self.create).unwrap_or_default();
    }
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

    #[test]
    fn audio_is_too_large_only_where_it_is_sure_to_be() {
        let create = |body: &str| {
            let rules = Rules {
                max_characters: 100_000,
                ..rules()
            };
            Create::parse(body.as_bytes(), &rules, &mut FieldErrors::default()).unwrap()
        };
        let least = |body: &str| create(body).least_audio_bytes(22_050);
        assert_eq!(least(r#"{"text": "ten letters", "format": "wav"}"#), 8820);
        assert_eq!(
            least(r#"{"text": "ten letters", "format": "wav", "speed": 0.5}"#),
            17_640
        );
        assert_eq!(least(r#"{"text": "ten letters"}"#), 1600);
        assert_eq!(least(r#"{"text": "ten letters", "format": "flac"}"#), 0);
        let dialogue = r#"{"format": "pcm", "sample_rate_hz": 8000, "segments": [
            {"text": "a", "pause_after_ms": 1000}, {"text": "字"}]}"#;
        assert_eq!(least(dialogue), 16_320);
        for (most, is_refused) in [(16_319, true), (16_320, false)] {
            let mut errors = FieldErrors::default();
            create(dialogue).check_audio_bytes(22_050, most, &mut errors);
            assert_eq!(!errors.is_empty(), is_refused);
        }
    }

    fn errors_of(body: &str) -> Vec<(String, &'static str)> {
        let mut errors = FieldErrors::default();
        Create::parse(body.as_bytes(), &rules(), &mut errors).unwrap();
        let errors = errors
            .into_result()
            .err()
            .map(|problem| problem.errors)
            .unwrap_or_default();
        errors
            .into_iter()
            .map(|error| (error.pointer, error.code))
            .collect()
    }

    #[test]
    fn floats_of_metadata_come_back_as_they_were_sent() {
        let metadata = r#"{"at":[20.246164734683806,29.042869708593226,1e-300,9007199254740993]}"#;
        let body = format!(r#"{{"text":"a","metadata":{metadata}}}"#);
        let create = Create::parse(body.as_bytes(), &rules(), &mut FieldErrors::default()).unwrap();
        let back = serde_json::to_string(&create.metadata).unwrap();
        assert_eq!(back, metadata);
    }

    #[test]
    fn a_text_alone_gets_every_default() {
        let mut errors = FieldErrors::default();
        let create = Create::parse(br#"{"text":"xin chao"}"#, &rules(), &mut errors).unwrap();
        assert!(errors.is_empty());
        assert_eq!(
            (create.format, create.bitrate_kbps, create.timeout_s),
            (Format::Mp3, 64, 60)
        );
    }

    #[test]
    fn all_errors_are_told_at_once() {
        let told = errors_of(
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
        let mut errors = FieldErrors::default();
        Create::parse(br#"{"text":"a","calback_url":"x"}"#, &rules(), &mut errors).unwrap();
        let problem = errors.into_result().unwrap_err();
        assert_eq!(problem.errors[0].suggestions, ["callback_url"]);
    }

    #[test]
    fn characters_are_counted_after_nfc() {
        let decomposed = "e\u{302}\u{301}".repeat(100);
        assert_eq!(
            errors_of(&serde_json::json!({ "text": decomposed }).to_string()),
            []
        );
    }

    #[test]
    fn too_many_characters_are_told_up_to_twice_as_many_as_are_allowed() {
        let detail_of = |lengths: &[usize]| {
            let texts = lengths.iter().map(|length| "a".repeat(*length));
            let body = match lengths {
                [_] => serde_json::json!({ "text": texts.collect::<String>() }),
                _ => serde_json::json!({
                    "segments": texts.map(|text| serde_json::json!({ "text": text })).collect::<Vec<_>>()
                }),
            };
            let mut errors = FieldErrors::default();
            Create::parse(body.to_string().as_bytes(), &rules(), &mut errors).unwrap();
            let errors = errors.into_result().unwrap_err().errors;
            errors.last().unwrap().detail.clone()
        };
        let most = rules().max_characters;
        for (lengths, told) in [
            (
                vec![most + 1],
                format!("`text` has {} characters;", most + 1),
            ),
            (
                vec![3 * most],
                format!("`text` has {} characters or more;", 2 * most),
            ),
            (
                vec![most, most / 2],
                format!("`segments` have {} characters;", most + most / 2),
            ),
            (
                vec![most + most / 2, 1],
                format!("`segments` have {} characters;", most + most / 2 + 1),
            ),
            (
                vec![most, most],
                format!("`segments` have {} characters or more;", 2 * most),
            ),
        ] {
            let detail = detail_of(&lengths);
            assert!(detail.starts_with(&told), "{detail}");
        }
    }

    #[test]
    fn the_timeout_does_not_make_it_another_request() {
        let mut errors = FieldErrors::default();
        let one = Create::parse(br#"{"text":"a","timeout_s":5}"#, &rules(), &mut errors).unwrap();
        let other = Create::parse(br#"{"timeout_s":9,"text":"a"}"#, &rules(), &mut errors).unwrap();
        let third = Create::parse(br#"{"text":"b","timeout_s":5}"#, &rules(), &mut errors).unwrap();
        assert_eq!(one.fingerprint(), other.fingerprint());
        assert_ne!(one.fingerprint(), third.fingerprint());
    }

    #[test]
    fn segments_stand_in_place_of_the_text() {
        let mut errors = FieldErrors::default();
        let body = br#"{"segments":[{"text":"Xin chao","pause_after_ms":300},{"text":"Hello","voice":"e","speed":1.5}]}"#;
        let create = Create::parse(body, &rules(), &mut errors).unwrap();
        assert!(errors.is_empty());
        assert_eq!(
            (create.source().as_ref(), create.characters()),
            ("Xin chao\u{1E}Hello", 13)
        );

        let prepared = Prepared::from(create.clone());
        assert!(!prepared.json.contains("Hello"));
        let kept: Create = serde_json::from_str(&prepared.json).unwrap();
        assert_eq!(kept.with_source(prepared.source), create);

        let speech = create.into_speech("v", "vi", &BTreeMap::new());
        let told: Vec<_> = speech
            .segments
            .iter()
            .map(|one| (&*one.text, &*one.voice, one.speed))
            .collect();
        assert_eq!(told, [("Xin chao", "v", 1.0), ("Hello", "e", 1.5)]);
        assert!(speech.numbered);
    }

    #[test]
    fn a_pronunciation_has_words_or_phonemes() {
        let told = errors_of(
            r#"{"pronunciations":[{"term":"a","say":"b","phonemes":"b"},{"term":"a"},{"term":"a","phonemes":"/b/"},
                {"term":"a","phonemes":3},{"phonemes":"siː"},{"term":"a","phoneme":"b"},{"term":"a","phonemes":"b","match_case":1},4],
                "segments":[{"text":"a"},{"text":"b","pronunciations":[{"term":"a","phonemes":"s'i:"}]},{"text":"c","pronunciations":{}}]}"#,
        );
        let expected = [
            ("/segments/1/pronunciations/0/phonemes", "invalid_phonemes"),
            ("/segments/2/pronunciations", "wrong_type"),
            ("/pronunciations/0", "say_and_phonemes"),
            ("/pronunciations/1", "required"),
            ("/pronunciations/2/phonemes", "invalid_phonemes"),
            ("/pronunciations/3/phonemes", "wrong_type"),
            ("/pronunciations/4/term", "required"),
            ("/pronunciations/5", "required"),
            ("/pronunciations/5/phoneme", "unknown_field"),
            ("/pronunciations/6/match_case", "wrong_type"),
            ("/pronunciations/7", "wrong_type"),
        ];
        let expected = expected.map(|(pointer, code)| (pointer.to_owned(), code));
        assert_eq!(told, expected);
    }

    #[test]
    fn phonemes_come_through_and_those_of_a_segment_come_first() {
        let body = r#"{"segments":[{"text":"SQL","pronunciations":[{"term":"SQL","phonemes":"siː"}]},{"text":"SQL"}],
            "pronunciations":[{"term":"SQL","say":"x"}]}"#;
        let mut errors = FieldErrors::default();
        let create = Create::parse(body.as_bytes(), &rules(), &mut errors).unwrap();
        assert!(errors.is_empty());
        let again: Create = serde_json::from_slice(&serde_json::to_vec(&create).unwrap()).unwrap();
        assert_eq!(again, create, "a hand-over and the database keep them");
        let other = body.replace("siː", "saː");
        let other = Create::parse(other.as_bytes(), &rules(), &mut errors).unwrap();
        assert_ne!(other.fingerprint(), create.fingerprint());
        let segments = create.into_speech("v", "vi", &BTreeMap::new()).segments;
        let said = |at: usize| -> Vec<String> {
            let terms = segments[at].pronunciations.iter();
            terms.map(|term| term.said.to_string()).collect()
        };
        assert_eq!(said(0), ["/siː/", "x"]);
        assert_eq!(said(1), ["x"]);
    }

    #[test]
    fn every_error_of_a_segment_says_where_it_is() {
        let told = errors_of(
            r#"{"text":"a","segments":[{"text":"a"},3,{"text":"..","voise":"x","pause_after_ms":10001},{"text":"a\u001eb"}]}"#,
        );
        assert_eq!(
            told,
            [
                ("/text".into(), "text_and_segments"),
                ("/segments/1".into(), "wrong_type"),
                ("/segments/2/text".into(), "nothing_to_speak"),
                ("/segments/2/pause_after_ms".into(), "out_of_range"),
                ("/segments/2/voise".into(), "unknown_field"),
                ("/segments/3/text".into(), "invalid_character"),
            ]
        );
        assert_eq!(
            errors_of(r#"{"segments":[]}"#),
            [("/segments".into(), "out_of_range")]
        );
        let long = serde_json::json!({ "segments": [{ "text": "a".repeat(60) }, { "text": "b".repeat(60) }] });
        assert_eq!(
            errors_of(&long.to_string()),
            [("/segments".into(), "text_too_long")]
        );
    }

    #[test]
    fn what_is_left_out_is_not_part_of_the_fingerprint() {
        // Requests of older versions must stay the same requests.
        let mut errors = FieldErrors::default();
        let create = Create::parse(br#"{"text":"a"}"#, &rules(), &mut errors).unwrap();
        let json = serde_json::to_string(&create).unwrap();
        assert_eq!(
            json,
            r#"{"text":"a","format":"mp3","bitrate_kbps":64,"speed":1.0,"timeout_s":60}"#
        );
    }

    #[test]
    fn rates_that_a_format_cannot_have_are_refused() {
        let told =
            errors_of(r#"{"text":"a","format":"opus","sample_rate_hz":44100,"loudness_lufs":-3}"#);
        assert_eq!(
            told,
            [
                ("/sample_rate_hz".into(), "invalid_sample_rate"),
                ("/loudness_lufs".into(), "out_of_range"),
            ]
        );
        assert_eq!(
            errors_of(r#"{"text":"a","format":"flac","sample_rate_hz":44100,"loudness_lufs":0}"#),
            []
        );
    }
}
