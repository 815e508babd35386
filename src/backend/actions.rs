//! The actions that tasks owe, as they come due: each kind by an index of its
//! own, hand-overs client by client.

use diesel::prelude::*;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::sql_types::{BigInt, Nullable, Text};
use diesel::sqlite::Sqlite;
use hoiam_supervision::clock::Millis;
use hoiam_text::SaturatingFrom as _;

use super::store::Row;
use super::task::Action;
use crate::db::schema::tasks;
use crate::db::{Condition, Conn};

const fn of_action(action: Action) -> Condition {
    Condition(match action {
        Action::HandOver => "action = 'hand_over'",
        Action::Fetch => "action = 'fetch'",
        Action::Abandon => "action = 'abandon'",
    })
}

/// The tasks whose action of this kind is due now, oldest first, and when the next
/// one is due. Hand-overs are found client by client instead.
///
/// # Errors
/// What the database says.
pub fn due_actions(
    conn: &mut Conn,
    action: Action,
    now: Millis,
    most: usize,
) -> QueryResult<(Vec<Row>, Option<Millis>)> {
    let rows = tasks::table
        .select(Row::as_select())
        .filter(of_action(action))
        .filter(tasks::action_due_at.le(now))
        .order(tasks::action_due_at)
        .limit(i64::saturating_from(most))
        .load(conn)?;
    let next: Option<Option<Millis>> = tasks::table
        .select(tasks::action_due_at)
        .filter(of_action(action))
        .filter(tasks::action_due_at.gt(now))
        .order(tasks::action_due_at)
        .first(conn)
        .optional()?;
    Ok((rows, next.flatten()))
}

/// One client's tasks that are to be handed over now, oldest first. Of the first
/// `most`, those past their deadline are left out: they are the watchdog's, who
/// ends them and then says so, and what is behind them has its turn.
///
/// # Errors
/// What the database says.
pub fn due_hand_overs(
    conn: &mut Conn,
    client: &str,
    now: Millis,
    most: usize,
) -> QueryResult<Vec<Row>> {
    let mut rows: Vec<Row> = tasks::table
        .select(Row::as_select())
        .filter(of_action(Action::HandOver))
        .filter(tasks::client.eq(client))
        .filter(tasks::action_due_at.le(now))
        .order(tasks::action_due_at)
        .limit(i64::saturating_from(most))
        .load(conn)?;
    rows.retain(|row| row.action_until.is_none_or(|until| until > now));
    Ok(rows)
}

/// A client with tasks that are to be handed over.
#[derive(Debug, Clone, PartialEq, Eq, Queryable)]
pub struct Waiting {
    /// Its name.
    pub client: String,
    /// Since when the oldest of them is due.
    pub due_since: Option<Millis>,
    /// When the next one comes due.
    pub next_at: Option<Millis>,
}

/// All of them, by name.
///
/// # Errors
/// What the database says.
pub fn waiting_clients(conn: &mut Conn, now: Millis) -> QueryResult<Vec<Waiting>> {
    WaitingClients { now }.load(conn)
}

/// From one client to the next by the index, and in it to the client's first entry
/// on either side of `now`: three looks a client, however many tasks it has.
struct WaitingClients {
    now: Millis,
}

impl QueryFragment<Sqlite> for WaitingClients {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Sqlite>) -> QueryResult<()> {
        out.push_sql(
            "WITH RECURSIVE clients (client) AS (\
               SELECT min(client) FROM tasks WHERE action = 'hand_over' \
               UNION ALL \
               SELECT (SELECT min(client) FROM tasks WHERE action = 'hand_over' AND client > clients.client) \
               FROM clients WHERE client IS NOT NULL) \
             SELECT client, \
               (SELECT min(action_due_at) FROM tasks WHERE action = 'hand_over' \
                AND tasks.client = clients.client AND action_due_at <= ",
        );
        out.push_bind_param::<BigInt, _>(&self.now)?;
        out.push_sql(
            "), (SELECT min(action_due_at) FROM tasks WHERE action = 'hand_over' \
                AND tasks.client = clients.client AND action_due_at > ",
        );
        out.push_bind_param::<BigInt, _>(&self.now)?;
        out.push_sql(") FROM clients WHERE client IS NOT NULL");
        Ok(())
    }
}

impl Query for WaitingClients {
    type SqlType = (Text, Nullable<BigInt>, Nullable<BigInt>);
}

impl QueryId for WaitingClients {
    type QueryId = Self;
    const HAS_STATIC_QUERY_ID: bool = true;
}

impl RunQueryDsl<Conn> for WaitingClients {}
