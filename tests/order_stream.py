"""A floor's heart for the tests that kill it: orders without end through a real stdio server, eight at a time.

Prints the id of each trade when, and only when, it has been acknowledged.
"""

from __future__ import annotations

import asyncio
import sys
from itertools import count
from pathlib import Path

from desks.connection import ServerConnection
from desks.servers import SERVERS, launch_of
from tests.shelf import simulated_settings


async def stream(folder: Path, session_id: str) -> None:
    row = next(each for each in SERVERS if each.name == "accounts")
    connection = ServerConnection(launch_of(row, "warren", simulated_settings(folder)))
    await connection.start()
    order = {"name": "warren", "symbol": "AAPL", "quantity": "1", "rationale": "a test"}
    numbers = count(1)

    async def one_after_the_other() -> None:
        while True:
            key = f"{session_id}:{next(numbers)}"
            answer = await connection.call_tool("buy_shares", {**order, "client_order_id": key}, timeout_s=20)
            assert not answer.is_error, answer.content
            assert answer.structured_content is not None
            print(answer.structured_content["transaction_id"], flush=True)

    await asyncio.gather(*(one_after_the_other() for _ in range(8)))


if __name__ == "__main__":
    asyncio.run(stream(Path(sys.argv[1]), sys.argv[2]))
