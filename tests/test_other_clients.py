"""Our servers as clients of other makers meet them: the MCP Inspector's command line, and an SDK of the older protocol.

Both start the servers from what `trading-floor mcp-config plain --account me` prints. `sh clients.sh` sets them up.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from accounts import Account, open_account
from desks.servers import SERVERS
from market import open_market, open_store
from tests.shelf import simulated_settings
from values.settings import PROJECT, MarketSettings, load

CLIENTS = PROJECT / "build" / "clients"
PYTHON = CLIENTS / "python" / "bin" / "python"
NODE = CLIENTS / "python" / "bin" / "node"
INSPECTOR = CLIENTS / "inspector" / "node_modules" / "@modelcontextprotocol" / "inspector"
LAUNCHER = INSPECTOR / "clients" / "launcher" / "build" / "index.js"
README = PROJECT / "README.md"
OLDER_CLIENT = PROJECT / "tests" / "clients" / "older_client.py"

NAMES = sorted(row.name for row in SERVERS if row.is_ours)
ENTITY = {"name": "Nvidia, seen by {client}", "entityType": "company", "observations": ["makes chips"]}
CALLS: Mapping[str, tuple[str, dict[str, Any], str]] = {
    "accounts": ("get_holdings", {"name": "me"}, '"holdings":{"BTC-USD":"0.01"}'),
    "market": ("lookup_share_price", {"symbol": "aapl"}, '"symbol":"AAPL"'),
    "memory": ("create_entities", {"entities": [ENTITY]}, "makes chips"),
    "push": ("push", {"message": "hello", "title": "a test"}, '"state":"no_target"'),
    "search": ("news_search", {"query": "AAPL", "count": 3}, '"provider":"simulated"'),
}
"""For each server a call, and what its answer holds; `{client}` is who calls."""
STRATEGY = "accounts://strategy/me"
TEMPLATES = ["accounts://accounts_server/{name}", STRATEGY.replace("me", "{name}")]


@pytest.fixture(scope="module", autouse=True)
def set_up() -> None:
    missing = [path for path in (PYTHON, NODE, LAUNCHER) if not path.exists()]
    if missing:
        reason = f"the other clients are not set up ({missing[0].relative_to(PROJECT)} is missing): sh clients.sh"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("other-clients")
    return {"PATH": os.environ["PATH"], "HOME": str(folder), **simulated_settings(folder)}


@pytest.fixture(scope="module")
def config(environment: dict[str, str]) -> Path:
    """What `mcp-config plain --account me` prints, in a file; `me` holds a hundredth of a bitcoin."""
    settings = load(
        MarketSettings, **{name.lower(): environment[name] for name in environment.keys() - {"PATH", "HOME"}}
    )
    with closing(open_store(settings)) as store:
        market = open_market(store, settings)
        open_account(store, market, "me", strategy="Wait.")
        Account(store, market, "me", "client").buy_shares("BTC-USD", "0.01", "a test")
    printed = subprocess.run(
        [sys.executable, str(PROJECT / "trading_floor.py"), "mcp-config", "plain", "--account", "me"],
        env=environment, capture_output=True, text=True, check=True, timeout=150, cwd=environment["HOME"],
    )  # fmt: skip
    path = Path(environment["HOME"]) / "mcp.json"
    path.write_text(printed.stdout)
    return path


def inspected(config: Path, environment: Mapping[str, str], *arguments: str) -> dict[str, Any]:
    """What `mcp-inspector --cli` prints for one method of the accounts server."""
    done = subprocess.run(
        [NODE, LAUNCHER, "--cli", "--config", config, "--server", "trading-floor-accounts", "--method", *arguments],
        env={name: environment[name] for name in ("PATH", "HOME")},
        capture_output=True, text=True, timeout=150, cwd=environment["HOME"],
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert isinstance(found, dict)
    return found


def call_of(server: str, client: str) -> tuple[str, dict[str, Any]]:
    tool, arguments, _ = CALLS[server]
    return tool, json.loads(json.dumps(arguments).replace("{client}", client))


def check_tools(tools: list[dict[str, Any]], called: str) -> None:
    assert called in {tool["name"] for tool in tools}
    for tool in tools:
        assert tool["description"]
        assert tool["inputSchema"]["type"] == tool["outputSchema"]["type"] == "object"
        assert {"readOnlyHint", "destructiveHint", "idempotentHint", "openWorldHint"} <= tool["annotations"].keys()


def check_answer(result: dict[str, Any], server: str) -> None:
    assert not result["isError"]
    [content] = result["content"]
    assert CALLS[server][2] in content["text"]
    assert isinstance(result["structuredContent"], dict)


def test_the_inspector_lists_calls_and_reads(config: Path, environment: dict[str, str]) -> None:
    """Of the accounts server, which alone has resources too; the older client asks every server."""
    tool, arguments = call_of("accounts", "the Inspector")
    check_tools(inspected(config, environment, "tools/list", "--strict")["tools"], tool)
    given = ("--tool-name", tool, "--tool-args-json", json.dumps(arguments))
    check_answer(inspected(config, environment, "tools/call", *given), "accounts")
    [content] = inspected(config, environment, "resources/read", "--uri", STRATEGY)["contents"]
    assert (content["text"], content["mimeType"]) == ("Wait.", "text/plain")


def test_a_client_of_the_older_protocol_lists_calls_and_reads(config: Path, environment: dict[str, str]) -> None:
    wanted: dict[str, list[Any]] = {f"trading-floor-{name}": [[call_of(name, "the older")], []] for name in NAMES}
    wanted["trading-floor-accounts"] = [
        [call_of("accounts", "the older"), ["get_balance", {"name": "warren"}]],
        [STRATEGY, "accounts://accounts_server/me"],
    ]
    done = subprocess.run(
        [PYTHON, OLDER_CLIENT, config, json.dumps(wanted)],
        env={name: environment[name] for name in ("PATH", "HOME")},
        capture_output=True, text=True, timeout=150, cwd=environment["HOME"],
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    answers = json.loads(done.stdout)
    assert answers.keys() == wanted.keys()
    for name in NAMES:
        answer = answers[f"trading-floor-{name}"]
        assert (answer["protocol"], answer["server"]) == ("2025-11-25", f"{name}_server")
        check_tools(answer["tools"], CALLS[name][0])
        check_answer(answer["calls"][0], name)
        assert answer["templates"] == (TEMPLATES if name == "accounts" else [])
    accounts = answers["trading-floor-accounts"]
    [refusal] = accounts["calls"][1]["content"]
    assert accounts["calls"][1]["isError"]
    assert refusal["text"] == "other_account: this server serves me only, not warren"
    assert accounts["resources"][0] == "Wait."
    assert json.loads(accounts["resources"][1])["holdings"] == {"BTC-USD": "0.01"}


def test_the_readmes_section_works_word_for_word(environment: dict[str, str]) -> None:
    """Its commands, from the project's folder, with the Inspector that clients.sh installed."""
    section = re.search(
        r"^## Use the servers from your own client\n(.*?)^## ", README.read_text(), re.DOTALL | re.MULTILINE
    )
    assert section is not None
    blocks = re.findall(r"^```sh\n(.*?)^```", section[1], re.DOTALL | re.MULTILINE)
    assert blocks
    home = Path(environment["HOME"]) / "reader"
    home.mkdir()
    tools = f"{INSPECTOR.parents[1] / '.bin'}:{NODE.parent}:{environment['PATH']}"
    done = subprocess.run(
        ["bash", "-euc", "".join(blocks)],
        env={"PATH": tools, "HOME": str(home), **simulated_settings(home)},
        capture_output=True, text=True, timeout=150, cwd=PROJECT, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "me is open with 10,000.00 USD" in done.stdout
