-- Users whose day of leaving has come, and the start of the run that first found that.

CREATE TABLE due_leavers (
    email_key TEXT PRIMARY KEY,
    email TEXT NOT NULL,
    date TEXT NOT NULL, -- the day in the roster, YYYY-MM-DD
    run_time INTEGER NOT NULL -- by the clock of recorded runs
) STRICT, WITHOUT ROWID;
