"""The plain values: exact numbers, their scaled integers, named rounding, symbols, quantities and the two times."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from math import ceil, floor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.shelf import refused
from values.clock import Anchor, FixedClock, ReplayClock, ScaledClock, iso, market_day, parse_time
from values.errors import Refused, shown
from values.instrument import FRACTION, WHOLE, Instrument, normalise_symbol, parse_quantity
from values.money import (
    CASH_DECIMALS,
    QUANTITY_DECIMALS,
    exact,
    fill_price,
    from_scaled,
    notional,
    plain,
    ratio,
    share_of_cost,
    to_scaled,
    usd,
)

START = datetime(2026, 3, 2, 15, 0, tzinfo=UTC)
SECOND = timedelta(seconds=1)
INT64_MAX = 2**63 - 1
PRICES = st.integers(1, 10**15).map(lambda units: from_scaled(units, 8))
QUANTITIES = st.integers(1, 10**15).map(lambda units: from_scaled(units, 8))
MONEY = st.integers(-(10**15), 10**15).map(lambda units: from_scaled(units, 6))


class TestExact:
    @pytest.mark.parametrize(
        ("given", "expected"),
        [
            ("12.5", "12.5"),
            (" 12.5 ", "12.5"),
            ("1e3", "1000"),
            ("-0", "0"),
            (7, "7"),
            (-(2**63 - 1), "-9223372036854775807"),
            (0.1, "0.1"),
            (187.42, "187.42"),
            (1e-7, "0.0000001"),
            (Decimal("0.10"), "0.1"),
        ],
    )
    def test_a_number_is_kept_to_the_last_digit(self, given: object, expected: str) -> None:
        assert exact(given) == Decimal(expected)

    @given(st.floats(allow_nan=False, allow_infinity=False))
    def test_a_float_becomes_the_shortest_text_that_names_it(self, number: float) -> None:
        made = exact(number)
        assert float(made) == number
        assert made == Decimal(repr(number))

    @pytest.mark.parametrize("number", [np.float64(187.42), np.float64(0.1)])
    def test_a_float_of_numpy_is_a_float(self, number: float) -> None:
        assert exact(number) == Decimal(repr(float(number)))

    @pytest.mark.parametrize(
        "given",
        [
            True, False, None, [], {}, b"1", 1j, "", " ", "one", "1_000", "1,000", "0x10", "１２", "١٢",
            "1.2.3", "--1", "1e", "$5", "1\x00", "NaN", "nan", "sNaN", "Infinity", "-inf", "inf", "1" * 65,
            "9" * 10_000, float("nan"), float("inf"), float("-inf"), Decimal("NaN"), Decimal("sNaN"),
            Decimal("-Infinity"), 2**63, -(2**63), 10**400, "1e9999999999999999999",
        ],
        ids=lambda value: shown(value, 20),
    )  # fmt: skip
    def test_what_is_no_finite_number_is_refused_with_what_it_was(self, given: object) -> None:
        with refused("bad_number", "expected a finite decimal number") as caught:
            exact(given, "price")
        assert "the price is" in caught.value.sentence
        assert len(caught.value.sentence) < 200

    @pytest.mark.parametrize("given", [10**5_000, [10**5_000], {"a": 10**5_000}], ids=["alone", "listed", "keyed"])
    def test_a_whole_number_too_long_for_text_is_refused_like_any_other(self, given: object) -> None:
        with refused("bad_number"):
            exact(given)

    def test_a_number_that_no_store_can_keep_is_exact_all_the_same_and_refused_when_kept(self) -> None:
        assert exact("1e400") == Decimal("1e400")
        with refused("out_of_range", "too large"):
            to_scaled(exact("1e400"), 6)


class TestScaled:
    @given(st.integers(-INT64_MAX, INT64_MAX), st.sampled_from([CASH_DECIMALS, QUANTITY_DECIMALS]))
    def test_every_64_bit_integer_survives_the_way_out_and_back(self, units: int, decimals: int) -> None:
        assert to_scaled(from_scaled(units, decimals), decimals) == units

    @given(st.decimals(allow_nan=False, allow_infinity=False), st.sampled_from([CASH_DECIMALS, QUANTITY_DECIMALS]))
    def test_a_number_is_kept_exactly_or_refused_never_rounded(self, number: Decimal, decimals: int) -> None:
        units = Fraction(number) * 10**decimals if abs(number.adjusted()) < 60 else None
        if units is not None and units.denominator == 1 and abs(units) <= INT64_MAX:
            assert to_scaled(number, decimals) == units
        elif number != 0:
            with refused("out_of_range"):
                to_scaled(number, decimals)

    def test_a_number_of_hundreds_of_digits_is_kept_exactly_or_refused_too(self) -> None:
        one = Decimal((0, (1,) + (0,) * 500, -500))
        assert to_scaled(one, 8) == 10**8
        tiny = Decimal((0, (1,) + (0,) * 400, -410))  # 1e-10
        with refused("out_of_range"):
            to_scaled(tiny, 8)

    @pytest.mark.parametrize("number", ["0.000000001", "1e-999999", "92233720368.54775808", "1e999999", "1e11"])
    def test_what_does_not_fit_a_price_is_refused_at_once(self, number: str) -> None:
        with refused("out_of_range"):
            to_scaled(Decimal(number), 8)


class TestRounding:
    """Each is compared with the same sum in exact fractions."""

    @given(PRICES)
    def test_a_fill_pays_the_spread_rounded_against_the_trader(self, quote: Decimal) -> None:
        units = Fraction(quote) * 10**8
        assert Fraction(fill_price(quote, "buy")) * 10**8 == ceil(units * 1002 / 1000)
        assert Fraction(fill_price(quote, "sell")) * 10**8 == floor(units * 998 / 1000)

    @given(PRICES, QUANTITIES)
    def test_an_amount_is_rounded_up_for_a_buy_and_down_for_a_sale(self, price: Decimal, quantity: Decimal) -> None:
        units = Fraction(price) * Fraction(quantity) * 10**6
        assert Fraction(notional(price, quantity, "buy")) * 10**6 == ceil(units)
        assert Fraction(notional(price, quantity, "sell")) * 10**6 == floor(units)
        assert Fraction(notional(price, quantity)) * 10**6 == round(units)  # half-even

    @given(MONEY.filter(lambda cost: cost >= 0), QUANTITIES, QUANTITIES)
    def test_a_sale_takes_its_share_of_the_cost_half_even(self, cost: Decimal, one: Decimal, other: Decimal) -> None:
        sold, held = min(one, other), max(one, other)
        share = Fraction(cost) * Fraction(sold) / Fraction(held) * 10**6
        assert Fraction(share_of_cost(cost, sold, held)) * 10**6 == round(share)

    def test_selling_all_takes_the_whole_cost(self) -> None:
        assert share_of_cost(Decimal("0.000001"), Decimal(3), Decimal(3)) == Decimal("0.000001")

    def test_halves_go_to_the_even_side(self) -> None:
        assert share_of_cost(Decimal("0.000001"), Decimal(1), Decimal(2)) == 0
        assert share_of_cost(Decimal("0.000003"), Decimal(1), Decimal(2)) == Decimal("0.000002")
        assert ratio(Decimal(1), Decimal(3)) == Decimal("0.33333333")

    def test_a_quote_of_one_unit_of_price_still_fills_on_the_trader_s_wrong_side(self) -> None:
        assert fill_price(Decimal("0.00000001"), "buy") == Decimal("0.00000002")
        assert fill_price(Decimal("0.00000001"), "sell") == 0


class TestShown:
    @given(MONEY)
    def test_plain_text_names_the_same_number_without_an_exponent(self, amount: Decimal) -> None:
        text = plain(amount)
        assert Decimal(text) == amount
        assert "E" not in text
        assert not (("." in text) and text.endswith(("0", ".")))

    @pytest.mark.parametrize(
        ("number", "text"), [("1E+4", "10000"), ("0.500", "0.5"), ("-0.0", "0"), ("1e-8", "0.00000001")]
    )
    def test_plain_text_by_example(self, number: str, text: str) -> None:
        assert plain(Decimal(number)) == text

    def test_dollars_in_a_sentence_have_cents_and_thousands(self) -> None:
        assert usd(Decimal("7511.785")) == "7,511.78"

    @pytest.mark.parametrize(
        "value", ["x" * 10_000, ["y"] * 10_000, "\x00\x1b[31m\n", "\ud800", "ſ"], ids=lambda v: shown(v, 9)
    )
    def test_what_is_shown_is_short_and_plain(self, value: object) -> None:
        text = shown(value)
        assert len(text) <= 61
        assert text.rstrip("…").isascii()
        assert text.isprintable()


class TestSymbols:
    @pytest.mark.parametrize(
        ("given", "symbol"),
        [
            ("AAPL", "AAPL"),
            ("aapl", "AAPL"),
            (" brk.b ", "BRK.B"),
            ("btc-usd", "BTC-USD"),
            ("1inch-usdt", "1INCH-USDT"),
        ],
    )
    def test_a_symbol_is_case_folded_and_trimmed(self, given: str, symbol: str) -> None:
        assert normalise_symbol(given) == symbol

    @pytest.mark.parametrize(
        "given",
        [
            "ААPL",  # Cyrillic A
            "ſPY", "ﬁ", "ß", "ıBIT",  # letters whose upper case is ASCII
            "\u202eLPAA", "AA\u200bPL", "AAPL\u00a0", "ＡＡＰＬ", "\u212a", "AAPL\n", "\tAAPL", "AAPL\x00", "", " ",
            "-", ".", "A.B.C", "A-B-C", "BTC_USD", "BTC-", "-USD", "AAPL;", "../A", "1234", "TOOLONGS", "A" * 10_000,
            None, 1, True, [], {}, b"AAPL", ["AAPL"],
        ],
        ids=lambda value: shown(value, 20),
    )  # fmt: skip
    def test_what_only_looks_like_a_symbol_is_refused(self, given: object) -> None:
        with refused("bad_symbol", "expected one such as AAPL"):
            normalise_symbol(given)

    @given(st.text(max_size=12))
    def test_only_plain_letters_can_name_an_instrument(self, text: str) -> None:
        try:
            symbol = normalise_symbol(text)
        except Refused:
            return
        assert text.isascii()
        assert symbol == text.strip(" ").upper()

    def test_coins_trade_in_steps_and_everything_else_whole(self) -> None:
        assert Instrument("BTC-USD", "coin", "", "").step == FRACTION
        assert Instrument("SPY", "etf", "", "").step == Instrument("AAPL", "equity", "", "").step == WHOLE


class TestQuantities:
    @pytest.mark.parametrize(
        ("given", "step", "expected"),
        [
            ("3", WHOLE, "3"),
            (3, WHOLE, "3"),
            (3.0, WHOLE, "3"),
            ("3.000", WHOLE, "3"),
            ("1e2", WHOLE, "100"),
            (Decimal("0.00000001"), FRACTION, "0.00000001"),
            (0.1, FRACTION, "0.1"),
            ("10000000000", WHOLE, "10000000000"),
        ],
    )
    def test_a_quantity_comes_as_number_text_or_decimal(self, given: object, step: Decimal, expected: str) -> None:
        assert parse_quantity(given, "X", step) == Decimal(expected)

    @pytest.mark.parametrize(
        ("given", "step"),
        [
            (0, WHOLE), ("0", WHOLE), ("-0", FRACTION), (-1, WHOLE), ("-1e-8", FRACTION), ("0.5", WHOLE), (1.5, WHOLE),
            ("1.00000001", WHOLE), ("0.000000001", FRACTION), (0.1 + 0.2, FRACTION), ("1e-999999", FRACTION),
            ("1e-999999", WHOLE), ("1e999999", WHOLE), ("9" * 60, WHOLE), ("9" * 10_000, WHOLE), ("10000000001", WHOLE),
            ("1" + "0" * 40, FRACTION), (True, WHOLE), (None, WHOLE), ([1], WHOLE), ({"$gt": 0}, WHOLE), ("", WHOLE),
            ("１", WHOLE), ("1_0", WHOLE), (float("nan"), WHOLE), (float("inf"), WHOLE), (10**5_000, WHOLE),
            (Decimal("1e-999999"), WHOLE), (Decimal("1e999999"), FRACTION),
        ],
        ids=lambda value: "long" if value == 10**5_000 else shown(value, 20),
    )  # fmt: skip
    def test_what_can_t_be_traded_is_refused_at_once(self, given: object, step: Decimal) -> None:
        with refused("bad_quantity") as caught:
            parse_quantity(given, "AAPL", step)
        assert len(caught.value.sentence) < 250

    @given(st.integers(1, 10**18), st.sampled_from([WHOLE, FRACTION]))
    def test_every_multiple_of_the_step_up_to_the_most_is_a_quantity(self, steps: int, step: Decimal) -> None:
        quantity = Decimal(steps) * step
        if quantity > 10_000_000_000:
            with refused("bad_quantity", "at most 10000000000"):
                parse_quantity(quantity, "X", step)
        else:
            assert parse_quantity(plain(quantity), "X", step) == quantity


class TestClocks:
    ANCHOR = Anchor(wall=START, market=START + timedelta(days=1), factor=60, fast_until=START + 10 * SECOND)

    @pytest.mark.parametrize(
        ("wall_s", "market_s"),
        [(-5, 0), (0, 0), (1, 60), (10, 600), (11, 601), (3_600, 600 + 3_590)],
    )
    def test_a_scaled_clock_is_fast_until_its_bound_and_then_keeps_wall_pace(self, wall_s: int, market_s: int) -> None:
        assert self.ANCHOR.at(START + wall_s * SECOND) == self.ANCHOR.market + market_s * SECOND

    @given(st.integers(-100, 100), st.integers(-100, 100), st.integers(-20, 50), st.integers(1, 60))
    def test_market_time_never_runs_back_as_wall_time_goes_on(self, a: int, b: int, fast_s: int, factor: int) -> None:
        anchor = Anchor(START, START, factor, START + fast_s * SECOND)
        earlier, later = sorted((a, b))
        assert anchor.at(START + earlier * SECOND) <= anchor.at(START + later * SECOND)
        assert anchor.at(START + earlier * SECOND) >= anchor.market

    @given(st.integers(0, 10_000))
    def test_the_wall_time_of_a_market_time_is_the_clock_s_inverse_while_it_is_fast(self, market_s: int) -> None:
        anchor = Anchor(START, START, 60, START + 10_000 * SECOND)
        moment = START + market_s * SECOND
        assert anchor.at(anchor.wall_at(moment)) - moment < timedelta(milliseconds=1)

    def test_a_scaled_clock_reads_its_anchor_each_time(self) -> None:
        anchors = [self.ANCHOR, Anchor(START, START + timedelta(days=9), 1, START)]
        clock = ScaledClock(lambda: anchors.pop(0), lambda: START)
        assert clock.now() == START + timedelta(days=1)
        assert clock.now() == START + timedelta(days=9)
        assert clock.wall() == START

    def test_a_replay_s_clock_is_the_row_that_it_reads(self) -> None:
        assert ReplayClock(lambda: START).now() == START
        assert ReplayClock(lambda: START).wall().tzinfo is UTC

    def test_a_fixed_clock_moves_when_told(self) -> None:
        clock = FixedClock(START)
        clock.advance(SECOND)
        assert clock.now() == clock.wall() == START + SECOND

    def test_a_trading_day_is_a_utc_date(self) -> None:
        tokyo = timezone(timedelta(hours=9))
        assert market_day(datetime(2026, 3, 2, 8, 59, tzinfo=tokyo)).isoformat() == "2026-03-01"
        assert market_day(datetime(2026, 3, 2, 9, 0, tzinfo=tokyo)).isoformat() == "2026-03-02"

    @settings(max_examples=50)
    @given(st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(hours=-5, minutes=-30))])))
    def test_a_time_s_text_ends_in_z_and_names_the_same_time(self, moment: datetime) -> None:
        if not 2 <= moment.year <= 9998:
            return
        assert iso(moment).endswith("Z")
        assert parse_time(iso(moment)) == moment

    @pytest.mark.parametrize("text", ["2026-03-02T15:00:00", "2026-03-02", "yesterday", "", "2026-13-01T00:00:00Z"])
    def test_text_without_a_zone_or_that_is_no_time_is_refused(self, text: str) -> None:
        with pytest.raises(ValueError):
            parse_time(text)
