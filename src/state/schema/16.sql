-- Memberships in groups.

ALTER TABLE changes ADD COLUMN group_id TEXT; -- NULL: no membership, or a group to be created
ALTER TABLE changes ADD COLUMN group_name TEXT; -- NULL: no membership
ALTER TABLE set_changes ADD COLUMN group_id TEXT;
ALTER TABLE set_changes ADD COLUMN group_name TEXT;
ALTER TABLE approved_changes ADD COLUMN group_id TEXT;
ALTER TABLE approved_changes ADD COLUMN group_name TEXT;

DROP VIEW run_changes;
CREATE VIEW run_changes AS
    SELECT id, run, intended, email_key, email, user_id, operation, group_id, group_name, fields, approved, settled,
        outcome, detail, 0 AS is_planned
    FROM changes
    UNION ALL
    SELECT set_changes.rowid, number, started, email_key, email, user_id, operation, group_id, group_name, fields, 0,
        NULL, 'planned', NULL, 1
    FROM runs JOIN set_changes ON change_set = planned_set;

ALTER TABLE runs ADD COLUMN planned_leave INTEGER;
ALTER TABLE runs ADD COLUMN planned_join INTEGER;
ALTER TABLE runs ADD COLUMN pending_leave INTEGER;
ALTER TABLE runs ADD COLUMN pending_join INTEGER;
UPDATE runs SET planned_leave = 0, planned_join = 0 WHERE planned_update IS NOT NULL;
UPDATE runs SET pending_leave = 0, pending_join = 0 WHERE pending_update IS NOT NULL;

CREATE TABLE quarantine_by_membership (
    email_key TEXT NOT NULL,
    group_name TEXT NOT NULL, -- empty: the user
    email TEXT NOT NULL,
    until INTEGER NOT NULL,
    failures INTEGER NOT NULL,
    fingerprint BLOB NOT NULL,
    reason TEXT NOT NULL,
    PRIMARY KEY (email_key, group_name)
) STRICT, WITHOUT ROWID;
INSERT INTO quarantine_by_membership
    SELECT email_key, '', email, until, failures, fingerprint, reason FROM quarantine;
DROP TABLE quarantine;
ALTER TABLE quarantine_by_membership RENAME TO quarantine;

-- Groups whose memberships the roster states.
CREATE TABLE managed_groups (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    since INTEGER NOT NULL,
    confirmed INTEGER NOT NULL -- whether members may leave within the limits, because the first leaves were approved
) STRICT, WITHOUT ROWID;

-- Memberships that an accepted roster stated, or that this program added.
CREATE TABLE stated_memberships (
    group_id TEXT NOT NULL,
    email_key TEXT NOT NULL,
    email TEXT NOT NULL,
    PRIMARY KEY (group_id, email_key)
) STRICT, WITHOUT ROWID;
