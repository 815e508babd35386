DROP INDEX speeches_postponed;
DROP INDEX speeches_queued;
ALTER TABLE speeches DROP COLUMN postponed;
ALTER TABLE speeches DROP COLUMN not_before;
CREATE INDEX speeches_queued ON speeches (created_at, id) WHERE status = 'queued';
