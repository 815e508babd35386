//! One process: opens what it keeps, starts the supervision tree, serves,
//! and stops in reverse.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use actix::Recipient;
use actix_web::middleware::from_fn;
use actix_web::{App, HttpServer, web};
use futures_util::future::LocalBoxFuture;
use hoiam_api::create::Rules;
use hoiam_api::{Catalog, Service};
use hoiam_supervision::clock::{Anchor, Clock, Jump};
use hoiam_supervision::{StatusBoard, Tree};
use hoiam_synthesizer::crashes::Crashes;
use hoiam_synthesizer::parent::{Options, Synthesizer};
use hoiam_synthesizer::stats::Stats;
use rustls::ClientConfig;
use serde_json::json;
use tokio::sync::watch;
use url::Url;
use uuid::Uuid;

use crate::alerts::{Ledger, Reporter};
use crate::backend::actor::{self as backend, Backend};
use crate::backend::messages::TaskEnded;
use crate::backend::state::{BackendState, Hints};
use crate::backend::tts_client::TtsClient;
use crate::backend::watchdog::{self, TimeoutWatchdog};
use crate::claim_loop::Pulse;
use crate::config::{Config, Role, SERVER_KEEP_ALIVE, Source};
use crate::db::{self, Db};
use crate::delivery::DeliveryOwed;
use crate::delivery::alerts::{AlertCollector, WithAlerts, collector};
use crate::delivery::api::DeliveryState;
use crate::delivery::attempt::Sender;
use crate::delivery::check::CheckCache;
use crate::delivery::checker::{self, CallbackChecker};
use crate::delivery::dispatcher::{self, CallbackDispatcher};
use crate::delivery::in_delivery::InDelivery;
use crate::delivery::shut_receivers::ShutReceivers;
use crate::delivery::store::origin_of;
use crate::edge::admission::{Admission, Bounds, Clients};
use crate::edge::auth::{Gate, gate};
use crate::edge::connections::{self, Connections};
use crate::edge::cors::{Cors, preflight};
use crate::edge::due::Due;
use crate::edge::health::{self, Health};
use crate::edge::links::Links;
use crate::edge::methods::methods;
use crate::edge::pool::Pool;
use crate::edge::proxies::Proxies;
use crate::edge::render::Renderer;
use crate::edge::streams::Streams;
use crate::edge::{clock, metrics, problem, system};
use crate::files::{Cache, Files};
use crate::keys::{self, BackendKey, Configured, Keys};
use crate::open_files;
use crate::outbound::client::{Client, Timeouts};
use crate::outbound::guard::{Policy, check_url};
use crate::outbound::tls;
use crate::progress::ProgressBoard;
use crate::retention::store::Subjects;
use crate::retention::{self, Retention};
use crate::secrets::CallbackSecrets;
use crate::tts::LongTexts;
use crate::tts::api::TtsState;
use crate::tts::deadlines::DeadlineWatchdog;
use crate::tts::salvage::Limits;
use crate::tts::voices::Voices;
use crate::tts::worker::{self, ChildBoard, TtsWorker};
use crate::tts::workers::Workers;
use crate::{backend as backend_service, tts};

/// The exit status after the supervision tree has given up, as sysexits.h
/// names an internal software error.
pub const EXIT_GAVE_UP: i32 = 70;
/// How long the first child may take before the listener opens without it.
const FIRST_CHILD: Duration = Duration::from_secs(10);
/// Of the grace, what is kept for the HTTP server after the actors.
const HTTP_GRACE_S: u64 = 3;

/// Why the service did not start.
#[derive(Debug)]
pub struct StartError(String);

impl std::fmt::Display for StartError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for StartError {}

fn failed(what: &str) -> impl Fn(&dyn std::fmt::Display) -> StartError {
    let what = what.to_owned();
    move |error| StartError(format!("{what}: {error}"))
}

/// What everything in the process shares.
struct Common {
    config: Config,
    clock: Clock,
    program: PathBuf,
    secrets: CallbackSecrets,
    links: Links,
    keys: Keys,
    /// What the Backend shows to the TTS service.
    tts_api_key: Option<String>,
    /// For URLs that clients name.
    policy: Policy,
    client: Client,
    trusted: Client,
    roots: Arc<ClientConfig>,
    alerts: Reporter,
    stopping: watch::Receiver<bool>,
}

/// One service's part of the edge.
type Routes = Arc<dyn Fn(&mut web::ServiceConfig) + Send + Sync>;

/// What a service has started.
struct Started {
    db: Db,
    shut: ShutReceivers,
    routes: Routes,
    checks: Vec<health::Check>,
    admission: Admission,
    dispatcher: Recipient<DeliveryOwed>,
    cache: Option<Cache>,
    crashes: Option<Crashes>,
    due: Due,
}

