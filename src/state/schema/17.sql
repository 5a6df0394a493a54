-- The user whose removal Omni confirmed, until a read shows that it is gone.

ALTER TABLE managed ADD COLUMN removed_id TEXT;
