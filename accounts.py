"""The account: cash, holdings and an append-only record of transactions that explains both.

Everything a trader, a client or a baseline may do with money goes through `Account`; what it refuses is on record as a
row of refusals. Margin, short sales, fees beyond the spread and several currencies are not modelled.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from itertools import islice
from typing import Literal

from sqlalchemy import insert, select, update

from database import AccountKind, AccountRecord, Actor, Store, account_record, insert_log, write_account
from ledger.book import read_book
from ledger.limits import Limits, parse_limit, read_limits, write_limit
from ledger.orders import Fill, Order, open_session, place
from ledger.report import AccountReport, TransactionPage, report, transactions
from ledger.texts import check_rationale, check_strategy
from ledger.valuation import valuate
from market import Market
from store import tables
from values.clock import market_day
from values.errors import Refused, StoreUnusable, VenueUnavailable, shown
from values.log import LogRow
from values.money import CASH_DECIMALS, STARTING_BALANCE, Side, exact, to_scaled
from values.names import normalise_name

logger = logging.getLogger(__name__)

HORIZON_DAYS_MAX = 36_500
OPERATOR = "operator"
BASELINE_PREFIX = "baseline-"
_ARGUMENTS_MAX = 20
_ARGUMENT_CHARS_MAX = 500

Action = Literal["buy", "sell", "hold"]
State = Literal["active", "reducing", "halted"]


@dataclass(frozen=True, slots=True)
class Account:
    """One account as `actor` acts on it. Methods raise Refused with the reason, and StoreUnusable when the store is."""

    store: Store
    market: Market
    name: str
    actor: Actor = "operator"

    def buy_shares(self, symbol: object, quantity: object, rationale: str, order_key: str | None = None) -> Fill:
        """Buy at the quote with the spread. With a key that was filled before, returns that fill."""
        return self._trade("buy", symbol, quantity, rationale, order_key)

    def sell_shares(self, symbol: object, quantity: object, rationale: str, order_key: str | None = None) -> Fill:
        """Sell what is held at the quote less the spread. With a key that was filled before, returns that fill."""
        return self._trade("sell", symbol, quantity, rationale, order_key)

    def _trade(self, side: Side, symbol: object, quantity: object, rationale: str, order_key: str | None) -> Fill:
        arguments = {"symbol": symbol, "quantity": quantity, "rationale": rationale, "client_order_id": order_key}
        with self._on_record(f"{side}_shares", arguments):
            return place(
                self.store, self.market, Order(self.name, side, symbol, quantity, rationale, self.actor, order_key)
            )

    def change_strategy(self, strategy: str) -> None:
        """Replace the strategy's text; the one before stays in the record."""
        with self._on_record("change_strategy", {"strategy": strategy}):
            check_strategy(strategy)
            with self.store.read() as connection:
                read_book(connection, self.name)
                session_id = open_session(connection, self.name) if self.actor == "floor" else None
            write_account(self.store, self.name, strategy=strategy, actor=self.actor, session_id=session_id)

    def record_decision(self, symbol: str, action: Action, confidence: float, horizon_days: int, rationale: str) -> int:
        """Put a decision, holding included, on record; its id. `confidence` is 0 to 1."""
        arguments = {"symbol": symbol, "action": action, "confidence": confidence, "horizon_days": horizon_days}
        with self._on_record("record_decision", {**arguments, "rationale": rationale}):
            instrument = self.market.instrument(symbol)
            if action not in ("buy", "sell", "hold"):
                raise Refused("bad_decision", f"the action is {shown(action)}; expected buy, sell or hold")
            if not 0 <= confidence <= 1:  # also false for NaN
                raise Refused("bad_decision", f"the confidence is {shown(confidence)}; expected 0 to 1")
            if not 0 <= horizon_days <= HORIZON_DAYS_MAX:
                raise Refused(
                    "bad_decision", f"the horizon is {shown(horizon_days)} days; expected 0 to {HORIZON_DAYS_MAX}"
                )
            check_rationale(rationale)
            now, wall = self.market.clock.now(), self.market.clock.wall()
            with self.store.write() as connection:
                read_book(connection, self.name)
                session_id = open_session(connection, self.name) if self.actor == "floor" else None
                decision = insert(tables.decisions).values(
                    account=self.name,
                    symbol=instrument.symbol,
                    action=action,
                    confidence=confidence,
                    horizon_days=horizon_days,
                    rationale=rationale,
                    session_id=session_id,
                    actor=self.actor,
                    market_time=now,
                    wall_time=wall,
                )
                decision_id = connection.execute(decision.returning(tables.decisions.c.id)).scalar_one()
                message = f"decided to {action} {instrument.symbol} ({confidence:.0%} sure, {horizon_days} days)"
                insert_log(connection, [LogRow("account", self.name, message, wall, session_id)])
            return int(decision_id)

    def calculate_portfolio_value(self) -> Decimal:
        """USD, cash and holdings at the market's prices. Raises VenueUnavailable when a holding has no price."""
        valuation = valuate(self.store, self.market, self.name)
        if valuation.value is None:
            missing = ", ".join(valuation.book.unpriced(valuation.quotes))
            raise VenueUnavailable(f"{missing} can't be priced now, so {self.name}'s value is not known")
        return valuation.value

    def calculate_profit_loss(self) -> Decimal:
        """USD that the account is worth more (or less) than was paid in."""
        return self.calculate_portfolio_value() - self.record().deposited

    def record(self) -> AccountRecord:
        with self.store.read() as connection:
            return read_book(connection, self.name).account

    def report(self) -> AccountReport:
        """State, positions and the last 50 transactions."""
        return report(self.store, self.market, self.name)

    def list_transactions(self, cursor: str | None = None) -> TransactionPage:
        """One page of 50 transactions, newest first."""
        return transactions(self.store, self.name, cursor)

    @contextmanager
    def _on_record(self, tool: str, arguments: Mapping[str, object]) -> Iterator[None]:
        try:
            yield
        except Refused as refusal:
            record_refusal(self.store, self.name, self.actor, tool, arguments, refusal)
            raise


