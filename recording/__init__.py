"""A run that is kept, to be played again: what was asked of the world and what it answered."""
