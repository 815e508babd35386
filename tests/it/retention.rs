//! What is old goes: results first, then all that is known of a task.

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use hoiam_supervision::clock::Clock;
use serde_json::Value;

use super::support::chain::submit;
use super::support::disk::files_in;
use super::support::eventually;
use super::support::service::Service;

const DAY_MS: i64 = 86_400_000;

/// Has everything in a stopped service's databases have ended so much earlier.
fn age(service: &Service, days: i64) {
    for (file, table) in [("backend.db", "tasks"), ("tts.db", "speeches")] {
        let path = service.folder().join(file);
        let mut conn = SqliteConnection::establish(path.to_str().unwrap()).unwrap();
        let ms = days * DAY_MS;
        let sql = format!("UPDATE {table} SET ended_at = ended_at - {ms}");
        conn.batch_execute(&sql).unwrap();
    }
}

fn completed(service: &Service) -> String {
    let client = service.client();
    let task = submit(&client, serde_json::json!({}));
    eventually("it is completed", || {
        let shown: Value = client.get(&task).expect(200).json();
        (shown["status"] == "completed").then_some(())
    });
    task
}

#[test]
fn results_go_after_their_time_and_tasks_after_theirs() {
    let mut service = Service::all().start();
    let task = completed(&service);
    service.terminate();
    age(&service, 8);
    service.start();
    let client = service.client();
    eventually("the files are gone", || {
        files_in(&service.folder().join("files"))
            .is_empty()
            .then_some(())
    });
    for file in ["audio.wav", "subtitles.srt", "words.json"] {
        let gone: Value = client.get(&format!("{task}/{file}")).expect(410).json();
        assert_eq!(gone["code"], "expired");
    }
    let shown: Value = client.get(&task).expect(200).json();
    assert_eq!(shown["status"], "completed");
    service.terminate();
    age(&service, 23);
    service.start();
    let client = service.client();
    eventually("the task is forgotten", || {
        (client.get(&task).status == 404).then_some(())
    });
}

#[test]
fn a_kill_between_the_row_and_its_file_leaves_no_row_that_names_a_missing_file() {
    let mut service = Service::all()
        .failpoint("kill:retention.backend.cleared")
        .start();
    let task = completed(&service);
    service.terminate();
    age(&service, 8);
    let left_before = files_in(&service.folder().join("files/backend"));
    service.start_and_die();
    // The row was first: the file is there and nobody names it.
    assert_eq!(
        files_in(&service.folder().join("files/backend")),
        left_before
    );
    service.heal();
    // As old as the sweep wants it.
    for file in &left_before {
        let old = Clock::resume(None).wall() - chrono::Duration::hours(25);
        let file = std::fs::File::options().write(true).open(file).unwrap();
        file.set_modified(old.into()).unwrap();
    }
    service.start();
    eventually("the sweep has found it", || {
        files_in(&service.folder().join("files/backend"))
            .is_empty()
            .then_some(())
    });
    let gone: Value = service
        .client()
        .get(&format!("{task}/audio.wav"))
        .expect(410)
        .json();
    assert_eq!(gone["code"], "expired");
}
