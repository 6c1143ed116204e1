"""The columns of traders' and clients' accounts, empty still: what stands in each comes as panels of its own."""

from __future__ import annotations

from collections.abc import Sequence

from dashboard.html import Markup, join, tag
from dashboard.view import COLUMNS_MAX, AccountView, View

_ACTIONS = ("pause", "resume", "reduce", "halt", "run", "strategy")
_SHOWN = {"run": "run now", "strategy": "change strategy"}
_FLOOR_ACTIONS, _CLIENT_ACTIONS = _ACTIONS[:-1], ("resume", "reduce", "halt", "strategy")


def render_columns(view: View, has_controls: bool) -> list[list[str]]:
    """Each account's name with its column, empty still: what stands in it comes as panels of its own."""
    columns = [[each.name, _column(each, has_controls)] for each in view.columns]
    more = len(view.traders) - len(columns)
    if not columns:
        told = "The traders stand here once the floor has opened their accounts."
    elif more:
        told = f"{COLUMNS_MAX} accounts have a column; {more} more stand in the standings alone."
    else:
        return columns
    return [*columns, ["", tag("p", told, class_="empty")]]


def _column(account: AccountView, has_controls: bool) -> Markup:
    name, actions = account.name, _CLIENT_ACTIONS if account.role == "client" else _ACTIONS
    activity = tag(
        "ol", class_="log", tabindex=0, aria_label=f"activity of {name}, newest first", data_lines=f"log:{name}"
    )
    parts = [
        _place(f"top:{name}"),
        _buttons(name, account.title, actions) if has_controls else None,
        tag("details", tag("summary", "Strategy", id=f"strategy-{name}"), _place(f"strategy:{name}")),
        tag("h4", "Activity"),
        activity,
        tag("h4", "Holdings"),
        _place(f"holdings:{name}"),
        tag("h4", "Transactions"),
        _place(f"trades:{name}"),
        tag("h4", "Decisions"),
        _place(f"decisions:{name}"),
        tag("h4", "Value"),
        tag("div", class_="chart", data_chart=f"value:{name}"),
    ]
    return tag("section", *parts, class_=f"card trader-{name}", aria_label=account.title)


def _place(panel: str) -> Markup:
    return tag("div", data_panel=panel)


def floor_buttons() -> Markup:
    return _buttons(None, "the floor", _FLOOR_ACTIONS)


def _buttons(account: str | None, whom: str, actions: Sequence[str]) -> Markup:
    """Buttons that open the control dialog; without an account they are the whole floor's."""
    return tag(
        "div",
        join(
            tag(
                "button",
                shown,
                type="button",
                class_="act",
                data_act=word,
                data_account=account or "",
                aria_label=f"{shown} {whom}",
                id=f"act-{word}-{account or 'floor'}",
            )
            for word in actions
            for shown in [_SHOWN.get(word, word)]
        ),
        class_="actions",
    )
