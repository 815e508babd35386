//! Names that never resolve.

use std::time::Instant;

use serde_json::json;

use crate::chaos::{all, from_env};
use crate::support::{Client, Peer, Service, eventually};

#[track_caller]
fn speak(client: &Client, hook: &str) {
    let body = json!({"text": "Chào.", "voice": "test/silence", "format": "wav",
        "callback_url": hook, "callback_check": false});
    client.post("/v1/speech", &body).expect(202);
}

/// More lookups than the pool that writes files has threads hang at the same time.
#[test]
fn names_that_never_resolve_keep_no_file_from_being_written() {
    let count = from_env("HOIAM_HANGING_NAMES", 700);
    let service = Service::tts()
        .names_hang()
        .set("callback.connect_timeout_s", 1)
        .set("callback.schedule", "0,3600")
        .start();
    let client = service.client();
    for nth in 0..count {
        speak(&client, &format!("http://{nth}.hangs.test/hook"));
    }
    eventually("each is looked up or waits until its time is over", || {
        let failed = all(&client, "/v1/speech/deliveries?");
        let tried = |one: &&serde_json::Value| one["attempts"][0]["phase"] == "dns";
        (failed.iter().filter(tried).count() == usize::try_from(count).unwrap()).then_some(())
    });
    let began = Instant::now();
    let receiver = Peer::receiver();
    speak(&client, &receiver.url("/hook"));
    receiver.wait_for_callback("speech.completed");
    println!(
        "after {count} names that never resolve a speech is told within {:.1} ms",
        began.elapsed().as_secs_f64() * 1000.0
    );
}
