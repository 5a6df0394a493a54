-- The run that first saw each file of a folder of which only the newest is read. Times are nanoseconds.

CREATE TABLE seen_files (
    name TEXT NOT NULL,
    modified INTEGER NOT NULL,
    run INTEGER NOT NULL,
    PRIMARY KEY (name, modified)
) STRICT, WITHOUT ROWID;
