//! Who erases a task has its speech erased too, whatever happens in between.

use std::os::unix::process::ExitStatusExt;

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sql_types::BigInt;
use serde_json::json;

use crate::support::chain::submit;
use crate::support::disk::files_in;
use crate::support::{Chain, Client, Reaction, Service, eventually};

#[derive(QueryableByName)]
struct Count {
    #[diesel(sql_type = BigInt)]
    count: i64,
}

/// Waits until the Backend owes no erasure.
#[track_caller]
fn wait_until_none_is_pending(backend: &Service) {
    let mut conn = backend.backend_database();
    eventually("every erasure is done", || {
        let question = "SELECT count(*) AS count FROM erasures";
        let count: Count = diesel::sql_query(question).get_result(&mut conn).unwrap();
        (count.count == 0).then_some(())
    });
}

#[track_caller]
fn wait_until_gone(tts: &Client, task: &str) {
    eventually("the speech is erased", || {
        (tts.get(&Chain::speech(task)).status == 404).then_some(())
    });
}

#[test]
fn a_task_that_is_erased_leaves_neither_text_nor_sound_however_often_somebody_was_down() {
    let mut chain = Chain::start();
    let (client, tts) = (chain.client(), chain.tts.client());
    let (task, other) = (chain.submit(json!({})), chain.submit(json!({})));
    for task in [&task, &other] {
        client.wait_for_status(task, "completed");
    }
    let sounds = |chain: &Chain| files_in(&chain.tts.folder().join("files/tts"));
    assert_eq!(sounds(&chain).len(), 2);
    chain.tts.kill();
    assert_eq!(client.delete(&task).status, 204);
    client.get(&task).expect_problem(404, "not_found");
    chain.backend.kill();
    chain.backend.start();
    chain.tts.start();
    wait_until_gone(&tts, &task);
    wait_until_none_is_pending(&chain.backend);
    assert_eq!(sounds(&chain).len(), 1);
    tts.get(&Chain::speech(&other)).expect(200);
    client.get(&task).expect_problem(404, "not_found");
}

#[test]
fn a_kill_before_or_after_the_call_leaves_the_erasure_to_the_next_start() {
    for side in ["before", "after"] {
        let mut service = Service::all()
            .failpoint(&format!("kill:send.erase.{side}"))
            .start();
        let client = service.client();
        let task = submit(&client, json!({}));
        client.wait_for_status(&task, "completed");
        // Its answer may be lost with the process.
        let _ = client.try_send("DELETE", &task, &[], &[]);
        assert_eq!(service.wait().signal(), Some(libc::SIGKILL));
        service.heal();
        service.start();
        wait_until_gone(&client, &task);
        wait_until_none_is_pending(&service);
        client.get(&task).expect_problem(404, "not_found");
    }
}

#[test]
fn a_speech_that_is_still_under_way_is_called_off_and_erased() {
    let chain = Chain::start();
    let (client, tts) = (chain.client(), chain.tts.client());
    // The abandon is not heard, and is lost with its task.
    chain
        .to_tts
        .react(|request| match request.path.ends_with("/cancel") {
            true if request.nth == 1 => Reaction::Answer(503),
            _ => Reaction::Pass,
        });
    let task = chain.submit(json!({"voice": "test/hang"}));
    tts_has(&tts, &task, "synthesizing");
    client.wait_for_status(&task, "in_progress");
    client.ask(&format!("{task}/cancel")).expect(200);
    assert_eq!(client.delete(&task).status, 204);
    wait_until_gone(&tts, &task);
}

#[track_caller]
fn tts_has(tts: &Client, task: &str, status: &str) {
    eventually(status, || {
        let answer = tts.get(&Chain::speech(task));
        (answer.status == 200 && answer.json()["status"] == status).then_some(())
    });
}

