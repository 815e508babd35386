//! Neural voices, with the network of a real one: what they say, when each word
//! is heard, and how they are added and removed.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use md5::{Digest as _, Md5};
use serde_json::{Value, json};

use super::cli::{assert_refused, hoiam, json, names_in};
use super::results::{Decoded, check, spoken};
use super::support::service::Setup;
use super::support::{Peer, Reaction, Service};

pub const NAME: &str = "en_US-joe-medium";
pub const VOICE: &str = "piper/en_US-joe-medium";

/// `make voice` puts it there.
pub fn voices() -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/test-voices");
    let model = folder.join(format!("{NAME}.onnx"));
    assert!(model.exists(), "there is no test voice; run: make voice");
    folder
}

/// With ONNX Runtime where its library is named.
fn service() -> Setup {
    // The texts of a test are to be spoken, also where they are the same.
    let service = Service::all()
        .set("tts.voices_dir", voices().display())
        .set("cache.max_bytes", 0);
    match std::env::var("HOIAM_TEST_ONNXRUNTIME") {
        Ok(library) => service.set("tts.onnxruntime_library", library),
        Err(_) => service,
    }
}

#[test]
fn a_neural_voice_goes_through_the_whole_chain() {
    let service = service().start();
    let client = service.client();
    let text = "Good morning. The doctor's bill was $20.50 on 15 April 2024; isn't that odd?";
    let speech = check(&client, text, "mp3", Some(VOICE));
    assert_eq!(speech["resolved_voice"], VOICE);
    assert_eq!(speech["language"], "en-US");
    let receiver = Peer::receiver();
    let body = json!({"text": "Over to you.", "voice": VOICE, "callback_url": receiver.url("/")});
    client.post("/v1/tasks", &body).expect(202);
    let told = receiver.wait_for_callback("task.completed").json();
    assert_eq!(told["data"]["resolved_voice"], VOICE);
    let listed = client.get("/v1/voices").expect(200).json();
    let items = listed["items"].as_array().unwrap();
    let voice = items.iter().find(|voice| voice["id"] == VOICE).unwrap();
    assert_eq!(voice["licence"], "CC0");
    let unknown = json!({"text": "Hello.", "voice": format!("{VOICE}:anna")});
    let refused = client.post("/v1/speech", &unknown).expect(422).json();
    assert_eq!(refused["errors"][0]["suggestions"][0], VOICE);
}

#[test]
fn a_neural_voice_says_phonemes_and_refuses_letters_that_it_does_not_know() {
    let service = service().start();
    let client = service.client();
    let body = |ipa: Value| {
        json!({"text": "The nuclear option is here.", "voice": VOICE, "format": "wav",
            "pronunciations": ipa})
    };
    let term = |ipa: &str| json!([{"term": "nuclear", "phonemes": ipa}]);
    let times = |speech: &Value| -> Vec<(String, u64)> {
        let path = format!("/v1/speech/{}/words.json", speech["id"].as_str().unwrap());
        let words = client.get(&path).expect(200).json();
        let words = words["words"].as_array().unwrap().iter();
        let one = |word: &Value| {
            let at = |name: &str| word[name].as_u64().unwrap();
            let text = word["text"].as_str().unwrap().to_owned();
            (text, at("end_ms") - at("start_ms"))
        };
        words.map(one).collect()
    };
    let plain = times(&spoken(&client, &body(Value::Null)));
    let same = times(&spoken(&client, &body(term("ˈnuːklɪɹ"))));
    let long = times(&spoken(
        &client,
        &body(term("nuːkliːˈɑːnuːkliːˈɑːnuːkliːˈɑː")),
    ));
    for ((same, long), plain) in same.iter().zip(&long).zip(&plain) {
        assert_eq!((&same.0, &long.0), (&plain.0, &plain.0));
        // A network is not the same twice.
        assert!(same.1.abs_diff(plain.1) <= 250, "{same:?} {plain:?}");
        match plain.0 == "nuclear" {
            true => assert!(long.1 > plain.1 + 500, "{long:?} {plain:?}"),
            false => assert!(long.1.abs_diff(plain.1) <= 250, "{long:?} {plain:?}"),
        }
    }
    let speech = client.post("/v1/speech", &body(term("ⁿu"))).expect(202);
    let path = format!("/v1/speech/{}", speech.json()["id"].as_str().unwrap());
    let failed = client.wait_for_status(&path, "failed");
    assert_eq!(failed["error"]["code"], "unknown_phonemes", "{failed}");
}

