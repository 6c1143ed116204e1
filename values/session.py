"""A session's words: what it is for and how it ended."""

from typing import Literal

Mode = Literal["trade", "rebalance"]
Outcome = Literal["completed", "failed", "timed_out", "over_budget", "halted", "interrupted"]
