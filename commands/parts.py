"""The table of parts: what of the floor is real, what is simulated or off, why, and how to change it.

Each part is a function of the settings and of the market that the store was made for; nothing is asked over a network.
The floor writes the table into its store when it starts, so that the dashboard, which sees no key, can show it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import delete, insert

from commands.servers import wanted_by
from database import Run, Store, lock_run
from desks.server_file import read_server_file
from model_clients.choice import HOUSE, choose
from model_clients.prices import Prices
from model_clients.providers import Providers
from personas import load_personas
from push.targets import Targets
from store import tables
from values.clock import wall_now
from values.errors import BadSetting
from values.settings import FloorSettings, MarketKind

State = Literal["real", "recorded", "simulated", "off"]
INIT = "`trading-floor init`"


@dataclass(frozen=True, slots=True)
class Part:
    """One part of the floor. `change` is what makes it another; empty where there is nothing to do."""

    name: str
    state: State
    why: str
    change: str = ""


@dataclass(frozen=True, slots=True)
class Given:
    """What the table follows from. `run` is None where there is no store yet: then `market` is what a new one gets."""

    settings: FloorSettings
    market: MarketKind
    run: Run | None

    @property
    def allows_web(self) -> bool:
        return self.market == "live" or self.settings.allow_live_research


def parts_of(settings: FloorSettings, run: Run | None, market: MarketKind) -> list[Part]:
    """The whole table."""
    given = Given(settings, market, run)
    return [part for rule in RULES for part in rule(given)]


def _prices(given: Given) -> Iterator[Part]:
    made = "a new store gets it" if given.run is None else "the store was made for it"
    other = f"{INIT} sets another market, which takes another store"
    if given.market == "live":
        plan = given.settings.polygon_plan
        yield Part("prices", "real", f"Polygon, plan {plan}: {made}", f"POLYGON_PLAN is how fresh; {other}")
    elif given.market == "replay":
        file = "the price file" if given.run is None else given.run.history_name
        yield Part("prices", "recorded", f"a replay of {file}: {made}", other)
    else:
        seed = "" if given.run is None else f", seed {given.run.seed}"
        yield Part("prices", "simulated", f"the simulated market{seed}: {made}", other)


def models_of(settings: FloorSettings) -> dict[str, str]:
    """Each persona's model, as a floor of these settings would begin with. Raises BadSetting where none would start."""
    prices = Prices(settings.prices_path, settings.base_urls)
    choice = choose(load_personas(), settings, Providers(settings), prices)
    return {name: chosen[0] if chosen else HOUSE for name, chosen in choice.models.items()}


def _models(given: Given) -> Iterator[Part]:
    """One line where all traders have the same model, else one for each."""
    try:
        models = models_of(given.settings)
    except BadSetting as wrong:
        yield Part("models", "off", wrong.sentence, INIT)
        return
    kinds = sorted(set(models.values()))
    for name, model in [("models", kinds[0])] if len(kinds) == 1 else sorted(models.items()):
        subject = name if name == "models" else f"model of {name}"
        if model == HOUSE:
            yield Part(
                subject, "simulated", "the rule-based house model", f"{INIT}, or MODEL=provider/NAME and the key for it"
            )
        else:
            yield Part(subject, "real", model, "MODEL=house for rules that cost nothing")


def _search(given: Given) -> Iterator[Part]:
    yield _searching("search", given)


def _news(given: Given) -> Iterator[Part]:
    yield _searching("news", given)


def _searching(name: str, given: Given) -> Part:
    """Pages and news come from one provider, as `research/server.py` chooses it."""
    settings, wanted = given.settings, given.settings.search_provider
    allow = "ALLOW_LIVE_RESEARCH=true with BRAVE_API_KEY, or with SEARCH_PROVIDER=ddgs"
    if wanted is None and given.market == "live":
        if settings.brave_api_key is None:
            return Part(name, "off", "no BRAVE_API_KEY is set", f"{INIT}, or SEARCH_PROVIDER=ddgs, which needs no key")
        wanted = "brave"
    if wanted is None and given.market == "replay":
        return Part(name, "off", "today's web would tell a replay its future", allow)
    if wanted in (None, "simulated"):
        return Part(name, "simulated", "headlines that fit the simulated market", allow)
    if wanted == "none":
        return Part(name, "off", "SEARCH_PROVIDER is none", "unset SEARCH_PROVIDER, or name another")
    if not given.allows_web:
        return Part(name, "off", f"{wanted} is the live web, which this market's research may not see", allow)
    if wanted == "brave" and settings.brave_api_key is None:
        return Part(name, "off", "SEARCH_PROVIDER is brave, and no BRAVE_API_KEY is set", INIT)
    return Part(name, "real", f"{wanted}", "SEARCH_PROVIDER chooses another")


def _pages(given: Given) -> Iterator[Part]:
    if given.allows_web:
        yield Part("pages", "real", "the researcher may read the web")
    else:
        yield Part("pages", "off", f"today's web is not of a {given.market} market", "ALLOW_LIVE_RESEARCH=true")


def _messages(given: Given) -> Iterator[Part]:
    try:
        names = Targets(given.settings).names
    except BadSetting as wrong:
        yield Part("messages", "off", wrong.sentence, INIT)
        return
    if names:
        yield Part("messages", "real", f"sent to {', '.join(names)}", "`trading-floor push-test` sends one")
    else:
        yield Part("messages", "off", "kept in the store, and sent nowhere", f"{INIT}, for Pushover or PUSH_URLS")


def _servers(given: Given) -> Iterator[Part]:
    file = read_server_file()
    named = sorted(file.servers.keys() & wanted_by(load_personas()).keys())
    if not named:
        why = (
            "mcp.json adds none that a persona names" if file.is_there else "the floor's own servers are all there are"
        )
        yield Part("extra servers", "off", why, "add them to mcp.json, and name them in a persona")
    elif not given.allows_web:
        yield Part(
            "extra servers", "off", f"a {given.market} market may not see today's world", "ALLOW_LIVE_RESEARCH=true"
        )
    else:
        yield Part("extra servers", "real", ", ".join(named), "`trading-floor servers` shows their tools")


def _database(given: Given) -> Iterator[Part]:
    address = given.settings.store_address
    kind = "an SQLite file" if address.is_file else "a PostgreSQL database"
    yield Part("database", "real", f"{kind}: {address}", "DATABASE_URL names another")


RULES: Sequence[Callable[[Given], Iterator[Part]]] = (
    _prices, _models, _search, _pages, _news, _messages, _servers, _database,
)  # fmt: skip
"""In the order of the table."""


def record_parts(store: Store, parts: Sequence[Part]) -> None:
    """Keep the table as it is now, in place of the one before."""
    wall = wall_now()
    with store.write() as connection:
        lock_run(connection)
        connection.execute(delete(tables.parts))
        connection.execute(
            insert(tables.parts),
            [
                {
                    "place": at, "name": each.name, "state": each.state, "why": each.why, "change": each.change,
                    "wall_time": wall,
                }
                for at, each in enumerate(parts)
            ],
        )  # fmt: skip
