"""The recipes of docs/extending.md, run as they stand there."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path
from typing import Any

import pytest

from accounts import account_limits, open_account
from database import Store
from market import Market
from model_clients import providers
from model_clients.house import HouseModel
from personas import load_personas
from values.settings import PROJECT

EXAMPLES = dict(
    re.findall(
        r"<!-- example: ([\w ]+) -->\n```\w+\n(.*?)```", (PROJECT / "docs" / "extending.md").read_text(), re.DOTALL
    )
)


async def run(source: str, **given: Any) -> None:
    code = compile(source, "docs/extending.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    outcome = eval(code, {"__name__": "example", **given})
    if inspect.isawaitable(outcome):
        await outcome


def test_every_recipe_has_an_example() -> None:
    assert set(EXAMPLES) == {"trader", "tool", "server module", "server", "venue", "provider", "log type"}


def test_a_trader_is_one_file(tmp_path: Path, store: Store, market: Market) -> None:
    (tmp_path / "nina.toml").write_text(EXAMPLES["trader"])
    (nina,) = load_personas(tmp_path)
    open_account(store, market, nina.name, strategy=nina.strategy, kind="trader", limits=nina.limits, actor="floor")
    assert str(account_limits(store, "nina").max_order_usd).startswith("1500")
    assert HouseModel(nina.rulebook).name == "house/trend"


@pytest.mark.parametrize("name", ["tool", "venue", "log type"])
async def test_a_recipe_does_what_it_says(name: str, store: Store, market: Market) -> None:
    await run(EXAMPLES[name], store=store, market=market)


async def test_a_provider_is_one_function_and_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(providers, "PROVIDERS", providers.PROVIDERS)
    await run(EXAMPLES["provider"])


async def test_a_server_is_one_module_and_one_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "dice_server.py").write_text(EXAMPLES["server module"])
    from desks import launch

    monkeypatch.setattr(launch, "_ALWAYS_SEEN", (*launch._ALWAYS_SEEN, "PYTHONPATH"))
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{PROJECT}")
    await run(EXAMPLES["server"])
