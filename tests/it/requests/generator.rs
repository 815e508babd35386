//! Requests for every row of the table of routes: one that is in order, and any number
//! that are not quite.

use std::collections::BTreeMap;

use hoiam::http::scopes;
use hoiam_api::Code;
use hoiam_supervision::clock::Clock;
use serde_json::{Value, json};
use uuid::Uuid;

use super::json::altered;
use super::wire::{Answer, Framing, Request};
use crate::chaos::Dice;
use crate::support::signed::{SECRET, sign};

/// One row of the table, with one kind of file where it is for many.
#[derive(Clone)]
pub struct Route {
    /// `*` is any.
    method: &'static str,
    /// `{}` is one segment, `*` any path.
    path: String,
}

impl std::fmt::Display for Route {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.method, self.path)
    }
}

/// Below a task or a speech.
const FILES: [&str; 8] = [
    "events",
    "audio.wav",
    "subtitles.srt",
    "subtitles.short.vtt",
    "subtitles.karaoke.vtt",
    "subtitles.ass",
    "words.json",
    "marks.jsonl",
];

/// All rows of the table.
pub fn routes() -> Vec<Route> {
    let mut routes = Vec::new();
    for (method, path) in scopes::listed() {
        let kinds: &[&str] = match path.strip_suffix("/{}") {
            Some(before) if before.ends_with("/{}") => &FILES,
            Some(before) if before.ends_with("/health") => &["live", "ready"],
            _ => &["{}"],
        };
        for kind in kinds {
            let path = match path.strip_suffix("{}") {
                Some(before) => format!("{before}{kind}"),
                None => path.to_owned(),
            };
            routes.push(Route { method, path });
        }
    }
    routes
}

/// What is there to be asked for, of tasks or of speeches. The requests in order take
/// each for its purpose; afterwards all are good for anything.
pub struct Fixtures {
    pub completed: String,
    pub to_erase: String,
    pub canceled: String,
    pub failed: String,
    pub delivery: String,
}

/// Who asks, by the keys that the service knows.
pub struct Keys {
    pub admin: String,
    /// Of no scope but `submit` and `read`.
    pub own: String,
    pub other: String,
}

/// Stand for a tag that was given, and for what is too long.
const KNOWN_TAG: &str = "(a tag)";
const LONG: &str = "(long)";
/// So many of the first are about files.
const OF_FILES: usize = 3;
const ODD_HEADERS: &[(&str, &[&str])] = &[
    (
        "range",
        &[
            "bytes=0-9",
            "bytes=-1",
            "bytes=99999999-",
            "bytes=9-3",
            "bytes=0-0,2-3",
            "bytes=18446744073709551615-18446744073709551616",
            "bytes=-",
            "lines=1",
        ],
    ),
    ("if-none-match", &[KNOWN_TAG, "*", "W/\"a\"", ",,", "\""]),
    ("if-range", &[KNOWN_TAG, "\"no\""]),
    (
        "idempotency-key",
        &["k1", "k2", "\"k1\"", "\"", "", "a b", LONG],
    ),
    (
        "prefer",
        &[
            "wait=0",
            "wait=1",
            "wait=x",
            "wait=99999999999999999999",
            ",;",
        ],
    ),
    ("accept", &["text/event-stream", "*/*", "", "a/b;q=x"]),
    (
        "last-event-id",
        &["0", "1", "-1", "x", "9223372036854775808"],
    ),
    ("x-request-id", &["mine", "", "a b", LONG, "\u{e9}"]),
    (
        "origin",
        &["https://evil.example", "null", "", "https://mine.example"],
    ),
    ("sec-fetch-site", &["cross-site", "same-origin"]),
    ("access-control-request-method", &["GET", "BREW", ""]),
    (
        "access-control-request-headers",
        &["authorization, x", "\u{e9}"],
    ),
    ("x-forwarded-for", &["192.0.2.1", "x, ,", LONG]),
    ("forwarded", &["for=192.0.2.1;proto=https"]),
    (
        "hoiam-client",
        &["-", "web", "key:0123456789ab", "\u{e9}", ""],
    ),
    ("webhook-request-origin", &["voice.example", ""]),
    ("content-encoding", &["gzip", "identity"]),
    ("expect", &["100-continue", "nonsense"]),
    ("connection", &["close", "keep-alive", "x"]),
    ("cookie", &[LONG]),
    ("x-http-method-override", &["DELETE"]),
];

