DELETE FROM deliveries WHERE subject_id IN (SELECT id FROM alerts);
DELETE FROM events WHERE type = 'alert';
DELETE FROM meta WHERE key = 'alerts';
DROP INDEX events_exhausted;
DROP TABLE alerts;
