-- What dry runs plan. Equal sets of changes, held or planned, are stored once.

ALTER TABLE held_sets RENAME TO change_sets;
ALTER TABLE held_changes RENAME TO set_changes;
ALTER TABLE set_changes RENAME COLUMN held_set TO change_set;
ALTER TABLE set_changes ADD COLUMN email_key TEXT NOT NULL DEFAULT '';
UPDATE set_changes SET email_key = lower(email);
ALTER TABLE held RENAME COLUMN held_set TO change_set;

ALTER TABLE runs ADD COLUMN planned_set INTEGER REFERENCES change_sets; -- NULL: no dry run
CREATE INDEX runs_by_planned_set ON runs (planned_set) WHERE planned_set IS NOT NULL;

-- The changes that runs sent, and those that dry runs planned.
CREATE VIEW run_changes AS
    SELECT id, run, intended, email_key, email, user_id, operation, fields, approved, settled, outcome, detail,
        0 AS is_planned
    FROM changes
    UNION ALL
    SELECT set_changes.rowid, number, started, email_key, email, user_id, operation, fields, 0, NULL, 'planned', NULL, 1
    FROM runs JOIN set_changes ON change_set = planned_set;
