//! Which releases of eSpeak NG are known to crash on texts.
//!
//! Read out of the library's sources, issues and change log, and Debian's change log of
//! the package. A fault that a release has is told of it whether or not texts that meet
//! it are changed here before the library sees them (`espeak_text`).

/// The engine whose releases these are, as voices name it.
use hoiam_text::Voice;

const ENGINE: &str = "espeak";

/// What texts do to a release.
#[derive(Debug, PartialEq, Eq)]
pub struct KnownCrashes {
    /// For people; follows the name of the release.
    pub detail: &'static str,
    /// What the operator can do.
    pub way_out: &'static str,
}

/// Before 1.51.
const OLD: KnownCrashes = KnownCrashes {
    detail: "texts are known to crash it and to write past its buffers (CVE-2023-49990 to \
             CVE-2023-49994, and what 1.51 has mended)",
    way_out: "install eSpeak NG 1.51 or later",
};

/// 1.51, and what came between it and 1.52.0. Debian has mended those five since
/// 1.51+dfsg-10+deb12u1, under the same version.
const WITH_CVES: KnownCrashes = KnownCrashes {
    detail: "texts are known to crash it and to write past its buffers (CVE-2023-49990 to \
             CVE-2023-49994, if the package has not mended them, and others); those that \
             are known here are changed before it sees them, and one that crashes it all \
             the same costs its own sentence",
    way_out: "keep the package up to date (Debian 12: 1.51+dfsg-10+deb12u1 or later)",
};

/// 1.52: dotted letters, stacked endings and hyphens that begin a word were mended in
/// the summer of 2026, after it (pull requests 2428, 2495; issue 831).
const FROM_1_52: KnownCrashes = KnownCrashes {
    detail: "texts are known to crash it and to write past its buffers; those that are \
             known here are changed before it sees them, and one that crashes it all the \
             same costs its own sentence",
    way_out: "keep the package up to date",
};

/// The release that the voices of eSpeak NG are of, as the library says it (`1.51`);
/// `None` where there is no such voice.
pub fn espeak_release(voices: &[Voice]) -> Option<&str> {
    let voice = voices.iter().find(|voice| voice.engine == ENGINE)?;
    voice.version.as_deref()
}

/// What texts do to this release; `None` where nothing is known, as of later ones.
pub fn known_crashes(release: &str) -> Option<&'static KnownCrashes> {
    let is_number = |c: char| c.is_ascii_digit() || c == '.';
    let end = release.find(|c| !is_number(c)).unwrap_or(release.len());
    let mut numbers = release[..end].split('.').map(str::parse::<u32>);
    let (Some(Ok(major)), Some(Ok(minor))) = (numbers.next(), numbers.next()) else {
        return None;
    };
    match (major, minor) {
        (1, ..=50) | (0, _) => Some(&OLD),
        (1, 51) => Some(&WITH_CVES),
        (1, 52) if release[end..].starts_with("-dev") => Some(&WITH_CVES),
        (1, 52) => Some(&FROM_1_52),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_is_known_by_its_first_two_numbers() {
        for (release, expected) in [
            ("1.48.15", Some(&OLD)),
            ("1.50", Some(&OLD)),
            ("1.51", Some(&WITH_CVES)),
            ("1.51.1", Some(&WITH_CVES)),
            ("1.52-dev", Some(&WITH_CVES)),
            ("1.52.0", Some(&FROM_1_52)),
            ("1.52", Some(&FROM_1_52)),
        ] {
            assert_eq!(known_crashes(release), expected, "{release}");
        }
    }

    #[test]
    fn of_later_ones_and_of_what_is_no_number_nothing_is_known() {
        for release in [
            "1.53-dev", "1.53.0", "2.0", "", "1", "x.y", "1.", "..", "١.٥",
        ] {
            assert_eq!(known_crashes(release), None, "{release}");
        }
    }
}
