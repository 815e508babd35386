//! What is printed of each request that a receiver for development gets.

use chrono::{DateTime, Local, SecondsFormat, Utc};
use serde::Serialize;
use serde_json::Value;

use super::super::escaped;

/// One request and what became of it.
#[derive(Clone, Debug, Serialize)]
pub struct Line {
    /// When it came.
    #[serde(serialize_with = "as_rfc3339")]
    pub at: DateTime<Utc>,
    /// The HTTP method.
    pub method: String,
    /// The callback's `type`; null for anything else.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// `webhook-id`.
    pub webhook_id: Option<String>,
    /// How often a callback of this id has come, this one included.
    pub attempt: Option<u32>,
    /// `valid`, `unchecked`, or why it is not valid: `missing`, `malformed`,
    /// `stale`, `wrong`; null where no signature belongs.
    pub signature: Option<&'static str>,
    /// The status of our answer; null when the connection was closed instead.
    pub answer: Option<u16>,
    /// Where the body was saved.
    pub saved: Option<String>,
    /// The body, if it is JSON.
    pub body: Option<Value>,
}

impl Line {
    /// As one line of JSON.
    pub fn as_json(&self) -> String {
        escaped(&serde_json::to_string(self).unwrap_or_default())
    }

    /// As one line for people.
    pub fn as_text(&self) -> String {
        let time = self.at.with_timezone(&Local).format("%H:%M:%S%.3f");
        let what = self.kind.as_deref().unwrap_or(&self.method);
        let answer = self
            .answer
            .map_or_else(|| "hung up".to_owned(), |status| status.to_string());
        let mut line = format!("{time}  {:<16}  -> {answer:<7}", harmless(what, 40));
        match self.signature {
            Some(known @ ("valid" | "unchecked")) => line += &format!("  signature {known}"),
            Some(why) => line += &format!("  signature INVALID ({why})"),
            None => {}
        }
        if let Some(id) = &self.webhook_id {
            line += &format!("  {}", harmless(id, 80));
        }
        if let Some(attempt) = self.attempt.filter(|attempt| *attempt > 1) {
            line += &format!("  attempt {attempt}");
        }
        if let Some(summary) = self.body.as_ref().and_then(summary) {
            line += &format!("  {summary}");
        }
        if let Some(path) = &self.saved {
            line += &format!("  saved as {path}");
        }
        line
    }
}

/// What the resource in `data` has come to, in a few words.
fn summary(body: &Value) -> Option<String> {
    let data = body.get("data")?;
    let text =
        |value: &Value, name: &str| value.get(name)?.as_str().map(|text| harmless(text, 200));
    let mut words = vec![text(data, "status")?];
    if let Some(reference) = text(data, "reference") {
        words.push(format!("reference {reference}"));
    }
    if let Some(audio) = data.get("audio").filter(|audio| audio.is_object()) {
        let seconds = audio
            .get("duration_ms")
            .and_then(Value::as_f64)
            .unwrap_or_default()
            / 1000.0;
        let format = text(audio, "format").unwrap_or_default();
        words.push(format!("{seconds:.1} s of {format}"));
    }
    if let Some(error) = data.get("error").filter(|error| error.is_object()) {
        let (code, detail) = (text(error, "code"), text(error, "detail"));
        words.push(
            [code, detail]
                .into_iter()
                .flatten()
                .collect::<Vec<_>>()
                .join(": "),
        );
    }
    Some(words.join(", "))
}

/// A text from outside as it may be shown on a terminal: at most so many
/// characters, and none that moves the cursor or changes colours.
fn harmless(text: &str, most: usize) -> String {
    let shown = |character: char| {
        if character.is_control() {
            '\u{fffd}'
        } else {
            character
        }
    };
    let mut result: String = text.chars().take(most).map(shown).collect();
    if text.chars().nth(most).is_some() {
        result.push('…');
    }
    result
}

fn as_rfc3339<S: serde::Serializer>(at: &DateTime<Utc>, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&at.to_rfc3339_opts(SecondsFormat::Millis, true))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn line(body: Value) -> Line {
        Line {
            at: DateTime::UNIX_EPOCH,
            method: "POST".to_owned(),
            kind: Some("task.completed".to_owned()),
            webhook_id: Some("msg_1".to_owned()),
            attempt: Some(2),
            signature: Some("wrong"),
            answer: None,
            saved: None,
            body: Some(body),
        }
    }

    #[test]
    fn a_line_says_what_came_and_what_became_of_it() {
        let text = line(json!({"data": {"status": "completed",
            "audio": {"duration_ms": 13271, "format": "mp3"}}}))
        .as_text();
        for part in [
            "task.completed",
            "hung up",
            "INVALID (wrong)",
            "msg_1",
            "attempt 2",
        ] {
            assert!(text.contains(part), "{text}");
        }
        assert!(text.contains("completed, 13.3 s of mp3"), "{text}");
    }

    #[test]
    fn a_failure_is_shown_with_its_code() {
        let text = line(json!({"data": {"status": "failed", "audio": null,
            "error": {"code": "engine_failed", "detail": "It broke."}}}))
        .as_text();
        assert!(text.contains("failed, engine_failed: It broke."), "{text}");
    }

    #[test]
    fn control_characters_from_outside_never_reach_the_terminal() {
        let text = line(json!({"data": {"status": "\u{1b}[2Jowned\n"}})).as_text();
        assert!(!text.chars().any(char::is_control), "{text:?}");
    }
}
