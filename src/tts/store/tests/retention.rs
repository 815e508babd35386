//! What retention may do to speeches.

use diesel::sql_query;
use hoiam_api::Service;

use super::{finished, new};
use crate::db::testing::TestDb;
use crate::retention::store::Stage;
use crate::tts::store::claims::{claim, complete};
use crate::tts::store::*;

/// A speech with a file that has ended and was told of; its id and that of its
/// delivery.
fn told(tx: &mut Tx<'_>) -> QueryResult<(Uuid, Uuid)> {
    let id = Uuid::now_v7();
    let url = "http://127.0.0.1:9/";
    accept(tx, &new(id, Some(url), CheckState::Off, 60))?;
    let job = claim(tx, Uuid::now_v7(), 1)?.jobs.remove(0);
    complete(tx, &job.row, &finished())?;
    let owed = deliveries::newest(tx.conn, Id(id))?;
    let delivery = owed.ok_or(diesel::result::Error::NotFound)?.id.0;
    let aborted = "UPDATE deliveries SET status = 'aborted', next_attempt_at = NULL";
    sql_query(aborted).execute(tx.conn)?;
    Ok((id, delivery))
}

/// Between the look and the commit somebody may ask for a redelivery, which
/// needs the file.
#[tokio::test]
async fn what_owes_something_again_since_the_look_keeps_its_file_and_its_row() {
    let test = TestDb::new(Service::Tts);
    let subjects = RETAINED;
    let kept = test.db.write(move |tx| {
        let (kept, delivery) = told(tx)?;
        let (gone, _) = told(tx)?;
        let due = subjects.due(tx.conn, Stage::Files, tx.now + 1, 10)?;
        assert_eq!(due.len(), 2);
        deliveries::redeliver(tx, delivery)?;
        assert_eq!(subjects.clear_files(tx, &due)?, ["a"]);
        assert_eq!(subjects.forget(tx, &due)?, 1);
        assert!(Row::get(tx.conn, gone)?.is_none());
        Row::get(tx.conn, kept)
    });
    let kept = kept.await.unwrap().unwrap();
    assert_eq!(kept.file.as_deref(), Some("a"));
}
