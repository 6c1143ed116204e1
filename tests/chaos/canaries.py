"""A canary in every secret: where each may be, and that it is nowhere else, whatever the upstreams do with it.

A floor runs a cycle against upstreams that tell in their answers what they were asked with. Then everything that came
out of it is searched: children's settings, environments and command lines, the store's files while it runs and after,
prompts, searches, pushes, traces, what was printed, a backup, and what the owner's commands say.
"""

from __future__ import annotations

import base64
import json
import os
import random
import string
import subprocess
import sys
import tempfile
import threading
import traceback
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import cache
from itertools import count
from pathlib import Path
from sqlite3 import connect
from typing import Any
from urllib.parse import quote

import psutil

from benchmarks.figure import Figure
from desks.servers import SERVERS
from model_clients.providers import Providers
from push.targets import Targets
from tests.chaos.upstreams import FAULTS, Indiscreet
from values.errors import BadSetting
from values.settings import PROJECT, PROVIDER_NAMES, FloorSettings, load

COMMANDS = (
    "doctor",
    "doctor --online",
    "accounts backup {copy}",
    "mcp-config claude-desktop",
    "status",
    "accounts export warren",
)
"""What the owner may look at; `accounts backup` is searched as a file."""
LOOK_EVERY = 6
"""Model requests between two looks at the running floor: its processes and files."""
TRADERS = ("cathie", "george", "ray", "warren")


@dataclass(frozen=True)
class Canary:
    """A setting whose value is a secret. `value` may have `{address}`; `hidden` are the parts that nobody may see.

    `needed_by` are the servers that it is for; the floor itself has them all.
    """

    setting: str
    value: str
    hidden: tuple[str, ...]
    needed_by: frozenset[str] = frozenset()

    @cache  # noqa: B019 - a handful of canaries, each searched for thousands of times
    def forms(self) -> frozenset[bytes]:
        """What to look for: each part as it is, and as an address, JSON or a Basic header would have it."""
        found = set[str]()
        for part in self.hidden:
            found |= {part, quote(part, safe=""), json.dumps(part)[1:-1]}
            found |= {base64.b64encode(text.encode()).decode() for text in (part, f"owner:{part}")}
        return frozenset(each.encode() for each in found)


def canaries(chance: random.Random) -> tuple[Canary, ...]:
    """One in every secret setting; their letters, and the signs that need quoting somewhere, are chance's."""

    def made(begin: str, signs: str = "/+=._~-", chars: int = 16) -> str:
        letters = string.ascii_letters + string.digits
        return begin + "".join(chance.choices(letters + signs * 4, k=chars)) + chance.choice(letters)

    model, search, prices = made("sk-canary-"), made("BSA-canary-"), made("canary-")
    others = {each: made(f"{each}-canary-") for each in PROVIDER_NAMES if each not in ("openai", "ollama")}
    user, token, topic = made("canaryUser", "", 19), made("canaryToken", "", 18), made("canaryTopic", "")
    password, page = made("canary-", "/+=._~-%:@ &?#"), made("canary-")
    push = frozenset({"push"})
    return (
        Canary("OPENAI_API_KEY", model, (model,)),
        *(Canary(f"{each.upper()}_API_KEY", key, (key,)) for each, key in others.items()),
        Canary("POLYGON_API_KEY", prices, (prices,)),
        Canary("BRAVE_API_KEY", search, (search,), frozenset({"search"})),
        Canary("PUSHOVER_USER", user, (user,), push),
        Canary("PUSHOVER_TOKEN", token, (token,), push),
        Canary("PUSH_URLS", f"ntfy://owner:{quote(password, safe='')}@{ADDRESS}/{topic}", (password, topic), push),
        Canary("DASHBOARD_PASSWORD", page, (page,)),
    )


ADDRESS = "{address}"
MODULES = {row.module: row.name for row in SERVERS}


