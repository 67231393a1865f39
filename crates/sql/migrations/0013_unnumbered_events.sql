-- By IS NULL, SQLite would rather take the index of numbers, and sort all events that have none. An older node does so from now on.
DROP INDEX session_events_unnumbered;
CREATE INDEX session_events_unnumbered ON session_events (at, id) WHERE COALESCE(sequence, 0) = 0;
