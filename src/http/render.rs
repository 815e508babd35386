//! Rendering subtitles, marks and word times: off the threads that serve, and no more of
//! them held than can be borne.

use actix_web::HttpRequest;
use actix_web::body::SizedStream;
use actix_web::web::Data;
use bytes::Bytes;
use futures_util::stream;
use hoiam_api::{Code, Problem, Warning};
use hoiam_text::subtitles;
use hoiam_text::{Word, joined_text, marks};

use super::ledger::{Address, Full, Hold, Ledger};
use super::pool::{Pool, address, work};
use super::result::{Content, ResultFile, StoredResult, expired};

/// How much is handed on at once.
const PIECE: usize = 64 << 10;

/// What is rendered. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Renderer {
    /// The bytes of what is rendered and not sent yet.
    rendered: Ledger,
}

impl Renderer {
    /// One that holds so many bytes.
    #[must_use]
    pub fn new(bytes: u64) -> Self {
        Self {
            rendered: Ledger::new(bytes, bytes / 4),
        }
    }

    /// Room for a file until it is sent.
    fn hold(&self, address: Option<Address>, bytes: u64) -> Result<Hold, Problem> {
        let hold = self.rendered.take_whole(address, bytes);
        hold.map_err(|full| match full {
            Full::Address => Problem::new(
                Code::TooManyRequests,
                "The rendered files being sent to this address are too many bytes (a quarter of limits.bodies_bytes). \
                 Read those first.",
            ),
            Full::All => Problem::new(
                Code::Unavailable,
                "The rendered files being sent are too many bytes (limits.bodies_bytes). Try again.",
            ),
        })
    }
}

/// The file, to be sent. What is read for it is read when it is its turn, and what is
/// made of it counts until it is sent.
///
/// # Errors
/// 410 after retention, 429 or 503 while there is no room for it.
pub async fn render(
    request: &HttpRequest,
    result: StoredResult,
    file: ResultFile,
) -> Result<SizedStream<impl stream::Stream<Item = Result<Bytes, actix_web::Error>> + use<>>, Problem>
{
    let address = address(request);
    let renderer = request.app_data::<Data<Renderer>>().map(Data::get_ref);
    let renderer = renderer.ok_or_else(|| {
        Problem::new(
            Code::Internal,
            "Nothing can be rendered here; it is not set up.",
        )
    })?;
    // Word times are there as they are sent, and a Backend fetches many at a time.
    let turn = match file {
        ResultFile::Words => None,
        _ => Some(Pool::of(request)?.turn(address).await?),
    };
    let Content {
        db,
        id,
        read,
        read_words,
    } = result.content;
    let content = db.read(move |conn| {
        Ok(match file {
            ResultFile::Words => read_words(conn, id)?.map(|words| (String::new(), words)),
            _ => read(conn, id)?,
        })
    });
    let (text, words) = content.await?.ok_or_else(expired)?;
    let source = Source {
        text,
        words: words.ok_or_else(expired)?,
        language: result.language,
        duration_ms: result.audio.duration_ms,
        warnings: result.warnings,
    };
    let rendered = match turn {
        Some(turn) => work(turn, move || source.render(file)).await?,
        None => source.render(file)?,
    };
    let size = rendered.len() as u64;
    let hold = renderer.hold(address, size)?;
    let pieces = stream::unfold((Bytes::from(rendered), hold), |(mut left, hold)| async {
        let piece = left.split_to(left.len().min(PIECE));
        (!piece.is_empty()).then_some((Ok(piece), (left, hold)))
    });
    Ok(SizedStream::new(size, pieces))
}

/// What files are rendered from.
struct Source {
    /// Empty for the word times alone.
    text: String,
    /// JSON.
    words: String,
    language: String,
    duration_ms: u64,
    warnings: Vec<Warning>,
}

impl Source {
    fn render(self, file: ResultFile) -> Result<String, Problem> {
        let Self {
            text,
            words,
            language,
            duration_ms,
            warnings,
        } = self;
        if file == ResultFile::Words {
            return Ok(format!(
                r#"{{"duration_ms":{duration_ms},"words":{words}}}"#
            ));
        }
        let words: Vec<Word> = serde_json::from_str(&words).map_err(|error| {
            let detail = format!("The word times cannot be read: {error}.");
            Problem::new(Code::Internal, detail)
        })?;
        let words = joined_text::in_whole(&text, words);
        let unheard = Warning::unheard(&warnings);
        let cues = |style| {
            let heard = joined_text::without(&text, &unheard);
            subtitles::cues(style, &heard, &words, &language, duration_ms)
        };
        Ok(match file {
            ResultFile::Subtitles(format) => format.render(&cues(format.style)),
            _ => marks::to_marks(&text, &words),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn address(text: &str) -> Option<Address> {
        let ip: IpAddr = text.parse().unwrap();
        Some(ip.into())
    }

    #[test]
    fn files_that_are_sent_have_room_of_their_own_and_one_is_never_too_large() {
        let renderer = Renderer::new(1_000);
        let one = address("192.0.2.1");
        let first = renderer.hold(one, 700).unwrap();
        let refused = renderer.hold(one, 1).unwrap_err();
        assert_eq!(refused.code, Code::TooManyRequests);
        let _second = renderer.hold(address("192.0.2.2"), 300).unwrap();
        let refused = renderer.hold(address("192.0.2.3"), 1).unwrap_err();
        assert_eq!(refused.code, Code::Unavailable);
        drop(first);
        renderer.hold(one, 700).unwrap();
    }
}
