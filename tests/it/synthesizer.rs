//! The synthesizer with real child processes: what goes wrong in a child stays
//! in the child, and the next request is spoken.
//!
//! Two kinds of children: the real one with its test voices, and scripts that
//! send frames which were written to a file, for what the real one never does.

use std::ffi::OsString;
use std::future::{Future, pending, ready};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hoiam_synthesizer::engines;
use hoiam_synthesizer::parent::{
    Events, Options, SentenceUpdate, SpeakError, Synthesizer, TimeLimits,
};
use hoiam_synthesizer::protocol::{
    self, FrameReader, FrameWriter, FromChild, FromParent, Hello, MAX_AUDIO_BYTES, SMALL_ARENAS,
    Setup, Speak,
};
use hoiam_synthesizer::stats::State;
use hoiam_text::{Format, Output, Request, SpeechError, Synthesis, Word};

const PROGRAM: &str = env!("CARGO_BIN_EXE_hoiam");

/// Long enough never to be met by a test that passes.
const AMPLE: Duration = Duration::from_secs(600);

fn test_voices() -> engines::Setup {
    engines::Setup {
        test_voices: true,
        ..engines::Setup::default()
    }
}

fn real() -> Options {
    Options {
        program: PathBuf::from(PROGRAM),
        engines: test_voices(),
        start_timeout: AMPLE,
        cancel_grace: AMPLE,
        ..Options::default()
    }
}

/// A child that is a shell script; `$1` is the file of frames.
fn scripted(script: &str, frames: &Path) -> Options {
    let args = ["-c", script, "sh"].map(OsString::from).into_iter();
    Options {
        program: PathBuf::from("/bin/sh"),
        args: args.chain([frames.as_os_str().to_owned()]).collect(),
        start_timeout: AMPLE,
        ..Options::default()
    }
}

fn request(voice: &str) -> Request {
    text_by(&format!("test/{voice}"), "One two three.")
}

fn text_by(voice: &str, text: &str) -> Request {
    let output = Output {
        format: Format::Wav,
        ..Output::default()
    };
    Request::plain(text, voice, output)
}

/// Keeps everything.
#[derive(Default)]
struct Heard {
    audio: Vec<u8>,
    progress: Vec<(u32, u32)>,
}

impl Events for Heard {
    async fn audio(&mut self, bytes: Bytes) -> io::Result<()> {
        self.audio.extend_from_slice(&bytes);
        Ok(())
    }

    fn progress(&mut self, done: u32, total: u32) {
        self.progress.push((done, total));
    }
}

async fn speak(synthesizer: &mut Synthesizer, voice: &str) -> Result<Synthesis, SpeakError> {
    let mut heard = Heard::default();
    synthesizer
        .speak(&request(voice), AMPLE, &mut heard, pending())
        .await
}

/// The child is as good as new: it speaks, and what it says is all there.
async fn assert_speaks(synthesizer: &mut Synthesizer) {
    let mut heard = Heard::default();
    let spoken = synthesizer
        .speak(&request("silence"), AMPLE, &mut heard, pending())
        .await
        .unwrap();
    let words: Vec<&str> = spoken.words.iter().map(|word| &*word.text).collect();
    assert_eq!(words, ["One", "two", "three"]);
    assert!(heard.audio.len() > 40_000, "{} bytes", heard.audio.len());
    let (done, total) = heard.progress.last().copied().unwrap();
    assert_eq!(done, total);
}

async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(120), "never: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

fn is_gone(pid: u32) -> bool {
    !Path::new(&format!("/proc/{pid}")).exists()
}

/// Gone, or waiting for an init process that takes its time.
fn is_dead(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/status"))
        .map_or(true, |status| status.contains("State:\tZ"))
}

fn signal(name: &str, pid: u32) {
    let status = Command::new("kill").args([name, &pid.to_string()]).status();
    assert!(status.unwrap().success());
}

/// A file of frames, removed with the value.
struct Frames(PathBuf);

impl Frames {
    fn new(name: &str, messages: impl IntoIterator<Item = (u32, FromChild)>) -> Self {
        let path = std::env::temp_dir().join(format!("hoiam-{}-{name}", std::process::id()));
        let mut file = FrameWriter::new(std::fs::File::create(&path).unwrap());
        for (id, message) in messages {
            file.push(id, &message).unwrap();
            file.flush_blocking().unwrap();
        }
        Self(path)
    }
}

