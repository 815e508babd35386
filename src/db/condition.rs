//! Conditions that stand in a statement as written.
//!
//! SQLite uses a partial index only where the index's condition stands in
//! the statement itself and not as a bound value. diesel's `sql` would do,
//! but a statement with such a literal is prepared anew each time, which
//! costs more than running it; what is written here never changes, so it can
//! be kept prepared.

use diesel::backend::Backend;
use diesel::expression::{
    AppearsOnTable, Expression, SelectableExpression, ValidGrouping, is_aggregate,
};
use diesel::prelude::QueryResult;
use diesel::query_builder::{AstPass, QueryFragment, QueryId};
use diesel::sql_types::Bool;

/// A condition on the columns of the table that the query is about. The text
/// is part of the program, never of a request.
#[derive(Debug, Clone, Copy)]
pub struct Condition(pub &'static str);

impl Expression for Condition {
    type SqlType = Bool;
}

impl<DB: Backend> QueryFragment<DB> for Condition {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, DB>) -> QueryResult<()> {
        out.push_sql("(");
        out.push_sql(self.0);
        out.push_sql(")");
        Ok(())
    }
}

impl QueryId for Condition {
    type QueryId = ();
    // Two conditions are one type with different texts: kept by text.
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl<From> AppearsOnTable<From> for Condition {}

impl<From> SelectableExpression<From> for Condition {}

impl<GroupBy> ValidGrouping<GroupBy> for Condition {
    type IsAggregate = is_aggregate::Never;
}
