//! A service at rest: nothing is due that nobody works on.
//!
//! What is due may wait for a receiver that does not answer or for a pause to end,
//! but then the loop that claims it knows when it scans next. A row for which
//! neither is true lies there for as long as nothing else happens.

use serde_json::Value;

use super::http::Client;
use super::look_until;

/// The longest that anything but a receiver is waited for.
const LONGEST_PAUSE_S: i64 = 60;
/// The longest that a receiver can ask to be left alone.
const LONGEST_ASKED_S: i64 = 900;

/// Fails if something is due and nobody works on it, nor will in time. A service
/// that does not answer has nothing to say to it.
#[track_caller]
pub fn nothing_lies(client: &Client) {
    let mut last = Vec::new();
    let rests = look_until(|| {
        last = lying(client);
        last.is_empty().then_some(())
    });
    assert!(
        rests.is_some(),
        "due, and nobody works on it:\n{}",
        last.join("\n")
    );
}

/// The kinds of work of which something lies there.
fn lying(client: &Client) -> Vec<String> {
    let answer = client.try_send("GET", "/v1/system", &[], &[]).ok();
    let Some(answer) = answer.filter(|answer| answer.status == 200) else {
        return Vec::new();
    };
    let page = answer.json();
    let at = instant(&page["at"]).expect("when the page was made");
    let services = page["due"].as_object().expect("what is due");
    let kinds = services.iter().flat_map(|(service, kinds)| {
        // What cannot be read just now is null.
        let kinds = kinds.as_object().into_iter().flatten();
        kinds.map(move |(kind, state)| (service, kind, state))
    });
    kinds
        .filter(|(_, kind, state)| lies(kind, state, at))
        .map(|(service, kind, state)| format!("{service} {kind}: {state}"))
        .collect()
}

fn lies(kind: &str, state: &Value, at: i64) -> bool {
    let longest = match kind {
        "deliveries" => LONGEST_ASKED_S,
        _ => LONGEST_PAUSE_S,
    };
    let will_be_looked_at = instant(&state["next_scan_at"])
        .is_some_and(|scan_at| (at..=at + longest * 1000).contains(&scan_at));
    let is_due = !state["oldest_due_at"].is_null();
    is_due && state["under_way"] == 0 && !will_be_looked_at
}

/// In milliseconds.
fn instant(shown: &Value) -> Option<i64> {
    let shown = chrono::DateTime::parse_from_rfc3339(shown.as_str()?);
    Some(shown.expect("an instant").timestamp_millis())
}
