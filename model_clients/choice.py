"""Which model each trader gets: its persona's where the owner wants many, else one for all; `house` without any key.

A key is enough: with one, and nothing said about models, traders use the analytical tier of the first provider that has
a key. What was chosen otherwise than asked is said in a sentence.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from model_clients.prices import Prices
from model_clients.providers import TIERS, Providers
from model_clients.routing import Candidate, Rests, Route, models_of
from values.clock import wall_now
from values.errors import BadSetting
from values.settings import ModelSettings

HOUSE = "house"
DEFAULT_TIER = "analytical"


class Chooser(Protocol):
    """A trader as far as its model goes; an empty `model` is as good as none."""

    @property
    def name(self) -> str: ...
    @property
    def model(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Choice:
    """Exact names for each trader, the preferred first, none for the house's rules; and what the owner is told."""

    models: Mapping[str, tuple[str, ...]]
    sentences: tuple[str, ...]

    @property
    def is_house(self) -> bool:
        """Whether nobody asks a language model."""
        return not any(self.models.values())


def choose(traders: Iterable[Chooser], settings: ModelSettings, providers: Providers, prices: Prices) -> Choice:
    """Raises BadSetting for a model that can't be had, and for one whose price is not known."""
    keyed = [each for each in settings.provider_order if providers.has_key(each)]
    said: list[str] = []
    wanted = settings.model or (DEFAULT_TIER if keyed else HOUSE)
    default = _priced(wanted, keyed, prices, said)
    if settings.model is None:
        said.append(_why_default(default, keyed))
    chosen = {}
    for trader in traders:
        chosen[trader.name] = default
        if settings.use_many_models and trader.model:
            provider = trader.model.partition("/")[0]
            if "/" not in trader.model or providers.has_key(provider):
                chosen[trader.name] = _priced(trader.model, keyed, prices, said) or default
            else:
                shown = default[0] if default else HOUSE
                said.append(f"{trader.name} would use {trader.model}; {provider} has no key, so it uses {shown}")
    return Choice(chosen, tuple(dict.fromkeys(said)))


def _why_default(default: tuple[str, ...], keyed: list[str]) -> str:
    if not default:
        return "MODEL is not set and no provider has a key: traders follow the house's rules, at no cost"
    return f"MODEL is not set and {keyed[0]} has a key: traders use {default[0]}; MODEL=house costs nothing"


def _priced(wanted: str, keyed: list[str], prices: Prices, said: list[str]) -> tuple[str, ...]:
    """The models that `wanted` stands for, without those of a tier whose price is not known."""
    if wanted == HOUSE:
        return ()
    found = []
    for model in models_of(wanted, keyed, TIERS):
        try:
            prices.of(model, wall_now())
            found.append(model)
        except BadSetting as unknown:
            if "/" in wanted:
                raise
            said.append(f"{model} is left out of {wanted}: {unknown.sentence}")
    if not found:
        raise BadSetting("MODEL", wanted, "house, provider/NAME, or a tier of a provider whose key is set")
    return tuple(found)


def route(models: tuple[str, ...], providers: Providers, prices: Prices, rests: Rests) -> Route:
    """A trader's own clients for `models`, at least one; to be closed by the caller. Raises BadSetting."""
    return Route([Candidate(each, providers.client(each), partial(prices.of, each)) for each in models], rests)