/// What a round brings with it.
pub struct World {
    pub keys: Keys,
    /// Where callbacks go, as the beginning of a URL.
    pub receiver: String,
    /// By `tasks` and `speech`.
    pub fixtures: BTreeMap<&'static str, Fixtures>,
    /// What is asked for now and then.
    pub voices: &'static [&'static str],
}

/// As many ids are known of one kind.
const MOST_KNOWN: usize = 200;
const FEWEST_KNOWN: usize = 2;

pub struct Generator {
    pub dice: Dice,
    world: World,
    routes: Vec<Route>,
    /// Of tasks, speeches, and deliveries, by the segment that stands before them.
    ids: BTreeMap<&'static str, Vec<String>>,
    tags: Vec<String>,
    cursors: Vec<String>,
}

impl Generator {
    pub fn new(seed: u64, world: World, routes: Vec<Route>) -> Self {
        let mut ids: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for (collection, fixtures) in &world.fixtures {
            // The completed one stays, so that there is always something to be had.
            let known = [&fixtures.canceled, &fixtures.failed, &fixtures.to_erase];
            ids.insert(*collection, known.map(Clone::clone).to_vec());
            let deliveries = ids.entry("deliveries").or_default();
            deliveries.push(fixtures.delivery.clone());
        }
        Self {
            dice: Dice(seed),
            world,
            routes,
            ids,
            tags: Vec::new(),
            cursors: Vec::new(),
        }
    }

    /// Remembers what a later request may ask for, and forgets what is there no more.
    pub fn learn(&mut self, request: &Request, answer: &Answer) {
        if request.method == "DELETE" && answer.status == 204 {
            for known in self
                .ids
                .values_mut()
                .filter(|known| known.len() > FEWEST_KNOWN)
            {
                known.retain(|id| !request.target.contains(id));
            }
        }
        if let Some(tag) = answer.message.header("etag") {
            remember(&mut self.dice, &mut self.tags, tag);
        }
        if answer.status >= 300 {
            return;
        }
        let Ok(said) = serde_json::from_slice::<Value>(&answer.message.body) else {
            return;
        };
        if let Some(cursor) = said["next_cursor"].as_str() {
            remember(&mut self.dice, &mut self.cursors, cursor);
        }
        let Some(kind) = ["deliveries", "tasks", "speech"]
            .into_iter()
            .find(|kind| request.target.contains(kind))
        else {
            return;
        };
        let listed = said["items"].as_array().and_then(|items| items.first());
        for one in listed.into_iter().chain([&said]) {
            if let Some(id) = one["id"].as_str().filter(|id| id.len() == 36) {
                remember(&mut self.dice, self.ids.entry(kind).or_default(), id);
            }
        }
    }

    // ------------------------------------------------------------- in order

    /// The request in order for this route, by an admin.
    #[track_caller]
    pub fn in_order(&mut self, route: usize) -> Request {
        let Route { method, path } = self.routes[route].clone();
        let method = match (method, path.as_str()) {
            ("*", "/v1/callbacks") => "POST",
            ("*", _) => "GET",
            (method, _) => method,
        };
        let path = match path.as_str() {
            "*" => "/v1/tasks",
            path => path,
        };
        let mut target = String::new();
        for segment in path.split('/').skip(1) {
            let filled = match segment {
                "{}" => self.fitting(&target, method, path),
                segment => segment.to_owned(),
            };
            target += &format!("/{filled}");
        }
        let request = Request {
            route,
            method: method.to_owned(),
            target,
            headers: vec![("host".into(), b"localhost".to_vec())],
            body: Vec::new(),
            framing: Framing::Nothing,
        };
        let request = authorized(request, &self.world.keys.admin);
        if path == "/v1/callbacks" {
            let said = json!({ "type": "callback.check", "data": {} });
            return signed(request, &said.to_string());
        }
        match self.body(method, path) {
            Some(body) => with_json(request, body.to_string().into_bytes()),
            None => request,
        }
    }

