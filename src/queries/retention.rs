//! How retention finds what is old.

use hoiam_api::Service;

use crate::db::testing::{TestDb, plan_lines};
use crate::retention::store::Stage;
use crate::{backend, tts};

#[tokio::test]
async fn each_stage_goes_by_its_own_index_and_reads_no_row_that_is_not_due() {
    for (service, subjects) in [
        (Service::Tts, tts::store::RETAINED),
        (Service::Backend, backend::store::RETAINED),
    ] {
        let test = TestDb::new(service);
        let plans = test.db.read(move |conn| {
            Ok([Stage::Files, Stage::Rows].map(|stage| {
                let due = plan_lines(conn, |conn| subjects.due(conn, stage, 5, 10));
                let first = plan_lines(conn, |conn| subjects.first_end(conn, stage, 5));
                (due, first)
            }))
        });
        let table = subjects.table;
        for ((due, first), index) in plans.await.unwrap().iter().zip(["files", "bare"]) {
            let by_index = format!("INDEX {table}_{index}_by_end (ended_at");
            for plan in [due, first] {
                assert!(plan[0].starts_with(&format!("SEARCH {table} ")), "{plan:?}");
                assert!(plan[0].contains(&by_index), "{plan:?}");
                assert!(!plan.iter().any(|line| line.contains("TEMP B-TREE")));
            }
        }
    }
}
