"""What a model's tokens cost: the owner's own table first, then `genai-prices`, whose table comes with it.

No price is asked over the network, and none is guessed: a model without one is refused, unless it runs on this machine.
Ollama costs nothing. Another server on this machine costs what is known of the model's name, else nothing.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from values.errors import BadSetting
from values.money import PRICE_DECIMALS
from values.settings import is_loopback
from values.usage import NOTHING, Rates, Tokens

if TYPE_CHECKING:
    from genai_prices.types import ModelPrice

KNOWN_AS: Mapping[str, str] = {"grok": "x-ai", "gemini": "google"}
"""Our providers' names where `genai-prices` has others."""
USD_MAX = Decimal(10_000)
"""For a million tokens, in the owner's table."""
_KEYS = frozenset({"input_usd", "output_usd", "cached_usd", "cache_write_usd"})
_TABLE = 'a TOML file of tables such as ["openai/NAME"] with input_usd and output_usd'


@dataclass(frozen=True, slots=True)
class Price:
    """Rates by the length of the prompt: `steps` are pairs of tokens and the rates of prompts longer than that."""

    steps: tuple[tuple[int, Rates], ...]

    @classmethod
    def flat(cls, rates: Rates) -> Price:
        return cls(((-1, rates),))

    @property
    def is_nothing(self) -> bool:
        return all(rates.are_nothing for _, rates in self.steps)

    def rates(self, read: int) -> Rates:
        """Those of a prompt of `read` tokens; they count for all of it."""
        return [rates for more_than, rates in self.steps if read > more_than][-1]

    def most(self, read: int, output: int) -> tuple[Rates, Tokens]:
        """The dearest use of at most `read` and `output` tokens."""
        uses = [(rates, rates.dearest(read, output)) for more_than, rates in self.steps if read > more_than]
        return max(uses, key=lambda use: use[0].cost(use[1]))


FREE = Price.flat(NOTHING)


class Prices:
    """What models cost, by name and time. `table` is the owner's; `base_urls` say where each provider is asked.

    Raises BadSetting for a table that can't be read.
    """

    def __init__(self, table: Path | None = None, base_urls: Mapping[str, str] = {}) -> None:
        self._own = {} if table is None else _read(table)
        self._base_urls = base_urls

    def of(self, model: str, at: datetime) -> Price:
        """The price of `provider/NAME` at a wall time. Raises BadSetting with what to do where none is known."""
        own = self._own.get(model)
        if own is not None:
            return own
        provider, _, name = model.partition("/")
        if provider == "ollama":
            return FREE
        known = _known(KNOWN_AS.get(provider, provider), name, at)
        if known is not None:
            return known
        if is_loopback(urlsplit(self._base_urls.get(provider, "")).hostname or ""):
            return FREE
        raise BadSetting(
            "MODEL", model,
            f'a model whose price is known, or a table ["{model}"] with input_usd and output_usd (USD for a million '
            "tokens; 0 counts nothing) in the file that MODEL_PRICES names",
        )  # fmt: skip


def _known(provider: str, name: str, at: datetime) -> Price | None:
    """What `genai-prices` says, None where it knows no price for text."""
    from genai_prices import data_snapshot  # 0.2 s, for those who ask a language model

    try:
        _, found = data_snapshot.get_snapshot().find_provider_model(name, None, provider, None)
    except LookupError:
        return None
    price = found.get_prices(at)
    lengths = sorted({tier.start for key in _OF_TEXT for tier in getattr(getattr(price, key), "tiers", ())})
    steps = [(more_than, _rates(price, more_than + 1)) for more_than in (-1, *lengths)]
    return Price(tuple((more_than, rates) for more_than, rates in steps if rates is not None)) if steps[0][1] else None


_OF_TEXT = ("input_mtok", "cache_read_mtok", "cache_write_mtok", "output_mtok")


def _rates(price: ModelPrice, read: int) -> Rates | None:
    """Rates of a prompt of `read` tokens; None without both ways. What is cached costs as other text where not said."""
    each = [_at(getattr(price, key), read) for key in _OF_TEXT]
    if each[0] is None or each[3] is None:
        return None
    return Rates(*(each[0] if usd is None else usd for usd in each))


def _at(price: Any, read: int) -> Decimal | None:
    """USD for a million tokens, of a number or of one that depends on the prompt's length; to 1e-8, as it is kept."""
    if price is None:
        return None
    if not isinstance(price, Decimal):
        price = next((tier.price for tier in reversed(price.tiers) if read > tier.start), price.base)
    return Decimal(price).quantize(Decimal(1).scaleb(-PRICE_DECIMALS))


def _read(path: Path) -> dict[str, Price]:
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"), parse_float=Decimal)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise BadSetting("MODEL_PRICES", str(path), f"{_TABLE} (it can't be read: {why})") from None
    return {model: _own_price(path, model, given) for model, given in found.items()}


def _own_price(path: Path, model: str, given: object) -> Price:
    if not isinstance(given, dict) or not {"input_usd", "output_usd"} <= given.keys() <= _KEYS or "/" not in model:
        raise BadSetting("MODEL_PRICES", f"{model} in {path.name}", f"{_TABLE}, and cached_usd or cache_write_usd")
    usd = {key: _own_usd(path, f"{key} of {model}", value) for key, value in given.items()}
    read = usd["input_usd"]
    return Price.flat(Rates(read, usd.get("cached_usd", read), usd.get("cache_write_usd", read), usd["output_usd"]))


def _own_usd(path: Path, what: str, value: object) -> Decimal:
    is_number = isinstance(value, int | Decimal) and not isinstance(value, bool)
    usd = Decimal(value) if is_number else Decimal(-1)  # type: ignore[arg-type]
    if not usd.is_finite() or not 0 <= usd <= USD_MAX or usd != round(usd, PRICE_DECIMALS):
        raise BadSetting(f"MODEL_PRICES ({what} in {path.name})", value, f"0 to {USD_MAX:,} USD for a million tokens")
    return usd