    /// What stands behind `before` for this purpose.
    #[track_caller]
    fn fitting(&self, before: &str, method: &str, path: &str) -> String {
        let collection = before.split('/').nth(2).unwrap_or_default();
        let fixtures = self.world.fixtures.get(collection);
        match (before.rsplit('/').next(), fixtures) {
            (Some("problems"), _) => "not_found".to_owned(),
            (Some("deliveries"), Some(fixtures)) => fixtures.delivery.clone(),
            (Some("tasks" | "speech"), Some(fixtures)) => match method {
                "PUT" => Uuid::now_v7().to_string(),
                "DELETE" => fixtures.to_erase.clone(),
                _ if path.ends_with("/cancel") => fixtures.canceled.clone(),
                _ if path.ends_with("/retry") => fixtures.failed.clone(),
                _ => fixtures.completed.clone(),
            },
            _ => panic!("{method} {path} is new: what stands behind {before}?"),
        }
    }

    /// A body that this route takes; none where it takes none.
    fn body(&mut self, method: &str, path: &str) -> Option<Value> {
        match (method, path) {
            ("POST", "/v1/tasks" | "/v1/speech") | ("PUT", "/v1/tasks/{}" | "/v1/speech/{}") => {
                Some(json!({
                    "text": "Xin chào.", "voice": "test/silence", "format": "wav",
                    "callback_url": self.hook(),
                }))
            }
            ("POST", "/v1/speech/statuses") => {
                let ids = self.ids.get("speech").cloned();
                Some(json!({ "ids": ids }))
            }
            ("POST", "/v1/callback-checks") => Some(json!({ "url": self.hook() })),
            _ => None,
        }
    }

    fn hook(&self) -> String {
        format!("{}/hook", self.world.receiver)
    }

    // --------------------------------------------------------- not quite so

    /// A request for any route, of which this or that is not as it should be.
    pub fn odd(&mut self) -> Request {
        let route = self.dice.below(self.routes.len() as u64) as usize;
        let mut request = self.in_order(route);
        request.headers.clear();
        self.odd_target(&mut request);
        self.odd_method(&mut request);
        self.odd_query(&mut request);
        self.odd_body(&mut request);
        self.odd_host(&mut request);
        self.odd_key(&mut request);
        while self.dice.is(40) {
            self.odd_header(&mut request, ODD_HEADERS);
        }
        if request.target.contains("/audio.") && self.dice.is(50) {
            self.odd_header(&mut request, &ODD_HEADERS[..OF_FILES]);
        }
        request
    }

    fn odd_method(&mut self, request: &mut Request) {
        if self.dice.is(12) {
            let methods = [
                "GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "BREW", "get",
                "PROPFIND",
            ];
            request.method = (*self.dice.one_of(&methods)).to_owned();
        }
        let fixtures = self.world.fixtures.values();
        let mut kept = fixtures.map(|fixtures| &fixtures.completed);
        if request.method == "DELETE" && kept.any(|id| request.target.contains(id.as_str())) {
            "GET".clone_into(&mut request.method);
        }
    }

    fn odd_target(&mut self, request: &mut Request) {
        let Route { method, path } = self.routes[request.route].clone();
        let path = if path == "*" { "/*".to_owned() } else { path };
        let mut target = String::new();
        for segment in path.split('/').skip(1) {
            let before = target.rsplit('/').next().unwrap_or_default().to_owned();
            let is_file = FILES.contains(&segment);
            let filled = match segment {
                "*" => (*self.dice.one_of(&["v1/tasks", "v1/nothing", "", "*"])).to_owned(),
                "{}" if method == "GET" && self.dice.is(50) => self.fitting(&target, method, &path),
                "{}" => self.odd_segment(&before),
                _ if is_file && self.dice.is(30) => self.odd_file(),
                segment => segment.to_owned(),
            };
            target += &format!("/{filled}");
        }
        request.target = match self.dice.below(120) {
            0 => format!("{target}/"),
            1 => target.replacen('/', "//", 1),
            2 => format!("{target}/../../v1/system"),
            3 => target.replace('t', "%74"),
            4 => target.replace("v1/", "v1%2f"),
            5 => target.to_uppercase(),
            6 => format!("{target};a=b"),
            7 => format!("{target}%00"),
            8 => format!("{target}/{}", "a/".repeat(2_000)),
            9 => format!("{target}%"),
            10 => format!("http://localhost{target}"),
            _ => target,
        };
    }

