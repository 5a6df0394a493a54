-- Roles on connections and models.

ALTER TABLE changes ADD COLUMN role TEXT; -- JSON; NULL: no assignment of a role
ALTER TABLE changes ADD COLUMN role_scope TEXT; -- the ids of its connection and model
ALTER TABLE set_changes ADD COLUMN role TEXT;
ALTER TABLE approved_changes ADD COLUMN role TEXT;
ALTER TABLE approved_changes ADD COLUMN role_scope TEXT;

DROP VIEW run_changes;
CREATE VIEW run_changes AS
    SELECT id, run, intended, email_key, email, user_id, operation, group_id, group_name, role, fields, approved,
        settled, outcome, detail, 0 AS is_planned
    FROM changes
    UNION ALL
    SELECT set_changes.rowid, number, started, email_key, email, user_id, operation, group_id, group_name, role, fields,
        0, NULL, 'planned', NULL, 1
    FROM runs JOIN set_changes ON change_set = planned_set;

ALTER TABLE runs ADD COLUMN planned_assign INTEGER;
ALTER TABLE runs ADD COLUMN pending_assign INTEGER;
UPDATE runs SET planned_assign = 0 WHERE planned_update IS NOT NULL;
UPDATE runs SET pending_assign = 0 WHERE pending_update IS NOT NULL;

CREATE TABLE quarantine_by_scope (
    email_key TEXT NOT NULL, -- empty: a group
    group_name TEXT NOT NULL, -- empty: the user
    role_scope TEXT NOT NULL, -- empty: no role
    email TEXT NOT NULL,
    until INTEGER NOT NULL,
    failures INTEGER NOT NULL,
    undone INTEGER NOT NULL, -- how many runs running found the change undone
    fingerprint BLOB NOT NULL,
    reason TEXT NOT NULL,
    PRIMARY KEY (email_key, group_name, role_scope)
) STRICT, WITHOUT ROWID;
INSERT INTO quarantine_by_scope
    SELECT email_key, group_name, '', email, until, failures, 0, fingerprint, reason FROM quarantine;
DROP TABLE quarantine;
ALTER TABLE quarantine_by_scope RENAME TO quarantine;

-- The rows of source.roles that the last accepted roster stated.
CREATE TABLE stated_roles (
    subject_key TEXT NOT NULL,
    role_scope TEXT NOT NULL,
    subject TEXT NOT NULL,
    PRIMARY KEY (subject_key, role_scope)
) STRICT, WITHOUT ROWID;

-- The connections and models that runs have read.
CREATE TABLE role_scopes (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    read INTEGER NOT NULL,
    connections TEXT NOT NULL, -- JSON
    models TEXT NOT NULL -- JSON
) STRICT;

-- The roles of users and groups, as read or as assigned since.
CREATE TABLE observed_roles (
    holder TEXT NOT NULL, -- user or group
    id TEXT NOT NULL,
    read INTEGER, -- NULL: only own assignments are known
    roles TEXT NOT NULL, -- JSON
    PRIMARY KEY (holder, id)
) STRICT, WITHOUT ROWID;
