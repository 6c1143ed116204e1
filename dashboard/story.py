"""Why this trade: its session, what was researched, the tools called with their answers, the price seen, the reason.

Read from the store when somebody asks, along indexes. It is long for a long session, and says what it leaves out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection, Row, func, select

from dashboard.health import SERVER_OF
from dashboard.html import NOT_KNOWN, Content, Markup, dollars, join, moment, percent, quantity, signed, tag
from dashboard.queries import FILLS
from database import Store
from store import tables
from values.errors import StoreUnusable

CALLS_SHOWN = 60
CALLS_AFTER = 8
"""How many of them, where there are more, may come from after the trade."""
CHARS_SHOWN = 2_000
RESEARCH = frozenset({"search", "fetch", "memory", "researcher"})
_ACTORS = {
    "client": "It was made by a client over MCP, outside the floor: there is no session to look into.",
    "operator": "It was made by the owner's own server or command: there is no session to look into.",
    "baseline": "It was made by a baseline, which follows a fixed rule and has no sessions.",
    "floor": "It has no session on record.",
    "market": "No trader made it: the company did, and whoever held its shares that day has it in the books.",
}
_LOGS, _SESSIONS = tables.logs.c, tables.sessions.c
_ID_MAX = 2**63 - 1


@dataclass(frozen=True, slots=True)
class _Calls:
    """Tool calls in order; `before` and `after` them are so many more."""

    rows: Sequence[Any]
    before: int
    after: int


def story(store: Store, transaction_id: int) -> Markup:
    """The story as markup; a sentence where there is none."""
    try:
        with store.read() as connection:
            trade = None
            if 0 < transaction_id <= _ID_MAX:
                table = tables.transactions
                trade = connection.execute(select(table).where(table.c.id == transaction_id)).one_or_none()
            if trade is None:
                return tag("p", f"There is no transaction {transaction_id} in this store.", class_="empty")
            session = calls = None
            if trade.session_id is not None:
                session = connection.execute(
                    select(tables.sessions).where(_SESSIONS.id == trade.session_id)
                ).one_or_none()
                calls = _calls(connection, trade)
    except StoreUnusable as error:
        return tag("p", f"The store can't be read now: {error}", class_="broken")
    return tag("article", join([_facts(trade), _reason(trade), *_session(trade, session, calls)]), class_="story")


def _calls(connection: Connection, trade: Row[Any]) -> _Calls:
    """Those that led to the trade, and some after it."""
    own = (_LOGS.session_id == trade.session_id, _LOGS.type == "function")
    earlier, later = _LOGS.wall_time <= trade.wall_time, _LOGS.wall_time > trade.wall_time
    columns = (_LOGS.tool, _LOGS.arguments, _LOGS.result, _LOGS.is_error, _LOGS.latency_ms, _LOGS.wall_time)
    counts = select(func.count()).select_from(tables.logs)
    before = connection.execute(counts.where(*own, earlier)).scalar_one()
    after = connection.execute(counts.where(*own, later)).scalar_one()
    room = CALLS_SHOWN - min(after, CALLS_AFTER)
    led = select(*columns).where(*own, earlier).order_by(_LOGS.id.desc()).limit(room)
    first: list[Any] = list(reversed(connection.execute(led).all()))
    followed = select(*columns).where(*own, later).order_by(_LOGS.id).limit(CALLS_SHOWN - len(first))
    last: list[Any] = list(connection.execute(followed).all())
    return _Calls([*first, *last], before - len(first), after - len(last))


def _facts(trade: Row[Any]) -> Markup:
    facts: list[tuple[str, Content]] = [("Account", trade.account)]
    if trade.symbol is None:
        facts.append(("What", f"{trade.kind} of {dollars(trade.amount)} USD"))
    else:
        is_fill = trade.kind in FILLS
        spread = None if trade.quote_price is None else abs(trade.price - trade.quote_price) * trade.quantity
        facts += [
            ("What", f"{trade.kind} {'' if is_fill else 'of '}{quantity(trade.quantity)} {trade.symbol}"),
            *(_filled(trade, spread) if is_fill else _acted(trade)),
            ("Cash", f"{signed(trade.amount)} USD, then {dollars(trade.cash_after)} USD"),
        ]
        if trade.kind == "sell":
            facts.append(("Profit realised", f"{signed(trade.realised)} USD"))
    facts += [
        ("Market time", moment(trade.market_time, date=True)),
        ("Wall time", moment(trade.wall_time, date=True)),
    ]
    return _list(facts)


def _filled(trade: Row[Any], spread: Decimal | None) -> list[tuple[str, Content]]:
    return [
        ("Price seen", _seen(trade)),
        ("Filled at", f"{_price(trade.price)} USD"),
        ("Spread paid", f"{dollars(spread, 4)} USD"),
    ]


def _acted(trade: Row[Any]) -> list[tuple[str, Content]]:
    """What a company did, on its day."""
    told: list[tuple[str, Content]] = [("Ex-date", str(trade.ex_date))]
    if trade.price is not None:
        told.append(("A unit", f"{_price(trade.price)} USD"))
    if trade.units_change is not None:
        told.append(("Units changed by", quantity(trade.units_change)))
    if trade.to_symbol is not None:
        told.append(("New symbol", trade.to_symbol))
    return told


def _seen(trade: Row[Any]) -> Markup:
    if trade.quote_price is None:
        return Markup(NOT_KNOWN)
    return tag(
        "span",
        f"{_price(trade.quote_price)} USD, {(trade.source or 'unknown source').replace('_', ' ')}, of ",
        moment(trade.quote_as_of, date=True),
        ", seen ",
        moment(trade.quote_seen_at, date=True),
    )


def _price(value: Decimal) -> str:
    """All decimals that it has, two at least."""
    shown = quantity(value)
    return dollars(value) if len(shown.partition(".")[2]) < 2 else shown


def _reason(trade: Row[Any]) -> Markup:
    return _part("Why", tag("p", _cut(trade.rationale) or "No reason was given.", class_="why"))


def _session(trade: Row[Any], session: Row[Any] | None, calls: _Calls | None) -> Iterable[Markup]:
    if trade.session_id is None or calls is None:
        yield tag("p", _ACTORS.get(trade.actor, "There is no session on record."), class_="empty")
        return
    if session is None:
        yield tag("p", f"Its session {trade.session_id} is not on record.", class_="empty")
    else:
        yield _part("Session", _session_facts(session))
        if session.appraisal:
            yield _part("What it said at the end", tag("p", _cut(session.appraisal), class_="why"))
    researched = [row for row in calls.rows if SERVER_OF.get(row.tool) in RESEARCH]
    others = [row for row in calls.rows if SERVER_OF.get(row.tool) not in RESEARCH]
    nothing = tag("p", "Nothing was researched.", class_="empty")
    yield _part("What was researched", join(map(_call, researched)) if researched else nothing)
    nothing = tag("p", "No tool call is on record.", class_="empty")
    yield _part("Tools called", join(map(_call, others)) if others else nothing)
    if calls.before or calls.after:
        told = f"Left out: {calls.before} earlier and {calls.after} later calls of this session."
        yield tag("p", told, class_="quiet")


def _session_facts(session: Row[Any]) -> Markup:
    outcome = f"{session.outcome}: {session.reason}" if session.reason else session.outcome
    used = f"{session.turns} turns, {session.tool_calls} tool calls"
    tokens = f"{session.input_tokens:,} tokens read, {session.output_tokens:,} written"
    if session.cached_tokens:
        tokens += f", {percent(session.cached_tokens / session.input_tokens, places=0)} of those read from a cache"
    return _list(
        [
            ("Mode", session.mode),
            ("Model", session.model),
            ("Outcome", _cut(outcome)),
            ("Began", moment(session.wall_time, date=True)),
            ("Ended", moment(session.ended_wall_time, date=True)),
            ("Market time", moment(session.market_time, date=True)),
            ("Used", f"{used}, {tokens}"),
            ("Model cost", f"{dollars(session.cost_usd * 100, 4)} US cents"),
        ]
    )


def _call(row: Row[Any]) -> Markup:
    took = "" if row.latency_ms is None else f" · {row.latency_ms:,.0f} ms"
    return tag(
        "details",
        tag(
            "summary",
            row.tool or "unknown tool",
            tag("span", took + (" · failed" if row.is_error else ""), class_="quiet"),
        ),
        _words("Asked", row.arguments),
        _words("Answered", row.result),
        class_="error" if row.is_error else None,
    )


def _words(heading: str, text: str | None) -> Markup:
    shown = _cut(text) or "nothing"
    return join([tag("p", heading, class_="quiet"), tag("pre", shown, tabindex=0, aria_label=heading.lower())])


def _cut(text: str | None) -> str:
    if text is None or len(text) <= CHARS_SHOWN:
        return text or ""
    return f"{text[:CHARS_SHOWN]}… ({len(text) - CHARS_SHOWN:,} characters more)"


def _part(heading: str, content: Markup) -> Markup:
    return tag("section", tag("h4", heading), content)


def _list(facts: Iterable[tuple[str, Content]]) -> Markup:
    return tag("dl", join(join([tag("dt", name), tag("dd", value)]) for name, value in facts), class_="facts")
