-- The users of each API key, which is named by a short hash; NULL if Omni names none. Former rows name no key, so the
-- keys are asked about once more.

DROP TABLE key_users;
CREATE TABLE key_users (
    key TEXT NOT NULL,
    user_id TEXT
) STRICT;