/// What a process has beside its configuration. Tests bring their own.
pub struct Environment {
    /// Makes the clock from what the databases have kept of the last one.
    pub clock: Box<dyn FnOnce(Option<Anchor>) -> Clock>,
    /// The program whose children speak.
    pub program: PathBuf,
    /// Resolves when the service is to stop.
    pub stop: LocalBoxFuture<'static, ()>,
}

impl Default for Environment {
    /// This machine's clock, this program, and a signal.
    fn default() -> Self {
        Self {
            clock: Box::new(Clock::resume),
            program: Options::default().program,
            stop: Box::pin(wait_for_signal()),
        }
    }
}

/// Runs the service until it is told to stop.
///
/// # Errors
/// [`StartError`] when it could not start; once it has, it ends in order, or
/// the process exits with [`EXIT_GAVE_UP`].
pub async fn run(config: Config, around: Environment) -> Result<(), StartError> {
    let listener = TcpListener::bind(config.server.listen).map_err(|error| {
        failed(&format!("{} cannot be listened on", config.server.listen))(&error)
    })?;
    let address = listener
        .local_addr()
        .map_err(|error| failed("the listener")(&error))?;
    let config = config.bound(address);
    check_alerts_url(&config)?;
    let stop = watch::Sender::new(false);

    let (keys, tts_api_key) = open_keys(&config)?;
    let (tts_db, backend_db, clock) = open_databases(&config, around.clock)?;
    let dbs: Vec<Db> = [&backend_db, &tts_db]
        .into_iter()
        .flatten()
        .cloned()
        .collect();
    let settled = keys.settle(&dbs).await;
    settled.map_err(|error| failed("the first client")(&error))?;
    let mut watched = vec![actix_rt::spawn(keys.clone().watch(dbs))];
    let mut common = common(
        config,
        clock,
        around.program,
        (keys, tts_api_key),
        stop.subscribe(),
    )?;
    watched.push(actix_rt::spawn(common.secrets.clone().watch()));
    let ledger = open_alerts(&mut common, &tts_db, &backend_db).await?;
    let children = ChildBoard::default();

    // The supervision tree: started in this order, stopped in reverse.
    let mut tree = Tree::new(hoiam_supervision::Policy::default(), give_up);
    let mut services = Vec::new();
    if let Some(db) = tts_db {
        services.push(start_tts(&mut tree, &common, db, &children).await?);
    }
    if let Some(db) = backend_db {
        services.push(start_backend(&mut tree, &common, db).await?);
    }

    if let Some(ledger) = ledger {
        start_alerts(&mut tree, &common, &services, ledger);
    }

    let server = serve(&common, listener, &services, tree.status(), &children)?;
    let handle = server.handle();
    let serving = actix_rt::spawn(server);
    announce(&common.config);
    around.stop.await;

    log::info!("stopping: no new work is claimed; a second signal ends the process at once");
    actix_rt::spawn(exit_on_second_signal());
    stop.send_replace(true);
    watched.iter().for_each(actix_rt::task::JoinHandle::abort);
    let grace = Duration::from_secs(common.config.server.shutdown_grace_s);
    tree.stop(
        grace
            .saturating_sub(Duration::from_secs(HTTP_GRACE_S))
            .max(grace / 2),
    )
    .await;
    handle.stop(true).await;
    let _ = serving.await;
    for service in &services {
        service.db.close().await;
    }
    log::info!("stopped");
    Ok(())
}

fn give_up(reason: String) {
    log::error!("giving up: {reason}; the service manager is to start the process anew");
    // State is in the databases, and the children die with their parent.
    std::process::exit(EXIT_GAVE_UP);
}

/// The keys that are known, and the one that the Backend here sends.
fn open_keys(config: &Config) -> Result<(Keys, Option<String>), StartError> {
    let reveal = |key: &crate::config::ApiKey| key.reveal().to_owned();
    let given = config.backend.tts_api_key.as_ref().map(reveal);
    let speaks_to_itself = config.source("backend.tts_url") == Some(Source::Derived);
    let (backend, sent) = match (config.role, given) {
        (Role::Tts, given) => (given.map(BackendKey::Elsewhere), None),
        (Role::All, given) if speaks_to_itself => {
            // One that is made here lives as long as the process.
            let key = given.map_or_else(keys::file::generate, Ok);
            let key = key.map_err(|error| StartError(error.to_string()))?;
            (Some(BackendKey::Here(key.clone())), Some(key))
        }
        // The key for another host is no Backend's here.
        (_, given) => (None, given),
    };
    let keys = Keys::open(Configured {
        api_keys: config.server.api_keys.iter().map(reveal).collect(),
        backend,
        data_dir: config.data_dir.clone(),
    });
    let keys = keys.map_err(|error| StartError(error.to_string()))?;
    Ok((keys, sent))
}

