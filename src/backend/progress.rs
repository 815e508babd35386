//! Follows a speech's events while somebody streams its task's, and passes
//! its progress on. Nothing of it is stored.

use std::any::Any;
use std::sync::{Arc, Weak};

use futures_util::StreamExt;
use uuid::Uuid;

use super::tts_client::TtsClient;
use crate::contract::{Event, EventType, SpeechStatus};
use crate::progress::ProgressBoard;

/// Lives as long as somebody watches.
pub type Watcher = Arc<dyn Any + Send + Sync>;

/// Passes progress on until the speech has ended, the stream breaks, or
/// nobody watches any more.
pub async fn follow(
    tts: TtsClient,
    board: ProgressBoard,
    id: Uuid,
    watcher: Weak<dyn Any + Send + Sync>,
) {
    if let Ok(mut download) = tts.events(id).await
        && download.status == 200
    {
        let mut lines = Vec::new();
        while let Some(Ok(bytes)) = download.body.next().await {
            if watcher.upgrade().is_none() {
                break;
            }
            lines.extend_from_slice(&bytes);
            if take_lines(&mut lines)
                .iter()
                .any(|event| pass_on(&board, id, event))
            {
                break;
            }
        }
    }
    board.clear(id);
}

/// Takes the whole `data:` lines out of what has come.
fn take_lines(buffer: &mut Vec<u8>) -> Vec<Event> {
    let Some(end) = buffer.iter().rposition(|byte| *byte == b'\n') else {
        return Vec::new();
    };
    let whole: Vec<u8> = buffer.drain(..=end).collect();
    String::from_utf8_lossy(&whole)
        .lines()
        .filter_map(|line| serde_json::from_str(line.strip_prefix("data: ")?).ok())
        .collect()
}

/// Whether the event was the last one that matters.
fn pass_on(board: &ProgressBoard, id: Uuid, event: &Event) -> bool {
    if let Some(progress) = event.progress {
        board.set(id, progress);
    }
    event.kind == EventType::State
        && event
            .to
            .as_deref()
            .and_then(SpeechStatus::parse)
            .is_some_and(SpeechStatus::is_ended)
}
