"""The accounts MCP server: balances, holdings, trades, strategy and decisions of one account, or of all.

Launched with `--account NAME` it acts for that account alone and refuses every other name. Launched without, by a
person, it is the operator's. No tool opens an account, changes a limit or lifts a halt: those are commands.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel, Field

from accounts import Account, record_refusal
from database import Actor, Store, read_account
from ledger.orders import Fill
from ledger.report import AccountReport, Position, TransactionPage
from market import Market, open_market, open_store, recorded
from recording.recording import Recording
from values.clock import iso
from values.errors import Refused, StoreUnusable, VenueUnavailable, shown
from values.instrument import normalise_symbol
from values.money import plain
from values.names import normalise_name
from values.settings import MarketSettings, load
from wire.life import serve
from wire.server import READS, REPLACES, TRADES, WRITES, RefusingServer

Name = Annotated[Any, Field(description="the account's name, such as warren", json_schema_extra={"type": "string"})]
Symbol = Annotated[
    Any, Field(description="a symbol such as AAPL, BRK.B or BTC-USD", json_schema_extra={"type": "string"})
]
Quantity = Annotated[
    Any,
    Field(
        description="how many: whole shares for equities and ETFs, steps of 0.00000001 for coins",
        json_schema_extra={"anyOf": [{"type": "string"}, {"type": "number"}]},
    ),
]
Rationale = Annotated[str, Field(description="why, in a sentence or a few; kept with the trade")]
OrderId = Annotated[
    str | None,
    Field(description="your own key for this order, unique for ever: sent again, it returns the first fill"),
]
WRITING = frozenset({"buy_shares", "sell_shares", "change_strategy", "record_decision"})


class Balance(BaseModel):
    name: str
    balance: str = Field(description="USD in cash")
    currency: Literal["USD"] = "USD"


class Holdings(BaseModel):
    name: str
    holdings: dict[str, str] = Field(description="symbol to quantity")
    positions: list[Position]


class TradeResult(BaseModel):
    transaction_id: int
    name: str
    side: str
    symbol: str
    quantity: str
    price: str = Field(description="USD a unit, spread included")
    amount: str = Field(description="USD that cash changed by")
    realised_profit: str
    quote_price: str
    quote_as_of: str
    source: str
    market_time: str
    balance: str = Field(description="USD in cash now")
    holding: str = Field(description="units held now")
    repeated: bool = Field(description="true: this order's key was filled before, and this is that fill")


class StrategyResult(BaseModel):
    name: str
    strategy: str


class DecisionResult(BaseModel):
    decision_id: int
    name: str
    symbol: str
    action: str


class Desk:
    """Whose accounts this server serves: `bound` alone, or, with None, all; and who is said to have acted.

    A nursery makes the server before it forks those that `open` at their accounts; until then a desk serves nobody.
    """

    store: Store
    market: Market
    bound: str | None
    actor: Actor

    def open(self, store: Store, market: Market, bound: str | None, actor: Actor) -> None:
        """Raises Refused `unknown_account` when `bound` names none."""
        self.store, self.market, self.actor = store, market, actor
        self.bound = None if bound is None else normalise_name(bound)
        if self.bound is not None:
            self.account(self.bound).record()

    def account(self, name: object) -> Account:
        """Raises Refused `other_account` before anything is read, also for a name that is none."""
        try:
            wanted = normalise_name(name)
        except Refused as refusal:
            if self.bound is None:
                raise
            raise Refused("other_account", f"this server serves {self.bound} only; {refusal.sentence}") from None
        if self.bound is not None and wanted != self.bound:
            raise Refused("other_account", f"this server serves {self.bound} only, not {wanted}")
        return Account(self.store, self.market, wanted, self.actor)

    def keep(self, tool: str, arguments: Mapping[str, Any], refusal: Refused) -> None:
        """A refused order is a row, a refused read a log line."""
        if tool in WRITING:
            record_refusal(self.store, self._meant(arguments.get("name")), self.actor, tool, arguments, refusal)
        else:
            print(f"refused {tool}: {refusal}", file=sys.stderr)

    def _meant(self, name: object) -> str:
        """Whose record a refusal belongs to: this server's account, else the one that the caller named."""
        if self.bound is not None:
            return self.bound
        try:
            return normalise_name(name)
        except Refused:
            return shown(name)


