"""`mcp.json`: servers that the owner adds to the floor, in the `mcpServers` form that most MCP clients read.

`${NAME}` and `${NAME:-otherwise}` in arguments, environment and headers stand for what the owner has set in the
environment or in `.env`; that server alone sees it. Nothing is started here, and no value is ever part of a sentence.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from desks.launch import Launch, Remote
from values.environment import PROJECT
from values.errors import Refused, shown

FILE = PROJECT / "mcp.json"
FILE_BYTES_MAX = 1_000_000
SERVERS_MAX = 32
VALUE_CHARS_MAX = 8_000
NAME_CHARS_MAX = 20

OURS = frozenset({"accounts", "fetch", "market", "memory", "push", "research", "search"})
"""Names of the house, which no added server may take."""

_NAME = re.compile(rf"[A-Za-z0-9](?:[A-Za-z0-9]|[_-](?![_])){{0,{NAME_CHARS_MAX - 1}}}")
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]{0,99})(?::-([^{}]{0,1000}))?\}")
_SECRET_NAME = re.compile(r"KEY|TOKEN|SECRET|PASSWORD|AUTH", re.IGNORECASE)
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
_STDIO_KEYS = ("command", "args", "env", "cwd", "type")
_HTTP_KEYS = ("url", "headers", "type")
_HTTP_TYPES = ("http", "streamable-http", "streamableHttp")
_SECRET_CHARS_MIN = 6

Lookup = Callable[[str], str | None]
"""What the owner has set under a name; None where it is nothing."""


@dataclass(frozen=True, slots=True)
class AddedServer:
    """One entry, its variables not filled in."""

    name: str
    command: str | None = None
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    cwd: Path = PROJECT
    url: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def transport(self) -> str:
        return "stdio" if self.url is None else "http"

    def unset(self, lookup: Lookup) -> list[str]:
        """The variables that it needs and that are not set."""
        needed = (match for text in self._texts() for match in _VARIABLE.finditer(text) if match[2] is None)
        return list(dict.fromkeys(match[1] for match in needed if lookup(match[1]) is None))

    def has_variable_in_args(self) -> bool:
        return any(_VARIABLE.search(each) for each in self.args)

    def launch(self, lookup: Lookup) -> Launch | Remote:
        """How to reach it. Raises Refused for a variable that is not set or can't be used here."""
        if missing := self.unset(lookup):
            raise _wrong(
                f"the server {self.name} of mcp.json needs {missing[0]}, which is not set", "its value in .env"
            )
        filled = [_filled(text, lookup) for text in self._texts()]
        if any("\0" in each for each in filled):
            raise _wrong(f"a variable of the server {self.name} of mcp.json has a NUL", "a text without one")
        secrets = self._secrets(lookup)
        if self.url is not None:
            headers = {name: _filled(value, lookup) for name, value in self.headers.items()}
            for name, value in headers.items():
                if not (value.isascii() and value.isprintable()):
                    raise _wrong(
                        f"the header {name} of the server {self.name} can't be sent", "printable ASCII characters"
                    )
            return Remote(self.name, self.url, headers, secrets)
        assert self.command is not None
        arguments = (self.command, *(_filled(each, lookup) for each in self.args))
        environment = {name: _filled(value, lookup) for name, value in self.env.items()}
        return Launch(self.name, arguments, environment, self.cwd, is_guest=True, secrets=secrets)

    def _texts(self) -> tuple[str, ...]:
        return (*self.args, *self.env.values(), *self.headers.values())

    def _secrets(self, lookup: Lookup) -> tuple[str, ...]:
        """What must not show: every value of a variable and of a header, and of an environment's key by its name."""
        found = {lookup(match[1]) for text in self._texts() for match in _VARIABLE.finditer(text)}
        found |= {_filled(value, lookup) for value in self.headers.values()}
        found |= {_filled(value, lookup) for name, value in self.env.items() if _SECRET_NAME.search(name)}
        return tuple(sorted((each for each in found if each and len(each) >= _SECRET_CHARS_MIN), key=len, reverse=True))


@dataclass(frozen=True, slots=True)
class ServerFile:
    """What the file says: the servers that can be read, and a sentence for everything else."""

    servers: Mapping[str, AddedServer] = field(default_factory=dict)
    problems: tuple[str, ...] = ()
    is_there: bool = True


def read_server_file(path: Path | None = None) -> ServerFile:
    """The added servers; a problem takes away its own server alone. Without a file there are none."""
    path = path or FILE
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return ServerFile(is_there=False)
    except OSError as error:
        return ServerFile(problems=(f"mcp.json can't be read: {error.strerror}; make it yours",))
    try:
        entries = _entries(content)
    except (ValueError, RecursionError) as error:
        return ServerFile(problems=(f"mcp.json {error}",))
    servers, problems = {}, []
    for name, entry in entries.items():
        try:
            servers[name] = _server(name, entry)
        except Refused as refusal:
            problems.append(refusal.sentence)
    return ServerFile(servers, tuple(problems))


