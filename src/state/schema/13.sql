-- The ids of the users of the API keys. They were stored among the readings of probes.

CREATE TABLE key_users (
    user_id TEXT PRIMARY KEY
) STRICT, WITHOUT ROWID;

INSERT INTO key_users
    SELECT DISTINCT users.value FROM readings, json_each(readings.value) AS users WHERE name = 'key_users';
DELETE FROM readings WHERE name = 'key_users';
