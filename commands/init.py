"""`trading-floor init`: asks for keys one by one, tests each at once, and writes what is kept into `.env`.

It runs again as an editor of what is there. A key is typed without echo and shown nowhere. Each answer is in the file
before the next question, so that a Ctrl-C loses none.
"""

from __future__ import annotations

import asyncio
import getpass
import sys
import tempfile
import warnings
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, get_args

from commands.checks import failed
from commands.dotenv_file import DotenvFile
from commands.parts import Part, models_of, parts_of
from commands.tables import one_line
from commands.upstreams import UPSTREAMS, ask
from commands.variables import Given, Variable, given_variables, known_variables
from database import Run, Store
from market import new_market, open_store
from push.targets import Targets
from values.errors import BadSetting, Refused, StoreEmpty, StoreUnusable, VenueUnavailable
from values.settings import FloorSettings, MarketKind, MarketSettings, load

TRIES = 3
REMOVE = "-"
MORE = ("POLYGON_PLAN", "MODEL", "USE_MANY_MODELS", "PUSH_QUIET_HOURS", "PUSH_TIME_ZONE")
"""What is asked beside secrets and the market, of those that this version knows."""
INTERRUPTED = 130


class Dialogue(Protocol):
    """A person. KeyboardInterrupt and EOFError end the conversation."""

    def say(self, line: str) -> None: ...

    def ask(self, prompt: str) -> str: ...

    def ask_secret(self, prompt: str) -> str: ...


class Terminal:
    def say(self, line: str) -> None:
        print(one_line(line))

    def ask(self, prompt: str) -> str:
        return input(prompt)

    def ask_secret(self, prompt: str) -> str:
        with warnings.catch_warnings():
            warnings.simplefilter("error", getpass.GetPassWarning)  # it would echo what is typed
            return getpass.getpass(prompt)


def run_init() -> int:
    """The exit code: 0, 2 where nobody can answer, and INTERRUPTED."""
    path = FloorSettings.model_config.get("env_file")
    if not (sys.stdin.isatty() and sys.stdout.isatty()) or not isinstance(path, Path):
        print(
            "init asks questions, and this is no terminal: start it in one, or copy .env.example to .env and edit it",
            file=sys.stderr,
        )
        return 2
    return converse(Terminal(), path)


def converse(dialogue: Dialogue, path: Path) -> int:
    """The whole conversation about the file at `path`."""
    try:
        Conversation(dialogue, DotenvFile(path)).hold()
    except (KeyboardInterrupt, EOFError):
        dialogue.say("")
        dialogue.say(f"stopped here; what was answered is in {path}, and init goes on from it")
        return INTERRUPTED
    except getpass.GetPassWarning:
        dialogue.say("this terminal can't hide what is typed, so no key is asked for: edit .env by hand")
        return 2
    return 0


