//! A task or a speech as its table keeps it.

use diesel::prelude::QueryResult;
use hoiam_api::create::Prepared;
use hoiam_api::{CheckState, Create, Recording, Resource, Service, Status, WaitingFor};
use hoiam_supervision::clock::Millis;
use serde::Serialize;
use uuid::Uuid;

use crate::db::list::Listed;
use crate::db::{Conn, Id};
use crate::http::links::ResultLinks;
use crate::http::result::TextAndWords;

/// A task or a speech as the edge has checked it.
#[derive(Debug, Clone)]
pub struct New<Extra> {
    /// Chosen by the caller or by us.
    pub id: Uuid,
    /// Whose it is: the name of an API key.
    pub client: String,
    /// Scope and key of an `Idempotency-Key`.
    pub idempotency_key: Option<String>,
    /// What was asked for.
    pub request: Prepared,
    /// What only this service keeps.
    pub extra: Extra,
}

/// The columns that both tables have, but for the long ones.
#[derive(Debug, Clone, Copy)]
#[expect(missing_docs, reason = "the migration documents the columns")]
pub struct Columns<'a> {
    pub id: Id,
    pub status: &'a str,
    pub fingerprint: &'a [u8],
    pub reference: Option<&'a str>,
    pub request: &'a str,
    pub characters: i32,
    pub text_bytes: i64,
    pub callback_url: Option<&'a str>,
    pub created_at: Millis,
    pub deadline_at: Millis,
    pub started_at: Option<Millis>,
    pub ended_at: Option<Millis>,
    pub error: Option<&'a str>,
    pub file: Option<&'a str>,
    pub audio: Option<&'a str>,
    pub client: &'a str,
}

/// What of a row is shown in its service's own way.
pub struct ServiceFields<Retries> {
    /// `engine/name`, once it is known.
    pub resolved_voice: Option<String>,
    /// BCP 47.
    pub language: Option<String>,
    /// Tries so far.
    pub attempt: u32,
    /// Whether it is at a point where progress is shown.
    pub is_spoken: bool,
    /// What it waits for.
    pub waiting_for: Option<WaitingFor>,
    /// Of its callback URL.
    pub check: Option<CheckState>,
    /// What it repeats, and what repeats it.
    pub retries: Retries,
}

/// Access to one table, made by `table_row!`.
///
/// All fail with what the database says.
#[expect(clippy::missing_errors_doc, reason = "see above")]
pub trait TableRow: Clone + Sized + Send + 'static {
    /// How its lists are read.
    const LISTED: Listed;

    /// What both tables have.
    fn columns(&self) -> Columns<'_>;
    /// The row of what was asked for; its service adds the status and its own columns.
    fn of_request<Extra>(new: &New<Extra>, now: Millis) -> Self;
    /// One row.
    fn get(conn: &mut Conn, id: Uuid) -> QueryResult<Option<Self>>;
    /// Several, newest first; unknown ids are left out.
    fn get_many(conn: &mut Conn, ids: &[Id]) -> QueryResult<Vec<Self>>;
    /// The row that was made with this `Idempotency-Key`.
    fn by_key(conn: &mut Conn, key: &str) -> QueryResult<Option<Self>>;
    /// Client and bytes of the text of all rows for which this holds.
    fn sizes(conn: &mut Conn, condition: &'static str) -> QueryResult<Vec<(String, i64)>>;
    /// The text.
    fn text(conn: &mut Conn, id: Uuid) -> QueryResult<Option<String>>;
    /// The word times.
    fn words(conn: &mut Conn, id: Uuid) -> QueryResult<Option<Option<String>>>;
    /// The text and the word times.
    fn text_and_words(conn: &mut Conn, id: Uuid) -> QueryResult<Option<TextAndWords>>;
    /// Removes a row.
    fn delete(conn: &mut Conn, id: Uuid) -> QueryResult<()>;
}

/// A task or a speech.
pub trait ResourceRow: TableRow {
    /// Where it may stand.
    type Status: Status;
    /// What of its result came too late.
    type Late: Serialize + Send + 'static;
    /// What it repeats, and what repeats it.
    type Retries: Serialize + Send + 'static;
    /// What only this service keeps of a new one.
    type New: Send + 'static;

