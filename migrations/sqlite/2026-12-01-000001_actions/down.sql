ALTER TABLE tasks RENAME COLUMN action TO errand;
ALTER TABLE tasks RENAME COLUMN action_due_at TO errand_due_at;
ALTER TABLE tasks RENAME COLUMN action_until TO errand_until;
ALTER TABLE tasks RENAME COLUMN action_attempt TO errand_attempt;
