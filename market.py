"""One question - what is it worth, and is it open? - and the one venue of this run that answers it.

A Market joins the run's venue with the run's clock, so that every process of a run sees the same price at the same
time. It never invents a price and never answers for the future.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from database import NewRun, Run, Store
from recording.recording import Recording
from values.address import StoreAddress
from values.clock import Clock
from values.errors import BadSetting, Refused, StoreEmpty, StoreUnusable, shown
from values.instrument import Instrument, Kind, normalise_symbol
from values.quote import Bar, Interval, MarketSession, Quote
from values.settings import MarketKind, MarketSettings
from venues.venue import Venue, WideVenue

LISTING_ROWS_MAX = 200
BARS_MAX = 500


@dataclass(frozen=True, slots=True)
class Market:
    """The run's venue at the run's time. `minds_closed`: orders for a closed instrument are refused."""

    venue: Venue
    clock: Clock
    minds_closed: bool = True

    @property
    def name(self) -> str:
        return self.venue.name

    @property
    def has_corporate_actions(self) -> bool:
        """Whether splits and dividends happen on it: in the simulated one and in a price file there are none."""
        return self.name == "live"

    def is_market_open(self) -> bool:
        """Whether any instrument trades now."""
        return self.session().is_open

    def session(self, symbol: str | None = None) -> MarketSession:
        return self.venue.session(self.clock.now(), None if symbol is None else normalise_symbol(symbol))

    def instrument(self, symbol: object) -> Instrument:
        """Raises Refused `bad_symbol` or `unknown_symbol`."""
        return self.venue.instrument(normalise_symbol(symbol))

    def quote(self, symbol: str) -> Quote:
        """Raises Refused `bad_symbol` or `unknown_symbol`; VenueUnavailable when there is no price to give."""
        return self.venue.quote(normalise_symbol(symbol), self.clock.now())

    def get_share_price(self, symbol: str) -> Decimal:
        """USD for one unit of `symbol` now."""
        return self.quote(symbol).price

    def get_all_share_prices_polygon_eod(self) -> dict[str, Decimal]:
        """Every share's close of the newest trading day that the live market's plan has, USD by symbol.

        Raises VenueUnavailable, and Refused `not_live` on another market.
        """
        from venues.polygon import PolygonVenue

        if not isinstance(self.venue, PolygonVenue):
            raise Refused("not_live", f"this is a {self.name} market; only a live one has all shares' closes")
        return dict(self.venue.closes(self.clock.now()).all())

    def hours_note(self) -> str:
        """What a vendor says of the market's hours where it differs from what `session` tells; else empty."""
        return self.venue.hours_note(self.clock.now()) if isinstance(self.venue, WideVenue) else ""

    def bars(self, symbol: str, interval: Interval, count: int) -> tuple[Bar, ...]:
        """The last `count` (1 to 500) bars that are complete now, oldest first."""
        if not 1 <= count <= BARS_MAX:
            raise Refused("bad_count", f"the count is {shown(count)}; expected 1 to {BARS_MAX} bars")
        return self.venue.bars(normalise_symbol(symbol), interval, count, self.clock.now())

    def find(
        self, query: str, kind: Kind | None, sector: str | None, limit: int, cursor: str | None
    ) -> tuple[list[Instrument], str | None]:
        """One page of the instruments that match, in symbol order, and the cursor of the next page.

        `query` is part of a symbol or name, case-folded; a cursor is the last symbol of the page before.
        """
        if not 1 <= limit <= LISTING_ROWS_MAX:
            raise Refused("bad_limit", f"the limit is {shown(limit)}; expected 1 to {LISTING_ROWS_MAX} rows")
        wanted, field = query.strip().casefold(), sector and sector.strip().casefold()
        after = "" if cursor is None else normalise_symbol(cursor)
        found = [
            each
            for each in self._listed(wanted)
            if each.symbol > after
            and (wanted in each.symbol.casefold() or wanted in each.name.casefold())
            and kind in (None, each.kind)
            and field in (None, "", each.sector.casefold())
        ]
        return found[:limit], found[limit - 1].symbol if len(found) > limit else None

    def _listed(self, query: str) -> Sequence[Instrument]:
        """What may match, in symbol order; of a venue that lists more than it can tell at once, what it finds too."""
        listed = self.venue.instruments()
        if not query or not isinstance(self.venue, WideVenue):
            return listed
        known = {each.symbol: each for each in (*self.venue.search(query), *listed)}
        return [known[symbol] for symbol in sorted(known)]


