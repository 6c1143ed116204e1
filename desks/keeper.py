"""Stands between the floor and a server that the owner added, so that no process of that server outlives the floor.

`python keeper.py PIPE COMMAND...`, alone in a process group: starts the command on its own standard streams and ends
with it. The floor holds the other end of PIPE; once that is closed, whatever is left of the group is killed. A server
that leaves its group gets away.
"""

import os
import signal
import subprocess
import sys
import threading
import time

EXIT_S = 1.0


def main() -> None:
    pipe, command = int(sys.argv[1]), sys.argv[2:]
    try:
        child = subprocess.Popen(command)  # noqa: S603 - the owner's own words, from mcp.json; the pipe is not passed on
    except OSError as error:
        print(f"{command[0]} can't be started: {error.strerror}", file=sys.stderr)
        sys.exit(127)
    os.close(0)  # whoever reads or writes these has to see the server's own end
    os.close(1)
    threading.Thread(target=_see_off, args=(pipe,), daemon=True).start()
    code = child.wait()
    os._exit(code if code >= 0 else 128 - code)


def _see_off(pipe: int) -> None:
    os.read(pipe, 1)
    time.sleep(EXIT_S)
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    main()