    /// An id of what is there, now and then of anything.
    fn odd_segment(&mut self, before: &str) -> String {
        if before == "problems" {
            let codes = [Code::ALL[0].as_str(), "expired", "nope", "%ff", "..", ""];
            return (*self.dice.one_of(&codes)).to_owned();
        }
        let known = self.ids.get(before).filter(|known| !known.is_empty());
        let id = match known {
            Some(known) if !self.dice.is(3) => self.dice.one_of(known).clone(),
            _ => Uuid::now_v7().to_string(),
        };
        match self.dice.below(80) {
            0 => "nope".to_owned(),
            1 => "..%2f..%2fetc%2fpasswd".to_owned(),
            2 => id.to_uppercase(),
            3 => id.replace('-', ""),
            4 => format!("urn:uuid:{id}"),
            5 => format!("%7B{id}%7D"),
            6 => format!("{id}%20"),
            7 => format!("{id}%00"),
            8 => "%ff%fe".to_owned(),
            9 => "ế".to_owned(),
            10 => "a".repeat(*self.dice.one_of(&[300, 5_000, 59_000, 70_000])),
            11 => id[..35].to_owned(),
            12 => String::new(),
            _ => id,
        }
    }

    fn odd_file(&mut self) -> String {
        let files = [
            "audio.mp3",
            "audio.exe",
            "audio.",
            "audio",
            "subtitles.short.srt",
            "subtitles.short.ass",
            "subtitles.vtt",
            "words.JSON",
            "cancel",
            "..%2faudio.wav",
            "audio.wav%00.mp3",
            "%61udio.wav",
        ];
        (*self.dice.one_of(&files)).to_owned()
    }

    fn odd_query(&mut self, request: &mut Request) {
        let is_list = ["tasks", "speech", "deliveries", "redeliver"]
            .iter()
            .any(|list| request.target.ends_with(list));
        if !self.dice.is(if is_list { 70 } else { 8 }) {
            return;
        }
        let mut parts = Vec::new();
        while parts.is_empty() || self.dice.is(50) {
            let name = *self.dice.one_of(&[
                "status",
                "reference",
                "error_code",
                "created_after",
                "created_before",
                "ended_after",
                "ended_before",
                "limit",
                "cursor",
                "task_id",
                "speech_id",
                "cache",
                "expires",
                "signature",
                "nonsense",
                "",
                "%00",
                "limit%00",
            ]);
            let value = match name {
                _ if self.dice.is(25) => self.odd_value(),
                "status" => self.status(),
                "reference" => (*self.dice.one_of(&["r1", "video-42%2F7"])).to_owned(),
                "error_code" => (*self.dice.one_of(&["engine_failed", "nope"])).to_owned(),
                "limit" => self.dice.one_of(&[0, 1, 2, 50, 500, 501]).to_string(),
                "cursor" if !self.cursors.is_empty() => self.dice.one_of(&self.cursors).clone(),
                "task_id" | "speech_id" => self.dice.one_of(&self.ids["tasks"]).clone(),
                "cache" => "keep".to_owned(),
                name if name.ends_with("after") => "2026-01-01T00:00:00Z".to_owned(),
                name if name.ends_with("before") => "2100-01-01T00:00:00%2B07:00".to_owned(),
                _ => self.odd_value(),
            };
            parts.push(format!("{name}={value}"));
        }
        request.target += &format!("?{}", parts.join("&"));
    }

    fn status(&mut self) -> String {
        let known = [
            "checking",
            "queued",
            "synthesizing",
            "in_progress",
            "fetching",
            "completed",
            "failed",
            "timed_out",
            "canceled",
            "pending",
            "delivered",
            "exhausted",
            "aborted",
        ];
        let mut list = vec![*self.dice.one_of(&known)];
        while self.dice.is(30) {
            list.push(*self.dice.one_of(&known));
        }
        list.join(",")
    }

