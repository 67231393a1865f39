CREATE INDEX addressees_sent_at ON addressees (sent_at);
