//! Audio has a bound, and one job's audio does not take the disk from the others.

use hoiam::files::free_bytes;
use serde_json::{Value, json};

use crate::support::disk::Disk;
use crate::support::{Service, eventually};

/// Of each figure more is said than can be known before: 150 s or so.
fn figures() -> String {
    "9 ".repeat(400)
}

fn submitted(service: &Service, body: &Value) -> String {
    let speech = service.client().post("/v1/speech", body).expect(202).json();
    format!("/v1/speech/{}", speech["id"].as_str().expect("an id"))
}

#[test]
fn audio_that_is_sure_to_be_too_large_is_refused_at_once() {
    let service = Service::all().set("limits.audio_bytes", "1 MB").start();
    let client = service.client();
    let body = json!({"text": "hello ".repeat(400), "format": "wav", "voice": "espeak/en-us"});
    let problem = client.post("/v1/speech", &body);
    let problem = problem.expect_problem(422, "invalid_request");
    assert_eq!(problem["errors"][0]["pointer"], "/text");
    assert_eq!(problem["errors"][0]["code"], "audio_too_large");
    // The Backend does not know the voices.
    let task = client.post("/v1/tasks", &body).expect(202).json();
    let task = format!("/v1/tasks/{}", task["id"].as_str().expect("an id"));
    let failed = client.wait_for_status(&task, "failed");
    let detail = failed["error"]["detail"].as_str().expect("a detail");
    assert!(detail.contains("limits.audio_bytes"), "{detail}");
    let smaller = json!({"text": "hello ".repeat(400), "voice": "test/silence"});
    client.post("/v1/speech", &smaller).expect(202);
}

#[test]
fn audio_that_turns_out_too_large_ends_its_job_at_once_and_no_other() {
    let service = Service::all().set("limits.audio_bytes", "1 MB").start();
    let client = service.client();
    let body = json!({"text": figures(), "format": "wav", "voice": "espeak/en-us"});
    let large = submitted(&service, &body);
    let small = json!({"text": "One.", "format": "wav", "voice": "espeak/en-us"});
    let small = submitted(&service, &small);
    let failed = client.wait_for_status(&large, "failed");
    assert_eq!(failed["error"]["code"], "audio_too_large");
    assert_eq!(failed["error"]["retryable"], false);
    assert_eq!(client.times_reached(&large, "synthesizing"), 1);
    client.wait_for_status(&small, "completed");
    let task = client.post("/v1/tasks", &body).expect(202).json();
    let task = format!("/v1/tasks/{}", task["id"].as_str().expect("an id"));
    let failed = client.wait_for_status(&task, "failed");
    assert_eq!(failed["error"]["code"], "audio_too_large");
}

/// So many seconds of silence, 44 kB each.
fn silence(seconds: usize) -> Value {
    json!({"text": "Xin chào. ".repeat(seconds), "voice": "test/fragile", "format": "wav"})
}

fn on_a_small_disk() -> Service {
    Service::tts()
        .set("limits.min_free_bytes", 10_000_000)
        .set("tts.max_attempts", 2)
        .set("cache.max_bytes", 0)
        .start_on(Disk::small(40))
}

#[test]
fn a_job_that_would_fill_the_disk_fails_and_nobody_else_is_refused_meanwhile() {
    let service = on_a_small_disk();
    let client = service.client();
    let large = submitted(&service, &silence(800));
    let mut others = Vec::new();
    let failed = eventually("it fails", || {
        if others.len() < 50 {
            let small = json!({"text": "Xin chào.", "voice": "test/silence"});
            others.push(submitted(&service, &small));
        }
        client.get("/health/ready").expect(200);
        let now = client.get(&large).expect(200).json();
        now["ended_at"].is_string().then_some(now)
    });
    assert_eq!(failed["status"], "failed");
    assert_eq!(failed["error"]["code"], "insufficient_storage");
    assert_eq!(failed["error"]["retryable"], true);
    assert_eq!(client.times_reached(&large, "synthesizing"), 2);
    for other in others {
        client.wait_for_status(&other, "completed");
    }
}

#[test]
fn a_job_that_finds_the_disk_filled_by_others_waits_until_there_is_room() {
    let service = on_a_small_disk();
    let client = service.client();
    // Enough is left for a job to be accepted, and too little for a large file.
    let ballast = service.folder().join("ballast");
    let free = free_bytes(service.folder()).expect("a disk");
    let bytes = usize::try_from(free - 12_500_000).expect("a size");
    std::fs::write(&ballast, vec![0; bytes]).expect("room");
    let large = submitted(&service, &silence(40));
    eventually("it waits", || {
        let is_full = |event: &Value| event["reason"] == "the disk is full";
        client.events(&large).iter().any(is_full).then_some(())
    });
    std::fs::remove_file(&ballast).expect("the ballast");
    let done = client.wait_for_status(&large, "completed");
    assert!(done["audio"]["bytes"].as_u64() > Some(1_700_000), "{done}");
}
