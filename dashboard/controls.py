"""What the owner asks of the floor from the page: with the password, in words that the ledger knows, and on record.

Every outcome is a sentence. What is refused changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, get_args

from dashboard.password import Password
from database import Store
from ledger.controls import ControlAction, ask, told
from market import Market
from values.errors import Refused, StoreUnusable, VenueUnavailable, shown

CLIENT = "controls"
"""Whose wrong passwords these are: all tabs are one, for every one of them is logged in."""


class Controls:
    """`open_market` gives the market of the store as it is now. Safe to use from several threads."""

    def __init__(self, store: Store, open_market: Callable[[Store], Market], password: Password) -> None:
        self._store = store
        self._open_market = open_market
        self._password = password

    def ask(self, asked: Mapping[str, str]) -> dict[str, Any]:
        """Takes `action`, `account` (empty: every trader), `argument` (a strategy) and `password`."""
        verdict = self._password.check(asked.get("password", ""), CLIENT)
        if verdict == "wait":
            return _outcome(False, "there were too many wrong passwords: wait a minute, then try again")
        if verdict == "wrong":
            return _outcome(False, "that is not the password; nothing was changed")
        action = next((each for each in get_args(ControlAction) if each == asked.get("action")), None)
        if action is None:
            allowed = ", ".join(get_args(ControlAction))
            return _outcome(False, f"the action is {shown(asked.get('action'))}; expected one of {allowed}")
        try:
            return _outcome(True, self._carry_out(action, asked.get("account") or None, asked.get("argument", "")))
        except Refused as refusal:
            return _outcome(False, refusal.sentence)
        except (StoreUnusable, VenueUnavailable) as error:
            return _outcome(False, f"it could not be done: {error}")

    def _carry_out(self, action: ControlAction, account: str | None, argument: str) -> str:
        if action == "run" and not self._store.is_floor_held():
            # a floor that starts does not look back at what was asked before
            raise Refused("no_floor", "no floor runs, so nobody would hear it: start one with `make floor`")
        concerned = ask(self._store, self._open_market(self._store), action, account, argument=argument)
        return f"{told(action, concerned)}. It is on record."


def _outcome(done: bool, sentence: str) -> dict[str, Any]:
    return {"done": done, "sentence": sentence}
