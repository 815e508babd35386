ALTER TABLE deliveries DROP COLUMN client;
ALTER TABLE tasks DROP COLUMN client;
ALTER TABLE speeches DROP COLUMN client;
ALTER TABLE speeches RENAME COLUMN leased_by TO owner;
