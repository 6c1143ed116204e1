"""The page over one store: its reader, its panels, what a tab may ask for, and the guard before it all."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING

import fastapi
import gradio as gr

from dashboard import charts, column, columns, header, leaderboard, notices, page, updates
from dashboard.controls import Controls
from dashboard.guard import Asgi, Guard
from dashboard.password import Password
from dashboard.reader import Columns, Panels, Reader
from dashboard.snapshots import Snapshots
from dashboard.story import story
from dashboard.survey import House
from dashboard.symbol import offered, symbol_chart
from database import Store
from market import Market, open_market
from values.errors import Refused, StoreUnusable
from values.settings import DashboardSettings

if TYPE_CHECKING:
    import plotly.graph_objects as go

PANELS: Panels = {
    "header": header.render,
    "leaderboard": leaderboard.render,
    "equity": charts.equity,
    "drawdown": charts.drawdown,
    "notifications": notices.render_notifications,
    "health": notices.render_health,
    "parts": notices.render_parts,
}
COLUMNS: Columns = {
    "top": lambda _, account: column.render_top(account),
    "strategy": lambda _, account: column.render_strategy(account),
    "log": lambda view, account: column.render_log(view.logs.get(account.name, ())),
    "holdings": lambda _, account: column.render_holdings(account),
    "trades": lambda _, account: column.render_trades(account.transactions, account.name),
    "decisions": lambda _, account: column.render_decisions(account.decisions, account.name),
    "value": lambda _, account: charts.value(account),
}


class Site:
    """Give it a store; `start` its reader, serve `application`, `close` it."""

    def __init__(self, store: Store, settings: DashboardSettings, house: House) -> None:
        self._store = store
        self._settings = settings
        secret = settings.dashboard_password
        password = None if secret is None else Password(secret.get_secret_value())
        actions = self._actions(password)
        shells = partial(columns.render_columns, has_controls=actions.control is not None)
        self.reader = Reader(store, self._open_market, house, {**PANELS, "columns": shells}, COLUMNS)
        self.reader.step(0.0)
        blocks = page.build(actions, has_logout=password is not None)
        self.application: Asgi = guarded(blocks, self.reader.snapshots, settings, password)

    def start(self) -> None:
        self.reader.start()

    def close(self) -> None:
        self.reader.close()

    def _actions(self, password: Password | None) -> page.Actions:
        control = None
        if self._settings.dashboard_controls and password is not None:
            control = Controls(self._store, self._open_market, password).ask
        return page.Actions(
            story=lambda transaction_id: story(self._store, transaction_id),
            symbols=self._symbols,
            symbol_chart=self._symbol_chart,
            control=control,
        )

    def _open_market(self, store: Store) -> Market:
        return open_market(store, self._settings)

    def _market(self) -> Market | None:
        return self.reader.market

    def _symbols(self) -> list[str]:
        """What has been traded first, then what else the market lists."""
        traded = sorted(self.reader.view.symbols)
        market = self._market()
        try:
            listed = [] if market is None else offered(market)
        except (Refused, StoreUnusable):
            listed = []
        return [*traded, *(each for each in listed if each not in set(traded))]

    def _symbol_chart(self, symbol: str, interval: str) -> go.Figure | None:
        market = self._market()
        return None if market is None else symbol_chart(self._store, market, symbol, interval, self._titles())

    def _titles(self) -> Mapping[str, str]:
        return {each.name: each.title for each in self.reader.view.accounts}


def guarded(blocks: gr.Blocks, snapshots: Snapshots, settings: DashboardSettings, password: Password | None) -> Asgi:
    """Gradio's app without what the page does not need, and what a tab asks twice a second, behind the guard."""
    outer = fastapi.FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    outer.add_route(updates.PATH, updates.Updates(snapshots).answer, ["POST"])
    mounted = gr.mount_gradio_app(
        outer,
        blocks,
        path="/",
        footer_links=[],
        run_history=False,
        ssr_mode=False,
        mcp_server=False,
        enable_monitoring=False,
        show_error=False,
        max_file_size=1,
        theme=page.theme(),
        head=page.head(),
    )
    return Guard(mounted, settings.dashboard_host, password, [page.script()])
