"""The page: where each panel stands, and the one callback that hands out what has changed.

A tab's timer asks twice a second in round numbers; what it has seen already is not sent again. Nothing here reads the
store: snapshots come from the reader, stories and charts of a symbol from functions that are given.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import gradio as gr
import plotly.graph_objects as go

from dashboard.html import Markup, join, tag

HERE = Path(__file__).parent
TICK_S = 0.75
HAND_OUT = "newest"
UNCHANGED = object()
TABS_MAX = 500
"""Whose versions are remembered; the oldest beyond them gets the whole page again."""
TITLE = "Trading floor"
INTERVALS = ("hour", "day")
_SHOWN = {"run": "run now", "strategy": "change strategy"}
_DIALOG = """
<dialog id="dialog" aria-labelledby="dialog-title"><header><h3 id="dialog-title"></h3>
<button type="button" id="dialog-close" class="act">Close</button></header><div id="dialog-body"></div></dialog>
"""


class Newest(Protocol):
    """The reader's snapshots: a panel's version and what it shows."""

    def newest(self, name: str) -> tuple[int, object]: ...


@dataclass(frozen=True, slots=True)
class Seat:
    """A trader's place on the page."""

    name: str
    title: str


@dataclass(frozen=True, slots=True)
class Actions:
    """What a tab may ask for beside the newest panels. `control` is None where controls are not enabled."""

    story: Callable[[int], str]
    value_chart: Callable[[str], go.Figure | None]
    symbols: Callable[[], Sequence[str]]
    symbol_chart: Callable[[str, str], go.Figure | None]
    control: Callable[[dict[str, str]], dict[str, Any]] | None


class Page(gr.Blocks):
    """Blocks that answer the timer cheaply: most panels are as they were.

    Gradio makes a component anew for every output that it is told to leave as it is, which costs 15 ms of each answer.
    """

    async def postprocess_data(self, block_fn: Any, predictions: Any, state: Any) -> list[Any]:
        if state is None or block_fn.name != HAND_OUT:
            return list(await super().postprocess_data(block_fn, predictions, state))
        state.config_values.clear()  # a copy of the page, kept for deep links, which the guard does not pass
        told: list[Any] = []
        for block, payload in zip(block_fn.outputs, predictions, strict=True):
            if payload is UNCHANGED:
                told.append(None if block.stateful else gr.skip())
            elif block.stateful:
                state[block._id] = payload
                told.append(None)
            else:
                value = block.postprocess(payload)
                told.append(value.model_dump() if hasattr(value, "model_dump") else value)
        return told


def build(snapshots: Newest, seats: Sequence[Seat], actions: Actions) -> gr.Blocks:
    """The page for these traders; `launch` settings are `theme`, `css` and `head` below."""
    panels: dict[str, gr.HTML | gr.Plot] = {}

    def html(name: str, **properties: Any) -> None:
        panels[name] = gr.HTML(snapshots.newest(name)[1] or "", apply_default_css=False, **properties)

    def plot(name: str) -> None:
        panels[name] = gr.Plot(snapshots.newest(name)[1], show_label=False, container=False)

    with (
        Page(title=TITLE, analytics_enabled=False, fill_width=True) as page,
        gr.Column(elem_id="floor"),
    ):
        gr.HTML(tag("h1", TITLE), apply_default_css=False)
        html("header")
        heading("Standings")
        html("leaderboard")
        heading("Value over time")
        plot("equity")
        heading("Below the peak")
        plot("drawdown")
        heading("Traders")
        with gr.Column(elem_id="columns"):
            for seat in seats:
                _column(seat, html, plot, actions)
        _symbol_view(actions)
        heading("Messages to the owner")
        html("notifications")
        heading("Health")
        html("health")
        html("parts")
        if actions.control is not None:
            heading("Controls")
            gr.HTML(_buttons(None, "the floor"), apply_default_css=False)
        _dialogs(actions)
        _hand_out(page, snapshots, panels)
    assert isinstance(page, gr.Blocks)
    page.state_session_capacity = TABS_MAX
    return page


def heading(text: str) -> None:
    gr.HTML(tag("h2", text), apply_default_css=False)


def _column(seat: Seat, html: Callable[..., None], plot: Callable[[str], None], actions: Actions) -> None:
    with gr.Column(elem_classes=["card", f"trader-{seat.name}"], min_width=0):
        html(f"top:{seat.name}")
        if actions.control is not None:
            gr.HTML(_buttons(seat.name, seat.title), apply_default_css=False)
        gr.HTML(tag("h4", "Activity"), apply_default_css=False)
        html(f"log:{seat.name}")
        gr.HTML(tag("h4", "Holdings"), apply_default_css=False)
        html(f"holdings:{seat.name}")
        gr.HTML(tag("h4", "Transactions"), apply_default_css=False)
        html(f"trades:{seat.name}")
        gr.HTML(tag("h4", "Decisions"), apply_default_css=False)
        html(f"decisions:{seat.name}")
        gr.HTML(tag("h4", "Value"), apply_default_css=False)
        plot(f"value:{seat.name}")


def _buttons(account: str | None, whom: str) -> Markup:
    """Buttons that open the control dialog; without an account they are the whole floor's."""
    words = ("pause", "resume", "reduce", "halt", "run") + (("strategy",) if account else ())
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
            for word in words
            for shown in [_SHOWN.get(word, word)]
        ),
        class_="actions",
    )


def _symbol_view(actions: Actions) -> None:
    heading("Symbol")
    with gr.Row():
        symbol = gr.Dropdown(
            list(actions.symbols()), value=None, label="symbol", elem_id="symbol-choice", filterable=True
        )
        interval = gr.Radio(list(INTERVALS), value="hour", label="bars", elem_id="interval-choice")
    chart = gr.Plot(show_label=False, container=False, elem_id="symbol-chart")

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


def _hand_out(page: gr.Blocks, snapshots: Newest, panels: dict[str, gr.HTML | gr.Plot]) -> None:
    seen = gr.State({})

    def newest(known: dict[str, int]) -> list[Any]:
        told, now = [], {}
        for name in panels:
            version, payload = snapshots.newest(name)
            now[name] = version
            told.append(UNCHANGED if known.get(name) == version else payload)
        return [*told, UNCHANGED if now == known else now]

    assert newest.__name__ == HAND_OUT

    outputs = [*panels.values(), seen]
    for event in (page.load, gr.Timer(TICK_S).tick):
        event(newest, seen, outputs, queue=False, show_progress="hidden", trigger_mode="once", api_visibility="private")


def head() -> str:
    """The page's own style and script, in line: no file of it can be missing.

    Gradio's own `css` rewrites selectors and breaks lists within them, so the style stands here.
    """
    style, script = ((HERE / name).read_text() for name in ("style.css", "floor.js"))
    return f'<meta name="color-scheme" content="light dark"><style>{style}</style><script>{script}</script>'


def theme() -> gr.themes.Base:
    return gr.themes.Base(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"])
