ALTER TABLE events RENAME TO events_after;
DROP INDEX events_by_subject;
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
    attempt     TEXT
);
INSERT INTO events SELECT * FROM events_after;
DROP TABLE events_after;
DELETE FROM meta WHERE key = 'last_event';
CREATE INDEX events_by_subject ON events (subject_id, id);
