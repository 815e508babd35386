//! Subtitles of all kinds, and marks. Options: `s` for short ones, the language, then
//! digits: the pause between sentences in tenths of a second, and how long each word
//! takes, by turns. With `!` the times and places of words are any.

use hoiam_text::subtitles::{Cue, Style, cues, to_ass, to_karaoke_vtt, to_srt, to_vtt};
use hoiam_text::{Word, joined_text, marks, segmentation};
use serde_json::Value;
use subtp::srt::SubRip;
use subtp::vtt::{VttBlock, WebVtt};

use super::input::Input;

/// As the styles have it: code points of a line, and lines of a cue.
const STANDARD: (usize, usize) = (42, 2);
const SHORT: (usize, usize) = (24, 1);

pub fn check(data: &[u8]) {
    let input = Input::new(data);
    if input.option(0) == b'!' {
        return words_that_lie_do_no_harm(&input);
    }
    let (style, most) = match input.option(0) {
        b's' => (Style::SHORT, SHORT),
        _ => (Style::STANDARD, STANDARD),
    };
    let language = match input.option(1) {
        b'v' => "vi",
        b'e' => "en-US",
        _ => "ja",
    };
    let text = &*input.text;
    let (words, duration_ms) = spoken(&input);
    let cues = cues(style, text, &words, language, duration_ms);
    the_text_is_that_of_the_source(&cues, text);
    cues_follow_each_other(&cues, &words, duration_ms);
    lines_are_short_enough(&cues, most);
    srt_says_the_same(&cues);
    vtt_says_the_same(&cues);
    karaoke_says_the_same(&cues);
    ass_says_the_same(style, &cues);
    marks_say_the_same(text, &words);
    what_is_not_heard_is_not_shown(&input);
}

/// The words of a text, as an engine may have told them.
fn spoken(input: &Input) -> (Vec<Word>, u64) {
    let mut words = Vec::new();
    let mut now = 0;
    for (sentence, number) in segmentation::sentences(&input.text).into_iter().zip(0..) {
        for token in sentence.words {
            let word_ms = input.number(3 + words.len() % 8) * 50;
            words.push(Word {
                text: token.text,
                start_ms: now,
                end_ms: now + word_ms,
                char_start: u32::try_from(token.char_start).unwrap(),
                char_end: u32::try_from(token.char_end).unwrap(),
                sentence: number,
                segment: None,
            });
            now += word_ms;
        }
        now += input.number(2) * 100;
    }
    (words, now)
}

/// What a child tells, which may have been taken over.
fn words_that_lie_do_no_harm(input: &Input) {
    let mut numbers = input.text.bytes().cycle().enumerate();
    let mut number = || {
        let (at, byte) = numbers.next().unwrap_or((0, 0));
        // Small ones, large ones, and those at the end of what there is.
        match byte % 4 {
            0 => u64::from(byte),
            1 => u64::from(byte) << (at % 56),
            2 => u64::MAX - u64::from(byte),
            _ => at as u64,
        }
    };
    let word = |_| Word {
        text: "x".to_owned(),
        start_ms: number(),
        end_ms: number(),
        char_start: number() as u32,
        char_end: number() as u32,
        sentence: number() as u32,
        segment: (number() % 2 == 0).then(|| number() as u32 % 4),
    };
    let words = (0..input.text.len().min(64)).map(word).collect();
    let words = joined_text::in_whole(&input.text, words);
    let duration_ms = input.number(1) << (input.number(2) % 56);
    for style in [Style::STANDARD, Style::SHORT] {
        let cues = cues(style, &input.text, &words, "vi", duration_ms);
        the_text_is_that_of_the_source(&cues, &input.text);
        to_srt(&cues);
        to_vtt(&cues);
        to_karaoke_vtt(&cues);
        to_ass(style, &cues);
    }
    marks::to_marks(&input.text, &words);
}

fn squeezed(text: &str) -> String {
    let is_blank = |c: &char| c.is_whitespace() || c.is_control();
    text.chars().filter(|c| !is_blank(c)).collect()
}

fn the_text_is_that_of_the_source(cues: &[Cue], text: &str) {
    let lines: String = cues.iter().flat_map(|cue| cue.lines.clone()).collect();
    assert_eq!(squeezed(&lines), squeezed(text));
    for cue in cues {
        let parts = cue.parts.iter().flat_map(|part| [part.before, &part.text]);
        assert_eq!(parts.collect::<String>(), cue.lines.join("\n"));
    }
}

fn cues_follow_each_other(cues: &[Cue], words: &[Word], duration_ms: u64) {
    let mut end_ms = 0;
    for cue in cues {
        assert!(
            end_ms <= cue.start_ms && cue.start_ms <= cue.end_ms,
            "{cue:?}"
        );
        let starts = || cue.parts.iter().map(|part| part.start_ms);
        assert!(starts().is_sorted(), "{cue:?}");
        assert_eq!(starts().next(), Some(cue.start_ms));
        end_ms = cue.end_ms;
    }
    if let (Some(first), Some(last)) = (words.first(), words.last()) {
        assert_eq!(cues[0].start_ms, first.start_ms);
        assert!((last.end_ms..=duration_ms).contains(&end_ms));
    }
}

fn lines_are_short_enough(cues: &[Cue], (line_chars, lines): (usize, usize)) {
    for cue in cues {
        assert!((1..=lines).contains(&cue.lines.len()), "{cue:?}");
        for line in &cue.lines {
            let chars = line.chars().count();
            assert!((1..=line_chars).contains(&chars), "{line:?}");
            assert_eq!(line.trim(), line);
        }
    }
}