/// A voice that was trained on Vietnamese gets its phonemes of eSpeak, by another way
/// than eSpeak's own voices.
#[test]
fn what_crashed_espeak_is_spoken_by_a_neural_voice_with_its_vietnamese_phonemes() {
    let folder = tempfile::tempdir().unwrap();
    let place = |ending: &str| folder.path().join(format!("vi-test.{ending}"));
    fs::copy(voices().join(format!("{NAME}.onnx")), place("onnx")).unwrap();
    let config = fs::read_to_string(voices().join(format!("{NAME}.onnx.json"))).unwrap();
    let mut config: Value = serde_json::from_str(&config).unwrap();
    config["espeak"]["voice"] = json!("vi");
    fs::write(place("onnx.json"), config.to_string()).unwrap();
    let service = service()
        .set("tts.voices_dir", folder.path().display())
        .start();
    let client = service.client();
    let text = format!("Anh nói: \"-Chào em.\" (-a |-r {}", "g.".repeat(85));
    let speech = spoken(&client, &json!({"text": text, "voice": "piper/vi-test"}));
    assert_eq!(
        (&speech["attempt"], &speech["warnings"]),
        (&json!(1), &json!([]))
    );
}

#[test]
fn odd_texts_are_spoken_by_a_neural_voice() {
    let service = service().start();
    let client = service.client();
    for text in [
        "a",
        "7",
        "so 🙂 happy 🎉!",
        "Xin chào!",
        "שלום עולם",
        "Wait... what?! \"Quoted\" (in brackets) — dash.",
        &"never ending ".repeat(40),
    ] {
        check(&client, text, "wav", Some(VOICE));
    }
}

/// Silences of at least 150 ms between two sounds, in milliseconds.
fn pauses(sound: &Decoded) -> Vec<(i64, i64)> {
    let steps: Vec<bool> = sound.loud_every_5_ms();
    let mut pauses = Vec::new();
    let mut begun = None;
    let mut heard = false;
    for (step, loud) in (0_i64..).zip(&steps) {
        match (loud, begun) {
            (true, Some(from)) if heard && step - from >= 30 => pauses.push((from * 5, step * 5)),
            (false, None) => begun = Some(step),
            _ => {}
        }
        if *loud {
            heard = true;
            begun = None;
        }
    }
    pauses
}

#[test]
fn words_begin_and_end_where_the_sound_does() {
    let service = service().start();
    let client = service.client();
    // Each pause is behind a word whose time the network alone tells.
    let text = "Apples, pears, and cherries. Bring two, or ten, or twenty. \
                Tomorrow, at noon, Peter paints, Tina bakes, and Bob digs.";
    let speech = spoken(
        &client,
        &json!({"text": text, "voice": VOICE, "format": "wav", "speed": 0.7}),
    );
    let path = format!("/v1/speech/{}", speech["id"].as_str().unwrap());
    let sound = Decoded::of(client.get(&format!("{path}/audio.wav")).expect(200).body());
    let times = client.get(&format!("{path}/words.json")).expect(200).json();
    let words = times["words"].as_array().unwrap();
    let at = |word: &Value, name: &str| word[name].as_i64().unwrap();
    let found = pauses(&sound);
    assert!(found.len() >= 6, "{found:?}");
    for (from, to) in found {
        let next = words.iter().find(|word| at(word, "start_ms") > from + 75);
        let next = next.unwrap_or_else(|| panic!("no word after {from}"));
        let off = (at(next, "start_ms") - to).abs();
        assert!(off <= 20, "{next} and a pause from {from} to {to}");
        let inside = words
            .iter()
            .find(|word| at(word, "start_ms") > from && at(word, "end_ms") < to);
        assert_eq!(inside, None, "a word within a pause from {from} to {to}");
    }
}

