"""Servers that the owner added in `mcp.json`, running beside the floor's own and shared by its traders.

Nothing of theirs is believed and nothing of theirs stops the floor: they start in the background, a session takes those
that are there, and what is wrong with one is said once, in a sentence. A tool of theirs is called `{server}__{tool}`,
which none of ours is, and is offered to those personas alone that name it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from mcp_types import Tool

from desks.connection import CallRefused, ServerConnection, ServerGone, ServerSilent, ToolsRefused
from desks.server_file import AddedServer, Lookup, ServerFile
from desks.tool_record import Listed, ToolRecord
from desks.workbench import Shelf
from model_clients.replies import readable
from values.clock import iso, wall_now
from values.errors import Refused

START_S = 120.0
"""A package runner may download the server first."""
FIRST_S = 10.0
"""How long a floor's start waits for them; who comes later is used then."""
MARK = "__"
FULL_NAME_CHARS_MAX = 64
"""What model providers take."""
DESCRIPTION_CHARS_MAX = 2_000
SCHEMA_CHARS_MAX = 20_000
SENTENCE_CHARS_MAX = 300

Grants = Mapping[str, Mapping[str, Sequence[str]]]
"""By role, then by server: the globs of the tools that may be used. Without a line, none."""


@dataclass(slots=True)
class _Guest:
    connection: ServerConnection
    bringing_up: asyncio.Task[None] | None = None
    trouble: str = ""


class Guests:
    """The added servers that somebody may use. An async context: none of their processes is left after it.

    `say` gets each sentence once; `lookup` gives the variables' values.
    """

    def __init__(
        self,
        file: ServerFile,
        wanted: Sequence[str],
        lookup: Lookup,
        record: ToolRecord,
        say: Callable[[str], None],
    ) -> None:
        self._record = record
        self._say = say
        self._guests: dict[str, _Guest] = {}
        for problem in file.problems:
            say(f"an added server is not used: {problem}")
        for name in dict.fromkeys(wanted):
            server = file.servers.get(name)
            if server is None:
                say(f"a persona names the server {name}, which mcp.json does not have; the floor goes on without it")
            else:
                self._add(server, lookup)

    def _add(self, server: AddedServer, lookup: Lookup) -> None:
        try:
            launch = server.launch(lookup)
        except Refused as refusal:
            self._say(f"the added server {server.name} is not used: {refusal.sentence}")
            return

        def judge(tools: Sequence[Tool]) -> Sequence[Tool]:
            return _judged(server.name, tools, self._record)

        self._guests[server.name] = _Guest(ServerConnection(launch, judge=judge, start_s=START_S))

    @property
    def connections(self) -> Mapping[str, ServerConnection]:
        return {name: guest.connection for name, guest in self._guests.items()}

    def shelves(self, grants: Mapping[str, Sequence[str]]) -> dict[str, Shelf]:
        """The connections of a role, each with the tools that it may use."""
        return {
            f"{name}{MARK}": Shelf(self._guests[name].connection, globs, trusted=False, prefix=f"{name}{MARK}")
            for name, globs in grants.items()
            if name in self._guests
        }

    def look_in(self) -> None:
        """Have those that are down started, and the tools of the others looked at again; nobody waits for it."""
        for name, guest in self._guests.items():
            if guest.bringing_up is None or guest.bringing_up.done():
                guest.bringing_up = asyncio.create_task(self._bring_up(guest), name=f"guest-{name}")

    async def _bring_up(self, guest: _Guest) -> None:
        name = guest.connection.name
        try:
            await guest.connection.be_there()
            await guest.connection.look_again()
        except ToolsRefused as error:
            self._tell(guest, f"the added server {name} is not used: {error}")
        except (ServerGone, ServerSilent, CallRefused) as error:
            words = guest.connection.last_words().splitlines()[-1:]
            why = "".join(f"; {each}" for each in (error.__cause__, *words) if str(each or ""))
            self._tell(guest, f"the added server {name} is not used for now: {error}{why}")
        except Exception as error:  # noqa: BLE001 - what a stranger makes the SDK raise is told, and stops nobody
            self._tell(guest, f"the added server {name} is not used for now: {type(error).__name__}")
        else:
            if guest.trouble:
                self._tell(guest, "")
                self._say(f"the added server {name} is used again")

    def _tell(self, guest: _Guest, sentence: str) -> None:
        told = shown_to_owner(sentence)
        if told and told != guest.trouble:
            self._say(told)
        guest.trouble = told

    async def __aenter__(self) -> Guests:
        self.look_in()
        tasks = [guest.bringing_up for guest in self._guests.values() if guest.bringing_up is not None]
        if tasks:
            await asyncio.wait(tasks, timeout=FIRST_S)
        return self

    async def __aexit__(self, *_: object) -> None:
        for guest in self._guests.values():
            if guest.bringing_up is not None:
                guest.bringing_up.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await guest.bringing_up
        await asyncio.gather(*(guest.connection.stop() for guest in self._guests.values()))


