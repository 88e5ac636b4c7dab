"""The store's tables: what makes them, step by step.

Holds: `STEPS`, the statements that bring a store from one version to the next; `SCHEMA`, the number of the last. Does
not hold: queries (`store.py`, and the use cases that own a table). A step that a release has written is never
changed, only followed by another; `user_version` says how many a store has had.

    images(id, target, manifest, config, size, created_at)          id = digest of the configuration
    tags(reference, image, repository, tag, digest, updated_at)     what a person may call it
    layers(image, position, blob, blob_size, diff_id, chain_id, size)
    blobs(image, digest)                                            what of content/ the image keeps alive
    blob_places(digest, repository)                                 which registries have a blob, by a push of ours
    manifest_lists(reference, document)                             made here, to be pushed
    admissions(image, reference, transport, policy, evidence)       under which policy it was pulled, with what proof
    containers(id, name, image, created_at, record, pod)            record = `containers/record.py` as JSON
    pods(id, name, created_at, record)                              record = `pods/record.py` as JSON
    networks, endpoints, published                                  `networks/rows.py` draws and asks them
    network_policies(network, name, created_at, document)           who reaches whom on it; `networks/netpolicies.py`
"""

from __future__ import annotations

STEPS: tuple[tuple[str, ...], ...] = (
    (
        "CREATE TABLE images (id TEXT PRIMARY KEY, target TEXT NOT NULL, manifest TEXT NOT NULL, config TEXT"
        " NOT NULL, size INTEGER NOT NULL, created_at INTEGER NOT NULL) WITHOUT ROWID",
        "CREATE TABLE tags (reference TEXT PRIMARY KEY, image TEXT NOT NULL REFERENCES images(id) ON DELETE CASCADE,"
        " repository TEXT NOT NULL, tag TEXT, digest TEXT NOT NULL, updated_at INTEGER NOT NULL) WITHOUT ROWID",
        "CREATE INDEX tags_image ON tags(image)",
        "CREATE TABLE layers (image TEXT NOT NULL REFERENCES images(id) ON DELETE CASCADE, position INTEGER NOT NULL,"
        " blob TEXT NOT NULL, blob_size INTEGER NOT NULL, diff_id TEXT NOT NULL, chain_id TEXT NOT NULL,"
        " size INTEGER NOT NULL, PRIMARY KEY (image, position)) WITHOUT ROWID",
        "CREATE TABLE blobs (image TEXT NOT NULL REFERENCES images(id) ON DELETE CASCADE, digest TEXT NOT NULL,"
        " PRIMARY KEY (image, digest)) WITHOUT ROWID",
        "CREATE TABLE containers (id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE,"
        " image TEXT REFERENCES images(id) ON DELETE RESTRICT, created_at INTEGER NOT NULL, record TEXT NOT NULL)"
        " WITHOUT ROWID",
        "CREATE INDEX containers_image ON containers(image)",
    ),
    (
        "CREATE TABLE admissions (image TEXT NOT NULL REFERENCES images(id) ON DELETE CASCADE,"
        " reference TEXT NOT NULL, transport TEXT NOT NULL, policy TEXT NOT NULL, evidence TEXT NOT NULL,"
        " PRIMARY KEY (image, reference)) WITHOUT ROWID",
    ),
    (
        "CREATE TABLE networks (id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, driver TEXT NOT NULL,"
        " created_at INTEGER NOT NULL, record TEXT NOT NULL, last4 INTEGER, last6 INTEGER) WITHOUT ROWID",
        "CREATE TABLE endpoints (network TEXT NOT NULL REFERENCES networks(id) ON DELETE CASCADE,"
        " container TEXT NOT NULL REFERENCES containers(id) ON DELETE CASCADE, place INTEGER NOT NULL,"
        " wish TEXT NOT NULL, address BLOB, address6 BLOB, mac BLOB, link TEXT,"
        " PRIMARY KEY (network, container)) WITHOUT ROWID",
        "CREATE INDEX endpoints_container ON endpoints(container)",
        "CREATE UNIQUE INDEX endpoints_address ON endpoints(network, address)",
        "CREATE UNIQUE INDEX endpoints_address6 ON endpoints(network, address6)",
        "CREATE TABLE published (protocol TEXT NOT NULL, address TEXT NOT NULL, port INTEGER NOT NULL,"
        " container TEXT NOT NULL REFERENCES containers(id) ON DELETE CASCADE, inner INTEGER NOT NULL,"
        " PRIMARY KEY (protocol, address, port)) WITHOUT ROWID",
        "CREATE INDEX published_container ON published(container)",
    ),
    ("CREATE TABLE manifest_lists (reference TEXT PRIMARY KEY, document TEXT NOT NULL) WITHOUT ROWID",),
    (
        "CREATE TABLE blob_places (digest TEXT NOT NULL, repository TEXT NOT NULL, PRIMARY KEY (digest, repository))"
        " WITHOUT ROWID",
    ),
    (
        "CREATE TABLE pods (id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, created_at INTEGER NOT NULL,"
        " record TEXT NOT NULL) WITHOUT ROWID",
        "ALTER TABLE containers ADD COLUMN pod TEXT REFERENCES pods(id) ON DELETE RESTRICT",
        "CREATE INDEX containers_pod ON containers(pod) WHERE pod IS NOT NULL",
    ),
    (
        "CREATE TABLE network_policies (network TEXT NOT NULL REFERENCES networks(id) ON DELETE CASCADE,"
        " name TEXT NOT NULL, created_at INTEGER NOT NULL, document TEXT NOT NULL, PRIMARY KEY (network, name))"
        " WITHOUT ROWID",
    ),
)
SCHEMA = len(STEPS)
