//! A task as GET answers it and as callbacks carry it.

use diesel::prelude::QueryResult;
use hoiam_api::{Late, LateResult, Retries, Service, Task, TaskStatus, WaitingFor, rfc3339};
use uuid::Uuid;

use super::store::{self, Row};
use crate::db::{Conn, Id};
use crate::delivery::in_delivery::InDelivery;
use crate::delivery::store as deliveries;
use crate::delivery::subject::{Subject, Told};
use crate::edge::links::Links;
use crate::progress::ProgressBoard;

/// Makes the wire's object of a row.
#[derive(Clone)]
pub struct View {
    /// Mints the links.
    pub links: Links,
    /// Knows how far a synthesis is, while somebody watches it.
    pub progress: ProgressBoard,
    /// Knows which deliveries are being tried now.
    pub in_delivery: InDelivery,
}

impl View {
    /// The task as it is now.
    #[must_use]
    pub fn task(&self, row: &Row, delivery: Option<&deliveries::Row>) -> Task {
        let status = row.status();
        let request = row.request();
        let mut task = Task {
            id: row.id.0,
            status,
            reference: row.reference.clone(),
            metadata: request
                .as_ref()
                .and_then(|request| request.metadata.clone()),
            voice: request.as_ref().and_then(|request| request.voice.clone()),
            resolved_voice: row.resolved_voice.clone(),
            language: row.language.clone(),
            format: request.map_or(hoiam_text::Format::Mp3, |request| request.format),
            characters: u32::try_from(row.characters).unwrap_or(0),
            created_at: rfc3339(row.created_at),
            deadline_at: rfc3339(row.deadline_at),
            started_at: row.started_at.map(rfc3339),
            ended_at: row.ended_at.map(rfc3339),
            attempt: u32::try_from(row.hand_overs).unwrap_or(0),
            progress: self
                .progress
                .get(row.id.0)
                .filter(|_| status == TaskStatus::InProgress),
            waiting_for: (!status.is_ended()).then_some(WaitingFor::TtsService),
            audio: None,
            cached: None,
            subtitles: None,
            segments: None,
            warnings: None,
            words: None,
            marks: None,
            late: Late { late_result: None },
            error: row
                .error
                .as_deref()
                .and_then(|json| serde_json::from_str(json).ok()),
            retries: Retries {
                retry_of: row.retry_of.map(|id| id.0),
                retried_as: row.retried_as.map(|id| id.0),
            },
            callback: row
                .callback_url
                .as_ref()
                .map(|url| deliveries::callback_of(url, delivery, &self.in_delivery)),
        };
        if let Some(recording) = row.recording() {
            let links = self.links.of(Service::Backend, row.id.0, recording);
            if status == TaskStatus::TimedOut {
                task.late.late_result = Some(LateResult {
                    audio: links.audio,
                    subtitles: links.subtitles,
                    segments: links.segments,
                    warnings: links.warnings,
                    words: links.words,
                    marks: links.marks,
                });
            } else {
                task.audio = Some(links.audio);
                task.cached = Some(links.cached);
                task.subtitles = Some(links.subtitles);
                task.segments = links.segments;
                task.warnings = Some(links.warnings);
                task.words = Some(links.words);
                task.marks = Some(links.marks);
            }
        }
        task
    }

    /// The task with this id, read on `conn`.
    ///
    /// # Errors
    /// What the database says.
    pub fn read(&self, conn: &mut Conn, id: Uuid) -> QueryResult<Option<Task>> {
        let Some(row) = store::get(conn, id)? else {
            return Ok(None);
        };
        let delivery = match row.callback_url {
            Some(_) => deliveries::newest(conn, row.id)?,
            None => None,
        };
        Ok(Some(self.task(&row, delivery.as_ref())))
    }

    /// Several rows with their newest deliveries.
    ///
    /// # Errors
    /// What the database says.
    pub fn with_deliveries(&self, conn: &mut Conn, rows: &[Row]) -> QueryResult<Vec<Task>> {
        let ids: Vec<Id> = rows
            .iter()
            .filter(|row| row.callback_url.is_some())
            .map(|row| row.id)
            .collect();
        let newest = deliveries::newest_of(conn, &ids)?;
        Ok(rows
            .iter()
            .map(|row| self.task(row, newest.get(&row.id.0)))
            .collect())
    }
}

impl Subject for View {
    fn told_by(&self, conn: &mut Conn, delivery: &deliveries::Row) -> QueryResult<Option<Told>> {
        let row = store::get(conn, delivery.subject_id.0)?;
        Ok(row.and_then(|row| {
            let task = self.task(&row, Some(delivery));
            let headers = row.request().unwrap_or_default().callback_headers;
            Told::of(&task, task.error.as_ref(), headers)
        }))
    }
}