fn open_databases(
    config: &Config,
    make_clock: impl FnOnce(Option<Anchor>) -> Clock,
) -> Result<(Option<Db>, Option<Db>, Clock), StartError> {
    let make = failed("the data folder cannot be made");
    std::fs::create_dir_all(&config.data_dir).map_err(|error| make(&error))?;
    let open = |wanted: bool, service: Service| {
        let path = config.data_dir.join(format!("{service}.db"));
        wanted
            .then(|| db::open(&path))
            .transpose()
            .map_err(|error| StartError(error.to_string()))
    };
    let tts = open(config.role.runs_tts(), Service::Tts)?;
    let backend = open(config.role.runs_backend(), Service::Backend)?;
    let anchors = [tts.as_ref(), backend.as_ref()]
        .into_iter()
        .flatten()
        .filter_map(db::Opened::anchor);
    let anchor: Option<Anchor> = anchors.max_by_key(|anchor| anchor.now_ms);
    let clock = make_clock(anchor);
    if let Some(jump) = clock.jump() {
        log::error!("{jump}; {}", Jump::WAY_OUT);
    }
    let start = |opened: Option<db::Opened>, service| {
        opened
            .map(|db| db.start(service, clock.clone()))
            .transpose()
            .map_err(|error| StartError(error.to_string()))
    };
    Ok((
        start(tts, Service::Tts)?,
        start(backend, Service::Backend)?,
        clock,
    ))
}

fn common(
    config: Config,
    clock: Clock,
    program: PathBuf,
    (keys, tts_api_key): (Keys, Option<String>),
    stopping: watch::Receiver<bool>,
) -> Result<Common, StartError> {
    let secrets = CallbackSecrets::open(&config.callback.secrets, &config.data_dir, clock.clone());
    let secrets = secrets.map_err(|error| StartError(error.to_string()))?;
    let ttl_s = i64::try_from(config.links.ttl_s).unwrap_or(i64::MAX);
    let links = Links::new(
        config.server.public_url.clone(),
        secrets.clone(),
        ttl_s,
        clock.clone(),
    );
    let policy = callback_policy(&config);
    let roots = tls::system_roots().map_err(|error| failed("the TLS roots")(&error))?;
    let timeouts = outgoing_timeouts(&config);
    let client = Client::new(policy.clone(), timeouts, Arc::clone(&roots));
    let trusted = Client::new(Policy::trusted(), timeouts, Arc::clone(&roots));
    Ok(Common {
        config,
        clock,
        program,
        secrets,
        links,
        keys,
        tts_api_key,
        policy,
        client,
        trusted,
        roots,
        alerts: Reporter::default(),
        stopping,
    })
}

/// An operator who is told nothing, and does not know that, is worse off than one
/// whose service does not start.
fn check_alerts_url(config: &Config) -> Result<(), StartError> {
    let Some(url) = &config.alerts.callback_url else {
        return Ok(());
    };
    check_url(&callback_policy(config), url).map_err(|forbidden| {
        StartError(format!(
            "alerts.callback_url must not be called: {forbidden} Or leave it empty: then nobody is told"
        ))
    })
}

/// Where alerts are on: has troubles reported from now on, and answers what was told
/// before.
async fn open_alerts(
    common: &mut Common,
    tts: &Option<Db>,
    backend: &Option<Db>,
) -> Result<Option<Ledger>, StartError> {
    let dbs: Vec<Db> = [tts, backend].into_iter().flatten().cloned().collect();
    let (Some(url), Some(db)) = (&common.config.alerts.callback_url, dbs.last()) else {
        return Ok(None);
    };
    let ledger = collector::open_ledger(db, &dbs)
        .await
        .map_err(|error| failed("what was told in alerts")(&error))?;
    let origin = origin_of(url.as_str());
    common.alerts = Reporter::new(common.clock.clone(), origin, &ledger);
    Ok(Some(ledger))
}

/// One for the process: the last of its services keeps the alerts, which is the
/// Backend where it runs.
fn start_alerts(tree: &mut Tree, common: &Common, services: &[Started], ledger: Ledger) {
    let (Some(url), Some(keeper)) = (&common.config.alerts.callback_url, services.last()) else {
        return;
    };
    let doors: Vec<Admission> = services.iter().map(|one| one.admission.clone()).collect();
    for door in &doors {
        let alerts = common.alerts.clone();
        door.observe(move |place, problem| alerts.disk(place, problem));
    }
    tree.start(
        "alerts",
        AlertCollector::new(
            collector::Deps {
                reporter: common.alerts.clone(),
                url: url.to_string(),
                db: keeper.db.clone(),
                dbs: services.iter().map(|service| service.db.clone()).collect(),
                sender: sender(common, &common.client),
                schedule: common.config.callback.schedule.clone(),
                dispatcher: keeper.dispatcher.clone(),
                disks: Arc::new(move || doors.iter().flat_map(Admission::places).collect()),
            },
            ledger,
        ),
    );
}

