//! What was spoken before is not spoken again.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::neural;
use crate::results::Decoded;
use crate::support::{Client, Service, eventually};

/// A speech, once it has completed.
fn spoken(client: &Client, body: &Value) -> Value {
    let speech = client.post("/v1/speech", body).expect(202).json();
    let path = path(&speech);
    client.wait_for_status(&path, "completed")
}

/// The same of a speech that is new, once it is in the cache: that comes after
/// its end is told.
#[track_caller]
fn made(service: &Service, client: &Client, body: &Value) -> Value {
    let files = || -> BTreeSet<PathBuf> { kept(service).into_iter().collect() };
    let before = files();
    let speech = spoken(client, body);
    assert_eq!(speech["cached"], false, "{body}");
    eventually("it is kept", || {
        let now = files();
        let sizes = now
            .iter()
            .filter_map(|file| Some(file.metadata().ok()?.len()));
        let bytes: u64 = sizes.sum();
        (now != before && bytes == metric(client, "hoiam_cache_bytes")).then_some(())
    });
    speech
}

fn path(speech: &Value) -> String {
    format!("/v1/speech/{}", speech["id"].as_str().unwrap())
}

/// A number of `/metrics`.
fn metric(client: &Client, name: &str) -> u64 {
    let metrics = client.get("/metrics").expect(200);
    let line = metrics
        .text()
        .lines()
        .find_map(|line| line.strip_prefix(name));
    line.unwrap().trim().parse().unwrap()
}

/// How many texts the children were given.
fn texts(client: &Client) -> u64 {
    metric(
        client,
        "hoiam_synthesizer_requests_total{actor=\"tts.worker.0\"}",
    )
}

fn hits(client: &Client) -> u64 {
    metric(client, "hoiam_cache_total{outcome=\"hit\"}")
}

/// The files of whole speeches in the cache.
fn kept(service: &Service) -> Vec<PathBuf> {
    files_in(service, "cache")
}

fn files_in(service: &Service, folder: &str) -> Vec<PathBuf> {
    let folders = fs::read_dir(service.folder().join("files").join(folder));
    let list = |folder: &Path| {
        fs::read_dir(folder)
            .unwrap()
            .map(|file| file.unwrap().path())
    };
    let folders = folders.into_iter().flatten();
    folders
        .flat_map(|folder| list(&folder.unwrap().path()).collect::<Vec<_>>())
        .collect()
}

#[test]
fn the_same_request_costs_no_second_synthesis_also_after_a_restart() {
    let mut service = Service::all().start();
    let client = service.client();
    let body = json!({"text": "Xin chào. Hôm nay trời đẹp.", "voice": "espeak/vi"});
    let first = made(&service, &client, &body);
    let made = texts(&client);

    let task = client.post("/v1/tasks", &body).expect(202).json();
    let task = format!("/v1/tasks/{}", task["id"].as_str().unwrap());
    let second = client.wait_for_status(&task, "completed");
    assert_eq!(second["cached"], true);
    assert_eq!(second["audio"]["sha256"], first["audio"]["sha256"]);
    for file in ["audio.mp3", "words.json", "subtitles.srt"] {
        let before = client.get(&format!("{}/{file}", path(&first))).expect(200);
        let now = client.get(&format!("{task}/{file}")).expect(200);
        assert!(before.body() == now.body(), "{file} differs");
    }
    assert_eq!((texts(&client), hits(&client)), (made, 1));

    // Whatever changes the sound is another request.
    for more in [
        json!({"speed": 1.1}),
        json!({"bitrate_kbps": 32}),
        json!({"voice": "espeak/en"}),
    ] {
        let mut other = body.clone();
        other
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        assert_eq!(spoken(&client, &other)["cached"], false, "{other}");
    }

    service.terminate();
    service.start();
    let client = service.client();
    assert_eq!(spoken(&client, &body)["cached"], true);
    assert_eq!((texts(&client), hits(&client)), (0, 1));
}

#[test]
fn erasing_a_speech_takes_nothing_from_another_and_leaves_none_of_its_sound() {
    let service = Service::all().start();
    let client = service.client();
    let body = json!({"text": "Một bí mật.", "voice": "espeak/vi"});
    let first = made(&service, &client, &body);
    let second = spoken(&client, &body);
    assert_eq!(second["cached"], true);
    assert_eq!(kept(&service).len(), 2);

    // What is only cleared up leaves it to others.
    let third = spoken(&client, &body);
    let cleared_up = client.delete(&format!("{}?cache=keep", path(&third)));
    assert_eq!(cleared_up.status, 204);
    assert_eq!(client.get(&path(&third)).status, 404);
    assert_eq!(kept(&service).len(), 2);

    client.delete(&path(&first)).expect(204);
    let audio = client
        .get(&format!("{}/audio.mp3", path(&second)))
        .expect(200);
    assert_eq!(audio.body().len(), second["audio"]["bytes"]);
    assert_eq!(kept(&service), Vec::<PathBuf>::new());
    assert_eq!(spoken(&client, &body)["cached"], false);
}

