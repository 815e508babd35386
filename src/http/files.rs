//! Serving results: audio with ranges, subtitles and word times rendered on
//! request.

use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderValue};
use actix_web::{HttpRequest, HttpResponse, ResponseError as _};
use hoiam_api::{Audio, Code, Problem};
use object_store::GetRange;
use sha2::{Digest, Sha256};

use super::problem::Answer;
use super::render::render;
use super::result::{ResultFile, StoredResult, expired};
use crate::files::{FileError, Files};

/// Answers with one file of a result.
///
/// # Errors
/// 404 for a format that it does not have, 410 after retention.
pub async fn serve(
    request: &HttpRequest,
    files: &Files,
    result: StoredResult,
    file: ResultFile,
) -> Result<HttpResponse, Problem> {
    if let ResultFile::Audio(format) = file {
        return if result.audio.format == format {
            serve_audio(request, files, result.file, &result.audio).await
        } else {
            Err(Problem::not_found(
                "such file; the result has another format",
            ))
        };
    }
    if result.file.is_none() {
        return Err(expired());
    }
    let etag = tag(&result, file);
    if is_known(request, &etag) {
        return Ok(not_modified(etag));
    }
    let body = render(request, result, file).await?;
    Ok(HttpResponse::Ok()
        .insert_header((header::ETAG, etag))
        .content_type(media_type(file))
        .body(body))
}

fn media_type(file: ResultFile) -> &'static str {
    match file {
        ResultFile::Subtitles(format) => format.media_type,
        ResultFile::Words => "application/json",
        _ => "application/jsonl",
    }
}

/// Known without rendering anything: a digest of all that a rendered file depends on. A
/// text never changes, but an id may be used again, and then ends at another time.
fn tag(result: &StoredResult, file: ResultFile) -> String {
    let made_of = format!(
        "{} {file:?} {} {:?} {} {}",
        env!("CARGO_PKG_VERSION"),
        result.content.id,
        result.ended_at,
        result.language,
        result.audio.sha256,
    );
    let digest = Sha256::digest(made_of);
    let digest: String = digest.iter().take(16).map(|b| format!("{b:02x}")).collect();
    format!("\"{digest}\"")
}

fn is_known(request: &HttpRequest, etag: &str) -> bool {
    let known = request
        .headers()
        .get(header::IF_NONE_MATCH)
        .and_then(|value| value.to_str().ok());
    known.is_some_and(|known| {
        known
            .split(',')
            .any(|one| one.trim() == etag || one.trim() == "*")
    })
}

fn not_modified(etag: String) -> HttpResponse {
    HttpResponse::NotModified()
        .insert_header((header::ETAG, etag))
        .finish()
}

async fn serve_audio(
    request: &HttpRequest,
    files: &Files,
    file: Option<String>,
    audio: &Audio,
) -> Result<HttpResponse, Problem> {
    let key = file.ok_or_else(expired)?;
    let etag = format!("\"{}\"", audio.sha256);
    if is_known(request, &etag) {
        return Ok(not_modified(etag));
    }
    let range = wanted_range(request, &etag, audio.bytes);
    let range = match range {
        Range::Unsatisfiable => {
            return Ok(not_satisfiable(audio.bytes));
        }
        Range::Whole => None,
        Range::Part(start, end) => Some(GetRange::Bounded(start..end)),
    };
    let partial = range.is_some();
    let part = files.read(&key, range).await.map_err(|error| match error {
        FileError::Missing => expired(),
        error @ (FileError::Failed(_) | FileError::NoRoom { .. }) => {
            log::error!("a result cannot be read: {error}");
            Problem::new(Code::Unavailable, "The file cannot be read just now.")
        }
    })?;
    let mut answer = HttpResponse::build(if partial {
        StatusCode::PARTIAL_CONTENT
    } else {
        StatusCode::OK
    });
    if partial {
        let range = format!(
            "bytes {}-{}/{}",
            part.start,
            part.end.saturating_sub(1),
            part.size
        );
        answer.insert_header((header::CONTENT_RANGE, range));
    }
    answer
        .insert_header((header::ETAG, etag))
        .insert_header((header::ACCEPT_RANGES, HeaderValue::from_static("bytes")))
        .content_type(audio.format.media_type())
        .no_chunking(part.end - part.start);
    Ok(answer.streaming(part.stream))
}

/// Tells the size too (RFC 9110 15.5.17).
fn not_satisfiable(bytes: u64) -> HttpResponse {
    let detail = format!("The file has {bytes} bytes.");
    let problem = Problem::new(Code::RangeNotSatisfiable, detail);
    let mut answer = Answer(problem).error_response();
    if let Ok(range) = HeaderValue::from_str(&format!("bytes */{bytes}")) {
        answer.headers_mut().insert(header::CONTENT_RANGE, range);
    }
    answer
}

#[derive(Debug, PartialEq, Eq)]
enum Range {
    Whole,
    Part(u64, u64),
    Unsatisfiable,
}

/// One range of RFC 9110 14.1.2; several ranges, or one that cannot be read,
/// get the whole file, as the RFC allows.
fn wanted_range(request: &HttpRequest, etag: &str, size: u64) -> Range {
    let text = |name| {
        request
            .headers()
            .get(name)
            .and_then(|value| value.to_str().ok())
    };
    if text(header::IF_RANGE).is_some_and(|known| known != etag) {
        return Range::Whole;
    }
    text(header::RANGE).map_or(Range::Whole, |range| parse_range(range, size))
}

fn parse_range(range: &str, size: u64) -> Range {
    let Some((first, last)) = range
        .strip_prefix("bytes=")
        .and_then(|range| range.trim().split_once('-'))
    else {
        return Range::Whole;
    };
    let (start, end) = match (first.parse::<u64>(), last.parse::<u64>()) {
        (Ok(start), Ok(last)) if start <= last => (start, last.saturating_add(1).min(size)),
        (Ok(start), Err(_)) if last.is_empty() => (start, size),
        (Err(_), Ok(suffix)) if first.is_empty() => (size.saturating_sub(suffix), size),
        _ => return Range::Whole,
    };
    if start < end {
        Range::Part(start, end)
    } else {
        Range::Unsatisfiable
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_as_the_rfc_says() {
        assert_eq!(parse_range("bytes=0-9", 100), Range::Part(0, 10));
        assert_eq!(parse_range("bytes=90-", 100), Range::Part(90, 100));
        assert_eq!(parse_range("bytes=-10", 100), Range::Part(90, 100));
        assert_eq!(parse_range("bytes=-200", 100), Range::Part(0, 100));
        assert_eq!(parse_range("bytes=50-1000", 100), Range::Part(50, 100));
        assert_eq!(parse_range("bytes=100-", 100), Range::Unsatisfiable);
        assert_eq!(parse_range("bytes=-0", 100), Range::Unsatisfiable);
        assert_eq!(parse_range("bytes=0-1,3-4", 100), Range::Whole);
        assert_eq!(parse_range("lines=1-2", 100), Range::Whole);
        assert_eq!(parse_range("bytes=9-3", 100), Range::Whole);
    }
}
