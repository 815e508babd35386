UPDATE tasks SET errand_due_at = 0 WHERE errand IS NOT NULL AND errand_due_at IS NULL;
DROP INDEX tasks_abandons_due;
DROP INDEX tasks_fetches_due;
DROP INDEX tasks_hand_overs_due;
CREATE INDEX tasks_errands_due ON tasks (errand_due_at) WHERE errand IS NOT NULL;
