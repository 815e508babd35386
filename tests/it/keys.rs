//! Keys with names and scopes: what each client sees, and what each key may do.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use diesel::{Connection as _, QueryableByName, RunQueryDsl as _, SqliteConnection};
use serde_json::{Value, json};

use crate::cli::{assert_refused, hoiam, json};
use crate::support::chain::submit;
use crate::support::disk::Disk;
use crate::support::http::EventStream;
use crate::support::{Chain, Client, Peer, Reaction, Service, eventually};

const KEY: &str = "a-key-of-the-configuration";

/// `hoiam keys` of this data folder.
fn keys(folder: &Path, arguments: &[&str]) -> Output {
    let folder_of_data = folder.to_str().unwrap();
    let all = [&["keys"], arguments, &["--data-dir", folder_of_data]].concat();
    hoiam(folder, &all)
}

/// Adds a key and gives it.
#[track_caller]
pub fn add(folder: &Path, name: &str, scopes: &str) -> String {
    let added = keys(folder, &["add", name, "--scope", scopes, "--json"]);
    json(&added)["key"].as_str().unwrap().to_owned()
}

#[track_caller]
fn revoke(folder: &Path, name: &str) {
    let revoked = keys(folder, &["revoke", name]);
    assert!(revoked.status.success(), "{revoked:?}");
}

pub fn with(service: &Service, key: &str) -> Client {
    Client::new(service.address(), Some(key))
}

/// What is in the list, which has one page.
#[track_caller]
fn ids(client: &Client, list: &str) -> Vec<String> {
    let list = client.get(list).expect(200).json();
    let items = list["items"].as_array().unwrap().iter();
    items
        .map(|item| item["id"].as_str().unwrap().to_owned())
        .collect()
}

fn id(path: &str) -> &str {
    path.rsplit('/').next().unwrap()
}

/// An answer without what is any answer's own.
fn said(client: &Client, method: &str, path: &str) -> (u16, Value) {
    let answer = client.send(method, path, &[], None);
    let mut body: Value = serde_json::from_slice(answer.body()).unwrap_or(Value::Null);
    for own in ["request_id", "instance"] {
        body[own] = Value::Null;
    }
    (answer.status, body)
}