    fn odd_value(&mut self) -> String {
        let values = [
            "",
            "%",
            "%zz",
            "%ff",
            "%00",
            "-1",
            "1e3",
            "99999999999999999999",
            "0x10",
            "a,b,,",
            ",",
            "%27%20OR%201=1",
            "2026-13-45T99:99:99Z",
            "9999-12-31T23:59:60Z",
            "-9999-01-01T00:00:00Z",
            "+10000-01-01T00:00:00Z",
            "a=b=c",
            "+",
            "ế",
        ];
        match self.dice.below(20) {
            0 => "a".repeat(50_000),
            1 => vec!["queued"; 3_000].join(","),
            _ => (*self.dice.one_of(&values)).to_owned(),
        }
    }

    fn odd_body(&mut self, request: &mut Request) {
        let Route { path, .. } = self.routes[request.route].clone();
        let has_body = matches!(request.method.as_str(), "POST" | "PUT") || self.dice.is(4);
        if !has_body {
            (request.body, request.framing) = (Vec::new(), Framing::Nothing);
            return;
        }
        let said = self.odd_said(&path);
        let mut body = match self.dice.is(40) {
            true => altered(&mut self.dice, &said),
            false => said.to_string(),
        };
        if self.dice.is(8) {
            body = altered(&mut self.dice, &Value::from(body.as_str()));
        }
        if path == "/v1/callbacks" {
            *request = if self.dice.is(80) {
                signed(request.clone(), &body)
            } else {
                with_json(request.clone(), body.into_bytes())
            };
            return;
        }
        let bytes = self.odd_bytes(body);
        let framing = match self.dice.below(10) {
            0 | 1 => Framing::Chunked,
            _ => Framing::Length,
        };
        let kind = match self.dice.below(12) {
            0 => Some(*self.dice.one_of(&[
                "text/plain",
                "application/json; charset=utf-16",
                "APPLICATION/JSON",
                "application/json;",
                "application/x-www-form-urlencoded",
                "application/jsonx",
                "\u{e9}",
                "",
            ])),
            1 => None,
            _ => Some("application/json"),
        };
        if let Some(kind) = kind {
            let header = ("content-type".to_owned(), kind.as_bytes().to_vec());
            request.headers.push(header);
        }
        (request.body, request.framing) = (bytes, framing);
    }

    /// The text as bytes: as it is, in another encoding, damaged, or too much of it.
    fn odd_bytes(&mut self, body: String) -> Vec<u8> {
        let utf_16 = |to_bytes: fn(u16) -> [u8; 2]| body.encode_utf16().flat_map(to_bytes);
        // What is damaged must not lead to another address.
        let names_url = body.contains("http");
        match self.dice.below(60) {
            0 => [b"\xef\xbb\xbf", body.as_bytes()].concat(),
            1 => utf_16(u16::to_le_bytes).collect(),
            2 => utf_16(u16::to_be_bytes).collect(),
            3 => [b"\xff\xfe\0\0", body.as_bytes()].concat(),
            4 => [b"\x1f\x8b\x08\0\0\0\0\0\0\xff", body.as_bytes()].concat(),
            5 => [body.as_bytes(), b" {}"].concat(),
            6 => [body.as_bytes(), &[b' '; 210_000]].concat(),
            7 => body.into_bytes().repeat(3),
            8 | 9 if !names_url && !body.is_empty() => {
                let mut bytes = body.into_bytes();
                let at = self.dice.below(bytes.len() as u64) as usize;
                bytes[at] = self.dice.below(256) as u8;
                bytes
            }
            10 | 11 if !names_url => {
                let length = self.dice.below(body.len() as u64 + 1) as usize;
                body.into_bytes()[..length].to_vec()
            }
            _ => body.into_bytes(),
        }
    }

    /// What this route might be told.
    fn odd_said(&mut self, path: &str) -> Value {
        match path {
            "/v1/speech/statuses" => {
                let mut ids = self.ids["speech"].clone();
                ids.truncate(self.dice.below(600) as usize);
                json!({ "ids": ids })
            }
            "/v1/callback-checks" => {
                let mut said = json!({ "url": self.odd_hook() });
                if self.dice.is(40) {
                    said["callback_headers"] = self.callback_headers();
                }
                said
            }
            "/v1/callbacks" => self.report(),
            path if path.ends_with("/redeliver") => {
                let status = self.status();
                json!({ "status": status, "limit": 3, "created_after": "2026-01-01T00:00:00Z" })
            }
            path => self.creation(path.starts_with("/v1/speech")),
        }
    }

