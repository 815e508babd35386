//! Subtitles as files.

use super::Cue;

/// SubRip: the number of the cue, its times and its lines, ended by an empty
/// line. The format has no escapes, so an arrow in the text, which parsers
/// take for times, is written as `→`.
pub fn to_srt(cues: &[Cue]) -> String {
    let mut file = String::new();
    for (cue, number) in cues.iter().zip(1..) {
        let (start, end) = (time(cue.start_ms, ','), time(cue.end_ms, ','));
        let text = cue.lines.join("\n").replace("-->", "→");
        file.push_str(&format!("{number}\n{start} --> {end}\n{text}\n\n"));
    }
    file
}

/// WebVTT (W3C, section 4.1): as SubRip, with a head, without numbers, and
/// with `&`, `<` and `>` escaped.
pub fn to_vtt(cues: &[Cue]) -> String {
    let mut file = String::from("WEBVTT\n\n");
    for cue in cues {
        let (start, end) = (time(cue.start_ms, '.'), time(cue.end_ms, '.'));
        let text = cue.lines.join("\n");
        let text = text
            .replace('&', "&amp;")
            .replace('<', "&lt;")
            .replace('>', "&gt;");
        file.push_str(&format!("{start} --> {end}\n{text}\n\n"));
    }
    file
}

/// `hh:mm:ss`, the separator, and milliseconds.
fn time(ms: u64, separator: char) -> String {
    let (seconds, ms) = (ms / 1000, ms % 1000);
    let (minutes, seconds) = (seconds / 60, seconds % 60);
    let (hours, minutes) = (minutes / 60, minutes % 60);
    format!("{hours:02}:{minutes:02}:{seconds:02}{separator}{ms:03}")
}