/// Which callback URLs that clients name are called.
#[must_use]
pub fn callback_policy(config: &Config) -> Policy {
    // A service for this machine alone may report to this machine.
    let loopback_allowed = !config.asks_for_keys();
    Policy::callbacks(config.callback.allow_cidrs.clone(), loopback_allowed)
        .without(config.server.listen)
}

/// The same for the TTS service, which also reports to the Backend in its own process.
fn policy_with_reports(common: &Common) -> Result<Policy, StartError> {
    let policy = common.policy.clone();
    if !common.config.role.runs_backend() {
        return Ok(policy);
    }
    let url = Url::parse(&report_to(&common.config));
    let url = url.map_err(|error| failed("backend.callback_base_url")(&error))?;
    Ok(policy.exempting(url))
}

/// Where the Backend has hand-overs report to.
fn report_to(config: &Config) -> String {
    let base = config.backend.callback_base_url.as_str();
    format!("{}/v1/callbacks", base.trim_end_matches('/'))
}

/// How long an outgoing request may take.
#[must_use]
pub fn outgoing_timeouts(config: &Config) -> Timeouts {
    Timeouts {
        connect: Duration::from_secs(config.callback.connect_timeout_s),
        total: Duration::from_secs(config.callback.total_timeout_s),
    }
}

fn sender(common: &Common, client: &Client) -> Sender {
    Sender {
        client: client.clone(),
        secrets: common.secrets.clone(),
        origin: common
            .config
            .server
            .public_url
            .host_str()
            .unwrap_or("localhost")
            .to_owned(),
        clock: common.clock.clone(),
        headers: common.config.callback.default_headers.clone(),
    }
}

fn body_rules(common: &Common, service: Service) -> Rules {
    let default_timeout_s = match service {
        Service::Tts => common.config.tts.default_timeout_s,
        Service::Backend => common.config.backend.task_timeout_s,
    };
    Rules {
        takes_callback_check: service == Service::Tts,
        max_characters: common.config.tts.max_characters,
        default_timeout_s,
    }
}

fn admission(common: &Common, db: &Db, files: &Files) -> Admission {
    let config = &common.config;
    let bound = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    let bounds = Bounds {
        max_jobs: bound(config.queue.max_jobs),
        max_bytes: bound(config.queue.max_bytes),
        min_free_bytes: config.limits.min_free_bytes,
    };
    let keys = common.keys.clone();
    let clients: Clients = Arc::new(move || keys.clients());
    Admission::new(db.clone(), files.clone(), bounds, clients)
}

/// Not ready while nothing can be kept.
fn can_keep(admission: &Admission) -> health::Check {
    let admission = admission.clone();
    Arc::new(move || admission.reasons())
}

