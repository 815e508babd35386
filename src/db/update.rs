//! Updates of one row by its id that stay prepared.
//!
//! diesel prepares each `UPDATE` anew, since in general its columns may
//! change from one run to the next. On this schema, whose tables have many
//! partial indexes, that costs more than the update itself. Here the text of
//! the statement is the key under which it is kept, so that the same columns
//! find the same statement.

use diesel::prelude::*;
use diesel::query_builder::{AsChangeset, AstPass, QueryFragment, QueryId};
use diesel::sql_types::Binary;
use diesel::sqlite::Sqlite;

use super::{Condition, Conn, Id};

/// `UPDATE table SET changes WHERE id = … AND guard`.
struct UpdateById<C, G> {
    table: &'static str,
    changes: C,
    id: Id,
    guard: G,
}

impl<C: QueryFragment<Sqlite>, G: QueryFragment<Sqlite>> QueryFragment<Sqlite>
    for UpdateById<C, G>
{
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Sqlite>) -> QueryResult<()> {
        out.push_sql("UPDATE ");
        out.push_identifier(self.table)?;
        out.push_sql(" SET ");
        self.changes.walk_ast(out.reborrow())?;
        out.push_sql(" WHERE id = ");
        out.push_bind_param::<Binary, _>(&self.id)?;
        out.push_sql(" AND ");
        self.guard.walk_ast(out)
    }
}

impl<C, G> QueryId for UpdateById<C, G> {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl<C, G> RunQueryDsl<Conn> for UpdateById<C, G> {}

/// A table whose rows are updated by id.
pub trait Named: Table {
    /// Its name in the database.
    const NAME: &'static str;
}

macro_rules! named {
    ($($table:ident),*) => {$(
        impl Named for super::schema::$table::table {
            const NAME: &'static str = stringify!($table);
        }
    )*};
}
named!(speeches, tasks, deliveries, erasures);

/// Sets columns of the row with this id; says how many rows there were.
///
/// # Errors
/// What the database says.
pub fn update<T, C>(conn: &mut Conn, table: T, id: Id, changes: C) -> QueryResult<usize>
where
    T: Named,
    C: AsChangeset<Target = T>,
    C::Changeset: QueryFragment<Sqlite>,
{
    update_if(conn, table, id, Condition("TRUE"), changes)
}

/// The same, if `guard` holds for the row.
///
/// # Errors
/// What the database says.
pub fn update_if<T, C, G>(conn: &mut Conn, _: T, id: Id, guard: G, changes: C) -> QueryResult<usize>
where
    T: Named,
    C: AsChangeset<Target = T>,
    C::Changeset: QueryFragment<Sqlite>,
    G: SelectableExpression<T> + QueryFragment<Sqlite>,
{
    UpdateById {
        table: T::NAME,
        changes: changes.as_changeset(),
        id,
        guard,
    }
    .execute(conn)
}
