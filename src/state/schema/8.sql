-- A clock that recorded runs move: each gap between two runs counts with 0 to `max_gap`. One wrong wall clock neither
-- ends nor prolongs graces, the guard's 24 hours and the retention. Both are milliseconds.

ALTER TABLE runs ADD COLUMN max_gap INTEGER NOT NULL DEFAULT 90000000;
ALTER TABLE runs ADD COLUMN run_time INTEGER NOT NULL DEFAULT 0;
-- Never later than the last run, and never earlier than a run before.
UPDATE runs SET run_time = min(so_far.latest, (SELECT started FROM runs ORDER BY number DESC LIMIT 1))
    FROM (SELECT number, max(started) OVER (ORDER BY number) AS latest FROM runs) AS so_far
    WHERE so_far.number = runs.number;
DROP INDEX runs_by_start;
CREATE INDEX runs_by_run_time ON runs (run_time);
DROP INDEX changes_by_time;

ALTER TABLE managed ADD COLUMN missing_run_time INTEGER;
UPDATE managed SET missing_run_time =
    min(missing_since, coalesce((SELECT max(run_time) FROM runs), missing_since));
