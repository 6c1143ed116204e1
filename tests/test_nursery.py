"""Forked servers look like spawned ones, see only their own settings, and outlive nobody."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import pytest_asyncio

from desks.launch import Launch
from desks.nursery import Nursery, ServerProcess
from values.settings import PROJECT

MODULE = "tests.told_server"


@pytest_asyncio.fixture
async def nursery() -> AsyncIterator[Nursery]:
    opened = Nursery([MODULE], PROJECT)
    yield opened
    await opened.stop()


async def told(process: ServerProcess) -> dict[str, Any]:
    assert process.stdout is not None
    return dict(json.loads(await process.stdout.readline()))


async def ended(process: ServerProcess) -> str:
    """Close its input; its last words."""
    assert process.stdin is not None
    assert process.stderr is not None
    process.stdin.close()
    words = await process.stderr.read()
    await process.wait()
    return words.decode()


async def test_a_forked_server_has_its_arguments_folder_streams_and_process(nursery: Nursery, tmp_path: Path) -> None:
    process = await nursery.spawn(Launch("one", ("--account", "warren"), {}, tmp_path, MODULE))
    said = await told(process)
    assert (said["arguments"], said["folder"]) == (["--account", "warren"], str(tmp_path))
    assert said["pid"] == process.pid != os.getpid()
    assert process.returncode is None
    assert await ended(process) == "its input ended\n"
    assert process.returncode == 0


async def test_no_server_sees_the_settings_of_another_or_of_the_floor(
    nursery: Nursery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "canary-of-the-floor")
    first = await nursery.spawn(Launch("one", (), {"BRAVE_API_KEY": "canary-of-one"}, tmp_path, MODULE))
    second = await nursery.spawn(Launch("two", (), {"PUSHOVER_TOKEN": "canary-of-two"}, tmp_path, MODULE))
    assert (await told(first))["environment"]["BRAVE_API_KEY"] == "canary-of-one"
    seen_by_second = json.dumps(await told(second))
    assert "canary-of-two" in seen_by_second
    assert "canary-of-one" not in seen_by_second
    assert "canary-of-the-floor" not in seen_by_second
    assert nursery.pid is not None
    assert "canary" not in "".join(psutil.Process(nursery.pid).environ().values())
    await ended(first)
    await ended(second)


async def test_a_nursery_that_was_killed_is_started_again_for_the_next_server(nursery: Nursery, tmp_path: Path) -> None:
    survivor = await nursery.spawn(Launch("one", (), {}, tmp_path, MODULE))
    await told(survivor)
    killed = nursery.pid
    assert killed is not None
    os.killpg(killed, signal.SIGKILL)
    process = await nursery.spawn(Launch("two", (), {}, tmp_path, MODULE))
    assert nursery.pid != killed
    await told(process)
    assert survivor.returncode is None
    await ended(survivor)
    await ended(process)


async def test_what_was_forked_ends_when_its_input_does_also_without_its_nursery(
    nursery: Nursery, tmp_path: Path
) -> None:
    process = await nursery.spawn(Launch("one", (), {}, tmp_path, MODULE))
    await told(process)
    await nursery.stop()
    assert process.returncode is None
    assert await ended(process) == "its input ended\n"
