//! The callback secret is changed while callbacks are on their way.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::Output;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use hoiam::lookout::SEEN_WITHIN;
use hoiam_supervision::clock::Clock;
use serde_json::{Value, json};

use crate::chaos::all;
use crate::cli::{assert_refused, command, hoiam, json as json_of};
use crate::support::chain::submit;
use crate::support::disk::Disk;
use crate::support::service::Setup;
use crate::support::signed::{SECRET, assert_signed, sign, signers, verify};
use crate::support::{Client, Peer, Reaction, Service, Wall, eventually};

const KEY: &str = "a-key-of-the-configuration";
const OVERLAP: &str = "25h";
/// How many are told to the receiver that was there before, while the secret is
/// changed, and as many afterwards to each of the two.
const TASKS: usize = 200;
/// How many are submitted and not told, at most.
const UNDER_WAY: usize = 64;

fn arguments<'a>(data: &'a Path, more: &[&'a str]) -> Vec<&'a str> {
    let data = data.to_str().unwrap();
    [&["secrets", "rotate", "--data-dir", data][..], more].concat()
}

fn rotate(data: &Path, more: &[&str]) -> Output {
    hoiam(data, &arguments(data, more))
}

/// The command is killed at this point.
#[track_caller]
fn rotate_until(data: &Path, point: &str) {
    let mut command = command(data, &arguments(data, &["--overlap", OVERLAP]));
    let killed = command
        .env("HOIAM_FAILPOINT", format!("kill:{point}"))
        .output();
    assert_eq!(killed.unwrap().status.signal(), Some(libc::SIGKILL));
}

/// The secret that receivers are given now.
fn current(data: &Path) -> String {
    let line = fs::read_to_string(data.join("callback.secret")).unwrap();
    line.trim().to_owned()
}

/// It has a secret in its data folder.
fn service() -> Setup {
    Service::all()
        .unset("callback.secrets")
        .api_key(KEY)
        .set("callback.allow_cidrs", "127.0.0.0/8")
}

/// Takes nothing but what this secret has signed.
fn receiver_with(secret: &str) -> Peer {
    let (receiver, secret) = (Peer::receiver(), secret.to_owned());
    receiver.react(move |request| match request.method.as_str() {
        "POST" if verify(request, &secret).is_err() => Reaction::Answer(401),
        _ => Reaction::Answer(204),
    });
    receiver
}

fn submit_to(client: &Client, receiver: &Peer) -> String {
    submit(client, json!({"callback_url": receiver.url("/hook")}))
}

/// Whose signatures the next callback has.
#[track_caller]
fn signers_of_next(client: &Client, secrets: &[&str]) -> Vec<Option<usize>> {
    let receiver = Peer::receiver();
    submit_to(client, &receiver);
    signers(&receiver.wait_for_callback("task.completed"), secrets)
}

/// What the Backend says to a report with this signature, so many hours from now.
fn believed(client: &Client, secret: &str, hours: i64) -> u16 {
    let at_s = Clock::resume(None).wall().timestamp() + hours * 3_600;
    let body = json!({"type": "callback.check", "data": {}}).to_string();
    let headers = sign(secret, "msg_1", at_s, body.as_bytes());
    let headers = headers
        .each_ref()
        .map(|(name, value)| (*name, value.as_str()));
    let answer = client.send_bytes("POST", "/v1/callbacks", &headers, body.as_bytes());
    answer.status
}

/// The status that a task's link leads to, without a key.
fn link_status(service: &Service, link: &Value) -> u16 {
    let link = link.as_str().unwrap();
    let path = link.strip_prefix(&service.url()).unwrap();
    Client::new(service.address(), None).get(path).status
}

/// Nobody refused a signature, neither a receiver nor the Backend.
#[track_caller]
fn assert_none_refused(client: &Client) {
    for list in ["/v1/tasks/deliveries?", "/v1/speech/deliveries?"] {
        for delivery in all(client, list) {
            let attempts = delivery["attempts"].as_array().unwrap();
            let refused = attempts.iter().any(|attempt| attempt["status"] == 401);
            assert!(!refused, "{delivery:#}");
        }
    }
}

#[test]
fn a_rotation_under_load_has_no_callback_refused_and_the_old_secret_ends_by_itself() {
    let wall = std::sync::Arc::new(Wall::new());
    let service = service().set("tts.workers", 2).wall(&wall).start();
    let (client, data) = (service.client(), service.folder());
    let old = current(data);
    let of_old = receiver_with(&old);
    let first = submit_to(&client, &of_old);
    let link = client.wait_for_status(&first, "completed")["audio"]["url"].clone();

    let is_rotated = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut submitted = 0;
            while submitted < TASKS || !is_rotated.load(Ordering::Relaxed) {
                of_old.wait_for("room for one more", |requests| {
                    (requests.len() + UNDER_WAY > submitted).then_some(())
                });
                submit_to(&client, &of_old);
                submitted += 1;
            }
        });
        of_old.wait_for_callbacks("task.completed", TASKS / 10);
        let rotated = rotate(data, &["--overlap", OVERLAP, "--json"]);
        assert!(
            json_of(&rotated)["overlap_ends_at"].is_string(),
            "{rotated:?}"
        );
        is_rotated.store(true, Ordering::Relaxed);
    });
    let new = current(data);
    let both = [new.as_str(), old.as_str()];
    eventually("it signs with both", || {
        (signers_of_next(&client, &both) == [Some(0), Some(1)]).then_some(())
    });
    let of_new = receiver_with(&new);
    let tasks: Vec<String> = (0..2 * TASKS)
        .map(|nth| submit_to(&client, if nth % 2 == 0 { &of_old } else { &of_new }))
        .collect();
    for task in &tasks {
        client.wait_until(task, "told", |task| {
            task["callback"]["status"] == "delivered"
        });
    }
    of_new.wait_for_callbacks("task.completed", TASKS);
    assert_none_refused(&client);
    for secret in both {
        assert_eq!(believed(&client, secret, 0), 204);
    }
    assert_eq!(link_status(&service, &link), 200);

    wall.set_off_by_hours(26);
    eventually("its clock is ahead", || {
        (signers_of_next(&client, &both) == [Some(0)]).then_some(())
    });
    assert_eq!(believed(&client, &new, 26), 204);
    assert_eq!(believed(&client, &old, 26), 401);
    assert_eq!(link_status(&service, &link), 401);
}

