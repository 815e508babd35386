-- Claims go round the clients that wait, and within a client short texts go before
-- long ones. The length comes first in the index, so that the clients with jobs of one
-- length are found by one seek each.

ALTER TABLE speeches ADD COLUMN is_long BOOLEAN NOT NULL DEFAULT 0; -- tts::job::LONG_BYTES or more
UPDATE speeches SET is_long = 1 WHERE text_bytes >= 800 AND status IN ('checking', 'queued', 'synthesizing');
DROP INDEX speeches_queued;
CREATE INDEX speeches_queued ON speeches (is_long, client, created_at, id) WHERE status = 'queued' AND not_before IS NULL;

-- The youngest short jobs of a client that were claimed while an older long one of
-- its own waited, ten at most: a long job that is older than ten of them is due.
CREATE TABLE overtakes (
    client     TEXT   NOT NULL,
    created_at BIGINT NOT NULL,
    id         BLOB   NOT NULL,
    PRIMARY KEY (client, created_at, id)
) WITHOUT ROWID;
