DROP INDEX deliveries_by_subject;
CREATE INDEX deliveries_by_subject ON deliveries (subject_id);
DROP INDEX deliveries_by_status;
DROP INDEX deliveries_by_client;
DROP INDEX deliveries_by_age;

DROP INDEX tasks_by_reference;
CREATE INDEX tasks_by_reference ON tasks (reference) WHERE reference IS NOT NULL;
DROP INDEX tasks_by_error;
DROP INDEX tasks_by_status;
DROP INDEX tasks_by_client;

DROP INDEX speeches_by_reference;
CREATE INDEX speeches_by_reference ON speeches (reference) WHERE reference IS NOT NULL;
DROP INDEX speeches_by_error;
DROP INDEX speeches_by_status;
DROP INDEX speeches_by_client;
