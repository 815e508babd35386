//! Query parameters of lists, read strictly.

use std::collections::HashMap;

use hoiam_api::{FieldErrors, Problem, parse_rfc3339};
use hoiam_supervision::clock::Millis;

use crate::db::list::{Cursor, Filter};

/// Rows a page when `limit` is not given.
const DEFAULT_LIMIT: i64 = 50;
/// Rows a page at most.
const MAX_LIMIT: i64 = 500;

/// Query parameters, or the fields of a bulk request's body.
pub struct Query {
    given: HashMap<String, String>,
    errors: FieldErrors,
}

impl Query {
    /// From a URL's query string.
    #[must_use]
    pub fn of(query: &str) -> Self {
        Self {
            given: url::form_urlencoded::parse(query.as_bytes())
                .into_owned()
                .collect(),
            errors: FieldErrors::default(),
        }
    }

    /// From a JSON body: an object of strings and numbers, or nothing.
    ///
    /// # Errors
    /// 400 when it is something else.
    pub fn of_body(body: &[u8]) -> Result<Self, Problem> {
        let malformed = |detail: String| Problem::new(hoiam_api::Code::Malformed, detail);
        let given = if body.is_empty() {
            HashMap::new()
        } else {
            let object: HashMap<String, serde_json::Value> = serde_json::from_slice(body)
                .map_err(|error| malformed(format!("The body must be a JSON object: {error}.")))?;
            object
                .into_iter()
                .map(|(name, value)| match value {
                    serde_json::Value::String(text) => (name, text),
                    other => (name, other.to_string()),
                })
                .collect()
        };
        Ok(Self {
            given,
            errors: FieldErrors::default(),
        })
    }

    fn take(&mut self, name: &str) -> Option<String> {
        self.given.remove(name).filter(|value| !value.is_empty())
    }

    fn statuses(&mut self, known: &[&str]) -> Vec<String> {
        let statuses: Vec<String> = self
            .take("status")
            .iter()
            .flat_map(|list| list.split(','))
            .map(|word| word.trim().to_owned())
            .collect();
        for status in &statuses {
            if !known.contains(&status.as_str()) {
                let detail = format!("`status` knows {}.", known.join(", "));
                self.errors.add("status", "unknown_status", detail);
            }
        }
        statuses
    }

    fn instant(&mut self, name: &str) -> Option<Millis> {
        let text = self.take(name)?;
        let at = parse_rfc3339(&text);
        if at.is_none() {
            let detail =
                format!("`{name}` must be an RFC 3339 instant such as 2026-11-23T07:00:00Z.");
            self.errors.add(name, "invalid_instant", detail);
        }
        at
    }

    fn limit(&mut self) -> i64 {
        let Some(text) = self.take("limit") else {
            return DEFAULT_LIMIT;
        };
        match text.parse() {
            Ok(limit @ 1..=MAX_LIMIT) => limit,
            _ => {
                self.errors.add(
                    "limit",
                    "out_of_range",
                    format!("`limit` must be 1 to {MAX_LIMIT}."),
                );
                DEFAULT_LIMIT
            }
        }
    }

    fn cursor(&mut self) -> Option<Cursor> {
        let text = self.take("cursor")?;
        let cursor = Cursor::parse(&text);
        if cursor.is_none() {
            self.errors.add(
                "cursor",
                "invalid_cursor",
                "`cursor` must be the next_cursor of a page.",
            );
        }
        cursor
    }

    fn finish(mut self) -> Result<(), Problem> {
        let unknown: Vec<String> = self.given.keys().cloned().collect();
        for name in unknown {
            self.errors.add(
                name.clone(),
                "unknown_parameter",
                format!("There is no parameter `{name}`."),
            );
        }
        self.errors.into_result()
    }

    /// Reads the filter of a list of tasks or speeches.
    ///
    /// # Errors
    /// `invalid_request` with every error.
    pub fn filter(mut self, statuses: &[&str]) -> Result<Filter, Problem> {
        let filter = Filter {
            client: None,
            statuses: self.statuses(statuses),
            subject: None,
            reference: self.take("reference"),
            error_code: self.take("error_code"),
            created_after: self.instant("created_after"),
            created_before: self.instant("created_before"),
            ended_after: self.instant("ended_after"),
            ended_before: self.instant("ended_before"),
            limit: self.limit(),
            cursor: self.cursor(),
        };
        self.finish()?;
        Ok(filter)
    }

    /// Reads the filter of a list of deliveries.
    ///
    /// # Errors
    /// `invalid_request` with every error.
    pub fn delivery_filter(mut self, subject: &str) -> Result<Filter, Problem> {
        const STATUSES: [&str; 4] = ["pending", "delivered", "exhausted", "aborted"];
        let subject_text = self.take(subject);
        let subject_id = subject_text
            .as_deref()
            .and_then(|text| uuid::Uuid::try_parse(text).ok());
        if subject_text.is_some() && subject_id.is_none() {
            self.errors.add(
                subject,
                "invalid_id",
                format!("`{subject}` must be a UUID."),
            );
        }
        let filter = Filter {
            client: None,
            statuses: self.statuses(&STATUSES),
            subject: subject_id,
            reference: None,
            error_code: None,
            created_after: self.instant("created_after"),
            created_before: self.instant("created_before"),
            ended_after: self.instant("ended_after"),
            ended_before: self.instant("ended_before"),
            limit: self.limit(),
            cursor: self.cursor(),
        };
        self.finish()?;
        Ok(filter)
    }
}
