//! How long queries take with a million rows of each kind.
//!
//! `make check-long` prints it. What is asserted is not the time but that pages are
//! bounded, which the other tests hold.

use std::time::Duration;

use super::*;

#[tokio::test]
#[ignore = "a minute and a gigabyte; `make check-long` has it"]
async fn with_a_million_rows() {
    for service in [Service::Backend, Service::Tts] {
        let test = filled(service, 1_000_000).await;
        let timed = test.db.write(move |tx| {
            for (name, query) in plans::queries(service) {
                // What an operation changes is taken back, so that each time is like the first.
                report(&format!("{service} {name}"), || {
                    let began = on_processor();
                    let mut took = Duration::ZERO;
                    let undone = savepoint(tx, |tx| {
                        query(tx)?;
                        took = on_processor() - began;
                        Err::<(), _>(diesel::result::Error::RollbackTransaction)
                    });
                    assert_eq!(undone, Err(diesel::result::Error::RollbackTransaction));
                    took
                });
            }
            Ok(())
        });
        timed.await.unwrap();
        if service == Service::Backend {
            test.db
                .read(|conn| {
                    lists(conn);
                    Ok(())
                })
                .await
                .unwrap();
        }
    }
}

fn savepoint<T>(
    tx: &mut Tx<'_>,
    operation: impl FnOnce(&mut Tx<'_>) -> QueryResult<T>,
) -> QueryResult<T> {
    tx.conn.batch_execute("SAVEPOINT timed")?;
    let result = operation(tx);
    tx.conn.batch_execute("ROLLBACK TO timed; RELEASE timed")?;
    result
}

/// The slowest of all combinations of each table, each over its first twenty pages.
fn lists(conn: &mut Conn) {
    for table in &TABLES {
        let (mut slowest, mut slowest_filter) = (Duration::ZERO, None);
        let (mut pages, mut most_pages) = (0, 0);
        for filter in filters(table) {
            let mut filter = Filter {
                limit: 50,
                ..filter
            };
            for page in 1..=20 {
                let took = (0..3).map(|_| {
                    let began = on_processor();
                    let found = table.find(conn, &filter).unwrap();
                    (on_processor() - began, found.next)
                });
                let (took, next) = took.min_by_key(|(took, _)| *took).unwrap();
                if took > slowest {
                    (slowest, slowest_filter) = (took, Some(filter.clone()));
                }
                (pages, most_pages) = (pages + 1, most_pages.max(page));
                filter.cursor = next;
                if next.is_none() {
                    break;
                }
            }
        }
        println!(
            "{}: {pages} pages, a list has {most_pages} at most, the slowest took {slowest:?}: {slowest_filter:?}",
            table.table
        );
    }
    for (name, table, filter) in measured() {
        report(&name, || {
            let began = on_processor();
            table.find(conn, &filter).unwrap();
            on_processor() - began
        });
    }
}

/// Lists that read the whole table once.
fn measured() -> Vec<(String, Listed, Filter)> {
    let [tasks, _, deliveries] = TABLES;
    let page = Filter {
        limit: 50,
        ..Filter::default()
    };
    let of = |status: &str| Filter {
        statuses: vec![status.into()],
        ..page.clone()
    };
    let of_b = |filter: Filter| Filter {
        client: Some("b".into()),
        ..filter
    };
    let ended = |after: Millis| Filter {
        ended_after: Some(after),
        ..page.clone()
    };
    let code = Filter {
        error_code: Some("nothing".into()),
        ..page.clone()
    };
    vec![
        ("tasks failed".into(), tasks, of("failed")),
        ("tasks in_progress (none)".into(), tasks, of("in_progress")),
        ("tasks failed of b".into(), tasks, of_b(of("failed"))),
        (
            "tasks completed of c".into(),
            tasks,
            Filter {
                client: Some("c".into()),
                ..of("completed")
            },
        ),
        ("tasks error_code=nothing".into(), tasks, code),
        (
            "tasks ended_after, the last 50".into(),
            tasks,
            ended(START - 1000 + 5000),
        ),
        (
            "tasks ended_after, half".into(),
            tasks,
            ended(START - 500_000 * APART_MS),
        ),
        (
            "tasks ended_after, none".into(),
            tasks,
            ended(START + 10_000),
        ),
        (
            "tasks ended_before, the first 50".into(),
            tasks,
            Filter {
                ended_before: Some(START - 999_950 * APART_MS + 5000),
                ..page.clone()
            },
        ),
        ("deliveries exhausted".into(), deliveries, of("exhausted")),
        (
            "deliveries aborted of b".into(),
            deliveries,
            of_b(of("aborted")),
        ),
        (
            "deliveries ended_after, none".into(),
            deliveries,
            ended(START + 10_000),
        ),
    ]
}

/// How long this thread has had a processor: what else runs does not count.
#[expect(unsafe_code, reason = "std has no clock of a thread")]
pub(super) fn on_processor() -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the pointer is to a timespec of our own.
    let answer = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    assert_eq!(answer, 0);
    Duration::new(
        time.tv_sec.cast_unsigned(),
        time.tv_nsec.cast_unsigned() as u32,
    )
}

/// Prints the median of five times and the longest.
fn report(name: &str, mut time: impl FnMut() -> Duration) {
    let mut times: Vec<Duration> = (0..5).map(|_| time()).collect();
    times.sort_unstable();
    println!("{name:48} {:>9.3?} {:>9.3?}", times[2], times[4]);
}
