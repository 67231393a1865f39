-- What is old is looked for once a minute, and not among all the rest. One table at a time: a node that serves meanwhile locks them in
-- another order.
CREATE INDEX links_expires_at ON links (expires_at);