async fn start_tts(
    tree: &mut Tree,
    common: &Common,
    db: Db,
    children: &ChildBoard,
) -> Result<Started, StartError> {
    let config = &common.config;
    let store = failed("the TTS service's database");
    let boot = Uuid::now_v7();
    // Before what a job that recovery ends is taken off.
    let open = db
        .read(tts::store::open_load)
        .await
        .map_err(|error| store(&error))?;
    db.load().add(&open);
    let freed = db
        .write(move |tx| tts::store::recover(tx, boot))
        .await
        .map_err(|error| store(&error))?;
    if freed > 0 {
        log::info!("{freed} jobs that were being spoken when the process ended are queued again");
    }
    let files = Files::open(
        &config.data_dir.join("files"),
        Service::Tts,
        common.clock.clone(),
    )
    .map_err(|error| failed("the TTS service's files")(&error))?
    .keeping_free(config.limits.min_free_bytes);
    let cache = Cache::new(&files, config.cache.max_bytes);
    let loading = cache.clone();
    actix_rt::spawn(async move { loading.load().await });
    let voices = Voices::new(
        config.tts.aliases.clone(),
        config.tts.default_voices.clone(),
    )
    .reporting_to(common.alerts.clone());
    let checks = CheckCache::new(common.clock.clone());
    let workers = Workers::default();
    let long_texts = LongTexts::default();
    let crashes = Crashes::default();
    let (in_delivery, shut) = (InDelivery::default(), ShutReceivers::default());
    let progress = ProgressBoard::new(db.clone());
    let view = tts::view::View {
        links: common.links.clone(),
        progress: progress.clone(),
        in_delivery: in_delivery.clone(),
    };
    let check_timeout = Duration::from_secs(config.callback.check_timeout_s);
    let policy = policy_with_reports(common)?;
    let client = Client::new(
        policy.clone(),
        outgoing_timeouts(config),
        Arc::clone(&common.roots),
    );
    let [deliveries, urls, deadlines] = [(); 3].map(|()| Pulse::default());
    let jobs: Vec<Pulse> = (0..config.tts.workers).map(|_| Pulse::default()).collect();
    let due = Due {
        db: db.for_clients(),
        oldest: tts::store::oldest_due,
        pulses: BTreeMap::from([
            ("checks", vec![urls.clone()]),
            ("jobs", jobs.clone()),
            ("deadlines", vec![deadlines.clone()]),
            ("deliveries", vec![deliveries.clone()]),
        ]),
    };

    tree.watch("tts.writer", ended(&db));
    let dispatcher = tree.start(
        "tts.dispatcher",
        CallbackDispatcher::new(dispatcher::Deps {
            db: db.clone(),
            sender: sender(common, &client),
            schedule: config.callback.schedule.clone(),
            subject: Arc::new(WithAlerts(Arc::new(view.clone()))),
            alerts: common.alerts.clone(),
            in_delivery: in_delivery.clone(),
            shut: shut.clone(),
            deliveries,
            own_origin: policy.exempt().map(|url| origin_of(url.as_str())),
            cache: Some(checks.clone()),
        }),
    );
    let checker = tree.start(
        "tts.checker",
        CallbackChecker::new(checker::Deps {
            db: db.clone(),
            sender: sender(common, &client),
            queue: Arc::new(workers.clone()),
            cache: checks.clone(),
            timeout: check_timeout,
            hold_ms: i64::try_from(config.callback.hold_s * 1000).unwrap_or(i64::MAX),
            urls,
            dispatcher: dispatcher.clone().recipient(),
        }),
    );
    let watchdog = tree.start(
        "tts.watchdog",
        DeadlineWatchdog::new(tts::deadlines::Deps {
            db: db.clone(),
            dispatcher: dispatcher.clone().recipient(),
            deadlines,
        }),
    );
    let settings = worker::Settings {
        max_attempts: i32::try_from(config.tts.max_attempts).unwrap_or(i32::MAX),
        limits: Limits::configured(&config.tts),
        pronunciations: Arc::new(config.tts.pronunciations.clone()),
        boot,
        workers: config.tts.workers,
        ahead: Duration::from_millis(50),
        audio_bytes: config.limits.audio_bytes,
    };
    let children_options = Options {
        program: common.program.clone(),
        ..Options::for_engines(config.tts.engines())
    };
    let addresses: Vec<_> = jobs
        .into_iter()
        .enumerate()
        .map(|(number, jobs)| {
            let options = children_options.clone();
            let deps = worker::Deps {
                number,
                db: db.clone(),
                files: files.clone(),
                cache: cache.clone(),
                voices: voices.clone(),
                progress: progress.clone(),
                dispatcher: dispatcher.clone().recipient(),
                workers: workers.clone(),
                long_texts: long_texts.clone(),
                crashes: crashes.clone(),
                settings: settings.clone(),
                children: Arc::clone(children),
                jobs,
                deadlines: watchdog.clone().recipient(),
                make_synthesizer: Box::new(move || Synthesizer::new(options.clone())),
            };
            tree.start(worker_name(number), TtsWorker::new(deps))
        })
        .collect();
    workers.fill(addresses);
    // A service that answers "voices unknown" in its first half second would
    // be true and useless.
    let _ = tokio::time::timeout(FIRST_CHILD, voices.known()).await;

    tree.start(
        "tts.retention",
        retention(
            config,
            &db,
            &files,
            Some(&cache),
            tts::store::RETAINED,
            Arc::new(|| ()),
        ),
    );

    let admission = admission(common, &db, &files);
    let state = TtsState {
        db: db.for_clients(),
        files,
        cache: cache.clone(),
        view,
        voices: voices.clone(),
        pronunciations: Arc::clone(&settings.pronunciations),
        checks,
        policy,
        rules: body_rules(common, Service::Tts),
        body_limit: config.limits.body_bytes,
        audio_bytes: config.limits.audio_bytes,
        admission: admission.clone(),
        check_timeout,
        workers,
        deadlines: watchdog.recipient(),
        checker,
        dispatcher: dispatcher.clone().recipient(),
    };
    let told = dispatcher.clone().recipient();
    let delivery = DeliveryState {
        db: db.for_clients(),
        in_delivery,
        dispatcher,
    };
    let routes: Routes = Arc::new(move |config: &mut web::ServiceConfig| {
        config.app_data(web::Data::new(state.clone()));
        tts::api::routes(config, delivery.clone());
    });
    Ok(Started {
        db,
        shut,
        routes,
        checks: vec![engines_are_there(voices), can_keep(&admission)],
        admission,
        dispatcher: told,
        cache: Some(cache),
        crashes: Some(crashes),
        due,
    })
}

/// What a person should see to. While a jump of the clock is held back, deadlines,
/// retries and links between the services are counted from now and stay right, so work
/// is taken on; so it is with the keys and secrets that were known before.
fn warnings(common: &Common) -> health::Check {
    let (clock, keys) = (common.clock.clone(), common.keys.clone());
    let secrets = common.secrets.clone();
    let told = |jump| format!("{jump}; {}", Jump::WAY_OUT);
    Arc::new(move || {
        let jump = clock.jump().map(told);
        let files = [keys.warning(), secrets.warning()].into_iter().flatten();
        jump.into_iter().chain(files.map(str::to_owned)).collect()
    })
}

