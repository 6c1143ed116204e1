"""Value and patience (Warren): steady shares well below their own long average, bought slowly and kept.

Buys at most one thing a day, small, from the steadier part of what it reads; sells only what has become far dearer than
its own average at a profit. Declines to chase, to cut a loss, and to buy what has fallen so far that the fall is news.
"""

from __future__ import annotations

from collections.abc import Mapping
from statistics import median

from model_clients.rulebooks.history import History
from model_clients.rulebooks.rulebook import Hold, Listed, Plan, Reading, View, Wish, clamp, of_kind, trims
from model_clients.rulebooks.sizing import REACH

DISCOUNT_STRETCH = -0.75
"""Stretch below the long average from which a price counts as a discount; an empty book starts at less."""

FIRST_DISCOUNT_STRETCH = -0.1
COLLAPSE_STRETCH = -3.0
DISCOUNT_MIN = 0.01
"""Discount as a fraction of the average that is worth more than the spread of a round trip."""

STEADY = 1.15
"""Daily swing, in typical ones, up to which a symbol counts as steady."""

DEAR_STRETCH = 2.0
DEAR_GAIN = 0.08
TRANCHE = 0.05
POSITIONS_MAX = 12
DAYS_BETWEEN_BUYS = 0.9
DAYS_BETWEEN_ADDS = 10.0
DAYS_BETWEEN_SALES = 20.0
WEIGHT_FULL = 0.12
"""Part of the account from which on a holding is not added to."""

HORIZON_DAYS = 365


class Value:
    """The value rulebook; see the module."""

    name = "value"
    bars_needed = 10
    day_bars = 100
    hour_bars = 100

    def reading(self, listed: Mapping[str, Listed]) -> Reading:
        """Shares; where none are listed funds, else coins, and says so."""
        shares, funds = of_kind(listed, "equity"), of_kind(listed, "etf")
        if shares:
            return Reading(rotating=shares)
        if funds:
            return Reading(rotating=funds, note="this market has no shares, so funds are the nearest thing offered")
        return Reading(
            rotating=of_kind(listed, "coin"),
            note="this market has no shares, so its steadier coins are the nearest thing offered",
        )

    def plan(self, view: View) -> Plan:
        field = {symbol: view.histories[symbol] for symbol in view.others() if symbol in view.listed}
        usual = median(one.daily_volatility(self.day_bars) for one in view.histories.values())
        outlook = (
            f"a typical daily swing of {usual:.2%} over {len(view.histories)} symbols; "
            f"{sum(one.stretch(self.day_bars) < 0 for one in view.histories.values())} stand below their own average"
        )
        wishes = [*self._dear(view), *trims(view.task, HORIZON_DAYS), *self._bargains(view, field, usual)]
        return Plan(tuple(wishes), tuple(self._holds(view, field)), outlook)

    def _dear(self, view: View) -> list[Wish]:
        found = []
        for symbol in view.held():
            history, gain = view.histories[symbol], view.task.positions[symbol].gain
            stretch = history.stretch(self.day_bars)
            waited = view.task.days_since("sell", symbol) >= DAYS_BETWEEN_SALES
            if gain is not None and gain >= DEAR_GAIN and stretch >= DEAR_STRETCH and waited:
                reason = (
                    f"{symbol} is up {gain:.1%} and {stretch:.1f} usual distances above its "
                    f"{min(self.day_bars, history.bars)}-bar average of {history.average(self.day_bars):.2f}: "
                    f"dear, half is sold"
                )
                found.append(Wish("sell", symbol, 0.5, 0.6, HORIZON_DAYS, reason))
        return found

    def _bargains(self, view: View, field: Mapping[str, History], usual: float) -> list[Wish]:
        """The deepest discount among the steady, new or held; what is held only slowly and below its last purchase."""
        task = view.task
        if not task.may_open or task.days_since("buy") < DAYS_BETWEEN_BUYS:
            return []
        bar = DISCOUNT_STRETCH if task.positions else FIRST_DISCOUNT_STRETCH
        candidates = [
            symbol
            for symbol in view.held()
            if task.days_since("buy", symbol) >= DAYS_BETWEEN_ADDS
            and task.weight(symbol) < WEIGHT_FULL
            and view.histories[symbol].last < (task.last_price("buy", symbol) or 0.0)
        ]
        if len(task.positions) < POSITIONS_MAX:
            candidates += field
        dearest_usd = float(task.total_usd * REACH) * TRANCHE
        found = []
        for symbol in candidates:
            history = view.histories[symbol]
            if history.last > dearest_usd and view.kind(symbol) != "coin":
                continue
            stretch, average = history.stretch(self.day_bars), history.average(self.day_bars)
            discount = 1 - history.last / average
            swing = history.daily_volatility(self.day_bars)
            steady = swing <= usual * STEADY
            if steady and COLLAPSE_STRETCH < stretch <= bar and discount >= DISCOUNT_MIN:
                reason = (
                    f"{symbol} at {history.last:.2f} is {discount:.1%} below its average of {average:.2f} "
                    f"over {min(self.day_bars, history.bars)} bars, and its daily swing of {swing:.2%} "
                    f"is steady beside the usual {usual:.2%}"
                )
                confidence = clamp(0.5 + 0.1 * -stretch, 0.5, 0.9)
                found.append((stretch, Wish("buy", symbol, TRANCHE, confidence, HORIZON_DAYS, reason)))
        found.sort(key=lambda one: (one[0], one[1].symbol))
        return [wish for _, wish in found[:1]]

    def _holds(self, view: View, field: Mapping[str, History]) -> list[Hold]:
        held = view.held()[:1]
        found = [
            Hold(symbol, 0.7, HORIZON_DAYS, f"{self._where(view.histories[symbol])}; held, patience costs nothing")
            for symbol in held
        ]
        nearest = sorted(field, key=lambda symbol: (field[symbol].stretch(self.day_bars), symbol))
        found += [
            Hold(symbol, 0.5, 30, f"{self._where(field[symbol])}; watched, not the moment to buy")
            for symbol in nearest[:2]
        ]
        return found

    def _where(self, history: History) -> str:
        away = history.last / history.average(self.day_bars) - 1
        return f"{history.last:.2f} is {away:+.1%} from its average of {history.bars} bars"
