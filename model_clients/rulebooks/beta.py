"""Crypto beta (Cathie): coins, crypto funds and innovation, bought on dips within uptrends where beta is high.

Where the market lists too little of that, the most volatile names are the nearest offered, and she says so. Takes part
of a large gain, leaves a broken trend. Declines what does not move and what falls without an uptrend around it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median

from model_clients.rulebooks.history import History
from model_clients.rulebooks.rulebook import (
    Hold,
    Listed,
    Plan,
    Reading,
    View,
    Wish,
    average_history,
    clamp,
    coin_base,
    index_of,
    of_kind,
    trims,
)

CRYPTO_NAMES = ("IBIT", "BITO", "COIN", "MSTR")
INNOVATION = ("ARKK", "NVDA", "TSLA", "PLTR", "AMD")
FIELD_MIN = 4
"""Coins and crypto names from which on a market counts as having her field."""

COINS_READ_MAX = 12
TREND_BARS = 40
DIP_BARS = 10
STRENGTH_BARS = 10
DIP_SWINGS = 0.8
"""Fall from the recent high, in daily swings, that makes a dip."""

STRENGTH_MAX = 60.0
BETA_MIN = 1.1
BROKEN_STRETCH = -0.7
STAKE = 0.14
STARTER = 0.08
POSITIONS_MAX = 7
TAKE_GAIN = 0.15
LOSS_CUT = -0.12
DAYS_OUT = 5.0
DAYS_BETWEEN_ADDS = 4.0
DAYS_BETWEEN_TAKES = 10.0
HORIZON_DAYS = 60


@dataclass(frozen=True, slots=True)
class Look:
    """A symbol's figures: beta to the reference (None where it can't be told), fall from the high in daily swings."""

    history: History
    beta: float | None
    swing: float
    stretch: float
    momentum: float
    fall: float
    strength: float

    @property
    def rising(self) -> bool:
        return self.stretch > 0 and self.momentum > 0

    @property
    def words(self) -> str:
        told = "beta unknown" if self.beta is None else f"beta {self.beta:.1f}"
        return f"{told}, daily swing {self.swing:.1%}, {self.momentum:+.1%} over {TREND_BARS} bars"


class Beta:
    """The beta rulebook; see the module."""

    name = "beta"
    bars_needed = 8
    day_bars = 50
    hour_bars = 50

    def reading(self, listed: Mapping[str, Listed]) -> Reading:
        """Coins, crypto names and innovation; the rest of the market too where her field is thin."""
        field = crypto_field(listed)
        index = index_of(listed)
        always = tuple(dict.fromkeys((*field[:COINS_READ_MAX], *((index,) if index else ()))))
        if len(field) >= FIELD_MIN:
            innovation = [symbol for symbol in INNOVATION if symbol in listed]
            rotating = (*field[COINS_READ_MAX:], *innovation)
            return Reading(always, tuple(symbol for symbol in rotating if symbol not in always))
        has = f"only {' and '.join(field)} of" if field else "no"
        note = f"this market has {has} coins and crypto funds, so its most volatile names are the nearest offered"
        rest = tuple(symbol for symbol in of_kind(listed, "equity", "etf") if symbol not in always)
        return Reading(always, rest, note)

    def plan(self, view: View) -> Plan:
        looks = self._looks(view)
        sells = self._sells(view, looks)
        going = {wish.symbol for wish in sells}
        sells += [wish for wish in trims(view.task, HORIZON_DAYS) if wish.symbol not in going]
        wild = self._wild(view, looks)
        rising = sum(looks[symbol].rising for symbol in wild)
        outlook = f"{rising} of {len(wild)} high-beta names trend up"
        return Plan((*sells, *self._buys(view, looks, wild)), tuple(self._holds(view, looks, wild)), outlook)

    def _looks(self, view: View) -> dict[str, Look]:
        reference = self._reference(view)
        found = {}
        for symbol, history in view.histories.items():
            swing = history.daily_volatility(TREND_BARS)
            found[symbol] = Look(
                history,
                history.beta_to(reference) if reference else None,
                swing,
                history.stretch(TREND_BARS),
                history.momentum(TREND_BARS),
                -history.from_high(DIP_BARS) / swing if swing > 0 else 0.0,
                history.strength(STRENGTH_BARS),
            )
        return found

    def _reference(self, view: View) -> History | None:
        """What beta is measured against: the index, else the average of what was read."""
        index = index_of(view.listed)
        return view.histories.get(index or "") or average_history(view.histories)

    def _leader(self, view: View) -> History | None:
        """Whose trend the dips are bought in: bitcoin's where it is listed, else the reference's."""
        bitcoin = next((one for symbol, one in view.histories.items() if coin_base(symbol) == "BTC"), None)
        return bitcoin or self._reference(view)

    def _wild(self, view: View, looks: Mapping[str, Look]) -> list[str]:
        """High beta and more than the usual swing; of her own field, everything."""
        field, index = set(crypto_field(view.listed)), index_of(view.listed)
        usual = median(look.swing for look in looks.values())
        found = []
        for symbol, look in looks.items():
            high = look.beta is None or look.beta >= BETA_MIN
            if symbol in field or (symbol != index and high and look.swing > usual and view.kind(symbol)):
                found.append(symbol)
        return sorted(found)

    def _sells(self, view: View, looks: Mapping[str, Look]) -> list[Wish]:
        found = []
        for symbol in view.held():
            look, gain = looks[symbol], view.task.positions[symbol].gain
            if gain is not None and gain <= LOSS_CUT:
                reason = f"{symbol} is {gain:.1%} from its cost, past the cut of {LOSS_CUT:.0%} ({look.words})"
                found.append(Wish("sell", symbol, 1.0, 0.7, HORIZON_DAYS, reason))
            elif look.stretch < BROKEN_STRETCH:
                reason = f"{symbol} is {look.stretch:.1f} usual distances from its average: broken ({look.words})"
                found.append(Wish("sell", symbol, 1.0, 0.65, HORIZON_DAYS, reason))
            elif gain is not None and gain >= TAKE_GAIN and view.task.days_since("sell", symbol) >= DAYS_BETWEEN_TAKES:
                reason = f"{symbol} is up {gain:.1%}; a third of it is taken ({look.words})"
                found.append(Wish("sell", symbol, 0.34, 0.6, HORIZON_DAYS, reason))
        return found

    def _buys(self, view: View, looks: Mapping[str, Look], wild: list[str]) -> list[Wish]:
        """Dips in uptrends while the leader rises, the wildest first; else a starter for a book that is empty."""
        task = view.task
        if not task.may_open:
            return []
        leader = self._leader(view)
        calm = leader is None or leader.stretch(TREND_BARS) > 0
        places = POSITIONS_MAX - len(task.positions)
        dips: list[tuple[float, Wish]] = []
        for symbol in wild:
            look, held = looks[symbol], symbol in task.positions
            waited = task.days_since("buy", symbol) >= DAYS_BETWEEN_ADDS and task.days_since("sell", symbol) >= DAYS_OUT
            dip = look.fall >= DIP_SWINGS and look.strength <= STRENGTH_MAX
            if calm and look.rising and dip and waited and (held or places > 0):
                reason = f"{symbol} dips {look.fall:.1f} daily swings from its high within an uptrend ({look.words})"
                confidence = clamp(0.5 + 0.1 * look.fall, 0.5, 0.85)
                dips.append((look.swing, Wish("buy", symbol, STAKE, confidence, HORIZON_DAYS, reason)))
        dips.sort(key=lambda one: (-one[0], one[1].symbol))
        if dips or task.positions or task.days_since("sell") < DAYS_OUT:
            return [wish for _, wish in dips[:2]]
        rising = [symbol for symbol in wild if looks[symbol].rising]
        rising.sort(key=lambda symbol: (-looks[symbol].stretch, symbol))
        return [
            Wish(
                "buy", symbol, STARTER, 0.5, HORIZON_DAYS,
                f"{symbol} has the strongest uptrend and the book is empty: a starter ({looks[symbol].words})",
            )
            for symbol in rising[:1]
        ]  # fmt: skip

    def _holds(self, view: View, looks: Mapping[str, Look], wild: list[str]) -> list[Hold]:
        found = [Hold(symbol, 0.6, HORIZON_DAYS, f"{looks[symbol].words}; kept") for symbol in view.held()[:2]]
        waiting = sorted((one for one in wild if one not in view.task.positions), key=lambda one: -looks[one].swing)
        for symbol in waiting[:1]:
            why = "no dip yet" if looks[symbol].rising else "no uptrend to buy a dip in"
            found.append(Hold(symbol, 0.5, HORIZON_DAYS, f"{looks[symbol].words}; {why}"))
        return found


def crypto_field(listed: Mapping[str, Listed]) -> tuple[str, ...]:
    """Coins and crypto names that are listed: bitcoin and ether first, then the names, then the other coins."""
    coins = of_kind(listed, "coin")
    large = [symbol for symbol in coins if coin_base(symbol) in ("BTC", "ETH")]
    names = [symbol for symbol in CRYPTO_NAMES if symbol in listed]
    return tuple(dict.fromkeys((*large, *names, *coins)))
