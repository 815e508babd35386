DROP INDEX speeches_open_by_deadline;
CREATE INDEX speeches_waiting_by_deadline ON speeches (deadline_at) WHERE status IN ('checking', 'queued');
