//! A task or a speech as GET answers it and as callbacks carry it.

use std::marker::PhantomData;

use diesel::prelude::QueryResult;
use hoiam_api::{Callback, CallbackHeaders, Resource, rfc3339};
use uuid::Uuid;

use super::row::{ResourceRow, ServiceFields, Shown};
use crate::db::{Conn, Id};
use crate::delivery::in_delivery::InDelivery;
use crate::delivery::store as deliveries;
use crate::delivery::subject::{Payload, Subject};
use crate::http::links::Links;
use crate::progress::ProgressBoard;

/// Makes the wire's object of a row.
#[derive(Clone)]
pub struct View<R> {
    links: Links,
    progress: ProgressBoard,
    in_delivery: InDelivery,
    rows: PhantomData<fn(R)>,
}

impl<R: ResourceRow> View<R> {
    /// `links` mints the links, `progress` knows how far a synthesis is, and
    /// `in_delivery` which deliveries are being tried now.
    #[must_use]
    pub fn new(links: Links, progress: ProgressBoard, in_delivery: InDelivery) -> Self {
        Self {
            links,
            progress,
            in_delivery,
            rows: PhantomData,
        }
    }

    /// As it is now.
    #[must_use]
    pub fn of(&self, row: &R, delivery: Option<&deliveries::Row>) -> Shown<R> {
        self.with_headers(row, delivery).0
    }

    /// As it is now, and what its receiver wants beside it.
    fn with_headers(
        &self,
        row: &R,
        delivery: Option<&deliveries::Row>,
    ) -> (Shown<R>, CallbackHeaders) {
        let columns = row.columns();
        let ServiceFields {
            resolved_voice,
            language,
            attempt,
            is_spoken,
            waiting_for,
            check,
            retries,
        } = row.service_fields();
        let request = row.request().unwrap_or_default();
        let links = row
            .recording()
            .map(|recording| self.links.of(R::SERVICE, columns.id.0, recording));
        let (late, links) = row.late(links);
        let mut resource = Resource {
            id: columns.id.0,
            status: row.status(),
            reference: columns.reference.map(str::to_owned),
            metadata: request.metadata,
            voice: request.voice,
            resolved_voice,
            language,
            format: request.format,
            characters: u32::try_from(columns.characters).unwrap_or(0),
            created_at: rfc3339(columns.created_at),
            deadline_at: rfc3339(columns.deadline_at),
            started_at: columns.started_at.map(rfc3339),
            ended_at: columns.ended_at.map(rfc3339),
            attempt,
            progress: self.progress.get(columns.id.0).filter(|_| is_spoken),
            waiting_for,
            audio: None,
            cached: None,
            subtitles: None,
            segments: None,
            warnings: None,
            words: None,
            marks: None,
            late,
            error: columns
                .error
                .and_then(|json| serde_json::from_str(json).ok()),
            retries,
            callback: columns.callback_url.map(|url| Callback {
                check,
                ..deliveries::callback_of(url, delivery, &self.in_delivery)
            }),
        };
        if let Some(links) = links {
            resource.audio = Some(links.audio);
            resource.cached = Some(links.cached);
            resource.subtitles = Some(links.subtitles);
            resource.segments = links.segments;
            resource.warnings = Some(links.warnings);
            resource.words = Some(links.words);
            resource.marks = Some(links.marks);
        }
        (resource, request.callback_headers)
    }

    /// The one with this id, read on `conn`.
    ///
    /// # Errors
    /// What the database says.
    pub fn read(&self, conn: &mut Conn, id: Uuid) -> QueryResult<Option<Shown<R>>> {
        let Some(row) = R::get(conn, id)? else {
            return Ok(None);
        };
        let Some(_) = row.columns().callback_url else {
            return Ok(Some(self.of(&row, None)));
        };
        let delivery = deliveries::newest(conn, Id(id))?;
        Ok(Some(self.of(&row, delivery.as_ref())))
    }

    /// Several rows with their newest deliveries.
    ///
    /// # Errors
    /// What the database says.
    pub fn with_deliveries(&self, conn: &mut Conn, rows: &[R]) -> QueryResult<Vec<Shown<R>>> {
        let ids: Vec<Id> = rows
            .iter()
            .map(R::columns)
            .filter(|columns| columns.callback_url.is_some())
            .map(|columns| columns.id)
            .collect();
        let newest = deliveries::newest_of(conn, &ids)?;
        let delivery = |row: &R| newest.get(&row.columns().id.0);
        Ok(rows.iter().map(|row| self.of(row, delivery(row))).collect())
    }
}

impl<R: ResourceRow> Subject for View<R> {
    fn render(&self, conn: &mut Conn, delivery: &deliveries::Row) -> QueryResult<Option<Payload>> {
        let row = R::get(conn, delivery.subject_id.0)?;
        Ok(row.and_then(|row| {
            let (resource, headers) = self.with_headers(&row, Some(delivery));
            Payload::of(&resource, resource.error.as_ref(), headers)
        }))
    }
}