    /// Whose it is.
    const SERVICE: Service;
    /// What a 404 calls it.
    const NAMED: &'static str;
    /// Each holds for some open rows, and together for all of them, none twice. Each
    /// goes by an index: however many have ended, they are not read.
    const OPEN: &'static [&'static str];

    /// Writes the row with what it does not hold itself, unless its id or its key is
    /// there; says how many rows were written.
    ///
    /// # Errors
    /// What the database says.
    fn insert(&self, conn: &mut Conn, new: &New<Self::New>) -> QueryResult<usize>;

    /// What is shown in the service's own way.
    fn service_fields(&self) -> ServiceFields<Self::Retries>;

    /// The result that is shown as late, and the one that is not.
    fn late(&self, links: Option<ResultLinks>) -> (Self::Late, Option<ResultLinks>);

    /// BCP 47, of a result.
    fn result_language(&self) -> String {
        self.service_fields()
            .language
            .unwrap_or_else(|| "en".into())
    }

    /// The status as a value; a word that this version does not know counts
    /// as failed, so that nothing touches the row.
    fn status(&self) -> Self::Status {
        Self::Status::parse(self.columns().status).unwrap_or(Self::Status::FAILED)
    }

    /// What was asked for, without the text.
    fn request(&self) -> Option<Create> {
        serde_json::from_str(self.columns().request).ok()
    }

    /// What it came to, without links.
    fn recording(&self) -> Option<Recording> {
        serde_json::from_str(self.columns().audio?).ok()
    }
}

/// A row as clients see it.
pub type Shown<R> =
    Resource<<R as ResourceRow>::Status, <R as ResourceRow>::Late, <R as ResourceRow>::Retries>;

