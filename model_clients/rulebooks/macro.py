"""Macro momentum (George): read the market's regime, then concentrate in the few strongest or take shelter.

Risk-on: the strongest momentum of what it reads, added to as it wins, cut quickly when it loses. Risk-off: risk is sold
and the rest goes to long bonds or gold while they rise, else stays cash. Declines to average down.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

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
    index_of,
    trims,
)

SHELTERS = ("TLT", "GLD")
MOMENTUM_BARS = {"day": 20, "hour": 35}
INDEX_BARS = {"day": 50, "hour": 70}
INDEX_BAND = 0.01
"""How far below its average the index must be before what is held counts as standing in a falling market."""

EDGE = 0.02
"""Momentum beyond the index's that a purchase needs."""

POSITIONS_MAX = 4
STAKE = 0.22
ADD_STAKE = 0.06
ADD_STEP = 0.03
LOSS_CUT = -0.05
SWITCH_EDGE = 0.08
DAYS_KEPT = 3.0
"""Days that a purchase has before a stronger name may take its place."""

DAYS_OUT = 3.0
"""Days that a sold symbol is left alone."""

SHELTER_STAKE = 0.3
HORIZON_DAYS = 20


@dataclass(frozen=True, slots=True)
class Regime:
    """`momentum` is the index's over the same bars as the symbols'."""

    risk_on: bool
    momentum: float
    words: str


