-- One schema for both services: each has a file of its own and fills its half.
-- Ids are the 16 bytes of a UUID, times are epoch milliseconds.

CREATE TABLE meta (
    key   TEXT PRIMARY KEY NOT NULL,
    value TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE speeches (
    id              BLOB    PRIMARY KEY NOT NULL,
    status          TEXT    NOT NULL,
    idempotency_key TEXT,
    fingerprint     BLOB    NOT NULL,
    reference       TEXT,
    request         TEXT    NOT NULL,           -- JSON of contract::Create without its text
    resolved_voice  TEXT    NOT NULL,
    language        TEXT    NOT NULL,
    characters      INTEGER NOT NULL,
    text_bytes      BIGINT  NOT NULL,
    callback_url    TEXT,
    callback_origin TEXT,
    callback_check  TEXT    NOT NULL,
    created_at      BIGINT  NOT NULL,
    deadline_at     BIGINT  NOT NULL,
    started_at      BIGINT,
    ended_at        BIGINT,
    attempt         INTEGER NOT NULL DEFAULT 0, -- crashes and overruns
    claim           INTEGER NOT NULL DEFAULT 0, -- only ever grows; fences every later write
    owner           BLOB,                       -- the boot that holds the lease
    lost_leases     INTEGER NOT NULL DEFAULT 0,
    error_code      TEXT,
    error           TEXT,                       -- JSON of contract::Failure
    file            TEXT,                       -- key in the file store
    audio           TEXT,                       -- JSON of contract::Audio without links
    text            TEXT    NOT NULL,           -- long columns last
    words           TEXT                        -- JSON of the word times
);
CREATE UNIQUE INDEX speeches_by_key ON speeches (idempotency_key) WHERE idempotency_key IS NOT NULL;
CREATE INDEX speeches_queued ON speeches (created_at, id) WHERE status = 'queued';
CREATE INDEX speeches_waiting_by_deadline ON speeches (deadline_at) WHERE status IN ('checking', 'queued');
CREATE INDEX speeches_checking ON speeches (callback_origin, callback_url, created_at) WHERE status = 'checking';
CREATE INDEX speeches_checking_by_age ON speeches (created_at) WHERE status = 'checking';
CREATE INDEX speeches_leased ON speeches (owner) WHERE status = 'synthesizing';
CREATE INDEX speeches_by_age ON speeches (created_at, id);
CREATE INDEX speeches_by_reference ON speeches (reference) WHERE reference IS NOT NULL;

CREATE TABLE tasks (
    id              BLOB    PRIMARY KEY NOT NULL,
    status          TEXT    NOT NULL,
    idempotency_key TEXT,
    fingerprint     BLOB    NOT NULL,
    reference       TEXT,
    request         TEXT    NOT NULL,           -- JSON of contract::Create without its text
    resolved_voice  TEXT,
    language        TEXT,
    characters      INTEGER NOT NULL,
    text_bytes      BIGINT  NOT NULL,
    callback_url    TEXT,
    report_to       TEXT    NOT NULL,           -- the callback_url that the hand-over carries
    created_at      BIGINT  NOT NULL,
    deadline_at     BIGINT  NOT NULL,
    pull_at         BIGINT  NOT NULL,
    started_at      BIGINT,
    ended_at        BIGINT,
    errand          TEXT,                       -- the one outgoing call owed now
    errand_due_at   BIGINT,
    errand_until    BIGINT,                     -- when the errand is given up
    errand_attempt  INTEGER NOT NULL DEFAULT 0,
    hand_overs      INTEGER NOT NULL DEFAULT 0,
    error_code      TEXT,
    error           TEXT,                       -- JSON of contract::Failure
    result          TEXT,                       -- JSON of the contract::Audio that is to be fetched
    retry_of        BLOB,
    retried_as      BLOB,
    file            TEXT,                       -- key in the file store
    audio           TEXT,                       -- JSON of contract::Audio without links
    text            TEXT    NOT NULL,           -- long columns last
    words           TEXT                        -- JSON of the word times
);
CREATE UNIQUE INDEX tasks_by_key ON tasks (idempotency_key) WHERE idempotency_key IS NOT NULL;
CREATE INDEX tasks_errands_due ON tasks (errand_due_at) WHERE errand IS NOT NULL;
CREATE INDEX tasks_open_by_deadline ON tasks (deadline_at) WHERE status IN ('queued', 'in_progress');
CREATE INDEX tasks_open_by_pull ON tasks (pull_at) WHERE status IN ('queued', 'in_progress');
CREATE INDEX tasks_by_age ON tasks (created_at, id);
CREATE INDEX tasks_by_reference ON tasks (reference) WHERE reference IS NOT NULL;

CREATE TABLE deliveries (
    id              BLOB    PRIMARY KEY NOT NULL,
    subject_id      BLOB    NOT NULL,           -- the speech or the task it tells of
    type            TEXT    NOT NULL,
    url             TEXT    NOT NULL,
    origin          TEXT    NOT NULL,
    status          TEXT    NOT NULL,
    round           INTEGER NOT NULL DEFAULT 1,
    attempt         INTEGER NOT NULL DEFAULT 0, -- within this round
    attempts        INTEGER NOT NULL DEFAULT 0, -- of all rounds
    next_attempt_at BIGINT,
    created_at      BIGINT  NOT NULL,
    ended_at        BIGINT
);
CREATE INDEX deliveries_due_first ON deliveries (next_attempt_at) WHERE status = 'pending' AND attempt = 0;
CREATE INDEX deliveries_due_again ON deliveries (next_attempt_at) WHERE status = 'pending' AND attempt > 0;
CREATE INDEX deliveries_by_subject ON deliveries (subject_id);

-- History, attempt log and feed at once; only ever appended to.
CREATE TABLE events (
    id          INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
    at          BIGINT  NOT NULL,
    type        TEXT    NOT NULL,
    subject_id  BLOB    NOT NULL,
    delivery_id BLOB,
    from_status TEXT,
    to_status   TEXT,
    reason      TEXT,
    by          TEXT,
    attempt     TEXT                            -- JSON of contract::DeliveryAttempt
);
CREATE INDEX events_by_subject ON events (subject_id, id);