#[test]
fn a_rotation_that_is_killed_anywhere_with_the_service_leaves_receivers_what_they_need() {
    let mut service = service().start();
    let (client, data) = (service.client(), service.folder().to_owned());
    let old = current(&data);
    let of_old = receiver_with(&old);
    let tell = |service: &mut Service, secrets: &[&str]| {
        service.kill();
        service.start();
        let task = submit_to(&client, &of_old);
        client.wait_until(&task, "told", |task| {
            task["callback"]["status"] == "delivered"
        });
        signers_of_next(&client, secrets)
    };
    rotate_until(&data, "secrets.announced");
    assert_eq!(current(&data), old, "nobody can have the new one yet");
    let signers = tell(&mut service, &[&old]);
    assert_eq!(signers, [Some(0), None], "a new one beside the old one");

    rotate_until(&data, "secrets.published");
    let new = current(&data);
    assert_ne!(new, old);
    assert_eq!(tell(&mut service, &[&new, &old]), [Some(0), Some(1)]);
    assert_refused(&rotate(&data, &[]), 1, "--overlap 0");
    assert_none_refused(&client);

    let ended = rotate(&data, &["--overlap", "0"]);
    assert!(ended.status.success(), "{ended:?}");
    let newest = current(&data);
    let all = [newest.as_str(), new.as_str(), old.as_str()];
    eventually("the ones before have ended", || {
        (signers_of_next(&client, &all) == [Some(0)]).then_some(())
    });
}

#[test]
fn a_service_starts_with_no_other_secret_than_its_receivers_have_and_goes_on_with_it() {
    let mut service = service().start();
    let (client, data) = (service.client(), service.folder().to_owned());
    let rotated = rotate(&data, &["--overlap", OVERLAP]);
    assert!(rotated.status.success(), "{rotated:?}");
    let new = current(&data);
    let rotation = data.join("callback.secret.rotation");
    let good = fs::read(&rotation).unwrap();
    let warned = |is_warned: bool| {
        let ready = client.get("/health/ready").expect(200).json();
        let warnings = ready["warnings"].to_string();
        assert!(!warnings.contains(data.to_str().unwrap()), "{warnings}");
        (warnings.contains("callback.secret") == is_warned).then_some(())
    };
    fs::write(&rotation, "{").unwrap();
    eventually("it says that the file cannot be read", || warned(true));
    assert!(!service.log().contains(&new), "no secret is logged");
    let receiver = Peer::receiver();
    submit_to(&client, &receiver);
    assert_signed(&receiver.wait_for_callback("task.completed"), &new);
    fs::write(&rotation, &good).unwrap();
    eventually("it is well again", || warned(false));

    service.kill();
    fs::set_permissions(&rotation, fs::Permissions::from_mode(0o640)).unwrap();
    assert_eq!(service.start_and_die().code(), Some(1));
    assert!(service.log().contains("chmod 600"), "{}", service.log());
    fs::set_permissions(&rotation, fs::Permissions::from_mode(0o600)).unwrap();
    service.start();
}

