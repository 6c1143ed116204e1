"""Forked servers look like spawned ones, see only their own settings, and outlive nobody."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil
import pytest
import pytest_asyncio

from accounts import open_account
from desks.launch import Launch
from desks.nursery import Nursery, ServerProcess
from desks.servers import SERVERS, launch_of
from market import open_market, open_store
from tests.shelf import simulated_settings
from values.settings import PROJECT, MarketSettings, load

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
    assert process.stdout is not None
    words, _ = await asyncio.gather(process.stderr.read(), process.stdout.read())
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


def one_of_many(folder: Path, account: str, **environment: str) -> Launch:
    return Launch(account, ("--account", account), environment, folder, MODULE, is_one_of_many=True)


async def test_servers_of_one_kind_are_prepared_once_and_differ_in_their_arguments_alone(
    nursery: Nursery, tmp_path: Path
) -> None:
    processes = [await nursery.spawn(one_of_many(tmp_path, name, MARKET="simulated")) for name in ("warren", "george")]
    said = [await told(process) for process in processes]
    assert [each["arguments"] for each in said] == [["--account", "warren"], ["--account", "george"]]
    assert {each["prepared_by"] for each in said}.isdisjoint({nursery.pid, *(process.pid for process in processes)})
    assert said[0]["prepared_by"] == said[1]["prepared_by"]
    assert said[0]["environment"] == said[0]["prepared_with"] == said[1]["environment"]
    assert said[0]["environment"]["MARKET"] == "simulated"
    assert [each["folder"] for each in said] == [str(tmp_path)] * 2
    for process in processes:
        assert await ended(process) == "its input ended\n"


async def test_servers_with_other_settings_are_of_another_kind(nursery: Nursery, tmp_path: Path) -> None:
    first = await nursery.spawn(one_of_many(tmp_path, "warren", PUSHOVER_TOKEN="canary-of-one"))
    second = await nursery.spawn(one_of_many(tmp_path, "warren", PUSHOVER_USER="canary-of-two"))
    assert "canary-of-one" in json.dumps(await told(first))
    seen_by_second = json.dumps(await told(second))
    assert "canary-of-two" in seen_by_second
    assert "canary-of-one" not in seen_by_second
    await ended(first)
    await ended(second)


@pytest.mark.parametrize("with_its_nursery", [False, True])
async def test_a_kind_that_was_killed_is_prepared_again_for_its_next_server(
    nursery: Nursery, tmp_path: Path, with_its_nursery: bool
) -> None:
    survivor = await nursery.spawn(one_of_many(tmp_path, "warren"))
    killed = (await told(survivor))["prepared_by"]
    if with_its_nursery:
        assert nursery.pid is not None
        os.killpg(nursery.pid, signal.SIGKILL)
    os.kill(killed, signal.SIGKILL)
    processes = await asyncio.gather(*(nursery.spawn(one_of_many(tmp_path, f"a{number}")) for number in range(3)))
    said = [await told(process) for process in processes]
    assert len({each["prepared_by"] for each in said} - {killed}) == 1
    assert survivor.returncode is None
    for process in (survivor, *processes):
        assert await ended(process) == "its input ended\n"


async def test_the_processes_of_a_kind_end_with_their_nursery(nursery: Nursery, tmp_path: Path) -> None:
    process = await nursery.spawn(one_of_many(tmp_path, "warren"))
    kind = psutil.Process((await told(process))["prepared_by"])
    await nursery.stop()
    await asyncio.to_thread(kind.wait, 10)
    assert process.stdout is not None
    await process.stdout.read()
    assert await process.wait() == 0, "and what they forked, once it had time to end by itself"
    await ended(process)


async def test_what_prepares_our_servers_holds_no_file_of_the_store_and_no_second_thread(tmp_path: Path) -> None:
    told = simulated_settings(tmp_path)
    settings = load(MarketSettings, **{key.lower(): value for key, value in told.items()})
    with closing(open_store(settings)) as store:
        open_account(store, open_market(store, settings), "warren", kind="trader", actor="floor")
    launches = [launch_of(row, "warren", told) for row in SERVERS if row.scope == "trader"]
    nursery = Nursery([launch.module or "" for launch in launches], PROJECT)
    for launch in launches:
        process = await nursery.spawn(launch)
        kind = psutil.Process(psutil.Process(process.pid).ppid())
        threads, files = kind.num_threads(), [each.path for each in kind.open_files()]
        await ended(process)
        assert kind.pid != nursery.pid
        assert threads == 1
        assert not [path for path in files if path.startswith(str(tmp_path))]
    await nursery.stop()
