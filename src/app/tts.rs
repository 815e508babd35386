//! Starting the TTS service.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use actix::{Addr, Recipient};
use hoiam_supervision::Tree;
use hoiam_synthesizer::crashes::Crashes;
use hoiam_synthesizer::parent::{Options, Synthesizer};
use hoiam_synthesizer::stats::Stats;
use hoiam_text::SaturatingFrom as _;
use uuid::Uuid;

use super::common::{Common, StartError, outgoing_timeouts, policy_with_reports, sender};
use super::service::{Base, Started, database_failed};
use crate::claim_loop::Pulse;
use crate::config::Config;
use crate::db::Db;
use crate::delivery::DeliveryEnqueued;
use crate::delivery::check::CheckCache;
use crate::delivery::checker::{self, CallbackChecker};
use crate::delivery::store::origin_of;
use crate::files::Cache;
use crate::http::health;
use crate::locks::lock;
use crate::outbound::client::Client;
use crate::tts::api::TtsState;
use crate::tts::deadlines::{self, DeadlineWatchdog};
use crate::tts::messages::DeadlineAdded;
use crate::tts::salvage::Limits;
use crate::tts::store::Row;
use crate::tts::voices::Voices;
use crate::tts::worker::{self, ChildBoard, TtsWorker};
use crate::tts::workers::Workers;
use crate::tts::{LongTexts, api, store};

/// How long the first child may take before the listener opens without it.
const FIRST_CHILD: Duration = Duration::from_secs(10);

/// Starts its actors, each after those that it tells something.
pub(super) async fn start(
    tree: &mut Tree,
    common: &Common,
    db: Db,
    children: &ChildBoard,
) -> Result<Started, StartError> {
    let config = &common.config;
    let boot = Uuid::now_v7();
    // The load is counted before what a job that recovery ends is taken off it.
    let base = Base::open::<Row>(common, db).await?;
    recover(&base.db, boot).await?;
    let cache = Cache::new(&base.files, config.cache.max_bytes);
    let loading = cache.clone();
    actix_rt::spawn(async move { loading.load().await });
    let checks = CheckCache::new(common.clock.clone());
    let policy = policy_with_reports(common)?;
    let resources = base.resources(common, policy.clone());
    let (timeouts, roots) = (outgoing_timeouts(config), Arc::clone(&common.roots));
    let client = Client::new(policy.clone(), timeouts, roots);
    let urls = Pulse::default();
    let jobs: Vec<Pulse> = (0..config.tts.workers).map(|_| Pulse::default()).collect();

    let dispatcher = base.start_dispatcher(
        tree,
        common,
        &client,
        Arc::new(resources.view.clone()),
        policy.exempt().map(|url| origin_of(url.as_str())),
        Some(checks.clone()),
    );
    let workers = Workers::default();
    let check_timeout = Duration::from_secs(config.callback.check_timeout_s);
    let checker = tree.start(
        "tts.checker",
        CallbackChecker::new(checker::Deps {
            db: base.db.clone(),
            sender: sender(common, &client),
            queue: Arc::new(workers.clone()),
            cache: checks.clone(),
            timeout: check_timeout,
            hold_ms: i64::saturating_from(config.callback.hold_s * 1000),
            urls: urls.clone(),
            dispatcher: dispatcher.clone().recipient(),
        }),
    );
    let watchdog = tree.start(
        "tts.watchdog",
        DeadlineWatchdog::new(deadlines::Deps {
            db: base.db.clone(),
            dispatcher: dispatcher.clone().recipient(),
            deadlines: base.deadlines.clone(),
        }),
    );
    let speaking = Speaking {
        settings: settings(config, boot),
        cache,
        voices: Voices::new(
            config.tts.aliases.clone(),
            config.tts.default_voices.clone(),
        )
        .reporting_to(common.alerts.clone()),
        crashes: Crashes::default(),
        workers,
        dispatcher: dispatcher.clone().recipient(),
        deadlines: watchdog.recipient(),
    };
    speaking.start_workers(tree, &base, &jobs, children, config, &common.program);
    // A service that answers "voices unknown" in its first half second would
    // be true and useless.
    let _ = tokio::time::timeout(FIRST_CHILD, speaking.voices.known()).await;
    let cache = Some(&speaking.cache);
    base.start_retention(tree, config, cache, store::RETAINED, Arc::new(|| ()));

    let state = TtsState {
        resources,
        cache: speaking.cache.clone(),
        voices: speaking.voices.clone(),
        pronunciations: Arc::clone(&speaking.settings.pronunciations),
        checks,
        audio_bytes: config.limits.audio_bytes,
        check_timeout,
        workers: speaking.workers,
        deadlines: speaking.deadlines,
        checker,
        dispatcher: speaking.dispatcher.clone(),
    };
    Ok(Started {
        routes: base.routes(state, &dispatcher, api::routes),
        checks: vec![engines_are_there(speaking.voices), base.can_keep()],
        due: base.due(store::oldest_due, [("checks", vec![urls]), ("jobs", jobs)]),
        dispatcher: speaking.dispatcher,
        cache: Some(speaking.cache),
        crashes: Some(speaking.crashes),
        db: base.db,
        open_circuits: base.open_circuits,
        admission: base.admission,
    })
}

