"""Price history of a live market, asked for before anybody needs it: a small plan would make each trader wait.

Nothing here is urgent: prices, and what traders ask for themselves, go before.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Iterator

from market import Market
from values.errors import Refused, StoreUnusable, VenueUnavailable

logger = logging.getLogger("floor.warming")

AGAIN_S = 15.0
TRIES_MAX = 40
"""Of one share in one round; a plan of five requests a minute takes some tries."""
ROUND_S = 3600.0
END_S = 1.0
"""How long the floor's end waits for a request that is on its way."""


@contextlib.contextmanager
def warm_history(market: Market, again_s: float = AGAIN_S) -> Iterator[None]:
    """While inside, on a live market, daily bars of what the floor lists are asked for, each once a trading day."""
    if market.name != "live":
        yield
        return
    ended = threading.Event()
    warming = threading.Thread(target=_keep_warm, args=(market, again_s, ended), name="warm-history", daemon=True)
    warming.start()
    try:
        yield
    finally:
        ended.set()
        warming.join(END_S)


def _keep_warm(market: Market, again_s: float, ended: threading.Event) -> None:
    while True:
        for instrument in market.venue.instruments():
            for _ in range(TRIES_MAX):
                if ended.is_set():
                    return
                try:
                    market.bars(instrument.symbol, "day", 1)
                except (VenueUnavailable, StoreUnusable) as error:
                    logger.info("no history of %s yet: %s", instrument.symbol, error)
                    ended.wait(again_s)
                except Refused as refusal:
                    logger.info("no history of %s: %s", instrument.symbol, refusal.sentence)
                    break
                else:
                    break
        if ended.wait(ROUND_S):
            return
