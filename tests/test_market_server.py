"""The market server: what it lists, what it tells, and how it says no."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

import market_server
from market import Market, open_market, open_store
from tests.conftest import START
from tests.shelf import ShelfVenue
from tests.side_by_side import settings_of
from tests.tool_checks import calling, check_snapshot, check_tools, talk
from values.clock import iso, parse_time
from wire.server import RefusingServer


@pytest.fixture
def server(market: Market) -> RefusingServer:
    return market_server.build(market)


@pytest.fixture
def simulated(tmp_path: Path) -> Iterator[Market]:
    settings = settings_of(tmp_path / "accounts.db")
    with closing(open_store(settings)) as store:
        yield open_market(store, settings)


async def test_its_tools_are_those_of_the_snapshot(server: RefusingServer) -> None:
    async with calling(server) as caller:
        await check_snapshot("market_server", caller.client)


async def test_every_tool_says_all_there_is_to_say_of_it_and_reads_only(server: RefusingServer) -> None:
    async with calling(server) as caller:
        check_tools(list(caller.tools.values()))
        for tool in caller.tools.values():
            assert tool.annotations is not None
            assert (tool.annotations.read_only_hint, tool.annotations.destructive_hint) == (True, False)


async def test_a_price_comes_with_its_source_and_its_times(server: RefusingServer, venue: ShelfVenue) -> None:
    async with calling(server) as caller:
        assert await caller.ok("lookup_share_price", symbol=" nvda ") == {
            "symbol": "NVDA", "price": "187.42", "as_of": iso(START), "seen_at": iso(START), "source": "replay",
            "delay_seconds": 0, "stale": False, "open": True,
        }  # fmt: skip
        venue.stale.add("NVDA")
        venue.closed.add("NVDA")
        told = await caller.ok("lookup_share_price", symbol="NVDA")
        assert (told["stale"], told["open"]) == (True, False)


@pytest.mark.parametrize(
    ("symbol", "code"),
    [("TSLA", "unknown_symbol"), ("", "bad_symbol"), ("ſPY", "bad_symbol"), (None, "bad_symbol"), (True, "bad_symbol"),
     (["AAPL"], "bad_symbol"), ({"symbol": "AAPL"}, "bad_symbol"), ("A" * 10_000, "bad_symbol"),
     ("\ud800", "bad_symbol")],
)  # fmt: skip
async def test_a_symbol_that_is_none_is_refused_by_every_tool_that_takes_one(
    symbol: object, code: str, server: RefusingServer, capsys: pytest.CaptureFixture[str]
) -> None:
    async with calling(server) as caller:
        for tool in ("lookup_share_price", "get_price_history"):
            assert (await caller.refused(tool, symbol=symbol)).startswith(f"{code}: ")
            assert f"refused {tool}: {code}: " in capsys.readouterr().err


async def test_a_symbol_without_a_price_is_unavailable_and_no_price_is_made_up(
    server: RefusingServer, venue: ShelfVenue
) -> None:
    async with calling(server) as caller:
        del venue.prices["AAPL"]
        assert (
            await caller.refused("lookup_share_price", symbol="AAPL") == "unavailable: the shelf has no price of AAPL"
        )


@pytest.mark.parametrize(
    ("tool", "arguments", "text"),
    [
        ("get_price_history", {"symbol": "AAPL", "count": 0}, "bad_count: the count is 0; expected 1 to 500 bars"),
        ("get_price_history", {"symbol": "AAPL", "count": 501}, "bad_count: "),
        ("get_price_history", {"symbol": "AAPL", "count": -(10**30)}, "bad_count: "),
        ("get_price_history", {"symbol": "AAPL", "count": "many"}, "bad_argument: count is 'many'"),
        ("get_price_history", {"symbol": "AAPL", "interval": "minute"}, "bad_argument: interval is 'minute'"),
        ("get_price_history", {}, "bad_argument: get_price_history needs the argument symbol"),
        ("get_price_history", {"symbol": "AAPL", "until": "2030"}, "bad_argument: get_price_history has no argument"),
        ("lookup_share_price", {"symbol": "AAPL", "date": "2030"}, "bad_argument: "),
        ("find_symbols", {"limit": 0}, "bad_limit: the limit is 0; expected 1 to 200 rows"),
        ("find_symbols", {"limit": 201}, "bad_limit: "),
        ("find_symbols", {"kind": "bond"}, "bad_argument: kind is 'bond'"),
        ("find_symbols", {"query": 5}, "bad_argument: query is 5"),
        ("find_symbols", {"cursor": "no such thing"}, "bad_symbol: "),
        ("get_market_status", {"symbol": "AAPL"}, "bad_argument: get_market_status has no argument 'symbol'; "),
        ("lookup_share_prices", {}, "unknown_tool: there is no tool 'lookup_share_prices'; there are "),
    ],
)  # fmt: skip
async def test_a_wrong_argument_is_named_with_what_it_was(
    tool: str, arguments: dict[str, object], text: str, server: RefusingServer
) -> None:
    async with calling(server) as caller:
        assert (await caller.refused(tool, **arguments)).startswith(text)


async def test_what_trades_is_listed_in_pages_and_found_by_name_kind_and_sector(server: RefusingServer) -> None:
    async with calling(server) as caller:
        everything = await caller.ok("find_symbols")
        assert [each["symbol"] for each in everything["symbols"]] == ["AAPL", "BRK.B", "BTC-USD", "MSFT", "NVDA", "SPY"]
        assert everything["next_cursor"] is None
        assert {each["symbol"]: each["step"] for each in everything["symbols"]}["BTC-USD"] == "0.00000001"
        pages, cursor = [], None
        while True:
            page = await caller.ok("find_symbols", limit=4, cursor=cursor)
            pages.append([each["symbol"] for each in page["symbols"]])
            cursor = page["next_cursor"]
            if cursor is None:
                break
        assert pages == [["AAPL", "BRK.B", "BTC-USD", "MSFT"], ["NVDA", "SPY"]]
        for arguments, found in (
            ({"query": "berkshire"}, ["BRK.B"]),
            ({"query": " aPp "}, ["AAPL"]),
            ({"kind": "etf"}, ["SPY"]),
            ({"sector": "technology", "query": "v"}, ["NVDA"]),
            ({"query": "nothing of the kind"}, []),
            ({"query": "\ud800"}, []),
        ):
            assert [each["symbol"] for each in (await caller.ok("find_symbols", **arguments))["symbols"]] == found


async def test_the_market_s_state_is_told_with_its_time(server: RefusingServer, venue: ShelfVenue) -> None:
    async with calling(server) as caller:
        assert await caller.ok("get_market_status") == {
            "market": "replay", "time": iso(START), "open": True, "next_change": None, "note": "the shelf",
            "instruments": 6,
        }  # fmt: skip
        venue.closed.update(venue.prices)
        assert (await caller.ok("get_market_status"))["open"] is False


async def test_the_simulated_market_s_answers_meet_their_schemas_too(simulated: Market) -> None:
    async with calling(market_server.build(simulated)) as caller:
        status = await caller.ok("get_market_status")
        assert (status["market"], status["open"]) == ("simulated", True)
        told = await caller.ok("lookup_share_price", symbol="btc-usd")
        assert told["source"] == "simulated"
        history = await caller.ok("get_price_history", symbol="spy", interval="hour", count=5)
        assert (history["symbol"], history["interval"], history["source"]) == ("SPY", "hour", "simulated")
        assert len(history["bars"]) == 5
        ends = [parse_time(bar["end"]) for bar in history["bars"]]
        assert ends == sorted(ends)
        assert ends[-1] <= parse_time(status["time"])
        listed = await caller.ok("find_symbols", limit=200)
        assert len(listed["symbols"]) == status["instruments"] == 40


def test_over_stdio_it_says_nothing_but_protocol_and_ends_with_its_input(tmp_path: Path) -> None:
    settings = settings_of(tmp_path / "accounts.db")
    open_store(settings).close()
    calls = [{"name": "lookup_share_price", "arguments": {"symbol": symbol}} for symbol in ("SPY", "NONE")]
    environment = {"DATABASE_URL": settings.database_url, "MARKET": "simulated", "MARKET_SEED": "7"}
    ended = talk("market_server", environment=environment, calls=calls)
    assert ended.exit_code == 0
    assert ended.answers[1]["structuredContent"]["symbol"] == "SPY"
    assert ended.answers[2]["isError"] is True
    assert ended.stderr.startswith("refused lookup_share_price: unknown_symbol: ")
    assert "Traceback" not in ended.stderr
