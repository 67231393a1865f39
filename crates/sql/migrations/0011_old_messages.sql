CREATE INDEX messages_expires_at ON messages (expires_at);
