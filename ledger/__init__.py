"""The inner rooms of accounts.py: books, orders, limits, valuation, reports, reconciliation."""