def record_refusal(
    store: Store, name: str, actor: Actor, tool: str, arguments: Mapping[str, object], refusal: Refused
) -> None:
    """Keep what was refused and why, once. `name` is what the caller said, so it may name no account.

    A store that can't take the row does not hide the refusal from its caller: the row is lost, and said on stderr.
    """
    if refusal.is_on_record:
        return
    given = islice(((key, value) for key, value in arguments.items() if value is not None), _ARGUMENTS_MAX)
    shortened = {_shortened(key)[:80]: _shortened(value) for key, value in given}
    try:
        clock = store.clock()
        with store.write() as connection:
            known = account_record(connection, name) is not None
            connection.execute(
                insert(tables.refusals).values(
                    account=_shortened(name)[:80],
                    tool=tool,
                    code=refusal.code,
                    sentence=refusal.sentence,
                    arguments=json.dumps(shortened),
                    actor=actor,
                    market_time=clock.now(),
                    wall_time=clock.wall(),
                    session_id=open_session(connection, name) if known and actor == "floor" else None,
                )
            )
    except StoreUnusable as error:
        logger.warning("a refusal of %s is not on record: %s", tool, error)
    refusal.is_on_record = True


def _shortened(value: object) -> str:
    text = value if isinstance(value, str) else shown(value, _ARGUMENT_CHARS_MAX)
    text = text.encode("utf-8", "replace").decode("utf-8").replace("\x00", "\\x00")
    return text if len(text) <= _ARGUMENT_CHARS_MAX else text[:_ARGUMENT_CHARS_MAX] + "…"


def list_accounts(store: Store) -> list[AccountRecord]:
    """Every account, in name order."""
    with store.read() as connection:
        names = connection.execute(select(tables.accounts.c.name).order_by(tables.accounts.c.name)).scalars().all()
        return [read_book(connection, name).account for name in names]


def open_account(
    store: Store,
    market: Market,
    name: str,
    *,
    strategy: str = "No strategy yet.",
    kind: AccountKind = "client",
    limits: Mapping[str, str | None] | None = None,
    actor: Actor = "operator",
    balance: Decimal = STARTING_BALANCE,
) -> Account:
    """Open a new account with `balance` USD. Raises Refused `account_exists`, `bad_name` or `bad_limit`."""
    name = normalise_name(name)
    if name == OPERATOR or (kind != "baseline" and name.startswith(BASELINE_PREFIX)):
        raise Refused("bad_name", f"the name {name} is the floor's own; choose another")
    paid_in = exact(balance, "balance")
    to_scaled(paid_in, CASH_DECIMALS, "balance")
    if paid_in < 0:
        raise Refused("bad_balance", f"the balance is {shown(str(paid_in))}; expected 0 USD or more")
    check_strategy(strategy)
    parsed = {key: parse_limit(key, "off" if value is None else value) for key, value in (limits or {}).items()}
    write_account(
        store, name, strategy=strategy, actor=actor, kind=kind, limits=parsed, balance=paid_in, must_be_new=True
    )
    return Account(store, market, name, actor)


def set_state(
    store: Store, market: Market, name: str, state: State | None, reason: str, *, paused: bool | None = None
) -> None:
    """The operator's word: change what the account may do. None leaves the state as it is. Raises `unknown_account`."""
    changes: dict[str, object] = {} if state is None else {"state": state, "state_reason": reason}
    if paused is not None:
        changes["paused"] = paused
    if state == "active":
        # a halt by daily loss is over: for that limit the day opens anew, at what the account is worth now
        value = valuate(store, market, name).value
        changes |= {"day": market_day(market.clock.now()), "day_open_value": value}
    with store.write() as connection:
        account = read_book(connection, name, lock=True).account
        connection.execute(update(tables.accounts).where(tables.accounts.c.name == account.name).values(**changes))


def account_limits(store: Store, name: str) -> Limits:
    with store.read() as connection:
        read_book(connection, name)
        return read_limits(connection, name)


def change_limit(store: Store, name: str, key: str, value: str) -> None:
    """The operator's word: a limit's new value, or `off`. Each change is a row. Raises Refused `bad_limit`."""
    parsed = parse_limit(key, value)
    with store.write() as connection:
        read_book(connection, name, lock=True)
        write_limit(connection, name, key, parsed, "operator", store.clock())
