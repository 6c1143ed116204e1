"""Every error the floor raises on purpose, in one small tree.

    ValueError
        Refused                 a rule said no: a code for programs, a sentence for people and models
            UnknownSymbol       no venue of this run lists the symbol
            BadSetting          a setting or argument of ours is wrong: which, what it was, what is allowed
    RuntimeError
        VenueUnavailable        a price source failed; never turned into a price
        StoreUnusable           the store can't be used as it is; the sentence says what to do
            StoreEmpty          the file is there and nothing has been set up in it
            StoreBusy           another writer held the store for longer than a write may wait

A sentence says what was given, what was expected and what to do next.
"""


class Refused(ValueError):
    """A rule said no. `code` is stable and snake_case, `sentence` says what would be allowed."""

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(f"{code}: {sentence}")
        self.code = code
        self.sentence = sentence
        self.is_on_record = False  # set once a refusals row holds it, so that it is recorded once


class UnknownSymbol(Refused):
    """The symbol is well formed and no instrument of this market has it. An answer, not a failure."""

    def __init__(self, symbol: str, where: str) -> None:
        super().__init__("unknown_symbol", f"{symbol} is not listed on {where}; find_symbols lists what is")

    @classmethod
    def told(cls, sentence: str) -> "UnknownSymbol":
        """The error that somebody else raised with `sentence`."""
        error = cls("", "")
        Refused.__init__(error, "unknown_symbol", sentence)
        return error


class BadSetting(Refused):
    """A setting has a value that can't be used."""

    def __init__(self, name: str, was: object, allowed: str) -> None:
        super().__init__("bad_setting", f"{name} is {shown(was)}; allowed: {allowed}")


class VenueUnavailable(RuntimeError):
    """A price source did not answer, or answered what can't be a price."""


class StoreUnusable(RuntimeError):
    """The store can't be opened or used as it is."""


class StoreEmpty(StoreUnusable):
    """The store's file holds nothing yet: it was only just made, or never was."""


class StoreBusy(StoreUnusable):
    """A write waited for its turn as long as it may, and did not get it."""


def shown(value: object, limit_chars: int = 60) -> str:
    """What was given, for a sentence: its repr with controls escaped, cut to `limit_chars` with a mark."""
    try:
        text = ascii(value[: limit_chars * 2] if isinstance(value, str) else value)
    except (ValueError, RecursionError):  # a whole number of thousands of digits, a list in itself
        return f"a {type(value).__name__} too long to show"
    return text if len(text) <= limit_chars else text[:limit_chars] + "…"