fn worker_name(number: usize) -> String {
    format!("tts.worker.{number}")
}

/// Not ready while nothing at all can be spoken.
fn engines_are_there(voices: Voices) -> health::Check {
    Arc::new(move || {
        let offered = voices.offered();
        let mut reasons: Vec<String> = offered.problem.into_iter().collect();
        if offered.catalog.items.is_empty() {
            reasons.extend(
                offered
                    .unavailable
                    .into_iter()
                    .map(|(engine, detail)| format!("{engine}: {detail}")),
            );
            if reasons.is_empty() {
                reasons.push("no voice is known yet".into());
            }
        }
        reasons
    })
}

async fn start_backend(tree: &mut Tree, common: &Common, db: Db) -> Result<Started, StartError> {
    let config = &common.config;
    let open = db
        .read(backend_service::store::open_load)
        .await
        .map_err(|error| failed("the Backend service's database")(&error))?;
    db.load().add(&open);
    let files = Files::open(
        &config.data_dir.join("files"),
        Service::Backend,
        common.clock.clone(),
    )
    .map_err(|error| failed("the Backend service's files")(&error))?
    .keeping_free(config.limits.min_free_bytes);
    let tts = TtsClient::new(
        common.trusted.clone(),
        config.backend.tts_url.clone(),
        common.tts_api_key.clone(),
    );
    let voices = watch::Sender::new(Catalog::default());
    let voices_known = voices.subscribe();
    let (in_delivery, shut) = (InDelivery::default(), ShutReceivers::default());
    let progress = ProgressBoard::new(db.clone());
    let view = backend_service::view::View {
        links: common.links.clone(),
        progress: progress.clone(),
        in_delivery: in_delivery.clone(),
    };

    let [deliveries, errands, deadlines] = [(); 3].map(|()| Pulse::default());
    let due = Due {
        db: db.for_clients(),
        oldest: backend_service::due::oldest_due,
        pulses: BTreeMap::from([
            ("errands", vec![errands.clone()]),
            ("deadlines", vec![deadlines.clone()]),
            ("deliveries", vec![deliveries.clone()]),
        ]),
    };

    tree.watch("backend.writer", ended(&db));
    let dispatcher = tree.start(
        "backend.dispatcher",
        CallbackDispatcher::new(dispatcher::Deps {
            db: db.clone(),
            sender: sender(common, &common.client),
            schedule: config.callback.schedule.clone(),
            subject: Arc::new(WithAlerts(Arc::new(view.clone()))),
            alerts: common.alerts.clone(),
            in_delivery: in_delivery.clone(),
            shut: shut.clone(),
            deliveries,
            own_origin: None,
            cache: None,
        }),
    );
    let backend = tree.start(
        "backend",
        Backend::new(backend::Deps {
            db: db.clone(),
            files: files.clone(),
            tts: tts.clone(),
            dispatcher: dispatcher.clone().recipient(),
            progress,
            voices,
            errands,
        }),
    );
    let watchdog = tree.start(
        "backend.watchdog",
        TimeoutWatchdog::new(watchdog::Deps {
            db: db.clone(),
            tts,
            result_known: backend.clone().recipient(),
            task_ended: backend.clone().recipient(),
            dispatcher: dispatcher.clone().recipient(),
            deadlines,
        }),
    );

    let erasures_owed = backend.clone();
    tree.start(
        "backend.retention",
        retention(
            config,
            &db,
            &files,
            None,
            backend_service::store::RETAINED,
            Arc::new(move || {
                let _ = erasures_owed.try_send(TaskEnded);
            }),
        ),
    );

    let admission = admission(common, &db, &files);
    let state = BackendState {
        db: db.for_clients(),
        files,
        view,
        voices: voices_known,
        policy: common.policy.clone(),
        rules: body_rules(common, Service::Backend),
        body_limit: config.limits.body_bytes,
        admission: admission.clone(),
        report_to: report_to(config),
        secrets: common.secrets.clone(),
        hints: Hints {
            backend,
            watchdog,
            dispatcher: dispatcher.clone(),
        },
    };
    let told = dispatcher.clone().recipient();
    let delivery = DeliveryState {
        db: db.for_clients(),
        in_delivery,
        dispatcher,
    };
    let routes: Routes = Arc::new(move |config: &mut web::ServiceConfig| {
        config.app_data(web::Data::new(state.clone()));
        backend_service::api::routes(config, delivery.clone());
    });
    Ok(Started {
        db,
        shut,
        routes,
        checks: vec![can_keep(&admission)],
        admission,
        dispatcher: told,
        cache: None,
        crashes: None,
        due,
    })
}

