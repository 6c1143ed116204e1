"""Servers that the owner added in `mcp.json`: what a floor uses of them, and `servers`, which shows and accepts them.

Nothing is started here: tools are shown as the floor last saw them. Whatever a stranger wrote is shown escaped.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence

from commands.checks import Finding
from commands.tables import show_table
from commands.variables import given_variables
from database import Store, write_log
from desks.guests import Guests, matching, shown_to_owner, unusable
from desks.server_file import AddedServer, Lookup, ServerFile, read_server_file
from desks.tool_record import Noted, ToolRecord
from personas import Persona, load_personas
from values.clock import iso, wall_now
from values.errors import Refused, shown
from values.log import LogRow
from values.settings import FloorSettings

WORDS_CHARS_MAX = 200


def set_variables() -> Lookup:
    """What `${NAME}` stands for: the environment of this command, then `.env`."""
    given = given_variables()
    return lambda name: given.value(name.upper())


def wanted_by(personas: Sequence[Persona]) -> dict[str, list[str]]:
    """The added servers that personas name, each with who does."""
    wanted: dict[str, list[str]] = {}
    for persona in personas:
        for name in dict.fromkeys(name for granted in persona.servers.values() for name in granted):
            wanted.setdefault(name, []).append(persona.name)
    return wanted


def floor_guests(
    store: Store, settings: FloorSettings, personas: Sequence[Persona], say: Callable[[str], None]
) -> tuple[Guests, list[str]]:
    """The added servers of a floor, and the secrets that they are given; each trouble is said, and is a log row."""

    def tell(sentence: str) -> None:
        say(sentence)
        write_log(store, [LogRow("trace", "", sentence, wall_now(), is_error=True)])

    file, lookup, wanted = read_server_file(), set_variables(), list(wanted_by(personas))
    if wanted and store.run().market != "live" and not settings.allow_live_research:
        # a server may know today's world, which would tell a simulated or replayed market its future
        tell("the servers of mcp.json are used on a live market; here only with ALLOW_LIVE_RESEARCH=true")
        file, wanted = ServerFile(is_there=False), []
    secrets = [
        secret
        for name in wanted
        if name in file.servers and not file.servers[name].unset(lookup)
        for secret in file.servers[name].launch(lookup).secrets
    ]
    return Guests(file, wanted, lookup, ToolRecord(), tell), secrets


def list_servers() -> None:
    """Every added server: how it is reached, how many tools it has, what is true of it."""
    file = read_server_file()
    for problem in file.problems:
        print(shown_to_owner(problem))
    if not file.servers:
        print("mcp.json adds no server; README.md shows how it can")
        return
    lookup, record, wanted = set_variables(), ToolRecord(), wanted_by(load_personas())
    rows = []
    for name, server in file.servers.items():
        noted = record.noted(name)
        tools = "" if noted is None else f"{len(noted.accepted)}"
        rows.append((name, server.transport, tools, ", ".join(wanted.get(name, [])), _state(server, noted, lookup)))
    show_table(("name", "transport", "tools", "personas", "state"), rows)


def _state(server: AddedServer, noted: Noted | None, lookup: Lookup) -> str:
    if missing := server.unset(lookup):
        return f"not used: {', '.join(missing)} is not set"
    if noted is None:
        return "not used yet: its tools are noted at the first use"
    if noted.changed is not None:
        return f"not used: its tools have changed; `trading-floor servers show {server.name}`"
    return f"its tools are as noted {noted.accepted_at[:10]}"


def show_server(name: str) -> None:
    """Its tools, who may use them, and what has changed since they were accepted. Raises Refused."""
    server, record = _known(name), ToolRecord()
    print(f"{name}: {server.transport}, {shown_to_owner(server.url or server.command or '')}")
    noted = record.noted(name)
    if noted is None:
        print("its tools are noted at the first use: name it in a persona, then start the floor")
        return
    personas = load_personas()
    print(f"{len(noted.accepted)} tools, accepted {noted.accepted_at}:")
    for tool in noted.accepted:
        users = [
            f"{persona.name} ({role})"
            for persona in personas
            for role, granted in persona.servers.items()
            if tool["name"] in matching(granted.get(name, ()), noted.accepted)
        ]
        whose = unusable(name, tool) or (f"for {', '.join(users)}" if users else "for nobody")
        print(f"  {shown_to_owner(tool['name'])}: {whose}")
        print(f"    {shown_to_owner(tool['description'])[:WORDS_CHARS_MAX]}")
    if noted.changed is None:
        return
    print(f"the server has {len(noted.changed)} tools now, and is not used; the difference:")
    for line in record.show(name):
        print(f"  {line}")
    print(f"`trading-floor servers accept {name}` accepts it")


def accept_server(name: str) -> None:
    """Accept the difference that `show_server` showed. Raises Refused."""
    _known(name)
    count = ToolRecord().accept(name, iso(wall_now()))
    print(f"the {count} tools of {name} are accepted; a running floor uses them from the next session on")


def _known(name: str) -> AddedServer:
    file = read_server_file()
    if name not in file.servers:
        there = ", ".join(file.servers) or "none"
        said = "".join(f" ({problem})" for problem in file.problems)
        raise Refused("unknown_server", f"mcp.json has no server {shown(name)}; there are: {there}{said}")
    return file.servers[name]


def server_findings() -> Iterator[Finding]:
    """What doctor says of `mcp.json`."""
    file = read_server_file()
    if not file.is_there:
        yield Finding("ok", "mcp.json", "none: no server is added to the floor's own")
        return
    for problem in file.problems:
        found, _, mend = shown_to_owner(problem).rpartition("; ")
        yield Finding("FAIL", "mcp.json", found or mend, mend)
    lookup, record, wanted = set_variables(), ToolRecord(), wanted_by(load_personas())
    for name, server in file.servers.items():
        missing = server.unset(lookup)
        if missing:
            yield Finding("warn", "mcp.json", f"{name} needs {', '.join(missing)}", "write its value into .env")
        elif server.command and shutil.which(server.command) is None and not _is_file(server):
            yield Finding(
                "warn", "mcp.json", f"{name} starts with {shown_to_owner(server.command)}, which is not there",
                "install it, or give its whole path",
            )  # fmt: skip
        elif name not in wanted:
            yield Finding(
                "note",
                "mcp.json",
                f"{name} is used by no persona",
                "name it under [servers.ROLE] in a file of personas/",
            )
        elif (noted := record.noted(name)) is not None and noted.changed is not None:
            yield Finding(
                "warn",
                "mcp.json",
                f"the tools of {name} have changed, and it is not used",
                f"trading-floor servers show {name}",
            )
        else:
            yield Finding(
                "ok", "mcp.json", f"{name} ({server.transport}) for {', '.join(wanted[name])}; not started here"
            )
        if server.has_variable_in_args():
            yield Finding(
                "warn", "mcp.json", f"{name} gets a variable in its arguments, which every program here can read",
                "give it in env, where the server can take it from there",
            )  # fmt: skip
    for name in wanted.keys() - file.servers.keys():
        yield Finding(
            "warn",
            "mcp.json",
            f"{', '.join(wanted[name])} names the server {name}, which is not there",
            "add it to mcp.json, or take it out of the persona",
        )


def _is_file(server: AddedServer) -> bool:
    assert server.command is not None
    return "/" in server.command and (server.cwd / server.command).is_file()
