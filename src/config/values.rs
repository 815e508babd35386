//! From the text of one value to what it means. Each function either understands
//! its text or says what is allowed, as the end of a sentence that begins with
//! "must be".

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use hoiam_api::callback_headers::HeaderError;
use hoiam_api::create::bounds::MAX_TIMEOUT_S;
use hoiam_api::signature::{Secret, SecretError};
use hoiam_text::pronunciations::{MAX_CHARACTERS, Said};
use hoiam_text::segmentation::has_speech;
use hoiam_text::{SaturatingFrom as _, ipa};
use ipnet::IpNet;
use url::Url;

use super::sections::{ApiKey, Role};

const API_KEY_MIN_CHARACTERS: usize = 16;

/// A parsed value, or what is allowed.
pub type Parsed<T> = Result<T, MustBe>;

/// What a text would have to be, as the end of a sentence that begins with "must be".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MustBe {
    /// One of the roles.
    #[error("\"all\", \"backend\" or \"tts\"")]
    Role,
    /// One of two words.
    #[error("true or false")]
    Truth,
    /// A path.
    #[error("the path of a folder")]
    Folder,
    /// A path.
    #[error("the path of libonnxruntime.so")]
    OnnxruntimeLibrary,
    /// A number within the range.
    #[error("a whole number from {} to {}", .0.start(), .0.end())]
    Whole(RangeInclusive<u64>),
    /// A time within the range.
    #[error(
        "seconds or a text such as \"90 s\", \"5 min\", \"2 h\", \"7 d\", from {} to {}",
        in_words(*.0.start()),
        in_words(*.0.end())
    )]
    Seconds(RangeInclusive<u64>),
    /// A size within the range.
    #[error(
        "bytes or a text such as \"4 KiB\", \"2 MiB\", \"1 GB\", from {} to {} bytes",
        .0.start(),
        .0.end()
    )]
    Bytes(RangeInclusive<u64>),
    /// Where to listen.
    #[error("an IP address and a port such as 127.0.0.1:4640, [::1]:4640 or 0.0.0.0:4640")]
    Listener,
    /// A URL that paths are added to.
    #[error(
        "an http or https URL without user, query or fragment, such as https://voice.example.com"
    )]
    BaseUrl,
    /// Any URL of the two schemes.
    #[error("an http or https URL")]
    HttpUrl,
    /// What is said otherwise than it is written.
    #[error("a term with one text: words, or phonemes between slashes")]
    Term,
    /// What is said for it.
    #[error("words, or between slashes {}", ipa::ALLOWED)]
    Said,
    /// A text that can be spoken.
    #[error("1 to {MAX_CHARACTERS} characters with a letter or a digit among them")]
    Words,
    /// What a client proves itself with.
    #[error("at least {API_KEY_MIN_CHARACTERS} ASCII characters without white space")]
    ApiKey,
    /// Where a page comes from.
    #[error("the origin of a page, such as https://app.example.com or http://localhost:5173")]
    Origin,
    /// What callbacks are signed with.
    #[error("\"whsec_\" followed by the base64 of 24 to 64 bytes ({0})")]
    CallbackSecret(#[source] SecretError),
    /// Addresses.
    #[error("a network such as 10.0.0.0/8 or fd00::/8, or one IP address")]
    Network,
    /// The id of a voice.
    #[error("a voice such as espeak/vi or piper/en_US-joe-medium")]
    Voice,
    /// What people call a voice.
    #[error("letters, digits, '_', '-', '+' and '.' only")]
    Name,
    /// The name or the value of a header.
    #[error(transparent)]
    Header(#[from] HeaderError),
}

/// `all`, `backend` or `tts`.
pub fn role(text: &str) -> Parsed<Role> {
    match text {
        "all" => Ok(Role::All),
        "backend" => Ok(Role::Backend),
        "tts" => Ok(Role::Tts),
        _ => Err(MustBe::Role),
    }
}

/// `true` or `false`.
pub fn truth(text: &str) -> Parsed<bool> {
    text.parse().map_err(|_| MustBe::Truth)
}

/// A folder, made absolute by the working directory.
pub fn folder(text: &str) -> Parsed<PathBuf> {
    std::path::absolute(text).map_err(|_| MustBe::Folder)
}

/// A file, made absolute by the working directory.
pub fn onnxruntime_library(text: &str) -> Parsed<PathBuf> {
    std::path::absolute(text).map_err(|_| MustBe::OnnxruntimeLibrary)
}

/// A whole number within a range; `_` may group its digits.
pub fn whole(range: RangeInclusive<u64>) -> impl Fn(&str) -> Parsed<u64> {
    move |text| {
        digits(text)
            .filter(|number| range.contains(number))
            .ok_or_else(|| MustBe::Whole(range.clone()))
    }
}

/// As [`whole`], for what counts things in memory.
pub fn count(range: RangeInclusive<u64>) -> impl Fn(&str) -> Parsed<usize> {
    let whole = whole(range);
    move |text| whole(text).map(usize::saturating_from)
}

/// Whole seconds: `90`, `90 s`, `5 min`, `48 h`, `7 d`.
pub fn seconds(range: RangeInclusive<u64>) -> impl Fn(&str) -> Parsed<u64> {
    const UNITS: [(&str, u64); 5] = [("", 1), ("s", 1), ("min", 60), ("h", 3_600), ("d", 86_400)];
    move |text| {
        with_unit(text, &UNITS)
            .filter(|number| range.contains(number))
            .ok_or_else(|| MustBe::Seconds(range.clone()))
    }
}

/// The timeout of a task or a speech.
pub fn timeout(text: &str) -> Parsed<u32> {
    let number = seconds(1..=u64::from(MAX_TIMEOUT_S))(text)?;
    Ok(u32::try_from(number).unwrap_or(MAX_TIMEOUT_S))
}

/// Seconds, as a duration.
pub fn duration(range: RangeInclusive<u64>) -> impl Fn(&str) -> Parsed<Duration> {
    let seconds = seconds(range);
    move |text| seconds(text).map(Duration::from_secs)
}

/// Bytes: `4096`, `4 KiB`, `2 MiB`, `1 GB`.
pub fn bytes(range: RangeInclusive<u64>) -> impl Fn(&str) -> Parsed<u64> {
    const UNITS: [(&str, u64); 8] = [
        ("", 1),
        ("b", 1),
        ("kb", 1_000),
        ("mb", 1_000_000),
        ("gb", 1_000_000_000),
        ("kib", 1 << 10),
        ("mib", 1 << 20),
        ("gib", 1 << 30),
    ];
    move |text| {
        with_unit(text, &UNITS)
            .filter(|number| range.contains(number))
            .ok_or_else(|| MustBe::Bytes(range.clone()))
    }
}

/// An IP address and a port.
pub fn listener(text: &str) -> Parsed<SocketAddr> {
    text.parse().map_err(|_| MustBe::Listener)
}

/// An http or https URL to which paths are added. The result's path ends in `/`,
/// so that [`Url::join`] keeps all of it.
pub fn base_url(text: &str) -> Parsed<Url> {
    let mut url = Url::parse(text).map_err(|_| MustBe::BaseUrl)?;
    let plain = matches!(url.scheme(), "http" | "https")
        && url.has_host()
        && url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none();
    if !plain {
        return Err(MustBe::BaseUrl);
    }
    if !url.path().ends_with('/') {
        let path = format!("{}/", url.path());
        url.set_path(&path);
    }
    Ok(url)
}

/// An http or https URL of one file.
pub fn http_url(text: &str) -> Parsed<Url> {
    let url = Url::parse(text).ok();
    url.filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
        .ok_or(MustBe::HttpUrl)
}

/// A term. A table in place of its value would be a term of its own.
pub fn term(text: &str) -> Parsed<String> {
    let is_table = text.ends_with(".phonemes") || text.ends_with(".say");
    match is_table {
        true => Err(MustBe::Term),
        false => words(text),
    }
}

/// What is said for a term: words, or phonemes between slashes.
pub fn said(text: &str) -> Parsed<Said> {
    let between = |text: &str| Some(text.strip_prefix('/')?.strip_suffix('/')?.to_owned());
    match between(text) {
        None => words(text).map(Said::Words),
        Some(phonemes) if ipa::is_ipa(&phonemes) => Ok(Said::Phonemes(phonemes)),
        Some(_) => Err(MustBe::Said),
    }
}

fn words(text: &str) -> Parsed<String> {
    let fits = has_speech(text) && text.chars().count() <= MAX_CHARACTERS;
    fits.then(|| text.to_owned()).ok_or(MustBe::Words)
}

/// At least 16 visible ASCII characters: what an `Authorization` header can carry.
pub fn api_key(text: &str) -> Parsed<ApiKey> {
    let fits =
        text.len() >= API_KEY_MIN_CHARACTERS && text.bytes().all(|byte| byte.is_ascii_graphic());
    fits.then(|| ApiKey(text.to_owned())).ok_or(MustBe::ApiKey)
}

/// The origin of a web page, as browsers write it: no default port, no slash.
pub fn origin(text: &str) -> Parsed<String> {
    let url = Url::parse(text).ok().filter(|url| {
        ["http", "https"].contains(&url.scheme())
            && url.path() == "/"
            && url.query().is_none()
            && url.fragment().is_none()
            && url.username().is_empty()
            && url.password().is_none()
    });
    url.map(|url| url.origin().ascii_serialization())
        .ok_or(MustBe::Origin)
}

/// `whsec_` and the base64 of 24 to 64 bytes (Standard Webhooks).
pub fn callback_secret(text: &str) -> Parsed<Secret> {
    Secret::parse(text).map_err(MustBe::CallbackSecret)
}

/// A network such as `10.0.0.0/8`, or one address.
pub fn network(text: &str) -> Parsed<IpNet> {
    text.parse::<IpNet>()
        .or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
        .map_err(|_| MustBe::Network)
}

/// The id of a voice: engine, slash, name.
pub fn voice(text: &str) -> Parsed<String> {
    let fits = text
        .split_once('/')
        .is_some_and(|(engine, name)| is_name(engine) && is_name(name));
    fits.then(|| text.to_owned()).ok_or(MustBe::Voice)
}

/// The name of an alias, or a language tag: letters, digits, `_` and `-`.
pub fn name(text: &str) -> Parsed<String> {
    is_name(text).then(|| text.to_owned()).ok_or(MustBe::Name)
}

fn is_name(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_-+.".contains(&byte);
    !text.is_empty() && text.len() <= 100 && text.bytes().all(allowed)
}

fn digits(text: &str) -> Option<u64> {
    let plain: String = text.chars().filter(|character| *character != '_').collect();
    plain
        .bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| plain.parse().ok())?
}

fn with_unit(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let text = text.trim();
    let end = text.find(|character: char| !character.is_ascii_digit() && character != '_');
    let (number, unit) = text.split_at(end.unwrap_or(text.len()));
    let unit = unit.trim().to_lowercase();
    let (_, size) = units.iter().find(|(name, _)| *name == unit)?;
    digits(number)?.checked_mul(*size)
}

/// Seconds for people: `23 h 21 min 26 s`.
pub fn in_words(seconds: u64) -> String {
    let parts = [
        (seconds / 86_400, "d"),
        (seconds % 86_400 / 3_600, "h"),
        (seconds % 3_600 / 60, "min"),
        (seconds % 60, "s"),
    ];
    let words: Vec<String> = parts
        .iter()
        .filter(|(number, _)| *number > 0)
        .map(|(number, unit)| format!("{number} {unit}"))
        .collect();
    if words.is_empty() {
        "0 s".to_owned()
    } else {
        words.join(" ")
    }
}
