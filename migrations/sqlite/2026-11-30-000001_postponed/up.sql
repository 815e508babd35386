-- A job that no engine can be opened for waits by itself: no claim takes it while it
-- has a `not_before`, and each wait is longer than the one before.

ALTER TABLE speeches ADD COLUMN not_before BIGINT;
ALTER TABLE speeches ADD COLUMN postponed INTEGER NOT NULL DEFAULT 0; -- how often
DROP INDEX speeches_queued;
CREATE INDEX speeches_queued ON speeches (created_at, id) WHERE status = 'queued' AND not_before IS NULL;
CREATE INDEX speeches_postponed ON speeches (not_before) WHERE status = 'queued' AND not_before IS NOT NULL;
