//! The disk is full, read-only or broken, the database is locked or damaged:
//! the service says so, accepts nothing it cannot keep, loses nothing it has
//! accepted, and goes on by itself.

use std::collections::BTreeSet;

use diesel::connection::SimpleConnection;
use hoiam_supervision::clock::Clock;
use serde_json::{Value, json};

use crate::support::chain::submit;
use crate::support::disk::Disk;
use crate::support::service::Setup;
use crate::support::signed::{SECRET, sign};
use crate::support::{Peer, Request, Service, eventually};

fn service() -> Setup {
    Service::all()
        .set("callback.schedule", "0,1,1,1,1,1,1,1,1,1,1")
        .set("limits.min_free_bytes", 0)
}

/// What was promised while the disk was well and ill.
struct Client {
    receiver: Peer,
    /// Paths of tasks with a 202.
    accepted: Vec<String>,
}

impl Client {
    fn new() -> Self {
        Self {
            receiver: Peer::receiver(),
            accepted: Vec::new(),
        }
    }

    /// Submits one; whether it was accepted, or refused as it should be.
    #[track_caller]
    fn submit(&mut self, service: &Service, voice: &str) -> bool {
        let body = json!({"text": "Xin chào.", "voice": voice, "format": "wav",
            "callback_url": self.receiver.url("/hook")});
        let answer = service.client().post("/v1/tasks", &body);
        if answer.status == 202 {
            let task = answer.json();
            let id = task["id"].as_str().expect("an id");
            self.accepted.push(format!("/v1/tasks/{id}"));
            return true;
        }
        assert!(answer.header("retry-after").is_some());
        answer.expect_problem(503, "unavailable");
        false
    }

    /// Every accepted task has ended well, was told, and has its files.
    #[track_caller]
    fn assert_nothing_is_lost(&self, service: &Service) {
        let client = service.client();
        for task in &self.accepted {
            let done = client.wait_for_status(task, "completed");
            let audio = client.get(&format!("{task}/audio.wav")).expect(200);
            assert_eq!(done["audio"]["bytes"], audio.body().len());
            assert_eq!(client.times_reached(task, "completed"), 1);
        }
        // One that could not be recorded on an ill disk comes twice.
        let told = self.receiver.wait_for("what was accepted", |requests| {
            let of_kind = |told: &&Request| told.kind().as_deref() == Some("task.completed");
            let completed = requests.iter().filter(of_kind);
            let ids: BTreeSet<_> = completed
                .map(|told| told.header("webhook-id").expect("an id").to_owned())
                .collect();
            (ids.len() >= self.accepted.len()).then_some(ids)
        });
        assert_eq!(told.len(), self.accepted.len());
        let listed = client.get("/v1/tasks?limit=100").expect(200).json();
        let listed = listed["items"].as_array().expect("items").len();
        assert_eq!(listed, self.accepted.len(), "what was refused is not there");
    }
}

/// Ready, or the reasons why not.
fn reasons(service: &Service) -> Option<String> {
    let answer = service.client().get("/health/ready");
    (answer.status == 503).then(|| answer.json()["reasons"].to_string())
}

/// Has a disk fail under a service at work and heal again.
#[track_caller]
fn survives(service: Service, said: &str, fail: impl Fn(&Service), heal: impl Fn(&Service)) {
    let mut client = Client::new();
    for _ in 0..3 {
        assert!(client.submit(&service, "test/silence"));
        assert!(client.submit(&service, "test/slow-1500"));
    }
    fail(&service);
    // What room is left in the files that are there may still be used.
    eventually("a task is refused", || {
        (!client.submit(&service, "test/silence")).then_some(())
    });
    let told = eventually("it says why", || reasons(&service));
    assert!(told.contains(said), "{told}");
    service.client().get("/health/live").expect(200);
    // What it logs comes through a pipe of its own, and so a moment later.
    eventually("the log says so", || {
        service.log().contains(said).then_some(())
    });
    heal(&service);
    eventually("it goes on by itself", || {
        reasons(&service).is_none().then_some(())
    });
    assert!(client.submit(&service, "test/silence"));
    client.assert_nothing_is_lost(&service);
}

#[test]
fn a_full_disk_refuses_and_loses_nothing_and_when_there_is_room_it_goes_on() {
    let service = service().start_on(Disk::small(24));
    survives(
        service,
        "full",
        |service| service.disk().fill(),
        |service| service.disk().empty(),
    );
}

#[test]
fn a_disk_that_becomes_read_only_refuses_and_loses_nothing_and_goes_on() {
    let service = service().start_on(Disk::failing());
    survives(
        service,
        "cannot be written",
        |service| service.disk().fail("readonly"),
        |service| service.disk().heal(),
    );
}

