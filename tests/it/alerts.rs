//! What the operator is told at `alerts.callback_url`: signed, gathered, once, and
//! also after a kill.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use hoiam::app::{self, Environment};
use hoiam::config::Config;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use crate::cli::assert_refused;
use crate::keys::{add, with};
use crate::support::disk::Disk;
use crate::support::service::Setup;
use crate::support::signed::{SECRET, assert_signed};
use crate::support::{Client, Gate, Peer, Reaction, Request, Service, eventually};

/// Attempts come each second, and nothing is given up while a test lasts.
fn told_to(operator: &Peer) -> Setup {
    let schedule = format!("0{}", ",1".repeat(600));
    Service::all()
        .set("alerts.callback_url", operator.url("/alerts"))
        .set("callback.schedule", schedule)
}

/// Five tasks and five speeches that are told to a receiver, unchecked: enough to
/// shut it for both dispatchers.
fn tell(client: &Client, receiver: &Peer) {
    for _ in 0..5 {
        let mut body = json!({"text": "Chào.", "voice": "test/silence", "format": "wav",
            "callback_url": receiver.url("/hook")});
        client.post("/v1/tasks", &body).expect(202);
        body["callback_check"] = json!(false);
        client.post("/v1/speech", &body).expect(202);
    }
}

/// The services that have this receiver's circuit open.
fn shut_by(client: &Client, receiver: &Peer) -> usize {
    let page = client.get("/v1/system").expect(200).json();
    let shut = page["shut_receivers"].to_string();
    shut.matches(&receiver.url("")).count()
}

#[track_caller]
fn wait_until_shut(client: &Client, receiver: &Peer, by: usize) {
    eventually("it is shut", || {
        (shut_by(client, receiver) == by).then_some(())
    });
}

fn origins(alert: &Request) -> Vec<String> {
    let alert = alert.json();
    let examples = alert["data"]["examples"].as_array().expect("examples");
    let origin = |example: &Value| example["origin"].as_str().expect("an origin").to_owned();
    examples.iter().map(origin).collect()
}

/// The deliveries of alerts, as the Backend lists them.
fn deliveries(client: &Client) -> Vec<Value> {
    let page = client.get("/v1/tasks/deliveries?limit=500").expect(200);
    let mut items = page.json()["items"].as_array().expect("items").clone();
    items.retain(|item| item["alert_id"].is_string());
    items
}

#[test]
fn a_receiver_that_dies_and_comes_back_is_told_once_each_for_both_services() {
    let (operator, receiver) = (Peer::receiver(), Peer::receiver());
    receiver.react(|_| Reaction::HangUp);
    let service = told_to(&operator)
        .set("callback.default_headers", "X-Gateway=let-me-in")
        .start();
    let client = service.client();
    tell(&client, &receiver);
    wait_until_shut(&client, &receiver, 2);
    let shut = operator.wait_for_callback("receiver.shut");
    receiver.react(|_| Reaction::Answer(204));
    let open = operator.wait_for_callback("receiver.open");
    for alert in [&shut, &open] {
        assert_signed(alert, SECRET);
        assert!(alert.is("POST", "/alerts"));
        assert_eq!(alert.header("x-gateway"), Some("let-me-in"));
        assert_eq!(alert.json()["data"]["count"], 1);
        assert_eq!(origins(alert), [receiver.url("")]);
    }
    receiver.wait_for_callbacks("task.completed", 5);
    receiver.wait_for_callbacks("speech.completed", 5);
    eventually("both are delivered", || {
        let mut all = deliveries(&client);
        all.retain(|one| one["status"] == "delivered");
        (all.len() == 2).then_some(())
    });
    for kind in ["receiver.shut", "receiver.open"] {
        assert_eq!(operator.callbacks(kind).len(), 1, "{kind}");
    }
    let of_speech = client.get("/v1/speech/deliveries?limit=500").expect(200);
    assert!(
        !of_speech.text().contains("alert_id"),
        "told by one of the two"
    );
}

