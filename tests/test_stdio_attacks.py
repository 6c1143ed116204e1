"""Stdio servers under garbage and giants, and when they end; the large form is `python -m tests.chaos stdio`."""

from __future__ import annotations

import io
import random
from pathlib import Path

import anyio
import mcp_types as types
import pytest
from mcp.shared.message import SessionMessage

from memory import CALL_CHARS_MAX
from tests.chaos import stdio
from tests.chaos.garbage import Frame, frames
from tests.chaos.stdio import Kind
from tests.raw_stdio import encoded, request
from wire.stdio import MESSAGE_BYTES_MAX, WAITING_BYTES_MAX, Waiting, read_messages

MEBI = 1024 * 1024
SEED = 4


@pytest.mark.parametrize(("kind", "name"), [("spawned", "accounts"), ("forked", "memory")])
async def test_garbage_and_giants_are_ignored_or_refused_and_good_calls_are_served(
    tmp_path: Path, kind: Kind, name: str
) -> None:
    stdio.set_up(tmp_path)
    tally = await stdio.attack(kind, [name], tmp_path, SEED, 150, [24 * MEBI])
    assert tally.faults == []
    assert tally.ignored > 50
    assert tally.refused > 50
    assert tally.giants == 3
    assert tally.growth_bytes < 20 * MEBI
    assert tally.ended == 1


async def test_servers_end_with_their_parent_or_their_pipes_though_an_order_is_in_mid_call(tmp_path: Path) -> None:
    stdio.set_up(tmp_path)
    assert await stdio.ends(tmp_path, [("spawned", "stdin"), ("spawned", "stdout")], ["forked"], stdio.OURS) == (9, 0)


async def test_requests_are_not_read_faster_than_they_are_answered() -> None:
    pad = "x" * MEBI
    lines = b"".join(encoded(request(number % 2, "ping", {"pad": pad})) + b"\n" for number in range(40))
    waiting = Waiting()
    to_server, incoming = anyio.create_memory_object_stream[SessionMessage | Exception](100)
    answers, answered = anyio.create_memory_object_stream[SessionMessage](0)
    taken: list[types.RequestId] = []

    async def take_until_it_pauses() -> None:
        while not waiting.is_full:
            message = await incoming.receive()
            assert isinstance(message, SessionMessage)
            assert isinstance(message.message, types.JSONRPCRequest)
            taken.append(message.message.id)
        await anyio.wait_all_tasks_blocked()
        assert incoming.statistics().current_buffer_used == 0

    with answered, incoming:
        async with anyio.create_task_group() as group:
            group.start_soon(read_messages, io.BytesIO(lines), to_server, answers, waiting)
            await take_until_it_pauses()
            assert len(taken) == WAITING_BYTES_MAX // MEBI
            waiting.drop(0)
            waiting.drop("no request of this id")
            await take_until_it_pauses()
            assert len(taken) == WAITING_BYTES_MAX // MEBI + 1
            waiting.drop(1)
            async for _ in incoming:
                waiting.drop(0)
                waiting.drop(1)


def test_the_longest_call_that_a_tool_takes_fits_into_a_message() -> None:
    assert len(encoded("\U0001f4c8" * CALL_CHARS_MAX)) < MESSAGE_BYTES_MAX


def test_the_large_form_is_repeated_by_its_seed() -> None:
    def some(seed: int) -> list[Frame]:
        bad = frames(random.Random(seed))
        return [next(bad) for _ in range(200)]

    assert some(1) == some(1) != some(2)
