-- The new owner of a transferred schedule, as shown for an approval: JSON with the id and the differences of access.

ALTER TABLE set_changes ADD COLUMN successor TEXT;
ALTER TABLE approved_changes ADD COLUMN successor TEXT;