#[test]
fn a_client_sees_and_changes_its_own_and_nothing_of_anybody_elses() {
    let disk = Disk::plain();
    let folder = disk.folder().to_owned();
    let admin = add(&folder, "boss", "admin");
    let [mine, other] = ["mine", "other"].map(|name| add(&folder, name, "submit,read"));
    let receiver = Peer::receiver();
    receiver.react(|request| match request.method.as_str() {
        "POST" => Reaction::Answer(500),
        _ => Reaction::Answer(204),
    });
    let service = Service::all()
        .known_key(&admin)
        .set("callback.allow_cidrs", "127.0.0.0/8")
        .set("callback.schedule", "0")
        .start_on(disk);
    let [admin, mine, other] = [admin, mine, other].map(|key| with(&service, &key));
    let body = json!({
        "text": "Xin chào.", "voice": "test/silence", "format": "wav",
        "reference": "of-mine", "callback_url": receiver.url("/hook"),
    });
    let task = "/v1/tasks/0199aaaa-0000-7000-8000-000000000001";
    mine.put(task, &body).expect(202);
    let own_speech = "/v1/speech/0199aaaa-0000-7000-8000-000000000002";
    // Nobody but the Backend says whose work it brings.
    let header = [("hoiam-client", "other")];
    mine.send("PUT", own_speech, &header, Some(&body))
        .expect(202);
    let exhausted = |object: &Value| object["callback"]["status"] == "exhausted";
    mine.wait_until(task, "exhausted", exhausted);
    mine.wait_until(own_speech, "exhausted", exhausted);
    // The task was handed over as its client's.
    let speech = Chain::speech(task);
    mine.wait_for_status(&speech, "completed");

    for (subject, collection, operations) in [
        (task, "/v1/tasks", &["cancel", "retry"][..]),
        (speech.as_str(), "/v1/speech", &["cancel"][..]),
        (own_speech, "/v1/speech", &["cancel"][..]),
    ] {
        let deliveries = format!("{collection}/deliveries");
        let delivery = mine.get(subject).expect(200).json()["callback"]["delivery_id"].clone();
        let delivery = format!("{deliveries}/{}", delivery.as_str().unwrap());
        let redeliver = format!("{delivery}/redeliver");
        let mut routes: Vec<(&str, String)> = vec![
            ("GET", subject.to_owned()),
            ("HEAD", subject.to_owned()),
            ("DELETE", subject.to_owned()),
            ("GET", delivery.clone()),
            ("POST", redeliver.clone()),
        ];
        for file in [
            "events",
            "audio.wav",
            "words.json",
            "marks.jsonl",
            "subtitles.srt",
        ] {
            routes.push(("GET", format!("{subject}/{file}")));
        }
        for operation in operations {
            routes.push(("POST", format!("{subject}/{operation}")));
        }
        for (method, path) in routes {
            let unknown = "0199aaaa-0000-7000-8000-00000000ffff";
            let nothing = path
                .replace(id(subject), unknown)
                .replace(id(&delivery), unknown);
            let (status, told) = said(&other, method, &path);
            assert_eq!(status, 404, "{method} {path}: {told}");
            assert_eq!(told, said(&other, method, &nothing).1, "{method} {path}");
        }
        for list in [
            collection,
            &deliveries,
            &format!("{collection}?reference=of-mine"),
        ] {
            assert_eq!(ids(&other, list), [""; 0], "{list}");
            assert!(
                !ids(&mine, list).is_empty() && !ids(&admin, list).is_empty(),
                "{list}"
            );
        }
        let all = other.ask(&format!("{deliveries}/redeliver")).expect(200);
        assert_eq!(all.json()["redelivered"], 0);
        let untouched = mine.get(&delivery).expect(200).json();
        assert_eq!(untouched["round"], 1, "{untouched}");
        for repeat in [
            &body,
            &json!({ "text": "Another.", "voice": "test/silence" }),
        ] {
            let conflict = other.put(subject, repeat);
            assert!(!conflict.text().contains("of-mine"));
            let told = conflict.expect_problem(422, "idempotency_conflict");
            assert!(
                told["detail"].as_str().unwrap().contains("another request"),
                "{told}"
            );
        }
        for seeing in [&mine, &admin] {
            for path in [
                subject,
                &delivery,
                &format!("{subject}/audio.wav"),
                &format!("{subject}/events"),
            ] {
                seeing.get(path).expect(200);
            }
        }
    }
    let asked = json!({ "ids": [id(task), id(own_speech)] });
    let statuses = |client: &Client| {
        let answer = client.post("/v1/speech/statuses", &asked).expect(200);
        answer.json()["items"].as_array().unwrap().len()
    };
    assert_eq!([&mine, &other, &admin].map(statuses), [2, 0, 2]);

    // It all is as it was, and its client's to change.
    mine.put(task, &body).expect(200);
    let by_admin = admin.ask(&format!("{task}/retry")).expect(202).json();
    let by_admin = format!("/v1/tasks/{}", by_admin["id"].as_str().unwrap());
    mine.wait_until(&by_admin, "told", exhausted);
    other.get(&by_admin).expect_problem(404, "not_found");
    for deliveries in ["/v1/tasks/deliveries", "/v1/speech/deliveries"] {
        let all = mine.ask(&format!("{deliveries}/redeliver")).expect(200);
        assert_ne!(all.json()["redelivered"], 0, "{deliveries}");
    }
    for subject in [task, own_speech] {
        mine.wait_until(subject, "exhausted", exhausted);
        mine.delete(subject).expect(204);
        admin.get(subject).expect_problem(404, "not_found");
    }
}

