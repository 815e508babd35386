//! A look of `hoiam doctor`, as it is told.

use serde::Serialize;

/// What one look came to.
#[derive(Clone, Debug, Serialize)]
pub struct Check {
    /// What was looked at, in a few words that stay the same.
    pub check: &'static str,
    pub status: Status,
    /// What was found.
    pub detail: String,
    /// How to mend it; null where all is well, or where the detail says it.
    pub way_out: Option<String>,
}

/// How it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// All is well.
    Ok,
    /// It works, and could be better or safer.
    Warning,
    /// It does not work.
    Problem,
}

impl Check {
    pub fn ok(check: &'static str, detail: impl Into<String>) -> Self {
        Self {
            check,
            status: Status::Ok,
            detail: detail.into(),
            way_out: None,
        }
    }

    pub fn warning(
        check: &'static str,
        detail: impl Into<String>,
        way_out: impl Into<String>,
    ) -> Self {
        Self {
            status: Status::Warning,
            way_out: Some(way_out.into()),
            ..Self::ok(check, detail)
        }
    }

    pub fn problem(
        check: &'static str,
        detail: impl Into<String>,
        way_out: impl Into<String>,
    ) -> Self {
        Self {
            status: Status::Problem,
            ..Self::warning(check, detail, way_out)
        }
    }
}
