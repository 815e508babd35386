-- The writer gives events their ids, and keeps the highest when it erases some:
-- AUTOINCREMENT would cost a write to a table of SQLite's own for each event.

ALTER TABLE events RENAME TO events_before;
DROP INDEX events_by_subject;
CREATE TABLE events (
    id          INTEGER PRIMARY KEY NOT NULL,
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
INSERT INTO events SELECT * FROM events_before;
INSERT OR REPLACE INTO meta (key, value)
    SELECT 'last_event', CAST(seq AS TEXT) FROM sqlite_sequence WHERE name = 'events_before';
DROP TABLE events_before;
CREATE INDEX events_by_subject ON events (subject_id, id);
