-- When the access token was made.
ALTER TABLE sessions ADD COLUMN access_issued_at BIGINT NOT NULL DEFAULT 0;
UPDATE sessions SET access_issued_at = created_at;

-- Who may ask about tokens.
CREATE TABLE resource_servers (
    id             TEXT PRIMARY KEY,
    name           TEXT NOT NULL,
    secret_hash    TEXT NOT NULL,
    -- The secret before it, while it is still good.
    previous_hash  TEXT,
    previous_until BIGINT,
    enabled        BIGINT NOT NULL,
    created_at     BIGINT NOT NULL
);

-- What became of sessions. A row is numbered after it was committed, so that the numbers follow one another without a gap and none
-- appears behind a later one.
CREATE TABLE session_events (
    id            TEXT PRIMARY KEY,
    sequence      BIGINT UNIQUE,
    at            BIGINT NOT NULL,
    what          TEXT NOT NULL,
    session       TEXT NOT NULL,
    account       BIGINT NOT NULL,
    account_id    TEXT NOT NULL,
    apikey        TEXT NOT NULL,
    audience_kind TEXT NOT NULL,
    audience      TEXT NOT NULL
);
CREATE INDEX session_events_unnumbered ON session_events (at) WHERE sequence IS NULL;
CREATE INDEX session_events_at ON session_events (at);
INSERT INTO counters (name, value) VALUES ('session_events', 0);