@dataclass
class Conversation:
    dialogue: Dialogue
    file: DotenvFile
    _shown: Mapping[str, Part] = field(default_factory=dict)

    def hold(self) -> None:
        """Every question, then the table of parts."""
        say = self.dialogue.say
        say(f"Every answer goes into {self.file.path}, which only you can read. Enter leaves things as they are,")
        say(f"{REMOVE} takes a setting out, Ctrl-C ends this and loses nothing.")
        self._shown = self._parts()
        for variable in known_variables():
            if variable.is_secret:
                self._ask_for(variable)
        self._ask_for_market()
        for variable in known_variables():
            if variable.names[0] in MORE:
                self._ask_for(variable)
        self._check()
        say("")
        for part in self._parts().values():
            say(f"{part.name:<14} {part.state:<10} {part.why}")
            if part.change and part.state != "real":
                say(f"{'':<25} -> {part.change}")
        say("")
        say("`make floor` starts the floor; `trading-floor doctor --online` checks all of this again.")

    def _ask_for(self, variable: Variable) -> None:
        """One variable, until what is given can be kept, or nothing is given."""
        say, given = self.dialogue.say, given_variables()
        say("")
        say(f"{variable.names[0]}: {variable.description}")
        name = _name_to_set(variable, given)
        if any(given.environment.get(each) for each in variable.names):
            say("  it is set in the environment, which goes before .env: change it there")
            return
        now = "not set"
        if (value := given.value(name)) is not None:
            now = "set" if variable.is_secret else value
        for _ in range(TRIES):
            prompt = f"  {name} ({now}): "
            answer = (self.dialogue.ask_secret if variable.is_secret else self.dialogue.ask)(prompt).strip()
            if not answer:
                return
            if answer == REMOVE:
                self._keep(name, None)
                return
            if self._can_be(name, answer) and self._keep(name, answer):
                return
        say(f"  {name} is left as it was")

    def _can_be(self, name: str, value: str) -> bool:
        """Whether the value is of the right form, and what it is for takes it or the owner keeps it all the same."""
        say = self.dialogue.say
        try:
            settings = load(FloorSettings, **{name.lower(): value})
            if name == "PUSH_URLS":
                Targets(settings).check()
            if name == "MODEL":
                models_of(settings)
        except BadSetting as wrong:
            say(f"  {wrong.sentence}")
            return name not in wrong.sentence and self._is_kept()
        provider = value.partition("/")[0] if name == "MODEL" else None
        for upstream in UPSTREAMS:
            if provider != upstream.name and name not in upstream.variables.replace(",", " ").split():
                continue
            if upstream.skipped(settings) is not None:
                continue
            say(f"  asking {upstream.name} ...")
            finding = asyncio.run(ask(upstream, settings))
            say(f"  {finding.state}: {finding.found}{f' -> {finding.mend}' if finding.mend else ''}")
            if finding.state != "ok" and not self._is_kept():
                return False
        return True

    def _is_kept(self) -> bool:
        return self.dialogue.ask("  keep it all the same? [y/N] ").strip().lower() in ("y", "yes")

    def _keep(self, name: str, value: str | None) -> bool:
        """Write it, and say what that makes of the floor."""
        try:
            self.file.set(name, value)
        except Refused as refusal:
            self.dialogue.say(f"  {refusal.sentence}")
            return False
        self.dialogue.say(f"  {name} is {'taken out' if value is None else 'written'}")
        before, self._shown = self._shown, self._parts()
        for each in self._shown.values():
            if (was := before.get(each.name)) is not None and was != each:
                self.dialogue.say(f"  {each.name}: {was.state} before, now {each.state} ({each.why})")
        return True

    def _ask_for_market(self) -> None:
        """The market, and with it another store where there is one of another market."""
        say = self.dialogue.say
        say("")
        kinds = get_args(MarketKind)
        if given_variables().environment.get("MARKET"):
            say("MARKET: it is set in the environment, which goes before .env: change it there")
            return
        try:
            settings = load(MarketSettings)
        except BadSetting as wrong:
            say(f"MARKET: {wrong.sentence}")
            return
        run = self._run()
        now = (settings.market or new_market(settings)) if run is None else run.market
        say(f"MARKET: {', '.join(kinds)}; {now} {'for a new store' if run is None else f'is {settings.store_address}'}")
        for _ in range(TRIES):
            answer = self.dialogue.ask(f"  MARKET ({now}): ").strip().lower()
            if not answer or answer == now:
                return
            if answer not in kinds:
                say(f"  it is one of {', '.join(kinds)}")
                continue
            changes: dict[str, str] = {}
            if run is not None:
                store = self.dialogue.ask(f"  another market takes another store; its file ({answer}.db): ").strip()
                changes["DATABASE_URL"] = f"sqlite:///{store or f'{answer}.db'}"
            if answer == "replay" and settings.replay_history is None:
                changes["REPLAY_HISTORY"] = self.dialogue.ask("  the price file of the replay: ").strip()
            changes["MARKET"] = answer
            if self._can_be_market(changes) and all(self._keep(name, value) for name, value in changes.items()):
                return

    def _can_be_market(self, changes: Mapping[str, str]) -> bool:
        """Whether a new store of that market can be made: one is, and is gone again."""
        with tempfile.TemporaryDirectory(prefix="trading-floor-init-") as folder:
            given = {name.lower(): value for name, value in changes.items()}
            try:
                if "database_url" in given and Path(load(MarketSettings, **given).store_address.path).exists():
                    self.dialogue.say(f"  {given['database_url']} is there already: name another")
                    return False
                elsewhere = {**given, "database_url": f"sqlite:///{folder}/accounts.db"}
                with closing(open_store(load(MarketSettings, **elsewhere))):
                    return True
            except (Refused, StoreUnusable, VenueUnavailable) as error:
                self.dialogue.say(f"  {getattr(error, 'sentence', None) or error}")
                return False

    def _run(self) -> Run | None:
        try:
            with closing(Store(load(MarketSettings).store_address)) as store:
                return store.run()
        except StoreEmpty:
            return None
        except (BadSetting, StoreUnusable) as error:
            self.dialogue.say(f"  the store: {getattr(error, 'sentence', None) or error}")
            return None

    def _parts(self) -> dict[str, Part]:
        try:
            settings, run = load(FloorSettings), self._run()
        except BadSetting:
            return {}  # `_check` tells of it
        market = new_market(settings) if run is None else run.market
        return {each.name: each for each in parts_of(settings, run, market)}

    def _check(self) -> None:
        """What keeps a floor from starting with all this."""
        self.dialogue.say("")
        try:
            Targets(load(FloorSettings)).check()
        except BadSetting as wrong:
            finding = failed("settings", wrong)
            self.dialogue.say(f"The floor would not start: {finding.found} -> {finding.mend}")


def _name_to_set(variable: Variable, given: Given) -> str:
    """The name that is set already, else the first."""
    return next((each for each in variable.names if given.file.get(each)), variable.names[0])
