"""Reconciling: an honest store has no difference, and whatever figure is changed behind the ledger's back is named."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from accounts import open_account
from database import NewRun, Store
from ledger.difference import Difference
from ledger.reconcile import reconcile
from ledger.valuation import record_values
from market import Market
from tests.conftest import START
from tests.shelf import ShelfVenue
from values.errors import Refused

pytestmark = pytest.mark.both_databases

FIGURES = {
    "transactions": ("quantity", "price", "amount", "realised", "cash_after", "quote_price"),
    "holdings": ("quantity", "cost"),
    "accounts": ("cash", "realised", "deposited"),
}
MAY_BE_NULL = ("quantity", "price", "quote_price")


@dataclass(frozen=True)
class Figure:
    """One number of the books, where it stands and whose it is."""

    table: str
    column: str
    row: int
    account: str
    kind: str | None
    value: int | None


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A closed store whose accounts have bought, sold in part and in whole, coins and shares, and been refused."""
    path = tmp_path_factory.mktemp("honest") / "accounts.db"
    with closing(Store(path, NewRun("replay", 1, "0" * 64, "a tape of the test", START))) as store:
        venue = ShelfVenue()
        market = Market(venue, store.clock())
        warren = open_account(store, market, "warren")
        george = open_account(store, market, "george", balance=Decimal("5000.000001"))
        baseline = open_account(store, market, "baseline-x", kind="baseline", actor="baseline")
        open_account(store, market, "cash-only")
        for price in ("200", "187.33333333", "0.00123457", "212.1"):
            venue.prices["AAPL"] = Decimal(price)
            venue.prices["BTC-USD"] = Decimal(price) * 321 + Decimal("0.00000007")
            warren.buy_shares("AAPL", 7, "")
            warren.buy_shares("BTC-USD", "0.01234567", "")
            george.buy_shares("BTC-USD", "0.00000001", "")
            warren.sell_shares("AAPL", 3, "")
            warren.sell_shares("BTC-USD", "0.00234567", "")
            baseline.buy_shares("AAPL", "0.33333333", "")
            record_values(store, market, None)
        george.buy_shares("MSFT", 2, "")
        george.sell_shares("MSFT", 2, "all of it")
        with pytest.raises(Refused):
            george.sell_shares("MSFT", 1, "")
    return path


class Figures(list[Figure]):
    """All of them; a failure need not print each."""

    def __repr__(self) -> str:
        return f"{len(self)} figures"


@pytest.fixture(scope="module")
def figures(honest: Path) -> Figures:
    found = Figures()
    with closing(sqlite3.connect(honest)) as raw:
        for table, columns in FIGURES.items():
            name, kind = ("name", "NULL") if table == "accounts" else ("account", "NULL")
            kind = "kind" if table == "transactions" else kind
            for column in columns:
                for row in raw.execute(f"SELECT rowid, {name}, {kind}, {column} FROM {table}"):
                    found.append(Figure(table, column, *row))
    return found


@contextmanager
def tampered(honest: Path, *statements: str) -> Iterator[list[Difference]]:
    """The differences found in a copy of the honest store after SQL that goes round the ledger and the schema."""
    copy = honest.with_name("tampered.db")
    shutil.copy(honest, copy)
    with closing(sqlite3.connect(copy)) as raw:
        raw.execute("PRAGMA ignore_check_constraints=ON")
        for statement in statements:
            assert raw.execute(statement).rowcount > 0, statement
        raw.commit()
    try:
        with closing(Store(copy)) as store, store.read() as connection:
            yield list(reconcile(connection))
    finally:
        for file in copy.parent.glob("tampered.db*"):
            file.unlink()


def test_an_honest_store_has_no_difference(honest: Path) -> None:
    with closing(Store(honest)) as store, store.read() as connection:
        assert list(reconcile(connection)) == []


def explains_the_same_price(figure: Figure, changed: int | None) -> bool:
    """Whether two quotes fill at one price, which nothing but the quote itself could tell apart: a sale rounds down."""
    if figure.column != "quote_price" or figure.kind != "sell" or changed is None or figure.value is None:
        return False
    return figure.value * 998 // 1000 == changed * 998 // 1000


@settings(max_examples=100, deadline=None)
@given(data=st.data(), by=st.sampled_from([1, -1, 2, -2, 100, -100, 10**6, -(10**6), 10**12, None]))
def test_any_figure_that_is_changed_is_named_with_its_account(
    honest: Path, figures: Figures, data: st.DataObject, by: int | None
) -> None:
    figure = data.draw(st.sampled_from(figures))
    if by is None:
        assume(figure.table == "transactions" and figure.column in MAY_BE_NULL and figure.value is not None)
    changed = None if by is None else (figure.value or 0) + by
    assume(not explains_the_same_price(figure, changed))
    new = "NULL" if changed is None else changed
    with tampered(honest, f"UPDATE {figure.table} SET {figure.column} = {new} WHERE rowid = {figure.row}") as found:
        assert figure.account in {each.account for each in found}, figure


