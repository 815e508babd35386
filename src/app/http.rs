//! The HTTP server: what both services' routes stand behind.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use actix_web::middleware::from_fn;
use actix_web::{App, HttpServer, web};
use hoiam_supervision::StatusBoard;
use hoiam_supervision::clock::Jump;
use serde_json::json;

use super::common::{Common, StartError, failed};
use super::service::{Routes, Started};
use super::tts::stats_of;
use crate::config::{Config, SERVER_KEEP_ALIVE};
use crate::delivery::open_circuits::OpenCircuits;
use crate::http::auth::{Gate, gate};
use crate::http::connections::{self, Connections};
use crate::http::cors::{Cors, preflight};
use crate::http::health::{self, Health};
use crate::http::methods::methods;
use crate::http::pool::Pool;
use crate::http::proxies::Proxies;
use crate::http::render::Renderer;
use crate::http::streams::Streams;
use crate::http::{clock, metrics, problem, system};
use crate::open_files;
use crate::tts::worker::ChildBoard;

/// Of the grace, what is kept for the HTTP server after the actors.
pub(super) const GRACE_S: u64 = 3;

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

pub(super) fn serve(
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
            .map(|service| (service.db.service(), shown(&service.open_circuits)))
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
    .shutdown_timeout(GRACE_S)
    .disable_signals()
    .listen(listener)
    .map_err(failed("the listener"))?;
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

fn shown(open_circuits: &OpenCircuits) -> system::ShutReceivers {
    let open_circuits = open_circuits.clone();
    Arc::new(move || open_circuits.get().iter().map(|one| json!(one)).collect())
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
