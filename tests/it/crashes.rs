//! The process is killed exactly at a failpoint, started again, and every
//! task ends once, is told, and has whole files. `src/failpoint.rs` has the table of
//! the points; each is tried here.

use std::collections::BTreeSet;
use std::os::unix::process::ExitStatusExt;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::support::service::Setup;
use crate::support::{Client, Peer, Reaction, Service, eventually};

/// Enough for some to be in other states while one is at the failpoint.
const TASKS: usize = 4;

/// How the tasks of one run end when nothing goes wrong.
#[derive(Clone, Copy)]
struct Ending {
    voice: &'static str,
    timeout_s: u32,
    status: &'static str,
    /// Called off as soon as the TTS service has it.
    cancel: bool,
}

const COMPLETED: Ending = Ending {
    voice: "test/silence",
    timeout_s: 600,
    status: "completed",
    cancel: false,
};
const FAILED: Ending = Ending {
    voice: "test/fail",
    status: "failed",
    ..COMPLETED
};
const CANCELED: Ending = Ending {
    voice: "test/slow-600000",
    status: "canceled",
    cancel: true,
    ..COMPLETED
};
const TIMED_OUT: Ending = Ending {
    voice: "test/slow-600000",
    timeout_s: 1,
    status: "timed_out",
    cancel: false,
};

fn service() -> Setup {
    Service::all().set("callback.schedule", "0,1,1,1,1,1,1,1")
}

/// Both sides of each step.
fn both_sides_of(steps: &[&str]) -> Vec<String> {
    let sides = |step: &&str| [format!("{step}.before"), format!("{step}.after")];
    steps.iter().flat_map(sides).collect()
}

/// Kills a service at the point, once on the first and once on a later
/// occasion, and looks at what became of the tasks.
#[track_caller]
fn survives(point: &str, ending: Ending) {
    for occasion in [1, 3] {
        let failpoint = format!("kill:{point}:{occasion}");
        let mut service = service().failpoint(&failpoint).start();
        let receiver = Peer::receiver();
        let tasks = run_through_a_kill(&mut service, &receiver, ending, &failpoint);
        assert_ended_once(&service.client(), &receiver, &tasks, ending);
    }
}

/// Submits tasks and restarts the service when it is killed. The paths of the
/// tasks, all of which were accepted.
#[track_caller]
fn run_through_a_kill(
    service: &mut Service,
    receiver: &Peer,
    ending: Ending,
    failpoint: &str,
) -> Vec<String> {
    let client = service.client();
    let tasks = new_tasks();
    std::thread::scope(|scope| {
        for task in &tasks {
            let (client, hook) = (&client, receiver.url("/hook"));
            scope.spawn(move || submit(client, task, &hook, ending));
        }
        let status = service.wait();
        assert_eq!(
            status.signal(),
            Some(libc::SIGKILL),
            "{failpoint}: {status}"
        );
        service.heal();
        service.start();
    });
    tasks
}

/// The paths of tasks that are still to be submitted.
fn new_tasks() -> Vec<String> {
    let path = |_| format!("/v1/tasks/{}", Uuid::now_v7());
    (0..TASKS).map(path).collect()
}

/// Repeats the request until it is answered, as a client does whose call was
/// cut off.
fn submit(client: &Client, task: &str, hook: &str, ending: Ending) {
    let body = json!({"text": "Xin chào.", "voice": ending.voice, "format": "wav",
        "timeout_s": ending.timeout_s, "callback_url": hook});
    until_answered(client, "PUT", task, &body);
    if ending.cancel {
        eventually("it is handed over", || {
            let answer = client.try_send("GET", task, &[], &[]).ok()?;
            (answer.json()["status"] == "in_progress").then_some(())
        });
        until_answered(client, "POST", &format!("{task}/cancel"), &Value::Null);
    }
}