impl Drop for Frames {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn hello() -> (u32, FromChild) {
    let hello = Hello {
        protocol: protocol::VERSION,
        build: String::new(),
        voices: Vec::new(),
        unavailable: Vec::new(),
        limits: Vec::new(),
    };
    (0, FromChild::Hello(hello))
}

fn spoken() -> FromChild {
    FromChild::Synthesis(Synthesis {
        duration_ms: 1,
        sample_rate_hz: 22_050,
        channels: 1,
        words: Vec::new(),
        segments: Vec::new(),
        head: Vec::new(),
    })
}

#[tokio::test]
async fn a_child_tells_its_voices_and_its_limits() {
    let mut synthesizer = Synthesizer::new(real());
    let hello = synthesizer.ensure_started().await.unwrap().hello.clone();
    assert!(hello.voices.iter().any(|voice| voice.id == "test/silence"));
    let failed: Vec<_> = hello
        .limits
        .iter()
        .filter(|limit| limit.error.is_some())
        .collect();
    assert!(failed.is_empty(), "{failed:?}");
    assert_eq!(synthesizer.stats().state, State::Idle);
    assert_eq!(synthesizer.stats().restarts, 0);
}

#[tokio::test]
async fn requests_are_spoken_one_after_another_by_the_same_child() {
    let mut synthesizer = Synthesizer::new(real());
    assert_speaks(&mut synthesizer).await;
    let first = synthesizer.stats();
    assert_speaks(&mut synthesizer).await;
    let second = synthesizer.stats();
    assert_eq!(first.pid, second.pid);
    assert_eq!((first.requests, second.requests), (1, 2));
    assert!(second.rss_bytes.unwrap() > 100_000);
}

fn says(text: &str) -> Request {
    text_by("test/silence", text)
}

/// Has it spoken, and asserts that the answer is the one to this request.
async fn assert_says(synthesizer: &mut Synthesizer, request: &Request) {
    let mut heard = Heard::default();
    let spoken = synthesizer.speak(request, AMPLE, &mut heard, pending());
    let words = spoken.await.unwrap().words;
    let words: Vec<&str> = words.iter().map(|word| &*word.text).collect();
    assert_eq!(words.join(" "), request.segments[0].text);
}

#[tokio::test]
async fn a_request_that_was_expected_gets_its_own_answer() {
    let mut synthesizer = Synthesizer::new(real());
    let requests: Vec<_> = ["One", "Two two", "Three", "Four"].map(says).into();
    for pair in requests.windows(2) {
        synthesizer.expect(&pair[1]);
        assert_says(&mut synthesizer, &pair[0]).await;
    }
    let stats = synthesizer.stats();
    assert_eq!((stats.requests, stats.restarts), (3, 0));
}

#[tokio::test]
async fn another_request_than_the_expected_one_gets_its_own_answer_too() {
    let mut synthesizer = Synthesizer::new(real());
    synthesizer.expect(&says("Expected"));
    assert_says(&mut synthesizer, &says("First")).await;
    let pid = synthesizer.stats().pid;
    assert_says(&mut synthesizer, &says("Unexpected")).await;
    // Nor does one that would be spoken for hours hold up another.
    synthesizer.expect(&request("slow-6000000"));
    assert_says(&mut synthesizer, &says("Second")).await;
    assert_says(&mut synthesizer, &says("Third")).await;
    assert_eq!(synthesizer.stats().pid, pid, "it is the same child");
}

#[tokio::test]
async fn a_request_behind_one_that_is_canceled_or_fails_is_spoken() {
    let mut synthesizer = Synthesizer::new(real());
    let monitor = synthesizer.monitor();
    synthesizer.expect(&says("After"));
    let speaking = eventually("it speaks", || monitor.stats().state == State::Speaking);
    let slow = request("slow-600000");
    let canceled = synthesizer
        .speak(&slow, AMPLE, &mut Heard::default(), speaking)
        .await;
    assert_eq!(canceled.unwrap_err(), SpeakError::Canceled);
    assert_says(&mut synthesizer, &says("After")).await;
    for voice in ["fail", "crash"] {
        synthesizer.expect(&says("After"));
        assert!(speak(&mut synthesizer, voice).await.is_err());
        assert_says(&mut synthesizer, &says("After")).await;
    }
}

#[tokio::test]
async fn an_engine_failure_is_told_and_the_child_lives_on() {
    let mut synthesizer = Synthesizer::new(real());
    let failed = speak(&mut synthesizer, "fail").await.unwrap_err();
    assert!(
        matches!(failed, SpeakError::Engine(SpeechError::EngineFailed { .. })),
        "{failed:?}"
    );
    assert_speaks(&mut synthesizer).await;
    assert_eq!(synthesizer.stats().restarts, 0);
}

#[tokio::test]
async fn a_crash_is_told_with_its_signal_and_the_next_request_is_spoken() {
    let mut synthesizer = Synthesizer::new(real());
    for restarts in 1..=3 {
        match speak(&mut synthesizer, "crash").await.unwrap_err() {
            SpeakError::Crashed { how, .. } => assert!(how.contains("SIGABRT"), "{how}"),
            other => panic!("{other:?}"),
        }
        assert_eq!(synthesizer.stats().state, State::Stopped);
        assert_speaks(&mut synthesizer).await;
        assert_eq!(synthesizer.stats().restarts, restarts);
    }
}

#[tokio::test]
async fn a_hang_overruns_and_the_next_request_is_spoken() {
    let mut synthesizer = Synthesizer::new(real());
    synthesizer.ensure_started().await.unwrap();
    let pid = synthesizer.stats().pid.unwrap();
    let limit = Duration::from_millis(100);
    let failed = synthesizer
        .speak(&request("hang"), limit, &mut Heard::default(), pending())
        .await;
    assert_eq!(failed.unwrap_err(), SpeakError::Overran { limit });
    assert!(is_gone(pid));
    assert_speaks(&mut synthesizer).await;
}

#[tokio::test]
async fn a_hang_ends_with_the_time_for_one_piece_however_long_the_whole_may_take() {
    let mut synthesizer = Synthesizer::new(real());
    let piece = Duration::from_millis(100);
    let limits = TimeLimits {
        piece,
        ..AMPLE.into()
    };
    // The slow one says all the time how far it is, which is no piece.
    for voice in ["hang", "slow-600000"] {
        synthesizer.ensure_started().await.unwrap();
        let pid = synthesizer.stats().pid.unwrap();
        let failed = synthesizer
            .speak(&request(voice), limits, &mut Heard::default(), pending())
            .await;
        assert_eq!(failed.unwrap_err(), SpeakError::Overran { limit: piece });
        assert!(is_gone(pid));
    }
    assert_speaks(&mut synthesizer).await;
}

/// Needs so long to take each piece.
struct Slow(Duration);

impl Events for Slow {
    async fn audio(&mut self, _: Bytes) -> io::Result<()> {
        tokio::time::advance(self.0).await;
        Ok(())
    }

