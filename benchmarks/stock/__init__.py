"""AutoGen with its stock client, in build/stock: a baseline, and never imported by the project."""
