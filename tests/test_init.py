"""`trading-floor init`: a conversation about keys, tested at once, and the file that it leaves."""

from __future__ import annotations

import os
import pty
import select
import signal
import stat
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path

import pytest
from dotenv import dotenv_values
from hypothesis import given, settings
from hypothesis import strategies as st

from commands import init
from commands.dotenv_file import DotenvFile
from database import NewRun, Store
from tests.shelf import refused
from tests.test_doctor import GOOD, services
from values.settings import PROJECT, SETTINGS_CLASSES, FloorSettings, load

KEY = "canary-key-4f1d9"
OTHER = "canary-key-77aa2"


@dataclass
class Person:
    """Answers by the variable that is asked for, in turn; Enter to all else. What is given for `stop` is a Ctrl-C."""

    answers: dict[str, list[str]] = field(default_factory=dict)
    stop: str = ""
    said: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    hidden: list[str] = field(default_factory=list)

    def say(self, line: str) -> None:
        self.said.append(line)

    def ask(self, prompt: str) -> str:
        self.asked.append(prompt)
        about = next((name for name in self.answers if name in prompt), None)
        if self.stop and self.stop in prompt:
            raise KeyboardInterrupt
        return self.answers[about].pop(0) if about and self.answers[about] else ""

    def ask_secret(self, prompt: str) -> str:
        self.hidden.append(prompt)
        return self.ask(prompt)

    @property
    def heard(self) -> str:
        return "\n".join([*self.said, *self.asked])


