-- Where guesses at passwords, codes and tokens are counted. A subject's lanes are its own and those of each place where it was let in;
-- a source's lane is its own subject.
CREATE TABLE lanes (
    lane         TEXT PRIMARY KEY,
    subject      TEXT NOT NULL,
    failures     BIGINT NOT NULL,
    failed_at    BIGINT NOT NULL,
    paused_until BIGINT NOT NULL,
    day_until    BIGINT NOT NULL,
    -- Since when somebody who was let in has this lane.
    known_at     BIGINT,
    -- When the row is of no more use.
    forget_at    BIGINT NOT NULL
);
CREATE INDEX lanes_subject ON lanes (subject);
CREATE INDEX lanes_forget_at ON lanes (forget_at);
