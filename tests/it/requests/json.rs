//! JSON with one thing in it that is not as it should be.

use serde_json::Value;

use super::most_chars;
use crate::chaos::Dice;

/// What may stand where something else should: other types and sizes, what only looks
/// like JSON, and text that is no text.
const INSTEAD: [&str; 36] = [
    "null",
    "true",
    "0",
    "-1",
    "-0",
    "1.5",
    "1e400",
    "-1e-400",
    "4294967296",
    "18446744073709551616",
    "99999999999999999999999999999999999999",
    r#""""#,
    r#"" ""#,
    r#""1""#,
    r#""\u0000""#,
    r#""\u001e""#,
    r#""\ud800""#,
    r#""\udc00\ud800""#,
    r#""\ud83d\ude42""#,
    "\"\u{202e}\u{feff}\u{301}\"",
    r#""../../etc/passwd""#,
    r#""'; DROP TABLE tasks; --""#,
    "[]",
    "{}",
    "[null]",
    r#"{"":{}}"#,
    r#"{"a":1,"a":2}"#,
    // No JSON from here on.
    "",
    "NaN",
    "'a'",
    "01",
    "+1",
    r#""\x""#,
    r#""open"#,
    "[1,]",
    r#"{"a" 1}"#,
];
const DEPTHS: [usize; 4] = [2, 126, 200, 50_000];
const LENGTHS: [usize; 5] = [36, 201, 2_049, 5_000, 150_000];
const TIMES: [usize; 3] = [2, 201, 600];

/// The value with one of its nodes altered, whichever the dice say.
pub fn altered(dice: &mut Dice, value: &Value) -> String {
    let before = dice.below(nodes(value));
    let mut writer = Writer {
        dice,
        before: Some(before),
        text: String::new(),
    };
    writer.node(value);
    writer.text
}

fn nodes(value: &Value) -> u64 {
    let below: u64 = match value {
        Value::Array(items) => items.iter().map(nodes).sum(),
        Value::Object(fields) => fields.values().map(nodes).sum(),
        _ => 0,
    };
    below + 1
}

struct Writer<'a> {
    dice: &'a mut Dice,
    /// How many nodes are still to come before the one that is altered.
    before: Option<u64>,
    text: String,
}

impl Writer<'_> {
    fn node(&mut self, value: &Value) {
        match self.before {
            Some(0) => {
                self.before = None;
                return self.altered(value);
            }
            Some(before) => self.before = Some(before - 1),
            None => {}
        }
        match value {
            Value::Array(items) => {
                self.text.push('[');
                for (at, item) in items.iter().enumerate() {
                    self.comma(at);
                    self.node(item);
                }
                self.text.push(']');
            }
            Value::Object(fields) => {
                self.text.push('{');
                for (at, (name, field)) in fields.iter().enumerate() {
                    self.comma(at);
                    self.text += &format!("{}:", Value::from(name.as_str()));
                    self.node(field);
                }
                self.text.push('}');
            }
            leaf => self.text += &leaf.to_string(),
        }
    }

    fn comma(&mut self, at: usize) {
        if at > 0 {
            self.text.push(',');
        }
    }

    fn altered(&mut self, value: &Value) {
        let as_it_was = value.to_string();
        let text = match self.dice.below(10) {
            0 => {
                let depth = *self.dice.one_of(&DEPTHS);
                format!("{}{as_it_was}{}", "[".repeat(depth), "]".repeat(depth))
            }
            1 => {
                let depth = self.dice.one_of(&DEPTHS).min(&20_000);
                let open = r#"{"text":"#.repeat(*depth);
                format!("{open}{as_it_was}{}", "}".repeat(*depth))
            }
            2 => {
                let letter = self.dice.one_of(&["a", "ế", "a ", "🙂", "\u{301}"]);
                let length = self.dice.one_of(&LENGTHS).min(&most_chars()) / letter.len();
                format!("\"{}\"", letter.repeat(length))
            }
            3 => {
                let times = *self.dice.one_of(&TIMES);
                let most = (150_000 / as_it_was.len()).max(1);
                format!("[{}]", vec![as_it_was; times.min(most)].join(","))
            }
            4 | 5 => match value {
                Value::Object(_) => self.with_more_fields(&as_it_was),
                _ => (*self.dice.one_of(&INSTEAD)).to_owned(),
            },
            _ => (*self.dice.one_of(&INSTEAD)).to_owned(),
        };
        self.text += &text;
    }

    /// An object with a field that is there already, or that there is not.
    fn with_more_fields(&mut self, object: &str) -> String {
        let more = match self.dice.below(4) {
            0 => r#""text":7"#.to_owned(),
            1 => r#""txet":"a""#.to_owned(),
            2 => format!("{}:1", Value::from("x".repeat(100_000))),
            _ => {
                let fields: Vec<String> = (0..2_000).map(|n| format!("\"f{n}\":1")).collect();
                fields.join(",")
            }
        };
        let rest = object.trim_start_matches('{');
        let comma = if rest == "}" { "" } else { "," };
        format!("{{{more}{comma}{rest}")
    }
}
