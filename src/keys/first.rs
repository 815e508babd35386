//! Which client is the first, to whom all belongs that was accepted before clients
//! had names.
//!
//! Such rows have an empty name. They may be millions, so it is the client that takes
//! their name, and not they that take his: his name is kept once in `meta`, and he is
//! empty wherever work is kept. It stays so whatever is added, moved or revoked.

use diesel::prelude::*;

use crate::db::schema::meta;
use crate::db::{Conn, Db, StoreError, Tx};

/// The row of `meta`.
const KEY: &str = "first_client";

/// The first client of these databases, the same in all: the one that is kept, else
/// `name`, which is kept from then on.
pub async fn settle(dbs: &[Db], name: Option<String>) -> Result<Option<String>, StoreError> {
    let mut kept = Vec::new();
    for db in dbs {
        kept.push(db.read(kept_in).await?);
    }
    let first = kept.iter().flatten().next().cloned().or(name);
    let Some(first) = first else {
        return Ok(None);
    };
    for (db, kept) in dbs.iter().zip(kept) {
        match kept {
            Some(kept) if kept != first => log::warn!(
                "the first client of {} was {kept}; what is kept there without a name is {first}'s now",
                db.service()
            ),
            Some(_) => {}
            None => {
                let name = first.clone();
                db.write(move |tx| keep(tx, &name)).await?;
            }
        }
    }
    Ok(Some(first))
}

fn kept_in(conn: &mut Conn) -> QueryResult<Option<String>> {
    let kept = meta::table.find(KEY).select(meta::value);
    kept.first(conn).optional()
}

fn keep(tx: &mut Tx<'_>, name: &str) -> QueryResult<()> {
    diesel::insert_into(meta::table)
        .values((meta::key.eq(KEY), meta::value.eq(name)))
        .on_conflict_do_nothing()
        .execute(tx.conn)
        .map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::testing::TestDb;
    use hoiam_api::Service;

    #[tokio::test]
    async fn the_first_stays_the_first_in_all_databases() {
        let [one, other] = [Service::Backend, Service::Tts].map(TestDb::new);
        let dbs = [one.db.clone(), other.db.clone()];
        let first = async |dbs: &[Db], name: Option<&str>| {
            settle(dbs, name.map(str::to_owned)).await.unwrap()
        };
        assert_eq!(first(&dbs, None).await, None);
        // A process that was killed between the two commits.
        assert_eq!(first(&dbs[1..], Some("a")).await.as_deref(), Some("a"));
        assert_eq!(first(&dbs, Some("b")).await.as_deref(), Some("a"));
        assert_eq!(first(&dbs[..1], Some("c")).await.as_deref(), Some("a"));
        assert_eq!(first(&dbs, None).await.as_deref(), Some("a"));
    }
}
