"""What the books say otherwise than the record."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Difference:
    """`what` of `account` is `found` in the books and `expected` by the record."""

    account: str
    what: str
    found: str
    expected: str

    def __str__(self) -> str:
        return f"{self.account}: {self.what} is {self.found}, and the record makes it {self.expected}"
