"""The tables, as the migrations that make them. Published scripts never change; add new ones."""

from __future__ import annotations

_VERSION_1 = """
CREATE TABLE jobs (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    title TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('scan', 'triage')),
    state TEXT NOT NULL CHECK (
        state IN ('queued', 'running', 'done', 'failed', 'cancelled', 'interrupted')),
    stage TEXT NOT NULL DEFAULT '',
    fraction REAL NOT NULL DEFAULT 0,
    request TEXT NOT NULL,              -- JSON of a ScanRequest
    run_folder TEXT NOT NULL,           -- inside the home: relative to it
    error TEXT NOT NULL DEFAULT '',
    created_at TEXT NOT NULL,
    started_at TEXT,
    finished_at TEXT,
    checkpoint_sha256 TEXT NOT NULL,
    checkpoint_name TEXT NOT NULL,
    settings_key TEXT NOT NULL,
    verdict TEXT,
    backdoor_score REAL,
    suspected_target_labels TEXT NOT NULL DEFAULT '[]',
    attempts INTEGER NOT NULL DEFAULT 0,
    priority REAL NOT NULL DEFAULT 0,
    owner TEXT,                         -- engine that runs it, see owners
    place TEXT,                         -- what runs it: jobs of one place share its capacity
    cancel_requested INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX jobs_queue ON jobs (state, priority DESC, number);
CREATE INDEX jobs_same ON jobs (checkpoint_sha256, settings_key);

CREATE TABLE tags (
    job TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    tag TEXT NOT NULL,
    PRIMARY KEY (job, tag)
) WITHOUT ROWID;
CREATE INDEX tags_tag ON tags (tag);

CREATE TABLE events (
    job TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    seq INTEGER NOT NULL,
    time REAL NOT NULL,
    stage TEXT NOT NULL,
    step INTEGER NOT NULL,
    total INTEGER NOT NULL,
    message TEXT NOT NULL,
    numbers TEXT NOT NULL,              -- JSON
    PRIMARY KEY (job, seq)
) WITHOUT ROWID;

CREATE TABLE dispositions (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    job TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    disposition TEXT NOT NULL CHECK (disposition IN ('confirmed', 'false_alarm', 'escalate')),
    reviewer TEXT NOT NULL,
    note TEXT NOT NULL,
    time TEXT NOT NULL
);
CREATE INDEX dispositions_job ON dispositions (job, number);

CREATE TABLE owners (
    id TEXT PRIMARY KEY,
    host TEXT NOT NULL,
    pid INTEGER NOT NULL,
    since TEXT NOT NULL
) WITHOUT ROWID;
"""

_VERSION_2 = """
ALTER TABLE jobs ADD COLUMN file_severity TEXT NOT NULL DEFAULT '';  -- worst finding about the file
"""

MIGRATIONS: tuple[str, ...] = (_VERSION_1, _VERSION_2)
"""Script ``i`` leads from schema version ``i`` to ``i + 1``."""
