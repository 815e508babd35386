//! What the Backend's handlers work with, whichever file they are in.

use actix::Addr;
use hoiam_api::Catalog;
use hoiam_api::create::Rules;
use tokio::sync::watch;

use super::actor::Backend;
use super::view::View;
use super::watchdog::TimeoutWatchdog;
use crate::db::Db;
use crate::delivery::CallbackDispatcher;
use crate::edge::admission::Admission;
use crate::files::Files;
use crate::outbound::guard::Policy;
use crate::secrets::CallbackSecrets;

/// What the handlers work with.
#[derive(Clone)]
pub struct BackendState {
    /// The Backend service's database.
    pub db: Db,
    /// The Backend service's files.
    pub files: Files,
    /// Makes the answers.
    pub view: View,
    /// The voices of the TTS service, as last heard.
    pub voices: watch::Receiver<Catalog>,
    /// What callback URLs may lead to.
    pub policy: Policy,
    /// Bounds of a request.
    pub rules: Rules,
    /// `limits.body_bytes`.
    pub body_limit: usize,
    /// Lets texts in.
    pub admission: Admission,
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
