"""The whole corpus into each parameter of each tool of each server: no crash, no state change, a reason each.

A value that is legal for a parameter is kept as it is and does what the tool promises, once; anything else is refused
with the code that `tests/chaos/verdicts.py` asks for, in a sentence of bounded length, and changes nothing.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, closing, contextmanager, redirect_stderr
from dataclasses import dataclass, field
from io import StringIO
from itertools import accumulate
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import anyio
import mcp_types as types
from mcp import MCPError
from mcp.client._memory import InMemoryTransport
from mcp.shared.message import SessionMessage

from benchmarks.figure import Figure
from database import Store
from store import tables
from tests.bookkeeping import books, rows
from tests.chaos import stdio, verdicts
from tests.chaos.corpus import CORPUS, variants
from tests.chaos.parameters import Parameter, of_accounts, of_market, of_memory, of_push, of_search
from tests.chaos.verdicts import Outcomes, only
from tests.chaos.worlds import Books, Messages, Reads, Remembered, World
from tests.raw_stdio import DEADLINE_S, HELLO, call, encoded, raw_server
from values.errors import shown
from wire.server import ERROR_CHARS_MAX

REASON = re.compile(r"(?s)[a-z]+(_[a-z]+)*: .+")
REASON_CHARS_MAX = 700
NEVER = ("Traceback", "pydantic", "validation error", "sqlalchemy", "sqlite3", "Error executing")
Arguments = dict[str, Any]


@dataclass
class Tally:
    calls: int = 0
    refused: int = 0
    kept: int = 0
    parameters: int = 0
    faults: list[str] = field(default_factory=list)


FORMS: dict[str, tuple[Callable[[Path], World], Callable[[Any], list[Parameter]]]] = {
    "accounts, bound": (lambda folder: Books(folder, "warren"), of_accounts),
    "accounts, the operator's": (lambda folder: Books(folder, None), of_accounts),
    "market": (lambda folder: Reads(folder, "market"), of_market),
    "search": (lambda folder: Reads(folder, "search"), of_search),
    "push, bound": (lambda folder: Messages(folder, "warren"), of_push),
    "push, the operator's": (lambda folder: Messages(folder, None), of_push),
    "memory": (Remembered, of_memory),
}


@dataclass
class Caller:
    """A client that sends what it is given as it is: the SDK's own writes NaN as null, and no half characters."""

    incoming: Any
    outgoing: Any
    _sent: int = 0

    async def ask(self, method: str, params: Arguments) -> Arguments:
        """The result of a request. Raises MCPError."""
        self._sent += 1
        message = types.JSONRPCRequest.model_construct(jsonrpc="2.0", id=self._sent, method=method, params=params)
        await self.outgoing.send(SessionMessage(message))
        with anyio.fail_after(DEADLINE_S):
            answer = (await self.incoming.receive()).message
        assert answer.id == self._sent
        if isinstance(answer, types.JSONRPCError):
            raise MCPError.from_error_data(answer.error)
        assert isinstance(answer.result, dict)
        return answer.result

    async def call(self, tool: str, arguments: Arguments) -> tuple[str, Arguments | None]:
        """What a call was told: the text of a refusal and None, or a text and the object that a tool returned."""
        result = await self.ask("tools/call", {"name": tool, "arguments": arguments})
        (content,) = result["content"]
        assert result.get("isError", False) == ("structuredContent" not in result)
        return content["text"], result.get("structuredContent")


@asynccontextmanager
async def calling(world: World) -> AsyncIterator[Caller]:
    async with InMemoryTransport(world.server) as (incoming, outgoing):
        caller = Caller(incoming, outgoing)
        await caller.ask("initialize", HELLO)
        yield caller


def judge(tally: Tally, where: str, value: object, text: str, is_refused: bool, right: Outcomes) -> str | None:
    """Count an answer, and note what is wrong with it; the code of a refusal."""
    tally.calls += 1
    tally.refused += is_refused
    tally.kept += not is_refused
    code = text.partition(":")[0] if is_refused else None
    what = ""
    if is_refused and not REASON.fullmatch(text):
        what = "no reason"
    elif is_refused and (len(text) > REASON_CHARS_MAX or not text.isprintable()):
        what = f"a reason of {len(text)} characters, or with controls"
    elif is_refused and any(word in text for word in NEVER):
        what = "words of a library"
    elif code not in right:
        what = f"expected {sorted(map(str, right))}"
    if what:
        tally.faults.append(f"{where} given {shown(value)}: {what}: {text[:200]!r}")
    return code