/// Frees what another boot had claimed.
async fn recover(db: &Db, boot: Uuid) -> Result<(), StartError> {
    let freed = db.write(move |tx| store::claims::recover(tx, boot)).await;
    let freed = freed.map_err(database_failed(db))?;
    if freed > 0 {
        log::info!("{freed} jobs that were being spoken when the process ended are queued again");
    }
    Ok(())
}

fn settings(config: &Config, boot: Uuid) -> worker::Settings {
    worker::Settings {
        max_attempts: i32::saturating_from(config.tts.max_attempts),
        limits: Limits::configured(&config.tts),
        pronunciations: Arc::new(config.tts.pronunciations.clone()),
        boot,
        workers: config.tts.workers,
        ahead: Duration::from_millis(50),
        audio_bytes: config.limits.audio_bytes,
    }
}

/// What all workers speak with, and whom they tell.
struct Speaking {
    settings: worker::Settings,
    cache: Cache,
    voices: Voices,
    crashes: Crashes,
    workers: Workers,
    dispatcher: Recipient<DeliveryEnqueued>,
    deadlines: Recipient<DeadlineAdded>,
}

impl Speaking {
    /// Starts one worker for each of `jobs`, with a child of `program` each.
    fn start_workers(
        &self,
        tree: &mut Tree,
        base: &Base,
        jobs: &[Pulse],
        children: &ChildBoard,
        config: &Config,
        program: &Path,
    ) {
        let options = Options {
            program: program.to_owned(),
            ..Options::for_engines(config.tts.engines())
        };
        let long_texts = LongTexts::default();
        let mut start = |(number, jobs): (usize, &Pulse)| -> Addr<TtsWorker> {
            let options = options.clone();
            let deps = worker::Deps {
                number,
                db: base.db.clone(),
                files: base.files.clone(),
                cache: self.cache.clone(),
                voices: self.voices.clone(),
                progress: base.progress.clone(),
                dispatcher: self.dispatcher.clone(),
                workers: self.workers.clone(),
                long_texts: long_texts.clone(),
                crashes: self.crashes.clone(),
                settings: self.settings.clone(),
                children: Arc::clone(children),
                jobs: jobs.clone(),
                deadlines: self.deadlines.clone(),
                make_synthesizer: Box::new(move || Synthesizer::new(options.clone())),
            };
            tree.start(worker_name(number), TtsWorker::new(deps))
        };
        let addresses: Vec<_> = jobs.iter().enumerate().map(&mut start).collect();
        self.workers.fill(addresses);
    }
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

pub(super) fn stats_of(children: &ChildBoard) -> BTreeMap<String, Stats> {
    let children = lock(children);
    children
        .iter()
        .enumerate()
        .map(|(number, monitor)| (worker_name(number), monitor.stats()))
        .collect()
}