    fn progress(&mut self, _: u32, _: u32) {}

    /// Asked while the next piece is waited for: then a moment passes too.
    async fn prefetched(&mut self) -> SentenceUpdate {
        tokio::time::advance(Duration::from_millis(10)).await;
        pending().await
    }
}

#[tokio::test]
async fn each_piece_has_time_of_its_own_and_taking_it_does_not_count() {
    // Each is more than a pipe holds, so the next one has to be waited for.
    let audio = (0..8).map(|n| (1, FromChild::Audio(vec![n; MAX_AUDIO_BYTES].into())));
    let frames = [hello()].into_iter().chain(audio).chain([(1, spoken())]);
    let frames = Frames::new("pieces", frames);
    let mut synthesizer = Synthesizer::new(scripted("exec cat \"$1\" -", &frames.0));
    synthesizer.ensure_started().await.unwrap();
    // Time stands still: it goes on by itself only while nothing blocks.
    let (end, ended) = std::sync::mpsc::channel::<()>();
    let held = tokio::task::spawn_blocking(move || ended.recv());
    tokio::time::pause();
    let limits = TimeLimits {
        piece: Duration::from_secs(10),
        ..AMPLE.into()
    };
    let mut slow = Slow(Duration::from_secs(11));
    synthesizer
        .speak(&request("any"), limits, &mut slow, pending())
        .await
        .unwrap();
    drop(end);
    assert!(held.await.unwrap().is_err());
}

#[tokio::test]
async fn a_cancelation_that_is_obeyed_keeps_the_child() {
    let mut synthesizer = Synthesizer::new(real());
    synthesizer.ensure_started().await.unwrap();
    let pid = synthesizer.stats().pid;
    for _ in 0..3 {
        let monitor = synthesizer.monitor();
        let speaking = eventually("it speaks", || monitor.stats().state == State::Speaking);
        let canceled = synthesizer
            .speak(
                &request("slow-600000"),
                AMPLE,
                &mut Heard::default(),
                speaking,
            )
            .await;
        assert_eq!(canceled.unwrap_err(), SpeakError::Canceled);
        assert_speaks(&mut synthesizer).await;
    }
    assert_eq!(synthesizer.stats().pid, pid);
}

#[tokio::test]
async fn a_cancelation_that_is_not_obeyed_kills_the_child() {
    // The real child would obey one that comes before it begins to hang.
    let frames = Frames::new("deaf", [hello()]);
    let script = "cat \"$1\"; exec cat 3>&1 >&2";
    let mut synthesizer = Synthesizer::new(scripted(script, &frames.0));
    synthesizer.ensure_started().await.unwrap();
    let pid = synthesizer.stats().pid.unwrap();
    let monitor = synthesizer.monitor();
    let speaking = eventually("it speaks", || monitor.stats().state == State::Speaking);
    let canceled = synthesizer
        .speak(&request("any"), AMPLE, &mut Heard::default(), speaking)
        .await;
    assert_eq!(canceled.unwrap_err(), SpeakError::Canceled);
    assert_eq!(synthesizer.stats().state, State::Stopped);
    eventually("it is reaped", || is_gone(pid)).await;
}

#[tokio::test]
async fn what_is_canceled_beforehand_starts_nothing() {
    let mut synthesizer = Synthesizer::new(real());
    let canceled = synthesizer
        .speak(&request("hang"), AMPLE, &mut Heard::default(), ready(()))
        .await;
    assert_eq!(canceled.unwrap_err(), SpeakError::Canceled);
    assert_eq!(synthesizer.stats().pid, None);
}

#[tokio::test]
async fn a_future_that_is_dropped_leaves_nothing_for_the_next_request() {
    let mut synthesizer = Synthesizer::new(real());
    let monitor = synthesizer.monitor();
    let pid = {
        let mut heard = Heard::default();
        let request = request("hang");
        let speaking = synthesizer.speak(&request, AMPLE, &mut heard, pending());
        tokio::select! {
            ended = speaking => panic!("{ended:?}"),
            () = eventually("it speaks", || monitor.stats().state == State::Speaking) => {}
        }
        monitor.stats().pid
    };
    assert_eq!(pid, None, "it is killed as soon as the future is dropped");
    assert_eq!(monitor.stats().state, State::Stopped);
    assert_speaks(&mut synthesizer).await;
    assert_eq!(synthesizer.stats().restarts, 1);
}

#[tokio::test]
async fn dropping_the_synthesizer_kills_and_reaps_its_child() {
    let mut synthesizer = Synthesizer::new(real());
    synthesizer.ensure_started().await.unwrap();
    let pid = synthesizer.stats().pid.unwrap();
    drop(synthesizer);
    eventually("it is reaped", || is_gone(pid)).await;
}

#[tokio::test]
async fn stopping_waits_for_the_end() {
    let mut synthesizer = Synthesizer::new(real());
    synthesizer.ensure_started().await.unwrap();
    let pid = synthesizer.stats().pid.unwrap();
    synthesizer.stop().await;
    assert!(is_gone(pid));
    assert_eq!(synthesizer.stats().state, State::Stopped);
}

#[tokio::test]
async fn a_child_that_died_while_idle_costs_no_request() {
    let mut synthesizer = Synthesizer::new(real());
    synthesizer.ensure_started().await.unwrap();
    let pid = synthesizer.stats().pid.unwrap();
    signal("-KILL", pid);
    eventually("it is reaped", || is_gone(pid)).await;
    assert_eq!(synthesizer.stats().state, State::Stopped);
    assert_speaks(&mut synthesizer).await;
}

#[tokio::test]
async fn signals_for_the_whole_service_do_not_end_a_child() {
    let mut synthesizer = Synthesizer::new(real());
    synthesizer.ensure_started().await.unwrap();
    let pid = synthesizer.stats().pid.unwrap();
    for name in ["-TERM", "-INT", "-HUP"] {
        signal(name, pid);
    }
    assert_speaks(&mut synthesizer).await;
    assert_eq!(synthesizer.stats().pid, Some(pid));
}

#[tokio::test]
async fn a_child_is_replaced_after_so_many_requests() {
    let mut synthesizer = Synthesizer::new(Options {
        recycle_after_requests: 2,
        ..real()
    });
    for _ in 0..5 {
        assert_speaks(&mut synthesizer).await;
    }
    assert_eq!(synthesizer.stats().restarts, 2);
}

#[tokio::test]
async fn a_child_that_grew_too_large_is_replaced() {
    let mut synthesizer = Synthesizer::new(Options {
        recycle_above_rss_bytes: 1,
        ..real()
    });
    for _ in 0..3 {
        assert_speaks(&mut synthesizer).await;
    }
    assert_eq!(synthesizer.stats().restarts, 2);
}

#[tokio::test]
async fn the_kernel_holds_the_child_to_its_limits() {
    let mut synthesizer = Synthesizer::new(real());
    synthesizer.ensure_started().await.unwrap();
    let pid = synthesizer.stats().pid.unwrap();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap().trim().to_owned()
    };
    assert_eq!(field("Seccomp:"), "2", "a filter is in force");
    assert_eq!(field("NoNewPrivs:"), "1");
    assert_eq!(field("NSpgid:"), pid.to_string(), "its own process group");
}

