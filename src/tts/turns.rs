//! Whose turn it is: claims go round the clients that have jobs waiting, one job each.
//!
//! The round goes by the clients' names, and goes on behind the one that had the last
//! turn, whichever worker claims. Within a client short texts go before long ones, each
//! by age; a long one is overtaken by ten younger ones at most. Where the round stands
//! and who has overtaken is kept in the database and changes with the claim, so a claim
//! that is rolled back has cost nobody his turn, and a restart goes on with the round.
//!
//! A claim costs a few seeks for each client that it serves, however many wait; where one
//! waits alone there is no round, and nothing of it is read or written.

use std::collections::{BTreeSet, VecDeque};

use diesel::prelude::*;
use hoiam_supervision::clock::Millis;
use hoiam_text::SaturatingFrom as _;

use crate::db::schema::{meta, overtakes, speeches};
use crate::db::{Condition, Conn, Id};

/// Queued jobs that may be claimed.
pub(super) const CLAIMABLE: &str = "status = 'queued' AND not_before IS NULL";

/// How many younger short jobs may go before a long one of the same client.
const MOST_OVERTAKES: usize = 10;

/// The row of `meta` that keeps who had the last turn. Where only short jobs are wished
/// for, the round is another one: it passes those who have only long ones.
fn last_turn_key(wish: &Wish) -> &'static str {
    match wish.is_short {
        true => "last_short_turn",
        false => "last_turn",
    }
}

/// Which jobs are to be claimed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// At most so many.
    pub most: usize,
    /// At most so many of each client.
    pub each: usize,
    /// None of these clients.
    pub except: BTreeSet<String>,
    /// Short ones only.
    pub is_short: bool,
}

impl Wish {
    /// Whatever is next.
    #[must_use]
    pub fn any(most: usize) -> Self {
        Self {
            most,
            each: usize::MAX,
            except: BTreeSet::new(),
            is_short: false,
        }
    }
}

/// A job of whatever kind of row, with its age and what tells jobs of one age apart.
pub(super) trait Aged {
    fn key(&self) -> Key;
}

pub(super) type Key = (Millis, Id);

/// The jobs whose turn it is.
pub(super) struct Turns<J> {
    /// In their order.
    pub jobs: Vec<Turn<J>>,
    /// Whether there may be more that were wished for.
    pub more: bool,
}

pub(super) enum Turn<J> {
    Short(J),
    /// Of which many may be looked at that are not taken, so it is not read.
    Long(Id),
}

/// Gives the next turns, to jobs that are to be claimed in this very transaction. `read`
/// answers the oldest short jobs of a client, at most so many.
pub(super) fn take<J: Aged>(
    conn: &mut Conn,
    wish: &Wish,
    read: impl Fn(&mut Conn, &str, usize) -> QueryResult<Vec<J>>,
) -> QueryResult<Turns<J>> {
    let Next { clients, round } = next_clients(conn, wish)?;
    let share = wish.most.div_ceil(clients.len().max(1)).min(wish.each);
    let mut queues = Vec::new();
    for client in clients {
        let short = read(conn, &client.name, share)?;
        queues.push(Queue::read(
            conn,
            client,
            short.into(),
            share,
            wish.is_short,
        )?);
    }
    let (jobs, served) = go_round(&mut queues, wish.most);
    for queue in &queues {
        queue.overtakes.keep(conn, &queue.client)?;
    }
    if let (Some(round), Some(served)) = (round, served)
        && round.last.as_ref() != Some(&served)
    {
        diesel::replace_into(meta::table)
            .values((meta::key.eq(last_turn_key(wish)), meta::value.eq(served)))
            .execute(conn)?;
    }
    let more = jobs.len() == wish.most || queues.iter().any(|queue| queue.given == share);
    Ok(Turns { jobs, more })
}

