"""Research: what the world says about what trades. A search server, and the providers that answer it."""
