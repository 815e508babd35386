//! `POST /v1/clock/accept`: a person says that the machine's clock is right.

use actix_web::{HttpResponse, web};
use hoiam_api::rfc3339;
use serde::{Deserialize, Serialize};

use super::problem::Answer;
use super::system::System;

/// What came of it.
#[derive(Debug, Serialize, Deserialize)]
pub struct Accepted {
    /// Whether a jump was held back; false if time had followed the clock all along.
    pub accepted: bool,
    /// Where time goes on, RFC 3339.
    pub now: String,
}

/// Has time follow the machine's clock again, in all services of this process, and
/// keeps that. A repeat changes nothing.
///
/// # Errors
/// `unavailable` while it cannot be kept; time follows the clock until the next start.
pub async fn accept(system: web::Data<System>) -> Result<HttpResponse, Answer> {
    let mut accepted = false;
    for db in &system.dbs {
        accepted |= db.clock().jump().is_some();
        db.clock().accept_jump();
    }
    for db in &system.dbs {
        db.keep_clock().await?;
    }
    let now = system.dbs.first().map(|db| db.clock().now());
    Ok(HttpResponse::Ok().json(Accepted {
        accepted,
        now: rfc3339(now.unwrap_or_default()),
    }))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::db::{kept_anchor, open};
    use hoiam_api::Service;
    use hoiam_supervision::StatusBoard;
    use hoiam_supervision::clock::{Anchor, Clock};

    /// Whatever happens next, and in both services.
    #[actix_rt::test]
    async fn what_is_accepted_is_kept_before_it_is_answered() {
        let folder = tempfile::tempdir().unwrap();
        let clock = Clock::resume(Some(Anchor {
            now_ms: 0,
            boot_id: "another boot".into(),
            ..Clock::resume(None).anchor()
        }));
        let services = [Service::Tts, Service::Backend];
        let path = |service| folder.path().join(format!("{service}.db"));
        let start = |service| open(&path(service)).unwrap().start(service, clock.clone());
        let system = web::Data::new(System {
            role: "all",
            started_at: 0,
            board: StatusBoard::default(),
            dbs: services.map(|service| start(service).unwrap()).to_vec(),
            children: Arc::new(Default::default),
            cache: None,
            crashes: None,
            shut: Vec::new(),
            due: Vec::new(),
        });
        for db in &system.dbs {
            db.keep_clock().await.unwrap();
        }
        let kept = || services.map(|service| kept_anchor(&path(service)).unwrap());
        assert!(kept().iter().all(|kept| kept.is_held));
        for _ in 0..2 {
            let answer = accept(system.clone()).await.unwrap();
            assert_eq!(answer.status(), 200);
            assert_eq!(clock.jump(), None);
            let year = 365 * 86_400_000;
            let is_kept = |kept: &Anchor| !kept.is_held && kept.now_ms > 50 * year;
            assert!(kept().iter().all(is_kept), "{:?}", kept());
        }
    }
}
