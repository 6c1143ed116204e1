"""One store is one run: the market that it was made for, and that run's clock."""

from __future__ import annotations

from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from accounts import Account, open_account
from database import NewRun, Store
from market import open_market, open_store
from tests.conftest import START
from values.address import StoreAddress
from values.errors import BadSetting, StoreEmpty, StoreUnusable
from values.settings import MarketSettings, load

pytestmark = pytest.mark.both_databases

SECOND = timedelta(seconds=1)
HISTORY = """symbol,time,open,high,low,close,volume
AAPL,2025-10-06T14:00:00Z,250,253,249,252,100
AAPL,2025-10-06T15:00:00Z,252,254,251,253,100
"""


@pytest.fixture(autouse=True)
def files_of_this_test(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What stands beside a database, imported prices, is in the project's folder otherwise."""
    monkeypatch.setattr("values.market_settings.PROJECT", tmp_path)


class TestOneRun:
    """What a store was made for decides; another wish is refused with both ways out."""

    def asked(self, address: StoreAddress, **wish: object) -> MarketSettings:
        return load(MarketSettings, database_url=address.url, **wish)

    def refusal(self, settings: MarketSettings) -> str:
        with pytest.raises(StoreUnusable) as caught:
            open_store(settings)
        said = str(caught.value)
        assert "DATABASE_URL=sqlite:///other.db" in said
        assert "`trading-floor reset`, which keeps a copy" in said
        return said

    def test_unset_the_market_follows_the_store(self, address: StoreAddress) -> None:
        with closing(open_store(self.asked(address, market_seed=5))) as store:
            assert store.run().market == "simulated"
        with closing(open_store(self.asked(address))) as store:
            assert open_market(store, self.asked(address)).name == "simulated"

    def test_another_market_or_seed_is_refused(self, address: StoreAddress) -> None:
        open_store(self.asked(address, market="simulated", market_seed=5)).close()
        for market in ("replay", "live"):
            assert f"the market simulated, not {market}" in self.refusal(self.asked(address, market=market))
        assert "the seed 5, not 6" in self.refusal(self.asked(address, market_seed=6))
        open_store(self.asked(address, market="simulated", market_seed=5)).close()

    def test_another_price_file_is_refused_and_the_same_one_elsewhere_is_not(
        self, address: StoreAddress, tmp_path: Path
    ) -> None:
        prices, moved, others = tmp_path / "prices.csv", tmp_path / "moved.csv", tmp_path / "others.csv"
        prices.write_text(HISTORY)
        moved.write_text(HISTORY)
        others.write_text(HISTORY.replace("252", "251"))
        with closing(open_store(self.asked(address, replay_history=prices))) as store:
            assert (store.run().market, store.run().history_name) == ("replay", "prices.csv")
            assert store.clock().now() == datetime(2025, 10, 6, 14, tzinfo=UTC)
        prices.unlink()
        open_store(self.asked(address, market="replay", replay_history=moved)).close()
        open_store(self.asked(address, replay_history=prices)).close()
        assert "the price file prices.csv, not others.csv" in self.refusal(self.asked(address, replay_history=others))

    def test_a_replay_whose_imported_prices_are_gone_says_how_to_get_them_back(
        self, address: StoreAddress, tmp_path: Path
    ) -> None:
        prices = tmp_path / "prices.csv"
        prices.write_text(HISTORY)
        settings = self.asked(address, replay_history=prices)
        with closing(open_store(settings)) as store:
            history_hash = store.run().history_hash
            assert history_hash is not None
            store.address.history_path(history_hash).unlink()
            with pytest.raises(StoreUnusable, match=r"is gone: .*--history.*prices\.csv.*reset"):
                open_market(store, settings)
        with closing(open_store(settings)) as store:
            assert open_market(store, settings).is_market_open()

    def test_a_new_store_can_t_be_made_for_what_there_is_not(self, address: StoreAddress, tmp_path: Path) -> None:
        for wish in ({"market": "live"}, {"market": "replay"}):
            with pytest.raises(BadSetting):
                open_store(self.asked(address, **wish))
        with pytest.raises(ValueError, match=r"missing\.csv"):
            open_store(self.asked(address, replay_history=tmp_path / "missing.csv"))
        with pytest.raises(StoreEmpty):
            Store(address)

    def test_prices_of_different_runs_never_meet_in_one_account(self, address: StoreAddress) -> None:
        settings = self.asked(address, market="simulated", market_seed=5)
        with closing(open_store(settings)) as store:
            open_account(store, open_market(store, settings), "warren").buy_shares("SPY", 1, "")
        self.refusal(self.asked(address, market_seed=6))
        with closing(open_store(settings)) as store:
            market = open_market(store, settings)
            sources = {row.source for row in Account(store, market, "warren").report().transactions}
        assert sources == {None, "simulated"}


class Wall(datetime):
    """The machine's clock, moved by the test."""

    at = START

    @classmethod
    def now(cls, tz: object = None) -> datetime:  # type: ignore[override]
        return cls.at


@pytest.fixture
def wall(monkeypatch: pytest.MonkeyPatch) -> type[Wall]:
    monkeypatch.setattr("values.clock.datetime", Wall)
    Wall.at = START
    return Wall


class TestClock:
    def test_a_replay_s_time_is_what_the_floor_anchored_last(self, store: Store) -> None:
        assert store.clock().now() == START
        store.anchor(START + SECOND, 1, timedelta(0))
        assert store.clock().now() == START + SECOND
        with closing(Store(store.address)) as other:
            assert other.clock().now() == START + SECOND

    def test_a_replay_s_time_never_goes_back(self, store: Store) -> None:
        store.anchor(START + SECOND, 1, timedelta(0))
        with pytest.raises(ValueError, match="would go back"):
            store.anchor(START, 1, timedelta(0))
        assert store.clock().now() == START + SECOND

    def test_a_simulated_market_s_time_is_fast_while_the_floor_keeps_it_so(
        self, address: StoreAddress, wall: type[Wall]
    ) -> None:
        with closing(Store(address, NewRun("simulated", 5, started_at=START))) as store:
            clock = store.clock()
            store.anchor(START, 60, 10 * SECOND)
            wall.at = START + 4 * SECOND
            assert clock.now() == START + 240 * SECOND
            store.anchor(clock.now(), 60, 10 * SECOND)
            wall.at = START + 20 * SECOND
            assert clock.now() == START + (14 * 60 + 6) * SECOND
            with closing(Store(address)) as other:
                assert other.clock().now() == clock.now()

    @pytest.mark.parametrize("anchored_s", [0, 1, 599, 600, 601])
    def test_a_simulated_market_s_time_never_goes_back_when_it_is_anchored_anew(
        self, address: StoreAddress, wall: type[Wall], anchored_s: int
    ) -> None:
        with closing(Store(address, NewRun("simulated", 5, started_at=START))) as store:
            store.anchor(START, 60, 60 * SECOND)
            wall.at = START + 10 * SECOND
            seen = store.clock().now()
            with suppress(ValueError):
                store.anchor(START + anchored_s * SECOND, 1, timedelta(0))
            assert store.clock().now() >= seen == START + 600 * SECOND

    def test_time_that_ran_slow_stays_slow_after_a_late_heartbeat(
        self, address: StoreAddress, wall: type[Wall]
    ) -> None:
        with closing(Store(address, NewRun("simulated", 5, started_at=START))) as store:
            store.anchor(START, 60, 10 * SECOND)
            wall.at = START + timedelta(hours=8)  # the machine slept
            seen = store.clock().now()
            store.anchor(seen, 60, 10 * SECOND)
            assert store.clock().now() == seen
            wall.at += SECOND
            assert store.clock().now() == seen + 60 * SECOND

    def test_cycles_are_counted_from_one_with_the_time_they_stand_for(self, store: Store) -> None:
        assert [store.begin_cycle(START), store.begin_cycle(START + SECOND)] == [1, 2]
        assert store.run().cycle_slot == START + SECOND
