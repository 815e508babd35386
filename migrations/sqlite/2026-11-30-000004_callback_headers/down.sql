DROP INDEX speeches_checking;
CREATE INDEX speeches_checking ON speeches (callback_origin, callback_url, created_at) WHERE status = 'checking';
ALTER TABLE speeches DROP COLUMN callback_target;
