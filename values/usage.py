"""What a call of a model used and what that costs: tokens, rates, and the one formula from which each cent follows.

USD are exact. A call's cost is rounded once, half-even to 1e-6 USD, as the store keeps it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import ROUND_HALF_EVEN, Decimal, localcontext

from values.money import CASH_DECIMALS, EXACT, ZERO

_MILLION = 1_000_000
_KEPT = Decimal(1).scaleb(-CASH_DECIMALS)


@dataclass(frozen=True, slots=True)
class Tokens:
    """Of one call. `read` holds all of the prompt; `cached` of it came from the provider's cache, and `written` of it
    went into that cache."""

    read: int
    output: int
    cached: int = 0
    written: int = 0


@dataclass(frozen=True, slots=True)
class Rates:
    """USD for a million tokens: read, read from the provider's cache, written into it, and put out."""

    input_usd: Decimal
    cached_usd: Decimal
    cache_write_usd: Decimal
    output_usd: Decimal

    @classmethod
    def plain(cls, input_usd: Decimal, output_usd: Decimal) -> Rates:
        """Rates of a provider that charges cached tokens like all others."""
        return cls(input_usd, input_usd, input_usd, output_usd)

    @property
    def are_nothing(self) -> bool:
        return self == NOTHING

    def cost(self, tokens: Tokens) -> Decimal:
        """USD, half-even to 1e-6. What is neither cached nor written counts at the plain rate."""
        plain = max(0, tokens.read - tokens.cached - tokens.written)
        with localcontext(EXACT):
            usd = (
                self.input_usd * plain
                + self.cached_usd * tokens.cached
                + self.cache_write_usd * tokens.written
                + self.output_usd * tokens.output
            )
            return (usd / _MILLION).quantize(_KEPT, ROUND_HALF_EVEN)

    def dearest(self, read: int, output: int) -> Tokens:
        """The use of at most `read` and `output` tokens that costs the most: all plain, or all written."""
        return Tokens(read, output, written=read if self.cache_write_usd > self.input_usd else 0)


NOTHING = Rates(ZERO, ZERO, ZERO, ZERO)


@dataclass(frozen=True, slots=True)
class ModelCall:
    """One call as the record keeps it, with the rates by which it costs what it costs.

    `is_estimate`: the provider's count never came. Where the model has a price, the tokens are then the most that the
    call could have used. `wall_time` is when it was asked; `is_on_record` once a row of the store holds it.
    """

    model: str
    tokens: Tokens
    rates: Rates
    is_estimate: bool
    latency_ms: float
    finish_reason: str
    wall_time: datetime
    is_on_record: bool = False

    @property
    def cost_usd(self) -> Decimal:
        return self.rates.cost(self.tokens)

    @property
    def input_tokens(self) -> int:
        return self.tokens.read

    @property
    def output_tokens(self) -> int:
        return self.tokens.output
