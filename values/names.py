"""Account names: `[a-z][a-z0-9_-]{0,31}`, case-folded, so that `Warren` is `warren`."""

from __future__ import annotations

import re

from values.errors import Refused, shown

_NAME = re.compile(r"[a-z][a-z0-9_-]{0,31}")


def normalise_name(text: object) -> str:
    """The account name that `text` is. Raises Refused `bad_name`."""
    if isinstance(text, str) and text.isascii():
        name = text.strip(" ").lower()
        if _NAME.fullmatch(name):
            return name
    raise Refused(
        "bad_name",
        f"the account name is {shown(text)}; expected a letter, then up to 31 letters, digits, - or _",
    )
