"""The rules of the `house` model: one rulebook a file, and the shared reading of a conversation that they stand on.

A session runs through `session.next_step`; `rulebook.py` says what a rulebook is. Everything here is a pure function of
the messages and the offered tools.
"""