@dataclass(frozen=True, slots=True)
class Invited:
    """The guests as one persona may use them."""

    guests: Guests | None = None
    grants: Grants = field(default_factory=dict)

    def shelves(self, role: str) -> dict[str, Shelf]:
        return {} if self.guests is None else self.guests.shelves(self.grants.get(role, {}))

    def look_in(self) -> None:
        if self.guests is not None:
            self.guests.look_in()


NONE = Invited()


def shown_to_owner(sentence: str) -> str:
    """A sentence that may quote a stranger, for a terminal and a row: one line, every odd character as its escape."""
    text = "".join(each if each.isprintable() and each.isascii() else ascii(each)[1:-1] for each in sentence)
    return text if len(text) <= SENTENCE_CHARS_MAX else text[:SENTENCE_CHARS_MAX] + "..."


def _judged(server: str, tools: Sequence[Tool], record: ToolRecord) -> list[Tool]:
    """The tools that can be offered, cleaned. Raises ToolsRefused where they are not those that were accepted."""
    listed: list[Listed] = [_listed(tool) for tool in tools]
    names = [each["name"] for each in listed]
    if len(set(names)) < len(names):
        raise ToolsRefused("two of its tools have the same name")
    try:
        is_accepted = record.judge(server, listed, iso(wall_now()))
    except Refused as refusal:
        raise ToolsRefused(refusal.sentence) from refusal
    except (ValueError, RecursionError) as error:
        raise ToolsRefused("its list of tools can't be written down") from error
    if not is_accepted:
        raise ToolsRefused(
            f"its tools have changed since they were accepted; `trading-floor servers show {server}` shows how, and "
            f"`trading-floor servers accept {server}` accepts it"
        )
    return [_cleaned(server, tool) for tool, each in zip(tools, listed, strict=True) if not unusable(server, each)]


def _listed(tool: Tool) -> Listed:
    return {
        "name": readable(tool.name),
        "description": readable(tool.description or ""),
        "input_schema": tool.input_schema,
    }


def unusable(server: str, tool: Listed) -> str:
    """Why a tool is not offered to anybody; empty where it can be."""
    name, schema = tool["name"], tool["input_schema"]
    if not re.fullmatch(r"[A-Za-z0-9_-]+", name) or len(f"{server}{MARK}{name}") > FULL_NAME_CHARS_MAX:
        return f"its full name is not {FULL_NAME_CHARS_MAX} letters, digits, - and _ at most"
    if len(json.dumps(schema)) > SCHEMA_CHARS_MAX:
        return f"its schema has more than {SCHEMA_CHARS_MAX:,} characters"
    if not _is_object_schema(schema):
        return "its schema is none of an object"
    return ""


def _is_object_schema(schema: Mapping[str, Any]) -> bool:
    properties, required = schema.get("properties", {}), schema.get("required", [])
    return (
        schema.get("type", "object") == "object"
        and isinstance(properties, dict)
        and all(isinstance(each, dict) for each in properties.values())
        and isinstance(required, list)
        and all(isinstance(each, str) for each in required)
        and isinstance(schema.get("$defs", {}), dict)
    )


def _cleaned(server: str, tool: Tool) -> Tool:
    """The description as one line that says whose it is; annotations, which are a stranger's word, are left out."""
    words = " ".join("".join(each if each.isprintable() else " " for each in readable(tool.description or "")).split())
    if len(words) > DESCRIPTION_CHARS_MAX:
        words = words[:DESCRIPTION_CHARS_MAX] + "…"
    said = f"A tool of the added server {server}, which says of it: {json.dumps(words, ensure_ascii=False)}"
    return Tool(name=tool.name, description=said, input_schema=tool.input_schema)


def matching(globs: Sequence[str], tools: Sequence[Listed]) -> list[str]:
    """The names of the tools that one of `globs` matches."""
    return [each["name"] for each in tools if any(fnmatchcase(each["name"], pattern) for pattern in globs)]
