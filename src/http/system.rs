//! `/v1/system`: the actor tree, the queues and the children; `/`: what is
//! here.

use std::collections::BTreeMap;
use std::sync::Arc;

use actix_web::{HttpResponse, web};
use hoiam_api::{Service, rfc3339};
use hoiam_supervision::StatusBoard;
use hoiam_supervision::clock::Millis;
use hoiam_synthesizer::crashes::Crashes;
use hoiam_synthesizer::stats::Stats;
use serde_json::{Value, json};

use super::due::Due;
use crate::db::Db;
use crate::files::Cache;

/// Those who do not answer callbacks now. How they are kept is no business of the edge.
pub type ShutReceivers = Arc<dyn Fn() -> Vec<Value> + Send + Sync>;

/// What the system page shows.
#[derive(Clone)]
pub struct System {
    /// `all`, `backend` or `tts`.
    pub role: &'static str,
    /// When the process started.
    pub started_at: Millis,
    /// The tree.
    pub board: StatusBoard,
    /// The databases of the roles that run here.
    pub dbs: Vec<Db>,
    /// The children of each worker, by the worker's name.
    pub children: Arc<dyn Fn() -> BTreeMap<String, Stats> + Send + Sync>,
    /// What the TTS service has made before, where it runs here.
    pub cache: Option<Cache>,
    /// The children that engines have cost, where the TTS service runs here.
    pub crashes: Option<Crashes>,
    /// The receivers that do not answer each service's callbacks.
    pub shut: Vec<(Service, ShutReceivers)>,
    /// What is due in each service.
    pub due: Vec<Due>,
}

impl System {
    fn actors(&self) -> Vec<Value> {
        let mut children = (self.children)();
        self.board
            .children()
            .into_iter()
            .map(|actor| {
                let own: Vec<Stats> = children.remove(&actor.name).into_iter().collect();
                json!({
                    "name": actor.name,
                    "state": actor.state.as_str(),
                    "restarts": actor.restarts,
                    "last_panic": actor.last_panic,
                    "children": own,
                })
            })
            .collect()
    }

    fn shut_receivers(&self) -> Value {
        let by_service = self.shut.iter();
        by_service
            .map(|(service, shut)| (service.as_str().to_owned(), json!(shut())))
            .collect::<serde_json::Map<_, _>>()
            .into()
    }

    /// By service; `null` where it cannot be read just now.
    async fn due(&self) -> Value {
        let mut by_service = serde_json::Map::new();
        for due in &self.due {
            let kinds = due.kinds().await.ok();
            by_service.insert(due.service().as_str().to_owned(), json!(kinds));
        }
        by_service.into()
    }

    fn queues(&self) -> Value {
        self.dbs
            .iter()
            .map(|db| {
                let load = db.load();
                (
                    db.service().as_str().to_owned(),
                    json!({ "open": load.jobs(), "bytes": load.bytes() }),
                )
            })
            .collect::<serde_json::Map<_, _>>()
            .into()
    }
}

/// The actor tree: state, restarts, queue depths, what is due, children, and who
/// does not answer.
pub async fn system(system: web::Data<System>) -> HttpResponse {
    HttpResponse::Ok().json(json!({
        "role": system.role,
        "version": env!("CARGO_PKG_VERSION"),
        "started_at": rfc3339(system.started_at),
        "at": system.dbs.first().map(|db| rfc3339(db.clock().now())),
        "actors": system.actors(),
        "queues": system.queues(),
        "due": system.due().await,
        "shut_receivers": system.shut_receivers(),
    }))
}

/// What is here.
pub async fn index(system: web::Data<System>) -> HttpResponse {
    let mut routes = vec![
        "/health/live",
        "/health/ready",
        "/metrics",
        "/v1/system",
        "/v1/clock/accept",
    ];
    for db in &system.dbs {
        routes.push(db.service().collection());
        match db.service() {
            Service::Backend => routes.push("/v1/events"),
            Service::Tts => routes.extend(["/v1/voices", "/v1/callback-checks"]),
        }
    }
    HttpResponse::Ok().json(json!({
        "name": "hoiam",
        "version": env!("CARGO_PKG_VERSION"),
        "role": system.role,
        "routes": routes,
    }))
}