def open_store(settings: MarketSettings) -> Store:
    """The store that the settings name, made for their market when it is not there yet.

    Raises StoreUnusable when it was made for another market, price file or seed; the sentence names the way out.
    """
    address = settings.store_address
    try:
        store = Store(address)
    except StoreEmpty:  # perhaps another process is about to make it: whoever has the first turn does
        store = Store(address, _new_run(settings, address))
    try:
        _check_same_run(store.run(), settings)
    except BaseException:
        store.close()
        raise
    return store


def open_market(store: Store, settings: MarketSettings) -> Market:
    """The market of the store's run. Raises BadSetting for a live one without a key."""
    return Market(_venue(store, settings), store.clock(), minds_closed=not settings.run_even_when_market_is_closed)


def recorded(market: Market, recording: Recording) -> Market:
    """`market` on a run's recording. A playback has nothing underneath but the recording."""
    from venues.recorded import RecordedClock, RecordedVenue

    venue = RecordedVenue(None if recording.is_playing else market.venue, recording, str(recording.fact("market")))
    return Market(venue, RecordedClock(market.clock, recording), market.minds_closed)


def new_market(settings: MarketSettings) -> MarketKind:
    """What a store that is made now is made for."""
    has_key = settings.polygon_api_key is not None
    return settings.market or ("replay" if settings.history_path else "live" if has_key else "simulated")


def _new_run(settings: MarketSettings, address: StoreAddress) -> NewRun:
    market = new_market(settings)
    if market == "live":
        _check_key(settings)
        return NewRun("live")
    if market == "simulated":
        return NewRun("simulated", settings.market_seed)
    from venues.history import history_hash, import_history

    history = settings.history_path
    if history is None:
        raise BadSetting("REPLAY_HISTORY", None, "the path of a price file, which a replay needs (--history FILE)")
    digest = history_hash(history)
    info = import_history(history, address.history_path(digest))
    return NewRun("replay", settings.market_seed, digest, history.name, info.first_start)


def _check_key(settings: MarketSettings) -> None:
    """Raises BadSetting."""
    if settings.polygon_api_key is None:
        raise BadSetting("POLYGON_API_KEY", None, "a key of Polygon (massive.com), which a live market needs")


def _venue(store: Store, settings: MarketSettings) -> Venue:
    run = store.run()
    if run.market == "live":
        _check_key(settings)
        from venues.polygon import open_polygon

        return open_polygon(store, settings)
    if run.market == "replay":
        from venues.replay import ReplayVenue

        assert run.history_hash is not None
        path = store.address.history_path(run.history_hash)
        if store.address.recording_path.exists():
            from venues.recorded import RecordedVenue

            return RecordedVenue(None, Recording(store.address.recording_path, "play"), run.market)
        if not path.exists():
            raise StoreUnusable(
                f"the indexed price file {path} of this store is gone: run the floor once with --history and the file "
                f"it was made from ({run.history_name}), or `trading-floor reset`"
            )
        return ReplayVenue(path)
    from venues.simulated import SimulatedVenue

    return SimulatedVenue(run.seed, run.started_at)


def _check_same_run(run: Run, settings: MarketSettings) -> None:
    wanted: list[tuple[str, object, object]] = []
    market: MarketKind | None = settings.market
    if market is not None and market != run.market:
        wanted.append(("market", run.market, market))
    if settings.market_seed is not None and settings.market_seed != run.seed:
        wanted.append(("seed", run.seed, settings.market_seed))
    if run.market == "replay" and settings.history_path is not None and settings.history_path.exists():
        from venues.history import history_hash, import_history

        digest = history_hash(settings.history_path)
        if digest != run.history_hash:
            wanted.append(("price file", run.history_name, settings.history_path.name))
        else:
            import_history(
                settings.history_path,
                settings.store_address.history_path(digest),
            )
    for what, was, now in wanted:
        raise StoreUnusable(
            f"the store {settings.store_address} was made for the {what} {was}, not {now}; prices of different runs "
            "never meet in one account. Name another store (DATABASE_URL=sqlite:///other.db), or start anew with "
            "`trading-floor reset`, which keeps a copy"
        )
