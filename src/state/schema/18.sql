-- The groups that runs have observed.

ALTER TABLE observation ADD COLUMN groups_read INTEGER; -- NULL: there is no list of groups
ALTER TABLE observation ADD COLUMN groups_refused INTEGER; -- the status with which Omni refused it
ALTER TABLE observation ADD COLUMN users_show_groups INTEGER NOT NULL DEFAULT 0;

CREATE TABLE observed_groups (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    members_known INTEGER NOT NULL
) STRICT;

-- Users that are members, also those that no list of users shows.
CREATE TABLE group_users (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE
) STRICT;

-- By numbers, because an organisation may have millions of memberships.
CREATE TABLE observed_members (
    group_number INTEGER NOT NULL,
    user_number INTEGER NOT NULL,
    PRIMARY KEY (group_number, user_number)
) STRICT, WITHOUT ROWID;
