"""The store's inner rooms: column types, tables, the engine with its fair write turns, migrations."""
