//! A row of `tasks`: its columns, and what of it clients see in the Backend's own way.

use diesel::prelude::*;
use hoiam_api::{Late, LateResult, Recording, Retries, Service, TaskStatus, WaitingFor};
use hoiam_supervision::clock::Millis;
use uuid::Uuid;

use crate::backend::task::Action;
use crate::db::schema::tasks;
use crate::db::{Conn, Id};
use crate::edge::links::ResultLinks;
use crate::resource::row::{self, ResourceRow, ServiceFields};
use crate::table_row;

/// A row of `tasks` without its long columns.
#[derive(Debug, Clone, Default, Queryable, Selectable, Insertable)]
#[diesel(table_name = tasks, check_for_backend(diesel::sqlite::Sqlite))]
#[diesel(treat_none_as_default_value = false)]
#[expect(missing_docs, reason = "the migration documents the columns")]
pub struct Row {
    pub id: Id,
    pub status: String,
    pub fingerprint: Vec<u8>,
    pub reference: Option<String>,
    pub request: String,
    pub resolved_voice: Option<String>,
    pub language: Option<String>,
    pub characters: i32,
    pub text_bytes: i64,
    pub callback_url: Option<String>,
    pub report_to: String,
    pub created_at: Millis,
    pub deadline_at: Millis,
    pub pull_at: Millis,
    pub started_at: Option<Millis>,
    pub ended_at: Option<Millis>,
    pub action: Option<String>,
    pub action_due_at: Option<Millis>,
    pub action_until: Option<Millis>,
    pub action_attempt: i32,
    pub hand_overs: i32,
    pub error: Option<String>,
    pub result: Option<String>,
    pub retry_of: Option<Id>,
    pub retried_as: Option<Id>,
    pub file: Option<String>,
    pub audio: Option<String>,
    pub client: String,
}

table_row!(tasks);

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
