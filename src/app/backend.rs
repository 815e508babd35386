//! Starting the Backend service.

use std::sync::Arc;

use hoiam_api::Catalog;
use hoiam_supervision::Tree;
use tokio::sync::watch;

use super::common::{Common, StartError, report_to};
use super::service::{Base, Started};
use crate::backend::actor::{self, Backend};
use crate::backend::messages::TaskEnded;
use crate::backend::state::{BackendState, Hints};
use crate::backend::store::Row;
use crate::backend::tts_client::TtsClient;
use crate::backend::watchdog::{self, TimeoutWatchdog};
use crate::backend::{api, due, store};
use crate::claim_loop::Pulse;
use crate::db::Db;

/// Starts its actors, each after those that it tells something.
pub(super) async fn start(tree: &mut Tree, common: &Common, db: Db) -> Result<Started, StartError> {
    let base = Base::open::<Row>(common, db).await?;
    let resources = base.resources(common, common.policy.clone());
    let tts = TtsClient::new(
        common.trusted.clone(),
        common.config.backend.tts_url.clone(),
        common.tts_api_key.clone(),
    );
    let voices = watch::Sender::new(Catalog::default());
    let voices_known = voices.subscribe();
    let actions = Pulse::default();

    let subject = Arc::new(resources.view.clone());
    let dispatcher = base.start_dispatcher(tree, common, &common.client, subject, None, None);
    let backend = tree.start(
        "backend",
        Backend::new(actor::Deps {
            db: base.db.clone(),
            files: base.files.clone(),
            tts: tts.clone(),
            dispatcher: dispatcher.clone().recipient(),
            progress: base.progress.clone(),
            voices,
            actions: actions.clone(),
        }),
    );
    let watchdog = tree.start(
        "backend.watchdog",
        TimeoutWatchdog::new(watchdog::Deps {
            db: base.db.clone(),
            tts,
            result_known: backend.clone().recipient(),
            task_ended: backend.clone().recipient(),
            dispatcher: dispatcher.clone().recipient(),
            deadlines: base.deadlines.clone(),
        }),
    );
    let erasing = backend.clone();
    let forgot = Arc::new(move || {
        let _ = erasing.try_send(TaskEnded);
    });
    base.start_retention(tree, &common.config, None, store::RETAINED, forgot);

    let state = BackendState {
        resources,
        voices: voices_known,
        report_to: report_to(&common.config),
        secrets: common.secrets.clone(),
        hints: Hints {
            backend,
            watchdog,
            dispatcher: dispatcher.clone(),
        },
    };
    Ok(Started {
        routes: base.routes(state, &dispatcher, api::routes),
        checks: vec![base.can_keep()],
        due: base.due(due::oldest_due, [("errands", vec![actions])]),
        dispatcher: dispatcher.recipient(),
        cache: None,
        crashes: None,
        db: base.db,
        open_circuits: base.open_circuits,
        admission: base.admission,
    })
}
