//! Reads a stream of server-sent events (WHATWG HTML, section 9.2), as far as our
//! own services send them.

use bytes::Bytes;
use futures_util::stream::{LocalBoxStream, StreamExt as _};
use hoiam_api::Event;

use crate::outbound::OutboundError;

/// The longest line; more means that this is no stream of events of ours.
const MAX_LINE_BYTES: usize = 64 << 10;

/// The events of one task as they happen.
pub struct EventStream {
    body: LocalBoxStream<'static, Result<Bytes, OutboundError>>,
    /// What has come of the line that is not complete yet.
    rest: Vec<u8>,
}

impl EventStream {
    /// Reads events from the body of an answer.
    pub fn new(body: LocalBoxStream<'static, Result<Bytes, OutboundError>>) -> Self {
        Self {
            body,
            rest: Vec::new(),
        }
    }

    /// The next event; `None` when the stream has ended or broken, which is the
    /// same to a reader who can ask for the task's state instead. May be dropped
    /// while it waits; nothing is lost.
    pub async fn next(&mut self) -> Option<Event> {
        loop {
            while let Some(line) = self.take_line() {
                // Our services write each event's data in one line. Fields other
                // than `data` repeat what is in it, and comments keep it alive.
                let event = line.strip_prefix(b"data:").map(serde_json::from_slice);
                if let Some(Ok(event)) = event {
                    return Some(event);
                }
            }
            if self.rest.len() > MAX_LINE_BYTES {
                return None;
            }
            let chunk = self.body.next().await?.ok()?;
            self.rest.extend_from_slice(&chunk);
        }
    }

    fn take_line(&mut self) -> Option<Vec<u8>> {
        let end = self.rest.iter().position(|byte| *byte == b'\n')?;
        let mut line: Vec<u8> = self.rest.drain(..=end).collect();
        while line
            .last()
            .is_some_and(|byte| matches!(byte, b'\n' | b'\r'))
        {
            line.pop();
        }
        Some(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hoiam_api::EventType;

    fn stream(chunks: &[&str]) -> EventStream {
        let chunks: Vec<_> = chunks
            .iter()
            .map(|chunk| Ok(Bytes::copy_from_slice(chunk.as_bytes())))
            .collect();
        EventStream::new(futures_util::stream::iter(chunks).boxed_local())
    }

    #[actix_web::test]
    async fn events_are_read_however_the_bytes_are_cut() {
        let progress = r#"data: {"at":"t","type":"progress","progress":{"sentences_done":1,"sentences_total":3}}"#;
        let (head, tail) = progress.split_at(20);
        let mut events = stream(&[
            ": keep-alive\r\n\r\nevent: progress\n",
            head,
            tail,
            "\n\ndata: {\"id\":7,\"at\":\"t\",\"type\":\"state\",\"to\":\"completed\"}\n\n",
        ]);
        let first = events.next().await.unwrap();
        assert_eq!(first.progress.unwrap().sentences_done, 1);
        let second = events.next().await.unwrap();
        assert_eq!(
            (second.kind, second.to.as_deref()),
            (EventType::State, Some("completed"))
        );
        assert!(events.next().await.is_none());
    }

    #[actix_web::test]
    async fn what_is_not_an_event_is_passed_over() {
        let mut events = stream(&["data: hello\n\ndata: {\"at\":\"t\",\"type\":\"attempt\"}\n\n"]);
        assert_eq!(events.next().await.unwrap().kind, EventType::Attempt);
    }

    #[actix_web::test]
    async fn a_line_without_an_end_ends_the_stream() {
        let endless = "x".repeat(MAX_LINE_BYTES + 1);
        assert!(
            stream(&[&endless, "data: {\"at\":\"t\",\"type\":\"state\"}\n"])
                .next()
                .await
                .is_none()
        );
    }
}