async def feed(
    tally: Tally, form: str, world: World, caller: Caller, parameter: Parameter, values: Sequence[Any]
) -> None:
    """Every value into one parameter; then the world must be as the legal ones of them promised."""
    where = f"{form}: {parameter.tool}.{parameter.name}"
    for value in values:
        arguments = parameter.place(value)
        right = parameter.rule(value)
        text, told = await caller.call(parameter.tool, arguments)
        code = judge(tally, where, value, text, told is None, right)
        if code is None:
            assert told is not None
            world.accepted(parameter.tool, arguments, told)
        else:
            world.refused(parameter.tool, arguments, code)
    tally.parameters += 1
    _compare(tally, where, world)


def _compare(tally: Tally, where: str, world: World) -> None:
    try:
        world.check()
    except AssertionError as difference:
        tally.faults.append(f"{where}: the state is not what it should be: {difference}"[:1_000])


async def misfits(
    tally: Tally, form: str, world: World, caller: Caller, parameters: Sequence[Parameter], values: Sequence[str]
) -> None:
    """Arguments that are missing, arguments that no tool has, tools that are not there."""
    tools = {tool["name"]: tool["inputSchema"] for tool in (await caller.ask("tools/list", {}))["tools"]}
    whole = {each.tool: each.place(None) for each in parameters} | {
        name: {} for name in tools if not tools[name]["properties"]
    }
    for name, schema in tools.items():
        for missing in schema.get("required", []):
            given = {key: value for key, value in whole[name].items() if key != missing}
            text, told = await caller.call(name, given)
            judge(tally, f"{form}: {name} without {missing}", None, text, told is None, only("bad_argument"))
            world.refused(name, given, "bad_argument")
    name, given = next(iter(whole.items()))
    for value in values:
        if value not in whole[name]:
            text, told = await caller.call(name, {**given, value: value})
            judge(tally, f"{form}: {name} with one more", value, text, told is None, only("bad_argument"))
            world.refused(name, given, "bad_argument")
        if value not in tools:
            text, told = await caller.call(value, given)
            judge(tally, f"{form}: a tool", value, text, told is None, only("unknown_tool"))
            world.refused(value, given, "unknown_tool")
    _compare(tally, f"{form}: misfits", world)


async def addresses(tally: Tally, form: str, world: World, caller: Caller, values: Sequence[str]) -> None:
    """Texts as the address of a resource, and as the name in each address that the server knows."""
    listed = (await caller.ask("resources/templates/list", {}))["resourceTemplates"]
    templates = [each["uriTemplate"] for each in listed]
    nothing = only("unknown_resource")
    name_of = verdicts.bound_name if world.bound else verdicts.name_in_an_address
    for value in values:
        asked = [(value, nothing | name_of(unquote(value.rpartition("/")[2])))]
        for template in templates:
            asked.append(
                (template.format(name=quote(value, safe="", errors="surrogatepass")), nothing | name_of(value))
            )
            asked.append((template.format(name=value), nothing | name_of(unquote(value))))
        for uri, right in asked:
            try:
                (content,) = (await caller.ask("resources/read", {"uri": uri}))["contents"]
                judge(tally, f"{form}: a resource", uri, content["text"], False, right if templates else nothing)
            except MCPError as error:
                judge(tally, f"{form}: a resource", uri, error.message, True, right if templates else nothing)
                if len(f"{error.data}") > ERROR_CHARS_MAX:
                    tally.faults.append(
                        f"{form}: a resource {shown(uri)}: the error repeats {len(f'{error.data}')} characters"
                    )
    _compare(tally, f"{form}: resources", world)


@contextmanager
def server_log(tally: Tally, form: str) -> Iterator[None]:
    """What the server says on stderr meanwhile: lines of bounded length, no traceback."""
    told = StringIO()
    with redirect_stderr(told):
        yield
    for line in told.getvalue().splitlines():
        if len(line) > 2 * REASON_CHARS_MAX or line.startswith("Traceback"):
            tally.faults.append(f"{form}: logged {line[:300]!r}, {len(line)} characters")


async def attack(form: str, choose: Callable[[Parameter], Sequence[Any]], others: Sequence[Any]) -> Tally:
    """A form of a server, in memory: for each parameter what `choose` gives for it, then misfits and addresses."""
    tally = Tally()
    make, list_parameters = FORMS[form]
    with tempfile.TemporaryDirectory() as made, server_log(tally, form):
        world = make(Path(made))
        parameters = list_parameters(world)
        if isinstance(world, Remembered):  # a graph holds what is legal: a new one for each parameter
            for at in range(len(parameters)):
                fresh = make(Path(made))
                async with calling(fresh) as caller:
                    parameter = list_parameters(fresh)[at]
                    await feed(tally, form, fresh, caller, parameter, choose(parameter))
                fresh.close()
        async with calling(world) as caller:
            if not isinstance(world, Remembered):
                for parameter in parameters:
                    await feed(tally, form, world, caller, parameter, choose(parameter))
            texts = [each for each in others if isinstance(each, str)]
            await misfits(tally, form, world, caller, parameters, texts)
            await addresses(tally, form, world, caller, texts)
        world.close()
    return tally


