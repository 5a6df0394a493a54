-- When Omni last refused a page of the list with more than 100 users, in milliseconds.

CREATE TABLE refused_page (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    at INTEGER NOT NULL
) STRICT;
