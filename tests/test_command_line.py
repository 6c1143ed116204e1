"""The command line as its owner uses it: floors and what a shell sees in processes of their own, the owner's short
commands in this one."""

from __future__ import annotations

import contextlib
import csv
import gzip
import io
import os
import pty
import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import psutil
import pytest

from tests.owner import Told, ask
from tests.processes import still_running
from values.settings import PROJECT

FLOOR = [sys.executable, str(PROJECT / "trading_floor.py")]
# the nursery, the market and search servers, and for each of four traders accounts, memory and push
SERVERS_RUNNING = 1 + 2 + 3 + 4 * 3
HOURS = ("18", "19", "20")

Killed = tuple[Path, list[str], subprocess.CompletedProcess[str], int, list[psutil.Process]]


def environment_of(folder: Path) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if key in ("PATH", "HOME", "HISTORY_DIR")}
    return kept | {"DATABASE_URL": f"sqlite:///{folder}/accounts.db", "MARKET_SEED": "7", "COLUMNS": "160"}


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return environment_of(tmp_path)


@pytest.fixture(scope="module")
def floor_of_one_cycle(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Told]:
    """The folder of a store that a floor ran one cycle on, and what the floor said."""
    folder = tmp_path_factory.mktemp("once")
    once = run(environment_of(folder), "once")
    return folder, Told(once.returncode, once.stdout, once.stderr)


@pytest.fixture
def once(floor_of_one_cycle: tuple[Path, Told], tmp_path: Path) -> Told:
    """What a floor of one cycle said; its store is this test's."""
    folder, told = floor_of_one_cycle
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    return told


def soon(folder: Path) -> dict[str, str]:
    """The environment of a floor whose next cycle is due when it has started."""
    return environment_of(folder) | {"RUN_EVERY_N_MINUTES": "3", "RUN_EVEN_WHEN_MARKET_IS_CLOSED": "true"}


def run(environment: dict[str, str], *arguments: str, said: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*FLOOR, *arguments], env=environment, text=True, capture_output=True, input=said, timeout=120, cwd="/"
    )


def outcomes(folder: Path) -> set[str]:
    with closing(sqlite3.connect(folder / "accounts.db")) as raw:
        return {outcome for (outcome,) in raw.execute("SELECT outcome FROM sessions")}


