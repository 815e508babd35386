//! `/health/live` and `/health/ready`.

use std::sync::Arc;

use actix_web::{HttpResponse, web};
use tokio::sync::watch;

/// Says why the service is not ready; an empty list is ready.
pub type Check = Arc<dyn Fn() -> Vec<String> + Send + Sync>;

/// Everything that readiness depends on.
#[derive(Clone)]
pub struct Health {
    checks: Arc<[Check]>,
    stopping: watch::Receiver<bool>,
}

impl Health {
    /// Ready while no check has a reason and nobody has asked for the end.
    #[must_use]
    pub fn new(checks: Vec<Check>, stopping: watch::Receiver<bool>) -> Self {
        Self {
            checks: checks.into(),
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

/// 200, or 503 with the reasons.
pub async fn ready(health: web::Data<Health>) -> HttpResponse {
    let reasons = health.reasons();
    if reasons.is_empty() {
        return HttpResponse::Ok().json(serde_json::json!({ "status": "ready" }));
    }
    HttpResponse::ServiceUnavailable()
        .insert_header(("retry-after", "1"))
        .json(serde_json::json!({ "status": "not_ready", "reasons": reasons }))
}
