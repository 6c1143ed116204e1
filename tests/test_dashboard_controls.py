"""What the owner asks from the page: with the password alone, on record, and done by the floor that runs."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from accounts import open_account
from dashboard.controls import Controls
from dashboard.password import WRONG_PER_CLIENT_MAX, Password
from database import AccountRecord, NewRun, Store, read_account
from ledger.controls import ask
from ledger.texts import STRATEGY_CHARS_MAX
from market import Market
from store import tables
from tests.conftest import START
from tests.shelf import ShelfVenue
from tests.test_floor import HOUR, SlowTrader, floor_of, outcomes, seated
from trading_floor import Floor

SECRET = "correct horse battery"


@contextmanager
def running_floor(store: Store) -> Iterator[None]:
    """As far as another process can tell."""
    held = store.hold_floor()
    assert held is not None
    yield
    held.release()


@pytest.fixture
def traders(store: Store, market: Market) -> dict[str, SlowTrader]:
    return seated(store, market, "george", "warren")


@pytest.fixture
def controls(store: Store, market: Market, traders: dict[str, SlowTrader]) -> Controls:
    open_account(store, market, "mine")
    return Controls(store, lambda _: market, Password(SECRET))


def asked(
    controls: Controls, action: str, account: str = "", argument: str = "", password: str = SECRET
) -> tuple[bool, str]:
    said = controls.ask({"action": action, "account": account, "argument": argument, "password": password})
    assert set(said) == {"done", "sentence"}
    return said["done"], said["sentence"]


def on_record(store: Store) -> list[tuple[str, str | None, str, str]]:
    table = tables.controls.c
    with store.read() as connection:
        rows = connection.execute(select(table.action, table.account, table.argument, table.actor).order_by(table.id))
        return [tuple(row) for row in rows]


def record(store: Store, name: str) -> AccountRecord:
    found = read_account(store, name)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("action", "state", "is_paused"),
    [("pause", "active", True), ("reduce", "reducing", False), ("halt", "halted", False), ("resume", "active", False)],
)
@pytest.mark.parametrize("account", ["warren", ""])
def test_each_action_does_what_it_says_for_one_or_all_and_is_on_record(
    controls: Controls, store: Store, action: str, state: str, is_paused: bool, account: str
) -> None:
    done, sentence = asked(controls, action, account)
    assert done
    assert sentence.startswith("warren: " if account else "george, warren: ")
    assert (record(store, "warren").state, record(store, "warren").paused) == (state, is_paused)
    assert (record(store, "george").state, record(store, "george").paused) == (
        ("active", False) if account else (state, is_paused)
    )
    assert (record(store, "mine").state, record(store, "mine").paused) == ("active", False)
    assert on_record(store) == [(action, account or None, "", "operator")]


@pytest.mark.parametrize("password", ["", "wrong", SECRET + " ", SECRET[:-1], SECRET.upper(), "\ud800"])
def test_without_the_password_nothing_changes_and_nothing_is_on_record(
    controls: Controls, store: Store, password: str
) -> None:
    assert asked(controls, "halt", password=password) == (False, "that is not the password; nothing was changed")
    assert controls.ask({"action": "halt", "account": ""})["done"] is False
    assert record(store, "warren").state == "active"
    assert on_record(store) == []


def test_guessing_at_controls_is_stopped_and_the_right_password_has_to_wait_too(
    controls: Controls, store: Store
) -> None:
    for number in range(WRONG_PER_CLIENT_MAX):
        assert asked(controls, "halt", password=f"guess {number}")[0] is False
    done, sentence = asked(controls, "halt")
    assert (done, "wait a minute" in sentence) == (False, True)
    assert on_record(store) == []


def test_a_strategy_is_changed_and_the_old_one_stays_on_record(controls: Controls, store: Store) -> None:
    before = record(store, "warren")
    done, sentence = asked(controls, "strategy", "Warren", "=Buy <b>low</b>\n")
    assert (done, sentence) == (True, "warren: has a new strategy. It is on record.")
    after = record(store, "warren")
    assert after.strategy == "=Buy <b>low</b>\n"
    assert (after.cash, after.state) == (before.cash, before.state)
    assert on_record(store) == [("strategy", "warren", "=Buy <b>low</b>\n", "operator")]
    with store.read() as connection:
        table = tables.strategies.c
        kept = connection.execute(
            select(table.strategy, table.actor).where(table.account == "warren").order_by(table.id)
        )
        assert [tuple(row) for row in kept] == [(before.strategy, "floor"), ("=Buy <b>low</b>\n", "operator")]


@pytest.mark.parametrize(
    ("action", "account", "argument", "says"),
    [
        ("strategy", "warren", "", "expected 1 to 10000"),
        ("strategy", "warren", " \n", "not all blank"),
        ("strategy", "warren", "x" * (STRATEGY_CHARS_MAX + 1), "expected 1 to 10000"),
        ("strategy", "warren", "a\0b", "without a NUL"),
        ("strategy", "", "buy low", "name the trader"),
        ("halt", "nobody", "", "there is no account nobody; there are george, warren"),
        ("halt", "<b>", "", "<b>"),
        ("strategy", "baseline-cash", "buy low", "there is no account baseline-cash"),
        ("limit", "warren", "", "the action is 'limit'; expected one of pause"),
        ("", "", "", "the action is ''"),
        ("run", "warren", "", "no floor runs"),
        ("run", "", "", "no floor runs"),
    ],
)
def test_what_can_not_be_done_is_a_sentence_and_changes_nothing(
    controls: Controls, store: Store, action: str, account: str, argument: str, says: str
) -> None:
    before = [record(store, name) for name in ("george", "warren", "mine")]
    done, sentence = asked(controls, action, account, argument)
    assert (done, says in sentence) == (False, True), sentence
    assert [record(store, name) for name in ("george", "warren", "mine")] == before
    assert on_record(store) == []


@pytest.mark.parametrize(
    ("first", "account", "says"),
    [
        ("pause", "warren", "warren is paused, so it can't run: resume it first"),
        ("halt", "warren", "warren is halted, so it can't run: resume it first"),
        (None, "mine", "mine is a client's account"),
    ],
)
def test_who_may_not_run_is_not_asked_to(
    controls: Controls, store: Store, first: str | None, account: str, says: str
) -> None:
    if first is not None:
        asked(controls, first, account)
    before = on_record(store)
    with running_floor(store):
        done, sentence = asked(controls, "run", account)
    assert (done, says in sentence) == (False, True), sentence
    assert on_record(store) == before


def test_a_store_that_can_not_be_used_is_a_sentence(controls: Controls, monkeypatch: pytest.MonkeyPatch) -> None:
    from dashboard import controls as module
    from values.errors import StoreBusy

    def busy(*_: object, **__: object) -> list[str]:
        raise StoreBusy("another writer held the store")

    monkeypatch.setattr(module, "ask", busy)
    assert asked(controls, "halt") == (False, "it could not be done: another writer held the store")


# ---- what a running floor makes of it


@pytest.fixture
def clocked(tmp_path: Path) -> Iterator[Store]:
    """A simulated run's store, whose clock goes by itself, and whose hour's cycle has been."""
    opened = Store(tmp_path / "simulated.db", NewRun("simulated", 1, started_at=START))
    opened.begin_cycle(START)
    yield opened
    opened.close()


async def until(condition: Any) -> None:
    """Let the floor go on until what it does has come true; a test's time limit ends what never does."""
    while not condition():
        await asyncio.sleep(0.005)


