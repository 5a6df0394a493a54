-- Transfers of schedules.

ALTER TABLE runs ADD COLUMN planned_transfer INTEGER;
ALTER TABLE runs ADD COLUMN pending_transfer INTEGER;
UPDATE runs SET planned_transfer = 0 WHERE planned_update IS NOT NULL;
UPDATE runs SET pending_transfer = 0 WHERE pending_update IS NOT NULL;
