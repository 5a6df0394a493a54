-- Removed users are remembered for good, as digests (BLAKE3) of their emails, so that a row that removes
-- a user who is gone is told apart from a misspelt one.

CREATE TABLE removed (
    email_digest BLOB PRIMARY KEY
) STRICT, WITHOUT ROWID;
INSERT INTO removed
    SELECT DISTINCT email_digest(email_key) FROM changes
    WHERE operation IN ('delete', 'deactivate') AND outcome = 'applied';
