"""What each kind of parameter must say to each value, decided from the value alone: a code, or None for what is legal.

The rules are written anew from the tools' descriptions, not taken from the product. A rule answers with every outcome
that is right; more than one only where a number is written oddly (`1_000`, `+1`) and may be read or refused.
"""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections.abc import Callable
from decimal import Decimal
from typing import Any

Outcomes = frozenset[str | None]
Rule = Callable[[Any], Outcomes]

LISTED = frozenset({"AAPL", "BRK.B", "BTC-USD", "MSFT", "NVDA", "SPY"})
_NAME = re.compile(r"[a-z][a-z0-9_-]{0,31}")
_SYMBOL = re.compile(r"[A-Z]{1,6}(\.[A-Z]{1,2})?|(?=.{1,18}\Z)[A-Z0-9]{1,12}-[A-Z]{3,5}")
_DECIMAL = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,18})?", re.ASCII)
_BIDI = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
QUANTITY_MAX = 10**10

LEGAL: Outcomes = frozenset({None})
BAD_ARGUMENT: Outcomes = frozenset({"bad_argument"})


def only(code: str) -> Outcomes:
    return frozenset({code})


def as_read(value: Any) -> Any:
    """A text that is JSON's null, true, list or object stands for that value where more than text may be given: some
    clients send arguments so, and the SDK reads them so."""
    if isinstance(value, str):
        try:
            read = json.loads(value)
        except (ValueError, RecursionError):
            return value
        return value if isinstance(read, str | int | float) else read
    return value


def is_text(value: str) -> bool:
    """Whether every database can keep it: no NUL, no half of a surrogate pair."""
    return not any(sign == "\0" or "\ud800" <= sign <= "\udfff" for sign in value)


def folded(value: Any, upper: bool = False) -> str | None:
    if not isinstance(value, str) or not value.isascii():
        return None
    return value.strip(" ").upper() if upper else value.strip(" ").lower()


def bound_name(value: Any) -> Outcomes:
    return LEGAL if folded(value) == "warren" else only("other_account")


def any_name(value: Any) -> Outcomes:
    return name_in_an_address(as_read(value))


def name_in_an_address(value: Any) -> Outcomes:
    name = folded(value)
    if name is None or not _NAME.fullmatch(name):
        return only("bad_name")
    return LEGAL if name in ("warren", "george") else only("unknown_account")


def symbol(value: Any) -> Outcomes:
    value = as_read(value)
    found = folded(value, upper=True)
    if found is None or not _SYMBOL.fullmatch(found) or len(value) > 22:
        return only("bad_symbol")
    return LEGAL if found in LISTED else only("unknown_symbol")