def build(store: Store, market: Market, *, bound: str | None = None, actor: Actor = "operator") -> RefusingServer:
    """The server over an open store and market. Raises Refused `unknown_account` when `bound` names none."""
    desk = Desk()
    return _opened(_made(desk), desk, store, market, bound, actor)


def _made(desk: Desk) -> RefusingServer:
    server = RefusingServer("accounts_server", on_refused=desk.keep)
    _add_reads(server, desk)
    _add_trades(server, desk)
    _add_records(server, desk)
    _add_resources(server, desk)
    return server


def _opened(
    server: RefusingServer, desk: Desk, store: Store, market: Market, bound: str | None, actor: Actor
) -> RefusingServer:
    desk.open(store, market, bound, actor)
    whose = "every account" if desk.bound is None else f"the account {desk.bound} alone"
    server.introduce(
        f"Paper-money accounts in USD; this server serves {whose}. Buys fill 0.2 % above the quote and "
        "sells 0.2 % below it. An error reads `code: sentence` and says what would be allowed."
    )
    return server


class Prepared(NamedTuple):
    """All of a server but whose it is."""

    settings: MarketSettings
    store: Store
    desk: Desk
    server: RefusingServer


@cache
def prepare(is_bound: bool) -> Prepared:
    """What the servers of one run share, made once, where they are forked before they are (`wire/nursery.py`).

    The store has no open connection afterwards: none may pass a fork.
    """
    settings = load(MarketSettings)
    if is_bound:
        Store(settings.store_address).close()  # a mistyped DATABASE_URL makes no store for an account that it lacks
    with closing(open_store(settings)) as store:
        read_account(store, "operator")  # what has run once runs in pages that are shared
    desk = Desk()
    return Prepared(settings, store, desk, _made(desk))


def _add_reads(server: RefusingServer, desk: Desk) -> None:
    @server.tool(annotations=READS)
    def get_balance(name: Name) -> Balance:
        """The account's cash in USD."""
        record = desk.account(name).record()
        return Balance(name=record.name, balance=plain(record.cash))

    @server.tool(annotations=READS)
    def get_holdings(name: Name) -> Holdings:
        """What the account holds: quantities, and each position with its cost, price, value, weight and profit."""
        report = desk.account(name).report()
        return Holdings(name=report.name, holdings=report.holdings, positions=report.positions)

    @server.tool(annotations=READS)
    def get_account(name: Name) -> AccountReport:
        """The whole account: cash, strategy, holdings, value, profit, limits, state, the last 50 transactions."""
        return desk.account(name).report()

    @server.tool(annotations=READS)
    def get_transactions(
        name: Name,
        cursor: Annotated[
            str | None, Field(description="next_cursor of the page before; leave out for the newest")
        ] = None,
    ) -> TransactionPage:
        """The record of the account, 50 transactions a page, newest first."""
        return desk.account(name).list_transactions(cursor)


def _add_trades(server: RefusingServer, desk: Desk) -> None:
    @server.tool(annotations=TRADES)
    def buy_shares(
        name: Name, symbol: Symbol, quantity: Quantity, rationale: Rationale, client_order_id: OrderId = None
    ) -> TradeResult:
        """Buy now at the market's price plus 0.2 %. Returns the fill and the new balance."""
        return _result(desk.account(name).buy_shares(symbol, quantity, rationale, client_order_id))

    @server.tool(annotations=TRADES)
    def sell_shares(
        name: Name, symbol: Symbol, quantity: Quantity, rationale: Rationale, client_order_id: OrderId = None
    ) -> TradeResult:
        """Sell what is held, now, at the market's price less 0.2 %. Returns the fill and the new balance."""
        return _result(desk.account(name).sell_shares(symbol, quantity, rationale, client_order_id))


