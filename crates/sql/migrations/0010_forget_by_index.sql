-- What is old is looked for once a minute, and not among all the rest.
CREATE INDEX links_expires_at ON links (expires_at);
CREATE INDEX messages_expires_at ON messages (expires_at);
CREATE INDEX addressees_sent_at ON addressees (sent_at);
-- By IS NULL, SQLite would rather take the index of numbers, and sort all events that have none.
DROP INDEX session_events_unnumbered;
CREATE INDEX session_events_unnumbered ON session_events (at, id) WHERE COALESCE(sequence, 0) = 0;