fn in_ms(hours: u8, minutes: u8, seconds: u8, ms: u16) -> u64 {
    let minutes = u64::from(hours) * 60 + u64::from(minutes);
    (minutes * 60 + u64::from(seconds)) * 1000 + u64::from(ms)
}

fn srt_says_the_same(cues: &[Cue]) {
    let read = SubRip::parse(&to_srt(cues)).expect("SubRip").subtitles;
    assert_eq!(read.len(), cues.len());
    for ((read, cue), number) in read.into_iter().zip(cues).zip(1..) {
        let (start, end) = (read.start, read.end);
        let start = in_ms(
            start.hours,
            start.minutes,
            start.seconds,
            start.milliseconds,
        );
        let end = in_ms(end.hours, end.minutes, end.seconds, end.milliseconds);
        assert_eq!((start, end), (cue.start_ms, cue.end_ms));
        assert_eq!(read.sequence, number);
        let lines = cue.lines.iter().map(|line| line.replace("-->", "→"));
        assert_eq!(read.text, lines.collect::<Vec<_>>());
    }
}

fn unescaped(line: &str) -> String {
    let line = line.replace("&lt;", "<").replace("&gt;", ">");
    line.replace("&amp;", "&")
}

fn vtt_says_the_same(cues: &[Cue]) {
    let read = WebVtt::parse(&to_vtt(cues)).expect("WebVTT").blocks;
    assert_eq!(read.len(), cues.len());
    for (read, cue) in read.into_iter().zip(cues) {
        let VttBlock::Que(read) = read else {
            panic!("no cue: {read:?}");
        };
        let (start, end) = (read.timings.start, read.timings.end);
        let start = in_ms(
            start.hours,
            start.minutes,
            start.seconds,
            start.milliseconds,
        );
        let end = in_ms(end.hours, end.minutes, end.seconds, end.milliseconds);
        assert_eq!((start, end), (cue.start_ms, cue.end_ms));
        let lines: Vec<String> = read.payload.iter().map(|line| unescaped(line)).collect();
        assert_eq!(lines, cue.lines);
    }
}

/// Times within a cue lie in it and go up, and without them the text is the same.
fn karaoke_says_the_same(cues: &[Cue]) {
    let file = to_karaoke_vtt(cues);
    let blocks = file
        .trim_start_matches("WEBVTT\n\n")
        .split_terminator("\n\n");
    let blocks: Vec<&str> = blocks.collect();
    assert_eq!(blocks.len(), cues.len());
    for (block, cue) in blocks.into_iter().zip(cues) {
        let (_, text) = block.split_once('\n').expect("times");
        let (mut shown, mut last) = (String::new(), cue.start_ms);
        for part in text.split('<') {
            let Some((time, behind)) = part.split_once('>') else {
                shown.push_str(part);
                continue;
            };
            let at = time_in_ms(time);
            assert!(last < at && at < cue.end_ms, "{block}");
            last = at;
            shown.push_str(behind);
        }
        assert_eq!(unescaped(&shown), cue.lines.join("\n"));
    }
}

fn time_in_ms(time: &str) -> u64 {
    let parts: Vec<u64> = time
        .split([':', '.'])
        .map(|part| part.parse().unwrap())
        .collect();
    ((parts[0] * 60 + parts[1]) * 60 + parts[2]) * 1000 + parts[3]
}

/// One line a cue, in which nothing of the text is a command.
fn ass_says_the_same(style: Style, cues: &[Cue]) {
    let file = to_ass(style, cues);
    let events = file
        .lines()
        .filter_map(|line| line.strip_prefix("Dialogue: "));
    let events: Vec<&str> = events.collect();
    assert_eq!(events.len(), cues.len());
    for (event, cue) in events.into_iter().zip(cues) {
        let mut shown = String::new();
        let mut rest = event.splitn(10, ',').last().expect("the text");
        while let Some((before, behind)) = rest.split_once('{') {
            shown.push_str(before);
            let (command, behind) = behind.split_once('}').expect("an end");
            let centiseconds = command.strip_prefix("\\k").expect("a time");
            assert!(centiseconds.parse::<u64>().is_ok(), "{event}");
            rest = behind;
        }
        shown.push_str(rest);
        let lines = cue.lines.join("\n").replace('{', "｛").replace('}', "｝");
        let lines = lines.replace('\\', "＼");
        assert_eq!(shown.replace("\\N", "\n"), lines);
    }
}

fn marks_say_the_same(text: &str, words: &[Word]) {
    let mut told = 0;
    let mut last_ms = 0;
    for line in marks::to_marks(text, words).lines() {
        let mark: Value = serde_json::from_str(line).expect("JSON");
        let number = |name: &str| mark[name].as_u64().expect("a number");
        let place = number("start") as usize..number("end") as usize;
        assert_eq!(text.get(place), mark["value"].as_str(), "{line}");
        assert!(last_ms <= number("time"), "{line}");
        last_ms = number("time");
        if mark["type"] == "word" {
            assert_eq!(mark["value"].as_str(), Some(words[told].text.as_str()));
            told += 1;
        }
    }
    assert_eq!(told, words.len());
}

fn what_is_not_heard_is_not_shown(input: &Input) {
    let text = &*input.text;
    let from = u32::from(input.option(3));
    let part = joined_text::Part {
        segment: (input.option(1) == b'v').then_some(u32::from(input.option(2))),
        chars: from..from + u32::from(input.option(4)),
    };
    let heard = joined_text::without(text, &[part]);
    assert_eq!(heard.chars().count(), text.chars().count());
    for (heard, written) in heard.chars().zip(text.chars()) {
        assert!(heard == written || heard == ' ');
    }
}