#[test]
fn an_entry_that_is_torn_is_made_anew() {
    let service = Service::all().start();
    let client = service.client();
    let body = json!({"text": "Chào bạn.", "voice": "espeak/vi"});
    made(&service, &client, &body);
    for damage in ["json", "audio"] {
        for file in kept(&service) {
            if file.extension().is_some_and(|end| end == damage) {
                fs::remove_file(file).unwrap();
            }
        }
        made(&service, &client, &body);
        assert_eq!(spoken(&client, &body)["cached"], true);
    }
    for file in kept(&service) {
        if file.extension().is_some_and(|end| end == "json") {
            fs::write(file, "{\"recording\":").unwrap();
        }
    }
    assert_eq!(spoken(&client, &body)["cached"], false);
}

#[test]
fn the_cache_keeps_within_its_size_and_forgets_what_was_not_used_for_longest() {
    let service = Service::all().set("cache.max_bytes", 50_000).start();
    let client = service.client();
    let body = |text: &str| json!({"text": text, "voice": "espeak/vi", "format": "wav"});
    // About 20 kB each.
    for text in ["Một.", "Hai.", "Ba.", "Bốn."] {
        made(&service, &client, &body(text));
    }
    assert!(metric(&client, "hoiam_cache_bytes") <= 50_000);
    let bytes: u64 = kept(&service)
        .iter()
        .map(|file| file.metadata().unwrap().len())
        .sum();
    assert_eq!(bytes, metric(&client, "hoiam_cache_bytes"));
    assert_eq!(spoken(&client, &body("Bốn."))["cached"], true);
    assert_eq!(spoken(&client, &body("Một."))["cached"], false);
}

#[test]
fn nothing_is_kept_of_test_voices_nor_by_a_cache_of_no_size() {
    let service = Service::all().start();
    let client = service.client();
    let silence = json!({"text": "a", "voice": "test/silence"});
    let dialogue = json!({"segments": [{"text": "a", "voice": "espeak/en"}, {"text": "a", "voice": "test/silence"}]});
    for body in [&silence, &silence, &dialogue, &dialogue] {
        assert_eq!(spoken(&client, body)["cached"], false);
    }
    assert_eq!(kept(&service), Vec::<PathBuf>::new());

    let service = Service::all().set("cache.max_bytes", 0).start();
    let client = service.client();
    let body = json!({"text": "Chào bạn.", "voice": "espeak/vi"});
    spoken(&client, &body);
    assert_eq!(spoken(&client, &body)["cached"], false);
    assert_eq!(kept(&service), Vec::<PathBuf>::new());
}

/// Sixteen sentences, of which one says something else.
fn long_text(eighth: &str) -> String {
    let sentence = |number| match number {
        8 => format!("{eighth} "),
        _ => format!("Here comes the sentence number {number}, and there are sixteen of them. "),
    };
    (1..=16).map(sentence).collect()
}

#[test]
fn a_long_text_that_has_changed_in_one_sentence_costs_one_sentence() {
    let mut service = Service::tts()
        .set("tts.voices_dir", neural::voices().display())
        .set("tts.workers", 2)
        .start();
    let client = service.client();
    let sentences = |outcome: &str| {
        let name = format!("hoiam_cache_sentences_total{{outcome=\"{outcome}\"}}");
        move |client: &Client| metric(client, &name)
    };
    let (hits, misses) = (sentences("hit"), sentences("miss"));
    // A sentence that a helper has spoken is kept after it was handed on.
    let assert_counts = |client: &Client, expected: (u64, u64)| {
        let counts = || (hits(client), misses(client));
        eventually("all sentences are kept", || {
            (counts().0 + counts().1 >= expected.0 + expected.1).then_some(())
        });
        assert_eq!(counts(), expected);
    };
    let assert_files = |service: &Service, expected: usize| {
        let count = || files_in(service, "cache-sentences").len();
        eventually("all sentences have their files", || {
            (count() == expected).then_some(())
        });
    };
    let body = |text: String| json!({"text": text, "voice": neural::VOICE, "format": "wav", "speed": 2.0, "loudness_lufs": 0});
    let samples = |client: &Client, speech: &Value| {
        let audio = client.get(&format!("{}/audio.wav", path(speech)));
        Decoded::of(audio.expect(200).body()).samples
    };
    let first = spoken(&client, &body(long_text("This one is the eighth of them.")));
    let first_sound = samples(&client, &first);
    assert_counts(&client, (0, 16));
    assert_files(&service, 2 * 16);

    service.terminate();
    service.start();
    let client = service.client();
    let second = spoken(&client, &body(long_text("Nobody has heard this one yet.")));
    assert_eq!(second["cached"], false);
    assert_counts(&client, (15, 1));
    // A neural voice never speaks a sentence twice in exactly the same way.
    let words = client.get(&format!("{}/words.json", path(&second)));
    let words = words.expect(200).json()["words"].clone();
    let mut of_sentences = words.as_array().unwrap().iter();
    let changed = of_sentences.find(|word| word["sentence"] == 7).unwrap();
    let until = changed["start_ms"].as_u64().unwrap() as usize * 22_050 / 1000 - 22_050 / 10;
    let second_sound = samples(&client, &second);
    assert!(until > 5 * 22_050, "{until}");
    assert!(first_sound[..until] == second_sound[..until]);
    assert!(first_sound[..] != second_sound[..]);

    assert_files(&service, 2 * 17);
    client.delete(&path(&second)).expect(204);
    assert_eq!(files_in(&service, "cache-sentences").len(), 2);
    let gone = spoken(&client, &body(long_text("Nobody has heard this one yet.")));
    assert_eq!(gone["cached"], false);
    assert_counts(&client, (15, 17));
}
