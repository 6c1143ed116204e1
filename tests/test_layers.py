"""The rules of the house, held over the syntax tree of every product file; nothing is imported or run.

`FLOORS` is the plan: a module that is on no floor fails, so a new room is a line here. A rule takes one `Module` and
yields a sentence for each place that breaks it. The second half of this file breaks each rule on purpose.
"""

from __future__ import annotations

import ast
import subprocess
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parent.parent

# Lowest first. A string is one room: a prescribed file and the folder with its inner nouns may import each other.
# Rooms beside each other on a floor are strangers.
FLOORS: tuple[tuple[str, ...], ...] = (
    ("values",),
    ("analysis",),
    ("store database",),
    ("recording",),
    ("model_clients",),
    ("venues",),
    ("market",),
    ("ledger accounts",),
    ("tracers",),
    ("wire",),
    ("accounts_server", "market_server", "push_server push", "memory", "research"),
    ("personas",),
    ("desks",),
    ("traders",),
    ("trading_floor commands",),
    ("dashboard",),
    ("app",),
)

# Who may not import what, though it is on a lower floor: the agents' wing and the money wing meet over MCP alone.
WALLS: tuple[tuple[str, str], ...] = (
    ("desks traders", "accounts ledger market venues database store"),
    ("venues market ledger accounts accounts_server market_server", "model_clients"),
)

SERVER_FOLDERS = "memory research"
"""Folders whose `server` and `*_server` modules are entry points, like the `*_server` files at the top."""
AUTOGEN_ROOMS = "desks model_clients traders"
MCP_SERVER_ROOMS = "wire accounts_server market_server push_server memory.server research"
MCP_CLIENT_ROOMS = "desks.workbench desks.connection desks.process desks.remote desks.guests"
MCP_TYPES_ROOMS = f"{MCP_SERVER_ROOMS} {MCP_CLIENT_ROOMS}"
MCP_CLIENT_NAMES = {"Client", "ClientSession", "ClientSessionGroup", "StdioServerParameters", "stdio_client", "client"}
FORBIDDEN_NAMES = {"utils", "common", "helpers", "agents", "mcp"}
CLOCK_MODULE = "values.clock"
CLOCK_CALLS = {
    "datetime.datetime.now", "datetime.datetime.utcnow", "datetime.datetime.today", "datetime.date.today",
    "time.time", "time.time_ns",
}  # fmt: skip
NOT_PRODUCT = ("tests/", "benchmarks/", "store/migrations/")
FILE_LINES_MAX = 400
FUNCTION_LINES_MAX = 70


@dataclass(frozen=True)
class Module:
    name: str
    is_package: bool
    tree: ast.Module
    lines: int


def parse(path: str, text: str) -> Module:
    """The module that `text` at `path` (with slashes, in the project) is. Raises SyntaxError."""
    parts = path.removesuffix(".py").split("/")
    is_package = parts[-1] == "__init__"
    name = ".".join(parts[:-1] if is_package else parts)
    return Module(name, is_package, ast.parse(text, filename=path), len(text.splitlines()))


@cache
def house() -> tuple[Module, ...]:
    """Every product module that git tracks, or would track if it were added."""
    command = ["git", "ls-files", "-coz", "--exclude-standard", "*.py"]
    listed = subprocess.run(command, cwd=PROJECT, check=True, capture_output=True, text=True).stdout.split("\0")
    paths = sorted(path for path in set(listed) if path and not path.startswith(NOT_PRODUCT))
    return tuple(
        parse(path, (PROJECT / path).read_text(encoding="utf-8")) for path in paths if (PROJECT / path).is_file()
    )


def inside(name: str, rooms: str) -> bool:
    """Whether a module, or what is imported from one, is one of `rooms` or in it."""
    return any(name == room or name.startswith(room + ".") for room in rooms.split())


def place(name: str) -> tuple[int, str] | None:
    """Floor and room of a module or of what is imported from one; None for what is not ours."""
    for floor, rooms in enumerate(FLOORS):
        for room in rooms:
            if inside(name, room):
                return floor, room
    return None


