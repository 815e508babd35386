//! A machine that is started with a clock years ahead: nothing is lost by it, a
//! person is told, and decides.

use std::fs;
use std::process::Command;
use std::sync::Arc;

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::cli::{hoiam, json as answer};
use crate::deadlines::ms;
use crate::support::chain::submit;
use crate::support::{Chain, Client, Service, Wall, eventually};

const YEARS: i64 = 3 * 365 * 24;
const DAY_MS: i64 = 86_400_000;

/// In both databases of a stopped service.
fn change(service: &Service, sql: impl Fn(&str) -> String) {
    for (file, table) in [("backend.db", "tasks"), ("tts.db", "speeches")] {
        let path = service.folder().join(file);
        let mut conn = SqliteConnection::establish(path.to_str().unwrap()).unwrap();
        conn.batch_execute(&sql(table)).unwrap();
    }
}

/// The next start of a stopped service is the first of this boot.
fn start_machine_anew(service: &Service) {
    change(service, |_| {
        let was = r#"'"boot_id":"'"#;
        format!(
            "UPDATE meta SET value = replace(value, {was}, {was} || 'not-') WHERE key = 'clock'"
        )
    });
}

fn completed(client: &Client) -> String {
    let task = submit(client, json!({}));
    client.wait_for_status(&task, "completed");
    // Else it is not old enough to go, however old it is.
    client.wait_until(&Chain::speech(&task), "told", |speech| {
        speech["callback"]["status"] == "delivered"
    });
    task
}

/// What `/health/ready` of a service that is ready warns of.
fn warnings(client: &Client) -> Vec<Value> {
    let ready = client.get("/health/ready").expect(200).json();
    assert_eq!(ready["status"], "ready");
    ready["warnings"].as_array().cloned().unwrap_or_default()
}

/// The one look of the doctor at the clock, as status and detail.
fn doctor(service: &Service, wall: &Wall) -> (String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hoiam"));
    wall.show(&mut command);
    command.args(["doctor", "--json", "--listen", "127.0.0.1:0", "--data-dir"]);
    let report = answer(&command.arg(service.folder()).output().unwrap());
    let checks = report["checks"].as_array().unwrap().iter();
    let mut clock = checks.filter(|check| check["check"] == "clock");
    let clock = clock.next().unwrap();
    let text = |key: &str| clock[key].as_str().unwrap().to_owned();
    (text("status"), text("detail"))
}

#[track_caller]
fn accept(service: &Service) -> Value {
    let arguments = ["clock", "accept", "--json", "--url", &service.url()];
    let output = hoiam(service.folder(), &arguments);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    answer(&output)
}

/// A stopped service with two tasks, and the time it is to be started at: the machine
/// is started anew, and its clock is three years ahead.
fn years_ahead() -> (Service, Arc<Wall>, [String; 2]) {
    let wall = Arc::new(Wall::new());
    let mut service = Service::all().wall(&wall).start();
    let tasks = [(); 2].map(|()| completed(&service.client()));
    service.terminate();
    start_machine_anew(&service);
    wall.set_off_by_hours(YEARS);
    (service, wall, tasks)
}

#[test]
fn a_clock_that_starts_years_ahead_removes_nothing_until_it_is_accepted() {
    let (mut service, _wall, [old, young]) = years_ahead();
    // One is old by any clock: once it is gone, retention has looked.
    change(&service, |table| {
        let first = format!("(SELECT min(id) FROM {table})");
        format!("UPDATE {table} SET ended_at = ended_at - 40 * {DAY_MS} WHERE id = {first}")
    });
    let unnamed = format!("files/tts/00/{}-1.wav", Uuid::now_v7());
    let unnamed = service.folder().join(unnamed);
    fs::write(&unnamed, "of a worker that died").unwrap();
    service.start();
    let client = service.client();
    eventually("retention has looked", || {
        let removed = service.log().matches("old rows are removed").count();
        (removed == 2).then_some(())
    });
    assert_eq!(client.get(&old).status, 404);
    client.get(&format!("{young}/audio.wav")).expect(200);
    assert!(unnamed.exists());
    let told = warnings(&client);
    assert_eq!(told.len(), 1);
    for text in [told[0].as_str().unwrap(), &service.log()] {
        assert!(text.contains("more than a week ahead"), "{text}");
        assert!(text.contains("`hoiam clock accept`"), "{text}");
    }
    // Work goes on, in the time before the jump.
    let created_at = ms(&client.get(&completed(&client)).json()["created_at"]);
    let now = i64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap();
    assert!((created_at - now).abs() < DAY_MS);

    let accepted = accept(&service);
    assert_eq!(accepted["accepted"], true);
    assert!(ms(&accepted["now"]) - now > 1000 * DAY_MS, "{accepted}");
    assert_eq!(warnings(&client), Vec::<Value>::new());
    eventually("what is old by the clock is removed", || {
        let is_gone = client.get(&young).status == 404 && !unnamed.exists();
        is_gone.then_some(())
    });
    assert_eq!(accept(&service)["accepted"], false);
    service.kill();
    service.start();
    assert_eq!(warnings(&service.client()), Vec::<Value>::new());
}

#[test]
fn a_clock_that_was_years_ahead_is_followed_when_it_comes_back() {
    let (mut service, wall, [_, young]) = years_ahead();
    let (status, detail) = doctor(&service, &wall);
    assert_eq!(status, "warning");
    assert!(detail.contains("more than a week ahead"), "{detail}");
    service.start();
    completed(&service.client());
    // On the same boot only what the last commit has kept tells of it.
    service.kill();
    service.start();
    let client = service.client();
    assert_eq!(warnings(&client).len(), 1);
    assert_eq!(doctor(&service, &wall).0, "warning");
    wall.set_off_by_hours(6 * 24);
    assert_eq!(warnings(&client), Vec::<Value>::new());
    eventually("it is logged", || {
        let is_told = service.log().contains("follows the machine's clock again");
        is_told.then_some(())
    });
    client.get(&format!("{young}/audio.wav")).expect(200);
    let created_at = ms(&client.get(&completed(&client)).json()["created_at"]);
    let now = i64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap();
    assert!((5..7).contains(&((created_at - now) / DAY_MS)));
    assert_eq!(doctor(&service, &wall).0, "ok");
}
