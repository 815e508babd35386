//! A row of `tasks`: its columns, and what of it clients see in the Backend's own way.

use diesel::prelude::*;
use hoiam_api::{Late, LateResult, Recording, Retries, Service, TaskStatus, WaitingFor};
use hoiam_supervision::clock::Millis;
use uuid::Uuid;

use crate::backend::task::Action;
use crate::db::schema::tasks;
use crate::db::{Conn, Id};
use crate::http::links::ResultLinks;
use crate::resource::row::{self, ResourceRow, ServiceFields, table_row};

table_row! {
    /// A row of `tasks` without its long columns.
    tasks {
        resolved_voice: Option<String>,
        language: Option<String>,
        report_to: String,
        pull_at: Millis,
        action: Option<String>,
        action_due_at: Option<Millis>,
        action_until: Option<Millis>,
        action_attempt: i32,
        hand_overs: i32,
        result: Option<String>,
        retry_of: Option<Id>,
        retried_as: Option<Id>,
    }
}

/// A task as the edge has checked it.
pub type New = row::New<NewTask>;

/// What the Backend keeps of a new task beside its request.
#[derive(Debug, Clone)]
pub struct NewTask {
    /// The callback URL that the hand-over carries.
    pub report_to: String,
    /// The task that this one repeats.
    pub retry_of: Option<Uuid>,
}

impl ResourceRow for Row {
    type Status = TaskStatus;
    type Late = Late;
    type Retries = Retries;
    type New = NewTask;

    const SERVICE: Service = Service::Backend;
    const NAMED: &'static str = "such task";
    // A task that is fetching owes its fetch.
    const OPEN: &'static [&'static str] = &[OPEN, "action = 'fetch' AND status = 'fetching'"];

    fn insert(&self, conn: &mut Conn, new: &New) -> QueryResult<usize> {
        diesel::insert_into(tasks::table)
            .values((
                self,
                tasks::idempotency_key.eq(&new.idempotency_key),
                tasks::text.eq(&new.request.source),
            ))
            .on_conflict_do_nothing()
            .execute(conn)
    }

    fn service_fields(&self) -> ServiceFields<Retries> {
        let status = self.status();
        ServiceFields {
            resolved_voice: self.resolved_voice.clone(),
            language: self.language.clone(),
            attempt: u32::try_from(self.hand_overs).unwrap_or(0),
            is_spoken: status == TaskStatus::InProgress,
            waiting_for: (!status.is_ended()).then_some(WaitingFor::TtsService),
            check: None,
            retries: Retries {
                retry_of: self.retry_of.map(|id| id.0),
                retried_as: self.retried_as.map(|id| id.0),
            },
        }
    }

    fn late(&self, links: Option<ResultLinks>) -> (Late, Option<ResultLinks>) {
        if self.status() != TaskStatus::TimedOut {
            return (Late { late_result: None }, links);
        }
        let late_result = links.map(|links| LateResult {
            audio: links.audio,
            subtitles: links.subtitles,
            segments: links.segments,
            warnings: links.warnings,
            words: links.words,
            marks: links.marks,
        });
        (Late { late_result }, None)
    }
}

impl Row {
    /// The audio that is to be fetched.
    #[must_use]
    pub fn result(&self) -> Option<Recording> {
        serde_json::from_str(self.result.as_deref()?).ok()
    }

    /// The action it owes.
    #[must_use]
    pub fn action(&self) -> Option<Action> {
        self.action.as_deref().and_then(Action::parse)
    }
}

/// Tasks that have not ended and whose result is not known.
pub const OPEN: &str = "status IN ('queued', 'in_progress')";
