"""The lease engine's cores: row codec, writes as values, one held lease, membership, assignment, lineage."""
