"""A process that has imported what our servers need, and forks one of them at each request: 15 ms in place of 900.

It reads no request itself: it is handed a socket and the three standard streams, forks, and the child reads what it is
to be, so that no setting of one server is ever in the memory of another. It ends when its floor does, after what it
forked: a server that hangs can't see that its floor is gone, and would keep the store's write turn for ever.

Where many servers differ in nothing but the account that they serve, the child first becomes a nursery of these alone:
it takes their settings, makes all of a server but its account, and each child of it has only that left to do.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import signal
import socket
import sys
import threading
import time
from typing import Any, NoReturn

from values.errors import BadSetting, Refused, StoreUnusable

REQUEST_BYTES_MAX = 64 * 1024
LINGER_S = 3.0
"""How long what was forked may live on without a floor; a sound server ends by itself within 2 s."""
LOOK_EVERY_S = 0.05
PROTOCOL = "2026-07-28"
ASKED_FIRST = ("server/discover", "tools/list")
"""What a client asks before it calls a tool."""
_DESCRIPTORS = 4


def main() -> None:
    """`python -m wire.nursery DESCRIPTOR MODULE...`: import the modules, then fork for each request on the socket."""
    gc.disable()  # a collection would leave holes in the heap, and each child would fill them in a copy of its own
    for module in (*sys.argv[2:], "anyio._backends._asyncio"):  # the last is what a server imports when it runs
        importlib.import_module(module)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C is the floor's to hear
    control = socket.socket(fileno=int(sys.argv[1]))
    control.sendall(b"!")
    _breed(control, 2 * LINGER_S)  # a nursery that it forked sees off its own first


def _breed(control: socket.socket, linger_s: float) -> None:
    """Fork for each request, until the floor closes the socket; what was forked ends within `linger_s` of that."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # ignored, as a parent may have left it, nobody could be waited for
    gc.freeze()  # pages that the collector does not touch stay shared with the children
    forked: set[int] = set()
    while True:
        asked, descriptors, _, _ = socket.recv_fds(control, 1, _DESCRIPTORS)
        _reap(forked)
        if not asked:
            break
        child = os.fork()
        if child == 0:
            control.close()
            _become(*descriptors)
        forked.add(child)
        for descriptor in descriptors:
            os.close(descriptor)
    _see_off(forked, linger_s)


def _reap(forked: set[int]) -> None:
    """Forget those that have ended; until then their ids can't be anybody else's."""
    while forked:
        ended, _ = os.waitpid(-1, os.WNOHANG)
        if not ended:
            return
        forked.discard(ended)


def _see_off(forked: set[int], linger_s: float) -> None:
    """The floor is gone: kill what has not ended `linger_s` later."""
    deadline = time.monotonic() + linger_s
    while forked and time.monotonic() < deadline:
        time.sleep(LOOK_EVERY_S)
        _reap(forked)
    for child in forked:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)


def _become(request: int, *streams: int) -> NoReturn:
    """In the child: take the streams, read what to be, and be it."""
    code = 1
    try:
        os.setsid()
        for target, descriptor in enumerate(streams):
            os.dup2(descriptor, target)
            os.close(descriptor)
        asked = json.loads(_line(request))
        if asked["arguments"] is None:
            _see(asked)
            _prepare(asked["module"])
            _tell(request)
            _breed(socket.socket(fileno=request), LINGER_S)
        else:
            _tell(request)
            _see(asked)
            gc.enable()
            sys.argv = [asked["module"], *asked["arguments"]]
            importlib.import_module(asked["module"]).main()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    finally:
        with contextlib.suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _tell(request: int) -> None:
    """Who we are. The socket stays open: its end tells the floor of ours."""
    os.write(request, f"{os.getpid()}\n".encode())


def _see(asked: dict[str, Any]) -> None:
    os.environ.clear()
    os.environ.update(asked["environment"])
    os.chdir(asked["folder"])


def _prepare(name: str) -> None:
    """Make the server that all of a kind share, and let it answer what each will be asked first."""
    module: Any = importlib.import_module(name)
    # what stands in the way of one stands in the way of each, and each says so where its caller hears it
    with contextlib.suppress(BadSetting, Refused, StoreUnusable):
        _rehearse(module.prepare(True).server)


def _rehearse(server: Any) -> None:
    """Let the server answer ASKED_FIRST to this process itself, on its standard streams, which are used up by it.

    What runs for the first time imports, compiles and caches; it is done then, and shared.
    """
    asked, to_server = os.pipe()
    from_server, answered = os.pipe()
    for target, descriptor in enumerate((asked, answered)):
        os.dup2(descriptor, target)
        os.close(descriptor)

    def ask() -> None:
        meta = {
            "io.modelcontextprotocol/protocolVersion": PROTOCOL,
            "io.modelcontextprotocol/clientInfo": {"name": "rehearsal", "version": "0"},
            "io.modelcontextprotocol/clientCapabilities": {},
        }
        with os.fdopen(to_server, "wb", buffering=0) as questions, os.fdopen(from_server, "rb") as answers:
            for number, method in enumerate(ASKED_FIRST):
                question = {"jsonrpc": "2.0", "id": number, "method": method, "params": {"_meta": meta}}
                questions.write(json.dumps(question).encode() + b"\n")
                answers.readline()

    client = threading.Thread(target=ask, name="rehearsal", daemon=True)
    client.start()
    server.run("stdio")
    for thread in threading.enumerate():
        if thread is not threading.current_thread():
            thread.join()  # a fork copies the locks that another thread holds, and not the thread that would let go


def _line(descriptor: int) -> bytes:
    text = b""
    while not text.endswith(b"\n"):
        part = os.read(descriptor, REQUEST_BYTES_MAX)
        if not part or len(text) > REQUEST_BYTES_MAX:
            raise ValueError("the request was cut or is too long")
        text += part
    return text


if __name__ == "__main__":
    main()
