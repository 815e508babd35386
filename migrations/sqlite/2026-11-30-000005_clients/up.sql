-- Whose work it is: the name of the API key that it came with; empty where no key
-- was asked for, and for what is older than names of keys.

ALTER TABLE speeches RENAME COLUMN owner TO leased_by; -- the boot that holds the lease
ALTER TABLE speeches ADD COLUMN client TEXT NOT NULL DEFAULT '';
ALTER TABLE tasks ADD COLUMN client TEXT NOT NULL DEFAULT '';
ALTER TABLE deliveries ADD COLUMN client TEXT NOT NULL DEFAULT ''; -- its subject's
