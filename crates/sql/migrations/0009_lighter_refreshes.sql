-- Whoever refreshes changes as few pages as can be. A session's tokens are found by the first 16 digits of their hashes: an index of whole
-- hashes has three times as many pages on which the old entry and the new one may be. A spent token stays until it would have expired, also
-- when its session has ended: so it needs no index by session, each entry of which is on another page. The tables are made anew, for
-- that is how a constraint is dropped. Older versions find nothing by the new indexes.
UPDATE settings SET value = '9' WHERE name = 'needs_migration';
DROP INDEX sessions_audience;
DROP INDEX spent_tokens_session_expires_at;
ALTER TABLE spent_tokens RENAME TO old_spent_tokens;
ALTER TABLE sessions RENAME TO old_sessions;

CREATE TABLE sessions (
    account            BIGINT NOT NULL REFERENCES accounts (number),
    audience_kind      TEXT NOT NULL,
    audience           TEXT NOT NULL,
    id                 TEXT NOT NULL UNIQUE,
    access_hash        TEXT NOT NULL,
    access_expires_at  BIGINT NOT NULL,
    refresh_hash       TEXT NOT NULL,
    refresh_expires_at BIGINT NOT NULL,
    created_at         BIGINT NOT NULL,
    address            TEXT NOT NULL,
    app_version        TEXT,
    os                 TEXT,
    access_issued_at   BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (account, audience_kind, audience)
);
INSERT INTO sessions (account, audience_kind, audience, id, access_hash, access_expires_at, refresh_hash, refresh_expires_at, created_at,
    address, app_version, os, access_issued_at)
SELECT account, audience_kind, audience, id, access_hash, access_expires_at, refresh_hash, refresh_expires_at, created_at, address,
    app_version, os, access_issued_at FROM old_sessions;

CREATE TABLE spent_tokens (
    hash       TEXT PRIMARY KEY,
    session    TEXT NOT NULL,
    access     TEXT NOT NULL,
    successor  TEXT NOT NULL,
    salt       TEXT NOT NULL,
    spent_at   BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);
INSERT INTO spent_tokens (hash, session, access, successor, salt, spent_at, expires_at)
SELECT hash, session, access, successor, salt, spent_at, expires_at FROM old_spent_tokens;

DROP TABLE old_spent_tokens;
DROP TABLE old_sessions;
CREATE INDEX sessions_audience ON sessions (audience_kind, audience);
CREATE UNIQUE INDEX sessions_access_hash ON sessions (SUBSTR(access_hash, 1, 16));
CREATE UNIQUE INDEX sessions_refresh_hash ON sessions (SUBSTR(refresh_hash, 1, 16));
CREATE INDEX spent_tokens_expires_at ON spent_tokens (expires_at);