def dotted(node: ast.expr) -> str:
    """`a.b.c` for a name or a chain of attributes on one; for a chain on anything else, the part after it."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.insert(0, node.attr)
        node = node.value
    return ".".join([node.id, *parts] if isinstance(node, ast.Name) else ["", *parts])


def imports(module: Module) -> Iterator[tuple[int, str]]:
    """Line and dotted name of each import at any depth; of `from a import b`, `a.b`."""
    package = module.name.split(".") if module.is_package else module.name.split(".")[:-1]
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            for alias in node.names:
                yield node.lineno, f"{base}.{alias.name}"
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = dotted(node.func).rpartition(".")[2]
            if called in ("import_module", "__import__") and isinstance(node.args[0].value, str):
                yield node.lineno, node.args[0].value


def uses(module: Module) -> Iterator[tuple[int, str]]:
    """The imports, and each attribute read from an imported name, under the name that it has where it comes from."""
    yield from imports(module)
    origins: defaultdict[str, set[str]] = defaultdict(set)
    inner: set[int] = set()
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                top = alias.name.partition(".")[0]
                origins[alias.asname or top].add(alias.name if alias.asname else top)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            for alias in node.names:
                origins[alias.asname or alias.name].add(f"{node.module}.{alias.name}")
        elif isinstance(node, ast.Attribute):
            inner.add(id(node.value))
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Attribute) and id(node) not in inner:
            root, _, rest = dotted(node).partition(".")
            for origin in sorted(origins.get(root, ())):
                yield node.lineno, f"{origin}.{rest}"


def every_module_is_on_a_floor(module: Module) -> Iterator[str]:
    if place(module.name) is None:
        yield f"{module.name} is on no floor; give it a line in FLOORS and one in ARCHITECTURE.md"


def imports_point_down(module: Module) -> Iterator[str]:
    own = place(module.name)
    for line, target in imports(module):
        there = place(target)
        if own is not None and there is not None and there != own and there[0] >= own[0]:
            where = "above" if there[0] > own[0] else "beside"
            yield f"{module.name}:{line} imports {target}, which is {where} it"


def servers_are_reached_over_mcp_alone(module: Module) -> Iterator[str]:
    for line, target in imports(module):
        top, _, rest = target.partition(".")
        inner = rest.partition(".")[0]
        is_file = top.endswith("_server") and place(top) is not None
        is_entry = inside(top, SERVER_FOLDERS) and (inner == "server" or inner.endswith("_server"))
        if is_file or is_entry:
            yield f"{module.name}:{line} imports the server {target}; servers are launched, and reached over MCP"


def the_wings_meet_over_mcp_alone(module: Module) -> Iterator[str]:
    for rooms, forbidden in WALLS:
        for line, target in imports(module):
            if inside(module.name, rooms) and inside(target, forbidden):
                yield f"{module.name}:{line} imports {target} through the wall between agents and money"


def autogen_stays_in_its_rooms(module: Module) -> Iterator[str]:
    for line, target in imports(module):
        if target.startswith("autogen") and not inside(module.name, AUTOGEN_ROOMS):
            yield f"{module.name}:{line} imports {target}; AutoGen stays in {AUTOGEN_ROOMS}"


def mcp_stays_in_its_rooms(module: Module) -> Iterator[str]:
    for line, target in uses(module):
        top, _, rest = target.partition(".")
        if top == "mcp_types":
            side, rooms = "types", MCP_TYPES_ROOMS
        elif top == "mcp" and inside(rest, "server"):
            side, rooms = "server side", MCP_SERVER_ROOMS
        elif top == "mcp" and rest.partition(".")[0] in MCP_CLIENT_NAMES:
            side, rooms = "client", MCP_CLIENT_ROOMS
        else:
            side, rooms = "package", f"{MCP_SERVER_ROOMS} {MCP_CLIENT_ROOMS}"
        if top in ("mcp", "mcp_types") and not inside(module.name, rooms):
            yield f"{module.name}:{line} uses {target}; the place of MCP's {side} is {rooms}"


def folders_are_named_for_nouns_of_the_field(module: Module) -> Iterator[str]:
    for part in module.name.split("."):
        if part in FORBIDDEN_NAMES:
            yield f"{module.name} is named {part}, which is no noun of the field"


def time_comes_from_the_clock(module: Module) -> Iterator[str]:
    for line, target in uses(module):
        if target in CLOCK_CALLS and module.name != CLOCK_MODULE:
            yield f"{module.name}:{line} uses {target}; time comes from a Clock, or wall_now in {CLOCK_MODULE}"


def files_and_functions_end(module: Module) -> Iterator[str]:
    if module.lines > FILE_LINES_MAX:
        yield f"{module.name} has {module.lines} lines; at most {FILE_LINES_MAX}"
    for node in ast.walk(module.tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > FUNCTION_LINES_MAX:
                yield f"{module.name}:{node.lineno} {node.name} has {lines} lines; at most {FUNCTION_LINES_MAX}"


def every_module_opens_with_a_docstring(module: Module) -> Iterator[str]:
    if not ast.get_docstring(module.tree):
        yield f"{module.name} has no docstring; say what it is, what it promises and what it declines"


Rule = Callable[[Module], Iterator[str]]
RULES: tuple[Rule, ...] = (
    every_module_is_on_a_floor,
    imports_point_down,
    servers_are_reached_over_mcp_alone,
    the_wings_meet_over_mcp_alone,
    autogen_stays_in_its_rooms,
    mcp_stays_in_its_rooms,
    folders_are_named_for_nouns_of_the_field,
    time_comes_from_the_clock,
    files_and_functions_end,
    every_module_opens_with_a_docstring,
)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_house_keeps_the_rule(rule: Rule) -> None:
    found = [sentence for module in house() for sentence in rule(module)]
    assert not found, "\n".join(found)


def test_the_house_that_is_checked_is_the_whole_product() -> None:
    names = {module.name for module in house()}
    assert {"values", "values.money", "analysis.performance", "venues.venue", "database"} <= names
    assert not any(inside(name, "tests benchmarks store.migrations") for name in names)


def sentences(path: str, source: str) -> dict[str, list[str]]:
    """What each rule says of a file, with a docstring put in front of its source; silent rules are left out."""
    module = parse(path, f'"""A room."""\n{source}\n')
    said = {rule.__name__: list(rule(module)) for rule in RULES}
    return {rule: found for rule, found in said.items() if found}


BROKEN: tuple[tuple[Rule, str, str, str], ...] = (
    (every_module_is_on_a_floor, "brokers.py", "", "brokers is on no floor"),
    (every_module_is_on_a_floor, "accounts_copy.py", "", "accounts_copy is on no floor"),
    (imports_point_down, "values/money.py", "import database", "values.money:2 imports database, which is above"),
    (imports_point_down, "market.py", "from accounts import Account", "imports accounts.Account, which is above"),
    (imports_point_down, "venues/replay.py", "def f():\n    import market", "venues.replay:3 imports market"),
    (imports_point_down, "tracers.py", "if TYPE_CHECKING:\n    from desks.solo import Solo", "imports desks.solo.Solo"),
    (imports_point_down, "memory/graph.py", "import research.pages", "research.pages, which is beside"),
    (imports_point_down, "store/tables.py", "import importlib\nimportlib.import_module('app')", "imports app"),
    (servers_are_reached_over_mcp_alone, "app.py", "import accounts_server", "the server accounts_server"),
    (servers_are_reached_over_mcp_alone, "trading_floor.py", "from market_server import build", "market_server.build"),
    (servers_are_reached_over_mcp_alone, "desks/servers.py", "from memory import server", "the server memory.server"),
    (servers_are_reached_over_mcp_alone, "memory/graph.py", "from . import server", "the server memory.server"),
    (servers_are_reached_over_mcp_alone, "app.py", "import research.search_server", "research.search_server"),
    (the_wings_meet_over_mcp_alone, "traders.py", "from accounts import Account", "traders:2 imports accounts.Account"),
    (the_wings_meet_over_mcp_alone, "desks/solo.py", "def f():\n    import store.tables", "desks.solo:3"),
    (the_wings_meet_over_mcp_alone, "market.py", "import model_clients.house", "imports model_clients.house"),
    (autogen_stays_in_its_rooms, "trading_floor.py", "from autogen_core import CancellationToken", "AutoGen stays"),
    (autogen_stays_in_its_rooms, "accounts.py", "import autogen_ext.models.openai as m", "AutoGen stays"),
    (mcp_stays_in_its_rooms, "desks/servers.py", "from mcp import StdioServerParameters", "the place of MCP's client"),
    (mcp_stays_in_its_rooms, "wire/edge.py", "from mcp.client.stdio import stdio_client", "the place of MCP's client"),
    (mcp_stays_in_its_rooms, "accounts_server.py", "import mcp\nmcp.Client('x')", "accounts_server:3 uses mcp.Client"),
    (mcp_stays_in_its_rooms, "accounts.py", "from mcp.server import MCPServer", "the place of MCP's server side"),
    (mcp_stays_in_its_rooms, "memory/graph.py", "import mcp_types", "the place of MCP's types"),
    (mcp_stays_in_its_rooms, "desks/workbench.py", "from mcp.server import MCPServer", "MCP's server side"),
    (mcp_stays_in_its_rooms, "tracers.py", "from mcp import MCPError", "the place of MCP's package"),
    (folders_are_named_for_nouns_of_the_field, "desks/utils.py", "", "is named utils"),
    (folders_are_named_for_nouns_of_the_field, "venues/common/limits.py", "", "is named common"),
    (time_comes_from_the_clock, "market.py", "from datetime import datetime\nx = datetime.now()", "market:3 uses"),
    (time_comes_from_the_clock, "market.py", "import datetime as dt\nx = dt.datetime.utcnow()", "datetime.utcnow"),
    (time_comes_from_the_clock, "market.py", "import time\nx = time.time()", "market:3 uses time.time"),
    (time_comes_from_the_clock, "market.py", "import datetime\nfrom datetime import datetime\ndatetime.now()", ":4"),
    (time_comes_from_the_clock, "market.py", "from time import time", "uses time.time"),
    (time_comes_from_the_clock, "market.py", "from datetime import datetime\nf(default=datetime.now)", "time comes"),
    (files_and_functions_end, "market.py", "x = 1\n" * 400, "market has 402 lines; at most 400"),
    (files_and_functions_end, "market.py", "def f():\n" + "    x = 1\n" * 70, "f has 71 lines; at most 70"),
    (files_and_functions_end, "market.py", "class A:\n  async def f():\n" + "    x = 1\n" * 70, "f has 71 lines"),
)  # fmt: skip


@pytest.mark.parametrize(
    ("rule", "path", "source", "expected"), BROKEN, ids=[f"{case[0].__name__}-{case[1]}" for case in BROKEN]
)
def test_a_file_that_breaks_a_rule_is_named_with_what_it_did(rule: Rule, path: str, source: str, expected: str) -> None:
    [sentence] = sentences(path, source)[rule.__name__]
    assert expected in sentence


def test_a_file_without_a_docstring_is_named() -> None:
    [sentence] = every_module_opens_with_a_docstring(parse("market.py", "# a comment is none\nx = 1\n"))
    assert sentence.startswith("market has no docstring")


def test_every_rule_is_broken_on_purpose_by_a_test() -> None:
    assert {case[0] for case in BROKEN} | {every_module_opens_with_a_docstring} == set(RULES)


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("accounts.py", "import json\nfrom ledger import fills\nfrom values.money import exact\nimport database"),
        ("ledger/fills.py", "import accounts\nfrom . import orders\nfrom .orders import Order"),
        ("ledger/__init__.py", "from . import orders\nfrom .orders import Order"),
        ("dashboard/panels.py", "import trading_floor\nfrom accounts import Account"),
        ("accounts_server.py", "from mcp.server import MCPServer\nfrom mcp_types import Tool\nimport wire.edge"),
        ("research/pages.py", "from mcp.server import MCPServer"),
        ("desks/workbench.py", "from mcp import Client, StdioServerParameters, types\nimport autogen_core.tools"),
        ("model_clients/house.py", "import autogen_core.models\nfrom analysis.indicators import beta\nimport database"),
        ("values/clock.py", "from datetime import datetime\nx = datetime.now()"),
        ("market.py", "import time\nfrom datetime import datetime\ntime.monotonic()\ndatetime.fromisoformat('x')"),
        ("market.py", "x = 1\n" * 397 + "def now(datetime):\n    return datetime.now"),
        ("market.py", "def f():\n" + "    x = 1\n" * 69),
        ("memory/graph.py", "from memory.edges import run_server"),
    ],
)
def test_a_file_that_keeps_the_rules_is_left_alone(path: str, source: str) -> None:
    assert sentences(path, source.removesuffix("\n")) == {}
