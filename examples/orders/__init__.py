"""A durable order workflow that survives the death of its workers; see examples/README.md."""