    /// Never another address than those of loopback that are the test's own.
    fn odd_hook(&mut self) -> String {
        let receiver = self.world.receiver.clone();
        match self.dice.below(16) {
            0 => format!("{receiver}/gone"),
            1 => format!("{receiver}/missing"),
            2 => format!("{receiver}/failing"),
            3 => format!("{receiver}/{}", "a".repeat(2_100)),
            4 => "http://10.0.0.1/".to_owned(),
            5 => "http://[::ffff:169.254.169.254]/".to_owned(),
            6 => "ftp://127.0.0.1/".to_owned(),
            7 => "http://[::1".to_owned(),
            8 => receiver.replace("http://", "http://user:password@"),
            9 => "http://".to_owned(),
            10 => format!("{receiver}/a\r\nb: c"),
            11 => format!("{receiver}/?q=ế#fragment"),
            _ => format!("{receiver}/hook"),
        }
    }

    fn callback_headers(&mut self) -> Value {
        let long = "a".repeat(1_025);
        let values = [
            json!({ "Authorization": "Bearer abc" }),
            json!({ "X-A": "1", "x-a": "2" }),
            json!({ "Host": "elsewhere" }),
            json!({ "webhook-id": "msg_1" }),
            json!({ "X-A": "a\r\nb: c" }),
            json!({ "X-A": "ế", "": "a" }),
            json!({ "X-A": long }),
            json!({ "Content-Length": "0", "Connection": "close" }),
        ];
        self.dice.one_of(&values).clone()
    }

    /// What the TTS service might report, of a task that there may be.
    fn report(&mut self) -> Value {
        let id = self.dice.one_of(&self.ids["tasks"]).clone();
        let (kind, status) = *self.dice.one_of(&[
            ("speech.completed", "completed"),
            ("speech.failed", "failed"),
            ("speech.canceled", "canceled"),
            ("speech.failed", "completed"),
            ("callback.check", "queued"),
            ("task.completed", "completed"),
            ("disk.failing", "failed"),
        ]);
        json!({ "type": kind, "timestamp": "2026-01-01T00:00:00Z", "data": {
            "id": id, "status": status, "format": "wav", "reference": null,
            "error": { "code": "engine_failed", "detail": "No.", "retryable": false },
            "audio": { "url": "http://10.0.0.1/audio.wav", "format": "wav", "bytes": 1_000,
                "sample_rate_hz": 22_050, "channels": 1, "duration_ms": 20, "sha256": "ab" },
            "segments": [{ "index": 0, "start_ms": 0, "end_ms": 1 }],
            "warnings": [{ "sentence": 0, "char_start": 0, "char_end": 1,
                "reason": "left_out", "detail": "No." }],
        }})
    }

    fn creation(&mut self, is_speech: bool) -> Value {
        let texts = [
            "Xin chào.",
            "One. Two. Three.",
            "a",
            "Anh nói: \"-Chào em.\"",
            "🙂 nothing §",
            "It crash es. It hang s.",
            "\u{feff}\u{202e}1/2 + 3,5 % = $9\u{301}",
        ];
        let voices = self.world.voices;
        let mut said = json!({
            "text": self.dice.one_of(&texts), "voice": self.dice.one_of(voices),
            "format": self.dice.one_of(&["wav", "wav", "mp3", "opus", "flac", "pcm"]),
            "timeout_s": self.dice.one_of(&[1, 60, 600]),
        });
        if self.dice.is(25) {
            let segment = said["text"].take();
            said["segments"] = json!([
                { "text": segment, "pause_after_ms": 5, "speed": 1.5,
                  "pronunciations": [{ "term": "One", "say": "two" }] },
                { "text": "b", "voice": self.dice.one_of(voices), "language": "en" },
            ]);
        }
        let more: [(&str, Value); 14] = [
            ("language", json!("vi")),
            ("language", json!("en-GB")),
            ("bitrate_kbps", json!(32)),
            ("sample_rate_hz", json!(48_000)),
            ("loudness_lufs", json!(-20.5)),
            ("loudness_lufs", json!(0)),
            ("speed", json!(0.5)),
            ("title", json!("A title")),
            ("reference", json!("r1")),
            ("metadata", json!({ "scene": [7, { "x": null }] })),
            (
                "pronunciations",
                json!([{ "term": "chào", "phonemes": "tʃaʊ" }, { "term": "a", "say": "b" }]),
            ),
            ("callback_check", json!(is_speech && self.dice.is(50))),
            ("callback_headers", self.callback_headers()),
            ("callback_url", json!(self.odd_hook())),
        ];
        for (name, value) in more {
            let is_of_speech = name == "callback_check";
            if self.dice.is(15) && (is_speech || !is_of_speech || self.dice.is(10)) {
                said[name] = value;
            }
        }
        said
    }

