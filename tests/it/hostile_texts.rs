//! Texts that crash an engine: the known ones do not any more, and what still does
//! costs one sentence and not the whole.

use std::future::pending;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use hoiam::tts::salvage::{Limits, Salvage};
use hoiam_api::Remedy;
use hoiam_synthesizer::parent::{Events, Options, SpeakError, Synthesizer};
use hoiam_synthesizer::stats::Monitor;
use hoiam_synthesizer::{engines, releases};
use hoiam_text::{Format, Output, Place, Request};
use serde_json::{Value, json};

use self::texts::Random;
use super::cli;
use super::support::chain::submit;
use super::support::{Chain, Client, Peer, Service};

#[path = "../../fuzz/engine/src/texts.rs"]
mod texts;

/// Long enough never to be met by a test that passes.
const AMPLE: Duration = Duration::from_secs(600);

fn synthesizer() -> Synthesizer {
    Synthesizer::new(Options {
        program: PathBuf::from(env!("CARGO_BIN_EXE_hoiam")),
        engines: engines::Setup {
            test_voices: true,
            ..engines::Setup::default()
        },
        start_timeout: AMPLE,
        ..Options::default()
    })
}

fn request(voice: &str, text: &str) -> Request {
    let output = Output {
        format: Format::Pcm,
        loudness_lufs: 0.0,
        ..Output::default()
    };
    Request::plain(text, voice, output)
}

/// Counts what it hears.
#[derive(Default)]
struct Heard {
    bytes: usize,
    done: u32,
}

impl Events for Heard {
    async fn audio(&mut self, bytes: Bytes) -> io::Result<()> {
        self.bytes += bytes.len();
        Ok(())
    }

    fn progress(&mut self, done: u32, _: u32) {
        self.done = done;
    }
}

/// Each of these, or one of its kind, ended a child by SIGSEGV or SIGABRT, in some
/// voices or in all.
fn crashers() -> Vec<String> {
    let mut texts: Vec<String> = [
        "Anh nói: \"-Chào em.\"",
        "“-Chào anh”",
        "(-a",
        "|-r",
        "---लच्छेद",
        "\"-你好",
        ".-สวัสดี",
        "«-é",
        "'-ni",
        ",-Chào",
        "क्-क",
        "\"-\u{2803}",
        "\"-\u{301}a",
        "\"-\u{94d}क",
        "\"-\u{64b}ب",
        "①-mì rau",
        "m²-mì",
        "a\u{20dd}-mì",
        "\u{483}-mì",
        "⑦-क्या",
        "ɒ-mì",
        "x\u{301}-लच्छेद",
    ]
    .map(str::to_owned)
    .into();
    for (part, times) in [("%", 168), ("g.", 85), ("s'", 68), ("g.s'", 40), ("a-", 90)] {
        texts.push(part.repeat(times));
        texts.push(format!("g.{}", part.repeat(times)));
    }
    texts.push(format!("g.{}", "\u{1D11E}".repeat(42)));
    // Found by fuzzing: these read and write what is not their own, with a crash or
    // without one.
    texts.extend(["1 €, 2", "《,×,“|", "(5%), \"so\""].map(str::to_owned));
    texts.push("a,".repeat(190) + &"ა.".repeat(10));
    texts.push("క©,".repeat(20));
    for dotted in [
        "g.1.",
        "1.",
        "1.g.",
        "g.g. ",
        "g., ",
        "g_.",
        "s'. ",
        "é.",
        "你.",
        "g.g.g.g.g.g.g.g.g.g.; ",
    ] {
        texts.push(dotted.repeat(390 / dotted.chars().count()));
    }
    texts
}

async fn assert_survives(synthesizer: &mut Synthesizer, voice: &str, texts: &[String]) {
    // A paragraph each, so that one does not become part of another's sentence.
    let text = format!("{}\n\na", texts.join("\n\n"));
    let mut heard = Heard::default();
    let spoken = synthesizer
        .speak(&request(voice, &text), AMPLE, &mut heard, pending())
        .await;
    if let Err(error) = spoken {
        panic!("{voice}: {error} after {} sentences", heard.done);
    }
    assert!(heard.bytes > 0, "{voice}");
}

#[tokio::test]
async fn vietnamese_and_the_like_survive_all_that_is_known_to_crash_them() {
    let mut synthesizer = synthesizer();
    for voice in [
        "vi",
        "vi-vn-x-central",
        "vi-vn-x-south",
        "da",
        "hi",
        "ml",
        "en-us",
        "pt-br",
        "om",
        "te",
    ] {
        assert_survives(&mut synthesizer, &format!("espeak/{voice}"), &crashers()).await;
    }
}