class Macro:
    """The macro rulebook; see the module."""

    name = "macro"
    bars_needed = 8
    day_bars = 50
    hour_bars = 70

    def reading(self, listed: Mapping[str, Listed]) -> Reading:
        """Everything, and always the index and the shelters."""
        index = index_of(listed)
        shelters = tuple(symbol for symbol in SHELTERS if symbol in listed)
        always = tuple(dict.fromkeys((*((index,) if index else ()), *shelters)))
        lacks = []
        if index is None:
            lacks.append("no index to read the regime from, so the average of what is read stands in")
        if not shelters:
            lacks.append("no bonds or gold for shelter, so cash stands in")
        note = f"this market has {' and '.join(lacks)}" if lacks else ""
        rotating = tuple(symbol for symbol in sorted(listed) if symbol not in always)
        return Reading(always, rotating, note)

    def plan(self, view: View) -> Plan:
        regime = self._regime(view)
        cuts = self._cuts(view, regime)
        going = {wish.symbol for wish in cuts}
        wishes = cuts + [wish for wish in trims(view.task, HORIZON_DAYS) if wish.symbol not in going]
        if regime.risk_on:
            wishes += self._adds(view, regime, going) + self._opens(view, regime, going)
        else:
            wishes += self._shelter(view)
        return Plan(tuple(wishes), tuple(self._holds(view, regime)), regime.words)

    def _regime(self, view: View) -> Regime:
        name = index_of(view.listed)
        index = view.histories.get(name) if name else None
        if index is None:
            index = average_history(view.histories) or next(iter(view.histories.values()))
        bars = INDEX_BARS[index.interval]
        average, momentum = index.average(bars), index.momentum(MOMENTUM_BARS[index.interval])
        exposed = any(symbol not in SHELTERS for symbol in view.task.positions)
        floor = average * (1 - INDEX_BAND) if exposed else average
        risk_on = index.last >= floor
        words = (
            f"{'risk-on' if risk_on else 'risk-off'}: {index.symbol} at {index.last:.2f} against its "
            f"{min(bars, index.bars)}-bar average of {average:.2f}, momentum {momentum:+.1%}"
        )
        return Regime(risk_on, momentum, words)

    def _cuts(self, view: View, regime: Regime) -> list[Wish]:
        """Losers in any regime; every risk in a risk-off one; shelters that are no longer needed or fall."""
        found = []
        for symbol in view.held():
            history, gain = view.histories[symbol], view.task.positions[symbol].gain
            momentum, average = _momentum(history), history.average(MOMENTUM_BARS[history.interval])
            falling = momentum < 0 and history.last < average
            if symbol in SHELTERS and not falling and not regime.risk_on:
                continue
            if symbol in SHELTERS:
                reason = f"{symbol} was shelter; {'risk is on again' if regime.risk_on else 'it falls too'}"
            elif not regime.risk_on:
                reason = f"{regime.words}; {symbol} is risk and is sold"
            elif gain is not None and gain <= LOSS_CUT:
                reason = f"{symbol} is {gain:.1%} from its cost, past the cut of {LOSS_CUT:.0%}"
            elif falling:
                reason = f"{symbol} lost its momentum ({momentum:+.1%}) and its average of {average:.2f}"
            else:
                continue
            found.append(Wish("sell", symbol, 1.0, 0.75, HORIZON_DAYS, reason))
        return found

    def _adds(self, view: View, regime: Regime, going: set[str]) -> list[Wish]:
        """More of what has risen a step above its own last purchase, within the position limit."""
        limit = view.task.limits.max_position_share
        most = float(limit) if limit is not None else 1.0
        found = []
        for symbol in view.held():
            history, bought = view.histories[symbol], view.task.last_price("buy", symbol)
            room = view.task.weight(symbol) + ADD_STAKE <= most
            if bought is None or symbol in going or symbol in SHELTERS or not room:
                continue
            rise = history.last / bought - 1
            if rise >= ADD_STEP and _momentum(history) > regime.momentum and view.task.days_since("buy", symbol) >= 1:
                reason = f"{symbol} is {rise:+.1%} above its last purchase and still leads; a winner is added to"
                found.append(Wish("buy", symbol, ADD_STAKE, 0.65, HORIZON_DAYS, reason))
        return found

    def _opens(self, view: View, regime: Regime, going: set[str]) -> list[Wish]:
        """The strongest of what was read; one switch a day from the weakest holding when all places are taken."""
        task = view.task
        if not task.may_open:
            return []
        strong = []
        for symbol in view.others():
            history = view.histories[symbol]
            momentum, average = _momentum(history), history.average(MOMENTUM_BARS[history.interval])
            leads = momentum >= max(EDGE, regime.momentum + EDGE) and history.last > average
            if leads and symbol not in SHELTERS and task.days_since("sell", symbol) >= DAYS_OUT:
                reason = f"{symbol} leads with {momentum:+.1%} against {regime.momentum:+.1%} of the index"
                confidence = clamp(0.5 + 2 * (momentum - regime.momentum), 0.5, 0.9)
                strong.append((momentum, Wish("buy", symbol, STAKE, confidence, HORIZON_DAYS, reason)))
        strong.sort(key=lambda one: (-one[0], one[1].symbol))
        staying = [symbol for symbol in task.positions if symbol not in going]
        places = POSITIONS_MAX - len(staying)
        if places > 0 or not strong:
            return [wish for _, wish in strong[: min(2, max(places, 0))]]
        best, wish = strong[0]
        read = [
            symbol for symbol in staying if symbol in view.histories and task.days_since("buy", symbol) >= DAYS_KEPT
        ]
        weakest = min(read, key=lambda symbol: (_momentum(view.histories[symbol]), symbol), default=None)
        if weakest is None or task.days_since("sell") < 1:
            return []
        lag = best - _momentum(view.histories[weakest])
        if lag < SWITCH_EDGE:
            return []
        reason = f"{weakest} is the weakest holding and {wish.symbol} is {lag:.1%} stronger; it makes room"
        return [Wish("sell", weakest, 1.0, 0.65, HORIZON_DAYS, reason), wish]

    def _shelter(self, view: View) -> list[Wish]:
        if not view.task.may_open:
            return []
        found = []
        for symbol in SHELTERS:
            history = view.histories.get(symbol)
            if history is None or symbol in view.task.positions:
                continue
            momentum = _momentum(history)
            if momentum >= 0 and view.task.days_since("sell", symbol) >= DAYS_OUT:
                reason = f"the market is risk-off and {symbol} rises ({momentum:+.1%}): shelter"
                found.append(Wish("buy", symbol, SHELTER_STAKE, 0.6, HORIZON_DAYS, reason))
        return found

    def _holds(self, view: View, regime: Regime) -> list[Hold]:
        def words(symbol: str) -> str:
            return f"momentum {_momentum(view.histories[symbol]):+.1%} against {regime.momentum:+.1%} of the index"

        held = [Hold(symbol, 0.6, HORIZON_DAYS, f"{words(symbol)}; kept") for symbol in view.held()[:2]]
        strongest = sorted(view.others(), key=lambda symbol: (-_momentum(view.histories[symbol]), symbol))[:1]
        why = "no strength worth a place now" if regime.risk_on else "no new risk while the market falls"
        return held + [Hold(symbol, 0.5, HORIZON_DAYS, f"{words(symbol)}; {why}") for symbol in strongest]


def _momentum(history: History) -> float:
    return history.momentum(MOMENTUM_BARS[history.interval])
