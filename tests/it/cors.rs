//! Pages of other origins: what they may read, and what not.

use hoiam_api::signature::{Secret, sign_link};
use serde_json::{Value, json};

use super::results::spoken;
use super::support::http::{Answer, Client};
use super::support::service::Service;
use super::support::signed::SECRET;

const KEY: &str = "a-key-of-enough-length";
const APP: &str = "https://app.example.com";
const STRANGER: &str = "https://stranger.example";

/// Every link in an answer, without the service's address.
fn links(service: &Service, object: &Value) -> Vec<String> {
    let mut found = Vec::new();
    let all = [
        &object["audio"]["url"],
        &object["words"],
        &object["marks"],
        &object["subtitles"],
    ];
    for one in all {
        match one {
            Value::String(link) => found.push(link),
            Value::Object(links) => found.extend(links.values().filter_map(|link| match link {
                Value::String(link) => Some(link),
                _ => None,
            })),
            other => panic!("no link: {other}"),
        }
    }
    let path = |link: &String| link.strip_prefix(&service.url()).unwrap().to_owned();
    found.into_iter().map(path).collect()
}

/// A request from a page of `origin`.
fn from_page(client: &Client, origin: &str, method: &str, path: &str) -> Answer {
    client.send(method, path, &[("origin", origin)], None)
}

/// What a browser asks before it sends `method` with `headers`.
fn preflight(client: &Client, origin: &str, path: &str, method: &str, headers: &str) -> Answer {
    let asked = [
        ("origin", origin),
        ("access-control-request-method", method),
        ("access-control-request-headers", headers),
    ];
    client.send("OPTIONS", path, &asked, None)
}

fn readers(answer: &Answer) -> Option<&str> {
    answer.header("access-control-allow-origin")
}

#[track_caller]
fn lists(answer: &Answer, header: &str, wanted: &[&str]) {
    let listed = answer.header(header).expect(header).to_lowercase();
    let listed: Vec<&str> = listed.split(',').map(str::trim).collect();
    for one in wanted {
        assert!(listed.contains(one), "{header}: {listed:?}");
    }
}

#[test]
fn any_page_may_read_every_file_that_it_has_a_link_to() {
    let service = Service::all().api_key(KEY).start();
    let body = json!({ "text": "linked", "voice": "test/silence" });
    let speech = spoken(&service.client(), &body);
    let nobody = Client::new(service.address(), None);
    let links = links(&service, &speech);
    assert_eq!(links.len(), 10, "{links:?}");
    for link in links {
        let asked = preflight(&nobody, STRANGER, &link, "GET", "range");
        assert_eq!(readers(&asked), Some("*"), "{link}");
        lists(&asked, "access-control-allow-methods", &["get", "head"]);
        lists(&asked, "access-control-allow-headers", &["range"]);
        asked.expect(204);
        let whole = from_page(&nobody, STRANGER, "GET", &link).expect(200);
        let tag = whole.header("etag").unwrap();
        let known = [("origin", STRANGER), ("if-none-match", tag)];
        for answer in [
            &whole,
            &from_page(&nobody, STRANGER, "HEAD", &link).expect(200),
            &nobody.get(&link).expect(200),
            &nobody.send("GET", &link, &known, None).expect(304),
        ] {
            assert_eq!(readers(answer), Some("*"), "{link}");
            let seen = ["content-length", "content-range", "accept-ranges", "etag"];
            lists(answer, "access-control-expose-headers", &seen);
        }
    }
    let audio = speech["audio"]["url"].as_str().unwrap();
    let audio = audio.strip_prefix(&service.url()).unwrap();
    let range = [("origin", STRANGER), ("range", "bytes=0-9")];
    let part = nobody.send("GET", audio, &range, None).expect(206);
    assert_eq!(readers(&part), Some("*"));
}