def _add_records(server: RefusingServer, desk: Desk) -> None:
    @server.tool(annotations=REPLACES)
    def change_strategy(
        name: Name, strategy: Annotated[str, Field(description="the new strategy, in whole")]
    ) -> StrategyResult:
        """Replace the account's written strategy. The one before stays on record."""
        account = desk.account(name)
        account.change_strategy(strategy)
        return StrategyResult(name=account.name, strategy=strategy)

    @server.tool(annotations=WRITES)
    def record_decision(
        name: Name,
        symbol: Symbol,
        action: Annotated[Literal["buy", "sell", "hold"], Field(description="what was decided; holding is a decision")],
        confidence: Annotated[float, Field(description="how sure, from 0 to 1")],
        horizon_days: Annotated[int, Field(description="days until the decision should have proved right")],
        rationale: Rationale,
    ) -> DecisionResult:
        """Put a decision on record, with how sure you are and until when it should be judged."""
        account = desk.account(name)
        decision_id = account.record_decision(symbol, action, confidence, horizon_days, rationale)
        return DecisionResult(
            decision_id=decision_id, name=account.name, symbol=normalise_symbol(symbol), action=action
        )


def _add_resources(server: RefusingServer, desk: Desk) -> None:
    @server.resource("accounts://accounts_server/{name}", mime_type="application/json")
    def account_resource(name: str) -> str:
        """The account's report as JSON."""
        try:
            return desk.account(name).report().model_dump_json()
        except (Refused, StoreUnusable, VenueUnavailable) as error:
            raise server.refuse_resource(error) from error

    @server.resource("accounts://strategy/{name}", mime_type="text/plain")
    def strategy_resource(name: str) -> str:
        """The account's strategy."""
        try:
            return desk.account(name).record().strategy
        except (Refused, StoreUnusable, VenueUnavailable) as error:
            raise server.refuse_resource(error) from error


def _result(fill: Fill) -> TradeResult:
    return TradeResult(
        transaction_id=fill.transaction_id,
        name=fill.account,
        side=fill.side,
        symbol=fill.symbol,
        quantity=plain(fill.quantity),
        price=plain(fill.price),
        amount=plain(fill.amount),
        realised_profit=plain(fill.realised),
        quote_price=plain(fill.quote_price),
        quote_as_of=iso(fill.quote_as_of),
        source=fill.source,
        market_time=iso(fill.market_time),
        balance=plain(fill.cash),
        holding=plain(fill.holding),
        repeated=fill.is_repeat,
    )


PARSER = argparse.ArgumentParser(prog="accounts-server", description="Paper-money accounts as an MCP server on stdio.")
PARSER.add_argument("--account", metavar="NAME", help="serve this account alone; without it, all (the operator's)")
PARSER.add_argument("--floor", action="store_true", help=argparse.SUPPRESS)  # set by the floor's launcher alone
PARSER.add_argument("--record", type=Path, help=argparse.SUPPRESS)  # the recording of a floor that is recorded
PARSER.add_argument("--playback", type=Path, help=argparse.SUPPRESS)


def main() -> None:
    given = PARSER.parse_args()

    def make() -> RefusingServer:
        settings, store, desk, server = prepare(given.account is not None)
        actor: Actor = "floor" if given.floor else "operator" if given.account is None else "client"
        market = open_market(store, settings)
        if (path := given.record or given.playback) is not None:
            server.recording = Recording(path, "record" if given.record else "play")
            market = recorded(market, server.recording)
        return _opened(server, desk, store, market, given.account, actor)

    sys.exit(serve(make))


if __name__ == "__main__":
    main()
