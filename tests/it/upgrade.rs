//! A data folder that version 0.1.0 left when it was killed: what had ended is answered
//! as it was, and what had not ended goes on.

use std::process::Command;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use serde_json::{Value, json};

use super::chain::sha256;
use super::support::disk::Disk;
use super::support::http::Client;
use super::support::peer::Peer;
use super::support::service::Service;
use super::support::signed::{SECRET, signers};
use super::support::wall::Wall;

/// Where its service listened, and where its callbacks lead.
const SERVICE: &str = "127.77.1.1:17640";
const RECEIVER: &str = "127.77.1.1:17641";

/// Unpacks `tests/fixtures/v0_1_0.tar.gz`, which `tests/fixtures/v0_1_0.py` makes: the
/// data, and what the service of that time had answered.
fn unpack() -> (Disk, Value) {
    let disk = Disk::plain();
    let archive = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/v0_1_0.tar.gz");
    let extract = |more: &[&str]| {
        let mut tar = Command::new("tar");
        let output = tar
            .args(["--extract", "--gzip", "--file", archive])
            .args(more);
        let output = output.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        output.stdout
    };
    let folder = disk.folder().to_str().unwrap();
    extract(&["--strip-components=1", "--directory", folder, "data"]);
    let answers = extract(&["--to-stdout", "answers.json"]);
    let answers = serde_json::from_slice(&answers).unwrap();
    (disk, answers)
}

/// A wall clock by which the folder was left some two hours ago, so that its tasks are
/// within their time and the last retry of its callbacks has come.
fn two_hours_after(made_at: i64) -> Arc<Wall> {
    let now = i64::try_from(UNIX_EPOCH.elapsed().unwrap().as_secs()).unwrap();
    let wall = Wall::new();
    wall.set_off_by_hours(2 - (now - made_at) / 3600);
    Arc::new(wall)
}

/// What is compared: links are signed anew with each answer.
fn unsigned(value: &Value) -> Value {
    match value {
        Value::String(text) => json!(text.split("?expires=").next()),
        Value::Array(items) => items.iter().map(unsigned).collect(),
        Value::Object(fields) => {
            let lasting = fields.iter().filter(|(name, _)| *name != "expires_at");
            let fields = lasting.map(|(name, value)| (name.clone(), unsigned(value)));
            Value::Object(fields.collect())
        }
        other => other.clone(),
    }
}

/// Newer versions have more fields, and none fewer.
#[track_caller]
fn assert_has_all(now: &Value, then: &Value, place: &str) {
    match (now, then) {
        (Value::Object(now), Value::Object(then)) => {
            for (name, then) in then {
                let place = format!("{place}.{name}");
                let now = now.get(name).unwrap_or_else(|| panic!("{place} is gone"));
                assert_has_all(now, then, &place);
            }
        }
        _ => assert_eq!(now, then, "{place}"),
    }
}

/// A link of that time still leads to the same bytes.
#[track_caller]
fn assert_link_is_good(client: &Client, task: &Value) {
    let url = task["audio"]["url"].as_str().unwrap();
    let path = url.strip_prefix(&format!("http://{SERVICE}")).unwrap();
    let audio = client.get(path).expect(200);
    assert_eq!(task["audio"]["sha256"], sha256(audio.body()), "{url}");
}

#[test]
fn a_folder_of_version_0_1_0_that_was_killed_opens_and_goes_on() {
    let (disk, answers) = unpack();
    let receiver = Peer::receiver_at(RECEIVER);
    let wall = two_hours_after(answers["made_at"].as_i64().unwrap());
    let service = Service::all()
        .set("callback.schedule", "0,1,3600")
        .wall(&wall)
        .listening_at(SERVICE)
        .start_on(disk);
    let client = service.client();
    let tasks = answers["tasks"].as_object().unwrap();
    let path = |name: &str| format!("/v1/tasks/{}", tasks[name]["id"].as_str().unwrap());

    // What was there before is kept aside, once.
    let kept: Vec<String> = std::fs::read_dir(service.folder())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.contains(".db.before-"))
        .collect();
    assert_eq!(kept.len(), 2, "{kept:?}");
    assert!(
        kept.iter().all(|copy| service.log().contains(copy)),
        "{kept:?}"
    );

    // What had ended.
    let ended = [
        "completed",
        "segments",
        "failed",
        "exhausted",
        "canceled",
        "timed_out",
        "retried",
    ];
    for name in ended {
        let now = client.get(&path(name)).expect(200).json();
        assert_has_all(&unsigned(&now), &unsigned(&tasks[name]), name);
    }
    for name in ["completed", "segments", "exhausted", "pending"] {
        assert_link_is_good(&client, &tasks[name]);
    }
    let listed = client.get("/v1/tasks?limit=100").expect(200).json();
    assert_eq!(listed["items"].as_array().unwrap().len(), tasks.len());

    // What had not: a job that was being spoken, one behind it, a callback between two
    // attempts, and one that was given up and is put back.
    for name in ["synthesizing", "queued"] {
        client.wait_for_status(&path(name), "completed");
        assert_eq!(client.times_reached(&path(name), "completed"), 1);
    }
    let gave_up = tasks["exhausted"]["callback"]["delivery_id"]
        .as_str()
        .unwrap();
    client
        .ask(&format!("/v1/tasks/deliveries/{gave_up}/redeliver"))
        .expect(202);
    for name in ["synthesizing", "queued", "pending", "exhausted"] {
        client.wait_until(&path(name), "told", |task| {
            task["callback"]["status"] == "delivered"
        });
    }
    let told = receiver.callbacks("task.completed");
    assert_eq!(told.len(), 4);
    for callback in &told {
        assert_eq!(signers(callback, &[SECRET]), [Some(0)]);
    }

    // New work is done.
    let again = json!({"text": "Xin chào. Giá là 5kg, ngày 15/04/2024.", "voice": "espeak/vi"});
    let again = client.post("/v1/tasks", &again).expect(202).json();
    let again = format!("/v1/tasks/{}", again["id"].as_str().unwrap());
    client.wait_for_status(&again, "completed");
}
