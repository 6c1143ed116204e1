"""What a text may be that the record keeps: of bounded length, and of characters that can be written down."""

from __future__ import annotations

from values.errors import Refused

RATIONALE_CHARS_MAX = 4_000
STRATEGY_CHARS_MAX = 10_000


def is_writable(text: str) -> bool:
    """Whether every database can keep it: half of a surrogate pair is no UTF-8, and PostgreSQL keeps no NUL."""
    if "\0" in text:
        return False
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def check_rationale(text: str) -> None:
    """Raises Refused `rationale_too_long` or `bad_rationale`."""
    if len(text) > RATIONALE_CHARS_MAX:
        raise Refused(
            "rationale_too_long", f"the rationale has {len(text)} characters; at most {RATIONALE_CHARS_MAX} are kept"
        )
    if not is_writable(text):
        raise Refused(
            "bad_rationale", "the rationale holds a NUL or half a character; expected text that can be written as UTF-8"
        )


def check_strategy(text: str) -> None:
    """Raises Refused `bad_strategy`."""
    if not text.strip() or len(text) > STRATEGY_CHARS_MAX or not is_writable(text):
        raise Refused(
            "bad_strategy",
            f"the strategy has {len(text)} characters; expected 1 to {STRATEGY_CHARS_MAX} of UTF-8 without a NUL, "
            "not all blank",
        )
