//! What both services start in the same way.

use std::collections::BTreeMap;
use std::sync::Arc;

use actix::{Addr, Recipient};
use actix_web::web;
use diesel::prelude::QueryResult;
use hoiam_api::Service;
use hoiam_supervision::Tree;
use hoiam_synthesizer::crashes::Crashes;
use hoiam_text::SaturatingFrom as _;

use super::common::{Common, StartError, body_rules, failed, sender};
use crate::claim_loop::Pulse;
use crate::config::Config;
use crate::db::{Conn, Db, StoreError};
use crate::delivery::DeliveryEnqueued;
use crate::delivery::alerts::WithAlerts;
use crate::delivery::api::DeliveryState;
use crate::delivery::check::CheckCache;
use crate::delivery::dispatcher::{self, CallbackDispatcher};
use crate::delivery::in_delivery::InDelivery;
use crate::delivery::open_circuits::OpenCircuits;
use crate::delivery::subject::Subject;
use crate::files::{Cache, Files};
use crate::http::admission::{Admission, Bounds, Clients};
use crate::http::due::{Due, Oldest};
use crate::http::health;
use crate::outbound::client::Client;
use crate::outbound::guard::Policy;
use crate::progress::ProgressBoard;
use crate::resource::api::Resources;
use crate::resource::operations::open_load;
use crate::resource::row::ResourceRow;
use crate::resource::view::View;
use crate::retention::store::Subjects;
use crate::retention::{self, Retention};

/// One service's part of the edge.
pub(super) type Routes = Arc<dyn Fn(&mut web::ServiceConfig) + Send + Sync>;

/// What a service has started.
pub(super) struct Started {
    pub db: Db,
    pub open_circuits: OpenCircuits,
    pub routes: Routes,
    pub checks: Vec<health::Check>,
    pub admission: Admission,
    pub dispatcher: Recipient<DeliveryEnqueued>,
    pub cache: Option<Cache>,
    pub crashes: Option<Crashes>,
    pub due: Due,
}

/// What a service keeps, and how its work stands.
pub(super) struct Base {
    pub db: Db,
    pub files: Files,
    pub progress: ProgressBoard,
    pub in_delivery: InDelivery,
    pub open_circuits: OpenCircuits,
    pub deliveries: Pulse,
    pub deadlines: Pulse,
    pub admission: Admission,
}

impl Base {
    /// Opens the files, and counts the work that is there.
    pub async fn open<R: ResourceRow>(common: &Common, db: Db) -> Result<Self, StartError> {
        let service = db.service();
        let open = db.read(open_load::<R>).await;
        let open = open.map_err(database_failed(&db))?;
        db.load().add(&open);
        let folder = common.config.data_dir.join("files");
        let files = Files::open(&folder, service, common.clock.clone())
            .map_err(failed(format!("{}'s files", title(service))))?
            .keeping_free(common.config.limits.min_free_bytes);
        Ok(Self {
            admission: admission(common, &db, &files),
            progress: ProgressBoard::new(db.clone()),
            in_delivery: InDelivery::default(),
            open_circuits: OpenCircuits::default(),
            deliveries: Pulse::default(),
            deadlines: Pulse::default(),
            files,
            db,
        })
    }

    /// Starts what delivers the service's callbacks: `client` makes the calls, all but
    /// those to `own_origin` by everybody's bounds, and `cache` learns who answers.
    pub fn start_dispatcher(
        &self,
        tree: &mut Tree,
        common: &Common,
        client: &Client,
        subject: Arc<dyn Subject>,
        own_origin: Option<String>,
        cache: Option<CheckCache>,
    ) -> Addr<CallbackDispatcher> {
        let db = self.db.clone();
        let writer = db.clone();
        tree.watch(format!("{}.writer", db.service()), async move {
            writer.writer_ended().await;
        });
        tree.start(
            format!("{}.dispatcher", db.service()),
            CallbackDispatcher::new(dispatcher::Deps {
                db,
                sender: sender(common, client),
                schedule: common.config.callback.schedule.clone(),
                subject: Arc::new(WithAlerts(subject)),
                alerts: common.alerts.clone(),
                in_delivery: self.in_delivery.clone(),
                open_circuits: self.open_circuits.clone(),
                deliveries: self.deliveries.clone(),
                own_origin,
                cache,
            }),
        )
    }