    fn odd_host(&mut self, request: &mut Request) {
        let hosts = ["", "attacker.example", "localhost:1:2", "[::1", "\u{e9}"];
        let host = match self.dice.below(20) {
            0 => *self.dice.one_of(&hosts),
            _ => "localhost",
        };
        if !self.dice.is(2) {
            let header = ("host".to_owned(), host.as_bytes().to_vec());
            request.headers.push(header);
        }
    }

    fn odd_key(&mut self, request: &mut Request) {
        let keys = &self.world.keys;
        let bearer = |key: &str| format!("Bearer {key}");
        let value = match self.dice.below(100) {
            0..60 => bearer(&keys.admin),
            60..75 => bearer(&keys.own),
            75..88 => bearer(&keys.other),
            88 => bearer(&keys.admin[..20]),
            89 => format!("bearer  {}", keys.admin),
            90 => format!("Basic {}", keys.admin),
            91 => "Bearer".to_owned(),
            92 => bearer(&"k".repeat(20_000)),
            93 => "Bearer \u{e9}".to_owned(),
            94 => bearer("a-key-that-nobody-has-made"),
            _ => return,
        };
        let header = ("authorization".to_owned(), value.into_bytes());
        request.headers.push(header);
    }

    fn odd_header(&mut self, request: &mut Request, cases: &[(&str, &[&str])]) {
        let (name, values) = self.dice.one_of(cases);
        let value = match *self.dice.one_of(values) {
            KNOWN_TAG if !self.tags.is_empty() => self.dice.one_of(&self.tags).clone(),
            LONG => "a".repeat(9_000),
            value => value.to_owned(),
        };
        let times = if self.dice.is(5) { 2 } else { 1 };
        for _ in 0..times {
            let header = ((*name).to_owned(), value.clone().into_bytes());
            request.headers.push(header);
        }
    }

    // --------------------------------------------------------------- no HTTP

    /// Bytes that are no request, or not a whole one.
    pub fn broken(&mut self) -> Vec<u8> {
        match self.dice.below(3) {
            0 => self.cut().0,
            1 => self.misframed(),
            _ => self.noise(),
        }
    }

    /// The beginning of a request, and whether it ends in its head.
    pub fn cut(&mut self) -> (Vec<u8>, bool) {
        let request = self.odd();
        let (head, mut bytes) = (request.head_length(), request.bytes());
        let most = match self.dice.is(50) {
            true => head,
            false => bytes.len(),
        };
        bytes.truncate(1 + self.dice.below(most as u64 - 1) as usize);
        let ends_in_head = bytes.len() < head;
        (bytes, ends_in_head)
    }

