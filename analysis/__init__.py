"""Statistics of a record and indicators of a price history: pure functions, each with its source.

Floats, because nothing here is ever booked; `trades` takes and gives Decimals, because its input is the books.
Declines to fetch, to store, and to choose a year's length for its caller.
"""
