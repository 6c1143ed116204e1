"""Which models may answer a trader, in order: one that was named, or a tier's of each provider that has a key.

A model named exactly is never replaced by another. Of a tier, the first that is not resting answers; one that was rate
limited or down rests, longer each time in a row up to REST_MAX_S, and is then tried again by the next real call.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from autogen_core.models import ChatCompletionClient, LLMMessage
from autogen_core.tools import Tool, ToolSchema

from model_clients.failures import ModelFailed, ModelUnavailable, RateLimited
from model_clients.patience import REAL_TIME, Patience
from model_clients.prices import FREE, Price
from values.model_settings import Tier

REST_S = 60.0
REST_MAX_S = 900.0


class Bounded(Protocol):
    """What a client that costs money also has, so that the most that a call can cost is known before it is made."""

    output_tokens_max: int

    def request_bytes(self, messages: Sequence[LLMMessage], tools: Sequence[Tool | ToolSchema] = ()) -> int:
        """The length of the request that `create` would send."""


def _free(_: datetime) -> Price:
    return FREE


@dataclass(frozen=True, slots=True)
class Candidate:
    """A model that may answer. `price` is what it costs when asked at a wall time."""

    model: str
    client: ChatCompletionClient
    price: Callable[[datetime], Price] = _free


@dataclass(slots=True)
class _Rest:
    until: float = 0.0
    times: int = 0


@dataclass(slots=True)
class Rests:
    """Which models rest, and how long. One for all traders of a floor: what one finds down, the others don't try."""

    patience: Patience = REAL_TIME
    _rests: dict[str, _Rest] = field(default_factory=dict)

    def left_s(self, model: str) -> float:
        """Seconds, 0 when it may be asked."""
        rest = self._rests.get(model)
        return 0.0 if rest is None else max(0.0, rest.until - self.patience.monotonic())

    def failed(self, model: str) -> None:
        """Calls that were under way together count as one failure."""
        rest = self._rests.setdefault(model, _Rest())
        if not self.left_s(model):
            rest.until = self.patience.monotonic() + min(REST_MAX_S, REST_S * 2**rest.times)
            rest.times = min(rest.times + 1, 10)

    def answered(self, model: str) -> None:
        self._rests.pop(model, None)


@dataclass(frozen=True, slots=True)
class Route:
    """The candidates of one trader, the preferred first."""

    candidates: Sequence[Candidate]
    rests: Rests = field(default_factory=Rests)

    @classmethod
    def to(cls, model: str, client: ChatCompletionClient, price: Price = FREE) -> Route:
        """To one model, whatever becomes of it."""
        return cls((Candidate(model, client, lambda _: price),))

    @property
    def model(self) -> str:
        """The one that would be asked now."""
        return next(self.in_turn()).model

    def in_turn(self) -> Iterator[Candidate]:
        """Those that may be asked, in order; when all rest, the one whose rest ends first."""
        awake = [each for each in self.candidates if not self.rests.left_s(each.model)]
        yield from awake or [min(self.candidates, key=lambda each: self.rests.left_s(each.model))]

    def failed(self, candidate: Candidate, failure: ModelFailed) -> bool:
        """Whether another may be asked instead: this one is rate limited or down, and no name was given exactly."""
        is_out = len(self.candidates) > 1 and isinstance(failure, RateLimited | ModelUnavailable)
        if is_out:
            self.rests.failed(candidate.model)
        return is_out

    def answered(self, candidate: Candidate) -> None:
        self.rests.answered(candidate.model)

    async def close(self) -> None:
        for each in self.candidates:
            await each.client.close()


def models_of(model: str, order: Sequence[str], tiers: Mapping[str, Mapping[Tier, str]]) -> list[str]:
    """The exact names that `model` stands for: itself, or its tier at each provider of `order` that has the tier."""
    if "/" in model:
        return [model]
    names = [(provider, tier, name) for provider in order for tier, name in tiers.get(provider, {}).items()]
    return [f"{provider}/{name}" for provider, tier, name in names if tier == model]
