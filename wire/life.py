"""A stdio server's life: nothing but protocol on stdout, logs on stderr, and an end when its client is gone.

The SDK ends a server at the end of its input, but only after a running handler has returned. Here the end of input
also starts a short clock, and a client that no longer reads ends it at once: nobody could hear an answer.
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
    threading.Thread(target=_end_with_client, args=(os.dup(0), os.dup(1)), name="end-with-client", daemon=True).start()
    try:
        server.run("stdio")
    except KeyboardInterrupt:
        return 130
    return 0


def _end_with_client(standard_input: int, standard_output: int) -> None:
    """Wait, without reading, until the client closes either pipe; end at once, or GRACE_S after the input's end.

    A transaction that is cut by the end is rolled back whole.
    """
    poller = select.poll()
    for descriptor in (standard_input, standard_output):
        poller.register(descriptor, 0)  # hang-up and error are always reported
    if standard_output not in {descriptor for descriptor, _ in poller.poll()}:
        poller.unregister(standard_input)
        poller.poll(GRACE_S * 1000)
    os._exit(0)
