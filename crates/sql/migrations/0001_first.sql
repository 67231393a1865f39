-- One text for every engine: BIGINT and TEXT only. Times are milliseconds since 1970, flags 0 or 1.

CREATE TABLE settings (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
);
-- A version that does not know this migration cannot use the database. Raised by a migration that breaks the versions before it.
INSERT INTO settings (name, value) VALUES ('needs_migration', '1');

CREATE TABLE counters (
    name  TEXT PRIMARY KEY,
    value BIGINT NOT NULL
);
INSERT INTO counters (name, value) VALUES ('account', 0);

CREATE TABLE applications (
    id         TEXT PRIMARY KEY,
    name       TEXT NOT NULL,
    secret     TEXT NOT NULL,
    profile    TEXT NOT NULL,
    enabled    BIGINT NOT NULL,
    created_at BIGINT NOT NULL
);

CREATE TABLE accounts (
    number              BIGINT PRIMARY KEY,
    id                  TEXT NOT NULL UNIQUE,
    apikey              TEXT NOT NULL UNIQUE,
    region              TEXT NOT NULL,
    user_name           TEXT UNIQUE,
    email               TEXT UNIQUE,
    phone               TEXT UNIQUE,
    verifier            TEXT NOT NULL,
    -- NULL: activated.
    activation_deadline BIGINT,
    enabled             BIGINT NOT NULL,
    display_name        TEXT,
    language            TEXT,
    birthday            TEXT,
    address             TEXT,
    country             TEXT,
    groups              TEXT,
    registered_at       BIGINT NOT NULL,
    last_login_at       BIGINT,
    revision            BIGINT NOT NULL
);

CREATE TABLE devices (
    serial        TEXT PRIMARY KEY,
    guid          TEXT NOT NULL UNIQUE,
    kind          TEXT NOT NULL,
    app_version   TEXT,
    registered_at BIGINT NOT NULL
);

CREATE TABLE gateways (
    serial          TEXT PRIMARY KEY,
    guid            TEXT NOT NULL UNIQUE,
    kind            TEXT NOT NULL,
    min_app_version TEXT,
    account         BIGINT REFERENCES accounts (number),
    registered_at   BIGINT NOT NULL
);
CREATE INDEX gateways_account ON gateways (account);

-- At most one session for an account at an audience.
CREATE TABLE sessions (
    account            BIGINT NOT NULL REFERENCES accounts (number),
    audience_kind      TEXT NOT NULL,
    audience           TEXT NOT NULL,
    id                 TEXT NOT NULL UNIQUE,
    access_hash        TEXT NOT NULL UNIQUE,
    access_expires_at  BIGINT NOT NULL,
    refresh_hash       TEXT NOT NULL UNIQUE,
    refresh_expires_at BIGINT NOT NULL,
    created_at         BIGINT NOT NULL,
    address            TEXT NOT NULL,
    app_version        TEXT,
    os                 TEXT,
    PRIMARY KEY (account, audience_kind, audience)
);
CREATE INDEX sessions_audience ON sessions (audience_kind, audience);

-- What may reach the password check only once.
CREATE TABLE nonces (
    audience_kind TEXT NOT NULL,
    audience      TEXT NOT NULL,
    nonce         TEXT NOT NULL,
    expires_at    BIGINT NOT NULL,
    PRIMARY KEY (audience_kind, audience, nonce)
);
CREATE INDEX nonces_expires_at ON nonces (expires_at);