#[test]
fn a_new_task_of_the_same_id_waits_for_the_erasure_and_never_gets_the_old_sound() {
    let chain = Chain::start();
    let client = chain.client();
    let task = chain.submit(json!({}));
    client.wait_for_status(&task, "completed");
    let told = chain.to_backend.wait_for_callback("speech.completed");
    chain.to_tts.react(|request| match request.method.as_str() {
        "DELETE" => Reaction::Answer(503),
        _ => Reaction::Pass,
    });
    assert_eq!(client.delete(&task).status, 204);
    let body = json!({"text": "Một hai.", "voice": "test/silence", "format": "wav"});
    client.put(&task, &body).expect(202);
    let speech = Chain::speech(&task);
    chain.to_tts.wait_for_request("DELETE", &speech, 2);

    // What was said of the old speech is said once more.
    let of_callback =
        |(name, _): &&(String, String)| name.starts_with("webhook-") || name == "content-type";
    let headers = told.message.headers.iter().filter(of_callback);
    let headers: Vec<(&str, &str)> = headers
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    let again = client.send_bytes("POST", "/v1/callbacks", &headers, told.body());
    again.expect_problem(410, "no_such_task");
    assert_eq!(client.get(&task).expect(200).json()["status"], "queued");
    assert_eq!(chain.to_tts.requests_to("PUT", &speech).len(), 1);

    chain.to_tts.react(|_| Reaction::Pass);
    client.wait_for_status(&task, "completed");
    let words = client.get(&format!("{task}/words.json")).expect(200);
    assert!(words.text().contains("Một"), "{}", words.text());
    assert!(!words.text().contains("chào"), "{}", words.text());
    assert_eq!(chain.to_tts.requests_to("PUT", &speech).len(), 2);
}

#[test]
fn an_old_task_takes_its_speech_with_it_and_leaves_what_others_use() {
    let mut service = Service::all().start();
    let client = service.client();
    let task = submit(&client, json!({"voice": "espeak/vi", "format": "mp3"}));
    client.wait_for_status(&task, "completed");
    let cache = service.folder().join("files/cache");
    let kept = eventually("it is kept", || {
        Some(files_in(&cache)).filter(|kept| kept.len() == 2)
    });
    service.terminate();
    // As old as retention wants a task; its speech stays young.
    let month = 31 * 86_400_000_i64;
    let sql = format!("UPDATE tasks SET ended_at = ended_at - {month}");
    service.backend_database().batch_execute(&sql).unwrap();
    service.start();
    eventually("the task is forgotten", || {
        (client.get(&task).status == 404).then_some(())
    });
    wait_until_gone(&client, &task);
    wait_until_none_is_pending(&service);
    assert_eq!(files_in(&cache), kept);
}

#[test]
fn what_is_erased_is_in_no_file_any_more() {
    let service = Service::all().start();
    let client = service.client();
    // One in a row, one in pages of its own, and others that stay.
    let (short, long) = ("Geheimniskürzel", "Staatsgeheimnisse ".repeat(3_000));
    let submit = |text: &str| {
        let body =
            json!({ "text": text, "voice": "test/silence", "reference": text.split(' ').next() });
        let task = client.post("/v1/tasks", &body).expect(202).json();
        format!("/v1/tasks/{}", task["id"].as_str().unwrap())
    };
    let tasks: Vec<String> = [short, &long, "Bleibendes"].map(submit).into();
    for task in &tasks {
        client.wait_for_status(task, "completed");
    }
    let is_kept = |text: &str| {
        let files = files_in(service.folder());
        let mut files = files.iter().filter_map(|file| std::fs::read(file).ok());
        files.any(|bytes| bytes.windows(text.len()).any(|at| at == text.as_bytes()))
    };
    assert!(is_kept("Geheimniskürzel") && is_kept("Staatsgeheimnisse"));
    for task in &tasks[..2] {
        client.delete(task).expect(204);
    }
    for text in ["Geheimniskürzel", "Staatsgeheimnisse"] {
        eventually("it is gone", || (!is_kept(text)).then_some(()));
    }
    assert!(is_kept("Bleibendes"));
}