fn until_answered(client: &Client, method: &str, path: &str, body: &Value) {
    let bytes = body.to_string();
    let json = [("content-type", "application/json")];
    eventually("the request is answered", || {
        let answer = client.try_send(method, path, &json, bytes.as_bytes());
        let answer = answer.ok().filter(|answer| answer.status != 503)?;
        assert!([200, 202].contains(&answer.status), "{}", answer.text());
        Some(())
    });
}

/// Each task has one end, which was told under one id, and whole files.
#[track_caller]
fn assert_ended_once(client: &Client, receiver: &Peer, tasks: &[String], ending: Ending) {
    let kind = format!("task.{}", ending.status);
    for task in tasks {
        let found = client.wait_for_status(task, ending.status);
        assert_eq!(ends(client, task), [ending.status], "{task}");
        let id = found["id"].as_str().unwrap();
        let told = receiver.wait_for(&format!("{kind} of {id}"), |requests| {
            let of_task = requests.iter().filter(|request| {
                let body: Value = serde_json::from_slice(request.body()).unwrap_or_default();
                body["data"]["id"] == id
            });
            let told: BTreeSet<_> = of_task
                .map(|request| {
                    (
                        request.kind(),
                        request.header("webhook-id").map(str::to_owned),
                    )
                })
                .collect();
            (!told.is_empty()).then_some(told)
        });
        assert_eq!(told.len(), 1, "it is one callback, however often: {told:?}");
        assert_eq!(told.first().unwrap().0.as_deref(), Some(&*kind));
        if ending.status == "completed" {
            assert_files_are_whole(client, task, &found);
        }
        assert_speech_has_ended(client, task);
    }
}

/// The terminal states that the history leads to.
fn ends(client: &Client, path: &str) -> Vec<String> {
    const TERMINAL: [&str; 4] = ["completed", "failed", "timed_out", "canceled"];
    let events = client.events(path).into_iter();
    let to = events
        .filter(|event| event["type"] == "state")
        .filter_map(|event| event["to"].as_str().map(str::to_owned));
    to.filter(|to| TERMINAL.contains(&&**to)).collect()
}

#[track_caller]
fn assert_files_are_whole(client: &Client, path: &str, object: &Value) {
    let audio = client.get(&format!("{path}/audio.wav")).expect(200);
    let hash: String = Sha256::digest(audio.body())
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert_eq!(object["audio"]["sha256"], hash, "{path}");
    assert_eq!(object["audio"]["bytes"], audio.body().len());
    let words = client.get(&format!("{path}/words.json")).expect(200).json();
    assert_eq!(words["words"].as_array().unwrap().len(), 2);
    client.get(&format!("{path}/subtitles.srt")).expect(200);
}

/// Nothing is left running over there, and what ended did so once.
#[track_caller]
fn assert_speech_has_ended(client: &Client, task: &str) {
    let speech = task.replace("/v1/tasks/", "/v1/speech/");
    let ended = eventually("the speech ends", || {
        let answer = client.get(&speech);
        let ended = answer.status == 404 || answer.json()["ended_at"].is_string();
        ended.then_some(answer.status == 200)
    });
    if ended {
        assert_eq!(ends(client, &speech).len(), 1, "{speech}");
    }
}

#[test]
fn a_kill_around_each_commit_of_a_task_that_completes() {
    let steps = [
        "commit.backend.queued",
        "commit.backend.in_progress",
        "commit.backend.fetching",
        "commit.backend.completed",
        "commit.backend.delivered",
    ];
    for point in both_sides_of(&steps) {
        survives(&point, COMPLETED);
    }
}

#[test]
fn a_kill_around_each_commit_of_a_speech_that_completes() {
    let steps = [
        "commit.tts.queued",
        "commit.tts.synthesizing",
        "commit.tts.completed",
        "commit.tts.delivered",
    ];
    for point in both_sides_of(&steps) {
        survives(&point, COMPLETED);
    }
}

#[test]
fn a_kill_around_each_call() {
    let steps = [
        "send.hand_over",
        "send.speech.completed",
        "send.fetch",
        "send.task.completed",
    ];
    for point in both_sides_of(&steps) {
        survives(&point, COMPLETED);
    }
}

