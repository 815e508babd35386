DROP TABLE overtakes;
DELETE FROM meta WHERE key IN ('last_turn', 'last_short_turn');
DROP INDEX speeches_queued;
CREATE INDEX speeches_queued ON speeches (created_at, id) WHERE status = 'queued' AND not_before IS NULL;
ALTER TABLE speeches DROP COLUMN is_long;
