"""The store: schema, database, reader."""