#[test]
fn a_neural_voice_stays_loaded_and_its_memory_stays_as_it_is() {
    let service = service().start();
    let client = service.client();
    let child = || {
        let system = client.get("/v1/system").expect(200).json();
        let actors = system["actors"].as_array().unwrap().clone();
        let mut children = actors
            .iter()
            .flat_map(|actor| actor["children"].as_array().unwrap());
        children.next().unwrap().clone()
    };
    let speak = |words: usize| {
        let text = "word ".repeat(words);
        spoken(
            &client,
            &json!({"text": text, "voice": VOICE, "format": "wav"}),
        );
    };
    // The allocator gives memory back when it comes to it, so one look is chance.
    let most_bytes = || {
        let bytes = [30, 3, 30, 1, 12, 7, 20, 30, 2].map(|words| {
            speak(words);
            child()["rss_bytes"].as_u64().unwrap()
        });
        bytes.into_iter().max().unwrap()
    };
    speak(30);
    let pid = child()["pid"].clone();
    let (first, second) = (most_bytes(), most_bytes());
    assert_eq!(child()["pid"], pid, "it was not replaced");
    assert!(second < first * 13 / 10, "{first} and then {second}");
}

#[test]
fn doctor_says_what_runs_the_networks() {
    let folder = tempfile::tempdir().unwrap();
    let doctor = |library: &str| {
        let voices = format!("tts.voices_dir={}", voices().display());
        let library = format!("tts.onnxruntime_library={library}");
        let arguments = ["doctor", "--json", "--set", &voices, "--set", &library];
        let checks = json(&hoiam(folder.path(), &arguments))["checks"].clone();
        let checks = checks.as_array().unwrap().iter();
        let engines = checks.filter(|check| check["check"] == "engine");
        let told = engines.map(|check| check["detail"].as_str().unwrap().to_owned());
        told.collect::<Vec<_>>().join("\n")
    };
    let told = doctor("/nowhere/libonnxruntime.so");
    assert!(told.contains("whose networks rten runs"), "{told}");
    assert!(told.contains("/nowhere/libonnxruntime.so"), "{told}");
    assert!(told.contains("libonnxruntime-dev"), "{told}");
    if let Ok(library) = std::env::var("HOIAM_TEST_ONNXRUNTIME") {
        let told = doctor(&library);
        assert!(told.contains("whose networks ONNX Runtime runs"), "{told}");
    }
}

#[test]
fn voices_are_added_spoken_with_and_removed() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let model = voices().join(format!("{NAME}.onnx"));
    let path = model.display().to_string();
    let added = hoiam(here, &["voices", "add", &path, "--name", "joe", "--json"]);
    assert_eq!(json(&added)["id"], "piper/joe");
    let listed = json(&hoiam(
        here,
        &["voices", "list", "--language", "en", "--json"],
    ));
    let ids = listed["items"].as_array().unwrap().iter();
    assert!(ids.clone().any(|voice| voice["id"] == "piper/joe"));
    let say = ["say", "Hello Joe.", "-v", "piper/joe", "-o", "joe.wav"];
    assert!(hoiam(here, &say).status.success());
    assert!(Decoded::of(&fs::read(here.join("joe.wav")).unwrap()).duration_ms() > 300);

    let again = hoiam(here, &["voices", "add", &path, "--name", "joe"]);
    assert_refused(&again, 1, "hoiam voices remove joe");
    let escaping = hoiam(here, &["voices", "add", &path, "--name", "../joe"]);
    assert_refused(&escaping, 1, "cannot be called");
    assert_refused(&hoiam(here, &["voices", "remove", "jo"]), 1, "there is joe");
    assert!(
        hoiam(here, &["voices", "remove", "piper/joe"])
            .status
            .success()
    );
    assert_eq!(names_in(&here.join("data/voices")), [""; 0]);
}

