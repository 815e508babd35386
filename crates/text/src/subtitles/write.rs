//! Subtitles as files.

use super::{Cue, Part, Style};

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
        let text = escaped(&cue.lines.join("\n"));
        file.push_str(&format!("{start} --> {end}\n{text}\n\n"));
    }
    file
}

/// WebVTT whose words light up as they are said: each but the first has the
/// time from which on it counts as past (section 4.2.2, cue timestamps), for
/// `::cue(:past)` and `::cue(:future)` in a style sheet.
pub fn to_karaoke_vtt(cues: &[Cue]) -> String {
    let mut file = String::from("WEBVTT\n\n");
    for cue in cues {
        let (start, end) = (time(cue.start_ms, '.'), time(cue.end_ms, '.'));
        file.push_str(&format!("{start} --> {end}\n"));
        let mut last_ms = cue.start_ms;
        for part in &cue.parts {
            file.push_str(part.before);
            // Times must lie within the cue and go up.
            if (last_ms + 1..cue.end_ms).contains(&part.start_ms) {
                file.push_str(&format!("<{}>", time(part.start_ms, '.')));
                last_ms = part.start_ms;
            }
            file.push_str(&escaped(&part.text));
        }
        file.push_str("\n\n");
    }
    file
}

fn escaped(text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;");
    text.replace('>', "&gt;")
}

/// Advanced SubStation Alpha 4.00+, to be burned into a picture: white letters
/// that turn yellow as they are said. For a picture of another size, players
/// scale it.
pub fn to_ass(style: Style, cues: &[Cue]) -> String {
    let (width, height) = style.picture;
    // The longest line fills nine tenths of the picture, letters being about
    // half as wide as they are high.
    let size = (width * 18 / 10 / style.line_chars as u32).min(height / 15);
    // In vertical video the bottom is covered by what the players show.
    let margin = if height > width {
        height / 4
    } else {
        height / 18
    };
    let mut file = format!(
        "[Script Info]\nScriptType: v4.00+\nWrapStyle: 2\nScaledBorderAndShadow: yes\n\
         PlayResX: {width}\nPlayResY: {height}\n\n\
         [V4+ Styles]\nFormat: Name, Fontname, Fontsize, PrimaryColour, SecondaryColour, \
         OutlineColour, BackColour, Bold, Italic, Underline, StrikeOut, ScaleX, ScaleY, Spacing, \
         Angle, BorderStyle, Outline, Shadow, Alignment, MarginL, MarginR, MarginV, Encoding\n\
         Style: Default,Arial,{size},&H0000FFFF,&H00FFFFFF,&H00000000,&H80000000,\
         -1,0,0,0,100,100,0,0,1,{outline},0,2,20,20,{margin},1\n\n\
         [Events]\nFormat: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text\n",
        outline = size / 16,
    );
    for cue in cues {
        let (start, end) = (centiseconds(cue.start_ms), centiseconds(cue.end_ms));
        file.push_str(&format!(
            "Dialogue: 0,{},{},Default,,0,0,0,,{}\n",
            short_time(start),
            short_time(end),
            karaoke(&cue.parts, start, end)
        ));
    }
    file
}

/// The parts of a cue, each with how long it takes to light up. The times of
/// all are rounded alike, so that they do not drift.
fn karaoke(parts: &[Part], start: u64, end: u64) -> String {
    let mut text = String::new();
    let mut from = start;
    for (at, part) in parts.iter().enumerate() {
        let next = parts.get(at + 1);
        let until = next.map_or(end, |next| centiseconds(next.start_ms).clamp(from, end));
        // The format has no escapes: what would begin a tag or a command is
        // written as the wide form of the same sign.
        let own = part.text.replace('{', "｛").replace('}', "｝");
        let own = own.replace('\\', "＼");
        let before = part.before.replace('\n', "\\N");
        text.push_str(&format!("{before}{{\\k{}}}{own}", until - from));
        from = until;
    }
    text
}

fn centiseconds(ms: u64) -> u64 {
    (ms + 5) / 10
}

/// `h:mm:ss.cc`.
fn short_time(centiseconds: u64) -> String {
    let (seconds, rest) = (centiseconds / 100, centiseconds % 100);
    let (minutes, seconds) = (seconds / 60, seconds % 60);
    format!(
        "{}:{:02}:{seconds:02}.{rest:02}",
        minutes / 60,
        minutes % 60
    )
}

/// `hh:mm:ss`, the separator, and milliseconds.
fn time(ms: u64, separator: char) -> String {
    let (seconds, ms) = (ms / 1000, ms % 1000);
    let (minutes, seconds) = (seconds / 60, seconds % 60);
    let (hours, minutes) = (minutes / 60, minutes % 60);
    format!("{hours:02}:{minutes:02}:{seconds:02}{separator}{ms:03}")
}
