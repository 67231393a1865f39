-- Whoever refreshes forgets those of its session that have expired, and is not to look at all the others for that.
CREATE INDEX spent_tokens_session_expires_at ON spent_tokens (session, expires_at);
DROP INDEX spent_tokens_session;
