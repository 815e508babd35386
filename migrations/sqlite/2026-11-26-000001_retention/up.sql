-- What has ended, by when: with a file to remove, or without one and to be
-- forgotten. A row is in one of the two, so that an end costs one entry.

CREATE INDEX speeches_files_by_end ON speeches (ended_at) WHERE file IS NOT NULL;
CREATE INDEX speeches_bare_by_end ON speeches (ended_at) WHERE file IS NULL AND ended_at IS NOT NULL;
CREATE INDEX tasks_files_by_end ON tasks (ended_at) WHERE file IS NOT NULL;
CREATE INDEX tasks_bare_by_end ON tasks (ended_at) WHERE file IS NULL AND ended_at IS NOT NULL;