    /// A request of which nobody can say where it ends, or where its head does.
    fn misframed(&mut self) -> Vec<u8> {
        let key = &self.world.keys.admin;
        let head = |line: &str, more: &str| {
            format!("{line}\r\nhost: localhost\r\nauthorization: Bearer {key}\r\n{more}\r\n\r\n")
        };
        let post = "POST /v1/tasks HTTP/1.1";
        let kind = "content-type: application/json\r\n";
        let cases = [
            head(
                post,
                &format!("{kind}content-length: 5\r\ncontent-length: 6"),
            ) + "{}   {",
            head(
                post,
                &format!("{kind}content-length: 2\r\ntransfer-encoding: chunked"),
            ) + "{}",
            head(post, &format!("{kind}content-length: -1")) + "{}",
            head(
                post,
                &format!("{kind}content-length: 99999999999999999999999"),
            ) + "{}",
            head(post, &format!("{kind}content-length: +2")) + "{}",
            head(post, &format!("{kind}transfer-encoding: gzip, chunked")) + "2\r\n{}\r\n0\r\n\r\n",
            head(post, &format!("{kind}transfer-encoding: chunked")) + "fffffffffffffffff\r\n{}",
            head(post, &format!("{kind}transfer-encoding: chunked"))
                + "2;a=b\r\n{}\r\n0\r\nx: y\r\n\r\n",
            head(post, &format!("{kind}transfer-encoding: chunked")) + "-2\r\n{}\r\n",
            head(post, &format!("{kind}transfer-encoding: chunked")) + "2\r\n{}xx0\r\n\r\n",
            head(post, &format!("{kind} content-length: 2")) + "{}",
            head(post, &format!("{kind}content-length : 2")) + "{}",
            head(post, &format!("{kind}content-length: 2\r\n folded: yes")) + "{}",
            head(
                "GET /v1/tasks HTTP/1.1",
                "connection: upgrade\r\nupgrade: websocket",
            ),
            head(
                "GET /v1/tasks HTTP/1.1",
                "connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAAA",
            ),
            head("GET /v1/tasks HTTP/9.9", "a: b"),
            head("GET /v1/tasks HTTP/1.0", "a: b"),
            head("GET /v1/tasks", "a: b"),
            head("GET  /v1/tasks  HTTP/1.1", "a: b"),
            head("GET /v1/tas ks HTTP/1.1", "a: b"),
            head("CONNECT localhost:80 HTTP/1.1", "a: b"),
            head("CONNECT /v1/tasks HTTP/1.1", "a: b") + "{}",
            head("OPTIONS * HTTP/1.1", "a: b"),
            head("GET / HTTP/1.1", "a\0b: c"),
            head("GET / HTTP/1.1", "no colon"),
            head("GET / HTTP/1.1", ": no name"),
            head("GET / HTTP/1.1", &"a: b\r\n".repeat(200)),
            head("GET / HTTP/1.1", &format!("a: {}", "b".repeat(200_000))),
            head(&format!("GET /{} HTTP/1.1", "a".repeat(200_000)), "a: b"),
            head("GET / HTTP/1.1", "a: b").replace("\r\n", "\n"),
            head("GET / HTTP/1.1", "a: b").replace("\r\n", "\r"),
            head("GET /health/live HTTP/1.1", "a: b").repeat(30),
            "\r\n".repeat(1_000) + &head("GET / HTTP/1.1", "a: b"),
        ];
        self.dice.one_of(&cases).clone().into_bytes()
    }

    fn noise(&mut self) -> Vec<u8> {
        let greetings: [&[u8]; 8] = [
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
            b"SSH-2.0-OpenSSH_9.2p1\r\n",
            b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\nGET / HTTP/1.1\r\n\r\n",
            b"\0\0\0\x85\xffSMBr",
            b"{\"text\":\"a\"}\r\n\r\n",
            b"\r\n\r\n\r\n",
            b"",
        ];
        let mut bytes = self.dice.one_of(&greetings).to_vec();
        let length = *self.dice.one_of(&[0, 1, 100, 5_000]);
        bytes.extend((0..length).map(|_| self.dice.below(256) as u8));
        bytes
    }
}

fn remember(dice: &mut Dice, known: &mut Vec<String>, one: &str) {
    // So that whoever is forgotten is one, and others are left.
    if known.iter().any(|known| known == one) {
        return;
    }
    if known.len() < MOST_KNOWN {
        known.push(one.to_owned());
    } else {
        let at = dice.below(MOST_KNOWN as u64) as usize;
        one.clone_into(&mut known[at]);
    }
}

fn authorized(request: Request, key: &str) -> Request {
    request.with("authorization", format!("Bearer {key}"))
}

fn with_json(mut request: Request, body: Vec<u8>) -> Request {
    (request.body, request.framing) = (body, Framing::Length);
    request.with("content-type", "application/json")
}

/// As the TTS service signs it, just now.
fn signed(request: Request, body: &str) -> Request {
    let at_s = Clock::resume(None).wall().timestamp();
    let headers = sign(SECRET, "msg_1", at_s, body.as_bytes());
    let request = with_json(request, body.as_bytes().to_vec());
    headers
        .into_iter()
        .fold(request, |request, (name, value)| request.with(name, value))
}
