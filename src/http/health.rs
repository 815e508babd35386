//! `/health/live` and `/health/ready`.

use std::sync::Arc;

use actix_web::{HttpResponse, web};
use serde::Serialize;
use tokio::sync::watch;

/// Says why the service is not ready, or what else a person should know; an
/// empty list is well.
pub type Check = Arc<dyn Fn() -> Vec<String> + Send + Sync>;

/// Everything that readiness depends on.
#[derive(Clone)]
pub struct Health {
    checks: Arc<[Check]>,
    warnings: Check,
    stopping: watch::Receiver<bool>,
}

impl Health {
    /// Ready while no check has a reason and nobody has asked for the end.
    /// `warnings` are what a person should see to although work goes on.
    #[must_use]
    pub fn new(checks: Vec<Check>, warnings: Check, stopping: watch::Receiver<bool>) -> Self {
        Self {
            checks: checks.into(),
            warnings,
            stopping,
        }
    }

    fn reasons(&self) -> Vec<String> {
        let stopping = self
            .stopping
            .borrow()
            .then(|| "the service is stopping".to_owned());
        self.checks
            .iter()
            .flat_map(|check| check())
            .chain(stopping)
            .collect()
    }
}

/// The process answers.
pub async fn live() -> HttpResponse {
    HttpResponse::Ok().json(serde_json::json!({ "status": "live" }))
}

#[derive(Serialize)]
struct Answer {
    status: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    reasons: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
}

/// 200, or 503 with the reasons; either with warnings if there are any.
pub async fn ready(health: web::Data<Health>) -> HttpResponse {
    let (reasons, warnings) = (health.reasons(), (health.warnings)());
    let mut answer = HttpResponse::Ok();
    let status = match reasons.is_empty() {
        true => "ready",
        false => {
            answer = HttpResponse::ServiceUnavailable();
            answer.insert_header(("retry-after", "1"));
            "not_ready"
        }
    };
    answer.json(Answer {
        status,
        reasons,
        warnings,
    })
}
