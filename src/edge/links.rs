//! Signed links to files, for people and for receivers without a key.

use std::sync::Arc;

use url::Url;
use uuid::Uuid;

use crate::clock::{Clock, Millis};
use crate::contract::signature::{Secret, sign_link, verify_link};
use crate::contract::{Audio, Recording, Service, Subtitles, Warning, rfc3339};
use crate::speech::SegmentTimes;

/// Mints and checks links. They are minted anew for each answer and each
/// delivery attempt, so that they outlive the last retry.
#[derive(Clone)]
pub struct Links {
    public_url: Arc<Url>,
    secrets: Arc<[Secret]>,
    ttl_s: i64,
    clock: Clock,
}

/// The links of one result.
pub struct ResultLinks {
    /// The audio with its link.
    pub audio: Audio,
    /// Whether it was made before.
    pub cached: bool,
    /// In every form.
    pub subtitles: Subtitles,
    /// When each segment is heard, of a result that has any.
    pub segments: Option<Vec<SegmentTimes>>,
    /// Sentences that are not heard as they are written.
    pub warnings: Vec<Warning>,
    /// `words.json`.
    pub words: String,
    /// `marks.jsonl`.
    pub marks: String,
}

impl Links {
    /// Links below `public_url` that live for `ttl_s` seconds.
    #[must_use]
    pub fn new(public_url: Url, secrets: Arc<[Secret]>, ttl_s: i64, clock: Clock) -> Self {
        Self {
            public_url: Arc::new(public_url),
            secrets,
            ttl_s,
            clock,
        }
    }

    /// The links of one result, all with the same end.
    #[must_use]
    pub fn of(&self, service: Service, id: Uuid, recording: Recording) -> ResultLinks {
        let Recording {
            audio,
            segments,
            warnings,
            cached,
            ..
        } = recording;
        let expires_s = self.clock.wall().timestamp() + self.ttl_s;
        let link = |file: &str| {
            let path = format!("{}/{id}/{file}", service.collection());
            let signature = sign_link(&self.secrets, &path, expires_s);
            let base = self.public_url.as_str().trim_end_matches('/');
            format!("{base}{path}?expires={expires_s}&signature={signature}")
        };
        let url = link(&format!("audio.{}", audio.format.name()));
        let expires_at = Some(rfc3339(expires_s.saturating_mul(1000) as Millis));
        ResultLinks {
            audio: Audio {
                url,
                expires_at,
                ..audio
            },
            cached,
            subtitles: Subtitles {
                srt: link("subtitles.srt"),
                vtt: link("subtitles.vtt"),
                karaoke_vtt: link("subtitles.karaoke.vtt"),
                ass: link("subtitles.ass"),
                short_srt: link("subtitles.short.srt"),
                short_vtt: link("subtitles.short.vtt"),
                short_ass: link("subtitles.short.ass"),
            },
            segments: Some(segments).filter(|segments| !segments.is_empty()),
            warnings,
            words: link("words.json"),
            marks: link("marks.jsonl"),
        }
    }

    /// Whether a request for `path` carries a valid link signature.
    #[must_use]
    pub fn allows(&self, path: &str, expires_s: i64, signature: &str) -> bool {
        verify_link(
            &self.secrets,
            path,
            expires_s,
            signature,
            self.clock.wall().timestamp(),
        )
        .is_ok()
    }
}
