-- What an operator is told: each row is the subject of one delivery. What its
-- attempts leave in `events` has the type 'alert', which no feed shows.

CREATE TABLE alerts (
    id         BLOB   PRIMARY KEY NOT NULL,
    type       TEXT   NOT NULL,
    created_at BIGINT NOT NULL,
    body       TEXT   NOT NULL                  -- JSON of contract::Alert
);
CREATE INDEX alerts_by_age ON alerts (created_at);
-- Deliveries that were given up, in the order of their commits.
CREATE INDEX events_exhausted ON events (id) WHERE to_status = 'exhausted' AND type <> 'alert';