def replay_file(folder: Path) -> Path:
    """Three symbols over the last three hours of two days, written by the test."""
    path = folder / "prices.csv.gz"
    with gzip.open(path, "wt", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(("symbol", "time", "open", "high", "low", "close", "volume"))
        for index, symbol in enumerate(("AAPL", "QQQ", "XYZ")):
            for day in ("02", "03"):
                for hour, text in enumerate(HOURS):
                    price = 100 + 10 * index + hour
                    row = (symbol, f"2026-03-{day}T{text}:00:00Z", price, price + 1, price - 1, price + 0.5, 1000)
                    writer.writerow(row)
    return path


def test_help_names_every_command(environment: dict[str, str]) -> None:
    done = run(environment, "--help")
    assert done.returncode == 0
    for command in ("run", "once", "status", "pause", "resume", "reduce", "halt", "accounts", "reset"):
        assert command in done.stdout


def test_help_does_not_wait_for_the_store_the_agents_or_the_protocol(environment: dict[str, str]) -> None:
    """The promise is help in under half a second; what decides it is what gets imported."""
    script = (
        "import sys; sys.argv = ['trading-floor', '--help']\n"
        "import trading_floor\n"
        "try: trading_floor.main()\n"
        "except SystemExit: pass\n"
        "print([name for name in ('sqlalchemy', 'mcp', 'autogen_core', 'pydantic', 'numpy') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, text=True, capture_output=True, cwd=PROJECT, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_cycle_then_the_owners_view_of_it(once: Told, environment: dict[str, str], tmp_path: Path) -> None:
    assert once.returncode == 0, once.stderr
    for name in ("cathie", "george", "ray", "warren", "baseline-cash", "baseline-equal-weight", "baseline-index"):
        assert name in once.stdout
    assert once.stdout.count(" completed (trade") == 4

    status = ask(environment, "status")
    assert "SIMULATED" in status.stdout
    assert "not running" in status.stdout
    assert "house/value" in status.stdout

    assert ask(environment, "accounts", "reconcile").stdout == "7 accounts, 0 differences\n"
    opened = ask(environment, "accounts", "open", "Me")
    assert "accounts-server --account me" in opened.stdout
    assert "10,000.00 USD" in ask(environment, "accounts", "list").stdout
    assert "me (active)" in ask(environment, "accounts", "show", "me").stdout
    assert "max_position_share" in ask(environment, "accounts", "limits", "me").stdout
    changed = ask(environment, "accounts", "limits", "me", "max_position_share", "0.3")
    assert "max_position_share       0.3" in changed.stdout

    exported = ask(environment, "accounts", "export")
    rows = list(csv.DictReader(io.StringIO(exported.stdout)))
    assert {row["account"] for row in rows} >= {"me", "ray", "baseline-index"}
    assert {row["kind"] for row in rows} == {"deposit", "buy"}

    copy = tmp_path / "copy.db"
    assert ask(environment, "accounts", "backup", str(copy)).returncode == 0
    elsewhere = environment | {"DATABASE_URL": f"sqlite:///{copy}"}
    assert ask(elsewhere, "accounts", "reconcile").stdout == "8 accounts, 0 differences\n"
    again = ask(environment, "accounts", "backup", str(copy))
    assert (again.returncode, "exists already" in again.stderr) == (2, True)


def test_pause_reduce_halt_and_resume_say_whom_they_concern(once: Told, environment: dict[str, str]) -> None:
    assert ask(environment, "pause", "ray").stdout == "ray: paused\n"
    assert ask(environment, "reduce", "George").stdout == "george: reducing: sales only\n"
    assert ask(environment, "halt").stdout == "cathie, george, ray, warren: halted\n"
    assert "halted" in ask(environment, "accounts", "show", "warren").stdout
    assert ask(environment, "resume").stdout == "cathie, george, ray, warren: active again\n"
    nobody = ask(environment, "halt", "nobody")
    assert (nobody.returncode, "there is no account nobody" in nobody.stderr) == (2, True)


def test_reconcile_ends_with_one_and_names_the_account_when_the_books_were_touched(
    environment: dict[str, str], tmp_path: Path
) -> None:
    ask(environment, "accounts", "open", "me")
    with closing(sqlite3.connect(tmp_path / "accounts.db")) as raw:
        raw.execute("UPDATE accounts SET cash = cash + 1 WHERE name = 'me'")
        raw.commit()
    done = ask(environment, "accounts", "reconcile")
    assert done.returncode == 1
    assert "me: cash is 10000.000001, and the record makes it 10000" in done.stdout


def test_reset_asks_first_and_keeps_a_copy(environment: dict[str, str], tmp_path: Path) -> None:
    ask(environment, "accounts", "open", "me")
    (tmp_path / "accounts.db.memory-me").write_text("what it remembers")
    refused = ask(environment, "reset", said="n\n")
    assert (refused.returncode, "nothing was changed" in refused.stdout) == (1, True)
    assert (tmp_path / "accounts.db").exists()
    done = ask(environment, "reset", said="y\n")
    assert done.returncode == 0
    assert not (tmp_path / "accounts.db").exists()
    (copy,) = (each for each in tmp_path.glob("accounts.db.kept-*") if "memory" not in each.name)
    assert copy.with_name(copy.name + ".memory-me").read_text() == "what it remembers"
    kept = environment | {"DATABASE_URL": f"sqlite:///{copy}"}
    assert "me" in ask(kept, "accounts", "list").stdout
    assert ask(environment, "status").returncode == 2


@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [
        ("RUN_EVERY_N_MINUTES", "0", "RUN_EVERY_N_MINUTES is '0'"),
        ("MODEL", "gpt", "MODEL is 'gpt'; allowed: house, provider/NAME"),
        ("MODEL", "openai/gpt-5", "OPENAI_API_KEY"),
        ("PUSHOVER_USER", "u", "PUSHOVER_TOKEN"),
        ("MARKET", "moon", "MARKET is 'moon'"),
        ("MARKET", "live", "a key of Polygon"),
        ("MARKET", "replay", "REPLAY_HISTORY"),
        ("DATABASE_URL", "mysql://x", "DATABASE_URL is 'mysql://x'"),
    ],
)
def test_a_wrong_setting_is_named_with_its_value_and_what_is_allowed(
    environment: dict[str, str], variable: str, value: str, says: str
) -> None:
    done = ask(environment | {variable: value}, "once")
    assert done.returncode == 2
    assert says in done.stderr
    assert "Traceback" not in done.stderr


@pytest.fixture(scope="module")
def killed_floor(floor_of_one_cycle: tuple[Path, Told], tmp_path_factory: pytest.TempPathFactory) -> Killed:
    """A floor's second cycle, for which cathie was halted and ray paused, until it is killed.

    Its folder, what it said, what a second floor on its store was told, its process, and those it had started.
    """
    folder = tmp_path_factory.mktemp("killed")
    shutil.copytree(floor_of_one_cycle[0], folder, dirs_exist_ok=True)
    environment = soon(folder)
    ask(environment, "halt", "cathie")
    ask(environment, "pause", "ray")
    with subprocess.Popen([*FLOOR, "run"], env=environment, stdout=subprocess.PIPE, text=True, cwd="/") as floor:
        assert floor.stdout is not None
        said = [floor.stdout.readline()]
        second = run(environment, "once")
        while "cycle 2," not in said[-1]:
            said.append(floor.stdout.readline())
            assert said[-1], said
        children = psutil.Process(floor.pid).children(recursive=True)
        floor.kill()
        said += floor.stdout.readlines()
    return folder, said, second, floor.pid, children


def test_a_floor_obeys_its_owner_is_alone_on_its_store_and_leaves_no_process_when_it_is_killed(
    killed_floor: Killed,
) -> None:
    _, said, second, pid, children = killed_floor
    assert len(children) == SERVERS_RUNNING
    assert still_running(children) == []
    assert any("cathie is halted and skips this cycle" in line for line in said)
    assert any("ray is paused and skips this cycle" in line for line in said)
    assert not any("warren is" in line for line in said)
    assert (second.returncode, f"process {pid}" in second.stderr) == (2, True)


def test_the_next_floor_needs_no_hand_shows_a_terminal_a_live_table_and_ends_at_ctrl_c_with_nothing_left(
    killed_floor: Killed,
) -> None:
    folder = killed_floor[0]
    environment = soon(folder)
    ask(environment, "resume")
    controller, terminal = pty.openpty()
    with subprocess.Popen(
        [*FLOOR, "run"], env=environment | {"TERM": "xterm"}, stdout=terminal, stderr=terminal, cwd="/"
    ) as floor:
        os.close(terminal)
        shown = b""
        wanted = (b"SIMULATED market", b"rule-based", b"warren", b"house/value", b"next run in", b"10,000.00")
        while not all(text in shown for text in wanted):
            shown += os.read(controller, 65536)
        children = psutil.Process(floor.pid).children(recursive=True)
        assert len(children) == SERVERS_RUNNING
        floor.send_signal(signal.SIGINT)
        rest = b""
        with contextlib.suppress(OSError):  # the terminal is gone when its last writer is
            while more := os.read(controller, 65536):
                rest += more
    os.close(controller)
    assert floor.returncode == 0
    assert b"account" in rest
    assert still_running(children) == []
    assert outcomes(folder) <= {"completed", "interrupted"}
    assert ask(environment, "accounts", "reconcile").returncode == 0


def test_a_replay_runs_to_its_end_and_ends_by_itself_with_a_table(environment: dict[str, str], tmp_path: Path) -> None:
    del environment["MARKET_SEED"]
    history = replay_file(tmp_path)
    done = run(environment, "run", "--market", "replay", "--history", str(history), "--as-fast-as-possible")
    assert done.returncode == 0, done.stderr
    assert "the replay is at its end, 2026-03-03 21:00 UTC" in done.stdout
    assert "6 cycles" in done.stdout
    assert "largest fall" in done.stdout
    with closing(sqlite3.connect(tmp_path / "accounts.db")) as raw:
        sessions = raw.execute("SELECT account, mode, outcome FROM sessions ORDER BY wall_time").fetchall()
        late = raw.execute("SELECT count(*) FROM transactions WHERE quote_as_of > market_time").fetchone()
        open_prices = raw.execute("SELECT symbol, quote_price, market_time FROM transactions WHERE symbol = 'QQQ'")
        for _, price, moment in open_prices.fetchall():
            hour = HOURS.index(moment[11:13])
            assert price == (110 + hour) * 10**8  # the bar's open, never its close
    assert len(sessions) == 6 * 4
    assert {outcome for _, _, outcome in sessions} == {"completed"}
    modes = [mode for account, mode, _ in sessions if account == "ray"]
    assert modes == ["trade", "rebalance"] * 3
    assert late == (0,)
    assert ask(environment, "accounts", "reconcile").returncode == 0

    other = tmp_path / "other.csv"
    other.write_text(gzip.decompress(history.read_bytes()).decode().replace("1000", "1001"))
    refused = ask(environment, "run", "--history", str(other))
    assert refused.returncode == 2
    assert "reset" in refused.stderr
    assert "DATABASE_URL" in refused.stderr