#[test]
fn the_feed_of_a_client_brings_its_own_events_and_those_that_it_has_missed() {
    let disk = Disk::plain();
    let folder = disk.folder().to_owned();
    let admin = add(&folder, "boss", "admin");
    let [mine, other] = ["mine", "other"].map(|name| add(&folder, name, "submit,read"));
    let service = Service::all().known_key(&admin).start_on(disk);
    let [admin, mine, other] = [admin, mine, other].map(|key| with(&service, &key));
    let (feed, of_all) = (
        mine.stream("/v1/events", None),
        admin.stream("/v1/events", None),
    );
    let task = |client| submit(client, json!({ "voice": "test/silence" }));
    let [of_other, of_mine, last_of_other] = [&other, &mine, &other].map(task);
    for (client, task) in [
        (&other, &of_other),
        (&mine, &of_mine),
        (&other, &last_of_other),
    ] {
        client.wait_for_status(task, "completed");
    }
    let last = task(&mine);
    // All of its own up to a task that came after everything else, and nothing more.
    let subjects = |feed: EventStream, last: &str| {
        let mut subjects = Vec::new();
        for event in feed {
            let subject = event.data["task_id"].as_str().unwrap().to_owned();
            let is_last = subject == id(last);
            if !subjects.contains(&subject) {
                subjects.push(subject);
            }
            if is_last {
                break;
            }
        }
        subjects
    };
    assert_eq!(subjects(feed, &last), [id(&of_mine), id(&last)]);
    let of_all = subjects(of_all, &last);
    for task in [&of_other, &of_mine, &last_of_other] {
        assert!(of_all.contains(&id(task).to_owned()), "{of_all:?}");
    }
    let from_the_first = mine.stream("/v1/events", Some("0"));
    assert_eq!(subjects(from_the_first, &last), [id(&of_mine), id(&last)]);
}

#[test]
fn the_streams_of_a_key_that_may_read_no_more_end_and_are_not_begun_again() {
    let service = Service::all().start();
    let folder = service.folder().to_owned();
    let nobody = Client::new(service.address(), None);
    let task = submit(&nobody, json!({ "voice": "test/silence" }));
    nobody.wait_for_status(&task, "completed");
    let events = format!("{task}/events");
    let open = |client: &Client| ["/v1/events", &events].map(|path| client.stream(path, Some("0")));
    let wait_for_ends = |streams: [EventStream; 2]| {
        let ends = streams.map(|stream| std::thread::spawn(|| stream.for_each(drop)));
        eventually("both have ended", || {
            ends.iter().all(|end| end.is_finished()).then_some(())
        });
    };
    let refused = |client: &Client| {
        for path in ["/v1/events", &events] {
            client.get(path).expect_problem(401, "unauthorized");
        }
    };
    let of_nobody = open(&nobody);
    let first = with(&service, &add(&folder, "first", "submit,read"));
    wait_for_ends(of_nobody);
    refused(&nobody);

    let mut of_first = open(&first);
    let admin = with(&service, &add(&folder, "boss", "admin"));
    eventually("the second key is known", || {
        (admin.get(&task).status == 200).then_some(())
    });
    // That another key comes or goes ends nothing.
    let mut of_admin = admin.stream("/v1/events", None);
    let hear = |feed: &mut EventStream| {
        let new = submit(&admin, json!({ "voice": "test/silence" }));
        assert!(feed.any(|event| event.data["task_id"] == id(&new)));
    };
    hear(&mut of_admin);
    let own = submit(&first, json!({ "voice": "test/silence" }));
    assert!(of_first[0].any(|event| event.data["task_id"] == id(&own)));
    revoke(&folder, "first");
    wait_for_ends(of_first);
    refused(&first);
    hear(&mut of_admin);
}

