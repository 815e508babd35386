//! A row of `speeches`: its columns, and what of it clients see in the TTS service's own
//! way.

use std::collections::BTreeMap;

use diesel::prelude::*;
use hoiam_api::{CheckState, Service, SpeechStatus, WaitingFor};

use crate::db::schema::speeches;
use crate::db::{Conn, Id};
use crate::delivery::store::origin_of;
use crate::http::links::ResultLinks;
use crate::resource::row::{self, ResourceRow, ServiceFields, table_row};
use crate::tts::job::LONG_BYTES;

table_row! {
    /// A row of `speeches` without its long columns.
    speeches {
        resolved_voice: String,
        language: String,
        callback_check: String,
        attempt: i32,
        claim: i32,
        leased_by: Option<Id>,
        lost_leases: i32,
    }
}

/// A speech as the edge has checked and resolved it.
pub type New = row::New<NewSpeech>;

/// What the TTS service keeps of a new speech beside its request.
#[derive(Debug, Clone)]
pub struct NewSpeech {
    /// `engine/name`.
    pub resolved_voice: String,
    /// BCP 47.
    pub language: String,
    /// `Pending` starts it in checking, everything else in queued.
    pub check: CheckState,
}

impl ResourceRow for Row {
    type Status = SpeechStatus;
    type Late = ();
    type Retries = ();
    type New = NewSpeech;

    const SERVICE: Service = Service::Tts;
    const NAMED: &'static str = "such speech";
    const OPEN: &'static [&'static str] = &[OPEN];

    fn insert(&self, conn: &mut Conn, new: &New) -> QueryResult<usize> {
        let url = self.callback_url.as_deref();
        let checked = url.filter(|_| self.status() == SpeechStatus::Checking);
        let headers = &new.request.create.callback_headers;
        diesel::insert_into(speeches::table)
            .values((
                self,
                speeches::idempotency_key.eq(&new.idempotency_key),
                speeches::callback_origin.eq(url.map(origin_of)),
                speeches::callback_target.eq(checked.map(|url| headers.target(url))),
                speeches::is_long.eq(new.request.source.len() >= LONG_BYTES),
                speeches::text.eq(&new.request.source),
            ))
            .on_conflict_do_nothing()
            .execute(conn)
    }

    fn service_fields(&self) -> ServiceFields<()> {
        let status = self.status();
        ServiceFields {
            resolved_voice: Some(self.resolved_voice.clone()),
            language: Some(self.language.clone()),
            attempt: u32::try_from(self.attempt).unwrap_or(0)
                + u32::from(self.claim > 0 && self.error.is_none()),
            is_spoken: status == SpeechStatus::Synthesizing,
            waiting_for: match status {
                SpeechStatus::Checking => Some(WaitingFor::Callback),
                SpeechStatus::Queued => Some(WaitingFor::Worker),
                _ => None,
            },
            check: CheckState::parse(&self.callback_check),
            retries: (),
        }
    }

    fn late(&self, links: Option<ResultLinks>) -> ((), Option<ResultLinks>) {
        ((), links)
    }
}

impl Row {
    /// What is to be spoken, or was, of this text and with these pronunciations
    /// (`tts.pronunciations`). What another version has written and this one cannot
    /// read is spoken with the defaults.
    #[must_use]
    pub fn speech(
        &self,
        text: String,
        configured: &BTreeMap<String, hoiam_text::Said>,
    ) -> hoiam_text::Request {
        let create = self.request().unwrap_or_default().with_source(text);
        create.into_speech(&self.resolved_voice, &self.language, configured)
    }
}

/// Jobs that have not ended.
pub const OPEN: &str = "status IN ('checking', 'queued', 'synthesizing')";