#[test]
fn a_kill_in_the_middle_and_at_the_end_of_a_file() {
    for service in ["tts", "backend"] {
        for place in ["middle", "after"] {
            survives(&format!("file.{service}.{place}"), COMPLETED);
        }
    }
}

/// The URL is checked once for all the tasks of a process.
#[test]
fn a_kill_around_the_check_of_the_callback_url() {
    for point in both_sides_of(&["commit.tts.checking", "send.check"]) {
        let failpoint = format!("kill:{point}");
        let mut service = service().failpoint(&failpoint).start();
        let receiver = Peer::receiver();
        let tasks = run_through_a_kill(&mut service, &receiver, COMPLETED, &failpoint);
        assert_ended_once(&service.client(), &receiver, &tasks, COMPLETED);
    }
}

#[test]
fn a_kill_around_each_step_of_a_task_that_fails() {
    let steps = [
        "commit.tts.failed",
        "commit.backend.failed",
        "send.speech.failed",
        "send.task.failed",
    ];
    for point in both_sides_of(&steps) {
        survives(&point, FAILED);
    }
}

#[test]
fn a_kill_around_each_step_of_a_task_that_is_canceled() {
    let steps = [
        "commit.backend.canceled",
        "send.abandon",
        "commit.tts.canceled",
        "commit.backend.abandon",
        "send.task.canceled",
    ];
    for point in both_sides_of(&steps) {
        survives(&point, CANCELED);
    }
}

#[test]
fn a_kill_around_each_step_of_a_task_that_times_out() {
    for point in both_sides_of(&["commit.backend.timed_out", "send.task.timed_out"]) {
        survives(&point, TIMED_OUT);
    }
}

/// The receiver's first answers are errors, so attempts are recorded that
/// lead to another one.
#[test]
fn a_kill_around_the_commit_of_an_attempt_that_failed() {
    for point in both_sides_of(&["commit.backend.pending"]) {
        let failpoint = format!("kill:{point}:2");
        let mut service = service().failpoint(&failpoint).start();
        let receiver = Peer::receiver();
        receiver.react(|request| Reaction::Answer(if request.nth <= TASKS { 500 } else { 204 }));
        let tasks = run_through_a_kill(&mut service, &receiver, COMPLETED, &failpoint);
        assert_ended_once(&service.client(), &receiver, &tasks, COMPLETED);
    }
}

/// A delivery that has been given up is put back by filter: the same callback
/// under the same id.
#[test]
fn a_kill_around_the_commits_that_give_up_a_delivery_and_put_it_back() {
    let exhausted = "/v1/tasks/deliveries?status=exhausted";
    for point in both_sides_of(&["commit.backend.exhausted", "commit.backend.pending"]) {
        let failpoint = format!("kill:{point}");
        let mut service = service()
            .set("callback.schedule", "0")
            .failpoint(&failpoint)
            .start();
        let receiver = Peer::receiver();
        receiver.react(|_| Reaction::Answer(500));
        let gives_up = point.contains("exhausted");
        let client = service.client();
        let tasks = if gives_up {
            run_through_a_kill(&mut service, &receiver, COMPLETED, &failpoint)
        } else {
            let tasks = new_tasks();
            for task in &tasks {
                submit(&client, task, &receiver.url("/hook"), COMPLETED);
            }
            tasks
        };
        let all_are_listed = |page: &Value| page["items"].as_array().unwrap().len() == TASKS;
        client.wait_until(exhausted, "all of them", all_are_listed);
        receiver.react(|_| Reaction::Answer(204));
        let redeliver = "/v1/tasks/deliveries/redeliver?status=exhausted";
        if !gives_up {
            let _ = client.try_send("POST", redeliver, &[], &[]);
            assert_eq!(service.wait().signal(), Some(libc::SIGKILL), "{failpoint}");
            service.heal();
            service.start();
        }
        client.ask(redeliver).expect(200);
        assert_ended_once(&client, &receiver, &tasks, COMPLETED);
        client.wait_until(exhausted, "empty", |page| page["items"] == json!([]));
    }
}