@pytest.mark.parametrize(
    ("account", "statement"),
    [
        ("warren", "DELETE FROM transactions WHERE id = (SELECT max(id) FROM transactions WHERE account = 'warren')"),
        ("warren", "DELETE FROM transactions WHERE id = (SELECT min(id) FROM transactions WHERE account = 'warren')"),
        ("george", "DELETE FROM transactions WHERE account = 'george' AND symbol = 'MSFT'"),
        ("warren", "DELETE FROM transactions WHERE account = 'warren'"),
        ("warren", "DELETE FROM holdings WHERE account = 'warren' AND symbol = 'AAPL'"),
        ("george", "INSERT INTO holdings VALUES ('george', 'NVDA', 100000000, 0)"),
        ("george", "INSERT INTO holdings VALUES ('george', 'NVDA', -100000000, 0)"),
        ("warren", "UPDATE holdings SET symbol = 'NVDA' WHERE account = 'warren' AND symbol = 'AAPL'"),
        ("cash-only", "UPDATE holdings SET account = 'cash-only' WHERE account = 'warren' AND symbol = 'AAPL'"),
        ("warren", "UPDATE transactions SET account = 'george' WHERE account = 'warren' AND kind = 'sell'"),
        ("george", "UPDATE transactions SET account = 'george' WHERE account = 'warren' AND kind = 'sell'"),
        ("warren", "UPDATE transactions SET symbol = 'NVDA' WHERE account = 'warren' AND symbol = 'AAPL'"),
        ("warren", "UPDATE transactions SET symbol = NULL WHERE account = 'warren' AND symbol = 'AAPL'"),
        ("warren", "UPDATE transactions SET kind = 'sell' WHERE account = 'warren' AND kind = 'buy'"),
        ("warren", "UPDATE transactions SET kind = 'buy' WHERE account = 'warren' AND kind = 'sell'"),
        ("warren", "UPDATE transactions SET kind = 'buy' WHERE account = 'warren' AND kind = 'deposit'"),
        ("warren", "UPDATE transactions SET kind = 'deposit' WHERE account = 'warren' AND kind = 'sell'"),
        ("warren", "UPDATE transactions SET kind = 'gift' WHERE account = 'warren' AND kind = 'deposit'"),
        ("cash-only", "UPDATE transactions SET symbol = 'AAPL' WHERE account = 'cash-only'"),
        ("warren", "UPDATE accounts SET name = 'someone' WHERE name = 'warren'"),
        ("someone", "UPDATE accounts SET name = 'someone' WHERE name = 'warren'"),
        ("warren", "DELETE FROM accounts WHERE name = 'warren'"),
        ("cash-only", "DELETE FROM accounts WHERE name = 'cash-only'"),
        ("ghost", "INSERT INTO holdings VALUES ('ghost', 'NVDA', 100000000, 0)"),
    ],
)
def test_a_row_that_is_removed_added_moved_or_made_another_kind_is_named(
    honest: Path, account: str, statement: str
) -> None:
    with tampered(honest, statement) as found:
        assert account in {each.account for each in found}


def test_money_moved_from_one_account_to_another_is_named_in_both(honest: Path) -> None:
    with tampered(
        honest,
        "UPDATE accounts SET cash = cash - 1000000, deposited = deposited - 1000000 WHERE name = 'warren'",
        "UPDATE accounts SET cash = cash + 1000000, deposited = deposited + 1000000 WHERE name = 'george'",
    ) as found:
        assert {each.account for each in found} == {"warren", "george"}


def test_a_deposit_made_up_with_all_its_sums_right_but_one_is_found(honest: Path) -> None:
    with tampered(
        honest,
        "UPDATE transactions SET amount = amount + 1000000 WHERE account = 'warren' AND kind = 'deposit'",
        "UPDATE transactions SET cash_after = cash_after + 1000000 WHERE account = 'warren'",
        "UPDATE accounts SET cash = cash + 1000000 WHERE name = 'warren'",
    ) as found:
        assert [str(each) for each in found] == [
            "warren: the sum of deposits is 10000, and the record makes it 10001",
        ]


def test_a_difference_reads_as_a_sentence(honest: Path) -> None:
    with tampered(honest, "UPDATE accounts SET cash = 10000000001 WHERE name = 'cash-only'") as found:
        assert [str(each) for each in found] == ["cash-only: cash is 10000.000001, and the record makes it 10000"]


def test_an_account_of_many_transactions_is_read_as_a_stream(store: Store, market: Market, venue: ShelfVenue) -> None:
    warren = open_account(store, market, "warren", balance=Decimal(10**6))
    warren.buy_shares("BTC-USD", 1, "")
    with store.write() as connection:
        raw = connection.connection.cursor()
        raw.execute("CREATE TEMP TABLE t AS SELECT * FROM transactions WHERE kind = 'buy'")
        # the same purchase 2,500 times, as the ledger would have booked it, but for the last one's cash
        raw.execute(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2500) "
            "INSERT INTO transactions SELECT id + n.i, account, kind, symbol, 1, price, -652, 0, "
            "cash_after - 652 * n.i - CASE WHEN n.i = 2500 THEN 1 ELSE 0 END, quote_price, quote_as_of, quote_seen_at, "
            "source, rationale, NULL, "
            "session_id, actor, market_time, wall_time, NULL, NULL, NULL FROM t, n"
        )
        raw.execute("UPDATE accounts SET cash = cash - 652 * 2500")
        raw.execute("UPDATE holdings SET quantity = quantity + 2500, cost = cost + 652 * 2500")
    with store.read() as connection:
        (found,) = reconcile(connection)
    assert found.what.startswith("the cash after it of transaction 2502")
