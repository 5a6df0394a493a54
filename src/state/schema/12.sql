-- Whether the daemon is paused. Times are milliseconds.

CREATE TABLE pause (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    since INTEGER NOT NULL,
    until INTEGER,
    paused_by TEXT NOT NULL
) STRICT;
