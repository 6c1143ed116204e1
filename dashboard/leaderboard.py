"""Who stands where, by value, traders beside their baselines; it says when it is no ranking."""

from __future__ import annotations

from dashboard.html import (
    NOT_KNOWN,
    Cell,
    Column,
    Markup,
    dollars,
    join,
    percent,
    table,
    tag,
    trend,
)
from dashboard.view import AccountView, View

DAYS_OF_EVIDENCE = 60
"""Daily values below which a Sharpe ratio says nothing: its standard error is then still about 2 a year."""

COLUMNS = (
    Column("Trader"),
    Column("Model"),
    Column("Value", "number", "USD"),
    Column("Return", "number"),
    Column("Today", "number"),
    Column("Largest fall", "number"),
    Column("Sharpe", "number", "a year"),
    Column("Trades", "number"),
    Column("Win rate", "number"),
    Column("Spread paid", "number", "USD"),
    Column("Model cost", "number", "USD"),
    Column("After model cost", "number"),
)


def render(view: View) -> Markup:
    days = max((each.days for each in view.accounts if each.role == "trader"), default=0)
    verdict = (
        f"Sorted by value. After {days} day{'' if days == 1 else 's'} this is no ranking: luck decides so short a run. "
        f"Sharpe ratios appear after {DAYS_OF_EVIDENCE} days."
        if days < DAYS_OF_EVIDENCE
        else f"Sorted by value, over {days} days. Compare each with the baselines before you call it skill."
    )
    rows = [(f"{each.role} {_place(each)}", _cells(each)) for each in view.accounts]
    empty = "Nobody has an account yet: the floor opens them when it starts (`make floor`)."
    return join([tag("p", verdict, class_="verdict"), table("leaderboard", COLUMNS, rows, empty)])


def _place(account: AccountView) -> str:
    return f"trader-{account.name}" if account.role == "trader" else account.role


def _cells(account: AccountView) -> list[Cell]:
    name = tag(
        "span",
        tag("span", class_="dot", aria_hidden="true"),
        tag("strong", account.title),
        tag("span", account.style or account.role, class_="persona"),
        class_="who",
    )
    state = None if account.state == "active" else tag("span", account.state, class_=f"state {account.state}")
    value = dollars(account.value) + (" stale" if account.is_stale else "")
    sharpe = "too early" if account.sharpe is None and account.days < DAYS_OF_EVIDENCE else _ratio(account.sharpe)
    return [
        Cell(join([name, state or Markup("")]), account.title),
        Cell(_model(account), account.model),
        Cell(value, _raw(account.value), "value"),
        Cell(percent(account.return_share, sign=True), _raw(account.return_share), trend(account.return_share)),
        Cell(percent(account.today_share, sign=True), _raw(account.today_share), trend(account.today_share)),
        Cell(percent(-account.largest_fall), _raw(-account.largest_fall)),
        Cell(sharpe, _raw(account.sharpe), "" if account.sharpe is not None else "quiet"),
        Cell(str(account.trades), str(account.trades)),
        Cell(percent(account.win_rate, places=0), _raw(account.win_rate)),
        Cell(dollars(account.spread_paid), _raw(account.spread_paid)),
        Cell(NOT_KNOWN if account.role == "baseline" else dollars(account.model_cost, 4), _raw(account.model_cost)),
        Cell(
            percent(account.return_after_model_cost, sign=True),
            _raw(account.return_after_model_cost),
            trend(account.return_after_model_cost),
        ),
    ]


def _model(account: AccountView) -> Markup:
    if account.role != "trader":
        return tag("span", account.role, class_="chip quiet")
    rules = (
        tag("span", "rules", class_="chip", title="a rule-based model, no language model")
        if account.is_rule_based
        else None
    )
    return tag("span", account.model, " ", rules or Markup(""), class_="model")


def _ratio(value: float | None) -> str:
    return NOT_KNOWN if value is None else f"{value:.2f}"


def _raw(value: object) -> str:
    return "" if value is None else str(value)