/// The description of a voice with so many speakers, of names that are so long.
fn description(num_speakers: u32, names: usize, length: usize) -> String {
    let speakers: Vec<String> = (0..names)
        .map(|number| format!(r#""{number:0length$}": {number}"#))
        .collect();
    format!(
        r#"{{"audio": {{"sample_rate": 22050}}, "phoneme_type": "text",
            "phoneme_id_map": {{"_": [0], "^": [1], "$": [2]}},
            "num_speakers": {num_speakers}, "speaker_id_map": {{{}}}}}"#,
        speakers.join(",")
    )
}

#[tokio::test]
async fn voices_that_cannot_be_opened_cost_those_voices_only() {
    let folder = tempfile::tempdir().unwrap();
    let put = |name: &str, description: &str| {
        std::fs::write(folder.path().join(format!("{name}.onnx")), b"").unwrap();
        std::fs::write(folder.path().join(format!("{name}.onnx.json")), description).unwrap();
    };
    put("a-good", &description(2, 2, 10));
    put("b-crowd", &description(u32::MAX, 0, 0));
    put("c-deep", &"[".repeat(100_000));
    // More than one frame holds, of voices and of faults.
    for number in 0..20 {
        put(&format!("d-{number:02}"), &description(1000, 1000, 100));
    }
    for number in 0..2000 {
        std::fs::write(folder.path().join(format!("e-{number}.onnx")), b"").unwrap();
    }
    let huge = std::fs::File::create(folder.path().join("f-huge.onnx")).unwrap();
    huge.set_len(1 << 40).unwrap();

    let mut synthesizer = Synthesizer::new(Options {
        engines: engines::Setup {
            voices_dir: Some(folder.path().to_owned()),
            ..test_voices()
        },
        ..real()
    });
    let hello = synthesizer.ensure_started().await.unwrap().hello.clone();
    let has = |id: &str| hello.voices.iter().any(|voice| voice.id == id);
    assert!(has("espeak/vi") && has("piper/a-good") && has("piper/d-00"));
    let missing = |id: &str| hello.unavailable.iter().any(|(missing, _)| missing == id);
    assert!(missing("piper/b-crowd") && missing("piper/c-deep"));
    assert!(!has("piper/d-19"), "it would not fit");
    assert!(missing("voices"), "{:?}", hello.unavailable.last());
    assert_speaks(&mut synthesizer).await;
    let good = synthesizer
        .speak(
            &text_by("espeak/vi", "Xin chào."),
            AMPLE,
            &mut Heard::default(),
            pending(),
        )
        .await;
    assert!(good.is_ok(), "{good:?}");
}