def _entries(content: bytes) -> Mapping[str, Any]:
    if len(content) > FILE_BYTES_MAX:
        raise ValueError(f"has {len(content):,} bytes; at most {FILE_BYTES_MAX:,}")
    try:
        told = json.loads(content)
    except (ValueError, RecursionError) as error:
        where = f", line {error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
        raise ValueError(f"is no JSON{where}: mend it there") from None
    entries = told.get("mcpServers") if isinstance(told, dict) else None
    if not isinstance(entries, dict):
        raise ValueError('has no "mcpServers": expected {"mcpServers": {"NAME": {"command": ...}}}')
    if len(entries) > SERVERS_MAX:
        raise ValueError(f"has {len(entries)} servers; at most {SERVERS_MAX}")
    return entries


def _server(name: str, entry: Any) -> AddedServer:
    """Raises Refused with what is wrong; a value of the environment or a header is not shown."""
    if not _NAME.fullmatch(name):
        raise _wrong(
            f"a server of mcp.json has the name {shown(name)}",
            f"1 to {NAME_CHARS_MAX} letters, digits, - and _, no two _ in a row",
        )
    if name.casefold() in OURS:
        raise _wrong(
            f"a server of mcp.json has the name {name}", f"another: the floor's own are {', '.join(sorted(OURS))}"
        )
    where = f"the server {name} of mcp.json"
    if not isinstance(entry, dict):
        raise _wrong(f"{where} is no object", 'an object with "command" or with "url"')
    kind = entry.get("type", "http" if "url" in entry else "stdio")
    if kind not in ("stdio", *_HTTP_TYPES):
        raise _wrong(
            f"the type of {where} is {shown(kind)}", "stdio or http (streamable HTTP; the older SSE is not spoken)"
        )
    keys = _STDIO_KEYS if kind == "stdio" else _HTTP_KEYS
    if unknown := [key for key in entry if key not in keys]:
        raise _wrong(f"{where} has {shown(unknown[0])}", f"for {kind} {', '.join(keys)}")
    if kind != "stdio":
        headers = _texts_of(entry.get("headers", {}), f"headers of {where}")
        if bad := [each for each in headers if not _HEADER.fullmatch(each)]:
            raise _wrong(f"{where} has a header's name {shown(bad[0])}", "letters, digits and -")
        return AddedServer(name, url=_address(entry.get("url"), where), headers=headers)
    args = entry.get("args", [])
    if not isinstance(args, list) or not all(_is_text(each) for each in args):
        raise _wrong(f"args of {where} are none", f"a list of texts of at most {VALUE_CHARS_MAX} characters")
    command = entry.get("command")
    if not _is_text(command) or not command or "${" in command:
        raise _wrong(f"the command of {where} is {shown(command)}", "a program's name or path, without variables")
    env = _texts_of(entry.get("env", {}), f"env of {where}")
    if bad := [each for each in env if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,99}", each)]:
        raise _wrong(f"{where} has a variable's name {shown(bad[0])}", "letters, digits and _")
    return AddedServer(name, command, tuple(args), env, _folder(entry.get("cwd"), where))


def _address(url: Any, where: str) -> str:
    """TLS, but on this machine."""
    try:
        parts = urlsplit(url if _is_text(url) else "")
        host, _ = parts.hostname, parts.port
    except ValueError:
        parts, host = urlsplit(""), None
    if not host or parts.username is not None or "${" in url or not url.isprintable() or " " in url:
        raise _wrong(f"the url of {where} is none", "https://host/path, its secrets in headers")
    if parts.scheme == "https" or (parts.scheme == "http" and _is_this_machine(host)):
        return str(url)
    raise _wrong(f"the url of {where} is not https", "https; http reaches this machine alone (127.0.0.1)")


def _is_this_machine(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _folder(cwd: Any, where: str) -> Path:
    if cwd is None:
        return PROJECT
    if not _is_text(cwd) or "${" in cwd or not (folder := PROJECT / Path(cwd).expanduser()).is_dir():
        raise _wrong(f"the cwd of {where} is {shown(cwd)}", "a folder that is there, without variables")
    return folder


def _texts_of(given: Any, where: str) -> Mapping[str, str]:
    if not isinstance(given, dict) or not all(_is_text(each) for each in given.values()):
        raise _wrong(f"{where} is none", f"an object of texts of at most {VALUE_CHARS_MAX} characters")
    return given


def _is_text(given: Any) -> bool:
    return isinstance(given, str) and len(given) <= VALUE_CHARS_MAX and "\0" not in given


def _wrong(what: str, allowed: str) -> Refused:
    return Refused("bad_setting", f"{what}; allowed: {allowed}")


def _filled(text: str, lookup: Lookup) -> str:
    """`text` with its variables; a `$` that begins none stays as it is."""
    return _VARIABLE.sub(lambda match: lookup(match[1]) or match[2] or "", text)
