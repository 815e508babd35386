//! A speech as GET answers it and as callbacks carry it.

use diesel::prelude::QueryResult;
use hoiam_api::{Callback, CheckState, Service, Speech, SpeechStatus, WaitingFor, rfc3339};
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
    /// Knows how far a synthesis is.
    pub progress: ProgressBoard,
    /// Knows which deliveries are being tried now.
    pub in_delivery: InDelivery,
}

impl View {
    /// The speech as it is now.
    #[must_use]
    pub fn speech(&self, row: &Row, delivery: Option<&deliveries::Row>) -> Speech {
        let status = row.status();
        let request = row.request();
        let result = row
            .recording()
            .map(|recording| self.links.of(Service::Tts, row.id.0, recording));
        let mut speech = Speech {
            id: row.id.0,
            status,
            reference: row.reference.clone(),
            metadata: request
                .as_ref()
                .and_then(|request| request.metadata.clone()),
            voice: request.as_ref().and_then(|request| request.voice.clone()),
            resolved_voice: Some(row.resolved_voice.clone()),
            language: Some(row.language.clone()),
            format: request.map_or(hoiam_text::Format::Mp3, |request| request.format),
            characters: u32::try_from(row.characters).unwrap_or(0),
            created_at: rfc3339(row.created_at),
            deadline_at: rfc3339(row.deadline_at),
            started_at: row.started_at.map(rfc3339),
            ended_at: row.ended_at.map(rfc3339),
            attempt: u32::try_from(row.attempt).unwrap_or(0)
                + u32::from(row.claim > 0 && row.error.is_none()),
            progress: self
                .progress
                .get(row.id.0)
                .filter(|_| status == SpeechStatus::Synthesizing),
            waiting_for: match status {
                SpeechStatus::Checking => Some(WaitingFor::Callback),
                SpeechStatus::Queued => Some(WaitingFor::Worker),
                _ => None,
            },
            audio: None,
            cached: None,
            subtitles: None,
            segments: None,
            warnings: None,
            words: None,
            marks: None,
            late: (),
            error: row
                .error
                .as_deref()
                .and_then(|json| serde_json::from_str(json).ok()),
            retries: (),
            callback: row.callback_url.as_ref().map(|url| Callback {
                check: CheckState::parse(&row.callback_check),
                ..deliveries::callback_of(url, delivery, &self.in_delivery)
            }),
        };
        if let Some(result) = result {
            speech.audio = Some(result.audio);
            speech.cached = Some(result.cached);
            speech.subtitles = Some(result.subtitles);
            speech.segments = result.segments;
            speech.warnings = Some(result.warnings);
            speech.words = Some(result.words);
            speech.marks = Some(result.marks);
        }
        speech
    }

    /// The speech with this id, read on `conn`.
    ///
    /// # Errors
    /// What the database says.
    pub fn read(&self, conn: &mut Conn, id: Uuid) -> QueryResult<Option<Speech>> {
        let Some(row) = store::get(conn, id)? else {
            return Ok(None);
        };
        let delivery = match row.callback_url {
            Some(_) => deliveries::newest(conn, row.id)?,
            None => None,
        };
        Ok(Some(self.speech(&row, delivery.as_ref())))
    }

    /// Several rows with their newest deliveries.
    ///
    /// # Errors
    /// What the database says.
    pub fn with_deliveries(&self, conn: &mut Conn, rows: &[Row]) -> QueryResult<Vec<Speech>> {
        let ids: Vec<Id> = rows
            .iter()
            .filter(|row| row.callback_url.is_some())
            .map(|row| row.id)
            .collect();
        let newest = deliveries::newest_of(conn, &ids)?;
        Ok(rows
            .iter()
            .map(|row| self.speech(row, newest.get(&row.id.0)))
            .collect())
    }
}

impl Subject for View {
    fn told_by(&self, conn: &mut Conn, delivery: &deliveries::Row) -> QueryResult<Option<Told>> {
        let row = store::get(conn, delivery.subject_id.0)?;
        Ok(row.and_then(|row| {
            let speech = self.speech(&row, Some(delivery));
            let headers = row.request().unwrap_or_default().callback_headers;
            Told::of(&speech, speech.error.as_ref(), headers)
        }))
    }
}
