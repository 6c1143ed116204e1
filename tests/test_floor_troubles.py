"""A floor whose store or prices fail it for a while goes on, and takes up what is still due."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest

from accounts import Account
from database import Store
from ledger import sessions
from ledger.baselines import INDEX, open_baselines, run_baselines
from market import Market
from tests.shelf import ShelfVenue
from tests.test_floor import SlowTrader, floor_of, outcomes, seated
from values.errors import StoreBusy
from values.session import Mode


class UnrecordedTrader(SlowTrader):
    """The store fails it at the end of its first session, as its recorder would."""

    async def run(self, mode: Mode) -> Any:
        if not self.modes:
            self.modes.append(mode)
            sessions.open_session_row(self._store, "trace_unrecorded", self.name, 1, mode, "slow")
            raise StoreBusy("another program holds it")
        return await super().run(mode)


async def test_a_session_that_the_store_did_not_record_takes_no_other_trader_and_no_floor_down(
    store: Store, market: Market
) -> None:
    traders = seated(store, market, "george", "warren")
    traders["george"] = UnrecordedTrader("george", store)
    floor, said = floor_of(store, market, traders, bars=2)
    await floor.run()
    assert [len(trader.modes) for trader in traders.values()] == [2, 2]
    assert sorted(outcomes(store)) == ["completed", "completed", "completed", "interrupted"]
    assert any("george's session is not on record as it was: another program" in line for line in said)


@contextlib.contextmanager
def failing(store: Store, monkeypatch: pytest.MonkeyPatch, name: str, times: int) -> Iterator[list[int]]:
    """`store.name` fails at first, as with a full disk, and then works."""
    left, works = [times], getattr(Store, name)

    def fail_first(*args: Any) -> Any:
        if left[0]:
            left[0] -= 1
            raise StoreBusy("the disk is full")
        return works(*args)

    monkeypatch.setattr(Store, name, fail_first)
    yield left


async def test_a_floor_whose_store_fails_runs_the_cycle_when_it_works_again(
    store: Store, market: Market, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trading_floor.RETRY_S", 0)
    traders = seated(store, market, "warren")
    floor, said = floor_of(store, market, traders, bars=2)
    with failing(store, monkeypatch, "begin_cycle", 3) as left:
        await floor.run()
    assert left == [0]
    assert store.run().cycle == 2
    assert traders["warren"].modes == ["trade", "rebalance"]
    assert said[:2] == ["the floor waits for its store: the disk is full", "the store answers again, the floor goes on"]


async def test_cycles_that_were_asked_for_by_hand_end_with_the_store_s_sentence(
    store: Store, market: Market, monkeypatch: pytest.MonkeyPatch
) -> None:
    floor, _ = floor_of(store, market, seated(store, market, "warren"))
    with failing(store, monkeypatch, "begin_cycle", 1), pytest.raises(StoreBusy, match="the disk is full"):
        await floor.run(cycles_max=1)


def test_an_index_without_a_price_waits_and_does_not_end_the_floor(
    store: Store, market: Market, venue: ShelfVenue
) -> None:
    open_baselines(store, market)
    price = venue.prices.pop("SPY")
    assert any(f"{INDEX} waits for a price of SPY" in sentence for sentence in run_baselines(store, market))
    venue.prices["SPY"] = price
    run_baselines(store, market)
    assert "SPY" in Account(store, market, INDEX).report().holdings
