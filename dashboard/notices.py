"""What was sent to the owner, how the floor's servers do, and what of the floor is real."""

from __future__ import annotations

from dashboard.html import NOT_KNOWN, Cell, Column, Markup, join, moment, table, tag
from dashboard.view import Fault, LogLine, ServerHealth, View

NOTIFICATIONS = (Column("Time", "time"), Column("From"), Column("State"), Column("Message"))
SERVERS = (
    Column("Server"),
    Column("Calls", "number"),
    Column("Errors", "number"),
    Column("Median", "number", "ms"),
    Column("Slowest", "number", "ms"),
    Column("Last answer", "time"),
)
FAULTS = (Column("Time", "time"), Column("Account"), Column("What"), Column("What was said"))
SLOW = (Column("Time", "time"), Column("Tool"), Column("Took", "number", "ms"))
PARTS = (Column("Part"), Column("Is"), Column("Why"), Column("To change it"))


def render_notifications(view: View) -> Markup:
    rows = [
        (
            each.state,
            [
                Cell(moment(each.wall_time, date=True), each.wall_time.isoformat()),
                Cell(each.account, each.account),
                Cell(
                    tag("span", each.state.replace("_", " "), class_=f"state {each.state}", title=each.reason),
                    each.state,
                ),
                Cell(join([tag("strong", each.title), Markup(" "), tag("span", each.message)]), each.message, "why"),
            ],
        )
        for each in view.notifications
    ]
    return table("notifications", NOTIFICATIONS, rows, "No message yet. Traders send one when a session ends.")


def render_health(view: View) -> Markup:
    health = view.health
    servers = [("", _server(each)) for each in health.servers]
    faults = [("", _fault(each)) for each in health.faults]
    slow = [("", _slow(each)) for each in health.slow_calls]
    return join(
        [
            table("servers", SERVERS, servers, "No call yet."),
            tag("h4", "Last faults"),
            table("faults", FAULTS, faults, "Nothing went wrong."),
            tag("h4", "Slowest calls"),
            table("slow calls", SLOW, slow, "No call yet."),
        ]
    )


def render_parts(view: View) -> Markup:
    """Folded away but for a line that says what is not real: everybody should see that, and few need the rest."""
    rows = [
        (
            each.state,
            [
                Cell(each.name, each.name),
                Cell(tag("span", each.state, class_=f"state {each.state}"), each.state),
                Cell(each.why, each.why, "why"),
                Cell(each.change.replace("`", ""), each.change, "why"),
            ],
        )
        for each in view.parts
    ]
    told = [each for each in view.parts if each.state != "real"]
    line = ", ".join(f"{each.name} {each.state}" for each in told) or ("everything" if view.parts else "not on record")
    summary = tag("summary", tag("strong", "What is real:"), Markup(" "), tag("span", line))
    return tag("details", summary, table("parts", PARTS, rows, "Not on record: the floor writes it when it starts."))


def _fault(each: Fault) -> list[Cell]:
    return [
        Cell(moment(each.wall_time, date=True), each.wall_time.isoformat()),
        Cell(each.account, each.account),
        Cell(each.what, each.what),
        Cell(each.sentence, each.sentence, "why"),
    ]


def _server(each: ServerHealth) -> list[Cell]:
    return [
        Cell(each.name, each.name),
        Cell(f"{each.calls:,}", str(each.calls)),
        Cell(f"{each.errors:,}", str(each.errors), "down" if each.errors else ""),
        Cell(_ms(each.median_ms), str(each.median_ms or "")),
        Cell(_ms(each.slowest_ms), str(each.slowest_ms or "")),
        Cell(moment(each.last_answer_at, date=True), each.last_answer_at.isoformat() if each.last_answer_at else ""),
    ]


def _slow(line: LogLine) -> list[Cell]:
    return [
        Cell(moment(line.wall_time, date=True), line.wall_time.isoformat()),
        Cell(line.tool or NOT_KNOWN, line.tool or ""),
        Cell(_ms(line.latency_ms), str(line.latency_ms or "")),
    ]


def _ms(value: float | None) -> str:
    return NOT_KNOWN if value is None else f"{value:,.1f}"
