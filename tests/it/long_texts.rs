//! A long text on a service with idle workers.

use serde_json::{Value, json};

use crate::support::{Client, Service, eventually};

/// About forty sentences.
fn text() -> String {
    let sentence = |number| format!("Đây là câu thứ {number}, và nó không dài hơn câu nào khác. ");
    (1..=40).map(sentence).collect()
}

/// Asks for a speech and answers its path.
fn ask(client: &Client, text: &str) -> String {
    let body = json!({"text": text, "voice": "espeak/vi"});
    let speech = client.post("/v1/speech", &body).expect(202).json();
    format!("/v1/speech/{}", speech["id"].as_str().unwrap())
}

/// The same, once so many sentences of it are spoken, or all.
fn ask_and_wait_for(client: &Client, text: &str, sentences: u64) -> String {
    let path = ask(client, text);
    client.wait_until(&path, "under way", |speech| {
        let done = speech["progress"]["sentences_done"].as_u64();
        done.is_some_and(|done| done > sentences) || speech["status"] == "completed"
    });
    path
}

/// How many requests each worker's child was given.
fn requests(client: &Client) -> Vec<u64> {
    let metrics = client.get("/metrics").expect(200);
    let lines = metrics.text().lines();
    lines
        .filter_map(|line| {
            line.strip_prefix("hoiam_synthesizer_requests_total{")?
                .split_once("} ")
        })
        .map(|(_, count)| count.parse().unwrap())
        .collect()
}

#[test]
fn idle_workers_speak_sentences_of_it_and_the_result_is_the_same() {
    let alone = Service::tts().set("cache.max_bytes", 0).start();
    let expected = ask(&alone.client(), &text());
    alone.client().wait_for_status(&expected, "completed");

    let service = Service::tts()
        .set("cache.max_bytes", 0)
        .set("tts.workers", 3)
        .start();
    let client = service.client();
    // Where the machine has no core to spare, no worker may come to help before
    // the text is over; another time one does.
    let shared = eventually("others help", || {
        let before: u64 = requests(&client).iter().sum();
        let shared = ask(&client, &text());
        client.wait_for_status(&shared, "completed");
        let requests = requests(&client);
        assert_eq!(requests.len(), 3);
        (requests.iter().sum::<u64>() - before > 10).then_some(shared)
    });
    let words = |client: &Client, path: &str| {
        let words = client.get(&format!("{path}/words.json")).expect(200);
        words.json()["words"].clone()
    };
    let (shared, expected) = (words(&client, &shared), words(&alone.client(), &expected));
    let (shared, expected) = (shared.as_array().unwrap(), expected.as_array().unwrap());
    assert_eq!(shared.len(), expected.len());
    // What eSpeak NG has spoken before changes what it speaks next by a little.
    for (word, expected) in shared.iter().zip(expected) {
        assert_eq!(word["text"], expected["text"]);
        assert_eq!(word["sentence"], expected["sentence"]);
        let ms = |word: &Value| word["start_ms"].as_u64().unwrap();
        assert!(ms(word).abs_diff(ms(expected)) <= 200, "{word} {expected}");
    }
}

#[test]
fn a_short_text_does_not_wait_for_a_long_one_that_others_help_with() {
    let service = Service::tts()
        .set("cache.max_bytes", 0)
        .set("tts.workers", 2)
        .start();
    let client = service.client();
    // So long that it is not over before, however slow the test is.
    let long = ask_and_wait_for(&client, &text().repeat(40), 10);
    for _ in 0..5 {
        client.wait_for_status(&ask(&client, "Chào bạn."), "completed");
    }
    assert_eq!(
        client.get(&long).expect(200).json()["status"],
        "synthesizing"
    );
    client
        .post(&format!("{long}/cancel"), &Value::Null)
        .expect(200);
}

#[test]
fn a_child_that_is_killed_amid_a_shared_text_costs_no_speech() {
    let service = Service::tts()
        .set("cache.max_bytes", 0)
        .set("tts.workers", 2)
        .start();
    let client = service.client();
    let long = ask_and_wait_for(&client, &text().repeat(4), 4);
    // One of them speaks the whole and the other helps: the first attempt may be lost,
    // or only a sentence.
    let system = client.get("/v1/system").expect(200).json();
    let child = system["actors"]
        .as_array()
        .unwrap()
        .iter()
        .find_map(|actor| actor["children"][0]["pid"].as_u64())
        .unwrap();
    let killed = std::process::Command::new("kill")
        .args(["-9", &child.to_string()])
        .status();
    assert!(killed.unwrap().success());
    let ended = client.wait_for_status(&long, "completed");
    assert_eq!(ended["progress"], Value::Null);
}
