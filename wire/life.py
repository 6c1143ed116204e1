"""A stdio server's life: nothing but protocol on stdout, logs on stderr, and an end when its client is gone.

The SDK ends a server at the end of its input, but only after a running handler has returned. Here the end of input
also starts a short clock, so that a server never outlives whoever launched it by more than GRACE_S.
"""

from __future__ import annotations

import logging
import os
import select
import sys
import threading
from collections.abc import Callable

from mcp.server import MCPServer

from values.errors import BadSetting, Refused, StoreUnusable

GRACE_S = 2.0


def serve(build: Callable[[], MCPServer[object]]) -> int:
    """Build the server and run it on stdio until its input ends; the exit code."""
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(name)s %(levelname)s %(message)s")
    try:
        server = build()
    except (BadSetting, Refused, StoreUnusable) as error:
        print(error, file=sys.stderr)
        return 2
    threading.Thread(target=_end_with_input, args=(os.dup(0),), name="end-with-input", daemon=True).start()
    try:
        server.run("stdio")
    except KeyboardInterrupt:
        return 130
    return 0


def _end_with_input(descriptor: int) -> None:
    """Wait, without reading, until the other end of standard input is closed, then give the server GRACE_S to end."""
    poller = select.poll()
    poller.register(descriptor, 0)  # hang-up and error are always reported
    poller.poll()
    threading.Event().wait(GRACE_S)
    os._exit(0)  # a transaction cut here is rolled back whole
