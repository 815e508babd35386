//! Every subtitle file that can be had of a result. A new one is a line in
//! [`SubtitleFormat::ALL`] and a function in `write`: routes, links and commands know the
//! formats from here.

use super::{Cue, Style, to_ass, to_karaoke_vtt, to_srt, to_vtt};

const SRT: &str = "application/x-subrip; charset=utf-8";
const VTT: &str = "text/vtt; charset=utf-8";
const ASS: &str = "text/x-ssa; charset=utf-8";

/// One kind of subtitle file.
pub struct SubtitleFormat {
    /// How its name ends: `karaoke.vtt` of `subtitles.karaoke.vtt`.
    pub ending: &'static str,
    /// The type of its files, as HTTP names it.
    pub media_type: &'static str,
    /// What its cues hold.
    pub style: Style,
    write: fn(Style, &[Cue]) -> String,
}

impl SubtitleFormat {
    /// Every format: the two that most want, and for the others what they are for.
    pub const ALL: [Self; 7] = [
        Self::new("srt", SRT, Style::STANDARD, |_, cues| to_srt(cues)),
        Self::new("vtt", VTT, Style::STANDARD, |_, cues| to_vtt(cues)),
        // Words light up as they are said.
        Self::new("karaoke.vtt", VTT, Style::STANDARD, |_, cues| {
            to_karaoke_vtt(cues)
        }),
        // To be burned into a picture.
        Self::new("ass", ASS, Style::STANDARD, to_ass),
        // One to five words a cue, for vertical video.
        Self::new("short.srt", SRT, Style::SHORT, |_, cues| to_srt(cues)),
        Self::new("short.vtt", VTT, Style::SHORT, |_, cues| to_vtt(cues)),
        Self::new("short.ass", ASS, Style::SHORT, to_ass),
    ];

    const fn new(
        ending: &'static str,
        media_type: &'static str,
        style: Style,
        write: fn(Style, &[Cue]) -> String,
    ) -> Self {
        Self {
            ending,
            media_type,
            style,
            write,
        }
    }

    /// The format whose files end so.
    #[must_use]
    pub fn of(ending: &str) -> Option<&'static Self> {
        const ALL: &[SubtitleFormat] = &SubtitleFormat::ALL;
        ALL.iter().find(|format| format.ending == ending)
    }

    /// The name of its link in answers: `karaoke_vtt`.
    #[must_use]
    pub fn field(&self) -> String {
        self.ending.replace('.', "_")
    }

    /// The file of cues that were made in its style.
    #[must_use]
    pub fn render(&self, cues: &[Cue]) -> String {
        (self.write)(self.style, cues)
    }
}

/// By its ending alone, for ETags are made of it.
impl std::fmt::Debug for SubtitleFormat {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.ending)
    }
}

/// Two formats are the same if their files end so.
impl PartialEq for SubtitleFormat {
    fn eq(&self, other: &Self) -> bool {
        self.ending == other.ending
    }
}

impl Eq for SubtitleFormat {}
