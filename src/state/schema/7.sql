-- What runs have observed in Omni, for later runs. Each user has one row.

CREATE TABLE observation (
    id               INTEGER PRIMARY KEY CHECK (id = 1),
    observed         INTEGER NOT NULL,
    definitions      TEXT NOT NULL, -- JSON; null: Omni does not show them
    definitions_read INTEGER NOT NULL,
    summary          TEXT NOT NULL, -- JSON
    listing_started  INTEGER, -- of a listing that takes several runs
    listing_next     INTEGER, -- the user with which it goes on
    last_change      INTEGER NOT NULL -- later changes are not in the observation
) STRICT;

CREATE TABLE observed_users (
    email_key TEXT PRIMARY KEY,
    email     TEXT NOT NULL,
    users     INTEGER, -- with this email; NULL: to be looked up
    user_id   TEXT,
    user      TEXT, -- JSON of a single user
    seen      INTEGER, -- if after the observation as a whole
    verified  INTEGER -- when it was last read by its id
) STRICT, WITHOUT ROWID;
