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
    history text NOT NULL DEFAULT '',
    sent_at bigint, -- NULL where the origin is not kept
    headers jsonb,
    order_key text COLLATE "C", -- NULL for "in no order"
    body bytea,
    PRIMARY KEY (receiver, tenant, key)
);

-- A row that is open or done is in one of the indexes of its state, so that no plan can prefer a wrong one, whatever
-- the planner's numbers are. None of them holds lease_until, so that renewing a lease touches no index.
CREATE INDEX deliveries_done ON deliveries (settled_at) WHERE state = 'done' AND body IS NULL;
CREATE INDEX deliveries_done_with_body ON deliveries (settled_at) WHERE state = 'done' AND body IS NOT NULL;
-- What a sender has to bring again.
CREATE INDEX deliveries_open ON deliveries (state, due_at) WHERE state IN ('pending', 'leased') AND body IS NULL;
-- What workers do: in the very order in which they take it, so that nothing has to be sorted.
CREATE INDEX deliveries_due ON deliveries (receiver, due_at, received_at, tenant, key)
    WHERE state = 'pending' AND body IS NOT NULL AND leases_lost < 2 AND order_key IS NULL;
CREATE INDEX deliveries_due_in_order ON deliveries (receiver, due_at, received_at, tenant, key)
    WHERE state = 'pending' AND body IS NOT NULL AND leases_lost < 2 AND order_key IS NOT NULL;
CREATE INDEX deliveries_suspect ON deliveries (receiver, due_at, received_at, tenant, key)
    WHERE state = 'pending' AND body IS NOT NULL AND leases_lost >= 2;
CREATE INDEX deliveries_taken ON deliveries (receiver) WHERE state = 'leased' AND body IS NOT NULL;
-- Deliveries of each order as they happened: those that are open, and those that are done.
CREATE INDEX deliveries_order ON deliveries (
    receiver,
    (CASE WHEN state = 'done' THEN 1 WHEN state IN ('pending', 'leased') AND body IS NOT NULL THEN 0 END),
    tenant, order_key, coalesce(event_time, '-infinity'), received_at, key)
    WHERE order_key IS NOT NULL;
-- For people.
CREATE INDEX deliveries_received ON deliveries (receiver, received_at);
CREATE INDEX deliveries_dead ON deliveries (receiver, received_at) WHERE state = 'dead';
CREATE INDEX deliveries_lost ON deliveries (receiver, leases_lost) WHERE leases_lost > 0;

CREATE TABLE workers (
    receiver text COLLATE "C" NOT NULL,
    owner text COLLATE "C" NOT NULL,
    seen_at timestamptz NOT NULL,
    PRIMARY KEY (receiver, owner)
);

INSERT INTO migrations (version) VALUES (1);