/// Each path with its methods and who may use them, written down a second time.
const ROUTES: &[(&str, &[(&str, &str)])] = &[
    ("/metrics", &[("GET", "any")]),
    ("/v1/voices", &[("GET", "any")]),
    ("/v1/system", &[("GET", "admin")]),
    ("/v1/clock/accept", &[("POST", "admin")]),
    ("/v1/events", &[("GET", "read")]),
    ("/v1/callback-checks", &[("POST", "submit")]),
    (
        "/v1/speech/statuses",
        &[
            ("POST", "read"),
            ("GET", "read"),
            ("PUT", "submit"),
            ("DELETE", "submit"),
        ],
    ),
    ("{}", &[("GET", "read"), ("POST", "submit")]),
    (
        "{}/deliveries",
        &[("GET", "read"), ("PUT", "submit"), ("DELETE", "submit")],
    ),
    (
        "{}/deliveries/redeliver",
        &[("POST", "submit"), ("GET", "read")],
    ),
    (
        "{}/deliveries/0199aaaa-0000-7000-8000-00000000ffff",
        &[("GET", "read")],
    ),
    (
        "{}/deliveries/0199aaaa-0000-7000-8000-00000000ffff/redeliver",
        &[("POST", "submit")],
    ),
    (
        "{}/0199aaaa-0000-7000-8000-00000000ffff",
        &[("GET", "read"), ("PUT", "submit"), ("DELETE", "submit")],
    ),
    (
        "{}/0199aaaa-0000-7000-8000-00000000ffff/cancel",
        &[("POST", "submit"), ("GET", "read")],
    ),
    (
        "/v1/tasks/0199aaaa-0000-7000-8000-00000000ffff/retry",
        &[("POST", "submit"), ("GET", "read")],
    ),
    (
        "{}/0199aaaa-0000-7000-8000-00000000ffff/events",
        &[("GET", "read")],
    ),
    (
        "{}/0199aaaa-0000-7000-8000-00000000ffff/audio.mp3",
        &[("GET", "read")],
    ),
    ("/nothing/here", &[]),
];

#[test]
fn a_key_does_what_its_scopes_name_on_every_route() {
    const METHODS: [&str; 6] = ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH"];
    let disk = Disk::plain();
    let scopes = ["submit", "read", "admin"];
    let keys = scopes.map(|scope| add(disk.folder(), scope, scope));
    let service = Service::all().known_key(&keys[2]).start_on(disk);
    let clients = keys.map(|key| with(&service, &key));
    let nobody = Client::new(service.address(), None);
    let of_both = ["/v1/tasks", "/v1/speech"];
    for (pattern, listed) in ROUTES {
        for collection in &of_both[..if pattern.contains("{}") { 2 } else { 1 }] {
            let path = pattern.replace("{}", collection);
            for method in METHODS {
                // A stream has no end that GET could wait for.
                if method == "GET" && path == "/v1/events" {
                    continue;
                }
                let as_routed = if method == "HEAD" { "GET" } else { method };
                let needed = listed.iter().find(|(listed, _)| *listed == as_routed);
                let needed = needed.map_or("admin", |(_, needed)| *needed);
                let what = format!("{method} {path}");
                assert_eq!(nobody.send(method, &path, &[], None).status, 401, "{what}");
                for (scope, client) in scopes.iter().zip(&clients) {
                    let answer = client.send(method, &path, &[], None);
                    let may = [scope, "any"].contains(&needed) || *scope == "admin";
                    // What has no path here is not there, also for whom all else is shut.
                    if listed.is_empty() {
                        assert_eq!(answer.status, 404, "{what} by {scope}");
                        continue;
                    }
                    assert_eq!(
                        answer.status != 403,
                        may,
                        "{what} by {scope}: {}",
                        answer.status
                    );
                    assert!(
                        !may || !answer.text().contains("no such path"),
                        "{what} by {scope} is routed and not listed"
                    );
                    if !may && method != "HEAD" {
                        let told = answer.expect_problem(403, "wrong_scope");
                        let detail = told["detail"].as_str().unwrap();
                        assert!(detail.contains(&format!("--scope {needed}")), "{detail}");
                    }
                }
                // What is not listed is not there.
                let is_listed = listed.iter().any(|(listed, _)| *listed == as_routed);
                let status = clients[2].send(method, &path, &[], None).status;
                assert!(
                    is_listed || [404, 405].contains(&status),
                    "{what}: {status}"
                );
            }
            for client in &clients {
                assert!(
                    client.send("OPTIONS", &path, &[], None).status < 405,
                    "{path}"
                );
            }
            nobody.send("OPTIONS", &path, &[], None).expect(401);
        }
    }
    for open in [
        "/",
        "/health/live",
        "/health/ready",
        "/problems/wrong_scope",
    ] {
        nobody.get(open).expect(200);
    }
    assert_eq!(
        nobody.send("OPTIONS", "/v1/callbacks", &[], None).status,
        200
    );
}

