//! `hoiam deliveries`: what a running service owes its receivers, and having it
//! sent again.

use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};
use hoiam_api::{Delivery, Page};
use serde::Deserialize;
use serde_json::json;
use url::form_urlencoded::Serializer;
use uuid::Uuid;

use super::error::CliError;
use super::remote::{CallError, RemoteArgs, Service};
use super::{EXIT_FAILED, EXIT_USAGE, Globals};
use crate::outbound::Method;

/// The most that one page of the list has.
const PAGE: usize = 200;

/// The flags of `hoiam deliveries`.
#[derive(Args, Clone, Debug)]
pub struct DeliveriesArgs {
    /// What is to be done.
    #[command(subcommand)]
    pub action: Action,
}

/// What `hoiam deliveries` does.
#[derive(Clone, Debug, Subcommand)]
pub enum Action {
    /// List deliveries, newest first
    List {
        /// Which ones.
        #[command(flatten)]
        filter: FilterArgs,
        /// Only these: pending, delivered, exhausted, aborted; several separated by commas
        #[arg(long, value_name = "STATUS")]
        status: Option<String>,
        /// How many at most
        #[arg(long, value_name = "N", default_value_t = 50)]
        limit: usize,
        /// Where.
        #[command(flatten)]
        place: Place,
    },
    /// Show one delivery with all its attempts
    Show {
        /// The id of the delivery; the webhook-id without msg_ is the same
        id: Uuid,
        /// Where.
        #[command(flatten)]
        place: Place,
    },
    /// Send again what has ended: those of the given ids, or all that the filter finds
    #[command(arg_required_else_help = true)]
    Redeliver {
        /// Ids of deliveries
        #[arg(conflicts_with_all = ["all", "status", "filter"])]
        ids: Vec<Uuid>,
        /// All that were given up
        #[arg(long, conflicts_with = "filter")]
        all: bool,
        /// Which ones.
        #[command(flatten)]
        filter: FilterArgs,
        /// Those in this state, other than the exhausted ones: delivered, aborted
        #[arg(long, value_name = "STATUS")]
        status: Option<String>,
        /// Where.
        #[command(flatten)]
        place: Place,
    },
}

/// Where the deliveries are kept.
#[derive(Args, Clone, Debug)]
pub struct Place {
    /// Whose deliveries: of the Backend service (tasks) or of the TTS service (speech)
    #[arg(long, value_name = "WHOSE", default_value = "tasks")]
    pub of: Subject,

    /// The service.
    #[command(flatten)]
    pub remote: RemoteArgs,
}

/// What deliveries tell of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Subject {
    /// Tasks, of the Backend service.
    Tasks,
    /// Speeches, of the TTS service.
    Speech,
}

/// Which deliveries are meant.
#[derive(Args, Clone, Debug, Default)]
#[group(id = "filter", multiple = true)]
pub struct FilterArgs {
    /// Only of this task, or of this speech with --of speech
    #[arg(long, value_name = "ID")]
    pub subject: Option<Uuid>,

    /// Only created after this instant (RFC 3339)
    #[arg(long, value_name = "TIME")]
    pub created_after: Option<String>,

    /// Only created before this instant
    #[arg(long, value_name = "TIME")]
    pub created_before: Option<String>,

    /// Only given up or delivered after this instant
    #[arg(long, value_name = "TIME")]
    pub ended_after: Option<String>,

    /// Only given up or delivered before this instant
    #[arg(long, value_name = "TIME")]
    pub ended_before: Option<String>,
}

/// Exit code 1 when the service refuses, 2 when it cannot be spoken to.
pub fn run(args: DeliveriesArgs, globals: Globals) -> ExitCode {
    let (Action::List { place, .. } | Action::Show { place, .. } | Action::Redeliver { place, .. }) =
        &args.action;
    let (of, remote) = (place.of, place.remote.clone());
    let told = remote.service().map(|service| {
        let deliveries = Deliveries { service, of };
        actix_web::rt::System::new().block_on(act(args.action, &deliveries, globals.json))
    });
    let error = match told {
        Ok(Ok(text)) => return super::exit(super::print(&text)),
        Ok(Err(error)) if !error.concerns_all() => {
            super::tell_error(error);
            return ExitCode::from(EXIT_FAILED);
        }
        Ok(Err(error)) => remote.explain(error),
        Err(error) => error,
    };
    super::tell_error(error);
    ExitCode::from(EXIT_USAGE)
}

async fn act(action: Action, deliveries: &Deliveries, json: bool) -> Result<String, CallError> {
    let strange = |error: CliError| CallError::Strange(error.to_string());
    match action {
        Action::List {
            filter,
            status,
            limit,
            ..
        } => {
            let found = deliveries.list(&filter, status.as_deref(), limit).await?;
            Ok(match json {
                true => super::pretty(&json!({ "items": found })).map_err(strange)?,
                false => as_table(&found),
            })
        }
        Action::Show { id, .. } => {
            let path = format!("{}/{id}", deliveries.path());
            let found: Delivery = deliveries.service.ask(Method::GET, &path).await?;
            Ok(match json {
                true => super::pretty(&found).map_err(strange)?,
                false => for_people(&found),
            })
        }
        Action::Redeliver {
            ids,
            filter,
            status,
            ..
        } => {
            let redelivered = match ids.is_empty() {
                true => deliveries.redeliver_all(&filter, status).await?,
                false => deliveries.redeliver(&ids).await?,
            };
            Ok(match json {
                true => format!("{}\n", json!({ "redelivered": redelivered })),
                false => format!("{redelivered} are sent again\n"),
            })
        }
    }
}

