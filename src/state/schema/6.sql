-- What `check --probe` has learned of how this organisation answers, and the user that a probe has not deleted yet.

CREATE TABLE readings (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL, -- JSON
    learned INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE probe_user (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    email TEXT NOT NULL,
    display_name TEXT NOT NULL, -- unique to the probe
    user_id TEXT -- NULL until Omni has answered
) STRICT;
