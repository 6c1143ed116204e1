"""A store of a simulated market with as many traders' accounts as a benchmark asks for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from accounts import open_account
from database import Store
from market import Market, open_market, open_store
from personas import Persona, load_personas
from values.settings import PROJECT, MarketSettings, load

SEED = 7


@dataclass(frozen=True, slots=True)
class Books:
    """`told` is what the servers are told of the run."""

    store: Store
    market: Market
    told: dict[str, str]


@contextmanager
def open_books(folder: Path, personas: Sequence[Persona]) -> Iterator[Books]:
    """A new store in `folder`, with an account for each persona."""
    told = {"DATABASE_URL": f"sqlite:///{folder}/accounts.db", "MARKET": "simulated", "MARKET_SEED": str(SEED)}
    settings = load(MarketSettings, **{key.lower(): value for key, value in told.items()})
    with closing(open_store(settings)) as store:
        market = open_market(store, settings)
        for each in personas:
            open_account(
                store, market, each.name, strategy=each.strategy, kind="trader", limits=each.limits, actor="floor"
            )
        yield Books(store, market, told)


def crowd(traders: int) -> list[Persona]:
    """The house's personas, again and again under names of their own."""
    personas = load_personas(PROJECT / "personas")
    return [
        replace(personas[number % len(personas)], name=f"{personas[number % len(personas)].name}-{number}")
        for number in range(traders)
    ]
