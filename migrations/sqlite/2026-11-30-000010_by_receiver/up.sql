-- What is due to one receiver of one client, and what one client waits to have checked,
-- is found by a seek, whatever else is due.

CREATE INDEX deliveries_due_first_to ON deliveries (client, origin, next_attempt_at) WHERE status = 'pending' AND attempt = 0;
CREATE INDEX deliveries_due_again_to ON deliveries (client, origin, next_attempt_at) WHERE status = 'pending' AND attempt > 0;
CREATE INDEX speeches_checking_by_client ON speeches (client, callback_origin, callback_target) WHERE status = 'checking';