#[tokio::test]
async fn a_child_without_memory_to_start_with_is_told_as_not_started() {
    let mut synthesizer = Synthesizer::new(Options {
        address_space_bytes: 1 << 20,
        ..real()
    });
    let failed = speak(&mut synthesizer, "silence").await.unwrap_err();
    assert!(matches!(failed, SpeakError::NotStarted(_)), "{failed:?}");
}

#[tokio::test]
async fn failed_starts_back_off_and_are_not_tried_before_their_time() {
    let frames = Frames::new("starts", []);
    let starts = frames.0.clone();
    let script = "echo started >>\"$1\"; echo 'no such library' >&2; exit 3";
    let mut synthesizer = Synthesizer::new(scripted(script, &starts));
    let first = synthesizer.ensure_started().await.unwrap_err();
    assert!(first.detail.contains("exit status 3"), "{first}");
    assert_eq!(first.stderr_tail, "no such library\n");
    assert!(!first.retry_in.is_zero());

    let tries = || std::fs::read_to_string(&starts).unwrap().lines().count();
    let (mut first, mut number) = (first, 1);
    let second = loop {
        let second = synthesizer.ensure_started().await.unwrap_err();
        if tries() == number {
            break second;
        }
        // The wait was over before this thread came to it.
        (first, number) = (second, tries());
    };
    assert_eq!(second.detail, first.detail);
    assert!(second.retry_in <= first.retry_in);

    tokio::time::sleep(synthesizer.start_wait()).await;
    let third = synthesizer.ensure_started().await.unwrap_err();
    assert_eq!(tries(), number + 1);
    assert!(third.retry_in > first.retry_in);
}