    /// Starts what removes the old; `forgot` is told when rows have gone.
    pub fn start_retention(
        &self,
        tree: &mut Tree,
        config: &Config,
        cache: Option<&Cache>,
        subjects: Subjects,
        forgot: Arc<dyn Fn() + Send + Sync>,
    ) {
        let ms = |seconds: u64| i64::saturating_from(seconds.saturating_mul(1000));
        tree.start(
            format!("{}.retention", self.db.service()),
            Retention::new(retention::Deps {
                db: self.db.clone(),
                files: self.files.clone(),
                cache: cache.cloned(),
                subjects,
                files_ms: ms(config.retention.files_s),
                rows_ms: ms(config.retention.rows_s),
                forgot,
            }),
        );
    }

    /// What is shown of the service's work: that of its own kinds beside what both have.
    pub fn due(
        &self,
        oldest: fn(&mut Conn, i64) -> QueryResult<Oldest>,
        own: impl IntoIterator<Item = (&'static str, Vec<Pulse>)>,
    ) -> Due {
        let both = [
            ("deadlines", vec![self.deadlines.clone()]),
            ("deliveries", vec![self.deliveries.clone()]),
        ];
        Due {
            db: self.db.for_clients(),
            oldest,
            pulses: BTreeMap::from_iter(both.into_iter().chain(own)),
        }
    }

    /// What the routes of the service's resources work with; `policy` is for the
    /// callback URLs of its clients.
    pub fn resources<R: ResourceRow>(&self, common: &Common, policy: Policy) -> Resources<R> {
        let (links, progress) = (common.links.clone(), self.progress.clone());
        Resources {
            db: self.db.for_clients(),
            files: self.files.clone(),
            view: View::new(links, progress, self.in_delivery.clone()),
            policy,
            rules: body_rules(common, R::SERVICE),
            body_limit: common.config.limits.body_bytes,
            admission: self.admission.clone(),
        }
    }

    /// The service's routes, which work with `state`.
    pub fn routes<S: Clone + Send + Sync + 'static>(
        &self,
        state: S,
        dispatcher: &Addr<CallbackDispatcher>,
        routes: fn(&mut web::ServiceConfig, DeliveryState),
    ) -> Routes {
        let delivery = DeliveryState {
            db: self.db.for_clients(),
            in_delivery: self.in_delivery.clone(),
            dispatcher: dispatcher.clone(),
        };
        Arc::new(move |config| {
            config.app_data(web::Data::new(state.clone()));
            routes(config, delivery.clone());
        })
    }

    /// Not ready while nothing can be kept.
    pub fn can_keep(&self) -> health::Check {
        let admission = self.admission.clone();
        Arc::new(move || admission.reasons())
    }
}

/// What a start says where a service's database fails.
pub(super) fn database_failed(db: &Db) -> impl FnOnce(StoreError) -> StartError + use<> {
    failed(format!("{}'s database", title(db.service())))
}

fn title(service: Service) -> &'static str {
    match service {
        Service::Tts => "the TTS service",
        Service::Backend => "the Backend service",
    }
}

fn admission(common: &Common, db: &Db, files: &Files) -> Admission {
    let config = &common.config;
    let bound = |value: u64| i64::saturating_from(value);
    let bounds = Bounds {
        max_jobs: bound(config.queue.max_jobs),
        max_bytes: bound(config.queue.max_bytes),
        min_free_bytes: config.limits.min_free_bytes,
    };
    let keys = common.keys.clone();
    let clients: Clients = Arc::new(move || keys.clients());
    Admission::new(db.clone(), files.clone(), bounds, clients)
}