#[test]
fn deliveries_that_are_given_up_are_gathered_and_none_is_missing() {
    const SPEECHES: usize = 20;
    let (operator, receiver, gate) = (Peer::receiver(), Peer::receiver(), Gate::default());
    let held = gate.clone();
    receiver.react(move |_| Reaction::After(held.clone(), Reaction::Answer(500).into()));
    let service = told_to(&operator)
        .set("callback.schedule", "0")
        .set("callback.total_timeout_s", 600)
        .start();
    let client = service.client();
    for _ in 0..SPEECHES {
        let body = json!({"text": "Chào.", "voice": "test/silence", "format": "wav",
            "callback_url": receiver.url("/hook?secret"), "callback_check": false});
        client.post("/v1/speech", &body).expect(202);
    }
    // As many as are sent at once to who has not answered yet.
    receiver.wait_for_callbacks("speech.completed", 8);
    gate.open();
    let alerts = operator.wait_for("all of them", |requests| {
        let of_kind = |told: &&Request| told.kind().as_deref() == Some("delivery.exhausted");
        let alerts: Vec<Request> = requests.iter().filter(of_kind).cloned().collect();
        let counts = alerts
            .iter()
            .map(|one| one.json()["data"]["count"].as_u64());
        let count: u64 = counts.map(|count| count.expect("a count")).sum();
        assert!(count <= SPEECHES as u64);
        (count == SPEECHES as u64).then_some(alerts)
    });
    assert_signed(&alerts[0], SECRET);
    let alert = alerts[0].json();
    let example = &alert["data"]["examples"][0];
    let (speech, delivery) = (&example["speech_id"], &example["delivery_id"]);
    let path = format!("/v1/speech/deliveries/{}", delivery.as_str().unwrap());
    let shown = client.get(&path).expect(200).json();
    assert_eq!(
        (&shown["speech_id"], &shown["status"]),
        (speech, &json!("exhausted"))
    );
    assert_eq!(example["origin"], receiver.url(""));
    assert!(!alert.to_string().contains("secret"));
    let id = alerts[0].header("webhook-id").unwrap();
    let id = id.trim_start_matches("msg_");
    let path = format!("/v1/tasks/deliveries/{id}");
    client
        .post(&format!("{path}/redeliver"), &json!({}))
        .expect(202);
    operator.wait_for("the same again", |requests| {
        let same = |told: &&Request| told.header("webhook-id") == alerts[0].header("webhook-id");
        let same: Vec<_> = requests.iter().filter(same).collect();
        (same.len() == 2).then(|| assert_eq!(same[0].body(), same[1].body()))
    });
    // None of it is told as if it were a task's.
    let shown = client.get(&path).expect(200).json();
    assert_eq!(shown["alert_id"], alert["data"]["id"]);
    assert!(shown["task_id"].is_null());
}

/// The first client's rows are kept without a name.
#[test]
fn an_alert_is_no_clients_and_not_the_first_ones_either() {
    let disk = Disk::plain();
    let folder = disk.folder().to_owned();
    let [first, admin] = [("web", "submit,read"), ("boss", "admin")]
        .map(|(name, scopes)| add(&folder, name, scopes));
    let (operator, receiver) = (Peer::receiver(), Peer::receiver());
    receiver.react(|_| Reaction::Answer(500));
    let service = told_to(&operator)
        .set("callback.schedule", "0")
        .set("callback.allow_cidrs", "127.0.0.0/8")
        .known_key(&admin)
        .start_on(disk);
    let [first, admin] = [first, admin].map(|key| with(&service, &key));
    let body = json!({"text": "Chào.", "voice": "test/silence", "format": "wav",
        "callback_url": receiver.url("/hook"), "callback_check": false});
    first.post("/v1/speech", &body).expect(202);
    operator.wait_for_callback("delivery.exhausted");
    let alert = eventually("it is delivered", || {
        let mut all = deliveries(&admin).into_iter();
        all.find(|one| one["status"] == "delivered")
    });
    let path = format!("/v1/tasks/deliveries/{}", alert["id"].as_str().unwrap());
    let redeliver = format!("{path}/redeliver");
    assert!(deliveries(&first).is_empty());
    first.get(&path).expect_problem(404, "not_found");
    first.ask(&redeliver).expect_problem(404, "not_found");
    let all = first.ask("/v1/tasks/deliveries/redeliver?status=delivered");
    assert_eq!(all.expect(200).json()["redelivered"], 0);
    let untouched = admin.get(&path).expect(200).json();
    assert_eq!(untouched["round"], 1, "{untouched}");
    admin.ask(&redeliver).expect(202);
}

