//! Retention's operations: one form for both services, whose tables have the
//! columns `id`, `ended_at`, `file` and `words`.
//!
//! The statements are put together from the program's own words and numbers
//! and are prepared anew each time; they run a few times a day.

use std::collections::HashSet;

use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{BigInt, Binary, Nullable, Text};
use hoiam_supervision::clock::Millis;
use uuid::Uuid;

use crate::db::{Conn, Id, Tx};

/// A service's table, as retention sees it.
#[derive(Debug, Clone, Copy)]
pub struct Subjects {
    /// Its name.
    pub table: &'static str,
    /// Where nothing is owed for an ended row any more.
    pub settled: &'static str,
    /// Forgets an ended row with its events and deliveries.
    pub erase: fn(&mut Tx<'_>, Uuid) -> QueryResult<()>,
}

/// What is removed by age.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Of rows that name a file: the file and the word times.
    Files,
    /// Of rows that name none: everything.
    Rows,
}

impl Stage {
    /// The condition of the index that the stage goes by.
    fn condition(self) -> &'static str {
        match self {
            Self::Files => "file IS NOT NULL",
            Self::Rows => "file IS NULL AND ended_at IS NOT NULL",
        }
    }
}

#[derive(QueryableByName)]
struct RowId {
    #[diesel(sql_type = Binary)]
    id: Id,
}

#[derive(QueryableByName)]
struct Named {
    #[diesel(sql_type = Nullable<Text>)]
    file: Option<String>,
}

#[derive(QueryableByName)]
struct Earliest {
    #[diesel(sql_type = Nullable<BigInt>)]
    ended_at: Option<Millis>,
}

impl Subjects {
    /// What ended before this instant and owes nothing, oldest first.
    ///
    /// # Errors
    /// What the database says.
    pub fn due(
        self,
        conn: &mut Conn,
        stage: Stage,
        before: Millis,
        most: usize,
    ) -> QueryResult<Vec<Uuid>> {
        let Self { table, settled, .. } = self;
        let condition = stage.condition();
        let found: Vec<RowId> = sql_query(format!(
            "SELECT id FROM {table} WHERE {condition} AND ended_at < {before} AND {settled} \
             ORDER BY ended_at LIMIT {most}"
        ))
        .load(conn)?;
        Ok(found.into_iter().map(|found| found.id.0).collect())
    }

    /// When the first that ended at this instant or later did.
    ///
    /// # Errors
    /// What the database says.
    pub fn first_end(
        self,
        conn: &mut Conn,
        stage: Stage,
        from: Millis,
    ) -> QueryResult<Option<Millis>> {
        let (table, condition) = (self.table, stage.condition());
        let earliest: Earliest = sql_query(format!(
            "SELECT min(ended_at) AS ended_at FROM {table} WHERE {condition} AND ended_at >= {from}"
        ))
        .get_result(conn)?;
        Ok(earliest.ended_at)
    }

    /// Has rows name their files no more, and answers what they named. One
    /// that owes something again in the meantime keeps its own.
    ///
    /// # Errors
    /// What the database says.
    pub fn clear_files(self, tx: &mut Tx<'_>, ids: &[Uuid]) -> QueryResult<Vec<String>> {
        let Self { table, settled, .. } = self;
        let mut cleared = Vec::new();
        for id in ids {
            let named: Option<Named> = sql_query(format!(
                "SELECT file FROM {table} WHERE id = ? AND {settled}"
            ))
            .bind::<Binary, _>(Id(*id))
            .get_result(tx.conn)
            .optional()?;
            let Some(file) = named.and_then(|named| named.file) else {
                continue;
            };
            sql_query(format!(
                "UPDATE {table} SET file = NULL, words = NULL WHERE id = ?"
            ))
            .bind::<Binary, _>(Id(*id))
            .execute(tx.conn)?;
            cleared.push(file);
        }
        Ok(cleared)
    }

    /// Forgets rows; one that owes something again in the meantime stays.
    ///
    /// # Errors
    /// What the database says.
    pub fn forget(self, tx: &mut Tx<'_>, ids: &[Uuid]) -> QueryResult<usize> {
        let mut forgotten = 0;
        for id in ids {
            if self.is_settled(tx.conn, *id)? {
                (self.erase)(tx, *id)?;
                forgotten += 1;
            }
        }
        Ok(forgotten)
    }

    fn is_settled(self, conn: &mut Conn, id: Uuid) -> QueryResult<bool> {
        let Self { table, settled, .. } = self;
        let found: Option<RowId> =
            sql_query(format!("SELECT id FROM {table} WHERE id = ? AND {settled}"))
                .bind::<Binary, _>(Id(id))
                .get_result(conn)
                .optional()?;
        Ok(found.is_some())
    }

    /// Of these files with the ids that they are named after, those that no
    /// row names, nor can come to name: what has not ended, or still owes
    /// something, may be about to.
    ///
    /// # Errors
    /// What the database says.
    pub fn unnamed(
        self,
        conn: &mut Conn,
        files: Vec<(Uuid, String)>,
    ) -> QueryResult<HashSet<String>> {
        let Self { table, settled, .. } = self;
        let mut unnamed = HashSet::new();
        for (id, file) in files {
            let kept: Option<RowId> = sql_query(format!(
                "SELECT id FROM {table} WHERE id = ? \
                 AND (ended_at IS NULL OR file = ? OR NOT ({settled}))"
            ))
            .bind::<Binary, _>(Id(id))
            .bind::<Text, _>(&file)
            .get_result(conn)
            .optional()?;
            if kept.is_none() {
                unnamed.insert(file);
            }
        }
        Ok(unnamed)
    }
}
