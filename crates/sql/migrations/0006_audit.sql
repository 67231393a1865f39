-- Who did what, and who was refused what and why. Rows are added, and go when their time is over; none is changed.
CREATE TABLE audit (
    -- Begins with the time, so that the order of ids is that of what happened.
    id         TEXT PRIMARY KEY,
    at         BIGINT NOT NULL,
    what       TEXT NOT NULL,
    outcome    TEXT NOT NULL,
    refused    BIGINT NOT NULL,
    account    BIGINT,
    identifier TEXT,
    audience   TEXT,
    address    TEXT,
    request    TEXT,
    -- How often the same happened at about the same time.
    times      BIGINT NOT NULL
);
CREATE INDEX audit_account ON audit (account, id);
CREATE INDEX audit_at ON audit (at);
