-- Run in the schema that holds the tables: it is the first on the search_path.

CREATE TABLE migrations (
    version integer PRIMARY KEY,
    applied_at timestamptz NOT NULL DEFAULT now()
);

-- The key is compared byte by byte, so that every client and every plan locks rows in the same order.
CREATE TABLE deliveries (
    receiver text COLLATE "C" NOT NULL,
    tenant text COLLATE "C" NOT NULL,
    key text COLLATE "C" NOT NULL,
    message_id text NOT NULL,
    digest bytea NOT NULL,
    event_type text NOT NULL,
    collection text,
    source_type text,
    job_id text,
    event_time timestamptz,
    received_at timestamptz NOT NULL,
    state text NOT NULL CHECK (state IN ('pending', 'leased', 'queued', 'done', 'dead')),
    reason text,
    settled_at timestamptz,
    due_at timestamptz,
    fence bigint NOT NULL,
    token bytea NOT NULL,
    owner text NOT NULL,
    lease_until timestamptz,
    leases_lost integer NOT NULL DEFAULT 0,
    attempts integer NOT NULL,
    generation integer NOT NULL DEFAULT 0,
    results jsonb NOT NULL DEFAULT '{}',
    error text,
    body bytea,
    PRIMARY KEY (receiver, tenant, key)
);

CREATE INDEX deliveries_done ON deliveries (settled_at) WHERE state = 'done';
-- What is due, and what is under lease. Without lease_until, so that renewing a lease touches no index.
CREATE INDEX deliveries_open ON deliveries (state, due_at) WHERE state <> 'done';

INSERT INTO migrations (version) VALUES (1);
