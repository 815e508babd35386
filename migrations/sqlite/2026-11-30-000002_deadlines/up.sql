-- Deadlines hold until a speech has ended, also while it is spoken: one index for
-- all that is open, whose entry a claim need not touch.

DROP INDEX speeches_waiting_by_deadline;
CREATE INDEX speeches_open_by_deadline ON speeches (deadline_at) WHERE status IN ('checking', 'queued', 'synthesizing');
