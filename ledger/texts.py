"""What a text may be that the record keeps: of bounded length, and of characters that can be written down."""

from __future__ import annotations

from values.errors import Refused

RATIONALE_CHARS_MAX = 4_000
STRATEGY_CHARS_MAX = 10_000


def is_writable(text: str) -> bool:
    """Whether the text is UTF-8 at all: half of a surrogate pair is not."""
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
            "bad_rationale", "the rationale holds half a character; expected text that can be written as UTF-8"
        )


def check_strategy(text: str) -> None:
    """Raises Refused `bad_strategy`."""
    if not text.strip() or len(text) > STRATEGY_CHARS_MAX or not is_writable(text):
        raise Refused(
            "bad_strategy",
            f"the strategy has {len(text)} characters; expected 1 to {STRATEGY_CHARS_MAX} of UTF-8, not all blank",
        )
