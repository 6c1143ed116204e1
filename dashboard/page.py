"""The page: where each panel stands. What stands in it, the page's script asks for (`updates.py`) and puts there.

Nothing here reads the store: stories, controls and charts of a symbol come from functions that are given.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
import plotly.graph_objects as go

from dashboard.charts import nothing
from dashboard.columns import floor_buttons
from dashboard.html import Markup, join, tag
from dashboard.updates import EVERY_S

HERE = Path(__file__).parent
TITLE = "Trading floor"
TABS_MAX = 100
"""Whose symbol chart Gradio keeps a copy of, for links that the guard does not pass; the oldest beyond them go."""
INTERVALS = ("hour", "day")
RANGES = ((1, "1 d", "one day"), (7, "1 w", "one week"), (30, "1 m", "one month"), (90, "3 m", "three months"))
_DIALOG = """
<dialog id="dialog" aria-labelledby="dialog-title"><header><h3 id="dialog-title"></h3>
<button type="button" id="dialog-close" class="act">Close</button></header><div id="dialog-body"></div></dialog>
"""
_LOGOUT = '<form method="post" action="logout"><button class="act" id="log-out">Log out</button></form>'
_SILENT = '<p id="silent" class="broken" role="alert" hidden></p>'


@dataclass(frozen=True, slots=True)
class Actions:
    """What a tab may ask for beside the newest panels. `control` is None where controls are not enabled."""

    story: Callable[[int], str]
    symbols: Callable[[], Sequence[str]]
    symbol_chart: Callable[[str, str], go.Figure | None]
    control: Callable[[dict[str, str]], dict[str, Any]] | None


def build(actions: Actions, *, has_logout: bool) -> gr.Blocks:
    """The page, which is the same for every tab; `launch` settings are `theme` and `head` below."""
    with (
        gr.Blocks(title=TITLE, analytics_enabled=False, fill_width=True) as page,
        gr.Column(elem_id="floor"),
    ):
        gr.HTML(_live(has_logout=has_logout), apply_default_css=False)
        _symbol_view(actions)
        gr.HTML(_rest(has_controls=actions.control is not None), apply_default_css=False)
        _dialogs(actions)
    assert isinstance(page, gr.Blocks)
    page.state_session_capacity = TABS_MAX
    return page


def _live(*, has_logout: bool) -> Markup:
    """All that stands before the symbol's chart."""
    return join(
        [
            tag("header", tag("h1", TITLE), Markup(_LOGOUT) if has_logout else None, class_="head"),
            Markup(_SILENT),
            tag("div", data_panel="header", id="live", data_every_ms=round(EVERY_S * 1000)),
            tag("h2", "Standings"),
            tag("div", data_panel="leaderboard"),
            tag(
                "div",
                tag("h2", "Value over time"),
                tag("h2", "Below the peak"),
                _chart_tools(),
                _chart("equity", "value over time of every account"),
                _chart("drawdown", "how far each is below its peak"),
                class_="charts",
            ),
            tag("h2", "Traders"),
            tag("div", id="columns"),
        ]
    )


def _rest(*, has_controls: bool) -> Markup:
    parts = [
        tag("h2", "Messages to the owner"),
        tag("div", data_panel="notifications"),
        tag("h2", "Health"),
        tag("div", data_panel="health"),
        tag("div", data_panel="parts"),
    ]
    return join([*parts, tag("h2", "Controls"), floor_buttons()] if has_controls else parts)


def _chart(name: str, what: str) -> Markup:
    return tag("div", class_="chart", data_chart=name, role="img", aria_label=what)


def _chart_tools() -> Markup:
    """Buttons of our own, which a keyboard reaches, in the place of Plotly's."""

    def choice(kind: str, value: str, shown: str, label: str, is_chosen: bool) -> Markup:
        chosen = "true" if is_chosen else "false"
        told = {f"data_{kind}": value, "title": label, "aria_pressed": chosen, "id": f"{kind}-{value}"}
        return tag("button", shown, type="button", **told)

    ranges = [choice("range", str(days), shown, label, False) for days, shown, label in RANGES]
    ranges.append(choice("range", "all", "all", "all of it", True))
    units = [choice("unit", "share", "%", "in percent", True), choice("unit", "usd", "USD", "in dollars", False)]
    return tag(
        "div",
        tag("div", join(ranges), class_="choice", role="group", aria_label="time shown"),
        tag("div", join(units), class_="choice", role="group", aria_label="unit"),
        tag("div", id="legend", class_="legend", role="group", aria_label="accounts shown"),
        class_="chart-tools",
    )


def _symbol_view(actions: Actions) -> None:
    gr.HTML(tag("h2", "Symbol"), apply_default_css=False)
    with gr.Row():
        symbol = gr.Dropdown(
            list(actions.symbols()), value=None, label="symbol", elem_id="symbol-choice", filterable=True
        )
        interval = gr.Radio(list(INTERVALS), value="hour", label="bars", elem_id="interval-choice")
    # it also brings the library that draws the other charts
    empty = nothing("Choose a symbol, here or in a trader's holdings.")
    chart = gr.Plot(empty, show_label=False, container=False, elem_id="symbol-chart")

    def draw(name: str | None, bars: str) -> Any:
        figure = actions.symbol_chart(name, bars) if name else None
        return gr.skip() if figure is None else figure

    def offered() -> Any:
        return gr.update(choices=list(actions.symbols()))

    symbol.focus(offered, None, symbol, queue=False, show_progress="hidden", api_visibility="private")
    for control in (symbol, interval):
        control.change(draw, [symbol, interval], chart, queue=False, show_progress="hidden", api_visibility="private")
    chosen = gr.HTML(
        "",
        visible="hidden",
        elem_id="chosen",
        js_on_load="window.floorChooses = (name) => { props.value = name; trigger('submit'); };",
    )
    chosen.submit(
        lambda name: gr.update(choices=list(actions.symbols()), value=name) if name in actions.symbols() else gr.skip(),
        chosen,
        symbol,
        queue=False,
        show_progress="hidden",
        api_visibility="private",
    )


def _dialogs(actions: Actions) -> None:
    def story(transaction_id: Any) -> str:
        return actions.story(transaction_id) if isinstance(transaction_id, int) else ""

    def control(asked: Any) -> dict[str, Any]:
        if actions.control is None or not isinstance(asked, dict):
            return {"done": False, "sentence": "controls are not enabled on this dashboard"}
        return actions.control({str(key): str(value) for key, value in asked.items()})

    gr.HTML(
        _DIALOG,
        apply_default_css=False,
        js_on_load="window.floorServer = server; window.floorReady?.();",
        server_functions=[story, control],
    )


def script() -> str:
    return "\n".join((HERE / name).read_text() for name in ("floor.js", "charts.js", "live.js"))


def head() -> str:
    """The page's own style and script, in line: no file of it can be missing.

    Gradio's own `css` rewrites selectors and breaks lists within them, so the style stands here.
    """
    style = (HERE / "style.css").read_text()
    return f'<meta name="color-scheme" content="light dark"><style>{style}</style><script>{script()}</script>'


def theme() -> gr.themes.Base:
    return gr.themes.Base(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"])