#[test]
fn an_operator_who_is_away_hears_all_when_he_is_back_also_after_a_kill_and_nothing_of_himself() {
    let (operator, receiver) = (Peer::receiver(), Peer::receiver());
    for peer in [&operator, &receiver] {
        peer.react(|_| Reaction::HangUp);
    }
    let mut service = told_to(&operator).start();
    let client = service.client();
    tell(&client, &receiver);
    wait_until_shut(&client, &receiver, 2);
    wait_until_shut(&client, &operator, 1);
    let before = deliveries(&client);
    assert_eq!(before.len(), 1);
    service.kill();
    service.start();
    let client = service.client();
    // It is still shut, which the operator is owed to be told once.
    wait_until_shut(&client, &receiver, 2);
    operator.react(|_| Reaction::Answer(204));
    let delivery = format!("/v1/tasks/deliveries/{}", before[0]["id"].as_str().unwrap());
    eventually("it is delivered", || {
        let delivery = client.get(&delivery).expect(200).json();
        (delivery["status"] == "delivered").then_some(())
    });
    receiver.react(|_| Reaction::Answer(204));
    let open = operator.wait_for_callback("receiver.open");
    assert_signed(&open, SECRET);
    assert_eq!(origins(&open), [receiver.url("")]);
    let all = deliveries(&client);
    assert_eq!(all.len(), 2, "{all:?}");
    for told in operator.requests() {
        assert_eq!(origins(&told), [receiver.url("")]);
    }
}

#[test]
fn a_disk_that_keeps_nothing_is_told_while_it_does_and_the_alert_is_kept_later() {
    let operator = Peer::receiver();
    let service = told_to(&operator)
        .set("limits.min_free_bytes", 0)
        .start_on(Disk::failing());
    let client = service.client();
    service.disk().fail("full");
    let body = json!({"text": "Chào.", "voice": "test/silence", "format": "wav"});
    eventually("a task is refused", || {
        (client.post("/v1/tasks", &body).status == 503).then_some(())
    });
    let alert = operator.wait_for_callback("disk.failing");
    assert_signed(&alert, SECRET);
    let told = alert.json();
    assert_eq!(told["data"]["resolved"], false);
    let example = &told["data"]["examples"][0];
    assert!(
        example["error"].as_str().unwrap().contains("full"),
        "{told}"
    );
    client.get("/health/ready").expect(503);
    assert!(deliveries(&client).is_empty());
    service.disk().heal();
    let kept = eventually("it is kept", || {
        let all = deliveries(&client);
        all.into_iter().find(|one| one["type"] == "disk.failing")
    });
    assert_eq!(kept["status"], "delivered");
    assert_eq!(kept["alert_id"], told["data"]["id"]);
    let id = format!("msg_{}", kept["id"].as_str().unwrap());
    assert_eq!(alert.header("webhook-id"), Some(id.as_str()));
    assert_eq!(kept["attempts"].as_array().unwrap().len(), 1);
}

#[test]
fn an_engine_that_cannot_be_started_is_told() {
    let operator = Peer::receiver();
    let folder = tempfile::tempdir().unwrap();
    let settings = [
        ("role", "tts".to_owned()),
        ("server.listen", "127.0.0.1:0".to_owned()),
        ("data_dir", folder.path().display().to_string()),
        ("alerts.callback_url", operator.url("/alerts")),
        ("tts.workers", "1".to_owned()),
        ("callback.secrets", SECRET.to_owned()),
    ];
    let settings = settings.map(|(key, value)| (key.to_owned(), value));
    let config = Config::from_sources(None, &[], &settings).expect("a configuration");
    let (stop, stopped) = oneshot::channel::<()>();
    let thread = std::thread::spawn(move || {
        let around = Environment {
            program: PathBuf::from("/nowhere/hoiam"),
            stop: Box::pin(async move { drop(stopped.await) }),
            ..Environment::default()
        };
        let system = actix_web::rt::System::new();
        system.block_on(app::run(config, around)).expect("a start");
    });
    let alert = operator.wait_for_callback("engine.failing");
    assert_signed(&alert, SECRET);
    let told = alert.json();
    assert_eq!(told["data"]["resolved"], false);
    let example = &told["data"]["examples"][0];
    assert!(
        example["error"]
            .as_str()
            .unwrap()
            .contains("could not be started"),
        "{told}"
    );
    drop(stop);
    thread.join().expect("an end in order");
}

fn serve(folder: &Path, url: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hoiam"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("HOIAM")) {
        command.env_remove(name);
    }
    command
        .env("HOIAM__ALERTS__CALLBACK_URL", url)
        .args(["serve", "--listen", "127.0.0.1:0", "--data-dir"])
        .arg(folder)
        .output()
        .unwrap()
}

#[test]
fn a_url_that_must_not_be_called_refuses_the_start_and_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    for (url, said) in [
        ("http://10.0.0.7/alerts", "callback.allow_cidrs"),
        ("http://169.254.169.254/", "No setting allows"),
        ("https://me:secret@example.com/", "Leave them out"),
        ("ftp://example.com/", "an http or https URL"),
        ("http://example.com:0/", "port"),
    ] {
        let output = serve(folder.path(), url);
        assert!(!output.status.success());
        let code = output.status.code().unwrap();
        assert_refused(&output, code, "alerts.callback_url");
        assert_refused(&output, code, said);
    }
}