/// Makes the `Row` of a table with the columns that only this one has, and implements
/// [`row::TableRow`](crate::resource::row::TableRow) for it: diesel cannot name a table
/// that is a type's parameter.
macro_rules! table_row {
    ($(#[$doc:meta])* $table:ident { $($column:ident: $type:ty,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Default, Queryable, Selectable, Insertable)]
        #[diesel(table_name = $table, check_for_backend(diesel::sqlite::Sqlite))]
        #[diesel(treat_none_as_default_value = false)]
        #[expect(missing_docs, reason = "the migration documents the columns")]
        pub struct Row {
            pub id: $crate::db::Id,
            pub status: String,
            pub fingerprint: Vec<u8>,
            pub reference: Option<String>,
            pub request: String,
            pub characters: i32,
            pub text_bytes: i64,
            pub callback_url: Option<String>,
            pub created_at: ::hoiam_supervision::clock::Millis,
            pub deadline_at: ::hoiam_supervision::clock::Millis,
            pub started_at: Option<::hoiam_supervision::clock::Millis>,
            pub ended_at: Option<::hoiam_supervision::clock::Millis>,
            pub error: Option<String>,
            pub file: Option<String>,
            pub audio: Option<String>,
            pub client: String,
            $(pub $column: $type,)*
        }

        impl $crate::resource::row::TableRow for Row {
            const LISTED: $crate::db::list::Listed = {
                use $crate::db::list::{Index, Listed};
                Listed {
                    table: stringify!($table),
                    by_age: Index::all(concat!(stringify!($table), "_by_age")),
                    by_client: Index::all(concat!(stringify!($table), "_by_client")),
                    by_status: Index {
                        name: concat!(stringify!($table), "_by_status"),
                        condition: "status <> 'completed'",
                    },
                    common_status: "completed",
                    by_column: &[
                        (
                            "reference",
                            Index {
                                name: concat!(stringify!($table), "_by_reference"),
                                condition: "reference IS NOT NULL",
                            },
                        ),
                        (
                            "error_code",
                            Index {
                                name: concat!(stringify!($table), "_by_error"),
                                condition: "error_code IS NOT NULL",
                            },
                        ),
                    ],
                    by_end: &[
                        Index {
                            name: concat!(stringify!($table), "_files_by_end"),
                            condition: "file IS NOT NULL",
                        },
                        Index {
                            name: concat!(stringify!($table), "_bare_by_end"),
                            condition: "file IS NULL AND ended_at IS NOT NULL",
                        },
                    ],
                }
            };

            fn columns(&self) -> $crate::resource::row::Columns<'_> {
                $crate::resource::row::Columns {
                    id: self.id,
                    status: &self.status,
                    fingerprint: &self.fingerprint,
                    reference: self.reference.as_deref(),
                    request: &self.request,
                    characters: self.characters,
                    text_bytes: self.text_bytes,
                    callback_url: self.callback_url.as_deref(),
                    created_at: self.created_at,
                    deadline_at: self.deadline_at,
                    started_at: self.started_at,
                    ended_at: self.ended_at,
                    error: self.error.as_deref(),
                    file: self.file.as_deref(),
                    audio: self.audio.as_deref(),
                    client: &self.client,
                }
            }

            fn of_request<Extra>(
                new: &$crate::resource::row::New<Extra>,
                now: ::hoiam_supervision::clock::Millis,
            ) -> Self {
                use ::hoiam_text::SaturatingFrom as _;
                let request = &new.request;
                Self {
                    id: $crate::db::Id(new.id),
                    fingerprint: request.fingerprint.clone(),
                    reference: request.create.reference.clone(),
                    request: request.json.clone(),
                    characters: i32::saturating_from(request.characters),
                    text_bytes: i64::saturating_from(request.source.len()),
                    callback_url: request.create.callback_url.clone(),
                    created_at: now,
                    deadline_at: now + i64::from(request.create.timeout_s) * 1000,
                    client: new.client.clone(),
                    ..Self::default()
                }
            }

            fn get(conn: &mut $crate::db::Conn, id: ::uuid::Uuid) -> QueryResult<Option<Self>> {
                let row = $table::table.find($crate::db::Id(id));
                row.select(Self::as_select()).first(conn).optional()
            }

            fn get_many(
                conn: &mut $crate::db::Conn,
                ids: &[$crate::db::Id],
            ) -> QueryResult<Vec<Self>> {
                $table::table
                    .filter($table::id.eq_any(ids))
                    .order(($table::created_at.desc(), $table::id.desc()))
                    .select(Self::as_select())
                    .load(conn)
            }

            fn by_key(conn: &mut $crate::db::Conn, key: &str) -> QueryResult<Option<Self>> {
                $table::table
                    .filter($table::idempotency_key.is_not_null())
                    .filter($table::idempotency_key.eq(key))
                    .select(Self::as_select())
                    .first(conn)
                    .optional()
            }

            fn sizes(
                conn: &mut $crate::db::Conn,
                condition: &'static str,
            ) -> QueryResult<Vec<(String, i64)>> {
                $table::table
                    .filter($crate::db::Condition(condition))
                    .select(($table::client, $table::text_bytes))
                    .load(conn)
            }

            fn text(conn: &mut $crate::db::Conn, id: ::uuid::Uuid) -> QueryResult<Option<String>> {
                let row = $table::table.find($crate::db::Id(id));
                row.select($table::text).first(conn).optional()
            }

            fn words(
                conn: &mut $crate::db::Conn,
                id: ::uuid::Uuid,
            ) -> QueryResult<Option<Option<String>>> {
                let row = $table::table.find($crate::db::Id(id));
                row.select($table::words).first(conn).optional()
            }

            fn text_and_words(
                conn: &mut $crate::db::Conn,
                id: ::uuid::Uuid,
            ) -> QueryResult<Option<$crate::http::result::TextAndWords>> {
                let row = $table::table.find($crate::db::Id(id));
                let both = row.select(($table::text, $table::words));
                both.first(conn).optional()
            }

            fn delete(conn: &mut $crate::db::Conn, id: ::uuid::Uuid) -> QueryResult<()> {
                let row = $table::table.find($crate::db::Id(id));
                ::diesel::delete(row).execute(conn).map(drop)
            }
        }
    };
}

pub(crate) use table_row;
