-- A journal as version 1 of the program wrote it, with a run and a change in it.


CREATE TABLE organisation (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    base_url TEXT NOT NULL
) STRICT;

CREATE TABLE runs (
    number INTEGER PRIMARY KEY AUTOINCREMENT, -- never given twice
    trigger TEXT NOT NULL,
    is_source INTEGER NOT NULL,
    started INTEGER NOT NULL,
    interrupted INTEGER NOT NULL DEFAULT 0,
    ended INTEGER, -- all from here on NULL until the end
    outcome TEXT,
    fingerprint BLOB,
    rows INTEGER,
    users INTEGER,
    need_delete INTEGER,
    need_deactivate INTEGER,
    need_update INTEGER,
    need_create INTEGER,
    done INTEGER,
    failed INTEGER,
    held INTEGER,
    bad_rows INTEGER,
    requests INTEGER,
    detail TEXT
) STRICT;
CREATE INDEX runs_by_start ON runs (started);
CREATE INDEX runs_open ON runs (number) WHERE ended IS NULL AND interrupted = 0;

CREATE TABLE changes (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    run INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE,
    intended INTEGER NOT NULL,
    email_key TEXT NOT NULL,
    email TEXT NOT NULL,
    user_id TEXT,
    kind TEXT NOT NULL,
    fields TEXT NOT NULL,
    approved INTEGER NOT NULL,
    settled INTEGER, -- NULL: sent or about to be, and what became of it is not known
    outcome TEXT,
    detail TEXT
) STRICT;
CREATE INDEX changes_by_run ON changes (run);
CREATE INDEX changes_by_email ON changes (email_key, id);
CREATE INDEX changes_unsettled ON changes (id) WHERE settled IS NULL;
CREATE INDEX removals_by_time ON changes (coalesce(settled, intended))
    WHERE kind IN ('delete', 'deactivate');

CREATE TABLE managed (
    email_key TEXT PRIMARY KEY,
    email TEXT NOT NULL,
    since INTEGER NOT NULL,
    missing_since INTEGER
) STRICT, WITHOUT ROWID;

CREATE TABLE deactivated (
    user_id TEXT PRIMARY KEY,
    email_key TEXT NOT NULL,
    email TEXT NOT NULL,
    since INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX deactivated_by_email ON deactivated (email_key);

CREATE TABLE roster (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    accepted INTEGER NOT NULL,
    fingerprint BLOB NOT NULL,
    rows INTEGER NOT NULL
) STRICT;
CREATE TABLE roster_files (
    name TEXT PRIMARY KEY,
    modified INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE held_sets (
    id INTEGER PRIMARY KEY,
    digest BLOB NOT NULL UNIQUE
) STRICT;
CREATE TABLE held_users (
    held_set INTEGER NOT NULL REFERENCES held_sets ON DELETE CASCADE,
    user_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    email TEXT NOT NULL,
    PRIMARY KEY (held_set, user_id, kind)
) STRICT, WITHOUT ROWID;
CREATE TABLE held (
    run INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE,
    rule TEXT NOT NULL,
    why TEXT NOT NULL,
    held_set INTEGER NOT NULL REFERENCES held_sets,
    PRIMARY KEY (run, rule)
) STRICT, WITHOUT ROWID;
CREATE INDEX held_by_set ON held (held_set);

CREATE TABLE approvals (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    run INTEGER NOT NULL,
    approved_by TEXT NOT NULL,
    approved INTEGER NOT NULL,
    expires INTEGER NOT NULL
) STRICT;
CREATE TABLE approved_users (
    approval INTEGER NOT NULL REFERENCES approvals ON DELETE CASCADE,
    user_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    email TEXT NOT NULL,
    used_by INTEGER, -- the change
    PRIMARY KEY (user_id, kind, approval)
) STRICT, WITHOUT ROWID;
CREATE INDEX approved_users_by_approval ON approved_users (approval);

CREATE TABLE quarantine (
    email_key TEXT PRIMARY KEY,
    email TEXT NOT NULL,
    until INTEGER NOT NULL,
    failures INTEGER NOT NULL,
    mark BLOB NOT NULL,
    reason TEXT NOT NULL
) STRICT, WITHOUT ROWID;

INSERT INTO organisation VALUES (1, 'https://acme.omniapp.co');
INSERT INTO runs (number, trigger, is_source, started, ended, outcome, users, need_delete, need_deactivate, need_update, need_create, done, failed, held, bad_rows, requests, detail)
    VALUES (6, 'file', 1, 1799999990000, 1799999991000, 'partial', 20, 3, 1, 0, 4, 3, 1, 2, 0, 9, '');
INSERT INTO changes (run, intended, email_key, email, user_id, kind, fields, approved, settled, outcome, detail)
    VALUES (6, 1799999990500, 'fay@x.co', 'fay@x.co', 'id-fay', 'create', '[]', 0, 1799999990600, 'done', ''),
        (6, 1799999990500, 'gil@x.co', 'gil@x.co', 'id-gil', 'create', '[]', 0, 1799999990600, 'done', ''),
        (6, 1799999990500, 'hal@x.co', 'hal@x.co', NULL, 'create', '[]', 0, 1799999990600, 'failed', ''),
        (6, 1799999990700, 'ian@x.co', 'ian@x.co', 'id-ian', 'delete', '[]', 0, 1799999990800, 'done', '');
INSERT INTO runs (number, trigger, is_source, started, ended, outcome, done, failed, held, bad_rows, requests, detail)
    VALUES (7, 'file', 1, 1800000000000, 1800000001000, 'converged', 1, 0, 0, 0, 3, '');
INSERT INTO changes (run, intended, email_key, email, user_id, kind, fields, approved, settled, outcome, detail)
    VALUES (7, 1800000000500, 'ann@x.co', 'Ann@x.co', 'id-ann', 'update',
        '[{"field":{"attribute":"region"},"from":"n","to":["s","e"]},{"field":"display_name","from":null,"to":"Ann"},{"field":"active","from":"false","to":"true"},{"field":{"attribute":"active"},"from":"x","to":null}]', 0, 1800000000900, 'done', ''),
        (7, 1800000000600, 'bob@x.co', 'bob@x.co', 'id-bob', 'delete', '[]', 0, 1800000000900, 'unsent', '');
INSERT INTO runs (number, trigger, is_source, started, ended, outcome, need_delete, need_deactivate, need_update, need_create, done, failed, held, bad_rows, requests, detail)
    VALUES (8, 'schedule', 1, 1800000002000, 1800000003000, 'planned', 1, 2, 3, 4, 0, 0, 1, 0, 3, '');
INSERT INTO held_sets VALUES (1, X'00');
INSERT INTO held_users VALUES (1, 'id-bob', 'delete', 'bob@x.co');
INSERT INTO held VALUES (8, 'max_removals', 'too many', 1);
INSERT INTO approvals VALUES (1, 8, 'root', 1800000004000, 1800090000000);
INSERT INTO approved_users VALUES (1, 'id-bob', 'delete', 'bob@x.co', NULL);
INSERT INTO quarantine VALUES ('cid@x.co', 'cid@x.co', 1800000009000, 1, zeroblob(32), 'refused');
INSERT INTO managed VALUES ('ann@x.co', 'Ann@x.co', 1800000000000, NULL);
INSERT INTO managed VALUES ('dan@x.co', 'dan@x.co', 1700000000000, 1800000000000);
INSERT INTO managed VALUES ('eve@x.co', 'eve@x.co', 1700000000000, 1900000000000);
PRAGMA application_id = 0x4F55534A;
PRAGMA user_version = 1;