@pytest.fixture
def env(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The project's `.env`, which is not there yet; stores are made beside it."""
    path = tmp_path / ".env"
    for each in SETTINGS_CLASSES:
        monkeypatch.setitem(each.model_config, "env_file", path)
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{tmp_path}/accounts.db")
    return path


@pytest.fixture
def base(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with services(**GOOD) as served:
        for name in ("BRAVE_BASE_URL", "PUSHOVER_BASE_URL"):
            monkeypatch.setenv(name, served.url)
        monkeypatch.setenv("OPENAI_BASE_URL", f"{served.url}/v1")
        yield


def hold(env: Path, **answers: list[str]) -> Person:
    person = Person({f" {name} (": given for name, given in answers.items()} | {"keep it": answers.get("kept", [])})
    assert init.converse(person, env) == 0
    return person


class TestConversation:
    def test_a_key_is_tested_written_for_its_owner_alone_and_never_shown(
        self, env: Path, base: None, capsys: pytest.CaptureFixture[str]
    ) -> None:
        person = hold(env, BRAVE_API_KEY=[KEY], PUSHOVER_USER=[OTHER], PUSHOVER_TOKEN=[OTHER])
        assert dotenv_values(env) == {"BRAVE_API_KEY": KEY, "PUSHOVER_USER": OTHER, "PUSHOVER_TOKEN": OTHER}
        assert stat.S_IMODE(env.stat().st_mode) == 0o600
        assert [each.name for each in env.parent.iterdir()] == [".env"], "no copy is left behind, and no store is made"
        assert "  ok: 127.0.0.1 answers, and takes what is set" in person.said
        assert "  messages: off before, now real (sent to pushover)" in person.said
        told = person.heard + capsys.readouterr().out
        assert KEY not in told
        assert OTHER not in told
        assert {prompt.split()[0] for prompt in person.hidden} >= {"BRAVE_API_KEY", "PUSHOVER_TOKEN", "PUSH_URLS"}
        assert all("MODEL" not in prompt for prompt in person.hidden)

    def test_enter_alone_writes_nothing_and_shows_the_table(self, env: Path) -> None:
        person = hold(env)
        assert not env.exists()
        table = person.heard
        assert "prices         simulated  the simulated market: a new store gets it" in table
        for name in ("prices", "models", "search", "pages", "news", "messages", "extra servers", "database"):
            assert name in table

    @pytest.mark.parametrize(("kept", "is_written"), [("n", False), ("y", True), ("", False)])
    def test_a_key_that_fails_is_told_and_the_owner_decides(
        self, env: Path, monkeypatch: pytest.MonkeyPatch, kept: str, is_written: bool
    ) -> None:
        with services(search=(401, KEY)) as served:
            monkeypatch.setenv("BRAVE_BASE_URL", served.url)
            person = hold(env, BRAVE_API_KEY=[KEY], kept=[kept])
        assert "refuses the key (status 401) -> look at BRAVE_API_KEY and BRAVE_BASE_URL" in person.heard
        assert env.exists() is is_written
        assert KEY not in person.heard

    def test_a_key_of_the_wrong_form_is_asked_for_again_a_few_times(self, env: Path, base: None) -> None:
        person = hold(env, BRAVE_API_KEY=["short", "with a blank", KEY])
        assert person.heard.count("BRAVE_API_KEY is '[secret]'; allowed: 8 to 400 letters") == 2
        assert dotenv_values(env) == {"BRAVE_API_KEY": KEY}
        person = hold(env, BRAVE_API_KEY=["short"] * 5)
        assert person.heard.count("8 to 400 letters") == init.TRIES
        assert "  BRAVE_API_KEY is left as it was" in person.said
        assert dotenv_values(env) == {"BRAVE_API_KEY": KEY}

    def test_it_edits_what_is_there_and_leaves_every_other_line(self, env: Path, base: None) -> None:
        env.write_text(f"# mine\nBRAVE_API_KEY={KEY} # paid\n\nSESSION_CENTS=7\nMASSIVE_API_KEY={KEY}\n")
        person = hold(env, BRAVE_API_KEY=[OTHER], MASSIVE_API_KEY=["-"])
        assert env.read_text() == f"# mine\nBRAVE_API_KEY={OTHER} # paid\n\nSESSION_CENTS=7\n"
        assert "  BRAVE_API_KEY (set): " in person.asked
        assert "  MASSIVE_API_KEY (set): " in person.asked
        assert "  OPENAI_API_KEY (not set): " in person.asked
        assert stat.S_IMODE(env.stat().st_mode) == 0o600, "also where it was not before"
        assert KEY not in person.heard

    def test_what_the_environment_sets_is_not_asked_for(
        self, env: Path, base: None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("BRAVE_API_KEY", KEY)
        monkeypatch.setenv("MARKET", "simulated")
        person = hold(env)
        assert person.heard.count("set in the environment, which goes before .env") == 2
        assert not any("BRAVE_API_KEY (" in each or "MARKET (" in each for each in person.asked)

    def test_the_model_is_checked_and_its_server_asked(self, env: Path, base: None) -> None:
        person = hold(env, MODEL=["gpt", "groq/of-no-known-price", "openai/gpt-4o-mini"])
        assert "MODEL is 'gpt'; allowed: house" in person.heard
        assert "MODEL is 'groq/of-no-known-price'; allowed: a model whose price is known" in person.heard
        assert "  asking openai ..." in person.said
        assert dotenv_values(env) == {"MODEL": "openai/gpt-4o-mini"}
        assert "  models: simulated before, now real (openai/gpt-4o-mini)" in person.said

    def test_another_market_takes_another_store(
        self, env: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("DATABASE_URL")
        env.write_text(f"DATABASE_URL=sqlite:///{tmp_path}/accounts.db\n")
        Store(tmp_path / "accounts.db", NewRun("simulated", 7)).close()
        prices = tmp_path / "prices.csv"
        prices.write_text(
            "symbol,time,open,high,low,close,volume\n"
            + "".join(f"AAPL,2026-03-02T1{hour}:00:00Z,200,200,200,200,10\n" for hour in (5, 6))
        )
        person = Person(
            {
                "MARKET (": ["casino", "replay", "replay"],
                "another store": [f"{tmp_path}/accounts.db", f"{tmp_path}/replay.db"],
                "price file": [str(prices), str(prices), str(prices)],
            }
        )
        assert init.converse(person, env) == 0
        assert "  it is one of simulated, replay, live" in person.said
        assert f"sqlite:///{tmp_path}/accounts.db is there already: name another" in person.heard
        assert dotenv_values(env) == {
            "DATABASE_URL": f"sqlite:///{tmp_path}/replay.db", "REPLAY_HISTORY": str(prices), "MARKET": "replay",
        }  # fmt: skip
        assert not (tmp_path / "replay.db").exists(), "the floor makes it when it starts"

    def test_half_of_pushover_is_told_at_the_end(self, env: Path, base: None) -> None:
        person = hold(env, PUSHOVER_USER=[OTHER])
        assert "The floor would not start: PUSHOVER_TOKEN is None" in person.heard

    def test_ctrl_c_loses_nothing_that_was_answered(self, env: Path, base: None) -> None:
        person = Person({"BRAVE_API_KEY (": [KEY]}, stop="PUSHOVER_USER (")
        assert init.converse(person, env) == init.INTERRUPTED
        assert dotenv_values(env) == {"BRAVE_API_KEY": KEY}
        assert "what was answered is in" in person.said[-1]

    def test_without_a_terminal_it_says_what_to_do(self, env: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert init.run_init() == 2
        assert "this is no terminal: start it in one, or copy .env.example to .env" in capsys.readouterr().err
        assert not env.exists()


TERMINAL = """
import sys
from pathlib import Path
from values.settings import SETTINGS_CLASSES
for each in SETTINGS_CLASSES:
    each.model_config["env_file"] = Path(sys.argv[1])
from commands.init import run_init
sys.exit(run_init())
"""


def test_at_a_terminal_a_key_is_not_echoed_and_ctrl_c_ends_it_in_order(tmp_path: Path) -> None:
    outer, inner = pty.openpty()
    environment = {"PATH": os.environ["PATH"], "DATABASE_URL": f"sqlite:///{tmp_path}/accounts.db", "TERM": "dumb"}
    with services(**GOOD) as served:
        process = subprocess.Popen(
            [sys.executable, "-c", TERMINAL, str(tmp_path / ".env")], cwd=PROJECT, start_new_session=True,
            env={**environment, "BRAVE_BASE_URL": served.url}, stdin=inner, stdout=inner, stderr=inner,
        )  # fmt: skip
        shown = ""
        try:
            os.close(inner)
            typed = False
            while select.select([outer], [], [], 60)[0]:
                try:
                    part = os.read(outer, 4096).decode()
                except OSError:  # the other end is closed
                    break
                shown += part
                if shown.endswith("BRAVE_API_KEY (not set): "):
                    os.write(outer, f"{KEY}\n".encode())
                    typed = True
                elif shown.endswith("PUSHOVER_USER (not set): "):
                    process.send_signal(signal.SIGINT)
                elif shown.endswith("set): "):
                    os.write(outer, b"\n")
            assert typed
            assert process.wait(60) == init.INTERRUPTED
        finally:
            process.kill()
            process.wait()
            os.close(outer)
    assert "answers, and takes what is set" in shown
    assert "stopped here; what was answered is in" in shown
    assert KEY not in shown
    assert "Traceback" not in shown
    assert dotenv_values(tmp_path / ".env") == {"BRAVE_API_KEY": KEY}


LINES = ["# a comment", "", "A=1", "export B='x y'  # why", 'C="one\ntwo"', "not a statement", "d=4", "A=2", "E=a#b"]


class TestDotenvFile:
    @settings(max_examples=40, deadline=None)
    @given(
        lines=st.lists(st.sampled_from(LINES), max_size=8),
        name=st.sampled_from("ABCDEZ"),
        value=st.none() | st.text(st.characters(min_codepoint=32, max_codepoint=0x2FF), min_size=1, max_size=20),
        ends=st.sampled_from(["", "\n"]),
    )
    def test_one_variable_changes_and_every_other_stays(
        self, tmp_path_factory: pytest.TempPathFactory, lines: list[str], name: str, value: str | None, ends: str
    ) -> None:
        path = tmp_path_factory.getbasetemp() / "dotenv"
        path.write_text("\n".join(lines) + ends, newline="")
        before = {key.upper(): kept for key, kept in dotenv_values(path).items()}
        if value is not None and (not value.isprintable() or "${" in value):
            with refused("bad_value", "can't be kept in .env"):
                DotenvFile(path).set(name, value)
            return
        DotenvFile(path).set(name, value)
        after = {key.upper(): kept for key, kept in dotenv_values(path).items()}
        assert after.pop(name, None) == value
        before.pop(name, None)
        assert after == before
        text = path.read_text()
        counted: dict[str, int] = defaultdict(int)
        for line in lines:
            counted[line] += line.startswith("#")
        assert all(text.count(line) >= count for line, count in counted.items())

    @pytest.mark.parametrize("value", ["with ${HOME} in it", "two\nlines\0"])
    def test_what_would_be_read_otherwise_is_refused_and_the_file_stays(self, tmp_path: Path, value: str) -> None:
        path = tmp_path / ".env"
        path.write_text("A=1\n")
        with refused("bad_value", "can't be kept in .env"):
            DotenvFile(path).set("B", value)
        assert path.read_text() == "A=1\n"

    def test_a_link_stays_a_link_and_a_file_that_can_t_be_read_is_told(self, tmp_path: Path) -> None:
        real = tmp_path / "real.env"
        real.write_text("A=1\n")
        (tmp_path / ".env").symlink_to(real)
        DotenvFile(tmp_path / ".env").set("A", "2")
        assert (tmp_path / ".env").is_symlink()
        assert real.read_text() == "A=2\n"
        real.write_bytes(b"A=\xff\n")
        with refused("no_file", "it is no UTF-8 text"):
            DotenvFile(real).set("A", "2")
        with refused("no_file", "can't be written"):
            DotenvFile(tmp_path / "away" / ".env").set("A", "2")

    def test_a_settings_class_reads_what_was_written(self, env: Path) -> None:
        for value in ('it\'s \\ "quoted" # not a comment', " padded ", "ünïcode€", "a=b"):
            DotenvFile(env).set("DASHBOARD_PASSWORD", value.ljust(8, "x"))
            password = load(FloorSettings).dashboard_password
            assert password is not None
            assert password.get_secret_value() == value.ljust(8, "x")
            assert dotenv_values(stream=StringIO(env.read_text()))["DASHBOARD_PASSWORD"] == value.ljust(8, "x")


def test_a_store_that_is_there_is_left_as_it_is(env: Path, tmp_path: Path) -> None:
    with closing(Store(tmp_path / "accounts.db", NewRun("simulated", 7))) as store:
        made = store.run()
    hold(env)
    with closing(Store(tmp_path / "accounts.db")) as store:
        assert store.run() == made
