//! Pages against a plain look at all rows.

use super::*;

#[derive(Debug, QueryableByName)]
struct Line {
    #[diesel(sql_type = diesel::sql_types::Binary)]
    id: Id,
    #[diesel(sql_type = diesel::sql_types::Text)]
    status: String,
    #[diesel(sql_type = diesel::sql_types::Text)]
    client: String,
    #[diesel(sql_type = diesel::sql_types::BigInt)]
    created_at: Millis,
    #[diesel(sql_type = diesel::sql_types::Nullable<diesel::sql_types::BigInt>)]
    ended_at: Option<Millis>,
    #[diesel(sql_type = diesel::sql_types::Nullable<diesel::sql_types::Text>)]
    reference: Option<String>,
    #[diesel(sql_type = diesel::sql_types::Nullable<diesel::sql_types::Text>)]
    error_code: Option<String>,
    #[diesel(sql_type = diesel::sql_types::Nullable<diesel::sql_types::Binary>)]
    subject_id: Option<Id>,
}

/// All rows, newest first.
fn lines(conn: &mut Conn, table: &Listed) -> QueryResult<Vec<Line>> {
    let others = if table.table == "deliveries" {
        "NULL AS reference, NULL AS error_code, subject_id"
    } else {
        "reference, error_code, NULL AS subject_id"
    };
    let text = format!(
        "SELECT id, status, client, created_at, ended_at, {others} FROM {} ORDER BY created_at DESC, id DESC",
        table.table
    );
    diesel::sql_query(text).load(conn)
}

fn is_shown(line: &Line, filter: &Filter) -> bool {
    fn is<T: PartialEq>(wanted: Option<&T>, is: Option<&T>) -> bool {
        wanted.is_none() || wanted == is
    }
    let within = |at: Option<Millis>, after: Option<Millis>, before: Option<Millis>| {
        after.is_none_or(|after| at.is_some_and(|at| at > after))
            && before.is_none_or(|before| at.is_some_and(|at| at < before))
    };
    is(filter.client.as_ref(), Some(&line.client))
        && (filter.statuses.is_empty() || filter.statuses.contains(&line.status))
        && is(filter.reference.as_ref(), line.reference.as_ref())
        && is(filter.error_code.as_ref(), line.error_code.as_ref())
        && is(filter.subject.map(Id).as_ref(), line.subject_id.as_ref())
        && within(
            Some(line.created_at),
            filter.created_after,
            filter.created_before,
        )
        && within(line.ended_at, filter.ended_after, filter.ended_before)
}

/// All pages of a list, each by a look at so many rows at most.
fn pages(conn: &mut Conn, table: &Listed, filter: &Filter, most: i64) -> QueryResult<Vec<Vec<Id>>> {
    let mut filter = filter.clone();
    let mut pages = Vec::new();
    loop {
        let found = table.find_within(conn, &filter, most)?;
        assert!(found.next.is_none() || filter.cursor.is_none() || found.next < filter.cursor);
        pages.push(found.ids);
        filter.cursor = found.next;
        if filter.cursor.is_none() {
            return Ok(pages);
        }
    }
}

#[tokio::test]
async fn pages_together_show_what_the_filters_mean_newest_first() {
    let test = filled(Service::Backend, 300).await;
    let found = test.db.write(|tx| {
        // Some of one millisecond, which only their ids tell apart.
        for table in &TABLES {
            let name = table.table;
            tx.conn.batch_execute(&format!(
                "UPDATE {name} SET created_at = created_at - created_at % 60"
            ))?;
        }
        for table in &TABLES {
            let lines = lines(tx.conn, table)?;
            for filter in filters(table) {
                let shown = lines.iter().filter(|line| is_shown(line, &filter));
                let shown: Vec<Id> = shown.map(|line| line.id).collect();
                for most in [1, 7, 5000] {
                    let pages = pages(tx.conn, table, &filter, most)?;
                    let limit = usize::try_from(filter.limit).unwrap();
                    assert!(pages.iter().all(|page| page.len() <= limit), "{filter:?}");
                    assert_eq!(pages.concat(), shown, "{} {filter:?} {most}", table.table);
                }
            }
        }
        Ok(())
    });
    found.await.unwrap();
}

/// Nothing is asked for that is not there.
#[tokio::test]
async fn a_page_that_is_just_full_is_the_last_where_nothing_follows() {
    let test = filled(Service::Backend, 300).await;
    let found = test.db.write(|tx| {
        for table in &TABLES {
            let all = i64::try_from(lines(tx.conn, table)?.len()).unwrap();
            let of = |limit| Filter {
                limit,
                ..Filter::default()
            };
            assert_eq!(table.find(tx.conn, &of(all))?.next, None);
            let short = table.find(tx.conn, &of(all - 1))?;
            let oldest = lines(tx.conn, table)?.pop().unwrap();
            assert_eq!(short.ids.len(), usize::try_from(all - 1).unwrap());
            assert!(short.next.unwrap().created_at >= oldest.created_at);
        }
        Ok(())
    });
    found.await.unwrap();
}

