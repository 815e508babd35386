//! Bodies of `POST /v1/speech` and `POST /v1/tasks`, and what else is read of JSON: a
//! callback between the services, a bulk request, callback headers.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Debug;

use awc::http::header::{HeaderName, HeaderValue};
use hoiam::http::query::Query;
use hoiam_api::create::bounds::MAX_TIMEOUT_S;
use hoiam_api::create::{Prepared, Rules};
use hoiam_api::{CallbackHeaders, Create, FieldErrors, Problem, Speech, Task};
use hoiam_synthesizer::protocol::{FromParent, Speak, encode};
use hoiam_text::Request;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// What the TTS service may answer with at most: 20 errors, each of 1,200 characters,
/// a character being up to six bytes of JSON; and once more all details in one.
const MOST_OF_ANSWER: usize = 300_000;

pub fn check(data: &[u8]) {
    for takes_callback_check in [false, true] {
        let rules = Rules {
            takes_callback_check,
            max_characters: 2_000,
            default_timeout_s: 3_600,
        };
        let mut errors = FieldErrors::default();
        match Create::parse(data, &rules, &mut errors) {
            Ok(create) => {
                create.check_audio_bytes(48_000, 100_000, &mut FieldErrors::default());
                match errors.into_result() {
                    Ok(()) => an_accepted_request_stays_the_same(create, &rules),
                    Err(problem) => an_answer_is_bounded(&problem),
                }
            }
            Err(problem) => an_answer_is_bounded(&problem),
        }
    }
    headers(data);
    is_read_as_it_was_written::<Task>(data);
    is_read_as_it_was_written::<Speech>(data);
    if let Ok(query) = Query::of_body(data)
        && let Err(problem) = query.delivery_filter("task_id")
    {
        an_answer_is_bounded(&problem);
    }
}

fn an_answer_is_bounded(problem: &Problem) {
    let told = serde_json::to_vec(&problem.errors).expect("JSON");
    let bytes = told.len() + problem.detail.len();
    assert!(bytes <= MOST_OF_ANSWER, "{bytes}");
    assert!(problem.errors.len() <= 20);
    for error in &problem.errors {
        assert!(
            !error.code.is_empty() && !error.detail.is_empty(),
            "{error:?}"
        );
    }
}

/// A hand-over and what the database keeps are the request, written again.
fn an_accepted_request_stays_the_same(create: Create, rules: &Rules) {
    assert!((1..=MAX_TIMEOUT_S).contains(&create.timeout_s));
    assert!((1..=2_000).contains(&create.characters()));
    let written = serde_json::to_vec(&create).expect("JSON");
    let mut errors = FieldErrors::default();
    let read = Create::parse(&written, rules, &mut errors).expect("an object");
    assert!(errors.is_empty(), "{:?}", errors.into_result());
    assert_eq!(read, create);
    assert_eq!(read.fingerprint(), create.fingerprint());

    let prepared = Prepared::from(create.clone());
    let kept: Create = serde_json::from_str(&prepared.json).expect("a request");
    assert_eq!(kept.with_source(prepared.source), create);

    let headers = create.callback_headers.clone();
    let speech = create.into_speech("test/silence", "vi", &BTreeMap::new());
    for place in speech.places() {
        let text = &speech.segments[place.segment].text;
        assert!(place.char_end as usize <= text.chars().count());
    }
    let json = serde_json::to_vec(&speech).expect("JSON");
    let read: Request = serde_json::from_slice(&json).expect("a request");
    assert_eq!(read, speech);
    let speak = FromParent::Speak(Speak::whole(speech, 1));
    encode(1, &speak, &mut Vec::new()).expect("a frame");
    headers_can_be_sent(&headers);
}

fn headers(data: &[u8]) {
    let Ok(value) = serde_json::from_slice::<Value>(data) else {
        return;
    };
    let mut errors = FieldErrors::default();
    let headers = CallbackHeaders::read(value, "/callback_headers", &mut errors);
    match errors.into_result() {
        Ok(()) => headers_can_be_sent(&headers),
        Err(problem) => an_answer_is_bounded(&problem),
    }
}

/// They are headers, one of a name, none of those that are not a client's, and no
/// value is shown.
fn headers_can_be_sent(headers: &CallbackHeaders) {
    let sent = headers.to_vec();
    assert!(sent.len() <= 8);
    let shown = format!("{headers:?}");
    let mut names = HashSet::new();
    for (name, value) in &sent {
        let header = HeaderName::from_bytes(name.as_bytes()).expect("a name");
        assert_eq!(header.as_str(), name);
        assert!(
            HeaderValue::from_str(value)
                .expect("a value")
                .to_str()
                .is_ok()
        );
        let owned = ["host", "connection", "transfer-encoding"];
        let is_owned = owned.contains(&name.as_str());
        let owned = ["content-", "webhook-"];
        assert!(!is_owned && !owned.iter().any(|owned| name.starts_with(owned)));
        assert!(names.insert(name));
        let is_part_of_a_name = sent.iter().any(|(name, _)| name.contains(value));
        assert!(is_part_of_a_name || value.len() < 4 || !shown.contains(value));
    }
    let hidden = headers.hide_in(sent.iter().map(|(_, value)| value.as_str()).collect());
    // A value may be made of what stands in the place of others.
    let left = hidden.replace("(hidden)", "\0");
    for (_, value) in sent.iter().filter(|(_, value)| value.len() >= 8) {
        assert!(!left.contains(value), "{value}");
    }
}

/// What one service tells the other, which reads it tolerantly.
fn is_read_as_it_was_written<T: DeserializeOwned + Serialize + PartialEq + Debug>(data: &[u8]) {
    if let Ok(read) = serde_json::from_slice::<T>(data) {
        let written = serde_json::to_vec(&read).expect("JSON");
        let again: T = serde_json::from_slice(&written).expect("the same");
        assert_eq!(again, read);
    }
}