#[test]
fn a_disk_that_takes_everything_and_syncs_nothing_is_believed_nothing() {
    let service = service().start_on(Disk::failing());
    survives(
        service,
        "disk I/O error",
        |service| service.disk().fail("fsync"),
        |service| service.disk().heal(),
    );
}

/// The commit that names a result comes after its file is on the disk.
#[test]
fn a_result_that_cannot_be_synced_is_no_result_until_it_can() {
    let service = service().start_on(Disk::failing());
    let client = service.client();
    service.disk().fail("results");
    let body = json!({"text": "Xin chào.", "voice": "test/silence", "format": "wav"});
    let speech = client.post("/v1/speech", &body).expect(202).json();
    let speech = format!("/v1/speech/{}", speech["id"].as_str().expect("an id"));
    eventually("its end is noticed", || {
        let is_given_back = |event: &Value| event["reason"] == "the file store failed";
        let given_back = client.events(&speech).iter().any(is_given_back);
        let is_over = client.get(&speech).json()["ended_at"].is_string();
        (given_back || is_over).then_some(())
    });
    assert_eq!(client.times_reached(&speech, "completed"), 0);
    service.disk().heal();
    client.wait_for_status(&speech, "completed");
    client.get(&format!("{speech}/audio.wav")).expect(200);
}

#[test]
fn a_disk_that_is_full_for_files_and_database_at_once_loses_nothing() {
    let service = service().start_on(Disk::failing());
    survives(
        service,
        "cannot be written",
        |service| service.disk().fail("full"),
        |service| service.disk().heal(),
    );
}

#[test]
fn a_process_that_is_killed_while_its_disk_is_full_goes_on_when_there_is_room() {
    let mut service = service().start_on(Disk::small(24));
    let mut client = Client::new();
    for _ in 0..3 {
        assert!(client.submit(&service, "test/slow-1000"));
    }
    service.disk().fill();
    eventually("a task is refused", || {
        (!client.submit(&service, "test/silence")).then_some(())
    });
    service.kill();
    service.disk().empty();
    service.start();
    client.assert_nothing_is_lost(&service);
}

#[test]
fn what_was_accepted_has_room_to_end_while_nothing_new_is_accepted() {
    let service = service()
        .set("limits.min_free_bytes", 20_000_000)
        .start_on(Disk::small(40));
    let mut client = Client::new();
    assert!(client.submit(&service, "test/slow-1000"));
    let ballast = service.folder().join("ballast");
    std::fs::write(&ballast, vec![0; 25_000_000]).expect("room");
    assert!(!client.submit(&service, "test/silence"));
    let told = reasons(&service).expect("not ready");
    assert!(told.contains("limits.min_free_bytes"), "{told}");
    client.assert_nothing_is_lost(&service);
    std::fs::remove_file(&ballast).expect("the ballast");
    assert_eq!(reasons(&service), None);
    assert!(client.submit(&service, "test/silence"));
    client.assert_nothing_is_lost(&service);
}

/// A service on a small disk that has one megabyte left, and what is between it
/// and a TTS service on another disk.
fn backend_with_a_megabyte(tts: &Service) -> (Service, Peer, Peer) {
    let (to_tts, to_backend) = (Peer::proxy(), Peer::proxy());
    to_tts.pass_on_to(tts.address());
    let backend = Service::backend()
        .set("limits.min_free_bytes", 0)
        .set("backend.tts_url", to_tts.url(""))
        .set("backend.callback_base_url", to_backend.url(""))
        .start_on(Disk::small(24));
    to_backend.pass_on_to(backend.address());
    backend.disk().fill();
    let ballast = backend.folder().join("ballast");
    let ballast = std::fs::File::options().write(true).open(ballast);
    let ballast = ballast.expect("the ballast");
    let size = ballast.metadata().expect("its size").len();
    ballast.set_len(size - 1_000_000).expect("a megabyte");
    (backend, to_tts, to_backend)
}

#[test]
fn a_result_larger_than_our_own_disk_waits_for_room_and_is_not_fetched_to_be_thrown_away() {
    let tts = Service::tts().start();
    let (backend, to_tts, _to_backend) = backend_with_a_megabyte(&tts);
    let client = backend.client();
    // A second of silence for each sentence: 2.6 MB.
    let text = "Xin chào. ".repeat(60);
    let large = submit(&client, json!({"text": text, "voice": "test/fragile"}));
    let waits = |event: &&serde_json::Value| event["reason"] == "it waits for our own disk";
    let waited = || client.events(&large).iter().filter(waits).count();
    eventually("it waits", || (waited() > 0).then_some(()));
    let log = eventually("the log says so", || {
        let log = backend.log();
        log.contains("wait for our own disk").then_some(log)
    });
    assert!(log.contains("no room"), "{log}");
    let audio = format!("{}/audio.wav", large.replace("tasks", "speech"));
    assert_eq!(to_tts.requests_to("GET", &audio).len(), 0);
    // Nobody else has to wait for it.
    let small = submit(&client, json!({}));
    client.wait_for_status(&small, "completed");
    client.wait_for_status(&large, "fetching");
    backend.disk().empty();
    let done = client.wait_for_status(&large, "completed");
    let fetched = client.get(&format!("{large}/audio.wav")).expect(200);
    assert_eq!(done["audio"]["bytes"], fetched.body().len());
    assert!(fetched.body().len() > 2_000_000);
    assert_eq!(to_tts.requests_to("GET", &audio).len(), 1);
    assert_eq!(waited(), 1);
}