#[tokio::test]
async fn voices_of_all_languages_survive_dialogue_and_long_runs() {
    let mut synthesizer = synthesizer();
    let hello = synthesizer.ensure_started().await.unwrap().hello.clone();
    let voices = hello.voices.iter().filter(|voice| voice.engine == "espeak");
    let texts = ["\"-Chào em.\"", "---लच्छेद"].map(str::to_owned);
    let long = [format!("g.{}", "%".repeat(168)), "g.".repeat(85)];
    let texts = [texts, long].concat();
    let mut tried = 0;
    for voice in voices {
        assert_survives(&mut synthesizer, &voice.id, &texts).await;
        tried += 1;
    }
    assert!(tried > 100, "{tried}");
}

/// A short run of what `make fuzz-engine` does at length and with a library that tells of
/// more than crashes. The texts are always the same.
#[tokio::test]
async fn texts_that_nobody_has_written_cost_no_child() {
    let mut synthesizer = synthesizer();
    let mut random = Random::new(20_261_130);
    for voice in [
        "vi", "en-us", "da", "de", "fr", "ru", "ar", "fa", "he", "hi", "te", "ml", "om", "ko",
        "ja", "cmn", "th", "tr", "hu",
    ] {
        let text = |_| {
            let text = texts::text(&mut random, 6);
            texts::changed(&text, &mut random)
        };
        let texts: Vec<String> = (0..15).map(text).collect();
        assert_survives(&mut synthesizer, &format!("espeak/{voice}"), &texts).await;
    }
}

/// Speaks with a voice that crashes at a `§` and at the word `crash`, and hangs at the
/// word `hang`.
async fn salvaged(text: &str, limits: Limits) -> (Result<Vec<(u32, Remedy)>, SpeakError>, u32) {
    let request = request("test/fragile", text);
    let lost = std::cell::Cell::new(0);
    let count = |_: &Place, _: u32, _: &SpeakError| lost.set(lost.get() + 1);
    let salvage = Salvage::new(&request, None, synthesizer(), limits, &count);
    let mut heard = Heard::default();
    let spoken = salvage
        .speak(&mut synthesizer(), AMPLE, &mut heard, pending())
        .await;
    let remedies = spoken.map(|(_, warnings)| {
        let each = warnings.into_iter();
        each.map(|warning| (warning.sentence, warning.reason))
            .collect()
    });
    (remedies, lost.get())
}

const UNHURRIED: Limits = Limits {
    base: AMPLE,
    per_character: Duration::ZERO,
};

#[tokio::test]
async fn each_sentence_that_crashes_is_spoken_plainly_or_left_out_and_the_others_are_spoken() {
    let text = "Fine. Clause § one. Fine. A crash. Both § crash. Fine.";
    let (remedies, lost) = salvaged(text, UNHURRIED).await;
    let expected = [
        (1, Remedy::SpokenPlainly),
        (3, Remedy::LeftOut),
        (4, Remedy::LeftOut),
    ];
    assert_eq!(remedies.unwrap(), expected);
    // A sentence that is plain already is not tried twice.
    assert_eq!(lost, 4);
}

#[tokio::test]
async fn a_sentence_that_hangs_is_left_out() {
    let limits = Limits {
        base: Duration::from_secs(5),
        per_character: Duration::ZERO,
    };
    let (remedies, lost) = salvaged("Fine. It will hang. Fine.", limits).await;
    assert_eq!((remedies.unwrap(), lost), (vec![(1, Remedy::LeftOut)], 1));
}

#[tokio::test]
async fn a_text_of_which_nothing_can_be_spoken_fails_with_its_crash() {
    let (remedies, lost) = salvaged("A crash. Another § crash.", UNHURRIED).await;
    let failed = remedies.unwrap_err();
    assert!(matches!(failed, SpeakError::Crashed { .. }), "{failed}");
    assert_eq!(lost, 3);
}

#[tokio::test]
async fn a_text_that_is_called_off_while_it_is_salvaged_is_canceled() {
    let request = request("test/fragile", "It will hang. Fine.");
    let salvage = Salvage::new(&request, None, synthesizer(), UNHURRIED, &|_, _, _| {});
    let mut whole = synthesizer();
    let monitor = whole.monitor();
    let speaking = async {
        while monitor.stats().requests == 0 {
            tokio::task::yield_now().await;
        }
    };
    let mut heard = Heard::default();
    let spoken = salvage.speak(&mut whole, AMPLE, &mut heard, speaking).await;
    assert_eq!(spoken.unwrap_err(), SpeakError::Canceled);
}

/// Not only after all the time that the whole has.
#[tokio::test]
async fn a_text_that_hangs_as_a_whole_fails_once_each_sentence_has() {
    let limits = Limits {
        base: Duration::from_millis(200),
        per_character: Duration::ZERO,
    };
    let request = request("test/hang", "One. Two.");
    let salvage = Salvage::new(&request, None, synthesizer(), limits, &|_, _, _| {});
    let mut heard = Heard::default();
    let spoken = salvage
        .speak(&mut synthesizer(), AMPLE, &mut heard, pending())
        .await;
    let limit = limits.base;
    assert_eq!(spoken.unwrap_err(), SpeakError::Overran { limit });
}