@dataclass
class Search:
    """Looks for canaries, and counts what it looked through. `found` are sentences."""

    canaries: Sequence[Canary]
    found: list[str] = field(default_factory=list)
    looked_at: dict[str, int] = field(default_factory=dict)

    def look(self, where: str, content: bytes, allowed: Iterable[str] = ()) -> None:
        self.looked_at[where] = self.looked_at.get(where, 0) + 1
        for canary in self.canaries:
            if canary.setting in allowed:
                continue
            for form in canary.forms():
                if (at := content.find(form)) >= 0:
                    around = content[max(0, at - 120) : at + 120]
                    self.found.append(f"{canary.setting} is in {where}: {around!r}")
                    break

    def look_at_files(self, where: str, paths: Iterable[Path]) -> None:
        for path in paths:
            if path.is_file():
                self.look(where, path.read_bytes())

    def look_at_processes(self, floor: psutil.Process) -> None:
        """Every process of the floor's: its command line, and, but for the floor's own, its environment."""
        self.look("a command line", "\0".join(floor.cmdline()).encode())
        for child in floor.children(recursive=True):
            try:
                words, environment = child.cmdline(), child.environ()
            except psutil.NoSuchProcess:
                continue
            # what is forked from the nursery shows the nursery's, and that is to hold no secret at all
            self.look("a command line", "\0".join(words).encode())
            self.look("an environment", json.dumps(environment).encode())

    def look_at_started(self, lines: Sequence[str]) -> None:
        """What children were started with: each secret reaches those that need it, and no other."""
        reached: dict[str, set[str]] = {each.setting: set() for each in self.canaries}
        for line in lines:
            started = json.loads(line)
            server = MODULES.get(started["what"], "")
            allowed = [each.setting for each in self.canaries if server in each.needed_by]
            self.look("a child's settings", line.encode(), allowed)
            for setting in allowed:
                if setting in started["environment"]:
                    reached[setting].add(server)
        for canary in self.canaries:
            if reached[canary.setting] != canary.needed_by:
                self.found.append(f"{canary.setting} reached {reached[canary.setting]}, not {set(canary.needed_by)}")


def speak(request: Mapping[str, Any]) -> dict[str, Any]:
    """Every trader asks, pushes, buys and records; its researcher searches. All texts are of the model's own making."""
    messages: list[dict[str, Any]] = request["messages"]
    turn: int = sum(message["role"] == "assistant" for message in messages)
    if "research assistant" in messages[0]["content"]:
        return _calls(turn, ("web_search", {"query": "Apple"})) if turn == 0 else _text("Nothing is new.")
    name = str(messages[1]["content"]).partition("account `")[2].partition("`")[0]
    decision = {
        "name": name, "symbol": "AAPL", "action": "hold", "confidence": 0.5, "horizon_days": 5, "rationale": "so it is",
    }  # fmt: skip
    steps: list[dict[str, Any]] = [
        _calls(turn, ("research", {"question": "What is new at Apple?"})),
        _calls(
            turn,
            ("push", {"message": "I begin.", "title": "News"}),
            ("buy_shares", {"name": name, "symbol": "AAPL", "quantity": "1", "rationale": "so it is"}),
            ("record_decision", decision),
        ),
        _calls(turn, ("push", {"message": "I end.", "title": "News"})),
        _text("I bought one share of Apple."),
    ]
    return steps[min(turn, len(steps) - 1)]


def _calls(turn: int, *wanted: tuple[str, Mapping[str, Any]]) -> dict[str, Any]:
    calls = [
        {
            "id": f"call_{turn}_{at}",
            "type": "function",
            "function": {"name": name, "arguments": json.dumps(arguments)},
        }
        for at, (name, arguments) in enumerate(wanted)
    ]
    return {"role": "assistant", "content": None, "tool_calls": calls}


def _text(content: str) -> dict[str, Any]:
    return {"role": "assistant", "content": content}


@dataclass
class Told:
    """What a floor's run came to."""

    search: Search
    failed: list[str]
    prompts: int
    outcomes: Counter[str]