def sessions(store: Store) -> list[tuple[str, int]]:
    table = tables.sessions.c
    with store.read() as connection:
        rows = connection.execute(select(table.account, table.cycle).order_by(table.wall_time))
        return [(row.account, row.cycle) for row in rows]


def values_recorded(store: Store, name: str) -> int:
    table = tables.portfolio_values.c
    with store.read() as connection:
        return len(connection.execute(select(table.id).where(table.account == name)).all())


async def test_one_trader_asked_to_run_runs_alone_and_moves_no_schedule(clocked: Store, venue: ShelfVenue) -> None:
    market = Market(venue, clocked.clock())
    traders = seated(clocked, market, "george", "warren")
    controls = Controls(clocked, lambda _: market, Password(SECRET))
    said: list[str] = []
    floor = Floor(clocked, market, dict(traders), HOUR, said.append)
    with running_floor(clocked):
        running = asyncio.create_task(floor.run())
        await until(lambda: floor.next_at is not None)
        next_at = floor.next_at
        assert asked(controls, "run", "warren") == (True, "warren: asked to run now. It is on record.")
        await until(lambda: values_recorded(clocked, "warren"))
        floor.stop()
        await running
    assert sessions(clocked) == [("warren", 1)], "it counts to the newest cycle"
    assert (clocked.run().cycle, clocked.run().cycle_slot, floor.next_at) == (1, START, next_at)
    assert (traders["warren"].modes, traders["george"].modes) == (["trade"], [])
    assert any("asked for run of warren" in line for line in said)


