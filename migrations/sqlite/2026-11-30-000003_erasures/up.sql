-- Tasks that are erased here and whose speeches the TTS service is still to
-- erase. Such a line outlives its task, and a kill.

CREATE TABLE erasures (
    id      BLOB    PRIMARY KEY NOT NULL,       -- the task's, and so its speech's
    asked   BOOLEAN NOT NULL,                   -- by a client; else the task was old
    due_at  BIGINT  NOT NULL,
    until   BIGINT  NOT NULL,                   -- when it is given up
    attempt INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX erasures_due ON erasures (due_at);
