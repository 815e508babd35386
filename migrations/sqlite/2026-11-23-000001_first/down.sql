DROP TABLE events;
DROP TABLE deliveries;
DROP TABLE tasks;
DROP TABLE speeches;
DROP TABLE meta;
