"""Markup in which every text is escaped: the one place where a text becomes HTML.

`tag` takes texts and markup; a `str` is escaped, `Markup` is not. Attributes are always escaped.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from html import escape

from values.clock import iso

MINUS = "\u2212"
NOT_KNOWN = "\u2013"
_VOID = {"input", "br", "hr", "col"}


class Markup(str):
    """HTML that is safe already."""

    __slots__ = ()


Content = str | Markup | None


def text(value: str) -> Markup:
    """A text as HTML. Controls and direction marks, which could hide or turn what stands beside it, become visible."""
    return Markup(escape("".join(_visible(sign) for sign in value)))


def _visible(sign: str) -> str:
    number = ord(sign)
    if sign in "\n\t" or not (
        number < 32 or 127 <= number < 160 or 0x202A <= number <= 0x202E or 0x2066 <= number <= 0x2069
    ):
        return sign
    return f"\\u{number:04x}"


def tag(name: str, *content: Content, **attributes: str | int | bool | None) -> Markup:
    """An element. Attribute names lose a trailing underscore, and others become hyphens: `class_`, `data_value`."""
    parts = [f"<{name}"]
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        attribute = key.rstrip("_").replace("_", "-")
        parts.append(f" {attribute}" if value is True else f' {attribute}="{text(str(value))}"')
    parts.append(">")
    if name not in _VOID:
        parts += [each if isinstance(each, Markup) else text(each) for each in content if each is not None]
        parts.append(f"</{name}>")
    return Markup("".join(parts))


def join(parts: Iterable[Markup]) -> Markup:
    return Markup("".join(parts))


def moment(value: datetime | None, *, date: bool = False) -> Markup:
    """A time that the page shows in the viewer's zone, with UTC on hover; in UTC until its script has run."""
    if value is None:
        return Markup(NOT_KNOWN)
    utc = value.astimezone(UTC)
    shown = f"{utc:%Y-%m-%d %H:%M}" if date else f"{utc:%H:%M:%S}"
    return tag(
        "time", shown, datetime=iso(utc), title=f"{utc:%Y-%m-%d %H:%M:%S} UTC", data_form="date" if date else "time"
    )


def dollars(value: Decimal | None, places: int = 2) -> str:
    """`1,234.50`, with a true minus."""
    return NOT_KNOWN if value is None else f"{value:,.{places}f}".replace("-", MINUS)


def signed(value: Decimal | None) -> str:
    """`+1,234.50`; zero has no sign."""
    if value is None:
        return NOT_KNOWN
    return f"{value:+,.2f}".replace("-", MINUS) if round(value, 2) else "0.00"


def percent(share: float | None, *, sign: bool = False, places: int = 2) -> str:
    if share is None:
        return NOT_KNOWN
    number = round(share * 100, places) or 0.0  # no minus before a zero
    shown = f"{number:+,.{places}f}" if sign and number else f"{number:,.{places}f}"
    return f"{shown} %".replace("-", MINUS)


def quantity(value: Decimal | None) -> str:
    """As many decimals as there are."""
    if value is None:
        return NOT_KNOWN
    shown = f"{value:,f}"
    return shown.rstrip("0").rstrip(".") if "." in shown else shown


def trend(value: Decimal | float | None) -> str:
    """The class that colours a figure as it is shown, to the cent or the basis point; its sign says the same."""
    number, least = float(value or 0), 0.005 if isinstance(value, Decimal) else 0.00005
    return "flat" if abs(number) < least else "up" if number > 0 else "down"


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table: `kind` is text, number or time."""

    heading: str
    kind: str = "text"
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Cell:
    """What stands in a cell, what it sorts by and what the CSV gets."""

    shown: Content
    value: str = ""
    class_: str = ""


def table(name: str, columns: Sequence[Column], rows: Sequence[tuple[str, Sequence[Cell]]], empty: str) -> Markup:
    """A table that the page's script sorts, filters and exports; each row has a class. `empty` explains no rows."""
    if not rows:
        return tag("p", empty, class_="empty")
    head = join(
        tag(
            "th",
            tag(
                "button",
                column.heading,
                tag("span", f" {column.unit}", class_="unit") if column.unit else None,
                type="button",
                id=f"sort-{name}-{number}",
            ),
            scope="col",
            class_=column.kind,
            data_heading=f"{column.heading} {column.unit}".strip(),
        )
        for number, column in enumerate(columns)
    )
    body = join(
        tag(
            "tr",
            join(
                tag(
                    "td",
                    cell.shown,
                    class_=f"{column.kind} {cell.class_}".strip(),
                    data_value=cell.value if cell.value else None,
                    data_label=column.heading,
                )
                for column, cell in zip(columns, cells, strict=True)
            ),
            class_=class_ or None,
        )
        for class_, cells in rows
    )
    inner = tag("table", tag("thead", tag("tr", head)), tag("tbody", body), data_table=name)
    return tag("div", inner, class_="scroll", tabindex=0, role="region", aria_label=name)
