"""Headlines of the simulated market: one for each sudden move that its venue made, up to now and never later.

They follow from the venue's jumps alone, so every process of a run reads the same ones. Each says in its title,
source and address that it is simulated; none names a publisher, a cause that could be checked, or a real event.
Nothing else is on this web: pages, opinions and what the future brings are not modelled.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import datetime
from hashlib import blake2b

from research.provider import WINDOWS, Freshness, Hit, SearchUnavailable
from values.clock import iso
from values.errors import VenueUnavailable
from values.instrument import Instrument
from venues.cascade import EPOCH
from venues.simulated import Jump, SimulatedVenue

_FALLS = (
    "{name} falls {move} after an announcement",
    "{name} drops {move} within a minute",
    "Sellers surprise {name}: down {move}",
    "{name} slides {move} on unexpected news",
    "Bad news for holders of {name}, which loses {move}",
)
_RISES = (
    "{name} rises {move} after an announcement",
    "{name} jumps {move} within a minute",
    "Buyers surprise {name}: up {move}",
    "{name} climbs {move} on unexpected news",
    "Good news for holders of {name}, which gains {move}",
)
_SECTOR_FALLS = (
    "{sector}: the whole group falls, {name} by {move}",
    "News weighs on {sector}; {name} loses {move}",
    "{name} drops {move} together with its group, {sector}",
)
_SECTOR_RISES = (
    "{sector}: the whole group rises, {name} by {move}",
    "News lifts {sector}; {name} gains {move}",
    "{name} climbs {move} together with its group, {sector}",
)
_REMARKS = (
    "Traders are still looking for the reason.",
    "No further detail was given.",
    "Whether it lasts is open.",
    "The move came at once.",
)

_LONGEST: Freshness = "year"
_ALIASES = {
    "banking": "financials",
    "banks": "financials",
    "crypto": "digital assets",
    "cryptocurrencies": "digital assets",
    "cryptocurrency": "digital assets",
    "ethereum": "ether",
    "facebook": "meta",
    "google": "alphabet",
    "healthcare": "health care",
    "oil": "energy",
    "tech": "technology",
}
_ANY_MARKET = {
    "economy", "equities", "headlines", "market", "markets", "movers", "news", "shares", "stock", "stocks", "trading",
}  # fmt: skip
_NO_NAME = {"and", "bond", "etf", "innovation", "platforms", "sector", "select", "shares", "trust", "year"}


class SimulatedSearch:
    """The news of a simulated market, for web and news searches alike."""

    name = "simulated"
    is_live = False
    note = "headlines of the simulated market: made from its own jumps, no publisher wrote them, no real event is meant"

    def __init__(self, venue: SimulatedVenue) -> None:
        self._venue = venue

    async def web(self, query: str, count: int, freshness: Freshness | None, now: datetime) -> tuple[Hit, ...]:
        """The same as `news`."""
        return await self.news(query, count, freshness, now)

    async def news(self, query: str, count: int, freshness: Freshness | None, now: datetime) -> tuple[Hit, ...]:
        """Headlines on what `query` names (symbols, names, sectors, or the market), newest first, a year back at most.

        A move of a whole sector is told once, of the instrument named that moved most. Raises SearchUnavailable
        outside the simulated market's years.
        """
        try:
            told = self._told(query, freshness, now)
        except VenueUnavailable as error:
            raise SearchUnavailable(f"{error}") from error
        newest = sorted(told, reverse=True)[:count]
        return tuple(_headline(*told[each]) for each in newest)

    def _told(
        self, query: str, freshness: Freshness | None, now: datetime
    ) -> dict[tuple[datetime, str], tuple[Instrument, Jump]]:
        """By time and whose it was: the jump, and the instrument that it is told of."""
        start = max(EPOCH, now - WINDOWS[freshness or _LONGEST])
        told: dict[tuple[datetime, str], tuple[Instrument, Jump]] = {}
        for instrument in _named(query, self._venue.instruments()):
            for jump in self._venue.jumps(instrument.symbol, start, now):
                whose = instrument.symbol if jump.scope == "symbol" else f"sector {instrument.sector}"
                known = told.get((jump.time, whose))
                if known is None or abs(jump.size) > abs(known[1].size):
                    told[jump.time, whose] = instrument, jump
        return told


def _named(query: str, instruments: Sequence[Instrument]) -> list[Instrument]:
    """The instruments that a query names; all of them for one that names none but speaks of markets."""
    words = {word.strip(".-+") for word in re.findall(r"[a-z0-9&.+-]+", query.casefold())}
    words |= {word for alias in words & _ALIASES.keys() for word in _ALIASES[alias].split()}
    found = [each for each in instruments if any(names <= words for names in _names(each))]
    return found or (list(instruments) if words & _ANY_MARKET else [])


def _names(instrument: Instrument) -> Iterator[set[str]]:
    """Sets of words, each of which names the instrument: its symbol, a word of its name, its whole sector."""
    symbol = instrument.symbol.casefold()
    yield {symbol}
    if instrument.kind == "coin":
        yield {symbol.partition("-")[0]}
    for word in instrument.name.casefold().split():
        if len(word) > 2 and word not in _NO_NAME:
            yield {word}
    yield set(instrument.sector.casefold().split())


def _headline(instrument: Instrument, jump: Jump) -> Hit:
    is_own = jump.scope == "symbol"
    # the size follows from the seed, so it makes the words the run's own
    digest = blake2b(f"{instrument.symbol} {jump.time.isoformat()} {jump.size!r}".encode(), digest_size=2).digest()
    rises = _RISES if is_own else _SECTOR_RISES
    falls = _FALLS if is_own else _SECTOR_FALLS
    sentences = rises if jump.size > 0 else falls
    sentence = sentences[digest[0] % len(sentences)]
    title = sentence.format(name=instrument.name, sector=instrument.sector, move=f"{abs(jump.size) * 100:.1f} %")
    cause = "for a reason of its own" if is_own else f"with its sector, {instrument.sector}"
    minute = jump.time.strftime("%Y-%m-%dT%H:%MZ")
    return Hit(
        title=f"[simulated] {title}",
        url=f"simulated://news/{instrument.symbol}/{minute}{'' if is_own else '/sector'}",
        snippet=f"{instrument.symbol} moved {jump.size * 100:+.1f} % at {iso(jump.time)}, {cause}. "
        f"{_REMARKS[digest[1] % len(_REMARKS)]} A headline of the simulated market.",
        source="simulated",
        published=jump.time,
    )