fn retention(
    config: &Config,
    db: &Db,
    files: &Files,
    cache: Option<&Cache>,
    subjects: Subjects,
    forgot: Arc<dyn Fn() + Send + Sync>,
) -> Retention {
    let ms = |seconds: u64| i64::try_from(seconds.saturating_mul(1000)).unwrap_or(i64::MAX);
    Retention::new(retention::Deps {
        db: db.clone(),
        files: files.clone(),
        cache: cache.cloned(),
        subjects,
        files_ms: ms(config.retention.files_s),
        rows_ms: ms(config.retention.rows_s),
        forgot,
    })
}

fn ended(db: &Db) -> impl Future<Output = ()> + 'static {
    let db = db.clone();
    async move { db.writer_ended().await }
}

fn serve(
    common: &Common,
    listener: TcpListener,
    services: &[Started],
    board: StatusBoard,
    children: &ChildBoard,
) -> Result<actix_web::dev::Server, StartError> {
    let config = &common.config;
    let gate_data = web::Data::new(Gate::new(
        common.keys.clone(),
        loopback_names(config),
        config.server.public_url.origin().ascii_serialization(),
        config.server.cors_origins.clone(),
        common.links.clone(),
    ));
    let cors = web::Data::new(Cors::new(
        config.server.cors_origins.clone(),
        common.links.clone(),
    ));
    let checks = services
        .iter()
        .flat_map(|service| service.checks.clone())
        .collect();
    let health = web::Data::new(Health::new(
        checks,
        warnings(common),
        common.stopping.clone(),
    ));
    let children = Arc::clone(children);
    let system = web::Data::new(system::System {
        role: config.role.as_str(),
        started_at: common.clock.now(),
        board,
        dbs: services.iter().map(|service| service.db.clone()).collect(),
        children: Arc::new(move || stats_of(&children)),
        cache: services.iter().find_map(|service| service.cache.clone()),
        crashes: services.iter().find_map(|service| service.crashes.clone()),
        shut: services
            .iter()
            .map(|service| (service.db.service(), shown(&service.shut)))
            .collect(),
        due: services.iter().map(|service| service.due.clone()).collect(),
    });
    let streams = web::Data::new(Streams::new(common.stopping.clone(), common.keys.clone()));
    let routes: Vec<Routes> = services
        .iter()
        .map(|service| Arc::clone(&service.routes))
        .collect();
    let connections = connections_of(config);
    let counted = web::Data::new(connections.clone());
    let renderer = web::Data::new(Renderer::new(config.limits.bodies_bytes));
    let pool = web::Data::new(Pool::default());
    let server = HttpServer::new(move || {
        let routes = routes.clone();
        App::new()
            .app_data(counted.clone())
            .app_data(renderer.clone())
            .app_data(pool.clone())
            .app_data(gate_data.clone())
            .app_data(cors.clone())
            .app_data(health.clone())
            .app_data(system.clone())
            .app_data(streams.clone())
            .wrap(from_fn(gate))
            .wrap(from_fn(methods))
            .wrap(from_fn(preflight))
            .wrap(from_fn(connections::refuse))
            .wrap(from_fn(problem::finish))
            .wrap(from_fn(connections::pace))
            .configure(common_routes)
            .configure(move |config| routes.iter().for_each(|routes| routes(config)))
    })
    .workers(config.server.workers)
    .keep_alive(SERVER_KEEP_ALIVE)
    .max_connections(usize::MAX)
    .on_connect(move |stream, extensions| connections.opened(stream, extensions))
    .shutdown_timeout(HTTP_GRACE_S)
    .disable_signals()
    .listen(listener)
    .map_err(|error| failed("the listener")(&error))?;
    Ok(server.run())
}

fn connections_of(config: &Config) -> Connections {
    let limits = &config.limits;
    // One that is served is two descriptors; the other half is for all else.
    let room = open_files::limit().map_or(u64::MAX, |files| files / 4);
    let most = limits.connections.min(room);
    // The Backend and the TTS service need some hundred for each other, from one address.
    let each = limits.connections.div_ceil(4).min(most.div_ceil(2));
    if most < limits.connections {
        log::info!(
            "at most {most} connections are served, since few files may be open (ulimit -H -n)"
        );
    }
    Connections::new(connections::Bounds {
        connections: most,
        connections_each: each,
        bodies_bytes: limits.bodies_bytes,
        body_bytes: limits.body_bytes as u64,
        body_timeout: Duration::from_secs(limits.body_timeout_s),
        write_timeout: Duration::from_secs(limits.write_timeout_s),
        proxies: Proxies::new(config.server.trusted_proxies.clone()),
    })
}

