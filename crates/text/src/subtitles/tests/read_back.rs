//! Files of subtitles, read by parsers that know nothing of how they are
//! written.

use proptest::prelude::*;
use proptest::test_runner::TestCaseError;
use subtp::srt::{SrtTimestamp, SubRip};
use subtp::vtt::{VttBlock, VttTimestamp, WebVtt};

use super::super::{Cue, to_ass, to_srt, to_vtt};
use super::rules::Subtitled;
use super::squeezed;

type Checked = Result<(), TestCaseError>;

fn in_ms(hours: u8, minutes: u8, seconds: u8, ms: u16) -> u64 {
    let minutes = u64::from(hours) * 60 + u64::from(minutes);
    (minutes * 60 + u64::from(seconds)) * 1000 + u64::from(ms)
}

pub(super) fn as_srt(cues: &[Cue]) -> Checked {
    let read = SubRip::parse(&to_srt(cues)).unwrap().subtitles;
    prop_assert_eq!(read.len(), cues.len());
    let ms = |at: SrtTimestamp| in_ms(at.hours, at.minutes, at.seconds, at.milliseconds);
    for ((read, cue), number) in read.into_iter().zip(cues).zip(1..) {
        prop_assert_eq!(read.sequence, number);
        prop_assert_eq!((ms(read.start), ms(read.end)), (cue.start_ms, cue.end_ms));
        let lines = cue.lines.iter().map(|line| line.replace("-->", "→"));
        prop_assert_eq!(read.text, lines.collect::<Vec<_>>());
    }
    Ok(())
}

pub(super) fn as_vtt(cues: &[Cue]) -> Checked {
    let read = WebVtt::parse(&to_vtt(cues)).unwrap().blocks;
    prop_assert_eq!(read.len(), cues.len());
    let ms = |at: VttTimestamp| in_ms(at.hours, at.minutes, at.seconds, at.milliseconds);
    for (read, cue) in read.into_iter().zip(cues) {
        let VttBlock::Que(read) = read else {
            return Err(TestCaseError::fail(format!("no cue: {read:?}")));
        };
        let (start, end) = (ms(read.timings.start), ms(read.timings.end));
        prop_assert_eq!((start, end), (cue.start_ms, cue.end_ms));
        let unescaped = |line: &String| {
            let line = line.replace("&lt;", "<").replace("&gt;", ">");
            line.replace("&amp;", "&")
        };
        let lines: Vec<String> = read.payload.iter().map(unescaped).collect();
        prop_assert_eq!(&lines, &cue.lines);
    }
    Ok(())
}

/// The times of cues to the nearest centisecond, their text, and words that
/// light up for exactly as long as a cue is shown.
pub(super) fn as_ass(made: &Subtitled) -> Checked {
    let file = to_ass(made.style, &made.cues);
    let events = file
        .lines()
        .filter_map(|line| line.strip_prefix("Dialogue: "));
    let events: Vec<&str> = events.collect();
    prop_assert_eq!(events.len(), made.cues.len());
    for (event, cue) in events.into_iter().zip(&made.cues) {
        let fields: Vec<&str> = event.splitn(10, ',').collect();
        let (start, end) = (centiseconds(fields[1]), centiseconds(fields[2]));
        prop_assert_eq!(
            (start, end),
            ((cue.start_ms + 5) / 10, (cue.end_ms + 5) / 10)
        );
        let (mut lit, mut shown) = (0, String::new());
        let mut rest = fields[9];
        while let Some((before, after)) = rest.split_once('{') {
            let (command, after) = after.split_once('}').unwrap();
            shown.push_str(before);
            lit += command.strip_prefix("\\k").unwrap().parse::<u64>().unwrap();
            rest = after;
        }
        shown.push_str(rest);
        prop_assert_eq!(lit, end - start);
        let lines: Vec<String> = shown.split("\\N").map(squeezed).collect();
        let wide = |line: &String| {
            let line = line.replace('{', "｛").replace('}', "｝");
            squeezed(&line.replace('\\', "＼"))
        };
        prop_assert_eq!(lines, cue.lines.iter().map(wide).collect::<Vec<_>>());
    }
    Ok(())
}

/// Of `h:mm:ss.cc`.
fn centiseconds(time: &str) -> u64 {
    let parts = time.split([':', '.']).map(|part| part.parse().unwrap());
    let parts: Vec<u64> = parts.collect();
    ((parts[0] * 60 + parts[1]) * 60 + parts[2]) * 100 + parts[3]
}