#[test]
fn keys_that_come_and_go_are_heard_without_a_restart() {
    let mut service = Service::all().start();
    let folder = service.folder().to_owned();
    let nobody = Client::new(service.address(), None);
    let old = submit(&nobody, json!({}));
    nobody.wait_for_status(&old, "completed");

    let first = with(&service, &add(&folder, "first", "submit,read"));
    let second_key = add(&folder, "second", "submit,read");
    let second = with(&service, &second_key);
    eventually("a key is asked for", || {
        (nobody.get("/v1/tasks").status == 401).then_some(())
    });
    eventually("the second key is known", || {
        (second.get("/v1/tasks").status == 200).then_some(())
    });
    // The two services of the process still speak to each other.
    let new = submit(&second, json!({}));
    second.wait_for_status(&new, "completed");
    second.get(&Chain::speech(&new)).expect(200);
    assert_eq!(ids(&second, "/v1/tasks"), [id(&new)]);
    for list in ["/v1/tasks", "/v1/speech"] {
        assert_eq!(
            ids(&first, list),
            [id(&old)],
            "what is old is the first key's"
        );
    }

    revoke(&folder, "first");
    eventually("a revoked key is unknown", || {
        (first.get("/v1/tasks").status == 401).then_some(())
    });
    let file = folder.join("keys.json");
    let good = fs::read(&file).unwrap();
    fs::write(&file, "{").unwrap();
    let warned = |is_warned: bool| {
        let ready = nobody.get("/health/ready").expect(200).json();
        let warnings = ready["warnings"].to_string();
        assert!(!warnings.contains(folder.to_str().unwrap()), "{warnings}");
        (warnings.contains("keys.json") == is_warned).then_some(())
    };
    eventually("it says that the keys cannot be read", || warned(true));
    second.get(&new).expect(200);
    fs::write(&file, &good).unwrap();
    eventually("it is well again", || warned(false));

    service.kill();
    fs::write(&file, "{").unwrap();
    assert_eq!(service.start_and_die().code(), Some(1));
    assert!(
        service
            .log()
            .contains("keys.json cannot be read as API keys"),
        "{}",
        service.log()
    );
    fs::write(&file, &good).unwrap();
    service.start();
    assert_eq!(ids(&second, "/v1/tasks"), [id(&new)]);
    let again = with(&service, &add(&folder, "first", "read"));
    eventually("the first client is known again", || {
        (again.get("/v1/tasks").status == 200).then_some(())
    });
    assert_eq!(ids(&again, "/v1/tasks"), [id(&old)]);
    revoke(&folder, "first");
    revoke(&folder, "second");
    eventually("the last key is unknown", || {
        (second.get("/v1/tasks").status == 401).then_some(())
    });
    nobody.get("/v1/tasks").expect_problem(401, "unauthorized");
}

#[derive(QueryableByName)]
struct Named {
    #[diesel(sql_type = diesel::sql_types::Text)]
    client: String,
}

/// Whose the newest row of this table is, as it is kept.
fn kept_client(service: &Service, file: &str, table: &str) -> String {
    let path = service.folder().join(file);
    let mut conn = SqliteConnection::establish(path.to_str().unwrap()).unwrap();
    let newest = format!("SELECT client FROM {table} ORDER BY created_at DESC, id DESC LIMIT 1");
    let row: Named = diesel::sql_query(newest).get_result(&mut conn).unwrap();
    row.client
}

