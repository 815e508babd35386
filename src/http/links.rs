//! Signed links to files, for people and for receivers without a key.

use std::sync::Arc;

use actix_web::web::Query;
use hoiam_api::signature::{SignatureError, sign_link, verify_link};
use hoiam_api::{Audio, Recording, Service, Subtitles, Warning, rfc3339};
use hoiam_supervision::clock::{Clock, Millis};
use hoiam_text::SegmentTimes;
use url::Url;
use uuid::Uuid;

use super::result::ResultFile;
use crate::secrets::CallbackSecrets;

/// Mints and checks links. They are minted anew for each answer and each
/// delivery attempt, so that they outlive the last retry.
#[derive(Clone)]
pub struct Links {
    public_url: Arc<Url>,
    secrets: CallbackSecrets,
    ttl_s: i64,
    clock: Clock,
}

/// What a request says of its link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signed {
    /// It has none, or one that was not made here.
    No,
    /// One that was made here and has ended.
    Ended,
    /// One that holds.
    Yes,
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
    pub fn new(public_url: Url, secrets: CallbackSecrets, ttl_s: i64, clock: Clock) -> Self {
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
        let secrets = self.secrets.in_force();
        let link = |file: &str| {
            let path = format!("{}/{id}/{file}", service.collection());
            let signature = sign_link(&secrets, &path, expires_s);
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
            subtitles: Subtitles::of(|format| link(&format!("subtitles.{}", format.ending))),
            segments: Some(segments).filter(|segments| !segments.is_empty()),
            warnings,
            words: link("words.json"),
            marks: link("marks.jsonl"),
        }
    }

    /// Whether the query of a request for `path` is a link's. Every receiver has the
    /// secret and can sign what it likes, so only what is a file's can be a link.
    #[must_use]
    pub fn signed(&self, path: &str, query: &str) -> Signed {
        if !is_of_file(path) {
            return Signed::No;
        }
        #[derive(serde::Deserialize)]
        struct Parameters {
            expires: i64,
            signature: String,
        }
        let Ok(Query(given)) = Query::<Parameters>::from_query(query) else {
            return Signed::No;
        };
        let now_s = self.clock.wall().timestamp();
        let secrets = self.secrets.in_force();
        match verify_link(&secrets, path, given.expires, &given.signature, now_s) {
            Ok(()) => Signed::Yes,
            Err(SignatureError::Stale) => Signed::Ended,
            Err(_) => Signed::No,
        }
    }
}

/// Whether it is `/v1/{tasks,speech}/{id}/{file}`.
fn is_of_file(path: &str) -> bool {
    let services = [Service::Tts, Service::Backend];
    let mut below = services
        .into_iter()
        .filter_map(|service| path.strip_prefix(service.collection())?.strip_prefix('/'));
    let file = below.next().and_then(|below| below.split_once('/'));
    file.is_some_and(|(id, name)| Uuid::try_parse(id).is_ok() && ResultFile::parse(name).is_some())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use hoiam_api::signature::Secret;

    #[test]
    fn each_file_of_a_result_has_a_link_that_holds_for_as_long_as_is_said() {
        let (clock, hand) = Clock::manual(1_700_000_000_000);
        let secret = Secret::generate().unwrap();
        let base = Url::parse("https://a.example/voices/").unwrap();
        let links = Links::new(base, vec![secret].into(), 60, clock);
        let (service, id) = (Service::Tts, Uuid::from_u128(7));
        let recording = |segments| {
            let recording = json!({
                "format": "mp3", "sample_rate_hz": 22050, "channels": 1, "duration_ms": 1000,
                "bytes": 10, "sha256": "00", "segments": segments,
            });
            serde_json::from_value(recording).unwrap()
        };
        let of = links.of(service, id, recording(json!([])));
        assert_eq!(
            of.audio.expires_at.as_deref(),
            Some("2023-11-14T22:14:20.000Z")
        );
        assert_eq!(of.segments, None, "a text without segments has none");
        let subtitles = serde_json::to_value(&of.subtitles).unwrap();
        let srt = subtitles["srt"].as_str().unwrap();
        let urls = [of.audio.url.as_str(), srt, &of.words, &of.marks];
        let signed = || {
            urls.map(|url| {
                let url = Url::parse(url).unwrap();
                let path = url.path().strip_prefix("/voices").unwrap();
                links.signed(path, url.query().unwrap())
            })
        };
        assert!(
            of.audio
                .url
                .contains(&format!("/v1/speech/{id}/audio.mp3?"))
        );
        assert_eq!(signed(), [Signed::Yes; 4]);
        hand.advance(std::time::Duration::from_secs(60));
        assert_eq!(signed(), [Signed::Yes; 4], "its last second is one of them");
        hand.advance(std::time::Duration::from_secs(1));
        assert_eq!(signed(), [Signed::Ended; 4]);
        let segments = json!([{ "index": 0, "start_ms": 0, "end_ms": 900 }]);
        let of = links.of(service, id, recording(segments));
        assert_eq!(of.segments.map(|segments| segments.len()), Some(1));
    }
}
