//! Several voices in one request, and the formats that a result can have.

use serde_json::{Value, json};

use crate::support::chain::submit;
use crate::support::{Peer, Service, eventually};

fn numbers(list: &Value, name: &str) -> Vec<u64> {
    let items = list.as_array().unwrap().iter();
    items.map(|item| item[name].as_u64().unwrap()).collect()
}

#[test]
fn a_dialogue_is_one_audio_and_one_subtitle_and_tells_where_each_voice_speaks() {
    let service = Service::all().start();
    let (client, receiver) = (service.client(), Peer::receiver());
    let task = client.post(
        "/v1/tasks",
        &json!({
            "segments": [
                {"text": "Chào Linh. Hôm nay thế nào?", "voice": "espeak/vi", "pause_after_ms": 900},
                {"text": "I am fine, thank you!", "language": "en", "speed": 1.2},
                {"text": "Tốt quá."},
            ],
            "voice": "espeak/vi-vn-x-south", "title": "Hai người", "callback_url": receiver.url("/hook"),
        }),
    );
    let task = format!(
        "/v1/tasks/{}",
        task.expect(202).json()["id"].as_str().unwrap()
    );
    let told = receiver.wait_for_callback("task.completed").json()["data"].clone();
    assert_eq!(told["resolved_voice"], "espeak/vi-vn-x-south");
    let segments = &told["segments"];
    assert_eq!(numbers(segments, "index"), [0, 1, 2]);
    let (starts, ends) = (numbers(segments, "start_ms"), numbers(segments, "end_ms"));
    assert_eq!(starts[0], 0);
    assert!((820..=840).contains(&(starts[1] - ends[0])), "{segments}");
    assert!(ends[1] < starts[2] && ends[2] <= told["audio"]["duration_ms"].as_u64().unwrap());

    let words = client.get(&format!("{task}/words.json")).expect(200).json()["words"].clone();
    assert_eq!(
        numbers(&words, "segment"),
        [0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 2, 2]
    );
    assert_eq!(numbers(&words, "char_start")[6..], [0, 2, 5, 11, 17, 0, 4]);
    for (word, at) in words
        .as_array()
        .unwrap()
        .iter()
        .zip(numbers(&words, "segment"))
    {
        let at = at as usize;
        let (start, end) = (
            word["start_ms"].as_u64().unwrap(),
            word["end_ms"].as_u64().unwrap(),
        );
        assert!(starts[at] <= start && end <= ends[at], "{word} {segments}");
    }

    let srt = client.get(&format!("{task}/subtitles.srt")).expect(200);
    let lines: Vec<&str> = srt
        .text()
        .lines()
        .filter(|line| line.contains(char::is_alphabetic))
        .collect();
    let expected = [
        "Chào Linh.",
        "Hôm nay thế nào?",
        "I am fine, thank you!",
        "Tốt quá.",
    ];
    assert_eq!(lines, expected);
    let marks = client.get(&format!("{task}/marks.jsonl")).expect(200);
    assert!(
        marks.text().contains(r#""value":"I am fine, thank you!""#),
        "{}",
        marks.text()
    );
    let audio = client.get(&format!("{task}/audio.mp3")).expect(200);
    assert!(audio.body().starts_with(b"ID3"));

    // A retry has the same parts.
    let again = client
        .post(&format!("{task}/retry"), &Value::Null)
        .expect(202)
        .json();
    let again = format!("/v1/tasks/{}", again["id"].as_str().unwrap());
    let again = client.wait_for_status(&again, "completed");
    assert_eq!(&again["segments"], segments);
}

#[test]
fn a_segment_that_cannot_be_is_refused_with_its_place() {
    let service = Service::all().start();
    let client = service.client();
    let body = json!({"segments": [{"text": "a"}, {"text": "b", "voice": "espeak/vn"}]});
    // The Backend refuses a voice once it knows which ones there are.
    eventually("the Backend knows the voices", || {
        (client.post("/v1/tasks", &body).status == 422).then_some(())
    });
    for collection in ["/v1/speech", "/v1/tasks"] {
        let problem = client
            .post(collection, &body)
            .expect_problem(422, "invalid_request");
        assert_eq!(
            problem["errors"][0]["pointer"], "/segments/1/voice",
            "{problem}"
        );
        assert_eq!(problem["errors"][0]["code"], "unknown_voice");
    }
    let body = json!({"segments": [
        {"text": "a", "voice": "espeak/vn"}, {"text": "b", "language": "xx"}, {"text": "c"}]});
    let problem = client
        .post("/v1/speech", &body)
        .expect_problem(422, "invalid_request");
    let errors = problem["errors"].as_array().unwrap();
    let pointers: Vec<&Value> = errors.iter().map(|error| &error["pointer"]).collect();
    assert_eq!(pointers, ["/segments/0/voice", "/segments/1/language"]);
}

#[test]
fn every_format_is_served_as_what_it_is() {
    let service = Service::all().start();
    let client = service.client();
    for (format, kind, begins, rate) in [
        ("mp3", "audio/mpeg", &b"ID3"[..], 22_050),
        ("wav", "audio/wav", b"RIFF", 22_050),
        ("opus", "audio/ogg; codecs=opus", b"OggS", 24_000),
        ("flac", "audio/flac", b"fLaC", 22_050),
        ("pcm", "application/octet-stream", b"", 22_050),
    ] {
        let task = submit(
            &client,
            json!({"text": "Xin chào.", "voice": "espeak/vi", "format": format}),
        );
        let told = client.wait_for_status(&task, "completed");
        let audio = client.get(&format!("{task}/audio.{format}")).expect(200);
        assert_eq!(audio.header("content-type"), Some(kind));
        assert!(audio.body().starts_with(begins), "{format}");
        assert_eq!(told["audio"]["sample_rate_hz"], rate, "{format}");
        let has_rate = ["mp3", "opus"].contains(&format);
        assert_eq!(
            told["audio"]["bitrate_kbps"].is_null(),
            !has_rate,
            "{format}"
        );
        if format == "pcm" {
            let ms = audio.body().len() as u64 * 1000 / 2 / rate;
            assert!(ms.abs_diff(told["audio"]["duration_ms"].as_u64().unwrap()) <= 1);
        }
    }
}
