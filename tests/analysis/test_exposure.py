"""The share of an account that was in holdings."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.trades import Valuation, exposure

cents = st.decimals(0, 1_000_000, places=2)
records = st.lists(
    st.tuples(cents, cents).filter(any).map(lambda parts: Valuation(parts[0], parts[0] + parts[1])),
    min_size=1,
    max_size=20,
)


def valued(invested: str, total: str) -> Valuation:
    return Valuation(Decimal(invested), Decimal(total))


def test_one_valuation_gives_its_invested_share() -> None:
    assert exposure([valued("2500", "10000")]) == Decimal("0.25")


def test_a_series_gives_the_mean_of_its_shares_and_not_the_share_of_its_means() -> None:
    # 900 of 1000 and 1000 of 10,000: the dollars together would give 0.1727
    assert exposure([valued("900", "1000"), valued("1000", "10000")]) == Decimal("0.5")


def test_an_account_in_cash_has_no_exposure_and_one_without_cash_is_exposed_whole() -> None:
    assert exposure([valued("0", "10000")]) == 0
    assert exposure([valued("10000", "10000")]) == 1


def test_thirds_are_rounded_once() -> None:
    assert exposure([valued("1", "3")] * 3) == Decimal("0.33333333")
    assert exposure([valued("1", "3"), valued("2", "3")]) == Decimal("0.5")


def test_a_record_without_a_valuation_has_no_exposure() -> None:
    assert exposure([]) is None


@pytest.mark.parametrize(
    ("invested", "total", "sentence"),
    [
        ("-1", "100", "has -1 invested"),
        ("NaN", "100", "has NaN invested"),
        ("0", "0", "has 0 in all"),
        ("1", "Infinity", "has Infinity in all"),
    ],
)
def test_an_impossible_valuation_is_refused(invested: str, total: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        valued(invested, total)


@settings(deadline=None)
@given(records)
def test_without_borrowing_exposure_is_a_fraction_between_the_least_and_the_most(record: list[Valuation]) -> None:
    mean = exposure(record)
    shares = [exposure([point]) for point in record]
    known = [share for share in shares if share is not None]
    assert mean is not None
    assert 0 <= min(known) <= mean <= max(known) <= 1