#[tokio::test]
async fn a_text_that_costs_too_many_children_is_given_up() {
    let text = "A crash. ".repeat(150) + "Fine.";
    let (remedies, lost) = salvaged(&text, UNHURRIED).await;
    assert!(matches!(remedies, Err(SpeakError::Crashed { .. })));
    assert_eq!(lost, 100);
}

/// How many sentences a child was given, and how many are in their places.
struct Ahead {
    given: Monitor,
    most: u64,
}

impl Events for Ahead {
    async fn audio(&mut self, _: Bytes) -> io::Result<()> {
        Ok(())
    }

    fn progress(&mut self, done: u32, _: u32) {
        let ahead = self.given.stats().requests.saturating_sub(done.into());
        self.most = self.most.max(ahead);
    }
}

/// Their samples are held until then, and of a long text are more than a child may map.
#[tokio::test]
async fn sentences_are_salvaged_only_a_little_ahead_of_what_is_put_together() {
    let request = request("test/fragile", &"Fine. ".repeat(200));
    let single = synthesizer();
    let mut ahead = Ahead {
        given: single.monitor(),
        most: 0,
    };
    let salvage = Salvage::new(&request, None, single, UNHURRIED, &|_, _, _| {});
    let spoken = salvage
        .speak(&mut synthesizer(), AMPLE, &mut ahead, pending())
        .await;
    assert!(spoken.unwrap().1.is_empty());
    assert!((1..=4).contains(&ahead.most), "{}", ahead.most);
}

#[tokio::test]
async fn a_child_for_single_sentences_that_cannot_start_is_told_as_such() {
    let request = request("test/fragile", "Fine. A crash. Fine.");
    let single = Synthesizer::new(Options {
        program: PathBuf::from("/nowhere/hoiam"),
        ..Options::default()
    });
    let salvage = Salvage::new(&request, None, single, UNHURRIED, &|_, _, _| {});
    let mut heard = Heard::default();
    let spoken = salvage
        .speak(&mut synthesizer(), AMPLE, &mut heard, pending())
        .await;
    let failed = spoken.unwrap_err();
    assert!(matches!(failed, SpeakError::NotStarted(_)), "{failed}");
}

/// Of the words of a result: which sentence each is of.
fn sentences_with_words(client: &Client, path: &str) -> Vec<u64> {
    let words = client.get(&format!("{path}/words.json")).expect(200).json();
    let words = words["words"].as_array().unwrap().iter();
    let mut sentences: Vec<u64> = words
        .map(|word| word["sentence"].as_u64().unwrap())
        .collect();
    sentences.dedup();
    sentences
}

#[test]
fn one_sentence_that_crashes_an_engine_fails_no_task_and_is_told_with_the_result() {
    let chain = Chain::start();
    let receiver = Peer::receiver();
    let text = "Câu một. Điều § hai. A crash is here. Câu bốn.";
    let task = chain.submit(json!({
        "text": text, "voice": "test/fragile", "callback_url": receiver.url("/")}));
    let told = receiver.wait_for_callback("task.completed").json();
    let task_now = chain.client().get(&task).expect(200).json();
    let speech = chain
        .tts
        .client()
        .get(&Chain::speech(&task))
        .expect(200)
        .json();
    for resource in [&told["data"], &task_now, &speech] {
        let warnings = resource["warnings"].as_array().unwrap();
        let of = |name: &str| -> Vec<&Value> { warnings.iter().map(|one| &one[name]).collect() };
        assert_eq!(of("sentence"), [1, 2], "{resource}");
        assert_eq!(of("reason"), ["spoken_plainly", "left_out"]);
        let source: Vec<char> = text.chars().collect();
        let written = warnings.iter().map(|one| {
            let at = |name: &str| usize::try_from(one[name].as_u64().unwrap()).unwrap();
            source[at("char_start")..at("char_end")]
                .iter()
                .collect::<String>()
        });
        let written: Vec<String> = written.collect();
        assert_eq!(written, ["Điều § hai.", "A crash is here."]);
        assert!(of("detail")[1].as_str().unwrap().contains("SIGABRT"));
    }
    assert_eq!(speech["attempt"], 2);
    assert_eq!(sentences_with_words(&chain.client(), &task), [0, 1, 3]);
    let subtitles = chain
        .client()
        .get(&format!("{task}/subtitles.srt"))
        .expect(200);
    assert!(
        subtitles.text().contains("Điều § hai."),
        "{}",
        subtitles.text()
    );
    assert!(!subtitles.text().contains("crash"), "{}", subtitles.text());
    let metrics = chain.tts.client().get("/metrics").expect(200);
    let line = "hoiam_engine_crashes_total{engine=\"test\",how=\"crash\"} 3\n";
    assert!(metrics.text().contains(line), "{}", metrics.text());
    let log = chain.tts.log();
    let id = speech["id"].as_str().unwrap();
    for place in ["or soon after it", "in sentence 1 ", "in sentence 2 "] {
        let is_told = |line: &str| {
            line.contains("WARN")
                && line.contains(id)
                && line.contains("test/fragile")
                && line.contains("SIGABRT")
                && line.contains(place)
        };
        assert!(log.lines().any(is_told), "{place}: {log}");
    }
    assert!(!log.contains("crash is here"), "texts are not logged");
}