#[test]
fn a_database_that_somebody_else_locks_refuses_and_goes_on() {
    let service = service().start();
    let lock = |service: &Service| {
        let mut other = service.backend_database();
        other.batch_execute("BEGIN IMMEDIATE").expect("the lock");
        other
    };
    let mut client = Client::new();
    assert!(client.submit(&service, "test/silence"));
    let other = lock(&service);
    eventually("a task is refused", || {
        (!client.submit(&service, "test/silence")).then_some(())
    });
    let told = eventually("it says why", || reasons(&service));
    assert!(told.contains("locked"), "{told}");
    drop(other);
    eventually("it goes on by itself", || {
        reasons(&service).is_none().then_some(())
    });
    assert!(client.submit(&service, "test/silence"));
    client.assert_nothing_is_lost(&service);
}

/// Who is answered 204 forgets what he has told.
#[test]
fn a_callback_is_not_acknowledged_before_it_is_kept() {
    let service = Service::backend().start();
    let client = service.client();
    let task = submit(&client, json!({}));
    let id = task.rsplit('/').next().expect("an id");
    let body = json!({"type": "speech.failed", "timestamp": "2026-01-01T00:00:00Z", "data": {
        "id": id, "status": "failed", "format": "wav",
        "error": {"code": "engine_failed", "detail": "no", "retryable": false},
    }});
    let body = body.to_string();
    let report = || {
        let at_s = Clock::resume(None).wall().timestamp();
        let headers = sign(SECRET, "msg_1", at_s, body.as_bytes());
        let mut all = vec![("content-type", "application/json")];
        all.extend(headers.iter().map(|(name, value)| (*name, value.as_str())));
        client.send_bytes("POST", "/v1/callbacks", &all, body.as_bytes())
    };
    let mut other = service.backend_database();
    other.batch_execute("BEGIN IMMEDIATE").expect("the lock");
    report().expect_problem(503, "unavailable");
    drop(other);
    eventually("it goes on by itself", || {
        reasons(&service).is_none().then_some(())
    });
    report().expect(204);
    client.wait_for_status(&task, "failed");
}

#[test]
fn a_damaged_database_is_written_no_more_and_the_service_says_so() {
    let service = service().start();
    let mut client = Client::new();
    assert!(client.submit(&service, "test/silence"));
    client.assert_nothing_is_lost(&service);
    damage(&service);
    eventually("a task is refused", || {
        (!client.submit(&service, "test/silence")).then_some(())
    });
    let told = eventually("it says why", || reasons(&service));
    assert!(told.contains("malformed"), "{told}");
    assert!(!client.submit(&service, "test/silence"));
    service.client().get("/health/live").expect(200);
}

/// Overwrites all of the Backend's tables, in the file and in its log, as a
/// broken disk does.
fn damage(service: &Service) {
    let path = service.folder().join("backend.db");
    let mut other = service.backend_database();
    other
        .batch_execute("PRAGMA wal_checkpoint(TRUNCATE)")
        .expect("a checkpoint");
    let size = std::fs::metadata(&path).expect("the file").len();
    let file = std::fs::File::options()
        .write(true)
        .open(&path)
        .expect("the file");
    let noise = vec![0xA5; usize::try_from(size - 4096).expect("a size")];
    std::os::unix::fs::FileExt::write_all_at(&file, &noise, 4096).expect("the damage");
    // Another writer, so that nobody trusts what is in memory.
    let _ = other.batch_execute("PRAGMA user_version = 1");
}

#[test]
fn a_file_that_is_no_database_is_refused_at_the_start_with_its_name_and_a_way_out() {
    let mut service = service().start();
    service.terminate();
    let path = service.folder().join("tts.db");
    std::fs::write(&path, vec![0xA5; 65_536]).expect("the damage");
    let status = service.start_and_die();
    assert_eq!(status.code(), Some(1));
    let log = service.log();
    assert!(log.contains("tts.db cannot be opened"), "{log}");
    assert!(log.contains("not a database"), "{log}");
    assert!(log.contains("backup"), "{log}");
}
