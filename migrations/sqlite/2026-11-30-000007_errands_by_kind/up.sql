-- Errands are claimed by kind, and hand-overs client by client, so that nobody's
-- have to be read over to find another's.

DROP INDEX tasks_errands_due;
CREATE INDEX tasks_hand_overs_due ON tasks (client, errand_due_at) WHERE errand = 'hand_over';
CREATE INDEX tasks_fetches_due ON tasks (errand_due_at) WHERE errand = 'fetch';
CREATE INDEX tasks_abandons_due ON tasks (errand_due_at) WHERE errand = 'abandon';
-- What waits until the old speech of its id is erased has no errand_due_at till then.
UPDATE tasks SET errand_due_at = NULL WHERE id IN (SELECT id FROM erasures);
