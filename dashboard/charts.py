"""Plotly figures: every account's value over time, how far each is below its peak, and one symbol with its trades.

Grounds are transparent and lines carry names, dashes and marks as well as colours, so that they read in both themes.
Zoom and hidden lines survive an update (`uirevision`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import plotly.graph_objects as go

from analysis.performance import drawdowns
from dashboard.view import AccountView, Trade, View
from values.quote import Bar

COLOURS = {"warren": "#4c7df0", "george": "#e07b1f", "ray": "#9a6be0", "cathie": "#12a0ab"}
OTHERS = ("#b0508f", "#7d8b2f", "#c2703d", "#5f7f9f")
GREY = "#8a93a0"
UP, DOWN = "#1f9d5b", "#e0544a"
DASHES = ("dot", "dash", "longdash", "dashdot")
GRID = "rgba(128,138,150,.22)"
INK = "#808a96"


def equity(view: View) -> go.Figure:
    """All accounts' recorded values in percent of what was paid in, with the dollars that the page can show instead."""
    figure = _figure(360, "%")
    for number, account in enumerate(_with_points(view)):
        paid = float(account.deposited)
        dollars = [float(point.value) for point in account.points]
        shares = [value / paid * 100 - 100 if paid else 0.0 for value in dollars]
        times = [point.market_time for point in account.points]
        figure.add_trace(
            go.Scatter(
                x=times,
                y=shares,
                name=account.title,
                customdata=dollars,
                mode=_mode(account),
                line=_line(account, number),
                hovertemplate="%{y:+.2f} % · %{customdata:,.2f} USD",
            )
        )
    figure.update_layout(hovermode="x unified", showlegend=False)
    return figure


def drawdown(view: View) -> go.Figure:
    """How far each account's value is below its highest so far."""
    figure = _figure(360, "%")
    for number, account in enumerate(_with_points(view)):
        values = [float(account.deposited), *(float(point.value) for point in account.points)]
        if values[0] <= 0:
            continue
        fallen = [-share * 100 for share in drawdowns(values)[1:]]
        figure.add_trace(
            go.Scatter(
                x=[point.market_time for point in account.points],
                y=fallen,
                name=account.title,
                mode=_mode(account),
                line=_line(account, number),
                hovertemplate="%{y:.2f} %",
            )
        )
    figure.update_layout(hovermode="x unified", showlegend=False)
    figure.update_yaxes(rangemode="tozero")
    return figure


def value(account: AccountView) -> go.Figure:
    """One account's value in dollars, with what was paid in."""
    figure = _figure(260, "USD")
    figure.add_trace(
        go.Scatter(
            x=[point.market_time for point in account.points],
            y=[float(point.value) for point in account.points],
            name=account.title,
            mode=_mode(account),
            line=_line(account, 0),
            hovertemplate="%{y:,.2f} USD",
        )
    )
    figure.add_hline(y=float(account.deposited), line={"color": INK, "dash": "dot", "width": 1})
    figure.update_layout(showlegend=False, hovermode="x unified")
    figure.update_xaxes(nticks=4)
    return figure


def symbol(
    name: str,
    bars: Sequence[Bar],
    trades: Sequence[Trade],
    titles: Mapping[str, str],
    marks: Sequence[tuple[datetime, str]] = (),
) -> go.Figure:
    """A symbol's price with every fill on it: triangles up for buys, down for sales, in the trader's colour.

    `marks` are moments at which a company changed its shares, each with its word.
    """
    figure = _figure(380, "USD")
    figure.add_trace(
        go.Candlestick(
            x=[bar.start for bar in bars],
            open=[float(bar.open) for bar in bars],
            high=[float(bar.high) for bar in bars],
            low=[float(bar.low) for bar in bars],
            close=[float(bar.close) for bar in bars],
            name=name,
            increasing={"line": {"color": UP, "width": 1}},
            decreasing={"line": {"color": DOWN, "width": 1}},
        )
    )
    groups: dict[tuple[str, str], list[Trade]] = {}
    for trade in trades:
        groups.setdefault((trade.account, trade.kind), []).append(trade)
    for number, ((account, kind), fills) in enumerate(sorted(groups.items())):
        figure.add_trace(_fills(titles.get(account, account), account, kind, fills, number))
    for moment, word in marks:
        at = {"x": moment, "xref": "x", "yref": "paper"}
        figure.add_shape(type="line", x0=moment, x1=moment, y0=0, y1=1, xref="x", yref="paper", line={"dash": "dot"})
        figure.add_annotation(text=word, y=1, yanchor="bottom", showarrow=False, **at)
    figure.update_xaxes(rangeslider={"visible": False})
    return figure


def _fills(title: str, account: str, kind: str, fills: Sequence[Trade], number: int) -> go.Scatter:
    return go.Scatter(
        x=[trade.market_time for trade in fills],
        y=[float(trade.price) for trade in fills if trade.price is not None],
        customdata=[f"{trade.quantity:f}".rstrip("0").rstrip(".") for trade in fills if trade.quantity is not None],
        name=f"{title} {'buys' if kind == 'buy' else 'sells'}",
        mode="markers",
        marker={
            "symbol": "triangle-up" if kind == "buy" else "triangle-down",
            "size": 13,
            "color": COLOURS.get(account, OTHERS[number % len(OTHERS)]),
            "line": {"width": 1, "color": "#ffffff"},
        },
        hovertemplate=f"{kind} %{{customdata}} at %{{y:,.4f}}<br>%{{x}}",
    )


def _with_points(view: View) -> list[AccountView]:
    """Traders over baselines, so that what people look for lies on top."""
    return sorted(
        (each for each in view.accounts if each.points), key=lambda each: (each.role != "baseline", each.name)
    )


def _line(account: AccountView, number: int) -> dict[str, Any]:
    if account.role == "baseline":
        return {"color": GREY, "width": 1.5, "dash": DASHES[number % len(DASHES)]}
    return {"color": COLOURS.get(account.name, OTHERS[number % len(OTHERS)]), "width": 2.5}


def _mode(account: AccountView) -> str:
    """A line needs two points; a single one would not be seen."""
    return "lines" if len(account.points) > 1 else "markers"


def nothing(sentence: str) -> go.Figure:
    """A chart's place, with a sentence on what belongs there."""
    figure = _figure(120, "USD")
    figure.add_annotation(text=sentence, showarrow=False, xref="paper", yref="paper", x=0.5, y=0.5)
    figure.update_xaxes(visible=False)
    figure.update_yaxes(visible=False)
    return figure


def _ticks(unit: str) -> dict[str, str]:
    return {"tickprefix": "$", "tickformat": ",.6~g"} if unit == "USD" else {"ticksuffix": f" {unit}"}


def _figure(height: int, unit: str) -> go.Figure:
    figure = go.Figure()
    figure.update_layout(
        template=None,  # 7 KB of the library's taste in every figure
        height=height,
        autosize=True,
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"family": "system-ui, sans-serif", "size": 14, "color": INK},
        margin={"l": 8, "r": 8, "t": 12, "b": 8},
        # its entries would be buttons that no keyboard reaches
        legend={"orientation": "h", "y": -0.12, "font": {"size": 14}, "itemclick": False, "itemdoubleclick": False},
        hoverlabel={"font": {"size": 13}},
        dragmode="pan",
        uirevision="kept",
    )
    figure.update_xaxes(gridcolor=GRID, zeroline=False, automargin=True, tickangle=0)
    figure.update_yaxes(gridcolor=GRID, zerolinecolor=INK, zerolinewidth=1, automargin=True, **_ticks(unit))
    return figure