#[tokio::test]
async fn a_program_that_is_not_there_is_told_as_not_started() {
    let mut synthesizer = Synthesizer::new(Options {
        program: PathBuf::from("/nowhere/hoiam"),
        ..real()
    });
    let failed = synthesizer.ensure_started().await.unwrap_err();
    assert!(failed.detail.contains("No such file"), "{failed}");
}

#[tokio::test]
async fn a_child_that_never_says_hello_is_given_up() {
    let frames = Frames::new("mute", []);
    let mut synthesizer = Synthesizer::new(Options {
        start_timeout: Duration::from_millis(50),
        ..scripted("exec cat", &frames.0)
    });
    let failed = synthesizer.ensure_started().await.unwrap_err();
    assert!(failed.detail.contains("50 ms"), "{failed}");
    assert_eq!(synthesizer.stats().pid, None);
}

#[tokio::test]
async fn a_child_of_another_version_is_refused() {
    let (id, FromChild::Hello(hello)) = hello() else {
        unreachable!()
    };
    let other = Hello {
        protocol: protocol::VERSION + 1,
        ..hello
    };
    let frames = Frames::new("version", [(id, FromChild::Hello(other))]);
    let mut synthesizer = Synthesizer::new(scripted("exec cat \"$1\" -", &frames.0));
    let failed = synthesizer.ensure_started().await.unwrap_err();
    let ours = format!("version {}", protocol::VERSION);
    assert!(failed.detail.contains(&ours), "{failed}");
}

/// Compares what comes with what should, and keeps nothing.
struct Compared {
    seen: u8,
    wrong: bool,
}

impl Events for Compared {
    async fn audio(&mut self, bytes: Bytes) -> io::Result<()> {
        self.wrong |= bytes != vec![self.seen; MAX_AUDIO_BYTES];
        self.seen += 1;
        tokio::task::yield_now().await;
        Ok(())
    }

    fn progress(&mut self, _: u32, _: u32) {}
}

#[tokio::test]
async fn much_audio_arrives_whole_and_in_order_in_little_memory() {
    const FRAMES: u8 = 200;
    let audio = (0..FRAMES).map(|n| (1, FromChild::Audio(vec![n; MAX_AUDIO_BYTES].into())));
    let frames = Frames::new(
        "audio",
        [hello()].into_iter().chain(audio).chain([(1, spoken())]),
    );
    let mut synthesizer = Synthesizer::new(scripted("exec cat \"$1\" -", &frames.0));
    let most_so_far = || {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kibibytes = line.unwrap().trim().trim_end_matches(" kB");
        kibibytes.parse::<usize>().unwrap() * 1024
    };
    let before = most_so_far();
    let mut compared = Compared {
        seen: 0,
        wrong: false,
    };
    synthesizer
        .speak(&request("any"), AMPLE, &mut compared, pending())
        .await
        .unwrap();
    assert_eq!((compared.seen, compared.wrong), (FRAMES, false));
    let grown = most_so_far() - before;
    let sent = usize::from(FRAMES) * MAX_AUDIO_BYTES;
    assert!(grown < sent / 2, "{grown} bytes for {sent} bytes of audio");
}