/// A data folder with a secret, and no service.
fn folder_with_secret() -> Disk {
    let disk = Disk::plain();
    let path = disk.folder().join("callback.secret");
    fs::write(&path, format!("{SECRET}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    disk
}

#[test]
fn a_start_with_configured_secrets_says_that_the_one_of_its_folder_is_not_used() {
    let said_on = |disk: Disk| {
        let mut service = Service::all().start_on(disk);
        // Its log is whole then.
        service.kill();
        let log = service.log();
        assert!(!log.contains(SECRET), "{log}");
        let said = log.lines().filter(|line| line.contains("is not used"));
        said.map(str::to_owned).collect::<Vec<_>>()
    };
    let disk = folder_with_secret();
    let path = disk.folder().join("callback.secret");
    let said = said_on(disk);
    assert_eq!(said.len(), 1, "{said:?}");
    for part in [
        "WARN",
        "callback.secrets is configured",
        path.to_str().unwrap(),
    ] {
        assert!(said[0].contains(part), "{part}: {said:?}");
    }
    assert_eq!(said_on(Disk::plain()), Vec::<String>::new());
}

/// What `doctor --json` says of it.
fn look_at_secret(looked: &Output) -> Value {
    let report: Value = serde_json::from_slice(&looked.stdout).unwrap();
    let mut checks = report["checks"].as_array().unwrap().iter();
    let secret = checks.find(|check| check["check"] == "callback secret");
    secret.unwrap().clone()
}

#[test]
fn the_command_says_where_the_new_secret_is_and_shows_none() {
    let disk = folder_with_secret();
    let data = disk.folder();
    let told = |output: &Output| {
        let [out, err] = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
        for secret in [SECRET, &current(data)] {
            assert!(!out.contains(secret) && !err.contains(secret), "{out}{err}");
        }
        (out.into_owned(), err.into_owned())
    };
    let began = Instant::now();
    let rotated = rotate(data, &[]);
    assert_eq!(rotated.status.code(), Some(0), "{rotated:?}");
    // No service runs, but it would not be seen to.
    assert!(began.elapsed() >= SEEN_WITHIN, "a service needs that");
    let (out, err) = told(&rotated);
    assert!(out.contains("callback.secret has the new secret"), "{out}");
    assert!(
        err.is_empty(),
        "links live no longer than the overlap: {err}"
    );
    let refused = rotate(data, &[]);
    assert_refused(&refused, 1, "callback.secret.rotation");
    told(&refused);

    let looked = hoiam(data, &["doctor", "--json", "--data-dir", "."]);
    told(&looked);
    let secret = look_at_secret(&looked);
    let detail = secret["detail"].as_str().unwrap();
    assert!(
        secret["status"] == "ok" && detail.contains("in force too until"),
        "{secret}"
    );

    let ended = rotate(data, &["--overlap", "0", "--json"]);
    assert_eq!(json_of(&ended)["overlap_ends_at"], Value::Null);
    assert!(
        told(&ended).1.contains("before their 2 d are over"),
        "links end sooner: {ended:?}"
    );
    let short = rotate(data, &["--overlap", "1h"]);
    assert!(
        told(&short).1.contains("before their 2 d are over"),
        "links end sooner: {short:?}"
    );
}

#[test]
fn what_cannot_be_rotated_is_refused_with_the_way_out() {
    let disk = folder_with_secret();
    let data = disk.folder();
    assert_refused(&rotate(data, &["--overlap", "8d"]), 2, "7 d");
    assert_refused(&rotate(data, &["--data-dir", "none"]), 2, "--data-dir");
    let elsewhere = tempfile::tempdir().unwrap();
    assert_refused(&rotate(elsewhere.path(), &[]), 1, "the first start");
    let configured = format!("callback.secrets={SECRET}");
    let refused = rotate(data, &["--set", &configured]);
    assert_refused(&refused, 1, "HOIAM__CALLBACK__SECRETS");
    assert_refused(&refused, 1, "Write it before the old one");
    assert_eq!(current(data), SECRET);
    let arguments = ["doctor", "--json", "--data-dir", ".", "--set", &configured];
    let secret = look_at_secret(&hoiam(data, &arguments));
    let detail = secret["detail"].as_str().unwrap();
    assert!(
        secret["status"] == "warning" && detail.contains("is not used"),
        "{secret}"
    );
    let path = data.join("callback.secret");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    assert_refused(&rotate(data, &[]), 1, "chmod 600");
}