async def test_who_was_paused_after_being_asked_to_run_skips_it(clocked: Store, venue: ShelfVenue) -> None:
    market = Market(venue, clocked.clock())
    traders = seated(clocked, market, "george", "warren")
    said: list[str] = []
    floor = Floor(clocked, market, dict(traders), HOUR, said.append)
    running = asyncio.create_task(floor.run())
    await until(lambda: floor.next_at is not None)
    ask(clocked, market, "run", "warren")
    ask(clocked, market, "pause", "warren")
    await until(lambda: any("warren is paused and skips what was asked" in line for line in said))
    floor.stop()
    await running
    assert sessions(clocked) == []


async def test_a_closed_market_is_told_to_who_was_asked_to_run(clocked: Store, venue: ShelfVenue) -> None:
    market = Market(venue, clocked.clock())
    traders = seated(clocked, market, "warren")
    said: list[str] = []
    floor = Floor(clocked, market, dict(traders), HOUR, said.append)
    running = asyncio.create_task(floor.run())
    await until(lambda: floor.next_at is not None)
    venue.closed |= {each.symbol for each in venue.instruments()}
    ask(clocked, market, "run", "warren")
    await until(lambda: any("the market is closed, so nobody trades" in line for line in said))
    floor.stop()
    await running
    assert sessions(clocked) == []


async def test_asked_while_its_session_runs_a_trader_runs_once_more_after_it(store: Store, market: Market) -> None:
    traders = seated(store, market, "george", "warren", waits=True)
    floor, said = floor_of(store, market, traders, bars=2)
    assert floor.tape is not None
    running = asyncio.create_task(floor.run())
    await traders["warren"].began.wait()
    await traders["george"].began.wait()
    traders["warren"].began.clear()
    ask(store, market, "run", "warren")
    await until(lambda: any("asked for run of warren" in line for line in said))
    assert len(sessions(store)) == 2, "not beside the one that runs"
    for each in traders.values():
        each.stop("completed", "")
    await traders["warren"].began.wait()
    assert sessions(store)[2:] == [("warren", 1)]
    assert market.clock.now() == START, "a replay's clock stays where it is"
    floor.stop()
    await running


async def test_between_two_bars_the_owners_run_begins_the_next_one_and_only_that(
    store: Store, market: Market, traders: dict[str, SlowTrader]
) -> None:
    floor, _ = floor_of(store, market, traders, bars=3)
    assert floor.tape is not None
    floor.tape = type(floor.tape)(floor.tape.starts, floor.tape.end, 1000.0)
    running = asyncio.create_task(floor.run())
    await until(lambda: floor.next_at is not None)
    ask(store, market, "run", None)
    await until(lambda: floor.cycles_run == 2)
    await until(lambda: floor.next_at == START + 2 * HOUR)
    assert store.run().cycle == 2, "one request is one cycle"
    floor.stop()
    await running
    assert outcomes(store) == ["completed"] * 4
