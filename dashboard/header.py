"""The strip at the top: which market, open or closed, the floor, the next run, and what models have cost today."""

from __future__ import annotations

from dashboard.html import Markup, join, moment, tag
from dashboard.view import Header, View
from values.clock import iso
from values.money import usd

_MEANING = {
    "LIVE": "prices as they are traded",
    "DELAYED": "prices of 15 minutes ago",
    "END OF DAY": "prices of the last close",
    "REPLAY": "prices of the past, from a file",
    "SIMULATED": "made-up prices, nothing real",
    "STALE": "prices that are too old to trade on",
}


def render(view: View) -> Markup:
    if view.broken is not None:
        sentence = f"The store can't be read: {view.broken} What is shown is what was read last."
        warning = tag("p", sentence, class_="broken", role="alert")
    else:
        warning = Markup("")
    if view.header is None:
        return join([warning, tag("p", "There is nothing to show yet.", class_="empty")])
    return join([warning, tag("div", join(_items(view.header)), class_="strip")])


def _items(header: Header) -> list[Markup]:
    stale = "" if header.stale_for_s is None else f" {_span(header.stale_for_s)}"
    badge = tag(
        "span",
        tag("strong", f"{header.badge}{stale}"),
        tag("span", _MEANING[header.badge], class_="meaning"),
        class_=f"badge {header.badge.lower().replace(' ', '-')}",
    )
    state = "open" if header.is_open else "closed"
    until = join([Markup(" until "), moment(header.changes_at, date=True)]) if header.changes_at else None
    return [
        badge,
        _item("market", tag("span", state, class_=state), until, title=header.note),
        _item("market time", moment(header.market_time, date=True), _speed(header)),
        _item("floor", *_floor(header)),
        _item("next run", _countdown(header)),
        _item("models today", f"${usd(header.spent_today)}", _cap(header)),
    ]


def _item(label: str, *content: Markup | str | None, title: str | None = None) -> Markup:
    return tag(
        "div", tag("span", label, class_="label"), tag("span", *content, class_="what"), class_="item", title=title
    )


def _speed(header: Header) -> Markup | None:
    if header.market_seconds_a_second == 1:
        return None
    return tag("span", f" × {header.market_seconds_a_second}", title="market seconds in a second")


def _floor(header: Header) -> list[Markup]:
    if header.floor is None:
        return [tag("span", "not running", class_="closed", title="`make floor` starts it")]
    if header.running:
        return [tag("span", f"running: {', '.join(header.running)}", class_="open", title=header.floor)]
    return [tag("span", "waiting", class_="open", title=f"{header.floor}, {header.cycle} cycles so far")]


def _countdown(header: Header) -> Markup:
    if header.floor is None or header.next_run_in_s is None:
        return tag("span", "when the floor runs" if header.floor is None else "soon")
    return tag(
        "span",
        _span(header.next_run_in_s),
        class_="countdown",
        data_seconds=f"{header.next_run_in_s:.0f}",
        data_since=iso(header.wall_time),
    )


def _cap(header: Header) -> Markup:
    if not header.has_llm:
        return tag("span", " rule-based, free", class_="quiet")
    return tag("span", f" of ${usd(header.cap_today)} a day", class_="quiet")


def _span(seconds: float) -> str:
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes:02}:{rest:02}"
