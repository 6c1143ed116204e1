"""A process that has imported what our servers need, and forks one of them at each request: 15 ms in place of 900.

It reads no request itself: it is handed a socket and the three standard streams, forks, and the child reads what it is
to be, so that no setting of one server is ever in the memory of another. It ends when its floor does.
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

REQUEST_BYTES_MAX = 64 * 1024
_DESCRIPTORS = 4


def main() -> None:
    """`python -m wire.nursery DESCRIPTOR MODULE...`: import the modules, then fork for each request on the socket."""
    control = socket.socket(fileno=int(sys.argv[1]))
    for module in sys.argv[2:]:
        importlib.import_module(module)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps: nobody here asks how a server ended
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C is the floor's to hear
    gc.collect()
    gc.freeze()  # pages that the collector does not touch stay shared with the children
    control.sendall(b"!")
    while True:
        asked, descriptors, _, _ = socket.recv_fds(control, 1, _DESCRIPTORS)
        if not asked:
            return
        if os.fork() == 0:
            control.close()
            _become(*descriptors)
        for descriptor in descriptors:
            os.close(descriptor)


def _become(request: int, *streams: int) -> None:
    """In the child: take the streams, read what to be, and be it."""
    code = 1
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.setsid()
        for target, descriptor in enumerate(streams):
            os.dup2(descriptor, target)
            os.close(descriptor)
        asked = json.loads(_line(request))
        os.write(request, f"{os.getpid()}\n".encode())  # the socket stays open: its end tells the floor of ours
        os.environ.clear()
        os.environ.update(asked["environment"])
        os.chdir(asked["folder"])
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
