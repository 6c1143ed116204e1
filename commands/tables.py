"""Tables for the terminal: aligned, never folded, as wide as the terminal, or 160 columns into a pipe."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

PIPE_COLUMNS = 160
_NUMBERS = frozenset(("value", "profit", "trades", "refusals", "quantity", "price", "amount", "weight", "cost", "id"))


def show_table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print rows of plain text. Columns of numbers are right-aligned; the last may be cut."""
    rows = [[one_line(cell) for cell in row] for row in rows]
    ends_in_text = headings[-1] not in _NUMBERS
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False, expand=ends_in_text)
    for index, heading in enumerate(headings):
        is_last = index == len(headings) - 1
        table.add_column(
            heading,
            justify="right" if heading.split()[0] in _NUMBERS or heading == "average cost" else "left",
            no_wrap=True,
            overflow="ellipsis",
            ratio=1 if is_last and ends_in_text else None,
            min_width=None if is_last else max(len(heading), *(len(row[index]) for row in rows), 0),
        )
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    console = Console()
    (console if console.is_terminal else Console(width=PIPE_COLUMNS)).print(table)


def one_line(text: str) -> str:
    """Text of a model or a user with everything that could move the cursor or break the line taken out."""
    return "".join(char if char.isprintable() else " " for char in text)