#[tokio::test]
async fn a_flood_on_standard_error_blocks_nothing_and_its_end_is_kept() {
    let frames = Frames::new("flood", [hello()]);
    // Two megabytes, far more than a pipe holds, and then a crash.
    let script = "cat \"$1\"; yes complaint | head -c 2000000 >&2; echo the end >&2; kill -SEGV $$";
    let mut synthesizer = Synthesizer::new(scripted(script, &frames.0));
    match speak(&mut synthesizer, "any").await.unwrap_err() {
        SpeakError::Crashed { how, stderr_tail } => {
            assert!(how.contains("SIGSEGV"), "{how}");
            assert_eq!(stderr_tail.len(), 4096);
            assert!(stderr_tail.ends_with("complaint\nthe end\n"));
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn processor_time_that_is_spent_is_an_overrun() {
    let frames = Frames::new("cpu", [hello()]);
    let mut synthesizer = Synthesizer::new(scripted("cat \"$1\"; kill -XCPU $$", &frames.0));
    let failed = speak(&mut synthesizer, "any").await.unwrap_err();
    assert_eq!(failed, SpeakError::Overran { limit: AMPLE });
}

/// A child that sends this after its hello is crashed, and why is told.
async fn assert_crashes(name: &str, frames: Vec<(u32, FromChild)>, script: &str, reason: &str) {
    let frames = Frames::new(name, [hello()].into_iter().chain(frames));
    let mut synthesizer = Synthesizer::new(scripted(script, &frames.0));
    match speak(&mut synthesizer, "any").await.unwrap_err() {
        SpeakError::Crashed { how, .. } => assert!(how.contains(reason), "{how}"),
        other => panic!("{name}: {other:?}"),
    }
    assert_eq!(synthesizer.stats().state, State::Stopped);
}

#[tokio::test]
async fn what_a_child_must_not_say_is_a_crash() {
    let all = "exec cat \"$1\" -";
    assert_crashes("stale", vec![(7, spoken())], all, "request 7").await;
    assert_crashes("again", vec![(1, hello().1)], all, "a second hello").await;
    let garbage = "cat \"$1\"; echo some garbage; exec cat";
    assert_crashes("garbage", vec![], garbage, "a frame of").await;
    let cut_off = "cat \"$1\"; printf '\\020\\0\\0\\0\\003'; exit 9";
    assert_crashes("cut-off", vec![], cut_off, "exit status 9").await;
    let closed = "cat \"$1\"; exec >&-; exec cat >/dev/null";
    assert_crashes("closed", vec![], closed, "SIGKILL").await;
    let word = Word {
        text: String::new(),
        start_ms: 0,
        end_ms: 0,
        char_start: 0,
        char_end: 0,
        sentence: 0,
        segment: None,
    };
    let flood = (0..3).map(|_| (1, FromChild::Words(vec![word.clone(); 5])));
    assert_crashes("words", flood.collect(), all, "more words").await;
}

/// Takes no audio.
struct Full;

impl Events for Full {
    async fn audio(&mut self, _: Bytes) -> io::Result<()> {
        Err(io::ErrorKind::StorageFull.into())
    }

    fn progress(&mut self, _: u32, _: u32) {}
}

#[tokio::test]
async fn audio_that_cannot_be_taken_is_told_and_the_child_lives_on() {
    let mut synthesizer = Synthesizer::new(real());
    let failed = synthesizer
        .speak(&request("silence"), AMPLE, &mut Full, pending())
        .await
        .unwrap_err();
    assert!(
        matches!(failed, SpeakError::Engine(SpeechError::Output { .. })),
        "{failed:?}"
    );
    assert_speaks(&mut synthesizer).await;
    assert_eq!(synthesizer.stats().restarts, 0);
}

#[tokio::test]
async fn a_request_that_fits_in_no_frame_is_refused_and_the_child_lives_on() {
    let mut synthesizer = Synthesizer::new(real());
    let long = says(&"a".repeat(protocol::MAX_FRAME_BYTES));
    let failed = synthesizer
        .speak(&long, AMPLE, &mut Heard::default(), pending())
        .await;
    assert!(matches!(failed, Err(SpeakError::Engine(_))));
    assert_speaks(&mut synthesizer).await;
    assert_eq!(synthesizer.stats().restarts, 0);
}

#[tokio::test]
async fn the_words_of_the_longest_text_arrive_whole() {
    let mut synthesizer = Synthesizer::new(real());
    let long = says(&"a ".repeat(50_000));
    let spoken = synthesizer
        .speak(&long, AMPLE, &mut Heard::default(), pending())
        .await
        .unwrap();
    assert_eq!(spoken.words.len(), 50_000);
    assert!(
        spoken
            .words
            .iter()
            .zip(0u32..)
            .all(|(word, n)| word.char_start == 2 * n)
    );
}

/// A child without the handle: the test is its parent.
fn spawn_directly(parent_pid: u32) -> std::process::Child {
    let setup = Setup {
        parent_pid,
        engines: test_voices(),
        address_space_bytes: 512 << 20,
    };
    Command::new(PROGRAM)
        .arg("synthesizer")
        .arg(setup.to_argument())
        .envs([SMALL_ARENAS])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
fn a_child_leaves_at_the_end_of_its_input_even_while_it_speaks() {
    let mut child = spawn_directly(std::process::id());
    let mut input = FrameWriter::new(child.stdin.take().unwrap());
    let mut output = FrameReader::new(child.stdout.take().unwrap());
    let hello = output.next_blocking::<FromChild>().unwrap();
    assert!(matches!(hello, Some((0, FromChild::Hello(_)))));
    let speak = Speak::whole(request("hang"), 60);
    input.push(1, &FromParent::Speak(speak)).unwrap();
    input.flush_blocking().unwrap();
    drop(input);
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_child_leaves_when_it_is_sent_garbage() {
    let mut child = spawn_directly(std::process::id());
    let mut input = child.stdin.take().unwrap();
    input.write_all(b"this is no frame").unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(65));
}

#[test]
fn a_child_whose_parent_is_gone_already_does_not_start() {
    let mut child = spawn_directly(std::process::id() + 1);
    assert!(!child.wait().unwrap().success());
}

/// A shell is the parent, and the test holds the child's input open: so it is
/// not the end of the input that ends it.
#[test]
fn the_kernel_ends_a_child_whose_parent_is_killed() {
    let setup = Setup {
        parent_pid: u32::MAX,
        engines: test_voices(),
        address_space_bytes: 512 << 20,
    };
    let setup = setup.to_argument().replace('"', "\\\"");
    let setup = setup.replace(&u32::MAX.to_string(), "$$");
    let mut parent = Command::new("/bin/sh")
        .args(["-c", &format!("\"$0\" synthesizer \"{setup}\"; :"), PROGRAM])
        .envs([SMALL_ARENAS])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let input = parent.stdin.take().unwrap();
    let mut output = FrameReader::new(parent.stdout.take().unwrap());
    let hello = output.next_blocking::<FromChild>().unwrap();
    assert!(matches!(hello, Some((0, FromChild::Hello(_)))));
    parent.kill().unwrap();
    parent.wait().unwrap();
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || tell.send(output.next_blocking::<FromChild>().unwrap()));
    let end = told.recv_timeout(Duration::from_secs(120));
    assert_eq!(end.unwrap(), None, "its output is closed");
    drop(input);
}

/// Named in the environment of the second process of the next test.
const ROLE: &str = "HOIAM_TEST_ROLE";

/// Plays both parts: run by the harness it starts itself again as the parent
/// that is going to be killed.
#[tokio::test]
async fn a_parent_that_is_killed_leaves_no_child() {
    if std::env::var_os(ROLE).is_some() {
        let mut synthesizer = Synthesizer::new(real());
        synthesizer.ensure_started().await.unwrap();
        let mut stderr = io::stderr();
        writeln!(stderr, "{}", synthesizer.stats().pid.unwrap()).unwrap();
        speak(&mut synthesizer, "hang").await.unwrap();
        return;
    }
    let mut parent = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "synthesizer::a_parent_that_is_killed_leaves_no_child",
        ])
        .arg("--nocapture")
        .env(ROLE, "parent")
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut told = BufReader::new(parent.stderr.take().unwrap());
    told.read_line(&mut line).unwrap();
    let child: u32 = line.trim().parse().unwrap();
    assert!(!is_gone(child));
    parent.kill().unwrap();
    parent.wait().unwrap();
    eventually("the child is dead", || is_dead(child)).await;
}

/// So that the futures fit into the tests' small stacks and an actor's mailbox.
#[test]
fn the_future_of_a_request_is_small() {
    fn size<F: Future>(_: &F) -> usize {
        std::mem::size_of::<F>()
    }
    let mut synthesizer = Synthesizer::new(real());
    let mut heard = Heard::default();
    let request = request("silence");
    let future = synthesizer.speak(&request, AMPLE, &mut heard, pending());
    assert!(size(&future) < 8192, "{} bytes", size(&future));
}