#[test]
fn a_hand_over_says_whose_task_it_is() {
    let disk = Disk::plain();
    let one = add(disk.folder(), "one", "submit,read");
    let two = add(disk.folder(), "two", "submit,read");
    let service = Service::all().api_key(KEY).start_on(disk);
    for (key, is_named) in [(KEY, ""), (&one, "one"), (&two, "two")] {
        let client = with(&service, key);
        let task = submit(&client, json!({}));
        client.wait_for_status(&task, "completed");
        client.get(&Chain::speech(&task)).expect(200);
        assert_eq!(kept_client(&service, "backend.db", "tasks"), is_named);
        assert_eq!(kept_client(&service, "tts.db", "speeches"), is_named);
        assert_eq!(kept_client(&service, "tts.db", "deliveries"), is_named);
    }
}

#[test]
fn a_backend_elsewhere_is_believed_by_its_key_and_nobody_else_is() {
    const OF_BACKEND: &str = "the-key-of-the-backend";
    const OF_ANOTHER: &str = "the-key-of-another-client";
    let chain = Chain::start_with(
        Service::backend()
            .api_key(&format!("{KEY},{KEY}-two"))
            .known_key(KEY)
            .set("backend.tts_api_key", OF_BACKEND)
            .set("callback.allow_cidrs", "127.0.0.0/8"),
        Service::tts()
            .api_key(OF_ANOTHER)
            .set("backend.tts_api_key", OF_BACKEND)
            .set("callback.allow_cidrs", "127.0.0.0/8"),
    );
    let handed_over = |key: &str| {
        let client = with(&chain.backend, key);
        let task = submit(&client, json!({}));
        client.wait_for_status(&task, "completed");
        kept_client(&chain.tts, "tts.db", "speeches")
    };
    assert_eq!(handed_over(KEY), "");
    let second = handed_over(&format!("{KEY}-two"));
    assert!(second.starts_with("key:"), "{second}");
    // It sees nothing of the Backend's, and names nobody.
    let another = with(&chain.tts, OF_ANOTHER);
    let body = json!({ "text": "Xin chào.", "voice": "test/silence" });
    let header = [("hoiam-client", second.as_str())];
    another
        .send("POST", "/v1/speech", &header, Some(&body))
        .expect(202);
    let named = kept_client(&chain.tts, "tts.db", "speeches");
    assert!(named.starts_with("key:") && named != second, "{named}");
}

#[test]
fn keys_are_added_listed_and_revoked_by_command() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let plain = keys(folder, &["add", "web"]);
    assert!(plain.status.success(), "{plain:?}");
    let told = |output: &Output| String::from_utf8_lossy(&output.stderr).into_owned();
    // From now on this machine's own receivers are not called unless they are listed.
    assert!(told(&plain).contains("callback.allow_cidrs"), "{plain:?}");
    let key = String::from_utf8(plain.stdout).unwrap();
    let key = key.strip_suffix('\n').unwrap();
    // Python reads the file and hashes the key that was printed.
    let judge = "import hashlib, json, sys\n\
                 entry, = json.load(open(sys.argv[1]))['keys']\n\
                 assert entry['sha256'] == hashlib.sha256(sys.argv[2].encode()).hexdigest()\n\
                 assert entry['name'] == 'web' and entry['scopes'] == ['submit', 'read'], entry";
    let file = folder.join("keys.json");
    let agrees = Command::new("python3")
        .args(["-c", judge, file.to_str().unwrap(), key])
        .status();
    assert!(agrees.unwrap().success());

    assert_refused(&keys(folder, &["add", "web"]), 1, "hoiam keys revoke web");
    assert_refused(&keys(folder, &["add", "Web"]), 2, "a-z 0-9");
    assert_refused(
        &keys(folder, &["add", "a", "--scope", "all"]),
        2,
        "submit, read and admin",
    );
    assert_refused(&keys(folder, &["revoke", "nobody"]), 1, "hoiam keys list");
    let added = keys(folder, &["add", "boss", "--scope", "admin", "--json"]);
    assert!(!told(&added).contains("callback.allow_cidrs"), "{added:?}");
    let added = json(&added);
    assert_eq!(added["scopes"], json!(["admin"]));
    let configured = format!("server.api_keys={KEY}");
    let list = keys(folder, &["list", "--json", "--set", &configured]);
    let items = json(&list)["items"].clone();
    let column = |name: &str| -> Vec<Value> {
        let items = items.as_array().unwrap().iter();
        items.map(|item| item[name].clone()).collect()
    };
    assert_eq!(column("name")[1..], ["web", "boss"]);
    assert_eq!(
        column("source"),
        ["server.api_keys", "keys.json", "keys.json"]
    );
    let table = String::from_utf8(keys(folder, &["list"]).stdout).unwrap();
    assert!(
        table.contains("submit,read") && !table.contains(key),
        "{table}"
    );

    for left in ["web", "boss"] {
        revoke(folder, left);
    }
    assert_eq!(json(&keys(folder, &["list", "--json"]))["items"], json!([]));
    fs::write(&file, "{").unwrap();
    for refused in [&["add", "web"][..], &["list"], &["revoke", "web"]] {
        assert_refused(
            &keys(folder, refused),
            1,
            "keys.json cannot be read as API keys",
        );
    }
}

