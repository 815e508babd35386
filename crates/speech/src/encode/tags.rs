//! What a file says about itself.

/// Who made it.
use hoiam_text::Tags;

const GENERATOR: &str = concat!("hoiam ", env!("CARGO_PKG_VERSION"));

/// The names that ISO 639-2 has for those of ISO 639-1, which ID3 and RIFF do not
/// know: the languages that people make speech of most (loc.gov/standards/iso639-2).
const LANGUAGES: &[(&str, &str)] = &[
    ("ar", "ara"),
    ("bg", "bul"),
    ("ca", "cat"),
    ("cs", "ces"),
    ("da", "dan"),
    ("de", "deu"),
    ("el", "ell"),
    ("en", "eng"),
    ("es", "spa"),
    ("fa", "fas"),
    ("fi", "fin"),
    ("fr", "fra"),
    ("he", "heb"),
    ("hi", "hin"),
    ("hr", "hrv"),
    ("hu", "hun"),
    ("id", "ind"),
    ("it", "ita"),
    ("ja", "jpn"),
    ("km", "khm"),
    ("ko", "kor"),
    ("lo", "lao"),
    ("ms", "msa"),
    ("nb", "nob"),
    ("nl", "nld"),
    ("no", "nor"),
    ("pl", "pol"),
    ("pt", "por"),
    ("ro", "ron"),
    ("ru", "rus"),
    ("sk", "slk"),
    ("sl", "slv"),
    ("sr", "srp"),
    ("sv", "swe"),
    ("th", "tha"),
    ("tr", "tur"),
    ("uk", "ukr"),
    ("vi", "vie"),
    ("zh", "zho"),
];

/// As Vorbis comments (xiph.org/vorbis/doc/v-comment.html).
pub(super) fn comments(tags: &Tags) -> Vec<(&'static str, &str)> {
    let title = tags.title.iter().map(|title| ("TITLE", title.as_str()));
    let language = tags.language.iter().map(|tag| ("LANGUAGE", tag.as_str()));
    title
        .chain(language)
        .chain([("ENCODER", GENERATOR)])
        .collect()
}

/// The language by its three letters.
fn language_code(tags: &Tags) -> Option<&str> {
    let primary = tags.language.as_deref()?.split('-').next()?;
    if primary.len() == 3 {
        return Some(primary);
    }
    let mut known = LANGUAGES.iter();
    known
        .find(|(two, _)| primary.eq_ignore_ascii_case(two))
        .map(|(_, three)| *three)
}

/// An ID3v2.3 tag (id3.org/id3v2.3.0): of all versions the one that most players
/// read.
pub(super) fn id3(tags: &Tags) -> Vec<u8> {
    let title = tags.title.as_deref().map(|title| (b"TIT2", title));
    let language = language_code(tags).map(|code| (b"TLAN", code));
    let frames = title
        .into_iter()
        .chain(language)
        .chain([(b"TSSE", GENERATOR)]);
    let mut body = Vec::new();
    for (name, text) in frames {
        let content = id3_text(text);
        body.extend(name);
        body.extend(size(content.len()).to_be_bytes());
        // No flags.
        body.extend([0, 0]);
        body.extend(content);
    }
    let mut tag = b"ID3\x03\0\0".to_vec();
    // Seven bits a byte.
    let bytes = size(body.len());
    tag.extend([21, 14, 7, 0].map(|shift| (bytes >> shift & 0x7F) as u8));
    tag.extend(body);
    tag
}

/// ISO 8859-1 for ASCII, else UTF-16 with a byte order mark, which is that of
/// big-endian: the other, `FF FE`, is also how a frame of MPEG audio may begin, and
/// readers that look for one (symphonia) have taken it for that.
fn id3_text(text: &str) -> Vec<u8> {
    const ISO_8859_1: u8 = 0;
    const UTF_16: u8 = 1;
    if text.is_ascii() {
        return [&[ISO_8859_1], text.as_bytes()].concat();
    }
    let units = text.encode_utf16().flat_map(u16::to_be_bytes);
    [UTF_16, 0xFE, 0xFF].into_iter().chain(units).collect()
}

/// A LIST chunk of INFO (Multimedia Programming Interface and Data Specifications
/// 1.0, chapter 2).
pub(super) fn info_list(tags: &Tags) -> Vec<u8> {
    let title = tags.title.as_deref().map(|title| (b"INAM", title));
    let language = language_code(tags).map(|code| (b"ILNG", code));
    let entries = title
        .into_iter()
        .chain(language)
        .chain([(b"ISFT", GENERATOR)]);
    let mut body = b"INFO".to_vec();
    for (name, text) in entries {
        body.extend(name);
        body.extend(size(text.len() + 1).to_le_bytes());
        body.extend(text.as_bytes());
        body.push(0);
        // Chunks begin at even places.
        body.resize(body.len().next_multiple_of(2), 0);
    }
    let mut list = b"LIST".to_vec();
    list.extend(size(body.len()).to_le_bytes());
    list.extend(body);
    list
}

/// Titles are far shorter than 4 GB.
fn size(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(0)
}
