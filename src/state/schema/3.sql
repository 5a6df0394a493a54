-- Where the roster lies: a share that is not mounted shows what lies below its mount point.

CREATE TABLE roster_places (
    path        BLOB PRIMARY KEY,
    mount_point BLOB NOT NULL,
    kind        TEXT NOT NULL,
    is_share    INTEGER NOT NULL
) STRICT;

-- The places that runs refused. An approval of the run accepts the place.
CREATE TABLE refused_places (
    run         INTEGER PRIMARY KEY REFERENCES runs (number) ON DELETE CASCADE,
    path        BLOB NOT NULL,
    mount_point BLOB NOT NULL,
    kind        TEXT NOT NULL,
    is_share    INTEGER NOT NULL
) STRICT;

CREATE TABLE place_approvals (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    run         INTEGER NOT NULL REFERENCES runs (number) ON DELETE CASCADE,
    approved_by TEXT NOT NULL,
    approved    INTEGER NOT NULL
) STRICT;
