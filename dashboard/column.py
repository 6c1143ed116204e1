"""A trader's column: what it is worth, what it holds, what it did and why, newest first."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from dashboard.html import (
    NOT_KNOWN,
    Cell,
    Column,
    Markup,
    dollars,
    join,
    moment,
    percent,
    quantity,
    signed,
    table,
    tag,
    trend,
)
from dashboard.snapshots import Lines
from dashboard.sparkline import sparkline
from dashboard.view import AccountView, Decision, LogLine, Trade

LOG_CHARS_SHOWN = 400
LOG_ROWS_REMEMBERED = 10_000
"""As markup, so that a new row costs its own rendering alone."""
HOLDINGS = (
    Column("Symbol"),
    Column("Quantity", "number"),
    Column("Cost", "number", "USD"),
    Column("Price", "number", "USD"),
    Column("Value", "number", "USD"),
    Column("Weight", "number"),
    Column("Profit", "number", "USD"),
)
TRADES = (
    Column("Time", "time"),
    Column("Trade"),
    Column("Quantity", "number"),
    Column("Price", "number", "USD"),
    Column("Amount", "number", "USD"),
    Column("Why"),
)
DECISIONS = (
    Column("Time", "time"),
    Column("Decision"),
    Column("Sure", "number"),
    Column("Days", "number"),
    Column("Why"),
)


_BY = {"floor": "by the floor", "client": "by its client", "operator": "by the owner", "baseline": "by its rule"}


def render_strategy(account: AccountView) -> Markup:
    """The strategy's words, with when they became its own and through whom."""
    change = account.strategy_change
    words = tag("p", account.strategy, class_="why") if account.strategy else tag("p", "It has none.", class_="empty")
    if change is None:
        return words
    by = "by itself, in a session" if change.session_id else _BY.get(change.actor, f"by {change.actor}")
    since = tag("p", "since ", moment(change.market_time, date=True), f", {by}", class_="quiet")
    return join([since, words])


def render_top(account: AccountView) -> Markup:
    """Name, model, value and profit, with the line of its recorded values."""
    state = None
    if account.state != "active":
        state = tag("span", account.state, class_=f"state {account.state}", title=account.state_reason or None)
    figures = tag(
        "div",
        tag("span", dollars(account.value), class_="big", aria_label="value in USD"),
        tag("span", f"{signed(account.profit)}", class_=f"profit {trend(account.profit)}"),
        tag("span", percent(account.return_share, sign=True), class_=f"return {trend(account.return_share)}"),
        class_="figures",
    )
    model = f"{account.model} (rules)" if account.is_rule_based else account.model
    return tag(
        "div",
        tag("h3", account.title, state),
        tag("p", tag("span", account.style, class_="persona"), tag("span", model, class_="model"), class_="about"),
        figures,
        sparkline(account.points, account.deposited),
        _line(account),
        class_=f"top trader-{account.name}",
    )


def _line(account: AccountView) -> Markup:
    today = f"today {signed(account.today)} ({percent(account.today_share, sign=True)})"
    parts = [f"cash {dollars(account.cash)}", today, f"{account.trades} trades, {account.refusals} refused"]
    if account.cached_tokens:
        share = percent(account.cached_tokens / account.input_tokens, places=0)
        parts.append(f"{share} of its prompts came from caches")
    if account.is_stale:
        parts.append("valued at a stale price")
    return tag("p", " · ".join(parts), class_="line")


def render_log(lines: Sequence[LogLine]) -> Lines:
    """What happens, as it happens; each line in its type's colour, with the type's name."""
    return Lines([(line.id, _log_row(line)) for line in lines])


@lru_cache(LOG_ROWS_REMEMBERED)
def _log_row(line: LogLine) -> Markup:
    return tag(
        "li",
        moment(line.wall_time),
        tag("span", line.type, class_="type"),
        tag("span", _message(line), class_="message"),
        class_=f"log-{line.type}" + (" error" if line.is_error else ""),
    )


def _message(line: LogLine) -> str:
    said = f"{line.tool}: {line.message}" if line.tool and line.tool not in line.message else line.message
    return said if len(said) <= LOG_CHARS_SHOWN else said[:LOG_CHARS_SHOWN] + "…"


def render_holdings(account: AccountView) -> Markup:
    rows = [
        (
            "stale" if each.is_stale else "",
            [
                Cell(_symbol(each.symbol), each.symbol),
                Cell(quantity(each.quantity), str(each.quantity)),
                Cell(dollars(each.cost), str(each.cost)),
                Cell(dollars(each.price, 4), str(each.price or ""), "" if not each.is_stale else "quiet"),
                Cell(dollars(each.value), str(each.value or "")),
                Cell(percent(each.weight, places=1), str(each.weight or "")),
                Cell(signed(each.profit), str(each.profit or ""), trend(each.profit)),
            ],
        )
        for each in account.positions
    ]
    return table(f"holdings of {account.name}", HOLDINGS, rows, f"{account.title} holds cash alone.")


def render_trades(trades: Sequence[Trade], name: str) -> Markup:
    rows = [(each.kind, _trade(each)) for each in trades if each.symbol is not None]
    return table(f"transactions of {name}", TRADES, rows, "No trade yet.")


def _trade(trade: Trade) -> list[Cell]:
    story = tag(
        "button",
        f"{trade.kind} {trade.symbol}",
        type="button",
        class_="story",
        data_story=trade.id,
        id=f"story-{trade.id}",
        title="why this trade",
    )
    return [
        Cell(moment(trade.market_time, date=True), trade.market_time.isoformat()),
        Cell(story, f"{trade.kind} {trade.symbol}"),
        Cell(quantity(trade.quantity), str(trade.quantity)),
        Cell(dollars(trade.price, 4), str(trade.price)),
        Cell(signed(trade.amount), str(trade.amount), trend(trade.amount)),
        Cell(trade.rationale or NOT_KNOWN, trade.rationale, "why"),
    ]


def render_decisions(decisions: Sequence[Decision], name: str) -> Markup:
    rows = [
        (
            each.action,
            [
                Cell(moment(each.market_time, date=True), each.market_time.isoformat()),
                Cell(f"{each.action} {each.symbol}", f"{each.action} {each.symbol}"),
                Cell(percent(each.confidence, places=0), str(each.confidence)),
                Cell(str(each.horizon_days), str(each.horizon_days)),
                Cell(each.rationale or NOT_KNOWN, each.rationale, "why"),
            ],
        )
        for each in decisions
    ]
    return table(f"decisions of {name}", DECISIONS, rows, "No decision yet.")


def _symbol(symbol: str) -> Markup:
    return tag(
        "button", symbol, type="button", class_="symbol", data_symbol=symbol, title=f"show the chart of {symbol}"
    )
