-- The groups that runs created. An approval of a change of a group that did not exist yet is for this one.

CREATE TABLE created_groups (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    run INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE
) STRICT, WITHOUT ROWID;
CREATE INDEX created_groups_by_run ON created_groups (run);
