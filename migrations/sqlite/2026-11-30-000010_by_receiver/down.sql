DROP INDEX speeches_checking_by_client;
DROP INDEX deliveries_due_again_to;
DROP INDEX deliveries_due_first_to;