/// What every role serves. Each path is a resource, so that a method it does
/// not have is answered 405: `App::route` would make the path one that is not
/// there.
fn common_routes(config: &mut web::ServiceConfig) {
    let routes = [
        ("/", web::get().to(system::index)),
        ("/health/live", web::get().to(health::live)),
        ("/health/ready", web::get().to(health::ready)),
        ("/metrics", web::get().to(metrics::metrics)),
        ("/problems/{code}", web::get().to(problem::explain)),
        ("/v1/system", web::get().to(system::system)),
        ("/v1/clock/accept", web::post().to(clock::accept)),
    ];
    for (path, route) in routes {
        config.service(web::resource(path).route(route));
    }
}

fn shown(shut: &ShutReceivers) -> system::ShutReceivers {
    let shut = shut.clone();
    Arc::new(move || shut.get().iter().map(|one| json!(one)).collect())
}

fn stats_of(children: &ChildBoard) -> BTreeMap<String, Stats> {
    let children = children
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    children
        .iter()
        .enumerate()
        .map(|(number, monitor)| (worker_name(number), monitor.stats()))
        .collect()
}

/// The names that a loopback listener answers to while no keys are asked for; `None`
/// where the Host header need not be checked.
fn loopback_names(config: &Config) -> Option<Vec<String>> {
    if !config.server.listen.ip().is_loopback() {
        return None;
    }
    let mut names: Vec<String> = ["localhost", "127.0.0.1", "[::1]"]
        .map(str::to_owned)
        .to_vec();
    let urls = [&config.server.public_url, &config.backend.callback_base_url];
    names.extend(
        urls.into_iter()
            .filter_map(|url| url.host_str().map(str::to_owned)),
    );
    let ip = config.server.listen.ip();
    names.push(if ip.is_ipv6() {
        format!("[{ip}]")
    } else {
        ip.to_string()
    });
    Some(names)
}

fn announce(config: &Config) {
    let folder = std::path::absolute(&config.data_dir).unwrap_or_else(|_| config.data_dir.clone());
    log::info!(
        "hoiam {} ({}) listens on http://{}",
        env!("CARGO_PKG_VERSION"),
        config.role.as_str(),
        config.server.listen
    );
    log::info!("data is kept in {}", folder.display());
    // For people and scripts that started it with port 0.
    println!("listening on http://{}", config.server.listen);
}

async fn wait_for_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut terminate), Ok(mut interrupt)) = (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
    ) else {
        log::error!("signals cannot be received; only a kill will end the process");
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

async fn exit_on_second_signal() {
    wait_for_signal().await;
    log::warn!("second signal: ending at once; what was under way goes on after the next start");
    std::process::exit(1);
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "a-key-of-the-configuration";
    const OF_BACKEND: &str = "the-key-of-the-backend";

    /// The keys that are known, and the one that the Backend sends.
    fn keys(flags: &[(&str, &str)]) -> (Keys, Option<String>) {
        let folder = tempfile::tempdir().unwrap();
        let data_dir = ("data_dir", folder.path().to_str().unwrap());
        let flags = [&[data_dir], flags].concat();
        let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        let flags: Vec<(String, String)> = flags.iter().map(owned).collect();
        open_keys(&Config::from_sources(None, &[], &flags).unwrap()).unwrap()
    }

    #[test]
    fn a_key_that_is_sent_to_another_host_is_no_backends_here() {
        let elsewhere = [
            ("backend.tts_url", "http://192.0.2.1:4641"),
            ("backend.callback_base_url", "http://192.0.2.2:4640"),
        ];
        let keys = |more: &[(&str, &str)]| keys(&[&elsewhere, more].concat());
        assert_eq!(keys(&[]).1, None);
        let of_backend = ("backend.tts_api_key", OF_BACKEND);
        let (known, sent) = keys(&[of_backend]);
        assert_eq!(sent.as_deref(), Some(OF_BACKEND));
        assert_eq!(known.caller(OF_BACKEND), None);
        let (known, sent) = keys(&[of_backend, ("server.api_keys", KEY)]);
        assert_eq!(sent.as_deref(), Some(OF_BACKEND));
        assert_eq!(known.caller(OF_BACKEND), None);
        assert_eq!(known.caller(KEY).unwrap().unnamed, None);
    }

    #[test]
    fn a_process_that_is_told_its_own_address_hands_over_to_itself() {
        for own in ["", "http://127.0.0.1:4640", "http://localhost:4640/"] {
            let flags = [("backend.tts_url", own), ("server.api_keys", KEY)];
            let (known, sent) = keys(&flags);
            let sent = sent.unwrap();
            assert_ne!(sent, KEY, "{own}");
            let caller = known.caller(&sent).unwrap();
            assert_eq!(caller.unnamed.as_deref(), Some(""), "{own}");
            let given = [&flags[..], &[("backend.tts_api_key", OF_BACKEND)]].concat();
            let (known, sent) = keys(&given);
            assert_eq!(sent.as_deref(), Some(OF_BACKEND));
            let caller = known.caller(OF_BACKEND).unwrap();
            assert_eq!(caller.unnamed.as_deref(), Some(""), "{own}");
        }
    }
}