def run_floor(folder: Path, secrets: Sequence[Canary], faults: Mapping[str, str], commands: Sequence[str]) -> Told:
    """One cycle of a whole floor with every secret set, against indiscreet upstreams; then the owner's `commands`."""
    search = Search(secrets)
    started, store = folder / "started.jsonl", folder / "books"
    store.mkdir()
    history = folder / "bars.csv"
    history.write_text(
        "symbol,time,open,high,low,close,volume\n"
        + "".join(f"AAPL,2026-03-02T1{hour}:00:00Z,200,200,200,200,10\n" for hour in (5, 6))
    )
    running: list[psutil.Process] = []
    census, asked = threading.Lock(), count()

    def look_while_it_runs() -> None:
        with census:
            if next(asked) % LOOK_EVERY:
                return
            search.look_at_processes(running[0])
            search.look_at_files("a file of the running floor", store.iterdir())

    once = ("once", "--market", "replay", "--history", str(history))
    with Indiscreet(speak, faults, look_while_it_runs) as upstream:
        environment = _environment(upstream.address, store, secrets)
        with subprocess.Popen(
            [sys.executable, "-m", "tests.chaos.watched_floor", str(started), *once],
            env=environment, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        ) as floor:  # fmt: skip
            running.append(psutil.Process(floor.pid))
            printed, _ = floor.communicate()
        assert floor.returncode == 0, printed.decode()
        search.look("what the floor printed", printed)
        for command in commands:
            words = command.format(copy=store / "copy.db").split()
            done = subprocess.run(
                [sys.executable, "-m", "trading_floor", *words], env=environment, cwd=PROJECT, capture_output=True
            )
            assert done.returncode in (0, 1), done.stderr.decode()  # doctor finds what does not answer as it should
            assert done.stdout, command
            search.look(f"`{command}`", done.stdout + done.stderr)
    for service, requests in upstream.seen.items():
        for each in requests:
            search.look(f"what {service} got", each)
    search.look_at_files("a file", store.rglob("*"))
    search.look_at_started(started.read_text().splitlines())
    return Told(search, upstream.failed, len(upstream.seen["model"]), _outcomes(store))


def _environment(address: str, store: Path, secrets: Sequence[Canary]) -> dict[str, str]:
    here = f"http://{address}"
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(store.parent),
        "DATABASE_URL": f"sqlite:///{store}/accounts.db",
        "MODEL": "openai/indiscreet",
        **{f"{each.upper()}_BASE_URL": f"{here}/v1" for each in PROVIDER_NAMES},
        "SEARCH_PROVIDER": "brave",
        "BRAVE_BASE_URL": here,
        "ALLOW_LIVE_RESEARCH": "true",
        "PUSHOVER_BASE_URL": here,
        "OTEL_EXPORTER_OTLP_ENDPOINT": here,
        **{each.setting: each.value.replace(ADDRESS, address) for each in secrets},
    }


def _outcomes(store: Path) -> Counter[str]:
    with closing(connect(store / "accounts.db")) as raw:
        return Counter(outcome for (outcome,) in raw.execute("SELECT outcome FROM sessions"))


def wrong_settings(secrets: Sequence[Canary]) -> Search:
    """Every secret set to what it can't be, alone and with the others: what the error shows, its causes included."""
    search = Search(secrets)
    for canary in secrets:
        for value in (f"{canary.value} broken", f"{canary.value}\n", f"nosuch://{canary.value}"):
            try:
                settings = load(FloorSettings, **{canary.setting.lower(): value, "model": "openai/m"})
                search.look("settings as they are shown", repr(settings).encode())
                Targets(settings).check()
                provider = canary.setting.removesuffix("_API_KEY").lower()
                Providers(settings).client(f"{provider if provider in PROVIDER_NAMES else 'openai'}/m")
            except BadSetting as error:
                search.look("an error of settings", "".join(traceback.format_exception(error)).encode())
    return search


def prove(scale: int, seed: int) -> list[Figure]:
    """Six floors, each with canaries of its own and with other faults, each then looked at by another of COMMANDS."""
    chance = random.Random(seed)
    found: list[str] = []
    looked, faults_met, sessions = 0, 0, 0
    for at in range(len(COMMANDS) * scale):
        secrets = canaries(chance)
        faults = {where: chance.choice(FAULTS[1:]) for where in (*(f"model {each}" for each in TRADERS), "search")}
        faults["push"] = chance.choice(FAULTS[1:])
        with tempfile.TemporaryDirectory() as folder:
            told = run_floor(Path(folder), secrets, faults, [COMMANDS[at % len(COMMANDS)]])
        wrong = wrong_settings(secrets)
        found += told.search.found + wrong.found
        looked += sum(told.search.looked_at.values()) + sum(wrong.looked_at.values())
        faults_met += len(told.failed)
        sessions += sum(told.outcomes.values())
    for each in dict.fromkeys(found):
        print(each, file=sys.stderr)
    return [
        Figure("places where a canary was found that does not belong there", len(found), "", goal=0),
        Figure("places searched for canaries", looked, "", goal=1_000 * scale, at_least=True),
        Figure("answers of upstreams that told a key", faults_met, "", goal=100 * scale, at_least=True),
        Figure("sessions of floors with canaries", sessions, "", goal=4 * len(COMMANDS) * scale, at_least=True),
    ]
