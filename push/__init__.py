"""Messages to the owner: each is a row first, then it is sent, and the row says what became of it."""