/// Two statuses are two walks, each of which looks at half of what a page may.
#[tokio::test]
async fn several_walks_share_what_a_page_may_look_at() {
    let test = filled(Service::Backend, 300).await;
    let found = test.db.write(|tx| {
        let statuses = ["failed", "timed_out"];
        let filter = Filter {
            statuses: statuses.map(str::to_owned).to_vec(),
            client: Some("nobody".into()),
            limit: 50,
            ..Filter::default()
        };
        let all = lines(tx.conn, &TABLES[TASKS])?;
        let third = statuses.map(|status| {
            let mut of_it = all.iter().filter(|line| line.status == status);
            of_it.nth(2).unwrap().created_at
        });
        let page = TABLES[TASKS].find_within(tx.conn, &filter, 6)?;
        let looked_to = page.next.unwrap().created_at;
        assert_eq!(Some(looked_to), third.into_iter().max());
        Ok(())
    });
    found.await.unwrap();
}

#[test]
fn a_cursor_is_read_as_it_is_written() {
    let cursor = Cursor {
        created_at: 1_700_000_000_000,
        id: Uuid::from_u128(7),
    };
    let text = cursor.to_string();
    assert_eq!(text, "1700000000000_00000000000000000000000000000007");
    assert_eq!(Cursor::parse(&text), Some(cursor));
    for other in [
        "",
        "_",
        "1",
        "1_",
        "x_00000000000000000000000000000007",
        "1_7",
    ] {
        assert_eq!(Cursor::parse(other), None, "{other}");
    }
}

/// How many pages of a hundred rows looked at a list has, and how many items.
fn size(conn: &mut Conn, table: usize, filter: &Filter) -> QueryResult<(usize, usize)> {
    let filter = Filter {
        limit: 500,
        ..filter.clone()
    };
    let pages = pages(conn, &TABLES[table], &filter, 100)?;
    Ok((pages.len(), pages.concat().len()))
}

/// Places in [`TABLES`].
const TASKS: usize = 0;
const SPEECHES: usize = 1;
const DELIVERIES: usize = 2;

/// What no index knows.
#[tokio::test]
async fn a_page_looks_at_a_bounded_number_of_rows_and_says_where_it_goes_on() {
    let test = filled(Service::Backend, 1000).await;
    let sizes = test.db.read(|conn| {
        let never = Filter {
            ended_after: Some(START + 10_000),
            ..Filter::default()
        };
        let of = |client: &str, status: &str| Filter {
            client: Some(client.into()),
            statuses: vec![status.into()],
            ..never.clone()
        };
        Ok([
            size(conn, DELIVERIES, &never)?,
            size(conn, DELIVERIES, &of("b", "delivered"))?,
            size(conn, DELIVERIES, &of("nobody", "delivered"))?,
        ])
    });
    let [anybodys, of_b, nobodys] = sizes.await.unwrap();
    assert_eq!(anybodys, (11, 0), "ten times a hundred rows, and the end");
    assert_eq!(of_b, (2, 0), "a hundred rows of theirs, and the end");
    assert_eq!(nobodys, (1, 0), "others' rows are not looked at");
}

#[tokio::test]
async fn rare_statuses_are_found_at_once_however_much_has_ended_well() {
    let test = filled(Service::Backend, 3000).await;
    let sizes = test.db.read(|conn| {
        let lists = [
            (TASKS, "canceled"),
            (TASKS, "timed_out"),
            (SPEECHES, "failed"),
            (DELIVERIES, "exhausted"),
            (DELIVERIES, "pending"),
        ];
        let mut sizes = Vec::new();
        for (table, status) in lists {
            let filter = Filter {
                client: Some("a".into()),
                statuses: vec![status.into()],
                ..Filter::default()
            };
            sizes.push(size(conn, table, &filter)?);
        }
        Ok(sizes)
    });
    let expected = [(1, 30), (1, 30), (1, 60), (1, 30), (1, 11)];
    assert_eq!(sizes.await.unwrap(), expected);
}

/// Pollers ask for what has ended since they asked last.
#[tokio::test]
async fn what_ended_in_a_span_is_one_page_where_it_is_little() {
    let test = filled(Service::Backend, 3000).await;
    let sizes = test.db.read(|conn| {
        let since = |ended_after| Filter {
            ended_after: Some(ended_after),
            ..Filter::default()
        };
        Ok([
            size(conn, TASKS, &since(START + 10_000))?,
            size(conn, TASKS, &since(START + 5000 - 100 * APART_MS))?,
            size(conn, SPEECHES, &since(START + 5000 - 3000 * APART_MS))?,
        ])
    });
    let [none, few, all] = sizes.await.unwrap();
    assert_eq!((none, few), ((1, 0), (1, 88)));
    assert_eq!(all, (31, 2988), "so many are not sorted");
}