/// The deliveries of one service.
struct Deliveries {
    service: Service,
    of: Subject,
}

#[derive(Deserialize)]
struct Count {
    redelivered: usize,
}

impl Deliveries {
    fn path(&self) -> &'static str {
        match self.of {
            Subject::Tasks => "v1/tasks/deliveries",
            Subject::Speech => "v1/speech/deliveries",
        }
    }

    fn query(&self, filter: &FilterArgs, status: Option<&str>) -> Serializer<'static, String> {
        let subject = match self.of {
            Subject::Tasks => "task_id",
            Subject::Speech => "speech_id",
        };
        let id = filter.subject.map(|id| id.to_string());
        let pairs = [
            (subject, id.as_deref()),
            ("status", status),
            ("created_after", filter.created_after.as_deref()),
            ("created_before", filter.created_before.as_deref()),
            ("ended_after", filter.ended_after.as_deref()),
            ("ended_before", filter.ended_before.as_deref()),
        ];
        let mut query = Serializer::new(String::new());
        for (name, value) in pairs {
            if let Some(value) = value {
                query.append_pair(name, value);
            }
        }
        query
    }

    async fn list(
        &self,
        filter: &FilterArgs,
        status: Option<&str>,
        most: usize,
    ) -> Result<Vec<Delivery>, CallError> {
        let mut found = Vec::new();
        let mut cursor: Option<String> = None;
        while found.len() < most {
            let mut query = self.query(filter, status);
            query.append_pair("limit", &PAGE.min(most - found.len()).to_string());
            if let Some(cursor) = &cursor {
                query.append_pair("cursor", cursor);
            }
            let path = format!("{}?{}", self.path(), query.finish());
            let page: Page<Delivery> = self.service.ask(Method::GET, &path).await?;
            found.extend(page.items);
            cursor = page.next_cursor;
            if cursor.is_none() {
                break;
            }
        }
        Ok(found)
    }

    async fn redeliver(&self, ids: &[Uuid]) -> Result<usize, CallError> {
        for id in ids {
            let path = format!("{}/{id}/redeliver", self.path());
            let _: Delivery = self.service.ask(Method::POST, &path).await?;
        }
        Ok(ids.len())
    }

    async fn redeliver_all(
        &self,
        filter: &FilterArgs,
        status: Option<String>,
    ) -> Result<usize, CallError> {
        let query = self.query(filter, status.as_deref()).finish();
        let path = format!("{}/redeliver?{query}", self.path());
        let count: Count = self.service.ask(Method::POST, &path).await?;
        Ok(count.redelivered)
    }
}

fn as_table(found: &[Delivery]) -> String {
    if found.is_empty() {
        return "there is none\n".to_owned();
    }
    let head = ["ID", "TYPE", "STATUS", "ATTEMPTS", "LAST", "URL"].map(str::to_owned);
    let rows = found.iter().map(|delivery| {
        [
            delivery.id.to_string(),
            delivery.kind.as_str().to_owned(),
            delivery.status.as_str().to_owned(),
            delivery.attempts.len().to_string(),
            last(delivery),
            delivery.url.clone(),
        ]
    });
    let rows: Vec<[String; 6]> = std::iter::once(head).chain(rows).collect();
    super::columns(&rows)
}

/// The status of the last answer, or how far the last attempt came without one.
fn last(delivery: &Delivery) -> String {
    delivery.attempts.last().map_or_else(
        || "-".to_owned(),
        |attempt| match attempt.status {
            Some(status) => status.to_string(),
            None => attempt.phase.clone(),
        },
    )
}

fn for_people(delivery: &Delivery) -> String {
    let subject = delivery
        .task_id
        .or(delivery.speech_id)
        .or(delivery.alert_id);
    let facts = [
        ["id", &delivery.id.to_string()],
        ["type", delivery.kind.as_str()],
        ["of", &subject.map(|id| id.to_string()).unwrap_or_default()],
        ["url", &delivery.url],
        ["status", delivery.status.as_str()],
        [
            "next attempt",
            delivery.next_attempt_at.as_deref().unwrap_or("-"),
        ],
    ]
    .map(|fact| fact.map(str::to_owned));
    let head = ["#", "AT", "PHASE", "STATUS", "TOOK", "ANSWER"].map(str::to_owned);
    let rows = delivery.attempts.iter().map(|attempt| {
        let status = attempt.status.map(|status| status.to_string());
        let body = attempt.body.as_deref().unwrap_or_default();
        [
            attempt.number.to_string(),
            attempt.at.clone(),
            attempt.phase.clone(),
            status.unwrap_or_else(|| "-".to_owned()),
            format!("{} ms", attempt.duration_ms),
            // An answer may be a page of HTML; its first line says enough.
            body.lines().next().unwrap_or_default().to_owned(),
        ]
    });
    let attempts: Vec<[String; 6]> = std::iter::once(head).chain(rows).collect();
    format!("{}\n{}", super::columns(&facts), super::columns(&attempts))
}
