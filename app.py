"""The dashboard, a process of its own: `dashboard`, or beside a floor with `--with-floor`.

It prints its address once it answers, and ends within 3 s of a signal or of its floor's end. It makes no store, writes
only what the owner asks for with the password, and loads nothing from another host.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import select
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, NoReturn

from values.errors import Refused, StoreEmpty, StoreUnusable
from values.settings import DashboardSettings, load

if TYPE_CHECKING:  # a port that is taken is said before two seconds of imports
    from dashboard.guard import Asgi
    from dashboard.site import Site
    from database import Store

END_S = 2.7
"""Wall seconds after a signal at which the process ends in any case; the promise is 3."""
OPEN_TABS_S = 0.3
"""Wall seconds that open tabs, whose connections never end by themselves, get at the end."""
BACKLOG = 256
CONNECTIONS_MAX = 1_000


def main() -> int:
    """Ends the process when it was ended; else the exit code: 1 when it can't serve, 2 for a wrong setting."""
    parser = argparse.ArgumentParser(prog="dashboard", description="Show the floor on a page.")
    parser.add_argument("--with-floor", action="store_true", help="end when standard input does")
    arguments = parser.parse_args()
    if arguments.with_floor:
        threading.Thread(target=_end_with_floor, args=(os.dup(0),), name="end-with-floor", daemon=True).start()
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(name)s %(levelname)s %(message)s")
    try:
        settings = load(DashboardSettings)
    except Refused as refusal:
        print(refusal.sentence, file=sys.stderr)
        return 2
    try:
        with contextlib.closing(_listen(settings)) as listening:
            _serve(settings, listening)
    except KeyboardInterrupt:
        return 130
    except (StoreUnusable, Refused) as error:
        print(getattr(error, "sentence", None) or error, file=sys.stderr)
        return 1


def _listen(settings: DashboardSettings) -> socket.socket:
    """Raises Refused `no_port` with what to do."""
    host, port = settings.dashboard_host, settings.dashboard_port
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, kind, protocol)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(BACKLOG)
    except OSError as error:
        raise Refused(
            "no_port",
            f"the dashboard can't listen on port {port} of {host} ({error.strerror}): end the program that has it, or "
            "set DASHBOARD_PORT to another (0 takes any that is free)",
        ) from None
    return listening


def _serve(settings: DashboardSettings, listening: socket.socket) -> NoReturn:
    from database import Store

    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    # Gradio loads the MCP SDK where there is one, for a server that is never started here: 0.4 s and 23 MB
    sys.modules.setdefault("mcp", None)  # type: ignore[arg-type]
    try:
        store = Store(settings.store_address)
    except StoreEmpty:
        raise StoreUnusable(
            f"there is no store at {settings.store_address} yet: `make floor` makes it and shows it; `dashboard` alone "
            "opens on it from then on"
        ) from None
    with contextlib.closing(store):
        site = _site(store, settings)
        site.start()
        try:
            asyncio.run(_answer(site.application, listening))
        finally:
            site.close()
    sys.stdout.flush()
    os._exit(0)  # all is closed, and the interpreter would take most of a second to put its modules away


def _site(store: Store, settings: DashboardSettings) -> Site:
    from dashboard.site import Site
    from dashboard.survey import House
    from personas import load_personas

    every, cap = timedelta(minutes=settings.run_every_n_minutes), Decimal(settings.floor_day_cents) / 100
    return Site(store, settings, House(load_personas(), every, cap))


async def _answer(application: Asgi, listening: socket.socket) -> None:
    """Serve until a signal."""
    import uvicorn

    class Server(uvicorn.Server):
        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            yield  # they are ours

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            print(f"dashboard {_address(listening)}", flush=True)

    config = uvicorn.Config(
        application,
        log_config=None,
        access_log=False,
        server_header=False,
        ws="none",
        limit_concurrency=CONNECTIONS_MAX,
        timeout_graceful_shutdown=OPEN_TABS_S,  # type: ignore[arg-type]  # a part of a second will do
    )
    logging.getLogger("uvicorn.error").addFilter(_is_news)
    server, loop = Server(config), asyncio.get_running_loop()

    def end() -> None:
        server.should_exit = True
        watchdog = threading.Timer(END_S, os._exit, (1,))
        watchdog.daemon = True  # it ends with the process, and only then
        watchdog.start()

    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(each, end)
    await server.serve([listening])


def _is_news(record: logging.LogRecord) -> bool:
    """That open tabs are cut off at the end is how it is meant."""
    error = record.exc_info[1] if record.exc_info else None
    return not (isinstance(error, asyncio.CancelledError) or "graceful shutdown" in str(record.msg))


def _address(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    if host in ("0.0.0.0", "::"):  # noqa: S104 - compared, not bound
        host = socket.gethostname()
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/"


def _end_with_floor(standard_input: int) -> None:
    """Wait, without reading, until the floor's end of the pipe is closed; then end as after a signal."""
    poller = select.poll()
    poller.register(standard_input, 0)  # hang-up and error are always reported
    poller.poll()
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main())
