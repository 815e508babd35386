//! Follows a speech's events while somebody streams its task's, and passes
//! its progress on. Nothing of it is stored.

use std::any::Any;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use futures_util::StreamExt;
use hoiam_api::{Event, TaskStatus};
use tokio::time::timeout;
use uuid::Uuid;

use super::store::Row;
use super::tts_client::TtsClient;
use crate::db::Db;
use crate::db::hub::Interest;
use crate::locks::lock;
use crate::progress::ProgressBoard;
use crate::resource::row::{ResourceRow as _, TableRow as _};

/// How soon it is noticed that nobody watches a task any more of which there is no
/// news.
const NOTICE: Duration = Duration::from_secs(15);

/// Lives as long as somebody watches.
pub type Watcher = Arc<dyn Any + Send + Sync>;

/// The watchers of one task. Clones are the same list.
#[derive(Clone, Default)]
pub struct Watchers(Arc<Mutex<Vec<Weak<dyn Any + Send + Sync>>>>);

impl Watchers {
    fn add(&self, watcher: Weak<dyn Any + Send + Sync>) {
        let mut list = lock(&self.0);
        list.push(watcher);
    }

    /// Whether any is there still; the others are forgotten.
    fn any(&self) -> bool {
        let mut list = lock(&self.0);
        list.retain(|watcher| watcher.strong_count() > 0);
        !list.is_empty()
    }
}

/// Why a follower has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    /// Nobody watched any more.
    Unwatched,
    /// The speech has ended, or its stream cannot be had.
    Over,
}

/// The tasks that are watched. Each has one follower, however many watch.
#[derive(Default)]
pub struct Followed(HashMap<Uuid, Watchers>);

impl Followed {
    /// One more watches. Its list is given back where nobody follows the task
    /// yet: the caller is to [`follow`] it.
    #[must_use]
    pub fn join(&mut self, id: Uuid, watcher: Weak<dyn Any + Send + Sync>) -> Option<Watchers> {
        let is_new = !self.0.contains_key(&id);
        let watchers = self.0.entry(id).or_default();
        // Keeps the list as short as those who are there.
        watchers.any();
        watchers.add(watcher);
        is_new.then(|| watchers.clone())
    }

    /// The follower has ended. The list is given back where somebody came after
    /// it had found nobody: the caller is to follow the task again.
    #[must_use]
    pub fn leave(&mut self, id: Uuid, left: Left) -> Option<Watchers> {
        let came_late = |watchers: &&Watchers| left == Left::Unwatched && watchers.any();
        let again = self.0.get(&id).filter(came_late).cloned();
        if again.is_none() {
            self.0.remove(&id);
        }
        again
    }
}

/// Passes progress on until the speech has ended, the stream breaks, or
/// nobody watches any more.
pub async fn follow(
    db: Db,
    tts: TtsClient,
    board: ProgressBoard,
    id: Uuid,
    watchers: Watchers,
) -> Left {
    if !is_handed_over(&db, id, &watchers).await {
        return Left::Unwatched;
    }
    let left = listen(&tts, &board, id, &watchers).await;
    board.clear(id);
    left
}

/// Before the hand-over there is no speech to follow, so that is waited for; whether
/// anybody still watches then.
async fn is_handed_over(db: &Db, id: Uuid, watchers: &Watchers) -> bool {
    // Heard before it is looked at: it may be handed over between the two.
    let mut live = db.subscribe(Interest::Of(id));
    while watchers.any() {
        let row = db.read(move |conn| Row::get(conn, id)).await;
        if !matches!(row, Ok(Some(row)) if row.status() == TaskStatus::Queued) {
            return true;
        }
        // Either way it is looked again.
        let _ = timeout(NOTICE, live.next()).await;
    }
    false
}

async fn listen(tts: &TtsClient, board: &ProgressBoard, id: Uuid, watchers: &Watchers) -> Left {
    let Ok(mut download) = tts.events(id).await else {
        return Left::Over;
    };
    if download.status != 200 {
        return Left::Over;
    }
    let mut lines = Vec::new();
    while let Some(Ok(bytes)) = download.body.next().await {
        if !watchers.any() {
            return Left::Unwatched;
        }
        lines.extend_from_slice(&bytes);
        for event in take_lines(&mut lines) {
            if let Some(progress) = event.progress {
                board.set(id, progress);
            }
            if event.is_end() {
                return Left::Over;
            }
        }
    }
    Left::Over
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

#[cfg(test)]
mod tests {
    use super::*;

    fn weak(watcher: &Watcher) -> Weak<dyn Any + Send + Sync> {
        Arc::downgrade(watcher)
    }

    #[test]
    fn a_task_is_followed_once_and_as_long_as_anybody_watches() {
        let (mut followed, id) = (Followed::default(), Uuid::now_v7());
        let [first, second]: [Watcher; 2] = [Arc::new(()), Arc::new(())];
        let watchers = followed.join(id, weak(&first)).unwrap();
        assert!(followed.join(id, weak(&second)).is_none());
        drop(first);
        assert!(watchers.any());
        drop(second);
        assert!(!watchers.any());
        assert!(followed.leave(id, Left::Unwatched).is_none());
        let next: Watcher = Arc::new(());
        assert!(followed.join(id, weak(&next)).is_some());
    }

    #[test]
    fn who_comes_when_the_follower_has_just_found_nobody_is_not_forgotten() {
        let (mut followed, id) = (Followed::default(), Uuid::now_v7());
        let first: Watcher = Arc::new(());
        let watchers = followed.join(id, weak(&first)).unwrap();
        drop(first);
        assert!(!watchers.any());
        let late: Watcher = Arc::new(());
        assert!(followed.join(id, weak(&late)).is_none());
        assert!(followed.leave(id, Left::Unwatched).unwrap().any());
        // A speech that has ended has no more progress for anybody.
        assert!(followed.leave(id, Left::Over).is_none());
        assert!(followed.join(id, weak(&late)).is_some());
    }
}
