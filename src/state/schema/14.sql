-- What a run planned, and what of it was pending after the run. The users are those after the run.

ALTER TABLE runs RENAME COLUMN pending_delete TO planned_delete;
ALTER TABLE runs RENAME COLUMN pending_deactivate TO planned_deactivate;
ALTER TABLE runs RENAME COLUMN pending_update TO planned_update;
ALTER TABLE runs RENAME COLUMN pending_create TO planned_create;
ALTER TABLE runs ADD COLUMN pending_delete INTEGER;
ALTER TABLE runs ADD COLUMN pending_deactivate INTEGER;
ALTER TABLE runs ADD COLUMN pending_update INTEGER;
ALTER TABLE runs ADD COLUMN pending_create INTEGER;

UPDATE runs SET
    pending_delete = planned_delete, pending_deactivate = planned_deactivate,
    pending_update = planned_update, pending_create = planned_create;
UPDATE runs SET
    pending_delete = max(0, planned_delete - deleted),
    pending_deactivate = max(0, planned_deactivate - deactivated),
    pending_update = max(0, planned_update - updated),
    pending_create = max(0, planned_create - created),
    users = max(0, users + created - deleted)
    FROM (
        SELECT run, sum(operation = 'delete') AS deleted, sum(operation = 'deactivate') AS deactivated,
            sum(operation = 'update') AS updated, sum(operation = 'create') AS created
        FROM changes WHERE outcome = 'applied' GROUP BY run
    ) WHERE run = number;
UPDATE runs SET pending_delete = 0, pending_deactivate = 0, pending_update = 0, pending_create = 0
    WHERE result = 'converged' AND planned_delete IS NOT NULL;
