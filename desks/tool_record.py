"""`mcp.lock.json`, beside `mcp.json`: the tools of each added server, as the owner has let them in.

A server's tools (names, descriptions, input schemas) are noted at its first use. Later others are noted too, and not
used until the owner has seen the difference and accepted it. The file is a project's, not a store's: what was accepted
holds for every store.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import unified_diff
from pathlib import Path
from typing import Any

from values.environment import PROJECT
from values.errors import Refused

FILE = PROJECT / "mcp.lock.json"
FILE_BYTES_MAX = 64_000_000
LIST_CHARS_MAX = 1_000_000
_VERSION = 1

Listed = Mapping[str, Any]
"""A tool as it is noted: name, description, input_schema."""


@dataclass(frozen=True, slots=True)
class Noted:
    """What is noted of a server. `changed`: other tools that it came with later, None where there are none."""

    accepted: Sequence[Listed]
    accepted_at: str
    changed: Sequence[Listed] | None
    is_shown: bool


class ToolRecord:
    """The file. Every change is made under a lock and put in place whole, so that two floors can share it."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path or FILE

    def noted(self, server: str) -> Noted | None:
        """What is noted of a server; None before its first use. Raises Refused `bad_tool_record`."""
        entry = self._read().get(server)
        if entry is None:
            return None
        changed = entry.get("changed")
        is_shown = changed is not None and entry.get("shown") == fingerprint(changed)
        return Noted(entry["accepted"], entry["accepted_at"], changed, is_shown)

    def judge(self, server: str, tools: Sequence[Listed], now: str) -> bool:
        """Whether these tools may be used: those of the first use may, and those accepted since.

        Raises Refused for a list that is too long, `bad_tool_record` for a file that can't be read or written.
        """
        chars = len(_canonical(tools))
        if chars > LIST_CHARS_MAX:
            raise Refused("too_large", f"its list of tools has {chars:,} characters; at most {LIST_CHARS_MAX:,}")
        with self._changing() as servers:
            entry = servers.get(server)
            if entry is None:
                servers[server] = {"accepted": list(tools), "accepted_at": now}
                return True
            if fingerprint(entry["accepted"]) == fingerprint(tools):
                entry.pop("changed", None)
                return True
            entry["changed"] = list(tools)
            return False

    def show(self, server: str) -> list[str]:
        """The difference between what was accepted and what the server has now, as lines; it counts as seen then."""
        with self._changing() as servers:
            entry = servers.get(server)
            if entry is None or entry.get("changed") is None:
                return []
            entry["shown"] = fingerprint(entry["changed"])
            return difference(entry["accepted"], entry["changed"])

    def accept(self, server: str, now: str) -> int:
        """Accept the difference that was shown; how many tools there are then. Raises Refused."""
        with self._changing() as servers:
            entry = servers.get(server)
            if entry is None or entry.get("changed") is None:
                raise Refused(
                    "nothing_to_accept", f"the tools of {server} have not changed; there is nothing to accept"
                )
            if entry.get("shown") != fingerprint(entry["changed"]):
                raise Refused(
                    "not_seen", f"look at the difference first: `trading-floor servers show {server}`, then accept it"
                )
            servers[server] = {"accepted": entry["changed"], "accepted_at": now}
            return len(entry["changed"])

    def _read(self) -> dict[str, Any]:
        try:
            with self._path.open("rb") as file:
                content = file.read(FILE_BYTES_MAX + 1)
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise self._bad(f"can't be read: {error.strerror}") from error
        try:
            told = json.loads(content)
            servers: dict[str, Any] = told["servers"]
            whole = told["version"] == _VERSION and all(_is_entry(each) for each in servers.values())
        except (ValueError, RecursionError, TypeError, KeyError, AttributeError):
            whole = False
        if not whole:
            raise self._bad("is not what the floor wrote")
        return servers

    def _bad(self, why: str) -> Refused:
        return Refused(
            "bad_tool_record", f"{self._path} {why}; mend it, or remove it to have all added servers noted anew"
        )

    @contextlib.contextmanager
    def _changing(self) -> Iterator[dict[str, Any]]:
        """The servers; what was changed of them is in the file at the end."""
        try:
            folder = os.open(self._path.parent, os.O_RDONLY)
        except OSError as error:
            raise self._bad(f"can't be written: {error.strerror}") from error
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            servers = self._read()
            before = json.dumps(servers)
            yield servers
            if json.dumps(servers) != before:
                self._write(servers)
        finally:
            os.close(folder)

    def _write(self, servers: Mapping[str, Any]) -> None:
        try:
            with tempfile.NamedTemporaryFile("w", dir=self._path.parent, prefix=".mcp.lock.", delete=False) as file:
                json.dump({"version": _VERSION, "servers": servers}, file, indent=1)
                file.flush()
                os.fsync(file.fileno())
            Path(file.name).replace(self._path)
        except OSError as error:
            raise self._bad(f"can't be written: {error.strerror}") from error


def fingerprint(tools: Sequence[Listed]) -> str:
    """SHA-256 of the tools, whatever their order."""
    return hashlib.sha256(_canonical(tools).encode()).hexdigest()


def difference(before: Sequence[Listed], after: Sequence[Listed]) -> list[str]:
    """What was added, removed and changed, line by line; every character that is not plain ASCII as its escape."""
    olds, news = ({each["name"]: each for each in tools} for tools in (before, after))
    lines = []
    for name in sorted(olds.keys() | news.keys()):
        if olds.get(name) != news.get(name):
            word = "added" if name not in olds else "removed" if name not in news else "changed"
            lines.append(f"{word}: {json.dumps(name)}")
            old, new = (_lines(tools[name]) if name in tools else [] for tools in (olds, news))
            lines += [
                line for line in unified_diff(old, new, lineterm="", n=0) if line[:3] not in ("---", "+++", "@@ ")
            ]
    return lines


def _lines(tool: Listed) -> list[str]:
    schema = json.dumps(tool["input_schema"], indent=1, sort_keys=True).splitlines()
    return [json.dumps(each) for each in tool["description"].splitlines()] + schema


def _canonical(tools: Sequence[Listed]) -> str:
    return json.dumps(sorted(tools, key=lambda each: (each["name"], json.dumps(each, sort_keys=True))), sort_keys=True)


def _is_entry(entry: Any) -> bool:
    lists = [entry["accepted"], entry.get("changed") or []]
    return isinstance(entry["accepted_at"], str) and all(
        isinstance(each["name"], str)
        and isinstance(each["description"], str)
        and isinstance(each["input_schema"], dict)
        for tools in lists
        for each in tools
    )