/// Since when the oldest job waits that may be claimed.
pub(super) fn oldest(conn: &mut Conn) -> QueryResult<Option<Millis>> {
    let mut oldest: Option<Millis> = None;
    for is_long in [false, true] {
        let mut client = next_client(conn, is_long, None)?;
        while let Some(of) = client {
            let first = keys(conn, &of, is_long, 1)?;
            let ages = first.into_iter().map(|(created_at, _)| created_at);
            oldest = ages.chain(oldest).min();
            client = next_client(conn, is_long, Some(&of))?;
        }
    }
    Ok(oldest)
}

/// One job of each client, and again, until there are so many. Also says who had the
/// last turn.
fn go_round<J: Aged>(queues: &mut [Queue<J>], most: usize) -> (Vec<Turn<J>>, Option<String>) {
    let mut jobs = Vec::new();
    let mut last = None;
    loop {
        let before = jobs.len();
        for (number, queue) in queues.iter_mut().enumerate() {
            if jobs.len() == most {
                break;
            }
            if let Some(job) = queue.next() {
                jobs.push(job);
                last = Some(number);
            }
        }
        if jobs.len() == before {
            return (jobs, last.map(|number| queues[number].client.clone()));
        }
    }
}

/// A client that has a job which is wished for.
struct Client {
    name: String,
    may_have_long: bool,
}

/// The clients whose turn is next.
struct Next {
    clients: Vec<Client>,
    /// `None` where one client waits alone: it has every turn.
    round: Option<Round>,
}

/// Where the round stands.
struct Round {
    /// Who had the last turn.
    last: Option<String>,
}

/// First the clients behind the one that had the last turn, then those up to it.
fn next_clients(conn: &mut Conn, wish: &Wish) -> QueryResult<Next> {
    let mut all = clients(conn, wish, None, None, wish.most.max(2))?;
    if all.len() < 2 {
        return Ok(Next {
            clients: all,
            round: None,
        });
    }
    let last: Option<String> = meta::table
        .find(last_turn_key(wish))
        .select(meta::value)
        .first(conn)
        .optional()?;
    if let Some(name) = last.as_deref() {
        all = clients(conn, wish, Some(name), None, wish.most)?;
        let left = wish.most - all.len();
        all.extend(clients(conn, wish, None, Some(name), left)?);
    }
    all.truncate(wish.most);
    Ok(Next {
        clients: all,
        round: Some(Round { last }),
    })
}

/// Clients in the order of the round, from behind one of them up to another one.
fn clients(
    conn: &mut Conn,
    wish: &Wish,
    behind: Option<&str>,
    up_to: Option<&str>,
    most: usize,
) -> QueryResult<Vec<Client>> {
    let mut found = Vec::new();
    if most == 0 {
        return Ok(found);
    }
    let mut short = next_client(conn, false, behind)?;
    let mut long = match wish.is_short {
        true => None,
        false => next_client(conn, true, behind)?,
    };
    while let Some(name) = short.iter().chain(&long).min().cloned() {
        if up_to.is_some_and(|last| name.as_str() > last) {
            break;
        }
        let has_long = long.as_ref() == Some(&name);
        let is_passed = wish.except.contains(&name) || (wish.is_short && is_due(conn, &name)?);
        if !is_passed {
            found.push(Client {
                name: name.clone(),
                may_have_long: has_long || wish.is_short,
            });
        }
        if found.len() == most {
            break;
        }
        if short.as_ref() == Some(&name) {
            short = next_client(conn, false, Some(&name))?;
        }
        if has_long {
            long = next_client(conn, true, Some(&name))?;
        }
    }
    Ok(found)
}

/// The first client behind another one, or of all, that has a job of this length.
fn next_client(
    conn: &mut Conn,
    is_long: bool,
    behind: Option<&str>,
) -> QueryResult<Option<String>> {
    let waiting = speeches::table
        .select(speeches::client)
        .filter(Condition(CLAIMABLE))
        .filter(speeches::is_long.eq(is_long))
        .order(speeches::client);
    match behind {
        Some(behind) => waiting.filter(speeches::client.gt(behind)).first(conn),
        None => waiting.first(conn),
    }
    .optional()
}

