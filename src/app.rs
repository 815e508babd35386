//! One process: opens what it keeps, starts the supervision tree, serves,
//! and stops in reverse.

mod alerts;
mod backend;
mod common;
mod http;
mod service;
mod tts;

use std::net::TcpListener;
use std::path::PathBuf;
use std::time::Duration;

use futures_util::future::LocalBoxFuture;
use hoiam_api::Service;
use hoiam_supervision::Tree;
use hoiam_supervision::clock::{Anchor, Clock, Jump};
use hoiam_synthesizer::parent::Options;
use tokio::sync::watch;

use crate::config::Config;
use crate::db::{self, Db};
use crate::tts::worker::ChildBoard;
use common::{common, failed, open_keys};

pub use common::{StartError, callback_policy, outgoing_timeouts};

/// The exit status after the supervision tree has given up, as sysexits.h
/// names an internal software error.
pub const EXIT_GAVE_UP: i32 = 70;

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
    let listen = config.server.listen;
    let listener = TcpListener::bind(listen);
    let listener = listener.map_err(failed(format!("{listen} cannot be listened on")))?;
    let address = listener.local_addr().map_err(failed("the listener"))?;
    let config = config.bound(address);
    alerts::check_url_of(&config)?;
    let stop = watch::Sender::new(false);

    let (keys, tts_api_key) = open_keys(&config)?;
    let (tts_db, backend_db, clock) = open_databases(&config, around.clock)?;
    let dbs: Vec<Db> = [&backend_db, &tts_db]
        .into_iter()
        .flatten()
        .cloned()
        .collect();
    let settled = keys.settle(&dbs).await;
    settled.map_err(failed("the first client"))?;
    let mut watched = vec![actix_rt::spawn(keys.clone().watch(dbs))];
    let mut common = common(
        config,
        clock,
        around.program,
        (keys, tts_api_key),
        stop.subscribe(),
    )?;
    watched.push(actix_rt::spawn(common.secrets.clone().watch()));
    let ledger = alerts::open(&mut common, &tts_db, &backend_db).await?;
    let children = ChildBoard::default();

    // The supervision tree: started in this order, stopped in reverse.
    let mut tree = Tree::new(hoiam_supervision::Policy::default(), give_up);
    let mut services = Vec::new();
    if let Some(db) = tts_db {
        services.push(tts::start(&mut tree, &common, db, &children).await?);
    }
    if let Some(db) = backend_db {
        services.push(backend::start(&mut tree, &common, db).await?);
    }

    if let Some(ledger) = ledger {
        alerts::start(&mut tree, &common, &services, ledger);
    }

    let server = http::serve(&common, listener, &services, tree.status(), &children)?;
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
            .saturating_sub(Duration::from_secs(http::GRACE_S))
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

fn open_databases(
    config: &Config,
    make_clock: impl FnOnce(Option<Anchor>) -> Clock,
) -> Result<(Option<Db>, Option<Db>, Clock), StartError> {
    std::fs::create_dir_all(&config.data_dir).map_err(failed("the data folder cannot be made"))?;
    let open = |wanted: bool, service: Service| {
        let path = config.data_dir.join(format!("{service}.db"));
        wanted.then(|| db::open(&path)).transpose()
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
    };
    Ok((
        start(tts, Service::Tts)?,
        start(backend, Service::Backend)?,
        clock,
    ))
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