#[test]
fn a_voice_that_cannot_be_used_is_not_added_and_nothing_of_it_stays() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    fs::write(here.join("bad.onnx"), b"no network at all").unwrap();
    let lonely = hoiam(here, &["voices", "add", "bad.onnx"]);
    assert_refused(&lonely, 1, "bad.onnx.json");
    let description = voices().join(format!("{NAME}.onnx.json"));
    fs::copy(description, here.join("bad.onnx.json")).unwrap();
    let bad = hoiam(here, &["voices", "add", "bad.onnx"]);
    assert_refused(&bad, 1, "bad.onnx is not the model");
    let description = fs::read_to_string(here.join("bad.onnx.json")).unwrap();
    let mut crowd: Value = serde_json::from_str(&description).unwrap();
    crowd["num_speakers"] = u32::MAX.into();
    fs::write(here.join("bad.onnx.json"), crowd.to_string()).unwrap();
    let bad = hoiam(here, &["voices", "add", "bad.onnx"]);
    assert_refused(&bad, 1, "speakers");
    assert_refused(&hoiam(here, &["voices", "add", "none.onnx"]), 1, "no model");
    assert_refused(&hoiam(here, &["voices", "add", "data"]), 1, "no voice in");
    assert_eq!(names_in(&here.join("data/voices")), [""; 0]);
}

/// A server with a list of two voices, of which the second is not what the list
/// says; the model is behind a redirect, as in stores of models.
fn store() -> Peer {
    let bytes = |ending: &str| fs::read(voices().join(format!("{NAME}{ending}"))).unwrap();
    let (model, description) = (Arc::new(bytes(".onnx")), Arc::new(bytes(".onnx.json")));
    let entry = |name: &str, digest: &str| {
        json!({"name": name, "language": {"code": "en_US"}, "quality": "medium",
            "num_speakers": 1, "files": {
                format!("en/{name}.onnx"): {"size_bytes": model.len(), "md5_digest": digest},
                format!("en/{name}.onnx.json"): {"size_bytes": description.len(),
                    "md5_digest": md5(&description)},
                "en/samples/speaker_0.mp3": {"size_bytes": 9_000_000, "md5_digest": ""}}})
    };
    let index = json!({
        NAME: entry(NAME, &md5(&model)),
        "en_US-wrong-low": entry("en_US-wrong-low", &md5(b"another")),
    });
    let index = Arc::new(index.to_string().into_bytes());
    let peer = Peer::receiver();
    peer.react(move |request| {
        let path = request.path.as_str();
        match path {
            "/main/voices.json" => Reaction::Body(Arc::clone(&index)),
            "/stored/model" => Reaction::Body(Arc::clone(&model)),
            _ if path.ends_with(".onnx") => {
                Reaction::AnswerWith(302, vec![("location", "/stored/model".to_owned())])
            }
            _ if path.ends_with(".onnx.json") => Reaction::Body(Arc::clone(&description)),
            _ => Reaction::Answer(404),
        }
    });
    peer
}

fn md5(bytes: &[u8]) -> String {
    let digest = Md5::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn voices_are_installed_from_a_list_and_compared_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let store = store();
    let index = format!("tts.voices_index={}", store.url("/main/voices.json"));
    let install = |arguments: &[&str]| {
        let all = [&["voices", "install", "--set", &index], arguments].concat();
        hoiam(here, &all)
    };
    let listed = json(&install(&["--list", "--language", "en", "--json"]));
    assert_eq!(listed[0]["name"], NAME);
    assert_refused(&install(&["--list", "--language", "vi"]), 1, "it has en_US");
    assert_refused(&install(&["en_US-jo-medium"]), 1, NAME);
    assert_eq!(json(&install(&[NAME, "--json"]))["id"], VOICE);
    let asked = store.requests_to("GET", "/main/en/samples/speaker_0.mp3");
    assert!(asked.is_empty(), "samples are not downloaded");
    let wrong = install(&["en_US-wrong-low"]);
    assert_refused(&wrong, 1, "not the file that the list describes");
    assert_eq!(names_in(&here.join("data/voices")), [NAME]);
    let say = ["say", "Installed.", "-v", VOICE, "-o", "a.wav"];
    assert!(hoiam(here, &say).status.success());
    store.react(|_| Reaction::Answer(500));
    assert_refused(&install(&["--list"]), 1, "tts.voices_index");
}
