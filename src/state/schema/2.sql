-- Version 2: the words of the program's output, and one form for the fields of a change.

ALTER TABLE runs RENAME COLUMN outcome TO result;
ALTER TABLE runs RENAME COLUMN need_delete TO pending_delete;
ALTER TABLE runs RENAME COLUMN need_deactivate TO pending_deactivate;
ALTER TABLE runs RENAME COLUMN need_update TO pending_update;
ALTER TABLE runs RENAME COLUMN need_create TO pending_create;
ALTER TABLE runs RENAME COLUMN done TO applied;
UPDATE runs SET result = 'dry_run' WHERE result = 'planned';

ALTER TABLE changes RENAME COLUMN kind TO operation;
UPDATE changes SET outcome = 'applied' WHERE outcome = 'done';
UPDATE changes SET outcome = 'skipped' WHERE outcome = 'unsent';
UPDATE changes SET fields = (
    SELECT json_group_array(json_object(
        'field', CASE json_type(value, '$.field')
            WHEN 'text' THEN value ->> '$.field'
            ELSE iif(
                value ->> '$.field.attribute' IN ('display_name', 'active')
                    OR value ->> '$.field.attribute' LIKE 'attribute:%',
                'attribute:', ''
            ) || (value ->> '$.field.attribute')
        END,
        'from', json(value -> '$.from'),
        'to', json(value -> '$.to')
    ))
    FROM json_each(changes.fields)
);

ALTER TABLE held RENAME COLUMN why TO reason;
ALTER TABLE held_users RENAME COLUMN kind TO operation;
ALTER TABLE approved_users RENAME COLUMN kind TO operation;

ALTER TABLE quarantine RENAME COLUMN mark TO fingerprint;