#[test]
fn a_page_may_read_why_its_link_fails() {
    let service = Service::all().api_key(KEY).start();
    let nobody = Client::new(service.address(), None);
    let link = |expires_s: i64| {
        let path = "/v1/speech/01990000-0000-7000-8000-000000000000/audio.mp3";
        let secrets = [Secret::parse(SECRET).unwrap()];
        let signature = sign_link(&secrets, path, expires_s);
        format!("{path}?expires={expires_s}&signature={signature}")
    };
    let (ended, good) = (link(1_700_000_000), link(9_000_000_000));
    for (link, status, code) in [(&ended, 401, "unauthorized"), (&good, 404, "not_found")] {
        let asked = preflight(&nobody, STRANGER, link, "GET", "range").expect(204);
        assert_eq!(readers(&asked), Some("*"), "{link}");
        let told = from_page(&nobody, STRANGER, "GET", link);
        assert_eq!(readers(&told), Some("*"), "{link}");
        told.expect_problem(status, code);
    }
    let told = nobody.get(&ended).expect_problem(401, "unauthorized");
    let detail = told["detail"].as_str().unwrap();
    assert!(detail.contains("has ended"), "{detail}");
    let forged = good.replace("signature=", "signature=x");
    let told = from_page(&nobody, STRANGER, "GET", &forged).expect(401);
    assert_eq!(readers(&told), None);
}

#[test]
fn a_file_without_a_link_that_holds_is_for_no_other_page() {
    let service = Service::all().start();
    let client = service.client();
    let body = json!({ "text": "linked", "voice": "test/silence" });
    let speech = spoken(&client, &body);
    let path = format!("/v1/speech/{}/audio.mp3", speech["id"].as_str().unwrap());
    let secrets = [Secret::parse(SECRET).unwrap()];
    let signature = sign_link(&secrets, &path, 1_700_000_000);
    let ended = format!("{path}?expires=1700000000&signature={signature}");
    let forged = format!("{path}?expires=9000000000&signature={signature}");
    // Without keys this machine may have the file, but not every page on it.
    for path in [path, ended, forged] {
        let answer = from_page(&client, STRANGER, "GET", &path).expect(200);
        assert_eq!(readers(&answer), None, "{path}");
    }
}

#[test]
fn pages_of_configured_origins_may_use_the_service() {
    let service = Service::all()
        .api_key(KEY)
        .set(
            "server.cors_origins",
            format!("{APP},http://localhost:5173"),
        )
        .start();
    let (client, nobody) = (service.client(), Client::new(service.address(), None));
    let headers = "authorization,content-type,idempotency-key";
    for origin in [APP, "http://localhost:5173"] {
        for (path, method) in [("/v1/tasks", "POST"), ("/v1/speech/x", "DELETE")] {
            let asked = preflight(&nobody, origin, path, method, headers).expect(204);
            assert_eq!(readers(&asked), Some(origin));
            lists(&asked, "vary", &["origin"]);
            let allowed: Vec<&str> = headers.split(',').collect();
            lists(&asked, "access-control-allow-headers", &allowed);
            let method = method.to_lowercase();
            lists(&asked, "access-control-allow-methods", &[&method]);
        }
        for (answer, status) in [
            (from_page(&client, origin, "GET", "/v1/tasks"), 200),
            (from_page(&client, origin, "GET", "/v1/tasks/x"), 404),
            (from_page(&client, origin, "PATCH", "/v1/tasks"), 405),
            (from_page(&nobody, origin, "GET", "/v1/tasks"), 401),
        ] {
            assert_eq!(readers(&answer), Some(origin));
            lists(&answer, "vary", &["origin"]);
            let seen = ["location", "retry-after", "x-request-id"];
            lists(&answer, "access-control-expose-headers", &seen);
            answer.expect(status);
        }
    }
}

#[test]
fn pages_of_other_origins_may_not() {
    let service = Service::all()
        .api_key(KEY)
        .set("server.cors_origins", APP)
        .start();
    let (client, nobody) = (service.client(), Client::new(service.address(), None));
    let longer = format!("{APP}.stranger.example");
    for origin in [STRANGER, longer.as_str(), "http://app.example.com", "null"] {
        let asked = preflight(&nobody, origin, "/v1/tasks", "POST", "authorization");
        assert_eq!(readers(&asked), None, "{origin}");
        asked.expect(401);
        let answer = from_page(&client, origin, "GET", "/v1/tasks").expect(200);
        assert_eq!(readers(&answer), None, "{origin}");
        // A cache must not hand this answer to the page that may read it.
        lists(&answer, "vary", &["origin"]);
    }
    let service = Service::all().start();
    let answer = from_page(&service.client(), APP, "GET", "/v1/tasks").expect(200);
    assert_eq!(readers(&answer), None, "none is configured");
    assert_eq!(answer.header("vary"), None);
}
