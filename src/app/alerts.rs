//! Telling the operator, where that is wanted.

use std::sync::Arc;

use hoiam_supervision::Tree;

use super::common::{Common, StartError, callback_policy, failed, sender};
use super::service::Started;
use crate::alerts::{Ledger, Reporter};
use crate::config::Config;
use crate::db::Db;
use crate::delivery::alerts::{AlertCollector, collector};
use crate::delivery::store::origin_of;
use crate::http::admission::Admission;
use crate::outbound::guard::check_url;

/// An operator who is told nothing, and does not know that, is worse off than one
/// whose service does not start.
pub(super) fn check_url_of(config: &Config) -> Result<(), StartError> {
    let Some(url) = &config.alerts.callback_url else {
        return Ok(());
    };
    check_url(&callback_policy(config), url).map_err(StartError::AlertsUrl)
}

/// Where alerts are on: has troubles reported from now on, and answers what was told
/// before.
pub(super) async fn open(
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
        .map_err(failed("what was told in alerts"))?;
    let origin = origin_of(url.as_str());
    common.alerts = Reporter::new(common.clock.clone(), origin, &ledger);
    Ok(Some(ledger))
}

/// One for the process: the last of its services keeps the alerts, which is the
/// Backend where it runs.
pub(super) fn start(tree: &mut Tree, common: &Common, services: &[Started], ledger: Ledger) {
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
