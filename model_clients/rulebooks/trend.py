"""Trend with volatility targeting (Ray): the same diversified set in every session, each part sized by its risk.

Long what trends up by crossing averages or by leaving its channel, out of what trends down. Each part has the same risk
budget, so its weight is inverse to its volatility, and it is only traded outside a band. Declines to rank.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import sqrt

from model_clients.rulebooks.history import History
from model_clients.rulebooks.rulebook import Hold, Listed, Plan, Reading, View, Wish, clamp, coin_base, of_kind

SET_SIZE = 12
FUNDS = ("SPY", "QQQ", "IWM", "TLT", "GLD", "XLE", "XLF")
COINS = ("BTC", "ETH")
FAST_BARS = {"day": 20, "hour": 14}
SLOW_BARS = {"day": 60, "hour": 42}
CHANNEL_BARS = {"day": 20, "hour": 35}
CROSSING_BAND = 0.004
"""How far the averages must part before a crossing counts, so that two averages that lie together do not trade."""

TARGET_VOLATILITY = 0.20
"""Standard deviation of a year's return that the account aims at when every part is long."""

ASSUMED_CORRELATION = 0.5
"""Between any two parts. Fixed, because a measured one would move every target at once."""

TRADING_DAYS = 252
GROSS_MAX = 0.95
BAND_SHARE = 0.03
BAND_RELATIVE = 0.3
HORIZON_DAYS = 30


@dataclass(frozen=True, slots=True)
class Target:
    """What a symbol should weigh, and the figures behind its signal."""

    weight: float
    words: str


class Trend:
    """The trend rulebook; see the module."""

    name = "trend"
    bars_needed = 10
    day_bars = 80
    hour_bars = 60

    def reading(self, listed: Mapping[str, Listed]) -> Reading:
        """The fixed set, by what is listed alone, so that each session has the same."""
        return Reading(always=fixed_set(listed), note=_lack(listed))

    def plan(self, view: View) -> Plan:
        targets = self._targets(view)
        wishes = [wish for wish in (self._trade(view, symbol, targets[symbol]) for symbol in targets) if wish]
        wishes.sort(key=lambda wish: (wish.side != "sell", -wish.share, wish.symbol))
        moved = {wish.symbol for wish in wishes}
        holds = [
            Hold(symbol, 0.6, HORIZON_DAYS, self._stay(view, symbol, target))
            for symbol, target in targets.items()
            if symbol not in moved
        ]
        holds.sort(key=lambda hold: (-view.task.weight(hold.symbol), hold.symbol))
        up = sum(target.weight > 0 for target in targets.values())
        gross = sum(target.weight for target in targets.values())
        outlook = f"{up} of {len(targets)} parts trend up; target exposure {gross:.0%} of the account"
        return Plan(tuple(wishes), tuple(holds), outlook)

    def _targets(self, view: View) -> dict[str, Target]:
        """Weights that sum to at most GROSS_MAX, each within the account's position limit.

        A part's weight is its risk budget over its own volatility (Moskowitz, Ooi & Pedersen, 2012, "Time series
        momentum"); what is not long leaves its budget in cash, so that no signal moves another part's target.
        """
        limit = view.task.limits.max_position_share
        most = 1.0 if limit is None else float(limit) * 0.95
        budget = risk_budget(len(view.histories))
        signals = {symbol: signal(view.histories[symbol], symbol in view.task.positions) for symbol in view.histories}
        weights = {}
        for symbol, (long, _) in signals.items():
            history = view.histories[symbol]
            swing = history.daily_volatility(SLOW_BARS[history.interval]) * sqrt(TRADING_DAYS)
            weights[symbol] = min(most, budget / swing) if long and swing > 0 else 0.0
        scale = GROSS_MAX / max(GROSS_MAX, sum(weights.values()))
        return {symbol: Target(weights[symbol] * scale, signals[symbol][1]) for symbol in sorted(signals)}

    def _trade(self, view: View, symbol: str, target: Target) -> Wish | None:
        """What brings the holding to its target; nothing within the band, all of it when the trend is over."""
        held, weight = symbol in view.task.positions, view.task.weight(symbol)
        if held and target.weight == 0:
            return Wish("sell", symbol, 1.0, 0.7, HORIZON_DAYS, f"{target.words}: the trend is over, target 0")
        gap = target.weight - weight
        if abs(gap) <= max(BAND_SHARE, BAND_RELATIVE * target.weight):
            return None
        words = f"{target.words}; weight {weight:.1%}, target {target.weight:.1%} by its volatility"
        if gap < 0:
            return Wish("sell", symbol, -gap / weight, 0.6, HORIZON_DAYS, f"{words}: back to target")
        if not held and not view.task.may_open:
            return None
        return Wish("buy", symbol, gap, clamp(0.55 + gap, 0.5, 0.8), HORIZON_DAYS, f"{words}: up to target")

    def _stay(self, view: View, symbol: str, target: Target) -> str:
        weight = view.task.weight(symbol)
        if target.weight == 0:
            return f"{target.words}: no position"
        return f"{target.words}; weight {weight:.1%} against a target of {target.weight:.1%}, left as it is"


def fixed_set(listed: Mapping[str, Listed]) -> tuple[str, ...]:
    """Up to SET_SIZE symbols: broad funds, the two large coins, a share of each sector, then shares spread evenly."""
    chosen = [symbol for symbol in FUNDS if symbol in listed]
    for base in COINS:
        chosen += [symbol for symbol in of_kind(listed, "coin") if coin_base(symbol) == base][:1]
    shares = of_kind(listed, "equity")
    sectors: dict[str, str] = {}
    for symbol in shares:
        if listed[symbol].sector:
            sectors.setdefault(listed[symbol].sector, symbol)
    chosen += sectors.values()
    rest = [symbol for symbol in (*shares, *of_kind(listed, "coin", "etf")) if symbol not in chosen]
    missing = min(len(rest), max(0, SET_SIZE - len(chosen)))
    chosen += [rest[at * len(rest) // missing] for at in range(missing)]
    return tuple(chosen[:SET_SIZE])


def risk_budget(parts: int) -> float:
    """The yearly volatility that each part may have for the account to have its target, with every part long."""
    return TARGET_VOLATILITY / sqrt(parts + parts * (parts - 1) * ASSUMED_CORRELATION)


def signal(history: History, held: bool) -> tuple[bool, str]:
    """Whether to be long, with the figures. A channel's break outranks the averages; where they lie together, stay."""
    interval = history.interval
    low, high = history.channel(CHANNEL_BARS[interval])
    fast, slow = history.smoothed(FAST_BARS[interval]), history.smoothed(SLOW_BARS[interval])
    if history.last > high:
        return True, f"{history.symbol} at {history.last:.2f} broke out above {high:.2f}"
    if history.last < low:
        return False, f"{history.symbol} at {history.last:.2f} fell out of its channel below {low:.2f}"
    parted = fast / slow - 1
    words = f"{history.symbol} has its fast average {parted:+.2%} from its slow one"
    if abs(parted) <= CROSSING_BAND:
        return held, words
    return parted > 0, words


def _lack(listed: Mapping[str, Listed]) -> str:
    """What a diversified set misses here."""
    if any(symbol in listed for symbol in ("TLT", "GLD")) or not listed:
        return ""
    if of_kind(listed, "equity", "etf"):
        return "this market has no bonds or gold to spread over, so shares from across the list are the nearest offered"
    return "this market has coins alone, so the set is spread over coins"