def quantity_of(value: Any) -> int | None:
    """The whole shares that a value says, or None."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        number = Decimal(value) if abs(value) < 2**63 else None
    elif isinstance(value, float):
        number = Decimal(repr(value)) if math.isfinite(value) else None
    elif isinstance(value, str) and value.isascii() and len(value) <= 64 and _DECIMAL.fullmatch(value.strip()):
        number = Decimal(value.strip())
    else:
        number = None
    if number is None or not 0 < number <= QUANTITY_MAX or number.adjusted() < 0:
        return None
    return int(number) if number == number.to_integral_value() else None


def rationale(value: Any) -> Outcomes:
    if not isinstance(value, str):
        return BAD_ARGUMENT
    if len(value) > 4_000:
        return only("rationale_too_long")
    return LEGAL if is_text(value) else only("bad_rationale")


def strategy(value: Any) -> Outcomes:
    if not isinstance(value, str):
        return BAD_ARGUMENT
    return LEGAL if value.strip() and len(value) <= 10_000 and is_text(value) else only("bad_strategy")


def order_key(value: Any) -> Outcomes:
    value = as_read(value)
    if value is None:
        return LEGAL
    if not isinstance(value, str):
        return BAD_ARGUMENT
    return LEGAL if re.fullmatch(r"[!-~]{1,80}", value) else only("bad_order_key")


def page_cursor(value: Any) -> Outcomes:
    value = as_read(value)
    if value is None:
        return LEGAL
    if not isinstance(value, str):
        return BAD_ARGUMENT
    return LEGAL if re.fullmatch(r"[0-9]{1,18}", value) else only("bad_cursor")


def listing_cursor(value: Any) -> Outcomes:
    value = as_read(value)
    if value is None:
        return LEGAL
    if not isinstance(value, str):
        return BAD_ARGUMENT
    return only("bad_symbol") if symbol(value) == only("bad_symbol") else LEGAL


def any_text(value: Any) -> Outcomes:
    return LEGAL if isinstance(value, str) else BAD_ARGUMENT


def optional_text(value: Any) -> Outcomes:
    value = as_read(value)
    return LEGAL if value is None else any_text(value)


def one_of(*words: str, optional: bool = False) -> Rule:
    def rule(value: Any) -> Outcomes:
        value = as_read(value)
        return LEGAL if (optional and value is None) or (isinstance(value, str) and value in words) else BAD_ARGUMENT

    return rule


def number(least: float, most: float, code: str, *, whole: bool) -> Rule:
    """A number in a range. A text that plainly spells one is as good; `true` is not 1."""

    def of(value: int | float) -> Outcomes:
        if isinstance(value, float) and (not math.isfinite(value) or (whole and not value.is_integer())):
            return frozenset({"bad_argument"} if whole else {"bad_argument", code})
        if abs(value) > 2**53:
            return frozenset({"bad_argument", code})
        return LEGAL if least <= value <= most else only(code)

    def rule(value: Any) -> Outcomes:
        value = as_read(value)
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            return BAD_ARGUMENT
        if not isinstance(value, str):
            return of(value)
        if re.fullmatch(r"-?[0-9]{1,9}" if whole else r"-?[0-9]{1,9}(\.[0-9]{1,9})?", value):
            return of(float(value))
        spelt = number_in(value)
        return BAD_ARGUMENT if spelt is None else BAD_ARGUMENT | of(spelt)

    return rule


def number_in(value: Any) -> float | None:
    """The number that a value says, in the widest reading."""
    try:
        return float(value)
    except (ValueError, OverflowError, TypeError):
        return None


def message(value: Any) -> Outcomes:
    if not isinstance(value, str):
        return BAD_ARGUMENT
    return LEGAL if len(value) <= 10_000 and seen(value) else only("bad_message")


def title(value: Any) -> Outcomes:
    if not isinstance(value, str):
        return BAD_ARGUMENT
    return LEGAL if len(value) <= 500 else only("bad_title")


def seen(value: str) -> str:
    """What of a message can be seen: no controls but line feed and tab, nothing that turns text round."""
    lines = value.replace("\r\n", "\n").replace("\r", "\n")
    kept = [each for each in lines if each in "\n\t" or unicodedata.category(each) not in ("Cc", "Cs")]
    return "".join(each for each in kept if each not in _BIDI).strip()


def search_query(value: Any) -> Outcomes:
    if not isinstance(value, str) or len(value) > 400 or not is_text(value.replace("\0", "")):
        return BAD_ARGUMENT
    return LEGAL if any(not each.isspace() and unicodedata.category(each)[0] != "C" for each in value) else BAD_ARGUMENT


def memory_text(chars_max: int) -> Rule:
    def rule(value: Any) -> Outcomes:
        is_legal = isinstance(value, str) and 0 < len(value) <= chars_max and is_text(value)
        return LEGAL if is_legal else BAD_ARGUMENT

    return rule


def memory_texts(chars_max: int, *, outermost: bool) -> Rule:
    text = memory_text(chars_max)

    def rule(value: Any) -> Outcomes:
        value = as_read(value) if outermost else value
        is_legal = isinstance(value, list) and len(value) <= 100 and all(text(each) == LEGAL for each in value)
        return LEGAL if is_legal else BAD_ARGUMENT

    return rule


def memory_rows(value: Any) -> Outcomes:
    """No list of the corpus has a well-formed row; an empty one does nothing."""
    return LEGAL if as_read(value) == [] else BAD_ARGUMENT


def memory_query(value: Any) -> Outcomes:
    is_legal = isinstance(value, str) and (value == "" or memory_text(1_000)(value) == LEGAL)
    return LEGAL if is_legal and len(value.split()) <= 32 else BAD_ARGUMENT
