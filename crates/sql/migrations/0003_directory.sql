-- Which region has an identifier (its keyed hash), where regions are databases of their own. Written in one of them only; the others have
-- copies by logical replication.
CREATE TABLE directory (
    identifier TEXT PRIMARY KEY,
    region     TEXT NOT NULL,
    claimed_at BIGINT NOT NULL
);