/// An actor that panics whatever is done about it ends the process with 70. The
/// next process falls too, and the one after that goes on with everything: this
/// loop does what `deploy/hoiam.service` has systemd do.
#[track_caller]
fn a_service_manager_brings_it_back(setup: Setup, actor: &str, occasion: u32, ending: Ending) {
    let failpoint = format!("panic:actor.{actor}:{occasion}");
    let mut service = setup.failpoint(&failpoint).start();
    let receiver = Peer::receiver();
    let client = service.client();
    let tasks = new_tasks();
    std::thread::scope(|scope| {
        for task in &tasks {
            let (client, hook) = (&client, receiver.url("/hook"));
            scope.spawn(move || submit(client, task, &hook, ending));
        }
        let statuses = [service.wait(), {
            service.set_failpoint(&format!("panic:actor.{actor}"));
            service.start_and_die()
        }];
        for status in statuses {
            assert_eq!(status.code(), Some(70), "{failpoint}: {status}");
        }
        assert_eq!(service.log().matches("giving up: ").count(), 2);
        service.heal();
        service.start();
    });
    assert_ended_once(&client, &receiver, &tasks, ending);
}

#[test]
fn a_backend_actor_that_panics_for_ever_ends_the_process_and_the_next_one_goes_on() {
    a_service_manager_brings_it_back(service(), "backend", 6, COMPLETED);
}

#[test]
fn a_worker_that_panics_for_ever_ends_the_process_and_the_next_one_goes_on() {
    a_service_manager_brings_it_back(service(), "worker", 6, COMPLETED);
}

#[test]
fn a_watchdog_of_jobs_that_panics_for_ever_ends_the_process_and_the_next_one_goes_on() {
    a_service_manager_brings_it_back(service(), "deadlines", 6, COMPLETED);
}

#[test]
fn a_dispatcher_that_panics_for_ever_ends_the_process_and_the_next_one_goes_on() {
    a_service_manager_brings_it_back(service(), "dispatcher", 6, COMPLETED);
}

#[test]
fn a_watchdog_that_panics_for_ever_ends_the_process_and_the_next_one_goes_on() {
    // The TTS service has a deadline of its own, so it is left out.
    let alone = Service::backend().set("backend.tts_url", "http://127.0.0.1:1");
    a_service_manager_brings_it_back(alone, "watchdog", 2, TIMED_OUT);
}

/// The job must not stay with the worker whose unit is no more.
#[test]
fn a_unit_that_panics_over_each_result_costs_the_job_its_attempts_and_nobody_else() {
    let service = Service::tts().failpoint("panic:outcome.spoken").start();
    let client = service.client();
    let speak = |voice: &str| {
        let path = format!("/v1/speech/{}", Uuid::now_v7());
        let body = json!({"text": "One.", "voice": voice});
        client.put(&path, &body).expect(202);
        path
    };
    let (spoken, after) = (speak("test/silence"), speak("test/fail"));
    let ended = client.wait_for_status(&spoken, "failed");
    assert_eq!(ended["error"]["code"], "internal_error");
    assert_eq!(ended["attempt"], 3);
    let ended = client.wait_for_status(&after, "failed");
    assert_eq!(ended["error"]["code"], "engine_failed");
}

/// A point that no run comes to would make all of this a check that cannot
/// fail.
#[test]
fn a_point_of_an_unknown_name_is_not_reached() {
    let mut service = service()
        .failpoint("kill:commit.tts.nonsense.after")
        .start();
    let receiver = Peer::receiver();
    let client = service.client();
    let task = format!("/v1/tasks/{}", Uuid::now_v7());
    submit(&client, &task, &receiver.url("/hook"), COMPLETED);
    assert_ended_once(&client, &receiver, &[task], COMPLETED);
    assert_eq!(service.terminate().code(), Some(0));
}