/// Whether the oldest long job of a client goes before its short ones.
fn is_due(conn: &mut Conn, client: &str) -> QueryResult<bool> {
    match keys(conn, client, true, 1)?.first() {
        Some(long) => Ok(Overtakes::read(conn, client)?.are_spent(*long)),
        None => Ok(false),
    }
}

/// The oldest jobs of a client.
fn keys(conn: &mut Conn, client: &str, is_long: bool, most: usize) -> QueryResult<Vec<Key>> {
    speeches::table
        .select((speeches::created_at, speeches::id))
        .filter(Condition(CLAIMABLE))
        .filter(speeches::is_long.eq(is_long))
        .filter(speeches::client.eq(client))
        .order((speeches::created_at, speeches::id))
        .limit(i64::saturating_from(most))
        .load(conn)
}

/// The next jobs of a client.
struct Queue<J> {
    client: String,
    /// By age.
    short: VecDeque<J>,
    long: VecDeque<Key>,
    overtakes: Overtakes,
    is_short: bool,
    given: usize,
    most: usize,
}

impl<J: Aged> Queue<J> {
    fn read(
        conn: &mut Conn,
        client: Client,
        short: VecDeque<J>,
        most: usize,
        is_short: bool,
    ) -> QueryResult<Self> {
        // A long one that waits has a say even where it is not wished for.
        let long = match client.may_have_long {
            true => keys(conn, &client.name, true, if is_short { 1 } else { most })?,
            false => Vec::new(),
        };
        let overtakes = match long.is_empty() {
            true => Overtakes::default(),
            false => Overtakes::read(conn, &client.name)?,
        };
        Ok(Self {
            client: client.name,
            short,
            long: long.into(),
            overtakes,
            is_short,
            given: 0,
            most,
        })
    }

    fn next(&mut self) -> Option<Turn<J>> {
        if self.given == self.most {
            return None;
        }
        let long = self.long.front().copied();
        let is_due = long.is_some_and(|long| self.overtakes.are_spent(long));
        let next = if is_due || self.short.is_empty() {
            if self.is_short {
                return None;
            }
            Turn::Long(self.long.pop_front()?.1)
        } else {
            let short = self.short.pop_front()?;
            if long.is_some_and(|long| long < short.key()) {
                self.overtakes.note(short.key());
            }
            Turn::Short(short)
        };
        self.given += 1;
        Some(next)
    }
}

/// Which short jobs of a client have overtaken: the youngest ones, since a long job was
/// overtaken by those that are younger than itself.
#[derive(Debug, Default)]
struct Overtakes {
    youngest: BTreeSet<Key>,
    /// As the database has them.
    kept: BTreeSet<Key>,
}

impl Overtakes {
    /// Whether nothing may go before this job any more.
    fn are_spent(&self, long: Key) -> bool {
        let has_all = self.youngest.len() == MOST_OVERTAKES;
        has_all && self.youngest.first().is_some_and(|oldest| *oldest > long)
    }

    fn note(&mut self, short: Key) {
        self.youngest.insert(short);
        if self.youngest.len() > MOST_OVERTAKES {
            self.youngest.pop_first();
        }
    }

    fn read(conn: &mut Conn, client: &str) -> QueryResult<Self> {
        let kept: BTreeSet<Key> = overtakes::table
            .select((overtakes::created_at, overtakes::id))
            .filter(overtakes::client.eq(client))
            .load::<Key>(conn)?
            .into_iter()
            .collect();
        Ok(Self {
            youngest: kept.clone(),
            kept,
        })
    }

    fn keep(&self, conn: &mut Conn, client: &str) -> QueryResult<()> {
        for (created_at, id) in self.kept.difference(&self.youngest) {
            diesel::delete(overtakes::table.find((client, created_at, id))).execute(conn)?;
        }
        for (created_at, id) in self.youngest.difference(&self.kept) {
            diesel::insert_into(overtakes::table)
                .values((
                    overtakes::client.eq(client),
                    overtakes::created_at.eq(created_at),
                    overtakes::id.eq(id),
                ))
                .execute(conn)?;
        }
        Ok(())
    }
}