#[test]
fn a_segment_that_crashes_an_engine_is_named_and_the_dialogue_goes_on() {
    let service = Service::all().start();
    let client = service.client();
    let body = json!({"text": null, "voice": "test/silence", "segments": [
        {"text": "One."}, {"text": "Fine. A crash.", "voice": "test/fragile"}, {"text": "Three."}]});
    let task = submit(&client, body);
    let task = client.wait_for_status(&task, "completed");
    let warning = &task["warnings"][0];
    assert_eq!(
        (&warning["sentence"], &warning["segment"]),
        (&json!(2), &json!(1))
    );
    assert_eq!(
        (&warning["char_start"], &warning["char_end"]),
        (&json!(6), &json!(14))
    );
    let segments = task["segments"].as_array().unwrap();
    assert_eq!(segments.len(), 3, "{task}");
}

/// What texts are known to do to the library of this machine, and its release.
fn known_of_the_library() -> (String, Option<&'static releases::KnownCrashes>) {
    let folder = tempfile::tempdir().unwrap();
    let voices = cli::json(&cli::hoiam(
        folder.path(),
        &["doctor", "--json", "--listen", "127.0.0.1:0"],
    ));
    let library = |check: &&Value| check["check"] == "library";
    let library = voices["checks"].as_array().unwrap().iter().find(library);
    let library = library.unwrap();
    let detail = library["detail"].as_str().unwrap();
    let name = detail.split(':').next().unwrap();
    let release = name.strip_prefix("eSpeak NG ").unwrap().to_owned();
    let known = releases::known_crashes(&release);
    assert_eq!(library["status"] == "warning", known.is_some(), "{library}");
    assert_eq!(
        library["way_out"].as_str(),
        known.map(|known| known.way_out)
    );
    (release, known)
}

#[test]
fn doctor_and_the_log_name_a_library_that_texts_are_known_to_crash_and_no_other() {
    let (release, known) = known_of_the_library();
    let service = Service::all().start();
    let task = submit(
        &service.client(),
        json!({"text": "a", "voice": "test/silence"}),
    );
    service.client().wait_for_status(&task, "completed");
    let log = service.log();
    let told = log.lines().filter(|line| line.contains("eSpeak NG"));
    let told: Vec<&str> = told.collect();
    let expected = usize::from(known.is_some());
    assert_eq!(
        told.len(),
        expected,
        "once, whatever the number of workers: {log}"
    );
    assert!(
        told.iter()
            .all(|line| line.contains(&release) && line.contains("WARN"))
    );
}

#[test]
fn a_result_without_a_crash_has_no_warnings() {
    let service = Service::all().start();
    let client = service.client();
    let task = submit(
        &client,
        json!({"text": "Anh nói: \"-Chào em.\"", "voice": "espeak/vi"}),
    );
    let task = client.wait_for_status(&task, "completed");
    assert_eq!(task["warnings"], json!([]));
    let speech = client.get(&format!("/v1/speech/{}", task["id"].as_str().unwrap()));
    assert_eq!(speech.expect(200).json()["attempt"], 1);
}

#[test]
fn say_speaks_around_a_sentence_that_crashes_the_engine_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = [
        "say",
        "Fine. A crash. Fine.",
        "-o",
        "a.wav",
        "-v",
        "test/fragile",
    ];
    let test_voices = ["--set", "tts.test_voices=true"];
    let said = cli::hoiam(folder.path(), &[&arguments[..], &test_voices].concat());
    assert_eq!(said.status.code(), Some(0), "{said:?}");
    let told = String::from_utf8(said.stderr).unwrap();
    assert!(
        told.contains("characters 6 to 14: The engine crashed"),
        "{told}"
    );
    let json = ["--json"];
    let said = cli::hoiam(
        folder.path(),
        &[&arguments[..], &test_voices, &json].concat(),
    );
    let said = cli::json(&said);
    assert_eq!(said["warnings"][0]["reason"], "left_out");
    // Two sentences of a second each, and the pause between them.
    assert!(said["duration_ms"].as_u64().unwrap() < 3000, "{said}");
}
