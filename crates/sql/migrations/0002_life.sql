-- What devices and gateways report of themselves.
ALTER TABLE devices ADD COLUMN name TEXT;
ALTER TABLE devices ADD COLUMN facts TEXT NOT NULL DEFAULT '{}';
ALTER TABLE gateways ADD COLUMN ptop_uid TEXT;
ALTER TABLE gateways ADD COLUMN wifi_mac TEXT;
ALTER TABLE gateways ADD COLUMN bluetooth_mac TEXT;
ALTER TABLE gateways ADD COLUMN random_code TEXT;
ALTER TABLE gateways ADD COLUMN name TEXT;
ALTER TABLE gateways ADD COLUMN connect_method TEXT;
ALTER TABLE gateways ADD COLUMN facts TEXT NOT NULL DEFAULT '{}';
CREATE UNIQUE INDEX gateways_ptop_uid ON gateways (ptop_uid);
CREATE UNIQUE INDEX gateways_wifi_mac ON gateways (wifi_mac);
CREATE UNIQUE INDEX gateways_bluetooth_mac ON gateways (bluetooth_mac);
-- Many have the factory's default.
CREATE UNIQUE INDEX gateways_random_code ON gateways (random_code) WHERE random_code <> 'RD000000';

-- Refresh tokens that were used: they go with their session.
CREATE TABLE spent_tokens (
    hash       TEXT PRIMARY KEY,
    session    TEXT NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    access     TEXT NOT NULL,
    successor  TEXT NOT NULL,
    salt       TEXT NOT NULL,
    spent_at   BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX spent_tokens_session ON spent_tokens (session);

-- The newest code for each purpose and address.
CREATE TABLE codes (
    purpose    TEXT NOT NULL,
    address    TEXT NOT NULL,
    hash       TEXT NOT NULL,
    expires_at BIGINT NOT NULL,
    tries      BIGINT NOT NULL,
    used       BIGINT NOT NULL,
    PRIMARY KEY (purpose, address)
);
CREATE INDEX codes_expires_at ON codes (expires_at);

-- The newest link of each account for each purpose.
CREATE TABLE links (
    account    BIGINT NOT NULL REFERENCES accounts (number) ON DELETE CASCADE,
    purpose    TEXT NOT NULL,
    hash       TEXT NOT NULL UNIQUE,
    expires_at BIGINT NOT NULL,
    used       BIGINT NOT NULL,
    PRIMARY KEY (account, purpose)
);

-- Messages that wait to be delivered, or were given up (due_at is NULL).
CREATE TABLE messages (
    id         TEXT PRIMARY KEY,
    subject    TEXT NOT NULL,
    sealed     TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    due_at     BIGINT,
    attempts   BIGINT NOT NULL,
    last_error TEXT
);
CREATE INDEX messages_due_at ON messages (due_at);
CREATE INDEX messages_subject ON messages (subject);

-- Each address that was written to: whoever writes to it holds its row meanwhile, so that the limits count every message.
CREATE TABLE addressees (
    address TEXT PRIMARY KEY,
    sent_at BIGINT NOT NULL
);
CREATE TABLE sendings (
    id      TEXT PRIMARY KEY,
    address TEXT NOT NULL,
    sent_at BIGINT NOT NULL
);
CREATE INDEX sendings_address ON sendings (address, sent_at);
CREATE INDEX sendings_sent_at ON sendings (sent_at);

-- How far each file was imported.
CREATE TABLE imports (
    source TEXT PRIMARY KEY,
    line   BIGINT NOT NULL
);
