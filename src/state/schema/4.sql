-- What the safety limits count, and what the last whole listing showed.

-- Whether an update empties a value, or sets one to a word for nothing.
ALTER TABLE changes ADD COLUMN clears INTEGER NOT NULL DEFAULT 0;
UPDATE changes SET clears = 1
    WHERE operation = 'update' AND EXISTS (
        SELECT 1 FROM json_each(changes.fields)
        WHERE value ->> '$.field' NOT IN ('display_name', 'active')
            AND value ->> '$.from' IS NOT NULL AND value ->> '$.to' IS NULL
    );
DROP INDEX removals_by_time;
CREATE INDEX changes_by_time ON changes (intended);

CREATE TABLE listing (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    base INTEGER NOT NULL -- of the removal limit
) STRICT;

-- Held and approved changes, with their fields. Held changes of earlier versions have none, and their open approvals
-- are void.
CREATE TABLE held_changes (
    held_set INTEGER NOT NULL REFERENCES held_sets ON DELETE CASCADE,
    operation TEXT NOT NULL,
    email TEXT NOT NULL,
    user_id TEXT, -- NULL: to be created
    fields TEXT NOT NULL
) STRICT;
CREATE INDEX held_changes_by_set ON held_changes (held_set);
INSERT INTO held_changes SELECT held_set, operation, email, user_id, '[]' FROM held_users;
DROP TABLE held_users;

CREATE TABLE approved_changes (
    number INTEGER PRIMARY KEY,
    approval INTEGER NOT NULL REFERENCES approvals ON DELETE CASCADE,
    operation TEXT NOT NULL,
    email_key TEXT NOT NULL,
    email TEXT NOT NULL,
    user_id TEXT, -- NULL: to be created
    fields TEXT NOT NULL,
    used_by INTEGER, -- the change
    ended INTEGER -- revoked, or no longer asked for
) STRICT;
CREATE INDEX approved_changes_by_approval ON approved_changes (approval);
CREATE INDEX approved_changes_open ON approved_changes (email_key)
    WHERE used_by IS NULL AND ended IS NULL;
INSERT INTO approved_changes
    (approval, operation, email_key, email, user_id, fields, used_by, ended)
    SELECT approval, operation, lower(email), email, user_id, '[]', used_by,
        iif(used_by IS NULL, approved, NULL)
    FROM approved_users JOIN approvals ON approvals.id = approval;
DROP TABLE approved_users;
