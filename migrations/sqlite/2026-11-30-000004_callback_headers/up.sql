-- A receiver is checked with the headers that its jobs send, so jobs share a
-- check if they send the same: the target is callback_url, and behind a `#` the
-- digest of callback_headers, where there are any. Set while a job is checking.

ALTER TABLE speeches ADD COLUMN callback_target TEXT;
UPDATE speeches SET callback_target = callback_url WHERE status = 'checking';
DROP INDEX speeches_checking;
CREATE INDEX speeches_checking ON speeches (callback_origin, callback_target, created_at) WHERE status = 'checking';