ALWAYS = (True, None, float("nan"), 10**4_000, "", "\0", "\ud800", "x" * 1_000_000)
"""What no sample does without."""


def some(seed: int, count: int) -> Callable[[Parameter], Sequence[Any]]:
    """A sample of the corpus for each parameter, another one for each."""
    return lambda parameter: [
        *ALWAYS,
        *random.Random(f"{seed} {parameter.tool} {parameter.name}").sample(CORPUS, count),
    ]


class Elsewhere(World):
    """What a server in a process of its own is asked: nothing legal, so that nothing may change."""

    bound = "warren"

    def accepted(self, tool: str, arguments: Arguments, said: Arguments) -> None:
        raise AssertionError(f"{tool} took {shown(arguments)}")

    def refused(self, tool: str, arguments: Arguments, code: str) -> None: ...
    def check(self) -> None: ...
    def close(self) -> None: ...


OVER_STDIO = {"accounts": of_accounts, "market": of_market, "search": of_search, "push": of_push, "memory": of_memory}


async def over_stdio(folder: Path, kind: stdio.Kind, seed: int, count: int) -> Tally:
    """`count` values that are bad for it into each parameter of each server's process, as JSON over its pipes."""
    tally, chance = Tally(), random.Random(seed)
    async with stdio.nursery_of(kind) as nursery:
        stdio.set_up(folder)
        before = _kept(folder)
        for name, list_parameters in OVER_STDIO.items():
            async with raw_server(stdio.launch(name, folder), nursery) as server:
                await server.greet()
                for parameter in list_parameters(Elsewhere()):
                    bad = [each for each in CORPUS if not parameter.rule(each) & {None, "unknown_symbol"}]
                    for value in chance.sample(bad, min(count, len(bad))):
                        with _integers_of_any_length():
                            line = encoded(call("bad", parameter.tool, **parameter.place(value)))
                        (answer,) = await server.answers_to(line, ["bad"])
                        where, right = f"{name} over stdio: {parameter.tool}.{parameter.name}", parameter.rule(value)
                        if "error" in answer:
                            right = only("bad_message") if is_unreadable(value) else frozenset()
                            judge(tally, where, value, answer["error"]["message"], True, right)
                        else:
                            result = answer["result"]
                            judge(tally, where, value, result["content"][0]["text"], result["isError"], right)
                    tally.parameters += 1
                assert await server.rest() == []
                assert server.process.returncode == 0
            if _kept(folder) != before:
                tally.faults.append(f"{name} over stdio: the state changed")
    return tally


@contextmanager
def _integers_of_any_length() -> Iterator[None]:
    digits = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(0)
    try:
        yield
    finally:
        sys.set_int_max_str_digits(digits)


def _kept(folder: Path) -> tuple[object, ...]:
    """Cash, holdings, transactions, strategies, limits and decisions, and every memory."""
    with closing(Store(folder / "accounts.db")) as store:
        return books(store), rows(store, tables.decisions), list(stdio.dump(folder / "accounts.db.memory-warren"))


def is_unreadable(value: Any) -> bool:
    """Whether JSON's reader has no value for it: half a character, thousands of digits, hundreds of brackets."""
    text = json.dumps(value) if not isinstance(value, int) else hex(value)
    is_deep = max(accumulate((each in "[{") - (each in "]}") for each in text), default=0) > 190
    return is_deep or bool(re.search(r"\\ud[89a-f]", text)) or (isinstance(value, int) and abs(value) > 10**4_300)


def prove(scale: int, seed: int) -> list[Figure]:
    """The corpus, and `scale` - 1 times as many seeded variants of it, into everything."""
    values = [*CORPUS, *variants(seed, (scale - 1) * len(CORPUS))]
    whole = [asyncio.run(attack(form, lambda _: values, values)) for form in FORMS]
    parameters = sum(each.parameters for each in whole)
    in_memory = sum(each.calls for each in whole)
    for kind in stdio.KINDS:
        with tempfile.TemporaryDirectory() as made:
            whole.append(asyncio.run(over_stdio(Path(made), kind, seed, 20 * scale)))
    faults = [fault for each in whole for fault in each.faults]
    assert not faults, f"{len(faults)} faults\n" + "\n".join(faults[:40])
    return [
        Figure("distinct bad inputs", len(values), "", goal=500, at_least=True),
        Figure("parameters that got all of them", parameters, ""),
        Figure("calls with an input of the corpus", in_memory, ""),
        Figure("of them over stdio again", sum(each.calls for each in whole) - in_memory, ""),
        Figure("bad inputs refused with a reason", sum(each.refused for each in whole), ""),
        Figure("inputs legal where they went, kept as they are", sum(each.kept for each in whole), ""),
        Figure("crashes, changes of state and refusals without a reason", len(faults), "", goal=0),
    ]
