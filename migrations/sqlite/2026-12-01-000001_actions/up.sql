-- What a task has to have done next is its action.
ALTER TABLE tasks RENAME COLUMN errand TO action;
ALTER TABLE tasks RENAME COLUMN errand_due_at TO action_due_at;
ALTER TABLE tasks RENAME COLUMN errand_until TO action_until;
ALTER TABLE tasks RENAME COLUMN errand_attempt TO action_attempt;
