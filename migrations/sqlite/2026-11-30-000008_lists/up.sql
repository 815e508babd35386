-- Lists are read along an index in their own order, newest first: of one client, of one
-- status that is rare, of one failure, of one reference or subject. Only what stays
-- rare is kept by status, so that what has ended well leaves nothing behind.

CREATE INDEX speeches_by_client ON speeches (client, created_at, id);
CREATE INDEX speeches_by_status ON speeches (status, created_at, id, client) WHERE status <> 'completed';
CREATE INDEX speeches_by_error ON speeches (error_code, created_at, id, client) WHERE error_code IS NOT NULL;
DROP INDEX speeches_by_reference;
CREATE INDEX speeches_by_reference ON speeches (reference, created_at, id) WHERE reference IS NOT NULL;

CREATE INDEX tasks_by_client ON tasks (client, created_at, id);
CREATE INDEX tasks_by_status ON tasks (status, created_at, id, client) WHERE status <> 'completed';
CREATE INDEX tasks_by_error ON tasks (error_code, created_at, id, client) WHERE error_code IS NOT NULL;
DROP INDEX tasks_by_reference;
CREATE INDEX tasks_by_reference ON tasks (reference, created_at, id) WHERE reference IS NOT NULL;

CREATE INDEX deliveries_by_age ON deliveries (created_at, id);
CREATE INDEX deliveries_by_client ON deliveries (client, created_at, id);
CREATE INDEX deliveries_by_status ON deliveries (status, created_at, id, client) WHERE status <> 'delivered';
DROP INDEX deliveries_by_subject;
CREATE INDEX deliveries_by_subject ON deliveries (subject_id, created_at, id);
