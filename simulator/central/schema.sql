-- What a centre keeps of its gateways: the chain as it was sent, the events that it carries, and what did not fit.
--
-- Times in ..._ms are UTC milliseconds at the centre; times inside a message are the gateway's own words. A gateway is
-- named "<utility>/<gateway>". One writer; everything that one batch of messages brought is one transaction, and an
-- acknowledgement says only what was read inside the transaction that has committed.

PRAGMA user_version = 1;

-- How far each chain is whole. `upto` is the highest number with no number missing below it, `head` the chain's hash
-- after it, computed here from the bytes that arrived; `highest` the highest number ever seen.
CREATE TABLE IF NOT EXISTS head (
    gateway  TEXT    NOT NULL,
    epoch    TEXT    NOT NULL,
    upto     INTEGER NOT NULL DEFAULT 0,
    head     TEXT    NOT NULL,
    highest  INTEGER NOT NULL DEFAULT 0,
    heard_ms INTEGER NOT NULL,
    PRIMARY KEY (gateway, epoch)
) WITHOUT ROWID;

-- The chain itself, joined and verified: every byte as sent. `nacked`: the number counts, its content was refused
-- (see quarantine) and is no event.
CREATE TABLE IF NOT EXISTS chain (
    gateway     TEXT    NOT NULL,
    epoch       TEXT    NOT NULL,
    seq         INTEGER NOT NULL,
    kind        TEXT    NOT NULL,
    event_id    TEXT,
    hash        TEXT    NOT NULL,
    body        BLOB    NOT NULL,
    nacked      INTEGER NOT NULL DEFAULT 0,
    received_ms INTEGER NOT NULL,
    PRIMARY KEY (gateway, epoch, seq)
) WITHOUT ROWID;

-- Arrived ahead of its turn. Two different bodies may wait for one number: the chain decides which one it is.
CREATE TABLE IF NOT EXISTS waiting (
    gateway     TEXT    NOT NULL,
    epoch       TEXT    NOT NULL,
    seq         INTEGER NOT NULL,
    digest      TEXT    NOT NULL,
    kind        TEXT    NOT NULL,
    event_id    TEXT,
    prevhash    TEXT,
    body        BLOB    NOT NULL,
    nacked      INTEGER NOT NULL DEFAULT 0,
    received_ms INTEGER NOT NULL,
    PRIMARY KEY (gateway, epoch, seq, digest)
) WITHOUT ROWID;

-- One row for each event, whatever number of times and in whatever epochs it was sent. `no` is the order of joining.
CREATE TABLE IF NOT EXISTS event (
    no          INTEGER PRIMARY KEY,
    gateway     TEXT    NOT NULL,
    event_id    TEXT    NOT NULL,
    epoch       TEXT    NOT NULL,
    seq         INTEGER NOT NULL,
    kind        TEXT    NOT NULL,   -- finding, case, evaluation, record
    type        TEXT    NOT NULL,   -- edge-agent.finding.opened.v1
    finding     TEXT,               -- of findings: the id without step and number
    step        TEXT,               -- opened, updated, cleared, annotated
    point       TEXT,               -- absent for events about the gateway itself
    topic       TEXT    NOT NULL,   -- audit topic, or the kind of record
    severity    TEXT,
    time        TEXT,
    body        TEXT    NOT NULL,   -- the whole message, for json_extract
    received_ms INTEGER NOT NULL,
    UNIQUE (gateway, event_id)
);
CREATE INDEX IF NOT EXISTS event_by_finding ON event (gateway, finding, no) WHERE finding IS NOT NULL;

-- Closed intervals, one for each point and end; a later word about the same interval replaces the earlier one.
CREATE TABLE IF NOT EXISTS demand (
    gateway     TEXT    NOT NULL,
    point       TEXT    NOT NULL,
    end         TEXT    NOT NULL,
    start       TEXT    NOT NULL,
    body        TEXT    NOT NULL,   -- the point's row of the message
    received_ms INTEGER NOT NULL,
    PRIMARY KEY (gateway, point, end)
) WITHOUT ROWID;

-- The last word on each state topic: status, heartbeat, points/<point>, archive, releases.
CREATE TABLE IF NOT EXISTS state (
    gateway     TEXT    NOT NULL,
    topic       TEXT    NOT NULL,   -- below up/
    body        TEXT    NOT NULL,
    received_ms INTEGER NOT NULL,
    PRIMARY KEY (gateway, topic)
) WITHOUT ROWID;

-- Everything else that is kept as it came: checkpoint, evidence, reply.
CREATE TABLE IF NOT EXISTS parcel (
    no          INTEGER PRIMARY KEY,
    gateway     TEXT    NOT NULL,
    topic       TEXT    NOT NULL,
    body        BLOB    NOT NULL,
    received_ms INTEGER NOT NULL
);

-- What could not be accepted, with the reason: json, size, no-schema, schema,
-- source, chain, conflict, unreadable.
CREATE TABLE IF NOT EXISTS quarantine (
    no       INTEGER PRIMARY KEY,
    gateway  TEXT    NOT NULL,
    topic    TEXT    NOT NULL,
    reason   TEXT    NOT NULL,
    detail   TEXT    NOT NULL,
    epoch    TEXT,
    seq      INTEGER,
    digest   TEXT    NOT NULL,
    body     BLOB    NOT NULL,
    first_ms INTEGER NOT NULL,
    last_ms  INTEGER NOT NULL,
    times    INTEGER NOT NULL DEFAULT 1,
    UNIQUE (gateway, topic, reason, digest)
);

-- How many of what: messages, duplicates, rejected.
CREATE TABLE IF NOT EXISTS tally (
    gateway TEXT    NOT NULL,
    name    TEXT    NOT NULL,
    n       INTEGER NOT NULL,
    PRIMARY KEY (gateway, name)
) WITHOUT ROWID;

-- Each finding at its latest step.
CREATE VIEW IF NOT EXISTS findings AS
SELECT gateway, finding, point, topic, severity, step, time, event_id, epoch, seq, body, received_ms,
       (SELECT min(o.time) FROM event o WHERE o.gateway = e.gateway AND o.finding = e.finding AND o.step = 'opened')
           AS opened
FROM event e
WHERE finding IS NOT NULL
  AND no = (SELECT max(l.no) FROM event l WHERE l.gateway = e.gateway AND l.finding = e.finding
            AND l.step <> 'annotated');

CREATE VIEW IF NOT EXISTS open_findings AS SELECT * FROM findings WHERE step <> 'cleared';

-- Numbers that are missing below one that arrived: the lowest such range of each chain.
CREATE VIEW IF NOT EXISTS gaps AS
SELECT gateway, epoch, upto + 1 AS first,
       coalesce((SELECT min(seq) - 1 FROM waiting w WHERE w.gateway = h.gateway AND w.epoch = h.epoch
                 AND w.seq > h.upto), highest) AS last
FROM head h
WHERE highest > upto;

-- The centre judges from the age of what it last heard, never from a will alone.
CREATE VIEW IF NOT EXISTS gateways AS
SELECT s.gateway, max(s.received_ms) AS heard_ms,
       (SELECT body FROM state t WHERE t.gateway = s.gateway AND t.topic = 'status') AS status,
       (SELECT count(*) FROM open_findings f WHERE f.gateway = s.gateway) AS open_findings
FROM state s
GROUP BY s.gateway;
