//! What the Backend's handlers work with, whichever file they are in.

use actix::Addr;
use hoiam_api::Catalog;
use tokio::sync::watch;

use super::actor::Backend;
use super::store::Row;
use super::watchdog::TimeoutWatchdog;
use crate::delivery::CallbackDispatcher;
use crate::resource::api::Resources;
use crate::secrets::CallbackSecrets;

/// What the handlers work with.
#[derive(Clone)]
pub struct BackendState {
    /// Its tasks.
    pub resources: Resources<Row>,
    /// The voices of the TTS service, as last heard.
    pub voices: watch::Receiver<Catalog>,
    /// Where the TTS service is to report.
    pub report_to: String,
    /// All verify.
    pub secrets: CallbackSecrets,
    /// The actors.
    pub hints: Hints,
}

/// The addresses that the Backend's edge sends hints to.
#[derive(Clone)]
pub struct Hints {
    /// Runs actions.
    pub backend: Addr<Backend>,
    /// Watches deadlines.
    pub watchdog: Addr<TimeoutWatchdog>,
    /// Delivers.
    pub dispatcher: Addr<CallbackDispatcher>,
}
