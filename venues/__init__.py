"""Where prices come from: one Protocol, one implementation a file."""