/// Where others can connect, the way out of having no key must not ask for one.
#[test]
fn the_first_key_can_be_made_where_the_listener_waits_for_one() {
    let folder = tempfile::tempdir().unwrap();
    let open = [
        "--set",
        "server.listen=0.0.0.0:0",
        "--set",
        "server.public_url=http://voice.example",
    ];
    let config = |code: i32| {
        let shown = hoiam(folder.path(), &[&["config"], &open[..]].concat());
        assert_eq!(shown.status.code(), Some(code), "{shown:?}");
        shown
    };
    assert_refused(&config(2), 2, "hoiam keys add");
    let added = hoiam(
        folder.path(),
        &[&["keys", "add", "web"], &open[..]].concat(),
    );
    assert!(added.status.success(), "{added:?}");
    config(0);
}

#[test]
fn doctor_looks_at_the_keys() {
    let folder = tempfile::tempdir().unwrap();
    let look_with = |more: &[&str]| {
        let told = hoiam(
            folder.path(),
            &[
                &[
                    "doctor",
                    "--json",
                    "--listen",
                    "127.0.0.1:0",
                    "--set",
                    "callback.secrets=whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=",
                ],
                more,
            ]
            .concat(),
        );
        let checks = json(&told)["checks"].clone();
        let mut checks = checks.as_array().unwrap().iter();
        let found = checks.find(|check| check["check"] == "API keys").unwrap();
        let text = |name: &str| found[name].as_str().unwrap_or_default().to_owned();
        (text("status"), text("detail"), text("way_out"))
    };
    let look = || look_with(&["--role", "backend"]);
    // A key of the Backend is asked for by a TTS service that runs alone.
    let of_backend = format!("backend.tts_api_key={KEY}");
    let look_by_tts = || look_with(&["--role", "tts", "--set", &of_backend]);
    assert_eq!(
        (look().0, look().1),
        ("ok".into(), "none are asked for".into())
    );
    assert_eq!(look_by_tts().1, "1 are configured");
    let data = folder.path().join("data");
    fs::create_dir(&data).unwrap();
    add(&data, "web", "read");
    revoke(&data, "web");
    assert_eq!(
        (look().0.as_str(), look_by_tts().0.as_str()),
        ("warning", "ok")
    );
    add(&data, "web", "read");
    let (status, detail, _) = look();
    assert!(
        status == "ok" && detail.starts_with("1 in "),
        "{status} {detail}"
    );
    let file = data.join("keys.json");
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    fs::set_permissions(&file, open).unwrap();
    let (status, _, way_out) = look();
    assert!(
        status == "warning" && way_out.starts_with("chmod 600 "),
        "{way_out}"
    );
    fs::write(&file, "{").unwrap();
    assert_eq!(look().0, "problem");
}
