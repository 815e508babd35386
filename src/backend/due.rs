//! What is to be done now at the TTS service: the errands of tasks, and the
//! erasures of speeches whose tasks are gone.

use std::collections::HashSet;

use diesel::prelude::QueryResult;
use uuid::Uuid;

use super::erasures::{self, Erasure};
use super::store::{self, Row};
use super::task::Errand;
use crate::clock::Millis;
use crate::db::Conn;

/// Of the room, the part that erasures have for certain: a TTS service that is
/// busy for hours has hand-overs waiting all the time.
const SHARE_OF_ERASURES: usize = 8;

/// One thing to do.
#[derive(Debug)]
pub enum Owed {
    /// A task's errand.
    Errand(Errand, Box<Row>),
    /// An erased task's speech.
    Erasure(Erasure),
}

impl Owed {
    /// The task's id. Only one thing is done for it at a time, so that an
    /// erasure finds what a hand-over has left.
    #[must_use]
    pub fn id(&self) -> Uuid {
        match self {
            Self::Errand(_, row) => row.id.0,
            Self::Erasure(erasure) => erasure.id.0,
        }
    }

    /// The errand, if it is one.
    #[must_use]
    pub fn errand(&self) -> Option<Errand> {
        match self {
            Self::Errand(errand, _) => Some(*errand),
            Self::Erasure(_) => None,
        }
    }

    /// Its word in the log.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Errand(errand, _) => errand.as_str(),
            Self::Erasure(_) => "erasure",
        }
    }
}

/// What is due now and not `running`, as much as there is room for, and when
/// the next is due.
///
/// # Errors
/// What the database says.
pub fn due(
    conn: &mut Conn,
    now: Millis,
    room: usize,
    running: &HashSet<Uuid>,
) -> QueryResult<(Vec<Owed>, Option<Millis>)> {
    let most = i64::try_from(room + running.len()).unwrap_or(i64::MAX);
    let (rows, next_errand) = store::due_errands(conn, now, most)?;
    let (erasures, next_erasure) = erasures::due_erasures(conn, now, most)?;
    let fresh = |owed: &Owed| !running.contains(&owed.id());
    let mut owed: Vec<Owed> = rows
        .into_iter()
        .filter_map(|row| Some(Owed::Errand(row.errand()?, Box::new(row))))
        .filter(fresh)
        .collect();
    let erasures: Vec<Owed> = erasures
        .into_iter()
        .map(Owed::Erasure)
        .filter(fresh)
        .collect();
    owed.truncate(room - erasures.len().min(room / SHARE_OF_ERASURES));
    owed.extend(erasures);
    owed.truncate(room);
    Ok((owed, next_errand.into_iter().chain(next_erasure).min()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::store::New;
    use crate::contract::{Create, Service};
    use crate::db::Tx;
    use crate::db::testing::TestDb;

    fn task(id: Uuid) -> New {
        let create = Create {
            text: "Xin chào.".into(),
            timeout_s: 60,
            ..Create::default()
        };
        New {
            id,
            client: String::new(),
            idempotency_key: None,
            request: create.into(),
            report_to: "http://127.0.0.1/v1/callbacks".into(),
            retry_of: None,
        }
    }

    #[tokio::test]
    async fn erasures_have_a_share_of_their_own_and_what_errands_leave() {
        let test = TestDb::new(Service::Backend);
        test.db
            .write(|tx| {
                let both = |tx: &mut Tx<'_>, room| {
                    let (owed, _) = due(tx.conn, tx.now, room, &HashSet::new())?;
                    let erasures = owed.iter().filter(|owed| matches!(owed, Owed::Erasure(_)));
                    let erasures = erasures.count();
                    QueryResult::Ok((owed.len() - erasures, erasures))
                };
                assert_eq!(both(tx, 64)?, (0, 0));
                for _ in 0..100 {
                    erasures::owe(tx, Uuid::now_v7(), true)?;
                }
                assert_eq!(both(tx, 64)?, (0, 64));
                for _ in 0..60 {
                    store::submit(tx, &task(Uuid::now_v7()))?;
                }
                assert_eq!(both(tx, 64)?, (56, 8));
                assert_eq!(both(tx, 100)?, (60, 40));
                // A probe is an errand if there is one.
                assert_eq!(both(tx, 1)?, (1, 0));
                Ok(())
            })
            .await
            .unwrap();
    }

    #[tokio::test]
    async fn what_runs_is_not_due_and_the_next_is_the_first_of_either() {
        let test = TestDb::new(Service::Backend);
        test.db
            .write(|tx| {
                let (erased, waiting) = (Uuid::now_v7(), Uuid::now_v7());
                erasures::owe(tx, erased, true)?;
                store::submit(tx, &task(waiting))?;
                let (now, running) = (tx.now, HashSet::from([erased]));
                let (owed, next) = due(tx.conn, now, 64, &running)?;
                let ids: Vec<Uuid> = owed.iter().map(Owed::id).collect();
                assert_eq!((ids, next), (vec![waiting], None));
                store::errand_failed(tx, waiting, Errand::HandOver, "no", Some(now + 5000))?;
                erasures::failed(tx, erased)?;
                let (owed, next) = due(tx.conn, now, 64, &HashSet::new())?;
                assert_eq!((owed.len(), next), (0, Some(now + 1000)));
                Ok(())
            })
            .await
            .unwrap();
    }
}
