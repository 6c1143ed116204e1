"""A small line of an account's values, as SVG: its last value against what was paid in."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from dashboard.html import Markup, tag, trend
from dashboard.view import Point

WIDTH, HEIGHT, POINTS_MAX = 240, 48, 120


def sparkline(points: Sequence[Point], deposited: Decimal) -> Markup:
    """Evenly spaced, thinned to what can be seen; a dashed line where the account began."""
    values = [float(each.value) for each in points]
    if not values:
        return tag("div", class_="spark empty-spark")
    step = max(1, -(-len(values) // POINTS_MAX))
    shown = [*values[:-1:step], values[-1]]
    base = float(deposited)
    low, high = min(*shown, base), max(*shown, base)
    room = (high - low) or 1.0

    def y(value: float) -> float:
        return HEIGHT - 3 - (value - low) / room * (HEIGHT - 6)

    if len(values) == 1:  # a line without length, which its round cap makes a dot
        shown = values
        path = f"M{WIDTH / 2:.1f},{y(values[0]):.1f}h0"
    else:
        width = WIDTH / (len(shown) - 1)
        places = enumerate(shown)
        path = " ".join(f"{'L' if index else 'M'}{index * width:.1f},{y(value):.1f}" for index, value in places)
    began = tag("line", x1=0, x2=WIDTH, y1=f"{y(base):.1f}", y2=f"{y(base):.1f}", class_="began")
    line = tag("path", d=path, class_="curve" if len(values) > 1 else "curve single")
    return tag(
        "svg",
        began,
        line,
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        preserveAspectRatio="none",
        class_=f"spark {trend(shown[-1] - base)}",
        role="img",
        aria_label=f"recorded values: {len(values)}, from {values[0]:,.2f} to {values[-1]:,.2f} USD",
    )
