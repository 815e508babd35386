//! What ffmpeg makes of the files, where it is there: it is what most people
//! put subtitles into a video with.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output};

use subtp::srt::SubRip;

use super::corpus::{self, Corpus};
use super::rules::Subtitled;
use super::{Style, spoken_by, squeezed, to_ass, to_karaoke_vtt, to_srt, to_vtt};

/// Runs ffmpeg in a directory, or says that it is not there.
fn ffmpeg(directory: &Path, arguments: &[&str]) -> Option<Output> {
    let quiet = ["-nostdin", "-hide_banner", "-loglevel", "error"];
    let mut command = Command::new("ffmpeg");
    command.current_dir(directory).args(quiet).args(arguments);
    match command.output() {
        Ok(output) => Some(output),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            left_out("there is no ffmpeg");
            None
        }
        Err(error) => panic!("ffmpeg: {error}"),
    }
}

/// Says so also where the test runner shows nothing of what passes, which it does
/// not for `println`.
fn left_out(why: &str) {
    let said = format!("\nleft out, for {why}: what ffmpeg makes of subtitles\n");
    std::io::stderr().write_all(said.as_bytes()).unwrap();
}

fn succeeded(output: Output) -> String {
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{complaint}");
    assert_eq!(complaint, "");
    String::from_utf8(output.stdout).unwrap()
}

fn subtitled(corpus: &'static Corpus, style: Style) -> Subtitled {
    let word_ms = |word: &str| 83 + 61 * word.chars().count() as u64;
    let source = corpus.whole();
    let (words, duration_ms) = spoken_by(&source, word_ms, 397);
    Subtitled::new(style, source, words, corpus.language, duration_ms)
}

#[test]
fn ffmpeg_reads_the_same_times_and_the_same_text() {
    let directory = tempfile::tempdir().unwrap();
    for corpus in corpus::ALL {
        for style in [Style::STANDARD, Style::SHORT] {
            let made = subtitled(corpus, style);
            for (name, file, tolerance_ms) in [
                ("a.srt", to_srt(&made.cues), 0),
                ("a.vtt", to_vtt(&made.cues), 0),
                ("karaoke.vtt", to_karaoke_vtt(&made.cues), 0),
                ("a.ass", to_ass(style, &made.cues), 10),
            ] {
                std::fs::write(directory.path().join(name), file).unwrap();
                let arguments = ["-i", name, "-f", "srt", "-"];
                let Some(output) = ffmpeg(directory.path(), &arguments) else {
                    return;
                };
                let what = format!("{} of {}", name, corpus.language);
                check(&made, &succeeded(output), tolerance_ms, &what);
            }
        }
    }
}

#[track_caller]
fn check(made: &Subtitled, srt: &str, tolerance_ms: u64, what: &str) {
    let read = SubRip::parse(srt).unwrap().subtitles;
    assert_eq!(read.len(), made.cues.len(), "{what}");
    for (read, cue) in read.iter().zip(&made.cues) {
        let ms = |at: subtp::srt::SrtTimestamp| {
            let minutes = u64::from(at.hours) * 60 + u64::from(at.minutes);
            (minutes * 60 + u64::from(at.seconds)) * 1000 + u64::from(at.milliseconds)
        };
        let (start, end) = (ms(read.start), ms(read.end));
        let off = start.abs_diff(cue.start_ms).max(end.abs_diff(cue.end_ms));
        assert!(off <= tolerance_ms, "{what}: {cue:?} is off by {off} ms");
        assert_eq!(lines(&read.text), cue.lines, "{what}");
    }
}

/// ffmpeg writes what has a style between tags.
fn lines(text: &[String]) -> Vec<String> {
    let plain = |line: &String| {
        let mut plain = String::new();
        let mut rest = line.as_str();
        while let Some((before, after)) = rest.split_once('<') {
            plain.push_str(before);
            rest = after.split_once('>').map_or("", |(_, after)| after);
        }
        plain + rest
    };
    text.iter().map(plain).collect()
}

#[test]
fn ffmpeg_burns_words_into_a_picture_while_they_are_heard() {
    let directory = tempfile::tempdir().unwrap();
    let source = "Chào bạn nhé.".to_owned();
    let (mut words, _) = spoken_by(&source, |_| 300, 0);
    for word in &mut words {
        word.start_ms += 500;
        word.end_ms += 500;
    }
    let made = Subtitled::new(Style::STANDARD, source, words, "vi", 1500);
    let cue = &made.cues[0];
    assert_eq!((made.cues.len(), cue.start_ms, cue.end_ms), (1, 500, 1400));
    let file = to_ass(Style::STANDARD, &made.cues);
    std::fs::write(directory.path().join("a.ass"), file).unwrap();

    let picture = "color=c=black:s=640x360:r=20:d=2";
    let burn = |filter: &str| {
        let arguments = [
            "-f", "lavfi", "-i", picture, "-vf", filter, "-f", "framemd5", "-",
        ];
        ffmpeg(directory.path(), &arguments)
    };
    let Some(output) = burn("ass=a.ass") else {
        return;
    };
    let complaint = String::from_utf8_lossy(&output.stderr);
    if complaint.contains("No such filter") {
        return left_out("this ffmpeg is built without libass");
    }
    // It may say more: libass tells of the font that it takes.
    assert!(output.status.success(), "{complaint}");
    let sums = |output: Output| -> Vec<String> {
        let text = String::from_utf8(output.stdout).unwrap();
        let frames = text.lines().filter(|line| !line.starts_with('#'));
        let sums = frames.map(|line| squeezed(line.rsplit(',').next().unwrap()));
        sums.collect()
    };
    let frames = sums(output);
    let blank = sums(burn("null").unwrap()).remove(0);
    assert_eq!(frames.len(), 40);
    for (frame, ms) in frames.iter().zip((0..).step_by(50)) {
        let is_shown = (500..1400).contains(&ms);
        assert_eq!(*frame != blank, is_shown, "at {ms} ms");
    }
    // One more word is yellow in each picture, and nothing else changes.
    let mut shown = frames[10..28].to_vec();
    shown.dedup();
    assert_eq!(shown.len(), 3, "{frames:?}");
}
