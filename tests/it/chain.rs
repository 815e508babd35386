//! The whole chain: text in at the Backend, voice back by callback.

use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::support::chain::submit;
use crate::support::signed::{SECRET, assert_signed};
use crate::support::{Answer, Chain, Client, Peer, Service};

/// The states that the history of a task or speech goes through.
fn states(client: &Client, path: &str) -> Vec<String> {
    let events = client.events(path).into_iter();
    let states = events.filter(|event| event["type"] == "state");
    states
        .map(|event| event["to"].as_str().unwrap().to_owned())
        .collect()
}

/// What a signed link leads to, without an API key.
fn follow(link: &Value) -> Answer {
    let link = link.as_str().unwrap().strip_prefix("http://").unwrap();
    let (address, path) = link.split_once('/').unwrap();
    Client::new(address, None).get(&format!("/{path}"))
}

pub fn sha256(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn a_text_becomes_an_mp3_with_words_and_subtitles_and_the_client_is_told() {
    let service = Service::all().start();
    let (client, receiver) = (service.client(), Peer::receiver());
    let text = "Xin chào các bạn. Hôm nay trời đẹp.";
    let task = submit(
        &client,
        json!({"text": text, "voice": "espeak/vi", "format": "mp3", "reference": "video-42/7",
            "metadata": {"scene": 7}, "callback_url": receiver.url("/hook?scene=7")}),
    );

    let callback = receiver.wait_for_callback("task.completed");
    assert!(callback.is("POST", "/hook?scene=7"));
    assert_signed(&callback, SECRET);
    let told = callback.json()["data"].clone();
    assert_eq!(told["metadata"], json!({"scene": 7}));
    assert_eq!(told["reference"], "video-42/7");
    assert_eq!(told["resolved_voice"], "espeak/vi");
    client.wait_until(&task, "told", |task| {
        task["callback"]["status"] == "delivered"
    });
    assert_eq!(
        states(&client, &task),
        ["queued", "in_progress", "fetching", "completed"]
    );

    let audio = follow(&told["audio"]["url"]).expect(200);
    assert_eq!(audio.header("content-type"), Some("audio/mpeg"));
    assert_eq!(told["audio"]["bytes"], audio.body().len());
    assert_eq!(told["audio"]["sha256"], sha256(audio.body()));
    assert!(told["audio"]["duration_ms"].as_u64().unwrap() > 1000);
    let words = follow(&told["words"]).expect(200).json();
    let spoken: Vec<&str> = words["words"]
        .as_array()
        .unwrap()
        .iter()
        .map(|word| word["text"].as_str().unwrap())
        .collect();
    assert_eq!(spoken[..4], ["Xin", "chào", "các", "bạn"]);
    let srt = follow(&told["subtitles"]["srt"]).expect(200);
    assert!(srt.text().starts_with("1\n00:00:00,"), "{}", srt.text());
    let vtt = follow(&told["subtitles"]["vtt"]).expect(200);
    assert!(vtt.text().starts_with("WEBVTT"), "{}", vtt.text());
    assert!(vtt.text().contains("Hôm nay trời đẹp."));

    let speech = Chain::speech(&task);
    for file in ["audio.mp3", "words.json", "subtitles.srt", "subtitles.vtt"] {
        let over_there = client.get(&format!("{speech}/{file}")).expect(200);
        let here = client.get(&format!("{task}/{file}")).expect(200);
        assert!(here.body() == over_there.body(), "{file} differs");
    }
}

#[test]
fn two_processes_with_a_shared_secret_and_keys_of_their_own_work_as_one_does() {
    const BACKEND_KEY: &str = "the-key-of-the-backend";
    const TTS_KEY: &str = "the-key-of-the-tts-service";
    // With keys configured, loopback needs to be allowed.
    let chain = Chain::start_with(
        Service::backend()
            .api_key(BACKEND_KEY)
            .set("backend.tts_api_key", TTS_KEY)
            .set("callback.allow_cidrs", "127.0.0.0/8"),
        Service::tts()
            .api_key(TTS_KEY)
            .set("callback.allow_cidrs", "127.0.0.0/8"),
    );
    let receiver = Peer::receiver();
    let task = chain.submit(json!({"callback_url": receiver.url("/hook")}));
    let callback = receiver.wait_for_callback("task.completed");
    assert_signed(&callback, SECRET);
    let told = callback.json()["data"].clone();
    let audio = follow(&told["audio"]["url"]).expect(200);
    assert_eq!(told["audio"]["sha256"], sha256(audio.body()));

    for stranger in [None, Some(TTS_KEY)] {
        let stranger = Client::new(chain.backend.address(), stranger);
        assert_eq!(stranger.get(&task).status, 401);
        assert_eq!(
            stranger
                .post("/v1/tasks", &json!({"text": "Xin chào."}))
                .status,
            401
        );
        assert_eq!(stranger.get(&format!("{task}/audio.wav")).status, 401);
        assert_eq!(stranger.get("/health/ready").status, 200);
    }
    let speech = Chain::speech(&task);
    assert_eq!(
        Client::new(chain.tts.address(), None).get(&speech).status,
        401
    );
    assert_eq!(chain.tts.client().get(&speech).status, 200);
}

#[test]
fn the_secret_made_on_the_first_start_is_kept_for_its_owner_and_signs_from_then_on() {
    let mut service = Service::all().unset("callback.secrets").start();
    let file = service.folder().join("callback.secret");
    let mode = std::fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let secret = std::fs::read_to_string(&file).unwrap();
    let receiver = Peer::receiver();
    submit(
        &service.client(),
        json!({"callback_url": receiver.url("/hook")}),
    );
    assert_signed(&receiver.wait_for_callback("task.completed"), secret.trim());

    assert_eq!(service.terminate().code(), Some(0));
    service.start();
    assert_eq!(std::fs::read_to_string(&file).unwrap(), secret);
}

#[test]
fn an_engine_that_fails_ends_the_task_with_its_reason() {
    let service = Service::all().start();
    let (client, receiver) = (service.client(), Peer::receiver());
    let task = submit(
        &client,
        json!({"voice": "test/fail", "callback_url": receiver.url("/hook")}),
    );
    let callback = receiver.wait_for_callback("task.failed");
    assert_signed(&callback, SECRET);
    let told = callback.json()["data"].clone();
    assert_eq!(told["status"], "failed");
    assert_eq!(told["error"]["code"], "engine_failed");
    assert!(told["audio"].is_null());
    let speech = client.get(&Chain::speech(&task)).expect(200).json();
    assert_eq!(speech["error"], told["error"]);
    client
        .get(&format!("{task}/audio.wav"))
        .expect_problem(410, "expired");
}

#[test]
fn a_text_that_crashes_the_engine_fails_its_task_and_the_next_one_is_spoken() {
    let service = Service::all().start();
    let client = service.client();
    let crashing = submit(&client, json!({"voice": "test/crash"}));
    let next = submit(&client, json!({}));
    let failed = client.wait_for_status(&crashing, "failed");
    assert_eq!(failed["error"]["code"], "engine_crashed");
    let speech = Chain::speech(&crashing);
    assert_eq!(client.times_reached(&speech, "synthesizing"), 3);
    client.wait_for_status(&next, "completed");
}

#[test]
fn while_a_secret_is_being_changed_both_sign_and_both_are_believed() {
    const NEW: &str = "whsec_dGhlIG5leHQgc2VjcmV0IG9mIHRoZSB0ZXN0cywgMzI=";
    let mut chain = Chain::start();
    let receiver = Peer::receiver();
    // The TTS service has the new secret already, the Backend only hears of it.
    assert_eq!(chain.tts.terminate().code(), Some(0));
    chain.tts.set("callback.secrets", format!("{NEW},{SECRET}"));
    chain.tts.start();
    chain.submit(json!({"callback_url": receiver.url("/hook")}));
    assert_signed(&receiver.wait_for_callback("task.completed"), SECRET);
    let report = chain.to_backend.wait_for_callback("speech.completed");
    for secret in [NEW, SECRET] {
        assert_signed(&report, secret);
    }
}

#[test]
fn a_second_start_on_the_same_folder_says_so_and_ends() {
    let first = Service::all().start();
    let second = std::process::Command::new(env!("CARGO_BIN_EXE_hoiam"))
        .args(["serve", "--listen", "127.0.0.1:0", "--data-dir"])
        .arg(first.folder())
        .output()
        .unwrap();
    assert_eq!(second.status.code(), Some(1));
    let said = String::from_utf8_lossy(&second.stderr);
    assert!(said.contains("another"), "{said}");
    first.client().get("/health/ready").expect(200);
}
