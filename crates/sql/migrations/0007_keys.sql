-- Master keys that are not in force any more, sealed under the one that is: verifiers are peppered by them until their owners' next login.
CREATE TABLE former_keys (
    fingerprint TEXT PRIMARY KEY,
    sealed      TEXT NOT NULL,
    retired_at  BIGINT NOT NULL
);
