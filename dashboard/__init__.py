"""The dashboard: one reader of the store, panels as pure functions of what it read, a page that hands them out."""
